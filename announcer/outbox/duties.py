"""What one of several replicas does for all of them: watch, and throwing away what is old."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from announcer.outbox.database import Database, insert
from announcer.outbox.schema import duties


class Duties(Database):
    """Who does what. A duty is somebody's for a time, and then whoever's asks first."""

    def hold(self, duty: str, owner: str, now: datetime, lasts: timedelta) -> bool:
        """Whether *duty* is *owner*'s: it was, or it was nobody's any more and is from now on.

        It is for *lasts*, counted anew with every question: ask at least twice as often. Ask again
        before what was found out is stored, for who asked may have been frozen meanwhile.
        """
        holder = sa.select(duties.c.owner, duties.c.until).where(duties.c.name == duty)
        with self.asking() as connection:
            found = connection.execute(holder).one_or_none()
        at = now.timestamp()
        if found and found.until > at:
            if found.owner != owner:
                return False
            if found.until > at + lasts.total_seconds() / 2:
                return True  # a question costs no write, most of the time
        values = {"owner": owner, "until": (now + lasts).timestamp()}
        mine = sa.or_(duties.c.owner == owner, duties.c.until <= at)
        statement = (
            insert(duties, self.engine.dialect.name)
            .values(name=duty, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values, where=mine)
            .returning(duties.c.owner)
        )
        return self.write("duty", lambda connection: connection.scalar(statement)) is not None

    def give_back(self, owner: str) -> None:
        """Every duty of *owner*, which stops: nobody need wait for the end of its time."""
        gone = sa.delete(duties).where(duties.c.owner == owner)
        self.write("duty", lambda connection: connection.execute(gone))
