"""Whoever has to mend the database reads what is wrong with it, and none of its own words."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog

from announcer.outbox import cause_of
from announcer.outbox.trouble import AWAY, BUSY, DAMAGED, FULL, READ_ONLY, SLOW
from tests.house import House, house, read_only
from tests.running import payload

WORDS = "UPDATE posts ... postgresql://announcer:hunter2@db/announcer"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        yield made


class FromPostgres(Exception):
    def __init__(self, state: str | None) -> None:
        super().__init__(WORDS)
        self.sqlstate = state


def of_sqlite(code: int) -> sa.exc.DBAPIError:
    cause = sqlite3.OperationalError(WORDS)
    cause.sqlite_errorcode = code
    return sa.exc.OperationalError(WORDS, None, cause)


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        pytest.param(of_sqlite(sqlite3.SQLITE_FULL), FULL, id="full"),
        pytest.param(of_sqlite(sqlite3.SQLITE_BUSY), BUSY, id="busy"),
        pytest.param(of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), BUSY, id="busy, in detail"),
        pytest.param(of_sqlite(sqlite3.SQLITE_READONLY_DBMOVED), READ_ONLY, id="moved away"),
        pytest.param(of_sqlite(sqlite3.SQLITE_CORRUPT), DAMAGED, id="damaged"),
        pytest.param(of_sqlite(sqlite3.SQLITE_ERROR), "OperationalError", id="a mistake of ours"),
        pytest.param(sa.exc.TimeoutError(WORDS), SLOW, id="no turn"),
        pytest.param(
            sa.exc.OperationalError(WORDS, None, FromPostgres("53100")), FULL, id="full there"
        ),
        pytest.param(
            sa.exc.OperationalError(WORDS, None, FromPostgres(None)), AWAY, id="no connection"
        ),
        pytest.param(
            sa.exc.ProgrammingError(WORDS, None, FromPostgres("42P01")),
            "ProgrammingError",
            id="another mistake of ours",
        ),
        pytest.param(sa.exc.SQLAlchemyError(WORDS), "SQLAlchemyError", id="whatever else"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_ours(problem: sa.exc.SQLAlchemyError, told: str) -> None:
    assert cause_of(problem) == told


def test_b06_what_is_wrong_stands_in_the_log_and_on_the_page(home: House) -> None:
    """And not OperationalError, which a lock or a full disk is, too."""
    token = home.client.get("/").text.partition('name="csrf" value="')[2].partition('"')[0]
    with read_only(home), structlog.testing.capture_logs() as lines:
        assert home.hear(payload("0.3-stream-started")).status_code == 503
        answer = home.client.post("/do/pause", data={"csrf": token})
    assert answer.status_code == 503
    assert READ_ONLY in answer.text
    assert "ANNOUNCER_DATABASE_URL" in answer.text
    told = [(line["event"], line["reason"]) for line in lines if line["log_level"] == "error"]
    assert told == [("webhook", READ_ONLY), ("page", READ_ONLY)]
