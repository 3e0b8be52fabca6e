"""Asks Owncast again and again: it never repeats a webhook, nor says that one was lost. What no
webhook told becomes an event like any other.
"""

import random
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from announcer import sightings
from announcer.events import Event, Kind, Status
from announcer.intake import Intake
from announcer.outbox import StorageError
from announcer.sightings import Lately
from announcer.watch import Watch

log = structlog.get_logger("announcer.patrol")

STUCK = 60.0
"""Seconds after which a round that should have begun and ended counts as stuck."""


class Patrol:
    """Asks the server of one *channel* again and again, and gives to intake what no webhook told.

    *watch* is its own: delivery never waits for an answer to it.
    """

    def __init__(self, channel: str, watch: Watch, intake: Intake) -> None:
        self.channel = channel
        self._watch, self._intake, self._outbox = watch, intake, intake.outbox
        self._lately = Lately()
        self._answers = True
        self._storing = threading.Lock()
        self._stopping = False
        self._next = time.monotonic()

    def look(self) -> datetime:
        """One round; when the next is due."""
        status = None if self._stopping else self._watch.status()
        now = datetime.now(UTC)
        self._tell(status is not None)
        try:
            with self._storing:
                if not self._stopping:
                    self._compare(status, now)
        except StorageError as problem:  # the next round finds it again
            log.error("storage", channel=self.channel, reason=type(problem).__name__)
        dice = random.random()  # noqa: S311  # jitter, no secret
        wait = sightings.wait(self._lately, status, self._intake.rules, dice)
        self._next = time.monotonic() + wait.total_seconds()
        return datetime.now(UTC) + wait

    def looking(self) -> bool:
        """Whether the round that was due last has ended."""
        return time.monotonic() < self._next + STUCK

    def stop(self, patience: float) -> None:
        """Store nothing any more, once that which is being stored is, for *patience* seconds."""
        self._stopping = True
        if self._storing.acquire(timeout=patience):
            self._storing.release()

    def _compare(self, status: Status | None, now: datetime) -> None:
        past = self._outbox.past(self.channel)
        self._lately = sightings.remember(self._lately, status, past, now)
        if status is None:
            return
        rules = self._intake.rules
        event = sightings.notice(status, past, self._lately, rules, self.channel, now)
        if event:  # whatever else there is, the next round finds
            self._intake.take(self._named(event), now)
        elif past.broadcast and sightings.is_due(self._lately, past, now):
            self._outbox.sighted(past.broadcast.id, now, self._lately.peak)

    def _named(self, event: Event) -> Event:
        """A webhook would have told whose stream it is; a status does not."""
        if event.kind is not Kind.STARTED:
            return event
        about = self._watch.about()
        return replace(event, name=about.name, summary=about.summary)

    def _tell(self, answers: bool) -> None:
        if answers != self._answers and not self._stopping:
            outcome = "it answers again" if answers else "no answer that can be read"
            log.warning("watch", channel=self.channel, outcome=outcome)
            self._answers = answers
