"""Nostr: a note, and a live event beside it that is kept fresh.

Sources: nostr-protocol/nips 01 (events; OK and its prefixes), 09 (deletion), 10 (replies), 19
(bech32 names), 42 (AUTH), 53 (live events).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from bech32 import bech32_decode, bech32_encode, convertbits
from coincurve import PrivateKey
from pydantic import BeforeValidator, SecretStr, field_validator
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    Card,
    DeliveryError,
    Finds,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Shines,
    TryLater,
    Unsure,
    break_mentions,
)
from announcer.settings import is_private, setting

PROFILE, NOTE, DELETION, LIVE_EVENT, AUTHENTICATION = 0, 1, 5, 30311, 22242
A_RELAY = 8.0
"""Seconds for one relay: ten that are dead must not use up the time of a try."""
MOST_RELAYS = 10
MESSAGE = 256 * 1024
"""Bytes of one message of a relay."""

_REFERENCE = re.compile(r"(?<=nostr:)(?=n)", re.IGNORECASE)
_TAG = re.compile(r"(?<!\w)#(\w+)")
_LATER = ("rate-limited:", "error:")
_KEY_REFUSED = ("restricted:", "blocked:", "mute:", "auth-required:")

Event = dict[str, Any]


def _addresses(value: object) -> object:
    if isinstance(value, str):
        return tuple(one for one in re.split(r"[\s,]+", value) if one)
    return value


class Nostr(Network, Finds, Removes, Shines):
    """Posts a note to the relays that you name, with a live event (NIP-53) beside it.

    1. Make a key for your stream with any Nostr app. A key is the whole identity and can never be
       taken back, so it should not be the one that you write with yourself.
    2. Set `NOSTR_PRIVATE_KEY` to it: `nsec1...` or 64 hex digits.
    3. Set `NOSTR_RELAYS` to the addresses of relays where that key may write, with commas between
       them, such as `wss://relay.one.example, wss://relay.two.example`. Ten at most.

    Each relay is judged by itself: the start is told as soon as one of them has it, and history
    names those that have not. Notes can not be edited, so the end of a stream is told as a reply.
    The live event is what live pages of Nostr show. It is renewed while you are live and says at
    the end that it is over; `NOSTR_LIVE_EVENT=off` leaves it out. To take a note away is a request
    that relays honour if they like.
    """

    name = "nostr"
    title = "Nostr"
    repeat = Repeat.HARMLESS
    ends_by = "reply"
    replies = True
    shows_pictures = False  # a note shows what is at an address; there is nowhere to put a file
    unit = "characters"
    usual_limit = 5000  # ours: relays limit a whole message, most of them to 64 kB or more
    badge_lasts: ClassVar[timedelta] = timedelta(hours=1)
    """Without news for so long, clients may take a live event for over."""

    private_key: SecretStr = setting("Private key: `nsec1...` or 64 hex digits.")
    relays: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = setting(
        "Addresses of the relays, with commas between them."
    )
    live_event: Literal["on", "off"] = setting(
        "Whether a live event (NIP-53) stands beside the note while the stream runs.", default="on"
    )

    @field_validator("private_key")
    @classmethod
    def _is_a_key(cls, key: SecretStr) -> SecretStr:
        _private(key)
        return key

    @field_validator("relays")
    @classmethod
    def _are_relays(cls, relays: tuple[str, ...]) -> tuple[str, ...]:
        if not 0 < len(relays) <= MOST_RELAYS:
            raise ValueError(f"must name one relay at least and {MOST_RELAYS} at most")
        for relay in relays:
            _check_address(relay)
        return tuple(dict.fromkeys(relays))

    @property
    def wants_badge(self) -> bool:
        return self.live_event == "on"

    def publish(self, post: Post) -> Receipt:
        note = self._note(post)
        missing = self._tell(note)
        remark = f"not on {'; '.join(missing)}" if missing else ""
        return replace(_receipt(post, note), note=remark)

    def find(self, post: Post) -> Receipt | None:
        """The id is made of what the note says, so it is enough to ask for that one."""
        note, doubts = self._note(post), []
        for relay in self.relays:
            try:
                with wire.nothing_posted(), _open(relay) as there:
                    if there.asks_for({"ids": [note["id"]]}):
                        return _receipt(post, note)
            except DeliveryError as problem:
                doubts.append(f"{_host(relay)}: {problem}")
        if doubts:
            raise TryLater("; ".join(doubts))
        return None

    def remove(self, receipt: Receipt) -> None:
        self._tell(self._signed(DELETION, "", [["e", receipt.id], ["k", "1"]], datetime.now(UTC)))

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # the newest replaces
        self._tell(self._live_event(live, card, "live", at))

    def dim(self, live: Receipt, card: Card | None) -> None:
        now = datetime.now(UTC)
        self._tell(self._live_event(live, card, "ended", now, ["ends", _seconds(now)]))

    def check(self) -> Account:
        """Names the relays that can not be reached. If they take our notes, only a note tells."""
        profile: Event = {}
        silent: list[str] = []
        for relay in self.relays:
            try:
                with wire.nothing_posted(), _open(relay) as there:
                    found = there.asks_for({"kinds": [PROFILE], "authors": [self._public]})
                    profile = profile or next(iter(found), {})
            except DeliveryError as problem:
                silent.append(f"{_host(relay)} can not be reached: {problem}")
        if len(silent) == len(self.relays):
            raise TryLater("; ".join(silent))
        named = _bech32("npub", self._public)
        name = ""
        with suppress(ValueError, TypeError, KeyError):  # what a profile says is anybody's JSON
            name = wire.plain(json.loads(profile["content"])["name"], 60)
        return Account(name or named, f"https://njump.me/{named}", tuple(silent))

    def escape(self, text: str) -> str:
        """A name in bech32 behind `nostr:` would become somebody's mention."""
        return _REFERENCE.sub(ZERO_WIDTH_SPACE, break_mentions(text))

    def measure(self, text: str) -> int:
        return len(text)

    @property
    def _public(self) -> str:
        return _private(self.private_key).public_key.format(compressed=True)[1:].hex()

    def _note(self, post: Post) -> Event:
        tags = [["t", tag.lower()] for tag in dict.fromkeys(_TAG.findall(post.text))]
        if post.card:
            tags.append(["r", post.card.url])
        if post.reply_to:
            tags += [["e", post.reply_to.id, "", "root"], ["p", self._public]]
        return self._signed(NOTE, post.text, tags, post.worded_at)

    def _live_event(
        self, live: Receipt, card: Card | None, status: str, at: datetime, *more: list[str]
    ) -> Event:
        if card is None:
            raise Refused("a live event needs the address of the stream: set OWNCAST_URL")
        tags = [
            ["d", live.extra["show"]],
            ["title", card.title],
            ["summary", card.description],
            ["image", f"{card.url}/thumbnail.jpg"],
            ["streaming", f"{card.url}/hls/stream.m3u8"],
            ["service", card.url],
            ["starts", live.extra["starts"]],
            ["status", status],
            ["p", self._public, "", "Host"],
            ["relays", *self.relays],
            *more,
        ]
        # The newest counts, and of two within a second the one with the lower id (NIP-01).
        last = datetime.fromtimestamp(int(self._memory.get("live event") or 0), UTC)
        newer = max(at, last + timedelta(seconds=1))
        self._memory.put("live event", _seconds(newer))
        return self._signed(LIVE_EVENT, "", tags, newer)

    def _signed(self, kind: int, content: str, tags: list[list[str]], at: datetime) -> Event:
        """The same words at the same time are the same bytes: nothing in it is random."""
        made, public = int(at.timestamp()), self._public
        plain = [0, public, made, kind, tags, content]
        digest = hashlib.sha256(_json(plain).encode()).digest()
        return {
            "id": digest.hex(),
            "pubkey": public,
            "created_at": made,
            "kind": kind,
            "tags": tags,
            "content": content,
            "sig": _private(self.private_key).sign_schnorr(digest, digest).hex(),
        }

    def _tell(self, event: Event) -> list[str]:
        """Gives *event* to every relay. Those that have not taken it, with their reasons.

        Raises if none has: Unsure if it may be on one, TryLater if one may take it later.
        """
        problems: dict[str, DeliveryError] = {}
        for relay in self.relays:
            try:
                with _open(relay) as there:
                    there.gives(event, self._proof)
            except DeliveryError as problem:
                problems[_host(relay)] = problem
        told = [f"{relay} ({problem})" for relay, problem in problems.items()]
        if len(problems) < len(self.relays):
            return told
        reasons = "; ".join(told)
        kinds = [type(problem) for problem in problems.values()]
        if Unsure in kinds:
            raise Unsure(reasons)
        waits = [problem.wait for problem in problems.values() if isinstance(problem, TryLater)]
        if waits:
            raise TryLater(reasons, max(waits))
        closes = (isinstance(one, Refused) and one.closes for one in problems.values())
        raise Refused(reasons, closes=all(closes))

    def _proof(self, relay: str, challenge: str) -> Event:
        tags = [["relay", relay], ["challenge", challenge]]
        return self._signed(AUTHENTICATION, "", tags, datetime.now(UTC))


def _receipt(post: Post, note: Event) -> Receipt:
    # The live event is made of these: whoever sets it is told no more than the card.
    extra = {"show": post.key.partition("/")[0], "starts": _seconds(post.began_at)}
    return Receipt(note["id"], f"https://njump.me/{_bech32('note', note['id'])}", extra)


@dataclass(frozen=True)
class _Relay:
    """One that we talk to."""

    address: str
    line: wire.Line
    socket: ClientConnection

    def says(self, *words: object) -> None:
        self.socket.send(_json(list(words)))

    def hears(self) -> list[Any]:
        """Its next message. Raises one of the errors if that is none."""
        try:
            said = json.loads(self.socket.recv(timeout=min(A_RELAY, wire.READ)))
        except (ValueError, RecursionError):
            raise self.line.broke("it says what is no Nostr") from None
        if not isinstance(said, list) or not said:
            raise self.line.broke("it says what is no Nostr")
        return said

    def gives(self, event: Event, proof: Callable[[str, str], Event]) -> None:
        """Returns once it has *event*, now or since before. *proof* answers its challenge."""
        challenge, proven = "", False
        self.line.leaves()
        self.says("EVENT", event)
        while True:
            match self.hears():
                case ["AUTH", str(said)]:
                    challenge = said
                case ["OK", id_, taken, *words] if id_ == event["id"]:
                    reason = wire.plain(words[0] if words else "")
                    if taken is True or reason.startswith("duplicate:"):
                        return self.line.answered()
                    if not (reason.startswith("auth-required:") and challenge and not proven):
                        raise _refusal(reason)
                    proven = True
                    self.says("AUTH", proof(self.address, challenge))
                    self.says("EVENT", event)

    def asks_for(self, what: dict[str, Any]) -> list[Event]:
        self.says("REQ", "ours", {**what, "limit": 1})
        found: list[Event] = []
        while True:
            match self.hears():
                case ["EVENT", "ours", dict(event)]:
                    found.append(event)
                case ["EOSE", "ours", *_]:
                    return found
                case ["CLOSED", "ours", *words]:
                    raise _refusal(wire.plain(words[0] if words else ""))


@contextmanager
def _open(relay: str) -> Iterator[_Relay]:
    parts = urlsplit(relay)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    with (
        wire.conversation(host, port, total=A_RELAY, breaks=(WebSocketException,)) as line,
        connect(
            relay,
            sock=line.sock,
            ssl=wire.tls() if secure else None,
            proxy=None,  # the line has gone through it
            compression=None,
            open_timeout=min(A_RELAY, wire.READ),
            ping_interval=None,
            close_timeout=1,
            max_size=MESSAGE,
        ) as socket,
    ):
        yield _Relay(relay, line, socket)


def _refusal(reason: str) -> DeliveryError:
    """By the machine-readable prefixes of NIP-01. One without is final, since it did answer."""
    if reason.startswith(_LATER):
        return TryLater(reason)
    return Refused(reason or "it gives no reason", closes=reason.startswith(_KEY_REFUSED))


def _private(key: SecretStr) -> PrivateKey:
    """Raises ValueError."""
    text = key.get_secret_value().strip()
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        return PrivateKey(bytes.fromhex(text))
    prefix, data = bech32_decode(text)
    raw = convertbits(data or [], 5, 8, False)
    if prefix != "nsec" or raw is None or len(raw) != 32:
        raise ValueError("must be a private key: nsec1... or 64 hex digits")
    return PrivateKey(bytes(raw))


def _check_address(relay: str) -> None:
    """Raises ValueError."""
    try:
        parts = urlsplit(relay)
        usable = parts.scheme in ("wss", "ws") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be addresses like wss://relay.example")
    if parts.scheme == "ws" and not is_private(parts.hostname or ""):
        raise ValueError("would be overheard: use wss://")


def _host(relay: str) -> str:
    return urlsplit(relay).netloc


def _bech32(prefix: str, hexadecimal: str) -> str:
    return bech32_encode(prefix, convertbits(bytes.fromhex(hexadecimal), 8, 5) or [])


def _json(value: object) -> str:
    """As NIP-01 writes it, for the id and on the wire."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
