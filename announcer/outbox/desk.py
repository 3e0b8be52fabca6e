"""The operator's hand: what it changes of posts, and of whether there are any."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from announcer.network import Moment
from announcer.outbox.database import Database, insert
from announcer.outbox.records import entry_of, when
from announcer.outbox.schema import PAUSE, breakers, broadcasts, closed, posts, switches
from announcer.policy import Entry, Hush, State

_LOCK = sa.select(broadcasts.c.id).with_for_update()
SWITCH = sa.select(switches.c.since).where(switches.c.name == sa.bindparam("name"))
_TAKEN = sa.and_(posts.c.hush == Hush.TAKEN, posts.c.shown.is_not(None))


class Desk(Database):
    """What the pages and the commands do."""

    def retry(self, key: str, now: datetime, until: datetime) -> Entry | None:
        """Make a post that is not up due again, by the operator's word. None if there is none such.

        What may be up is no longer doubted: the operator has looked. But nobody is told that a
        stream is live that is over, or over that is live. One that was to be taken down still is.
        One that waits for its destination waits no longer.
        """
        stuck = (State.FAILED, State.UNSURE, State.WITHDRAWN)
        live = sa.select(broadcasts.c.id).where(
            broadcasts.c.id == posts.c.broadcast, broadcasts.c.stopped.is_(None)
        )
        over = sa.and_(posts.c.moment == Moment.ENDED, ~live.exists())
        true = sa.or_(
            posts.c.moment == Moment.ALERT,
            over,
            posts.c.shown.is_not(None),
            sa.and_(posts.c.moment != Moment.ENDED, live.exists()),
        )
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
                hush=sa.case((_TAKEN, Hush.TAKEN), else_=Hush.OVERRULED),
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

    def hurry(self, key: str, now: datetime) -> str | None:
        """Let a post that waits wait no longer: for its time, the next try, the end of the quiet
        hours, or the posts that it names. Its destination; None if it does not wait.
        """
        waits = sa.and_(posts.c.state == State.DUE, posts.c.next_at > now.timestamp())
        unsaid = sa.and_(posts.c.moment == Moment.LIVE, posts.c.shown.is_(None))
        return self._by_hand(
            "hurry",
            key,
            waits,
            now,
            next_at=now.timestamp(),
            patient_until=now.timestamp(),
            hush=sa.case((unsaid, Hush.OVERRULED), else_=posts.c.hush),
        )

    def mark_sent(self, key: str, now: datetime) -> str | None:
        """The operator has looked: it is up. What nobody knows the id of is changed no more. Its
        destination; None if there was no doubt.
        """
        return self._by_hand(
            "mark sent",
            key,
            posts.c.state == State.UNSURE,
            now,
            state=State.SETTLED,
            shown=posts.c.moment,
            wanted=posts.c.moment,
            receipt=None,  # it would be that of one which was taken away
            doubtful_since=None,
            change_at=None,
            hush=Hush.OVERRULED,
            reason="marked as sent by hand",
        )

    def take_down(self, key: str, now: datetime, until: datetime) -> str | None:
        """Take a post away, and never put it up again, whatever becomes of the stream. Its
        destination; None if it is not up, on its way, or is being taken away already.
        """
        up = sa.and_(posts.c.shown.is_not(None), posts.c.receipt.is_not(None))
        settled = posts.c.state.in_((State.SETTLED, State.DUE, State.FAILED))
        under_way = sa.and_(_TAKEN, posts.c.wanted.is_(None), posts.c.state == State.DUE)
        at = now.timestamp()
        beside = (
            sa.update(posts)
            .where(posts.c.moment == Moment.BADGE, posts.c.shown.is_not(None))
            .where(posts.c.key == key.replace(f"/{Moment.LIVE}/", f"/{Moment.BADGE}/"))
        )
        # What stands beside it is cleared as soon as it is gone.
        clear = (
            beside.where(posts.c.state == State.SENDING).values(change_at=at),
            beside.where(posts.c.state.in_((State.SETTLED, State.DUE))).values(
                state=State.DUE,
                next_at=at,
                change_at=None,
                change_until=until.timestamp(),
                tries=0,
                changed=at,
            ),
        )
        return self._by_hand(
            "take down",
            key,
            sa.and_(up, settled, posts.c.moment != Moment.BADGE, ~under_way),
            now,
            *clear,
            state=State.DUE,
            wanted=None,
            next_at=at,
            change_until=until.timestamp(),
            change_at=None,
            tries=0,
            hush=Hush.TAKEN,
            reason="taken down by hand",
        )

    def _by_hand(
        self,
        what: str,
        key: str,
        where: sa.ColumnElement[bool],
        now: datetime,
        *more: sa.Update,
        **values: Any,
    ) -> str | None:
        statement = (
            sa.update(posts)
            .where(posts.c.key == key, where)
            .values(**values, changed=now.timestamp())
            .returning(posts.c.destination)
        )
        show = sa.select(posts.c.broadcast).where(posts.c.key == key).scalar_subquery()

        def work(connection: sa.Connection) -> str | None:
            connection.execute(_LOCK.where(broadcasts.c.id == show))  # as in retry
            destination: str | None = connection.scalar(statement)
            if destination is not None:
                for one in more:
                    connection.execute(one)
                self.ring(connection)
            return destination

        return self.write(what, work)

    def paused(self) -> datetime | None:
        """Since when nothing new is announced; None if that is not so."""
        with self.asking() as connection:
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
