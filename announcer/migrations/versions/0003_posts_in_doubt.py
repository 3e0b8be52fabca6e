"""What is in doubt, found without reading all of history: it is counted at every scrape."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index(
        "posts_in_doubt",
        "posts",
        ["destination"],
        sqlite_where=sa.text("state = 'unsure'"),
        postgresql_where=sa.text("state = 'unsure'"),
    )
