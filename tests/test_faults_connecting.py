"""Faults before a request has left: nothing was posted, so every one of them is TryLater."""

import socket
import ssl
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from announcer import wire
from announcer.contract import POST, Row
from announcer.network import DeliveryError, TryLater, Unsure
from tests.impostor import StandsIn, each_row
from tests.rogue import GOOD, SECRET, Authority, Serve
from tests.tunnel import Tunnel

CONNECT, TOTAL = 0.3, 0.9
SLACK = 3.0
"""Seconds, for a machine that has other things to do as well."""
REAL_CONNECT, REAL_TOTAL = wire.CONNECT, wire.TOTAL


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT", CONNECT)
    monkeypatch.setattr(wire, "READ", 0.5)
    monkeypatch.setattr(wire, "TOTAL", TOTAL)


def post(url: str) -> requests.Response:
    origin = "/".join(url.split("/")[:3])
    with wire.answered(), wire.Session(origin) as session:
        return session.post(url, json={"text": "live"}, headers={"Authorization": f"B {SECRET}"})


def seconds_until_it_gives_up(url: str, why: str) -> float:
    begun = time.monotonic()
    with pytest.raises(TryLater, match=why) as problem:
        post(url)
    assert SECRET not in "".join(traceback.format_exception(problem.value))
    return time.monotonic() - begun


class BlackHole:
    """Linux lets nobody in while the queue of a listening socket is full, and says nothing."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._stack = ExitStack()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = self._stack.enter_context(socket.socket(family))
        listening.bind((address, port))
        listening.listen(0)
        self.port: int = listening.getsockname()[1]
        for _ in range(4):
            waiting = self._stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())

    def __enter__(self) -> "BlackHole":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def leads_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    def found(*_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, 1, 6, "", (host, port))
            for host, port in places
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


# E01


def test_e01_the_real_limits_are_ten_and_thirty_seconds_at_most() -> None:
    assert 2 * REAL_CONNECT <= 10, "twice for all addresses together"
    assert REAL_TOTAL <= 30


def test_e01_a_black_hole_costs_the_connect_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with BlackHole() as hole:
        took = seconds_until_it_gives_up(f"http://127.0.0.1:{hole.port}/{SECRET}", "in time")
    assert CONNECT * 0.9 < took < CONNECT + SLACK


def test_e01_many_black_holes_cost_twice_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib3 would try each of them for as long: a name with twenty addresses, 100 seconds."""
    with BlackHole() as hole:
        leads_to(monkeypatch, *[("127.0.0.1", hole.port)] * 20)
        took = seconds_until_it_gives_up(f"http://many.example/{SECRET}", "no connection in time")
    assert took < 2 * CONNECT + SLACK


@each_row
@pytest.mark.parametrize("hole", [False, True], ids=["refused", "a black hole"])
def test_e01_for_every_network_it_is_later(
    row: Row, monkeypatch: pytest.MonkeyPatch, hole: bool
) -> None:
    with BlackHole() as there:
        unused = socket.create_server(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        unused.close()
        leads_to(monkeypatch, ("127.0.0.1", there.port if hole else port))
        begun = time.monotonic()
        with pytest.raises(TryLater, match=r"^no connection"):
            row.make().publish(POST)
    assert time.monotonic() - begun < 2 * (2 * CONNECT + SLACK), "at most a look and the post"


# E09


def old_tls(authority: Authority) -> ssl.SSLContext:
    context = authority.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


@pytest.mark.parametrize(
    ("made", "why"),
    [
        pytest.param(lambda a: a.server(days=-1), "certificate", id="expired"),
        pytest.param(lambda a: a.server("another.example"), "certificate", id="wrong host"),
        pytest.param(old_tls, "no TLS that is safe", id="TLS 1.0 only"),
    ],
)
def test_e09_what_is_not_secure_is_refused_and_may_get_better(
    serve: Serve, trusted: Authority, made: Callable[[Authority], ssl.SSLContext], why: str
) -> None:
    server = serve(GOOD, tls=made(trusted))
    seconds_until_it_gives_up(server.url, why)
    server.settle()
    assert server.heard == []
    assert server.connections == 1, "and never again without"


def test_e09_a_certificate_that_nobody_vouches_for_is_refused(
    serve: Serve, authority: Authority
) -> None:
    server = serve(GOOD, tls=authority.server())
    seconds_until_it_gives_up(server.url, "certificate does not hold")
    assert server.heard == []


def test_e09_one_that_holds_is_taken(serve: Serve, trusted: Authority) -> None:
    assert post(serve(GOOD, tls=trusted.server()).url).json() == {}


@pytest.mark.parametrize("speaks", [True, False], ids=["no TLS at all", "never answers the hello"])
def test_e09_a_handshake_that_never_comes_to_an_end(serve: Serve, speaks: bool) -> None:
    server = serve(GOOD, speaks=speaks)
    took = seconds_until_it_gives_up(server.url.replace("http:", "https:"), "^no (secure )?conn")
    assert took < TOTAL + SLACK
    server.stop()
    assert not [heard for heard in server.heard if SECRET.encode() in heard]


# E10


@pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_AGAIN], ids=["none", "SERVFAIL"])
def test_e10_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(error, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert seconds_until_it_gives_up(f"https://nobody.example/{SECRET}", "^no connection$") < SLACK


def test_e10_a_resolver_that_takes_half_a_minute(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled: three seconds where a third of one is allowed."""
    server, look = serve(GOOD), socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(3)
        return look(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert seconds_until_it_gives_up(server.url, "no connection in time") < CONNECT + SLACK
    assert server.connections == 0


# E11


@pytest.mark.parametrize("broken", ["refused", "a black hole"])
def test_e11_where_ipv6_is_broken_ipv4_is_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Those of IPv6 come first, as most resolvers tell them; in turn, or the time would be over."""
    server = serve(GOOD)
    with BlackHole("::1") as hole:
        port = hole.port if broken == "a black hole" else 1
        v6, v4 = ("::1", port), ("127.0.0.1", server.port)
        leads_to(monkeypatch, v6, v6, v6, v4, v4)
        begun = time.monotonic()
        assert post(f"http://both.example/{SECRET}").json() == {}
    assert time.monotonic() - begun < CONNECT + SLACK
    assert len(server.heard) == 1


# E29


@pytest.mark.parametrize("status", [407, 511])
def test_e29_a_proxy_that_lets_nobody_through_is_named(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    proxy = serve(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
    monkeypatch.setattr(wire.Session, "proxy", proxy.origin)
    seconds_until_it_gives_up(f"https://a.example/{SECRET}", rf"ANNOUNCER_PROXY.*answers {status}")
    assert SECRET.encode() not in proxy.heard[0]
    answer = post(f"http://a.example/{SECRET}")
    problem = wire.from_status(answer.status_code, "", answer.headers)
    assert isinstance(problem, TryLater)
    assert ("ANNOUNCER_PROXY" if status == 407 else "wants a login") in str(problem)
    assert len(proxy.heard) == 2


def test_e29_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.Session, "proxy", "http://127.0.0.1:1")
    seconds_until_it_gives_up(f"https://a.example/{SECRET}", r"through the proxy \(ANNOUNCER_PROXY")


def test_e02_e29_through_a_proxy_the_limits_hold_and_what_left_may_be_posted(
    trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests connects to proxies by other classes than to anybody else: ours must be used."""
    tunnel = Tunnel(trusted.server("a.example"))
    monkeypatch.setattr(wire.Session, "proxy", tunnel.origin)
    begun = time.monotonic()
    with pytest.raises(Unsure, match="no answer in time"):
        post(f"https://a.example/{SECRET}")
    assert time.monotonic() - begun < TOTAL + SLACK
    tunnel.end()
    assert b'"text"' in tunnel.heard


def test_e04_e29_a_reset_through_a_plain_proxy_may_be_posted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(then="reset")
    monkeypatch.setattr(wire.Session, "proxy", proxy.origin)
    with pytest.raises(Unsure, match="broke before the answer"):
        post(f"http://a.example/{SECRET}")
    assert len(proxy.heard) == 1


# E32

KEPT = GOOD.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)


def test_e32_a_reset_on_a_reused_connection_is_not_repeated_by_the_pool(serve: Serve) -> None:
    """The second request has arrived, and what became of it nobody knows."""
    server = serve(KEPT, then="reset after the next request")
    with wire.Session(server.origin) as session:
        session.post(server.url, json={"n": 1})
        with pytest.raises(Unsure, match="broke before the answer"), wire.answered():
            session.post(server.url, json={"n": 2})
    server.settle()
    assert [b'"n": 2' in heard for heard in server.heard] == [False, True]
    assert server.connections == 1


def test_e32_a_connection_that_nobody_said_is_kept_is_not_used_again(serve: Serve) -> None:
    """snac says nothing and closes it: a post that is sent at that moment would be in doubt."""
    server = serve(GOOD, then="reset after the next request")
    with wire.Session(server.origin) as session:
        for n in (1, 2):
            assert session.post(server.url, json={"n": n}).json() == {}
    assert server.connections == 2


def test_e32_a_connection_that_was_closed_meanwhile_is_made_anew(serve: Serve) -> None:
    server = serve(GOOD)
    with wire.Session(server.origin) as session:
        for n in range(3):
            assert session.post(server.url, json={"n": n}).json() == {}
            server.settle(n + 1)
    assert server.connections == len(server.heard) == 3


@each_row
def test_e32_no_network_repeats_a_post_that_was_reset(row: Row, stands_in: StandsIn) -> None:
    server = stands_in(row, then="reset")
    with pytest.raises(DeliveryError) as problem:
        row.make().publish(POST)
    server.settle()
    assert type(problem.value) is Unsure
    assert len(server.heard) == 1
