"""The operator's side of the outbox: what was posted where, or why not, and a hand to change it."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from announcer.network import Moment
from announcer.outbox.database import Database, insert
from announcer.outbox.records import Shown, Try, broadcast_of, entry_of, shown_of, sure, when
from announcer.outbox.schema import PAUSE, breakers, broadcasts, closed, posts, switches, tries
from announcer.policy import Broadcast, Entry, Hush, State

_LOCK = sa.select(broadcasts.c.id).with_for_update()
SWITCH = sa.select(switches.c.since).where(switches.c.name == sa.bindparam("name"))


class Desk(Database):
    """What the pages and the commands show and do."""

    def retry(self, key: str, now: datetime, until: datetime) -> Entry | None:
        """Make a post that is not up due again, by the operator's word. None if there is none such.

        What may be up is no longer doubted: the operator has looked. But nobody is told that a
        stream is live that is over. One that waits for its destination waits no longer.
        """
        stuck = (State.FAILED, State.UNSURE, State.WITHDRAWN)
        live = sa.select(broadcasts.c.id).where(
            broadcasts.c.id == posts.c.broadcast, broadcasts.c.stopped.is_(None)
        )
        lasting = posts.c.moment.in_((Moment.ENDED, Moment.ALERT))
        true = sa.or_(lasting, posts.c.shown.is_not(None), live.exists())
        statement = (
            sa.update(posts)
            .where(posts.c.key == key, posts.c.state.in_(stuck), true)
            .values(
                state=State.DUE,
                wanted=sa.case((posts.c.shown.is_(None), posts.c.moment), else_=posts.c.wanted),
                next_at=now.timestamp(),
                until=until.timestamp(),
                change_until=until.timestamp(),
                doubtful_since=None,
                deaths=0,
                generation=posts.c.generation + 1,
                hush=Hush.OVERRULED,
                reason="tried again by hand",
                changed=now.timestamp(),
            )
            .returning(posts)
        )
        shut = sa.union(sa.select(closed.c.destination), sa.select(breakers.c.destination))
        waiting = (
            sa.update(posts)
            .where(posts.c.key == key, posts.c.state == State.DUE, posts.c.destination.in_(shut))
            .values(next_at=now.timestamp(), changed=now.timestamp())
            .returning(posts)
        )
        show = sa.select(posts.c.broadcast).where(posts.c.key == key).scalar_subquery()

        def work(connection: sa.Connection) -> Entry | None:
            # The broadcast before its posts, as intake locks them: it may be stopping just now.
            connection.execute(_LOCK.where(broadcasts.c.id == show))
            for one in (statement, waiting):
                row = connection.execute(one).mappings().one_or_none()
                if row:
                    self.ring(connection)
                    return entry_of(row)
            return None

        return self.write("retry", work)

    def paused(self) -> datetime | None:
        """Since when nothing new is announced; None if that is not so."""
        with self.reading() as connection:
            return when(connection.scalar(SWITCH, {"name": PAUSE}))

    def pause(self, reason: str, now: datetime) -> list[str]:
        """From now on announce nothing new. The keys of what was about to be, now withdrawn; what
        is up, on its way or in doubt is left.
        """
        waiting = sa.and_(
            posts.c.state == State.DUE,
            posts.c.moment == Moment.LIVE,
            posts.c.shown.is_(None),
            posts.c.doubtful_since.is_(None),
        )
        withdrawn = {"state": State.WITHDRAWN, "hush": Hush.PAUSE, "reason": reason, "tries": 0}
        switch = insert(switches, self.engine.dialect.name).values(
            name=PAUSE, since=now.timestamp()
        )
        held = sa.update(posts).where(waiting).values(**withdrawn, changed=now.timestamp())

        def work(connection: sa.Connection) -> list[str]:
            connection.execute(switch.on_conflict_do_nothing(index_elements=["name"]))
            return sorted(connection.scalars(held.returning(posts.c.key)))

        return self.write("pause", work)

    def resume(self) -> bool:
        """Announce again. False if that was not paused."""
        gone = sa.delete(switches).where(switches.c.name == PAUSE).returning(switches.c.name)
        return self.write("resume", lambda connection: connection.scalar(gone)) is not None

    def announce(self, broadcast: str, now: datetime, until: datetime) -> list[str]:
        """Make the posts of a broadcast that a rule holds back due, whatever the rules say. Their
        keys.
        """
        put_off = sa.and_(
            posts.c.state == State.DUE, posts.c.hush == Hush.HOURS, posts.c.tries == 0
        )
        withdrawn = sa.and_(posts.c.state == State.WITHDRAWN, posts.c.hush != Hush.NONE)
        statement = (
            sa.update(posts)
            .where(posts.c.broadcast == broadcast, posts.c.moment == Moment.LIVE)
            .where(posts.c.shown.is_(None), sa.or_(put_off, withdrawn))
            .values(
                state=State.DUE,
                wanted=posts.c.moment,
                hush=Hush.OVERRULED,
                next_at=now.timestamp(),
                until=until.timestamp(),
                reason="announced by the operator's word",
                changed=now.timestamp(),
            )
            .returning(posts.c.key)
        )

        def work(connection: sa.Connection) -> list[str]:
            connection.execute(_LOCK.where(broadcasts.c.id == broadcast))
            self.ring(connection)
            return sorted(connection.scalars(statement))

        return self.write("announce", work)

    def last_name(self, channels: Sequence[str]) -> str:
        """What the newest broadcast of *channels* was called; empty if there was none."""
        query = (
            sa.select(broadcasts.c.name)
            .where(broadcasts.c.channel.in_(channels), broadcasts.c.name != "")
            .order_by(broadcasts.c.began.desc())
            .limit(1)
        )
        with self.reading() as connection:
            return connection.scalar(query) or ""

    def history(self, limit: int) -> list[tuple[Broadcast, list[Shown]]]:
        """The newest broadcasts, each with its posts and their tries."""
        order = broadcasts.c.began.desc(), broadcasts.c.id.desc()
        newest = sa.select(broadcasts).order_by(*order).limit(limit)
        with self.reading() as connection:
            shows = [broadcast_of(row) for row in connection.execute(newest).mappings()]
            ids = [show.id for show in shows]
            rows = connection.execute(
                sa.select(posts)
                .where(posts.c.broadcast.in_(ids))
                .order_by(posts.c.destination, posts.c.moment != Moment.LIVE, posts.c.key)
            )
            told = list(rows.mappings())
            made = connection.execute(
                sa.select(tries)
                .where(tries.c.post.in_([row["key"] for row in told]))
                .order_by(tries.c.at)
            ).mappings()
            of: dict[str, list[Try]] = {}
            for row in made:
                of.setdefault(row["post"], []).append(
                    Try(sure(row["at"]), row["took"], row["step"], row["outcome"], row["reason"])
                )
        by_show: dict[str, list[Shown]] = {}
        for row in told:
            by_show.setdefault(row["broadcast"], []).append(shown_of(row, of.get(row["key"], [])))
        return [(show, by_show.get(show.id, [])) for show in shows]
