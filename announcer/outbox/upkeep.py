"""What keeps the database small and its times true: old rows go, a clock that was wrong is made up.

Deleted pages are used again, so the file stays as big as the most that it ever held. It is never
vacuumed while the service runs: that would hold up every writer for seconds.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from announcer.events import Kind
from announcer.outbox.database import Database
from announcer.outbox.records import broadcast_of, entry_of, sure
from announcer.outbox.schema import broadcasts, events, pictures, posts, tries
from announcer.policy import EVENTS_KEPT, PICTURES_KEPT, State, forgettable

BATCH = 20
"""Broadcasts of one transaction, with some ten posts each: a few milliseconds, for which a webhook
may have to wait.
"""
ROWS = 300
"""Of what has no posts."""
CLOCK_SET = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that is set shows an earlier time."""
AHEAD = timedelta(minutes=1)
"""A row that was stored so long after now: the clock was set back since."""

Mark = tuple[float, str]
"""Where to go on: the beginning and the id of a broadcast."""


class Upkeep(Database):
    """Small transactions, so that nobody waits for one. None says that all is done."""

    def forget_broadcasts(self, now: datetime, keep: timedelta, after: Mark | None) -> Mark | None:
        """Of the next few broadcasts, from the oldest on, those that nobody needs, with their posts
        and tries.
        """
        place = sa.tuple_(broadcasts.c.began, broadcasts.c.id)
        old = sa.select(broadcasts).where(broadcasts.c.began < (now - keep).timestamp())
        if after:
            old = old.where(place > sa.tuple_(*map(sa.literal, after)))
        old = old.order_by(broadcasts.c.began, broadcasts.c.id).limit(BATCH)
        with self.writing("forget") as connection:
            rows = connection.execute(old).mappings().all()
            ids = [row["id"] for row in rows]
            told = connection.execute(sa.select(posts).where(posts.c.broadcast.in_(ids))).mappings()
            posts_of: dict[str, list[sa.RowMapping]] = {}
            for post in told:
                posts_of.setdefault(post["broadcast"], []).append(post)
            needed = _needed(connection, ids)
            useless = [
                row["id"]
                for row in rows
                for its in [posts_of.get(row["id"], [])]
                if forgettable(
                    broadcast_of(row),
                    [entry_of(post) for post in its],
                    touched=sure(max([row["began"], *(post["changed"] for post in its)])),
                    needed=row["id"] in needed,
                    now=now,
                    keep=keep,
                )
            ]
            keys = sa.select(posts.c.key).where(posts.c.broadcast.in_(useless))
            connection.execute(sa.delete(tries).where(tries.c.post.in_(keys)))
            connection.execute(sa.delete(posts).where(posts.c.broadcast.in_(useless)))
            connection.execute(sa.delete(broadcasts).where(broadcasts.c.id.in_(useless)))
        return (rows[-1]["began"], rows[-1]["id"]) if len(rows) == BATCH else None

    def forget_events(self, now: datetime) -> bool:
        """Some of those that are old. The last stop of a channel stays: a start is judged by it.
        False if there are no more.
        """
        later = events.alias("later")
        last_stop = sa.and_(
            events.c.kind == Kind.STOPPED,
            ~sa.exists().where(
                later.c.channel == events.c.channel,
                later.c.kind == Kind.STOPPED,
                later.c.at > events.c.at,
            ),
        )
        old = (
            sa.select(events.c.channel, events.c.id)
            .where(events.c.at < (now - EVENTS_KEPT).timestamp(), ~last_stop)
            .order_by(events.c.at)
            .limit(ROWS)
        )
        with self.writing("forget") as connection:
            found = [tuple(row) for row in connection.execute(old)]
            which = sa.tuple_(events.c.channel, events.c.id)
            connection.execute(sa.delete(events).where(which.in_(found)))
        return len(found) == ROWS

    def forget_pictures(self, now: datetime) -> None:
        """But for those of a post that may still be sent."""
        waits = sa.exists().where(
            posts.c.state.in_((State.DUE, State.SENDING)),
            posts.c.content.contains(pictures.c.digest),
        )
        old = pictures.c.at < (now - PICTURES_KEPT).timestamp()
        with self.writing("forget") as connection:
            connection.execute(sa.delete(pictures).where(old, ~waits))

    def set_right(self, now: datetime) -> int:
        """How many posts that are under way were stored by a clock which was wrong, as it is known
        by now: ahead of this one, or not set at all. Their times are moved as if they had been
        stored now, so that none of them is due in a year that may never come, or long overdue.
        """
        wrong = sa.or_(
            posts.c.changed > (now + AHEAD).timestamp(), posts.c.changed < CLOCK_SET.timestamp()
        )
        theirs = [sa.and_(posts.c.state == state, wrong) for state in (State.DUE, State.SENDING)]
        with self.reading() as connection:
            if not any(
                connection.execute(sa.select(posts.c.key).where(one).limit(1)).first()
                for one in theirs
            ):
                return 0
        by = now.timestamp() - posts.c.changed
        times = ("next_at", "until", "change_at", "change_until", "patient_until")
        more = ("lease_until", "left_at", "doubtful_since", "changed")
        moved = {name: posts.c[name] + by for name in (*times, *more)}
        # Not before 1970, where a lease that was ended lies.
        moved["lease_until"] = sa.case((posts.c.lease_until > 0, moved["lease_until"]), else_=0)
        with self.writing("set right") as connection:
            which = sa.or_(*theirs)
            shows = connection.scalars(sa.select(posts.c.broadcast).where(which).distinct()).all()
            found = connection.execute(sa.update(posts).where(which).values(moved))
            off = sa.or_(
                broadcasts.c.seen > (now + AHEAD).timestamp(),
                broadcasts.c.seen < CLOCK_SET.timestamp(),
            )
            by = now.timestamp() - broadcasts.c.seen
            kept = {name: broadcasts.c[name] + by for name in ("began", "since", "seen", "stopped")}
            its = sa.update(broadcasts).where(broadcasts.c.id.in_(shows), off).values(kept)
            connection.execute(its)
        return found.rowcount


def _needed(connection: sa.Connection, ids: list[str]) -> set[str]:
    """Those which are the newest of their channel, or have the last words of a destination."""
    newer = broadcasts.alias("newer")
    newest = sa.select(broadcasts.c.id).where(
        broadcasts.c.id.in_(ids),
        ~sa.exists().where(
            newer.c.channel == broadcasts.c.channel, newer.c.began > broadcasts.c.began
        ),
    )
    later = posts.alias("later")
    last = sa.select(posts.c.broadcast).where(
        posts.c.broadcast.in_(ids),
        posts.c.content.is_not(None),
        ~sa.exists().where(
            later.c.destination == posts.c.destination,
            later.c.content.is_not(None),
            later.c.changed > posts.c.changed,
        ),
    )
    return {*connection.scalars(newest), *connection.scalars(last)}
