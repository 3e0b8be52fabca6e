"""Where a stranger chose the host: nothing leaves for this machine or for its own network."""

import socket
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from announcer import connection, wire
from announcer.connection import is_public
from announcer.meaning import NotSent
from announcer.network import TryLater
from tests.rogue import GOOD, Authority, Serve, everywhere

NEAR = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",  # noqa: S104  # nobody listens there
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", NEAR)
def test_what_is_near_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "142.250.74.10", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"]
)
def test_the_rest_of_the_world_is(address: str) -> None:
    assert is_public(address)


def ask(origin: str, *, public_only: bool = True) -> None:
    with wire.answered(), wire.Session(origin, public_only=public_only) as session:
        session.post(f"{origin}/push/1", data=b"news")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"]
)
def test_this_machine_gets_nothing_however_it_is_written(serve: Serve, host: str) -> None:
    server = serve(GOOD)
    with pytest.raises(TryLater, match="not a public one"):
        ask(f"http://{host}:{server.port}")
    assert server.connections == 0


def test_a_name_that_leads_here_gets_nothing(
    serve: Serve, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(GOOD, tls=trusted.town())
    everywhere(server, monkeypatch)
    with pytest.raises(TryLater, match="not a public one"):
        ask("https://push.example")
    assert server.connections == 0
    ask("https://push.example", public_only=False)
    assert len(server.heard) == 1, "else this test would prove nothing"


def leads_to(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str], port: int) -> list[str]:
    """What every name leads to, the first time and so on; the names that were looked up."""
    looks, asked = list(answers), list[str]()

    def look(host: str, *_: object, **__: object) -> list[connection.Address]:
        asked.append(host)
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return asked


def test_the_address_that_was_judged_is_the_one_that_is_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: good at the first look, near at the next."""
    good, near = serve(GOOD, address="127.0.0.2"), "127.0.0.1"
    monkeypatch.setattr(connection, "is_public", lambda address: address == "127.0.0.2")
    asked = leads_to(monkeypatch, ["127.0.0.2"], [near], port=good.port)
    ask("http://push.example")
    assert len(good.heard) == 1
    assert asked == ["push.example"], "one look for each connection, and no second opinion"
    with pytest.raises(TryLater, match="not a public one"):
        ask("http://push.example")
    assert len(good.heard) == 1


def test_of_several_addresses_only_those_of_the_world_are_tried(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = serve(GOOD, address="127.0.0.2")
    monkeypatch.setattr(connection, "is_public", lambda address: address == "127.0.0.2")
    leads_to(monkeypatch, ["127.0.0.3", "127.0.0.2"], port=good.port)
    ask("http://push.example")
    assert len(good.heard) == 1


def test_the_operators_proxy_is_where_it_is_and_never_passed_by(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is near, as proxies are. What is near to us is not asked without it, as it is else."""
    proxy, server = serve(GOOD), serve(GOOD)
    monkeypatch.setattr(wire.Session, "proxy", proxy.origin)
    ask("http://push.example")
    ask(server.origin)
    proxy.settle(2)
    assert [heard.split()[1] for heard in proxy.heard] == [
        b"http://push.example/push/1",
        f"{server.origin}/push/1".encode(),
    ]
    assert server.heard == []


def test_g07_what_is_done_in_other_threads_ends_with_our_turn(serve: Serve) -> None:
    server = serve(GOOD)
    problems: list[str] = []

    def work() -> None:
        try:
            with wire.Session(server.origin) as session:
                session.get(server.origin)
        except NotSent as problem:
            problems.append(str(problem))

    with wire.not_after(connection.now() - timedelta(seconds=1)):
        limited = wire.under_this_limit(work)
    for target in (limited, work):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    server.settle()
    assert problems == ["our turn is over"]
    assert len(server.heard) == 1, "the limit is the other thread's for that work only"
