"""Posts that come with what became of another one, in the same transaction: its badge, an alert."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from announcer.outbox.database import insert
from announcer.outbox.records import values_of
from announcer.outbox.schema import posts
from announcer.policy import Entry, State


def put_badge(connection: sa.Connection, badge: Entry, *, over: bool, now: float) -> None:
    """A new one, or one that was off and is due again; not if it is *over* by now, nor where a
    person took it away.
    """
    statement = insert(posts, connection.dialect.name)
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
    connection.execute(statement, values_of(badge) | {"changed": now, "lease_until": 0})


def put_alerts(connection: sa.Connection, alerts: Sequence[tuple[Entry, str]], now: float) -> None:
    """Those that are not there yet, each with its words."""
    if not alerts:
        return  # nearly always, and to build the statement takes longer than to store a post
    statement = insert(posts, connection.dialect.name)
    statement = statement.on_conflict_do_nothing(index_elements=["key"])
    for alert, words in alerts:
        more = {"content": words, "changed": now, "lease_until": 0}
        connection.execute(statement, values_of(alert) | more)
