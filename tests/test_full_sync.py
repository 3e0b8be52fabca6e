"""What is acknowledged was on the disk before: the power may fail right after the answer."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from announcer import migrations, outbox
from announcer.outbox import Outbox
from tests.preload import SYNCS, compiled
from tests.running import Service, payload

FULL = 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    synced = {"LD_PRELOAD": str(compiled(SYNCS, tmp_path)), "SYNCED": str(tmp_path / "synced")}
    running = Service(tmp_path, {"ANNOUNCER_POLL": "0s", **synced})
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
