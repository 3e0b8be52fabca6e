"""gunicorn with the right settings: one process, threads, and the clock inside it."""

import errno
import gc
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn, ThreadWorker

from announcer import wiring
from announcer.web import create_app
from announcer.wiring import Parts, Settings

log = structlog.get_logger("announcer.server")

THREADS = 16
"""For the webhook and the pages; none of them waits for a network."""
GRACE = 30
"""Seconds that a stop waits for what is on its way; a container must grant a little more."""
PATIENCE = 12.0
"""Seconds from the first byte of a request to the end of its answer. gunicorn's threads would wait
for ever for the rest of a request. What is being stored is stored nevertheless.
"""

SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a connection can not be taken for, and for which gunicorn would end the worker."""
BREATH = 0.1
"""Seconds until that is tried again."""
SELDOM = 60.0
"""Seconds between two log lines about it."""


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Sends those away who dawdle over a request, so that they keep nobody else out; and waits for
    better times when there is no room for another connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun: dict[TConn, float] = {}
        self._told = float("-inf")

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

    def handle(self, conn: TConn) -> object:
        self._begun[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            del self._begun[conn]

    def notify(self) -> None:
        """Called every second."""
        super().notify()
        for conn, begun in list(self._begun.items()):
            if time.monotonic() - begun > PATIENCE:
                with suppress(OSError):  # it was closed meanwhile
                    conn.sock.shutdown(socket.SHUT_RDWR)


class Log(Logger):  # type: ignore[misc]  # as above
    """What gunicorn says goes where everything goes: one line each, in our format, no secret."""

    def setup(self, cfg: object) -> None:
        super().setup(cfg)
        self.error_log.handlers[:] = []
        self.error_log.propagate = True


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Serves *settings*. One process, because the clock and delivery live in it: gunicorn starts
    another if it dies.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts: Parts | None = None
        super().__init__()

    def load_config(self) -> None:
        service = self._settings.service
        options: dict[str, Any] = {
            "bind": f"[{service.host}]:{service.port}"
            if ":" in service.host
            else f"{service.host}:{service.port}",
            "workers": 1,
            "worker_class": Worker,
            "logger_class": Log,
            "threads": THREADS,
            "worker_connections": 200,
            "timeout": 60,
            "graceful_timeout": GRACE,
            "keepalive": 5,
            "limit_request_line": 2048,
            "limit_request_fields": 60,
            "accesslog": None,  # its lines hold the token of the webhook's address
            "loglevel": "warning",
            "control_socket_disable": True,  # gunicorn 25.1 opens one in $HOME
            "pre_fork": _before_fork,
            "worker_exit": self._on_exit,
            "default_proc_name": "announcer",
        }
        if Path("/dev/shm").is_dir():  # noqa: S108  # gunicorn's heartbeat file, on no slow disk
            options["worker_tmp_dir"] = "/dev/shm"  # noqa: S108  # as above
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In the worker, after the fork: threads and connections do not survive one."""
        self._parts = wiring.assemble(self._settings)
        self._parts.start()
        for channel in self._parts.channels.values():
            if channel.watch:
                channel.watch.warm()
        log.info("ready", destinations=",".join(self._settings.destinations) or "none")
        return create_app(self._parts)

    def _on_exit(self, _server: object, _worker: object) -> None:
        if self._parts:
            self._parts.stop(GRACE - 5)


def _before_fork(_server: object, _worker: object) -> None:
    gc.freeze()  # what was imported stays shared between the two processes
