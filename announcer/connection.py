"""A connection that knows what has left it, and when nothing may leave it any more.

Sources: urllib3 2.8 connection.py, CPython 3.11 http/client.py.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, zip_longest
from typing import Any, ClassVar, ParamSpec, TypeVar

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from announcer import crashpoints, timelimit

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""As getaddrinfo gives it."""
P = ParamSpec("P")
T = TypeVar("T")
NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses of IPv4 as a translator writes them (RFC 6052)."""
OWN_NAT64 = IPv6Network("64:ff9b:1::/48")
"""The same within a network of one's own (RFC 8215), which Python 3.11 takes for the world's."""


class TurnOver(Exception):
    """No OSError: urllib3 and requests would take it for a network's."""


class NotPublic(OSError):
    """The host has no address that is everybody's: it is of this machine, or of its own network."""


class Progress(threading.local):
    """How far the request of this thread has come."""

    begun = False
    """Whether a byte of it may have left us. What a proxy was asked before does not count."""
    connection: Any = None
    sock: socket.socket | None = None
    ends: tuple[datetime, float] | None = None
    """When this thread's turn is over, by the clock of the wall and by the monotonic one."""


progress = Progress()


class _Watched:
    """Tells its progress to this thread, so that a timer can cut it, and lets nothing begin after
    this thread's turn.
    """

    public_only: ClassVar[bool] = False
    sock: socket.socket | None
    port: int
    timeout: Any
    socket_options: Any
    _dns_host: str
    _connects = False

    def connect(self) -> None:
        progress.connection, self._connects = self, True
        try:
            super().connect()  # type: ignore[misc]  # a mixin for urllib3's two connections
        finally:
            self._connects = False
        # An answer without a length, which ends with the connection, takes the socket with it.
        progress.sock = self.sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        progress.connection, progress.sock = self, self.sock
        super().request(*args, **kwargs)  # type: ignore[misc]  # as above
        crashpoints.here("sent", *args[:2])

    def send(self, data: Any) -> None:
        """Called for the head and for the body of a request, and for a CONNECT to a proxy."""
        if self.sock is None:
            self.connect()  # before we look at the clock: it may take seconds
        if turn_is_over():  # a head without its body has done nothing yet either
            raise TurnOver
        progress.begun = progress.begun or not self._connects
        super().send(data)  # type: ignore[misc]  # as above

    def _new_conn(self) -> socket.socket:
        """urllib3's own knows no limit for the look for the name nor for all addresses together,
        and tries every address of IPv6 before the first of IPv4.
        """
        try:
            options = self.socket_options or ()
            # A proxy's address is the operator's choice, and the proxy's is who is behind it.
            public = self.public_only and getattr(self, "proxy", None) is None
            return dial(self._dns_host, self.port, self.timeout, options, public_only=public)
        except socket.gaierror as unknown:
            raise NameResolutionError(self._dns_host, self, unknown) from unknown  # type: ignore[arg-type]
        except TimeoutError as slow:
            raise ConnectTimeoutError(self, "no connection in time") from slow
        except OSError as problem:
            raise NewConnectionError(self, "no connection") from problem  # type: ignore[arg-type]


class _Plain(_Watched, HTTPConnection): ...


class _Tls(_Watched, HTTPSConnection): ...


class _PublicPlain(_Plain):
    public_only = True


class _PublicTls(_Tls):
    public_only = True


class PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class PublicPlainPool(HTTPConnectionPool):
    ConnectionCls = _PublicPlain


class PublicTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTls


def dial(
    host: str,
    port: int,
    patience: float,
    options: Sequence[Any] = (),
    *,
    public_only: bool = False,
) -> socket.socket:
    """A connection to the first address of *host* that takes one. *patience* is in seconds, for the
    look for its name and for each address; all of them together get twice that. *public_only* is
    for a host that a stranger chose: it is asked of the very address that is connected to, so that
    a name which leads elsewhere the second time gains nothing.

    Raises gaierror, TimeoutError, NotPublic, or another OSError.
    """
    until = time.monotonic() + 2 * patience
    problem: OSError = TimeoutError()
    for family, kind, protocol, _, address in look_up(host, port, patience):
        if public_only and not is_public(address[0]):
            problem = NotPublic()
            continue
        left = min(patience, until - time.monotonic())
        if left <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(left)
            sock.connect(address)
        except OSError as failed:
            sock.close()
            problem = failed
        else:
            sock.settimeout(patience)
            return sock
    raise problem


def is_public(address: str) -> bool:
    """Whether *address* is one of the world, however it is written; also if it leads to one of
    IPv4 (mapped, 6to4, NAT64).
    """
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip in OWN_NAT64:
            return False
        if ip in NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def look_up(host: str, port: int, patience: float) -> Sequence[Address]:
    """Where *host* is, by turns IPv6 and IPv4. In a thread of its own, since nothing else ends a
    look after *patience* seconds; a resolver gives up by itself after half a minute or so.
    """
    found: Future[Sequence[Address]] = Future()

    def look() -> None:
        try:
            found.set_result(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))
        except BaseException as problem:  # noqa: BLE001  # raised in the thread that waits
            found.set_exception(problem)

    threading.Thread(target=look, name="look up", daemon=True).start()
    addresses = found.result(patience)
    first = [one for one in addresses if one[0] is addresses[0][0]]
    second = [one for one in addresses if one[0] is not addresses[0][0]]
    return [one for one in chain(*zip_longest(first, second)) if one]


@contextmanager
def limited(seconds: float) -> Iterator[threading.Event]:
    """Cut this thread's request after *seconds*; the event says whether it was."""
    mine = progress.__dict__

    def cut() -> None:  # the read limit never ends an answer that drips a byte now and then
        sock = getattr(mine.get("connection"), "sock", None) or mine.get("sock")
        if sock is not None:
            with suppress(OSError):  # it was closed meanwhile
                sock.shutdown(socket.SHUT_RDWR)

    with timelimit.after(seconds, cut) as late:
        yield late


@contextmanager
def not_after(deadline: datetime) -> Iterator[None]:
    """In here no request of this thread begins after *deadline*; one that would is NotSent.

    Looked at right before the first byte leaves, after a connection is made: a process that was
    frozen past its lease must say nothing when it wakes. Both clocks count, since the one of the
    wall may be set back, and the other stands still while the machine sleeps. Of several around
    each other the earliest counts.
    """
    before = progress.ends
    monotonic = time.monotonic() + (deadline - now()).total_seconds()
    if before is None:
        progress.ends = deadline, monotonic
    else:
        progress.ends = min(deadline, before[0]), min(monotonic, before[1])
    try:
        yield
    finally:
        progress.ends = before


def under_this_limit(work: Callable[P, T]) -> Callable[P, T]:
    """*work* for another thread, in which no request begins after this thread's turn either."""
    ends = progress.ends

    def limited_work(*args: P.args, **kwargs: P.kwargs) -> T:
        before, progress.ends = progress.ends, ends
        try:
            return work(*args, **kwargs)
        finally:
            progress.ends = before

    return limited_work


def turn_is_over() -> bool:
    ends = progress.ends
    return ends is not None and (now() > ends[0] or time.monotonic() > ends[1])


def now() -> datetime:
    return datetime.now(UTC)
