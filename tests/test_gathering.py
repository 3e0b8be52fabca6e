"""Where a request ends, told from its bytes alone, however they come."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.web.gathering import LARGEST, LONGEST_HEAD, Gathering, Verdict

PLAIN = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"GET / HTTP/1.0\r\n\r\n"
CHUNKED = (
    b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;why=not\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n"
)
WHOLE = (PLAIN, EMPTY, CHUNKED, CHUNKED.replace(b"Trailer: 1\r\n", b""))


def ask(head: str, body: bytes = b"") -> Verdict:
    lines = f"POST /x HTTP/1.1\r\n{head}".replace("\n", "\r\n") if "\r" not in head else head
    return Gathering().add(f"{lines}\r\n\r\n".encode("latin-1") + body)


@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 150)), st.binary(max_size=9))
def test_d13_the_end_is_found_however_the_bytes_come(
    sent: bytes, cuts: list[int], follows: bytes
) -> None:
    gathering, edges = Gathering(), sorted({0, *cuts, len(sent)})
    edges = [edge for edge in edges if edge <= len(sent)]
    for begin, end in pairwise(edges):
        verdict = gathering.add(sent[begin:end])
        assert (verdict is Verdict.WHOLE) is (end == len(sent))
    assert Gathering().add(sent + follows) is Verdict.WHOLE
    assert bytes(gathering.bytes) == sent


@given(st.binary(max_size=300), st.sampled_from((b"", b"POST / HTTP/1.1\r\n", CHUNKED[:60])))
def test_d12_no_bytes_break_it(junk: bytes, start: bytes) -> None:
    gathering = Gathering()
    for byte in start + junk:
        if gathering.add(bytes([byte])) is not Verdict.MORE:
            break
    assert bytes(gathering.bytes) == (start + junk)[: len(gathering.bytes)]  # nothing made up


@pytest.mark.parametrize(
    ("length", "verdict"),
    [
        ("0", Verdict.WHOLE),
        ("4", Verdict.WHOLE),
        ("5", Verdict.MORE),
        (str(LARGEST), Verdict.MORE),
        (str(LARGEST + 1), Verdict.LARGE),
        ("9" * 15, Verdict.LARGE),
        ("9" * 5000, Verdict.WHOLE),
        ("-1", Verdict.WHOLE),
        ("+4", Verdict.WHOLE),
        ("4_0", Verdict.WHOLE),
        ("0x4", Verdict.WHOLE),
        ("", Verdict.WHOLE),
        ("4\nContent-Length: 4", Verdict.WHOLE),
        ("4\nTransfer-Encoding: chunked", Verdict.WHOLE),
        ("\xb2", Verdict.WHOLE),
    ],
)
def test_d12_a_length_is_believed_if_it_is_one_and_not_too_large(
    length: str, verdict: Verdict
) -> None:
    """WHOLE is for gunicorn to refuse: nobody waits for more."""
    assert ask(f"content-length: {length}", b"1234") is verdict


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b"", Verdict.MORE),
        (b"5\r\nhello\r\n", Verdict.MORE),
        (b"5\r\nhello\r\n0\r\n", Verdict.MORE),
        (b"5\r\nhello\r\n0\r\n\r\n", Verdict.WHOLE),
        (b"-5\r\nhello\r\n0\r\n\r\n", Verdict.BAD),
        (b"0x5\r\nhello\r\n0\r\n\r\n", Verdict.BAD),
        (b"\r\n\r\n", Verdict.BAD),
        (b"x" * 100, Verdict.BAD),
        (b"1;" + b"x" * 100, Verdict.BAD),
        (b"fffffffff\r\n", Verdict.BAD),
        (b"ffffffff\r\n", Verdict.LARGE),
        (b"40000\r\n" + b"x" * LARGEST + b"\r\n0\r\n\r\n", Verdict.WHOLE),
        (b"40000\r\n" + b"x" * LARGEST + b"\r\n1\r\n", Verdict.LARGE),
        (b"1\r\nx\r\n" * (LARGEST // 2), Verdict.LARGE),
        (b"0\r\n" + b"a: b\r\n" * LONGEST_HEAD, Verdict.LONG),
    ],
    ids=range(15),
)
def test_d12_chunks_are_counted(body: bytes, verdict: Verdict) -> None:
    assert ask("Transfer-Encoding: Chunked", body) is verdict


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "chunked, chunked", ""])
def test_d12_nothing_is_unpacked(coding: str) -> None:
    assert ask(f"Transfer-Encoding: {coding}") is Verdict.PACKED
    assert ask(f"Transfer-Encoding: chunked\nTransfer-Encoding: {coding}") is Verdict.PACKED


def test_d12_a_head_has_at_most_32_kib() -> None:
    for one in (b"x" * (LONGEST_HEAD + 1), b"x" * (LONGEST_HEAD + 1) + b"\r\n\r\n"):
        assert Gathering().add(one) is Verdict.LONG
    assert Gathering().add(b"x" * LONGEST_HEAD) is Verdict.MORE


@pytest.mark.parametrize(
    "opening",
    [
        b"",
        b"POST / HTTP/1.1\r\nContent-Length: 262144\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n",
    ],
    ids=["head", "body", "chunk"],
)
def test_d13_drop_by_drop_costs_no_more_than_the_drops(opening: bytes) -> None:
    """Looking at all of it again for each byte would take minutes."""
    gathering, begun = Gathering(), time.process_time()
    gathering.add(opening)
    for _ in range(250_000):
        if gathering.add(b"x") is not Verdict.MORE:
            break
    assert time.process_time() - begun < 5
