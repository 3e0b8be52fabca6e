"""The door for what is not HTTP: the same limits, certificates, proxy and turn as for requests."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from announcer import wire
from announcer.contract import POST, Behaviour, SpokenContract
from announcer.network import TryLater, Unsure
from tests.pigeon import ROW, Loft, Pigeon, loft
from tests.rogue import Authority


class TestPigeon(SpokenContract):
    """The suite itself, held to a network that has nothing but the line."""

    rows = (ROW,)


@pytest.fixture
def open_loft() -> Iterator[Loft]:
    with loft() as one:
        yield one


def pigeon(port: int, *, encrypted: bool = False) -> Pigeon:
    return Pigeon.model_validate({"port": port, "ring": "silver", "encrypted": encrypted})


def test_e09_a_certificate_that_holds_is_taken(trusted: Authority) -> None:
    with loft(trusted.server()) as locked:
        pigeon(locked.port, encrypted=True).publish(POST)
        assert len(locked.shown) == 1


def test_e09_a_certificate_that_nobody_vouches_for_ends_it(authority: Authority) -> None:
    with (
        loft(authority.server()) as locked,
        pytest.raises(TryLater, match="its certificate does not hold"),
    ):
        pigeon(locked.port, encrypted=True).publish(POST)
    assert locked.shown == []


def test_e09_a_certificate_for_another_host_ends_it(trusted: Authority) -> None:
    with (
        loft(trusted.server("another.example")) as locked,
        pytest.raises(TryLater, match="its certificate does not hold"),
    ):
        pigeon(locked.port, encrypted=True).publish(POST)


def test_e02_an_answer_that_drips_ends_with_the_total_limit(
    open_loft: Loft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "TOTAL", 0.5)
    open_loft.drips = True
    begun = time.monotonic()
    with pytest.raises(TryLater, match="no answer in time"):
        pigeon(open_loft.port).publish(POST)
    assert time.monotonic() - begun < 8


def test_e02_a_wrapped_socket_is_cut_at_the_total_limit_too(
    trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "TOTAL", 0.5)
    with loft(trusted.server()) as locked:
        locked.drips = True
        with pytest.raises(TryLater, match="no answer in time"):
            pigeon(locked.port, encrypted=True).publish(POST)


@pytest.mark.parametrize(
    ("failure", "seen", "said"),
    [
        pytest.param(KeyError("their words, and our address"), Unsure, "broke", id="a library's"),
        pytest.param(EOFError(), Unsure, "broke", id="the end"),
        pytest.param(TimeoutError(), Unsure, "no answer in time", id="silence"),
        pytest.param(ZeroDivisionError(), ZeroDivisionError, None, id="a mistake of our own"),
    ],
)
def test_what_fails_after_the_post_left_is_unsure_whatever_it_was(
    open_loft: Loft, failure: Exception, seen: type[Exception], said: str | None
) -> None:
    def say() -> None:
        with wire.conversation("127.0.0.1", open_loft.port, breaks=(KeyError,)) as line:
            line.leaves()
            raise failure

    with pytest.raises(seen, match=said) as problem:
        say()
    assert "address" not in str(problem.value)


def test_e01_a_name_that_nobody_knows_is_later() -> None:
    with pytest.raises(TryLater, match="no such host"), wire.conversation("loft.invalid", 1):
        pass


@contextmanager
def proxy(status: int, asked: list[str]) -> Iterator[str]:
    """Takes one connection; whoever is let through meets a host that says OK to everything."""

    def serve(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            asked.append(peer.recv(4096).decode().splitlines()[0])
            peer.sendall(f"HTTP/1.1 {status} Said\r\n\r\n".encode())
            while status == 200 and peer.recv(100):
                peer.sendall(b"OK\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(5)


def test_a_conversation_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with proxy(200, asked) as url:
        monkeypatch.setattr(wire.Session, "proxy", url)
        # Not loopback's name, which no proxy is asked for; only the proxy knows it.
        with wire.conversation("loft.example", 1234) as line:
            line.sock.sendall(b"HELLO silver\n")
            assert line.sock.recv(10) == b"OK\n"
    assert asked == ["CONNECT loft.example:1234 HTTP/1.1"]


def test_a_proxy_that_lets_nobody_through_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(407, []) as url:
        monkeypatch.setattr(wire.Session, "proxy", url)
        with (
            pytest.raises(TryLater, match=r"the proxy \(ANNOUNCER_PROXY\): it answers 407"),
            wire.conversation("loft.example", 1234),
        ):
            pass


def test_a_peer_that_is_deaf_costs_the_read_limit(
    open_loft: Loft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "READ", 0.2)
    open_loft.behaviour = Behaviour.DEAF
    begun = time.monotonic()
    with pytest.raises(TryLater):
        pigeon(open_loft.port).publish(POST)
    assert time.monotonic() - begun < 2
