"""The file of the database: damaged, without rights, grown, restored from a backup."""

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from announcer.cli import main
from announcer.outbox import DestinationMemory, Unusable, backup
from announcer.outbox.files import inspect
from tests.fakes import NOW, Fake, Harmless, Stage, open_box
from tests.house import own_logging
from tests.test_outbox import DUE, put


def test_b05_an_emptied_file_is_refused_where_a_database_was(tmp_path: Path) -> None:
    file = tmp_path / "announcer.db"
    box = open_box(file)
    box.enlist()
    box.engine.dispose()
    file.write_bytes(b"")
    with pytest.raises(Unusable, match=r"empty, though a database was served .* put a backup"):
        inspect(f"sqlite:///{file}")
    assert file.read_bytes() == b""


@pytest.mark.parametrize("broken", ["flipped", "truncated", "text"])
def test_b05_a_damaged_file_is_refused_in_clear_words_and_kept(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "announcer.db"
    box = open_box(file)
    put(box, DUE)
    box.engine.dispose()
    pages = file.read_bytes()
    damage = {
        "flipped": pages[:8192] + bytes(byte ^ 0xFF for byte in pages[8192:24576]) + pages[24576:],
        "truncated": pages[: len(pages) // 2],
        "text": b"this is a letter and no database" * 400,
    }
    file.write_bytes(damage[broken])
    settings = {"ANNOUNCER_DATABASE_URL": f"sqlite:///{file}", "OWNCAST_WEBHOOK_SECRET": "k" * 20}
    said = CliRunner().invoke(main, ["serve"], env=settings)
    assert said.exit_code == 1
    assert "ANNOUNCER_DATABASE_URL can not be used: the file is damaged" in said.stderr
    assert "put a backup in its place" in said.stderr
    assert file.read_bytes() == damage[broken]
    assert not list(tmp_path.glob("*.lock")), "nobody serves it"


AS_NOBODY = """
import os, sys
from announcer import wiring
from announcer.cli import main, running
running, wiring.read(os.environ)  # what these load, nobody may read later
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(["serve"])
"""


@pytest.mark.parametrize("what", ["the file", "the folder"])
def test_b06_a_place_without_rights_is_refused_by_name_with_what_is_needed(
    tmp_path: Path, what: str
) -> None:
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o111)
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / "announcer.db"
    file.touch()
    file.chmod(0o444 if what == "the file" else 0o666)
    folder.chmod(0o555)
    said = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        cwd=Path(__file__).parents[1],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "ANNOUNCER_DATABASE_URL": f"sqlite:///{file}",
            "OWNCAST_WEBHOOK_SECRET": "correct-horse-kestrel-7",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert said.returncode == 1, said.stderr
    assert "ANNOUNCER_DATABASE_URL can not be used: " in said.stderr
    assert "must be able to write the file and its folder" in said.stderr
    assert "belongs to user" in said.stderr
    assert "Traceback" not in said.stderr
    assert file.read_bytes() == b""


def test_b08_what_is_written_ahead_shrinks_once_a_long_reader_is_done(tmp_path: Path) -> None:
    file = tmp_path / "announcer.db"
    box = open_box(file)
    put(box, DUE)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM posts").fetchone()
    memory = DestinationMemory(box, "fake")
    for _ in range(60):
        memory.put("session", os.urandom(50_000).hex())  # what stays the same is not written
    grown = box.log_size()
    assert grown > 2**22
    assert box.size() > grown
    assert not box.shrink_log()
    reader.execute("COMMIT")
    reader.close()
    assert box.shrink_log()
    assert box.log_size() == 0
    box.engine.dispose()


DIES = """
import os, signal, sys
import sqlalchemy as sa
from announcer import migrations, outbox
engine = outbox.connect(sys.argv[1])
if sys.argv[2] == "old":
    with engine.begin() as connection:
        migrations.climb(connection, "0001")
@sa.event.listens_for(engine, "before_cursor_execute")
def dies(connection, cursor, statement, *rest):
    if "INDEX posts_in_doubt" in statement:
        os.kill(os.getpid(), signal.SIGKILL)
migrations.upgrade(engine)
"""


@pytest.mark.parametrize("before", ["new", "old"])
def test_b10_a_kill_in_the_middle_of_a_migration_leaves_nothing_half_made(
    tmp_path: Path, before: str
) -> None:
    file = tmp_path / "announcer.db"
    died = subprocess.run(
        [sys.executable, "-c", DIES, f"sqlite:///{file}", before],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL
    assert inspect(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as found:
        tables = {name for (name,) in found.execute("SELECT name FROM sqlite_master")}
        assert ("posts" in tables) is (before == "old")
        assert not tables & {"subscribers", "posts_in_doubt"}, "all of it or nothing"
    box = open_box(file)
    put(box, DUE)
    assert len(box.history(9)) == 1
    box.engine.dispose()


def test_b11_a_restored_backup_is_told_late_nowhere_and_twice_nowhere(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    fake, harmless = Fake(), Harmless()
    file = tmp_path / "announcer.db"
    stage = Stage(file, {"fake": fake, "harmless": harmless})
    patch = pytest.MonkeyPatch()
    patch.setattr("announcer.attempt.now", lambda: stage.now)
    try:
        stage.hear()
        backup(f"sqlite:///{file}", old, force=False)
        stage.run()
        assert (len(fake.visible), len(harmless.visible)) == (1, 1)
        for age, after in ((timedelta(minutes=5), "settled"), (timedelta(days=1), "failed")):
            stage.close()
            shutil.copy(old, file)
            for end in ("-wal", "-shm"):
                Path(f"{file}{end}").unlink(missing_ok=True)
            stage.now = NOW + age
            networks = {"harmless": harmless, **({"fake": fake} if age.days else {})}
            stage.start_up(networks)
            stage.run()
            assert stage.told("harmless")[0] == after
            assert len(harmless.visible) == 1
        assert stage.told("fake")[0] == "failed"
        assert len(fake.visible) == 1
    finally:
        patch.undo()
        stage.close()


def test_a_backup_is_private_whole_and_never_written_over_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    box = open_box(tmp_path / "announcer.db")
    put(box, DUE)
    variables = {"ANNOUNCER_DATABASE_URL": "sqlite:///announcer.db"}

    def run(*arguments: str) -> tuple[int, str]:
        with own_logging():
            said = CliRunner().invoke(main, ["backup", *arguments], env=variables)
        return said.exit_code, said.output

    status, said = run("copy.db")
    assert status == 0
    assert re.fullmatch(r"copy\.db: 0\.\d MB, looked through and found sound\n", said)
    assert stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    before = Path("copy.db").read_bytes()
    assert run("copy.db") == (2, "not copied: copy.db is there already: --force writes over it\n")
    assert Path("copy.db").read_bytes() == before
    assert run("copy.db", "--force")[0] == 0
    assert run("announcer.db", "--force")[0] == 2
    assert run("no/such/folder.db")[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy.db"]
    box.engine.dispose()
    variables["ANNOUNCER_DATABASE_URL"] = "postgresql://announcer:canary@127.0.0.1:1/announcer"
    status, said = run("other.db")
    assert (status, "pg_dump" in said, "canary" in said) == (2, True, False)
