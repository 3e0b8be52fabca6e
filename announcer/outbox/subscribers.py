"""Those who asked on a page of ours to be told, by destination, and what each was told last.

There may be thousands: what is stored of them is stored for many at once.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from announcer.network import Message, Subscriber
from announcer.outbox.database import Database, insert
from announcer.outbox.schema import subscribers

BATCH = 500
"""Rows of one statement: SQLite takes 32,766 parameters, PostgreSQL twice that."""


class DestinationSubscribers:
    """The Subscribers of one destination, kept in the database."""

    def __init__(self, database: Database, destination: str) -> None:
        self._database, self._destination = database, destination
        self._ours = subscribers.c.destination == destination

    def add(self, id: str, sealed: str, most: int) -> bool:  # noqa: A002  # as it is called
        key = {"destination": self._destination, "id": id}
        count = sa.select(sa.func.count()).where(self._ours)
        there = sa.select(subscribers.c.id).where(self._ours, subscribers.c.id == id)
        new = (
            insert(subscribers, self._database.engine.dialect.name)
            .values(**key, sealed=sealed, since=_now(), tries=0, missed=0)
            # It has just shown that it lives.
            .on_conflict_do_update(
                index_elements=["destination", "id"], set_={"sealed": sealed, "missed": 0}
            )
        )

        def work(connection: sa.Connection) -> bool:
            full = (connection.scalar(count) or 0) >= most
            if full and connection.scalar(there) is None:
                return False
            connection.execute(new)
            return True

        return self._database.write("subscriber", work)

    def drop(self, ids: Collection[str]) -> None:
        def work(connection: sa.Connection) -> None:
            for some in _batches(ids):
                connection.execute(sa.delete(subscribers).where(self._ours, _among(some)))

        if ids:
            self._database.write("subscribers", work)

    def count(self) -> int:
        return self._counted()

    def told(self, topic: str) -> int:
        return self._counted(subscribers.c.topic == topic)

    def without(self, message: Message) -> list[Subscriber]:
        other = sa.or_(subscribers.c.topic.is_(None), subscribers.c.topic != message.topic)
        return self._found(message, other)

    def behind(self, message: Message) -> list[Subscriber]:
        said = subscribers.c.said != message.said
        return self._found(message, subscribers.c.topic == message.topic, said)

    def reached(self, message: Message, ids: Collection[str]) -> None:
        new = {"topic": message.topic, "said": message.said, "missed": 0, "trying": None}

        def work(connection: sa.Connection) -> None:
            for some in _batches(ids):
                which = sa.update(subscribers).where(self._ours, _among(some))
                connection.execute(which.values(new))

        if ids:
            self._database.write("subscribers", work)

    def missed(self, message: Message, tried: Collection[Subscriber]) -> None:
        statement = (
            sa.update(subscribers)
            .where(self._ours, subscribers.c.id == sa.bindparam("whose"))
            .values(
                trying=_name(message),
                tries=sa.bindparam("times"),
                not_before=sa.bindparam("later"),
            )
        )
        rows = [
            {
                "whose": one.id,
                "times": one.tries,
                "later": one.not_before.timestamp() if one.not_before else None,
            }
            for one in tried
        ]
        if rows:
            self._database.write(
                "subscribers", lambda connection: connection.execute(statement, rows)
            )

    def give_up(self, ids: Collection[str], most: int) -> None:
        def work(connection: sa.Connection) -> None:
            for some in _batches(ids):
                these = (self._ours, _among(some))
                more = subscribers.c.missed + 1
                connection.execute(sa.update(subscribers).where(*these).values(missed=more))
                lost = subscribers.c.missed >= most
                connection.execute(sa.delete(subscribers).where(*these, lost))

        if ids:
            self._database.write("subscribers", work)

    def _counted(self, *which: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).where(self._ours, *which)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def _found(self, message: Message, *which: sa.ColumnElement[bool]) -> list[Subscriber]:
        query = (
            sa.select(subscribers)
            .where(self._ours, *which)
            .order_by(subscribers.c.missed, subscribers.c.since, subscribers.c.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings()
            return [_subscriber(row, _name(message)) for row in rows]


def _subscriber(row: sa.RowMapping, message: str) -> Subscriber:
    tried, later = row["trying"] == message, row["not_before"]
    return Subscriber(
        row["id"],
        row["sealed"],
        tries=row["tries"] if tried else 0,
        not_before=datetime.fromtimestamp(later, UTC) if tried and later is not None else None,
        steady=row["topic"] is not None and row["missed"] == 0,
    )


def _name(message: Message) -> str:
    return f"{message.topic}/{message.said}"


def _among(ids: Collection[str]) -> sa.ColumnElement[bool]:
    return subscribers.c.id.in_(ids)


def _batches(ids: Collection[str]) -> Iterator[list[Any]]:
    rest = iter(ids)
    while some := list(islice(rest, BATCH)):
        yield some


def _now() -> float:
    return datetime.now(UTC).timestamp()
