"""What is acknowledged was on the disk before: the power may fail right after the answer."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from announcer import migrations, outbox
from announcer.outbox import Outbox
from tests.running import Service, payload
from tests.servers import must_be_there

WATCHMAN = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int told(const char *name, int fd) {
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int done = real(fd);
    int log = open(getenv("SYNCED"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (size > 0 && log >= 0) {
        path[size] = '\\n';
        if (write(log, path, size + 1) < 0) abort();
        close(log);
    }
    return done;
}

int fsync(int fd) { return told("fsync", fd); }
int fdatasync(int fd) { return told("fdatasync", fd); }
"""
FULL = 2


@pytest.fixture(scope="module")
def watchman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that writes down every sync of whoever preloads it."""
    folder = tmp_path_factory.mktemp("watchman")
    compiler = shutil.which("cc")
    if not compiler:
        (pytest.fail if must_be_there() else pytest.skip)("a C compiler is needed")
    (folder / "watchman.c").write_text(WATCHMAN)
    subprocess.run(
        [str(compiler), "-shared", "-fPIC", "-o", "watchman.so", "watchman.c", "-ldl"],
        cwd=folder,
        check=True,
        timeout=60,
    )
    return folder / "watchman.so"


@pytest.fixture
def service(tmp_path: Path, watchman: Path) -> Iterator[Service]:
    preload = {"LD_PRELOAD": str(watchman), "SYNCED": str(tmp_path / "synced")}
    running = Service(tmp_path, {"ANNOUNCER_POLL": "0s", **preload})
    yield running
    if running.process.poll() is None:
        running.kill()


def test_b07_what_is_acknowledged_was_synced_to_the_disk_before(
    service: Service, tmp_path: Path
) -> None:
    """By the system's own word: without a full sync SQLite would put it off."""

    def syncs() -> int:
        return (tmp_path / "synced").read_text("utf-8").splitlines().count(f"{log}")

    log = tmp_path / "announcer.db-wal"
    for name in ("0.2-stream-started", "0.2-stream-title-updated", "0.2-stream-stopped"):
        before = syncs()
        assert service.hear(payload(name)) == 204
        assert syncs() > before, f"{name} was acknowledged while it was in memory only"


def test_b07_every_connection_of_the_pool_syncs_in_full(tmp_path: Path) -> None:
    engine = outbox.connect(f"sqlite:///{tmp_path}/announcer.db")
    migrations.upgrade(engine)
    box = Outbox(engine)
    with ExitStack() as open_:
        connections = [open_.enter_context(box.reading()) for _ in range(20)]
        connections.append(open_.enter_context(box.writing()))
        told = [one.exec_driver_sql("PRAGMA synchronous").scalar() for one in connections]
    engine.dispose()
    assert told == [FULL] * 21
