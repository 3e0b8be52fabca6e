"""Why the database could not do it, for who has to mend it: for the log, the pages and health.

In words of ours. Its own quote addresses and statements, and the name of a class says as much of a
full disk as of a lock. Sources: SQLite, Result and Error Codes; PostgreSQL, Error Codes.
"""

import sqlite3

import sqlalchemy as sa

from announcer.outbox.database import StorageError

FULL = "the disk is full: make room, and it goes on by itself"
BUSY = "another process keeps it locked for too long"
READ_ONLY = "it can not be written to: its disk is read-only, or the file is not ours"
DAMAGED = "the file is damaged: stop, and put a backup in its place"
DISK = "its disk can not be read or written: look at the system's log"
CLOSED = "the file can not be opened: is it still there, and ours?"
AWAY = "no connection to it: it is asked again until there is one"
SLOW = "it was too busy to take this in time"

SQLITE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_IOERR: DISK,
    sqlite3.SQLITE_CANTOPEN: CLOSED,
}
POSTGRES = {
    "53100": FULL,
    "55P03": BUSY,
    "40P01": BUSY,
    "57014": SLOW,
    "25006": "it can not be written to: it is a standby, or set to be read only",
    "42501": "our user lacks a right on a table of ours",
    "53300": "it takes no more connections: raise max_connections, or run fewer replicas",
    "28P01": "it does not take our password",
    "28000": "it does not take our user",
    "3D000": "there is no database of that name",
    "58030": DISK,
    "XX001": DAMAGED,
}


def cause_of(problem: StorageError) -> str:
    """Follows *the database*; what is not known is the name of its class."""
    if isinstance(problem, sa.exc.TimeoutError):
        return SLOW
    cause = getattr(problem, "orig", None)
    if isinstance(cause, sqlite3.Error):
        found = SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    else:
        found = POSTGRES.get(getattr(cause, "sqlstate", None) or "")
        if found is None and isinstance(problem, sa.exc.OperationalError | sa.exc.InterfaceError):
            found = AWAY  # the server says why it does not; who does not reach it gets no code
    return found or type(problem).__name__
