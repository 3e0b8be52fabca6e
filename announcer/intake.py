"""The first half: an event in, decided and stored in one transaction. It talks to no network."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from announcer import badges, chat, policy, quiet
from announcer.events import Event
from announcer.metrics import Metrics
from announcer.network import Moment
from announcer.outbox import Outbox, Transaction
from announcer.policy import Broadcast, Decision, Ending, Entry, Manners, Rules, State
from announcer.quiet import NEVER, Quiet, Verdict
from announcer.tracing import OFF, Tracing, nanoseconds

log = structlog.get_logger("announcer.intake")

UNKNOWN = Manners(Ending.LEAVE, retitles=False, removes=False)
"""Of a destination that is no longer configured: nothing can be done there."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What is decided, and what holds its posts back. *new*: there is a new broadcast. *due* is
    when delivery should look at its posts; None if none has changed.
    """

    decision: Decision
    held: set[str]
    new: bool
    due: datetime | None


@dataclass(frozen=True)
class Intake:
    """Judges what Owncast tells. *audience* gives the destinations of a channel by name, *manners*
    how each of all destinations keeps its posts true; *wake* is called after something was stored
    that delivery should look at, with the time before which it need not; *quiet* holds the rules
    that hold an announcement back.
    """

    outbox: Outbox
    rules: Rules
    audience: Callable[[str], Collection[str]]
    manners: Mapping[str, Manners]
    wake: Callable[[datetime], None]
    quiet: Quiet = NEVER
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = OFF

    def take(self, event: Event, now: datetime) -> Decision:
        """Store *event* and what follows from it. Raises StorageError: nothing was stored then."""
        begun = time.time_ns()
        taken = self.outbox.within(event.channel, lambda stored: self._store(stored, event, now))
        if taken is None:
            return Decision("a repeat: this event is known")
        decision, held = taken.decision, taken.held
        self.metrics.event(event.kind.value, found=event.found)
        log.info(
            "event",
            event_type=event.kind.value,
            channel=event.channel,
            broadcast=decision.broadcast.id if decision.broadcast else None,
            found=event.found or None,
            because=decision.because,
            quiet=", ".join(sorted(held)) or None,
        )
        if decision.broadcast:
            if taken.due:
                self.wake(taken.due)
            self._trace(event, decision.broadcast, decision.because, begun, new=taken.new)
        return decision

    def _trace(self, event: Event, show: Broadcast, because: str, begun: int, *, new: bool) -> None:
        if new:
            at = nanoseconds(show.began.timestamp())
            self.tracing.span(
                "broadcast", show.id, at, me=show.id, broadcast=show.id, channel=show.channel
            )
        self.tracing.span(
            "intake", show.id, begun, parent=told_as(event), kind=event.kind.value, because=because
        )

    def _store(self, stored: Transaction, event: Event, now: datetime) -> Taken | None:
        """None if *event* is known."""
        held: set[str] = set()
        new, due = False, None
        recalled = stored.recall(event)
        if recalled.known:
            return None
        past = recalled.past
        decision = policy.decide(event, past, self.rules, now)
        broadcast = decision.broadcast
        if broadcast:
            stored.put_broadcast(broadcast)
            known = stored.entries(broadcast.id)
            judge = self._judge(broadcast, now, paused=recalled.paused)
            followed = self._follow(known, decision, broadcast, judge)
            changed = [entry for entry in followed if entry not in known]
            # One that was not news when it began is none after a reconnect either.
            new = past.broadcast is None or past.broadcast.id != broadcast.id
            if decision.mood is Moment.LIVE and new and not known:
                told = self.audience(event.channel)
                posts = [policy.entry_for(decision, broadcast, name) for name in told]
                changed = [quiet.hushed(post, judge(post.next_at)) for post in posts]
                changed += filter(None, map(self._repetition, posts))
            due = _soonest(changed, now)
            stored.put_entries(changed, now, due)
            if decision.mood is Moment.LIVE:
                held = {entry.reason for entry in changed if entry.hush and entry.reason}
        stored.add(event, decision.because, broadcast.id if broadcast else None)
        return Taken(decision, held, new, due)

    def _judge(
        self, broadcast: Broadcast, now: datetime, *, paused: bool
    ) -> Callable[[datetime], Verdict | None]:
        """The rules' verdict on the broadcast at a time, now if that is past."""
        return lambda at: self.quiet.verdict(broadcast.title, max(at, now), paused=paused)

    def _repetition(self, post: Entry) -> Entry | None:
        every = self.manners.get(post.destination, UNKNOWN).again
        return chat.repetition(post, every) if every else None

    def _follow(
        self,
        known: list[Entry],
        decision: Decision,
        broadcast: Broadcast,
        judge: Callable[[datetime], Verdict | None],
    ) -> list[Entry]:
        """The broadcast's posts after *decision*, with those that tell of its end."""
        keys = {entry.key for entry in known}
        after = []
        for entry in known:
            manners = self.manners.get(entry.destination, UNKNOWN)
            if entry.moment is Moment.AGAIN:
                after.append(chat.follow(entry, decision))
                continue
            if entry.moment is Moment.ALERT:
                continue
            if entry.moment is Moment.BADGE:
                after.append(badges.follow(entry, decision, renews=manners.renews_badge))
                continue
            followed = policy.follow(entry, decision, manners)
            after.append(quiet.follow(entry, followed, decision, judge))
            if policy.wants_an_end(entry, decision, manners):
                end = policy.entry_for(decision, broadcast, entry.destination, Moment.ENDED)
                if end.key not in keys:
                    after.append(end)
        return after


def _soonest(changed: Collection[Entry], now: datetime) -> datetime | None:
    """At once, unless all that is changed waits for its time, or for whoever is at it just now."""
    times = [
        entry.next_at if entry.state is State.DUE else now
        for entry in changed
        if entry.state is not State.SENDING
    ]
    return min(times, default=None)


def told_as(event: Event) -> str:
    """What a trace calls the webhook, or the look at Owncast, that brought *event*."""
    return f"event {event.channel} {event.id}"
