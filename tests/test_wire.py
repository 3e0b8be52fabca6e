"""The one door out, against servers that misbehave for real, on loopback."""

import gzip
import json
import time
import traceback
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
import requests

from announcer import wire
from announcer.network import DeliveryError, Refused, TryLater, Unsure
from tests.rogue import GOOD, OK, SECRET, Serve, Server

BODY_FOLLOWS = OK + b"Content-Length: 99\r\n\r\n"
DRIPS = [b"x"] * 200
"""Each is well within the time without a byte; together they last ten seconds."""


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT", 0.3)
    monkeypatch.setattr(wire, "READ", 0.4)
    monkeypatch.setattr(wire, "TOTAL", 0.8)


def post(url: str, origin: str = "") -> requests.Response:
    with wire.answered(), wire.Session(origin or url.partition(f"/{SECRET}")[0]) as session:
        return session.post(url, json={"text": "live"}, headers={"Authorization": f"B {SECRET}"})


def test_a_good_answer_is_read_whole(serve: Serve) -> None:
    server = serve(OK + b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"a": 1\r\n1\r\n}\r\n0\r\n\r\n')
    assert wire.json_of(post(server.url)) == {"a": 1}
    assert server.heard[0].endswith(b'{"text": "live"}')


def test_a_compressed_answer_is_read_though_not_asked_for(serve: Serve) -> None:
    packed = gzip.compress(b'{"a": 1}')
    length = b"Content-Length: %d\r\n\r\n" % len(packed)
    server = serve(OK + b"Content-Encoding: gzip\r\n" + length + packed)
    assert wire.json_of(post(server.url)) == {"a": 1}
    assert b"Accept-Encoding: identity" in server.heard[0]


def _bomb(size: int) -> bytes:
    packed = gzip.compress(bytes(size))
    return OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed


def test_e07_an_answer_is_inflated_no_further_than_its_limit(serve: Serve) -> None:
    """Good JSON, so that nothing but its size is wrong with it."""
    packed = gzip.compress(b'{"id": "7"' + b" " * 50_000_000 + b"}")
    length = b"Content-Length: %d\r\n\r\n" % len(packed)
    server = serve(OK + b"Content-Encoding: gzip\r\n" + length + packed)
    tracemalloc.start()
    try:
        with pytest.raises(Unsure, match="too big"):
            post(server.url)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 10_000_000


ENDLESS_CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"

FAULTS = [
    pytest.param((OK, *DRIPS), 0.05, "close", Unsure, id="a header that drips"),
    pytest.param((BODY_FOLLOWS, *DRIPS), 0.05, "close", Unsure, id="a body that drips"),
    pytest.param(
        (OK + b"Connection: close\r\n\r\n", *DRIPS),
        0.05,
        "close",
        Unsure,
        id="a body that drips until the connection ends",
    ),
    pytest.param((), 0.0, "hang", Unsure, id="no answer"),
    pytest.param((BODY_FOLLOWS + b"{",), 0.0, "hang", Unsure, id="half an answer"),
    pytest.param((), 0.0, "reset", Unsure, id="reset before the answer"),
    pytest.param((BODY_FOLLOWS + b"{",), 0.05, "reset", Unsure, id="reset in the answer"),
    pytest.param((), 0.0, "close", Unsure, id="closed without a word"),
    pytest.param((BODY_FOLLOWS + b"{",), 0.0, "close", Unsure, id="cut short"),
    pytest.param((b"SSH-2.0-OpenSSH\r\n",), 0.0, "close", Unsure, id="not HTTP"),
    pytest.param((_bomb(50_000_000),), 0.0, "close", Unsure, id="50 MB in 50 kB"),
    pytest.param(
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",),
        0.0,
        "close",
        Unsure,
        id="not what it says it is",
    ),
    pytest.param(
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", *[ENDLESS_CHUNK] * 100),
        0.0,
        "close",
        Unsure,
        id="a body without an end",
    ),
    pytest.param(
        (OK + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n",), 0.0, "close", Unsure, id="a long header"
    ),
    pytest.param(
        (OK + b"X-One: 1\r\n" * 10_000 + b"\r\n",), 0.0, "close", Unsure, id="10,000 headers"
    ),
    pytest.param(
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",),
        0.0,
        "close",
        Refused,
        id="a redirect",
    ),
]


@pytest.mark.parametrize(("parts", "pause", "then", "error"), FAULTS)
def test_e02_e03_e04_every_fault_has_its_meaning_within_the_total_limit(
    serve: Serve,
    parts: tuple[bytes, ...],
    pause: float,
    then: Literal["close", "hang", "reset"],
    error: type[DeliveryError],
) -> None:
    server = serve(*parts, pause=pause, then=then)
    started = time.monotonic()
    with pytest.raises(error) as problem:
        post(server.url)
    assert time.monotonic() - started < 8
    assert SECRET not in repr(problem.value) + _told(problem.value)
    assert len(server.heard) == 1, "nothing is ever sent twice"


def _told(problem: BaseException) -> str:
    return "".join(traceback.format_exception(problem))


def test_the_limit_of_a_session_may_be_shorter(serve: Serve) -> None:
    server = serve(OK, *DRIPS, pause=0.05)
    started = time.monotonic()
    with pytest.raises(Unsure), wire.answered(), wire.Session(server.origin, total=0.2) as session:
        session.get(server.url)
    assert time.monotonic() - started < 5


def test_a_quick_answer_after_a_slow_one_is_not_cut(serve: Serve) -> None:
    """The timer of a finished request must not shut the connection of the next one."""
    server = serve(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", pause=0.3)
    with wire.Session(server.origin) as session:
        for _ in range(4):
            assert session.post(server.url).json() == {}


# Where it may go


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_e08_a_redirect_is_never_followed(serve: Serve, status: int) -> None:
    """requests would turn the POST into a GET and take the page there for a success."""
    elsewhere = serve(GOOD)
    where = f"Location: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
    server = serve(b"HTTP/1.1 %d Moved\r\n" % status + where)
    with pytest.raises(Refused, match="set the final address"):
        post(server.url)
    assert elsewhere.heard == []


@pytest.mark.parametrize(
    "other",
    [
        "{scheme}://localhost:{port}/",
        "{scheme}://127.0.0.1:1/",
        "https://127.0.0.1:{port}/",
        "{scheme}://127.0.0.1:{port}@localhost:{port}/",
        "{scheme}://127.0.0.1.localhost:{port}/",
    ],
)
def test_another_host_is_refused_before_anything_leaves(serve: Serve, other: str) -> None:
    server = serve(GOOD)
    port = server.origin.rpartition(":")[2]
    url = other.format(scheme="http", port=port) + SECRET
    with pytest.raises(Refused, match="not configured") as problem:
        post(url, server.origin)
    assert server.heard == []
    assert SECRET not in _told(problem.value)


def test_a_library_that_insists_on_its_host_is_led_to_ours(serve: Serve) -> None:
    server = serve(GOOD)
    with wire.Session(server.origin, instead_of="https://api.twitter.com") as session:
        assert session.request("POST", "https://api.twitter.com/2/tweets").json() == {}
    assert server.heard[0].startswith(b"POST /2/tweets ")


def test_proxies_and_passwords_of_the_environment_are_ignored(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy, server = serve(GOOD), serve(GOOD)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.origin)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    post(server.url)
    assert proxy.heard == []
    assert f"Authorization: B {SECRET}".encode() in server.heard[0]


def test_the_operators_proxy_is_used_but_not_for_this_machine(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serve(GOOD), serve(GOOD)
    monkeypatch.setattr(wire.Session, "proxy", proxy.origin)
    post(server.url)
    assert proxy.heard == []
    post("http://network.example/hook", "http://network.example")
    assert proxy.heard[0].startswith(b"POST http://network.example/hook ")


# What an answer means


@pytest.mark.parametrize(
    "body",
    [
        "<html>Log in to the hotel's network</html>",
        "",
        "[]",
        "null",
        '"id"',
        '{"id": ',
        "\ufeff",
        "[" * 100_000,
    ],
    ids=["HTML", "empty", "a list", "null", "a text", "cut short", "a BOM", "very deep"],
)
def test_e05_e06_a_good_status_without_an_object_is_unsure(serve: Serve, body: str) -> None:
    raw = body.encode()
    answer = post(serve(OK + b"Content-Length: %d\r\n\r\n" % len(raw) + raw).url)
    with pytest.raises(Unsure, match=r"^200, but no JSON"):
        wire.json_of(answer)
    assert wire.error_json(answer) == {}


@pytest.mark.parametrize(
    ("status", "error", "closes"),
    [
        (304, Refused, False),
        (400, Refused, False),
        (401, Refused, True),
        (402, Refused, False),
        (403, Refused, True),
        (404, Refused, False),
        (407, TryLater, None),
        (408, TryLater, None),
        (410, Refused, False),
        (422, Refused, False),
        (425, TryLater, None),
        (429, TryLater, None),
        (500, Unsure, None),
        (501, Unsure, None),
        (502, Unsure, None),
        (503, TryLater, None),
        (504, Unsure, None),
        (511, TryLater, None),
        (520, Unsure, None),
        (599, Unsure, None),
    ],
)
def test_e15_a_status_says_what_may_be_done(
    status: int, error: type[DeliveryError], closes: bool | None
) -> None:
    problem = wire.from_status(status, "why", {})
    assert type(problem) is error
    assert str(status) in str(problem)
    assert getattr(problem, "closes", None) == closes


def test_a_firewalls_page_does_not_close_a_destination() -> None:
    problem = wire.from_status(403, "", {"Content-Type": "text/html; charset=utf-8"})
    assert isinstance(problem, Refused)
    assert not problem.closes


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("bad\r\n\x1b[31mnews\x00", "bad [31mnews"),
        ("a" * 300, "a" * 199 + "…"),
        ("right\u202eleft", "right left"),
        ({"an": "object"}, "{'an': 'object'}"),
        (None, "None"),
    ],
)
def test_e30_a_networks_words_fit_in_a_log_line(said: object, shown: str) -> None:
    assert wire.plain(said) == shown


def test_looking_and_logging_in_leave_no_doubt() -> None:
    with pytest.raises(TryLater, match="broke"), wire.nothing_posted():
        raise Unsure("the connection broke")
    with pytest.raises(Refused), wire.nothing_posted():
        raise Refused("no")


# How long to wait

DATE = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, 0, id="nothing said"),
        ({"Retry-After": "5"}, 5),
        ({"retry-after": "5"}, 5),
        ({"Retry-After": " 5 "}, 5),
        ({"Retry-After": "0.35"}, 0.35),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:00 GMT"}, 60),
        ({"Retry-After": "Monday, 23-Nov-26 12:01:00 GMT"}, 60),
        ({"Retry-After": "Mon Nov 23 12:01:00 2026"}, 60),
        ({"X-RateLimit-Reset": "2026-11-23T12:05:00.123456Z"}, 300.123456),
        ({"X-RateLimit-Reset": f"{NOON + 300:.0f}"}, 300),
        ({"X-RateLimit-Reset": f"{NOON + 0.5:.3f}"}, 0.5),
        ({"RateLimit-Reset": f"{NOON + 300:.0f}"}, 300),
        ({"X-RateLimit-Reset-After": "1.25"}, 1.25),
        pytest.param({"x-rate-limit-reset": f"{NOON + 900:.0f}"}, 900, id="X spells it so"),
        pytest.param(
            {"Retry-After": "5", "RateLimit-Reset": f"{NOON + 300:.0f}"}, 300, id="the later"
        ),
        pytest.param(
            {
                "X-Rate-Limit-Reset": f"{NOON + 60:.0f}",
                "x-user-limit-24hour-reset": f"{NOON + 7200:.0f}",
                "x-user-limit-24hour-remaining": "0",
            },
            7200,
            id="X: the day's limit is used up",
        ),
        pytest.param(
            {
                "x-user-limit-24hour-reset": f"{NOON + 7200:.0f}",
                "x-user-limit-24hour-remaining": "3",
            },
            0,
            id="X: the day's limit is not",
        ),
        ({"Retry-After": "999999999"}, DAY),
        ({"Retry-After": "999999999999"}, DAY),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "abc"}, 0),
        ({"Retry-After": ""}, 0),
        ({"Retry-After": "1e9"}, 0),
        ({"Retry-After": "NaN"}, 0),
        ({"Retry-After": "Infinity"}, 0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, DAY),
        ({"Retry-After": "Mon, 99 Nov 2026 99:99:99 GMT"}, 0),
        pytest.param({"Retry-After": "9" * 4096}, 0, id="4 kB of digits"),
        pytest.param({"Retry-After": "0." + "9" * 4096}, 0, id="4 kB of fraction"),
        ({"X-RateLimit-Reset": "999999999999"}, 0),
        ({"X-RateLimit-Reset": "9999-12-31T23:59:59Z"}, DAY),
        ({"X-RateLimit-Reset": "2026-11-23T12:05:00"}, 0),
        ({"X-RateLimit-Reset": "0001-01-01T00:00:00+14:00"}, 0),
        ({"X-RateLimit-Reset": "soon"}, 0),
        ({"RateLimit-Reset": "0"}, 0),
    ],
)
def test_e12_e13_every_form_of_wait_is_understood_and_no_absurd_one(
    headers: dict[str, str], seconds: float
) -> None:
    assert wire.wait_hint({**DATE, **headers}) == timedelta(seconds=seconds)


@pytest.mark.parametrize("date", ["", "nonsense", "Mon, 23 Nov 2026 12:00:00 GMT"])
def test_e31_the_servers_clock_is_the_one_that_counts(date: str) -> None:
    """Without a readable Date our own clock has to do."""
    base = NOON if date.endswith("GMT") else datetime.now(UTC).timestamp()
    wait = wire.wait_hint({"Date": date, "RateLimit-Reset": f"{base + 60:.0f}"})
    assert timedelta(seconds=55) < wait <= timedelta(seconds=61)


# A library's call


def _meaning(answer: requests.Response) -> DeliveryError:
    return wire.from_status(answer.status_code, "", answer.headers)


def _library(server: Server, ends: Callable[[], object]) -> Callable[[], object]:
    def call() -> object:
        with wire.Session(server.origin) as session:
            session.get(server.url)
        return ends()

    return call


def test_what_came_decides_and_not_what_a_library_makes_of_it(serve: Serve) -> None:
    def stumbles() -> None:
        raise AttributeError(f"at {SECRET}")

    busy = serve(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(TryLater) as problem:
        wire.answer_to(_library(busy, stumbles), _meaning)
    assert problem.value.wait == timedelta(seconds=7)
    assert SECRET not in _told(problem.value)


def test_an_answer_of_a_librarys_call_is_handed_on(serve: Serve) -> None:
    answer = wire.answer_to(_library(serve(GOOD), lambda: None), _meaning)
    assert json.loads(answer.content) == {}


def test_a_librarys_bug_before_any_answer_stays_loud() -> None:
    def broken() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        wire.answer_to(broken, _meaning)
