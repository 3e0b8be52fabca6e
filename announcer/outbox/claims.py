"""Delivery's side of the outbox: what is due is claimed, and what became of it is stored."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from announcer.network import Moment, Picture, Receipt
from announcer.outbox import queue
from announcer.outbox.accounts import hold, shut
from announcer.outbox.beside import put_alerts, put_badge
from announcer.outbox.database import Database, insert
from announcer.outbox.records import (
    NAMES,
    Claim,
    Consequences,
    Try,
    breaker_of,
    broadcast_of,
    entry_of,
    epoch,
    receipt_of,
    when,
)
from announcer.outbox.schema import breakers, broadcasts, closed, pictures, posts, tries
from announcer.policy import Breaker, Entry, Hush, State

LEASE = timedelta(minutes=5)
"""How long a try may be on its way: more than all time limits of one try together."""
MARGIN = timedelta(minutes=1)
"""Nothing more of a try begins so long before its lease ends: what has begun takes half of that at
most, and the clocks of two replicas may differ by the other half.
"""

_STOPPED_AT = (
    sa.select(broadcasts.c.stopped).where(broadcasts.c.id == sa.bindparam("id")).with_for_update()
)
_ADD_TRY = sa.insert(tries)
# Built once, as those of a claim's `queue`: together they took longer than the claim itself.
_OLDER = posts.alias("older")
_SAID = (
    sa.select(_OLDER.c.content)
    .where(_OLDER.c.destination == posts.c.destination, _OLDER.c.content.is_not(None))
    .order_by(_OLDER.c.changed.desc())
    .limit(1)
)
_ABOUT = (
    sa.select(
        posts.c.key.label("key"),
        broadcasts,
        closed.c.credentials.label("credentials"),
        closed.c.reason.label("closed_because"),
        *(breakers.c[name].label(f"held_{name}") for name in NAMES[Breaker]),
        _SAID.scalar_subquery().label("said"),
    )
    .join_from(posts, broadcasts, broadcasts.c.id == posts.c.broadcast)
    .outerjoin(closed, closed.c.destination == posts.c.destination)
    .outerjoin(breakers, breakers.c.destination == posts.c.destination)
    .where(posts.c.key.in_(sa.bindparam("keys", expanding=True)))
)
"""What else delivery must know of a post."""
_STARTS = sa.select(posts).where(
    posts.c.moment == Moment.LIVE, posts.c.broadcast.in_(sa.bindparam("ids", expanding=True))
)


class Claims(Database):
    """What delivery does, one claim at a time."""

    def claim(
        self, owner: str, now: datetime, limit: int, but: Collection[str] = ()
    ) -> list[Claim]:
        """Posts that are due, at most one for each destination, and none where one is on its way,
        nor of the networks *but*. A badge lets every post go first. Where nothing may be sent yet,
        only what is to be given up. Of those that may have killed the process, one at a time:
        whichever did is known then, and the others get through.

        They are `sending` from now on, and ours for LEASE.
        """
        until = (now + LEASE).timestamp()
        given = {"now_": now.timestamp(), "us": owner, "until_": until, "most": limit}
        statement = queue.due_now(tuple(sorted(but)))
        tried = False

        def work(connection: sa.Connection) -> list[Claim]:
            nonlocal tried
            # If this is done again, the first time may have been stored after all.
            rows = connection.execute(queue.taken(owner, until)).mappings().all() if tried else []
            tried = True
            return _claims(
                connection, rows or connection.execute(statement, given).mappings().all()
            )

        return self.write("claim", work)

    def abandoned(self, owner: str, now: datetime) -> list[Claim]:
        """Posts whose lease ran out, now claimed by *owner*. That their owner died is stored before
        anything is made of it, lest one of them kill every process in turn.
        """
        with self.asking() as connection:
            if connection.execute(queue.LATE, {"now_": now.timestamp()}).first() is None:
                return []
        until = (now + LEASE).timestamp()
        statement = (
            sa.update(posts)
            .where(posts.c.state == State.SENDING, posts.c.lease_until < now.timestamp())
            .values(
                owner=owner,
                lease_until=until,
                changed=now.timestamp(),
                deaths=posts.c.deaths + sa.case((posts.c.owner == owner, 0), else_=1),
            )
        )
        self.write("takeover", lambda connection: connection.execute(statement))
        with self.reading() as connection:
            taken = connection.execute(queue.taken(owner, until)).mappings().all()
            return _claims(connection, taken)

    def excuse(self, owner: str) -> None:
        """*owner* stops, as it was told: whatever it is still at then did not kill it."""
        its = sa.and_(posts.c.state == State.SENDING, posts.c.owner == owner)
        with self.writing("excuse") as connection:
            connection.execute(sa.update(posts).where(its).values(deaths=posts.c.deaths - 1))

    def freeze(
        self,
        claim: Claim,
        content: str | None,
        left: datetime,
        picture: Picture | None = None,
        alerts: Sequence[tuple[Entry, str]] = (),
    ) -> datetime | None:
        """Store what is about to leave; *content* None keeps what is stored, for a change that is
        harmless to repeat. *alerts* are about its words. Gives until when it may begin to leave:
        MARGIN before another may take it over. None if the post is no longer ours, or something
        else is wanted of it since it was claimed: send nothing then.
        """
        if picture:
            self._keep(picture, left)
        values: dict[str, Any] = {
            "left_at": left.timestamp(),
            "changed": left.timestamp(),
            "lease_until": (left + LEASE).timestamp(),
        }
        if content is not None:
            values["content"] = content
        beyond = Consequences(claim.breaker, alerts=alerts)
        ours = self._update_ours(claim, values, left, beyond=beyond, only_if_wanted=True)
        return left + LEASE - MARGIN if ours else None

    def _keep(self, picture: Picture, now: datetime) -> None:
        """Before the post that needs it, in a transaction of its own: it may go to waste."""
        at = now.timestamp()
        values = {"at": at, "width": picture.width, "height": picture.height, "data": picture.data}
        statement = insert(pictures, self.engine.dialect.name)
        statement = statement.values(digest=picture.digest, **values)
        statement = statement.on_conflict_do_update(index_elements=["digest"], set_={"at": at})
        self.write("picture", lambda connection: connection.execute(statement))

    def picture(self, digest: str) -> Picture | None:
        """As it was stored, without its description; None if it is not there any more."""
        query = sa.select(pictures).where(pictures.c.digest == digest)
        with self.asking() as connection:
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
        beyond: Consequences | None = None,
    ) -> bool:
        """What became of a claimed post. False if it is no longer ours, and nothing was stored.

        *what* is None if nothing was tried. What is wanted of the post stays as it is: intake may
        have changed that meanwhile. If it left a `change_at`, the post is due then as soon as it
        is settled. *badge* is put beside it, if there is none and the stream is still live.
        *beyond* is None if nothing follows for anything else. That an account is closed is stored
        in any case.
        """
        values: dict[str, Any] = {
            "state": entry.state,
            "shown": entry.shown,
            "next_at": entry.next_at.timestamp(),
            "tries": entry.tries,
            "doubtful_since": epoch(entry.doubtful_since),
            "generation": entry.generation,
            "patient_until": epoch(entry.patient_until),
            "hush": entry.hush,
            "reason": entry.reason,
            "deaths": entry.deaths,
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
            values["change_at"] = epoch(entry.change_at)
        return self._update_ours(claim, values, now, what, badge, beyond)

    def _update_ours(
        self,
        claim: Claim,
        values: Mapping[str, Any],
        at: datetime,
        what: Try | None = None,
        badge: Entry | None = None,
        beyond: Consequences | None = None,
        *,
        only_if_wanted: bool = False,
    ) -> bool:
        ours = {"our_key": claim.entry.key, "our_owner": claim.owner}
        if only_if_wanted:
            ours["our_wanted"] = claim.entry.wanted or ""
        new = {f"new_{name}": value for name, value in values.items()}
        now, destination = at.timestamp(), claim.entry.destination
        beyond = beyond or Consequences(claim.breaker)

        def work(connection: sa.Connection) -> bool:
            # The broadcast before its posts, as intake locks them.
            locked = badge or beyond.alerts
            show = {"id": claim.entry.broadcast}
            stopped = connection.execute(_STOPPED_AT, show).scalar() if locked else None
            changed = connection.execute(
                _change_ours(frozenset(values), only_if_wanted), ours | new
            )
            stored = changed.rowcount == 1
            if beyond.closing:
                shut(connection, destination, beyond.closing, now)
            if stored or beyond.closing:
                put_alerts(connection, beyond.alerts, now)
            if badge or beyond.alerts:
                self.ring(connection)
            if not stored:
                return "state" in values and _stored_before(connection, claim, values, what)
            if badge:
                put_badge(connection, badge, over=stopped is not None, now=now)
            if beyond.breaker != claim.breaker:
                hold(connection, destination, beyond.breaker)
            if values.get("hush") is Hush.TITLE:
                _judge_again(connection, claim)
            if what:
                connection.execute(_ADD_TRY, _made(claim, what))
            return True

        return self.write("store" if "state" in values else "freeze", work)

    def announced(self, broadcast: str) -> list[tuple[Entry, Receipt | None]]:
        """Every post that tells of its start, up or not, in the order of their keys."""
        query = sa.select(posts).where(
            posts.c.broadcast == broadcast, posts.c.moment == Moment.LIVE
        )
        with self.asking() as connection:
            rows = connection.execute(query.order_by(posts.c.key)).mappings().all()
        return [(entry_of(row), receipt_of(row)) for row in rows]

    def next_due(self) -> datetime | None:
        """When the next post can be claimed, or the next lease ends; None if nothing waits. Not for
        those that go one at a time: they come when one is done.
        """
        with self.asking() as connection:
            found = connection.execute(queue.next_due()).one()
        times = [time for time in found if time is not None]
        return when(min(times)) if times else None


@lru_cache
def _change_ours(names: frozenset[str], only_if_wanted: bool) -> sa.Update:
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
    ours = sa.and_(
        posts.c.key == sa.bindparam("our_key"),
        posts.c.owner == sa.bindparam("our_owner"),
        posts.c.state == State.SENDING,
    )
    if only_if_wanted:
        wanted = sa.func.coalesce(posts.c.wanted, "")
        ours = sa.and_(ours, wanted == sa.bindparam("our_wanted"))
    return sa.update(posts).where(ours).values(new)


def _made(claim: Claim, what: Try) -> dict[str, Any]:
    return {
        "post": claim.entry.key,
        "destination": claim.entry.destination,
        "at": what.at.timestamp(),
        "took": what.took,
        "step": what.step,
        "outcome": what.outcome,
        "reason": what.reason,
    }


def _stored_before(
    connection: sa.Connection, claim: Claim, values: Mapping[str, Any], what: Try | None
) -> bool:
    """Whether what we want to store is stored: a connection may break off after the commit and
    before its answer. The try tells, which nobody else writes; else the time of the change.
    """
    key = posts.c.key == claim.entry.key
    known = sa.select(posts.c.key).where(key, posts.c.owner.is_distinct_from(claim.owner))
    if what:
        mine = [tries.c[name] == value for name, value in _made(claim, what).items()]
        known = known.where(sa.select(tries.c.id).where(*mine).exists())
    else:
        same = ("state", "shown", "tries", "reason", "changed")
        known = known.where(*(posts.c[name].is_not_distinct_from(values[name]) for name in same))
    return connection.execute(known).first() is not None


def _claims(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[Claim]:
    """With everything else that delivery needs, in two questions however many they are."""
    if not rows:
        return []
    keys = {"keys": [row["key"] for row in rows]}
    about = {row["key"]: row for row in connection.execute(_ABOUT, keys).mappings()}
    later = sorted({row["broadcast"] for row in rows if row["moment"] != Moment.LIVE})
    starts = connection.execute(_STARTS, {"ids": later}).mappings().all() if later else ()
    start_of = {
        (row["broadcast"], row["destination"]): (entry_of(row), receipt_of(row)) for row in starts
    }
    return [_claim(row, about[row["key"]], start_of) for row in rows]


def _claim(
    row: sa.RowMapping,
    about: sa.RowMapping,
    start_of: Mapping[tuple[str, str], tuple[Entry, Receipt | None]],
) -> Claim:
    shut = about["credentials"] is not None
    held = {name: about[f"held_{name}"] for name in NAMES[Breaker]}
    return Claim(
        entry_of(row),
        row["owner"],
        row["content"],
        receipt_of(row),
        when(row["left_at"]),
        broadcast_of(about),
        about["said"],
        (about["credentials"], about["closed_because"]) if shut else None,
        start_of.get((row["broadcast"], row["destination"])),
        breaker_of(held) if held["until"] is not None else None,
    )


def _judge_again(connection: sa.Connection, claim: Claim) -> None:
    """A post that was held back for a title which is no longer the stream's is due: intake could
    not free it, since it was on its way.
    """
    title = sa.select(broadcasts.c.title).where(broadcasts.c.id == claim.broadcast.id)
    if connection.scalar(title) != claim.broadcast.title:
        held = sa.and_(posts.c.key == claim.entry.key, posts.c.state == State.WITHDRAWN)
        connection.execute(sa.update(posts).where(held).values(state=State.DUE))
