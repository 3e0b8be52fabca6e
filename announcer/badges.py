"""When a badge is on: a mark beside the announcement, such as a pin, for as long as we are live.

Pure, like `policy`. A badge is a row of its own, put there with the announcement that it stands
beside, so that nothing that happens to it touches that. To set and to clear it is harmless to
repeat. `shown` says whether it is on; `doubtful_since` that it may be, so it has to be cleared.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from announcer.network import DeliveryError, Gone, Moment, Refused, TryLater, Unsure
from announcer.policy import CHANGE, FORGOTTEN, Broadcast, Decision, Entry, Hush, State, backoff

EARLY = timedelta(minutes=30)
"""So long before a badge ends by itself it is set anew: time for retries."""
PATIENT = timedelta(minutes=1)
"""No badge is tried again sooner: each try keeps its destination busy."""


class Step(StrEnum):
    """What delivery is to do with a badge that is due."""

    SHINE = "shine"
    DIM = "dim"
    WITHDRAW = "withdraw"
    WAIT = "wait"


def beside(live: Entry, now: datetime) -> Entry:
    """The badge that goes with an announcement that is up."""
    return Entry(
        key=f"{live.broadcast}/{Moment.BADGE}/{live.destination}",
        broadcast=live.broadcast,
        channel=live.channel,
        moment=Moment.BADGE,
        destination=live.destination,
        state=State.DUE,
        wanted=Moment.BADGE,
        shown=None,
        next_at=now,
        until=now + CHANGE,
    )


def follow(badge: Entry, decision: Decision, *, renews: bool) -> Entry:
    """*badge* after *decision*, which is about its broadcast. *renews* says that it ends by itself
    and tells the title, so that it is set anew.
    """
    at = decision.change_at
    if decision.mood is None or at is None or badge.state is State.GONE:
        return badge
    if decision.mood is Moment.ENDED:
        return _end(replace(badge, wanted=None), at)
    back = decision.speak_at is not None
    if badge.wanted is None and not back:
        return badge
    live = replace(badge, wanted=Moment.BADGE)
    if badge.state is State.SENDING:
        return replace(live, change_at=at) if back or renews else live
    if badge.shown is None:
        off = badge.state in (State.WITHDRAWN, State.SETTLED)
        return _due(live, at) if back and (off or badge.state is State.DUE) else live
    if renews:
        return _due(live, min(at, badge.next_at) if badge.state is State.DUE else at)
    return replace(live, state=State.SETTLED, change_at=None, reason="")


def _end(over: Entry, at: datetime) -> Entry:
    if over.state is State.SENDING:
        return replace(over, change_at=at, change_until=at + CHANGE)
    if over.shown is not None or over.doubtful_since is not None:
        return replace(_due(over, at), change_until=at + CHANGE)
    if over.state is State.DUE:
        return replace(over, state=State.WITHDRAWN, reason="the stream stopped before it was set")
    return over


def _due(badge: Entry, at: datetime) -> Entry:
    return replace(badge, state=State.DUE, next_at=at, tries=0, change_at=None, reason="")


def next_step(
    badge: Entry, broadcast: Broadcast, live: Entry | None, now: datetime, *, on: bool
) -> tuple[Step, str]:
    """What to do, and why if that is not to set it. *live* is the announcement that it stands
    beside, *on* whether the operator wants such a badge.
    """
    because = ""
    if badge.wanted is None or not broadcast.live:
        because = "the stream stopped"
    elif not on:
        because = "it is switched off"
    elif now - broadcast.seen > FORGOTTEN:
        because = "no sign of life of the stream for hours"
    elif live is not None and live.hush is Hush.TAKEN:
        because = "the announcement was taken down by hand"
    elif live is None or live.shown is None:
        because = "the start is not told here"
    if not because:
        return Step.SHINE, ""
    if badge.shown is None and badge.doubtful_since is None:
        return Step.WITHDRAW, because
    # A stop that came while a try was on its way waits for the grace, too.
    if badge.change_at is not None and badge.change_at > now:
        return Step.WAIT, because
    return Step.DIM, because


def lit(badge: Entry, lasts: timedelta | None, now: datetime) -> Entry:
    """*badge* once it is on; due again before it ends by itself after *lasts*."""
    again = None if lasts is None else now + lasts - EARLY
    on = replace(badge, state=State.SETTLED, shown=Moment.BADGE, change_at=again)
    return replace(on, doubtful_since=None, tries=0, reason="")


def dimmed(badge: Entry, because: str) -> Entry:
    off = replace(badge, state=State.SETTLED, shown=None, change_at=None, reason=because)
    return replace(off, doubtful_since=None, tries=0)


def waiting(badge: Entry) -> Entry:
    """Until the time of its change; that is no try."""
    at = badge.change_at or badge.next_at
    return replace(badge, state=State.DUE, next_at=at, tries=badge.tries - 1)


def interrupted(badge: Entry, left: datetime | None, now: datetime) -> Entry:
    """*badge* after a try whose process died; *left* is None if nothing had left."""
    doubtful = badge.doubtful_since or left
    return replace(badge, state=State.DUE, next_at=now, doubtful_since=doubtful)


def postponed(badge: Entry, reason: str, step: Step, now: datetime) -> Entry:
    """A badge of an account that is closed, which is no try."""
    later = after(badge, TryLater(reason), step, now, now, dice=1.0)
    return replace(later, tries=badge.tries - 1) if later.state is State.DUE else later


def after(
    badge: Entry, problem: DeliveryError, step: Step, left: datetime, now: datetime, dice: float
) -> Entry:
    """*badge* after a try, begun at *left*, that did not succeed."""
    reason = str(problem)
    if isinstance(problem, Gone):
        gone = replace(badge, state=State.GONE, shown=None, doubtful_since=None)
        return replace(gone, reason="a person took it away, so it is left alone")
    what = "set" if step is Step.SHINE else "cleared"
    if isinstance(problem, Refused):
        return replace(badge, state=State.FAILED, reason=f"not {what}: {reason}")
    if isinstance(problem, Unsure):
        badge = replace(badge, doubtful_since=badge.doubtful_since or left)
    asked = problem.wait if isinstance(problem, TryLater) else timedelta()
    at = now + max(asked, backoff(badge.tries, dice), PATIENT)
    if step is Step.DIM and at > (badge.change_until or badge.until):
        return replace(badge, state=State.FAILED, reason=f"not {what}, too late now: {reason}")
    return replace(badge, state=State.DUE, next_at=at, reason=reason)
