"""Discord as a bot: the same message once, and marks that end with the stream."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer import rehearsal, wiring
from announcer.contract.fake import Answer, Wire, read_timeout
from announcer.events import Kind
from announcer.network import (
    Card,
    DeliveryError,
    Gone,
    Moment,
    Picture,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.discord import Discord, DiscordBot, scheduled
from announcer.networks.discord.api import AGENT
from announcer.networks.discord.permissions import ALL, May
from announcer.settings import SettingsError
from tests.fakes import Stage, wait_until
from tests.guild import BOT, CHANNEL, GUILD, TOKEN, Guild
from tests.running import Service

ROLE = "165511591545143296"
API = "/api/v10"
MESSAGES = f"{API}/channels/{CHANNEL}/messages"
EVENTS = f"{API}/guilds/{GUILD}/scheduled-events"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
CARD = Card("https://live.example.org", "A dovetail drawer", "On now", "Kestrel Workshop")
POST = Post("b1/live/discord", Moment.LIVE, Moment.LIVE, "We are live", AT, AT, "k", card=CARD)
OVER = replace(POST, mood=Moment.ENDED, text="It is over")
PICTURE = Picture(b"\xff\xd8 a JPEG \xff\xd9", 1280, 720, "A drawer")
URL = f"https://discord.com/channels/{GUILD}/{CHANNEL}/33"
RECEIPT = Receipt("33", URL, {"channel": CHANNEL})
PINGS_NOBODY: dict[str, list[str]] = {"parse": []}


def bot(**fields: str) -> DiscordBot:
    return DiscordBot.model_validate({"bot_token": TOKEN, "channel_id": CHANNEL, **fields})


@pytest.fixture
def wire(wire: Wire) -> Wire:
    about = {"id": CHANNEL, "guild_id": GUILD, "type": 0, "name": "live"}
    wire.always("GET", f"/channels/{CHANNEL}", 200, about)
    wire.always("GET", "/users/@me", 200, {"id": BOT, "username": "kestrel"})
    return wire


def published(wire: Wire, network: DiscordBot, post: Post) -> Any:
    wire.answers(200, {"id": "33"})
    network.publish(post)
    return wire.scripted[-1].json


# What leaves


def test_a_start_leaves_with_a_nonce_that_discord_is_to_enforce(wire: Wire) -> None:
    body = published(wire, bot(), POST)
    nonce = body.pop("nonce")
    assert 10 < len(nonce) <= 25
    assert body == {
        "content": "We are live",
        "embeds": [
            {
                "url": "https://live.example.org",
                "color": 0xE0245E,
                "title": "A dovetail drawer",
                "description": "On now",
                "author": {"name": "Kestrel Workshop"},
            }
        ],
        "allowed_mentions": PINGS_NOBODY,
        "enforce_nonce": True,
    }
    (sent,) = wire.scripted
    assert sent.request.url == f"https://discord.com{MESSAGES}"
    for sent in wire.sent:
        assert sent.request.headers["User-Agent"] == AGENT
        assert sent.request.headers["Authorization"] == f"Bot {TOKEN}"


@pytest.mark.parametrize("other", ["k#1", "k#0.1", "b2/live/discord"])
def test_another_message_has_another_nonce(wire: Wire, other: str) -> None:
    one, two = (
        published(wire, bot(), replace(POST, wire_key=key))["nonce"] for key in ("k", other)
    )
    assert one != two


@pytest.mark.parametrize(
    ("mention", "content", "allowed"),
    [
        ("", "We are live", PINGS_NOBODY),
        (ROLE, f"We are live <@&{ROLE}>", {"parse": [], "roles": [ROLE]}),
        ("everyone", "We are live @everyone", {"parse": ["everyone"]}),
    ],
)
def test_f01_a_start_pings_exactly_whom_the_setting_names_and_an_edit_nobody(
    wire: Wire, mention: str, content: str, allowed: dict[str, list[str]]
) -> None:
    """A bot's default is to ping everybody whom the text names."""
    network = bot(mention=mention)
    body = published(wire, network, POST)
    assert (body["content"], body["allowed_mentions"]) == (content, allowed)
    for other in (replace(POST, test=True), replace(POST, moment=Moment.ALERT), OVER):
        body = published(wire, network, other)
        assert (body["content"], body["allowed_mentions"]) == (other.text, PINGS_NOBODY)
    wire.answers(200, {"id": "33"})
    network.revise(RECEIPT, POST)
    edit = wire.scripted[-1]
    assert (edit.request.method, edit.path) == ("PATCH", f"{MESSAGES}/33")
    assert edit.json["allowed_mentions"] == PINGS_NOBODY
    assert "attachments" not in edit.json, "left out, an edit keeps them"
    assert "nonce" not in edit.json


def test_the_end_can_be_a_reply_to_the_start_in_the_same_channel(wire: Wire) -> None:
    end = replace(OVER, moment=Moment.ENDED, reply_to=RECEIPT)
    body = published(wire, bot(), end)
    assert body["message_reference"] == {"message_id": "33", "fail_if_not_exists": False}
    moved = replace(RECEIPT, extra={"channel": "165511591545143000"})
    assert "message_reference" not in published(wire, bot(), replace(end, reply_to=moved))


def test_what_is_up_is_changed_where_it_was_put(wire: Wire) -> None:
    elsewhere = Receipt("33", "", {"channel": "165511591545143000"})
    wire.answers(200, {"id": "33"})
    wire.answers(204)
    bot().revise(elsewhere, OVER)
    bot().remove(elsewhere)
    assert {sent.path for sent in wire.scripted} == {
        f"{API}/channels/165511591545143000/messages/33"
    }


def test_a_picture_leaves_in_the_same_bytes_and_an_edit_keeps_it(wire: Wire) -> None:
    wire.breaks(read_timeout)
    wire.answers(200, {"id": "33"})
    network = bot()
    pictured = replace(POST, picture=PICTURE)
    with pytest.raises(Unsure):
        network.publish(pictured)
    receipt = network.publish(pictured)
    first, second = wire.scripted
    assert (first.body, first.request.headers) == (second.body, second.request.headers)
    assert PICTURE.data in first.body
    assert receipt.extra == {"channel": CHANNEL, "picture": "stream.jpg"}
    wire.answers(200, {"id": "33"})
    network.revise(receipt, OVER)
    assert wire.scripted[-1].json["embeds"][0]["image"] == {"url": "attachment://stream.jpg"}


@given(
    name=st.text(max_size=300),
    title=st.text(max_size=300),
    description=st.text(max_size=3000),
)
def test_an_event_never_breaks_its_limits(name: str, title: str, description: str) -> None:
    made = scheduled.new(Card("https://live.example.org", title, description, name), AT)
    assert 0 < len(made["name"].encode("utf-16-le", "surrogatepass")) <= 200
    assert len(made.get("description", "-").encode("utf-16-le", "surrogatepass")) <= 2000


# Its errors


CLOSING = [
    pytest.param(401, {"code": 0, "message": "401: Unauthorized"}, id="401"),
    pytest.param(401, {"code": 40001, "message": "Unauthorized"}, id="40001"),
    pytest.param(404, {"code": 10003, "message": "Unknown Channel"}, id="10003"),
    pytest.param(403, {"code": 50001, "message": "Missing Access"}, id="50001"),
    pytest.param(403, {"code": 40007, "message": "The user is banned"}, id="40007"),
]
LATER = [
    (403, 20016),
    (400, 20022),
    (429, 20028),
    (429, 30046),
    (400, 30046),
    (403, 40004),
    (503, 130000),
    (500, 130000),
    (429, 40062),
]
FINAL = [
    (400, 50035),
    (413, 40005),
    (400, 40005),
    (400, 50006),
    (400, 50083),
    (400, 240000),
    (400, 200000),
    (404, 0),
]


@pytest.mark.parametrize(("status", "body"), CLOSING)
def test_who_is_locked_out_asks_once_and_no_more(
    wire: Wire, status: int, body: dict[str, Any]
) -> None:
    wire.answers(status, body)
    with pytest.raises(Refused) as refusal:
        bot().publish(POST)
    assert refusal.value.closes
    assert len(wire.scripted) == 1


@pytest.mark.parametrize(("status", "body"), CLOSING)
def test_who_is_locked_out_already_when_it_looks_does_not_write(
    wire: Wire, status: int, body: dict[str, Any]
) -> None:
    wire.always("GET", f"/channels/{CHANNEL}", status, body)
    with pytest.raises(Refused) as refusal:
        bot().publish(POST)
    assert refusal.value.closes
    assert len(wire.sent) == 1


@pytest.mark.parametrize(("status", "code"), LATER, ids=str)
def test_a_busy_discord_is_asked_later(wire: Wire, status: int, code: int) -> None:
    wire.answers(status, {"code": code, "message": "later", "retry_after": 1.5}, times=2)
    with pytest.raises(TryLater) as later:
        bot().publish(POST)
    assert later.value.wait == timedelta(seconds=1.5)
    with pytest.raises(TryLater):
        bot().revise(RECEIPT, OVER)


@pytest.mark.parametrize(("status", "code"), FINAL, ids=str)
def test_what_discord_will_not_take_is_refused_and_closes_nothing(
    wire: Wire, status: int, code: int
) -> None:
    wire.answers(status, {"code": code, "message": "no"})
    with pytest.raises(Refused) as refusal:
        bot().publish(POST)
    assert not refusal.value.closes
    assert len(wire.scripted) == 1


@pytest.mark.parametrize("is_global", [True, False])
def test_e12_a_limit_for_all_of_it_is_waited_for_like_any(wire: Wire, *, is_global: bool) -> None:
    body = {"message": "You are being rate limited.", "retry_after": 64.57, "global": is_global}
    wire.answers(429, body, {"Retry-After": "65", "X-RateLimit-Scope": "user"})
    with pytest.raises(TryLater) as later:
        bot().publish(POST)
    assert later.value.wait == timedelta(seconds=65)


def test_without_the_right_to_show_a_card_the_words_go_alone_and_stay_alone(wire: Wire) -> None:
    wire.answers(403, {"code": 50013, "message": "Missing Permissions"})
    wire.answers(200, {"id": "33"})
    receipt = bot().publish(POST)
    assert receipt.note.startswith("without its card")
    assert "embeds" not in wire.scripted[-1].json
    wire.answers(200, {"id": "33"})
    bot().revise(receipt, OVER)
    assert wire.scripted[-1].json["embeds"] == []


def test_without_the_right_to_attach_files_the_card_goes_without_its_picture(wire: Wire) -> None:
    wire.answers(403, {"code": 50013, "message": "Missing Permissions"})
    wire.answers(200, {"id": "33"})
    receipt = bot().publish(replace(POST, picture=PICTURE))
    assert receipt.note.startswith("without its picture: 403")
    assert "image" not in wire.scripted[-1].json["embeds"][0]
    assert "picture" not in receipt.extra


def test_who_may_not_write_at_all_is_locked_out(wire: Wire) -> None:
    wire.answers(403, {"code": 50013, "message": "Missing Permissions"}, times=3)
    with pytest.raises(Refused) as refusal:
        bot().publish(replace(POST, picture=PICTURE))
    assert refusal.value.closes
    assert len(wire.scripted) == 3, "with all of it, without the picture, without the card"


def test_without_the_right_to_reply_the_end_is_told_all_the_same(wire: Wire) -> None:
    no = {"code": 160002, "message": "Cannot reply without permission to read message history"}
    wire.answers(400, no)
    wire.answers(200, {"id": "34"})
    receipt = bot().publish(replace(OVER, moment=Moment.ENDED, reply_to=RECEIPT))
    assert receipt.note.startswith("without being a reply")
    assert "message_reference" not in wire.scripted[-1].json


def test_e19_an_edit_of_a_deleted_message_is_gone(wire: Wire) -> None:
    wire.answers(404, {"code": 10008, "message": "Unknown Message"})
    with pytest.raises(Gone):
        bot().revise(RECEIPT, OVER)


def test_what_another_bot_wrote_is_refused_and_closes_nothing(wire: Wire) -> None:
    wire.answers(403, {"code": 50005, "message": "Cannot edit a message of another user"})
    with pytest.raises(Refused) as refusal:
        bot().revise(RECEIPT, OVER)
    assert not refusal.value.closes
    wire.answers(403, {"code": 50013, "message": "Missing Permissions"})
    with pytest.raises(Refused) as refusal:
        bot().remove(RECEIPT)
    assert not refusal.value.closes


@pytest.mark.parametrize("code", [10008, 10003])
def test_what_is_gone_with_its_channel_is_taken_away(wire: Wire, code: int) -> None:
    wire.answers(404, {"code": code, "message": "Unknown"})
    bot().remove(RECEIPT)


@pytest.mark.parametrize("answer", [Answer(200, {}), Answer(200, {"id": 7}), Answer(204)])
def test_a_success_without_the_id_is_no_success(wire: Wire, answer: Answer) -> None:
    wire.answers(answer.status, answer.body, times=2)
    with pytest.raises(Unsure):
        bot().publish(POST)
    with pytest.raises(Unsure):
        bot().revise(RECEIPT, OVER)


# Looking for it


DOUBTFUL = replace(POST, doubtful_since=AT)
SEEN = {"id": "33", "author": {"id": BOT}, "content": "We are live", "embeds": [{"url": "x"}]}


def looks(wire: Wire, *messages: dict[str, Any], last: datetime | None = AT) -> None:
    wire.always("GET", MESSAGES, 200, list(messages))
    number = None if last is None else str(id_at(last))
    about = {"guild_id": GUILD, "last_message_id": number}
    wire.always("GET", f"/channels/{CHANNEL}", 200, about)


def id_at(at: datetime) -> int:
    """As documented: milliseconds since the year 2015, above 22 other bits."""
    return int((at - datetime(2015, 1, 1, tzinfo=UTC)).total_seconds() * 1000) << 22


def test_a_message_that_is_up_is_found_with_all_that_an_edit_needs(wire: Wire) -> None:
    looks(wire, SEEN)
    assert bot().find(DOUBTFUL) == RECEIPT
    looks(wire, {**SEEN, "embeds": [{"url": "x", "image": {"url": "y"}}]})
    found = bot().find(DOUBTFUL)
    assert found
    assert found.extra["picture"] == "stream.jpg"
    looks(wire, {**SEEN, "embeds": []})
    found = bot().find(DOUBTFUL)
    assert found
    assert found.extra["bare"]
    (asked,) = {sent.request.url for sent in wire.asked("/messages")}
    after = id_at(AT - timedelta(minutes=10))
    assert asked == f"https://discord.com{MESSAGES}?limit=100&after={after}"


@pytest.mark.parametrize("mention", [ROLE, "here"])
def test_what_is_looked_for_has_its_ping(wire: Wire, mention: str) -> None:
    network = bot(mention=mention)
    looks(wire, {**SEEN, "content": published(wire, network, POST)["content"]})
    assert network.find(DOUBTFUL)


@pytest.mark.parametrize(
    "other",
    [
        {**SEEN, "author": {"id": ROLE}},
        {**SEEN, "author": None},
        {**SEEN, "content": "We were live"},
        {**SEEN, "nonce": "of another message"},
    ],
    ids=["of somebody else", "of nobody", "other words", "another nonce"],
)
def test_what_is_not_ours_is_not_taken_for_it(wire: Wire, other: dict[str, Any]) -> None:
    looks(wire, other)
    assert bot().find(DOUBTFUL) is None


def test_a_nonce_that_is_shown_is_surer_than_words(wire: Wire) -> None:
    nonce = published(wire, bot(), POST)["nonce"]
    looks(wire, {**SEEN, "content": "trimmed", "nonce": nonce})
    assert bot().find(DOUBTFUL) == RECEIPT


@pytest.mark.parametrize("last", [None, AT - timedelta(hours=1)], ids=["never", "long ago"])
def test_in_a_channel_where_nobody_wrote_since_it_is_not_up(
    wire: Wire, last: datetime | None
) -> None:
    looks(wire, last=last)
    assert bot().find(DOUBTFUL) is None


def test_an_empty_history_of_a_channel_with_messages_means_that_we_may_not_look(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(wire)
    with pytest.raises(Refused, match=r"may be posted.*Read Message History") as refusal:
        bot().find(DOUBTFUL)
    assert not refusal.value.closes
    clock = "announcer.networks.discord.bot.now"
    monkeypatch.setattr(clock, lambda: AT + timedelta(seconds=100))
    assert bot().find(DOUBTFUL) is None, "the nonce still guards"
    monkeypatch.setattr(clock, lambda: AT + timedelta(seconds=121))
    with pytest.raises(Refused):
        bot().find(DOUBTFUL)


def test_a_channel_that_is_too_loud_is_not_read_for_ever(wire: Wire) -> None:
    chatter = {"author": {"id": ROLE}, "content": "Hello"}
    pages = [
        [{**chatter, "id": str(id_at(AT) + n * 100 + m)} for m in range(100)] for n in range(5)
    ]
    for page in pages:
        wire.answers(200, page)
    with pytest.raises(Refused, match="too much was said since"):
        bot().find(DOUBTFUL)
    begins = [str(sent.request.url).rpartition("=")[2] for sent in wire.scripted]
    assert begins[1:] == [page[-1]["id"] for page in pages[:-1]], "each page begins after the last"


@pytest.mark.parametrize(
    "answer", [Answer(500), Answer(200, "<html>"), Answer(200, {"message": "x"}), Answer(429, {})]
)
def test_a_look_that_fails_is_no_proof(wire: Wire, answer: Answer) -> None:
    wire.always("GET", MESSAGES, answer.status, answer.body)
    with pytest.raises(TryLater):
        bot().find(DOUBTFUL)


# Followers


def test_a_start_is_published_to_followers_and_nothing_else_is(wire: Wire) -> None:
    wire.always("POST", "/33/crosspost", 200, {"id": "33"})
    network = bot(crosspost="on")
    for other in (replace(POST, test=True), OVER, replace(POST, moment=Moment.AGAIN)):
        published(wire, network, other)
    assert not wire.asked("/crosspost")
    published(wire, network, POST)
    assert [sent.path for sent in wire.asked("/crosspost")] == [f"{MESSAGES}/33/crosspost"]


@pytest.mark.parametrize(
    ("status", "code", "note"),
    [
        (400, 40033, ""),
        (403, 50013, "not published to followers: 403 no"),
        (500, 0, "not published to followers: 500 no"),
        (429, 0, "not published to followers: 429 no"),
    ],
)
def test_whatever_becomes_of_the_followers_the_message_is_up(
    wire: Wire, status: int, code: int, note: str
) -> None:
    wire.always("POST", "/crosspost", status, {"code": code, "message": "no"})
    wire.answers(200, {"id": "33"})
    assert bot(crosspost="on").publish(POST) == replace(RECEIPT, note=note)


def test_a_connection_that_breaks_then_does_not_make_the_message_doubtful(wire: Wire) -> None:
    wire.always_breaks("POST", "/crosspost", read_timeout)
    wire.answers(200, {"id": "33"})
    receipt = bot(crosspost="on").publish(POST)
    assert receipt.note == "not published to followers: no answer in time"


# Marks


@pytest.fixture
def guild() -> Iterator[Guild]:
    made = Guild(clock=lambda: AT)
    yield made
    made.close()


def at_home(guild: Guild, **fields: str) -> DiscordBot:
    return bot(api_base_url=guild.url, **fields)


def test_an_event_is_on_while_we_are_live_and_says_what_we_do(guild: Guild) -> None:
    network = at_home(guild, event="on")
    assert network.wants_badge
    network.shine(RECEIPT, CARD, AT, again=False)
    [event] = guild.events
    assert event["status"] == scheduled.ACTIVE
    assert event["entity_metadata"] == {"location": "https://live.example.org"}
    assert (event["name"], event["description"]) == ("A dovetail drawer", "On now")
    assert event["privacy_level"] == 2
    assert event["scheduled_end_time"] == (AT + timedelta(hours=2)).isoformat()
    later = AT + timedelta(minutes=90)
    network.shine(RECEIPT, replace(CARD, title="@here a *chest*"), later, again=True)
    assert [event] == guild.events, "the same one"
    assert event["name"] == "@\u200bhere a *chest*"
    assert event["scheduled_end_time"] == (later + timedelta(hours=2)).isoformat()
    for _ in range(2):
        network.dim(RECEIPT, CARD)
        assert event["status"] == scheduled.COMPLETED


@pytest.mark.parametrize("status", [scheduled.COMPLETED, None], ids=["ended", "deleted"])
def test_an_event_that_a_person_ended_stays_ended(guild: Guild, status: int | None) -> None:
    network = at_home(guild, event="on")
    network.shine(RECEIPT, CARD, AT, again=False)
    if status:
        guild.events[0]["status"] = status
    else:
        guild.events.clear()
    before = len(guild.events)
    with pytest.raises(Gone):
        network.shine(RECEIPT, CARD, AT + timedelta(minutes=90), again=True)
    network.dim(RECEIPT, CARD)
    assert len(guild.events) == before


def test_an_event_that_ended_by_itself_while_we_were_away_is_made_anew(guild: Guild) -> None:
    network = at_home(guild, event="on")
    network.shine(RECEIPT, CARD, AT, again=False)
    guild.events[0]["status"] = scheduled.COMPLETED
    network.shine(RECEIPT, CARD, AT + timedelta(hours=3), again=True)
    assert [event["status"] for event in guild.events] == [scheduled.COMPLETED, scheduled.ACTIVE]


def test_an_event_whose_begin_was_not_confirmed_is_begun_and_not_made_twice(guild: Guild) -> None:
    network = at_home(guild, event="on")
    network.shine(RECEIPT, CARD, AT, again=False)
    guild.events[0]["status"] = scheduled.SCHEDULED
    network.shine(RECEIPT, CARD, AT, again=False)
    assert [event["status"] for event in guild.events] == [scheduled.ACTIVE]


def test_an_event_that_never_began_is_cancelled(guild: Guild) -> None:
    network = at_home(guild, event="on")
    network.shine(RECEIPT, CARD, AT, again=False)
    guild.events[0]["status"] = scheduled.SCHEDULED
    network.dim(RECEIPT, CARD)
    assert guild.events[0]["status"] == scheduled.CANCELED


def test_the_events_of_others_are_left_alone(guild: Guild) -> None:
    place = {"location": CARD.url}
    theirs = {"id": "1", "creator_id": ROLE, "status": 2, "entity_metadata": place}
    elsewhere = {"id": "2", "creator_id": BOT, "status": 2, "entity_metadata": None}
    guild.events += [theirs, elsewhere]
    network = at_home(guild, event="on")
    network.shine(RECEIPT, CARD, AT, again=False)
    network.dim(RECEIPT, CARD)
    assert [event["status"] for event in guild.events] == [2, 2, scheduled.COMPLETED]


@pytest.mark.parametrize(
    ("card", "why"),
    [(None, "OWNCAST_URL"), (replace(CARD, url=f"https://{'a' * 100}"), "longer than the 100")],
)
def test_an_event_without_a_place_is_refused_in_plain_words(
    guild: Guild, card: Card | None, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        at_home(guild, event="on").shine(RECEIPT, card, AT, again=False)
    assert guild.asked == []


def test_a_pin_comes_and_goes_with_the_stream(guild: Guild) -> None:
    network = at_home(guild, pin="on")
    live = network.publish(POST)
    network.shine(live, CARD, AT, again=False)
    assert guild.pins == {live.id}
    network.shine(live, CARD, AT, again=True)
    assert [asked.split()[0] for asked in guild.asked if "/pins/" in asked] == ["PUT"]
    for _ in range(2):
        network.dim(live, CARD)
        assert guild.pins == set()
    with pytest.raises(Gone, match="unpinned"):
        network.shine(live, CARD, AT, again=True)
    network.remove(live)
    with pytest.raises(Gone, match="the message is gone"):
        network.shine(live, CARD, AT, again=True)
    network.dim(live, CARD)


@pytest.mark.parametrize("mark", ["event", "pin"])
@pytest.mark.parametrize(
    ("status", "error"), [(403, Refused), (429, TryLater), (500, Unsure), (503, TryLater)]
)
def test_a_mark_that_could_not_be_set_or_cleared_is_not_called_done(
    wire: Wire, mark: str, status: int, error: type[DeliveryError]
) -> None:
    running = {"id": "7", "creator_id": BOT, "status": 2}
    place = {"entity_metadata": {"location": CARD.url}}
    wire.always("GET", "/scheduled-events", 200, [{**running, **place}])
    wire.answers(status, {"message": "no"}, times=2)
    network = bot(**{mark: "on"})
    with pytest.raises(error):
        network.shine(RECEIPT, CARD, AT, again=False)
    with pytest.raises(error):
        network.dim(RECEIPT, CARD)


def test_a_mark_that_is_gone_is_cleared(wire: Wire) -> None:
    running = {"id": "7", "creator_id": BOT, "status": 2}
    place = {"entity_metadata": {"location": CARD.url}}
    wire.always("GET", "/scheduled-events", 200, [{**running, **place}])
    wire.answers(404, {"code": 10070, "message": "Unknown Guild Scheduled Event"})
    bot(event="on").dim(RECEIPT, CARD)
    wire.answers(404, {"code": 10008, "message": "Unknown Message"})
    bot(pin="on").dim(RECEIPT, CARD)


@pytest.mark.parametrize("answer", [Answer(500), Answer(200, {}), Answer(200, "[")])
def test_an_event_is_not_made_where_nobody_can_look_for_it(wire: Wire, answer: Answer) -> None:
    wire.always("GET", "/scheduled-events", answer.status, answer.body)
    with pytest.raises(TryLater):
        bot(event="on").shine(RECEIPT, CARD, AT, again=False)
    assert not wire.scripted


def test_a_mark_is_one_or_the_other() -> None:
    assert not bot().wants_badge
    with pytest.raises(ValidationError, match="can not be on while DISCORD_PIN is"):
        bot(pin="on", event="on")


# Who am I, and may I


def knows_its_permissions(wire: Wire, permissions: int, *overwrites: Any, **about: Any) -> None:
    channel = {"id": CHANNEL, "guild_id": GUILD, "type": 0, "name": "live"}
    wire.always(
        "GET",
        f"/channels/{CHANNEL}",
        200,
        {**channel, "permission_overwrites": list(overwrites), **about},
    )
    wire.always("GET", f"/guilds/{GUILD}/members/{BOT}", 200, {"roles": ["7"]})
    roles = [
        {"id": GUILD, "permissions": str(int(May.VIEW_CHANNEL))},
        {"id": "7", "permissions": str(permissions)},
        {"id": "8", "permissions": str(int(May.ADMINISTRATOR))},
        {"id": ROLE, "permissions": "0", "mentionable": False},
    ]
    wire.always("GET", f"/guilds/{GUILD}/roles", 200, roles)


ENOUGH = int(May.SEND_MESSAGES | May.EMBED_LINKS | May.ATTACH_FILES | May.READ_MESSAGE_HISTORY)


def denied(what: May, by: str = "7") -> dict[str, str]:
    return {"id": by, "deny": str(int(what)), "allow": "0"}


def allowed(what: May, by: str = "7") -> dict[str, str]:
    return {"id": by, "deny": "0", "allow": str(int(what))}


@pytest.mark.parametrize(
    ("permissions", "overwrites", "lacking"),
    [
        pytest.param(ENOUGH, [], [], id="enough"),
        pytest.param(int(May.ADMINISTRATOR), [denied(May.SEND_MESSAGES)], [], id="administrator"),
        pytest.param(ENOUGH, [denied(May.EMBED_LINKS)], ["Embed Links"], id="denied here"),
        pytest.param(
            ENOUGH,
            [denied(May.EMBED_LINKS, GUILD), allowed(May.EMBED_LINKS)],
            [],
            id="a role is heard after everybody",
        ),
        pytest.param(
            ENOUGH,
            [allowed(May.EMBED_LINKS), denied(May.EMBED_LINKS, BOT)],
            ["Embed Links"],
            id="and the member last",
        ),
        pytest.param(ENOUGH, [denied(May.SEND_MESSAGES, "8")], [], id="another role"),
        pytest.param(
            int(May.SEND_MESSAGES),
            [],
            ["Embed Links", "Attach Files", "Read Message History"],
            id="too little",
        ),
    ],
)
def test_check_names_the_permissions_that_are_missing(
    wire: Wire, permissions: int, overwrites: list[Any], lacking: list[str]
) -> None:
    knows_its_permissions(wire, permissions, *overwrites)
    account = bot().check()
    assert account.handle == "kestrel in #live"
    assert account.url == f"https://discord.com/channels/{GUILD}/{CHANNEL}"
    assert account.notes == tuple(f"the bot lacks the permission {name}" for name in lacking)
    assert {sent.request.method for sent in wire.sent} == {"GET"}


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"pin": "on"}, ["the bot lacks the permission Pin Messages"]),
        ({"event": "on"}, ["the bot lacks the permission Create Events"]),
        (
            {"mention": "here"},
            ["a start pings @here", "the bot lacks the permission Mention Everyone"],
        ),
        (
            {"mention": ROLE},
            [f"a start pings @{ROLE}", "the bot lacks the permission Mention Everyone"],
        ),
        (
            {"mention": "165511591545143000"},
            ["a start pings @165511591545143000", "there is no role 165511591545143000"],
        ),
        ({"crosspost": "on"}, ["only an announcement channel can be followed: DISCORD_CROSSPOST"]),
    ],
)
def test_check_names_what_a_wish_needs(
    wire: Wire, fields: dict[str, str], notes: list[str]
) -> None:
    knows_its_permissions(wire, ENOUGH)
    assert bot(**fields).check().notes == tuple(notes)


def test_a_thread_has_the_permissions_of_its_channel_and_one_of_its_own(wire: Wire) -> None:
    knows_its_permissions(wire, ENOUGH, type=11, parent_id="22")
    hides = {"permission_overwrites": [denied(May.ATTACH_FILES)]}
    wire.always("GET", "/channels/22", 200, hides)
    assert bot().check().notes == (
        "the bot lacks the permission Attach Files",
        "the bot lacks the permission Send Messages In Threads",
    )


def test_check_that_may_not_look_at_its_permissions_says_so(wire: Wire) -> None:
    wire.always("GET", f"/guilds/{GUILD}/members/{BOT}", 403, {"message": "no"})
    assert bot().check().notes == ("its permissions can not be looked at: 403 no",)


@pytest.mark.parametrize("status", [401, 403])
def test_check_of_a_bot_that_is_locked_out(wire: Wire, status: int) -> None:
    wire.always("GET", "/users/@me", status, {"message": "no"})
    with pytest.raises(Refused):
        bot().check()


def test_everything_is_everything() -> None:
    assert all(one in ALL for one in May)


# Settings


BOTH = {"DISCORD_BOT_TOKEN": TOKEN, "DISCORD_CHANNEL_ID": CHANNEL}
HOOK = {"DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/11/token"}


def test_an_account_is_a_bot_or_a_webhook_by_what_is_set() -> None:
    one = wiring.read({**BOTH, "DISCORD_MENTION": "here"}).destinations["discord"]
    assert isinstance(one, DiscordBot)
    assert one.limit() == 1994
    two = wiring.read({**HOOK, "DISCORD_MENTION": "here"}).destinations["discord"]
    assert isinstance(two, Discord)
    named = {name.replace("_", "__BOT__", 1): value for name, value in BOTH.items()}
    kinds = wiring.read({**HOOK, **named}).destinations
    assert {name: type(kind) for name, kind in kinds.items()} == {
        "discord": Discord,
        "discord.bot": DiscordBot,
    }


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({**BOTH, **HOOK}, "DISCORD_...: Discord and Discord bot are both set: keep one"),
        ({**HOOK, "DISCORD_EVENT": "on"}, "are both set: keep one"),
        ({"DISCORD_MENTION": "here"}, "DISCORD_WEBHOOK_URL is missing"),
        ({"DISCORD_EVENT": "on"}, "DISCORD_BOT_TOKEN is missing"),
        ({"DISCORD_BOT_TOKEN": TOKEN}, "DISCORD_CHANNEL_ID is missing"),
        ({**BOTH, "DISCORD_CHANNEL_ID": "#live"}, "DISCORD_CHANNEL_ID must be the id"),
        ({**BOTH, "DISCORD_BOT_TOKEN": "Bot a.b"}, "DISCORD_BOT_TOKEN must be the token alone"),
        ({**BOTH, "DISCORD_PIN": "on", "DISCORD_EVENT": "on"}, "DISCORD_EVENT can not be on"),
    ],
)
def test_what_can_not_be_is_told_at_the_start(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as told:
        wiring.read(variables)
    assert problem in str(told.value)
    assert TOKEN not in str(told.value)


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
def test_the_token_is_never_shown(wire: Wire, status: int) -> None:
    network = bot(event="on", crosspost="on")
    wire.answers(status, f"<html>{TOKEN}", times=9)
    said = repr(network) + repr(network._api)
    calls: tuple[Callable[[], object], ...] = (
        lambda: network.publish(POST),
        lambda: network.shine(RECEIPT, CARD, AT, again=False),
        lambda: network.find(DOUBTFUL),
    )
    for call in calls:
        try:
            call()
        except DeliveryError as problem:
            said += repr(problem)
    assert TOKEN not in said


# A whole evening, and a death in it


AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}
STREAM = {"OWNCAST_URL": "https://live.kestrel.example", "ANNOUNCER_PROXY": "http://127.0.0.1:9"}


@pytest.fixture
def server() -> Iterator[Guild]:
    made = Guild()
    yield made
    made.close()


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path, server: Guild) -> Iterator[Start]:
    """The service on one database, life after life."""
    lives: list[Service] = []

    def start(**settings: str) -> Service:
        lives.append(Service(tmp_path, {**server.settings, **AT_ONCE, **STREAM, **settings}))
        return lives[-1]

    yield start
    for life in lives:
        if life.process.poll() is None:
            life.stop()


def test_an_evening_is_one_message_and_one_event_that_end(start: Start, server: Guild) -> None:
    service = start(DISCORD_EVENT="on", DISCORD_MENTION="everyone")
    hostile = "@everyone <@&1> **loud** [x](https://evil.example) {{7*7}}"
    assert service.hear(rehearsal.webhook("start", hostile, "Kestrel")) == 204
    service.until(lambda: [one["status"] for one in server.events] == [2], "no event")
    [told] = server.texts()
    assert told.endswith("@everyone"), "the one that the setting asks for"
    assert "@everyone" not in told.removesuffix("@everyone")
    assert "{{7\\*7}}" in told
    assert server.pinged == [told]
    assert service.hear(rehearsal.webhook("title", "A chest of drawers", "Kestrel")) == 204
    service.until(lambda: "chest" in server.events[0]["name"], "the event kept its title")
    assert service.hear(rehearsal.webhook("stop", "A chest of drawers", "Kestrel")) == 204
    service.until(lambda: server.events[0]["status"] == 3, "the event did not end")
    service.until(lambda: "was live" in server.texts()[0], "the message did not change")
    service.stop()
    assert len(server.messages) == len(server.events) == 1
    assert server.pinged == [told], "no edit pings"
    assert TOKEN not in service.log


@pytest.mark.parametrize("when", ["before", "answered"])
@pytest.mark.parametrize("may_look", [True, False], ids=["may look", "may not look"])
def test_a09_a_crash_while_discord_takes_a_message_leaves_one(
    tmp_path: Path, start: Start, server: Guild, when: str, *, may_look: bool
) -> None:
    server.may_look = may_look
    point, trace = f"POST {API}/channels/*/messages: {when}", tmp_path / "passed"
    first = start(ANNOUNCER_CRASH_AT=point, ANNOUNCER_CRASH_TRACE=str(trace))
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
    first.kill()
    assert len(server.messages) == (1 if when == "answered" else 0)
    second = start()
    second.until(
        lambda: {row["state"] for row in second.posts().values()} == {"settled"}, "never settled"
    )
    second.stop()
    assert len(server.messages) == 1


Act = Callable[..., tuple[Stage, Guild]]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """A stage with the real adapter, and a server with the stage's clock."""
    made: list[Any] = []

    def act(**ways: Any) -> tuple[Stage, Guild]:
        server = Guild(clock=lambda: made[1].now, **ways)
        made.append(server)
        network = bot(api_base_url=server.url)
        place = tmp_path / "announcer.db"
        stage = Stage(place, {"discord": network}, give_up=timedelta(hours=3))
        made.append(stage)
        for clock in ("attempt", "connection", "networks.discord.bot"):
            monkeypatch.setattr(f"announcer.{clock}.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage, server

    yield act
    for one in made:
        one.close()


@pytest.mark.parametrize("trouble", ["lost", "cut"])
@pytest.mark.parametrize("away", [timedelta(seconds=30), timedelta(minutes=90)], ids=str)
def test_a09_after_the_nonce_is_forgotten_the_message_is_looked_for(
    act: Act, trouble: str, away: timedelta
) -> None:
    stage, server = act()
    server.troubles.append(trouble)
    stage.hear(Kind.STARTED, title="Drawers")
    stage.run()
    stage.now += away
    for n in range(150):
        server.says(f"Hello for the {n}th time")
    stage.run()
    assert stage.told("discord") == ("settled", "")
    assert len([text for text in server.texts() if "Drawers" in text]) == 1


@pytest.mark.parametrize("trouble", ["lost", "cut"])
def test_a09_where_the_bot_may_not_look_either_it_is_left_to_a_person(
    act: Act, trouble: str
) -> None:
    stage, server = act(may_look=False)
    server.troubles.append(trouble)
    stage.hear(Kind.STARTED, title="Drawers")
    stage.run()
    stage.passes(minutes=90)
    server.says("Hello")
    stage.run()
    state, reason = stage.told("discord")
    assert state == "unsure"
    assert "Read Message History" in reason
    assert len([text for text in server.texts() if "Drawers" in text]) == (trouble == "lost")


def test_the_bytes_of_a_repeat_are_those_of_the_first_try(wire: Wire) -> None:
    wire.breaks(read_timeout)
    wire.answers(200, {"id": "33"})
    for network in (bot(), bot()):  # after a restart
        with suppress(Unsure):
            network.publish(POST)
    first, second = wire.scripted
    assert first.body == second.body
    assert json.loads(first.body)["nonce"]
