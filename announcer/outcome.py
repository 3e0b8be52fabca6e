"""What came of a try is stored, however long that takes, with all that follows from it: what is
held against the destination, a badge beside the post, an alert for the operator.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from announcer import alerts, badges, chat, policy
from announcer.alerts import Alert
from announcer.content import Content
from announcer.metrics import Metrics
from announcer.network import DeliveryError, Moment, Network, Receipt, Shines
from announcer.outbox import Claim, Consequences, Outbox, StorageError, Try, cause_of
from announcer.policy import Entry, State
from announcer.tracing import OFF, Tracing, nanoseconds

log = structlog.get_logger("announcer.delivery")

STORE_AGAIN = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to store what a network answered; the last one is repeated."""


RESTS = (State.SETTLED, State.WITHDRAWN, State.FAILED, State.UNSURE, State.GONE)
"""Nothing more is done by itself."""
WELL = ("delivered", "found", "not up")
"""Of a try: the network said what we wanted to know."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a network, or the way there, let us know: *problem* None is a success. *closing* is the
    fingerprint of the credentials that it does not accept any more, and why.
    """

    problem: DeliveryError | None = None
    closing: tuple[str, str] | None = None


@dataclass
class Outcomes:
    """Of tries for *destinations*. Those named in *alerted* are for the operator. Once *stopping*,
    it does not wait for ever for a database that is away.
    """

    outbox: Outbox
    destinations: Mapping[str, Network]
    alerted: Sequence[str]
    now: Callable[[], datetime]
    dice: Callable[[], float]
    stopping: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = OFF

    def store(
        self,
        claim: Claim,
        entry: Entry,
        what: Try | None = None,
        receipt: Receipt | None = None,
        content: str | None = None,
        heard: Heard | None = None,
    ) -> None:
        """What a network answered must not be lost, however long the database takes. *heard* is
        None if nothing was, be it that a mistake of ours is to blame.
        """
        attempt = 0
        if entry.moment is Moment.AGAIN:
            network = self.destinations.get(entry.destination)
            entry = chat.next_round(entry, network.repeats_every if network else None, self.now())
        breaker = claim.breaker
        if heard:
            minor = entry.moment is Moment.BADGE
            at, dice = self.now(), self.dice()
            breaker = policy.breaker_after(breaker, heard.problem, at, dice, minor=minor)
            entry = policy.no_sooner(entry, breaker)
        closing = heard.closing if heard else None
        told = self._alerts(claim, entry, what, closing)
        beyond = Consequences(breaker, closing, told)
        badge = self._badge_beside(claim, entry)
        while True:
            try:
                stored = self.outbox.store(
                    claim, entry, self.now(), what, receipt, content, badge, beyond
                )
                break
            except StorageError as problem:
                if self.stopping and attempt >= len(STORE_AGAIN):
                    return  # its row still says `sending`: the next start finds out
                log.error("storage", post=entry.key, reason=cause_of(problem))
                time.sleep(STORE_AGAIN[min(attempt, len(STORE_AGAIN) - 1)])
                attempt += 1
        _tell(claim, entry, what, beyond, self.now(), stored=stored)
        if what:
            self._count_try(claim, entry, what)
        if stored:
            self._count_post(claim, entry)

    def _count_try(self, claim: Claim, entry: Entry, what: Try) -> None:
        again = claim.entry.tries > 1
        self.metrics.tried(entry.destination, what.step, what.outcome, what.took, again=again)
        begun = nanoseconds(what.at.timestamp())
        self.tracing.span(
            "try",
            claim.broadcast.id,
            begun,
            begun + nanoseconds(what.took),
            parent=known_as(claim),
            failed=what.outcome not in WELL,
            post=entry.key,
            destination=entry.destination,
            step=what.step,
            outcome=what.outcome,
        )

    def _count_post(self, claim: Claim, entry: Entry) -> None:
        if entry.state in RESTS:
            self.metrics.rested(entry.destination, entry.moment.value, entry.state.value)
        first = claim.entry.shown is None and claim.receipt is None
        if first and entry.shown is Moment.LIVE and entry.moment is Moment.LIVE:
            since = self.now() - claim.broadcast.began
            self.metrics.told(entry.destination, since.total_seconds())

    def _alerts(
        self, claim: Claim, entry: Entry, what: Try | None, closing: tuple[str, str] | None
    ) -> list[tuple[Entry, str]]:
        if closing:
            return self.alert(claim, alerts.of_closing(entry, claim.broadcast, closing))
        if entry.destination not in self.destinations or (claim.closed and what is None):
            return []  # which the operator did, or was told
        alert = alerts.of_end(entry, claim.broadcast)
        return self.alert(claim, alert) if alert else []

    def alert(self, claim: Claim, alert: Alert) -> list[tuple[Entry, str]]:
        """A post for everyone who is alerted, with words; none about an alert or its account."""
        if claim.entry.destination in self.alerted or claim.entry.moment is Moment.ALERT:
            return []
        now, show = self.now(), claim.broadcast
        told = []
        for name in self.alerted:
            words = alerts.text(alert, self.destinations[name])
            content = Content(words, "", Moment.ALERT.mood, None, show.began, now)
            told.append((alerts.entry_for(alert, claim.entry, name, now), content.frozen()))
        return told

    def _badge_beside(self, claim: Claim, entry: Entry) -> Entry | None:
        """The badge for *entry*, if that is an announcement which has just been put up."""
        network = self.destinations.get(entry.destination)
        up = entry.state is State.SETTLED and entry.shown is Moment.LIVE
        if not up or claim.entry.shown is not None:
            return None
        wanted = isinstance(network, Shines) and network.wants_badge
        return badges.beside(entry, self.now()) if wanted else None


def known_as(claim: Claim) -> str:
    """What a trace calls all that is done with *claim*: no two of a post share its time."""
    entry = claim.entry
    return f"delivery {entry.key} {entry.tries} {entry.next_at.timestamp()}"


def _tell(
    claim: Claim,
    entry: Entry,
    what: Try | None,
    beyond: Consequences,
    now: datetime,
    *,
    stored: bool,
) -> None:
    """The lines of the log."""
    destination = entry.destination
    if beyond.closing:
        reason = beyond.closing[1]
        log.error("destination", destination=destination, outcome="closed", reason=reason)
    before, after = claim.breaker, beyond.breaker
    if after and after != before and after.holds(now):
        until, reason = after.until.strftime("%H:%M:%SZ"), after.reason
        log.warning("destination", destination=destination, left_alone_until=until, reason=reason)
    elif before and before.failures >= policy.TRIP and after is None:
        log.info("destination", destination=destination, outcome="answers again")
    planned = entry.state is State.DUE and entry.reason in ("", chat.WAITING)
    well = planned or entry.state in (State.SETTLED, State.WITHDRAWN)
    (log.info if well else log.warning)(
        "post",
        post=entry.key,
        state=entry.state.value if stored else "lost to another owner",
        tries=entry.tries,
        outcome=what.outcome if what else None,
        next=entry.next_at.strftime("%H:%M:%SZ") if entry.state is State.DUE else None,
        reason=entry.reason or None,
    )
