"""What Owncast shows and no webhook told: an answer becomes an event like any other, or none.

Pure. What an event means is still for `policy` to say: one that would change nothing is not made.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from announcer import policy
from announcer.events import Event, Kind, Status
from announcer.policy import Broadcast, Past, Rules

AGREE = 3
"""Answers in a row that must say offline before a stop is believed."""
SHORTLY = timedelta(seconds=3)
"""Between those."""
REFRESH = timedelta(minutes=5)
"""How often it is stored that a stream is still live."""
ON_ITS_WAY = timedelta(minutes=1)
"""How much older than the newest webhook an answer may be that was overtaken by it. What seems
older still was asked after Owncast's clock was set back.
"""


@dataclass(frozen=True, slots=True)
class Lately:
    """What the last answers said of one connection (its broadcast, and since when it is there).

    *misses* answers in a row did not show it. One last did at *seen*; *peak* viewers at most.
    """

    connection: tuple[str, datetime] | None = None
    misses: int = 0
    seen: datetime | None = None
    peak: int | None = None


def remember(lately: Lately, status: Status | None, past: Past, now: datetime) -> Lately:
    """*lately* after one more answer, None if there was none: that says nothing of the stream."""
    show = _live(past)
    connection = (show.id, show.since) if show else None
    if connection != lately.connection:
        lately = Lately(connection)
    if status is None or show is None:
        return lately
    if not status.live:
        return replace(lately, misses=lately.misses + 1)
    peak = max(status.viewers or 0, lately.peak or 0) or None
    return replace(lately, misses=0, seen=now, peak=peak)


def wait(lately: Lately, status: Status | None, rules: Rules, dice: float) -> timedelta:
    """Until Owncast is asked again: calm while it is offline, closer while it is live, and shortly
    if it has to confirm a stop. *dice* in [0, 1) spreads several servers, and several of us.
    """
    if status and 0 < lately.misses < AGREE:
        return min(SHORTLY, rules.poll)
    live = status.live if status else lately.connection is not None
    return (rules.poll / 2 if live else rules.poll) * (1 - dice / 5)


def is_due(lately: Lately, past: Past, now: datetime) -> bool:
    """Whether to store that the stream is still there."""
    show = _live(past)
    return show is not None and lately.seen == now and now - show.seen >= REFRESH


def notice(
    status: Status, past: Past, lately: Lately, rules: Rules, channel: str, now: datetime
) -> Event | None:
    """What *status*, answered at *now*, tells that is not known; None if nothing. It is not all:
    look again once it is judged and stored.
    """
    for event in _differences(status, past, lately, rules, channel, now):
        if policy.decide(event, past, rules, now).broadcast:
            return event
    return None


def _differences(
    status: Status, past: Past, lately: Lately, rules: Rules, channel: str, now: datetime
) -> Iterator[Event]:
    show = _live(past)
    start = _start(status, past, channel, now)
    if start:
        meant = policy.decide(start, past, rules, now).broadcast
        if show and meant and meant.id != show.id:  # so the one before has ended, long ago
            yield _stop(status, show, show.seen, lately, now)
        yield start
    if show and status.live and status.title and status.title != show.title:
        yield Event(
            # With the stamp of the title before: back to an earlier title is news, too.
            id=_id(channel, Kind.RETITLED, show.id, show.title_stamp, show.title, status.title),
            channel=channel,
            kind=Kind.RETITLED,
            at=now,
            stamp=_stamp(status, show.title_stamp),
            connected=status.connected,
            title=status.title,
            peak_viewers=status.viewers,
            found=True,
        )
    if show and lately.misses >= AGREE:
        yield _stop(status, show, _last_sign(status, show, lately, now), lately, now)


def _start(status: Status, past: Past, channel: str, now: datetime) -> Event | None:
    """Of the connection that is there; None if there is none, or its age is unknown for want of
    Owncast's own time.
    """
    show = past.broadcast
    if status.connected is None or status.server is None:
        return None
    marks = (show.id, show.since, show.stopped) if show else ()
    return Event(
        id=_id(channel, Kind.STARTED, status.connected, *marks),
        channel=channel,
        kind=Kind.STARTED,
        at=now - max(timedelta(), status.server - status.connected),
        # Not when it began: at *this* time it was there, whatever stops were told before.
        stamp=_stamp(status, past.stop_stamp),
        connected=status.connected,
        title=status.title,
        peak_viewers=status.viewers if status.online else None,
        found=True,
    )


def _stop(status: Status, show: Broadcast, at: datetime, lately: Lately, now: datetime) -> Event:
    return Event(
        id=_id(show.channel, Kind.STOPPED, show.id, show.since),
        channel=show.channel,
        kind=Kind.STOPPED,
        at=max(show.since, min(at, now)),
        stamp=_stamp(status, show.stamp),
        peak_viewers=lately.peak,
        found=True,
    )


def _last_sign(status: Status, show: Broadcast, lately: Lately, now: datetime) -> datetime:
    """When the connection ended: as Owncast says, unless that is the end of an earlier one, which
    it remembers through a crash; else when it was seen last.
    """
    if status.server and status.disconnected:
        at = now - (status.server - status.disconnected)
        if show.since <= at <= now:
            return at
    return max(show.seen, lately.seen or show.seen)


def _stamp(status: Status, newest: datetime | None) -> datetime | None:
    """Owncast's time for what it shows now, fit to be compared with *newest*, which it told."""
    if status.server and newest and newest - status.server > ON_ITS_WAY:
        return newest + timedelta(milliseconds=1)
    return status.server


def _live(past: Past) -> Broadcast | None:
    return past.broadcast if past.broadcast and past.broadcast.live else None


def _id(channel: str, kind: Kind, *marks: object) -> str:
    """The same for everybody who finds the same, so that it is stored once."""
    return hashlib.sha256("|".join(map(str, (channel, kind, *marks))).encode()).hexdigest()[:32]
