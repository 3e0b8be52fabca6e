"""How long a network wants to be left alone, in every form, and the absurd ones."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from announcer import wire as door
from announcer.contract import POST, Row
from announcer.contract.fake import Wire
from announcer.network import TryLater
from announcer.wire import LONGEST_WAIT
from tests.impostor import OnStage, StandsIn, each_row
from tests.rogue import OK, Serve

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def busy(*headers: str, body: bytes = b"{}", date: datetime | None = NOON) -> bytes:
    """A 429 with these headers, by a clock that says *date*."""
    lines = ["HTTP/1.1 429 Too Many", "Content-Type: application/json", *headers]
    if date:
        lines.append(f"Date: {date:%a, %d %b %Y %H:%M:%S} GMT")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def wait_of(row: Row) -> timedelta:
    with pytest.raises(TryLater) as later:
        row.make().publish(POST)
    return later.value.wait


# E12

ISO, EPOCH = "2026-11-23T12:00:42.500Z", int(NOON.timestamp()) + 42
SAID = [
    ("Retry-After: 5", 5),
    ("Retry-After: 0.35", 0.35),
    ("Retry-After: Mon, 23 Nov 2026 12:00:42 GMT", 42),
    (f"X-RateLimit-Reset: {ISO}", 42.5),
    (f"X-RateLimit-Reset: {EPOCH}", 42),
    (f"RateLimit-Reset: {EPOCH}", 42),
    (f"x-rate-limit-reset: {EPOCH}", 42),
    ("X-RateLimit-Reset-After: 1.25", 1.25),
]


@each_row
@pytest.mark.parametrize(("header", "seconds"), SAID)
def test_e12_a_wait_in_any_form_is_read(
    row: Row, stands_in: StandsIn, header: str, seconds: float
) -> None:
    stands_in(row, busy(header))
    assert wait_of(row) == timedelta(seconds=seconds)


# E13

LONG = "9" * 4096
ABSURD = [
    (["Retry-After: 999999999"], LONGEST_WAIT),
    (["Retry-After: 999999999999"], LONGEST_WAIT),
    (["Retry-After: -5"], 0 * SECOND),
    (["Retry-After: abc"], 0 * SECOND),
    (["Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"], 0 * SECOND),
    (["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], LONGEST_WAIT),
    ([f"Retry-After: {LONG}"], 0 * SECOND),
    (["Retry-After: 1e309"], 0 * SECOND),
    (["Retry-After: NaN"], 0 * SECOND),
    (["Retry-After: Infinity"], 0 * SECOND),
    (["Retry-After: \xb2"], 0 * SECOND),
    (["Retry-After: 5", "Retry-After: 7", "Retry-After: 6"], 7 * SECOND),
    (["Retry-After: 5", "Retry-After: 999999999"], LONGEST_WAIT),
    (["Retry-After: 5", "Retry-After: soon"], 0 * SECOND),
    (["Retry-After: " + "1," * 5_000], 0 * SECOND),
    (["X-RateLimit-Reset: 1e309"], 0 * SECOND),
    (["X-RateLimit-Reset: NaN"], 0 * SECOND),
    ([f"X-RateLimit-Reset: {LONG}"], 0 * SECOND),
    (["X-RateLimit-Reset: 1970-01-01T00:00:00Z"], 0 * SECOND),
    (["RateLimit-Reset: 999999999999"], 0 * SECOND),
    (["Retry-After: 5", f"RateLimit-Reset: {EPOCH}"], 42 * SECOND),
]


@each_row
@pytest.mark.parametrize(("headers", "wait"), ABSURD, ids=lambda one: str(one)[:40])
def test_e13_an_absurd_wait_is_clamped(
    row: Row, stands_in: StandsIn, headers: list[str], wait: timedelta
) -> None:
    stands_in(row, busy(*headers))
    assert wait_of(row) == wait


@each_row
@pytest.mark.parametrize("number", ["1e309", "-1e309", "NaN", "-5", LONG, "1" + "0" * 400, "[]"])
def test_e13_an_absurd_wait_in_the_body_is_clamped(
    row: Row, stands_in: StandsIn, number: str
) -> None:
    stands_in(row, busy(body=b'{"message": "slow", "retry_after": %s}' % number.encode()))
    assert timedelta() <= wait_of(row) <= LONGEST_WAIT


@each_row
def test_e13_a_wait_past_the_deadline_is_told_at_once_and_nothing_more_is_sent(
    row: Row, wire: Wire, on_stage: OnStage
) -> None:
    row.prepare(wire)
    wire.answers(429, {}, {"Retry-After": "999999999"})
    stage = on_stage(row.make())
    stage.hear()
    stage.run()
    state, reason = stage.told(row.name)
    assert state == "failed"
    assert reason.startswith("too late to try again: 429")
    stage.passes(days=2)
    stage.run()
    assert len(wire.scripted) == 1


@each_row
@pytest.mark.parametrize("value", ["-5", "abc", "Thu, 01 Jan 1970 00:00:00 GMT", "0"])
def test_e13_a_wait_that_is_none_is_our_own_backoff(
    row: Row, wire: Wire, on_stage: OnStage, value: str
) -> None:
    row.prepare(wire)
    wire.answers(429, {}, {"Retry-After": value})
    wire.answers(200, row.answer)
    stage = on_stage(row.make())
    stage.hear()
    stage.run()
    assert stage.post(row.name).entry.next_at == stage.now + SECOND
    stage.passes(seconds=1)
    stage.run()
    assert stage.told(row.name) == ("settled", "")


# E31


@each_row
@pytest.mark.parametrize("years", [-30, 30])
def test_e31_a_reset_is_counted_by_the_servers_own_clock(
    row: Row, stands_in: StandsIn, years: int
) -> None:
    theirs = NOON + timedelta(days=365 * years)
    reset = int((theirs + 42 * SECOND).timestamp())
    stands_in(row, busy(f"X-RateLimit-Reset: {reset}", date=theirs))
    assert wait_of(row) == 42 * SECOND


def test_e31_a_clock_that_is_far_off_is_remarked_upon_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_strange_clocks", set())
    theirs = datetime.now(UTC) + timedelta(hours=3)
    date = f"Date: {theirs:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Length: 2\r\n\r\n{{}}"
    server = serve(OK + date.encode())
    with capture_logs() as logs, door.Session(server.origin) as session:
        for _ in range(3):
            session.get(server.url)
    [line] = logs
    assert (line["event"], line["host"], line["log_level"]) == ("clock", "127.0.0.1", "warning")
    assert 10_700 < float(line["ahead_of_ours"].removesuffix(" s")) < 10_801


@pytest.mark.parametrize("date", ["", "nonsense", "Mon, 99 Nov 2026 99:99:99 GMT", "9" * 5000])
def test_e31_a_clock_that_says_nothing_is_no_clock(serve: Serve, date: str) -> None:
    server = serve(OK + f"Date: {date}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    with capture_logs() as logs, door.Session(server.origin) as session:
        assert session.get(server.url).json() == {}
    assert logs == []
