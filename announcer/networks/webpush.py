"""Web Push: a notification in the browser of everybody who asked for it, and nobody in between but
the push service of that browser.

A push goes to each of them by itself, so a try is never all or nothing: whom it reached is stored,
and another try goes to the others. Who they are was chosen by visitors: no service that one of them
named may see more than its own message, or hold up the others.
Sources: RFC 8030 (TTL, Urgency, Topic), 8188 and 8291 (the body), 8292 (VAPID); W3C Push API.
"""

import base64
import hashlib
import json
import os
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from threading import local
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import http_ece  # type: ignore[import-untyped]  # ships no types
import requests
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02, VapidException  # type: ignore[import-untyped]  # ships no types
from pydantic import BeforeValidator, PrivateAttr, SecretStr, TypeAdapter, field_validator

from announcer import wire
from announcer.network import (
    Account,
    DeliveryError,
    Finds,
    Message,
    Moment,
    Network,
    Post,
    Receipt,
    Refused,
    Repeat,
    Revises,
    Subscriber,
    Subscribers,
    TryLater,
    Unsure,
    Welcomes,
)
from announcer.settings import BaseUrl, is_private, setting

AT_ONCE = 16
"""Pushes on their way together. A service answers within 0.1 to 0.3 s: 50 to 150 in a second."""
A_PUSH = 8.0
"""Seconds for one."""
TRIES = 8
"""After so many a subscriber has missed a message."""
AGAIN = timedelta(seconds=20)
"""Until those are tried again who were not reached, where others were."""
LONGEST_WAIT = timedelta(minutes=1)
"""However long a service asks for: it speaks for its own subscribers only."""
MISSED = 5
"""So much news in a row, and a subscriber is dropped."""
SILENT = 3
"""Pushes in a row without an answer, after which a try asks a service no more."""
SESSIONS = 8
"""That a thread keeps open."""
BATCH, MOMENT = 200, 1.0
"""Outcomes, or seconds, until what is known is stored."""
MOST = 10_000
"""Subscribers of one account."""
ANSWER = 64 * 1024
"""Bytes of what a service answers; only its status is looked at."""
BODY = 3993
"""Bytes of a message: 4096 when it is encrypted (RFC 8291, section 4)."""
WHILE_LIVE, AFTERWARDS = timedelta(hours=2), timedelta(hours=1)
"""How long a push service keeps it for a browser that is not there. The word of the end takes the
place of that of the start (Topic), so that nobody hears of a stream that is over.
"""
TOKEN = timedelta(hours=12)
"""RFC 8292: a day at most. Half of it lets a clock be wrong."""

_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,100}=*")
_SERVICE = TypeAdapter(tuple[BaseUrl, ...])


def _services(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _SERVICE.validate_python(tuple(one for one in re.split(r"[\s,]+", value) if one))
    if any(urlsplit(one).path for one in found):
        raise ValueError("must be addresses without a path, like https://push.example:8443")
    return found


class WebPush(Network, Finds, Revises, Welcomes):
    """Tells the browsers of those who press a button on a page of yours, without any third party.

    1. Make a key: `openssl rand -base64 32`. Set `WEBPUSH_PRIVATE_KEY` to what it says, and keep
       it: whoever subscribed did so with this key, and with another one has to do it again.
    2. Set `WEBPUSH_CONTACT` to how the push services of browser makers reach you if something is
       wrong: `mailto:you@example.org`, or `https://example.org`. Your audience does not see it.
    3. Let your web server pass `/push` and everything below it on to Announcer, with HTTPS:
       browsers allow notifications nowhere else. A folder before it is fine (`/news/push`), if
       `/news/static` is passed on, too.
    4. Link to that page. There is a button to be told, and the same to be told no more.

    The notification opens your stream; the picture on it is the thumbnail of your Owncast, unless
    the stream is for adults. At the end it says, without a sound, that the stream is over: browsers
    want every push to show something, so it can not just vanish, and who has put it away gets one
    quiet line. `WEBPUSH_WHEN_ENDED=leave` spares them that. A new title is not told, since it would
    come back for everybody who has put it away: `WEBPUSH_WHEN_RETITLED=edit` does that.

    A second account, `WEBPUSH__MUSIC__PRIVATE_KEY`, has its page at `/push/music`. An iPhone tells
    only who has put the page on the home screen, which the page explains.
    """

    name = "webpush"
    title = "Web Push"
    repeat = Repeat.HARMLESS  # the same topic for the service, the same tag on the screen
    ends_by = "edit"
    shows_pictures = False  # 4 kB have no room for one: the browser gets the thumbnail by itself
    unit = "bytes"
    usual_limit = 1200  # ours: a screen shows some 150 letters
    switched_on_by = ("private_key",)

    private_key: SecretStr = setting("Your key: 32 random bytes, in base64.")
    contact: str = setting("Where push services reach you: `mailto:...` or `https://...`.")
    services: Annotated[tuple[str, ...], BeforeValidator(_services)] = setting(
        "Addresses of push services of your own, with commas between them, that may be in your own "
        "network or at another port than 443. Those of the world need not be named.",
        default=(),
    )
    when_retitled: Literal["edit", "leave"] | None = setting(
        "What to do with the notification when the title changes.", default="leave"
    )

    _them: Subscribers | None = PrivateAttr(default=None)

    @field_validator("private_key")
    @classmethod
    def _is_a_key(cls, key: SecretStr) -> SecretStr:
        _signer(key)
        return key

    @field_validator("contact")
    @classmethod
    def _can_be_reached(cls, contact: str) -> str:
        somebody = Vapid02(ec.generate_private_key(ec.SECP256R1()))
        try:
            somebody.sign({"sub": contact, "aud": "https://push.example"})
        except VapidException:
            raise ValueError("must be mailto:you@example.org or https://example.org") from None
        return contact

    @property
    def public_key(self) -> str:
        point = _signer(self.private_key).public_key.public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        return base64.urlsafe_b64encode(point).rstrip(b"=").decode()

    def keep_subscribers_in(self, subscribers: Subscribers) -> None:
        self._them = subscribers

    def welcome(self, subscription: Mapping[str, Any]) -> bool:
        match subscription:
            case {"endpoint": str(endpoint), "keys": {"p256dh": str(key), "auth": str(secret)}}:
                reader = _Reader(endpoint, key, secret)
            case _:
                raise ValueError("no subscription")
        reader.prove(self.services)
        sealed = _vault(self.private_key).encrypt(json.dumps(reader.plain()).encode())
        return self._subscribers.add(_id(endpoint), sealed.decode(), MOST)

    def part_with(self, endpoint: str) -> None:
        self._subscribers.drop([_id(endpoint)])

    def publish(self, post: Post) -> Receipt:
        them, message = self._subscribers, Message(_topic(post), _said(post))
        waiting = them.without(message)
        urgent = post.mood is Moment.LIVE
        outcome = self._tell(
            message, _body(post, message, quiet=not urgent), waiting, urgent=urgent
        )
        know = them.told(message.topic)
        said = f"{know} told{outcome.remark}"
        if know and (further := [one for one in outcome.open if one.steady or not one.tries]):
            if post.doubtful_since is None:
                raise Unsure(said)
            raise TryLater(said, AGAIN if all(one.tries for one in further) else timedelta())
        if know:
            them.give_up([one.id for one in outcome.missed], MISSED)
        elif outcome.open:
            raise Unsure(said) if outcome.unclear else TryLater(said, outcome.wait)
        elif outcome.missed:
            raise Refused(f"nobody was reached{outcome.remark}")
        return Receipt(message.topic, note=said if outcome.remark or not know else "")

    def find(self, post: Post) -> Receipt | None:
        """Up is what one of them got. A push that was not answered may have come, too; it is gone
        from the service after WHILE_LIVE.
        """
        topic = _topic(post)
        return Receipt(topic) if self._subscribers.told(topic) else None

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        """For those who know of it; whoever came later has nothing to be put right."""
        them, message = self._subscribers, Message(receipt.id, _said(post))
        outcome = self._tell(message, _body(post, message, quiet=True), them.behind(message))
        if outcome.open:
            raise TryLater(f"changed for {outcome.told}{outcome.remark}", AGAIN)
        if outcome.missed and len(outcome.missed) == them.told(message.topic):
            raise Refused(f"nobody was reached{outcome.remark}")
        return receipt

    def check(self) -> Account:
        """Asks nobody: a push service answers only to who has something to tell."""
        if self._them is None:
            return Account(self.contact)
        count = self._them.count()
        notes = () if count else ("nobody has subscribed yet: link to the page /push",)
        return Account(f"{count} subscribed", "", notes)

    def measure(self, text: str) -> int:
        return len(text.encode())

    @property
    def _subscribers(self) -> Subscribers:
        if self._them is None:
            raise RuntimeError("nobody gave it a place for its subscribers")
        return self._them

    def _tell(
        self,
        message: Message,
        body: bytes,
        waiting: list[Subscriber],
        *,
        urgent: bool = False,
    ) -> "_Outcome":
        """Gives it to those whose time has come, many at once, and stores whom it reached."""
        now, outcome = datetime.now(UTC), _Outcome()
        due: list[Subscriber] = []
        for one in waiting:
            if one.tries >= TRIES:
                outcome.missed.append(one)
            elif one.not_before and one.not_before > now:
                outcome.open.append(one)
                outcome.waits.append(one.not_before - now)
            else:
                due.append(one)
        if not due:
            return outcome
        kept = int((WHILE_LIVE if urgent else AFTERWARDS).total_seconds())
        headers = {
            "TTL": str(kept),
            "Urgency": "high" if urgent else "normal",
            "Topic": message.topic,
        }
        heard, since = list[tuple[Subscriber, _Answer]](), time.monotonic()
        with (
            closing(_Carrier(self, body, headers)) as carrier,
            ThreadPoolExecutor(min(AT_ONCE, len(due)), "push") as pool,
        ):
            carry = wire.under_this_limit(carrier.carry)
            try:
                for done in as_completed([pool.submit(carry, one) for one in due]):
                    heard.append(done.result())
                    if len(heard) >= BATCH or time.monotonic() - since >= MOMENT:
                        outcome.settle(heard, self._subscribers, message)
                        heard, since = [], time.monotonic()
            except BaseException:  # what can not be stored is not sent
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        outcome.settle(heard, self._subscribers, message)
        return outcome


class _Verdict(Enum):
    TOLD = "told"
    GONE = "gone"
    LATER = "certainly not told, may be later"
    UNCLEAR = "may be told"
    REFUSED = "certainly not told, and never this"
    NOT_ASKED = "our time was over"


@dataclass(frozen=True)
class _Answer:
    verdict: _Verdict
    reason: str = ""
    wait: timedelta = timedelta()


@dataclass
class _Outcome:
    """Of a try. *open* are those who may yet be told, *missed* those who will not be."""

    told: int = 0
    gone: int = 0
    open: list[Subscriber] = field(default_factory=list)
    missed: list[Subscriber] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    waits: list[timedelta] = field(default_factory=list)
    unclear: bool = False

    @property
    def wait(self) -> timedelta:
        return min(self.waits, default=timedelta())

    @property
    def remark(self) -> str:
        """What is to be said of those who were not told; empty if there are none."""
        others = len(self.open) + len(self.missed)
        worst = ", ".join(f"{reason} ({times})" for reason, times in self.reasons.most_common(3))
        gone = f", {self.gone} gone" if self.gone else ""
        why = worst or ("they wait" if self.open else "tried often enough")
        return gone + (f", {others} not: {why}" if others else "")

    def settle(
        self, heard: Iterable[tuple[Subscriber, _Answer]], them: Subscribers, message: Message
    ) -> None:
        reached: list[str] = []
        gone: list[str] = []
        tried: list[Subscriber] = []
        for one, answer in heard:
            if answer.reason:
                self.reasons[answer.reason] += 1
            match answer.verdict:
                case _Verdict.TOLD:
                    reached.append(one.id)
                case _Verdict.GONE:
                    gone.append(one.id)
                case _Verdict.NOT_ASKED:
                    self.open.append(one)
                case _Verdict.REFUSED:
                    tried.append(replace(one, tries=TRIES))
                case _Verdict.LATER | _Verdict.UNCLEAR:
                    wait = min(answer.wait, LONGEST_WAIT)
                    again = datetime.now(UTC) + wait if wait else None
                    tried.append(replace(one, tries=one.tries + 1, not_before=again))
                    self.waits.append(wait)
            self.unclear = self.unclear or answer.verdict is _Verdict.UNCLEAR
        for one in tried:
            (self.open if one.tries < TRIES else self.missed).append(one)
        them.reached(message, reached)
        them.drop(gone)
        them.missed(message, tried)
        self.told += len(reached)
        self.gone += len(gone)


@dataclass(frozen=True)
class _Reader:
    """A browser, as it describes itself: where, and what it can decrypt."""

    endpoint: str = field(repr=False)
    key: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def origin(self) -> str:
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def plain(self) -> list[str]:
        return [self.endpoint, self.key, self.secret]

    def prove(self, services: Iterable[str]) -> None:
        """Raises ValueError if a push to it can not work, or goes where no visitor may send us."""
        if not (self.endpoint.isascii() and self.endpoint.isprintable()) or " " in self.endpoint:
            raise ValueError("no address")
        if len(self.endpoint) > 2000:
            raise ValueError("too long")
        parts = urlsplit(self.endpoint)
        host, port = parts.hostname or "", parts.port
        if not host or parts.fragment or "@" in parts.netloc or "\\" in self.endpoint:
            raise ValueError("no address")
        if self.origin not in services:
            if parts.scheme != "https" or port not in (None, 443) or ":" in host:
                raise ValueError("no address of a push service")
            if is_private(host):
                raise ValueError("in a network of its own")
        if len(_decoded(self.secret)) != 16:
            raise ValueError("no secret")
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _decoded(self.key))

    def encrypted(self, body: bytes) -> bytes:
        made: bytes = http_ece.encrypt(
            body,
            salt=os.urandom(16),
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=_decoded(self.key),
            auth_secret=_decoded(self.secret),
            version="aes128gcm",
        )
        return made


class _Carrier:
    """Carries one message to one subscriber after the other, in several threads."""

    def __init__(self, account: WebPush, body: bytes, headers: Mapping[str, str]) -> None:
        self._account, self._body = account, body
        self._headers = {
            **headers,
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
        }
        self._vault, self._signer = _vault(account.private_key), _signer(account.private_key)
        self._tokens: dict[str, Mapping[str, str]] = {}
        self._silent: Counter[str] = Counter()
        self._mine = local()
        self._open: list[OrderedDict[str, wire.Session]] = []

    def carry(self, one: Subscriber) -> tuple[Subscriber, _Answer]:
        try:
            reader = _Reader(*json.loads(self._vault.decrypt(one.sealed)))
        except InvalidToken:
            return one, _Answer(_Verdict.REFUSED, "subscribed with another key")
        if wire.turn_is_over():
            return one, _Answer(_Verdict.NOT_ASKED, "not asked yet")
        host = wire.plain(urlsplit(reader.endpoint).hostname or "", 60)
        if self._silent[reader.origin] >= SILENT:
            return one, _Answer(_Verdict.LATER, f"{host}: does not answer")
        answer = self._push(reader)
        silent = answer.verdict in (_Verdict.LATER, _Verdict.UNCLEAR) and not answer.wait
        self._silent[reader.origin] = self._silent[reader.origin] + 1 if silent else 0
        return one, replace(answer, reason=f"{host}: {answer.reason}" if answer.reason else "")

    def close(self) -> None:
        for sessions in self._open:
            for session in sessions.values():
                session.close()

    def _push(self, reader: _Reader) -> _Answer:
        """What it answers is not repeated: who stands there was chosen by a visitor."""
        headers = {**self._headers, **self._token(reader.origin)}
        body = reader.encrypted(self._body)
        try:
            answer = self._session(reader.origin).post(reader.endpoint, body, headers=headers)
        except requests.RequestException as problem:
            return _meaning(wire.from_exception(problem))
        if answer.status_code in (201, 202):
            return _Answer(_Verdict.TOLD)
        if answer.status_code in (404, 410):
            return _Answer(_Verdict.GONE)
        if answer.status_code < 300:
            return _Answer(_Verdict.UNCLEAR, f"{answer.status_code}, where 201 was due")
        return _meaning(wire.from_status(answer.status_code, "", answer.headers))

    def _token(self, origin: str) -> Mapping[str, str]:
        if origin not in self._tokens:
            until = int((datetime.now(UTC) + TOKEN).timestamp())
            claims = {"sub": self._account.contact, "aud": origin, "exp": until}
            self._tokens[origin] = self._signer.sign(claims)
        return self._tokens[origin]

    def _session(self, origin: str) -> wire.Session:
        """This thread's own, and still connected if it was there a moment ago."""
        if not hasattr(self._mine, "sessions"):
            self._mine.sessions = OrderedDict[str, wire.Session]()
            self._open.append(self._mine.sessions)
        sessions: OrderedDict[str, wire.Session] = self._mine.sessions
        if origin not in sessions:
            public_only = origin not in self._account.services
            sessions[origin] = wire.Session(
                origin, total=A_PUSH, size=ANSWER, public_only=public_only
            )
            if len(sessions) > SESSIONS:
                sessions.popitem(last=False)[1].close()
        sessions.move_to_end(origin)
        return sessions[origin]


def _meaning(problem: DeliveryError) -> _Answer:
    match problem:
        case TryLater(wait=wait):
            return _Answer(_Verdict.LATER, str(problem), wait)
        case Unsure():
            return _Answer(_Verdict.UNCLEAR, str(problem))
        case _:
            return _Answer(_Verdict.REFUSED, str(problem))


def _topic(post: Post) -> str:
    """32 letters, as many as there may be. The same for every try and every change of a post."""
    return _word(f"{post.key}#{post.edition}")


def _said(post: Post) -> str:
    """What a reader would call the same news, however its words were chosen."""
    return _word(f"{post.mood}\n{post.show.title if post.show else post.text}")


def _word(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:24]).decode()


def _body(post: Post, message: Message, *, quiet: bool) -> bytes:
    """What our service worker shows: JSON, with the first line of the text as its title."""
    title, _, text = post.text.partition("\n")
    said: dict[str, Any] = {
        "title": title,
        "body": text.strip(),
        "tag": message.topic,
        "at": round(post.worded_at.timestamp(), 3),  # the later one stays on the screen
        "quiet": quiet,
    }
    ended, show = post.mood is Moment.ENDED, post.show
    if post.card:
        said["url"] = show.replay_url if ended and show and show.replay_url else post.card.url
        said["icon"] = f"{post.card.url}/logo/external"
        if not ended and not (show and show.nsfw):
            said["image"] = (
                f"{post.card.url}/thumbnail.jpg?at={said['at']:.0f}"  # cached by address
            )
    for dispensable in ("image", "icon", ""):
        body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        if len(body) <= BODY:
            return body
        said.pop(dispensable, None)
    raise Refused(f"too long: {len(body)} bytes, and {BODY} fit into a push")


def _id(endpoint: str) -> str:
    """It tells nothing of the endpoint, which nobody can guess."""
    return hashlib.sha256(endpoint.encode("utf-8", "surrogatepass")).hexdigest()


def _signer(key: SecretStr) -> Vapid02:
    """Raises ValueError."""
    text = key.get_secret_value().strip().rstrip("=").replace("+", "-").replace("/", "_")
    if not _KEY.fullmatch(text):
        raise ValueError("must be 32 bytes in base64, as `openssl rand -base64 32` makes them")
    try:
        return Vapid02.from_raw(text.encode())
    except ValueError:
        raise ValueError("is no key of this curve: make another one") from None


def _vault(key: SecretStr) -> Fernet:
    """What is sealed with it can be read only by who has the key."""
    secret = _signer(key).private_key.private_numbers().private_value.to_bytes(32, "big")
    derived = HKDF(SHA256(), 32, salt=None, info=b"announcer: subscriptions").derive(secret)
    return Fernet(base64.urlsafe_b64encode(derived))


def _decoded(text: str) -> bytes:
    """Raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("no base64url")
    return base64.urlsafe_b64decode(text.rstrip("=") + "==")
