"""What becomes of a post when its broadcast changes: told, brought up to date, taken back."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from announcer.network import Moment
from announcer.policy.broadcasts import Broadcast, Decision

CHANGE = timedelta(hours=24)
"""How long a change of what is up, or the word of its end, is worth trying."""


class State(StrEnum):
    """Of a post. `sending` is committed before the first byte leaves."""

    DUE = "due"
    SENDING = "sending"
    SETTLED = "settled"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"
    UNSURE = "unsure"
    GONE = "gone"
    """A person deleted it. It is never put up again."""


class Hush(StrEnum):
    """The rule that held a post back last, or that none may: see `quiet`."""

    NONE = ""
    TITLE = "title"
    HOURS = "hours"
    PAUSE = "pause"
    OVERRULED = "overruled"
    """By the operator's word it is told, whatever the rules say."""
    TAKEN = "taken"
    """By the operator's word it is taken down, and not put up again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A post as the outbox knows it: what should be visible and what is known of the world.

    *wanted* and *shown* are what the audience should read there and what it does read, None for
    nothing. *doubtful_since* is when a try left of which no clear answer came: from then on its
    content is frozen. *generation* counts the definite refusals, *edition* how often it was put up
    again after it was taken away. *until* is when to give up telling it, *change_until* when to
    give up changing it. *change_at* is for a change that came while a try was on its way or in
    doubt: what to do about it is known only when that is settled. *patient_until* is how long it
    waits at most for the posts that it names. *deaths* counts how often in a row the process died
    while it was tried.
    """

    key: str
    broadcast: str
    channel: str
    moment: Moment
    destination: str
    state: State
    wanted: Moment | None
    shown: Moment | None
    next_at: datetime
    until: datetime
    tries: int = 0
    doubtful_since: datetime | None = None
    generation: int = 0
    edition: int = 0
    change_at: datetime | None = None
    change_until: datetime | None = None
    patient_until: datetime | None = None
    hush: Hush = Hush.NONE
    reason: str = ""
    deaths: int = 0


class Ending(StrEnum):
    """What a destination does when the stream has ended."""

    EDIT = "edit"
    REPLY = "reply"
    POST = "post"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Manners:
    """How a destination keeps true what it said, and how often it says it again, if at all."""

    ending: Ending
    retitles: bool
    removes: bool
    again: timedelta | None = None
    renews_badge: bool = False


def entry_for(
    decision: Decision, broadcast: Broadcast, destination: str, moment: Moment = Moment.LIVE
) -> Entry:
    """The post that tells *destination* of a broadcast, or of its end."""
    at = broadcast.since
    live = moment is Moment.LIVE
    return Entry(
        key=f"{broadcast.id}/{moment}/{destination}",
        broadcast=broadcast.id,
        channel=broadcast.channel,
        moment=moment,
        destination=destination,
        state=State.DUE,
        wanted=moment,
        shown=None,
        next_at=(decision.speak_at if live else decision.change_at) or at,
        until=(decision.until or at) if live else (decision.change_at or at) + CHANGE,
    )


def wants_an_end(entry: Entry, decision: Decision, manners: Manners) -> bool:
    """Whether the end is told by a post of its own: only where the start was told."""
    told = entry.shown is not None or entry.state is State.SENDING or entry.doubtful_since
    return bool(
        decision.mood is Moment.ENDED
        and entry.moment is Moment.LIVE
        and entry.hush is not Hush.TAKEN
        and manners.ending in (Ending.REPLY, Ending.POST)
        and told
        and entry.state is not State.GONE
    )


def follow(entry: Entry, decision: Decision, manners: Manners) -> Entry:
    """*entry* after *decision*, which is about its broadcast."""
    if decision.mood is None or decision.change_at is None:
        return entry
    if entry.state is State.GONE or _taken(entry):
        return entry
    if entry.moment is Moment.ENDED:
        return _follow_end(entry, decision, manners)
    if decision.mood is Moment.ENDED:
        return _end(entry, decision.change_at, manners)
    return _live(entry, decision, decision.change_at, manners)


def _taken(entry: Entry) -> bool:
    """Whether it is, or is about to be, taken down by hand. If that was refused it is still there,
    and kept true.
    """
    under_way = entry.wanted is None and entry.state is not State.FAILED
    return entry.hush is Hush.TAKEN and (entry.shown is None or under_way)


def _end(entry: Entry, at: datetime, manners: Manners) -> Entry:
    """What was not told by now is no longer true; what was told is brought up to date."""
    wanted = None if manners.ending is Ending.REMOVE else Moment.ENDED
    changes = manners.ending in (Ending.EDIT, Ending.REMOVE)
    over = replace(entry, wanted=wanted)
    if entry.state is State.SENDING or entry.doubtful_since is not None:
        return replace(over, change_at=at, change_until=at + CHANGE) if changes else over
    if entry.shown is None:
        if entry.state is State.DUE:
            reason = "the stream stopped before it was told"
            return replace(over, state=State.WITHDRAWN, reason=reason)
        return over
    if changes:
        return _change(over, at)
    return replace(over, state=State.SETTLED)


def _live(entry: Entry, decision: Decision, at: datetime, manners: Manners) -> Entry:
    """It is live (again), or has a new title."""
    live = replace(entry, wanted=Moment.LIVE)
    back = decision.speak_at is not None
    if entry.state is State.SENDING or entry.doubtful_since is not None:
        if entry.change_at and entry.wanted is Moment.LIVE and not back:
            return entry  # it will say what is true then
        late = replace(live, change_at=at, change_until=at + CHANGE)
        return late if manners.retitles or entry.shown is not None else live
    if entry.shown is Moment.ENDED:
        return _change(live, at) if back else entry
    if entry.shown is Moment.LIVE:
        half_done = entry.state is State.DUE and entry.tries > 0
        if manners.retitles or half_done:
            waiting = entry.state is State.DUE and not back
            return _change(live, entry.next_at if waiting else at)
        return replace(live, state=State.SETTLED)
    removed = entry.state is State.SETTLED and entry.wanted is None
    if decision.speak_at and decision.until and (removed or entry.state is State.WITHDRAWN):
        again = replace(
            live, state=State.DUE, next_at=decision.speak_at, until=decision.until, reason=""
        )
        return _new_edition(again) if removed else again
    return live if back else entry


def _follow_end(entry: Entry, decision: Decision, manners: Manners) -> Entry:
    """The post that tells of the end, when the stream is back, and when it ends once more."""
    at = decision.change_at or entry.next_at
    if decision.mood is Moment.ENDED:
        if entry.shown is None and entry.state in (State.WITHDRAWN, State.SETTLED):
            again = replace(
                entry,
                state=State.DUE,
                wanted=Moment.ENDED,
                next_at=at,
                until=at + CHANGE,
                reason="",
                change_at=None,  # of a return that is over by now
            )
            return _new_edition(again) if entry.state is State.SETTLED else again
        on_its_way = entry.state in (State.DUE, State.SENDING)
        return _end_once_more(entry, at) if on_its_way and entry.wanted is None else entry
    if decision.speak_at is None:
        return entry
    back = replace(entry, wanted=None)
    if entry.state is State.SENDING or entry.doubtful_since is not None:
        return replace(back, change_at=at, change_until=at + CHANGE) if manners.removes else back
    if entry.shown is not None:
        return _change(back, at) if manners.removes else entry
    if entry.state is State.DUE:
        return replace(back, state=State.WITHDRAWN, reason="the stream came back")
    return entry


def _end_once_more(entry: Entry, at: datetime) -> Entry:
    """The word of the end, which was about to be taken away for a return that is over by now."""
    over = replace(entry, wanted=Moment.ENDED)
    if entry.shown is None:
        return replace(over, change_at=None)
    if entry.state is State.DUE and entry.tries == 0:
        return replace(over, state=State.SETTLED, reason="")
    # It may be gone by now: that is finished first, and then it is said again.
    until = at + CHANGE
    return _new_edition(replace(over, change_at=at, change_until=until, until=until))


def _change(entry: Entry, at: datetime) -> Entry:
    """Due at *at*; no sooner than it waits for already, if the network asked for that."""
    if entry.state is State.DUE:
        at = max(at, entry.next_at) if entry.reason else at
    else:
        entry = replace(entry, tries=0, reason="")
    return replace(entry, state=State.DUE, next_at=at, change_until=at + CHANGE)


def _new_edition(entry: Entry) -> Entry:
    return replace(entry, edition=entry.edition + 1, generation=entry.generation + 1)
