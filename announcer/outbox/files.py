"""A SQLite file as a file: whether it can be used, how big it is, and a copy while it is in use."""

import errno
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from announcer.outbox.database import Database, Unusable, connect, needed

PATIENCE = 5.0
"""Seconds to look for damage at a start: 600 MB take 2 to 8 of them, and nobody hears Owncast
meanwhile. Whatever is not read by then is read by SQLite when it is needed.
"""
STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock."""
DAMAGED = (
    "the file is damaged ({}). It is left as it is: put a backup in its place (`announcer backup` "
    "makes them), or move it away to begin without history"
)


def file_of(url: str) -> Path | None:
    """The SQLite file that *url* names; None if it names none."""
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite" or address.database in (None, "", ":memory:"):
        return None
    return Path(address.database or "")


def inspect(url: str) -> bool:
    """Read a SQLite file, if it is there, and change nothing of it. False if the time did not
    suffice for all of it. Raises Unusable if it is damaged.
    """
    file = file_of(url)
    if file is None or not file.is_file():
        return True
    if not file.stat().st_size:
        beside = [Path(f"{file}{end}") for end in (".lock", "-wal")]
        if any(path.exists() for path in beside):
            raise Unusable(DAMAGED.format("empty, though a database was served from it"))
        return True
    try:
        with closing(_read_only(file)) as connection:
            return _sound(connection, PATIENCE)
    except sqlite3.DatabaseError as problem:
        if problem.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Unusable(DAMAGED.format(problem)) from None
        return True  # what else there is, its use will tell


def examine(url: str, *, reach: bool) -> None:
    """Whether the database could be used as it is, of which nothing is changed or made; a server is
    asked if *reach*. Raises StorageError, Unusable, OSError or ImportError if not.
    """
    file = file_of(url)
    if file is None:
        engine = connect(url)
        if reach:
            engine.connect().close()
        engine.dispose()
        return
    inspect(url)
    there = next(path for path in (file, *file.absolute().parents) if os.path.lexists(path))
    if there == file and file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if there != file and not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not all(os.access(path, os.W_OK) for path in {there, file.parent} if path.exists()):
        raise Unusable(needed(file, "it is not writable"))


def backup(url: str, target: Path, *, force: bool) -> int:
    """Copy the SQLite database to *target*, as it is at one moment, while others go on writing. How
    many bytes it has. Raises Unusable, sqlite3.Error or OSError; then *target* is as it was.
    """
    file = file_of(url)
    if file is None:
        raise Unusable("it is no SQLite file: use pg_dump, which copies PostgreSQL while it runs")
    if not file.is_file():
        raise Unusable(f"there is no {file} to copy")
    if target.exists() and (target.is_dir() or target.samefile(file)):
        raise Unusable(f"{target} can not be written over")
    if target.exists() and not force:
        raise Unusable(f"{target} is there already: --force writes over it")
    new = target.with_name(f".{target.name}.{os.getpid()}")
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(_read_only(file)) as source, closing(sqlite3.connect(new)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without companions
            _sound(copy, float("inf"))
        _to_disk(new)
        new.replace(target)
        _to_disk(target.parent)
    finally:
        for path in (new, Path(f"{new}-wal"), Path(f"{new}-shm"), Path(f"{new}-journal")):
            path.unlink(missing_ok=True)
    return target.stat().st_size


def _read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, timeout=10)


def _sound(connection: sqlite3.Connection, patience: float) -> bool:
    """Raises Unusable, or sqlite3.DatabaseError if it is damaged too much to be looked at."""
    until = time.monotonic() + patience
    connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as problem:
        if problem.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return False
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise Unusable(DAMAGED.format(" ".join(str(found).split())))
    return True


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Files(Database):
    """What the operator wants to know of the place that it takes."""

    def size(self) -> int:
        """Bytes on the disk; on PostgreSQL as it counts them."""
        if self.engine.dialect.name == "postgresql":
            with self.reading() as connection:
                return (
                    connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0
                )
        return _size(self._file()) + self.log_size()

    def log_size(self) -> int:
        """Bytes of what SQLite wrote ahead, which somebody who reads for long makes grow."""
        return _size(Path(f"{self._file()}-wal")) if self.engine.dialect.name == "sqlite" else 0

    def shrink_log(self) -> bool:
        """Write into the file what was written ahead, unless somebody is busy there right now."""
        with self.engine.connect() as connection:
            driver = connection.connection.driver_connection
            if not isinstance(driver, sqlite3.Connection):
                return True
            (patience,) = driver.execute("PRAGMA busy_timeout").fetchone()
            driver.execute("PRAGMA busy_timeout=0")  # writers would have to wait with us
            try:
                (busy, _, _) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                driver.execute(f"PRAGMA busy_timeout={patience}")
        return not busy

    def _file(self) -> Path:
        return Path(self.engine.url.database or "")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
