"""The service put together but not started: its doors, spoken to within this process."""

import hmac
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from announcer import logs, outbox, wiring
from announcer.web import create_app
from announcer.wiring import Parts
from tests.running import SECRET

MUSIC_SECRET = "another-secret-for-the-music-channel"
MUSIC_TOKEN = "a-token-of-the-music-channel"
TOKEN = "a-token-that-nobody-guesses"
DISCORD = "https://discord.com/api/webhooks/17/an-unguessable-word-of-discords"

ONE: Mapping[str, str] = {
    "OWNCAST_URL": "https://live.kestrel.example",
    "OWNCAST_WEBHOOK_SECRET": SECRET,
    "OWNCAST_WEBHOOK_TOKEN": TOKEN,
    "DISCORD_WEBHOOK_URL": DISCORD,
}
"""One server that is allowed both ways, one destination."""
TWO: Mapping[str, str] = {
    **ONE,
    "OWNCAST__MUSIC__WEBHOOK_SECRET": MUSIC_SECRET,
    "OWNCAST__MUSIC__WEBHOOK_TOKEN": MUSIC_TOKEN,
}


def seal(body: bytes, secret: str = SECRET, at: float | None = None) -> str:
    """What Owncast 0.3 puts into `owncast-signature`."""
    moment = str(int(time.time() if at is None else at))
    return (
        f"t={moment}.s={hmac.digest(secret.encode(), f'{moment}.'.encode() + body, 'sha256').hex()}"
    )


@dataclass
class House:
    """Parts behind a client. What a test compares is the database, read on its own connection."""

    parts: Parts
    client: FlaskClient
    file: Path

    def hear(self, body: bytes, secret: str = SECRET, **headers: str) -> TestResponse:
        """The answer to *body* as Owncast 0.3 sends it, signed now. *headers* go with it."""
        sealed = {"owncast-signature": seal(body, secret), "Content-Type": "application/json"}
        return self.client.post("/webhooks/owncast", data=body, headers=sealed | headers)

    def hear_by_token(self, body: bytes, token: str = TOKEN) -> TestResponse:
        """The answer to *body* as an older Owncast sends it."""
        return self.client.post(
            f"/webhooks/owncast/{token}", data=body, content_type="application/json"
        )

    def scraped(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The samples of a metric as Prometheus gets them, labels and value."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = [one for family in families for one in family.samples]
        return [(one.labels, one.value) for one in samples if one.name == name]

    def past_the_hold(self) -> None:
        """As if the time that posts wait for had come."""
        with self.parts.outbox.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE posts SET next_at = 0")

    def stored(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        with sqlite3.connect(self.file) as reader:
            rows = {
                table: reader.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # ours
                for table in outbox.schema.tables
            }
        reader.close()
        return rows


@contextmanager
def house(folder: Path, settings: Mapping[str, str] = ONE) -> Iterator[House]:
    file = folder / "announcer.db"
    parts = wiring.assemble(
        wiring.read({"ANNOUNCER_DATABASE_URL": f"sqlite:///{file}", **settings})
    )
    try:
        client = create_app(parts).test_client()
        client.environ_base["HTTP_CONNECTION"] = "keep-alive"  # as every browser says
        yield House(parts, client, file)
    finally:
        parts.stop(1)
        parts.outbox.engine.dispose()


@contextmanager
def own_logging() -> Iterator[None]:
    """What is configured inside is forgotten afterwards."""
    loggers = [logging.getLogger(), *map(logging.getLogger, (*logs.TALKATIVE, *logs.QUIET))]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    structlog.reset_defaults()


Breakage = Callable[[House], AbstractContextManager[None]]
"""Breaks a house's database while it is entered."""


@contextmanager
def locked(there: House) -> Iterator[None]:
    """Another process holds the write lock. Patience is set shorter by `impatient`."""
    other = sqlite3.connect(there.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def table_gone(there: House) -> Iterator[None]:
    with there.parts.outbox.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE posts RENAME TO elsewhere")
        connection.exec_driver_sql("ALTER TABLE memory RENAME TO nowhere")
    yield
    with there.parts.outbox.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO posts")
        connection.exec_driver_sql("ALTER TABLE nowhere RENAME TO memory")


@contextmanager
def read_only(there: House) -> Iterator[None]:
    """As on a file system that the kernel has made read-only; root may write to anything else."""
    with _on_every_connection(there, "query_only", "ON", "OFF"):
        yield


@contextmanager
def full(there: House) -> Iterator[None]:
    """No page can be added: a full disk, as SQLite says it."""
    with _on_every_connection(there, "max_page_count", "1", "1073741823"):
        yield


@contextmanager
def _on_every_connection(there: House, pragma: str, broken: str, whole: str) -> Iterator[None]:
    engine, value = there.parts.outbox.engine, broken

    def prepare(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA {pragma}={value}").close()

    sa.event.listen(engine, "checkout", prepare)
    yield
    value = whole
    with engine.connect():
        pass
    sa.event.remove(engine, "checkout", prepare)
