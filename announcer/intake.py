"""The first half: an event in, decided and stored in one transaction. It talks to no network."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import structlog

from announcer import policy
from announcer.events import Event
from announcer.network import Moment
from announcer.outbox import Outbox
from announcer.policy import Decision, Rules

log = structlog.get_logger("announcer.intake")


@dataclass(frozen=True)
class Intake:
    """Judges what Owncast tells. *audience* gives the destinations of a channel by name, *wake* is
    called after something was stored that delivery should look at.
    """

    outbox: Outbox
    rules: Rules
    audience: Callable[[str], Collection[str]]
    wake: Callable[[], None]

    def take(self, event: Event, now: datetime) -> Decision:
        """Store *event* and what follows from it. Raises StorageError: nothing was stored then."""
        with self.outbox.transaction() as stored:
            if stored.knows(event):
                return Decision("a repeat: this event is known")
            past = stored.past(event.channel)
            decision = policy.decide(event, past, self.rules, now)
            broadcast = decision.broadcast
            if broadcast:
                stored.put_broadcast(broadcast)
                known = stored.entries(broadcast.id)
                followed = [policy.follow(entry, decision) for entry in known]
                stored.put_entries([entry for entry in followed if entry not in known], now)
                # One that was not news when it began is none after a reconnect either.
                new = past.broadcast is None or past.broadcast.id != broadcast.id
                if decision.mood is Moment.LIVE and new and not known:
                    told = self.audience(event.channel)
                    posts = [policy.entry_for(decision, broadcast, name) for name in told]
                    stored.put_entries(posts, now)
            stored.add(event, decision.because, broadcast.id if broadcast else None)
        log.info(
            "event",
            event_type=event.kind.value,
            channel=event.channel,
            broadcast=broadcast.id if broadcast else None,
            because=decision.because,
        )
        if broadcast:
            self.wake()
        return decision
