"""What is kept of each destination: whether it is closed or left alone for a while, what it spent,
what it remembers.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from announcer.network import Repeat
from announcer.outbox.database import Database, insert
from announcer.outbox.records import Try, breaker_of, entry_of, try_of, values_of
from announcer.outbox.schema import breakers, broadcasts, closed, memory, posts, tries
from announcer.policy import Breaker, State, reopened

LATEST = 30
"""Tries among which the last success and the last failure are looked for."""


class Accounts(Database):
    """What delivery must know of a destination before it sends anything there."""

    def published_since(self, destination: str, since: datetime) -> int:
        """How many tries to publish there are on record."""
        query = sa.select(sa.func.count()).where(
            tries.c.destination == destination,
            tries.c.at >= since.timestamp(),
            tries.c.step == "publish",
        )
        with self.asking() as connection:
            return connection.scalar(query) or 0

    def latest(self, destinations: Collection[str]) -> dict[str, list[Try]]:
        """The last tries at each, the newest first, in one question."""
        if not destinations:
            return {}
        newest = (
            sa.select(tries)
            .where(tries.c.destination == name)
            .order_by(tries.c.at.desc(), tries.c.id.desc())
            .limit(LATEST)
            .subquery()
            for name in destinations
        )
        query = sa.union_all(*(sa.select(one) for one in newest))
        found: dict[str, list[Try]] = {name: [] for name in destinations}
        with self.reading() as connection:
            for row in connection.execute(query).mappings():
                found[row["destination"]].append(try_of(row))
        return {name: sorted(made, key=_at, reverse=True) for name, made in found.items()}

    def remembered(self, name: str) -> dict[str, str]:
        """What every destination keeps in its memory under *name*."""
        query = sa.select(memory.c.destination, memory.c.value).where(memory.c.name == name)
        with self.asking() as connection:
            return {row.destination: row.value for row in connection.execute(query)}

    def close(self, destination: str, credentials: str, reason: str, now: datetime) -> None:
        """Send nothing there until its *credentials* (a fingerprint) change."""
        closing, at = (credentials, reason), now.timestamp()
        self.write("close", lambda connection: shut(connection, destination, closing, at))

    def reopen(self, destination: str, now: datetime, repeat: Repeat = Repeat.DOUBLES) -> list[str]:
        """Send there again, without waiting any more, and what was stopped since it was closed as
        far as that is still due: the keys. *repeat* is what a second post there does.
        """
        stopped = (State.FAILED, State.UNSURE, State.DUE)

        def work(connection: sa.Connection) -> list[str]:
            hold(connection, destination, None)
            mine = closed.c.destination == destination
            since = connection.scalar(sa.select(closed.c.at).where(mine))
            if since is None:
                return []
            connection.execute(sa.delete(closed).where(mine))
            rows = connection.execute(
                sa.select(posts, broadcasts.c.stopped.label("over"))
                .join(broadcasts, broadcasts.c.id == posts.c.broadcast)
                .where(posts.c.destination == destination, posts.c.changed >= since)
                .where(posts.c.state.in_(stopped))
                .order_by(posts.c.key)
            ).mappings()
            self.ring(connection)
            return [row["key"] for row in rows.all() if _reopen(connection, row, repeat, now)]

        return self.write("reopen", work)

    def closed(self) -> dict[str, tuple[str, str]]:
        """Closed destinations: the fingerprint of their credentials, and why."""
        with self.asking() as connection:
            rows = connection.execute(sa.select(closed)).mappings()
            return {row["destination"]: (row["credentials"], row["reason"]) for row in rows}

    def breakers(self, now: datetime) -> dict[str, Breaker]:
        """Destinations that are left alone for a while, and why."""
        query = sa.select(breakers).where(breakers.c.until > now.timestamp())
        with self.asking() as connection:
            rows = connection.execute(query.order_by(breakers.c.destination)).mappings()
            return {row["destination"]: breaker_of(row) for row in rows}


def _at(made: Try) -> datetime:
    return made.at


def shut(connection: sa.Connection, destination: str, closing: tuple[str, str], now: float) -> None:
    credentials, reason = closing
    values = {"credentials": credentials, "at": now, "reason": reason}
    _put(connection, closed, destination, values)


def hold(connection: sa.Connection, destination: str, breaker: Breaker | None) -> None:
    """What is held against a destination from now on. Only who has its post in flight may."""
    if breaker:
        _put(connection, breakers, destination, values_of(breaker))
    else:
        connection.execute(sa.delete(breakers).where(breakers.c.destination == destination))


def _put(
    connection: sa.Connection, table: sa.Table, destination: str, values: dict[str, Any]
) -> None:
    """What is known of a destination, whatever was before: another replica may do the same."""
    statement = insert(table, connection.dialect.name).values(destination=destination, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["destination"], set_=values))


def _reopen(connection: sa.Connection, row: sa.RowMapping, repeat: Repeat, now: datetime) -> bool:
    """False if it stays as it is, or somebody changed it meanwhile."""
    before = entry_of(row)
    after = reopened(before, repeat, now, live=row["over"] is None)
    if after == before:
        return False
    same = sa.and_(
        posts.c.key == row["key"], posts.c.state == row["state"], posts.c.changed == row["changed"]
    )
    new = values_of(after) | {"changed": now.timestamp()}
    return connection.execute(sa.update(posts).where(same).values(new)).rowcount == 1


class DestinationMemory:
    """The Memory of one destination, kept in the database."""

    def __init__(self, database: Database, destination: str) -> None:
        self._database, self._destination = database, destination

    def get(self, name: str) -> str | None:
        query = sa.select(memory.c.value).where(
            memory.c.destination == self._destination, memory.c.name == name
        )
        with self._database.asking() as connection:
            return connection.scalar(query)

    def put(self, name: str, value: str) -> None:
        statement = (
            insert(memory, self._database.engine.dialect.name)
            .values(destination=self._destination, name=name, value=value)
            .on_conflict_do_update(index_elements=["destination", "name"], set_={"value": value})
        )
        self._database.write("memory", lambda connection: connection.execute(statement))
