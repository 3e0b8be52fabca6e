"""The contract of a network: a Post goes in; a Receipt or one of four errors comes out.

A network is one file in `announcer/networks/`: a class whose fields are its settings, whose
docstring is its set-up guide, and whose few methods are its I/O. Retrying, wording, shortening,
logging and storing are somebody else's job. Nothing here touches the world.
"""

import hashlib
import json
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol

import regex
from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator

from announcer.settings import NameList, setting

ZERO_WIDTH_SPACE = "\u200b"
UPLOAD = 10.0
"""Seconds for a picture on its way up: it must not hold up a post for long."""
_DECISIONS = 8
"""Posts of which it is remembered how their picture fared: far more than are ever in doubt."""
_MENTION = regex.compile(r"[@＠](?=\w)")
_GRAPHEME = regex.compile(r"\X")


class Moment(StrEnum):
    """What a post tells of: `live` is kept true until the end, `ended` is a second post. `badge` is
    none, but a mark beside the first one while the stream is live; `again` is said over and over
    until the stream ends. `alert` tells the operator, and no audience, what is wrong.
    """

    LIVE = "live"
    ENDED = "ended"
    BADGE = "badge"
    AGAIN = "again"
    ALERT = "alert"

    @property
    def mood(self) -> "Moment":
        """Whose words it has: those of a stream that is live, or of one that has ended."""
        return Moment.LIVE if self in (Moment.AGAIN, Moment.ALERT) else self


class Repeat(StrEnum):
    """What a second, identical publish does. It decides what follows an `Unsure`."""

    HARMLESS = "harmless"  # the network folds it into the first
    WINDOW = "window"  # folded for a while, on servers that honour the key; `find` first
    FINDABLE = "findable"  # it doubles, but `find` tells whether the first one is up
    DOUBLES = "doubles"  # it doubles, and nobody can look


class Dialect(StrEnum):
    """How a network marks up its texts, for whoever shows them as its readers see them."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    CHAT = "chat"  # Markdown in which a sign may be written as an entity of HTML
    HTML = "html"
    MRKDWN = "mrkdwn"  # not Markdown, though it looks like it: single stars, entities


@dataclass(frozen=True, slots=True)
class Card:
    """What a link preview shows. Plain text, already cleaned, not escaped for any dialect."""

    url: str
    title: str
    description: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Show:
    """The broadcast, for networks that are read by programs. Plain text, not escaped for any
    dialect. *ended_at* is None while it is live, *peak_viewers* where nobody told.
    """

    channel: str
    name: str
    title: str
    summary: str
    url: str
    tags: tuple[str, ...]
    nsfw: bool
    started_at: datetime
    ended_at: datetime | None = None
    peak_viewers: int | None = None
    replay_url: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG without metadata, small enough for every network. *alt* says what it shows."""

    data: bytes = field(repr=False)
    width: int
    height: int
    alt: str = ""
    mime: ClassVar[str] = "image/jpeg"
    file_name: ClassVar[str] = "stream.jpg"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the network gave back. *extra* holds further ids that an edit or a removal needs. *note*
    is a remark for the operator, such as why the post went without its picture.
    """

    id: str
    url: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """What one destination is to show, worded once and the same on every try that may be up.

    *key* names the row; *wire_key* is what an idempotency key is made from: it changes after a
    definite refusal, since some servers replay a refusal with the key. *began_at* is when the
    broadcast began and never changes, *worded_at* is when these words were chosen. *doubtful_since*
    is when the first try left of which no clear answer came, None if there was none. *edition*
    counts how often it was put up again after it was taken away. *mood* says
    whether the words describe a stream that is live or one that has ended. An edit brings no
    *picture*: it keeps the one that is there. *show* is what the words are about; an alert has
    none. A *test* pings nobody.
    """

    key: str
    moment: Moment
    mood: Moment
    text: str
    began_at: datetime
    worded_at: datetime
    wire_key: str
    edition: int = 0
    card: Card | None = None
    doubtful_since: datetime | None = None
    reply_to: Receipt | None = None
    picture: Picture | None = None
    show: Show | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are on a network. *notes* are remarks for the operator, such as a missing scope.
    *ends* is when its credentials do, where that is known and they do.
    """

    handle: str
    url: str = ""
    notes: tuple[str, ...] = ()
    ends: datetime | None = None


class DeliveryError(Exception):
    """A post was not confirmed. str() is for the operator, and holds no secret and no URL."""


class TryLater(DeliveryError):
    """Certainly not posted; the same post may be accepted later.

    *wait* is how long the network asked us to stay away, zero if it did not say. *spent* says that
    the idempotency key of this try is of no use any more.
    """

    def __init__(self, reason: str, wait: timedelta = timedelta(), *, spent: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.spent = wait, spent


class Refused(DeliveryError):
    """Certainly not posted, and will not be until someone changes something.

    *closes* says that the account itself is of no use until its credentials change (401, 403, a
    webhook that is gone), so that nothing more is sent there.
    """

    def __init__(self, reason: str, *, closes: bool = False) -> None:
        super().__init__(reason)
        self.closes = closes


class Unsure(DeliveryError):
    """The post left us and no clear answer came back: it may be up."""


class Gone(DeliveryError):
    """What we wanted to change is no longer there: a person deleted it."""


class Memory(Protocol):
    """What a destination may keep between restarts, such as an encrypted login session."""

    def get(self, name: str) -> str | None: ...
    def put(self, name: str, value: str) -> None: ...


class ForgetfulMemory:
    """A Memory that lasts as long as the object: for `announcer check` and for tests."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def put(self, name: str, value: str) -> None:
        self._values[name] = value


@dataclass(frozen=True, slots=True)
class Message:
    """What subscribers are to be told: *said* of *topic*, which is the same for all that one post
    ever says. Both are short words that a network makes.
    """

    topic: str
    said: str


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One who asked to be told. *sealed* is how to reach it, which only its network can read.

    *tries* is how often it was tried with the message in question, *not_before* when it may be
    tried again. *steady*: it was reached the last time that there was news.
    """

    id: str
    sealed: str = field(repr=False)
    tries: int = 0
    not_before: datetime | None = None
    steady: bool = False


class Subscribers(Protocol):
    """Those of one destination, and what each was told last, so that a further try goes to the
    others only.
    """

    def add(self, id: str, sealed: str, most: int) -> bool:  # noqa: A002  # as it is called
        """False if there are *most* already. Whoever is there is kept, with the new address."""

    def drop(self, ids: Collection[str]) -> None: ...
    def count(self) -> int: ...

    def without(self, message: Message) -> list[Subscriber]:
        """Those who were told nothing of its topic yet, those that are easily reached first."""

    def behind(self, message: Message) -> list[Subscriber]:
        """Those who were told something else of its topic."""

    def told(self, topic: str) -> int:
        """How many know of it."""

    def reached(self, message: Message, ids: Collection[str]) -> None: ...

    def missed(self, message: Message, tried: Collection[Subscriber]) -> None:
        """To be tried again, as their *tries* and *not_before* say."""

    def give_up(self, ids: Collection[str], most: int) -> None:
        """They missed this news. Whoever missed *most* in a row is dropped."""


class Network(BaseModel, ABC):
    """One account on one network. The fields are its settings; see the module's docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: ClassVar[str]
    """As in variables, destinations and folders of templates: `mastodon`. Two classes of one module
    may share it, such as a webhook and a bot: an account is of the one whose fields are set.
    """
    title: ClassVar[str]
    """As people write it: `Mastodon`."""
    repeat: ClassVar[Repeat]
    unit: ClassVar[str]
    """What `measure` counts, for people: "graphemes, a link counts 23"."""
    usual_limit: ClassVar[int]
    """Longest text, in `unit`, where the server does not tell its own."""
    ends_by: ClassVar[Literal["edit", "reply", "leave"]] = "leave"
    """What happens at the end of a stream unless the operator says otherwise."""
    replies: ClassVar[bool] = False
    """Whether a post can answer another one."""
    shows_pictures: ClassVar[bool] = True
    describes_pictures: ClassVar[bool] = True
    """Whether a picture has its alt text with it, for those who do not see it."""
    told_last: ClassVar[bool] = False
    """Whether its text names the posts on the other networks, and so waits until they are up."""
    dialect: ClassVar[Dialect] = Dialect.PLAIN
    """Of the texts that `escape` makes inert."""
    switched_on_by: ClassVar[tuple[str, ...]] = ()
    """Fields that show that the account is wanted. Empty: any field of its own does."""

    channels: NameList = setting(
        "Channels (Owncast servers) to announce here, by name. None means all.", default=()
    )
    when_unsure: Literal["stop", "repeat"] = setting(
        "What to do when a post may or may not be up and nobody can look: `stop` and leave it to "
        "you, or `repeat` and risk a second post.",
        default="stop",
    )

    when_ended: Literal["edit", "reply", "post", "remove", "leave"] | None = setting(
        "What to do with the post when the stream has ended: `edit` it, `reply` to it, `post` a "
        "second one, `remove` it or `leave` it. None means the network's own way.",
        default=None,
    )
    when_retitled: Literal["edit", "leave"] | None = setting(
        "What to do with the post when the title changes. None means `edit` where readers see "
        "edits, else `leave`.",
        default=None,
    )

    @field_validator("when_ended")
    @classmethod
    def _can_end_so(cls, ending: str | None) -> str | None:
        able = {
            "edit": issubclass(cls, Revises),
            "reply": cls.replies,
            "remove": issubclass(cls, Removes),
        }
        if ending is not None and not able.get(ending, True):
            raise ValueError(f"can not be {ending}: {cls.title} does not offer that")
        return ending

    @field_validator("when_retitled")
    @classmethod
    def _can_be_edited(cls, wish: str | None) -> str | None:
        if wish == "edit" and not issubclass(cls, Revises):
            raise ValueError(f"can not be edit: {cls.title} does not offer that")
        return wish

    _memory: Memory = PrivateAttr(default_factory=ForgetfulMemory)

    def remember_in(self, memory: Memory) -> None:
        """Keep what must outlive a restart in *memory*, from now on."""
        self._memory = memory

    @abstractmethod
    def publish(self, post: Post) -> Receipt:
        """Make it visible. Raises TryLater, Refused or Unsure."""

    @abstractmethod
    def check(self) -> Account:
        """Who am I there? Proves the credentials without posting. Raises a DeliveryError."""

    def _with_picture(
        self, post: Post, upload: Callable[[Picture], str], put: Callable[[str], Receipt]
    ) -> Receipt:
        """What *put* returns for what *upload* made of the picture of *post*, such as a media id;
        for "" if there is no picture, or it could not be uploaded, or *put* was refused with it.

        A picture never loses a post. What it goes with is kept before it leaves, so that a repeat
        is the same bytes.
        """
        if post.picture is None:
            return put("")
        decided: dict[str, str] = json.loads(self._memory.get("pictures") or "{}")

        def decide(name: str) -> str:
            decided[post.wire_key] = name
            recent = dict(list(decided.items())[-_DECISIONS:])
            self._memory.put("pictures", json.dumps(recent))
            return name

        note = ""
        name = decided.get(post.wire_key)
        if name is None:
            try:
                name = decide(upload(post.picture))
            except Exception as problem:  # noqa: BLE001  # whatever it is, the post matters more
                known = isinstance(problem, DeliveryError)
                note = str(problem) if known else type(problem).__name__
                name = decide("")
        try:
            receipt = put(name)
        except Refused as refusal:
            if not name or refusal.closes:
                raise
            note = str(refusal)
            receipt = put(decide(""))
        return replace(receipt, note=f"without its picture: {note}") if note else receipt

    def limit(self) -> int:
        """Longest text, in `unit`. May ask the server once in a while; never raises."""
        return self.usual_limit

    def measure(self, text: str) -> int:
        """The length of *text* as the network counts it."""
        return graphemes(text)

    def escape(self, text: str) -> str:
        """Text from Owncast, made inert in this network's dialect: no markup and no mention."""
        return break_mentions(text)

    def link(self, url: str) -> str:
        """How the stream's address is written in a text."""
        return url

    @property
    def warning(self) -> str:
        """The content warning that a text is folded behind; empty if there is none."""
        return ""

    @property
    def daily_posts(self) -> int | None:
        """How many publishing tries a day are allowed, None for no budget."""
        return None

    @property
    def repeats_every(self) -> timedelta | None:
        """How often the announcement is said again while the stream is live, None for never."""
        return None

    @property
    def answers_to(self) -> str:
        """What a viewer writes in chat to be told the posts; empty if nobody listens."""
        return ""


class Finds(ABC):
    """A network that lets us look whether a post is up already."""

    @abstractmethod
    def find(self, post: Post) -> Receipt | None:
        """The receipt of *post* if an earlier try put it up, else None. Raises if it can't tell."""


class Revises(ABC):
    """A network where a post can be changed and its readers see it."""

    @abstractmethod
    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        """Change what is visible. Harmless to repeat. Raises Gone if a person deleted it."""


class Removes(ABC):
    """A network where a post can be taken away."""

    @abstractmethod
    def remove(self, receipt: Receipt) -> None:
        """Take it away. Harmless to repeat: what is gone already is a success."""


class Shines(ABC):
    """A network with a mark for those who are live now, such as a pin. Whatever becomes of it, the
    announcement and its destination stay as they are.
    """

    badge_lasts: ClassVar[timedelta | None] = None
    """After which time it ends by itself; None if it never does."""

    @property
    @abstractmethod
    def wants_badge(self) -> bool:
        """Whether the operator switched it on."""

    @abstractmethod
    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:
        """Set it, at the time *at*, beside the post that *live* names. Harmless to repeat. Raises
        Gone if it was on, which *again* says, and a person took it away.
        """

    @abstractmethod
    def dim(self, live: Receipt, card: Card | None) -> None:
        """Clear ours, and nobody else's. Harmless to repeat: what is off already is a success."""


class Welcomes(ABC):
    """A network whose audience comes to a page of ours and asks to be told. Whoever knows the
    address of the page may do that.
    """

    @property
    @abstractmethod
    def public_key(self) -> str:
        """What a browser subscribes with."""

    @abstractmethod
    def keep_subscribers_in(self, subscribers: Subscribers) -> None:
        """From now on."""

    @abstractmethod
    def welcome(self, subscription: Mapping[str, Any]) -> bool:
        """Tell it from now on; harmless to repeat. False if there is no room for one more. Raises
        ValueError if it can not be used: it is a stranger's.
        """

    @abstractmethod
    def part_with(self, endpoint: str) -> None:
        """Tell it no more. Harmless to repeat."""


def break_mentions(text: str) -> str:
    """Every @name gets a zero-width space after the @, so that it notifies nobody."""
    return _MENTION.sub(lambda at: at.group() + ZERO_WIDTH_SPACE, text)


def squeezed(text: str) -> str:
    """Only the letters and digits of *text*: what is left of it after a network's own formatting.

    To recognise a post. All but the spaces where there is neither letter nor digit.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    return "".join(filter(str.isalnum, text)) or "".join(text.split())


def graphemes(text: str) -> int:
    """How many characters a person sees: extended grapheme clusters, as Bluesky counts them."""
    return len(_GRAPHEME.findall(text))
