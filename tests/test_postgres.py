"""What PostgreSQL does to those who share it: locks in the way, connections that break off at the
worst moment, a bell. And what two replicas do to each other there.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from announcer import migrations, policy
from announcer.events import LONGEST, LONGEST_ID, MOST_VIEWERS, Kind
from announcer.intake import Intake
from announcer.network import Moment
from announcer.outbox import Outbox, StorageError, Try, connect
from announcer.outbox import postgres as limits
from announcer.outbox.schema import events, posts
from announcer.policy import Rules, State
from announcer.scheduler import Listener
from tests.fakes import NOW, event, open_box, wait_until
from tests.servers.postgres import Postgres
from tests.test_outbox import DUE, RECEIPT, SHOW, claim, put, stored, to

RULES = Rules(hold=timedelta(), give_up=timedelta(minutes=30))
Work = Callable[[], object]


@pytest.fixture
def box(postgresql_url: str) -> Iterator[Outbox]:
    box = open_box(postgresql_url)
    yield box
    box.engine.dispose()


@pytest.fixture
def other(postgresql_url: str) -> Iterator[Outbox]:
    """Another replica's."""
    box = open_box(postgresql_url)
    yield box
    box.engine.dispose()


def together(*works: Work) -> list[object]:
    """What each gives, all begun at the same moment."""
    start, given = threading.Barrier(len(works)), list[object]()

    def run(work: Work) -> None:
        start.wait()
        given.append(work())

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def intake(box: Outbox) -> Intake:
    return Intake(box, RULES, lambda _: ["mastodon", "discord"], {}, lambda _: None)


def breaks_off(box: Outbox, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """The connection is lost at the next commit, before its answer or before the question."""
    honest = box.engine.dialect.do_commit
    broken = list[bool]()

    def commit(connection: Any) -> None:
        if broken:
            return honest(connection)
        broken.append(True)
        if committed:
            honest(connection)
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(box.engine.dialect, "do_commit", commit)


either = pytest.mark.parametrize("committed", [True, False], ids=["committed", "lost"])


@either
def test_b12_an_event_whose_commit_went_unanswered_is_stored_once(
    box: Outbox, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    breaks_off(box, monkeypatch, committed=committed)
    intake(box).take(event(), NOW)
    ((_, told),) = box.history(9)
    assert len(told) == 2
    with box.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(events)) == 1


@either
def test_b12_a_claim_whose_commit_went_unanswered_is_worked_on(
    box: Outbox, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    put(box, to("one"), to("two"))
    breaks_off(box, monkeypatch, committed=committed)
    (claimed,) = box.claim("me", NOW, limit=1)
    assert claimed.entry.tries == 1
    (then,) = box.claim("me", NOW + timedelta(microseconds=1), limit=9)
    assert {claimed.entry.destination, then.entry.destination} == {"one", "two"}


@either
def test_b12_a_receipt_whose_commit_went_unanswered_is_stored_once(
    box: Outbox, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    mine = claim(box)
    breaks_off(box, monkeypatch, committed=committed)
    what = Try(NOW, 0.5, "publish", "delivered", "")
    assert box.store(mine, policy.settled(mine.entry), NOW, what, RECEIPT)
    ((_, (post,)),) = box.history(9)
    assert (post.entry.state, post.receipt, list(post.tries)) == (State.SETTLED, RECEIPT, [what])


def test_b12_a_receipt_stored_twice_by_us_was_not_lost_to_another(box: Outbox) -> None:
    mine = claim(box)
    what = Try(NOW, 0.5, "publish", "delivered", "")
    for _ in range(2):
        assert box.store(mine, policy.settled(mine.entry), NOW, what, RECEIPT)
    assert len(box.history(1)[0][1][0].tries) == 1


def test_b12_connections_that_were_lost_in_the_meantime_do_not_matter(
    box: Outbox, other: Outbox
) -> None:
    put(box, DUE)
    with other.engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert len(box.claim("me", NOW, limit=9)) == 1


def test_a_deadlock_is_made_again(box: Outbox, other: Outbox) -> None:
    put(box, to("one"), to("two"))
    met = threading.Barrier(2, timeout=20)
    begun: list[str] = []

    def work(first: str, second: str) -> Callable[[sa.Connection], None]:
        def change(connection: sa.Connection) -> None:
            begun.append(first)
            for number, name in enumerate((first, second)):
                where = posts.c.destination == name
                connection.execute(sa.update(posts).where(where).values(reason=first))
                if number == 0 and len(begun) <= 2:
                    met.wait()

        return change

    together(
        lambda: box.write("test", work("one", "two")),
        lambda: other.write("test", work("two", "one")),
    )
    assert len(begun) == 3


def test_what_never_passes_is_not_tried_for_ever(box: Outbox) -> None:
    tried = list[int]()

    def work(connection: sa.Connection) -> None:
        tried.append(1)
        connection.execute(sa.insert(events).values(same))
        connection.execute(sa.insert(events).values(same))

    same = {"channel": "a", "id": "1", "kind": "x", "at": 1.0, "title": "", "because": ""}
    with pytest.raises(StorageError):
        box.write("test", work)
    assert len(tried) == 5


# Two replicas


def test_d02_two_replicas_that_hear_the_same_at_once_store_it_once(
    box: Outbox, other: Outbox
) -> None:
    told = event()
    for decision in together(*(lambda b=b: intake(b).take(told, NOW) for b in (box, other) * 4)):
        assert decision
    ((_, found),) = box.history(9)
    assert len(found) == 2


def test_two_replicas_that_hear_of_one_stream_in_two_ways_make_one_broadcast(
    box: Outbox, other: Outbox
) -> None:
    """One by webhook, the other by watching: there is no row yet to wait for each other at."""

    def waits() -> object:
        with box.reading() as connection:
            return connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    watching = threading.Thread(target=lambda: intake(other).take(event(id="by watching"), NOW))
    with box.transaction("default") as stored:
        watching.start()
        wait_until(waits)
        assert intake(box)._store(stored, event(id="by webhook"), NOW)
    watching.join()
    assert len(box.history(9)) == 1


def test_g07_two_posts_of_one_destination_are_not_claimed_by_two(
    box: Outbox, other: Outbox
) -> None:
    """Each sees another one as the first: the database itself holds it for a mistake."""
    for number in range(20):
        shows = [replace(SHOW, id=f"{number}.{n}") for n in range(2)]
        for show in shows:
            put(box, to(f"d{number}", show.id), show=show)
        claimed = together(
            lambda: box.claim("me", NOW, limit=9), lambda: other.claim("you", NOW, limit=9)
        )
        assert sum(len(some) for some in claimed) == 1  # type: ignore[arg-type, misc]


def test_a_badge_is_renewed_by_one(box: Outbox, other: Outbox) -> None:
    put(box, to("fake", key="b1/badge/fake", moment=Moment.BADGE))
    claimed = together(
        lambda: box.claim("me", NOW, limit=9), lambda: other.claim("you", NOW, limit=9)
    )
    assert sorted(len(some) for some in claimed) == [0, 1]  # type: ignore[arg-type]


def test_b10_replicas_that_start_at_once_make_the_schema_once(postgres: Postgres) -> None:
    url = postgres.empty_database()
    engines = [connect(url) for _ in range(4)]
    together(*(lambda engine=engine: migrations.upgrade(engine) for engine in engines))
    assert Outbox(engines[0]).history(1) == []
    for engine in engines:
        engine.dispose()


def test_c06_a_replica_frozen_in_a_transaction_lets_go_of_its_locks(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "idle_in_transaction_session_timeout"
    assert limits.SESSION[limit] == "5s"  # less than others wait for a lock
    monkeypatch.setitem(limits.SESSION, limit, "300ms")
    frozen, other = open_box(postgresql_url), open_box(postgresql_url)
    connection = frozen.engine.connect()
    limits.lock(connection, "channel default")  # and then nothing more is heard of it
    intake(other).take(event(), NOW)
    assert len(other.history(9)) == 1
    connection.invalidate()
    for box in (frozen, other):
        box.engine.dispose()


# The bell


def test_what_one_replica_stores_wakes_the_other_at_once(box: Outbox, other: Outbox) -> None:
    rang = list[int]()
    listener = Listener(other.listen, lambda _: rang.append(1))
    listener.start()
    wait_until(lambda: rang)  # once at the start
    for change in (
        lambda: intake(box).take(event(), NOW),
        lambda: box.announce(box.history(1)[0][0].id, NOW, NOW),
    ):
        before = len(rang)
        change()
        wait_until(lambda: len(rang) > before, 2.0)  # noqa: B023  # used right here
    listener.stop()


def test_what_waits_for_its_time_wakes_nobody_before_it(box: Outbox, other: Outbox) -> None:
    heard = list[datetime | None]()
    listener = Listener(other.listen, heard.append)
    listener.start()
    wait_until(lambda: heard == [None])
    held = Rules(hold=timedelta(seconds=30))
    Intake(box, held, lambda _: ["mastodon"], {}, lambda _: None).take(event(), NOW)
    wait_until(lambda: len(heard) > 1, 2.0)
    assert heard[1] == NOW + held.hold
    box.claim("me", NOW + timedelta(minutes=1), 9)
    stop = event(Kind.STOPPED, NOW + timedelta(minutes=1))
    Intake(box, held, lambda _: ["mastodon"], {}, lambda _: None).take(stop, stop.at)
    time.sleep(0.5)  # who sends it just now sees to it
    assert heard[2:] == []
    listener.stop()


def test_a_listener_whose_connection_is_cut_listens_again(box: Outbox, other: Outbox) -> None:
    rang = list[int]()
    listener = Listener(other.listen, lambda _: rang.append(1))
    listener.start()
    wait_until(lambda: rang)
    before = len(rang)
    with box.engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'clock'"
                " AND pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    wait_until(lambda: len(rang) > before)
    before = len(rang)
    intake(box).take(event(), NOW)
    wait_until(lambda: len(rang) > before, 2.0)
    listener.stop()


# What only its columns refuse


@pytest.mark.parametrize("reason", ["a \0 nul", "half a pair \ud83d"])
def test_f04_words_of_a_stranger_that_no_column_takes_lose_no_receipt(
    database_url: str, reason: str
) -> None:
    box = open_box(database_url)
    mine = claim(box)
    what = Try(NOW, 0.5, "publish", "delivered", reason)
    assert box.store(mine, policy.settled(mine.entry), NOW, what, RECEIPT)
    assert stored(box).state is State.SETTLED
    box.close("fake", "print", reason, NOW)
    box.engine.dispose()


def test_a_title_and_a_count_as_large_as_they_come_are_stored(box: Outbox) -> None:
    start = event(id="i" * LONGEST_ID, title="t" * LONGEST, name="n" * LONGEST)
    intake(box).take(start, NOW)
    later = NOW + timedelta(minutes=10)
    stop = event(Kind.STOPPED, later, peak_viewers=MOST_VIEWERS)
    intake(box).take(stop, later)
    assert box.history(1)[0][0].peak_viewers == MOST_VIEWERS
