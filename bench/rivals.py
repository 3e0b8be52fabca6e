"""What we are compared with, each as good as we could make it.

Apprise in a Flask receiver: `notify`, as it comes, and `async_notify` with more threads than it has
accounts, which is no setting of its own. A bare endpoint: reads the event and answers, with one
commit of raw SQLite or without. All of them behind gunicorn with as many threads as we have.
"""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from flask import Flask, request
from gunicorn.app.base import BaseApplication

from announcer.web.server import THREADS
from bench.running import folder
from tests.servers import answers, free_port


def apprise_receiver(urls: Sequence[str]) -> Flask:
    import apprise
    from apprise import apprise as inside

    everybody = apprise.Apprise()
    for url in urls:
        assert everybody.add(url), url
    for account in everybody:
        account.request_rate_per_sec = 0.0  # its pause of seconds between two posts to an account
    few, many = inside.get_shared_executor(), ThreadPoolExecutor(64)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(many)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    app = Flask(__name__)

    def text() -> str:
        data = request.get_json()["eventData"]
        return f"{data['name']} is live: {data['streamTitle']}\nhttps://live.example.org"

    @app.post("/notify")
    def notify() -> tuple[str, int]:
        inside._shared_executor = few
        return "", 204 if everybody.notify(body=text()) else 500

    @app.post("/async")
    def async_notify() -> tuple[str, int]:
        inside._shared_executor = many
        told = asyncio.run_coroutine_threadsafe(everybody.async_notify(body=text()), loop)
        return "", 204 if told.result() else 500

    return app


def bare(database: str) -> Flask:
    app, mine, lock = Flask(__name__), threading.local(), threading.Lock()

    def connection() -> sqlite3.Connection:
        if not hasattr(mine, "connection"):
            mine.connection = sqlite3.connect(database, isolation_level=None)
            mine.connection.execute("PRAGMA journal_mode=WAL")
            mine.connection.execute("PRAGMA synchronous=FULL")
            mine.connection.execute("CREATE TABLE IF NOT EXISTS events (id TEXT, body BLOB)")
        found: sqlite3.Connection = mine.connection
        return found

    @app.post("/nothing")
    def nothing() -> tuple[str, int]:
        request.get_json()
        return "", 204

    @app.post("/commit")
    def commit() -> tuple[str, int]:
        event = request.get_json()
        with lock:  # else SQLite lets them sleep
            statement = "INSERT INTO events VALUES (?, ?)"
            connection().execute(statement, (event["eventData"]["id"], request.get_data()))
        return "", 204

    return app


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(self, port: int, kind: str, words: Sequence[str]) -> None:
        self._port, self._kind, self._words = port, kind, words
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"127.0.0.1:{self._port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "loglevel": "error",
            "accesslog": None,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return bare(self._words[0]) if self._kind == "bare" else apprise_receiver(self._words)


class Rival:
    """One of them, running in a process group of its own."""

    def __init__(self, kind: str, words: Sequence[str]) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", __name__, str(self.port), kind, *words]
        begun = time.perf_counter()
        self.process = subprocess.Popen(command, start_new_session=True)  # noqa: S603  # ours
        while not answers(self.port):
            time.sleep(0.005)
        self.started = time.perf_counter() - begun

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def apprise(urls: Sequence[str]) -> Iterator[Rival]:
    rival = Rival("apprise", urls)
    try:
        yield rival
    finally:
        rival.stop()


@contextmanager
def endpoint() -> Iterator[Rival]:
    with folder() as place:
        rival = Rival("bare", [f"{place}/bare.db"])
        try:
            yield rival
        finally:
            rival.stop()


if __name__ == "__main__":
    port, kind, *words = sys.argv[1:]
    sys.argv = sys.argv[:1]  # gunicorn reads it
    _Server(int(port), kind, words).run()
