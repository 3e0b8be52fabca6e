"""The disk under the running service: full, locked, damaged, restored."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from tests.fakes import wait_until
from tests.running import Service
from tests.test_lost_webhooks import Owncast
from tests.test_process import (
    AT_ONCE,
    Build,
    Serve,
    build,
    serve,
    settled,
    start,
    states,
    worker_of,
)

__all__ = ["build", "serve"]  # fixtures

FULL = 4096
"""Bytes of the longest file: nothing can be added to what SQLite writes ahead."""


@contextmanager
def full_disk(service: Service) -> Iterator[None]:
    """The kernel lets no file of the service grow, as on a full disk."""
    worker = worker_of(service)
    soft, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (FULL, hard))
    yield
    with suppress(ProcessLookupError):
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (soft, hard))


def ready(service: Service) -> bool:
    answer = requests.get(f"{service.url}/readyz", timeout=15)
    return answer.ok


def sound(file: Path) -> bool:
    with sqlite3.connect(file) as reader:
        found: bool = reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader.close()
    return found


def test_b01_a_full_disk_answers_503_and_the_start_is_found_when_there_is_space(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    owncast, town = Owncast(), build()
    settings = town.settings("discord", "mastodon") | {"OWNCAST_URL": owncast.url}
    service = serve(settings, AT_ONCE, {"ANNOUNCER_POLL": "1s"})
    try:
        with full_disk(service):
            assert [service.hear(start()) for _ in range(3)] == [503] * 3
            assert not ready(service)
            owncast.connect()
            # It can not store that watching is its duty, so it asks nobody; and tries again.
            service.until(lambda: service.log.count("announcer.patrol") > 1, "watch has given up")
            assert town.counts() == {}
        service.until(lambda: settled(tmp_path), "watch did not find it")
        assert town.counts() == {"discord": 1, "mastodon": 1}
        assert ready(service)
        assert service.stop() == 0
    finally:
        owncast.close()
    assert sound(tmp_path / "announcer.db")


def test_b02_a_receipt_waits_for_space_and_nothing_is_sent_meanwhile(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build()
    town.hangs_after_accepting("discord", "mastodon")
    service = serve(town.settings("discord", "mastodon"), AT_ONCE)
    assert service.hear(start()) == 204
    wait_until(lambda: len(town.visible) == 2)
    with full_disk(service):
        town.release()
        service.until(lambda: "event=storage post=" in service.log, "no failure")
        assert not ready(service)
        assert states(tmp_path) == {"discord": "sending", "mastodon": "sending"}
    service.until(lambda: settled(tmp_path), "the receipts were not stored")
    assert states(tmp_path) == {"discord": "settled", "mastodon": "settled"}
    assert town.counts() == {"discord": 1, "mastodon": 1}
    assert service.stop() == 0


def test_b02_g01_a_stop_on_a_full_disk_is_in_time_and_the_next_start_finds_out(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build()
    town.hangs_after_accepting("discord", "mastodon")
    service = serve(town.settings("discord", "mastodon"), AT_ONCE)
    assert service.hear(start()) == 204
    wait_until(lambda: len(town.visible) == 2)
    with full_disk(service):
        town.release()
        service.until(lambda: "event=storage post=" in service.log, "no failure")
        begun = datetime.now(UTC)
        service.stop()
        assert datetime.now(UTC) - begun < timedelta(seconds=29)
        service = serve(town.settings("discord", "mastodon"), AT_ONCE)
        service.until(lambda: settled(tmp_path), "it never settled")
        assert town.counts() == {"discord": 1, "mastodon": 1}
        assert states(tmp_path) == {"discord": "unsure", "mastodon": "settled"}
        assert service.stop() == 0


def test_b03_a_short_lock_is_waited_for(build: Build, serve: Serve, tmp_path: Path) -> None:
    service = serve(build().settings("discord"), AT_ONCE)
    program = (
        "import sqlite3, sys, time\n"
        "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('BEGIN IMMEDIATE')\n"
        "print('held', flush=True)\n"
        "time.sleep(1)\n"
        "held.execute('COMMIT')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "announcer.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert service.hear(start()) == 204
    service.until(lambda: settled(tmp_path), "it never settled")
    assert service.stop() == 0


def test_b07_what_was_answered_survives_a_kill(build: Build, serve: Serve, tmp_path: Path) -> None:
    town = build()
    service = serve(town.settings("discord"), {"ANNOUNCER_HOLD": "5m"})
    assert service.hear(start()) == 204
    service.kill()
    assert states(tmp_path) == {"discord": "due"}


@pytest.mark.parametrize(("minutes", "posts"), [(90, 0), (1, 1)])
def test_b13_a_missing_volume_is_said_and_a_show_is_told_only_if_it_is_news(
    build: Build, serve: Serve, tmp_path: Path, minutes: int, posts: int
) -> None:
    owncast, town = Owncast(), build()
    try:
        owncast.connect(timedelta(minutes=minutes))
        settings = town.settings("discord") | {"OWNCAST_URL": owncast.url}
        service = serve(settings, AT_ONCE, {"ANNOUNCER_POLL": "1s"})
        assert "check the volume and ANNOUNCER_DATABASE_URL" in service.log
        owncast.is_asked(2)
        if posts:
            service.until(lambda: settled(tmp_path), "it never settled")
        assert len(town.visible) == posts
        assert service.stop() == 0
    finally:
        owncast.close()


def test_g20_a_backup_under_load_brings_history_back_and_nothing_twice(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build()
    settings = town.settings("discord", "mastodon")
    service = serve(settings, AT_ONCE, {"ANNOUNCER_RESUME": "0s"})
    assert service.hear(start()) == 204
    service.until(lambda: settled(tmp_path), "it never settled")
    before = states(tmp_path)
    load = subprocess.Popen(
        [sys.executable, "-c", LOAD, str(tmp_path / "announcer.db")], stdout=subprocess.PIPE
    )
    assert load.stdout
    assert load.stdout.readline() == b"writing\n"
    try:
        for number in range(3):
            subprocess.run(
                [sys.executable, "-m", "announcer", "backup", f"copy{number}.db"],
                cwd=tmp_path,
                env=service.environment,
                check=True,
                timeout=30,
            )
    finally:
        os.kill(load.pid, signal.SIGKILL)
        load.communicate()
    service.kill()
    restored = tmp_path / "restored"
    restored.mkdir()
    (tmp_path / "copy2.db").rename(restored / "announcer.db")
    again = Service(restored, {**settings, **AT_ONCE})
    try:
        assert states(restored) == before
        assert len(again.posts()) == 2
        assert town.counts() == {"discord": 1, "mastodon": 1}
    finally:
        assert again.stop() == 0


LOAD = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
print("writing", flush=True)
for number in range(10**6):
    other.execute("INSERT OR REPLACE INTO memory VALUES ('load', 'n', ?)", (str(number) * 500,))
"""
