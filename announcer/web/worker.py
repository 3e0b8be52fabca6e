"""gunicorn's threaded worker, kept free for those who have something to say.

As it comes it gives each connection a thread that then waits for the request: sixteen clients who
send half of one keep everybody out. Here the main loop listens to all of them, and a request gets a
thread when it is whole.
"""

import errno
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from selectors import EVENT_READ
from types import FrameType
from typing import Any

import structlog
from gunicorn.workers.gthread import TConn, ThreadWorker

from announcer.web.crowd import Seldom
from announcer.web.gathering import LARGEST, Gathering, Verdict
from announcer.web.stream import leaving

log = structlog.get_logger("announcer.server")

PATIENCE = 12.0
"""Seconds from the connection, or from the first byte of a further request, until it must be whole;
and again until the end of its answer. What is being stored is stored nevertheless.
"""
LISTENERS = 200
"""Connections that are listened to at the same time, and kept open for another request. One more,
and the one that has dawdled the longest goes.
"""
HELD = 8 * 1024 * 1024
"""Bytes of requests that are not whole, all together. More, and it is the same."""
FAREWELL = 2.0
"""Seconds for a client to take its last answer, though it still talks; and, when we stop, to begin.
Closed while it talks, it would get a reset in place of the answer.
"""
UNHEARD = 1024 * 1024
"""Bytes of what it says meanwhile."""
PIECE = 64 * 1024
SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a connection can not be taken for, and for which gunicorn would end the worker."""
BREATH = 0.1
"""Seconds until that is tried again."""
SELDOM = 60.0
"""Seconds between two log lines about it."""


@dataclass
class Listening:
    """To one connection, *since* the monotonic clock said so."""

    since: float
    request: Gathering = field(default_factory=Gathering)
    watched: bool = False
    welcomed: bool = False
    refused: bool = False
    unheard: int = 0


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Sends those away who dawdle over a request, so that they keep nobody else out; and waits for
    better times when there is no room for another connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_keepalived = LISTENERS
        self.told_to_stop: float | None = None
        """By the monotonic clock."""
        self._quitting = False
        self._listening: dict[TConn, Listening] = {}
        self._held = 0
        self._heard: dict[TConn, bytes] = {}
        self._answering: dict[TConn, float] = {}
        self._told = float("-inf")
        self._seldom = Seldom(log.warning, "crowd")

    def accept(self, listener: socket.socket) -> None:
        try:
            super().accept(listener)
        except OSError as problem:
            if problem.errno not in SCARCE:
                raise
            if time.monotonic() - self._told > SELDOM:
                self._told = time.monotonic()
                log.error("crowd", reason=f"no room for another connection: {problem.strerror}")
            time.sleep(BREATH)  # it still waits at the door, and would be tried at once

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.told_to_stop = self.told_to_stop or time.monotonic()
        leaving.set()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        self.told_to_stop = self.told_to_stop or time.monotonic()
        leaving.set()
        if self._quitting:  # Ctrl-C comes from the terminal and from gunicorn's parent
            return
        self._quitting = True  # what gunicorn does here holds a lock that would wait for itself
        super().handle_quit(sig, frame)

    def notify(self) -> None:
        """Called at least every second."""
        super().notify()
        now = time.monotonic()
        for conn, listening in list(self._listening.items()):
            limit = PATIENCE
            if listening.refused or (not self.alive and not listening.request.bytes):
                limit = FAREWELL
            if now - listening.since > limit:
                self._drop(conn)
        for conn, begun in list(self._answering.items()):
            if now - begun > PATIENCE:
                with suppress(OSError):  # it was closed meanwhile
                    conn.sock.shutdown(socket.SHUT_RDWR)

    def enqueue_req(self, conn: TConn) -> None:
        """A connection is new, or has something to say again."""
        self._listen(conn)
        early = conn.parser.unreader.take_buffered() if conn.parser else b""
        if early:  # sent along with the request before
            self._take(conn, early)
        else:
            self._hear(conn)

    def finish_request(self, conn: TConn, fs: Future[object]) -> None:
        """In the main loop, where gunicorn would wait for up to 2 s until the other side closes."""
        if not fs.cancelled() and not fs.exception() and fs.result():
            return super().finish_request(conn, fs)  # type: ignore[no-any-return]  # as above
        with suppress(OSError):  # it is closed already
            conn.sock.shutdown(socket.SHUT_WR)
        self._listen(conn, refused=True)
        return self._hear(conn)

    def _listen(self, conn: TConn, *, refused: bool = False) -> None:
        if len(self._listening) >= LISTENERS:
            self._drop(next(iter(self._listening)))
        with suppress(OSError):  # it is closed already
            conn.sock.setblocking(False)
        self._listening[conn] = Listening(time.monotonic(), refused=refused)

    def _hear(self, conn: TConn) -> None:
        if conn not in self._listening:  # dropped in the same round in which it spoke
            return None
        try:
            piece = conn.sock.recv(PIECE)
        except BlockingIOError:
            return self._watch(conn)
        except OSError:
            piece = b""
        # Whoever ends it here has sent no whole request.
        return self._take(conn, piece) if piece else self._drop(conn)

    def _take(self, conn: TConn, piece: bytes) -> None:
        listening = self._listening[conn]
        if listening.refused:
            listening.unheard += len(piece)
            return self._drop(conn) if listening.unheard > UNHEARD else self._watch(conn)
        self._held += len(piece)
        verdict = listening.request.add(piece)
        if verdict is Verdict.WHOLE:
            self._heard[conn] = bytes(listening.request.bytes)
            self._forget(conn)
            super().enqueue_req(conn)
            return None
        if verdict.refused:
            return self._refuse(conn, verdict)
        if listening.request.expects and not listening.welcomed:
            listening.welcomed = True
            self._say(conn, "100 Continue")
        self._watch(conn)
        while self._held > HELD:
            self._drop(next(iter(self._listening)))
        return None

    def _refuse(self, conn: TConn, verdict: Verdict) -> None:
        if verdict is Verdict.LARGE:  # the others are no HTTP that Owncast would speak
            reason = f"a request of more than {LARGEST} bytes was refused"
            self._seldom.warn(reason, SELDOM, outcome=413, reason=reason)
        self._say(conn, verdict.value, "Connection: close", "Content-Length: 0")
        with suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        listening = self._listening[conn]
        self._held -= len(listening.request.bytes)
        listening.request = Gathering()
        listening.refused, listening.since = True, time.monotonic()
        self._watch(conn)

    def _say(self, conn: TConn, *lines: str) -> None:
        with suppress(OSError):  # it is gone, or does not even take this much
            conn.sock.send("\r\n".join((f"HTTP/1.1 {lines[0]}", *lines[1:], "", "")).encode())

    def _watch(self, conn: TConn) -> None:
        listening = self._listening[conn]
        if not listening.watched:
            listening.watched = True
            self.poller.register(conn.sock, EVENT_READ, lambda _: self._hear(conn))

    def _forget(self, conn: TConn) -> None:
        listening = self._listening.pop(conn)
        self._held -= len(listening.request.bytes)
        if listening.watched:
            self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def handle(self, conn: TConn) -> object:
        """In a thread."""
        self._answering[conn] = time.monotonic()
        try:
            conn.init()
            conn.parser.unreader.unread(self._heard.pop(conn))
            return super().handle(conn)
        finally:
            del self._answering[conn]
