"""Ends what takes too long, in one thread for all of it.

A thread for each, which has to begin before a request may, held up all others whenever many began
at once: a third of the time from a claim to the first byte.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

AGAIN = 0.1
"""Seconds until what was ended and is not over is ended once more: it may have been too early."""


@dataclass(eq=False)
class _Limit:
    end: Callable[[], None]
    late: threading.Event = field(default_factory=threading.Event)
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


_limits: list[tuple[float, int, _Limit]] = []
"""A heap: by the monotonic clock, and in the order in which they came."""
_numbers = count()
_changed = threading.Condition()
_thread: threading.Thread | None = None


@contextmanager
def after(seconds: float, end: Callable[[], None]) -> Iterator[threading.Event]:
    """In here *end* is called once *seconds* have passed, by another thread, and again until we
    leave; never afterwards. The event says whether it was. *end* must not wait for anything.
    """
    limit = _Limit(end)
    _add(limit, seconds)
    try:
        yield limit.late
    finally:
        with limit.lock:
            limit.over = True


def _add(limit: _Limit, seconds: float) -> None:
    global _thread  # it begins with the first of them, and anew after a fork
    with _changed:
        heappush(_limits, (time.monotonic() + seconds, next(_numbers), limit))
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_run, name="time limits", daemon=True)
            _thread.start()
        elif _limits[0][2] is limit:
            _changed.notify()


def _run() -> None:
    while True:
        with _changed:
            while not _limits or _limits[0][0] > time.monotonic():
                left = _limits[0][0] - time.monotonic() if _limits else None
                _changed.wait(left if left is None else max(0.0, left))
            limit = heappop(_limits)[2]
        with limit.lock:
            if limit.over:
                continue
            limit.late.set()
            limit.end()
        _add(limit, AGAIN)
