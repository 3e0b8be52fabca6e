"""The contract of a network: a Post goes in; a Receipt or one of four errors comes out.

A network is one file in `announcer/networks/`: a class whose fields are its settings, whose
docstring is its set-up guide, and whose few methods are its I/O. Retrying, wording, shortening,
logging and storing are somebody else's job. Nothing here touches the world.
"""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Literal, Protocol

import regex
from pydantic import BaseModel, ConfigDict, PrivateAttr

from announcer.settings import NameList, setting

ZERO_WIDTH_SPACE = "\u200b"
_MENTION = regex.compile(r"[@＠](?=\w)")
_GRAPHEME = regex.compile(r"\X")


class Moment(StrEnum):
    """What a post tells of: `live` is kept true until the end, `ended` is a second post."""

    LIVE = "live"
    ENDED = "ended"


class Repeat(StrEnum):
    """What a second, identical publish does. It decides what follows an `Unsure`."""

    HARMLESS = "harmless"  # the network folds it into the first
    WINDOW = "window"  # folded for a while, on servers that honour the key; `find` first
    FINDABLE = "findable"  # it doubles, but `find` tells whether the first one is up
    DOUBLES = "doubles"  # it doubles, and nobody can look


@dataclass(frozen=True, slots=True)
class Card:
    """What a link preview shows. Plain text, already cleaned, not escaped for any dialect."""

    url: str
    title: str
    description: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the network gave back. *extra* holds further ids that an edit or a removal needs."""

    id: str
    url: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Post:
    """What one destination is to show, worded once and the same on every try that may be up.

    *key* names the row; *wire_key* is what an idempotency key is made from: it changes after a
    definite refusal, since some servers replay a refusal with the key. *began_at* is when the
    broadcast began and never changes, *worded_at* is when these words were chosen. *doubtful_since*
    is when the first try left of which no clear answer came, None if there was none. *mood* says
    whether the words describe a stream that is live or one that has ended. A *test* pings nobody.
    """

    key: str
    moment: Moment
    mood: Moment
    text: str
    began_at: datetime
    worded_at: datetime
    wire_key: str
    card: Card | None = None
    doubtful_since: datetime | None = None
    reply_to: Receipt | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are on a network. *notes* are remarks for the operator, such as a missing scope."""

    handle: str
    url: str = ""
    notes: tuple[str, ...] = ()


class DeliveryError(Exception):
    """A post was not confirmed. str() is for the operator, and holds no secret and no URL."""


class TryLater(DeliveryError):
    """Certainly not posted; the same post may be accepted later.

    *wait* is how long the network asked us to stay away, zero if it did not say.
    """

    def __init__(self, reason: str, wait: timedelta = timedelta()) -> None:
        super().__init__(reason)
        self.wait = wait


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


class Network(BaseModel, ABC):
    """One account on one network. The fields are its settings; see the module's docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: ClassVar[str]
    """As in variables and destinations: `mastodon`."""
    title: ClassVar[str]
    """As people write it: `Mastodon`."""
    repeat: ClassVar[Repeat]
    unit: ClassVar[str]
    """What `measure` counts, for people: "graphemes, a link counts 23"."""
    usual_limit: ClassVar[int]
    """Longest text, in `unit`, where the server does not tell its own."""
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
    def daily_posts(self) -> int | None:
        """How many publishing tries a day are allowed, None for no budget."""
        return None


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
