"""Faults after a request has left: whatever comes back, or does not, the outcome is the right one
of the four errors, in bounded time, for every network; and nothing is ever sent twice.
"""

import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat

import pytest

from announcer import wire
from announcer.contract import POST, Row
from announcer.contract.fake import Answer
from announcer.network import DeliveryError, Refused, Unsure
from tests.impostor import StandsIn, each_row, each_row_with_words
from tests.rogue import GOOD, OK, SECRET, Serve, Server

TOTAL = 1.2
JSON = b"Content-Type: application/json\r\n"
HTML = b"<html><title>Log in to the hotel's network</title></html>"


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT", 1.0)
    monkeypatch.setattr(wire, "READ", 0.8)
    monkeypatch.setattr(wire, "TOTAL", TOTAL)


def said(body: bytes, status: str = "200 OK", headers: bytes = JSON) -> bytes:
    head = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n"
    return head % (status.encode(), headers, len(body)) + body


def problem_of(row: Row, server: Server) -> DeliveryError:
    """What publishing raises; it takes no longer than a login or look and a post may."""
    begun = time.monotonic()
    with pytest.raises(DeliveryError) as problem:
        row.make().publish(POST)
    assert time.monotonic() - begun < 2 * TOTAL + 5
    server.settle()
    assert len(server.heard) == 1, "a network never tries again by itself"
    assert SECRET not in str(problem.value)
    assert len(str(problem.value)) < 400
    assert str(problem.value).isprintable()
    return problem.value


@contextmanager
def in_flat_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 15_000_000


@each_row
def test_a_good_answer_of_the_stand_in_is_taken(row: Row, stands_in: StandsIn) -> None:
    """Else the faults below could be found for another reason than theirs."""
    server = stands_in(row, Answer(200, row.answer).raw())
    assert row.make().publish(POST) == row.receipt
    assert len(server.heard) == 1


# E02, E03


@each_row
def test_e02_no_answer_after_the_request_is_unclear(row: Row, stands_in: StandsIn) -> None:
    problem = problem_of(row, stands_in(row, then="hang"))
    assert type(problem) is Unsure
    assert str(problem) == "no answer in time"


@each_row
def test_e03_an_answer_that_drips_is_cut(row: Row, stands_in: StandsIn) -> None:
    """Each byte comes well within the time without one; together they would take a minute."""
    whole = Answer(200, row.answer).raw()
    drips = [whole[at : at + 1] for at in range(len(whole))] * 2
    problem = problem_of(row, stands_in(row, *drips, pause=0.3))
    assert type(problem) is Unsure


def test_e03_a_byte_every_four_seconds_in_real_proportion(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All limits and the pause a twentieth: a byte every 4 s, 20 s without one, 30 s in all."""
    monkeypatch.setattr(wire, "READ", 20 / 20)
    monkeypatch.setattr(wire, "TOTAL", 30 / 20)
    server = serve(OK + b"Content-Length: 99\r\n\r\n", *[b"x"] * 99, pause=4 / 20)
    begun = time.monotonic()
    with pytest.raises(Unsure), wire.answered(), wire.Session(server.origin) as session:
        session.post(server.url)
    assert 30 / 20 <= time.monotonic() - begun < 30 / 20 + 5


def test_e03_headers_that_never_end_are_cut(serve: Serve) -> None:
    server = serve(OK, *[b"X-Some: more\r\n"] * 200, pause=0.1)
    begun = time.monotonic()
    with pytest.raises(Unsure), wire.answered(), wire.Session(server.origin) as session:
        session.post(server.url)
    assert time.monotonic() - begun < TOTAL + 5


# E04


CUT = [
    pytest.param([], "reset", id="reset after the request"),
    pytest.param([OK + b"Content-Le"], "reset", id="reset in the head"),
    pytest.param([OK + b'Content-Length: 99\r\n\r\n{"id": "7"'], "reset", id="reset in the body"),
    pytest.param([OK + b'Content-Length: 99\r\n\r\n{"id": "7"'], "close", id="closed in the body"),
    pytest.param([], "close", id="closed without a word"),
    pytest.param([said(b'{"id": "7", "uri": "at://", "da')], "close", id="half a JSON with 200"),
    pytest.param([said(b'{"id": "\xff\xfe"}')], "close", id="no UTF-8"),
]


@each_row_with_words
@pytest.mark.parametrize(("parts", "then"), CUT)
def test_e04_an_answer_that_breaks_off_is_unclear(
    row: Row, stands_in: StandsIn, parts: list[bytes], then: str
) -> None:
    problem = problem_of(row, stands_in(row, *parts, pause=0.02, then=then))
    assert type(problem) is Unsure


# E05, E06


@each_row_with_words
@pytest.mark.parametrize("kind", [b"Content-Type: text/html\r\n", JSON], ids=["HTML", "as JSON"])
def test_e05_a_page_with_status_200_is_no_success(
    row: Row, stands_in: StandsIn, kind: bytes
) -> None:
    problem = problem_of(row, stands_in(row, said(HTML, headers=kind)))
    assert type(problem) is Unsure
    assert str(problem).startswith("200, but no ")


@each_row_with_words
@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
def test_e06_an_empty_answer_is_no_success(row: Row, stands_in: StandsIn, status: str) -> None:
    assert type(problem_of(row, stands_in(row, said(b"", status)))) is Unsure


@each_row_with_words
@pytest.mark.parametrize("odd", ["", " ", None, False, [], {}, 1.5], ids=repr)
def test_e06_an_id_that_is_none_is_no_success(row: Row, stands_in: StandsIn, odd: object) -> None:
    body = dict.fromkeys(("id", "uri", "cid", "success"), odd) | {"data": {"id": odd}}
    problem = problem_of(row, stands_in(row, said(json.dumps(body).encode())))
    assert isinstance(problem, Unsure | Refused)


# E07


def test_e07_a_body_without_an_end_is_cut_in_little_memory(serve: Serve) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    server = serve()
    server.parts = chain([OK + b"Transfer-Encoding: chunked\r\n\r\n"], repeat(chunk))
    with in_flat_memory(), pytest.raises(Unsure, match="too big"), wire.answered():
        wire.Session(server.origin).post(server.url)


@each_row
def test_e07_what_inflates_without_end_is_cut(row: Row, stands_in: StandsIn) -> None:
    """20 kB that become 20 MB, of good JSON but for its size."""
    bomb = gzip.compress(json.dumps(row.answer).encode() + b" " * 20_000_000)
    server = stands_in(row, said(bomb, headers=JSON + b"Content-Encoding: gzip\r\n"))
    with in_flat_memory():
        problem = problem_of(row, server)
    assert type(problem) is Unsure
    assert "too big" in str(problem)


# E08


@each_row
@pytest.mark.parametrize(
    ("status", "there"),
    [
        *((status, "https://elsewhere.example/hook") for status in (301, 302, 303, 307, 308)),
        *((status, "/hook") for status in (302, 308)),
    ],
)
def test_e08_a_redirect_is_refused_with_a_hint_and_gets_nothing(
    row: Row, stands_in: StandsIn, status: int, there: str
) -> None:
    """Every name leads to the same server, so that it would hear of whoever followed it."""
    location = f"Location: {there}\r\n".encode()
    server = stands_in(row, said(b"", f"{status} Moved", location), GOOD)
    problem = problem_of(row, server)
    assert isinstance(problem, Refused)
    assert not problem.closes
    assert "redirect: set the final address" in str(problem)


# E30


@each_row_with_words
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n", id="a header of 1 MB"),
        pytest.param(OK + b"X-One: 1\r\n" * 10_000 + b"\r\n", id="10,000 headers"),
        pytest.param(b"HTTP/1.1 yes\r\n\r\n", id="a status that is none"),
        pytest.param(
            OK + b"no colon\r\n: no name\r\n\xff: \xfe\r\n\r\n", id="headers that are none"
        ),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="no HTTP"),
        pytest.param(b"\x00" * 70_000, id="no text"),
    ],
)
def test_e30_a_head_without_end_or_sense_is_unclear(
    row: Row, stands_in: StandsIn, answer: bytes
) -> None:
    server = stands_in(row, answer)
    with in_flat_memory():
        problem = problem_of(row, server)
    assert type(problem) is Unsure


NONSENSE = b'\xff\xfe\x00\x1b[31m\r\n"' * 20_000
WORDS = json.dumps({"error": "no\x1b[31m\n\u202e\x00" + "a" * 100_000, "message": "\x1b" * 5_000})


@each_row
@pytest.mark.parametrize("body", [NONSENSE, WORDS.encode()], ids=["invalid UTF-8", "signs in JSON"])
def test_e30_an_error_text_is_cut_and_cleaned(row: Row, stands_in: StandsIn, body: bytes) -> None:
    """How long it is and what is in it, `problem_of` looks at."""
    problem = problem_of(row, stands_in(row, said(body, "400 Bad\x1b[31m Request")))
    assert isinstance(problem, Refused)
    assert str(problem).startswith("400")
