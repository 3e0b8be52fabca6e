"""Where a run keeps what it knows: a new database for each."""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from announcer import migrations, outbox
from announcer.outbox import Outbox, schema
from announcer.policy import State

Fresh = Callable[[Path, int], str]
"""The address of a new database for the run of this number, which may use this folder."""


def sqlite(folder: Path, _number: int) -> str:
    return f"sqlite:///{folder}/announcer.db"


def postgresql(server: str) -> Fresh:
    """Databases on the *server* with this address, whose user may create them."""

    def fresh(_folder: Path, number: int) -> str:
        name = f"torture_{number}"
        address = sa.make_url(server)
        engine = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
            connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
        engine.dispose()
        return address.set(database=name).render_as_string(hide_password=False)

    return fresh


def look(url: str) -> Outbox:
    """The judge's own connection, before anything else made the schema."""
    engine = outbox.connect(url)
    migrations.upgrade(engine)
    return Outbox(engine)


def bury(box: Outbox) -> None:
    """Whoever had a lease is dead, which only time would tell on PostgreSQL: let it pass."""
    if box.engine.dialect.name == "postgresql":
        posts = schema.tables["posts"]
        sending = sa.update(posts).where(posts.c.state == State.SENDING)
        with box.engine.begin() as connection:
            connection.execute(sending.values(lease_until=0))


def events(box: Outbox) -> set[str]:
    """The ids of all that are stored."""
    with box.engine.execution_options(reading=True).begin() as connection:
        return set(connection.scalars(sa.select(schema.tables["events"].c.id)))
