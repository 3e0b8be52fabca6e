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
"""Posts claimed together. What is claimed is begun at once: what a replica can not send yet is left
to the others.
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
        for claim in self._outbox.abandoned(self.owner, attempt.now()):
            with self._lock:
                ours = self._in_flight[claim.entry.key] > 0
            if not ours:  # ours are being worked on, however long that takes
                self.attempts.bury(claim)
        while (free := self._free()) and (claims := self._claim(free)):
            for claim in claims:
                if not self._start(claim):
                    self.attempts.finish(claim, replace(claim.entry, state=State.DUE))
            if self._stopping:
                return None
        # Whatever waits for a thread: the next one that is free wakes us.
        return None if self._full() or not free else self._outbox.next_due()

    def _free(self) -> int:
        """Threads that have nothing to do."""
        with self._lock:
            return THREADS - self._busy.total()

    def _full(self) -> list[str]:
        """Networks that have their share."""
        with self._lock:
            return [network for network, busy in self._busy.items() if busy >= SHARE]

    def _claim(self, free: int) -> list[Claim]:
        limit = min(free, AT_ONCE)
        return self._outbox.claim(self.owner, attempt.now(), limit=limit, but=self._full())

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
