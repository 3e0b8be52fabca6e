"""The clock: nothing that is due waits for it, and it never stops by itself."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from announcer import scheduler
from announcer.scheduler import Clock
from tests.fakes import wait_until

NEVER = 3600
"""Seconds: a safety net that can not be what caught a test."""
Work = Callable[[], datetime | None]
Winds = Callable[[Work], Clock]


@pytest.fixture
def winds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Winds]:
    """Makes running clocks without a safety net."""
    monkeypatch.setattr(scheduler, "SAFETY_NET", NEVER)
    clocks: list[Clock] = []

    def wind(work: Work) -> Clock:
        clocks.append(Clock(work))
        clocks[-1].start()
        return clocks[-1]

    yield wind
    for clock in clocks:
        clock.stop()


@pytest.fixture
def hectic() -> Iterator[None]:
    """Python changes threads 5,000 times as often as it usually does."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class Looks:
    """Work that counts, and asks for what *again* says."""

    def __init__(self, *again: datetime | Exception | None) -> None:
        self.times: list[float] = []
        self._again = list(again)

    def __call__(self) -> datetime | None:
        self.times.append(time.time())
        answer = self._again.pop(0) if self._again else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_it_looks_as_soon_as_it_starts_since_something_may_have_waited(winds: Winds) -> None:
    looks = Looks()
    winds(looks)
    wait_until(lambda: looks.times)


def test_a_call_is_answered_at_once(winds: Winds) -> None:
    looks = Looks()
    clock = winds(looks)
    wait_until(lambda: len(looks.times) == 1)
    clock.wake()
    wait_until(lambda: len(looks.times) == 2)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3])
def test_it_looks_again_when_the_next_post_is_due_and_not_before(
    winds: Winds, seconds: float
) -> None:
    due = soon(seconds)
    looks = Looks(due)
    winds(looks)
    wait_until(lambda: len(looks.times) == 2)
    assert looks.times[1] >= due.timestamp()


def test_no_due_time_is_lost_however_near_it_is(winds: Winds, hectic: None) -> None:
    """Each of them is due while the tick before is still on its way out."""
    looks = Looks(*[soon(0)] * 300)
    winds(looks)
    wait_until(lambda: len(looks.times) == 301)


def test_a_far_due_time_gives_way_to_a_nearer_one(winds: Winds) -> None:
    looks = Looks(soon(NEVER), soon(0.1))
    clock = winds(looks)
    wait_until(lambda: len(looks.times) == 1)
    clock.wake()
    wait_until(lambda: len(looks.times) == 3)


def test_nobody_needs_to_call(winds: Winds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "SAFETY_NET", 0.05)
    looks = Looks()
    winds(looks)
    wait_until(lambda: len(looks.times) >= 4)


@pytest.mark.parametrize(
    "problem",
    [sa.exc.OperationalError("SELECT", {}, Exception("disk I/O error")), RuntimeError("a bug")],
    ids=["the database fails", "a bug"],
)
def test_trouble_does_not_stop_it(
    winds: Winds, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    monkeypatch.setattr(scheduler, "SAFETY_NET", 0.05)
    looks = Looks(problem, problem)
    clock = winds(looks)
    wait_until(lambda: len(looks.times) >= 4)
    clock.wake()
    assert clock.ticking()


def test_it_is_not_ticking_while_a_look_is_stuck_and_is_once_that_ends(
    winds: Winds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "STUCK", 0.1)
    free = threading.Event()

    def work() -> None:
        free.wait(10)

    clock = winds(work)
    wait_until(lambda: not clock.ticking())
    free.set()
    wait_until(clock.ticking)


def test_it_is_not_ticking_while_every_look_fails(
    winds: Winds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "SAFETY_NET", 0.02)
    monkeypatch.setattr(scheduler, "STUCK", 0.1)
    well = threading.Event()

    def work() -> None:
        if not well.is_set():
            raise sa.exc.OperationalError("SELECT", {}, Exception("locked"))

    clock = winds(work)
    wait_until(lambda: not clock.ticking())
    well.set()
    wait_until(clock.ticking)


def test_who_calls_for_later_than_the_next_look_causes_none(winds: Winds) -> None:
    looks = Looks(soon(NEVER), soon(NEVER))
    clock = winds(looks)
    wait_until(lambda: clock._planned)
    for _ in range(50):
        clock.wake(soon(2 * NEVER))
        assert not clock._called.is_set()
    clock.wake(soon(NEVER / 2))
    wait_until(lambda: len(looks.times) == 2)


def test_who_calls_for_later_during_a_look_is_heard(winds: Winds) -> None:
    """What was stored meanwhile may be due before what that look found."""
    looking, go_on = threading.Event(), threading.Event()
    looks: list[int] = []

    def work() -> datetime:
        looks.append(1)
        if len(looks) == 2:
            looking.set()
            assert go_on.wait(10)
        return soon(NEVER * len(looks))

    clock = winds(work)
    wait_until(lambda: clock._planned)
    clock.wake()
    assert looking.wait(10)
    clock.wake(soon(1.5 * NEVER))  # later than the look before planned, and sooner than this one
    go_on.set()
    wait_until(lambda: len(looks) > 2)


def test_a_bug_in_a_look_that_was_called_for_is_not_the_last_look(winds: Winds) -> None:
    looks = Looks(ZeroDivisionError(), ZeroDivisionError())
    clock = winds(looks)
    for number in (1, 2, 3):
        wait_until(lambda: len(looks.times) >= number)  # noqa: B023  # called at once
        clock.wake()


def test_no_call_is_lost_whenever_it_comes(winds: Winds, hectic: None) -> None:
    """Each comes as early as possible after the look before, when that is just ending."""
    stored = looked = 0

    def work() -> None:
        nonlocal looked
        looked = stored

    clock = winds(work)
    for number in range(1, 500):
        stored = number
        clock.wake()
        wait_until(lambda: looked == stored, patience=3)  # noqa: B023  # called at once


def test_calls_from_many_threads_become_few_looks(winds: Winds) -> None:
    stored: list[int] = []
    looked: list[int] = []
    free = threading.Event()

    def work() -> None:
        found = len(stored)
        assert free.wait(10)
        looked.append(found)

    clock = winds(work)

    def call() -> None:
        for number in range(50):
            stored.append(number)
            clock.wake()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    free.set()
    wait_until(lambda: looked and looked[-1] == 400)
    assert len(looked) < 10


def test_a_call_during_a_look_means_one_more_look() -> None:
    """What it calls for may have been stored just after that look had read."""
    stored: list[int] = []
    looked: list[int] = []
    reading, free = threading.Event(), threading.Event()

    def work() -> None:
        found = len(stored)
        reading.set()
        assert free.wait(10)
        looked.append(found)

    clock = Clock(work)
    first = threading.Thread(target=clock.tick)
    first.start()
    assert reading.wait(10)
    stored.append(1)
    clock.tick()
    free.set()
    first.join()
    assert looked == [0, 1]


def test_two_looks_never_overlap(winds: Winds) -> None:
    inside = threading.Lock()
    overlaps: list[str] = []
    count = 0

    def work() -> None:
        nonlocal count
        if not inside.acquire(blocking=False):
            overlaps.append("!")
        time.sleep(0.002)
        count += 1
        inside.release()

    clock = winds(work)
    threads = [threading.Thread(target=clock.tick) for _ in range(30)]
    for thread in threads:
        thread.start()
        clock.wake()
    for thread in threads:
        thread.join()
    wait_until(lambda: count)
    assert overlaps == []


def test_after_a_stop_it_looks_no_more_and_a_late_call_is_harmless(winds: Winds) -> None:
    looks = Looks()
    clock = winds(looks)
    wait_until(lambda: looks.times)
    clock.stop()
    clock.stop()
    count = len(looks.times)
    clock.wake()
    assert len(looks.times) == count


def test_a_stop_in_the_middle_of_calls_is_quiet(
    winds: Winds, hectic: None, caplog: pytest.LogCaptureFixture
) -> None:
    """APScheduler would hand out what is due once more, fail, and end with a traceback."""
    for _ in range(50):
        clock = winds(Looks(*[soon(0)] * 20))
        clock.wake()
        clock.stop()
    assert [told.message for told in caplog.records if told.levelname == "ERROR"] == []


# Rounds


def test_a_round_is_made_at_once_and_then_whenever_it_asked_for() -> None:
    times: list[float] = []
    due: list[datetime] = []

    def work() -> datetime:
        times.append(time.time())
        due.append(soon(0.1))
        return due[-1]

    clock = Clock(lambda: None)
    clock.add("watch", work)
    assert times == []
    clock.start()
    wait_until(lambda: len(times) == 4)
    clock.stop()
    assert all(at >= asked.timestamp() for at, asked in zip(times[1:], due, strict=False))
    count = len(times)
    time.sleep(0.3)
    assert len(times) <= count + 1  # one may have begun just then


def test_rounds_that_hang_hold_up_nothing_else() -> None:
    free, looks, rounds = threading.Event(), Looks(), Looks()

    def hang() -> datetime:
        free.wait(10)
        return soon(NEVER)

    def work() -> datetime:
        rounds()
        return soon(0.05)

    clock = Clock(looks)
    for number in range(15):  # more than APScheduler's own pool has threads
        clock.add(f"dead {number}", hang)
    clock.add("alive", work)
    clock.start()
    wait_until(lambda: len(rounds.times) >= 3)
    count = len(looks.times)
    clock.wake()
    wait_until(lambda: len(looks.times) > count)
    clock.stop()
    free.set()


def test_a_bug_in_a_round_ends_neither_it_nor_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "AFTER_A_BUG", timedelta(seconds=0.05))
    broken, well = Looks(), Looks()

    def bug() -> datetime:
        broken()
        raise RuntimeError("a bug")

    def work() -> datetime:
        well()
        return soon(0.05)

    clock = Clock(lambda: None)
    clock.add("broken", bug)
    clock.add("well", work)
    clock.start()
    wait_until(lambda: len(broken.times) >= 3 and len(well.times) >= 3)
    clock.stop()
