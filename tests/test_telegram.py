"""Telegram: what leaves, what its answers mean, and that a group may move."""

import html
import json
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer import wiring
from announcer.contract.fake import Answer, Sent, Wire, read_timeout
from announcer.events import Kind
from announcer.network import (
    Card,
    DeliveryError,
    ForgetfulMemory,
    Gone,
    Moment,
    Picture,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.telegram import CAPTION, TEXT, Telegram
from announcer.outbox import DestinationMemory
from announcer.pictures import Shot
from announcer.wording import Facts, Templates
from tests.fakes import Camera, Stage

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
CHANNEL, GROUP, MOVED = -1001234567890, -4711, -1009999999999
STREAM = "https://live.example.org"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
POST = Post(
    "b1/live/telegram",
    Moment.LIVE,
    Moment.LIVE,
    "We are live",
    AT,
    AT,
    "k",
    card=Card(STREAM, "A dovetail drawer", "On now", "Kestrel Workshop"),
)
PICTURE = Picture(b"\xff\xd8 as if it were a JPEG \xff\xd9", 1280, 720, "A dovetail drawer")
PICTURED = replace(POST, picture=PICTURE)
OVER = replace(POST, mood=Moment.ENDED, text="It is over")
SHOWN = Receipt("7", "https://t.me/c/1234567890/7", {"chat": str(CHANNEL), "kind": "text"})
PHOTO = replace(SHOWN, extra={"chat": str(CHANNEL), "kind": "photo"})
PREVIEW = {"url": STREAM, "prefer_large_media": True}
WATCH = {"inline_keyboard": [[{"text": "Watch", "url": STREAM}]]}


def telegram(chat: int | str = CHANNEL, **settings: str) -> Telegram:
    return Telegram.model_validate({"bot_token": TOKEN, "chat_id": str(chat), **settings})


def message(number: Any = 7, chat: int = CHANNEL, **of_chat: Any) -> dict[str, Any]:
    return {"ok": True, "result": {"message_id": number, "chat": {"id": chat, **of_chat}}}


def error(status: int, told: str, **parameters: Any) -> dict[str, Any]:
    body = {"ok": False, "error_code": status, "description": told}
    return body | ({"parameters": parameters} if parameters else {})


def refuses(wire: Wire, told: str, status: int = 400, **parameters: Any) -> None:
    wire.answers(status, error(status, told, **parameters))


def sent(wire: Wire, network: Telegram, post: Post) -> Any:
    wire.answers(200, message())
    network.publish(post)
    return wire.sent[-1].json


def form(sent: Sent) -> dict[str, Any]:
    """The fields of a form with a file."""
    head = f"Content-Type: {sent.request.headers['Content-Type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + sent.body).get_payload()
    assert isinstance(parts, list)
    return {
        str(part.get_param("name", header="Content-Disposition")): part.get_payload(decode=True)
        for part in parts
        if not isinstance(part, str)
    }


def methods(wire: Wire) -> list[str]:
    return [sent.path.rpartition("/")[2] for sent in wire.sent]


# What leaves


def test_words_alone_leave_with_a_preview_of_the_stream(wire: Wire) -> None:
    assert sent(wire, telegram(), POST) == {
        "chat_id": str(CHANNEL),
        "text": "We are live",
        "parse_mode": "HTML",
        "link_preview_options": PREVIEW,
        "disable_notification": False,
    }
    assert wire.sent[0].request.url == f"https://api.telegram.org/bot{TOKEN}/sendMessage"


def test_a_picture_leaves_with_the_words_below_it(wire: Wire) -> None:
    wire.answers(200, message())
    receipt = telegram(button="Watch").publish(PICTURED)
    assert methods(wire) == ["sendPhoto"]
    fields = form(wire.sent[0])
    assert fields.pop("photo") == PICTURE.data
    assert json.loads(fields.pop("reply_markup")) == WATCH
    assert fields == {
        "chat_id": str(CHANNEL).encode(),
        "caption": b"We are live",
        "parse_mode": b"HTML",
        "disable_notification": b"false",
    }
    assert receipt == PHOTO


@pytest.mark.parametrize(
    ("settings", "post", "silent"),
    [
        pytest.param({}, POST, False, id="a start"),
        pytest.param({"silent": "on"}, POST, True, id="a start that shall be silent"),
        pytest.param({}, replace(POST, test=True), True, id="a test"),
        pytest.param({}, OVER, True, id="a start told when it was over"),
        pytest.param({}, replace(OVER, moment=Moment.ENDED), True, id="an end"),
        pytest.param({}, replace(POST, moment=Moment.ALERT), False, id="an alert"),
    ],
)
def test_only_a_start_and_an_alert_make_a_sound(
    wire: Wire, settings: dict[str, str], post: Post, silent: bool
) -> None:
    assert sent(wire, telegram(**settings), post)["disable_notification"] is silent


def test_without_an_address_no_link_in_a_title_gets_a_preview(wire: Wire) -> None:
    body = sent(wire, telegram(), replace(POST, card=None))
    assert body["link_preview_options"] == {"is_disabled": True}


@pytest.mark.parametrize(("topic", "said"), [("15", 15), ("1", None), ("", None)])
def test_a_topic_is_named_unless_it_is_the_one_that_every_group_has(
    wire: Wire, topic: str, said: int | None
) -> None:
    network = telegram(**({"topic": topic} if topic else {}))
    assert sent(wire, network, POST).get("message_thread_id") == said


def test_an_end_answers_the_start_and_stands_even_if_that_is_gone(wire: Wire) -> None:
    end = replace(OVER, moment=Moment.ENDED, reply_to=SHOWN)
    for network in (telegram(), telegram("@kestrel")):
        assert sent(wire, network, end)["reply_parameters"] == {
            "message_id": 7,
            "allow_sending_without_reply": True,
        }


@pytest.mark.parametrize(
    ("chat", "url"),
    [
        ({"id": CHANNEL, "username": "kestrel"}, "https://t.me/kestrel/7"),
        ({"id": CHANNEL}, "https://t.me/c/1234567890/7"),
        ({"id": -1012345678901}, "https://t.me/c/12345678901/7"),
        ({"id": CHANNEL, "username": "../evil"}, "https://t.me/c/1234567890/7"),
        ({"id": GROUP}, ""),
        ({"id": 4711, "username": "somebody"}, ""),
        ({}, ""),
        ("odd", ""),
    ],
)
def test_a_post_has_an_address_where_telegram_has_one(wire: Wire, chat: Any, url: str) -> None:
    wire.answers(200, {"ok": True, "result": {"message_id": 7, "chat": chat}})
    assert telegram().publish(POST).url == url


# Changes


@pytest.mark.parametrize(
    ("receipt", "method", "field"),
    [(SHOWN, "editMessageText", "text"), (PHOTO, "editMessageCaption", "caption")],
    ids=["words", "a picture"],
)
def test_an_edit_changes_what_the_post_is_made_of(
    wire: Wire, receipt: Receipt, method: str, field: str
) -> None:
    wire.answers(200, message())
    assert telegram("@renamed").revise(receipt, POST) == receipt
    assert methods(wire) == [method]
    body = wire.sent[0].json
    assert body.pop("link_preview_options", PREVIEW) == PREVIEW
    assert body == {
        "chat_id": str(CHANNEL),  # where it was sent to, whatever the settings say by now
        "message_id": 7,
        field: "We are live",
        "parse_mode": "HTML",
    }


def test_the_button_is_there_while_it_is_live_and_no_longer(wire: Wire) -> None:
    network = telegram(button="Watch")
    assert sent(wire, network, POST)["reply_markup"] == WATCH
    wire.answers(200, message(), times=2)
    network.revise(SHOWN, replace(POST, text="Another title"))
    assert wire.sent[-1].json["reply_markup"] == WATCH, "left out, an edit takes it away"
    network.revise(SHOWN, OVER)
    assert "reply_markup" not in wire.sent[-1].json


@pytest.mark.parametrize("receipt", [SHOWN, PHOTO], ids=["words", "a picture"])
def test_e21_what_is_shown_already_was_changed_well(wire: Wire, receipt: Receipt) -> None:
    refuses(
        wire,
        "Bad Request: message is not modified: specified new message content and reply markup are "
        "exactly the same as a current content and reply markup of the message",
    )
    assert telegram().revise(receipt, POST) == receipt


@pytest.mark.parametrize("told", ["message to edit not found", "MESSAGE_ID_INVALID"])
def test_e19_an_edit_of_what_a_person_deleted_finds_it_gone(wire: Wire, told: str) -> None:
    refuses(wire, f"Bad Request: {told}")
    with pytest.raises(Gone):
        telegram().revise(SHOWN, POST)


@pytest.mark.parametrize(
    "told", ["message can't be edited", "message caption is too long", "chat was upgraded"]
)
def test_an_edit_that_is_refused_says_so(wire: Wire, told: str) -> None:
    refuses(wire, f"Bad Request: {told}")
    with pytest.raises(Refused, match=told):
        telegram().revise(SHOWN, POST)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"ok": True, "result": True}),
        Answer(400, error(400, "Bad Request: message to delete not found")),
        Answer(400, error(400, "Bad Request: MESSAGE_ID_INVALID")),
    ],
    ids=["done", "not found", "invalid"],
)
def test_a_message_is_taken_away_even_if_it_was(wire: Wire, answer: Answer) -> None:
    wire.answers(answer.status, answer.body)
    telegram().remove(SHOWN)
    assert methods(wire) == ["deleteMessage"]
    assert wire.sent[0].json == {"chat_id": str(CHANNEL), "message_id": 7}


@pytest.mark.parametrize("end", ["", " for everyone"])
def test_what_is_older_than_two_days_stays_and_that_is_told(wire: Wire, end: str) -> None:
    refuses(wire, f"Bad Request: message can't be deleted{end}")
    with pytest.raises(Refused, match="48 hours"):
        telegram().remove(SHOWN)


# What goes without


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "Bad Request: PHOTO_INVALID_DIMENSIONS"),
        (400, "Bad Request: IMAGE_PROCESS_FAILED"),
        (413, "Request Entity Too Large"),
        (400, "Bad Request: not enough rights to send photos to the chat"),
        (403, "Forbidden: CHAT_SEND_PHOTOS_FORBIDDEN"),
    ],
)
def test_a_picture_that_telegram_does_not_take_never_loses_the_post(
    wire: Wire, status: int, told: str
) -> None:
    refuses(wire, told, status)
    wire.answers(200, message())
    receipt = telegram().publish(PICTURED)
    assert methods(wire) == ["sendPhoto", "sendMessage"]
    assert wire.sent[-1].json["text"] == "We are live"
    assert receipt == replace(SHOWN, note=f"without its picture: {status} {told}")


def test_a_text_that_is_too_long_below_a_picture_goes_alone(wire: Wire) -> None:
    """As when it was worded before pictures were switched on."""
    wire.answers(200, message(), times=2)
    telegram().publish(replace(PICTURED, text="a" * CAPTION))
    telegram().publish(replace(PICTURED, text="a" * (CAPTION + 1)))
    assert methods(wire) == ["sendPhoto", "sendMessage"]


def test_pictures_can_be_switched_off(wire: Wire) -> None:
    network = telegram(picture="off")
    assert network.limit() == TEXT
    wire.answers(200, message())
    assert network.publish(PICTURED) == SHOWN
    assert methods(wire) == ["sendMessage"]


WRONG = "<b>Kestrel</b> is live <3 you &amp; me"
PLAIN = "Kestrel is live <3 you & me"
PARSE = 'Bad Request: can\'t parse entities: Unsupported start tag "3" at byte offset 22'


@pytest.mark.parametrize("picture", [PICTURE, None], ids=["a picture", "words"])
def test_a_template_with_wrong_markup_never_loses_the_post(
    wire: Wire, picture: Picture | None
) -> None:
    refuses(wire, PARSE)
    wire.answers(200, message())
    receipt = telegram().publish(replace(POST, text=WRONG, picture=picture))
    assert len(set(methods(wire))) == 1, "the picture stays"
    again = form(wire.sent[1]) if picture else wire.sent[1].json
    text = again["caption"].decode() if picture else again["text"]
    assert text == PLAIN
    assert "parse_mode" not in again
    assert receipt.note == f"without its markup: 400 {PARSE}"


def test_an_edit_with_wrong_markup_is_made_all_the_same(wire: Wire) -> None:
    refuses(wire, PARSE)
    wire.answers(200, message())
    telegram().revise(PHOTO, replace(POST, text=WRONG))
    assert methods(wire) == ["editMessageCaption"] * 2
    assert wire.sent[1].json["caption"] == PLAIN
    assert "parse_mode" not in wire.sent[1].json


@pytest.mark.parametrize(
    "told",
    [
        "inline keyboard button URL 'http://owncast:8080' is invalid: Wrong HTTP URL",
        "BUTTON_URL_INVALID",
    ],
)
def test_a_button_that_telegram_does_not_take_never_loses_the_post(wire: Wire, told: str) -> None:
    refuses(wire, f"Bad Request: {told}")
    wire.answers(200, message())
    receipt = telegram(button="Watch").publish(PICTURED)
    assert methods(wire) == ["sendPhoto"] * 2
    assert "reply_markup" not in form(wire.sent[1])
    assert receipt.note == f"without its button: 400 Bad Request: {told}"


def test_everything_that_can_go_may_go_and_the_words_stay(wire: Wire) -> None:
    refuses(wire, PARSE)
    refuses(wire, "Bad Request: BUTTON_URL_INVALID")
    refuses(wire, "Bad Request: PHOTO_INVALID_DIMENSIONS")
    refuses(wire, PARSE)
    refuses(wire, "Bad Request: BUTTON_URL_INVALID")
    wire.answers(200, message())
    receipt = telegram(button="Watch").publish(replace(PICTURED, text=WRONG))
    assert methods(wire) == ["sendPhoto"] * 3 + ["sendMessage"] * 3
    assert wire.sent[-1].json["text"] == PLAIN
    assert receipt.note.count("without its") == 3


def test_what_is_refused_without_a_button_or_markup_of_its_own_is_refused(wire: Wire) -> None:
    """No loop, whatever is said."""
    for _ in range(2):
        refuses(wire, f"{PARSE}, and BUTTON_URL_INVALID")
    with pytest.raises(Refused):
        telegram().publish(POST)
    assert len(wire.sent) == 2


# What its answers mean


@pytest.mark.parametrize(
    ("status", "told"),
    [
        pytest.param(401, "Unauthorized", id="a token that was revoked"),
        pytest.param(404, "Not Found", id="a token that never was one"),
        pytest.param(403, "Forbidden: bot was kicked from the channel chat", id="kicked"),
        pytest.param(403, "Forbidden: bot is not a member of the channel chat", id="no member"),
        pytest.param(403, "Forbidden: bot was blocked by the user", id="blocked"),
        pytest.param(403, "Forbidden: user is deactivated", id="deactivated"),
        pytest.param(403, "Forbidden: the group chat was deleted", id="the group is gone"),
        pytest.param(400, "Bad Request: chat not found", id="no such chat"),
    ],
)
@pytest.mark.parametrize("post", [POST, PICTURED], ids=["words", "a picture"])
def test_e16_where_nothing_can_work_the_destination_is_closed(
    wire: Wire, status: int, told: str, post: Post
) -> None:
    refuses(wire, told, status)
    with pytest.raises(Refused, match=told) as refusal:
        telegram().publish(post)
    assert refusal.value.closes
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "Bad Request: need administrator rights in the channel chat"),
        (400, "Bad Request: not enough rights to send text messages to the chat"),
        (403, "Forbidden: CHAT_WRITE_FORBIDDEN"),
        (400, "Bad Request: TOPIC_CLOSED"),
        (400, "Bad Request: message thread not found"),
        (400, "Bad Request: message text is empty"),
        (400, "Bad Request: message is too long"),
    ],
)
def test_e17_a_right_that_is_missing_is_named_and_closes_nothing(
    wire: Wire, status: int, told: str
) -> None:
    refuses(wire, told, status)
    with pytest.raises(Refused, match=told) as refusal:
        telegram().publish(POST)
    assert not refusal.value.closes


def test_a_page_of_some_firewall_does_not_close_the_destination(wire: Wire) -> None:
    for status in (403, 404):
        wire.answers(status, "<html>", {"Content-Type": "text/html"})
        with pytest.raises(Refused) as refusal:
            telegram().publish(POST)
        assert not refusal.value.closes


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        (35, timedelta(seconds=35)),
        (0.5, timedelta(seconds=0.5)),
        (1e300, timedelta(days=1)),
        (float("nan"), timedelta()),
        (-5, timedelta()),
        ("soon", timedelta()),
        (None, timedelta()),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda network: network.publish(PICTURED), id="publish"),
        pytest.param(lambda network: network.revise(SHOWN, POST), id="revise"),
        pytest.param(lambda network: network.remove(SHOWN), id="remove"),
        pytest.param(lambda network: network.dim(SHOWN, None), id="unpin"),
    ],
)
def test_e12_e13_a_rate_limit_tells_seconds_in_its_body(
    wire: Wire, call: Callable[[Telegram], object], said: Any, wait: timedelta
) -> None:
    refuses(wire, "Too Many Requests: retry after 35", 429, retry_after=said)
    with pytest.raises(TryLater) as later:
        call(telegram())
    assert later.value.wait == wait
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("status", "told"),
    [(500, "Internal Server Error"), (502, "Bad Gateway"), (504, "Gateway Timeout")],
)
def test_e15_what_breaks_over_there_may_be_up(wire: Wire, status: int, told: str) -> None:
    refuses(wire, told, status)
    with pytest.raises(Unsure):
        telegram().publish(PICTURED)
    assert len(wire.sent) == 1, "nothing goes a second time, not without its picture either"


@pytest.mark.parametrize(
    "body",
    [
        message(None),
        message(0),
        message("7"),
        {"ok": True, "result": True},
        {"ok": True},
        {"result": {"message_id": 7}},
        {"ok": False},
        {"ok": False, "error_code": "400"},
    ],
    ids=json.dumps,
)
def test_e06_a_success_without_the_id_is_no_success(wire: Wire, body: dict[str, Any]) -> None:
    wire.answers(200, body)
    with pytest.raises(Unsure):
        telegram().publish(POST)


@pytest.mark.parametrize(
    ("code", "problem"), [(400, Refused), (403, Refused), (429, TryLater), (500, Unsure)]
)
def test_an_error_that_a_proxy_made_a_success_is_found(
    wire: Wire, code: int, problem: type[DeliveryError]
) -> None:
    wire.answers(200, error(code, "told by Telegram"))
    with pytest.raises(problem, match="told by Telegram"):
        telegram().publish(POST)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda network: network.publish(PICTURED), id="publish"),
        pytest.param(lambda network: network.revise(PHOTO, POST), id="revise"),
        pytest.param(lambda network: network.remove(SHOWN), id="remove"),
        pytest.param(lambda network: network.shine(SHOWN, None, AT, again=False), id="pin"),
        pytest.param(lambda network: network.dim(SHOWN, None), id="unpin"),
        pytest.param(lambda network: network.check(), id="check"),
    ],
)
def test_the_token_is_never_shown(
    wire: Wire, call: Callable[[Telegram], object], status: int
) -> None:
    network = telegram()
    wire.answers(status, "<html>", {"Location": f"https://x.example/bot{TOKEN}"}, times=3)
    with pytest.raises(DeliveryError) as problem:
        call(network)
    told = "".join(traceback.format_exception(problem.value)) + repr(network) + str(network)
    assert TOKEN.partition(":")[2] not in told


# A group that moves


def test_e20_a_group_that_moved_is_told_once_at_its_new_number_and_from_then_on(
    wire: Wire,
) -> None:
    memory = ForgetfulMemory()
    network = telegram(GROUP)
    network.remember_in(memory)
    refuses(
        wire,
        "Bad Request: group chat was upgraded to a supergroup chat",
        migrate_to_chat_id=MOVED,
    )
    wire.answers(200, message(chat=MOVED), times=2)
    receipt = network.publish(POST)
    assert [sent.json["chat_id"] for sent in wire.sent] == [str(GROUP), str(MOVED)]
    assert receipt == Receipt(
        "7",
        "https://t.me/c/9999999999/7",
        {"chat": str(MOVED), "kind": "text"},
        f"the group has a new number: set TELEGRAM_CHAT_ID={MOVED}",
    )
    restarted = telegram(GROUP)
    restarted.remember_in(memory)
    assert not restarted.publish(POST).note, "said once"
    assert [sent.json["chat_id"] for sent in wire.sent[2:]] == [str(MOVED)]


def test_e20_the_new_number_is_kept_even_if_nothing_could_be_told_there(wire: Wire) -> None:
    network = telegram(GROUP)
    refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=MOVED)
    refuses(wire, "Too Many Requests", 429, retry_after=3)
    with pytest.raises(TryLater):
        network.publish(POST)
    assert sent(wire, network, POST)["chat_id"] == str(MOVED)


def test_e20_a_group_that_moves_for_ever_is_followed_once(wire: Wire) -> None:
    for number in (MOVED, MOVED - 1):
        refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=number)
    with pytest.raises(Refused, match="upgraded"):
        telegram(GROUP).publish(POST)
    assert len(wire.sent) == 2


def test_e20_a_picture_goes_along(wire: Wire) -> None:
    refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=MOVED)
    wire.answers(200, message(chat=MOVED))
    receipt = telegram(GROUP).publish(PICTURED)
    assert methods(wire) == ["sendPhoto"] * 2
    assert form(wire.sent[1])["photo"] == PICTURE.data
    assert receipt.extra == {"chat": str(MOVED), "kind": "photo"}


def test_e20_what_was_posted_before_the_move_is_not_looked_for_at_the_new_number(
    wire: Wire,
) -> None:
    """Messages are counted anew there: the same id is somebody else's."""
    old = replace(SHOWN, extra={"chat": str(GROUP), "kind": "text"})
    network = telegram(GROUP)
    calls: list[Callable[[], object]] = [
        lambda: network.revise(old, POST),
        lambda: network.remove(old),
        lambda: network.shine(old, None, AT, again=False),
        lambda: network.dim(old, None),
    ]
    for call in calls:
        refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=MOVED)
        with pytest.raises(Refused, match="upgraded"):
            call()
    end = replace(OVER, moment=Moment.ENDED, reply_to=old)
    refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=MOVED)
    wire.answers(200, message(chat=MOVED), times=2)
    network.publish(end)
    network.publish(end)
    assert {sent.json["chat_id"] for sent in wire.sent[:-2]} == {str(GROUP)}
    for at_the_new_number in wire.sent[-2:]:
        assert at_the_new_number.json["chat_id"] == str(MOVED)
        assert "reply_parameters" not in at_the_new_number.json


@pytest.fixture
def stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> Iterator[Callable[[], Stage]]:
    """Starts our service for a group, again and again, on one database."""
    stages: list[Stage] = []

    def start() -> Stage:
        network = telegram(GROUP)
        if stages:
            stages[0].start_up({"telegram": network})
        else:
            stages.append(Stage(tmp_path / "announcer.db", {"telegram": network}))
        network.remember_in(DestinationMemory(stages[0].box, "telegram"))
        return stages[0]

    monkeypatch.setattr("announcer.connection.now", lambda: stages[0].now)
    monkeypatch.setattr("announcer.attempt.now", lambda: stages[0].now)
    monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
    yield start
    for one in stages:
        one.close()


def test_e20_the_new_number_outlives_a_restart(stage: Callable[[], Stage], wire: Wire) -> None:
    evening = stage()
    refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=MOVED)
    wire.answers(200, message(chat=MOVED), times=4)
    evening.hear(title="Drawers")
    evening.run()
    assert evening.told("telegram") == ("settled", "")
    stage()
    evening.hear(Kind.RETITLED, title="Dovetails")
    evening.passes(seconds=10)
    evening.run()
    evening.hear(Kind.STOPPED)
    evening.passes(hours=2)
    evening.run()
    evening.hear(title="Glue")
    evening.run()
    assert [sent.path.rpartition("/")[2] for sent in wire.sent] == [
        "sendMessage",
        "sendMessage",
        "editMessageText",
        "editMessageText",
        "sendMessage",
    ]
    chats = [sent.json["chat_id"] for sent in wire.sent]
    assert chats == [str(GROUP)] + [str(MOVED)] * 4
    assert "Dovetails" in wire.sent[2].json["text"]


# An evening


@pytest.fixture
def evening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> Iterator[Callable[..., Stage]]:
    """Our service with a picture of the stream, for a channel."""
    stages: list[Stage] = []

    def start(**settings: str) -> Stage:
        shot = Shot(PICTURE, of_stream=False)
        network = {"telegram": telegram(**settings)}
        stages.append(Stage(tmp_path / "announcer.db", network, pictures=Camera(shot)))
        return stages[0]

    monkeypatch.setattr("announcer.connection.now", lambda: stages[0].now)
    monkeypatch.setattr("announcer.attempt.now", lambda: stages[0].now)
    monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
    yield start
    for one in stages:
        one.close()


def test_an_evening_is_one_picture_whose_words_change_and_a_pin_that_goes(
    evening: Callable[..., Stage], wire: Wire
) -> None:
    stage = evening(pin="on")
    wire.answers(200, message(), times=5)
    stage.hear(title="@kestrel <b>Drawers</b>")
    stage.run()
    stage.run()
    stage.hear(Kind.RETITLED, title="/start & Dovetails")
    stage.passes(seconds=10)
    stage.run()
    stage.hear(Kind.STOPPED)
    stage.passes(hours=1)
    stage.run()
    stage.run()
    assert methods(wire)[:3] == ["sendPhoto", "pinChatMessage", "editMessageCaption"]
    assert sorted(methods(wire)[3:]) == ["editMessageCaption", "unpinChatMessage"]
    first = form(wire.sent[0])["caption"].decode()
    assert "@\u200bkestrel &lt;b&gt;Drawers&lt;/b&gt;" in first
    assert "/\u200bstart &amp; Dovetails" in wire.sent[2].json["caption"]
    [over] = (sent.json["caption"] for sent in wire.sent[3:] if "caption" in sent.json)
    assert "was live" in over
    assert "/\u200bstart &amp; Dovetails" in over


def test_a08_what_may_be_up_is_left_to_a_person(evening: Callable[..., Stage], wire: Wire) -> None:
    stage = evening()
    wire.breaks(read_timeout)
    stage.hear(title="Drawers")
    stage.run()
    stage.passes(minutes=5)
    stage.run()
    state, reason = stage.told("telegram")
    assert state == "unsure"
    assert "no answer in time" in reason
    assert len(wire.sent) == 1


def test_a08_who_chose_the_other_risk_has_the_very_same_post_again(
    evening: Callable[..., Stage], wire: Wire
) -> None:
    stage = evening(when_unsure="repeat")
    wire.breaks(read_timeout)
    stage.hear(title="Drawers")
    stage.run()
    wire.answers(200, message())
    stage.passes(minutes=5)
    stage.run()
    assert stage.told("telegram") == ("settled", "")
    first, again = map(form, wire.sent)
    assert first == again
    assert first["photo"] == PICTURE.data


# Pins


def test_a_pin_makes_no_sound_and_only_ours_is_taken_off(wire: Wire) -> None:
    wire.answers(200, {"ok": True, "result": True}, times=2)
    network = telegram(pin="on")
    assert network.wants_badge
    assert not telegram().wants_badge
    network.shine(PHOTO, None, AT, again=False)
    network.dim(PHOTO, None)
    assert methods(wire) == ["pinChatMessage", "unpinChatMessage"]
    pinned, unpinned = (sent.json for sent in wire.sent)
    ours = {"chat_id": str(CHANNEL), "message_id": 7}
    assert pinned == ours | {"disable_notification": True}
    assert unpinned == ours


@pytest.mark.parametrize("told", ["message to unpin not found", "CHAT_NOT_MODIFIED"])
def test_what_a_person_unpinned_is_off(wire: Wire, told: str) -> None:
    refuses(wire, f"Bad Request: {told}")
    telegram().dim(SHOWN, None)


def test_to_pin_what_is_pinned_is_harmless(wire: Wire) -> None:
    refuses(wire, "Bad Request: CHAT_NOT_MODIFIED")
    telegram().shine(SHOWN, None, AT, again=False)


def test_to_pin_what_a_person_deleted_is_left_alone(wire: Wire) -> None:
    refuses(wire, "Bad Request: message to pin not found")
    with pytest.raises(Gone):
        telegram().shine(SHOWN, None, AT, again=False)


@pytest.mark.parametrize("on", [True, False])
def test_e23_without_the_right_to_pin_the_reason_is_told(wire: Wire, on: bool) -> None:
    refuses(wire, "Bad Request: not enough rights to manage pinned messages in the chat")
    network = telegram()
    with pytest.raises(Refused, match="not enough rights") as refusal:
        network.shine(SHOWN, None, AT, again=False) if on else network.dim(SHOWN, None)
    assert not refusal.value.closes


# Titles


class Markup(Exception):
    """Telegram would refuse it."""


def parsed(text: str) -> tuple[str, list[str]]:
    """What Telegram shows of *text*, and the tags that it saw. Told from its documentation, as
    strictly as its server is.
    """
    tags: list[str] = []

    def tag(found: re.Match[str]) -> str:
        name = found[1].split()[0] if found[1].split() else ""
        if name.strip("/") not in {"b", "i", "u", "s", "a", "code", "pre"}:
            raise Markup(name)
        tags.append(name)
        return ""

    text = re.sub(r"<([^>]*)>?", tag, text)
    names = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
    return re.sub(r"&(lt|gt|amp|quot);", lambda found: names[found[1]], text), tags


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("<b>bold</b> <script>", "<b>bold</b> <script>"),
        ("a &lt; b &amp;lt; c & d", "a &lt; b &amp;lt; c & d"),
        ("*a* _b_ `c` [x](http://evil)", "*a* _b_ `c` [x](http://evil)"),
        ("@kestrel ＠kestrel", "@\u200bkestrel ＠\u200bkestrel"),
        ('<a href="tg://user?id=1">x</a>', '<a href="tg://user?id=1">x</a>'),
        (
            "/start (/help and/or AC/DC w/ http://a.b/c",
            "/\u200bstart (/\u200bhelp and/or AC/DC w/ http://a.b/c",
        ),
        ("/start@kestrel_bot", "/\u200bstart@\u200bkestrel_bot"),
        ('it\'s "quoted"', 'it\'s "quoted"'),
    ],
)
def test_f07_a_title_is_shown_as_it_is_written(title: str, shown: str) -> None:
    assert parsed(telegram().escape(title)) == (shown, [])


@given(st.text())
def test_f07_any_title_comes_out_as_it_went_in(title: str) -> None:
    shown, tags = parsed(telegram().escape(title))
    assert not tags
    assert shown.replace("\u200b", "") == title.replace("\u200b", "")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("abc", 3),
        ("\U0001f534", 2),
        ("e\u0301", 2),
        ("a &lt; b", 5),
        ("<b>bold</b>", 4),
        ('<a href="https://x.example/?a=1>2">link</a>', 4),
        ("I <3 you", 8),
        ("<strange>", 9),
        ("&nbsp; &ltd; &#8203; &#x27;", 16),
    ],
)
def test_length_is_counted_as_readers_see_it(text: str, length: int) -> None:
    assert telegram().measure(text) == length


OWN = '<b>{{ name }}</b>: <a href="{{ url }}">{{ title }}</a>\n{{ summary }}\n{{ hashtags }}'
PIECES = [*"&<>\"'/@ a.", "\U0001f534", "e\u0301", "\u202e", "\U0001f468\u200d"]
HARD = st.lists(st.sampled_from(PIECES), max_size=40).map(lambda parts: "".join(parts) * 20)


@pytest.mark.parametrize("limit", [CAPTION, TEXT])
@given(title=HARD, summary=HARD, name=HARD)
def test_f11_the_longest_words_fit_and_can_be_parsed(
    tmp_path_factory: pytest.TempPathFactory, limit: int, title: str, summary: str, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "templates"
    folder.mkdir(exist_ok=True)
    (folder / "live.txt").write_text(OWN)
    facts = Facts(
        channel="default",
        name=name,
        title=title,
        summary=summary * 3,
        url=f"{STREAM}/?a=1&b=2",
        tags=("hand tools",) * 40,
        nsfw=False,
        started_at=AT,
    )
    network = telegram(picture="on" if limit == CAPTION else "off")
    assert network.limit() == limit
    wording = Templates(folder).word(network, "telegram", Moment.LIVE, facts)
    assert wording.template == "own:live.txt"
    shown, tags = parsed(wording.text)
    assert units(shown) <= limit
    assert units(shown) == network.measure(wording.text)
    assert tags == ["b", "/b", "a", "/a"]
    assert html.escape(facts.url) in wording.text
    assert len(wording.text.encode()) < 32_768, "what its server reads of a text"


def test_shipped_words_fit_as_they_are(wire: Wire) -> None:
    facts = Facts("default", "K & Q", "<3", "", f"{STREAM}/?a=1&b=2", ("wood",), False, AT)
    wording = Templates(None).word(telegram(), "telegram", Moment.LIVE, facts)
    assert parsed(wording.text) == (f"🔴 K & Q is live: <3\n\n{STREAM}/?a=1&b=2\n\n#wood", [])


# Settings, and a look at the account


@pytest.mark.parametrize(
    "token", ["", "kestrel", "110201543", f"bot{TOKEN}", f"{TOKEN}/getMe", f"{TOKEN}?a", "1:ü" * 9]
)
def test_a_token_that_is_none_is_told_without_showing_it(token: str) -> None:
    with pytest.raises(ValidationError, match="must be a token") as problem:
        Telegram(bot_token=token, chat_id="@kestrel")
    assert not token or token not in str(problem.value)


@pytest.mark.parametrize("chat", ["kestrel", "https://t.me/kestrel", "@", "-", "@a b", "１２３"])
def test_a_chat_that_is_none_is_told_at_the_start(chat: str) -> None:
    with pytest.raises(ValidationError, match="must be like @kestrel"):
        telegram(chat)


def test_every_account_of_the_settings_is_its_own() -> None:
    settings = wiring.read(
        {
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_CHAT_ID": "@kestrel",
            "TELEGRAM__FRIENDS__BOT_TOKEN": TOKEN,
            "TELEGRAM__FRIENDS__CHAT_ID": str(GROUP),
            "TELEGRAM__FRIENDS__TOPIC": "15",
            "TELEGRAM__FRIENDS__PIN": "on",
        }
    )
    one, other = settings.destinations["telegram"], settings.destinations["telegram.friends"]
    assert isinstance(one, Telegram)
    assert isinstance(other, Telegram)
    assert (one.chat_id, one.topic, one.wants_badge) == ("@kestrel", None, False)
    assert (other.chat_id, other.topic, other.wants_badge) == (str(GROUP), 15, True)


def knows(wire: Wire, chat: dict[str, Any], member: dict[str, Any] | None) -> None:
    me = {"id": 110201543, "is_bot": True, "username": "kestrel_bot"}
    wire.always("POST", "/getMe", 200, {"ok": True, "result": me})
    wire.always("POST", "/getChat", 200, {"ok": True, "result": chat})
    if member is not None:
        wire.always("POST", "/getChatMember", 200, {"ok": True, "result": member})


ALL = {"can_send_messages": True, "can_send_photos": True, "can_pin_messages": True}
OF_CHANNEL = {"id": CHANNEL, "type": "channel", "title": "Kestrel", "username": "kestrel"}
OF_GROUP = {"id": CHANNEL, "type": "supergroup", "title": "Kestrel", "permissions": ALL}
HEAD = {"status": "administrator"}


@pytest.mark.parametrize(
    ("settings", "chat", "member", "notes"),
    [
        ({}, OF_CHANNEL, HEAD | {"can_post_messages": True}, ()),
        ({}, OF_CHANNEL, HEAD, ("it may not post messages there",)),
        ({}, OF_CHANNEL, {"status": "left"}, ("it may not post messages there",)),
        (
            {"pin": "on"},
            OF_CHANNEL,
            HEAD | {"can_post_messages": True},
            ("it may not edit messages of others, and so not pin there",),
        ),
        (
            {"pin": "on"},
            OF_CHANNEL,
            HEAD | dict.fromkeys(("can_post_messages", "can_edit_messages"), True),
            (),
        ),
        ({"pin": "on"}, OF_GROUP, {"status": "member"}, ()),
        (
            {},
            OF_GROUP | {"permissions": {"can_send_messages": True}},
            {"status": "member"},
            ("it may not send photos there",),
        ),
        (
            {"picture": "off"},
            OF_GROUP | {"permissions": {"can_send_messages": True}},
            {"status": "member"},
            (),
        ),
        ({"pin": "on"}, OF_GROUP | {"permissions": {}}, HEAD, ("it may not pin messages there",)),
        ({}, OF_GROUP | {"permissions": {}}, HEAD, ()),
        (
            {"picture": "off"},
            OF_GROUP,
            {"status": "restricted"},
            ("it may not send messages there",),
        ),
        ({"picture": "off"}, OF_GROUP, {"status": "kicked"}, ("it may not send messages there",)),
        ({"topic": "15"}, OF_GROUP, HEAD, ("TELEGRAM_TOPIC is set, but this chat has no topics",)),
        ({"topic": "15"}, OF_GROUP | {"is_forum": True}, HEAD, ()),
        ({}, {"id": 4711, "type": "private", "username": "kestrel"}, None, ()),
    ],
)
def test_e17_check_names_the_rights_that_are_missing(
    wire: Wire,
    settings: dict[str, str],
    chat: dict[str, Any],
    member: dict[str, Any] | None,
    notes: tuple[str, ...],
) -> None:
    knows(wire, chat, member)
    assert telegram(**settings).check().notes == notes


def test_check_says_who_we_are_and_posts_nothing(wire: Wire) -> None:
    knows(wire, OF_CHANNEL, HEAD | {"can_post_messages": True})
    account = telegram().check()
    assert (account.handle, account.url) == ("@kestrel_bot in Kestrel", "https://t.me/kestrel")
    assert methods(wire) == ["getMe", "getChat", "getChatMember"]
    assert wire.sent[2].json == {"chat_id": str(CHANNEL), "user_id": 110201543}


def test_check_says_that_the_members_can_not_be_seen(wire: Wire) -> None:
    knows(wire, OF_CHANNEL, None)
    refuses(wire, "Bad Request: member list is inaccessible")
    [note] = telegram().check().notes
    assert "member list is inaccessible" in note


def test_check_says_that_the_group_has_moved(wire: Wire) -> None:
    knows(wire, OF_GROUP, HEAD)
    network = telegram(GROUP)
    refuses(wire, "Bad Request: group chat was upgraded", migrate_to_chat_id=MOVED)
    wire.answers(200, message(chat=MOVED))
    network.publish(POST)
    assert network.check().notes == (f"the group has a new number: set TELEGRAM_CHAT_ID={MOVED}",)
    assert wire.sent[-1].json["chat_id"] == str(MOVED)


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "Unauthorized"), (404, "Not Found"), (400, "Bad Request: chat not found")],
)
def test_check_of_what_can_not_work(wire: Wire, status: int, told: str) -> None:
    refuses(wire, told, status)
    with pytest.raises(Refused, match=told) as refusal:
        telegram().check()
    assert refusal.value.closes
