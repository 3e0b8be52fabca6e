"""What only PostgreSQL has: limits that keep a frozen replica from holding up the others, locks by
name, and a bell that rings at every replica.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from announcer.outbox.schema import schema

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

SESSION = {
    "synchronous_commit": "on",  # what we acknowledge is on disk, whatever the server's default
    "lock_timeout": "10s",
    # A replica that is frozen in the middle of a transaction lets go of its locks after this. Ours
    # ask nobody else in there, and take milliseconds.
    "idle_in_transaction_session_timeout": "5s",
}
REACH = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "announcer",
}
"""A server that went away without a word is noticed within half a minute."""
POOL = {"pool_size": 8, "max_overflow": 12, "pool_timeout": 10}
"""With the one that listens 21 connections: four replicas fit into the 100 of a default server."""
PASSING = frozenset({"40001", "40P01", "55P03", "25P03", "23505"})
"""A serialization failure, a deadlock, a lock that took too long, a transaction that was thrown out
because we stood still in it; and a unique key that another replica wrote just now: one post in
flight for each destination, one row for each event.
"""
BELL = "announcer"
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())"


def engine(address: sa.URL) -> sa.Engine:
    """One whose connections are looked at before they are used: the server may have restarted."""
    ours = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    theirs = address.query.get("options", "")
    options = f"{ours} {theirs if isinstance(theirs, str) else ' '.join(theirs)}".strip()
    for table in schema.tables.values():
        for index in table.indexes:
            # Not where it is written: to name PostgreSQL there loads all of its drivers' modules.
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
    reach: dict[str, Any] = {k: v for k, v in REACH.items() if k not in address.query}
    return sa.create_engine(
        address,
        isolation_level="READ COMMITTED",  # every statement sees what the lock before it waited for
        pool_pre_ping=True,
        connect_args={**reach, "options": options},
        **POOL,
    )


def insert(table: sa.Table) -> "postgresql.Insert":
    from sqlalchemy.dialects import postgresql  # 2 MB, for those who use it

    return postgresql.insert(table)


def passes(problem: sa.exc.DBAPIError) -> bool:
    """Whether the same transaction may do, made again: others were in its way, or the connection
    broke off, in which case nobody told us whether it was committed.
    """
    state = getattr(problem.orig, "sqlstate", None)
    return problem.connection_invalidated or state in PASSING


def lock(connection: sa.Connection, what: str) -> None:
    """From here to the end of the transaction, nobody else who asks for *what* goes on."""
    number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def wait_for_schema(connection: sa.Connection) -> None:
    """Until another replica has changed it, however long that takes."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
    lock(connection, "schema")


def ring(connection: sa.Connection, at: float | None) -> None:
    """Once this transaction is committed, every replica looks what is due: now, or *at* a time in
    epoch seconds.
    """
    said = "" if at is None else f"{at:.3f}"
    connection.execute(sa.select(sa.func.pg_notify(BELL, said)))


@dataclass(frozen=True, slots=True)
class Heard:
    """*ahead* are the seconds that our clock is before the database's. *at* is when there is
    something to look for, in epoch seconds; 0 if now.
    """

    ahead: float
    at: float = 0.0


def listen(engine: sa.Engine, patience: float) -> Iterator[Heard]:
    """On a connection of its own: yields when the bell rang, and after *patience* seconds in any
    case. Raises StorageError as soon as the connection does not hold.
    """
    failed = engine.dialect.loaded_dbapi.Error
    driver: Any = None
    try:
        borrowed = engine.raw_connection()
        driver = borrowed.driver_connection
        borrowed.detach()  # it never goes back to the others
        driver.rollback()
        driver.autocommit = True
        driver.execute(f"LISTEN {BELL}")
        looked, ahead, rang = float("-inf"), 0.0, [""]
        while True:
            if time.monotonic() - looked >= patience:
                asked = time.time()
                (there,) = driver.execute(_CLOCK).fetchone()
                ahead = (asked + time.time()) / 2 - float(there)
                looked = time.monotonic()
            # However often it rang, one look is enough.
            yield Heard(ahead, min(float(said or 0) for said in rang))
            rang = [one.payload for one in driver.notifies(timeout=patience, stop_after=1)] or [""]
    except failed as problem:  # the driver's own: SQLAlchemy is not asked here
        raise sa.exc.OperationalError(f"LISTEN {BELL}", None, problem) from problem
    finally:
        if driver:
            driver.close()
