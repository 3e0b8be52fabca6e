"""The database itself: SQLite (WAL, full sync, `BEGIN IMMEDIATE`) or PostgreSQL."""

import errno
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError

from announcer import crashpoints
from announcer.outbox import postgres, together
from announcer.outbox.postgres import Heard
from announcer.outbox.schema import duties, memory, posts
from announcer.outbox.together import NotBegun, Together, Work
from announcer.policy import State

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=10000",
    "foreign_keys=ON",
    "journal_size_limit=4194304",
)
"""SQLite: full sync, for in WAL `NORMAL` may lose what was acknowledged; wait 10 s for a writer;
what was written ahead takes 4 MB again once whoever read for long is done.
"""
PROOF = 20.0
"""Seconds between two probes that write, as long as all writing succeeds: it spares the disk."""
AGAIN = (0.0, 0.05, 0.2, 0.5)
"""Up to so many seconds, by chance, before a transaction is made again that others got in the way
of: on PostgreSQL, where several write at once.
"""
C = TypeVar("C")
T = TypeVar("T")

StorageError = SQLAlchemyError
"""The database could not do it: full, locked, read-only, away."""
BadAddress = sa.exc.ArgumentError
"""A StorageError, too: this can not be the address of a database."""


class Unusable(Exception):
    """The database can not be used as it is. str() says why and what helps."""


def connect(url: str) -> sa.Engine:
    """An engine for *url*. A SQLite file is made readable by its owner only: it holds what we
    know of accounts. Raises StorageError, Unusable or OSError if the place can not be used.
    """
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite":
        return postgres.engine(address)
    if not address.database or address.database == ":memory:":
        raise BadAddress("what is promised must survive the process")
    _claim_place(Path(address.database))
    engine = sa.create_engine(address, pool_size=8, max_overflow=40)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        # SQLite's own knows the letters of English only.
        connection.create_function("lower", 1, _lower, deterministic=True)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # The write lock at once: a read that turns into a write would fail half way with BUSY.
        reading = connection.get_execution_options().get("reading")
        if reading != "once":
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


def _claim_place(file: Path) -> None:
    """Make an empty file if there is none. SQLite needs to write beside it, too."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as problem:
        if problem.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise Unusable(needed(file, problem.strerror or "")) from None
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise Unusable(needed(file, "its folder is not writable"))


def needed(file: Path, why: str) -> str:
    """Who may write there, and who wants to."""
    found = [path for path in (file, *file.parents) if os.path.lexists(path)]
    whose = ""
    if found and os.access(found[0].parent, os.X_OK):
        about = found[0].stat()
        whose = f" ({found[0]} belongs to user {about.st_uid}, mode {about.st_mode & 0o777:03o})"
    return (
        f"{why}{whose}. User {os.geteuid()}, who runs this, must be able to write the file and its "
        "folder; no read-only file system will do"
    )


def insert(table: sa.Table, dialect: str) -> "sqlite.Insert | postgresql.Insert":
    """One that knows what to do about a row that is there already."""
    return postgres.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def alone(connection: sa.Connection) -> None:
    """Until the end of this transaction, nobody else changes the schema. On SQLite nobody writes
    beside a transaction anyway.
    """
    if connection.dialect.name == "postgresql":
        postgres.wait_for_schema(connection)


class Database:
    """Who else uses it, and how. Every method of a subclass is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(reading="all of it")
        self._asker = engine.execution_options(reading="once")
        if engine.dialect.name == "postgresql":
            self._asker = self._asker.execution_options(isolation_level="AUTOCOMMIT")
        # SQLite lets its writers sleep in turns that grow to 100 ms: here they queue instead.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None
        self._crowds: dict[str, Together[Any]] = {}
        self._proved = float("-inf")

    @property
    def replicated(self) -> bool:
        """Whether there may be others who do the same work."""
        return self._turn is None

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads, and waits for no writer."""
        return self._reader.begin()

    def asking(self) -> AbstractContextManager[sa.Connection]:
        """For a single statement that only reads: it needs no transaction around it."""
        return self._asker.connect()

    @contextmanager
    def writing(self, what: str = "something") -> Iterator[sa.Connection]:
        """A transaction that may write. Raises StorageError if its turn does not come in time.
        *what* names its crash points.
        """
        if self._turn and not self._turn.acquire(timeout=together.TURN):
            raise sa.exc.TimeoutError("the writers before this one took too long")
        try:
            with self.engine.begin() as connection:
                yield connection
                crashpoints.here("before commit", what)
            crashpoints.here("committed", what)
        except StorageError:
            self._proved = float("-inf")
            raise
        finally:
            if self._turn:
                self._turn.release()

    def write(self, name: str, work: Callable[[sa.Connection], T]) -> T:
        """What *work* gives, done in one transaction; done again from its beginning if that fails
        for a reason that passes. Then it may find what it stored itself: a connection that breaks
        off at the commit tells nobody whether it was one. Raises StorageError.
        """

        def begin() -> AbstractContextManager[sa.Connection]:
            return self.writing(name)

        def once() -> T:
            with begin() as connection:
                return work(connection)

        # PostgreSQL has room for many at once, and locks that two crowds could take crosswise.
        return self.shared(name, begin, work) if self._turn else self.again(once)

    def shared(
        self,
        crowd: str,
        begin: Callable[[], AbstractContextManager[C]],
        work: Callable[[C], T],
    ) -> T:
        """What *work* gives in a transaction that *begin* begins, as `write` says; all who come
        meanwhile for the same *crowd* share the next one.
        """
        if crowd not in self._crowds:
            self._crowds.setdefault(crowd, Together(partial(self._all, begin)))
        return self._crowds[crowd].do(work)

    def _all(
        self, begin: Callable[[], AbstractContextManager[C]], works: Sequence[Work[C]]
    ) -> Sequence[object]:
        begun = False

        def once() -> Sequence[object]:
            nonlocal begun
            begun = False
            with begin() as stored:
                begun = True
                return [work(stored) for work in works]

        try:
            return self.again(once)
        except StorageError as problem:
            if begun:
                raise
            raise NotBegun from problem

    def again(self, once: Callable[[], T]) -> T:
        """As `write`, for a transaction that *once* makes."""
        for wait in AGAIN:
            try:
                return once()
            except sa.exc.DBAPIError as problem:
                if self._turn or not postgres.passes(problem):
                    raise
            time.sleep(wait * random.random())  # noqa: S311  # jitter, no secret
        return once()

    def ring(self, connection: sa.Connection, at: float | None = None) -> None:
        """There is something due, or will be *at* a time in epoch seconds: every replica learns
        when this is committed. On SQLite there is one process, which knows.
        """
        if connection.dialect.name == "postgresql":
            postgres.ring(connection, at)

    def listen(self, patience: float) -> Iterator[Heard] | None:
        """See `postgres.listen`; None where nobody else rings."""
        return postgres.listen(self.engine, patience) if self._turn is None else None

    def enlist(self) -> None:
        """Serve this SQLite file from now on, until the process ends, however that happens. If
        nobody else does, every lease and every duty ends at once: its holder is dead. On PostgreSQL
        only time tells.
        """
        file = self.engine.url.database
        if self.engine.dialect.name != "sqlite" or not file or file == ":memory:":
            return
        lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._release_all()
        except BlockingIOError:
            pass  # somebody serves it, so a lease may be in good hands
        # Shared by all who serve it, so that whoever starts next sees every one of them. It stays
        # open: the system ends it with the process.
        fcntl.flock(lock, fcntl.LOCK_SH)

    def _release_all(self) -> None:
        with self.writing("release") as connection:
            connection.execute(
                sa.update(posts).where(posts.c.state == State.SENDING).values(lease_until=0)
            )
            connection.execute(sa.delete(duties))

    def prove_writable(self) -> None:
        """Raises StorageError if nothing can be stored now. After a failure, and now and then, it
        does store something: a disk can be full though its database is not locked.
        """
        values = {"value": f"{time.time_ns()}"}  # what is the same as before is not written
        proof = insert(memory, self.engine.dialect.name)
        proof = proof.values(destination="", name="proof", **values)
        with self.writing("proof") as connection:
            if time.monotonic() - self._proved < PROOF:
                connection.execute(sa.update(memory).where(sa.false()).values(value=""))
                return
            key = ["destination", "name"]
            connection.execute(proof.on_conflict_do_update(index_elements=key, set_=values))
        self._proved = time.monotonic()
