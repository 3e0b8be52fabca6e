"""What an event means: is it a new broadcast, is it over, what shall its posts say."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from announcer.events import Event, Kind
from announcer.network import Moment
from announcer.settings import Duration, setting

FORGOTTEN = timedelta(hours=6)
"""A broadcast without a sign of life for so long has ended, though nobody told us."""
REORDERED = timedelta(minutes=30)
"""Owncast never repeats a webhook: what looks older than its successor is a late one only so long.
After that its clock was set back, and a show must not go untold for that."""
MERGE = timedelta(seconds=10)
"""New titles within this time become one edit."""


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
