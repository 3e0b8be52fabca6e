"""The tables. `announcer/migrations` makes them; a test compares the two. Times are epoch seconds:
SQLite gives no time zone back.
"""

import sqlalchemy as sa

HEAD = "0003"
"""The schema that this code needs: the newest file in `announcer/migrations/versions`."""


class Words(sa.TypeDecorator[str]):
    """Text that may be a stranger's: without what a database does not take, NUL and half a
    surrogate pair. Nothing that a network said may keep its receipt from being stored.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return value and value.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")


schema = sa.MetaData()
events = sa.Table(
    "events",
    schema,
    sa.Column("channel", sa.String(100), primary_key=True),
    sa.Column("id", sa.String(100), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("stamp", sa.Double),
    sa.Column("title", Words, nullable=False),
    sa.Column("because", Words, nullable=False),
    sa.Column("broadcast", sa.String(60)),
    sa.Index("events_by_time", "channel", "kind", "at"),
    sa.Index("events_by_age", "at"),
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
    sa.Column("name", Words, nullable=False),
    sa.Column("title", Words, nullable=False),
    sa.Column("summary", Words, nullable=False),
    sa.Column("peak_viewers", sa.Integer),
    sa.Index("broadcasts_by_time", "channel", "began"),
    sa.Index("broadcasts_by_age", "began", "id"),
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
    sa.Column("reason", Words, nullable=False),
    sa.Column("content", Words),
    sa.Column("receipt", Words),
    sa.Column("owner", sa.String(60)),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("left_at", sa.Double),
    sa.Column("deaths", sa.Integer, nullable=False),
    sa.Column("changed", sa.Double, nullable=False),
    sa.Index("posts_by_broadcast", "broadcast"),
    # On PostgreSQL the conditions are the same: `postgres` sees to that.
    # For what was said there last. Partial, too, lest SQLite search it for what is due there.
    sa.Index(
        "posts_by_destination",
        "destination",
        "changed",
        sqlite_where=sa.text("content IS NOT NULL"),
    ),
    # Small, however long the history: only what is under way.
    sa.Index(
        "posts_due",
        "next_at",
        sqlite_where=sa.text("state = 'due'"),
    ),
    # One in flight for each destination, whoever claims.
    sa.Index(
        "posts_in_flight",
        "destination",
        unique=True,
        sqlite_where=sa.text("state = 'sending'"),
    ),
    # What the operator is to look at: counted whenever somebody asks how we are.
    sa.Index(
        "posts_in_doubt",
        "destination",
        sqlite_where=sa.text("state = 'unsure'"),
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
    sa.Column("reason", Words, nullable=False),
    sa.Index("tries_by_post", "post"),
    sa.Index("tries_by_destination", "destination", "at"),
)
closed = sa.Table(
    "closed",
    schema,
    sa.Column("destination", sa.String(100), primary_key=True),
    sa.Column("credentials", sa.String(64), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("reason", Words, nullable=False),
)
breakers = sa.Table(
    "breakers",
    schema,
    sa.Column("destination", sa.String(100), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("reason", Words, nullable=False),
)
memory = sa.Table(
    "memory",
    schema,
    sa.Column("destination", sa.String(100), primary_key=True),
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("value", Words, nullable=False),
)
subscribers = sa.Table(
    "subscribers",
    schema,
    sa.Column("destination", sa.String(100), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("topic", sa.String(40)),
    sa.Column("said", sa.String(40)),
    sa.Column("trying", sa.String(100)),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("not_before", sa.Double),
    sa.Column("missed", sa.Integer, nullable=False),
)
"""Each knows what was *said* of *topic*, None if it was told nothing yet; *tries* is how often the
message *trying* did not reach it, *missed* how much news in a row.
"""
switches = sa.Table(
    "switches",
    schema,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("since", sa.Double, nullable=False),
)
"""What the operator switched on; a row that is not there is off."""
PAUSE = "pause"
duties = sa.Table(
    "duties",
    schema,
    sa.Column("name", sa.String(150), primary_key=True),
    sa.Column("owner", sa.String(60), nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)
"""What one of several replicas does for all of them, and which."""
