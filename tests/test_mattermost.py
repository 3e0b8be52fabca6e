"""Mattermost: its key lasts for 30 s, then a post is looked for; what is gone looks forbidden."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import regex
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer import rehearsal
from announcer.contract import PICTURE
from announcer.contract.fake import Answer, Wire, read_timeout
from announcer.network import (
    DeliveryError,
    Gone,
    Moment,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.mattermost import MARK, MOST, Mattermost
from announcer.wording import Facts, Templates
from tests import teamchat
from tests.fakes import Stage, wait_until
from tests.running import Service

HOME = "https://chat.test"
CHANNEL = "4xp9fdt77pncbef59f4k1qe83o"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
POST = Post("b1/live/mattermost", Moment.LIVE, Moment.LIVE, "We are **live**", AT, AT, "b1/live#0")
DOUBTFUL = replace(POST, doubtful_since=AT)
UP = {"id": "p7", "message": "as sent"}
RECEIPT = Receipt("p7", f"{HOME}/_redirect/pl/p7")
FORBIDDEN = {"id": "api.context.permissions.app_error", "message": "You do not have permission"}
MISSING = {"id": "app.post.get.app_error", "message": "Unable to get the post."}
Act = Callable[[Mattermost], object]


def account(**settings: str) -> Mattermost:
    return Mattermost.model_validate(
        {"url": HOME, "token": "hush", "channel_id": CHANNEL, **settings}
    )


def mark_of(post: Post, wire: Wire) -> str:
    """The mark that *post* leaves with."""
    wire.answers(201, UP)
    account().publish(post)
    return str(wire.scripted[-1].json["props"][MARK])


# What leaves


def test_a_post_carries_its_mark_and_its_key(wire: Wire) -> None:
    wire.answers(201, UP)
    assert account().publish(POST) == RECEIPT
    [sent] = wire.sent
    assert sent.request.url == f"{HOME}/api/v4/posts"
    assert sent.request.headers["Authorization"] == "Bearer hush"
    body = sent.json
    key, mark = body.pop("pending_post_id"), body["props"].pop(MARK)
    assert body == {"channel_id": CHANNEL, "message": "We are **live**", "props": {}}
    assert regex.fullmatch("[0-9a-f]{64}", key)
    assert regex.fullmatch("[0-9a-f]{64}", mark)


def test_the_key_is_of_one_account_and_one_try_and_the_mark_of_the_try(wire: Wire) -> None:
    """The mark outlives a change of the token; the key must not meet another bot's."""
    again = replace(POST, wire_key="b1/live#1")
    for mine, post in [
        (account(), POST),
        (account(token="other"), POST),
        (account(), again),
        (account(), DOUBTFUL),
    ]:
        wire.answers(201, UP)
        mine.publish(post)
    keys = [sent.json["pending_post_id"] for sent in wire.sent]
    marks = [sent.json["props"][MARK] for sent in wire.sent]
    assert len(set(keys[:3])) == 3
    assert keys[3] == keys[0]
    assert marks[0] == marks[1] == marks[3] != marks[2]


def test_a_picture_goes_up_first_and_is_named_by_its_post(wire: Wire) -> None:
    wire.always("POST", "/api/v4/files", 201, {"file_infos": [{"id": "f1"}]})
    wire.answers(201, UP)
    account().publish(replace(POST, picture=PICTURE))
    [upload] = wire.asked("/files")
    assert CHANNEL.encode() in upload.body
    assert wire.scripted[-1].json["file_ids"] == ["f1"]


def test_an_answer_names_the_post_that_it_answers(wire: Wire) -> None:
    wire.answers(201, UP)
    account().publish(replace(POST, reply_to=Receipt("p1")))
    assert wire.sent[-1].json["root_id"] == "p1"


def test_an_edit_sends_nothing_but_its_words(wire: Wire) -> None:
    """Properties that are sent replace those that are there, our mark with them."""
    wire.answers(200, UP)
    assert account().revise(RECEIPT, replace(POST, text="It is over")) == RECEIPT
    [sent] = wire.sent
    assert (sent.request.method, sent.path) == ("PUT", "/api/v4/posts/p7/patch")
    assert sent.json == {"message": "It is over"}


@pytest.mark.parametrize(
    ("act", "method", "path"),
    [
        (lambda one: one.remove(RECEIPT), "DELETE", ""),
        (lambda one: one.shine(RECEIPT, None, AT, again=False), "POST", "/pin"),
        (lambda one: one.dim(RECEIPT, None), "POST", "/unpin"),
    ],
    ids=["removed", "pinned", "unpinned"],
)
def test_a_change_is_done_when_the_server_says_so(
    wire: Wire, act: Act, method: str, path: str
) -> None:
    wire.answers(200, {"status": "OK"})
    act(account())
    assert (wire.sent[-1].request.method, wire.sent[-1].path) == (method, f"/api/v4/posts/p7{path}")
    for said in ({}, {"status": "ok?"}, "<html>"):
        wire.answers(200, said)
        with pytest.raises(Unsure):
            act(account())


# What Mattermost answers


@pytest.mark.parametrize(
    ("status", "code", "error", "closes"),
    [
        (500, "api.post.deduplicate_create_post.pending", Unsure, None),
        (500, "app.post.save.app_error", Unsure, None),
        (401, "api.context.session_expired.app_error", Refused, True),
        (403, "api.context.permissions.app_error", Refused, False),
        (400, "api.post.create_post.can_not_post_to_deleted.error", Refused, False),
        (400, "api.context.invalid_body_param.app_error", Refused, False),
        (404, "app.channel.get.existing.app_error", Refused, False),
        (429, "api.context.too_many.app_error", TryLater, None),
    ],
)
def test_e15_what_an_error_means(
    wire: Wire, status: int, code: str, error: type[DeliveryError], closes: bool | None
) -> None:
    wire.answers(status, {"id": code, "message": "Told by the server", "status_code": status})
    with pytest.raises(error, match=str(status)) as told:
        account().publish(POST)
    assert getattr(told.value, "closes", None) is closes
    assert len(wire.sent) == 1


def test_e17_a_bot_that_nobody_added_is_told_so(wire: Wire) -> None:
    wire.answers(403, FORBIDDEN)
    with pytest.raises(Refused, match="is the bot in the channel"):
        account().publish(POST)


@pytest.mark.parametrize(
    "act",
    [
        lambda one: one.revise(RECEIPT, POST),
        lambda one: one.shine(RECEIPT, None, AT, again=False),
    ],
    ids=["edited", "pinned"],
)
def test_e19_a_change_of_a_deleted_post_looks_forbidden_and_is_gone(wire: Wire, act: Act) -> None:
    wire.always("GET", "/posts/p7", 404, MISSING)
    wire.answers(403, FORBIDDEN)
    with pytest.raises(Gone):
        act(account())


def test_what_is_gone_is_removed_and_unpinned(wire: Wire) -> None:
    wire.always("GET", "/posts/p7", 404, MISSING)
    wire.answers(404, MISSING)
    wire.answers(403, FORBIDDEN)
    account().remove(RECEIPT)
    account().dim(RECEIPT, None)
    assert not wire.has_more


@pytest.mark.parametrize(
    "there",
    [Answer(200, {"id": "p7"}), Answer(403, FORBIDDEN), Answer(500), Answer(404, "<html>")],
    ids=["it is there", "we may not look", "unclear", "a proxy's page"],
)
@pytest.mark.parametrize(
    "act", [lambda one: one.revise(RECEIPT, POST), lambda one: one.remove(RECEIPT)]
)
def test_what_is_forbidden_and_there_is_not_gone(wire: Wire, act: Act, there: Answer) -> None:
    wire.always("GET", "/posts/p7", there.status, there.body)
    wire.answers(403, FORBIDDEN)
    with pytest.raises(Refused, match="403"):
        act(account())


def test_a_page_that_is_not_found_is_no_deleted_post(wire: Wire) -> None:
    """The address may be wrong by now, and the post still say that we are live."""
    wire.answers(404, "<html>no such host</html>", times=2)
    with pytest.raises(Refused):
        account().revise(RECEIPT, POST)
    with pytest.raises(Refused):
        account().remove(RECEIPT)


def test_a_post_that_is_too_old_to_be_edited_stays(wire: Wire) -> None:
    code = "api.post.update_post.permissions_time_limit.app_error"
    wire.answers(400, {"id": code, "message": "Post edit is only allowed for 300 seconds."})
    with pytest.raises(Refused, match="only allowed for 300 seconds"):
        account().revise(RECEIPT, POST)


# The length


def tells_limit(wire: Wire, limit: object) -> None:
    wire.always("GET", "/config/client", 200, {"MaxPostSize": limit})


def test_the_server_tells_its_limit_and_is_not_asked_for_each_text(wire: Wire) -> None:
    tells_limit(wire, "4000")
    mine = account()
    assert [mine.limit(), mine.limit()] == [4000, 4000]
    assert len(wire.sent) == 1


@pytest.mark.parametrize("said", ["", "0", "-1", "1e9", "many", None, 4000.5, "9" * 30])
def test_a_limit_that_is_none_is_the_usual_one(wire: Wire, said: object) -> None:
    tells_limit(wire, said)
    assert account().limit() == 16_383


@pytest.mark.parametrize("code", ["message_length", "msg"])
def test_e26_a_server_that_lowered_its_limit_gets_a_shorter_text_later(
    wire: Wire, code: str
) -> None:
    mine = account()
    long = replace(POST, text="x" * 4000)
    refusal = {"id": f"model.post.is_valid.{code}.app_error", "message": "too long"}
    tells_limit(wire, "16383")
    assert mine.limit() == 16_383
    wire.answers(400, refusal, times=2)
    with pytest.raises(Refused):
        mine.publish(long)
    tells_limit(wire, "1000")
    with pytest.raises(TryLater, match="limit has shrunk"):
        mine.publish(long)
    assert mine.limit() == 1000


@pytest.mark.parametrize(
    ("text", "length"), [("abc", 3), ("\U0001f534", 1), ("e\u0301", 2), ("日本語", 3)]
)
def test_length_is_counted_in_code_points(text: str, length: int) -> None:
    assert account().measure(text) == length


# Looking for it


def posts(*them: dict[str, Any]) -> dict[str, Any]:
    return {"order": [], "posts": {one["id"]: one for one in them}}


def test_a14_it_is_found_by_its_mark(wire: Wire) -> None:
    mark = mark_of(POST, wire)
    wire.always("GET", "/users/me", 200, {"id": "u1"})
    ours = {"id": "p7", "user_id": "u1", "props": {MARK: mark, "from_bot": "true"}}
    wire.answers(200, posts({"id": "p6", "user_id": "u2", "props": None}, ours))
    assert account().find(DOUBTFUL) == RECEIPT
    since = int((AT - timedelta(minutes=10)).timestamp() * 1000)
    assert wire.scripted[-1].request.url == f"{HOME}/api/v4/channels/{CHANNEL}/posts?since={since}"


@pytest.mark.parametrize("other", ["another post", "another's copy", "no mark"])
def test_a14_what_is_not_ours_is_not_taken_for_it(wire: Wire, other: str) -> None:
    mark = mark_of(POST, wire)
    wire.always("GET", "/users/me", 200, {"id": "u1"})
    their: dict[str, dict[str, Any]] = {
        "another post": {"user_id": "u1", "props": {MARK: mark[:-1]}},
        "another's copy": {"user_id": "u2", "props": {MARK: mark}},
        "no mark": {"user_id": "u1", "props": [mark]},
    }
    wire.answers(200, posts({"id": "p7", **their[other]}))
    assert account().find(DOUBTFUL) is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, posts(*({"id": f"p{n}"} for n in range(MOST)))),
        Answer(200, {}),
        Answer(200, {"posts": None}),
        Answer(500),
        Answer(429),
    ],
    ids=["too many", "no list", "null", "unclear", "busy"],
)
def test_a14_who_can_not_tell_does_not_say_no(wire: Wire, answer: Answer) -> None:
    wire.always("GET", "/users/me", 200, {"id": "u1"})
    wire.answers(answer.status, answer.body)
    with pytest.raises(TryLater):
        account().find(DOUBTFUL)


def test_a14_the_same_key_goes_with_a_repeat(wire: Wire) -> None:
    wire.breaks(read_timeout)
    wire.answers(201, UP)
    with pytest.raises(Unsure):
        account().publish(POST)
    account().publish(DOUBTFUL)
    first, second = wire.sent
    assert first.body == second.body


# Who am I there


def test_check_posts_nothing_and_tells_who_we_are(wire: Wire) -> None:
    wire.always("GET", "/users/me", 200, {"id": "u1", "username": "announcer"})
    wire.always("GET", f"/channels/{CHANNEL}/members/me", 200, {"user_id": "u1"})
    told = account().check()
    assert (told.handle, told.url, told.notes) == ("@announcer", HOME, ())
    assert {sent.request.method for sent in wire.sent} == {"GET"}


@pytest.mark.parametrize("status", [403, 404])
def test_check_says_that_the_bot_is_not_in_the_channel(wire: Wire, status: int) -> None:
    wire.always("GET", "/users/me", 200, {"id": "u1", "username": "announcer"})
    wire.answers(status, FORBIDDEN if status == 403 else MISSING)
    [note] = account().check().notes
    assert note.startswith("the bot is not in the channel")


@pytest.mark.parametrize("channel", ["town-square", "", CHANNEL[:-1], CHANNEL.upper(), "#general"])
def test_a_channel_is_an_id(channel: str) -> None:
    with pytest.raises(ValidationError, match="must be the channel's id"):
        account(channel_id=channel)


# The text


@pytest.mark.parametrize(
    ("title", "escaped"),
    [
        ("**a** _b_ ~~c~~ `d`", r"\*\*a\*\* \_b\_ \~\~c\~\~ \`d\`"),
        ("@all @channel @here @kestrel", "@\u200ball @\u200bchannel @\u200bhere @\u200bkestrel"),
        ("[x](http://evil.example)", "\\[x\\](http:\u200b//evil.example)"),
        ("![x](https://evil.example/x.png)", "!\\[x\\](https:\u200b//evil.example/x.png)"),
        ("www.evil.example", "www\u200b.evil.example"),
        ("# head", r"\# head"),
        ("#tag ~town-square", r"\#tag \~town-square"),
        ("> quote", r"\> quote"),
        ("- item", r"\- item"),
        ("+ item - 3 > 2", r"\+ item - 3 > 2"),
        ("1. first", r"1\. first"),
        ("12) twelfth", r"12\) twelfth"),
        ("===", "\u200b==="),
        (":tada: 12:30", ":\u200btada: 12:30"),
        ("&lt;b&gt; & c", "&\u200blt;b&\u200bgt; & c"),
        ("a\\*b", r"a\\\*b"),
        ("Version 1.2 (new!)", "Version 1.2 (new!)"),
    ],
)
def test_f07_a_title_is_plain_text_in_mattermost(title: str, escaped: str) -> None:
    assert account().escape(title) == escaped


FACTS = Facts(
    "default", "Kestrel", "", "", "https://live.example.org", (), nsfw=False, started_at=AT
)
HOSTILE = st.text("ab1. @<>&*_~`:|!#[]()=\\/+-w\u200b\u0301\U0001f468\u200d", max_size=300)


@given(title=HOSTILE)
def test_f01_f05_f07_no_title_breaks_out_of_its_text_or_its_limit(title: str) -> None:
    network = account()
    network._longest, network._ask_again = 500, float("inf")
    facts = replace(FACTS, title=title * 20)
    text = Templates(None).word(network, "mattermost", Moment.LIVE, facts).text
    assert network.measure(text) <= 500
    assert text.count("https://live.example.org") == 1
    assert not regex.search(r"[@＠]\w", text)
    told = text.replace("https://live.example.org", "")
    assert not regex.search(r"\w://", told)
    assert not regex.search(r"[*_~`#\[\]]", regex.sub(r"\\[\\*_~`#\[\]]", "", told))


# A whole evening, and the crash


@pytest.fixture
def server() -> Iterator[teamchat.Mattermost]:
    made = teamchat.Mattermost()
    yield made
    made.close()


def settings(server: teamchat.Mattermost) -> dict[str, str]:
    return {
        "MATTERMOST_URL": server.url,
        "MATTERMOST_TOKEN": "hush",
        "MATTERMOST_CHANNEL_ID": server.channel,
        "MATTERMOST_PIN": "on",
        "OWNCAST_URL": "http://127.0.0.1:9",
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "0s",
        "ANNOUNCER_POLL": "0s",
    }


def tell(service: Service, what: str, title: str = "Drawers") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_an_evening_is_one_post_that_stays_true(
    tmp_path: Path, server: teamchat.Mattermost
) -> None:
    service = Service(tmp_path, settings(server))
    try:
        tell(service, "start", "@channel *Drawers*")
        service.until(lambda: server.pinned, "it was never pinned")
        [text] = server.texts()
        assert "Kestrel Workshop is live: @\u200bchannel \\*Drawers\\*" in text
        tell(service, "title", "Doors")
        service.until(lambda: "Doors" in server.texts()[0], "it was never retitled")
        tell(service, "stop")
        service.until(lambda: not server.pinned, "it is still pinned")
        service.until(lambda: "was live" in server.texts()[0], "its end was never told")
    finally:
        service.stop()
    [post] = server.shown.values()
    assert MARK in post["props"], "an edit keeps what it is found by"


@pytest.mark.parametrize("point", ["sent", "answered"])
def test_a14_a_crash_while_it_is_posted_leaves_one_post(
    tmp_path: Path, server: teamchat.Mattermost, point: str
) -> None:
    at, trace = f"POST /api/v4/posts: {point}", tmp_path / "passed"
    crash = {"ANNOUNCER_CRASH_AT": at, "ANNOUNCER_CRASH_TRACE": str(trace)}
    service = Service(tmp_path, settings(server) | crash)
    with suppress(requests.ConnectionError):  # what it answers with may be the last it did
        service.hear(rehearsal.webhook("start", "Drawers", "Kestrel Workshop"))
    wait_until(lambda: trace.exists() and at in trace.read_text().splitlines())
    service.kill()
    server.stranger_says("hello")
    service = Service(tmp_path, settings(server))
    try:
        service.until(lambda: server.pinned, "it was never settled")
    finally:
        service.stop()
    assert len([text for text in server.texts() if "is live" in text]) == 1


@pytest.mark.parametrize("taken", [True, False], ids=["it went up", "it did not go up"])
@pytest.mark.parametrize("minutes", [0.2, 5], ids=["the key is known", "the key is forgotten"])
def test_a14_a_post_without_an_answer_is_looked_for_before_it_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, *, taken: bool
) -> None:
    server = teamchat.Mattermost(clock=lambda: stage.now.timestamp())
    server.troubles = ["takes it and hangs up" if taken else "hangs up"]
    stage = Stage(tmp_path / "announcer.db", {"mattermost": account(url=server.url)})
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
    try:
        stage.hear(title="Drawers")
        for _ in range(3):
            stage.run()
            stage.passes(minutes=minutes)
        assert stage.told("mattermost") == ("settled", "")
        assert len(server.texts()) == 1
        assert f"GET /api/v4/channels/{CHANNEL}/posts" in server.asked
    finally:
        stage.close()
        server.close()


def test_e19_a_post_that_a_person_deleted_before_we_looked_is_not_posted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = teamchat.Mattermost(clock=lambda: stage.now.timestamp())
    server.troubles = ["takes it and hangs up"]
    stage = Stage(tmp_path / "announcer.db", {"mattermost": account(url=server.url)})
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
    try:
        stage.hear(title="Drawers")
        stage.run()
        server.deleted |= server.shown
        server.shown.clear()
        for _ in range(3):
            stage.passes(minutes=1)
            stage.run()
        assert stage.told("mattermost") == ("settled", "")
        assert server.texts() == []
    finally:
        stage.close()
        server.close()
