"""One conversation that is not HTTP: mail, chat, a relay. Below `wire`, like `connection`.

A network whose protocol has its own library gives it the socket of a Line. What the line does is
what a request's session does: one configured host, a limit on connecting, on silence and in all,
certificates that hold, nothing after this thread's turn, and an error that says whether anything
can be up.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urlsplit

import requests.adapters

from announcer import crashpoints
from announcer.connection import dial, limited, progress, turn_is_over
from announcer.network import DeliveryError, TryLater, Unsure

_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3})")
_HEAD = 16_384
"""Bytes of a proxy's answer."""


@dataclass
class Line:
    """An open conversation. *sock* is the library's to use; it may wrap it, see `tls`."""

    sock: socket.socket
    host: str
    _left: bool = field(default=False)

    def leaves(self) -> None:
        """To be called right before the first byte that may put something up: from here on a
        failure is Unsure. Raises TryLater if this thread's turn is over.
        """
        crashpoints.here("before", "say")
        if turn_is_over():
            raise TryLater("our turn is over")
        self._left = True

    def answered(self) -> None:
        """To be called when the answer is there, before anything is made of it."""
        crashpoints.here("answered", "say")

    def broke(self, reason: str) -> DeliveryError:
        """The error that a failure here means, by whether anything has left."""
        return Unsure(reason) if self._left else TryLater(reason)


def tls() -> ssl.SSLContext:
    """As strict as requests is, with the same authorities; for STARTTLS."""
    return _trusting(requests.adapters.DEFAULT_CA_BUNDLE_PATH)


@cache
def _trusting(authorities: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authorities)  # reading them takes 20 ms


@contextmanager
def line(
    host: str,
    port: int,
    *,
    encrypted: bool,
    total: float,
    silence: float,
    connect: float,
    proxy: str | None,
    breaks: tuple[type[Exception], ...] = (),
) -> Iterator[Line]:
    """A conversation with *host*, cut after *total* seconds; the others are seconds, too.

    In here what breaks becomes TryLater, or Unsure once something has left. *breaks* are the
    library's own errors for a connection that is no more; their text is not repeated.
    """
    progress.connection = progress.sock = None
    opened: Line | None = None
    broken: tuple[type[Exception], ...] = (OSError, EOFError, *breaks)
    with limited(total) as late:
        try:
            with _open(host, port, connect, proxy) as plain:
                # A second handle, which ends it even when a library has wrapped the first.
                progress.sock = plain.dup()
                plain.settimeout(min(silence, total))
                sock = tls().wrap_socket(plain, server_hostname=host) if encrypted else plain
                opened = Line(sock, host)
                with sock:
                    yield opened
        except broken as problem:
            reason = _why(problem)
            if opened is None and isinstance(problem, TimeoutError):
                reason = "no connection in time"
            elif late.is_set():
                reason = "no answer in time"
            raise (opened.broke(reason) if opened else TryLater(reason)) from None
        finally:
            if progress.sock is not None:
                progress.sock.close()
            progress.sock = None


def _open(host: str, port: int, patience: float, proxy: str | None) -> socket.socket:
    if not proxy:
        return dial(host, port, patience)
    parts = urlsplit(proxy)
    sock = dial(
        parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), patience
    )
    try:
        if parts.scheme == "https":
            sock = tls().wrap_socket(sock, server_hostname=parts.hostname)
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said and len(said) < _HEAD:
            piece = sock.recv(1)  # not one byte of what the host itself says
            if not piece:
                break
            said += piece
        status = _ANSWER.match(said)
        if status is None or status[1] != b"200":
            told = f": it answers {status[1].decode()}" if status else ""
            raise TryLater(f"no connection through the proxy (ANNOUNCER_PROXY){told}")
    except BaseException:
        with suppress(OSError):
            sock.close()
        raise
    return sock


def _why(problem: Exception) -> str:
    """To the operator. Repeats nothing of *problem*."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return "its certificate does not hold (or our clock is wrong)"
    if isinstance(problem, ssl.SSLError):
        return "no secure connection: it offers no TLS that is safe"
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, socket.gaierror):
        return "no such host"
    if isinstance(problem, ConnectionRefusedError):
        return "no connection"
    return "the connection broke"
