"""The durable middle: events, broadcasts, posts and what became of them. All SQL of the project.

SQLite (WAL, full sync, `BEGIN IMMEDIATE`) or PostgreSQL, through SQLAlchemy Core. Times are epoch
seconds: SQLite gives no time zone back. The schema is made by `announcer/migrations`.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from announcer.events import Event, Kind
from announcer.network import Moment, Picture, Receipt
from announcer.policy import REORDERED, Broadcast, Entry, Hush, Past, State

HEAD = "0001"
"""The schema that this code needs: the newest file in `announcer/migrations/versions`."""
LEASE = timedelta(minutes=5)
"""How long a try may be on its way: more than all time limits of one try together."""
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON")
"""SQLite: full sync, for in WAL `NORMAL` may lose what was acknowledged; wait 10 s for a writer."""
TURN = 10.0
"""Seconds to wait for writers of this process, too: or a lock that lasts would hold up the crowd
before it one after another, each for 10 s, and every thread of the server with them.
"""

StorageError = SQLAlchemyError
"""The database could not do it: full, locked, read-only, away."""
BadAddress = sa.exc.ArgumentError
"""A StorageError, too: this can not be the address of a database."""

schema = sa.MetaData()
events = sa.Table(
    "events",
    schema,
    sa.Column("channel", sa.String(100), primary_key=True),
    sa.Column("id", sa.String(100), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("stamp", sa.Double),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("broadcast", sa.String(60)),
    sa.Index("events_by_time", "channel", "kind", "at"),
)
broadcasts = sa.Table(
    "broadcasts",
    schema,
    sa.Column("id", sa.String(60), primary_key=True),
    sa.Column("channel", sa.String(100), nullable=False),
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
    sa.Column("stopped", sa.Double),
    sa.Column("stamp", sa.Double),
    sa.Column("connected", sa.Double),
    sa.Column("title_stamp", sa.Double),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("peak_viewers", sa.Integer),
    sa.Index("broadcasts_by_time", "channel", "began"),
)
posts = sa.Table(
    "posts",
    schema,
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("broadcast", sa.String(60), sa.ForeignKey("broadcasts.id"), nullable=False),
    sa.Column("channel", sa.String(100), nullable=False),
    sa.Column("moment", sa.String(20), nullable=False),
    sa.Column("destination", sa.String(100), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("wanted", sa.String(20)),
    sa.Column("shown", sa.String(20)),
    sa.Column("next_at", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("doubtful_since", sa.Double),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("edition", sa.Integer, nullable=False),
    sa.Column("change_at", sa.Double),
    sa.Column("change_until", sa.Double),
    sa.Column("patient_until", sa.Double),
    sa.Column("hush", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("content", sa.Text),
    sa.Column("receipt", sa.Text),
    sa.Column("owner", sa.String(60)),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("left_at", sa.Double),
    sa.Column("changed", sa.Double, nullable=False),
    sa.Index("posts_by_broadcast", "broadcast"),
    sa.Index("posts_by_destination", "destination", "changed"),
    # Small, however long the history: only what is under way.
    sa.Index(
        "posts_due",
        "next_at",
        sqlite_where=sa.text("state = 'due'"),
        postgresql_where=sa.text("state = 'due'"),
    ),
    # One in flight for each destination, whoever claims.
    sa.Index(
        "posts_in_flight",
        "destination",
        unique=True,
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    ),
)
pictures = sa.Table(
    "pictures",
    schema,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Each once, however many posts show it. *at* is when one last left with it."""
tries = sa.Table(
    "tries",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("post", sa.String(250), sa.ForeignKey("posts.key"), nullable=False),
    sa.Column("destination", sa.String(100), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("took", sa.Double, nullable=False),
    sa.Column("step", sa.String(40), nullable=False),
    sa.Column("outcome", sa.String(40), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("tries_by_post", "post"),
    sa.Index("tries_by_destination", "destination", "at"),
)
closed = sa.Table(
    "closed",
    schema,
    sa.Column("destination", sa.String(100), primary_key=True),
    sa.Column("credentials", sa.String(64), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
memory = sa.Table(
    "memory",
    schema,
    sa.Column("destination", sa.String(100), primary_key=True),
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
switches = sa.Table(
    "switches",
    schema,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("since", sa.Double, nullable=False),
)
"""What the operator switched on; a row that is not there is off."""
PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Claim:
    """A post that is ours for LEASE, with all that delivery must know of it. *content* is what an
    earlier try sent, frozen if that may be up; None if nothing was worded yet. *last* is the
    newest content sent to the destination, of whichever post. *closed* is the fingerprint of the
    credentials that the destination was closed with, and why. *left* is when the last try left.
    *live* is the post that told of the start, for one that tells of the end.
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


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a post, for history. *took* is in seconds."""

    at: datetime
    took: float
    step: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A post as history shows it."""

    entry: Entry
    receipt: Receipt | None
    content: str | None
    tries: Sequence[Try]


def connect(url: str) -> sa.Engine:
    """An engine for *url*. A SQLite file is made readable by its owner only: it holds what we
    know of accounts. Raises StorageError or OSError if the place can not be used.
    """
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite":
        return sa.create_engine(address, pool_pre_ping=True, pool_size=8, max_overflow=40)
    if not address.database or address.database == ":memory:":
        raise BadAddress("what is promised must survive the process")
    Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(address.database, os.O_RDWR | os.O_CREAT, 0o600))
    engine = sa.create_engine(address, pool_size=8, max_overflow=40)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # The write lock at once: a read that turns into a write would fail half way with BUSY.
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


class Outbox:
    """The one door to the database. Every method is one transaction, but for `transaction`."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(reading=True)
        # SQLite lets its writers sleep in turns that grow to 100 ms: here they queue instead.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads, and waits for no writer."""
        return self._reader.begin()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that may write. Raises StorageError if its turn does not come in time."""
        if self._turn and not self._turn.acquire(timeout=TURN):
            raise sa.exc.TimeoutError("the writers before this one took too long")
        try:
            with self.engine.begin() as connection:
                yield connection
        finally:
            if self._turn:
                self._turn.release()

    def enlist(self) -> None:
        """Serve this SQLite file from now on, until the process ends, however that happens. If
        nobody else does, every lease ends at once: its holder is dead. On PostgreSQL only time
        tells.
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

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Everything inside is stored together, on disk, or not at all."""
        with self.writing() as connection:
            yield Transaction(connection)

    def prove_writable(self) -> None:
        """Raises StorageError if nothing can be stored now."""
        with self.writing() as connection:
            connection.execute(sa.update(memory).where(sa.false()).values(value=""))

    def claim(self, owner: str, now: datetime, limit: int) -> list[Claim]:
        """Posts that are due, at most one for each destination, and none where one is on its way.
        A badge lets every post go first.

        They are `sending` from now on, and ours for LEASE.
        """
        due, other = posts.alias("due"), posts.alias("other")
        sending = sa.select(posts.c.destination).where(posts.c.state == State.SENDING)
        earlier = sa.select(other.c.key).where(
            other.c.state == State.DUE,
            other.c.next_at <= now.timestamp(),
            other.c.destination == due.c.destination,
            _turn(other) < _turn(due),
        )
        first = (
            sa.select(due.c.key)
            .where(due.c.state == State.DUE, due.c.next_at <= now.timestamp())
            .where(due.c.destination.not_in(sending), ~earlier.exists())
            .order_by(due.c.next_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("first")
        )
        statement = (
            sa.update(posts)
            .where(posts.c.key.in_(sa.select(first.c.key)))
            .values(
                state=State.SENDING,
                owner=owner,
                lease_until=(now + LEASE).timestamp(),
                left_at=None,
                tries=posts.c.tries + 1,
            )
            .returning(posts)
        )
        with self.writing() as connection:
            return _claims(connection, connection.execute(statement).mappings().all())

    def abandoned(self, owner: str, now: datetime) -> list[Claim]:
        """Posts whose lease ran out, now claimed by *owner*."""
        late = sa.and_(posts.c.state == State.SENDING, posts.c.lease_until < now.timestamp())
        statement = (
            sa.update(posts)
            .where(late)
            .values(owner=owner, lease_until=(now + LEASE).timestamp())
            .returning(posts)
        )
        with self.reading() as connection:
            if connection.execute(sa.select(posts.c.key).where(late).limit(1)).first() is None:
                return []
        with self.writing() as connection:
            return _claims(connection, connection.execute(statement).mappings().all())

    def _release_all(self) -> None:
        with self.writing() as connection:
            connection.execute(
                sa.update(posts).where(posts.c.state == State.SENDING).values(lease_until=0)
            )

    def freeze(
        self, claim: Claim, content: str | None, left: datetime, picture: Picture | None = None
    ) -> bool:
        """Store what is about to leave; None keeps what is stored, for a change that is harmless
        to repeat. False if the post is no longer ours: send nothing then.
        """
        if picture:
            self._keep(picture, left)
        values: dict[str, Any] = {
            "left_at": left.timestamp(),
            "lease_until": (left + LEASE).timestamp(),
        }
        if content is not None:
            values["content"] = content
        return self._update_ours(claim, values)

    def _keep(self, picture: Picture, now: datetime) -> None:
        """Before the post that needs it, in a transaction of its own: it may go to waste."""
        at = now.timestamp()
        insert = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        values = {"at": at, "width": picture.width, "height": picture.height, "data": picture.data}
        statement: sqlite.Insert | postgresql.Insert = insert(pictures)
        statement = statement.values(digest=picture.digest, **values)
        with self.writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["digest"], set_={"at": at})
            )

    def picture(self, digest: str) -> Picture | None:
        """As it was stored, without its description; None if it is not there any more."""
        query = sa.select(pictures).where(pictures.c.digest == digest)
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        return Picture(row.data, row.width, row.height) if row else None

    def store(
        self,
        claim: Claim,
        entry: Entry,
        now: datetime,
        what: Try | None,
        receipt: Receipt | None,
        content: str | None = None,
        badge: Entry | None = None,
    ) -> bool:
        """What became of a claimed post. False if it is no longer ours, and nothing was stored.

        *what* is None if nothing was tried. What is wanted of the post stays as it is: intake may
        have changed that meanwhile. If it left a `change_at`, the post is due then as soon as it
        is settled. *badge* is put beside it, if there is none and the stream is still live.
        """
        values: dict[str, Any] = {
            "state": entry.state,
            "shown": entry.shown,
            "next_at": entry.next_at.timestamp(),
            "tries": entry.tries,
            "doubtful_since": _epoch(entry.doubtful_since),
            "generation": entry.generation,
            "patient_until": _epoch(entry.patient_until),
            "hush": entry.hush,
            "reason": entry.reason,
            "owner": None,
            "lease_until": 0,
            "changed": now.timestamp(),
        }
        if entry.moment is Moment.AGAIN:  # the next round of it
            values |= {"edition": entry.edition, "until": entry.until.timestamp()}
        if receipt:
            values["receipt"] = json.dumps(
                {"id": receipt.id, "url": receipt.url, "extra": dict(receipt.extra)}
            )
        if content is not None:
            values["content"] = content
        if entry.moment is Moment.BADGE and entry.state is State.SETTLED:
            values["change_at"] = _epoch(entry.change_at)
        return self._update_ours(claim, values, what, badge)

    def _update_ours(
        self,
        claim: Claim,
        values: Mapping[str, Any],
        what: Try | None = None,
        badge: Entry | None = None,
    ) -> bool:
        ours = {"our_key": claim.entry.key, "our_owner": claim.owner}
        new = {f"new_{name}": value for name, value in values.items()}
        with self.writing() as connection:
            # The broadcast before its posts, as intake locks them.
            stopped = badge and connection.execute(_STOPPED_AT, {"id": badge.broadcast}).scalar()
            changed = connection.execute(_change_ours(frozenset(values)), ours | new)
            stored = changed.rowcount == 1
            if stored and badge:
                _put_badge(connection, badge, over=stopped is not None, now=values["changed"])
            if stored and values.get("hush") is Hush.TITLE:
                _judge_again(connection, claim)
            if stored and what:
                made = {
                    "post": claim.entry.key,
                    "destination": claim.entry.destination,
                    "at": what.at.timestamp(),
                    "took": what.took,
                    "step": what.step,
                    "outcome": what.outcome,
                    "reason": what.reason,
                }
                connection.execute(_ADD_TRY, made)
        return stored

    def past(self, channel: str) -> Past:
        """What is known of a channel, for who only looks: to decide, ask within a transaction."""
        with self.reading() as connection:
            return Transaction(connection).past(channel)

    def announced(self, broadcast: str) -> list[tuple[Entry, Receipt | None]]:
        """Every post that tells of its start, up or not, in the order of their keys."""
        query = sa.select(posts).where(
            posts.c.broadcast == broadcast, posts.c.moment == Moment.LIVE
        )
        with self.reading() as connection:
            rows = connection.execute(query.order_by(posts.c.key)).mappings().all()
        return [(_entry(row), _receipt(row)) for row in rows]

    def sighted(self, broadcast: str, now: datetime, viewers: int | None) -> None:
        """It was live *now*, seen by so many. Changes nothing of one that has stopped."""
        peak = sa.func.coalesce(broadcasts.c.peak_viewers, 0)
        statement = (
            sa.update(broadcasts)
            .where(broadcasts.c.id == broadcast, broadcasts.c.stopped.is_(None))
            .where(broadcasts.c.seen < now.timestamp())
            .values(
                seen=now.timestamp(),
                peak_viewers=sa.case(
                    (peak < (viewers or 0), viewers), else_=broadcasts.c.peak_viewers
                ),
            )
        )
        with self.writing() as connection:
            connection.execute(statement)

    def next_due(self) -> datetime | None:
        """When the next post can be claimed, or the next lease ends; None if nothing waits."""
        sending = sa.select(posts.c.destination).where(posts.c.state == State.SENDING)
        due = sa.select(sa.func.min(posts.c.next_at)).where(
            posts.c.state == State.DUE, posts.c.destination.not_in(sending)
        )
        lease = sa.select(sa.func.min(posts.c.lease_until)).where(posts.c.state == State.SENDING)
        with self.reading() as connection:
            found = [connection.scalar(due), connection.scalar(lease)]
        times = [time for time in found if time is not None]
        return _when(min(times)) if times else None

    def published_since(self, destination: str, since: datetime) -> int:
        """How many tries to publish there are on record."""
        query = sa.select(sa.func.count()).where(
            tries.c.destination == destination,
            tries.c.at >= since.timestamp(),
            tries.c.step == "publish",
        )
        with self.reading() as connection:
            return connection.scalar(query) or 0

    def close(self, destination: str, credentials: str, reason: str, now: datetime) -> None:
        """Send nothing there until its *credentials* (a fingerprint) change."""
        with self.writing() as connection:
            connection.execute(sa.delete(closed).where(closed.c.destination == destination))
            connection.execute(
                sa.insert(closed).values(
                    destination=destination,
                    credentials=credentials,
                    at=now.timestamp(),
                    reason=reason,
                )
            )

    def reopen(self, destination: str) -> None:
        with self.writing() as connection:
            connection.execute(sa.delete(closed).where(closed.c.destination == destination))

    def closed(self) -> dict[str, tuple[str, str]]:
        """Closed destinations: the fingerprint of their credentials, and why."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(closed)).mappings()
            return {row["destination"]: (row["credentials"], row["reason"]) for row in rows}

    def retry(self, key: str, now: datetime, until: datetime) -> Entry | None:
        """Make a post that is not up due again, by the operator's word. None if there is none such.

        What may be up is no longer doubted: the operator has looked. But nobody is told that a
        stream is live that is over.
        """
        stuck = (State.FAILED, State.UNSURE, State.WITHDRAWN)
        live = sa.select(broadcasts.c.id).where(
            broadcasts.c.id == posts.c.broadcast, broadcasts.c.stopped.is_(None)
        )
        true = sa.or_(posts.c.moment == Moment.ENDED, posts.c.shown.is_not(None), live.exists())
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
                generation=posts.c.generation + 1,
                hush=Hush.OVERRULED,
                reason="tried again by hand",
                changed=now.timestamp(),
            )
            .returning(posts)
        )
        with self.writing() as connection:
            row = connection.execute(statement).mappings().one_or_none()
            return _entry(row) if row else None

    def paused(self) -> datetime | None:
        """Since when nothing new is announced; None if that is not so."""
        with self.reading() as connection:
            return _when(connection.scalar(_SWITCH, {"name": PAUSE}))

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
        with self.writing() as connection:
            if connection.scalar(_SWITCH, {"name": PAUSE}) is None:
                connection.execute(sa.insert(switches).values(name=PAUSE, since=now.timestamp()))
            held = sa.update(posts).where(waiting).values(**withdrawn, changed=now.timestamp())
            return sorted(connection.scalars(held.returning(posts.c.key)))

    def resume(self) -> bool:
        """Announce again. False if that was not paused."""
        with self.writing() as connection:
            gone = sa.delete(switches).where(switches.c.name == PAUSE).returning(switches.c.name)
            return connection.scalar(gone) is not None

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
        with self.writing() as connection:
            return sorted(connection.scalars(statement))

    def history(self, limit: int) -> list[tuple[Broadcast, list[Shown]]]:
        """The newest broadcasts, each with its posts and their tries."""
        newest = sa.select(broadcasts).order_by(broadcasts.c.began.desc()).limit(limit)
        with self.reading() as connection:
            shows = [_broadcast(row) for row in connection.execute(newest).mappings()]
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
                    Try(_sure(row["at"]), row["took"], row["step"], row["outcome"], row["reason"])
                )
        by_show: dict[str, list[Shown]] = {}
        for row in told:
            by_show.setdefault(row["broadcast"], []).append(_shown(row, of.get(row["key"], [])))
        return [(show, by_show.get(show.id, [])) for show in shows]


# Built once: to build a statement takes SQLAlchemy longer than SQLite takes to run it, and these
# stand between Owncast and its answer.
_KNOWN = sa.select(events.c.id).where(
    events.c.channel == sa.bindparam("channel"), events.c.id == sa.bindparam("id")
)
_NEWEST = (
    sa.select(broadcasts)
    .where(broadcasts.c.channel == sa.bindparam("channel"))
    .order_by(broadcasts.c.began.desc())
    .limit(1)
    .with_for_update()
)
_STOPPED = sa.and_(events.c.channel == sa.bindparam("channel"), events.c.kind == Kind.STOPPED)
_LAST_STOP = (
    sa.select(events.c.stamp, events.c.at)
    .where(
        _STOPPED,
        events.c.at
        >= sa.select(sa.func.max(events.c.at)).where(_STOPPED).scalar_subquery()
        - REORDERED.total_seconds(),
    )
    .order_by(events.c.stamp.desc().nulls_last(), events.c.at.desc())
    .limit(1)
)
_ENTRIES = sa.select(posts).where(posts.c.broadcast == sa.bindparam("id")).with_for_update()
_STOPPED_AT = (
    sa.select(broadcasts.c.stopped).where(broadcasts.c.id == sa.bindparam("id")).with_for_update()
)
_SWITCH = sa.select(switches.c.since).where(switches.c.name == sa.bindparam("name"))
_ADD = sa.insert(events)
_ADD_TRY = sa.insert(tries)


@lru_cache
def _change_ours(names: frozenset[str]) -> sa.Update:
    """Change these columns of a post that is still `our_owner`'s."""
    new: dict[str, Any] = {
        name: sa.bindparam(f"new_{name}", type_=posts.c[name].type) for name in names
    }
    if "state" in names:
        # Intake's, which came meanwhile, before one that we bring.
        at = sa.func.coalesce(posts.c.change_at, new.get("change_at", sa.null()))
        # One that was refused is no reason to keep to what is not true any more.
        refused = sa.and_(
            new["state"] == State.FAILED, new["shown"].is_not(None), posts.c.moment == Moment.LIVE
        )
        done = sa.or_(new["state"] == State.SETTLED, refused)
        changes = sa.and_(done, at.is_not(None))
        new["state"], new["next_at"], new["change_at"] = (
            sa.case((changes, State.DUE), else_=new["state"]),
            sa.case((changes, at), else_=new["next_at"]),
            sa.case((done, None), else_=posts.c.change_at),
        )
    return (
        sa.update(posts)
        .where(
            posts.c.key == sa.bindparam("our_key"),
            posts.c.owner == sa.bindparam("our_owner"),
            posts.c.state == State.SENDING,
        )
        .values(new)
    )


@lru_cache
def _upsert(table: sa.Table, key: str, record: type, dialect: str) -> sa.Insert:
    """Insert a *record*, or change all of it but its *key*."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: sqlite.Insert | postgresql.Insert = insert(table)
    names = {field.name for field in fields(record)} | ({"changed"} & set(table.c.keys()))
    changed = {name: statement.excluded[name] for name in names - {key}}
    return statement.on_conflict_do_update(index_elements=[key], set_=changed)


class Transaction:
    """What intake does in one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def knows(self, event: Event) -> bool:
        same = {"channel": event.channel, "id": event.id}
        return self._connection.execute(_KNOWN, same).first() is not None

    def past(self, channel: str) -> Past:
        row = self._connection.execute(_NEWEST, {"channel": channel}).mappings().one_or_none()
        stop = self._connection.execute(_LAST_STOP, {"channel": channel}).one_or_none()
        return Past(
            _broadcast(row) if row else None,
            _when(stop.stamp) if stop else None,
            _when(stop.at) if stop else None,
        )

    def add(self, event: Event, because: str, broadcast: str | None) -> None:
        values = {
            "channel": event.channel,
            "id": event.id,
            "kind": event.kind,
            "at": event.at.timestamp(),
            "stamp": _epoch(event.stamp),
            "title": event.title,
            "because": because,
            "broadcast": broadcast,
        }
        self._connection.execute(_ADD, values)

    def put_broadcast(self, broadcast: Broadcast) -> None:
        """A new one, or what changed of a known one."""
        upsert = _upsert(broadcasts, "id", Broadcast, self._connection.dialect.name)
        self._connection.execute(upsert, _values(broadcast))

    def paused(self) -> bool:
        return self._connection.scalar(_SWITCH, {"name": PAUSE}) is not None

    def entries(self, broadcast: str) -> list[Entry]:
        rows = self._connection.execute(_ENTRIES, {"id": broadcast}).mappings()
        return [_entry(row) for row in rows]

    def put_entries(self, entries: Sequence[Entry], now: datetime) -> None:
        """New posts, or what changed of known ones."""
        if entries:
            upsert = _upsert(posts, "key", Entry, self._connection.dialect.name)
            more = {"changed": now.timestamp(), "lease_until": 0}
            self._connection.execute(upsert, [_values(entry) | more for entry in entries])


class DestinationMemory:
    """The Memory of one destination, kept in the database."""

    def __init__(self, outbox: Outbox, destination: str) -> None:
        self._outbox, self._destination = outbox, destination

    def get(self, name: str) -> str | None:
        query = sa.select(memory.c.value).where(
            memory.c.destination == self._destination, memory.c.name == name
        )
        with self._outbox.reading() as connection:
            return connection.scalar(query)

    def put(self, name: str, value: str) -> None:
        mine = sa.and_(memory.c.destination == self._destination, memory.c.name == name)
        with self._outbox.writing() as connection:
            connection.execute(sa.delete(memory).where(mine))
            connection.execute(
                sa.insert(memory).values(destination=self._destination, name=name, value=value)
            )


def _turn(post: sa.FromClause) -> sa.Tuple:
    """What the posts of a destination are ordered by."""
    last = sa.case((post.c.moment == Moment.BADGE, 1), else_=0)
    return sa.tuple_(last, post.c.next_at, post.c.key)


def _put_badge(connection: sa.Connection, badge: Entry, *, over: bool, now: float) -> None:
    """A new one, or one that was off and is due again; not if it is *over* by now, nor where a
    person took it away.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement: sqlite.Insert | postgresql.Insert = insert(posts)
    if over:
        reason = "the stream stopped before it was set"
        badge = replace(badge, state=State.WITHDRAWN, wanted=None, reason=reason)
        statement = statement.on_conflict_do_nothing(index_elements=["key"])
    else:
        names = ("state", "wanted", "next_at", "until", "tries", "change_at", "reason", "changed")
        statement = statement.on_conflict_do_update(
            index_elements=["key"],
            set_={name: statement.excluded[name] for name in names},
            where=posts.c.state.not_in((State.SENDING, State.GONE)),
        )
    connection.execute(statement, _values(badge) | {"changed": now, "lease_until": 0})


def _epoch(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _when(epoch: float | None) -> datetime | None:
    return None if epoch is None else _sure(epoch)


def _sure(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def _values(record: Broadcast | Entry) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _broadcast(row: sa.RowMapping) -> Broadcast:
    values = {field.name: row[field.name] for field in fields(Broadcast)}
    for name in ("began", "since", "seen", "stopped", "stamp", "connected", "title_stamp"):
        values[name] = _when(values[name])
    return Broadcast(**values)


def _entry(row: sa.RowMapping) -> Entry:
    values = {field.name: row[field.name] for field in fields(Entry)}
    for name in (
        "next_at",
        "until",
        "doubtful_since",
        "change_at",
        "change_until",
        "patient_until",
    ):
        values[name] = _when(values[name])
    for name in ("wanted", "shown"):
        values[name] = values[name] and Moment(values[name])
    values |= {
        "moment": Moment(row["moment"]),
        "state": State(row["state"]),
        "hush": Hush(row["hush"]),
    }
    return Entry(**values)


def _receipt(row: sa.RowMapping) -> Receipt | None:
    return Receipt(**json.loads(row["receipt"])) if row["receipt"] else None


def _claims(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[Claim]:
    """With everything else that delivery needs, in three questions however many they are."""
    if not rows:
        return []
    names = {row["destination"] for row in rows}
    shows = connection.execute(
        sa.select(broadcasts).where(broadcasts.c.id.in_({row["broadcast"] for row in rows}))
    ).mappings()
    show_of = {show["id"]: _broadcast(show) for show in shows}
    shut = connection.execute(sa.select(closed).where(closed.c.destination.in_(names))).mappings()
    closed_of = {row["destination"]: (row["credentials"], row["reason"]) for row in shut}
    older = posts.alias("older")
    newest = (
        sa.select(older.c.content)
        .where(older.c.destination == posts.c.destination, older.c.content.is_not(None))
        .order_by(older.c.changed.desc())
        .limit(1)
        .scalar_subquery()
    )
    keys = [row["key"] for row in rows]
    said = connection.execute(
        sa.select(posts.c.destination, newest.label("content")).where(posts.c.key.in_(keys))
    ).mappings()
    last_of = {row["destination"]: row["content"] for row in said}
    starts = sa.select(posts).where(
        posts.c.moment == Moment.LIVE,
        posts.c.broadcast.in_({row["broadcast"] for row in rows if row["moment"] != Moment.LIVE}),
    )
    start_of = {
        (row["broadcast"], row["destination"]): (_entry(row), _receipt(row))
        for row in connection.execute(starts).mappings()
    }
    return [
        Claim(
            _entry(row),
            row["owner"],
            row["content"],
            _receipt(row),
            _when(row["left_at"]),
            show_of[row["broadcast"]],
            last_of[row["destination"]],
            closed_of.get(row["destination"]),
            start_of.get((row["broadcast"], row["destination"])),
        )
        for row in rows
    ]


def _judge_again(connection: sa.Connection, claim: Claim) -> None:
    """A post that was held back for a title which is no longer the stream's is due: intake could
    not free it, since it was on its way.
    """
    title = sa.select(broadcasts.c.title).where(broadcasts.c.id == claim.broadcast.id)
    if connection.scalar(title) != claim.broadcast.title:
        held = sa.and_(posts.c.key == claim.entry.key, posts.c.state == State.WITHDRAWN)
        connection.execute(sa.update(posts).where(held).values(state=State.DUE))


def _shown(row: sa.RowMapping, made: list[Try]) -> Shown:
    return Shown(_entry(row), _receipt(row), row["content"], made)
