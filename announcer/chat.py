"""What is said in chat of the other posts: after them, and again while the stream is live.

The repetitions of one broadcast are one post that becomes due again and again: each round is tried
at most once where nobody can look whether it is up, and a round that failed is not made up for.
Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from announcer.network import Moment, Network, Receipt
from announcer.policy import (
    FORGOTTEN,
    LOOK_AGAIN,
    Broadcast,
    Decision,
    Entry,
    Hush,
    NotLive,
    Sight,
    State,
)
from announcer.quiet import Verdict

PATIENCE = timedelta(minutes=1)
"""How long the word in chat waits for the posts that it names."""
WAITING = "waits until the posts are up"
UNDER_WAY = (State.DUE, State.SENDING)


def wait_for_posts(entry: Entry, others: Iterable[Entry], now: datetime) -> Entry | None:
    """*entry* as it waits for *others*, the announcements of its broadcast; None to tell it."""
    waits_already = entry.reason == WAITING and entry.patient_until is not None
    patient_until = entry.patient_until if waits_already else None
    if patient_until is None:
        # Half of what is left at most: it must not become too late by waiting.
        patient_until = now + min(PATIENCE, (entry.until - now) / 2)
    busy = any(other.shown is None and other.state in UNDER_WAY for other in others)
    if not busy or now >= patient_until or entry.doubtful_since is not None:
        return None
    at = min(now + LOOK_AGAIN, patient_until)
    return replace(
        entry,
        state=State.DUE,
        next_at=at,
        tries=entry.tries - 1,  # waiting is no try
        patient_until=patient_until,
        reason=WAITING,
    )


def links(
    announced: Collection[tuple[Entry, Receipt | None]], networks: Mapping[str, Network]
) -> tuple[tuple[str, str], ...]:
    """The network's title and the address of every announcement that is up and has one."""
    return tuple(
        (networks[entry.destination].title, receipt.url)
        for entry, receipt in announced
        if entry.shown is not None
        and entry.hush is not Hush.TAKEN
        and entry.destination in networks
        and not networks[entry.destination].told_last
        and receipt
        and receipt.url.startswith(("https://", "http://"))
    )


def repetition(post: Entry, every: timedelta) -> Entry:
    """What says *post*, which is new, once more, *every* so often."""
    at = post.next_at + every
    return replace(
        post,
        key=f"{post.broadcast}/{Moment.AGAIN}/{post.destination}",
        moment=Moment.AGAIN,
        state=State.DUE,
        wanted=Moment.AGAIN,
        next_at=at,
        until=at + every,
        hush=Hush.NONE,
        reason="",
    )


def follow(entry: Entry, decision: Decision) -> Entry:
    """A repetition after *decision*: it ends with the stream, and goes on when that is back."""
    if decision.mood is Moment.ENDED:
        over = replace(entry, wanted=None)
        if entry.state is State.SENDING:
            return over
        reason = "the stream has stopped"
        return replace(over, state=State.WITHDRAWN, doubtful_since=None, reason=reason)
    if decision.speak_at is None:
        return entry
    back = replace(entry, wanted=Moment.AGAIN)
    if entry.state is not State.WITHDRAWN:
        return back
    at = max(entry.next_at, decision.speak_at)
    until = at + (entry.until - entry.next_at)
    return replace(back, state=State.DUE, next_at=at, until=until, reason="")


def wait_for_round(
    broadcast: Broadcast, newest: Broadcast | None, sight: Sight | None, now: datetime
) -> datetime | None:
    """Until when a repetition waits since Owncast does not show the stream, None to say it. Raises
    NotLive. *sight* is None if nobody can look.
    """
    if broadcast.stopped is not None or newest is None or newest.id != broadcast.id:
        raise NotLive("the stream has stopped")
    if sight is Sight.ONLINE:
        return None
    if now - broadcast.seen >= FORGOTTEN:
        raise NotLive("the stream has given no sign of life for long")
    return now + PATIENCE if sight else None


def skipped(live: Entry | None, verdict: Verdict | None) -> str:
    """Why nothing is said in this round; empty if it is. *live* is the announcement itself."""
    if live is None or (live.shown is None and live.doubtful_since is None):
        return "the start was not told here"
    if verdict and (live.hush is not Hush.OVERRULED or verdict.hush is Hush.PAUSE):
        return verdict.reason
    return ""


def next_round(entry: Entry, every: timedelta | None, now: datetime) -> Entry:
    """A repetition that is done, well or not, becomes due again."""
    if every is None or entry.state in (*UNDER_WAY, State.WITHDRAWN):
        return entry
    return replace(
        entry,
        state=State.DUE,
        shown=None,
        tries=0,
        doubtful_since=None,
        generation=entry.generation + 1,
        edition=entry.edition + 1,
        next_at=now + every,
        until=now + 2 * every,
    )
