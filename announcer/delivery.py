"""The second half: claim what is due, word it, send it, store what came back.

It never decides whether to speak. One slow or dead network delays no other: a pool of threads,
one post on its way for each destination, and SHARE of the threads for all accounts on one network.
"""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from announcer import attempt
from announcer.attempt import Attempts, fingerprint
from announcer.author import Author
from announcer.content import Channel, Composer
from announcer.metrics import Metrics
from announcer.network import Network
from announcer.outbox import CLOCK_SET, Claim, Outbox, StorageError
from announcer.outcome import known_as
from announcer.policy import Rules, State
from announcer.quiet import NEVER, Quiet
from announcer.tracing import OFF, Tracing

log = structlog.get_logger("announcer.delivery")

SECOND = timedelta(seconds=1)
"""Between two looks whether our clock was set."""
THREADS = 64
"""Posts on their way at once, from one process, however many destinations there are. They are made
as they are needed.
"""
SHARE = 24
"""Of these, what the accounts on one network may take: two networks that do not answer leave some
for the others. With fewer destinations than this there is a thread for each.
"""
AT_ONCE = 8
"""Posts claimed together where other replicas may want some, too. What is claimed is begun at once:
what one can not send yet is left to the others.
"""


class Delivery:
    """Brings what is visible in line with what is wanted, for the *destinations* given.

    *wake* is called when there may be something to do again; `run` does what is due now. *refresh*
    puts new credentials into *destinations*, if there are any by now. *alerted* names the
    destinations that are for the operator.
    """

    def __init__(
        self,
        outbox: Outbox,
        rules: Rules,
        destinations: Mapping[str, Network],
        channels: Mapping[str, Channel],
        composer: Composer,
        *,
        redact: Callable[[str], str],
        wake: Callable[[], None],
        quiet_rules: Quiet = NEVER,
        refresh: Callable[[], None] = lambda: None,
        alerted: Sequence[str] = (),
        metrics: Metrics | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self._tracing = tracing
        self._outbox, self._destinations, self._wake = outbox, destinations, wake
        author = Author(outbox, rules, destinations, channels, composer)
        self.attempts = Attempts(
            author,
            redact=redact,
            quiet_rules=quiet_rules,
            refresh=refresh,
            alerted=alerted,
            metrics=metrics or Metrics(),
            tracing=tracing,
        )
        self.owner = f"{socket.gethostname()[:30]}-{os.getpid()}-{os.urandom(4).hex()}"
        self._pool = ThreadPoolExecutor(THREADS, "delivery")
        self._in_flight: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = False
        self._looked = CLOCK_SET

    def run(self) -> datetime | None:
        """Send off everything that is due; when to be called again, None if nothing waits.

        Returns before the networks have answered. Raises StorageError.
        """
        now = attempt.now()
        if self._stopping or now < CLOCK_SET:
            return None
        moved = self._outbox.set_right(now) if abs(now - self._looked) >= SECOND else 0
        self._looked = now
        if moved:
            reason = "the clock was set: what is under way is due as if it had come now"
            log.warning("clock", posts=moved, reason=reason)
        room = self._begin()
        # After what nobody has tried yet, which waits for its first byte.
        if self._bury():
            room = self._begin()
        # Whatever waits for a thread: the next one that is free wakes us.
        idle = self._stopping or not room or self._full()
        return None if idle else self._outbox.next_due()

    def _begin(self) -> int:
        """Begin all that can be; gives for how much more there was room."""
        while most := self._room():
            claims = self._outbox.claim(self.owner, attempt.now(), limit=most, but=self._full())
            for claim in claims:
                if not self._start(claim):
                    self.attempts.finish(claim, replace(claim.entry, state=State.DUE))
            if self._stopping or len(claims) < most:
                return most - len(claims)
        return 0

    def _bury(self) -> bool:
        """Whether there was a post that somebody died over."""
        found = self._outbox.abandoned(self.owner, attempt.now())
        for claim in found:
            with self._lock:
                ours = self._in_flight[claim.entry.key] > 0
            if not ours:  # ours are being worked on, however long that takes
                self.attempts.bury(claim)
        return bool(found)

    def _room(self) -> int:
        """How many to claim now, of which all may be on one network; 0 if no thread is free."""
        with self._lock:
            free, busiest = THREADS - self._busy.total(), max(self._busy.values(), default=0)
        share = 0 if self._outbox.replicated else SHARE - busiest
        return min(free, max(AT_ONCE, share))

    def _full(self) -> list[str]:
        """Networks that have their share."""
        with self._lock:
            return [network for network, busy in self._busy.items() if busy >= SHARE]

    def _start(self, claim: Claim) -> bool:
        """False if we are stopping, and nothing was started."""
        with self._lock:
            if self._stopping:
                return False
            self._pool.submit(self._work, claim)
            self._in_flight[claim.entry.key] += 1
            self._busy[_network(claim)] += 1
            return True

    def stop(self, patience: float) -> bool:
        """Start nothing more and wait up to *patience* seconds for what is on its way. False if
        something still is: its row says `sending`, and the next start finds out.
        """
        deadline = time.monotonic() + patience
        with self._lock:
            self._stopping = self.attempts.outcomes.stopping = True
        self._pool.shutdown(wait=False, cancel_futures=False)
        if self._in_flight.total():
            with suppress(StorageError):  # a death too many is counted then
                self._outbox.excuse(self.owner)
        while self._in_flight.total() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._in_flight.total()

    def reopen_changed(self) -> None:
        """Forget that a destination was closed if its credentials have changed since."""
        for name, (credentials, _) in self._outbox.closed().items():
            network = self._destinations.get(name)
            if network and fingerprint(network) != credentials:
                again = self._outbox.reopen(name, attempt.now(), network.repeat)
                log.info("destination", destination=name, outcome="reopened", posts=",".join(again))

    def _work(self, claim: Claim) -> None:
        begun = time.time_ns()
        try:
            self.attempts.make(claim)
        except StorageError:
            # Before anything was sent, or after a clear refusal: all else insists on being stored.
            self.attempts.finish(
                claim, replace(claim.entry, state=State.DUE, next_at=attempt.now())
            )
        except Exception as bug:  # the boundary of the thread: a bug must be seen
            log.exception("bug", post=claim.entry.key, reason=type(bug).__name__)
        finally:
            with self._lock:
                self._in_flight -= Counter([claim.entry.key])
                self._busy -= Counter([_network(claim)])
            if not self._stopping:
                self._wake()
            self._tracing.span(
                "delivery",
                claim.broadcast.id,
                begun,
                me=known_as(claim),
                post=claim.entry.key,
                destination=claim.entry.destination,
                tries=claim.entry.tries,
            )


def _network(claim: Claim) -> str:
    return claim.entry.destination.partition(".")[0]
