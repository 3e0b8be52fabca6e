"""ntfy: one message that is replaced and never doubled, and a topic that is told to nobody."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer.contract import PICTURE, PICTURED, POST, Answer, Wire
from announcer.contract.fake import read_timeout
from announcer.network import (
    DeliveryError,
    ForgetfulMemory,
    Moment,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.ntfy import Ntfy
from announcer.wording import Facts, Templates

TOPIC = "kestrel-7f3a9c"
GOOD = {"id": "xE73Iyuabi", "sequence_id": "7", "event": "message", "topic": TOPIC}
FROM_BEFORE_2_16 = {"id": "xE73Iyuabi", "event": "message", "topic": TOPIC}
NEW = Answer(400, {"code": 40049, "http": 400, "error": "invalid request: sequence ID invalid"})
OLD = Answer(400, {"code": 40007, "http": 400, "error": "invalid priority parameter"})
UPLOADED = {
    **GOOD,
    "attachment": {"url": "https://ntfy.sh/file/xE73Iyuabi.jpg", "expires": 1_795_500_000},
}
ENDED = replace(POST, mood=Moment.ENDED, text="It is over.")
IN_DOUBT = replace(POST, doubtful_since=POST.worded_at)


def ntfy(**settings: str) -> Ntfy:
    return Ntfy.model_validate({"topic": TOPIC, "access_token": "tk_kestrel", **settings})


def says(wire: Wire, answer: Answer) -> None:
    wire.answers(answer.status, answer.body, answer.headers)


# What is sent


def test_a_start_is_a_notification_that_opens_the_stream(wire: Wire) -> None:
    wire.answers(200, GOOD)
    ntfy().publish(POST)
    [sent] = wire.sent
    assert (sent.request.method, sent.request.url) == ("POST", "https://ntfy.sh/")
    assert sent.request.headers["Authorization"] == "Bearer tk_kestrel"
    message = sent.json
    assert len(message.pop("sequence_id")) == 32
    assert message == {
        "topic": TOPIC,
        "title": "Kestrel Workshop",
        "message": POST.text,
        "priority": 3,
        "tags": ["red_circle"],
        "click": "https://live.example.org",
    }


def test_the_operator_chooses_a_button_and_how_much_it_insists(wire: Wire) -> None:
    wire.answers(200, GOOD)
    ntfy(button="Watch", priority="max").publish(POST)
    message = wire.sent[0].json
    assert message["priority"] == 5
    assert message["actions"] == [
        {"action": "view", "label": "Watch", "url": "https://live.example.org"}
    ]


@pytest.mark.parametrize(
    ("post", "priority"),
    [
        pytest.param(replace(POST, test=True), 1, id="a test"),
        pytest.param(ENDED, 2, id="a start told when it was over"),
        pytest.param(replace(ENDED, moment=Moment.ENDED), 2, id="an end"),
    ],
)
def test_only_a_start_makes_a_sound(wire: Wire, post: Any, priority: int) -> None:
    wire.answers(200, GOOD)
    ntfy(priority="max").publish(post)
    assert wire.sent[0].json["priority"] == priority


def test_who_wants_no_noise_gets_no_more_at_the_end(wire: Wire) -> None:
    wire.answers(200, GOOD)
    ntfy(priority="min").revise(Receipt("7"), ENDED)
    assert wire.sent[0].json["priority"] == 1


def test_an_alert_leads_nowhere_and_looks_like_none_of_the_stream(wire: Wire) -> None:
    wire.answers(200, GOOD)
    ntfy(button="Watch").publish(replace(POST, moment=Moment.ALERT, card=None, show=None))
    message = wire.sent[0].json
    assert (message["title"], message["tags"]) == ("Announcer", ["warning"])
    assert not {"click", "actions"} & message.keys()


def test_without_a_token_none_is_sent(wire: Wire) -> None:
    wire.answers(200, GOOD)
    Ntfy.model_validate({"topic": TOPIC}).publish(POST)
    assert "Authorization" not in wire.sent[0].request.headers


# Repeats and changes


def test_a13_a_repeat_has_the_same_sequence_id_and_another_post_has_not(wire: Wire) -> None:
    wire.answers(200, GOOD, times=4)
    others = (replace(POST, key="b1/live/ntfy.two"), replace(POST, edition=1))
    for post in (POST, replace(POST, wire_key="after a clear refusal"), *others):
        ntfy().publish(post)
    first, again, elsewhere, once_more = (sent.json["sequence_id"] for sent in wire.sent)
    assert first == again
    assert len({first, elsewhere, once_more}) == 3


def test_a13_what_may_be_up_is_sent_again_only_where_it_is_replaced(wire: Wire) -> None:
    says(wire, NEW)
    wire.answers(200, GOOD, times=2)
    network = ntfy()
    assert network.publish(IN_DOUBT).id == "7"
    network.publish(IN_DOUBT)
    probe, *_ = (sent.json for sent in wire.sent)
    assert len(wire.sent) == 3, "asked once, and remembered"
    assert (probe["sequence_id"], probe["priority"]) == ("?", 9), "which no server shows"


def test_a13_on_an_old_server_nothing_is_sent_twice(wire: Wire) -> None:
    says(wire, OLD)
    with pytest.raises(Refused, match=r"older than ntfy 2\.16"):
        ntfy().publish(IN_DOUBT)
    assert len(wire.sent) == 1


def test_who_prefers_a_second_one_gets_it_from_an_old_server(wire: Wire) -> None:
    wire.answers(200, FROM_BEFORE_2_16)
    assert ntfy(when_unsure="repeat").publish(IN_DOUBT).id == "xE73Iyuabi"


def test_a_server_that_was_old_is_asked_again(wire: Wire) -> None:
    network = ntfy()
    for answer in (OLD, NEW):
        says(wire, answer)
        network.check()
    assert len(wire.sent) == 2


def test_what_one_server_can_is_not_believed_of_another(wire: Wire) -> None:
    memory = ForgetfulMemory()
    first, second = ntfy(), ntfy(server="https://ntfy.kestrel.example")
    for network in (first, second):
        network.remember_in(memory)
    says(wire, NEW)
    first.check()
    says(wire, OLD)
    assert "older" in second.check().notes[0]


def test_a_change_takes_the_place_of_the_message_without_a_sound(wire: Wire) -> None:
    wire.answers(200, GOOD)
    ntfy(priority="high").revise(Receipt("7"), replace(POST, text="Now: a bench"))
    message = wire.sent[0].json
    assert (message["sequence_id"], message["message"]) == ("7", "Now: a bench")
    assert message["priority"] == 2


def test_the_end_opens_the_replay_and_is_no_red_dot(wire: Wire) -> None:
    wire.answers(200, GOOD)
    assert POST.show
    over = replace(POST.show, replay_url="https://live.example.org/replays")
    ntfy().revise(Receipt("7"), replace(ENDED, show=over))
    message = wire.sent[0].json
    assert message["click"] == "https://live.example.org/replays"
    assert "tags" not in message


def test_an_old_server_is_not_asked_to_change_anything(wire: Wire) -> None:
    """It would show one more message, with every new title."""
    wire.answers(200, FROM_BEFORE_2_16)
    network = ntfy()
    receipt = network.publish(POST)
    with pytest.raises(Refused, match="change"):
        network.revise(receipt, ENDED)
    with pytest.raises(Refused, match="away"):
        network.remove(receipt)
    assert len(wire.sent) == 1


def test_what_is_taken_away_is_named_by_its_sequence_id(wire: Wire) -> None:
    wire.answers(200, {"id": "a", "event": "message_delete"})
    ntfy().remove(Receipt("7"))
    [sent] = wire.sent
    assert (sent.request.method, sent.path) == ("DELETE", f"/{TOPIC}/7")


# Pictures


def query(wire: Wire) -> dict[str, str]:
    url = urlsplit(wire.sent[-1].request.url or "")
    assert url.path == f"/{TOPIC}"
    return {name: values[0] for name, values in parse_qs(url.query).items()}


def test_a_picture_goes_up_with_all_of_its_message(wire: Wire) -> None:
    wire.answers(200, UPLOADED)
    ntfy(button="Watch, or not").publish(replace(PICTURED, text="Live: Höbel\n🔴 & = ? \\n"))
    assert wire.sent[0].body == PICTURE.data
    told = query(wire)
    assert json.loads(told.pop("actions"))[0]["label"] == "Watch, or not"
    assert len(told.pop("sequence-id")) == 32
    assert told == {
        "title": "Kestrel Workshop",
        "message": "Live: Höbel\n🔴 & = ? \\\u200bn",
        "priority": "3",
        "tags": "red_circle",
        "click": "https://live.example.org",
        "filename": "stream.jpg",
    }


@pytest.mark.parametrize(
    ("status", "code"), [(400, 40014), (413, 41301), (429, 42905), (500, 50001), (414, None)]
)
def test_a_picture_that_the_server_does_not_take_is_left_out(
    wire: Wire, status: int, code: int | None
) -> None:
    wire.answers(status, {"code": code, "http": status, "error": "no attachments"})
    wire.answers(200, GOOD)
    receipt = ntfy().publish(PICTURED)
    assert receipt.note == f"without its picture: {status} no attachments"
    assert wire.sent[1].json["message"] == POST.text


@pytest.mark.parametrize(
    ("status", "code", "error"), [(429, 42901, TryLater), (429, 42908, TryLater), (502, 0, Unsure)]
)
def test_what_has_nothing_to_do_with_the_picture_keeps_its_meaning(
    wire: Wire, status: int, code: int, error: type[DeliveryError]
) -> None:
    wire.answers(status, {"code": code, "error": "limit reached"})
    with pytest.raises(error):
        ntfy().publish(PICTURED)


@pytest.mark.parametrize(
    ("post", "later", "kept"),
    [
        pytest.param(POST, timedelta(hours=1), True, id="a new title"),
        pytest.param(POST, timedelta(hours=4), False, id="a new title after hours"),
        pytest.param(ENDED, timedelta(hours=1), False, id="the end"),
    ],
)
def test_a_change_keeps_the_picture_while_the_server_has_it(
    wire: Wire, post: Any, later: timedelta, *, kept: bool
) -> None:
    began = datetime.fromtimestamp(1_795_500_000, UTC) - timedelta(hours=3)
    wire.answers(200, UPLOADED, times=2)
    network = ntfy()
    receipt = network.publish(PICTURED)
    assert network.revise(receipt, replace(post, worded_at=began + later)) == receipt
    message = wire.sent[1].json
    assert ("attach" in message) is kept
    assert message.get("attach") in (None, "https://ntfy.sh/file/xE73Iyuabi.jpg")


# What comes back


@pytest.mark.parametrize(
    ("status", "code", "error", "closes"),
    [
        (400, 40009, Refused, False),
        (400, 40010, Refused, False),
        (401, 40101, Refused, True),
        (403, 40301, Refused, True),
        (404, 40401, Refused, False),
        (413, 41303, Refused, False),
        (429, 42901, TryLater, False),
        (429, 42908, TryLater, False),
        (500, 50001, Unsure, False),
        (503, 0, TryLater, False),
    ],
)
def test_an_error_means_one_of_the_four(
    wire: Wire,
    status: int,
    code: int,
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    wire.answers(status, {"code": code, "http": status, "error": "told by ntfy", "link": "x"})
    with pytest.raises(error, match=f"{status} told by ntfy") as failure:
        ntfy().publish(POST)
    assert getattr(failure.value, "closes", False) is closes


def test_the_topic_is_in_nothing_that_is_kept_or_shown(wire: Wire) -> None:
    network = ntfy()
    wire.answers(200, UPLOADED)
    receipt = network.publish(PICTURED)
    says(wire, OLD)
    assert TOPIC not in f"{receipt}{network}{network.check()}"


@pytest.mark.parametrize(("answer", "notes"), [(NEW, 0), (OLD, 1)])
def test_check_proves_the_right_to_post_and_posts_nothing(
    wire: Wire, answer: Answer, notes: int
) -> None:
    says(wire, answer)
    account = ntfy().check()
    assert (account.handle, len(account.notes)) == ("a topic of ntfy.sh", notes)


def test_check_warns_of_a_topic_that_anybody_may_post_to(wire: Wire) -> None:
    says(wire, NEW)
    [note] = Ntfy.model_validate({"topic": TOPIC}).check().notes
    assert "whoever knows the topic" in note


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, GOOD), Refused),
        (Answer(400, {"code": 40024}), Refused),
        (Answer(403, {"code": 40301}), Refused),
        (Answer(429, {"code": 42901}), TryLater),
        (Answer(500, {"code": 50001}), TryLater),
        (Answer(200, "<html>"), Refused),
    ],
)
def test_check_tells_what_is_wrong(wire: Wire, answer: Answer, error: type[DeliveryError]) -> None:
    says(wire, answer)
    with pytest.raises(error):
        ntfy().check()


def test_check_knows_no_time_out(wire: Wire) -> None:
    wire.breaks(read_timeout)
    with pytest.raises(TryLater):
        ntfy().check()


# Limits


def test_what_is_counted_is_what_the_server_counts(wire: Wire) -> None:
    network = ntfy()
    for text, length in (("é", 2), ("🔴", 4), ("日", 3), ('"', 2), ("\n", 2), ("\\", 2), ("a", 1)):
        assert network.measure(text) == length
    wire.answers(200, GOOD)
    network.publish(replace(POST, text="日" * 1365))
    assert network.measure("日" * 1365) == network.limit()
    assert len(wire.sent[0].body) < 8192


ANY = st.text(st.characters(codec="utf-8"), max_size=9000) | st.sampled_from(
    ['"' * 9000, "\\n" * 3000, "z\u0301" * 3000, "🔴" * 3000, "=?utf-8?b?4oCu?=" * 9]
)


@given(title=ANY, name=ANY)
def test_no_title_and_no_name_is_too_long_for_it(title: str, name: str) -> None:
    facts = Facts(
        channel="default",
        name=name,
        title=title,
        summary=title,
        url="https://live.example.org",
        tags=("owncast",),
        nsfw=True,
        started_at=POST.began_at,
    )
    network = ntfy(button="Watch")
    wording = Templates(None).word(network, "ntfy", Moment.LIVE, facts)
    assert (wording.problem, wording.template) == ("", "shipped:ntfy/live.txt")
    assert POST.show
    post = replace(POST, text=wording.text, show=replace(POST.show, name=name))
    body = network._message(post, "7", quiet=False)
    assert len(json.dumps(body, ensure_ascii=False).encode()) < 8192
    assert len(body["message"].encode()) < 4096
    assert len(body["title"].encode()) <= 500
    assert "=?" not in body["title"], "ntfy would decode it"


@pytest.mark.parametrize(
    "topic", ["https://ntfy.sh/kestrel", "a b", "a/b", "", "ä", "a" * 65, "kestrel\n"]
)
def test_an_address_is_no_topic(topic: str) -> None:
    with pytest.raises(ValidationError) as problem:
        ntfy(topic=topic)
    assert "must be a name" in str(problem.value)
