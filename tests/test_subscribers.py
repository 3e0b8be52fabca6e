"""Those who asked to be told: on both databases, and the fake that stands in for them elsewhere."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from announcer import outbox
from announcer.network import Message, Subscriber, Subscribers
from announcer.outbox import DestinationSubscribers, Outbox
from tests.fakes import NOW, open_box
from tests.pushing import FakeSubscribers

LIVE, RETITLED = Message("t1", "live"), Message("t1", "live again")
OTHER = Message("t2", "live")
MANY = 20


@pytest.fixture
def box(database_url: str) -> Iterator[Outbox]:
    box = open_box(database_url)
    yield box
    box.engine.dispose()


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def them(request: pytest.FixtureRequest) -> Iterator[Subscribers]:
    if request.param == "fake":
        yield FakeSubscribers()
        return
    if request.param == "sqlite":
        folder = request.getfixturevalue("tmp_path")
        url = f"sqlite:///{folder}/announcer.db"
    else:
        url = request.getfixturevalue("postgresql_url")
    box = open_box(url)
    yield DestinationSubscribers(box, "webpush")
    box.engine.dispose()


def ids(found: list[Subscriber]) -> list[str]:
    return sorted(one.id for one in found)


def join(them: Subscribers, *names: str) -> None:
    for name in names:
        assert them.add(name, f"sealed {name}", MANY)


def test_who_joins_waits_for_news_once(them: Subscribers) -> None:
    join(them, "a", "b", "a")
    assert them.count() == 2
    (first, _) = sorted(them.without(LIVE), key=lambda one: one.id)
    assert first == Subscriber("a", "sealed a")


def test_who_joins_again_has_a_new_address_and_is_not_told_twice(them: Subscribers) -> None:
    join(them, "a")
    them.reached(LIVE, ["a"])
    assert them.add("a", "another", MANY)
    assert them.without(LIVE) == []
    (again,) = them.without(OTHER)
    assert again.sealed == "another"


def test_there_is_a_last_place_and_who_has_one_keeps_it(them: Subscribers) -> None:
    assert them.add("a", "x", 2)
    assert them.add("b", "x", 2)
    assert not them.add("c", "x", 2)
    assert them.add("a", "new", 2)
    them.drop(["b", "nobody"])
    assert them.add("c", "x", 2)
    assert them.count() == 2


def test_who_was_reached_is_not_told_the_same_again(them: Subscribers) -> None:
    join(them, "a", "b")
    them.reached(LIVE, ["a"])
    assert ids(them.without(LIVE)) == ["b"]
    assert them.told("t1") == 1
    assert them.told("t2") == 0


def test_a_change_is_for_those_who_know_what_changed(them: Subscribers) -> None:
    join(them, "a", "b", "c")
    them.reached(LIVE, ["a", "b"])
    assert ids(them.behind(RETITLED)) == ["a", "b"]
    them.reached(RETITLED, ["a"])
    assert ids(them.behind(RETITLED)) == ["b"]
    assert ids(them.without(RETITLED)) == ["c"]
    assert them.told("t1") == 2


def test_tries_and_waits_are_those_of_one_message(them: Subscribers) -> None:
    join(them, "a")
    later = NOW + timedelta(minutes=1)
    them.missed(LIVE, [Subscriber("a", "", tries=2, not_before=later)])
    assert them.without(LIVE) == [Subscriber("a", "sealed a", tries=2, not_before=later)]
    assert them.without(OTHER) == [Subscriber("a", "sealed a")]
    them.missed(LIVE, [Subscriber("a", "", tries=3)])
    assert them.without(LIVE) == [Subscriber("a", "sealed a", tries=3)]


def test_who_was_reached_the_last_time_is_steady(them: Subscribers) -> None:
    join(them, "a", "b")
    them.reached(LIVE, ["a"])
    assert {one.id: one.steady for one in them.without(OTHER)} == {"a": True, "b": False}
    them.give_up(["a"], 5)
    assert not any(one.steady for one in them.without(OTHER))


def test_who_misses_too_much_is_dropped_and_asked_last_until_then(them: Subscribers) -> None:
    join(them, "a", "b")
    them.give_up(["a"], 3)
    assert [one.id for one in them.without(LIVE)] == ["b", "a"]
    them.give_up(["a"], 3)
    them.reached(LIVE, ["a"])
    them.give_up(["a"], 3)
    assert them.count() == 2, "not in a row"
    them.give_up(["a"], 3)
    them.give_up(["a"], 3)
    assert ids(them.without(OTHER)) == ["b"]


def test_nobody_is_a_list_too(them: Subscribers) -> None:
    join(them, "a")
    them.drop([])
    them.reached(LIVE, [])
    them.missed(LIVE, [])
    them.give_up([], 1)
    assert ids(them.without(LIVE)) == ["a"]


def test_thousands_are_told_at_once(box: Outbox) -> None:
    """More than a statement takes parameters."""
    them = DestinationSubscribers(box, "webpush")
    names = [f"{number:05}" for number in range(33_000)]
    rows = [
        {"destination": "webpush", "id": name, "sealed": "", "since": 0, "tries": 0, "missed": 0}
        for name in names
    ]
    with box.engine.begin() as connection:
        connection.execute(sa.insert(outbox.schema.tables["subscribers"]), rows)
    them.reached(LIVE, names[:32_900])
    assert len(them.without(LIVE)) == 100
    them.drop(names[:32_999])
    assert them.count() == 1


def test_destinations_do_not_meet(box: Outbox) -> None:
    ours, music = (DestinationSubscribers(box, name) for name in ("webpush", "webpush.music"))
    join(ours, "a")
    join(music, "a", "b")
    ours.reached(LIVE, ["a"])
    assert ids(music.without(LIVE)) == ["a", "b"]
    music.drop(["a"])
    assert (ours.count(), music.count()) == (1, 1)
    ours.give_up(["b"], 1)
    assert music.count() == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_of_many_who_come_at_once_no_more_get_in_than_there_is_room(box: Outbox) -> None:
    them, start = DestinationSubscribers(box, "webpush"), threading.Barrier(8)

    def come(number: int) -> None:
        start.wait()
        them.add(f"{number}", "x", 3)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert them.count() == 3


def test_a_database_of_the_version_before_is_brought_along(database_url: str) -> None:
    before = open_box(database_url)
    outbox.DestinationMemory(before, "webpush").put("a", "kept")
    with before.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX posts_in_doubt")
        connection.exec_driver_sql("DROP TABLE subscribers")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    before.engine.dispose()
    box = open_box(database_url)
    assert outbox.DestinationMemory(box, "webpush").get("a") == "kept"
    join(DestinationSubscribers(box, "webpush"), "a")
    box.engine.dispose()
