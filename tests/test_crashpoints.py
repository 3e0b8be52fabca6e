"""The points where a test may kill the process: silent unless two variables say otherwise."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from announcer import crashpoints, rehearsal
from announcer.crashpoints import CRASH_AT, TRACE, VARIABLES, here
from tests.fakes import wait_until
from tests.running import Service
from tests.town import Town

ROOT = Path(__file__).parent.parent


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """Arms the trace; what was passed since."""
    file = tmp_path / "passed"
    file.touch()
    crashpoints.arm({TRACE: str(file)})
    yield lambda: file.read_text("utf-8").splitlines()
    assert not crashpoints.arm({})


def test_nothing_is_noted_when_nobody_asked(tmp_path: Path) -> None:
    assert not crashpoints.arm({})
    here("committed", "claim")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://127.0.0.1:5/api/v1/statuses?limit=40", "/api/v1/statuses"),
        ("/api/v1/statuses/115590/pin", "/api/v1/statuses/*/pin"),
        ("https://x.test/xrpc/com.atproto.repo.putRecord", "/xrpc/com.atproto.repo.putRecord"),
        ("https://discord.com/api/v10/webhooks/17/an-Ungue55able-word", "/api/v10/webhooks/*/*"),
    ],
)
def test_a_point_is_named_without_what_may_be_secret_in_an_address(
    trace: Callable[[], list[str]], address: str, name: str
) -> None:
    here("sent", "POST", address)
    assert trace() == [f"POST {name}: sent"]


@pytest.mark.parametrize(("point", "passings"), [("a: b", 1), ("a: b#1", 1), ("a: b#3", 3)])
def test_it_dies_the_nth_time_and_not_before(tmp_path: Path, point: str, passings: int) -> None:
    file = tmp_path / "passed"
    program = (
        "import os; from announcer import crashpoints as c; c.arm(os.environ)\n"
        "for _ in range(9): c.here('other', 'a'); c.here('b', 'a')"
    )
    died = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {CRASH_AT: point, TRACE: str(file)},
        check=False,
    )
    assert died.returncode == -9
    assert file.read_text().splitlines().count("a: b") == passings


def test_they_are_no_settings() -> None:
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert not any(name in text for name in VARIABLES)


def test_a_service_that_a_test_may_kill_says_so_and_dies(tmp_path: Path) -> None:
    town, file = Town(), tmp_path / "passed"
    crash = {CRASH_AT: "event: committed", TRACE: str(file)}
    service = Service(tmp_path, town.settings("discord") | crash)
    try:
        with suppress(requests.ConnectionError):
            service.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
        wait_until(lambda: "event: committed" in file.read_text().splitlines())
        [line] = [line for line in service.log.splitlines() if "crashpoints" in line]
        assert "level=critical" in line
        assert "event: committed" in line
        assert "no such setting" not in service.log
    finally:
        service.kill()
        town.close()
