"""Every generation of Owncast's webhooks is understood, and what is not one of them is refused."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from announcer.events import LONGEST, LONGEST_ID, Event, Kind, MalformedEvent, parse

PAYLOADS = Path(__file__).parent / "payloads"
"""Owncast's bodies by version: values are invented, shapes are Owncast's (core/webhooks)."""
NOW = datetime(2026, 11, 23, 19, 0, 30, 250_000, tzinfo=UTC)
NAME = "Kestrel Workshop"
TITLE = "Fitting a dovetail drawer"
SUMMARY = "Woodwork & repair, live from a small shed."
TOO_DEEP = "nested too deeply|not JSON|not an object"
"""How deep is too deep is for Python to say."""


def at(*moment: int, hours: int = 0) -> datetime:
    """A moment by a clock that is *hours* before UTC."""
    return datetime(*moment, tzinfo=timezone(timedelta(hours=hours)))  # type: ignore[misc, arg-type]


def event(id_: str, kind: Kind, **what: Any) -> Event:
    words = {"name": NAME, "title": TITLE, "summary": SUMMARY}
    return Event(id=id_, channel="default", kind=kind, at=NOW, **words | what)


def body(kind: object = "STREAM_STARTED", **data: object) -> bytes:
    return json.dumps({"type": kind, "eventData": {"id": "e1", **data}}).encode()


def read(raw: bytes, now: datetime = NOW) -> Event:
    found = parse(raw, "default", now)
    assert found is not None
    return found


UNDERSTOOD = {
    "0.0.9-stream-started": event(
        "hW2cKzM7g", Kind.STARTED, stamp=at(2021, 10, 9, 19, 0, 2, 481_516, hours=2)
    ),
    "0.0.9-stream-stopped": event(
        "Lr9cKzG7R", Kind.STOPPED, stamp=at(2021, 10, 9, 21, 14, 40, 2_917, hours=2)
    ),
    "0.1-stream-started": event(
        "hW2cKzMIg",
        Kind.STARTED,
        stamp=at(2024, 5, 18, 19, 0, 2, 481_516, hours=2),
        connected=at(2024, 5, 18, 19, 0, 2, hours=2),
    ),
    "0.1-stream-stopped": event(
        "Lr9cKzGSR",
        Kind.STOPPED,
        stamp=at(2024, 5, 18, 21, 14, 40, 2_917, hours=2),
        peak_viewers=17,
    ),
    "0.1-stream-title-updated": event(
        "mE7cKzGIR",
        Kind.RETITLED,
        stamp=at(2024, 5, 18, 20, 2, 11, 350_000, hours=2),
        connected=at(2024, 5, 18, 19, 0, 2, hours=2),
        title="Fitting a dovetail drawer - glue-up",
        peak_viewers=14,
    ),
    "0.1-stream-title-updated-offline": event(
        "oS3cKiGIR",
        Kind.RETITLED,
        stamp=at(2024, 5, 18, 23, 40, 0, 900_100, hours=2),
        title="Tomorrow: sharpening day",
        peak_viewers=17,
    ),
    "0.2-stream-started": event(
        "hW2cKzMDg",
        Kind.STARTED,
        stamp=at(2026, 3, 4, 19, 0, 2, 481_516),
        connected=at(2026, 3, 4, 19, 0, 2),
    ),
    "0.2-stream-started-no-server-url": event(
        "jW2cKzMDg",
        Kind.STARTED,
        stamp=at(2026, 3, 4, 19, 0, 2, 481_516),
        connected=at(2026, 3, 4, 19, 0, 2),
        title="",
    ),
    "0.2-stream-stopped": event(
        "Lr9cKzGDR", Kind.STOPPED, stamp=at(2026, 3, 4, 21, 14, 40, 2_917), peak_viewers=17
    ),
    "0.2-stream-title-updated": event(
        "mE7cKzGDR",
        Kind.RETITLED,
        stamp=at(2026, 3, 4, 20, 2, 11, 350_000),
        connected=at(2026, 3, 4, 19, 0, 2),
        title="Fitting a dovetail drawer - glue-up",
        peak_viewers=14,
    ),
    "0.3-stream-started": event(
        "hW2cKzMHR",
        Kind.STARTED,
        stamp=at(2026, 9, 12, 19, 0, 2, 481_516),
        connected=at(2026, 9, 12, 19, 0, 2),
    ),
    "0.3-stream-stopped": event(
        "Lr9cKzGHR", Kind.STOPPED, stamp=at(2026, 9, 12, 21, 14, 40, 2_917), peak_viewers=21
    ),
}
WITHOUT_ID = {
    "0.0.6-stream-started": event("", Kind.STARTED, name="", title="", summary=""),
    "0.0.7-stream-started": event("", Kind.STARTED),
}
OF_NO_INTEREST = {
    f"{version}-{what}"
    for version, whats in {
        "0.0.7": ["chat", "user-joined-mistyped"],
        "0.0.9": ["chat", "user-joined"],
        "0.1": ["chat", "name-change", "user-joined", "user-parted", "visibility-update"],
        "0.2": ["chat", "name-change", "user-joined", "user-parted", "visibility-update"],
    }.items()
    for what in whats
} | {"0.2-fediverse-engagement-follow", "0.3-fediverse-engagement-follow"}
NO_EVENT = {
    "0.3-signature-vector",
    "api-0.1-config",
    "api-0.1-status-offline",
    "api-0.1-status-online",
    "api-0.1-status-warming-up",
    "api-0.1-yp",
    "api-dev-status-online-with-stream-id",
    "api-integrations-error-invalid-message",
    "api-integrations-sent",
    "dev-scheduled-event-data",
}


def payload(name: str) -> bytes:
    """As on the wire, where it is compact."""
    document = json.loads((PAYLOADS / f"{name}.json").read_bytes())
    return json.dumps(document, separators=(",", ":")).encode()


def test_every_payload_is_in_one_of_the_tables() -> None:
    tables = [*UNDERSTOOD, *WITHOUT_ID, *OF_NO_INTEREST, *NO_EVENT]
    assert sorted(tables) == sorted(file.stem for file in PAYLOADS.iterdir())


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_stream_event_of_any_version_is_understood(name: str) -> None:
    assert parse(payload(name), "default", NOW) == UNDERSTOOD[name]


@pytest.mark.parametrize("name", WITHOUT_ID)
def test_d03_an_event_of_a_version_without_ids_gets_one(name: str) -> None:
    found = read(payload(name))
    assert found == replace(WITHOUT_ID[name], id=found.id)
    assert len(found.id) == 32


@pytest.mark.parametrize("name", sorted(OF_NO_INTEREST))
def test_an_event_of_no_interest_is_no_event(name: str) -> None:
    assert parse(payload(name), "default", NOW) is None


@pytest.mark.parametrize("name", sorted(NO_EVENT))
def test_what_is_not_a_webhook_is_refused(name: str) -> None:
    with pytest.raises(MalformedEvent, match="type is missing"):
        parse(payload(name), "default", NOW)


def test_the_body_of_the_signature_vector_is_a_start() -> None:
    vector = json.loads((PAYLOADS / "0.3-signature-vector.json").read_bytes())
    assert read(vector["raw_body"].encode()) == UNDERSTOOD["0.3-stream-started"]


@pytest.mark.parametrize("type_", ["ScheduledEvents", "SCHEDULED_EVENTS", "STREAM_SCHEDULED", ""])
def test_a_planned_stream_is_no_stream_whatever_its_event_will_be_called(type_: str) -> None:
    data = json.loads(payload("dev-scheduled-event-data"))
    assert parse(json.dumps({"type": type_, "eventData": data}).encode(), "default", NOW) is None


def test_c05_times_are_kept_in_utc() -> None:
    found = read(payload("0.1-stream-started"))
    assert found.stamp is not None
    assert found.stamp.tzinfo is UTC


def test_d03_two_copies_without_an_id_are_one_event_within_a_second() -> None:
    bare = payload("0.0.7-stream-started")
    first = read(bare, NOW.replace(microsecond=0))
    assert read(bare, NOW.replace(microsecond=999_999)).id == first.id
    assert read(bare, NOW + timedelta(seconds=1)).id != first.id
    assert read(payload("0.0.6-stream-started")).id != read(bare).id


def test_an_empty_id_is_none() -> None:
    assert len(read(body(id="")).id) == 32


def test_an_event_keeps_the_channel_that_its_secret_told() -> None:
    found = parse(payload("0.3-stream-started"), "music", NOW)
    assert found is not None
    assert found.channel == "music"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"start", "not JSON", id="not JSON"),
        pytest.param(b'{"type":"STREAM_STARTED"', "not JSON", id="cut off"),
        pytest.param(b'{"type":"STREAM_STARTED"}{}', "not JSON", id="two documents"),
        pytest.param(b"\xef\xbb\xbf" + body(), "not JSON", id="a byte order mark"),
        pytest.param(body().decode().encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param(body().decode().encode("utf-16-le"), "not JSON", id="UTF-16 without a mark"),
        pytest.param(body() + b"\xff", "not UTF-8", id="not UTF-8"),
        pytest.param(b'{"type":"STREAM_STARTED","eventData":NaN}', "not JSON", id="NaN"),
        pytest.param(body(x=float("inf")), "not JSON", id="Infinity in a key of no interest"),
        pytest.param(b'{"type":"CHAT","type":"STREAM_STARTED"}', "same key", id="a key twice"),
        pytest.param(
            b'{"type":"STREAM_STARTED","eventData":{"id":"a","id":"b"}}',
            "same key",
            id="a key twice, deeper",
        ),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, TOO_DEEP, id="10,000 lists deep"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, TOO_DEEP, id="10,000 objects deep"),
        pytest.param(b"[" * 250_000, TOO_DEEP, id="250,000 brackets"),
        pytest.param(b"9" * 10_000, "not JSON", id="a number of 10,000 digits"),
        pytest.param(b"null", "the body is not an object", id="null"),
        pytest.param(b"[]", "the body is not an object", id="a list"),
        pytest.param(b'"STREAM_STARTED"', "the body is not an object", id="a text"),
        pytest.param(b"{}", "type is missing", id="no type"),
        pytest.param(body(None), "type is missing", id="type null"),
        pytest.param(body(["STREAM_STARTED"]), "type is missing", id="type a list"),
        pytest.param(
            b'{"type":"STREAM_STARTED","eventData":[]}', "eventData", id="eventData a list"
        ),
        pytest.param(
            b'{"type":"STREAM_STARTED","eventData":false}', "eventData", id="eventData false"
        ),
    ],
)
def test_d12_a_body_that_is_not_an_event_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        parse(raw, "default", NOW)


WRONG = {
    "id": [7, True, ["a"], {"a": 1}, "x" * (LONGEST_ID + 1)],
    "name": [7, False, [], {}],
    "streamTitle": [7.5, True, ["a"], {}],
    "summary": [0, False, [], {}],
    "timestamp": [
        1_789_239_603,
        True,
        [],
        {},
        "yesterday",
        "19:00:02",
        "2026-09-12T19:00:02",
        "2026-13-12T19:00:02Z",
        "2026-09-12T19:00:61Z",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-23:59",
        "2026-09-12T19:00:02+24:00",
        "2026-09-12T19:00:02+99:99",
        "9" * 5_000,
    ],
    "status": [7, 0, True, False, "", "online", [], [1]],
}
WRONG_STATUS = {
    "lastConnectTime": [7, True, {}, [], "now", "2026-09-12T19:00:02"],
    "sessionMaxViewerCount": ["17", 17.0, True, [], {}],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [pytest.param(key, value, id=f"{key}={value!r:.40}") for key in WRONG for value in WRONG[key]],
)
def test_d12_a_field_of_the_wrong_type_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(MalformedEvent, match=key) as problem:
        parse(body(**{key: value}), "default", NOW)
    assert len(str(problem.value)) < 60, "the body is repeated"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(key, value, id=f"{key}={value!r}")
        for key in WRONG_STATUS
        for value in WRONG_STATUS[key]
    ],
)
def test_a_field_of_the_status_of_the_wrong_type_is_refused_by_name(
    key: str, value: object
) -> None:
    with pytest.raises(MalformedEvent, match=key):
        parse(body("STREAM_STOPPED", status={key: value}), "default", NOW)


@pytest.mark.parametrize(
    "key", ["id", "name", "streamTitle", "summary", "timestamp", "status", "serverURL"]
)
def test_null_is_as_good_as_missing(key: str) -> None:
    with_null = read(body(**{key: None}))
    assert with_null == replace(read(body()), id=with_null.id)


def test_an_event_without_data_may_say_so() -> None:
    told = read(b'{"type":"STREAM_STARTED","eventData":null}')
    assert told == replace(WITHOUT_ID["0.0.6-stream-started"], id=told.id)


def test_unknown_keys_are_ignored() -> None:
    strange = {"serverURL": 7, "streamId": {"a": [1]}, "status": {"online": "perhaps"}}
    assert read(body(**strange)) == read(body())


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        pytest.param("0001-01-01T00:00:00Z", None, id="zero time is unknown"),
        pytest.param("0001-01-01T00:00:00+14:00", None, id="zero time, elsewhere"),
        pytest.param("", None, id="empty is unknown"),
        pytest.param(
            "2026-09-12T19:00:02.999999999Z",
            at(2026, 9, 12, 19, 0, 2, 999_999),
            id="nine digits are cut, not rounded",
        ),
        pytest.param("2026-09-12T19:00:02.1Z", at(2026, 9, 12, 19, 0, 2, 100_000), id="one digit"),
        pytest.param(
            "2026-09-12T19:00:02+05:45",
            at(2026, 9, 12, 13, 15, 2),
            id="an offset of quarter hours",
        ),
        pytest.param("1970-01-01T00:01:00Z", at(1970, 1, 1, 0, 1), id="a host without a clock"),
        pytest.param(
            "9998-12-31T23:59:59.999999Z",
            at(9998, 12, 31, 23, 59, 59, 999_999),
            id="the last year there is",
        ),
    ],
)
def test_c07_a_time_is_read(text: str, stamp: datetime | None) -> None:
    assert read(body(timestamp=text)).stamp == stamp


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        pytest.param("\ud83d half", " half", id="half a surrogate pair"),
        pytest.param("a\0b", "ab", id="NUL"),
        pytest.param("\0", "", id="nothing but NUL"),
        pytest.param("x" * 100_000, "x" * LONGEST, id="endless"),
        pytest.param("{{7*7}} <b>", "{{7*7}} <b>", id="a template is a text"),
        pytest.param(" \u2067 title ", " \u2067 title ", id="what wording cleans"),
    ],
)
def test_a_title_is_kept_as_far_as_a_database_can_hold_it(title: str, kept: str) -> None:
    for key, field in (("streamTitle", "title"), ("name", "name"), ("summary", "summary")):
        assert getattr(read(body(**{key: title})), field) == kept


@pytest.mark.parametrize(
    ("peak", "kept"),
    [(0, 0), (17, 17), (-3, 0), (10**18, 10**9), (None, None)],
)
def test_the_peak_of_a_stop_is_kept_within_reason(peak: int | None, kept: int | None) -> None:
    stopped = read(body("STREAM_STOPPED", status={"sessionMaxViewerCount": peak}))
    assert stopped.peak_viewers == kept


def test_the_peak_of_a_start_is_that_of_the_stream_before() -> None:
    started = read(body("STREAM_STARTED", status={"sessionMaxViewerCount": 17}))
    assert started.peak_viewers is None


def test_a_problem_repeats_nothing_of_the_body() -> None:
    for raw in (b"canary", body(timestamp="canary"), body(status="canary"), b'{"type":["canary"]}'):
        with pytest.raises(MalformedEvent) as problem:
            parse(raw, "default", NOW)
        assert "canary" not in repr(problem.value)
        assert problem.value.__cause__ is None
        assert problem.value.__suppress_context__ or problem.value.__context__ is None
