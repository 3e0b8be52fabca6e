"""Every judgement: hold, grace, resume, who is told, what follows a failure, when to give up.

Pure: `now`, the past and the rules come in, a decision with its reason goes out. Times named
*stamp* or *connected* are Owncast's clock and only put its events in order; all others are ours.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from announcer.events import Event, Kind
from announcer.network import DeliveryError, Gone, Moment, Refused, Repeat, TryLater, Unsure
from announcer.settings import Duration, setting

FORGOTTEN = timedelta(hours=6)
"""A broadcast without a sign of life for so long has ended, though nobody told us."""
REORDERED = timedelta(minutes=30)
"""Owncast never repeats a webhook: what looks older than its successor is a late one only so long.
After that its clock was set back, and a show must not go untold for that."""
MERGE = timedelta(seconds=10)
"""New titles within this time become one edit."""
CHANGE = timedelta(hours=24)
"""How long a change of what is up, or the word of its end, is worth trying."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds: the upper edge of the first wait, doubled with every try up to the second."""


class Rules(BaseModel):
    """When to speak."""

    model_config = ConfigDict(frozen=True)

    hold: Duration = setting(
        "Wait this long before announcing, so that a false start is never announced and the link "
        "leads to a running stream. `0s` speaks at once.",
        default=timedelta(seconds=30),
    )
    grace: Duration = setting(
        "The end is told only when the stream stayed away this long: a reconnect is no end.",
        default=timedelta(minutes=5),
    )
    resume: Duration = setting(
        "A start within this time of the last stop is the same broadcast: nothing is posted again.",
        default=timedelta(minutes=30),
    )
    give_up: Duration = setting(
        "Stop trying to announce a start this long after it: what could not be told in time is "
        "not told late.",
        default=timedelta(minutes=30),
    )
    poll: Duration = setting(
        "Ask Owncast this often how its stream is, and twice as often while it is live: what no "
        "webhook told is found that way. `0s` never asks.",
        default=timedelta(seconds=60),
    )


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One live show as its audience sees it: several connections, one broadcast.

    *since* is when its newest connection began, *seen* the last sign of life; *stopped* is None
    while it is live. *stamp* and *connected* belong to its newest connection, *title_stamp* to the
    newest title.
    """

    id: str
    channel: str
    began: datetime
    since: datetime
    seen: datetime
    stopped: datetime | None = None
    stamp: datetime | None = None
    connected: datetime | None = None
    title_stamp: datetime | None = None
    name: str = ""
    title: str = ""
    summary: str = ""
    peak_viewers: int | None = None

    @property
    def live(self) -> bool:
        return self.stopped is None


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a channel: its latest broadcast, and of its latest stops the one that
    Owncast made last, which may have come before the start that it ended (*stop_stamp* by
    Owncast's clock, *stop_at* by ours).
    """

    broadcast: Broadcast | None = None
    stop_stamp: datetime | None = None
    stop_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What an event means. *broadcast* is to be stored; None changes nothing.

    *mood* is what the posts of that broadcast shall say from now on, None if that stays. A post
    that is not up yet waits until *speak_at* and is given up after *until*; None if none is to be
    put up. What is up is changed at *change_at*.
    """

    because: str
    broadcast: Broadcast | None = None
    mood: Moment | None = None
    speak_at: datetime | None = None
    until: datetime | None = None
    change_at: datetime | None = None


def decide(event: Event, past: Past, rules: Rules, now: datetime) -> Decision:
    """What *event* means after *past*."""
    match event.kind:
        case Kind.STARTED:
            return _on_start(event, past, rules, now)
        case Kind.STOPPED:
            return _on_stop(event, past, rules)
        case Kind.RETITLED:
            return _on_title(event, past, rules)


def _on_start(event: Event, past: Past, rules: Rules, now: datetime) -> Decision:
    """Back so soon, it was never gone; else new, unless it is over already."""
    broadcast = past.broadcast
    if _is_over(event, past):
        return Decision("a late start: this connection has ended already")
    if broadcast is None:
        return _new("a new broadcast", event, rules, now)
    if broadcast.live:
        if event.connected and event.connected == broadcast.connected:
            return Decision("a repeat: this connection is known")
        mark, newest = event.connected or event.stamp, broadcast.connected or broadcast.stamp
        if event.at - broadcast.since <= REORDERED and _older(mark, newest):
            return Decision("a late start: a newer connection is known")
        if event.at - broadcast.seen < FORGOTTEN:
            because = "connected again without a stop: the same broadcast"
            return _same(because, event, broadcast, rules, now)
        because = "a new broadcast; the end of the one before was never heard"
        return _new(because, event, rules, now)
    # The last stop may be of a connection whose start came too late to count.
    gap = event.at - max(broadcast.stopped or event.at, past.stop_at or broadcast.began)
    if gap <= rules.resume:
        because = f"back after {max(0, round(gap.total_seconds()))} s: the same broadcast"
        return _same(because, event, replace(broadcast, stopped=None), rules, now)
    return _new("a new broadcast", event, rules, now)


def _on_stop(event: Event, past: Past, rules: Rules) -> Decision:
    """What has not been said by now is no longer true."""
    broadcast = past.broadcast
    if broadcast is None:
        return Decision("a stop, but no broadcast is known")
    if _late(event, broadcast.stamp, broadcast.since):
        return Decision("a late stop: of an earlier connection")
    if not broadcast.live:
        return Decision("a repeat: the broadcast has stopped already")
    peak = max(event.peak_viewers or 0, broadcast.peak_viewers or 0) or None
    over = replace(broadcast, stopped=event.at, seen=event.at, peak_viewers=peak)
    at = event.at + rules.grace
    return Decision("the stream stopped", over, Moment.ENDED, change_at=at)


def _on_title(event: Event, past: Past, rules: Rules) -> Decision:
    """A title is news only of the stream that is live; before that it is a plan."""
    broadcast = past.broadcast
    if broadcast is None or not broadcast.live:
        return Decision("a title while nothing is live")
    if _late(event, broadcast.title_stamp, broadcast.seen):
        return Decision("a late title: a newer one is known")
    told = _told(replace(broadcast, seen=event.at), event)
    if told.title == broadcast.title:
        return Decision("the same title", told)
    until = event.at + rules.give_up
    return Decision("a new title", told, Moment.LIVE, until=until, change_at=event.at + MERGE)


def _new(because: str, event: Event, rules: Rules, now: datetime) -> Decision:
    """A broadcast of its own; without a word if it began too long ago to be news."""
    mark = event.connected or event.stamp
    origin = f"{event.channel}|{mark.isoformat() if mark else event.id}"
    broadcast = Broadcast(
        # The same show gets the same id wherever it is judged, so that networks that fold repeats
        # do so even for two installations, or after a lost database.
        id=f"{mark or event.at:%Y%m%d-%H%M}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}",
        channel=event.channel,
        began=event.at,
        since=event.at,
        seen=now,
    )
    told = _told(_connected(broadcast, event), event)
    if now - event.at > rules.give_up:
        return Decision(f"{because}, but it began too long ago to be news", told)
    return _speak(because, told, event, rules)


def _same(
    because: str, event: Event, broadcast: Broadcast, rules: Rules, now: datetime
) -> Decision:
    going_on = _told(_connected(replace(broadcast, since=event.at, seen=now), event), event)
    return _speak(because, going_on, event, rules)


def _speak(because: str, broadcast: Broadcast, event: Event, rules: Rules) -> Decision:
    return Decision(
        because,
        broadcast,
        Moment.LIVE,
        speak_at=event.at + rules.hold,
        until=event.at + rules.give_up,
        change_at=event.at + rules.hold,
    )


def _connected(broadcast: Broadcast, event: Event) -> Broadcast:
    return replace(broadcast, stamp=event.stamp, connected=event.connected)


def _told(broadcast: Broadcast, event: Event) -> Broadcast:
    """With the event's words, where it has any: an empty title is none, not a wish for none."""
    return replace(
        broadcast,
        name=event.name or broadcast.name,
        title=event.title or broadcast.title,
        summary=event.summary or broadcast.summary,
        title_stamp=event.stamp or broadcast.title_stamp,
        peak_viewers=max(event.peak_viewers or 0, broadcast.peak_viewers or 0) or None,
    )


def _is_over(event: Event, past: Past) -> bool:
    """Whether the stop of this very connection came before its start."""
    return past.stop_at is not None and _late(event, past.stop_stamp, past.stop_at)


def _late(event: Event, successor: datetime | None, heard: datetime) -> bool:
    """Whether *event* happened before what we heard at *heard*."""
    return event.at - heard <= REORDERED and _older(event.stamp, successor)


def _older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


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


@dataclass(frozen=True, slots=True)
class Entry:
    """A post as the outbox knows it: what should be visible and what is known of the world.

    *wanted* and *shown* are what the audience should read there and what it does read, None for
    nothing. *doubtful_since* is when a try left of which no clear answer came: from then on its
    content is frozen. *generation* counts the definite refusals, *edition* how often it was put up
    again after it was taken away. *until* is when to give up telling it, *change_until* when to
    give up changing it. *change_at* is for a change that came while a try was on its way or in
    doubt: what to do about it is known only when that is settled. *patient_until* is how long it
    waits at most for the posts that it names.
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
        and manners.ending in (Ending.REPLY, Ending.POST)
        and told
        and entry.state is not State.GONE
    )


def follow(entry: Entry, decision: Decision, manners: Manners) -> Entry:
    """*entry* after *decision*, which is about its broadcast."""
    if decision.mood is None or decision.change_at is None or entry.state is State.GONE:
        return entry
    if entry.moment is Moment.ENDED:
        return _follow_end(entry, decision, manners)
    if decision.mood is Moment.ENDED:
        return _end(entry, decision.change_at, manners)
    return _live(entry, decision, decision.change_at, manners)


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
    findable = repeat in (Repeat.FINDABLE, Repeat.WINDOW)
    wanted = entry.wanted is entry.moment
    if entry.doubtful_since is not None and findable:
        return Step.FIND_OR_PUBLISH if wanted and now <= entry.until else Step.FIND
    if not wanted:
        return Step.WITHDRAW
    return Step.PUBLISH if now <= entry.until else Step.GIVE_UP


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
            if entry.doubtful_since is None:
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
        case Refused():
            return replace(entry, state=State.FAILED, reason=f"not changed: {reason}")
        case TryLater():
            wait = max(problem.wait, backoff(entry.tries, dice))
        case _:
            wait = backoff(entry.tries, dice)
    if now + wait > (entry.change_until or entry.until):
        return replace(entry, state=State.FAILED, reason=f"too late to change it: {reason}")
    return replace(entry, state=State.DUE, next_at=now + wait, reason=reason)


def _later(entry: Entry, reason: str, wait: timedelta, now: datetime) -> Entry:
    at = now + wait
    if at > entry.until:
        return failed(entry, f"too late to try again: {reason}")
    return replace(entry, state=State.DUE, next_at=at, reason=reason)


def backoff(tries: int, dice: float) -> timedelta:
    """Exponential with full jitter: anything up to 2 s after the first try, up to 5 min later."""
    return timedelta(seconds=dice * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 16)))
