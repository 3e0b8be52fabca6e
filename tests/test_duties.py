"""What one of several does for all: one holder at a time, whoever comes after one that is gone."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from announcer.intake import Intake
from announcer.outbox import Outbox
from announcer.patrol import Patrol
from announcer.policy import Rules
from announcer.watch import Watch
from tests.fakes import NOW, open_box

LASTS = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def box(database_url: str) -> Iterator[Outbox]:
    box = open_box(database_url)
    yield box
    box.engine.dispose()


def test_a_duty_is_held_by_one(box: Outbox) -> None:
    assert box.hold("watch", "me", NOW, LASTS)
    assert box.hold("watch", "me", NOW + SECOND, LASTS)
    assert not box.hold("watch", "you", NOW + SECOND, LASTS)
    assert box.hold("prune", "you", NOW, LASTS)


def test_every_question_prolongs_it(box: Outbox) -> None:
    for seconds in range(0, 600, 25):
        assert box.hold("watch", "me", NOW + seconds * SECOND, LASTS)
        assert not box.hold("watch", "you", NOW + (seconds + 24) * SECOND, LASTS)


def test_whoever_asks_after_its_time_takes_it_over(box: Outbox) -> None:
    """Its holder was killed, or frozen: then it learns when it wakes (G07)."""
    assert box.hold("watch", "me", NOW, LASTS)
    assert box.hold("watch", "you", NOW + LASTS, LASTS)
    assert not box.hold("watch", "me", NOW + LASTS, LASTS)


def test_who_stops_gives_back_what_is_his(box: Outbox) -> None:
    assert box.hold("watch", "me", NOW, LASTS)
    assert box.hold("prune", "you", NOW, LASTS)
    box.give_back("me")
    assert box.hold("watch", "you", NOW, LASTS)
    assert not box.hold("prune", "me", NOW, LASTS)


def test_of_many_who_ask_at_once_one_gets_it(box: Outbox) -> None:
    start, holders = threading.Barrier(8), list[str]()

    def ask(owner: str) -> None:
        start.wait()
        if box.hold("watch", owner, NOW, LASTS):
            holders.append(owner)

    threads = [threading.Thread(target=ask, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(holders) == 1


def test_a_round_under_way_at_the_stop_takes_no_duty_again(box: Outbox) -> None:
    """It would keep the next process from watching for minutes."""
    intake = Intake(box, Rules(), lambda _: [], {}, lambda _: None)
    patrol = Patrol("default", Watch("http://owncast.test"), intake, "me")
    patrol.stop(0)
    box.give_back("me")
    patrol.look()
    assert box.hold("watch default", "you", NOW, LASTS)
