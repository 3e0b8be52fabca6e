"""The one door out.

Every request to the world goes through `Session`, those of Mastodon.py and tweepy too. It keeps
what plain requests does not: connect, read and total limits, a size cap after inflating, no
redirects, no proxies or passwords from the environment, and only the hosts it was made for.
`connection` is what it connects by, and `meaning` says what comes of it. `conversation` is the same
door for what is not HTTP. Whoever asks somebody finds all of it here.
Sources: requests 2.34 sessions.py and adapters.py, urllib3 2.8 response.py.
"""

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
import structlog
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from announcer import crashpoints
from announcer.connection import (
    NotPublic,
    PlainPool,
    PublicPlainPool,
    PublicTlsPool,
    TlsPool,
    TurnOver,
    limited,
    progress,
)
from announcer.connection import not_after as not_after
from announcer.connection import turn_is_over as turn_is_over
from announcer.connection import under_this_limit as under_this_limit
from announcer.line import Line as Line
from announcer.line import line
from announcer.line import tls as tls
from announcer.meaning import LONGEST_WAIT as LONGEST_WAIT
from announcer.meaning import NotSent as NotSent
from announcer.meaning import error_json as error_json
from announcer.meaning import from_exception as from_exception
from announcer.meaning import from_status as from_status
from announcer.meaning import http_date as http_date
from announcer.meaning import iso_time as iso_time
from announcer.meaning import json_of as json_of
from announcer.meaning import nothing_posted as nothing_posted
from announcer.meaning import plain as plain
from announcer.meaning import wait_hint as wait_hint
from announcer.network import DeliveryError

CONNECT, READ, TOTAL = 5.0, 20.0, 30.0
"""Seconds to connect, seconds without a byte, seconds in all for one request."""
SIZE = 2_000_000
"""Bytes of an answer, after inflating, unless a session allows more."""
FAR = timedelta(minutes=5)
"""A clock that far from ours is remarked upon: times that a server gives us are by its own."""

log = structlog.get_logger("announcer.wire")
POOLS = {"http": PlainPool, "https": TlsPool}
PUBLIC_POOLS = {"http": PublicPlainPool, "https": PublicTlsPool}
_heard = threading.local()
_strange_clocks: set[str] = set()


class Adapter(HTTPAdapter):
    """The last piece of ours before the socket. A test puts its fake network in place of `send`."""

    def __init__(self, *, public_only: bool = False, **kwargs: Any) -> None:
        self._pools = PUBLIC_POOLS if public_only else POOLS
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)  # another manager than the above
        manager.pool_classes_by_scheme = self._pools
        return manager


class Session(requests.Session):
    """A requests session that may speak to *origin* only (scheme, host and port of that address).

    *instead_of* is an origin that a library insists on; requests to it go to *origin*, changed
    before they are signed. *total* is in seconds, *size* in bytes. One session serves one thread at
    a time.

    *public_only* is for an origin that a stranger chose: nothing is sent to this machine or into
    its own network. Through the operator's proxy that is the proxy's to see to, which alone knows
    where a name leads.
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
        public_only: bool = False,
    ) -> None:
        super().__init__()
        self._total, self._size = total, size
        self.trust_env = False
        self.max_redirects = 0  # raises TooManyRedirects; allow_redirects=False would look like ok
        self.headers["Accept-Encoding"] = "identity"
        self.headers["User-Agent"] = "Announcer (go-live announcements for Owncast)"
        self._origin, self._instead_of = origin.rstrip("/"), instead_of
        self._place = _place(origin)
        # What is near goes past the proxy, but not for a stranger.
        if self.proxy and (public_only or not _is_loopback(self._place[1])):
            self.proxies = {"http": self.proxy, "https": self.proxy}
        adapter = Adapter(max_retries=0, public_only=public_only)
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
        crashpoints.here("before", request.method or "", request.url or "")
        progress.begun = False
        progress.connection = progress.sock = None
        with limited(total) as late:
            try:
                if turn_is_over():
                    raise TurnOver
                answer = super().send(request, **kwargs)
                _read(answer, self._size)
            except Exception as problem:  # requests', urllib3's and the socket's, of many classes
                if isinstance(problem, requests.exceptions.InvalidURL | NotSent):
                    raise
                unsent = progress.connection is not None and not progress.begun
                if unsent or isinstance(problem, TurnOver):
                    raise NotSent(_why_not_sent(problem), request=request) from problem
                if late.is_set() or isinstance(problem, ReadTimeoutError):
                    raise requests.ReadTimeout("no answer in time", request=request) from problem
                if isinstance(problem, requests.RequestException):
                    raise
                raise requests.ConnectionError(problem, request=request) from problem
        if late.is_set():
            raise requests.ReadTimeout("over the total limit", request=request)
        crashpoints.here("answered", request.method or "", request.url or "")
        self._compare_clocks(answer)
        if (heard := getattr(_heard, "answers", None)) is not None:
            heard.append(answer)
        return answer

    def _compare_clocks(self, answer: requests.Response) -> None:
        """Once for each server: who looks for a wait that makes no sense should find this."""
        server, host = http_date(answer.headers.get("Date", "")), self._place[1]
        if server is None or host in _strange_clocks:
            return
        ahead = server - datetime.now(UTC)
        if abs(ahead) > FAR:
            _strange_clocks.add(host)
            log.warning("clock", host=host, ahead_of_ours=f"{ahead.total_seconds():.0f} s")


def _why_not_sent(problem: BaseException) -> str:
    """To the operator. Repeats nothing of *problem*, which quotes the address, but a number."""
    if isinstance(problem, TurnOver):
        return "our turn is over"
    reasons, reason = [problem], problem.__context__
    while reason is not None and reason not in reasons:
        reasons.append(reason)
        reason = reason.__context__
    if isinstance(problem, requests.exceptions.ProxyError):
        answers = (re.search(r"Tunnel connection failed: (\d{3})", str(one)) for one in reasons)
        said = next((f": it answers {answer[1]}" for answer in answers if answer), "")
        return f"no connection through the proxy (ANNOUNCER_PROXY){said}"
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in reasons):
        return "its certificate does not hold (or our clock is wrong)"
    if isinstance(problem, requests.exceptions.SSLError):
        return "no secure connection: it offers no TLS that is safe"
    if any(isinstance(one, NotPublic) for one in reasons):
        return "its address is not a public one"
    if isinstance(problem, requests.Timeout):
        return "no connection in time"
    return "no connection"


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


def answer_to(
    call: Callable[[], object], meaning: Callable[[requests.Response], DeliveryError]
) -> requests.Response:
    """The answer to the last request of *call*, which is a library's; else one of the errors.

    What came decides, by *meaning*, and not what the library makes of it: of Mastodon.py's classes
    one covers nearly everything, tweepy stumbles over odd bodies, and either raises after a post
    that is up.
    """
    answers: list[requests.Response] = []
    _heard.answers = answers
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
        _heard.answers = None
    if answers[-1].status_code >= 300:  # both take a 3xx without an address for a success
        raise meaning(answers[-1])
    return answers[-1]


def conversation(
    host: str,
    port: int,
    *,
    encrypted: bool = False,
    total: float | None = None,
    breaks: tuple[type[Exception], ...] = (),
) -> AbstractContextManager[Line]:
    """The door for what is not HTTP, such as mail; see `line`. *encrypted* means from the first
    byte on. *total* is in seconds, *breaks* are a library's own errors for a lost connection.
    """
    return line(
        host,
        port,
        encrypted=encrypted,
        total=total or TOTAL,
        silence=READ,
        connect=CONNECT,
        proxy=None if _is_loopback(host) else Session.proxy,
        breaks=breaks,
    )


@contextmanager
def answered() -> Iterator[None]:
    """Around one of our own requests: what broke on the way becomes one of the four errors."""
    try:
        yield
    except requests.RequestException as problem:
        raise from_exception(problem) from None
