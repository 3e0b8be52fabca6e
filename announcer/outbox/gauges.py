"""How full the outbox is, for those who watch over us: asked often, so of what is open only."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from announcer.outbox.database import Database
from announcer.outbox.records import when
from announcer.outbox.schema import breakers, posts
from announcer.policy import State


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many posts are *due* now, *waiting* for their time, *sending*, and may be up (*unsure*).
    *oldest* is since when the first has been due that nothing keeps waiting; None if none is.
    """

    due: int
    waiting: int
    sending: int
    unsure: int
    oldest: datetime | None


class Gauges(Database):
    """Each question has a small index of its own, however long the history."""

    def under_way(self, now: datetime) -> UnderWay:
        at = now.timestamp()
        is_due = sa.and_(posts.c.state == State.DUE, posts.c.next_at <= at)
        later = sa.and_(posts.c.state == State.DUE, posts.c.next_at > at)
        held = sa.select(breakers.c.destination).where(breakers.c.until > at)
        oldest = sa.select(sa.func.min(posts.c.next_at)).where(
            is_due, posts.c.destination.not_in(held)
        )
        counts = (
            sa.select(sa.func.count()).where(which)
            for which in (
                is_due,
                later,
                posts.c.state == State.SENDING,
                posts.c.state == State.UNSURE,
            )
        )
        with self.reading() as connection:
            due, waiting, sending, unsure, first = connection.execute(
                sa.select(*(query.scalar_subquery() for query in (*counts, oldest)))
            ).one()
        return UnderWay(due, waiting, sending, unsure, when(first))
