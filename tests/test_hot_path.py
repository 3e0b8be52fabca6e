"""However long the history: no statement that is asked again and again reads all of a big table."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from announcer import policy
from announcer.events import Kind
from announcer.network import Receipt
from announcer.outbox import Outbox, Try
from tests.fakes import NOW, Fake, Harmless, Stage

BIG = ("posts", "tries", "events", "broadcasts")
SMALL = ("posts_due", "posts_in_flight", "posts_in_doubt")
"""Indexes of what is under way or in doubt only."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "announcer.db", {"fake": Fake(), "harmless": Harmless()})
    yield stage
    stage.close()


@pytest.fixture
def plans(stage: Stage) -> dict[str, list[str]]:
    """How SQLite goes about every statement that is sent to it from now on."""
    found: dict[str, list[str]] = {}

    @sa.event.listens_for(stage.box.engine, "before_cursor_execute")
    def explain(
        connection: sa.Connection, _: Any, statement: str, parameters: Any, *__: Any
    ) -> None:
        many = isinstance(parameters, list)
        if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")) and not many:
            driver = connection.connection.cursor()
            rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            found[statement] = [row[3] for row in rows]

    return found


def everything(box: Outbox, stage: Stage) -> None:
    """Both halves, the pages, the budget and what keeps it small, on a show with its end."""
    stage.hear()
    for moment in (NOW, NOW + timedelta(hours=1)):
        box.next_due()
        for claim in box.claim("me", moment, 100):
            box.freeze(claim, "{}", moment)
            done = policy.settled if claim.entry.shown is None else policy.changed
            what = Try(moment, 0.3, "publish", "delivered", "")
            box.store(claim, done(claim.entry), moment, what, Receipt("7", ""))
        stage.passes(minutes=5)
        stage.hear(Kind.STOPPED)
    box.abandoned("me", NOW)
    box.set_right(NOW)
    box.published_since("fake", NOW)
    box.announced(box.history(50)[0][0].id)
    box.sighted("b1", NOW, 7)
    box.paused()
    box.closed()
    box.excuse("me")
    box.forget_broadcasts(NOW, timedelta(days=2), None)
    box.forget_events(NOW)
    box.retry("b/live/fake", NOW, NOW)
    box.prove_writable()
    box.under_way(NOW)
    box.breakers(NOW)


def test_no_statement_of_the_hot_path_reads_all_of_a_big_table(
    stage: Stage, plans: dict[str, list[str]]
) -> None:
    everything(stage.box, stage)
    assert len(plans) > 25
    for statement, steps in plans.items():
        for step in steps:
            words = step.split()
            named = {*BIG, "due", "other", "older", "later", "newer"} & set(words)
            scanned = words[0] == "SCAN" and named and not set(SMALL) & set(words)
            # In the order of an index, until there are as many as were asked for.
            stops = "LIMIT" in statement and "USE TEMP B-TREE FOR ORDER BY" not in steps
            assert not scanned or (stops and "INDEX" in words), f"{step}:\n{statement}"


def test_a_destinations_whole_history_is_never_gone_through(
    stage: Stage, plans: dict[str, list[str]]
) -> None:
    """An index that names the destination only leads to all that was ever posted there."""
    everything(stage.box, stage)
    steps = [(step, statement) for statement, its in plans.items() for step in its]
    for step, statement in steps:
        whole = step.endswith("posts_by_destination (destination=?)")
        assert not whole or "older.changed DESC" in statement, f"{step}:\n{statement}"
