"""Throws away what is old, in the background and in small steps. One replica does it for all."""

import threading
from datetime import UTC, datetime, timedelta

import structlog

from announcer.outbox import CLOCK_SET, Outbox, StorageError, cause_of

log = structlog.get_logger("announcer.housekeeping")

FIRST = timedelta(minutes=5)
"""After a start, when there is enough to do."""
EVERY = timedelta(hours=1)
AT_ONCE = timedelta(minutes=2)
"""How long it may take; what is left waits for the next time."""
BREATH = 0.05
"""Seconds between two steps, for everybody who wants to write."""
LOG = 64 * 2**20
"""Bytes written ahead, from which on the operator hears of it."""


class Housekeeping:
    """For *owner*, a name that no other replica has. *keep* is None for ever."""

    def __init__(self, outbox: Outbox, owner: str, keep: timedelta | None) -> None:
        self._outbox, self._owner, self._keep = outbox, owner, keep
        self._stopping = threading.Event()
        self._begun = False

    def round(self) -> datetime:
        """When it is due again."""
        now = datetime.now(UTC)
        first, self._begun = not self._begun, True
        if first or now < CLOCK_SET:  # whose calendar would throw away nothing, or everything
            return now + FIRST
        try:
            if self._outbox.hold("housekeeping", self._owner, now, 2 * EVERY):
                self.tidy(now)
        except StorageError as problem:
            log.error("storage", reason=cause_of(problem))
        return datetime.now(UTC) + EVERY

    def tidy(self, now: datetime) -> None:
        mark, until = None, datetime.now(UTC) + AT_ONCE
        while self._keep and not self._stopping.wait(BREATH) and datetime.now(UTC) < until:
            mark = self._outbox.forget_broadcasts(now, self._keep, mark)
            if mark is None:
                break
        while not self._stopping.wait(BREATH) and datetime.now(UTC) < until:
            if not self._outbox.forget_events(now):
                break
        if not self._stopping.is_set():
            self._outbox.forget_pictures(now)
            if not self._outbox.shrink_log() and self._outbox.log_size() > LOG:
                reason = "somebody has been reading the database for long"
                log.warning("database", log_bytes=self._outbox.log_size(), reason=reason)

    def stop(self) -> None:
        self._stopping.set()
