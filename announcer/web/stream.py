"""Pages that change by themselves: server-sent events, each stream short and few at a time.

A stream holds one of the threads that the webhook needs, too. So it lasts seconds, the browser asks
again by itself, and when too many watch they are told how it is now and when to ask again.
Source: WHATWG HTML, 9.2 Server-sent events.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count

from flask import Response, g, request, stream_with_context

from announcer.outbox import StorageError

LASTS = 8.0
"""Seconds of one stream, its first look included: less than our worker grants an answer."""
PAUSE = 0.7
"""Seconds between two looks at the database."""
AT_ONCE = 6
"""Streams at the same time, of sixteen threads."""
AGAIN, LATER = 300, 4000
"""Milliseconds until the browser asks again: after a stream, and where there was no room for one.
"""

leaving = threading.Event()
"""Set when the process is told to stop: then every stream ends."""
_room = threading.BoundedSemaphore(AT_ONCE)


def stream(look: Callable[[], Mapping[str, str]], page: str, pause: float = PAUSE) -> Response:
    """What *look* returns, HTML by id, whenever it differs from what the browser has. *page* is the
    path of the page that shows it: addresses are relative. Raises StorageError at its beginning.
    """
    g.path = page
    begun = time.monotonic()
    told = _Told(request.headers.get("Last-Event-ID", ""))
    now = told.event(look())
    took = time.monotonic() - begun
    leave = _enter()
    if leave:
        first = f"retry: {AGAIN}\n\n{now}"
        events = stream_with_context(_events(first, look, told, pause, begun + LASTS, took, leave))
        answer = Response(events, mimetype="text/event-stream")
        answer.call_on_close(leave)  # if nobody ever asks for the first event
    else:
        answer = Response(f"retry: {LATER}\n\n{now}", mimetype="text/event-stream")
    answer.headers["X-Accel-Buffering"] = "no"  # nginx would keep it back
    return answer


def _enter() -> Callable[[], None] | None:
    """What gives the room back, once however often it is called; None if there is none."""
    if not _room.acquire(blocking=False):
        return None
    calls = count()

    def leave() -> None:
        if next(calls) == 0:
            _room.release()

    return leave


class _Told:
    """What the browser has: *known* is its digest."""

    def __init__(self, known: str) -> None:
        self._known = known

    def event(self, parts: Mapping[str, str]) -> str:
        """Empty if there is nothing new."""
        data = json.dumps(parts)
        digest = hashlib.sha256(data.encode()).hexdigest()[:16]
        if digest == self._known:
            return ""
        self._known = digest
        return f"id: {digest}\ndata: {data}\n\n"


def _events(
    first: str,
    look: Callable[[], Mapping[str, str]],
    told: _Told,
    pause: float,
    end: float,
    took: float,
    leave: Callable[[], None],
) -> Iterator[str]:
    """*took*: seconds of the look before; with many accounts on a small machine it is some."""
    try:
        yield first
        while (begun := time.monotonic()) + pause + took < end and not leaving.wait(pause):
            news = told.event(look())
            took = time.monotonic() - begun - pause
            if news:
                yield news
    except StorageError:
        return  # the browser asks again, and hears of it
    finally:
        leave()
