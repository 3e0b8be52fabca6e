"""Owncast shouts: chat was subscribed to by mistake, and the stream starts in the middle of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from announcer import rehearsal
from tests.running import Service
from tests.storm import memory_of, storm, worker_of
from tests.town import Town

NUMBER, RATE = 1_200, 500.0
"""A part of it that two busy cores can stand; `bench/storm.py` measures 10,000 at 1,000/s."""


def say(what: str) -> bytes:
    return rehearsal.webhook(what, "Fitting a dovetail drawer", "Kestrel Workshop")


@pytest.fixture
def town() -> Iterator[Town]:
    town = Town()
    yield town
    town.close()


def test_d01_a_storm_of_chat_takes_no_memory_and_the_start_inside_it_is_announced(
    town: Town, tmp_path: Path
) -> None:
    chat = {"OWNCAST_ACCESS_TOKEN": "owncast-token", "OWNCAST_CHAT_COMMAND": "!posts"}
    rules = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_RESUME": "0s"}
    service = Service(tmp_path, {**town.settings("mastodon", "bluesky"), **chat, **rules})

    def told(times: int) -> bool:
        return town.counts() == dict.fromkeys(("mastodon", "bluesky", "owncast"), times)

    try:
        # What the first of everything leaves behind is no leak.
        assert service.hear(say("start")) == 204
        storm(service, 800, RATE)
        service.until(lambda: told(1), f"the start before: {town.counts()}")
        assert service.hear(say("stop")) == 204
        before = memory_of(worker_of(service))
        weather = storm(service, NUMBER, RATE, {NUMBER // 2: say("start")})
        assert weather.statuses == {204: NUMBER}
        service.until(lambda: told(2), f"the start inside: {town.counts()}")
        assert memory_of(worker_of(service)) - before < 8, "megabytes"
        assert "Traceback" not in service.log
        assert len(service.log.splitlines()) < 60, "a line for each would fill a disk"
    finally:
        assert service.stop() == 0
