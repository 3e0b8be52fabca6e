"""What a post says: frozen in the outbox before the first byte leaves, and thawed again."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from announcer.network import Card, Moment, Network, Picture, Post, Receipt, Show
from announcer.pictures import Pictures, Shot
from announcer.policy import Broadcast, Entry
from announcer.watch import About, Watch
from announcer.wording import Facts, Templates, card, clean, show


@dataclass(frozen=True, slots=True)
class Channel:
    """One Owncast server as its audience knows it. *url* is empty, the rest None if not set."""

    name: str
    url: str = ""
    watch: Watch | None = None
    pictures: Pictures | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The words of one post, and the digest of its picture, if it has one, with what that shows.
    *problem* says why they are not the words that the operator wanted, *broken* that a template
    is to blame.
    """

    text: str
    template: str
    mood: Moment
    card: Card | None
    began_at: datetime
    worded_at: datetime
    picture: str = ""
    alt: str = ""
    show: Show | None = None
    problem: str = ""
    broken: bool = False

    def frozen(self) -> str:
        """As stored: the same content always gives the same bytes."""
        return json.dumps(
            {
                "text": self.text,
                "template": self.template,
                "mood": self.mood,
                "card": asdict(self.card) if self.card else None,
                "began_at": self.began_at.isoformat(),
                "worded_at": self.worded_at.isoformat(),
                "picture": self.picture,
                "alt": self.alt,
                "show": _plain(self.show) if self.show else None,
            }
        )

    def says_the_same(self, other: "Content") -> bool:
        """Whether a reader would see no difference."""
        return (self.text, self.card, self.mood) == (other.text, other.card, other.mood)

    def keeping_picture_of(self, shown: "Content") -> "Content":
        """For an edit, which brings no picture."""
        return replace(self, picture=shown.picture, alt=shown.alt)

    def post(
        self, entry: Entry, reply_to: Receipt | None = None, picture: Picture | None = None
    ) -> Post:
        """What a network is asked to make visible. *picture* is the one with our digest."""
        return Post(
            key=entry.key,
            moment=entry.moment,
            mood=self.mood,
            edition=entry.edition,
            reply_to=reply_to,
            picture=replace(picture, alt=self.alt) if picture else None,
            text=self.text,
            card=self.card,
            show=self.show,
            began_at=self.began_at,
            worded_at=self.worded_at,
            wire_key=f"{entry.key}#{entry.generation}" + f".{entry.edition}" * bool(entry.edition),
            doubtful_since=entry.doubtful_since,
        )


def thaw(frozen: str) -> Content:
    stored = json.loads(frozen)
    return Content(
        text=stored["text"],
        template=stored["template"],
        mood=Moment(stored["mood"]),
        card=Card(**stored["card"]) if stored["card"] else None,
        began_at=datetime.fromisoformat(stored["began_at"]),
        worded_at=datetime.fromisoformat(stored["worded_at"]),
        picture=stored["picture"],
        alt=stored["alt"],
        show=_show(stored["show"]) if stored["show"] else None,
    )


def _plain(one: Show) -> dict[str, object]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(one).items()
    }


def _show(plain: dict[str, Any]) -> Show:
    times = {
        name: datetime.fromisoformat(plain[name]) if plain[name] else None
        for name in ("started_at", "ended_at")
    }
    return Show(**plain | times | {"tags": tuple(plain["tags"])})


@dataclass(frozen=True)
class Composer:
    """Words a broadcast for a destination, by the templates and what Owncast says of itself."""

    templates: Templates
    replay_url: str = ""

    def facts(
        self,
        broadcast: Broadcast,
        channel: Channel,
        about: About,
        posts: tuple[tuple[str, str], ...] = (),
    ) -> Facts:
        """What a template may say. The address is ours, never the payload's. *posts* are those
        that are up: a network's title and the address.
        """
        return Facts(
            channel=channel.name,
            name=broadcast.name,
            title=broadcast.title,
            summary=broadcast.summary,
            url=channel.url,
            tags=about.tags,
            nsfw=about.nsfw,
            started_at=broadcast.began,
            ended_at=broadcast.stopped,
            peak_viewers=broadcast.peak_viewers,
            replay_url=self.replay_url,
            posts=posts,
        )

    def compose(
        self,
        network: Network,
        destination: str,
        mood: Moment,
        facts: Facts,
        *,
        last: str,
        keep: str,
        dice: float,
        now: datetime,
    ) -> Content:
        """The words for a post that is about to leave. *last* is the template used there last,
        *keep* the one to stay with.
        """
        wording = self.templates.word(
            network, destination, mood, facts, last=last, dice=dice, keep=keep
        )
        return Content(
            text=wording.text,
            template=wording.template,
            mood=mood,
            card=card(facts) if facts.url else None,
            began_at=facts.started_at,
            worded_at=now,
            show=show(facts),
            problem=wording.problem,
            broken=wording.broken,
        )

    def card(self, broadcast: Broadcast, channel: Channel) -> Card | None:
        """What is behind the link; None if no address is set."""
        facts = self.facts(broadcast, channel, About())
        return card(facts) if facts.url else None

    def illustrate(
        self, content: Content, network: Network, destination: str, facts: Facts, shot: Shot
    ) -> tuple[Content, str]:
        """*content* with a picture, and what is wrong with the template that describes it. A logo
        is described by the name that it stands for.
        """
        if shot.of_stream:
            wording = self.templates.alt(network, destination, facts)
            alt, problem = wording.text, wording.problem
        else:
            alt, problem = clean(facts.name), ""
        return replace(content, picture=shot.picture.digest, alt=alt), problem
