"""An Owncast that misbehaves when it is asked. It holds up no announcement for long, and a stream
of which it says nothing that makes sense is out of reach and never over.
"""

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import pytest

from announcer import pictures, watch
from announcer.pictures import Pictures
from announcer.policy import Sight
from announcer.watch import About, Watch
from tests.rogue import OK, Ending, Serve, Server
from tests.running import PAYLOADS

PATIENCE, REQUEST = 0.8, 0.4
BODY_FOLLOWS = OK + b"Content-Length: 999\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"
BOMB = gzip.compress(b'{"online": false' + b" " * 20_000_000 + b"}")
OFFLINE = json.dumps({"online": False, "tags": ["evil"], "name": "elsewhere"}).encode()


class Endless:
    def __iter__(self) -> Iterator[bytes]:
        return chain([CHUNKED], repeat(CHUNK))


def whole(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", PATIENCE)
    monkeypatch.setattr(pictures, "PATIENCE", PATIENCE + 0.2)
    monkeypatch.setattr(pictures, "REQUEST", REQUEST)


FAULTS = [
    pytest.param([], "hang", id="e02 no answer"),
    pytest.param([BODY_FOLLOWS, *[b" "] * 900], "close", id="e03 a drip"),
    pytest.param([BODY_FOLLOWS + OFFLINE], "reset", id="e04 a reset"),
    pytest.param([BODY_FOLLOWS + OFFLINE], "close", id="e04 cut short"),
    pytest.param([whole(OFFLINE[:-1])], "close", id="e04 half a JSON"),
    pytest.param([whole(b"<html>Log in</html>")], "close", id="e05 HTML"),
    pytest.param([whole(b"")], "close", id="e06 empty"),
    pytest.param([whole(b"", "204 No Content")], "close", id="e06 no content"),
    pytest.param([whole(BOMB, headers="Content-Encoding: gzip\r\n")], "close", id="e07 a bomb"),
    pytest.param(Endless(), "close", id="e07 no end"),
    pytest.param([whole(OFFLINE, "302 Found", "Location: /\r\n")], "close", id="e08 elsewhere"),
    pytest.param([whole(OFFLINE, "503 Busy")], "close", id="e15 busy"),
    pytest.param([OK + b"X-One: 1\r\n" * 10_000 + b"\r\n"], "close", id="e30 10,000 headers"),
    pytest.param([OK + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n"], "close", id="e30 a long header"),
]


def rogue(serve: Serve, parts: Iterable[bytes], then: Ending) -> Server:
    """Slow enough that 900 parts take minutes, and one or two no time."""
    server = serve(pause=0.02, then=then)
    server.parts = parts
    return server


@pytest.mark.parametrize(("parts", "then"), FAULTS)
def test_e02_e03_e04_e05_e07_nothing_of_sense_is_not_offline(
    serve: Serve, parts: Iterable[bytes], then: Ending
) -> None:
    there, begun = Watch(rogue(serve, parts, then).origin), time.monotonic()
    assert there.look() is Sight.UNREACHABLE
    assert there.about() == About()
    assert time.monotonic() - begun < 2 * PATIENCE + 5


@pytest.mark.parametrize(("parts", "then"), FAULTS)
def test_e25_without_a_picture_that_is_one_the_words_go_alone_and_soon(
    serve: Serve, parts: Iterable[bytes], then: Ending
) -> None:
    there, begun = Pictures(rogue(serve, parts, then).origin), time.monotonic()
    assert there.take(of_stream=True) is None
    assert time.monotonic() - begun < PATIENCE + 5


def test_e04_an_owncast_that_makes_sense_again_is_believed(serve: Serve) -> None:
    said = (PAYLOADS / "api-0.1-status-online.json").read_bytes()
    assert Watch(serve(whole(said)).origin).look() is Sight.ONLINE
