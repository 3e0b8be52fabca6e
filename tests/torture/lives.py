"""The service, started often and fast, and killed.

A nursery is a process without threads that has imported everything once. Each life is a fork of it
which reads its settings, assembles the real parts on the real database, and serves the real app on
a port of its own. What the service waits for is shortened; nothing else is changed.
"""

import hmac
import importlib
import json
import os
import random
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol

from werkzeug.serving import WSGIRequestHandler, make_server

from announcer import badges, chat, crashpoints, networks, wiring
from announcer.logs import Redactor, configure
from announcer.networks import mastodon, x
from announcer.policy import broadcasts, tries
from announcer.web import create_app
from tests.running import SECRET, Service

GRACE = 0.3
"""Seconds that a stream may be away before its end is told."""
PATIENCE = 20.0


class Life(Protocol):
    """One run of the service."""

    def alive(self) -> bool: ...
    def send(self, signal_: int) -> None:
        """A signal, if there still is somebody to get it."""

    def bury(self) -> None:
        """Returns once it is dead, and everything that it held is free."""

    def hear(self, body: bytes) -> int | None:
        """The status that a webhook is answered with; None if no answer came."""


class Nursery:
    """Where lives come from. Make it before this process has any thread."""

    def __init__(self, folder: Path, sabotage: Callable[[], None] | None = None) -> None:
        self._folder = folder
        self._ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _nurse(theirs, sabotage)
        theirs.close()

    def start(
        self, settings: Mapping[str, str], arms: Mapping[str, str], log: Path
    ) -> "ForkedLife":
        """A life that dies as *arms* say, see `crashpoints`. It may be dead already."""
        listener = socket.socket(socket.AF_UNIX)
        with listener:
            path = self._folder / "birth"
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(PATIENCE)
            order = {"settings": settings, "arms": arms, "log": str(log), "tell": str(path)}
            self._ours.sendall(json.dumps(order).encode() + b"\n")
            pid = int(self._ours.recv(20))
            told, _ = listener.accept()
        return ForkedLife(pid, told)

    def close(self) -> None:
        self._ours.close()
        os.waitpid(self._pid, 0)


class ForkedLife:
    def __init__(self, pid: int, told: socket.socket) -> None:
        self._pid, self._told = pid, told
        self._told.settimeout(PATIENCE)
        self._port: int | None = None

    def alive(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def send(self, signal_: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal_)

    def bury(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.alive():
            assert time.monotonic() < deadline, "it does not die"
            time.sleep(0.002)
        self._told.close()

    def hear(self, body: bytes) -> int | None:
        if self._port is None:
            try:
                said = self._told.recv(20)
            except OSError:
                said = b""
            if not said:
                return None
            self._port = int(said)
        return post(self._port, body)


class ServedLife:
    """`announcer serve` itself, as a user starts it."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._service = Service(folder, settings)

    def alive(self) -> bool:
        return self._service.process.poll() is None

    def send(self, signal_: int) -> None:
        with suppress(ProcessLookupError):
            if signal_ == signal.SIGKILL:
                os.killpg(self._service.process.pid, signal_)
            else:
                self._service.process.send_signal(signal_)

    def bury(self) -> None:
        self._service.process.wait(PATIENCE)
        self.send(signal.SIGKILL)  # to what is left of its group

    def hear(self, body: bytes) -> int | None:
        return post(self._service.port, body)


def post(port: int, body: bytes) -> int | None:
    at = str(int(time.time()))
    seal = hmac.digest(SECRET.encode(), f"{at}.".encode() + body, "sha256").hex()
    headers = {"Content-Type": "application/json", "owncast-signature": f"t={at}.s={seal}"}
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", "/webhooks/owncast", body, headers)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _nurse(orders: socket.socket, sabotage: Callable[[], None] | None) -> None:
    """Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hurry()
    _import_everything()
    if sabotage:
        sabotage()
    with orders, orders.makefile("rb") as lines:
        for line in lines:
            pid = os.fork()
            if pid == 0:
                try:
                    _live(json.loads(line))
                except BaseException:
                    traceback.print_exc()
                    raise
                finally:
                    os._exit(1)
            orders.sendall(str(pid).encode())
    os._exit(0)


def _hurry() -> None:
    """What is waited for, in a hurry."""
    soon = timedelta(seconds=0.1)
    for module, times in (
        (broadcasts, {"MERGE": soon}),
        (tries, {"MERGE": soon, "FIRST_WAIT": 0.05, "LONGEST_WAIT": 0.4, "LOOK_AGAIN": soon}),
        (chat, {"LOOK_AGAIN": soon}),
        (badges, {"PATIENT": soon}),
        (mastodon, {"ABOUT_PAUSE": 0.1}),
    ):
        for name, time_ in times.items():
            assert hasattr(module, name), f"{module.__name__} has no {name}"
            setattr(module, name, time_)


def _import_everything() -> None:
    """Libraries that are imported late, at the first use."""
    networks.available()
    for name in ("cryptography.fernet", "mastodon", "PIL.Image", "psycopg", "tweepy"):
        with suppress(ImportError):
            importlib.import_module(name)
    x._parser()("warm")


def _live(order: dict[str, Any]) -> None:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    lane = socket.socket(socket.AF_UNIX)
    lane.connect(order["tell"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    random.seed()
    crashpoints.arm(order["arms"])
    settings = wiring.read(order["settings"])
    rules = settings.rules.model_copy(
        update={"hold": timedelta(), "grace": timedelta(seconds=GRACE), "poll": timedelta()}
    )
    settings = replace(settings, rules=rules)
    configure("info", "console", Redactor(settings.secrets()))
    parts = wiring.assemble(settings)
    parts.start()
    server = make_server("127.0.0.1", 0, create_app(parts), threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    threading.Thread(target=_end_with, args=(lane,), daemon=True).start()
    lane.sendall(str(server.server_port).encode())
    over.wait()
    server.shutdown()
    parts.stop(PATIENCE)
    os._exit(0)


def _end_with(lane: socket.socket) -> None:
    """Whoever started this life is gone when its end of the line is."""
    lane.recv(1)
    os._exit(2)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None: ...
