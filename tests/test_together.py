"""Events that come while one is stored are stored in one transaction, and answered as if alone."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from announcer.intake import Intake
from announcer.outbox import Outbox, StorageError, Transaction
from announcer.outbox.together import MOST, NotBegun, Together, Work
from announcer.policy import Rules
from tests.fakes import NOW, event, open_box, wait_until


@dataclass
class Store:
    """A database that takes as long as *door* is shut."""

    door: threading.Event = field(default_factory=threading.Event)
    transactions: list[int] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    broken: Exception | None = None

    def __call__(self, works: Sequence[Work["Store"]]) -> Sequence[object]:
        self.transactions.append(len(works))
        assert self.door.wait(10)
        if self.broken:
            raise NotBegun from self.broken
        before = [*self.done]
        try:
            return [work(self) for work in works]
        except BaseException:
            self.done = before
            raise


def say(word: str) -> Callable[[Store], str]:
    def work(store: Store) -> str:
        store.done.append(word)
        return word.upper()

    return work


def stumble(_: Store) -> str:
    raise ValueError("of its own making")


@pytest.fixture
def store() -> Store:
    return Store()


def crowd(
    store: Store, works: Sequence[Callable[[Store], str]], pool: ThreadPoolExecutor
) -> list[Future[str]]:
    """The first is being stored while the others come, one after another."""
    together = Together(store)
    found = []
    for number, work in enumerate(works):
        found.append(pool.submit(together.do, work))
        waiting = together._waiting
        wait_until(lambda: store.transactions and len(waiting) == number)  # noqa: B023  # used here
    return found


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(2 * MOST) as pool:
        yield pool


def test_who_is_alone_waits_for_nobody(store: Store) -> None:
    store.door.set()
    together = Together(store)
    assert [together.do(say(word)) for word in "abc"] == ["A", "B", "C"]
    assert store.transactions == [1, 1, 1]


def test_who_came_meanwhile_is_stored_in_one_transaction_in_order(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    found = crowd(store, [say(word) for word in "abcde"], pool)
    store.door.set()
    assert [one.result(10) for one in found] == ["A", "B", "C", "D", "E"]
    assert store.transactions == [1, 4]
    assert store.done == ["a", "b", "c", "d", "e"]


def test_a_transaction_has_an_end(store: Store, pool: ThreadPoolExecutor) -> None:
    found = crowd(store, [say(f"{n}") for n in range(MOST + 3)], pool)
    store.door.set()
    assert [one.result(10) for one in found] == [f"{n}" for n in range(MOST + 3)]
    assert store.transactions == [1, MOST, 2]


def test_who_stumbles_harms_nobody_else(store: Store, pool: ThreadPoolExecutor) -> None:
    found = crowd(store, [say("a"), say("b"), stumble, say("c")], pool)
    store.door.set()
    assert [found[n].result(10) for n in (0, 1, 3)] == ["A", "B", "C"]
    with pytest.raises(ValueError, match="of its own making"):
        found[2].result(10)
    assert sorted(store.done) == ["a", "b", "c"]
    assert store.transactions == [1, 3, 1, 1, 1]


def test_what_can_not_be_begun_is_tried_once_for_all(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    """A lock that stays would hold them up one after another otherwise, each for 10 s."""
    store.broken = sa.exc.OperationalError("BEGIN", None, Exception("database is locked"))
    found = crowd(store, [say(word) for word in "abcd"], pool)
    store.door.set()
    for one in found:
        with pytest.raises(StorageError, match="locked"):
            one.result(10)
    assert store.transactions == [1, 3]
    store.broken = None
    assert crowd(store, [say("e")], pool)[0].result(10) == "E"


def test_who_waited_too_long_is_told_and_is_not_stored_later(
    store: Store, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.outbox.together.TURN", 0.05)
    found = crowd(store, [say("a")], pool)
    together = Together(store)
    first = pool.submit(together.do, say("b"))
    wait_until(lambda: len(store.transactions) == 2)
    with pytest.raises(StorageError, match="too long"):
        together.do(say("c"))
    store.door.set()
    assert (found[0].result(10), first.result(10)) == ("A", "B")
    assert together.do(say("d")) == "D"
    assert store.done[-1] == "d"
    assert "c" not in store.done


def test_of_many_that_come_at_once_each_is_stored_once_and_answered_as_its_own(
    database_url: str, pool: ThreadPoolExecutor
) -> None:
    """On either database: titles of one broadcast, some of them told twice."""
    box = open_box(database_url)
    take = Intake(box, Rules(), lambda _: ["mastodon", "discord"], {}, lambda _: None).take
    take(event(), NOW)
    commits: list[int] = []
    sa.event.listen(box.engine, "commit", lambda _: commits.append(1))
    events = [
        replace(
            event(), id=f"title-{n % 150}", title=f"Title {n % 150}", at=NOW + timedelta(days=1)
        )
        for n in range(200)
    ]
    with late(box):
        told = [pool.submit(take, one, NOW + timedelta(days=1)) for one in events]
    answers = [one.result(30).because for one in told]
    assert answers.count("a repeat: this event is known") == 50
    with box.engine.connect() as connection:
        count = "SELECT count(*) FROM events WHERE id LIKE 'title-%'"
        assert connection.execute(sa.text(count)).scalar() == 150
    assert len(commits) < 150
    box.engine.dispose()


@contextmanager
def late(box: Outbox) -> Any:
    """Somebody holds the database up, so that a crowd comes together."""
    gate = threading.Event()

    def hold(_: Transaction) -> None:
        assert gate.wait(10)

    thread = threading.Thread(target=lambda: box.within("default", hold))
    thread.start()
    yield
    gate.set()
    thread.join()
