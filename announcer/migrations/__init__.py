"""The schema, step by step. `upgrade` brings a database to what the code needs: an old one by the
steps, an empty one by what they come to, which `outbox.schema` describes. A test compares the two.
"""

from pathlib import Path

import sqlalchemy as sa

from announcer.outbox import HEAD, alone, schema

_VERSION = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own, made as it makes it."""


class SchemaTooNew(Exception):
    """The database was made by a newer Announcer. str() says which schema it has."""


def upgrade(engine: sa.Engine) -> bool:
    """Bring the database to HEAD, in one transaction. Whether there was none before. Raises
    SchemaTooNew or StorageError.

    Several replicas may start at once on an empty database: one of them makes the schema.
    """
    with engine.begin() as connection:
        if _found(connection) == HEAD:
            return False
        alone(connection)
        found = _found(connection)
        if found == HEAD:
            return False  # another one was faster
        if found is not None and found not in _known():
            raise SchemaTooNew(
                f"the database has schema {found}, this version knows up to {HEAD}: "
                "start the version that wrote it, or a newer one"
            )
        if found is None:
            schema.create_all(connection, checkfirst=False)
            _VERSION.create(connection)
            connection.execute(sa.insert(_VERSION).values(version_num=HEAD))
        else:
            climb(connection)
    return found is None


def climb(connection: sa.Connection, to: str = "head") -> None:
    """Take every step that is left until *to*. Alembic is loaded for that only: it is a third of
    the time to start, and as much memory as a network.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _found(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def _known() -> set[str]:
    return {
        file.stem.partition("_")[0] for file in Path(__file__).parent.glob("versions/[0-9]*.py")
    }
