"""What was posted where, when, and why not: for whoever looks, and changes nothing."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from announcer.network import Moment
from announcer.outbox.database import Database
from announcer.outbox.records import Shown, Sought, Try, broadcast_of, shown_of, try_of
from announcer.outbox.schema import broadcasts, posts, tries
from announcer.policy import Broadcast

_NEWEST = sa.select(broadcasts).order_by(broadcasts.c.began.desc(), broadcasts.c.id.desc())
SEASON = 400
"""Broadcasts that a season shows at most: the newest."""
AT_ONCE = 100
"""Broadcasts whose posts are read in one question."""


class Archive(Database):
    """What the pages and the commands show."""

    def last_name(self, channels: Collection[str]) -> str:
        """What the newest broadcast of *channels* was called; empty if there was none."""
        query = (
            sa.select(broadcasts.c.name)
            .where(broadcasts.c.channel.in_(channels), broadcasts.c.name != "")
            .order_by(broadcasts.c.began.desc())
            .limit(1)
        )
        with self.reading() as connection:
            return connection.scalar(query) or ""

    def current(self, channels: Collection[str]) -> list[tuple[Broadcast, list[Shown]]]:
        """As `history`, of the broadcast that is live on each of *channels*; if there is none, of
        the newest of all.
        """
        live = _NEWEST.where(broadcasts.c.stopped.is_(None), broadcasts.c.channel.in_(channels))
        with self.reading() as connection:
            rows = connection.execute(live).mappings()
            first = {show.channel: show for show in reversed([broadcast_of(row) for row in rows])}
            shows = sorted(first.values(), key=lambda show: show.began, reverse=True)
            return _told_of(connection, shows) or _with_posts(connection, _NEWEST.limit(1))

    def history(self, limit: int) -> list[tuple[Broadcast, list[Shown]]]:
        """The newest broadcasts, each with its posts and their tries."""
        with self.reading() as connection:
            return _with_posts(connection, _NEWEST.limit(limit))

    def search(self, limit: int, sought: Sought) -> list[tuple[Broadcast, list[Shown]]]:
        """As `history`, of what is *sought*."""
        query = _NEWEST.limit(limit)
        if sought.words:
            # As it was typed, too: a database may know the small letters of English only.
            ways = {sought.words, sought.words.lower()}
            titles = (broadcasts.c.title, broadcasts.c.name)
            forms = [form for one in titles for form in (one, sa.func.lower(one))]
            says = [form.contains(words, autoescape=True) for form in forms for words in ways]
            query = query.where(sa.or_(*says, broadcasts.c.id == sought.words))
        if sought.broadcast:
            query = query.where(broadcasts.c.id == sought.broadcast)
        if sought.destination or sought.state:
            has = sa.select(posts.c.key).where(posts.c.broadcast == broadcasts.c.id)
            if sought.destination:
                has = has.where(posts.c.destination == sought.destination)
            if sought.state:
                has = has.where(posts.c.state == sought.state)
            query = query.where(has.exists())
        if sought.before:
            last = broadcasts.alias("last")
            place = sa.select(last.c.began, last.c.id).where(last.c.id == sought.before).subquery()
            query = query.join_from(
                broadcasts,
                place,
                sa.tuple_(broadcasts.c.began, broadcasts.c.id)
                < sa.tuple_(place.c.began, place.c.id),
            )
        with self.reading() as connection:
            return _with_posts(connection, query)

    def season(self, since: datetime) -> list[tuple[Broadcast, dict[str, float]]]:
        """The broadcasts since then, oldest first, each with the seconds from its start to its
        announcement, by destination.
        """
        shows = _NEWEST.where(broadcasts.c.began >= since.timestamp()).limit(SEASON)
        with self.reading() as connection:
            found = [broadcast_of(row) for row in connection.execute(shows).mappings()]
            when_told: dict[str, dict[str, float]] = {one.id: {} for one in reversed(found)}
            began = {one.id: one.began.timestamp() for one in found}
            told = _FIRST_TOLD.where(posts.c.broadcast.in_(when_told))
            for show, destination, at in connection.execute(told):
                when_told[show][destination] = max(0.0, at - began[show])
        return [(show, when_told[show.id]) for show in reversed(found)]


_FIRST_TOLD = (
    sa.select(posts.c.broadcast, posts.c.destination, sa.func.min(tries.c.at + tries.c.took))
    .join(tries, tries.c.post == posts.c.key)
    .where(
        posts.c.moment == Moment.LIVE,
        tries.c.step.in_(("publish", "find")),
        tries.c.outcome.in_(("delivered", "found")),
    )
    .group_by(posts.c.broadcast, posts.c.destination)
)


def _with_posts(
    connection: sa.Connection, query: sa.Select[Any]
) -> list[tuple[Broadcast, list[Shown]]]:
    """In three questions for each AT_ONCE broadcasts: a question can have so many words only."""
    shows = [broadcast_of(row) for row in connection.execute(query).mappings()]
    found = []
    for first in range(0, len(shows), AT_ONCE):
        found += _told_of(connection, shows[first : first + AT_ONCE])
    return found


def _told_of(
    connection: sa.Connection, shows: list[Broadcast]
) -> list[tuple[Broadcast, list[Shown]]]:
    theirs = posts.c.broadcast.in_([show.id for show in shows])
    rows = connection.execute(
        sa.select(posts)
        .where(theirs)
        .order_by(posts.c.destination, posts.c.moment != Moment.LIVE, posts.c.key)
    ).mappings()
    made = connection.execute(
        sa.select(tries)
        .where(tries.c.post.in_(sa.select(posts.c.key).where(theirs)))
        .order_by(tries.c.at, tries.c.id)
    ).mappings()
    of: dict[str, list[Try]] = {}
    for row in made:
        of.setdefault(row["post"], []).append(try_of(row))
    by_show: dict[str, list[Shown]] = {}
    for row in rows:
        by_show.setdefault(row["broadcast"], []).append(shown_of(row, of.get(row["key"], [])))
    return [(show, by_show.get(show.id, [])) for show in shows]
