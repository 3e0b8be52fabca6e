"""The second half: claim what is due, word it, send it, store what came back.

It never decides whether to speak. One slow or dead network delays no other: a pool of threads,
one post on its way for each destination.
"""

import hashlib
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from announcer import policy
from announcer.content import Channel, Composer, Content, thaw
from announcer.network import (
    DeliveryError,
    Finds,
    Moment,
    Network,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.outbox import Claim, Outbox, StorageError, Try
from announcer.policy import Entry, NotLive, Rules, State, Step
from announcer.settings import secrets_of
from announcer.watch import About

log = structlog.get_logger("announcer.delivery")

STORE_AGAIN = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to store what a network answered; the last one is repeated."""
DAY = timedelta(days=1)


class Delivery:
    """Brings what is visible in line with what is wanted, for the *destinations* given.

    *wake* is called when there may be something to do again; `run` does what is due now.
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
    ) -> None:
        self._outbox, self._rules, self._channels = outbox, rules, channels
        self._destinations, self._composer = destinations, composer
        self._redact, self._wake = redact, wake
        self.owner = f"{socket.gethostname()[:30]}-{os.getpid()}-{os.urandom(4).hex()}"
        self._pool = ThreadPoolExecutor(max(4, len(destinations) + 2), "delivery")
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self) -> datetime | None:
        """Send off everything that is due; when to be called again, None if nothing waits.

        Returns before the networks have answered. Raises StorageError.
        """
        if self._stopping:
            return None
        for claim in self._outbox.abandoned(self.owner, _now()):
            with self._lock:
                ours = self._in_flight[claim.entry.key] > 0
            if not ours:  # ours are being worked on, however long that takes
                self._bury(claim)
        while claims := self._outbox.claim(self.owner, _now(), limit=100):
            for claim in claims:
                if not self._start(claim):
                    self._finish(claim, replace(claim.entry, state=State.DUE))
            if self._stopping:
                return None
        return self._outbox.next_due()

    def _start(self, claim: Claim) -> bool:
        """False if we are stopping, and nothing was started."""
        with self._lock:
            if self._stopping:
                return False
            self._pool.submit(self._work, claim)
            self._in_flight[claim.entry.key] += 1
            return True

    def stop(self, patience: float) -> bool:
        """Start nothing more and wait up to *patience* seconds for what is on its way. False if
        something still is: its row says `sending`, and the next start finds out.
        """
        with self._lock:
            self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=False)
        deadline = time.monotonic() + patience
        while self._in_flight.total() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._in_flight.total()

    def reopen_changed(self) -> None:
        """Forget that a destination was closed if its credentials have changed since."""
        for name, (credentials, _) in self._outbox.closed().items():
            network = self._destinations.get(name)
            if network and fingerprint(network) != credentials:
                self._outbox.reopen(name)
                log.info("destination", destination=name, outcome="reopened")

    def _work(self, claim: Claim) -> None:
        try:
            self._deliver(claim)
        except StorageError:
            # Before anything was sent, or after a clear refusal: all else insists on being stored.
            self._finish(claim, replace(claim.entry, state=State.DUE, next_at=_now()))
        except Exception as bug:  # the boundary of the thread: a bug must be seen
            log.exception("bug", post=claim.entry.key, reason=type(bug).__name__)
        finally:
            with self._lock:
                self._in_flight -= Counter([claim.entry.key])
            if not self._stopping:
                self._wake()

    def _deliver(self, claim: Claim) -> None:
        entry, begun = claim.entry, _now()
        network = self._destinations.get(entry.destination)
        if network is None:
            return self._finish(claim, policy.failed(entry, "this destination is not configured"))
        match policy.next_step(entry, network.repeat, begun):
            case Step.WITHDRAW:
                reason = "the stream stopped before it was told"
                return self._finish(claim, policy.withdrawn(entry, reason))
            case Step.GIVE_UP:
                return self._finish(claim, policy.failed(entry, _too_late(entry)))
            case Step.PUBLISH:
                return self._publish(claim, network)
            case step:
                return self._find(claim, network, publish=step is Step.FIND_OR_PUBLISH)

    def _find(self, claim: Claim, network: Network, *, publish: bool) -> None:
        """Look whether an earlier try is up; only if it is not, go on."""
        entry, begun = claim.entry, _now()
        if not isinstance(network, Finds) or claim.content is None:
            return self._finish(claim, policy.failed(entry, "nobody can look"))
        try:
            receipt = network.find(thaw(claim.content).post(entry))
        except DeliveryError as problem:
            return self._settle_failure(claim, network, problem, begun, "find")
        except StorageError:
            raise
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = TryLater(f"our own mistake while looking ({type(bug).__name__})")
            return self._settle_failure(claim, network, mistake, begun, "find")
        what = _try(begun, "find", "found" if receipt else "not up")
        if receipt:
            return self._finish(claim, policy.settled(entry), what, receipt)
        sure = replace(entry, doubtful_since=None)
        if entry.wanted is not Moment.LIVE:
            reason = "the stream stopped before it was told"
            return self._finish(claim, policy.withdrawn(sure, reason), what)
        if not publish:
            return self._finish(claim, policy.failed(sure, _too_late(entry)), what)
        return self._publish(claim, network)

    def _publish(self, claim: Claim, network: Network) -> None:
        entry = claim.entry
        reason = self._why_not(claim, network)
        if reason:
            return self._finish(claim, policy.failed(entry, reason))
        channel = self._channels.get(entry.channel) or Channel(entry.channel)
        try:
            again_at = self._wait_for_stream(entry, channel)
        except NotLive as problem:
            return self._finish(claim, policy.withdrawn(entry, str(problem)))
        if again_at:
            # Waiting for the stream is no try.
            waiting = replace(entry, state=State.DUE, next_at=again_at, tries=entry.tries - 1)
            return self._finish(claim, replace(waiting, reason="waits until the stream is up"))
        if claim.content and entry.doubtful_since:
            content = thaw(claim.content)  # byte for byte what may be up already
        else:
            content = self._compose(claim, network, channel)
        begun = _now()
        if begun > entry.until:
            return self._finish(claim, policy.failed(entry, _too_late(entry)))
        if not self._outbox.freeze(claim, content.frozen(), begun):
            log.warning("lost", post=entry.key, reason="the lease ended before it was sent")
            return None
        try:
            receipt = network.publish(content.post(entry))
        except DeliveryError as problem:
            return self._settle_failure(claim, network, problem, begun, "publish")
        except Exception as bug:  # it may be up, whatever broke: never just "failed"
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = Unsure(f"our own mistake after sending ({type(bug).__name__})")
            return self._settle_failure(claim, network, mistake, begun, "publish")
        return self._finish(
            claim, policy.settled(entry), _try(begun, "publish", "delivered"), receipt
        )

    def _why_not(self, claim: Claim, network: Network) -> str:
        """Why nothing may be sent to this destination now; empty if it may."""
        if claim.closed and claim.closed[0] == fingerprint(network):
            return f"closed until its credentials change: {claim.closed[1]}"
        budget = network.daily_posts
        if budget is not None:
            spent = self._outbox.published_since(claim.entry.destination, _now() - DAY)
            if spent >= budget:
                return f"the budget of {budget} posts a day is spent"
        return ""

    def _wait_for_stream(self, entry: Entry, channel: Channel) -> datetime | None:
        """Raises NotLive. A first try without a hold speaks at once."""
        if channel.watch is None or (not self._rules.hold and entry.tries == 1):
            return None
        return policy.wait_for_stream(entry, channel.watch.look(), self._rules, _now())

    def _compose(self, claim: Claim, network: Network, channel: Channel) -> Content:
        about = channel.watch.about(ask=bool(self._rules.hold)) if channel.watch else About()
        content = self._composer.compose(
            network,
            claim.entry.destination,
            self._composer.facts(claim.broadcast, channel, about),
            last=thaw(claim.last).template if claim.last else "",
            dice=_dice(),
            now=_now(),
        )
        if content.problem:
            log.error("template", post=claim.entry.key, reason=content.problem)
        return content

    def _settle_failure(
        self, claim: Claim, network: Network, problem: DeliveryError, begun: datetime, step: str
    ) -> None:
        problem = _redacted(problem, self._redact)
        entry = policy.after(
            claim.entry,
            problem,
            network.repeat,
            left=begun,
            now=_now(),
            dice=_dice(),
            insist=network.when_unsure == "repeat",
        )
        if isinstance(problem, Refused) and problem.closes:
            # First, while this post still keeps the next one from being claimed.
            name = claim.entry.destination
            self._outbox.close(name, fingerprint(network), str(problem), _now())
            log.error("destination", destination=name, outcome="closed", reason=str(problem))
        self._finish(claim, entry, _try(begun, step, type(problem).__name__, str(problem)))

    def _bury(self, claim: Claim) -> None:
        """A try whose process died. If nothing had left, it is as if it had never begun."""
        entry, left = claim.entry, claim.left
        network = self._destinations.get(entry.destination)
        if left is None:
            self._finish(claim, replace(entry, state=State.DUE, next_at=_now()))
        elif network is None:
            doubtful = replace(entry, doubtful_since=left)
            self._finish(claim, policy.failed(doubtful, "this destination is not configured"))
        else:
            self._settle_failure(
                claim, network, Unsure("we stopped in the middle"), left, "publish"
            )

    def _finish(
        self, claim: Claim, entry: Entry, what: Try | None = None, receipt: Receipt | None = None
    ) -> None:
        """Store it, however long the database takes: what a network answered must not be lost."""
        attempt = 0
        while True:
            try:
                stored = self._outbox.store(claim, entry, _now(), what, receipt)
                break
            except StorageError as problem:
                if self._stopping and attempt >= len(STORE_AGAIN):
                    return  # its row still says `sending`: the next start finds out
                log.error("storage", post=entry.key, reason=type(problem).__name__)
                time.sleep(STORE_AGAIN[min(attempt, len(STORE_AGAIN) - 1)])
                attempt += 1
        level = log.info if entry.state in (State.SETTLED, State.WITHDRAWN) else log.warning
        level(
            "post",
            post=entry.key,
            state=entry.state.value if stored else "lost to another owner",
            tries=entry.tries,
            outcome=what.outcome if what else None,
            next=entry.next_at.strftime("%H:%M:%SZ") if entry.state is State.DUE else None,
            reason=entry.reason or None,
        )


def fingerprint(network: Network) -> str:
    """Changes when an account's settings do, and tells nothing of them. All of them: a wrong
    address or name is refused like a wrong password.
    """
    plain = network.model_dump(exclude_defaults=True)  # shows secrets as asterisks
    secret = "\0".join([repr(plain), *secrets_of(network)])
    return hashlib.scrypt(secret.encode(), salt=b"announcer", n=2**10, r=8, p=1, dklen=16).hex()


def _try(begun: datetime, step: str, outcome: str, reason: str = "") -> Try:
    return Try(begun, max(0.0, (_now() - begun).total_seconds()), step, outcome, reason)


def _too_late(entry: Entry) -> str:
    return f"too late: {entry.reason}" if entry.reason else "too late"


def _redacted(problem: DeliveryError, redact: Callable[[str], str]) -> DeliveryError:
    """The same error, sure to hold no secret: its words are a stranger's."""
    problem.args = (redact(str(problem)),)
    return problem


def _dice() -> float:
    return random.random()  # noqa: S311  # jitter and variants, no secret


def _now() -> datetime:
    return datetime.now(UTC)
