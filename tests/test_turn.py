"""A process that was frozen past its lease says nothing when it wakes: the door looks last."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from announcer import connection, wire
from announcer.network import TryLater
from tests.rogue import GOOD, Authority, Serve, Server

SOON, LATER = timedelta(seconds=0.15), timedelta(seconds=30)


def now() -> datetime:
    return datetime.now(UTC)


def post(server: Server) -> requests.Response:
    with wire.answered(), wire.Session(server.origin) as session:
        return session.post(server.url, json={"text": "live"})


def test_in_its_turn_a_request_is_as_always(serve: Serve) -> None:
    server = serve(GOOD)
    with wire.not_after(now() + LATER):
        assert post(server).json() == {}
    with wire.not_after(now() - LATER), pytest.raises(TryLater):
        post(server)
    assert post(server).json() == {}, "the limit ended with its block"
    assert len(server.heard) == 2


def test_too_late_connects_to_nobody_and_is_certainly_not_posted(serve: Serve) -> None:
    server = serve(GOOD)
    with wire.not_after(now() - SOON), pytest.raises(TryLater, match=r"^our turn is over$"):
        post(server)
    assert server.connections == 0


def test_a_turn_that_ends_while_we_connect_sends_not_one_byte(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The freeze falls between the look at the lease and the request: nothing may follow it."""
    server, look = serve(GOOD), socket.getaddrinfo

    def frozen(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.3)
        return look(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", frozen)
    with wire.not_after(now() + SOON), pytest.raises(TryLater, match="turn"):
        post(server)
    server.settle()
    assert server.connections == 1
    assert server.heard == []


def test_a_turn_that_ends_in_the_handshake_sends_no_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, trusted: Authority
) -> None:
    server, shake = serve(GOOD, tls=trusted.server()), ssl.SSLSocket.do_handshake

    def frozen(self: ssl.SSLSocket, *args: Any, **kwargs: Any) -> None:
        shake(self, *args, **kwargs)
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.3)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", frozen)
    with wire.not_after(now() + SOON), pytest.raises(TryLater, match="turn"):
        post(server)
    server.settle()
    assert server.heard == []


def test_a_turn_that_ends_before_the_body_leaves_only_half_a_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that announces a body and brings none has posted nothing."""
    server, clock = serve(GOOD), iter([False, True])
    monkeypatch.setattr(connection, "turn_is_over", lambda: next(clock))
    with pytest.raises(TryLater, match="turn"):
        post(server)
    server.settle()
    assert [b'"text"' in heard for heard in server.heard] == [False]


def test_a_reused_connection_is_no_way_round(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = GOOD.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)
    server = serve(kept, then="more")
    with wire.answered(), wire.Session(server.origin) as session, wire.not_after(now() + LATER):
        session.post(server.url, json={})
        clock = iter([True])  # in time at the door, too late at the socket
        monkeypatch.setattr(connection, "turn_is_over", lambda: next(clock))
        with pytest.raises(wire.NotSent, match="turn"):
            session.post(server.url, json={})
    server.settle()
    assert server.connections == 1
    assert len(server.heard) == 1


def test_the_earliest_of_several_turns_counts(serve: Serve) -> None:
    server = serve(GOOD)
    with wire.not_after(now() - SOON), wire.not_after(now() + LATER), pytest.raises(TryLater):
        post(server)
    with wire.not_after(now() + LATER):
        with wire.not_after(now() - SOON), pytest.raises(TryLater):
            post(server)
        post(server)
    assert len(server.heard) == 1


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_either_clock_ends_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    """Forward: the machine slept, and the monotonic clock with it. Back: somebody set the wall's,
    and ten seconds passed.
    """
    server, monotonic = serve(GOOD), time.monotonic
    with wire.not_after(now() + timedelta(seconds=5)):
        monkeypatch.setattr(connection, "now", lambda: datetime.now(UTC) + jump)
        if jump < timedelta():
            monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 10)
        with pytest.raises(TryLater, match="turn"):
            post(server)
    assert server.connections == 0


def test_a_turn_is_of_its_thread_alone(serve: Serve) -> None:
    server = serve(GOOD)
    with wire.not_after(now() - SOON):
        other = threading.Thread(target=post, args=(server,))
        other.start()
        other.join(5)
    assert len(server.heard) == 1
