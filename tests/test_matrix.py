"""Matrix: one event for one post, whatever is repeated, and nobody mentioned by anything."""

import hashlib
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer.contract.fake import Answer, Wire, read_timeout
from announcer.network import (
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
from announcer.networks.matrix import MARK, Matrix
from announcer.wording import Facts, Templates, card, show
from tests.rows.matrix import NOT_FOUND, ROOM, ROWS

SEND = "/_matrix/client/v3/rooms/%21kestrel%3Amatrix.test/send/m.room.message/"
PINS = "/state/m.room.pinned_events"
ME = "@live:matrix.test"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
FACTS = Facts(
    channel="default",
    name="Kestrel Workshop",
    title="A dovetail drawer",
    summary="",
    url="https://live.example.org/?a=1&b=2",
    tags=("woodwork",),
    nsfw=False,
    started_at=AT,
)
TEXT = "Kestrel is live: Drawers <b>\nhttps://live.example.org/?a=1&b=2"
POST = Post(
    "b1/live/matrix",
    Moment.LIVE,
    Moment.LIVE,
    TEXT,
    AT,
    AT,
    "b1/live/matrix#0",
    card=card(FACTS),
    show=show(FACTS),
)
DOUBTFUL = replace(POST, doubtful_since=AT)
RECEIPT = ROWS[0].receipt
JPEG = Picture(b"\xff\xd8 a picture \xff\xd9", 1280, 720, 'A "drawer" <on> the bench')
IMAGE = (
    '<img src="mxc://matrix.test/301" alt="A &quot;drawer&quot; &lt;on&gt; the bench" '
    'width="640" height="360">'
)
UPLOAD = "/_matrix/media/v3/upload"
TAG = re.compile(r'<br>|<a href="[^"<>]*">|</a>')


def matrix(**settings: str) -> Matrix:
    return Matrix.model_validate({**ROWS[0].settings, **settings})


@pytest.fixture
def there(wire: Wire) -> Wire:
    """A homeserver where all is as it should be."""
    ROWS[0].prepare(wire)
    wire.always("POST", UPLOAD, 200, ROWS[0].uploads[UPLOAD])
    return wire


def published(wire: Wire, post: Post = POST, **settings: str) -> Any:
    wire.answers(200, {"event_id": "$7"})
    matrix(**settings).publish(post)
    return wire.scripted[-1].json


def revised(wire: Wire, network: Matrix, text: str, receipt: Receipt = RECEIPT) -> str:
    """The transaction id of the edit."""
    wire.answers(200, {"event_id": "$8"})
    network.revise(receipt, replace(POST, text=text))
    return wire.scripted[-1].path.rpartition("/")[2]


# What is said


def test_a_start_is_a_message_in_plain_text_and_in_html(there: Wire) -> None:
    assert published(there) == {
        "msgtype": "m.text",
        "body": TEXT,
        "format": "org.matrix.custom.html",
        "formatted_body": "Kestrel is live: Drawers &lt;b&gt;<br>"
        '<a href="https://live.example.org/?a=1&amp;b=2">'
        "https://live.example.org/?a=1&amp;b=2</a>",
        "m.mentions": {},
        MARK: there.scripted[-1].path.removeprefix(SEND),
    }


def test_an_edit_says_the_same_things_and_names_what_it_replaces(there: Wire) -> None:
    revised(there, matrix(), "It is <over>")
    assert there.scripted[-1].json == {
        "msgtype": "m.text",
        "body": "* It is <over>",
        "format": "org.matrix.custom.html",
        "formatted_body": "* It is &lt;over&gt;",
        "m.mentions": {},
        "m.new_content": {
            "msgtype": "m.text",
            "body": "It is <over>",
            "format": "org.matrix.custom.html",
            "formatted_body": "It is &lt;over&gt;",
            "m.mentions": {},
        },
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$7"},
    }


def test_a_test_is_a_notice_which_notifies_nobody(there: Wire) -> None:
    assert published(there, replace(POST, test=True))["msgtype"] == "m.notice"


def test_the_end_answers_the_start_in_the_same_room_only(there: Wire) -> None:
    over = replace(POST, moment=Moment.ENDED, mood=Moment.ENDED, reply_to=RECEIPT)
    assert published(there, over)["m.relates_to"] == {"m.in_reply_to": {"event_id": "$7"}}
    moved = replace(over, reply_to=Receipt("$7", extra={"room": "!old:matrix.test"}))
    assert "m.relates_to" not in published(there, moved)


@pytest.mark.parametrize(
    "title",
    [
        "@room and @everyone and ＠room",
        "@kestrel:matrix.test",
        "https://matrix.to/#/@kestrel:matrix.test",
        "https://MATRIX.TO/#/%40kestrel:matrix.test",
        "matrix:u/kestrel:matrix.test",
        '<a href="https://matrix.to/#/@kestrel:matrix.test">x</a>',
    ],
)
def test_f01_a_title_mentions_nobody(there: Wire, title: str) -> None:
    network = matrix()
    worded = Templates(None).word(network, "matrix", Moment.LIVE, replace(FACTS, title=title))
    created = published(there, replace(POST, text=worded.text))
    revised(there, network, worded.text)
    edit = there.scripted[-1].json
    for content in (created, edit, edit["m.new_content"]):
        assert content["m.mentions"] == {}, "without it apps look for names in the words"
        for said in (content["body"], html.unescape(content["formatted_body"])):
            assert not re.search(r"[@＠]\w|matrix\.to|matrix:\w", said, re.IGNORECASE)


def test_plain_words_with_matrix_in_them_stay_as_they_are() -> None:
    for words in ("The Matrix: Reloaded", "matrix", "matrix.tools"):
        assert matrix().escape(words) == words


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(), name=st.text(), tags=st.lists(st.text(), max_size=3))
@example(title="</a><img src=x>", name='"><script>', tags=["<b>"])
@example(title=FACTS.url, name=FACTS.url, tags=[])
@example(title="&" * 5_000, name="&amp;", tags=[])
def test_f05_f07_whatever_the_title_there_is_no_markup_but_ours(
    there: Wire, title: str, name: str, tags: list[str]
) -> None:
    facts = replace(FACTS, title=title, name=name, tags=tuple(tags))
    network = matrix()
    worded = Templates(None).word(network, "matrix", Moment.LIVE, facts)
    assert not worded.problem
    assert network.measure(worded.text) <= network.limit()
    assert FACTS.url in worded.text
    formatted = published(there, replace(POST, text=worded.text))["formatted_body"]
    words = TAG.sub(lambda tag: "\n" if tag[0] == "<br>" else "", formatted)
    assert "<" not in words
    assert html.unescape(words) == worded.text, "both say the same"
    links = re.findall('href="([^"]*)"', formatted)
    assert {html.unescape(link) for link in links} == {FACTS.url}


@pytest.mark.parametrize(("text", "length"), [("abc", 3), ("é", 2), ("日本", 6), ("🔴", 4)])
def test_length_is_counted_in_bytes(text: str, length: int) -> None:
    assert matrix().measure(text) == length


@pytest.mark.parametrize("sign", ["&", '"', "\\", "日"])
def test_the_longest_edit_is_an_event_that_fits(there: Wire, sign: str) -> None:
    network = matrix()
    text = sign * (network.limit() // network.measure(sign))
    image = IMAGE.replace("A ", "&quot;" * 1000)
    revised(there, network, text, replace(RECEIPT, extra={"room": ROOM, "picture": image}))
    sent = json.dumps(there.scripted[-1].json, ensure_ascii=False, separators=(",", ":"))
    assert len(sent.encode()) < 65_536 - 4_096, "room for what the server adds"


# The picture


def test_the_picture_stands_below_the_words_and_stays_through_edits(there: Wire) -> None:
    there.answers(200, {"event_id": "$7"}, times=2)
    receipt = matrix().publish(replace(POST, picture=JPEG))
    [upload] = there.asked(UPLOAD)
    assert upload.body == JPEG.data
    assert upload.request.headers["Content-Type"] == "image/jpeg"
    assert there.scripted[0].json["body"] == TEXT
    assert there.scripted[0].json["formatted_body"].endswith(f"</a><br>{IMAGE}")
    assert receipt.extra == {"room": ROOM, "picture": IMAGE}
    assert matrix().revise(receipt, replace(POST, text="Over")) == receipt
    edit = there.scripted[1].json
    assert edit["m.new_content"]["formatted_body"] == f"Over<br>{IMAGE}"
    assert edit["formatted_body"] == "* Over"


def test_a_picture_that_is_too_big_for_the_server_is_not_sent(there: Wire) -> None:
    there.always("GET", "/media/config", 200, {"m.upload.size": len(JPEG.data) - 1})
    there.answers(200, {"event_id": "$7"})
    receipt = matrix().publish(replace(POST, picture=JPEG))
    assert there.asked(UPLOAD) == []
    assert receipt.note.startswith("without its picture: the homeserver takes")
    assert receipt.extra == {"room": ROOM}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, {"errcode": "M_UNRECOGNIZED"}),
        Answer(200, {}),
        Answer(200, {"m.upload.size": None}),
        Answer(500),
        Answer(200, "<html>"),
    ],
    ids=["older", "not told", "null", "500", "a portal"],
)
def test_where_no_limit_is_told_the_picture_is_tried(there: Wire, answer: Answer) -> None:
    there.always("GET", "/media/config", answer.status, answer.body)
    there.answers(200, {"event_id": "$7"})
    assert matrix().publish(replace(POST, picture=JPEG)).extra["picture"] == IMAGE


@pytest.mark.parametrize("uri", ["", "https://evil.example/1", 'mxc://a/1" onload="x', None, 7])
def test_an_upload_without_a_sound_address_is_no_success(there: Wire, uri: Any) -> None:
    there.always("POST", UPLOAD, 200, {"content_uri": uri})
    there.answers(200, {"event_id": "$7"})
    receipt = matrix().publish(replace(POST, picture=JPEG))
    assert "<img" not in there.scripted[0].json["formatted_body"]
    assert "without the picture's address" in receipt.note


def test_without_its_picture_it_is_another_transaction(there: Wire) -> None:
    """A server may keep a refusal with its transaction."""
    there.answers(400, {"errcode": "M_BAD_JSON", "error": "no pictures here"})
    there.answers(200, {"event_id": "$7"})
    matrix().publish(replace(POST, picture=JPEG))
    first, second = there.scripted
    assert first.path != second.path
    assert first.json[MARK] == second.json[MARK], "it is found by either"


# Once


def test_a10_a_repeat_is_the_same_transaction_with_the_same_bytes(there: Wire) -> None:
    there.breaks(read_timeout)
    with pytest.raises(Unsure):
        matrix().publish(POST)
    there.always("GET", "/messages", 200, {"chunk": []})
    there.answers(200, {"event_id": "$7"})
    assert matrix().publish(replace(DOUBTFUL, worded_at=AT)) == RECEIPT
    first, second = there.scripted
    assert (first.path, first.body) == (second.path, second.body)


def test_another_try_after_a_clear_refusal_is_another_transaction(there: Wire) -> None:
    published(there)
    published(there, replace(POST, wire_key="b1/live/matrix#1"))
    first, second = there.scripted
    assert first.path != second.path


def mark_of(post: Post) -> str:
    """The mark that it was put up with."""
    return hashlib.sha256(post.wire_key.encode()).hexdigest()


def event(post: Post = POST, **more: Any) -> dict[str, Any]:
    """As it stands in the room."""
    return {
        "event_id": "$7",
        "sender": ME,
        "origin_server_ts": AT.timestamp() * 1000,
        "content": {MARK: mark_of(post), "formatted_body": "We are live"},
        **more,
    }


def test_a10_after_another_login_it_is_found_and_not_put_up_again(there: Wire) -> None:
    """The new device's transactions are not folded into those of the old one."""
    there.always("GET", "/messages", 200, {"chunk": [event()], "end": "t1"})
    assert matrix().publish(DOUBTFUL) == RECEIPT
    assert there.scripted == [], "nothing was sent"


def test_a10_what_is_found_keeps_its_picture(there: Wire) -> None:
    content = {MARK: mark_of(POST), "formatted_body": f"We are live<br>{IMAGE}"}
    there.always("GET", "/messages", 200, {"chunk": [event(content=content)]})
    found = matrix().find(DOUBTFUL)
    assert found == replace(RECEIPT, extra={"room": ROOM, "picture": IMAGE})


def test_a_first_try_looks_for_nothing(there: Wire) -> None:
    published(there)
    assert there.asked("/messages") == []


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(event(sender="@mallory:matrix.test"), id="our mark in another's message"),
        pytest.param(event(content={}), id="redacted"),
        pytest.param(event(content={"body": "We are live"}), id="without a mark"),
        pytest.param(event(content=None), id="odd"),
        pytest.param(event(replace(POST, wire_key="b0/live/matrix#0")), id="another post"),
    ],
)
def test_only_our_own_message_with_its_mark_is_it(there: Wire, other: Any) -> None:
    there.always("GET", "/messages", 200, {"chunk": [other, "odd"]})
    assert matrix().find(DOUBTFUL) is None


def test_it_is_looked_for_page_by_page_until_before_the_try(there: Wire) -> None:
    before = (AT - timedelta(minutes=11)).timestamp() * 1000
    there.answers(200, {"chunk": [event(content={})], "end": "t1"})
    there.answers(200, {"chunk": [event(content={}, origin_server_ts=int(before))], "end": "t2"})
    assert matrix().find(DOUBTFUL) is None
    first, second = (str(sent.request.url) for sent in there.scripted)
    assert "dir=b" in first
    assert "from" not in first
    assert "from=t1" in second


def test_too_much_to_look_through_is_not_called_missing(there: Wire) -> None:
    there.always("GET", "/messages", 200, {"chunk": [], "end": "t1"})
    with pytest.raises(TryLater):
        matrix().find(DOUBTFUL)
    assert len(there.asked("/messages")) == 10


@pytest.mark.parametrize("answer", [Answer(500), Answer(200, "<html>"), Answer(200, {})], ids=str)
def test_who_can_not_look_puts_nothing_up_when_in_doubt(there: Wire, answer: Answer) -> None:
    there.always("GET", "/messages", answer.status, answer.body)
    with pytest.raises(TryLater):
        matrix().publish(DOUBTFUL)
    assert there.scripted == []


# Edits


def test_a18_the_same_edit_again_is_the_same_transaction(there: Wire) -> None:
    memory = ForgetfulMemory()
    network = matrix()
    network.remember_in(memory)
    there.breaks(read_timeout)
    with pytest.raises(Unsure):
        network.revise(RECEIPT, replace(POST, text="Benches"))
    again = matrix()
    again.remember_in(memory)
    revised(there, again, "Benches")
    first, second = there.scripted
    assert (first.path, first.body) == (second.path, second.body)


def test_words_that_come_back_are_an_edit_of_their_own(there: Wire) -> None:
    """Folded into the edit that said them first, they would not be shown."""
    network = matrix()
    used = [revised(there, network, text) for text in ("B", "A", "B", "A", "B")]
    assert len(set(used)) == 5


def test_words_that_come_back_after_edits_that_broke_are_an_edit_of_their_own(there: Wire) -> None:
    network = matrix()
    there.breaks(read_timeout, times=2)
    for text in ("A", "B"):
        with pytest.raises(Unsure):
            network.revise(RECEIPT, replace(POST, text=text))
    revised(there, network, "A")
    assert len({sent.path for sent in there.scripted}) == 3


def test_two_messages_are_edited_apart(there: Wire) -> None:
    network = matrix()
    there.always("GET", "/event/%249", 200, {"content": {"body": "x"}})
    assert revised(there, network, "A") != revised(there, network, "A", replace(RECEIPT, id="$9"))


def test_of_edits_a_few_are_remembered(there: Wire) -> None:
    memory, network = ForgetfulMemory(), matrix()
    network.remember_in(memory)
    there.always("GET", "", 200, {"content": {"body": "x"}})
    for n in range(50):
        revised(there, network, "A", replace(RECEIPT, id=f"${n}"))
    kept = json.loads(memory.get("edits") or "")
    assert list(kept) == [f"${n}" for n in range(18, 50)]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"event_id": "$7", "content": {}, "unsigned": {"redacted_because": {}}}),
        Answer(404, NOT_FOUND),
    ],
    ids=["redacted", "purged"],
)
def test_e19_a_message_that_a_person_deleted_is_not_edited(there: Wire, answer: Answer) -> None:
    """Synapse takes an edit of it, which nobody sees."""
    there.always("GET", "/event/%247", answer.status, answer.body)
    with pytest.raises(Gone):
        matrix().revise(RECEIPT, POST)
    assert there.scripted == []


def test_a19_to_take_away_again_is_the_same_transaction(there: Wire) -> None:
    there.breaks(read_timeout)
    there.answers(200, {"event_id": "$r"})
    with pytest.raises(Unsure):
        matrix().remove(RECEIPT)
    matrix().remove(RECEIPT)
    first, second = there.scripted
    assert (first.path, first.body) == (second.path, second.body)
    assert "/redact/%247/" in first.path


def test_an_edit_a_removal_and_a_pin_go_to_the_room_of_the_post(there: Wire) -> None:
    """The address may lead to another room by now."""
    network = matrix(room_id="#kestrel:matrix.test", pin="on")
    there.always("GET", PINS, 404, NOT_FOUND)
    there.answers(200, {"event_id": "$8"}, times=3)
    network.revise(RECEIPT, POST)
    network.remove(RECEIPT)
    network.shine(RECEIPT, None, AT, again=False)
    assert all("/rooms/%21kestrel%3Amatrix.test/" in sent.path for sent in there.scripted)


# The room


def leads_to(wire: Wire, room: str) -> None:
    wire.always("GET", "/directory/room/%23kestrel%3Amatrix.test", 200, {"room_id": room})


def test_an_address_is_resolved_and_a_repeat_goes_where_the_first_try_went(there: Wire) -> None:
    network = matrix(room_id="#kestrel:matrix.test")
    leads_to(there, ROOM)
    there.breaks(read_timeout)
    with pytest.raises(Unsure):
        network.publish(POST)
    leads_to(there, "!new:matrix.test")
    there.always("GET", "/messages", 200, {"chunk": []})
    there.answers(200, {"event_id": "$7"}, times=2)
    assert network.publish(DOUBTFUL).extra["room"] == ROOM
    first, second = there.scripted
    assert first.path == second.path
    assert network.publish(POST).extra["room"] == "!new:matrix.test"


def test_an_address_that_leads_nowhere_is_refused(there: Wire) -> None:
    there.always("GET", "/directory/room/%23kestrel%3Amatrix.test", 404, NOT_FOUND)
    with pytest.raises(Refused, match="there is no room"):
        matrix(room_id="#kestrel:matrix.test").publish(POST)


def test_a_server_of_addresses_that_is_down_delays_only_who_never_asked_it(there: Wire) -> None:
    network = matrix(room_id="#kestrel:matrix.test")
    down = ("GET", "/directory/room/%23kestrel%3Amatrix.test", 502)
    there.always(*down)
    with pytest.raises(TryLater):
        network.publish(POST)
    leads_to(there, ROOM)
    there.answers(200, {"event_id": "$7"}, times=2)
    network.publish(POST)
    there.always(*down)
    assert network.publish(POST).extra["room"] == ROOM


@pytest.mark.parametrize("room", ["!624wAAUP04Wfx87abosKRWQ1odwAjRStHmlaEq8s8i0", "!a:b.c:8448"])
def test_rooms_of_every_version_have_an_id(room: str) -> None:
    assert matrix(room_id=room).room_id == room


@pytest.mark.parametrize(
    "room",
    ["kestrel", "#kestrel", "@kestrel:matrix.test", "https://matrix.to/#/!a:b", "! a:b", "!a/../b"],
)
def test_what_is_no_room_is_told_at_the_start(room: str) -> None:
    with pytest.raises(ValidationError, match="must be like !abc"):
        matrix(room_id=room)


@pytest.mark.parametrize("call", [lambda n: n.publish(POST), lambda n: n.check()])
def test_an_encrypted_room_is_refused_before_anything_is_said(
    there: Wire, call: Callable[[Matrix], object]
) -> None:
    there.always("GET", "/state/m.room.encryption", 200, {"algorithm": "m.megolm.v1.aes-sha2"})
    with pytest.raises(Refused, match="the room is encrypted") as refusal:
        call(matrix())
    assert not refusal.value.closes
    assert there.scripted == []
    assert there.asked(UPLOAD) == []


def test_whether_it_is_encrypted_is_asked_before_each_post(there: Wire) -> None:
    network = matrix()
    there.answers(200, {"event_id": "$7"})
    network.publish(POST)
    there.always("GET", "/state/m.room.encryption", 200, {"algorithm": "m.megolm.v1.aes-sha2"})
    with pytest.raises(Refused):
        network.publish(POST)


@pytest.mark.parametrize("answer", [Answer(500), Answer(200, "<html>"), Answer(404, "<html>")])
def test_where_nobody_says_whether_it_is_encrypted_nothing_is_said(
    there: Wire, answer: Answer
) -> None:
    there.always("GET", "/state/m.room.encryption", answer.status, answer.body)
    with pytest.raises((TryLater, Refused)):
        matrix().publish(POST)
    assert there.scripted == []


def test_without_our_name_the_permalink_is_shorter_and_the_post_counts(there: Wire) -> None:
    there.always("GET", "/account/whoami", 500)
    there.answers(200, {"event_id": "$7"})
    receipt = matrix().publish(POST)
    assert receipt.url == "https://matrix.to/#/!kestrel%3Amatrix.test/%247"


def test_a_token_that_is_refused_is_used_once_and_not_twice(there: Wire) -> None:
    there.always("GET", "/account/whoami", 401, {"errcode": "M_UNKNOWN_TOKEN"})
    with pytest.raises(Refused):
        matrix().publish(POST)
    assert there.scripted == []


# What it answers


@pytest.mark.parametrize(
    ("status", "body", "closes", "says"),
    [
        pytest.param(
            401,
            {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid token", "soft_logout": False},
            True,
            "401 M_UNKNOWN_TOKEN Invalid token: log in again for a new access token",
            id="token",
        ),
        pytest.param(
            401,
            {"errcode": "M_UNKNOWN_TOKEN", "error": "Expired", "soft_logout": True},
            True,
            "401 M_UNKNOWN_TOKEN Expired: log in again for a new access token, with the same "
            "device_id (a soft logout)",
            id="soft logout",
        ),
        pytest.param(
            401, {"errcode": "M_MISSING_TOKEN"}, True, "401 M_MISSING_TOKEN", id="no token"
        ),
        pytest.param(
            403, {"errcode": "M_USER_DEACTIVATED"}, True, "403 M_USER_DEACTIVATED", id="deactivated"
        ),
        pytest.param(
            401,
            {"errcode": "M_USER_LOCKED", "soft_logout": True},
            True,
            "401 M_USER_LOCKED: ask the people who run the homeserver",
            id="locked",
        ),
        pytest.param(
            403, {"errcode": "M_USER_SUSPENDED"}, True, "403 M_USER_SUSPENDED", id="suspended"
        ),
        pytest.param(
            403,
            {"errcode": "M_FORBIDDEN", "error": "User @live:matrix.test not in room"},
            False,
            "403 M_FORBIDDEN User @live:matrix.test not in room: is the account in the room, and "
            "may it write there?",
            id="e17 not in the room",
        ),
        pytest.param(
            403, {"errcode": "M_CONSENT_NOT_GIVEN"}, False, "403 M_CONSENT_NOT_GIVEN", id="consent"
        ),
        pytest.param(413, {"errcode": "M_TOO_LARGE"}, False, "413 M_TOO_LARGE", id="too large"),
        pytest.param(400, {"errcode": "M_BAD_JSON"}, False, "400 M_BAD_JSON", id="bad JSON"),
        pytest.param(
            404,
            {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"},
            False,
            "404 M_UNRECOGNIZED Unrecognized request: is MATRIX_HOMESERVER the address of a",
            id="no homeserver",
        ),
        pytest.param(404, NOT_FOUND, False, "404 M_NOT_FOUND", id="not found"),
        pytest.param(403, {"errcode": "DROP"}, True, "403", id="no code of Matrix"),
    ],
)
def test_e16_e17_what_closes_the_account_and_what_only_the_room_refuses(
    there: Wire, status: int, body: dict[str, Any], closes: bool, says: str
) -> None:
    there.answers(status, body)
    with pytest.raises(Refused) as refusal:
        matrix().publish(POST)
    assert refusal.value.closes is closes
    assert str(refusal.value).startswith(says)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda network: network.publish(POST), id="publish"),
        pytest.param(lambda network: network.revise(RECEIPT, POST), id="revise"),
        pytest.param(lambda network: network.remove(RECEIPT), id="remove"),
    ],
)
@pytest.mark.parametrize(
    ("said", "headers", "wait"),
    [
        pytest.param(968, {"Retry-After": "1"}, timedelta(seconds=1), id="both"),
        pytest.param(2500, {}, timedelta(seconds=2.5), id="milliseconds"),
        pytest.param(None, {"Retry-After": "7"}, timedelta(seconds=7), id="seconds"),
        pytest.param(1e300, {}, timedelta(days=1), id="for ever"),
        pytest.param(float("inf"), {}, timedelta(days=1), id="infinity"),
        pytest.param(float("nan"), {}, timedelta(), id="nan"),
        pytest.param(-5, {}, timedelta(), id="negative"),
        pytest.param("soon", {}, timedelta(), id="words"),
    ],
)
def test_e12_e13_a_limit_says_how_long_in_either_way(
    there: Wire, call: Callable[[Matrix], object], said: Any, headers: Any, wait: timedelta
) -> None:
    body = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": said}
    there.answers(429, body, headers)
    with pytest.raises(TryLater) as later:
        call(matrix())
    assert later.value.wait == wait


def test_a_server_that_is_full_is_asked_later(there: Wire) -> None:
    there.answers(403, {"errcode": "M_RESOURCE_LIMIT_EXCEEDED", "error": "Too many users"})
    with pytest.raises(TryLater):
        matrix().publish(POST)


@pytest.mark.parametrize("id_", [None, "", " ", 7, ["$7"]])
def test_e06_a_success_without_the_event_is_no_success(there: Wire, id_: Any) -> None:
    there.answers(200, {"event_id": id_}, times=3)
    network = matrix()
    for call in (network.publish, lambda post: network.revise(RECEIPT, post)):
        with pytest.raises(Unsure):
            call(POST)
    with pytest.raises(Unsure):
        network.remove(RECEIPT)


def test_a_404_of_something_else_takes_nothing_away(there: Wire) -> None:
    there.answers(404, "<html>", {"Content-Type": "text/html"})
    with pytest.raises(Refused):
        matrix().remove(RECEIPT)


# The pin


def test_a_pin_is_added_to_what_is_pinned_and_only_ours_is_taken_away(there: Wire) -> None:
    network = matrix(pin="on")
    there.always("GET", PINS, 200, {"pinned": ["$rules"], "org.example": 1})
    there.answers(200, {"event_id": "$s"}, times=2)
    network.shine(RECEIPT, None, AT, again=False)
    assert there.scripted[0].json == {"pinned": ["$rules", "$7"], "org.example": 1}
    there.always("GET", PINS, 200, {"pinned": ["$7", "$theirs"]})
    network.dim(RECEIPT, None)
    assert there.scripted[1].json == {"pinned": ["$theirs"]}
    assert {(sent.request.method, sent.path.endswith(PINS)) for sent in there.scripted} == {
        ("PUT", True)
    }


def test_what_is_pinned_or_unpinned_already_is_left_alone(there: Wire) -> None:
    network = matrix(pin="on")
    there.always("GET", PINS, 200, {"pinned": ["$7"]})
    network.shine(RECEIPT, None, AT, again=False)
    network.shine(RECEIPT, None, AT, again=True)
    for state in (Answer(404, NOT_FOUND), Answer(200, {"pinned": ["$rules"]}), Answer(200, {})):
        there.always("GET", PINS, state.status, state.body)
        network.dim(RECEIPT, None)
    assert there.scripted == []


def test_what_a_person_unpinned_stays_so(there: Wire) -> None:
    there.always("GET", PINS, 200, {"pinned": []})
    with pytest.raises(Gone):
        matrix(pin="on").shine(RECEIPT, None, AT, again=True)
    assert there.scripted == []


def test_who_can_not_read_the_pins_writes_none(there: Wire) -> None:
    """It would unpin those of everybody."""
    there.always("GET", PINS, 200, "<html>")
    with pytest.raises(TryLater):
        matrix(pin="on").shine(RECEIPT, None, AT, again=False)
    assert there.scripted == []


def test_a_pin_is_off_unless_wanted() -> None:
    assert not matrix().wants_badge
    assert matrix(pin="on").wants_badge


# The check


def has_powers(wire: Wire, levels: dict[str, Any], membership: str = "join") -> None:
    wire.always(
        "GET", "/state/m.room.member/%40live%3Amatrix.test", 200, {"membership": membership}
    )
    wire.always("GET", "/state/m.room.power_levels", 200, levels)


def test_check_says_who_it_is_and_posts_nothing(there: Wire) -> None:
    has_powers(there, {"users_default": 0})
    account = matrix().check()
    assert (account.handle, account.notes) == (ME, ())
    assert account.url == "https://matrix.to/#/!kestrel%3Amatrix.test?via=matrix.test"
    assert {sent.request.method for sent in there.sent} == {"GET"}


@pytest.mark.parametrize("membership", ["invite", "leave", "ban"])
def test_check_of_a_room_that_it_is_not_in(there: Wire, membership: str) -> None:
    has_powers(there, {}, membership)
    with pytest.raises(Refused, match="not in the room"):
        matrix().check()


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ({"events_default": 50}, "its power level is 0, and 50 is needed"),
        (
            {"events": {"m.room.message": 30}, "users": {ME: 20}},
            "its power level is 20, and 30 is needed",
        ),
    ],
)
def test_check_of_a_room_where_it_may_not_write(
    there: Wire, levels: dict[str, Any], says: str
) -> None:
    has_powers(there, levels)
    with pytest.raises(Refused, match=says):
        matrix().check()


@pytest.mark.parametrize(
    ("pin", "levels", "notes"),
    [
        ("off", {}, ()),
        ("on", {}, ("it may not pin in the room: its power level is 0, and 50 is needed",)),
        ("on", {"users": {ME: 50}}, ()),
        ("on", {"events": {"m.room.pinned_events": 0}}, ()),
        ("on", {"users_default": 100}, ()),
    ],
)
def test_check_says_whether_it_may_pin(
    there: Wire, pin: str, levels: dict[str, Any], notes: tuple[str, ...]
) -> None:
    has_powers(there, levels)
    assert matrix(pin=pin).check().notes == notes


def test_who_made_a_room_of_version_12_may_do_anything_in_it(there: Wire) -> None:
    has_powers(there, {"events_default": 50})
    created = {"sender": "@kestrel:matrix.test", "content": {"additional_creators": [ME]}}
    there.always("GET", "/state/m.room.create", 200, created)
    assert matrix(room_id="!624wAAUP04", pin="on").check().notes == ()


def test_check_of_what_is_no_homeserver(there: Wire) -> None:
    there.always("GET", "/account/whoami", 200, {"hello": "world"})
    with pytest.raises(TryLater, match="is it a homeserver"):
        matrix().check()
