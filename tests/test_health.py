"""What machines are told: alive, able to work, and never because of a network."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from announcer import patrol, scheduler
from announcer.contract.fake import Wire, refused
from announcer.outbox import database, together
from tests.house import ONE, Breakage, House, house, locked, read_only, table_gone
from tests.running import payload
from tests.test_pages import EVERY_SECRET


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """One that waits 0.1 s for a locked database, instead of 10."""
    patient = [pragma for pragma in database.PRAGMAS if not pragma.startswith("busy_timeout")]
    monkeypatch.setattr(database, "PRAGMAS", (*patient, "busy_timeout=100"))
    monkeypatch.setattr(together, "TURN", 0.1)
    with house(tmp_path) as made:
        yield made


def ask(there: House, path: str) -> tuple[int, dict[str, Any]]:
    answer = there.client.get(path, environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert answer.mimetype == "application/json"
    return answer.status_code, answer.get_json()


def test_all_is_well_and_everybody_may_know(home: House) -> None:
    assert ask(home, "/healthz") == (200, {"ok": True})
    ready = {"ok": True, "database": "writable", "clock": "ticking", "watch": "looking"}
    status, said = ask(home, "/readyz")
    assert said.pop("database_bytes") > 4096
    assert (status, said) == (200, ready)


@pytest.mark.parametrize(
    ("breakage", "alive", "told"),
    [
        (locked, 200, "another process keeps it locked for too long"),
        (
            read_only,
            200,
            "it can not be written to: its disk is read-only, or the file is not ours",
        ),
        (table_gone, 503, "OperationalError"),
    ],
)
def test_b04_b06_a_broken_database_is_not_ready_and_recovers_by_itself(
    home: House, breakage: Breakage, alive: int, told: str
) -> None:
    """A restart mends no full disk, so only what can not even be read counts as not alive."""
    with breakage(home):
        status, said = ask(home, "/readyz")
        assert (status, said["ok"]) == (503, False)
        assert said["database"] == told
        assert ask(home, "/healthz")[0] == alive
    assert ask(home, "/readyz")[0] == 200
    assert ask(home, "/healthz")[0] == 200


def test_b01_probes_write_seldom_but_at_once_after_a_failure(home: House) -> None:
    """To know of a full disk, and to spare a good one."""

    def proof() -> str:
        (value,) = (row[2] for row in home.stored()["memory"] if row[1] == "proof")
        return str(value)

    assert ask(home, "/readyz")[0] == 200
    first = proof()
    assert ask(home, "/readyz")[0] == 200
    assert proof() == first
    with locked(home):
        assert home.hear(payload("0.3-stream-started")).status_code == 503
    assert ask(home, "/readyz")[0] == 200
    assert proof() != first


def test_a_clock_that_stands_still_is_not_ready_but_alive(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "STUCK", -1.0)
    status, said = ask(home, "/readyz")
    assert (status, said["ok"], said["clock"]) == (503, False, "stuck")
    assert ask(home, "/healthz")[0] == 200


def test_g14_a_clock_that_is_not_set_is_not_ready_but_alive(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.web.health.CLOCK_SET", datetime(2999, 1, 1, tzinfo=UTC))
    status, said = ask(home, "/readyz")
    assert (status, said["ok"], said["clock"]) == (503, False, "not set")
    assert ask(home, "/healthz")[0] == 200


def test_a_watch_that_makes_no_rounds_is_not_ready_but_alive(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patrol, "STUCK", -1.0)
    status, said = ask(home, "/readyz")
    assert (status, said["ok"], said["watch"]) == (503, False, "stuck")
    assert ask(home, "/healthz")[0] == 200


@pytest.mark.parametrize(
    "settings",
    [{**ONE, "ANNOUNCER_POLL": "0s"}, {**ONE, "OWNCAST_URL": ""}],
    ids=["never asked", "no address"],
)
def test_without_a_watch_it_is_ready(tmp_path: Path, settings: dict[str, str]) -> None:
    with house(tmp_path, settings) as there:
        status, said = ask(there, "/readyz")
    assert (status, said["watch"]) == (200, "off")


def test_the_clock_ticks_as_long_as_it_finishes_its_looks(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("announcer.scheduler.time.monotonic", lambda: now + 31)
    assert ask(home, "/readyz")[0] == 503
    home.parts.clock.tick()
    assert ask(home, "/readyz")[0] == 200


def test_b04_a_locked_database_holds_up_a_crowd_no_longer_than_one(home: House) -> None:
    """Or a lock that lasts would keep every thread of the server, one after another."""

    def knock(number: int) -> int:
        client = home.client.application.test_client()
        if number % 2:
            return client.get("/readyz").status_code
        there = House(home.parts, client, home.file)
        return there.hear(payload("0.3-stream-started")).status_code

    begun = time.monotonic()
    with locked(home), ThreadPoolExecutor(40) as crowd:
        assert set(crowd.map(knock, range(40))) == {503}
    assert time.monotonic() - begun < 3, "in turn they would wait for 4"


@pytest.mark.parametrize(
    ("closed", "alone", "told"),
    [
        (["discord"], [], {"destinations_closed": 1}),
        ([], ["discord"], {"destinations_left_alone": 1}),
        (["discord"], ["discord"], {"destinations_closed": 1}),
        (["discord.gone"], ["mastodon"], {}),
    ],
    ids=["closed", "left alone", "both is closed", "not configured any more"],
)
def test_broken_accounts_are_told_and_no_reason_to_restart(
    home: House, closed: list[str], alone: list[str], told: dict[str, int]
) -> None:
    """How many, to anybody; which, on the page."""
    now = datetime.now(UTC)
    for name in closed:
        home.parts.outbox.close(name, "a fingerprint", "401 no such token", now)
    with home.parts.outbox.engine.begin() as connection:
        for name in alone:
            values = (name, 3, now.timestamp(), now.timestamp() + 600, "503")
            connection.exec_driver_sql("INSERT INTO breakers VALUES (?, ?, ?, ?, ?)", values)
    status, said = ask(home, "/readyz")
    assert (status, said["ok"]) == (200, True)
    assert {name: n for name, n in said.items() if name.startswith("destinations")} == told
    assert "discord" not in str(said)
    assert ask(home, "/healthz") == (200, {"ok": True})


def test_no_network_is_asked(tmp_path: Path, wire: Wire) -> None:
    """An outage there must never restart us."""
    wire.breaks(refused, times=100)
    with house(tmp_path, EVERY_SECRET) as everything:
        assert everything.hear(payload("0.3-stream-started")).status_code == 204
        assert ask(everything, "/healthz")[0] == 200
        assert ask(everything, "/readyz")[0] == 200
    assert not wire.sent
