"""Who has logged out. A cookie that was copied before is worth nothing afterwards."""

import hashlib
import json
import time
from contextlib import suppress

import structlog

from announcer.network import Memory
from announcer.outbox import StorageError, cause_of

log = structlog.get_logger("announcer.pages")

KEPT = "logouts"
MOST = 500
"""Of them that are remembered, the newest."""


class Logouts:
    """Sessions that have ended, kept in *memory* for as long as a cookie *lasts*, in seconds."""

    def __init__(self, memory: Memory, lasts: float) -> None:
        self._memory, self._lasts = memory, lasts
        self._known: dict[str, float] = {}
        """By digest, when. What was read last is used while the database is away."""

    def add(self, session: str) -> None:
        """Goes on without the database, until this process ends."""
        self._read()
        now = time.time()
        ended = {**self._known, _digest(session): now}
        self._known = {one: at for one, at in ended.items() if now - at < self._lasts}
        try:
            self._memory.put(KEPT, json.dumps(self._known))
        except StorageError as problem:
            log.error("page", action="logout", reason=cause_of(problem))

    def __contains__(self, session: str) -> bool:
        self._read()
        return _digest(session) in self._known

    def _read(self) -> None:
        with suppress(StorageError):
            stored: dict[str, float] = json.loads(self._memory.get(KEPT) or "{}")
            both = {**self._known, **stored}  # ours may not have been stored
            self._known = dict(sorted(both.items(), key=lambda one: one[1])[-MOST:])


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()[:16]
