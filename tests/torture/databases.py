"""Where a run keeps what it knows: a new database for each."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from announcer import migrations, outbox
from announcer.outbox import Outbox, schema
from announcer.policy import State
from tests.servers.postgres import Postgres

SQLITE = "sqlite"
"""In place of the address of a server: a file for each run."""
TEMPLATE, JUDGE = "torture_template", "judge"
PATIENCE = 10.0


@contextmanager
def servers(wanted: str) -> Iterator[Mapping[str, str]]:
    """What `perform` wants to know of each database that is *wanted*, by the database's name."""
    sqlite = {"SQLite": SQLITE} if wanted in ("sqlite", "both") else {}
    if wanted == "sqlite":
        yield sqlite
    elif wanted not in ("postgresql", "both"):
        prepare(wanted)
        yield {"PostgreSQL": wanted}
    else:
        postgres = Postgres()
        try:
            server = postgres.url("postgres")
            prepare(server)
            yield sqlite | {"PostgreSQL": server}
        finally:
            postgres.stop()


def prepare(server: str) -> None:
    """Make the schema once, since that takes long."""
    _administer(server, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
    look(_on(server, TEMPLATE)).engine.dispose()


@contextmanager
def fresh(server: str, folder: Path, number: int) -> Iterator[str]:
    """The address of a new database for the run of this number, which may use this folder."""
    if server == SQLITE:
        yield f"sqlite:///{folder}/announcer.db"
        return
    name = f"torture_{os.getpid()}_{abs(number)}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        yield _on(server, name)
    finally:
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def look(url: str) -> Outbox:
    """The judge's own connection, before anything else made the schema."""
    address = sa.make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.update_query_dict({"application_name": JUDGE})
    engine = outbox.connect(address.render_as_string(hide_password=False))
    migrations.upgrade(engine)
    return Outbox(engine)


def bury(box: Outbox) -> None:
    """Whoever had a lease is dead, which only time would tell on PostgreSQL: let it pass. Not
    before the server has done what the dead asked of it last.
    """
    if box.engine.dialect.name != "postgresql":
        return
    posts = schema.tables["posts"]
    sending = sa.update(posts).where(posts.c.state == State.SENDING)
    deadline = time.monotonic() + PATIENCE
    while True:
        with box.engine.begin() as connection:
            if not connection.scalar(_OTHERS, {"judge": JUDGE}):
                connection.execute(sending.values(lease_until=0))
                return
        assert time.monotonic() < deadline, "the server still works for the dead"
        time.sleep(0.01)


_OTHERS = sa.text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name <> :judge"
)


def _administer(server: str, *statements: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def _on(server: str, database: str) -> str:
    return sa.make_url(server).set(database=database).render_as_string(hide_password=False)


def events(box: Outbox) -> set[str]:
    """The ids of all that are stored."""
    with box.engine.execution_options(reading=True).begin() as connection:
        return set(connection.scalars(sa.select(schema.tables["events"].c.id)))
