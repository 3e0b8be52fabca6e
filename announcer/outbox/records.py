"""Rows and what they mean: from the tables' columns to the words of judgement, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from announcer.network import Moment, Receipt
from announcer.outbox.database import insert
from announcer.policy import Breaker, Broadcast, Entry, Hush, State


@dataclass(frozen=True, slots=True)
class Claim:
    """A post that is ours for LEASE, with all that delivery must know of it. *content* is what an
    earlier try sent, frozen if that may be up; None if nothing was worded yet. *last* is the
    newest content sent to the destination, of whichever post. *closed* is the fingerprint of the
    credentials that the destination was closed with, and why. *left* is when the last try left.
    *live* is the post that told of the start, for one that tells of the end. *breaker* is what is
    held against the destination.
    """

    entry: Entry
    owner: str
    content: str | None
    receipt: Receipt | None
    left: datetime | None
    broadcast: Broadcast
    last: str | None
    closed: tuple[str, str] | None
    live: tuple[Entry, Receipt | None] | None
    breaker: Breaker | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a post, for history. *took* is in seconds."""

    at: datetime
    took: float
    step: str
    outcome: str
    reason: str

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Consequences:
    """What a try means beyond its post. *breaker* is what is held against the destination from now
    on; *closing* is the fingerprint of the credentials that it is closed with, and why; *alerts*
    are for the operator, each with its frozen words, and told only once.
    """

    breaker: Breaker | None = None
    closing: tuple[str, str] | None = None
    alerts: Sequence[tuple[Entry, str]] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A post as history shows it."""

    entry: Entry
    receipt: Receipt | None
    content: str | None
    tries: Sequence[Try]


@dataclass(frozen=True, slots=True)
class Sought:
    """What of history is looked for: *words* in a title or name, a post at *destination* or in
    *state*, what began *before* another broadcast, by id. What is empty is not looked at.
    """

    words: str = ""
    broadcast: str = ""
    destination: str = ""
    state: str = ""
    before: str = ""


def epoch(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def when(epoch: float | None) -> datetime | None:
    return None if epoch is None else sure(epoch)


def sure(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


NAMES: dict[type, tuple[str, ...]] = {
    record: tuple(field.name for field in fields(record)) for record in (Breaker, Broadcast, Entry)
}
"""Of fields, which are columns."""


def values_of(record: Breaker | Broadcast | Entry) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in NAMES[type(record)]}
    return {
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def breaker_of(row: sa.RowMapping | Mapping[str, Any]) -> Breaker:
    return Breaker(row["failures"], sure(row["since"]), sure(row["until"]), row["reason"])


def broadcast_of(row: sa.RowMapping) -> Broadcast:
    values = {name: row[name] for name in NAMES[Broadcast]}
    for name in ("began", "since", "seen", "stopped", "stamp", "connected", "title_stamp"):
        values[name] = when(values[name])
    return Broadcast(**values)


def entry_of(row: sa.RowMapping) -> Entry:
    values = {name: row[name] for name in NAMES[Entry]}
    for name in (
        "next_at",
        "until",
        "doubtful_since",
        "change_at",
        "change_until",
        "patient_until",
    ):
        values[name] = when(values[name])
    for name in ("wanted", "shown"):
        values[name] = values[name] and Moment(values[name])
    values |= {
        "moment": Moment(row["moment"]),
        "state": State(row["state"]),
        "hush": Hush(row["hush"]),
    }
    return Entry(**values)


def receipt_of(row: sa.RowMapping) -> Receipt | None:
    return Receipt(**json.loads(row["receipt"])) if row["receipt"] else None


def try_of(row: sa.RowMapping) -> Try:
    return Try(sure(row["at"]), row["took"], row["step"], row["outcome"], row["reason"])


def shown_of(row: sa.RowMapping, made: list[Try]) -> Shown:
    return Shown(entry_of(row), receipt_of(row), row["content"], made)


@lru_cache
def upsert(table: sa.Table, key: str, record: type, dialect: str) -> sa.Insert:
    """Insert a *record*, or change all of it but its *key*."""
    statement = insert(table, dialect)
    names = set(NAMES[record]) | ({"changed"} & set(table.c.keys()))
    changed = {name: statement.excluded[name] for name in names - {key}}
    return statement.on_conflict_do_update(index_elements=[key], set_=changed)
