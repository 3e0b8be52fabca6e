"""A clock that was wrong, and a post that kills the service."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from announcer import policy
from announcer.outbox import LEASE, Outbox
from announcer.policy import State
from announcer.scheduler import Clock
from tests.fakes import NOW, Fake, Harmless, Stage, Turn, open_box, wait_until
from tests.running import Service
from tests.test_outbox import DUE, RECEIPT, put, to
from tests.test_process import AT_ONCE, Build, build, posts, serve, settled, start, states

__all__ = ["build", "serve"]  # fixtures
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEEP = timedelta(days=365)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    box = open_box(tmp_path / "announcer.db")
    yield box
    box.engine.dispose()


# G06: a post with which the process dies


DEADLY = """
import os, signal
from announcer.cli import main
from announcer.networks.discord import Discord
Discord.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_g06_a_post_that_kills_the_service_is_set_aside_and_the_rest_goes_on(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = build()
    settings = {**town.settings("discord", "mastodon", "bluesky", "x"), **AT_ONCE}
    service = Service(tmp_path, settings, program=("-c", DEADLY))
    try:
        assert service.hear(start()) == 204
        monkeypatch.setattr("tests.running.SECONDS", 40.0)
        service.until(lambda: settled(tmp_path), "it never settled")
        said = posts(tmp_path)["discord"].entry
        assert said.state is State.UNSURE or said.state is State.FAILED
        assert states(tmp_path) | {"discord": ""} == {
            "discord": "",
            "mastodon": "settled",
            "bluesky": "settled",
            "x": "settled",
        }
        assert town.counts() == {"mastodon": 1, "bluesky": 1, "x": 1}
    finally:
        service.kill()


def died(box: Outbox, times: int, now: datetime) -> None:
    """As if so many processes had died with everything that they had claimed."""
    for number in range(times):
        box.claim(f"dead {number}", now, 9)
        with box.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE posts SET lease_until = 0 WHERE state = 'sending'")
        for one in box.abandoned("next", now):
            box.store(one, replace(one.entry, state=State.DUE), now, None, None)


def test_g06_suspects_are_tried_one_at_a_time_and_an_outcome_clears_them(box: Outbox) -> None:
    put(box, to("a"), to("b"), to("c"))
    died(box, 2, NOW)
    (first,) = box.claim("me", NOW, 9)
    assert first.entry.deaths == policy.SUSPECT
    assert box.claim("me", NOW, 9) == []
    assert box.store(first, policy.settled(replace(first.entry, deaths=0)), NOW, None, RECEIPT)
    (second,) = box.claim("me", NOW, 9)
    assert (first.entry.destination, second.entry.destination) == ("a", "b")


def test_g06_a_planned_stop_is_no_death(box: Outbox) -> None:
    put(box, DUE)
    for number in range(5):
        box.claim(f"stopped {number}", NOW, 9)
        box.excuse(f"stopped {number}")
        (left,) = box.abandoned("next", NOW + 2 * LEASE)
        assert left.entry.deaths == 0
        box.store(left, replace(left.entry, state=State.DUE), NOW, None, None)


def test_g06_a_stop_says_so_before_it_waits(tmp_path: Path) -> None:
    gate, network = threading.Event(), Fake()
    network.then(Turn(gate=gate))
    stage = Stage(tmp_path / "announcer.db", {"fake": network})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("announcer.attempt.now", lambda: stage.now)
            stage.hear()
            stage.delivery.run()
            wait_until(lambda: network.sent)
            assert not stage.delivery.stop(0.05)
            (left,) = stage.box.abandoned("next", stage.now + 2 * LEASE)
            assert left.entry.deaths == 0
            gate.set()
    finally:
        stage.close()


def test_g06_the_operators_word_lifts_it(tmp_path: Path) -> None:
    harmless = Harmless()
    stage = Stage(tmp_path / "announcer.db", {"harmless": harmless})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("announcer.attempt.now", lambda: stage.now)
            stage.hear()
            died(stage.box, 2, stage.now)
            (claim,) = stage.box.claim("dead 3", stage.now, 9)
            assert stage.box.freeze(claim, None, stage.now)
            stage.passes(seconds=LEASE.total_seconds() + 1)
            stage.run()
            state, reason = stage.told("harmless")
            assert state == "unsure"
            assert "set aside: the service died 3 times in a row" in reason
            assert not harmless.sent
            key = stage.post("harmless").entry.key
            assert stage.box.retry(key, stage.now, stage.now + HOUR)
            stage.run()
            assert stage.told("harmless") == ("settled", "")
    finally:
        stage.close()


# C02, C06, G14: the clock


@pytest.mark.parametrize(
    ("then", "ids"),
    [(NOW + HOUR, "c02"), (datetime(1970, 1, 1, 0, 3, tzinfo=UTC), "g14")],
    ids=["set back by an hour", "not set at boot"],
)
def test_c02_g14_what_was_stored_by_a_wrong_clock_is_due_as_if_it_came_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: datetime, ids: str
) -> None:
    network = Fake()
    stage = Stage(tmp_path / "announcer.db", {"fake": network}, hold=timedelta(seconds=30))
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    try:
        stage.now = then
        stage.hear()
        stage.now = NOW
        again = stage.run()
        assert network.sent == []
        assert again == NOW + timedelta(seconds=30)
        stage.now = again
        stage.run()
        assert stage.told() == ("settled", "")
    finally:
        stage.close()


def test_c02_a_lease_of_a_clock_that_was_set_back_ends_in_time(box: Outbox) -> None:
    put(box, DUE)
    box.claim("dead", NOW + HOUR, 9)
    assert box.abandoned("me", NOW + 2 * LEASE) == []
    assert box.set_right(NOW) == 1
    assert box.set_right(NOW) == 0
    assert len(box.abandoned("me", NOW + LEASE + timedelta(seconds=1))) == 1


def test_g14_nothing_is_sent_before_the_clock_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Fake()
    stage = Stage(tmp_path / "announcer.db", {"fake": network})
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    try:
        stage.now = datetime(1970, 1, 1, 0, 3, tzinfo=UTC)
        stage.hear()
        assert stage.run() is None
        assert network.sent == []
    finally:
        stage.close()


def test_c02_the_safety_net_goes_on_when_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """APScheduler waits for a time on the wall: for an hour, if it was set back by one."""
    monkeypatch.setattr("announcer.scheduler.SAFETY_NET", 0.2)
    ticks: list[float] = []
    clock = Clock(lambda: ticks.append(time.monotonic()))
    clock.start()
    try:
        wait_until(lambda: len(ticks) > 2)
        real = datetime.now

        class Back(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return real(tz) - HOUR

        wall = time.time
        monkeypatch.setattr("announcer.scheduler.time.time", lambda: wall() - 3600)
        monkeypatch.setattr("announcer.scheduler.datetime", Back)
        monkeypatch.setattr("apscheduler.schedulers.base.datetime", Back)
        monkeypatch.setattr("apscheduler.triggers.interval.datetime", Back)
        begun = len(ticks)
        wait_until(lambda: len(ticks) > begun + 5)
    finally:
        clock.stop()


def test_c06_whatever_is_overdue_after_a_long_sleep_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Fake()
    stage = Stage(tmp_path / "announcer.db", {"fake": network})
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    try:
        stage.hear()
        stage.passes(hours=3)
        stage.run()
        assert stage.told() == ("failed", "too late")
        assert network.sent == []
    finally:
        stage.close()
