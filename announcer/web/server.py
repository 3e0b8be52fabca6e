"""gunicorn with the right settings: one process, threads, and the clock inside it."""

import gc
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from announcer import wiring
from announcer.web import create_app
from announcer.web.worker import LISTENERS, Worker
from announcer.wiring import Parts, Settings

log = structlog.get_logger("announcer.server")

THREADS = 16
"""For the webhook and the pages; none of them waits for a network."""
GRACE = 30
"""Seconds that a stop waits for what is on its way; a container must grant a little more."""
PARTING = 5
"""Seconds of GRACE that are left for the process to end."""


class Log(Logger):  # type: ignore[misc]  # gunicorn ships no types
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
            "worker_connections": 3 * LISTENERS,
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
        log.info(
            "ready",
            version=version("announcer"),
            channels=",".join(self._settings.channels),
            destinations=",".join(self._settings.destinations) or "none",
        )
        return create_app(self._parts)

    def _on_exit(self, _server: object, worker: Worker) -> None:
        if self._parts is None:
            return
        # The last requests took their part of it already.
        told = worker.told_to_stop or time.monotonic()
        patience = told + GRACE - PARTING - time.monotonic()
        if not self._parts.stop(max(0.0, patience)):
            log.warning("stopped", reason="posts are still on their way: the next start finds out")
        else:
            log.info("stopped")


def _before_fork(_server: object, _worker: object) -> None:
    gc.freeze()  # what was imported stays shared between the two processes
