"""Slack: refusals hide in good answers, and only the bot can look, change and take away."""

import traceback
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

from announcer import rehearsal, wiring
from announcer.contract.fake import Answer, Wire
from announcer.network import (
    DeliveryError,
    ForgetfulMemory,
    Gone,
    Moment,
    Network,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.slack import MARK, Slack, SlackBot
from announcer.settings import SettingsError
from announcer.wording import Facts, Templates
from tests import teamchat
from tests.fakes import Stage, wait_until
from tests.rows.slack import ME
from tests.running import Service

HOOK = "https://hooks.slack.com/services/T0/B0/hush"
TOKEN = "xoxb-hush"
CHANNEL = "C0123456789"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
POST = Post("b1/live/slack", Moment.LIVE, Moment.LIVE, "We are *live*", AT, AT, "b1/live/slack#0")
DOUBTFUL = replace(POST, doubtful_since=AT)
UP = {"ok": True, "channel": CHANNEL, "ts": "1795461300.000100"}
RECEIPT = Receipt(
    "1795461300.000100",
    f"https://kestrel.slack.com/archives/{CHANNEL}/p1795461300000100",
    {"channel": CHANNEL},
)
BLOCKS = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "We are *live*", "verbatim": True}}
]


def webhook(url: str = HOOK) -> Slack:
    return Slack.model_validate({"webhook_url": url})


def bot(**settings: str) -> SlackBot:
    return SlackBot.model_validate({"bot_token": TOKEN, "channel": CHANNEL, **settings})


@pytest.fixture
def known(wire: Wire) -> Wire:
    """A wire on which Slack knows the bot."""
    wire.always("POST", "/api/auth.test", 200, ME)
    return wire


def refusal(code: str, **more: str) -> dict[str, object]:
    return {"ok": False, "error": code, **more}


# What leaves


def test_the_webhook_gets_the_words_as_a_block_and_says_ok(wire: Wire) -> None:
    wire.answers(200, "ok")
    assert webhook().publish(POST) == Receipt("b1/live/slack")
    [sent] = wire.sent
    assert (sent.request.method, sent.request.url) == ("POST", HOOK)
    assert sent.json == {"text": "We are *live*", "blocks": BLOCKS, "unfurl_links": True}


def test_the_bot_posts_with_a_mark_to_be_found_by(known: Wire) -> None:
    known.answers(200, UP)
    assert bot().publish(POST) == RECEIPT
    [sent] = known.scripted
    assert sent.request.url == "https://slack.com/api/chat.postMessage"
    assert sent.request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert sent.request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert sent.json == {
        "channel": CHANNEL,
        "text": "We are *live*",
        "blocks": BLOCKS,
        "parse": "none",
        "link_names": False,
        "unfurl_links": True,
        "metadata": {"event_type": MARK, "event_payload": {"id": "b1/live/slack#0"}},
    }


def test_f01_an_edit_asks_for_no_names_either(wire: Wire) -> None:
    """Left out, Slack would look for names again: an edit's own default is `parse: client`."""
    wire.answers(200, UP)
    assert bot().revise(RECEIPT, replace(POST, text="It is over")) == RECEIPT
    [sent] = wire.sent
    assert sent.path == "/api/chat.update"
    assert sent.json == {
        "channel": CHANNEL,
        "ts": RECEIPT.id,
        "text": "It is over",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": "It is over", "verbatim": True}}
        ],
        "parse": "none",
        "link_names": False,
    }


@pytest.mark.parametrize(
    ("act", "method", "sent"),
    [
        (lambda one: one.remove(RECEIPT), "chat.delete", {"ts": RECEIPT.id}),
        (
            lambda one: one.shine(RECEIPT, None, AT, again=False),
            "pins.add",
            {"timestamp": RECEIPT.id},
        ),
        (lambda one: one.dim(RECEIPT, None), "pins.remove", {"timestamp": RECEIPT.id}),
    ],
    ids=["removed", "pinned", "unpinned"],
)
def test_a_message_is_named_by_its_channel_and_time(
    wire: Wire, act: Callable[[SlackBot], object], method: str, sent: dict[str, str]
) -> None:
    """The channel is where it was posted, wherever the setting leads by now."""
    wire.answers(200, {"ok": True})
    act(bot(channel="C0MOVEDAWAY"))
    assert wire.sent[-1].path == f"/api/{method}"
    assert wire.sent[-1].json == {"channel": CHANNEL, **sent}


def test_another_api_is_asked_where_it_is_set(wire: Wire) -> None:
    wire.always("POST", "/api/auth.test", 200, ME)
    wire.answers(200, UP)
    bot(api_base_url="https://slack-gov.com/").publish(POST)
    assert {str(sent.request.url).partition("/api/")[0] for sent in wire.sent} == {
        "https://slack-gov.com"
    }


# The receipt


def test_a_permalink_needs_one_look_for_all_time(known: Wire) -> None:
    known.answers(200, UP, times=3)
    memory = ForgetfulMemory()
    for _ in range(3):
        network = bot()
        network.remember_in(memory)
        assert network.publish(POST) == RECEIPT
    assert len(known.asked("auth.test")) == 1
    assert TOKEN not in str(vars(memory))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(429),
        Answer(200, "<html>"),
        Answer(200, {"ok": True}),
        Answer(200, {"ok": True, "url": "javascript:alert(1)"}),
        Answer(200, refusal("ratelimited")),
        Answer(200, refusal("access_denied")),
    ],
    ids=["500", "429", "no JSON", "no address", "a bad address", "busy", "denied"],
)
def test_without_a_permalink_the_post_still_counts(wire: Wire, answer: Answer) -> None:
    wire.always("POST", "/api/auth.test", answer.status, answer.body)
    wire.answers(200, UP, times=2)
    network = bot()
    assert network.publish(POST) == replace(RECEIPT, url="")
    wire.always("POST", "/api/auth.test", 200, ME)
    assert network.publish(POST) == RECEIPT, "the next one asks again"


def test_a_token_that_is_refused_by_the_look_is_not_used_for_a_post(wire: Wire) -> None:
    wire.always("POST", "/api/auth.test", 200, refusal("token_revoked"))
    with pytest.raises(Refused) as told:
        bot().publish(POST)
    assert told.value.closes
    assert wire.scripted == []


@pytest.mark.parametrize(
    "said",
    [
        {"ok": True},
        {"ok": True, "ts": ""},
        {"ok": True, "ts": 1795461300.0001},
        {"ts": "1795461300.000100"},
        {"ok": "true", "ts": "1795461300.000100"},
        {"ok": 1, "ts": "1795461300.000100"},
    ],
    ids=repr,
)
def test_e06_a_good_answer_without_the_time_or_ok_may_be_up(known: Wire, said: Any) -> None:
    known.answers(200, said, times=2)
    with pytest.raises(Unsure):
        bot().publish(POST)
    with pytest.raises(Unsure):
        bot().revise(RECEIPT, POST)


@pytest.mark.parametrize("said", ["", "OK!", "okay", '"ok"', "<html>ok</html>", '{"ok": true}'])
def test_e06_a_webhook_that_does_not_say_ok_may_have_posted(wire: Wire, said: str) -> None:
    wire.answers(200, said)
    with pytest.raises(Unsure):
        webhook().publish(POST)


# What Slack answers


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("code", "error", "closes"),
    [
        ("invalid_auth", Refused, True),
        ("not_authed", Refused, True),
        ("token_revoked", Refused, True),
        ("token_expired", Refused, True),
        ("account_inactive", Refused, True),
        ("not_in_channel", Refused, False),
        ("channel_not_found", Refused, False),
        ("is_archived", Refused, False),
        ("missing_scope", Refused, False),
        ("msg_too_long", Refused, False),
        ("msg_blocks_too_long", Refused, False),
        ("invalid_blocks", Refused, False),
        ("restricted_action", Refused, False),
        ("a_code_that_slack_thought_of_later", Refused, False),
        ("ratelimited", TryLater, None),
        ("rate_limited", TryLater, None),
        ("message_limit_exceeded", TryLater, None),
        ("service_unavailable", TryLater, None),
        ("request_timeout", TryLater, None),
        ("team_added_to_org", TryLater, None),
        ("internal_error", Unsure, None),
        ("fatal_error", Unsure, None),
    ],
)
def test_e15_what_a_refusal_in_a_good_answer_means(
    known: Wire, status: int, code: str, error: type[DeliveryError], closes: bool | None
) -> None:
    known.answers(status, refusal(code))
    with pytest.raises(error, match=code) as told:
        bot().publish(POST)
    assert getattr(told.value, "closes", None) is closes
    assert len(known.scripted) == 1


def test_e17_a_missing_scope_is_named(known: Wire) -> None:
    known.answers(200, refusal("missing_scope", needed="chat:write", provided="pins:write"))
    with pytest.raises(Refused, match="missing_scope: it needs the scope chat:write"):
        bot().publish(POST)


def test_a_bot_that_nobody_invited_is_told_so(known: Wire) -> None:
    known.answers(200, refusal("not_in_channel"))
    with pytest.raises(Refused, match="invite the bot to the channel"):
        bot().publish(POST)


@pytest.mark.parametrize("status", [200, 429])
def test_e12_a_rate_limit_tells_its_wait_in_a_header(known: Wire, status: int) -> None:
    known.answers(status, refusal("ratelimited"), {"Retry-After": "30"})
    with pytest.raises(TryLater) as later:
        bot().publish(POST)
    assert later.value.wait == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("status", "word", "error", "closes"),
    [
        (400, "invalid_payload", Refused, False),
        (400, "no_text", Refused, False),
        (400, "invalid_blocks", Refused, False),
        (403, "action_prohibited", Refused, False),
        (403, "posting_to_general_channel_denied", Refused, False),
        (403, "invalid_token", Refused, True),
        (404, "no_service", Refused, True),
        (404, "channel_not_found", Refused, True),
        (404, "no_team", Refused, True),
        (400, "no_active_hooks", Refused, True),
        (410, "channel_is_archived", Refused, False),
        (429, "rate_limited", TryLater, None),
        (500, "rollup_error", Unsure, None),
    ],
)
def test_e15_a_webhook_says_one_word_and_a_status(
    wire: Wire, status: int, word: str, error: type[DeliveryError], closes: bool | None
) -> None:
    wire.answers(status, word, {"Content-Type": "text/html"})
    with pytest.raises(error, match=f"{status} {word}") as told:
        webhook().publish(POST)
    assert getattr(told.value, "closes", None) is closes


@pytest.mark.parametrize("network", [webhook(), bot()], ids=["webhook", "bot"])
@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_an_answer_that_quotes_what_we_sent_is_not_repeated(
    wire: Wire, network: Network, status: int
) -> None:
    wire.answers(status, f'{{"ok": false, "error": "{HOOK} {TOKEN}"}}', times=2)
    with pytest.raises(DeliveryError) as problem:
        network.publish(POST)
    said = repr(network) + "".join(traceback.format_exception(problem.value))
    assert "hush" not in said


def test_e19_an_edit_of_a_message_that_a_person_deleted_is_gone(wire: Wire) -> None:
    wire.answers(200, refusal("message_not_found"))
    with pytest.raises(Gone):
        bot().revise(RECEIPT, POST)


@pytest.mark.parametrize("code", ["cant_update_message", "edit_window_closed"])
def test_an_edit_that_slack_does_not_allow_is_given_up(wire: Wire, code: str) -> None:
    wire.answers(200, refusal(code))
    with pytest.raises(Refused, match=code) as told:
        bot().revise(RECEIPT, POST)
    assert not told.value.closes


def test_what_is_removed_or_pinned_already_is_a_success(wire: Wire) -> None:
    for code in ("message_not_found", "already_pinned", "no_pin", "message_not_found"):
        wire.answers(200, refusal(code))
    bot().remove(RECEIPT)
    bot().shine(RECEIPT, None, AT, again=False)
    bot().dim(RECEIPT, None)
    bot().dim(RECEIPT, None)
    assert not wire.has_more


@pytest.mark.parametrize(
    ("code", "error"),
    [("message_not_found", Gone), ("missing_scope", Refused), ("too_many_pins", Refused)],
)
def test_e23_a_pin_that_is_refused_is_no_pin(
    wire: Wire, code: str, error: type[DeliveryError]
) -> None:
    wire.answers(200, refusal(code))
    with pytest.raises(error):
        bot().shine(RECEIPT, None, AT, again=False)


# Looking for it


def message(**fields: Any) -> dict[str, Any]:
    mark = {"event_type": MARK, "event_payload": {"id": POST.wire_key}}
    mine = {"ts": UP["ts"], "bot_id": "B0KESTREL", "user": "U0KESTREL", "metadata": mark}
    return mine | fields


def history(*messages: Any, cursor: str = "", more: bool = False) -> dict[str, Any]:
    page = {"messages": list(messages), "has_more": more or bool(cursor)}
    return {"ok": True, "response_metadata": {"next_cursor": cursor}, **page}


def test_a11_it_is_found_by_its_mark(known: Wire) -> None:
    known.answers(200, history({"ts": "1", "text": "hello"}, "odd", message(), None))
    assert bot().find(DOUBTFUL) == RECEIPT
    [sent] = known.scripted
    assert sent.request.method == "GET"
    asked = str(sent.request.url).partition("?")[2].split("&")
    since = (AT - timedelta(minutes=10)).timestamp()
    assert asked == [
        f"channel={CHANNEL}",
        "limit=200",
        "include_all_metadata=true",
        f"oldest={since:.6f}",
    ]


@pytest.mark.parametrize(
    "other",
    [
        message(metadata={"event_type": MARK, "event_payload": {"id": "b1/ended/slack#0"}}),
        message(metadata={"event_type": "other", "event_payload": {"id": POST.wire_key}}),
        message(metadata={"event_type": MARK, "event_payload": None}),
        message(metadata=None),
        message(bot_id="B0STRANGER", user="U0STRANGER"),
        message(bot_id=None, user=None),
    ],
    ids=["another post", "another app's", "no payload", "no mark", "a copy", "nobody's"],
)
def test_a11_what_is_not_ours_is_not_taken_for_it(known: Wire, other: Any) -> None:
    known.answers(200, history(other))
    assert bot().find(DOUBTFUL) is None


def test_a11_all_pages_are_looked_through(known: Wire) -> None:
    known.answers(200, history(cursor="next="))
    known.answers(200, history(message()))
    assert bot().find(DOUBTFUL) == RECEIPT
    assert "cursor=next%3D" in str(known.scripted[-1].request.url)


@pytest.mark.parametrize(
    "answer",
    [
        history(cursor="for ever"),
        history(more=True),
        {"ok": True},
        {"ok": True, "messages": None},
        refusal("internal_error"),
        refusal("ratelimited"),
    ],
    ids=["no end", "no cursor", "no list", "null", "unclear", "busy"],
)
def test_a11_who_can_not_tell_does_not_say_no(known: Wire, answer: dict[str, object]) -> None:
    known.answers(200, answer, times=10)
    with pytest.raises(TryLater):
        bot().find(DOUBTFUL)


def test_a_bot_that_may_not_look_does_not_say_no(known: Wire) -> None:
    known.answers(200, refusal("missing_scope", needed="channels:history"))
    with pytest.raises(Refused, match="channels:history"):
        bot().find(DOUBTFUL)


# Who am I there


def test_check_posts_nothing_and_tells_who_we_are(known: Wire) -> None:
    known.answers(200, history())
    account = bot().check()
    assert (account.handle, account.url) == (
        "announcer in Kestrel Workshop",
        "https://kestrel.slack.com/",
    )
    assert account.notes == ()
    assert [sent.path for sent in known.sent] == ["/api/auth.test", "/api/conversations.history"]


def test_check_says_what_is_missing_to_look(known: Wire) -> None:
    known.answers(200, refusal("missing_scope", needed="channels:history"))
    [note] = bot().check().notes
    assert "channels:history" in note


def test_a_webhook_is_checked_with_nothing_to_say(wire: Wire) -> None:
    wire.answers(400, "no_text")
    assert webhook().check().handle == "incoming webhook"
    assert wire.sent[-1].json == {"text": ""}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(404, "no_service"), Refused, "make a new webhook"),
        (Answer(403, "invalid_token"), Refused, "make a new webhook"),
        (Answer(400, "<html>"), Refused, "400"),
        (Answer(200, "ok"), Refused, "not like Slack"),
        (Answer(200, "<html>"), Refused, "not like Slack"),
        (Answer(500, "rollup_error"), TryLater, "500"),
    ],
)
def test_check_of_a_webhook_that_is_none(
    wire: Wire, answer: Answer, error: type[DeliveryError], words: str
) -> None:
    wire.answers(answer.status, answer.body)
    with pytest.raises(error, match=words):
        webhook().check()


# Settings


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0",
        "https://hooks.slack.com/services/T0/B0/hush/more",
        "https://hooks.slack.com/triggers/T0/1/hush",
        "https://kestrel.slack.com/hush",
    ],
)
def test_an_address_that_is_no_webhook_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(ValidationError, match="is not like") as problem:
        webhook(url)
    assert "hush" not in str(problem.value)


@pytest.mark.parametrize("channel", ["#general", "general", "c0123456789", "", "C01", "U012345678"])
def test_a_channel_is_an_id_since_only_that_can_be_looked_through(channel: str) -> None:
    with pytest.raises(ValidationError, match="must be the channel's id"):
        bot(channel=channel)


def test_an_account_is_a_webhook_or_a_bot() -> None:
    read = wiring.read(
        {
            "SLACK_WEBHOOK_URL": HOOK,
            "SLACK__CREW__BOT_TOKEN": TOKEN,
            "SLACK__CREW__CHANNEL": CHANNEL,
        }
    )
    kinds = {name: type(one) for name, one in read.destinations.items()}
    assert kinds == {"slack": Slack, "slack.crew": SlackBot}
    with pytest.raises(SettingsError, match="Slack webhook and Slack bot are both set"):
        wiring.read({"SLACK_WEBHOOK_URL": HOOK, "SLACK_BOT_TOKEN": TOKEN, "SLACK_CHANNEL": CHANNEL})
    with pytest.raises(SettingsError, match="SLACK_CHANNEL is missing"):
        wiring.read({"SLACK_BOT_TOKEN": TOKEN})


# The text


@pytest.mark.parametrize(
    ("title", "escaped"),
    [
        ("a & b", "a &amp; b"),
        ("<!channel> <!here> <!everyone>", "&lt;!channel&gt; &lt;!here&gt; &lt;!everyone&gt;"),
        ("<@U1> <#C1> <!subteam^S1>", "&lt;@\u200bU1&gt; &lt;#C1&gt; &lt;!subteam^S1&gt;"),
        ("<https://evil.example|win>", "&lt;https://evil.example|win&gt;"),
        ("<!date^0^{date}|x>", "&lt;!date^0^{date}|x&gt;"),
        ("@channel", "@\u200bchannel"),
        ("&lt;!here&gt;", "&amp;lt;!here&amp;gt;"),
        ("*NEW* _map_ ~old~", "∗NEW∗ ˍmapˍ ∼old∼"),
        ("__init__ **x**", "ˍˍinitˍˍ ∗∗x∗∗"),
        ("snake_case, 5*3 and a~b", "snake_case, 5*3 and a~b"),
        ("`code` a`b", "‵code‵ a‵b"),
        (":tada: 12:30:45 a: b", ":\u200btada: 12:\u200b30:45 a: b"),
        ("> quoted", "\uff1e quoted"),
        ("3 > 2", "3 &gt; 2"),
    ],
)
def test_f07_a_title_is_plain_text_in_slack(title: str, escaped: str) -> None:
    assert webhook().escape(title) == bot().escape(title) == escaped


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://live.example.org/?a=1&b=2", "<https://live.example.org/?a=1&amp;b=2>"),
        ("https://live.example.org/a|b>c<d", "<https://live.example.org/a%7Cb%3Ec%3Cd>"),
    ],
)
def test_f13_a_link_is_one_and_nothing_else(url: str, link: str) -> None:
    assert bot().link(url) == link


FACTS = Facts(
    "default", "Kestrel", "", "", "https://live.example.org", (), nsfw=False, started_at=AT
)
HOSTILE = st.text("ab @<>&*_~`:|!#^\u200b\u0301\U0001f468\u200d", max_size=400)


@given(title=HOSTILE, name=HOSTILE)
def test_f01_f05_f07_no_title_breaks_out_of_its_text_or_its_limit(title: str, name: str) -> None:
    network = bot()
    facts = replace(FACTS, name=name or "Kestrel", title=title * 20)
    text = Templates(None).word(network, "slack", Moment.LIVE, facts).text
    assert network.measure(text) <= 3000
    assert text.count("<") == text.count(">") == 1, "only our own link"
    assert "<https://live.example.org>" in text
    assert not regex.search(r"[@＠]\w", text)
    assert not regex.search("&(?!amp;|lt;|gt;)", text)
    own = text.replace("🔴 *", "🔴 ", 1).replace("* is live", " is live", 1)
    assert not regex.search(r"(?<![\p{L}\p{N}])[*_~`]|[*_~`](?![\p{L}\p{N}])", own)


# A whole evening, and the crash


@pytest.fixture
def workspace() -> Iterator[teamchat.Slack]:
    made = teamchat.Slack()
    yield made
    made.close()


def settings(workspace: teamchat.Slack) -> dict[str, str]:
    return {
        "SLACK_BOT_TOKEN": TOKEN,
        "SLACK_CHANNEL": workspace.channel,
        "SLACK_API_BASE_URL": workspace.url,
        "SLACK_PIN": "on",
        "OWNCAST_URL": "http://127.0.0.1:9",
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "0s",
        "ANNOUNCER_POLL": "0s",
    }


def tell(service: Service, what: str, title: str = "Drawers") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_an_evening_is_one_message_that_stays_true(
    tmp_path: Path, workspace: teamchat.Slack
) -> None:
    service = Service(tmp_path, settings(workspace))
    try:
        tell(service, "start", "<!channel> *Drawers*")
        service.until(lambda: workspace.pinned, "it was never pinned")
        [text] = workspace.texts()
        assert text == (
            "🔴 *Kestrel Workshop* is live: &lt;!channel&gt; ∗Drawers∗\n<http://127.0.0.1:9>"
        )
        tell(service, "title", "Doors")
        service.until(lambda: "Doors" in workspace.texts()[0], "it was never retitled")
        tell(service, "stop")
        service.until(lambda: not workspace.pinned, "it is still pinned")
        service.until(lambda: "was live" in workspace.texts()[0], "its end was never told")
    finally:
        service.stop()
    assert len(workspace.texts()) == 1


@pytest.mark.parametrize("point", ["sent", "answered"])
def test_a11_a_crash_while_it_is_posted_leaves_one_message(
    tmp_path: Path, workspace: teamchat.Slack, point: str
) -> None:
    workspace.stranger_says("hello")
    at, trace = f"POST /api/chat.postMessage: {point}", tmp_path / "passed"
    crash = {"ANNOUNCER_CRASH_AT": at, "ANNOUNCER_CRASH_TRACE": str(trace)}
    service = Service(tmp_path, settings(workspace) | crash)
    with suppress(requests.ConnectionError):  # what it answers with may be the last it did
        service.hear(rehearsal.webhook("start", "Drawers", "Kestrel Workshop"))
    wait_until(lambda: trace.exists() and at in trace.read_text().splitlines())
    service.kill()
    for n in range(5):
        workspace.stranger_says(f"and more, {n}")
    service = Service(tmp_path, settings(workspace))
    try:
        service.until(lambda: workspace.pinned, "it was never settled")
    finally:
        service.stop()
    ours = [text for text in workspace.texts() if "is live" in text]
    assert len(ours) == 1
    assert "GET /api/conversations.history" in workspace.asked


@pytest.mark.parametrize("taken", [True, False], ids=["it went up", "it did not go up"])
def test_a11_a_post_without_an_answer_is_looked_for_before_it_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    workspace = teamchat.Slack(clock=lambda: stage.now.timestamp())
    workspace.troubles = ["takes it and hangs up" if taken else "hangs up"]
    stage = Stage(tmp_path / "announcer.db", {"slack": bot(api_base_url=workspace.url)})
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
    try:
        stage.hear(title="Drawers")
        for _ in range(3):
            stage.run()
            stage.passes(seconds=30)
        assert stage.told("slack") == ("settled", "")
        assert len(workspace.texts()) == 1
        assert workspace.asked.count("GET /api/conversations.history") == 1
    finally:
        stage.close()
        workspace.close()
