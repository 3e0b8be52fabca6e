"""The door for Owncast: who may enter, what is stored before the answer, and what nobody hears."""

import gzip
import hmac
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog

from announcer import wiring
from announcer.contract.fake import Wire
from announcer.outbox import database
from announcer.web import webhooks
from announcer.web.gathering import LARGEST
from tests.fakes import wait_until
from tests.house import (
    MUSIC_SECRET,
    MUSIC_TOKEN,
    TOKEN,
    TWO,
    Breakage,
    House,
    full,
    house,
    locked,
    read_only,
    seal,
    table_gone,
)
from tests.running import PAYLOADS, SECRET, payload

START = payload("0.3-stream-started")
VECTOR = json.loads((PAYLOADS / "0.3-signature-vector.json").read_text("utf-8"))
CANARY = "canary-in-a-body"

STREAM = re.compile(r"[\d.]+-stream-(started|stopped|title-updated)")
OF_INTEREST = sorted(
    path.stem for path in PAYLOADS.glob("*-stream-*.json") if STREAM.match(path.stem)
)
OTHERS = sorted(
    path.stem
    for path in PAYLOADS.glob("*.json")
    if path.stem not in OF_INTEREST and not re.match(r"api-|dev-|0.3-signature", path.stem)
)
"""Events that have nothing to do with the stream itself."""


CHANGING = {
    **TWO,
    "OWNCAST_WEBHOOK_SECRET_PREVIOUS": "the-secret-before-this-one",
    "OWNCAST_WEBHOOK_TOKEN_PREVIOUS": "the-token-before-this-one",
    "OWNCAST__MUSIC__WEBHOOK_SECRET_PREVIOUS": "the-secret-before-of-the-music",
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        yield made


@pytest.fixture
def two(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, TWO) as made:
        yield made


def start(**data: Any) -> bytes:
    """A start as of Owncast 0.3, with other values."""
    document = json.loads(START)
    document["eventData"] |= data
    return json.dumps(document).encode()


# Who may enter


@pytest.fixture
def at_the_vectors_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def set_clock(seconds_later: float) -> None:
        now = VECTOR["timestamp"] + seconds_later
        monkeypatch.setattr(
            webhooks, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
        )

    return set_clock


@pytest.mark.parametrize(
    ("later", "status"),
    [(0, 204), (300, 204), (-300, 204), (301, 401), (-301, 401), (3600, 401), (-3600, 401)],
)
def test_d10_owncasts_own_signature_is_good_for_300_seconds_either_way(
    home: House, at_the_vectors_time: Callable[[float], None], later: float, status: int
) -> None:
    at_the_vectors_time(later)
    before = home.stored()
    answer = home.client.post(
        "/webhooks/owncast",
        data=VECTOR["raw_body"],
        headers={
            VECTOR["header_name"]: VECTOR["header_value"],
            "Content-Type": "application/json",
        },
    )
    assert answer.status_code == status
    assert (home.stored() == before) is (status == 401)


def changed_by_one_bit(body: bytes) -> str:
    return seal(body[:-1] + b" }")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(lambda _: None, id="none"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "t=.s=", id="both parts empty"),
        pytest.param(lambda body: seal(body).replace("t=", "t=-"), id="a negative time"),
        pytest.param(lambda body: seal(body).replace(".s=", ",s="), id="a comma between"),
        pytest.param(lambda body: seal(body).partition(".")[0], id="no signature"),
        pytest.param(lambda body: seal(body).partition(".")[2], id="no time"),
        pytest.param(lambda body: seal(body)[:-1], id="one digit short"),
        pytest.param(lambda body: seal(body) + "0", id="one digit more"),
        pytest.param(
            lambda body: seal(body, at=time.time() + 1).replace("t=", "t=0x"), id="hex time"
        ),
        pytest.param(
            lambda body: re.sub("t=[0-9]+", "t=" + "9" * 5000, seal(body)), id="endless time"
        ),
        pytest.param(lambda body: re.sub("t=([0-9]+)", r"t=\1,5", seal(body)), id="a fraction"),
        pytest.param(lambda body: re.sub("t=[0-9]+", "t=²", seal(body)), id="a digit that is none"),
        pytest.param(lambda body: re.sub("s=.*", "s=\xe9\xff", seal(body)), id="not ASCII"),
        pytest.param(lambda body: seal(body, secret="another"), id="another secret"),
        pytest.param(lambda body: seal(body, secret=""), id="an empty secret"),
        pytest.param(lambda body: seal(body, secret=TOKEN), id="the token as the secret"),
        pytest.param(lambda body: seal(body, secret=MUSIC_TOKEN), id="another channel's token"),
        pytest.param(changed_by_one_bit, id="of another body"),
        pytest.param(lambda body: seal(body, at=time.time() - 3600), id="an hour old"),
    ],
)
def test_d11_without_a_good_signature_nobody_is_heard(
    two: House, header: Callable[[bytes], str | None]
) -> None:
    value = header(START)
    before = two.stored()
    answer = two.client.post(
        "/webhooks/owncast",
        data=START,
        headers={"Content-Type": "application/json"}
        | ({} if value is None else {"owncast-signature": value}),
    )
    assert answer.status_code == 401
    assert two.stored() == before
    assert two.hear(START).status_code == 204


def test_d10_a_moved_time_breaks_the_signature(home: House) -> None:
    """The time is signed too, or a stale request could be made young again."""
    old = seal(START, at=time.time() - 3600)
    young = re.sub("t=[0-9]+", f"t={int(time.time())}", old)
    assert home.hear(START, **{"owncast-signature": young}).status_code == 401


@pytest.mark.parametrize(
    ("off", "side"), [(-3600, "3600 s behind ours"), (400, "400 s ahead of ours")]
)
def test_c03_d10_a_clock_that_is_off_is_told_from_a_wrong_secret(
    home: House, at_the_vectors_time: Callable[[float], None], off: int, side: str
) -> None:
    at_the_vectors_time(-off)
    good = {VECTOR["header_name"]: VECTOR["header_value"], "Content-Type": "application/json"}
    bad = good | {VECTOR["header_name"]: VECTOR["header_value"][:-1] + "0"}
    unsigned = {"Content-Type": "application/json"}
    said = []
    with structlog.testing.capture_logs() as lines:
        for headers in (good, bad, bad, unsigned):
            answer = home.client.post("/webhooks/owncast", data=VECTOR["raw_body"], headers=headers)
            said.append((answer.status_code, answer.text))
    assert said == [
        (401, "timestamp outside the window\n"),
        (401, "bad signature\n"),
        (401, "bad signature\n"),
        (401, "no signature\n"),
    ]
    clock, secret, unsealed = (line["reason"] for line in lines)
    assert "check both clocks" in clock
    assert side in clock
    assert "check the secret" in secret
    assert "before 0.3" in unsealed
    assert {
        labels["outcome"]: n for labels, n in home.scraped("announcer_webhooks_total") if n
    } == {
        "timestamp outside the window": 1,
        "bad signature": 2,
        "no signature": 1,
    }
    assert not home.stored()["events"]


@pytest.mark.parametrize("name", ["x-owncast-signature", "owncast-authentication"])
def test_d11_a_signature_under_a_wrong_name_is_none(home: House, name: str) -> None:
    answer = home.client.post(
        "/webhooks/owncast",
        data=START,
        headers={"Content-Type": "application/json", name: seal(START)},
    )
    assert answer.status_code == 401


def test_d11_a_server_without_a_secret_can_not_be_spoken_for_with_an_empty_one(
    tmp_path: Path,
) -> None:
    """HMAC takes an empty key, and everybody knows it."""
    with house(tmp_path, {"OWNCAST_WEBHOOK_TOKEN": TOKEN}) as only_token:
        assert only_token.hear(START, secret="").status_code == 401
        assert only_token.hear_by_token(START).status_code == 204


@pytest.mark.parametrize(
    ("token", "status"),
    [
        pytest.param(TOKEN, 204, id="right"),
        pytest.param(TOKEN + "x", 404, id="longer"),
        pytest.param(TOKEN[:-1], 404, id="shorter"),
        pytest.param(TOKEN.upper(), 404, id="other case"),
        pytest.param(SECRET, 404, id="the secret as the token"),
        pytest.param("%20", 404, id="blank"),
        pytest.param("%FF%FE", 404, id="no UTF-8"),
        pytest.param("%F0%9F%94%B4", 404, id="no ASCII"),
        pytest.param("", 404, id="none"),
        pytest.param(f"{TOKEN}/", 404, id="a slash at its end"),
        pytest.param(f"x/../{TOKEN}", 404, id="a way round"),
    ],
)
def test_d11_the_address_with_the_token_is_the_only_one(
    home: House, token: str, status: int
) -> None:
    before = home.stored()
    assert home.hear_by_token(START, token).status_code == status
    assert (home.stored() == before) is (status == 404)


def compared(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """What is compared from now on, pair by pair."""
    pairs: list[set[str]] = []

    def compare(one: Any, other: Any) -> bool:
        pairs.append({x.decode() if isinstance(x, bytes) else x for x in (one, other)})
        return hmac.compare_digest(one, other)

    spy = SimpleNamespace(compare_digest=compare, digest=hmac.digest)
    monkeypatch.setattr(webhooks, "hmac", spy)
    return pairs


@pytest.mark.parametrize("token", [TOKEN, MUSIC_TOKEN, "wrong-but-just-as-long-a-one"])
def test_d11_tokens_are_compared_in_constant_time_and_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    with house(tmp_path, CHANGING) as changing:
        pairs = compared(monkeypatch)
        changing.hear_by_token(START, token)
    secrets = (TOKEN, "the-token-before-this-one", MUSIC_TOKEN)
    assert pairs == [{secret, token} for secret in secrets]


@pytest.mark.parametrize("secret", [SECRET, MUSIC_SECRET, "a-wrong-one"])
def test_d11_signatures_are_compared_in_constant_time_and_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    at = time.time()
    given = seal(START, secret, at)
    with house(tmp_path, CHANGING) as changing:
        pairs = compared(monkeypatch)
        changing.hear(START, **{"owncast-signature": given})
    secrets = [
        *(SECRET, "the-secret-before-this-one"),
        *(MUSIC_SECRET, "the-secret-before-of-the-music"),
    ]
    due = [{seal(START, one, at).partition("s=")[2], given.partition("s=")[2]} for one in secrets]
    assert pairs == due


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/webhooks/owncast", f"/webhooks/owncast/{TOKEN}"])
def test_nothing_but_a_post_is_an_event(home: House, method: str, path: str) -> None:
    """A redirect on the way makes a GET of Owncast's POST: better loud than lost."""
    assert home.client.open(path, method=method, data=START).status_code == 405


@pytest.mark.parametrize("by", ["signature", "token"])
def test_d16_each_channel_is_known_by_what_it_proves_itself_with(two: House, by: str) -> None:
    if by == "signature":
        answers = [two.hear(START), two.hear(START, secret=MUSIC_SECRET)]
    else:
        answers = [two.hear_by_token(START), two.hear_by_token(START, MUSIC_TOKEN)]
    assert [answer.status_code for answer in answers] == [204, 204]
    rows = two.stored()
    assert {row[0] for row in rows["events"]} == {"default", "music"}
    assert len(rows["broadcasts"]) == 2, "two servers may use the same event id"


# While a secret is changed


@pytest.mark.parametrize(
    ("secret", "channel"),
    [
        (SECRET, "default"),
        ("the-secret-before-this-one", "default"),
        ("the-secret-before-of-the-music", "music"),
    ],
)
def test_the_secret_before_is_good_until_it_is_dropped(
    tmp_path: Path, secret: str, channel: str
) -> None:
    with house(tmp_path, CHANGING) as changing:
        assert changing.hear(START, secret).status_code == 204
        assert {row[0] for row in changing.stored()["events"]} == {channel}
        previous = changing.scraped("announcer_webhooks_by_previous_secret_total")
        assert previous == [({}, secret != SECRET)]


def test_the_token_before_is_good_until_it_is_dropped(tmp_path: Path) -> None:
    with house(tmp_path, CHANGING) as changing:
        assert changing.hear_by_token(START, "the-token-before-this-one").status_code == 204
        assert changing.hear_by_token(START, "the-secret-before-this-one").status_code == 404
        assert changing.hear(START, "the-token-before-this-one").status_code == 401
        assert changing.scraped("announcer_webhooks_by_previous_secret_total") == [({}, 1)]


def test_the_log_tells_that_the_secret_before_is_still_used_but_not_all_the_time(
    tmp_path: Path,
) -> None:
    with house(tmp_path, CHANGING) as changing, structlog.testing.capture_logs() as lines:
        for number in range(50):
            changing.hear(payload("0.1-chat"), "the-secret-before-this-one")
            changing.hear(payload("0.1-chat"), "the-secret-before-of-the-music")
            changing.hear(start(id=f"event-{number}"))
    told = [line for line in lines if line["event"] == "webhook"]
    assert [line["channel"] for line in told] == ["default", "music"]
    assert all("tell Owncast the new one" in line["reason"] for line in told)
    assert "before-this-one" not in repr(lines)


def test_a_secret_that_is_replaced_while_we_run_is_good_at_once(tmp_path: Path) -> None:
    """As when its file changed: the channel's settings are another object then."""
    with house(tmp_path, {**TWO}) as running:
        new = wiring.read({**TWO, "OWNCAST_WEBHOOK_SECRET": "a-new-one-altogether"})
        channels = running.parts.settings.channels
        assert isinstance(channels, dict)
        channels["default"] = new.channels["default"]
        assert running.hear(START).status_code == 401
        assert running.hear(START, "a-new-one-altogether").status_code == 204
        assert running.hear(START, MUSIC_SECRET).status_code == 204


# What is no event


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 204),
        ("application/json; charset=utf-8", 204),
        ("Application/JSON", 204),
        ("", 415),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/jsonp", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
def test_only_json_is_read(home: House, kind: str, status: int) -> None:
    """A form of a hostile page can send the others without asking."""
    before = home.stored()
    answer = home.hear(START, **{"Content-Type": kind})
    assert answer.status_code == status
    assert (home.stored() == before) is (status == 415)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
def test_d12_a_packed_body_is_not_unpacked(home: House, encoding: str) -> None:
    packed = gzip.compress(START)
    assert home.hear(packed, **{"Content-Encoding": encoding}).status_code == 415


@pytest.mark.parametrize(("size", "status"), [(LARGEST, 204), (LARGEST + 1, 413)])
def test_d12_a_body_has_at_most_256_kib(home: House, size: int, status: int) -> None:
    body = START + b" " * (size - len(START))
    before = home.stored()
    assert home.hear(body).status_code == status
    assert home.hear_by_token(body).status_code == status
    assert (home.stored() == before) is (status == 413)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"CANARY", id="a word"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"CANARY"', id="a text"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(START[:-1], id="cut off"),
        pytest.param(START + b"x", id="something after it"),
        pytest.param(START.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + START, id="a byte order mark"),
        pytest.param(
            '{"type": "STREAM_STARTED", "x": "\xe9 CANARY"}'.encode("latin-1"), id="Latin-1"
        ),
        pytest.param(b'{"type": "STREAM_STARTED", "x": NaN}', id="NaN"),
        pytest.param(b'{"type": "STREAM_STARTED", "x": -Infinity}', id="Infinity"),
        pytest.param(b'{"type": "CHAT", "type": "STREAM_STARTED"}', id="a key twice"),
        pytest.param(
            b'{"type": "STREAM_STARTED", "x": ' + b"9" * 200_000 + b"}", id="endless number"
        ),
        pytest.param(b"[" * 200_000, id="100,000 open brackets"),
        pytest.param(b'{"x":' * 40_000 + b"1" + b"}" * 40_000, id="40,000 objects deep"),
        pytest.param(b'{"eventData": {}}', id="no type"),
        pytest.param(b'{"type": null}', id="type is null"),
        pytest.param(b'{"type": ["STREAM_STARTED"]}', id="type is a list"),
        pytest.param(b'{"type": {"CANARY": 1}}', id="type is an object"),
        pytest.param(b'{"type": "STREAM_STARTED", "eventData": ["CANARY"]}', id="data is a list"),
        *(
            pytest.param(start(**{field: value}), id=f"{field} is {type(value).__name__}")
            for field in ("id", "name", "streamTitle", "summary")
            for value in (7, True, ["CANARY"], {"CANARY": 1})
        ),
        *(
            pytest.param(start(timestamp=value), id=f"timestamp is {value}")
            for value in (7, "yesterday, said CANARY", "2026-09-12T19:00:02", ["CANARY"])
        ),
        pytest.param(start(status=["CANARY"]), id="status is a list"),
        pytest.param(start(status="CANARY"), id="status is a text"),
        pytest.param(start(status={"lastConnectTime": 7}), id="connect time is a number"),
        pytest.param(start(status={"sessionMaxViewerCount": "CANARY"}), id="viewers are a text"),
        pytest.param(start(status={"sessionMaxViewerCount": True}), id="viewers are a truth"),
        pytest.param(start(status={"sessionMaxViewerCount": 1.5}), id="half a viewer"),
    ],
)
def test_d12_what_is_no_event_is_refused_stored_nowhere_and_never_repeated(
    home: House, body: bytes
) -> None:
    body = body.replace(b"CANARY", CANARY.encode())
    before, begun = home.stored(), time.monotonic()
    for answer in (home.hear(body), home.hear_by_token(body)):
        assert answer.status_code == 400
        assert CANARY not in answer.text
        assert answer.mimetype == "text/plain"
        assert len(answer.data) < 200
    assert time.monotonic() - begun < 2
    assert home.stored() == before
    assert home.hear(START).status_code == 204, "the next one is heard"


def test_no_refusal_repeats_what_was_sent(home: House) -> None:
    answers = [
        home.client.post(f"/webhooks/owncast/{CANARY}-{CANARY}", data=CANARY),
        home.client.post("/webhooks/owncast", data=CANARY, content_type=f"text/{CANARY}"),
        home.hear(CANARY.encode(), secret=CANARY),
        home.client.get(f"/{CANARY}"),
        home.client.post(
            "/webhooks/owncast", data=CANARY * LARGEST, content_type="application/json"
        ),
    ]
    assert [answer.status_code for answer in answers] == [404, 415, 401, 404, 413]
    assert not [answer.text for answer in answers if CANARY in answer.text]


# What is an event


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(payload(name), id=name) for name in OTHERS),
        *(
            pytest.param(json.dumps({"type": kind, "eventData": {}}).encode(), id=kind)
            for kind in ("PING", "FEDIVERSE_MENTION", "SCHEDULED_STREAM", "stream_started", "")
        ),
        pytest.param(b'{"type": "CHAT", "eventData": "nothing we look at"}', id="odd chat"),
    ],
)
def test_what_is_of_no_interest_is_thanked_for_and_forgotten(home: House, body: bytes) -> None:
    before = home.stored()
    answer = home.hear(body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert home.stored() == before


@pytest.mark.parametrize("name", OF_INTEREST)
def test_every_generation_is_on_disk_before_its_answer(home: House, name: str) -> None:
    body = payload(name)
    hear = home.hear if name.startswith("0.3") else home.hear_by_token
    answer = hear(body)
    assert (answer.status_code, answer.data) == (204, b"")
    rows = home.stored()
    assert len(rows["events"]) == 1
    assert len(rows["broadcasts"]) == len(rows["posts"]) == ("started" in name)


def test_there_is_a_payload_of_every_generation() -> None:
    assert {name.rpartition("-stream")[0] for name in OF_INTEREST} == {
        "0.0.6", "0.0.7", "0.0.9", "0.1", "0.2", "0.3",
    }  # fmt: skip
    assert len(OTHERS) > 10


@pytest.mark.parametrize(
    "title",
    [
        "\ud83d",
        "a\0b",
        "\u202egnp.exe",
        "x" * 200_000,
        "{{ 7*7 }}",
        "'); DROP TABLE posts; --",
        "\r\nSet-Cookie: x",
    ],
    ids=["half a pair", "NUL", "bidi", "200,000 letters", "a template", "SQL", "line ends"],
)
def test_d12_an_odd_title_is_no_reason_not_to_listen(home: House, title: str) -> None:
    assert home.hear(start(streamTitle=title)).status_code == 204
    assert len(home.stored()["posts"]) == 1


@pytest.mark.parametrize("by", ["signature", "token"])
def test_a_repeat_is_answered_like_the_first_and_folded(home: House, by: str) -> None:
    hear = home.hear if by == "signature" else home.hear_by_token
    assert hear(START).status_code == 204
    once = home.stored()
    assert hear(START).status_code == 204
    assert home.stored() == once


def test_d10_a_signed_request_played_again_within_its_time_changes_nothing(home: House) -> None:
    sealed = seal(START)
    assert home.hear(START, **{"owncast-signature": sealed}).status_code == 204
    assert home.hear(payload("0.3-stream-stopped")).status_code == 204
    over = home.stored()
    assert home.hear(START, **{"owncast-signature": sealed}).status_code == 204
    assert home.stored() == over, "the stream was not brought back to life"


@pytest.mark.parametrize("name", ["0.3-stream-started", "0.0.6-stream-started"])
def test_d02_d03_100_repeats_at_once_are_one_broadcast(home: House, name: str) -> None:
    body = payload(name)
    app = home.client.application

    def knock(_: int) -> int:
        return app.test_client().post(
            f"/webhooks/owncast/{TOKEN}", data=body, content_type="application/json"
        ).status_code  # fmt: skip

    with ThreadPoolExecutor(100) as crowd:
        assert set(crowd.map(knock, range(100))) == {204}
    rows = home.stored()
    assert len(rows["broadcasts"]) == 1
    assert len(rows["posts"]) == 1


# When it can not be stored


@pytest.mark.parametrize("breakage", [locked, table_gone, read_only, full])
def test_b01_b03_what_can_not_be_stored_is_not_thanked_for_and_nothing_must_be_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breakage: Breakage
) -> None:
    patient = [pragma for pragma in database.PRAGMAS if not pragma.startswith("busy_timeout")]
    monkeypatch.setattr(database, "PRAGMAS", (*patient, "busy_timeout=100"))
    big = start(name="n" * 2000, streamTitle="t" * 2000, summary="s" * 2000)
    with house(tmp_path) as home:
        before = home.stored()
        with breakage(home):
            for answer in (home.hear(big), home.hear_by_token(big)):
                assert answer.status_code == 503
                assert answer.text == "could not be stored\n"
            assert home.hear(payload("0.1-chat")).status_code == 204, "this needs no storing"
        assert home.stored() == before
        assert home.hear(big).status_code == 204
        assert len(home.stored()["posts"]) == 1


def test_b03_a_short_lock_is_waited_for(home: House) -> None:
    with ThreadPoolExecutor(1) as pool, locked(home):
        answer = pool.submit(home.hear, START)
        time.sleep(0.3)
        assert not answer.done()
    assert answer.result().status_code == 204


# What is told on


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest",
        "javascript:alert(1)",
        "https://phishing.example",
        "file:///etc",
    ],
)
def test_d14_the_address_in_a_webhook_is_neither_asked_nor_shown(
    tmp_path: Path, wire: Wire, address: str
) -> None:
    wire.always("GET", "/api/status", 200, {"online": True})
    wire.always("GET", "/api/config", 200, {"tags": [], "serverURL": address})
    wire.always("GET", "-of-discords", 200, {"guild_id": "3"})
    wire.always("GET", "/thumbnail.jpg", 404)
    wire.always("GET", "/logo/external", 404)
    wire.answers(200, {"id": "1", "channel_id": "2"})
    with house(tmp_path) as home:
        now = datetime.now(UTC).isoformat()
        body = start(serverURL=address, url=address, timestamp=now)
        assert home.hear(body).status_code == 204
        home.past_the_hold()
        home.parts.delivery.run()
        deadline = time.monotonic() + 10
        while not wire.scripted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert home.parts.delivery.stop(10)
        (told,) = wire.scripted
        assert b"https://live.kestrel.example" in told.body
        assert address.encode() not in told.body
        hosts = {urlsplit(sent.request.url or "").netloc for sent in wire.sent}
        assert hosts == {"live.kestrel.example", "discord.com"}
        assert address not in repr(home.stored())
        assert address not in home.client.get("/").text


def test_d15_a_sample_event_of_a_stream_that_is_offline_tells_nobody(
    tmp_path: Path, wire: Wire
) -> None:
    """The test button of Owncast's admin pages sends one. Owncast itself says better."""
    wire.always("GET", "/api/status", 200, {"online": False})
    with house(tmp_path) as home:
        assert home.hear(start(timestamp=datetime.now(UTC).isoformat())).status_code == 204
        home.past_the_hold()
        home.parts.delivery.run()
        wait_until(lambda: home.stored()["posts"][0][5] != "sending")
        assert home.parts.delivery.stop(10)
        assert home.stored()["posts"][0][5] in ("due", "withdrawn")
    assert not wire.scripted, "nothing but the status was asked for"


# What the log says


def test_a_refused_webhook_is_logged_without_what_was_sent(two: House) -> None:
    near = TOKEN[:-1]
    with structlog.testing.capture_logs() as lines:
        two.hear_by_token(START, near)
        two.hear(START, secret="wrong")
        two.hear(b'{"type": "canary-in-a-body')
    assert [line.get("outcome") for line in lines] == [404, 401, 400]
    assert all(line["log_level"] == "warning" and line["reason"] for line in lines)
    assert near not in repr(lines)
    assert CANARY not in repr(lines)


def test_d11_a_crowd_of_forgers_does_not_fill_the_log(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(50):
            home.hear_by_token(START, f"guess-number-{number}-of-many")
            home.hear(START, secret=f"guess {number}")
        assert [line["outcome"] for line in lines] == [404, 401]
        monkeypatch.setattr(webhooks, "SELDOM", 0.0)
        home.hear(START, secret="one more")
    assert lines[-1]["unsaid"] == 49


class Endless(io.RawIOBase):
    """A body without an end, and how much of it was taken."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b" " * len(buffer)
        return len(buffer)


def test_d12_no_more_than_256_kib_are_read_into_memory(home: House) -> None:
    body = Endless()
    answer = home.client.post(
        f"/webhooks/owncast/{TOKEN}",
        content_type="application/json",
        environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True},
    )
    assert answer.status_code == 413
    assert body.taken <= LARGEST + 65536
