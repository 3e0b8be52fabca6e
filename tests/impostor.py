"""Real networks before servers that misbehave: over TLS that holds, or on a stage."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from announcer.contract import Row
from announcer.contract.fake import Answer, Wire
from announcer.network import Network
from tests.fakes import Stage
from tests.rogue import Authority, Serve, Server, everywhere
from tests.rows import ROWS

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


OnStage = Callable[[Network], Stage]


class StandsIn(Protocol):
    def __call__(self, row: Row, *parts: bytes, **how: Any) -> Server: ...


@pytest.fixture
def stands_in(serve: Serve, trusted: Authority, monkeypatch: pytest.MonkeyPatch) -> StandsIn:
    """Starts a server that treats posts to the network of a row as `serve` says. Every name leads
    to it; what goes before a post, such as a login, it answers well.
    """

    def start(row: Row, *parts: bytes, **how: Any) -> Server:
        good = Wire()
        row.prepare(good)

        def aside(method: str, path: str) -> bytes | None:
            standing = good.standing(method, path)
            return standing.raw() if isinstance(standing, Answer) else None

        server = serve(*parts, tls=trusted.town(), aside=aside, **how)
        everywhere(server, monkeypatch)
        return server

    return start


@pytest.fixture
def on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnStage]:
    """Puts one network on a stage, named like its row, and all clocks to the stage's. Half of every
    jitter: the first wait is 1 s.
    """
    stages: list[Stage] = []

    def start(network: Network) -> Stage:
        stage = Stage(tmp_path / "announcer.db", {type(network).__name__.lower(): network})
        stages.append(stage)
        monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield start
    for stage in stages:
        stage.close()
