"""What a try does next, what it waits for, and what follows when it did not succeed."""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from announcer.network import DeliveryError, Gone, Moment, Refused, Repeat, TryLater, Unsure
from announcer.policy.broadcasts import MERGE, Broadcast, Rules
from announcer.policy.posts import CHANGE, Entry, State

FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds: the upper edge of the first wait, doubled with every try up to the second."""

SUSPECT, DEADLY = 2, 3
"""After so many deaths of the process in a row a post is tried by itself; after so many, no more.
The first may be anybody's fault: a kill, a power cut, or a post beside it.
"""


class Step(StrEnum):
    """What delivery is to do with a post that is due."""

    PUBLISH = "publish"
    FIND = "find"
    """Only look whether an earlier try is up; publish nothing."""
    FIND_OR_PUBLISH = "find, else publish"
    REVISE = "revise"
    REMOVE = "remove"
    WITHDRAW = "withdraw"
    GIVE_UP = "give up"


def next_step(entry: Entry, repeat: Repeat, now: datetime) -> Step:
    """What follows from what is wanted and what is known."""
    if entry.shown is not None:
        if now > (entry.change_until or entry.until):
            return Step.GIVE_UP
        gone = entry.wanted is None or entry.moment is Moment.ENDED  # which is never edited
        return Step.REMOVE if gone else Step.REVISE
    wanted = entry.wanted is entry.moment
    publishes = wanted and now <= entry.until
    if entry.doubtful_since is not None and repeat is not Repeat.DOUBLES:
        if not publishes:
            return Step.FIND
        return Step.PUBLISH if repeat is Repeat.HARMLESS else Step.FIND_OR_PUBLISH
    if not wanted:
        return Step.WITHDRAW
    return Step.PUBLISH if publishes else Step.GIVE_UP


class Sight(StrEnum):
    """What Owncast says of its stream when asked. `connected` is warming up: no picture yet."""

    ONLINE = "online"
    CONNECTED = "connected"
    OFFLINE = "offline"
    UNREACHABLE = "unreachable"


LOOK_AGAIN = timedelta(seconds=3)


def wait_for_stream(entry: Entry, sight: Sight, rules: Rules, now: datetime) -> datetime | None:
    """Until when to wait with a live post since Owncast does not show the stream yet; None to
    speak. Waits up to twice the hold; Owncast out of reach means speak. Raises NotLive.
    """
    patient_until = entry.until - rules.give_up + 2 * rules.hold
    if sight is Sight.OFFLINE and now >= patient_until:
        raise NotLive("Owncast says that the stream is offline")
    if sight in (Sight.OFFLINE, Sight.CONNECTED) and now < patient_until:
        return min(now + LOOK_AGAIN, patient_until)
    return None


FIRST_PICTURE = timedelta(seconds=22)
"""Owncast takes its first one 20 s after the connect; until then it shows the last stream's."""


def has_picture(broadcast: Broadcast, now: datetime) -> bool:
    """Whether the picture that Owncast shows is one of this stream."""
    return broadcast.live and now - broadcast.since >= FIRST_PICTURE


class NotLive(Exception):
    """The stream that a post would call live is not. str() is for the operator."""


class NotTold(Exception):
    """The start was not told here, so its end is not either. str() is for the operator."""


def wait_for_start(live: Entry | None, now: datetime) -> datetime | None:
    """Until when the word of the end has to wait for the word of the start; None to tell it.
    Raises NotTold.
    """
    if live and (
        live.state is State.SENDING
        or (live.shown is None and live.doubtful_since and live.state is State.DUE)
    ):
        return now + MERGE
    if live is None or live.shown is None:
        raise NotTold("the start was not told here")
    return None


CLOSED = "closed until its credentials change"
"""How the reason of a post begins that waits for that."""


def postponed(entry: Entry, reason: str, now: datetime) -> Entry:
    """A change that has to wait, for instance for better credentials, and is no try until then."""
    at = now + timedelta(seconds=LONGEST_WAIT)
    return replace(entry, state=State.DUE, next_at=at, tries=entry.tries - 1, reason=reason)


def settled(entry: Entry) -> Entry:
    """*entry* once what it says is up."""
    return replace(entry, state=State.SETTLED, shown=entry.moment, doubtful_since=None, reason="")


def changed(entry: Entry) -> Entry:
    """*entry* once what is up is what was wanted."""
    shown = None if entry.moment is Moment.ENDED else entry.wanted
    return replace(entry, state=State.SETTLED, shown=shown, reason="")


def beyond_reach(entry: Entry) -> Entry:
    """What is up without a receipt, since the operator said that it is, stays as it is."""
    reason = "it can not be changed: nobody knows its id there"
    return replace(entry, state=State.SETTLED, wanted=entry.shown, reason=reason)


def withdrawn(entry: Entry, reason: str) -> Entry:
    """Not told, and rightly so, unless it may be up nevertheless."""
    if entry.doubtful_since is not None:
        return failed(entry, reason)
    return replace(entry, state=State.WITHDRAWN, reason=reason)


def failed(entry: Entry, reason: str) -> Entry:
    """Not told, for good. What may be up nevertheless is never called failed."""
    if entry.doubtful_since is not None:
        return replace(entry, state=State.UNSURE, reason=f"may be posted, look first: {reason}")
    return replace(entry, state=State.FAILED, reason=reason)


def set_aside(entry: Entry, left: datetime | None) -> Entry:
    """A post with which the process died again and again, the last time after it *left*, if it did:
    it is not tried any more, so that all others are.
    """
    reason = f"set aside: the service died {entry.deaths} times in a row while trying it"
    if entry.moment is Moment.AGAIN:
        return replace(entry, state=State.WITHDRAWN, reason=reason)
    if left and entry.shown is None and entry.moment is not Moment.BADGE:
        entry = replace(entry, doubtful_since=entry.doubtful_since or left)
    return failed(entry, reason)


def after(
    entry: Entry,
    problem: DeliveryError,
    repeat: Repeat,
    *,
    left: datetime,
    now: datetime,
    dice: float,
    insist: bool = False,
) -> Entry:
    """*entry* after a try, begun at *left*, that did not succeed.

    *dice* in [0, 1) is the jitter. *insist* is the operator's wish to risk a second post where
    nobody can look.
    """
    reason = str(problem)
    match problem:
        case TryLater():
            again = entry
            if entry.doubtful_since is None or problem.spent:
                again = replace(entry, generation=entry.generation + 1)
            return _later(again, reason, max(problem.wait, backoff(entry.tries, dice)), now)
        case Unsure():
            doubtful = replace(entry, doubtful_since=entry.doubtful_since or left)
            if repeat is Repeat.DOUBLES and not insist:
                return failed(doubtful, reason)
            return _later(doubtful, reason, backoff(entry.tries, dice), now)
        case Refused() | Gone() | _:
            return failed(entry, reason)


def after_change(entry: Entry, problem: DeliveryError, now: datetime, dice: float) -> Entry:
    """*entry* after a change or a removal that did not succeed. Both are harmless to repeat."""
    reason = str(problem)
    match problem:
        case Gone():
            gone = "a person deleted it, so it is left alone"
            return replace(entry, state=State.GONE, shown=None, reason=gone)
        case Refused(closes=True):
            return postponed(entry, f"{CLOSED}: {reason}", now)
        case Refused():
            return replace(entry, state=State.FAILED, reason=f"not changed: {reason}")
        case TryLater():
            wait = max(problem.wait, backoff(entry.tries, dice))
        case _:
            wait = backoff(entry.tries, dice)
    if now + wait > (entry.change_until or entry.until):
        return replace(entry, state=State.FAILED, reason=f"too late to change it: {reason}")
    return replace(entry, state=State.DUE, next_at=now + wait, reason=reason)


def reopened(entry: Entry, repeat: Repeat, now: datetime, *, live: bool) -> Entry:
    """*entry*, which its destination's closing had stopped, now that this is open again: what is
    still true, and in time, is told by itself. *live* says whether its stream still is.
    """
    if entry.state is State.DUE:
        if entry.shown is None or not entry.reason.startswith(CLOSED):
            return entry
        planned = (entry.change_until or entry.until) - CHANGE  # a grace is not cut short
        return replace(entry, next_at=min(entry.next_at, max(now, planned)))
    doubtful = entry.doubtful_since is not None
    told_after = entry.moment in (Moment.ENDED, Moment.ALERT)
    true = told_after or (live and entry.moment is Moment.LIVE)
    wanted = true and entry.wanted is entry.moment and entry.shown is None and now <= entry.until
    stopped = State.UNSURE if doubtful else State.FAILED
    if entry.state is not stopped or not wanted or (doubtful and repeat is Repeat.DOUBLES):
        return entry
    generation = entry.generation + (not doubtful)  # what may be up keeps its key
    return replace(
        entry, state=State.DUE, next_at=now, generation=generation, reason="credentials changed"
    )


def _later(entry: Entry, reason: str, wait: timedelta, now: datetime) -> Entry:
    at = now + wait
    if at > entry.until:
        return failed(entry, f"too late to try again: {reason}")
    return replace(entry, state=State.DUE, next_at=at, reason=reason)


def backoff(tries: int, dice: float) -> timedelta:
    """Exponential with full jitter: anything up to 2 s after the first try, up to 5 min later."""
    return timedelta(seconds=dice * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 16)))
