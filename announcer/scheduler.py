"""The clock: it wakes delivery when something is due, and holds no state of its own.

APScheduler's job store is never used: what it takes out of there is lost with the process.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from announcer.outbox import Heard, StorageError, cause_of

log = structlog.get_logger("announcer.scheduler")

SAFETY_NET = 5
"""Seconds between two looks at the outbox when nobody called."""
RETURNING = 5
"""Ticks that may be on their way out when the next one is due: with APScheduler's default of one, a
call that comes in that moment would be dropped, and wait for the safety net.
"""
STUCK = 30.0
"""Seconds without a finished look after which the clock does not count as ticking."""
SET_BACK = 2.0
"""Seconds that the clock on the wall may lose before everything is called anew: APScheduler waits
for a time of that clock, and would wait for as long as it was set back.
"""
LISTEN_AGAIN = (0.1, 0.5, 1.0, 5.0, 15.0)
"""Seconds until a broken connection to the bell is made again; the last one is repeated."""
SKEW = 10.0
"""Seconds that our clock may be off the database's before the operator is told."""
CROWD = 32
"""Rounds at once: a host of a thousand channels asks each twice a minute, for a second or so."""
AFTER_A_BUG = timedelta(minutes=1)
"""Until a round that broke is made again."""


class Clock:
    """Calls *work* at once when woken, at the time that it asked for, and every few seconds."""

    def __init__(self, work: Callable[[], datetime | None]) -> None:
        self._work = work
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._rounds: dict[str, Callable[[], datetime]] = {}
        self._working = threading.Lock()
        self._called = threading.Event()
        self._planning = threading.Lock()
        self._planned: datetime | None = None
        """When the next look will be; None if that is not known, such as during one."""
        self._ticked = time.monotonic()
        self._adding = threading.Lock()
        self._stopped = False
        self._ended = threading.Event()

    def add(self, name: str, work: Callable[[], datetime]) -> None:
        """From the start on, also call *work*, each time at the time that it asked for, in another
        thread: however long it takes, delivery does not wait for it.
        """
        self._rounds[name] = work

    def start(self) -> None:
        if self._rounds:
            crowd = ThreadPoolExecutor(min(len(self._rounds), CROWD))
            self._scheduler.add_executor(crowd, "rounds")
        self._scheduler.start()
        self.restart()
        threading.Thread(target=self._guard, name="clock", daemon=True).start()
        threading.Thread(target=self._attend, name="called", daemon=True).start()

    def restart(self) -> None:
        """Call everything now, and the outbox every few seconds from now on."""
        with self._adding:
            if self._stopped:
                return
            self._scheduler.add_job(
                self.tick,
                "interval",
                seconds=SAFETY_NET,
                id="safety net",
                replace_existing=True,
                coalesce=True,
                misfire_grace_time=None,
            )
        self.wake()
        for name in self._rounds:
            self._at(datetime.now(UTC), f"round {name}", self._round, name)

    def wake(self, at: datetime | None = None) -> None:
        """There may be something to do now, or not before *at*. Returns at once: it stands between
        Owncast and its answer.
        """
        with self._planning:
            if at and self._planned and self._planned <= at:
                return
            self._called.set()

    def stop(self) -> None:
        """No further look. Returns at once."""
        self._ended.set()
        self._called.set()
        with self._adding:
            self._stopped = True
            self._scheduler.remove_all_jobs()  # it would stumble over one that is due just now
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def ticking(self) -> bool:
        """Whether the last look at the outbox was finished, and not long ago."""
        return time.monotonic() - self._ticked < STUCK

    def tick(self) -> None:
        """Look at the outbox, once more for each call that came while looking."""
        self._called.set()
        while self._called.is_set() and self._working.acquire(blocking=False):
            try:
                with self._planning:
                    self._called.clear()
                    self._planned = None  # this look may plan another time instead
                again = self._work()
                self._ticked = time.monotonic()
                if again:
                    self._at(again, "due")
                    self._planned = again
            except StorageError as problem:
                log.error("storage", reason=cause_of(problem))
                return
            finally:
                self._working.release()

    def _attend(self) -> None:
        """Look whenever somebody called. Not by the scheduler, which takes a millisecond to pass a
        call on: as long as all else between an event and the first byte to a network.
        """
        while not self._ended.is_set():
            self._called.wait()
            with self._working:
                pass  # whoever looks just now may have seen to it
            if self._called.is_set() and not self._ended.is_set():
                try:
                    self.tick()
                except Exception as bug:  # the boundary of the thread: a bug must be seen
                    log.exception("clock", reason=type(bug).__name__)

    def _guard(self) -> None:
        """By the one clock that nobody sets."""
        ahead = time.time() - time.monotonic()
        while not self._ended.wait(SAFETY_NET):
            before, ahead = ahead, time.time() - time.monotonic()
            if ahead < before - SET_BACK:
                log.warning("clock", reason=f"it was set back by {before - ahead:.0f} s")
                self.restart()

    def _round(self, name: str) -> None:
        again = datetime.now(UTC) + AFTER_A_BUG
        try:
            again = self._rounds[name]()
        finally:
            self._at(again, f"round {name}", self._round, name)

    def _at(
        self, when: datetime, name: str, work: Callable[..., None] | None = None, *args: str
    ) -> None:
        with self._adding:
            if self._stopped:
                return
            self._scheduler.add_job(
                work or self.tick,
                "date",
                args=args,
                executor="rounds" if work else "default",
                run_date=when,
                id=name,
                replace_existing=True,
                misfire_grace_time=None,
                max_instances=RETURNING,
            )


class Listener:
    """Calls *heard* when another replica stored something that is due, or will be at the time that
    it is called with, from a thread of its own.

    *listen* is the outbox's; None where there is nobody to hear. It is a convenience: who hears
    nothing finds everything a little later.
    """

    def __init__(
        self,
        listen: Callable[[float], Iterator[Heard] | None],
        heard: Callable[[datetime | None], None],
    ) -> None:
        self._listen, self._heard = listen, heard
        self._stopped = threading.Event()
        self._failed = 0
        self._skewed = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="listener", daemon=True).start()

    def stop(self) -> None:
        """Nothing is called any more. Returns at once."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                heard = self._listen(SAFETY_NET)
                if heard is None:
                    return
                for one in heard:
                    if self._stopped.is_set():
                        return
                    self._answered(one.ahead)
                    # At the start, too: much may have been stored meanwhile.
                    self._heard(datetime.fromtimestamp(one.at, UTC) if one.at else None)
            except StorageError as problem:
                if not self._failed:
                    log.error("listener", outcome="deaf", reason=cause_of(problem))
                self._stopped.wait(LISTEN_AGAIN[min(self._failed, len(LISTEN_AGAIN) - 1)])
                self._failed += 1

    def _answered(self, ahead: float) -> None:
        if self._failed:
            log.info("listener", outcome="listening again")
        self._failed = 0
        skewed = abs(ahead) > SKEW
        if skewed and not self._skewed:
            reason = f"ours is {ahead:+.0f} s off the database's: replicas must agree on the time"
            log.error("clock", reason=reason)
        self._skewed = skewed
