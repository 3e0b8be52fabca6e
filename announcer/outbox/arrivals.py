"""Intake's side of the outbox: what Owncast told, what it means, and the posts that follow."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from announcer.events import Event, Kind
from announcer.outbox import postgres
from announcer.outbox.database import Database, T
from announcer.outbox.desk import SWITCH
from announcer.outbox.records import broadcast_of, entry_of, epoch, upsert, values_of, when
from announcer.outbox.schema import PAUSE, broadcasts, events, posts
from announcer.policy import REORDERED, Broadcast, Entry, Past

# Built once: to build a statement takes SQLAlchemy longer than SQLite takes to run it, and these
# stand between Owncast and its answer.
_NEWEST = (
    sa.select(broadcasts)
    .where(broadcasts.c.channel == sa.bindparam("channel"))
    .order_by(broadcasts.c.began.desc())
    .limit(1)
)
_NEWEST_LOCKED = _NEWEST.with_for_update()
_STOPPED = sa.and_(events.c.channel == sa.bindparam("channel"), events.c.kind == Kind.STOPPED)
_LAST_STOP = (
    sa.select(events.c.stamp, events.c.at)
    .where(
        _STOPPED,
        events.c.at
        >= sa.select(sa.func.max(events.c.at)).where(_STOPPED).scalar_subquery()
        - REORDERED.total_seconds(),
    )
    .order_by(events.c.stamp.desc().nulls_last(), events.c.at.desc())
    .limit(1)
    .subquery()
)
_ONE = sa.select(sa.literal(1)).subquery()
_RECALL = sa.select(
    sa.exists()
    .where(events.c.channel == sa.bindparam("channel"), events.c.id == sa.bindparam("id"))
    .label("known"),
    SWITCH.exists().label("paused"),
    _LAST_STOP,
).select_from(_ONE.outerjoin(_LAST_STOP, sa.true()))
_ENTRIES = (
    sa.select(posts)
    .where(posts.c.broadcast == sa.bindparam("id"))
    .order_by(posts.c.key)
    .with_for_update()
)
_ADD = sa.insert(events)


@dataclass(frozen=True, slots=True)
class Recalled:
    """Before an event: whether that one is *known* already, whether the operator has *paused* all
    announcements, and the *past* of its channel.
    """

    known: bool
    paused: bool
    past: Past


class Transaction:
    """What intake does in one transaction."""

    def __init__(
        self, connection: sa.Connection, ring: Callable[[sa.Connection, float | None], None]
    ) -> None:
        self._connection, self._ring = connection, ring

    def recall(self, event: Event) -> Recalled:
        return _recall(self._connection, event.channel, event.id, _NEWEST_LOCKED)

    def add(self, event: Event, because: str, broadcast: str | None) -> None:
        values = {
            "channel": event.channel,
            "id": event.id,
            "kind": event.kind,
            "at": event.at.timestamp(),
            "stamp": epoch(event.stamp),
            "title": event.title,
            "because": because,
            "broadcast": broadcast,
        }
        self._connection.execute(_ADD, values)

    def put_broadcast(self, broadcast: Broadcast) -> None:
        """A new one, or what changed of a known one."""
        statement = upsert(broadcasts, "id", Broadcast, self._connection.dialect.name)
        self._connection.execute(statement, values_of(broadcast))

    def entries(self, broadcast: str) -> list[Entry]:
        rows = self._connection.execute(_ENTRIES, {"id": broadcast}).mappings()
        return [entry_of(row) for row in rows]

    def put_entries(
        self, entries: Sequence[Entry], now: datetime, due: datetime | None = None
    ) -> None:
        """New posts, or what changed of known ones. Nothing of it is to be done before *due*, or at
        all if that is None: then no replica need look.
        """
        if entries:
            statement = upsert(posts, "key", Entry, self._connection.dialect.name)
            more = {"changed": now.timestamp(), "lease_until": 0}
            self._connection.execute(statement, [values_of(entry) | more for entry in entries])
            if due:
                self._ring(self._connection, due.timestamp())


class Arrivals(Database):
    """What intake and watch store."""

    @contextmanager
    def transaction(self, channel: str) -> Iterator[Transaction]:
        """Everything inside is stored together, on disk, or not at all; of one *channel* one at a
        time, whichever replica hears of it: there is no row to lock for a first broadcast.
        """
        with self.writing("event") as connection:
            if connection.dialect.name == "postgresql":
                postgres.lock(connection, f"channel {channel}")
            yield Transaction(connection, self.ring)

    def within(self, channel: str, work: Callable[[Transaction], T]) -> T:
        """What *work* gives in such a transaction, which others may share and which may be made
        again, as `write` says.
        """
        # SQLite has one writer for all of them, and no lock by channel.
        crowd = "" if self.engine.dialect.name == "sqlite" else channel
        return self.shared(f"channel {crowd}", lambda: self.transaction(channel), work)

    def past(self, channel: str) -> Past:
        """What is known of a channel, for who only looks: to decide, ask within a transaction."""
        with self.reading() as connection:
            return _recall(connection, channel, "", _NEWEST).past

    def sighted(self, broadcast: str, now: datetime, viewers: int | None) -> None:
        """It was live *now*, seen by so many. Changes nothing of one that has stopped."""
        peak = sa.func.coalesce(broadcasts.c.peak_viewers, 0)
        statement = (
            sa.update(broadcasts)
            .where(broadcasts.c.id == broadcast, broadcasts.c.stopped.is_(None))
            .where(broadcasts.c.seen < now.timestamp())
            .values(
                seen=now.timestamp(),
                peak_viewers=sa.case(
                    (peak < (viewers or 0), viewers), else_=broadcasts.c.peak_viewers
                ),
            )
        )
        self.write("sighting", lambda connection: connection.execute(statement))


def _recall(
    connection: sa.Connection, channel: str, event: str, newest: sa.Select[Any]
) -> Recalled:
    row = connection.execute(newest, {"channel": channel}).mappings().one_or_none()
    sought = {"channel": channel, "id": event, "name": PAUSE}
    known, paused, stamp, at = connection.execute(_RECALL, sought).one()
    return Recalled(
        bool(known),
        bool(paused),
        Past(broadcast_of(row) if row else None, when(stamp), when(at)),
    )
