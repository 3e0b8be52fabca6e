"""Zulip: titles inert without a backslash, an end that is a message, a topic that is resolved."""

import html
import json
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer.contract import PICTURE, PICTURED, POST, SECRET
from announcer.contract.fake import Answer, Sent, Wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    DeliveryError,
    Gone,
    Moment,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.zulip import PICTURE_ROOM, Zulip
from announcer.wording import Facts, Templates
from tests.rows.zulip import MISSING, ROWS

[ROW] = ROWS
DONE: dict[str, Any] = {"result": "success", "msg": ""}
FILE = "/user_uploads/1/ab/stream.jpg"
SENT = int(POST.worded_at.timestamp())
ENDED = replace(POST, moment=Moment.ENDED, mood=Moment.ENDED, text="It is over.")
TOO_LATE = {**MISSING, "msg": "The time limit for editing this message has passed"}


def zulip(**settings: str) -> Zulip:
    return Zulip.model_validate({**ROW.settings, **settings})


def form(sent: Sent) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(sent.body.decode()).items()}


def is_up(wire: Wire, **message: Any) -> None:
    """The message of the receipt, as it is now."""
    wire.always("GET", "/messages/7", 200, {**DONE, "message": {"subject": "live", **message}})


@pytest.fixture(autouse=True)
def about(wire: Wire) -> None:
    ROW.prepare(wire)


def test_a_message_is_sent_as_the_api_wants_it(wire: Wire) -> None:
    wire.answers(200, ROW.answer)
    zulip().publish(POST)
    [sent] = wire.scripted
    assert (sent.request.method, sent.path) == ("POST", "/api/v1/messages")
    assert form(sent) == {
        "type": "stream",
        "to": '"general chat"',
        "topic": "live",
        "content": POST.text,
    }
    assert sent.request.headers["Authorization"].startswith("Basic ")


def test_who_we_are_is_said_in_unicode(wire: Wire) -> None:
    wire.answers(200, ROW.answer)
    zulip(email="über@kestrel.example", api_key="ключ").publish(POST)
    _, coded = wire.scripted[0].request.headers["Authorization"].split()
    assert b64decode(coded).decode() == "über@kestrel.example:ключ"


def test_a_channel_whose_name_is_a_number_is_no_id(wire: Wire) -> None:
    wire.answers(200, ROW.answer)
    zulip(channel="#2026").publish(POST)
    assert form(wire.scripted[0])["to"] == '"2026"'


@pytest.mark.parametrize("number", [True, "7", None, 7.5])
def test_e06_what_is_no_id_is_no_success(wire: Wire, number: object) -> None:
    wire.answers(200, {**DONE, "id": number})
    with pytest.raises(Unsure):
        zulip().publish(POST)


def test_e05_an_error_with_a_good_status_is_no_success(wire: Wire) -> None:
    network = zulip()
    for change in (
        lambda: network.publish(POST),
        lambda: network.revise(ROW.receipt, POST),
        lambda: network.remove(ROW.receipt),
    ):
        wire.answers(200, {"result": "error", "id": 7, "msg": "no"})
        with pytest.raises(Unsure):
            change()


# What comes back


@pytest.mark.parametrize(
    ("status", "body", "error", "closes"),
    [
        (400, {"code": "BAD_REQUEST", "msg": "Not authorized to send"}, Refused, False),
        (400, {"code": "STREAM_DOES_NOT_EXIST", "msg": "No channel 'live'"}, Refused, True),
        (404, {"code": "NONEXISTENT_SUBDOMAIN", "msg": "Invalid subdomain"}, Refused, True),
        (401, {"code": "INVALID_API_KEY", "msg": "Invalid API key"}, Refused, True),
        (401, {"code": "UNAUTHORIZED", "msg": "Not logged in"}, Refused, True),
        (401, {"code": "USER_DEACTIVATED", "msg": "Account is deactivated"}, Refused, True),
        (403, {"code": "REALM_DEACTIVATED", "msg": "deactivated"}, Refused, True),
        (429, {"code": "RATE_LIMIT_HIT", "msg": "API usage exceeded"}, TryLater, False),
        (400, {"code": "RATE_LIMIT_HIT", "msg": "API usage exceeded"}, TryLater, False),
        (500, {"code": "STREAM_DOES_NOT_EXIST", "msg": "what?"}, Unsure, False),
        (502, "<html>Bad gateway</html>", Unsure, False),
    ],
)
def test_a_documented_error_means_one_of_the_errors(
    wire: Wire,
    status: int,
    body: Any,
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    wire.answers(status, body)
    with pytest.raises(error) as problem:
        zulip().publish(POST)
    assert getattr(problem.value, "closes", False) is closes
    assert isinstance(body, str) or body["msg"] in str(problem.value)


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (0.35, timedelta(seconds=0.35)),
        (28.706807, timedelta(seconds=28.706807)),
        (10**9, timedelta(days=1)),
        (-5, timedelta()),
        ("soon", timedelta()),
        (None, timedelta()),
    ],
)
def test_e12_the_wait_is_a_fraction_in_the_body(
    wire: Wire, wait: object, expected: timedelta
) -> None:
    wire.answers(429, {"code": "RATE_LIMIT_HIT", "msg": "", "retry-after": wait})
    with pytest.raises(TryLater) as problem:
        zulip().publish(POST)
    assert problem.value.wait == expected


# Changes


def test_an_edit_keeps_the_picture_and_pings_nobody_new(wire: Wire) -> None:
    wire.always("POST", "/user_uploads", 200, {**DONE, "url": FILE})
    wire.answers(200, ROW.answer)
    network = zulip()
    receipt = network.publish(PICTURED)
    line = f"\n[A dovetail drawer]({FILE})"
    assert form(wire.scripted[0])["content"] == POST.text + line
    wire.answers(200, DONE)
    network.revise(receipt, ENDED)
    sent = wire.scripted[-1]
    assert (sent.request.method, sent.path) == ("PATCH", "/api/v1/messages/7")
    assert form(sent) == {"content": f"It is over.{line}"}


def test_a_message_that_may_not_be_edited_any_more_is_not_gone(wire: Wire) -> None:
    is_up(wire)
    for change in (lambda: zulip().revise(ROW.receipt, ENDED), lambda: zulip().remove(ROW.receipt)):
        wire.answers(400, TOO_LATE)
        with pytest.raises(Refused, match="time limit") as refusal:
            change()
        assert not refusal.value.closes


def test_that_it_is_gone_is_not_said_by_a_server_that_is_down(wire: Wire) -> None:
    wire.always("GET", "/messages/7", 503, {})
    wire.answers(400, MISSING)
    with pytest.raises(TryLater):
        zulip().revise(ROW.receipt, ENDED)


@pytest.mark.parametrize("topic", ["live", "✔ live", "moved: a.b/c"])
def test_the_end_is_told_where_the_start_is_by_now(wire: Wire, topic: str) -> None:
    is_up(wire, subject=topic)
    wire.answers(200, {**DONE, "id": 8})
    receipt = zulip().publish(replace(ENDED, reply_to=ROW.receipt))
    assert form(wire.scripted[0])["topic"] == topic
    assert receipt.id == "8"


@pytest.mark.parametrize("trouble", [Answer(400, MISSING), Answer(500), Answer(200, "{}")])
def test_the_end_is_told_even_if_nobody_knows_where_the_start_is(
    wire: Wire, trouble: Answer
) -> None:
    wire.always("GET", "/messages/7", trouble.status, trouble.body)
    wire.answers(200, {**DONE, "id": 8})
    zulip().publish(replace(ENDED, reply_to=ROW.receipt))
    assert form(wire.scripted[0])["topic"] == "live"


def test_an_address_is_written_as_zulip_writes_it(wire: Wire) -> None:
    wire.answers(200, ROW.answer)
    receipt = zulip(channel="v1.0 & more", topic="jetzt: äöü").publish(POST)
    assert urlsplit(receipt.url).fragment == (
        "narrow/stream/v1.2E0.20.26.20more/topic/jetzt.3A.20.C3.A4.C3.B6.C3.BC/near/7"
    )


# The mark on the topic


def shines(network: Zulip, *, again: bool = False) -> None:
    network.shine(ROW.receipt, None, POST.worded_at, again=again)


def dims(network: Zulip) -> None:
    network.dim(ROW.receipt, None)


@pytest.mark.parametrize(
    ("do", "before", "after"),
    [
        pytest.param(dims, "live", "✔ live", id="the end resolves it"),
        pytest.param(dims, "Live", "✔ live", id="however it is written"),
        pytest.param(dims, "✔ live", None, id="once"),
        pytest.param(dims, "another", None, id="but no topic of others"),
        pytest.param(shines, "live", None, id="a start leaves it"),
        pytest.param(shines, "✔ live", "live", id="a return opens it"),
        pytest.param(shines, "✔ another", None, id="but no topic of others, either"),
    ],
)
def test_the_mark_is_put_on_and_taken_off(
    wire: Wire, do: Callable[[Zulip], None], before: str, after: str | None
) -> None:
    is_up(wire, subject=before)
    if after:
        wire.answers(200, DONE)
    do(zulip(resolve="on"))
    sent = [form(one) for one in wire.scripted]
    quiet = {
        "propagate_mode": "change_all",
        "send_notification_to_old_thread": "false",
        "send_notification_to_new_thread": "false",
    }
    assert sent == ([{"topic": after, **quiet}] if after else [])


def test_what_a_person_resolved_while_live_stays_resolved(wire: Wire) -> None:
    is_up(wire, subject="✔ live")
    with pytest.raises(Gone):
        shines(zulip(), again=True)
    assert wire.scripted == []


def test_a_message_that_is_gone_has_no_mark(wire: Wire) -> None:
    dims(zulip())
    with pytest.raises(Gone):
        shines(zulip())
    assert wire.scripted == []


def test_the_mark_is_wished_for(wire: Wire) -> None:
    assert not zulip().wants_badge
    assert zulip(resolve="on").wants_badge
    assert wire.sent == []


# Looked up


def archive(*messages: dict[str, Any]) -> dict[str, Any]:
    return {**DONE, "messages": list(messages)}


def kept(text: str = POST.text, number: int = 7, sent: int = SENT, topic: str = "live") -> Any:
    return {"id": number, "content": text, "timestamp": sent, "subject": topic}


def test_what_may_be_up_is_looked_up_among_our_own(wire: Wire) -> None:
    wire.answers(200, archive(kept("something else", 5), kept()))
    assert zulip().find(POST) == ROW.receipt
    query = parse_qs(urlsplit(str(wire.scripted[0].request.url)).query)
    assert json.loads(query["narrow"][0]) == [
        {"operator": "sender", "operand": "live-bot@kestrel.zulipchat.com"},
        {"operator": "stream", "operand": "general chat"},
    ]
    assert (query["apply_markdown"], query["anchor"]) == (["false"], ["newest"])


def test_a_message_is_found_with_its_picture_and_in_another_topic(wire: Wire) -> None:
    line = f"\n[A drawer]({FILE})"
    wire.answers(200, archive(kept(f"{POST.text}{line}", topic="✔ live")))
    found = zulip().find(POST)
    assert found is not None
    assert found.extra == {"picture": line}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(kept("Kestrel Workshop is live: a bench"), id="other words"),
        pytest.param(kept(sent=SENT - 3600), id="the same words, an hour before"),
    ],
)
def test_what_is_not_ours_is_not_found(wire: Wire, message: Any) -> None:
    wire.answers(200, archive(message))
    assert zulip().find(POST) is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, DONE), TryLater),
        (Answer(200, archive({"content": POST.text})), TryLater),
        (Answer(200, "<html>"), TryLater),
        (Answer(500), TryLater),
        (Answer(400, {"code": "BAD_NARROW", "msg": "no such channel"}), Refused),
        (Answer(401, {"msg": "This API is not available to incoming webhook bots."}), Refused),
    ],
)
def test_who_can_not_look_never_says_that_it_is_not_up(
    wire: Wire, answer: Answer, error: type[DeliveryError]
) -> None:
    wire.answers(answer.status, answer.body)
    with pytest.raises(error) as problem:
        zulip().find(POST)
    assert error is TryLater or "may be posted" in str(problem.value)


# Who we are, and how much we may say


@pytest.mark.parametrize(
    ("realm", "notes"),
    [
        ({"realm_message_content_edit_limit_seconds": 600}, ("for 10m only",)),
        ({"realm_message_content_edit_limit_seconds": None}, ()),
        ({"realm_message_content_edit_limit_seconds": 604800}, ()),
        ({"realm_allow_message_editing": False}, ("nobody edit",)),
    ],
)
def test_the_operator_is_told_how_long_a_message_can_be_edited(
    wire: Wire, realm: dict[str, Any], notes: tuple[str, ...]
) -> None:
    wire.always("GET", "/users/me", 200, {**DONE, "full_name": "Live\nbot"})
    wire.always("GET", "/get_stream_id", 200, {**DONE, "stream_id": 9})
    wire.always("POST", "/register", 200, {**DONE, **realm})
    account = zulip().check()
    assert account.handle == "Live bot in #general chat"
    assert len(account.notes) == len(notes)
    assert all(part in note for part, note in zip(notes, account.notes, strict=True))


def test_a_channel_that_is_not_there_is_found_by_a_check(wire: Wire) -> None:
    wire.always("GET", "/users/me", 200, {**DONE, "full_name": "Live"})
    wire.answers(400, {"code": "STREAM_DOES_NOT_EXIST", "msg": "Invalid channel name"})
    with pytest.raises(Refused) as refusal:
        zulip().check()
    assert refusal.value.closes


def test_the_server_says_how_long_a_message_may_be(wire: Wire) -> None:
    wire.always("POST", "/register", 200, {**DONE, "max_message_length": 5000})
    network = zulip()
    assert [network.limit(), network.limit()] == [5000 - PICTURE_ROOM] * 2
    assert len(wire.asked("/register")) == 1, "once in a while"


@pytest.mark.parametrize("longest", [None, "10000", 0, -1, 100])
def test_a_limit_that_makes_no_sense_is_none(wire: Wire, longest: object) -> None:
    wire.always("POST", "/register", 200, {**DONE, "max_message_length": longest})
    assert zulip().limit() == 10_000 - PICTURE_ROOM


# Words


MENTIONS = re.compile(r"@_?\*{1,2}[^*]+\*")
"""Of people and of groups, in zerver/lib/mention.py, without what must stand before them."""
LIVE_SIGN = re.compile(r"[*`~\[\]<>$|\\]|(?<!&)#|:[\w+-]+:")


@pytest.mark.parametrize(
    "title",
    [
        "@**all** @_**all** @*moderators* #**general>topic** @**Kestrel|7**",
        "/poll who?",
        "/me dances",
        "# a heading",
        "1. a list",
        "- another",
        "``` a fence ~~~",
        "> a quotation",
        "[click](https://evil.example) ![x](/user_uploads/1)",
        "$$x^2$$ <time:2026-11-23T19:15> :smile: ~~no~~ **bold** \\*",
        "AT&amp;T &#42; &lt;b&gt;",
    ],
)
def test_f01_a_hostile_title_is_shown_as_it_is(title: str) -> None:
    facts = Facts(
        channel="default",
        name="Kestrel",
        title=title,
        summary="",
        tags=(),
        nsfw=False,
        url="https://live.example.org",
        started_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    text = Templates(None).word(zulip(), "zulip", Moment.LIVE, facts).text
    assert title in html.unescape(text).replace(ZERO_WIDTH_SPACE, "")
    escaped = zulip().escape(title)
    assert not MENTIONS.search(text)
    assert not LIVE_SIGN.search(escaped)
    assert not re.match(r"[-+/>]|\d+\.\s", escaped)


@given(st.text(alphabet="a1 *_`~[]()<>$#|\\&;:@/-+.\n", max_size=30))
def test_escaping_takes_every_sign_its_power_and_changes_no_word(title: str) -> None:
    escaped = zulip().escape(title)
    assert html.unescape(escaped).replace(ZERO_WIDTH_SPACE, "") == title
    assert not LIVE_SIGN.search(escaped)
    assert not MENTIONS.search(escaped)


def test_the_description_of_a_picture_stays_inside_its_link(wire: Wire) -> None:
    wire.always("POST", "/user_uploads", 200, {**DONE, "uri": FILE})
    wire.answers(200, ROW.answer)
    alt = "a](https://evil.example) @**all** `b`\n# c " + "x" * 500
    zulip().publish(replace(PICTURED, picture=replace(PICTURE, alt=alt)))
    line = form(wire.scripted[0])["content"].splitlines()[-1]
    assert re.fullmatch(rf"\[[^\[\]*`#]{{1,200}}\]\({FILE}\)", line)
    assert "@\u200b" in line or "@ all" in line


@pytest.mark.parametrize(
    "place", ["https://evil.example/x.jpg", "/user_uploads/a) b", "//evil.example", None, 7]
)
def test_a_picture_that_is_kept_elsewhere_is_left_out(wire: Wire, place: object) -> None:
    wire.always("POST", "/user_uploads", 200, {**DONE, "url": place})
    wire.answers(200, ROW.answer)
    receipt = zulip().publish(PICTURED)
    assert "without the place" in receipt.note
    assert form(wire.scripted[0])["content"] == POST.text


def test_no_room_for_a_picture_is_no_reason_to_stay_silent(wire: Wire) -> None:
    wire.always("POST", "/user_uploads", 400, {"code": "REALM_UPLOAD_QUOTA", "msg": "too much"})
    wire.answers(200, ROW.answer)
    assert "too much" in zulip().publish(PICTURED).note


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "http://kestrel.zulipchat.com"}, "unencrypted"),
        ({"topic": "✔ "}, "1 to 58 characters"),
        ({"topic": "x" * 59}, "1 to 58 characters"),
        ({"resolve": "yes"}, "'on' or 'off'"),
    ],
)
def test_what_can_not_work_is_told_at_once(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as problem:
        zulip(**settings)
    assert SECRET not in str(problem.value)
