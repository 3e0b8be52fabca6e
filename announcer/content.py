"""What a post says: frozen in the outbox before the first byte leaves, and thawed again."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from announcer.network import Card, Moment, Network, Post
from announcer.policy import Broadcast, Entry
from announcer.watch import About, Watch
from announcer.wording import Facts, Templates, card


@dataclass(frozen=True, slots=True)
class Channel:
    """One Owncast server as its audience knows it. *url* is empty, *watch* None if not set."""

    name: str
    url: str = ""
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The words of one post. *problem* says why they are not the ones the operator wanted."""

    text: str
    template: str
    card: Card | None
    began_at: datetime
    worded_at: datetime
    problem: str = ""

    def frozen(self) -> str:
        """As stored: the same content always gives the same bytes."""
        return json.dumps(
            {
                "text": self.text,
                "template": self.template,
                "card": asdict(self.card) if self.card else None,
                "began_at": self.began_at.isoformat(),
                "worded_at": self.worded_at.isoformat(),
            }
        )

    def post(self, entry: Entry) -> Post:
        """What a network is asked to make visible."""
        return Post(
            key=entry.key,
            moment=entry.moment,
            mood=Moment.LIVE,
            text=self.text,
            card=self.card,
            began_at=self.began_at,
            worded_at=self.worded_at,
            wire_key=f"{entry.key}#{entry.generation}",
            doubtful_since=entry.doubtful_since,
        )


def thaw(frozen: str) -> Content:
    stored = json.loads(frozen)
    return Content(
        text=stored["text"],
        template=stored["template"],
        card=Card(**stored["card"]) if stored["card"] else None,
        began_at=datetime.fromisoformat(stored["began_at"]),
        worded_at=datetime.fromisoformat(stored["worded_at"]),
    )


@dataclass(frozen=True)
class Composer:
    """Words a broadcast for a destination, by the templates and what Owncast says of itself."""

    templates: Templates
    replay_url: str = ""

    def facts(self, broadcast: Broadcast, channel: Channel, about: About) -> Facts:
        """What a template may say. The address is ours, never the payload's."""
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
        )

    def compose(
        self,
        network: Network,
        destination: str,
        facts: Facts,
        *,
        last: str,
        dice: float,
        now: datetime,
    ) -> Content:
        """The words for a post that is about to leave. *last* is the template used there last."""
        wording = self.templates.word(
            network, destination, Moment.LIVE, facts, last=last, dice=dice
        )
        return Content(
            text=wording.text,
            template=wording.template,
            card=card(facts) if facts.url else None,
            began_at=facts.started_at,
            worded_at=now,
            problem=wording.problem,
        )
