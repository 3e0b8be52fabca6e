"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("channel", sa.String(100), primary_key=True),
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("stamp", sa.Double),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("because", sa.Text, nullable=False),
        sa.Column("broadcast", sa.String(60)),
    )
    op.create_index("events_by_time", "events", ["channel", "kind", "at"])
    op.create_index("events_by_age", "events", ["at"])
    op.create_table(
        "broadcasts",
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
    )
    op.create_index("broadcasts_by_time", "broadcasts", ["channel", "began"])
    op.create_index("broadcasts_by_age", "broadcasts", ["began", "id"])
    op.create_table(
        "posts",
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
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
    )
    op.create_index("posts_by_broadcast", "posts", ["broadcast"])
    op.create_index(
        "posts_by_destination",
        "posts",
        ["destination", "changed"],
        sqlite_where=sa.text("content IS NOT NULL"),
        postgresql_where=sa.text("content IS NOT NULL"),
    )
    op.create_index(
        "posts_due",
        "posts",
        ["next_at"],
        sqlite_where=sa.text("state = 'due'"),
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_index(
        "posts_in_flight",
        "posts",
        ["destination"],
        unique=True,
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_table(
        "pictures",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("post", sa.String(250), sa.ForeignKey("posts.key"), nullable=False),
        sa.Column("destination", sa.String(100), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("took", sa.Double, nullable=False),
        sa.Column("step", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("tries_by_post", "tries", ["post"])
    op.create_index("tries_by_destination", "tries", ["destination", "at"])
    op.create_table(
        "closed",
        sa.Column("destination", sa.String(100), primary_key=True),
        sa.Column("credentials", sa.String(64), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "breakers",
        sa.Column("destination", sa.String(100), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "memory",
        sa.Column("destination", sa.String(100), primary_key=True),
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("since", sa.Double, nullable=False),
    )
    op.create_table(
        "duties",
        sa.Column("name", sa.String(150), primary_key=True),
        sa.Column("owner", sa.String(60), nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
