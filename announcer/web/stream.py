"""Pages that change by themselves: server-sent events, each stream short and few at a time.

A stream holds one of the threads that the webhook needs, too. So it lasts seconds, the browser asks
again by itself, and when too many watch the page asks every few seconds instead (see live.js).
Source: WHATWG HTML, 9.2 Server-sent events.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from flask import Response, g, request, stream_with_context

LASTS = 8.0
"""Seconds of one stream: less than our worker grants an answer."""
PAUSE = 0.5
"""Seconds between two looks at the database."""
AT_ONCE = 6
"""Streams at the same time, of sixteen threads."""
AGAIN = 300
"""Milliseconds until the browser asks again."""

leaving = threading.Event()
"""Set when the process is told to stop: then every stream ends."""
_room = threading.BoundedSemaphore(AT_ONCE)


def stream(look: Callable[[], Mapping[str, str]], page: str) -> Response:
    """What *look* returns, HTML by id, whenever it differs from what the browser has. *page* is the
    path of the page that shows it: addresses are relative.
    """
    if not _room.acquire(blocking=False):
        return Response("too many are watching\n", 503, mimetype="text/plain")
    g.path = page
    events = stream_with_context(_events(look, request.headers.get("Last-Event-ID", "")))
    answer = Response(events, mimetype="text/event-stream")
    answer.headers["X-Accel-Buffering"] = "no"  # nginx would keep it back
    answer.call_on_close(_room.release)
    return answer


def _events(look: Callable[[], Mapping[str, str]], known: str) -> Iterator[str]:
    yield f"retry: {AGAIN}\n\n"
    end = time.monotonic() + LASTS
    while not leaving.is_set():
        data = json.dumps(look())
        digest = hashlib.sha256(data.encode()).hexdigest()[:16]
        if digest != known:
            known = digest
            yield f"id: {digest}\ndata: {data}\n\n"
        if time.monotonic() + PAUSE > end or leaving.wait(PAUSE):
            return
