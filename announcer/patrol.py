"""Asks Owncast again and again: it never repeats a webhook, nor says that one was lost. What no
webhook told becomes an event like any other.
"""

import random
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from announcer import sightings
from announcer.events import Event, Kind, Status
from announcer.intake import Intake, told_as
from announcer.outbox import StorageError, cause_of
from announcer.policy import Sight
from announcer.sightings import Lately
from announcer.watch import Watch, sight_of

log = structlog.get_logger("announcer.patrol")

STUCK = 60.0
"""Seconds after which a round that should have begun and ended counts as stuck."""

LASTS = timedelta(seconds=30)
"""Beside two rounds, the time for which the duty to ask is one replica's: if it dies, another one
begins after that.
"""


class Patrol:
    """Asks the server of one *channel* again and again, and gives to intake what no webhook told.

    *watch* is its own: delivery never waits for an answer to it. Of several replicas one asks:
    this is the one called *owner*.
    """

    def __init__(self, channel: str, watch: Watch, intake: Intake, owner: str) -> None:
        self.channel = channel
        self._watch, self._intake, self._outbox = watch, intake, intake.outbox
        self._owner, self._duty = owner, f"watch {channel}"
        self._lasts = 2 * intake.rules.poll + LASTS
        self._lately = Lately()
        self.seen: Sight | None = None
        """What Owncast showed last; None as long as it is not us who ask."""
        self.answered: datetime | None = None
        self._answers = True
        self._storing = threading.Lock()
        self._stopping = False
        self._next = time.monotonic()

    def look(self) -> datetime:
        """One round; when the next is due."""
        status, begun = None, time.time_ns()
        try:
            with self._storing:
                ours = self._ours()
            if ours:
                status = self._watch.status()
                self._tell(status is not None)
                self.seen = sight_of(status)
                if status is not None:
                    self.answered = datetime.now(UTC)
                with self._storing:
                    # Once more: it may have been frozen since it asked, and what it saw be old.
                    if self._ours():
                        self._compare(status, datetime.now(UTC), begun)
        except StorageError as problem:  # the next round finds it again
            log.error("storage", channel=self.channel, reason=cause_of(problem))
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

    def _ours(self) -> bool:
        """Asked by whoever has the lock: after `stop` this takes no duty that was given back."""
        if self._stopping:
            return False
        ours = self._outbox.hold(self._duty, self._owner, datetime.now(UTC), self._lasts)
        if not ours:
            self._lately = Lately()  # what was seen before says nothing of what others saw since
            self.seen = None
        return ours

    def _compare(self, status: Status | None, now: datetime, begun: int) -> None:
        past = self._outbox.past(self.channel)
        self._lately = sightings.remember(self._lately, status, past, now)
        if status is None:
            return
        rules = self._intake.rules
        event = sightings.notice(status, past, self._lately, rules, self.channel, now)
        if event:  # whatever else there is, the next round finds
            show = self._intake.take(self._named(event), now).broadcast
            if show:
                self._intake.tracing.span("watch", show.id, begun, me=told_as(event))
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
