"""What may be forgotten: nothing that is open, young or needed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from announcer import housekeeping
from announcer.events import Kind
from announcer.network import Moment
from announcer.outbox import Outbox, StorageError
from announcer.policy import State, forgettable
from tests.fakes import NOW, event, open_box
from tests.test_outbox import DUE, SHOW, put, stored

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEEP = timedelta(days=365)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    box = open_box(tmp_path / "announcer.db")
    yield box
    box.engine.dispose()


OLD = NOW - 400 * DAY
DONE = replace(DUE, state=State.SETTLED, shown=Moment.LIVE, next_at=OLD, until=OLD + HOUR)
PAST = replace(SHOW, began=OLD, since=OLD, seen=OLD, stopped=OLD + HOUR)


@given(
    st.sampled_from(State),
    st.integers(0, 800),
    st.integers(0, 800),
    st.sampled_from([2, 30, 365]),
    st.booleans(),
)
def test_nothing_is_forgotten_that_is_open_young_or_needed(
    state: State, touched: int, until: int, keep: int, needed: bool
) -> None:
    entry = replace(DONE, state=state, change_until=NOW - until * DAY)
    gone = forgettable(
        PAST, [DONE, entry], touched=NOW - touched * DAY, needed=needed, now=NOW, keep=keep * DAY
    )
    if gone:
        assert not needed
        assert state not in (State.DUE, State.SENDING)
        assert min(touched, until) > keep
        assert state is not State.UNSURE or touched > 30
    elif not needed and state is State.SETTLED:
        assert min(touched, until) <= keep


def shelve(box: Outbox, number: int, **fields: Any) -> str:
    """An old broadcast with one post that was told."""
    show = replace(PAST, id=f"old{number}", began=OLD + number * HOUR)
    entry = replace(DONE, broadcast=show.id, key=f"{show.id}/live/fake", **fields)
    with box.transaction("default") as stored:
        stored.put_broadcast(show)
        stored.put_entries([entry], OLD + number * HOUR)
    said = sa.text("UPDATE posts SET content = '{}' WHERE key = :key")
    with box.engine.begin() as connection:
        connection.execute(said, {"key": entry.key})
    return show.id


def ids(box: Outbox) -> set[str]:
    return {show.id for show, _ in box.history(1000)}


def test_what_is_old_goes_and_what_somebody_needs_stays(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "BREATH", 0.0)
    gone = {shelve(box, number) for number in range(45)}
    open_ = shelve(box, 50, state=State.DUE)
    change = shelve(box, 51, change_until=NOW + HOUR)
    last_words = shelve(box, 52, destination="elsewhere")
    newest_there = shelve(box, 53)
    put(box, replace(DUE, state=State.SETTLED))
    housekeeping.Housekeeping(box, "me", KEEP).tidy(NOW)
    assert gone
    assert ids(box) == {open_, change, last_words, newest_there, "b1"}
    assert stored(box).state is State.SETTLED


def test_events_and_pictures_go_sooner_but_for_the_last_stop(box: Outbox) -> None:
    told = [
        event(Kind.STARTED, OLD, id="old"),
        event(Kind.STOPPED, OLD + HOUR),
        event(Kind.STARTED, NOW),
    ]
    with box.transaction("default") as stored_:
        for one in told:
            stored_.add(one, "because", None)
    assert not box.forget_events(NOW)
    box.forget_pictures(NOW)
    with box.transaction("default") as stored_:
        assert [stored_.recall(one).known for one in told] == [False, True, True]
        assert stored_.recall(told[0]).past.stop_at == OLD + HOUR


def test_one_replica_tidies_and_a_database_that_is_away_is_met_again(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    keepers = [housekeeping.Housekeeping(box, name, KEEP) for name in ("one", "two")]
    for keeper, name in zip(keepers, ("one", "two"), strict=True):
        monkeypatch.setattr(keeper, "tidy", lambda _, name=name: done.append(name))
        keeper.round()  # right after the start there is enough to do
    for keeper in keepers:
        keeper.round()
    assert done == ["one"]

    def away(*_: Any) -> bool:
        raise StorageError

    monkeypatch.setattr(Outbox, "hold", away)
    assert keepers[0].round() > datetime.now(UTC)
