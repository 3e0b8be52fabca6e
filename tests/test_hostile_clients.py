"""The port as strangers meet it: real sockets to the real process, and nobody keeps Owncast out."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import requests

from announcer.web.gathering import LARGEST
from tests.house import TOKEN, seal
from tests.running import Service, payload
from tests.storm import memory_of, worker_of

START = payload("0.3-stream-started")
CHAT = payload("0.1-chat")
JSON = "Host: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(
        tmp_path_factory.mktemp("service"),
        {"OWNCAST_WEBHOOK_TOKEN": TOKEN, "ANNOUNCER_LOG_FORMAT": "json"},
    )
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """As `service`, but a request may take 2 s instead of 12: a test is in a hurry."""
    patched = "from announcer import cli; from announcer.web import worker; worker.PATIENCE = 2.0"
    folder, program = tmp_path_factory.mktemp("impatient"), ("-c", f"{patched}; cli.main()")
    running = Service(folder, {"OWNCAST_WEBHOOK_TOKEN": TOKEN}, program)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=10)


def post(body: bytes = b"", head: str = "", version: str = "1.1", length: int | None = None) -> str:
    """A webhook by token, without its body."""
    size = "" if "Transfer" in head else f"Content-Length: {length or len(body)}\r\n"
    return f"POST /webhooks/owncast/{TOKEN} HTTP/{version}\r\n{JSON}{head}{size}\r\n"


def answer(line: socket.socket) -> bytes:
    """All that is said until the other side ends it."""
    said = b""
    with suppress(OSError):
        while piece := line.recv(65536):
            said += piece
    return said


def statuses(said: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3}) ", said)]


def told_at_once(service: Service) -> None:
    begun = time.monotonic()
    assert service.hear(START) == 204
    assert time.monotonic() - begun < 8


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    return b"".join(framed) + b"0\r\n\r\n"


# D12: bodies and heads that are no webhook of Owncast's


def test_d12_a_body_without_a_length_is_cut_off_at_256_kib(service: Service) -> None:
    def pieces(size: int) -> Iterator[bytes]:
        yield START
        yield from [b" " * 1024] * ((size - len(START)) // 1024)

    def send(size: int) -> int:
        return requests.post(
            f"{service.url}/webhooks/owncast/{TOKEN}",
            data=pieces(size),
            headers={"Content-Type": "application/json"},
            timeout=10,
        ).status_code

    assert send(LARGEST - 2048) == 204
    assert send(LARGEST + 4096) == 413


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_d12_a_body_in_small_pieces_is_heard(service: Service, size: int) -> None:
    with connect(service) as line:
        line.sendall(post(head="Transfer-Encoding: chunked\r\nConnection: close\r\n").encode())
        line.sendall(chunked(START, size))
        assert statuses(answer(line)) == [204]


def test_d12_a_body_that_claims_to_be_large_is_not_waited_for(service: Service) -> None:
    with connect(service) as line:
        line.sendall(post(length=10**12).encode())
        assert statuses(answer(line)) == [413]


def test_d12_whoever_asks_first_is_welcome_or_not_before_the_body(service: Service) -> None:
    expects = "Expect: 100-continue\r\nConnection: close\r\n"
    with connect(service) as line:
        line.sendall(post(START, expects).encode())
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        line.sendall(START)
        assert statuses(answer(line))[-1] == 204
    with connect(service) as line:
        line.sendall(post(START, expects, length=10**9).encode())
        assert statuses(answer(line)) == [413]


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 50000000"])
def test_d12_50_megabytes_are_not_listened_to(service: Service, framing: str) -> None:
    before = memory_of(worker_of(service))
    with connect(service) as line:
        line.sendall(f"POST /webhooks/owncast/{TOKEN} HTTP/1.1\r\n{JSON}{framing}\r\n\r\n".encode())
        sent = 0
        with suppress(OSError):  # the reset may overtake the answer
            while sent < 50_000_000:
                line.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                sent += 0x10000
        said = answer(line)
    assert sent < 50_000_000
    assert statuses(said) in ([], [413])
    assert memory_of(worker_of(service)) - before < 16
    told_at_once(service)


HEADS = {
    "a long request line": f"GET /{'x' * 5000} HTTP/1.1\r\n{JSON}\r\n",
    "an endless request line": "GET /" + "x" * 100_000,
    "a large header": f"GET /healthz HTTP/1.1\r\n{JSON}A: {'x' * 10_000}\r\n\r\n",
    "100 headers": f"GET /healthz HTTP/1.1\r\n{JSON}" + "A: b\r\n" * 100 + "\r\n",
    "10,000 headers": f"GET /healthz HTTP/1.1\r\n{JSON}" + "A: b\r\n" * 10_000 + "\r\n",
    "headers without an end": f"GET /healthz HTTP/1.1\r\n{JSON}" + "A: b\r\n" * 10_000,
    "two lengths": post(head="Content-Length: 7\r\n"),
    "a negative length": post(length=-7),
    "a length and chunks": post(head="X: y\r\n").replace(
        "Content-Length", "Transfer-Encoding: chunked\r\nContent-Length"
    ),
    "packed chunks": post(head="Transfer-Encoding: gzip, chunked\r\n"),
    "chunks that are none": post(head="Transfer-Encoding: chunked\r\n") + "hello\r\n",
    "HTTP/9.9": "GET /healthz HTTP/9.9\r\n\r\n",
    "HTTP/2 unasked": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\r\n\r\n",
    "a space in a name": f"GET /healthz HTTP/1.1\r\n{JSON}A : b\r\n\r\n",
    "nonsense": "hello\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_d12_a_head_that_is_none_is_refused_at_once(service: Service, head: str) -> None:
    begun = time.monotonic()
    with connect(service) as line:
        with suppress(OSError):
            line.sendall(head.encode("latin-1"))
        said = answer(line)
    told = statuses(said)
    assert all(400 <= status < 506 for status in told), said
    assert len(told) == 1 or (not told and len(head) > 32 * 1024), "a reset may overtake it"
    assert time.monotonic() - begun < 15
    assert TOKEN.encode() not in said
    told_at_once(service)


def test_d12_a_connection_that_just_ends_is_no_trouble(service: Service) -> None:
    for half in ("", "POST", post(START), post(START) + START.decode()[:50]):
        for harshly in (False, True):
            with connect(service) as line:
                line.sendall(half.encode())
                if harshly:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    told_at_once(service)


# Older and stranger ways that are fine


def test_several_requests_on_one_connection_are_answered_in_order(service: Service) -> None:
    """Pipelined: all of them are sent before the first is answered."""
    good, bad = post(CHAT).encode() + CHAT, post(b"{").encode() + b"{"
    last = post(START, "Connection: close\r\n").encode() + START
    with connect(service) as line:
        line.sendall(good + bad + good * 5 + last)
        assert statuses(answer(line)) == [204, 400, 204, 204, 204, 204, 204, 204]


def test_a_connection_is_kept_for_the_next_request(service: Service) -> None:
    with requests.Session() as session:
        for _ in range(20):
            assert session.get(f"{service.url}/healthz", timeout=5).status_code == 200
    with connect(service) as line:
        for _ in range(3):
            line.sendall(post(CHAT).encode())
            line.sendall(CHAT)
            assert statuses(line.recv(4096)) == [204]


def test_http_1_0_is_spoken(service: Service) -> None:
    """nginx does so unless told otherwise."""
    with connect(service) as line:
        line.sendall(post(START, version="1.0").encode() + START)
        assert statuses(answer(line)) == [204]


def test_a_request_that_comes_byte_by_byte_is_heard(service: Service) -> None:
    whole = post(CHAT, "Connection: close\r\n").encode() + CHAT
    with connect(service) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whole:
            line.sendall(bytes([byte]))
        assert statuses(answer(line)) == [204]


# D13: clients that dawdle


HALVES = {
    "silence": "",
    "headers": f"POST /webhooks/owncast/{TOKEN} HTTP/1.1\r\nHost: x\r\n",
    "body": post(length=1000) + "{",
    "chunk": post(head="Transfer-Encoding: chunked\r\n") + "5\r\n{",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_d13_a_crowd_that_dawdles_keeps_nobody_out(service: Service, half: str) -> None:
    """Each sends a part of a request and then no more, for as long as they may."""
    with ExitStack() as crowd:
        for _ in range(150):
            line = crowd.enter_context(connect(service))
            line.sendall(half.encode())
        for _ in range(3):
            told_at_once(service)
        assert requests.get(f"{service.url}/readyz", timeout=5).status_code == 200


def test_d13_a_flood_of_connections_pushes_out_those_who_dawdle(service: Service) -> None:
    with ExitStack() as crowd:
        for number in range(600):
            line = crowd.enter_context(connect(service))
            line.sendall(HALVES["headers"].encode())
            if number % 100 == 99:
                told_at_once(service)


def test_d13_a_crowd_that_sends_much_of_much_does_not_fill_the_memory(service: Service) -> None:
    before = memory_of(worker_of(service))
    much = post(length=LARGEST).encode() + b"x" * (LARGEST - 1)
    with ExitStack() as crowd:
        for _ in range(150):
            with suppress(OSError):
                crowd.enter_context(connect(service)).sendall(much)
        for _ in range(5):  # it has heard what there was when it answers those who came later
            told_at_once(service)
            assert memory_of(worker_of(service)) - before < 20


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_d13_whoever_dawdles_is_sent_away(impatient: Service, half: str) -> None:
    begun = time.monotonic()
    with connect(impatient) as line:
        line.sendall(half.encode())
        assert answer(line) == b""
    assert 1.5 < time.monotonic() - begun < 10


def test_d13_a_drop_now_and_then_earns_no_more_time(impatient: Service) -> None:
    begun = time.monotonic()
    with connect(impatient) as line, suppress(OSError):
        line.sendall(post(length=1000).encode())
        while time.monotonic() - begun < 12:
            line.sendall(b"x")
            time.sleep(0.1)
    assert time.monotonic() - begun < 10


def test_d13_a_second_request_is_waited_for_no_longer(impatient: Service) -> None:
    with connect(impatient) as line:
        line.sendall(post(CHAT).encode() + CHAT)
        assert statuses(line.recv(4096)) == [204]
        begun = time.monotonic()
        line.sendall(HALVES["headers"].encode())
        assert answer(line) == b""
    assert time.monotonic() - begun < 10


def test_d13_a_client_that_takes_no_answer_is_sent_away(impatient: Service) -> None:
    with ExitStack() as crowd:
        for _ in range(40):
            line = crowd.enter_context(connect(impatient))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            with suppress(OSError):
                line.settimeout(0.1)
                line.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        told_at_once(impatient)


def test_d13_clients_that_do_not_hang_up_keep_nobody_out(service: Service) -> None:
    """They have their answer, and leave their end of the line open."""
    with ExitStack() as crowd:
        for _ in range(30):
            line = crowd.enter_context(connect(service))
            line.sendall(post(CHAT, "Connection: close\r\n").encode() + CHAT)
        told_at_once(service)


# What is said of it


def test_g21_what_the_server_itself_says_is_in_our_format_and_without_the_token(
    service: Service,
) -> None:
    for request in (
        f"POST /webhooks/owncast/{TOKEN} HTTP/9.9\r\n\r\n",
        f"POST  /webhooks/owncast/{TOKEN}\r\n\r\n",
        f"GET /{TOKEN * 300} HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nbad header {TOKEN}\r\n\r\n",
    ):
        with connect(service) as line:
            line.sendall(request.encode())
            assert line.recv(100).startswith(b"HTTP/1.1 4")
    service.until(lambda: "nvalid" in service.log, "it says nothing of a broken request")
    for said in service.log.splitlines():
        assert json.loads(said)["logger"]
    assert TOKEN not in service.log


def test_the_seal_is_looked_at_over_a_real_socket_too(service: Service) -> None:
    for header, status in ((seal(START), 204), (seal(START, "wrong"), 401), ("", 401)):
        assert service.hear(START, **{"owncast-signature": header}) == status
