"""The webhook: events that a program can trust, that come in order and can be told apart."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from announcer import rehearsal
from announcer.contract import POST, Wire
from announcer.contract.fake import Sent, read_timeout
from announcer.network import (
    DeliveryError,
    ForgetfulMemory,
    Moment,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.webhook import Webhook
from tests.fakes import wait_until
from tests.running import Service

KEY, FORMER = b"a kestrel hovers here 24", b"another kestrel did so before it"
SECRET, FORMER_SECRET = (f"whsec_{base64.b64encode(key).decode()}" for key in (KEY, FORMER))
URL = "https://hooks.kestrel.example/in/17?workflow=live"
OVER = replace(
    POST,
    mood=Moment.ENDED,
    text="It is over.",
    worded_at=datetime(2026, 11, 23, 21, 20, tzinfo=UTC),
    show=replace(
        POST.show,  # type: ignore[type-var]  # the suite's post has one
        ended_at=datetime(2026, 11, 23, 21, 15, tzinfo=UTC),
        peak_viewers=12,
    ),
)
BENCH = replace(POST, text="Now: a bench", worded_at=POST.worded_at + timedelta(minutes=9))


def webhook(**settings: str) -> Webhook:
    return Webhook.model_validate({"url": URL, "secret": SECRET, **settings})


def is_from(key: bytes, body: bytes, headers: Any) -> bool:
    """By the specification, and by nothing of ours: whether who has *key* sent this just now."""
    msg_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    assert abs(time.time() - int(timestamp)) < 300, "a replay"
    signed = msg_id.encode() + b"." + timestamp.encode() + b"." + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and seal == expected for version, _, seal in versions)


def sound(sent: Sent, key: bytes = KEY) -> bool:
    return is_from(key, sent.body, sent.request.headers)


def ids(wire: Wire) -> list[str]:
    return [str(sent.request.headers["webhook-id"]) for sent in wire.sent]


# The signature


def test_the_verifier_knows_the_example_of_the_specifications_authors() -> None:
    """The vector of their libraries' tests, or else our verifier could be wrong as we are."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    seal = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert seal == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_event_is_signed_over_the_bytes_as_sent(wire: Wire) -> None:
    wire.answers(204)
    webhook().publish(replace(POST, text="\u2028 é🔴 </script> \\"))
    [sent] = wire.sent
    assert sent.request.url == URL
    assert sent.request.headers["Content-Type"] == "application/json"
    assert sound(sent)
    assert not sound(sent, FORMER)
    assert "." not in ids(wire)[0]


def test_while_a_secret_is_changed_both_sign(wire: Wire) -> None:
    wire.answers(204)
    webhook(secret_previous=FORMER_SECRET).publish(POST)
    assert sound(wire.sent[0])
    assert sound(wire.sent[0], FORMER)


@pytest.mark.parametrize(
    "secret",
    [
        SECRET.removeprefix("whsec_"),
        "whsec_" + base64.b64encode(b"too short").decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_***not base64 at all, but long enough***",
        "whsec_AAAA",
    ],
)
@pytest.mark.parametrize("field", ["secret", "secret_previous"])
def test_a_weak_or_broken_secret_is_told_at_the_start(field: str, secret: str) -> None:
    with pytest.raises(ValidationError, match="must be whsec_ and 24 to 64") as problem:
        webhook(**{field: secret})
    assert secret not in str(problem.value)


@pytest.mark.parametrize(
    "url",
    ["http://hooks.kestrel.example/in", "ftp://kestrel.example", "https://me:x@kestrel.example"],
)
def test_nothing_leaves_unencrypted_for_the_world(url: str) -> None:
    with pytest.raises(ValidationError):
        webhook(url=url)


@pytest.mark.parametrize(
    "url", ["http://homeassistant.local:8123/api/webhook/7", "http://10.0.0.7"]
)
def test_the_operators_own_network_may_be_told(url: str) -> None:
    assert webhook(url=url).url.get_secret_value() == url


# What is told


def test_a_start_is_told_with_all_that_is_known(wire: Wire) -> None:
    wire.answers(200)
    webhook().publish(POST)
    assert wire.sent[0].json == {
        "type": "stream.live",
        "timestamp": "2026-11-23T19:15:00.250000+00:00",
        "data": {
            "broadcast": "b1",
            "text": POST.text,
            "channel": "default",
            "name": "Kestrel Workshop",
            "title": "a dovetail drawer",
            "summary": "On now",
            "url": "https://live.example.org",
            "tags": ["owncast"],
            "nsfw": False,
            "started_at": "2026-11-23T19:15:00.250000+00:00",
            "ended_at": None,
            "peak_viewers": None,
            "replay_url": "",
        },
    }


def test_an_evening_is_events_that_can_be_told_apart(wire: Wire) -> None:
    wire.answers(204, times=7)
    network = webhook()
    receipt = network.publish(POST)
    for post in (BENCH, POST, BENCH, OVER, BENCH, OVER):
        receipt = network.revise(receipt, post)
    assert [sent.json["type"] for sent in wire.sent] == [
        "stream.live",
        "stream.retitled",
        "stream.retitled",
        "stream.retitled",
        "stream.ended",
        "stream.resumed",
        "stream.ended",
    ]
    assert len(set(ids(wire))) == 7, "a title that comes back is no repeat"
    assert wire.sent[4].json["timestamp"] == "2026-11-23T21:15:00+00:00"
    assert wire.sent[4].json["data"]["peak_viewers"] == 12
    assert all(sound(sent) for sent in wire.sent)


@pytest.mark.parametrize(
    ("post", "told"),
    [
        pytest.param(replace(POST, test=True), "announcer.test", id="a test"),
        pytest.param(replace(POST, moment=Moment.ALERT, show=None), "announcer.alert", id="alert"),
        pytest.param(OVER, "stream.ended", id="a start told when it was over"),
        pytest.param(replace(OVER, moment=Moment.ENDED), "stream.ended", id="an end of its own"),
    ],
)
def test_its_type_says_what_it_is(wire: Wire, post: Post, told: str) -> None:
    wire.answers(204)
    webhook().publish(post)
    assert wire.sent[0].json["type"] == told


def test_an_alert_has_only_its_words(wire: Wire) -> None:
    wire.answers(204)
    webhook().publish(replace(POST, moment=Moment.ALERT, show=None, card=None))
    assert wire.sent[0].json["data"] == {"text": POST.text}


# Repeats


def test_a_repeat_has_the_same_id_and_body_and_a_new_signature(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.breaks(read_timeout)
    wire.answers(204)
    with pytest.raises(Unsure):
        webhook().publish(POST)
    later = datetime.now(UTC) + timedelta(seconds=90)
    monkeypatch.setattr("announcer.networks.webhook._now", lambda: later)
    webhook().publish(replace(POST, doubtful_since=POST.worded_at))
    once, again = wire.sent
    assert once.body == again.body
    assert once.request.headers["webhook-id"] == again.request.headers["webhook-id"]
    for header in ("webhook-timestamp", "webhook-signature"):
        assert once.request.headers[header] != again.request.headers[header]
    assert sound(once)
    assert sound(again)


def test_a_repeated_change_is_the_same_even_after_a_restart(wire: Wire) -> None:
    """Delivery words a change anew for each try, and a minute later."""
    wire.answers(204)
    memory, receipt = ForgetfulMemory(), webhook().publish(POST)
    for minutes, answers in ((0, False), (1, True)):
        network = webhook()
        network.remember_in(memory)
        if answers:
            wire.answers(204)
            network.revise(
                receipt, replace(BENCH, worded_at=BENCH.worded_at + timedelta(minutes=1))
            )
        else:
            wire.breaks(read_timeout)
            with pytest.raises(Unsure):
                network.revise(receipt, BENCH)
        assert minutes in (0, 1)
    _, once, again = wire.sent
    assert once.body == again.body
    assert once.request.headers["webhook-id"] == again.request.headers["webhook-id"]


def test_a_change_of_mind_before_it_was_told_is_another_event(wire: Wire) -> None:
    wire.breaks(read_timeout)
    wire.answers(204)
    network, receipt = webhook(), Receipt("msg_1", "", {"event": "msg_1", "told": "stream.live"})
    with pytest.raises(Unsure):
        network.revise(receipt, BENCH)
    network.revise(receipt, replace(BENCH, text="Now: a chair"))
    assert len(set(ids(wire))) == 2
    assert wire.sent[1].json["data"]["text"] == "Now: a chair"


# What comes back


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, ""),
        (200, "ok"),
        (200, "<p>ok</p>"),
        (201, '{"id": 7}'),
        (202, "[]"),
        (204, ""),
        (299, ""),
    ],
)
def test_any_2xx_is_a_success(wire: Wire, status: int, body: str) -> None:
    wire.answers(status, body)
    assert webhook().publish(POST).id.startswith("msg_")


@pytest.mark.parametrize(
    ("status", "error", "closes"),
    [
        (301, Refused, False),
        (308, Refused, False),
        (400, Refused, False),
        (401, Refused, True),
        (404, Refused, False),
        (410, Refused, True),
        (429, TryLater, False),
        (500, Unsure, False),
        (502, Unsure, False),
        (503, TryLater, False),
        (504, Unsure, False),
    ],
)
@pytest.mark.parametrize("change", [False, True], ids=["an event", "a change"])
def test_anything_else_is_a_failure(
    wire: Wire,
    status: int,
    error: type[DeliveryError],
    *,
    closes: bool,
    change: bool,
) -> None:
    wire.answers(status, {"message": "told by n8n"}, {"Location": "https://elsewhere.example"})
    network = webhook()
    say = (
        partial(network.revise, Receipt("msg_1"), OVER)
        if change
        else partial(network.publish, POST)
    )
    with pytest.raises(error) as failure:
        say()
    assert getattr(failure.value, "closes", False) is closes
    assert len(wire.sent) == 1


def test_check_tells_the_program_and_the_program_only(wire: Wire) -> None:
    wire.answers(200, {"message": "ok"})
    assert webhook().check().handle == "a webhook at hooks.kestrel.example"
    [sent] = wire.sent
    assert sound(sent)
    assert (sent.json["type"], sent.json["data"]) == ("announcer.check", {})


def test_check_finds_a_page_where_a_webhook_should_be(wire: Wire) -> None:
    wire.answers(200, "\n<!doctype html><title>Log in</title>")
    with pytest.raises(Refused, match="page for people"):
        webhook().check()


# A receiver


class Receiver:
    """Keeps the events that it can trust, once each, and answers *status* to all."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.forged = 0
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.hear(body, self.headers)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/in/an-unguessable-word"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def hear(self, body: bytes, headers: Any) -> None:
        event = headers["webhook-id"]
        if not is_from(KEY, body, headers):
            self.forged += 1
        elif event in self.events:
            assert self.events[event] == json.loads(body)
            self.repeats += 1
        else:
            self.events[event] = json.loads(body)

    def told(self) -> list[tuple[str, str]]:
        return [(one["type"], one["data"]["title"]) for one in self.events.values()]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    there = Receiver()
    yield there
    there.close()


@pytest.fixture
def settings(receiver: Receiver) -> dict[str, str]:
    return {
        "WEBHOOK_URL": receiver.url,
        "WEBHOOK_SECRET": SECRET,
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "0s",
        "ANNOUNCER_POLL": "0s",
    }


HURRIED = ("-m", "tests.hurried")


def tell(service: Service, what: str, title: str) -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_a_receiver_is_told_of_an_evening(
    tmp_path: Path, receiver: Receiver, settings: dict[str, str]
) -> None:
    title = '"}, {"type": "x"} \u2028 {{7*7}} <b>'
    service = Service(tmp_path, settings, HURRIED)
    tell(service, "start", title)
    service.until(lambda: len(receiver.events) == 1, "no event")
    tell(service, "start", title)
    tell(service, "title", "a bench")
    service.until(lambda: len(receiver.events) == 2, "no new title")
    tell(service, "stop", "a bench")
    service.until(lambda: len(receiver.events) == 3, "no end")
    service.stop()
    assert receiver.told() == [
        ("stream.live", '"}, {"type": "x"} {{7*7}} <b>'),
        ("stream.retitled", "a bench"),
        ("stream.ended", "a bench"),
    ]
    assert receiver.forged == 0
    assert len({one["data"]["broadcast"] for one in receiver.events.values()}) == 1
    assert "an-unguessable-word" not in service.log


@pytest.mark.parametrize("where", ["sent", "answered"])
def test_a_crash_leaves_one_event(
    tmp_path: Path, receiver: Receiver, settings: dict[str, str], where: str
) -> None:
    trace, point = tmp_path / "passed", f"POST /in/*: {where}"
    crash = {"ANNOUNCER_CRASH_AT": point, "ANNOUNCER_CRASH_TRACE": str(trace)}
    first = Service(tmp_path, settings | crash, HURRIED)
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
    first.kill()
    wait_until(lambda: receiver.events)
    second = Service(tmp_path, settings, HURRIED)
    second.until(lambda: receiver.repeats, "it was not told again")
    second.stop()
    assert receiver.told() == [("stream.live", "Drawers")]


def test_a_receiver_that_wants_no_more_is_left_alone(
    tmp_path: Path, receiver: Receiver, settings: dict[str, str]
) -> None:
    receiver.status = 410
    service = Service(tmp_path, settings, HURRIED)
    tell(service, "start", "Drawers")
    service.until(
        lambda: {post["state"] for post in service.posts().values()} == {"failed"}, "not failed"
    )
    service.stop()
    assert len(receiver.events) == 1
    assert receiver.repeats == 0
    assert "an-unguessable-word" not in service.log
