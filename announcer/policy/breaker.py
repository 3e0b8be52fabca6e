"""When a whole destination is left alone: it asked for that, or has not answered for a while."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from announcer.network import DeliveryError, TryLater, Unsure
from announcer.policy.posts import Entry, State

TRIP = 5
"""Tries in a row without an answer, of whichever post, after which they are probes."""
FIRST_PROBE, LONGEST_PROBE = 30.0, 300.0
"""Seconds: the upper edge of the first wait for a probe, doubled with every one that fails."""
LONGEST_HOLD = timedelta(hours=1)
"""However long the network asked for: a post that was refused waits as long as it was told to, but
another one is a probe after an hour. What was asked may be nonsense, and the next show is not.
"""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is held against a destination: so many *failures* in a row, the first of them at
    *since*, the last one's *reason*. Nothing is sent there before *until*, which may be past.
    """

    failures: int
    since: datetime
    until: datetime
    reason: str

    def holds(self, now: datetime) -> bool:
        return now < self.until


def breaker_after(
    before: Breaker | None,
    problem: DeliveryError | None,
    now: datetime,
    dice: float,
    *,
    minor: bool = False,
) -> Breaker | None:
    """What is held against a destination after a try, None for nothing. *problem* is what came of
    it, None if it succeeded: any clear answer, a refusal too, says that somebody is there.

    The failure of something *minor* counts only where the network asked us to stay away, or nobody
    answers anyway: it must not hold up what matters. *dice* in [0, 1) is the jitter.
    """
    if not isinstance(problem, TryLater | Unsure):
        return None
    asked = problem.wait if isinstance(problem, TryLater) else timedelta()
    failures = before.failures if before else 0
    if minor and not asked and failures < TRIP:
        return before
    failures += 1
    wait = max(asked, _probe(failures, dice)) if failures >= TRIP else asked
    since = before.since if before else now
    return Breaker(failures, since, now + min(wait, LONGEST_HOLD), str(problem))


def no_sooner(entry: Entry, breaker: Breaker | None) -> Entry:
    """*entry*, which waits, no sooner due than its destination may be asked, if that is in time."""
    if breaker is None or entry.state is not State.DUE:
        return entry
    until = entry.until if entry.shown is None else entry.change_until or entry.until
    at = max(entry.next_at, breaker.until)
    return entry if at > until else replace(entry, next_at=at)


def _probe(failures: int, dice: float) -> timedelta:
    longest = min(LONGEST_PROBE, FIRST_PROBE * 2.0 ** min(failures - TRIP, 16))
    return timedelta(seconds=longest * (1 + dice) / 2)
