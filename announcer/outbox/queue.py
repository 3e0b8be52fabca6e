"""What is to be claimed next: which posts, in what order, and when there will be some."""

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from announcer.network import Moment
from announcer.outbox.schema import breakers, posts
from announcer.policy import SUSPECT, State

NEVER = 1e12
"""Epoch seconds, when nobody waits any more."""
LATE = (
    sa.select(posts.c.key)
    .where(posts.c.state == State.SENDING, posts.c.lease_until < sa.bindparam("now_"))
    .limit(1)
)


@lru_cache
def next_due() -> sa.Select[Any]:
    """When the next is due, the first that is held, and when a lease ends. One statement sees
    one state of the world: what settles between two would be in neither.
    """
    sending = sa.select(posts.c.destination).where(posts.c.state == State.SENDING)
    waiting = sa.and_(
        posts.c.state == State.DUE,
        posts.c.destination.not_in(sending),
        posts.c.deaths < SUSPECT,
    )
    due = sa.select(sa.func.min(posts.c.next_at)).where(
        waiting, posts.c.destination.not_in(sa.select(breakers.c.destination))
    )
    given_up = sa.case(
        (_deadline(posts) < breakers.c.until, _deadline(posts)), else_=breakers.c.until
    )
    held = (
        sa.select(
            sa.func.min(sa.case((posts.c.next_at > given_up, posts.c.next_at), else_=given_up))
        )
        .join_from(posts, breakers, posts.c.destination == breakers.c.destination)
        .where(waiting)
    )
    lease = sa.select(sa.func.min(posts.c.lease_until)).where(posts.c.state == State.SENDING)
    return sa.select(*(query.scalar_subquery() for query in (due, held, lease)))


@lru_cache(maxsize=64)
def due_now(but: tuple[str, ...]) -> sa.UpdateBase:
    """The claim, built once: SQLAlchemy takes longer for that than a database to run it."""
    now = sa.bindparam("now_", type_=sa.Double)
    due, other = posts.alias("due"), posts.alias("other")
    sending = sa.select(posts.c.destination).where(posts.c.state == State.SENDING)
    earlier = sa.select(other.c.key).where(
        _ready(other, now),
        other.c.destination == due.c.destination,
        _turn(other) < _turn(due),
    )
    # Two questions, each with an index of its own: as one they would be asked of every post.
    on_trial = sa.select(posts.c.key).where(
        posts.c.state == State.SENDING, posts.c.deaths >= SUSPECT
    )
    suspected = sa.select(other.c.key).where(
        _ready(other, now),
        other.c.deaths >= SUSPECT,
        other.c.destination.not_in(sending),
        _turn(other) < _turn(due),
    )
    alone = sa.or_(due.c.deaths < SUSPECT, ~sa.or_(on_trial.exists(), suspected.exists()))
    first = (
        sa.select(due.c.key)
        .where(_ready(due, now))
        .where(due.c.destination.not_in(sending), ~earlier.exists(), alone)
        .where(*(~_is_of(due.c.destination, network) for network in but))
        .order_by(due.c.next_at)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .with_for_update(skip_locked=True)
        .cte("first")
    )
    return (
        sa.update(posts)
        .where(posts.c.key.in_(sa.select(first.c.key)))
        .values(
            state=State.SENDING,
            owner=sa.bindparam("us"),
            lease_until=sa.bindparam("until_"),
            left_at=None,
            tries=posts.c.tries + 1,
            changed=now,
        )
        .returning(posts)
    )


def taken(owner: str, until: float) -> sa.Select[Any]:
    """*until*, to the microsecond, tells what one claim took from what another did."""
    return sa.select(posts).where(
        posts.c.state == State.SENDING, posts.c.owner == owner, posts.c.lease_until == until
    )


def _deadline(post: sa.FromClause) -> sa.ColumnElement[float]:
    """After which a post that waits is given up; for a badge, which matters less, there is none."""
    change = sa.func.coalesce(post.c.change_until, post.c.until)
    return sa.case(
        (post.c.moment == Moment.BADGE, sa.literal(NEVER, sa.Double)),
        (post.c.shown.is_(None), post.c.until),
        else_=change,
    )


def _ready(post: sa.FromClause, now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Due, and its destination may be asked, or its time is over."""
    held = sa.select(breakers.c.destination).where(breakers.c.until > now)
    return sa.and_(
        post.c.state == State.DUE,
        post.c.next_at <= now,
        sa.or_(post.c.destination.not_in(held), _deadline(post) < now),
    )


def _is_of(destination: sa.ColumnElement[str], network: str) -> sa.ColumnElement[bool]:
    return sa.or_(destination == network, destination.startswith(f"{network}.", autoescape=True))


def _turn(post: sa.FromClause) -> sa.Tuple:
    """What the posts of a destination are ordered by."""
    last = sa.case((post.c.moment == Moment.BADGE, 1), else_=0)
    return sa.tuple_(last, post.c.next_at, post.c.key)
