"""A whole network whose server misbehaves: every name leads to it, over TLS that holds."""

from typing import Any, Protocol

import pytest

from tests.conftest import Answer, Wire
from tests.rogue import Authority, Serve, Server, everywhere
from tests.test_network_contract import ROWS, Row

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


class StandsIn(Protocol):
    def __call__(self, row: Row, *parts: bytes, **how: Any) -> Server: ...


@pytest.fixture
def stands_in(serve: Serve, trusted: Authority, monkeypatch: pytest.MonkeyPatch) -> StandsIn:
    """Starts a server that treats posts to the network of a row as `serve` says. What goes before
    them, such as a login, it answers well.
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
