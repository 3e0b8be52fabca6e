"""A real relay, and what its readers are given."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from coincurve import PrivateKey

from announcer import rehearsal
from tests.fakes import wait_until
from tests.running import Service
from tests.servers.nostr import NostrRelay

AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}
STREAM = "https://live.kestrel.example"


class Reader:
    """What the relay shows of one key."""

    def __init__(self, relay: NostrRelay, key: bytes) -> None:
        self._relay = relay
        self._public = PrivateKey(key).public_key.format(compressed=True)[1:].hex()

    def notes(self) -> list[dict[str, Any]]:
        return self._relay.events(author=self._public, kinds=[1])

    def status(self) -> list[str]:
        found = self._relay.events(author=self._public, kinds=[30311])
        return [value for one in found for name, value, *_ in one["tags"] if name == "status"]


@pytest.fixture
def key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def reader(nostr_relay: NostrRelay, key: bytes) -> Reader:
    return Reader(nostr_relay, key)


@pytest.fixture
def settings(nostr_relay: NostrRelay, key: bytes) -> dict[str, str]:
    return {
        "NOSTR_PRIVATE_KEY": key.hex(),
        "NOSTR_RELAYS": nostr_relay.url,
        # The address of the stream is shown, and asked for its status; nobody answers there.
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
        **AT_ONCE,
    }


@pytest.fixture
def service(tmp_path: Path, settings: dict[str, str]) -> Iterator[Service]:
    running = Service(tmp_path, settings)
    yield running
    running.stop()


def tell(service: Service, what: str, title: str = "Fitting a dovetail drawer") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_an_evening_is_a_note_a_reply_and_a_live_event_that_ends(
    service: Service, reader: Reader
) -> None:
    tell(service, "start", "@kestrel nostr:npub10elfcs4fr0l0r8af98jlmgdh9c8tcxj {{7*7}}")
    service.until(lambda: reader.status() == ["live"], "no live event")
    [start] = reader.notes()
    assert STREAM in start["content"]
    assert "{{7*7}}" in start["content"]
    assert "nostr:npub" not in start["content"]
    assert not [tag for tag in start["tags"] if tag[0] == "p"]
    tell(service, "start", "the same again")
    tell(service, "stop")
    service.until(lambda: reader.status() == ["ended"], "the live event does not end")
    service.until(lambda: len(reader.notes()) == 2, "no word of the end")
    [reply] = (note for note in reader.notes() if note["id"] != start["id"])
    assert ["e", start["id"], "", "root"] in reply["tags"]


@pytest.mark.parametrize("point", ["say: before", "say: answered"])
def test_a12_a_crash_while_relays_take_a_note_leaves_one_note(
    tmp_path: Path, settings: dict[str, str], reader: Reader, point: str
) -> None:
    trace = tmp_path / "passed"
    crash = {"ANNOUNCER_CRASH_AT": point, "ANNOUNCER_CRASH_TRACE": str(trace)}
    first = Service(tmp_path, settings | crash)
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
    first.kill()
    before = reader.notes()
    assert len(before) == (1 if point == "say: answered" else 0)
    second = Service(tmp_path, settings)
    second.until(lambda: reader.status() == ["live"], "it was never told")
    second.stop()
    [note] = reader.notes()
    assert [note] == before or not before, "the very same bytes"
