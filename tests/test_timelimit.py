"""What takes too long is ended, and nothing else is."""

import os
import threading
import time
from heapq import heapify

from announcer import timelimit
from tests.fakes import wait_until

LONG = 3600.0


def test_what_is_over_in_time_is_left_alone() -> None:
    ended: list[str] = []
    with timelimit.after(LONG, lambda: ended.append("x")) as late:
        pass
    assert not late.is_set()
    assert ended == []


def test_it_is_ended_again_and_again_until_it_is_over() -> None:
    ended: list[float] = []
    with timelimit.after(0.01, lambda: ended.append(time.monotonic())) as late:
        wait_until(lambda: len(ended) >= 3)
    assert late.is_set()
    before = len(ended)
    with timelimit.after(0.3, lambda: None) as other:  # longer than until it would be ended again
        wait_until(other.is_set)
    assert len(ended) == before


def _forget_what_is_over() -> None:
    """Other tests of this process have left some that end within half a minute."""
    with timelimit._changed:
        timelimit._limits[:] = [one for one in timelimit._limits if not one[2].over]
        heapify(timelimit._limits)
        timelimit._changed.notify()


def _sleeps_for_long() -> bool:
    """Whether the thread that ends them waits for nothing that is near."""
    waiters: object = vars(timelimit._changed)["_waiters"]
    return bool(waiters) and timelimit._limits[0][0] > time.monotonic() + LONG / 2


def test_a_shorter_limit_does_not_wait_for_a_longer_one_that_came_first() -> None:
    slow: list[str] = []
    with timelimit.after(LONG, lambda: slow.append("x")):
        _forget_what_is_over()
        wait_until(_sleeps_for_long)
        with timelimit.after(0.01, lambda: None) as late:
            wait_until(late.is_set)
    assert slow == []


def test_many_at_once_need_one_thread() -> None:
    with timelimit.after(LONG, lambda: None):
        before = threading.active_count()
        with timelimit.after(LONG, lambda: None), timelimit.after(LONG, lambda: None):
            assert threading.active_count() == before


def test_what_is_over_is_never_ended_even_if_its_time_came_just_now() -> None:
    """Its socket is another request's by then."""
    for _ in range(200):
        over = False
        wrong: list[str] = []
        with timelimit.after(0.0005, lambda: wrong.append("x") if over else None):  # noqa: B023  # as above
            time.sleep(0.0005)
        over = True
        assert wrong == []


def test_it_works_in_a_process_that_was_forked() -> None:
    with timelimit.after(0.001, lambda: None) as late:
        wait_until(late.is_set)
    child = os.fork()
    if not child:
        with timelimit.after(0.01, lambda: None) as late:
            os._exit(0 if late.wait(10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
