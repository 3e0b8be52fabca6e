"""Those who asked on our own page to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "subscribers",
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
