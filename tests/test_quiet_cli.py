"""Pause, resume and "announce this one anyway": from the terminal to the running service."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from announcer.cli import main
from announcer.events import Event, Kind
from announcer.networks import places
from announcer.policy import Entry
from tests.house import ONE, House, house, own_logging
from tests.test_pages import Page, look

Run = Callable[..., Result]

OURS = ("ANNOUNCER_", "OWNCAST_", *(f"{name.upper()}_" for name in places()))
SKIPPING = {**ONE, "ANNOUNCER_SKIP_TITLES": "test"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`announcer ...` in the folder of the house, another process as far as anybody can tell."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)

    def announcer(*arguments: str) -> Result:
        result = CliRunner().invoke(main, arguments, env=SKIPPING)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    with own_logging():
        yield announcer


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, SKIPPING) as made:
        yield made


def hear(there: House, kind: Kind = Kind.STARTED, title: str = "Drawers") -> None:
    now = datetime.now(UTC)
    event = Event(f"{kind}-{title}-{now.timestamp()}", "default", kind, now, title=title)
    there.parts.intake.take(event, now)


def entry(there: House) -> Entry:
    ((_, (post,)),) = there.parts.outbox.history(1)
    return post.entry


def test_pause_says_what_it_withdrew_and_resume_ends_it(run: Run, home: House) -> None:
    hear(home)
    said = run("pause")
    assert said.exit_code == 0
    assert said.stdout == (
        f"{entry(home).key} was about to be announced and is withdrawn\n"
        "paused: nothing new is announced until `announcer resume`\n"
    )
    assert entry(home).reason == "paused by the operator"
    assert run("resume").stdout == "resumed: the next stream is announced\n"
    assert home.parts.outbox.paused() is None
    assert entry(home).state == "withdrawn", "it is not told late"


def test_pause_twice_says_since_when_and_resume_twice_that_it_was_not_paused(
    run: Run, home: House
) -> None:
    assert "since" not in run("pause").stdout
    since = home.parts.outbox.paused()
    again = run("pause")
    assert f"since {since:%Y-%m-%d %H:%M} UTC" in again.stdout
    assert again.exit_code == 0
    run("resume")
    last = run("resume")
    assert (last.exit_code, last.stdout) == (0, "it was not paused\n")


def test_the_running_service_obeys_a_pause_of_another_process(run: Run, home: House) -> None:
    run("pause")
    hear(home)
    assert (entry(home).state, entry(home).reason) == ("withdrawn", "paused by the operator")


def test_a_pause_is_seen_in_history_and_on_the_page(run: Run, home: House) -> None:
    assert "aused" not in run("history").stdout + Page(look(home)).words
    run("pause")
    hear(home)
    said, words = run("history").stdout, Page(look(home)).words
    since = home.parts.outbox.paused()
    assert said.startswith(f"paused since {since:%Y-%m-%d %H:%M} UTC: `announcer resume` ends it\n")
    assert "Paused since" in words
    for shown in (said, words):
        assert "paused by the operator" in shown
    run("resume")
    assert "Paused" not in Page(look(home)).words


def test_the_page_and_history_say_why_a_title_was_not_announced(run: Run, home: House) -> None:
    hear(home, title="A test")
    assert "its title contains 'test'" in run("history").stdout
    words = Page(look(home)).words
    assert "not told" in words
    assert "its title contains 'test'" in words
    (row,) = json.loads(run("history", "--json").stdout)
    assert (row["state"], row["reason"]) == ("withdrawn", "its title contains 'test'")


@pytest.mark.parametrize("paused", [False, True])
def test_announce_tells_of_the_stream_that_is_live_whatever_the_rules_say(
    run: Run, home: House, paused: bool
) -> None:
    if paused:
        run("pause")
    hear(home, title="A test")
    said = run("announce")
    assert said.exit_code == 0
    assert said.stdout == f"{entry(home).key} will be sent by the running service within seconds\n"
    (claim,) = home.parts.outbox.claim("me", datetime.now(UTC), 9)
    assert home.parts.delivery.attempts.gate.held_back(claim, claim.entry) is None
    assert entry(home).until - datetime.now(UTC) > timedelta(minutes=29)


def test_the_service_judges_once_more_before_it_speaks(home: House) -> None:
    hear(home)
    home.past_the_hold()
    (claim,) = home.parts.outbox.claim("me", datetime.now(UTC), 9)
    assert home.parts.delivery.attempts.gate.held_back(claim, claim.entry) is None
    retitled = replace(claim, broadcast=replace(claim.broadcast, title="A test"))
    held = home.parts.delivery.attempts.gate.held_back(retitled, claim.entry)
    assert held
    assert held.reason == "its title contains 'test'"


def test_announce_takes_the_broadcast_that_history_names(run: Run, home: House) -> None:
    hear(home, title="A test")
    assert run("announce", entry(home).broadcast).exit_code == 0


def test_announce_of_nothing_says_why(run: Run, home: House) -> None:
    def error(*arguments: str) -> str:
        said = run("announce", *arguments)
        assert said.exit_code == 1
        return said.stderr

    assert "nothing is live" in error()
    assert "20260912-1900-fc109883 is not known" in error("20260912-1900-fc109883")
    hear(home)
    assert "no rule holds it back" in error()
    hear(home, Kind.STOPPED)
    assert "nothing is live" in error()
    assert f"{entry(home).broadcast} has ended" in error(entry(home).broadcast)


@pytest.mark.parametrize("command", ["pause", "resume", "announce"])
def test_a_database_that_can_not_be_used_is_told_by_its_variable(
    run: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "announcer.db").write_bytes(b"no database at all" * 100)
    said = run(command)
    assert said.exit_code == 1
    assert "ANNOUNCER_DATABASE_URL" in said.stderr
