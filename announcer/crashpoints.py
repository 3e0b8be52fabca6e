"""Where a test may let the process die: around all that is stored and every request that leaves.

Nothing happens here but under two variables, which are no settings: `ANNOUNCER_CRASH_AT` names the
point at which the process kills itself, with `#3` behind it not before the third time that it is
passed; `ANNOUNCER_CRASH_TRACE` names a file that gets a line for every point passed. `make torture`
finds the points with the second and dies at each of them with the first.
"""

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

CRASH_AT, TRACE = "ANNOUNCER_CRASH_AT", "ANNOUNCER_CRASH_TRACE"
VARIABLES = frozenset({CRASH_AT, TRACE})
_SECRET = re.compile(r"(?<=/)(?!v\d{1,2}\b|[A-Za-z_.]{1,60}(?:/|$))[^/]+")
"""Part of a path that may be an id or a token: all but words and versions."""

_passed: Callable[[str], None] | None = None


def here(when: str, *what: str) -> None:
    """A point. *what* is being done, such as `claim` or `POST` and an address."""
    if _passed is not None:
        _passed(f"{' '.join(map(_named, what))}: {when}")


def arm(variables: Mapping[str, str]) -> str:
    """Obey *variables* from now on. What will happen, for the log; empty if nothing will."""
    global _passed
    point, _, nth = variables.get(CRASH_AT, "").partition("#")
    trace = variables.get(TRACE, "")
    _passed = _Watch(point, int(nth or 1), trace).passed if point or trace else None
    return f"a test kills this process at {point!r}" if point else "a test follows" * bool(trace)


class _Watch:
    def __init__(self, point: str, nth: int, trace: str) -> None:
        self._point, self._nth, self._trace = point, nth, trace
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()

    def passed(self, name: str) -> None:
        with self._lock:
            self._times[name] += 1
            if self._trace:
                with open(self._trace, "a", encoding="utf-8") as file:  # noqa: PTH123  # a name only
                    file.write(f"{name}\n")
            if name == self._point and self._times[name] == self._nth:
                os.kill(os.getpid(), signal.SIGKILL)


def _named(what: str) -> str:
    """An address without its host and without what may be secret in it."""
    if "/" not in what:
        return what
    return _SECRET.sub("*", urlsplit(what).path)
