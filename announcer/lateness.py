"""What of a broadcast was told late, and why, from what is on record. In plain words."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from announcer.network import Moment
from announcer.outbox import Shown, Try
from announcer.policy import Broadcast, Hush, Rules

LATE = timedelta(minutes=2)
"""Sooner than this after its time, nobody calls it late."""
HELD = {
    Hush.TITLE: "its title was one to be skipped",
    Hush.HOURS: "quiet hours",
    Hush.OVERRULED: "told by the operator's word",
}


def lateness(show: Broadcast, post: Shown, rules: Rules) -> str:
    """One sentence; empty if all was told in time, or not at all: that is the post's reason."""
    if post.entry.moment is Moment.LIVE:
        told = _late(post.tries, ("publish", "find"), show.began + rules.hold)
        change = _end(show, post, ("revise", "remove"), rules)
        words = [
            told and f"told {told[0]} late" + _because(told[1] or HELD.get(post.entry.hush, "")),
            change and f"its end told {change[0]} late" + _because(change[1]),
        ]
        return "; ".join(filter(None, words))
    if post.entry.moment is not Moment.ENDED:
        return ""
    end = _end(show, post, ("publish", "find"), rules)
    return f"told {end[0]} late{_because(end[1])}" if end else ""


def _end(
    show: Broadcast, post: Shown, steps: tuple[str, ...], rules: Rules
) -> tuple[str, str] | None:
    if show.stopped is None:
        return None
    due = show.stopped + rules.grace
    return _late([one for one in post.tries if one.at >= show.stopped], steps, due)


def _late(made: Iterable[Try], steps: tuple[str, ...], due: datetime) -> tuple[str, str] | None:
    """By how much, and what the last failure before it was; None if not late or not done."""
    reason = ""
    for one in made:
        if one.step not in steps:
            continue
        if one.outcome in ("delivered", "found"):
            late = one.at - due
            return (span(late), reason) if late > LATE else None
        reason = one.reason or reason
    return None


def span(length: timedelta) -> str:
    """As a person says it, to the minute."""
    hours, minutes = divmod(round(length.total_seconds() / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
