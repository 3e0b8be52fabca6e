"""The one door out, and what each failure there means.

Every request to the world goes through `Session`, those of Mastodon.py and tweepy too. It keeps
what plain requests does not: connect, read and total limits, a size cap after inflating, no
redirects, no proxies or passwords from the environment, and only the hosts it was made for.
Sources: requests 2.34 sessions.py and adapters.py, urllib3 2.8 connection.py and response.py.
"""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError

from announcer.network import DeliveryError, Refused, TryLater, Unsure

CONNECT, READ, TOTAL = 5.0, 20.0, 30.0
"""Seconds to connect, seconds without a byte, seconds in all for one request."""
SIZE = 2_000_000
"""Bytes of an answer, after inflating, unless a session allows more."""
LATER = frozenset({407, 408, 425, 429, 503, 511})
"""Certainly not posted, and may work later; 407 and 511 come from a proxy on the way."""
LONGEST_WAIT = timedelta(days=1)
RESETS = ("X-RateLimit-Reset", "RateLimit-Reset", "x-rate-limit-reset", "x-user-limit-24hour-reset")

_connection = threading.local()
_turn = threading.local()


class _TurnOver(Exception):
    """No OSError, unlike requests' own: urllib3 and requests would take it for a network's."""


class TurnOver(requests.RequestException):
    """It was too late to begin with this request, so nothing of it that could count has left."""


class _Watched:
    """Tells this thread which connection it is using, so that a timer can cut it, and lets nothing
    begin after this thread's turn.
    """

    sock: socket.socket | None

    def connect(self) -> None:
        _connection.now = self
        super().connect()  # type: ignore[misc]  # a mixin for urllib3's two connections
        # An answer without a length, which ends with the connection, takes the socket with it.
        _connection.sock = self.sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        _connection.now, _connection.sock = self, self.sock
        super().request(*args, **kwargs)  # type: ignore[misc]  # as above

    def send(self, data: Any) -> None:
        """Called for the head and for the body of a request, and for a CONNECT to a proxy."""
        if self.sock is None:
            self.connect()  # before we look at the clock: it may take seconds
        if _turn_is_over():  # a head without its body has done nothing yet either
            raise _TurnOver
        super().send(data)  # type: ignore[misc]  # as above


class _Plain(_Watched, HTTPConnection): ...


class _Tls(_Watched, HTTPSConnection): ...


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class Adapter(HTTPAdapter):
    """The last piece of ours before the socket. A test puts its fake network in place of `send`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class Session(requests.Session):
    """A requests session that may speak to *origin* only (scheme, host and port of that address).

    *instead_of* is an origin that a library insists on; requests to it go to *origin*, changed
    before they are signed. *total* is in seconds, *size* in bytes. One session serves one thread at
    a time.
    """

    proxy: ClassVar[str | None] = None
    """The operator's `ANNOUNCER_PROXY`, for every session."""

    def __init__(
        self,
        origin: str,
        *,
        instead_of: str | None = None,
        total: float | None = None,
        size: int = SIZE,
    ) -> None:
        super().__init__()
        self._total, self._size = total, size
        self.trust_env = False
        self.max_redirects = 0  # raises TooManyRedirects; allow_redirects=False would look like ok
        self.headers["Accept-Encoding"] = "identity"
        self.headers["User-Agent"] = "Announcer (go-live announcements for Owncast)"
        self._origin, self._instead_of = origin.rstrip("/"), instead_of
        self._place = _place(origin)
        if self.proxy and not _is_loopback(self._place[1]):
            self.proxies = {"http": self.proxy, "https": self.proxy}
        adapter = Adapter(max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override]  # the libraries pass everything by keyword
        self, method: str, url: str, *args: Any, **kwargs: Any
    ) -> requests.Response:
        if self._instead_of and url.startswith(self._instead_of):
            url = self._origin + url[len(self._instead_of) :]
        return super().request(method, url, *args, **kwargs)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        if _place(request.url or "") != self._place:
            raise requests.exceptions.InvalidURL("not a configured host", request=request)
        total = self._total or TOTAL
        kwargs["timeout"] = (min(CONNECT, total), min(READ, total))
        kwargs["stream"] = True
        if _turn_is_over():
            raise TurnOver("too late to begin", request=request)
        _connection.now = _connection.sock = None
        mine, late, over = _connection.__dict__, threading.Event(), threading.Event()

        def cut() -> None:  # the read limit never ends an answer that drips a byte now and then
            late.set()
            while not over.is_set():  # again: a slow resolver may not have connected us yet
                sock = getattr(mine.get("now"), "sock", None) or mine.get("sock")
                if sock is not None:
                    with suppress(OSError):  # it was closed meanwhile
                        sock.shutdown(socket.SHUT_RDWR)
                over.wait(0.1)

        timer = threading.Timer(total, cut)
        timer.daemon = True
        timer.start()
        try:
            answer = super().send(request, **kwargs)
            _read(answer, self._size)
        except requests.RequestException:
            raise
        except _TurnOver:
            raise TurnOver("too late to begin", request=request) from None
        except Exception as problem:  # urllib3's and the socket's, of many classes
            raise requests.ConnectionError(problem, request=request) from problem
        finally:
            over.set()
            timer.cancel()
        if late.is_set():
            raise requests.ReadTimeout("over the total limit", request=request)
        if (heard := mine.get("heard")) is not None:
            heard.append(answer)
        return answer


@contextmanager
def not_after(deadline: datetime) -> Iterator[None]:
    """In here no request of this thread begins after *deadline*; one that would is TurnOver.

    Looked at right before the first byte leaves, after a connection is made: a process that was
    frozen past its lease must say nothing when it wakes. Both clocks count, since the one of the
    wall may be set back, and the other stands still while the machine sleeps. Of several around
    each other the earliest counts.
    """
    before = getattr(_turn, "ends", None)
    monotonic = time.monotonic() + (deadline - _now()).total_seconds()
    _turn.ends = (
        (deadline, monotonic)
        if before is None
        else (min(deadline, before[0]), min(monotonic, before[1]))
    )
    try:
        yield
    finally:
        _turn.ends = before


def _turn_is_over() -> bool:
    ends = getattr(_turn, "ends", None)
    return ends is not None and (_now() > ends[0] or time.monotonic() > ends[1])


def _now() -> datetime:
    return datetime.now(UTC)


def _place(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _read(answer: requests.Response, size: int) -> None:
    """Read the body up to *size*. read1 takes what is there; iter_content would wait for more."""
    if answer._content_consumed:  # type: ignore[attr-defined]  # what requests itself looks at
        return
    body = bytearray()
    while piece := answer.raw.read1(65536, decode_content=True):
        body += piece
        if len(body) > size:
            answer.close()
            raise requests.exceptions.ContentDecodingError("answer too big", request=answer.request)
    answer._content = bytes(body)
    answer._content_consumed = True  # type: ignore[attr-defined]  # as above
    answer.raw.release_conn()


def never_left(problem: BaseException | None) -> bool:
    """Whether certainly nothing was sent. ConnectionError alone covers cut off half way, too."""
    if isinstance(problem, requests.ConnectTimeout | requests.exceptions.InvalidURL | TurnOver):
        return True
    cause = problem.args[0] if isinstance(problem, requests.ConnectionError) and problem.args else 0
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    if isinstance(reason, NewConnectionError):  # refused, no route, no such name
        return True
    # A certificate that does not hold: the handshake failed before the first byte of ours.
    return bool(reason and reason.args and isinstance(reason.args[0], ssl.SSLCertVerificationError))


def from_exception(problem: BaseException | None) -> DeliveryError:
    """The error that a failure without an answer means. Its text repeats nothing of *problem*,
    which quotes the address with its path and query.
    """
    if isinstance(problem, requests.TooManyRedirects):
        return Refused("it answers with a redirect: set the final address")
    if isinstance(problem, requests.exceptions.InvalidURL):
        return Refused("this host is not configured")
    if isinstance(problem, TurnOver):
        return TryLater("our turn is over")
    if never_left(problem):
        if isinstance(problem, requests.exceptions.SSLError):
            return TryLater("its certificate does not hold (or our clock is wrong)")
        if isinstance(problem, requests.ConnectTimeout):
            return TryLater("no connection in time")
        return TryLater("no connection")
    if isinstance(problem, requests.Timeout):
        return Unsure("no answer in time")
    if isinstance(problem, requests.exceptions.ContentDecodingError):
        return Unsure("an answer that is too big or can not be read")
    return Unsure("the connection broke before the answer")


def from_status(
    status: int, said: str, headers: Mapping[str, str], *, closes: bool | None = None
) -> DeliveryError:
    """The error that an HTTP status of 300 or more means. *said* is the network's own reason.

    401 and 403 close the destination, unless *closes* says otherwise: a 403 page of HTML is some
    firewall's mood and not the network's word.
    """
    reason = f"{status} {plain(said)}".strip()
    if status in LATER:
        return TryLater(reason, wait_hint(headers))
    if status >= 500:
        return Unsure(reason)
    if 300 <= status < 400:
        return Refused(f"{status}: it answers with a redirect: set the final address")
    if closes is None:
        page = "html" in headers.get("Content-Type", "")
        closes = status == 401 or (status == 403 and not page)
    return Refused(reason, closes=closes)


def json_of(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of a good answer. Raises Unsure for anything else, whatever the status said:
    a captive portal answers 200, too.
    """
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise Unsure(f"{answer.status_code}, but no JSON in it") from None
    if not isinstance(body, dict):
        raise Unsure(f"{answer.status_code}, but no JSON object in it")
    return body


def error_json(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of a bad answer, empty if there is none."""
    try:
        return json_of(answer)
    except Unsure:
        return {}


@contextmanager
def nothing_posted() -> Iterator[None]:
    """Around requests that post nothing (a login, a look): an Unsure there is a TryLater."""
    try:
        yield
    except Unsure as problem:
        raise TryLater(str(problem)) from None


def answer_to(
    call: Callable[[], object], meaning: Callable[[requests.Response], DeliveryError]
) -> requests.Response:
    """The answer to the last request of *call*, which is a library's; else one of the errors.

    What came decides, by *meaning*, and not what the library makes of it: of Mastodon.py's classes
    one covers nearly everything, tweepy stumbles over odd bodies, and either raises after a post
    that is up.
    """
    answers: list[requests.Response] = []
    _connection.heard = answers
    try:
        call()
    except Exception as problem:  # of any class, see above; what is no answer is raised again
        if answers:
            raise meaning(answers[-1]) from None
        for cause in (problem, problem.__context__):  # Mastodon.py hides it there
            if isinstance(cause, requests.RequestException):
                raise from_exception(cause) from None
        raise
    finally:
        _connection.heard = None
    if answers[-1].status_code >= 300:  # both take a 3xx without an address for a success
        raise meaning(answers[-1])
    return answers[-1]


@contextmanager
def answered() -> Iterator[None]:
    """Around one of our own requests: what broke on the way becomes one of the four errors."""
    try:
        yield
    except requests.RequestException as problem:
        raise from_exception(problem) from None


def wait_hint(headers: Mapping[str, str]) -> timedelta:
    """How long an answer asks us to stay away, zero if it does not say or can not be read.

    Reads Retry-After (seconds, fractions, HTTP date), X-RateLimit-Reset-After (seconds), and the
    reset times X-RateLimit-Reset (Mastodon: ISO 8601; Discord: epoch), RateLimit-Reset (Bluesky:
    epoch), x-rate-limit-reset and x-user-limit-24hour-reset (X); of several, the latest. A time is
    compared with the server's own Date, so that our clock does not matter. Never more than a day.
    """
    reader = requests.structures.CaseInsensitiveDict(headers)
    server = http_date(reader.get("Date", "")) or datetime.now(UTC)
    waits = [timedelta()]
    for name in ("Retry-After", "X-RateLimit-Reset-After"):
        value = reader.get(name, "")
        seconds = _seconds(value)
        if seconds is not None:
            waits.append(timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds())))
        elif (at := http_date(value)) is not None:
            waits.append(at - server)
    for name in RESETS:
        value = reader.get(name, "")
        if (
            name == "x-user-limit-24hour-reset"
            and reader.get("x-user-limit-24hour-remaining") != "0"
        ):
            continue  # the daily limit is not what stopped us
        seconds = _seconds(value)
        at = iso_time(value) if seconds is None else _epoch(seconds)
        if at is not None:
            waits.append(at - server)
    return min(max(waits), LONGEST_WAIT)


def _seconds(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\s*\d{1,12}(\.\d{1,12})?\s*", value) else None


def _epoch(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def iso_time(value: str) -> datetime | None:
    """The time that *value* writes in ISO 8601, None if it can not be read or has no zone."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else None


def http_date(value: str) -> datetime | None:
    """The time that *value* writes as HTTP does, None if it can not be read."""
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def plain(text: object, longest: int = 200) -> str:
    """A network's own words made fit for a log line or a page: one line, printable, not long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)[:2000]).split())
    return words if len(words) <= longest else words[: longest - 1] + "…"
