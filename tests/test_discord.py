"""Discord: nobody is pinged but by the setting, and a webhook that is gone is left alone."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from announcer.contract.fake import Answer, Wire, read_timeout
from announcer.network import (
    Card,
    DeliveryError,
    ForgetfulMemory,
    Gone,
    Moment,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.discord import Discord
from announcer.networks.discord.api import AGENT
from announcer.networks.discord.message import GREY, RED

TOKEN = "webhook-token"
URL = f"https://discord.com/api/webhooks/11/{TOKEN}"
HOOK = f"/api/v10/webhooks/11/{TOKEN}"
ROLE = "165511591545143296"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
CARD = Card("https://live.example.org", "A dovetail drawer", "On now", "Kestrel Workshop")
POST = Post("b1/live/discord", Moment.LIVE, Moment.LIVE, "We are live", AT, AT, "k", card=CARD)
OVER = replace(POST, mood=Moment.ENDED, text="It is over")
MESSAGE = {"id": "33", "channel_id": "22"}
RECEIPT = Receipt("33", "https://discord.com/channels/44/22/33")
PINGS_NOBODY: dict[str, list[str]] = {"parse": []}


def discord(mention: str = "", url: str = URL) -> Discord:
    return Discord(webhook_url=url, mention=mention)


def knows_its_server(wire: Wire, hook: str = HOOK) -> None:
    body = {"name": "Kestrel", "guild_id": "44", "channel_id": "22"}
    wire.always("GET", hook, 200, body)


def published(wire: Wire, network: Discord, post: Post) -> Any:
    knows_its_server(wire)
    wire.answers(200, MESSAGE)
    network.publish(post)
    return wire.scripted[-1].json


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


# Pings


@pytest.mark.parametrize(
    ("mention", "content", "allowed"),
    [
        ("", "We are live", PINGS_NOBODY),
        (ROLE, f"We are live <@&{ROLE}>", {"parse": [], "roles": [ROLE]}),
        ("here", "We are live @here", {"parse": ["everyone"]}),
        ("everyone", "We are live @everyone", {"parse": ["everyone"]}),
        ("@here", "We are live @here", {"parse": ["everyone"]}),
    ],
)
def test_a_start_pings_exactly_whom_the_setting_names(
    wire: Wire, mention: str, content: str, allowed: dict[str, list[str]]
) -> None:
    body = published(wire, discord(mention), POST)
    assert body["content"] == content
    assert body["allowed_mentions"] == allowed


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(replace(POST, test=True), id="a test"),
        pytest.param(OVER, id="a start told when it was over"),
        pytest.param(replace(OVER, moment=Moment.ENDED), id="an end"),
    ],
)
@pytest.mark.parametrize("mention", [ROLE, "here", "everyone"])
def test_nothing_but_a_start_pings(wire: Wire, mention: str, post: Post) -> None:
    body = published(wire, discord(mention), post)
    assert body["content"] == post.text
    assert body["allowed_mentions"] == PINGS_NOBODY


@pytest.mark.parametrize("mention", ["", ROLE, "here", "everyone"])
def test_f01_an_edit_pings_nobody(wire: Wire, mention: str) -> None:
    """Without the field an edit goes back to Discord's default, which pings."""
    wire.answers(200, MESSAGE)
    discord(mention).revise(RECEIPT, POST)
    body = wire.sent[-1].json
    assert body["content"] == "We are live"
    assert body["allowed_mentions"] == PINGS_NOBODY
    assert "attachments" not in body, "left out, an edit keeps them"


@pytest.mark.parametrize(
    ("mention", "limit"),
    [("", 2000), (ROLE, 2000 - len(f" <@&{ROLE}>")), ("here", 1994), ("everyone", 1990)],
)
def test_the_ping_takes_its_room_from_the_text(wire: Wire, mention: str, limit: int) -> None:
    network = discord(mention)
    assert network.limit() == limit
    body = published(wire, network, replace(POST, text="a" * limit))
    assert units(body["content"]) == 2000


@pytest.mark.parametrize("mention", ["Kestrel", "<@&1>", "12", "here everyone", "@@here", "１２３"])
def test_a_mention_that_is_none_is_told_at_the_start(mention: str) -> None:
    with pytest.raises(ValidationError, match="must be the id of a role"):
        discord(mention)


# The address


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"https://discord.com/api/v9/webhooks/11/{TOKEN}",
        f"https://discord.com/api/v10/webhooks/11/{TOKEN}",
    ],
)
def test_the_version_is_said_since_the_default_counts_waits_in_milliseconds(
    wire: Wire, url: str
) -> None:
    published(wire, discord(url=url), POST)
    assert {sent.path for sent in wire.sent} == {HOOK}


def test_create_waits_for_the_id_and_every_request_says_who_asks(wire: Wire) -> None:
    published(wire, discord(), POST)
    assert wire.sent[-1].request.url == f"https://discord.com{HOOK}?wait=true"
    assert {sent.request.headers["User-Agent"] for sent in wire.sent} == {AGENT}


def test_a_thread_is_kept_on_every_request(wire: Wire) -> None:
    network = discord(url=f"{URL}?thread_id=55&wait=false")
    knows_its_server(wire)
    wire.answers(200, MESSAGE, times=3)
    network.publish(POST)
    network.revise(RECEIPT, POST)
    network.remove(RECEIPT)
    asked = [str(sent.request.url).partition(TOKEN)[2] for sent in wire.scripted]
    assert asked == [
        "?wait=true&thread_id=55",
        "/messages/33?thread_id=55",
        "/messages/33?thread_id=55",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://discord.com/channels/44/22",
        "https://discord.com/api/webhooks/11",
        f"{URL}/slack",
        "https://discord.com/api/webhooks/kestrel/token",
    ],
)
def test_an_address_that_is_no_webhook_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(ValidationError, match="is not like") as problem:
        discord(url=url)
    assert url not in str(problem.value)


# The receipt


def test_a_permalink_needs_one_look_for_all_time(wire: Wire) -> None:
    knows_its_server(wire)
    wire.answers(200, MESSAGE, times=3)
    memory = ForgetfulMemory()
    for _ in range(3):
        network = discord()
        network.remember_in(memory)
        assert network.publish(POST) == RECEIPT
    assert len(wire.asked(HOOK)) == 4, "three posts and one look"
    assert TOKEN not in str(vars(memory))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(429),
        Answer(200, "<html>"),
        Answer(200, {"name": "no server"}),
        Answer(403, "<html>", {"Content-Type": "text/html"}),
    ],
    ids=["500", "429", "no JSON", "no server", "a firewall"],
)
def test_without_a_permalink_the_post_still_counts(wire: Wire, answer: Answer) -> None:
    wire.always("GET", HOOK, answer.status, answer.body, answer.headers)
    wire.answers(200, MESSAGE)
    assert discord().publish(POST) == Receipt("33")


def test_a_look_that_breaks_does_not_lose_the_post(wire: Wire) -> None:
    wire.breaks(read_timeout)
    wire.answers(200, MESSAGE)
    assert discord().publish(POST) == Receipt("33")


@pytest.mark.parametrize(
    ("status", "body"), [(204, ""), (200, {"channel_id": "22"}), (200, {"id": ""})]
)
def test_a_success_without_the_id_is_no_success(wire: Wire, status: int, body: Any) -> None:
    knows_its_server(wire)
    wire.answers(status, body, times=2)
    with pytest.raises(Unsure):
        discord().publish(POST)
    with pytest.raises(Unsure):
        discord().revise(RECEIPT, POST)


# Errors


GONE_FOR_GOOD = [
    pytest.param(404, {"code": 10015, "message": "Unknown Webhook"}, id="10015"),
    pytest.param(401, {"code": 50027, "message": "Invalid Webhook Token"}, id="50027"),
    pytest.param(404, {"code": 0, "message": "404: Not Found"}, id="404"),
    pytest.param(401, {"code": 0, "message": "401: Unauthorized"}, id="401"),
    pytest.param(403, {"code": 50013, "message": "Missing Permissions"}, id="403"),
]


@pytest.mark.parametrize(("status", "body"), GONE_FOR_GOOD)
def test_e18_a_webhook_that_is_gone_closes_the_destination(
    wire: Wire, status: int, body: dict[str, Any]
) -> None:
    knows_its_server(wire)
    wire.answers(status, body)
    with pytest.raises(Refused) as refusal:
        discord().publish(POST)
    assert refusal.value.closes
    assert len(wire.scripted) == 1


@pytest.mark.parametrize(("status", "body"), GONE_FOR_GOOD)
def test_e18_a_webhook_that_is_gone_is_called_once_and_not_twice(
    wire: Wire, status: int, body: dict[str, Any]
) -> None:
    wire.always("GET", HOOK, status, body)
    with pytest.raises(Refused) as refusal:
        discord().publish(POST)
    assert refusal.value.closes
    assert len(wire.sent) == 1


def test_a_page_of_some_firewall_does_not_close_the_destination(wire: Wire) -> None:
    knows_its_server(wire)
    wire.answers(404, "<html>", {"Content-Type": "text/html"})
    with pytest.raises(Refused) as refusal:
        discord().publish(POST)
    assert not refusal.value.closes


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda network: network.publish(POST), id="publish"),
        pytest.param(lambda network: network.revise(RECEIPT, POST), id="revise"),
        pytest.param(lambda network: network.remove(RECEIPT), id="remove"),
    ],
)
@pytest.mark.parametrize(
    ("said", "wait"),
    [
        (0.35, timedelta(seconds=0.35)),
        (64, timedelta(seconds=64)),
        (1e300, timedelta(days=1)),
        (float("inf"), timedelta(days=1)),
        (float("nan"), timedelta()),
        (-5, timedelta()),
        ("soon", timedelta()),
        (None, timedelta()),
    ],
)
def test_e12_e13_a_rate_limit_tells_seconds_in_its_body(
    wire: Wire, call: Callable[[Discord], object], said: Any, wait: timedelta
) -> None:
    knows_its_server(wire)
    wire.answers(429, {"message": "You are being rate limited.", "retry_after": said})
    with pytest.raises(TryLater) as later:
        call(discord())
    assert later.value.wait == wait


@pytest.mark.parametrize(("status", "code"), [(400, 30046), (503, 130000), (400, 130000)], ids=str)
def test_a_busy_discord_is_asked_later(wire: Wire, status: int, code: int) -> None:
    wire.answers(status, {"code": code, "message": "later"})
    with pytest.raises(TryLater):
        discord().revise(RECEIPT, POST)


def test_e19_an_edit_of_a_deleted_message_is_gone(wire: Wire) -> None:
    wire.answers(404, {"code": 10008, "message": "Unknown Message"})
    with pytest.raises(Gone):
        discord().revise(RECEIPT, POST)


def test_e18_an_edit_through_a_deleted_webhook_is_refused(wire: Wire) -> None:
    wire.answers(404, {"code": 10015, "message": "Unknown Webhook"})
    with pytest.raises(Refused) as refusal:
        discord().revise(RECEIPT, POST)
    assert refusal.value.closes


@pytest.mark.parametrize("answer", [Answer(204), Answer(404, {"code": 10008}), Answer(404)])
def test_a_message_is_taken_away_even_if_it_was(wire: Wire, answer: Answer) -> None:
    wire.answers(answer.status, answer.body)
    discord().remove(RECEIPT)
    assert wire.sent[-1].request.method == "DELETE"


def test_a_message_outlives_its_webhook(wire: Wire) -> None:
    """Then nobody can take it away, and to call that a success would be a lie."""
    wire.answers(404, {"code": 10015, "message": "Unknown Webhook"})
    with pytest.raises(Refused) as refusal:
        discord().remove(RECEIPT)
    assert refusal.value.closes


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_the_address_is_never_shown(wire: Wire, status: int) -> None:
    network = discord(url=f"{URL}?thread_id=55")
    wire.answers(status, "<html>", times=2)
    said = repr(network)
    try:
        network.publish(POST)
    except DeliveryError as problem:
        said += "".join(traceback.format_exception(problem))
    assert TOKEN not in said


# What people see


def test_the_card_is_red_while_live_and_grey_when_over(wire: Wire) -> None:
    assert published(wire, discord(), POST)["embeds"] == [
        {
            "url": "https://live.example.org",
            "color": RED,
            "title": "A dovetail drawer",
            "description": "On now",
            "author": {"name": "Kestrel Workshop"},
        }
    ]
    wire.answers(200, MESSAGE)
    discord().revise(RECEIPT, OVER)
    assert wire.sent[-1].json["embeds"][0]["color"] == GREY


def test_without_a_card_an_edit_takes_the_old_one_away(wire: Wire) -> None:
    wire.answers(200, MESSAGE)
    discord().revise(RECEIPT, replace(POST, card=None))
    assert wire.sent[-1].json["embeds"] == []


@pytest.mark.parametrize("filler", ["a", "*", "\U0001f534", "e\u0301", "@b"])
def test_a_card_never_breaks_its_limits(wire: Wire, filler: str) -> None:
    long = Card("https://live.example.org", filler * 9000, filler * 9000, filler * 9000)
    (embed,) = published(wire, discord(), replace(POST, card=long))["embeds"]
    title, description, author = embed["title"], embed["description"], embed["author"]["name"]
    assert units(title) <= 256
    assert units(description) <= 4096
    assert units(author) <= 256
    assert units(title + description + author) <= 6000
    assert title.endswith("…")
    assert units(title) > 240, "no shorter than it must be"
    assert not title.removesuffix("…").endswith("\\"), "no sign without what it escapes"


def test_the_link_does_not_unfold_into_a_second_card() -> None:
    assert discord().link("https://live.example.org") == "<https://live.example.org>"


@pytest.mark.parametrize(
    ("title", "escaped"),
    [
        ("*a* _b_ ~c~ `d` ||e||", r"\*a\* \_b\_ \~c\~ \`d\` \|\|e\|\|"),
        ("[x](http://evil)", r"\[x\]\(http\://evil\)"),
        ("<@1> <@&2> <#3> <t:1:R>", "\\<@\u200b1\\> \\<@&2\\> \\<\\#3\\> \\<t\\:1\\:R\\>"),
        ("@everyone @here", "@\u200beveryone @\u200bhere"),
        ("# head > quote - item", r"\# head \> quote \- item"),
        ("a\\*b", r"a\\\*b"),
        (":smile:", r"\:smile\:"),
    ],
)
def test_f07_a_title_is_plain_text(title: str, escaped: str) -> None:
    assert discord().escape(title) == escaped


@pytest.mark.parametrize(
    ("text", "length"), [("abc", 3), ("\U0001f534", 2), ("e\u0301", 2), ("日本語", 3)]
)
def test_length_is_counted_in_utf_16(text: str, length: int) -> None:
    assert discord().measure(text) == length


def test_check_looks_and_says_whom_it_will_ping(wire: Wire) -> None:
    knows_its_server(wire)
    account = discord("here").check()
    assert account.handle == "Kestrel"
    assert account.url == "https://discord.com/channels/44/22"
    assert account.notes == ("a start pings @here",)
    assert [sent.request.method for sent in wire.sent] == ["GET"]


def test_check_of_a_webhook_that_is_gone(wire: Wire) -> None:
    wire.answers(404, {"code": 10015, "message": "Unknown Webhook"})
    with pytest.raises(Refused, match="make a new webhook"):
        discord().check()
