"""Threads: two steps, of which only the second is seen, and a token that has to be kept alive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from announcer.contract import POST, SECRET
from announcer.contract.fake import Sent, Wire, read_timeout, reset
from announcer.network import (
    Card,
    DeliveryError,
    ForgetfulMemory,
    Memory,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks import threads as module
from announcer.networks.threads import Threads

TOKEN = "the-token-that-was-set"
NEW = "the-token-that-was-renewed"
NOW = datetime(2026, 11, 23, 19, 16, tzinfo=UTC)
PUBLISH, CONTAINERS, OWN = "/me/threads_publish", "/v1.0/me/threads", "/v1.0/me/threads"
RENEWAL = "/refresh_access_token"
LINK = "https://www.threads.com/@k/post/7"
UP = {
    "id": "7",
    "text": POST.text,
    "permalink": LINK,
    "timestamp": "2026-11-23T19:15:32+0000",
}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    times = [NOW]
    monkeypatch.setattr(module, "_now", lambda: times[-1])
    return times


@pytest.fixture
def memory() -> ForgetfulMemory:
    return ForgetfulMemory()


def at(memory: Memory, **settings: str) -> Threads:
    network = Threads.model_validate({"access_token": TOKEN, **settings})
    network.remember_in(memory)
    return network


def ready(wire: Wire) -> None:
    wire.always("GET", RENEWAL, 200, {"access_token": NEW, "expires_in": 5184000})
    wire.always("POST", CONTAINERS, 200, {"id": "11"})
    wire.always("GET", "/v1.0/7", 200, {"id": "7", "permalink": LINK})


def looks(wire: Wire, status: str, *posts: Any, where: str = OWN) -> None:
    """What the container and the list of our posts say from now on."""
    wire.always("GET", "/v1.0/11", 200, {"id": "11", "status": status})
    wire.always("GET", where, 200, {"data": list(posts)})


def fields(sent: Sent) -> dict[str, str]:
    said = sent.body.decode() or urlsplit(sent.request.url or "").query
    return {name: value for name, [value] in parse_qs(said).items()}


def made(wire: Wire) -> list[dict[str, str]]:
    """What containers were made of."""
    return [fields(one) for one in wire.asked(CONTAINERS) if one.request.method == "POST"]


def error(code: int, sub: int = 0, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "Said by Meta", "code": code, "error_subcode": sub, **more}}


# Two steps


def test_words_and_link_are_contained_and_then_published(
    wire: Wire, memory: ForgetfulMemory
) -> None:
    ready(wire)
    wire.answers(200, {"id": "7"})
    assert at(memory).publish(POST) == Receipt("7", LINK)
    assert made(wire) == [
        {
            "media_type": "TEXT",
            "text": POST.text,
            "link_attachment": "https://live.example.org",
            "access_token": NEW,
        }
    ]
    assert fields(wire.scripted[0]) == {"creation_id": "11", "access_token": NEW}


def test_the_end_answers_the_start(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(200, {"id": "7"})
    at(memory).publish(replace(POST, reply_to=Receipt("6")))
    assert made(wire)[0]["reply_to_id"] == "6"


def test_a_permalink_that_can_not_be_had_loses_no_post(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.always_breaks("GET", "/v1.0/7", read_timeout)
    wire.answers(200, {"id": "7"})
    assert at(memory).publish(POST) == Receipt("7")


@pytest.mark.parametrize("problem", [read_timeout, reset])
def test_what_breaks_before_the_second_step_posted_nothing(
    wire: Wire, memory: ForgetfulMemory, problem: Any
) -> None:
    ready(wire)
    wire.always_breaks("POST", CONTAINERS, problem)
    with pytest.raises(TryLater):
        at(memory).publish(POST)
    assert not wire.scripted


def test_a17_after_a_death_between_the_steps_the_same_container_is_published(
    wire: Wire, memory: ForgetfulMemory
) -> None:
    ready(wire)

    def dies(_: Any) -> Exception:
        raise SystemExit

    wire.breaks(dies)
    with pytest.raises(SystemExit):
        at(memory).publish(POST)
    doubtful = replace(POST, doubtful_since=POST.worded_at)
    looks(wire, "FINISHED")
    assert at(memory).find(doubtful) is None
    wire.answers(200, {"id": "7"})
    assert at(memory).publish(doubtful).id == "7"
    assert len(made(wire)) == 1
    assert {fields(one)["creation_id"] for one in wire.asked(PUBLISH)} == {"11"}


def test_a17_after_a_death_behind_the_second_step_it_is_found(
    wire: Wire, memory: ForgetfulMemory
) -> None:
    ready(wire)
    wire.breaks(read_timeout)
    with pytest.raises(Unsure):
        at(memory).publish(POST)
    looks(wire, "PUBLISHED", UP)
    assert at(memory).find(POST) == Receipt("7", LINK)


def test_what_is_published_but_not_listed_yet_is_waited_for(
    wire: Wire, memory: ForgetfulMemory
) -> None:
    ready(wire)
    wire.breaks(read_timeout)
    with pytest.raises(Unsure):
        at(memory).publish(POST)
    looks(wire, "PUBLISHED")
    with pytest.raises(TryLater):
        at(memory).find(POST)


@pytest.mark.parametrize("status", ["EXPIRED", "ERROR"])
def test_a_container_that_is_of_no_use_is_made_anew(
    wire: Wire, memory: ForgetfulMemory, status: str
) -> None:
    ready(wire)
    wire.breaks(read_timeout)
    with pytest.raises(Unsure):
        at(memory).publish(POST)
    looks(wire, status)
    assert at(memory).find(POST) is None
    wire.answers(200, {"id": "7"})
    at(memory).publish(POST)
    assert len(made(wire)) == 2


def test_a_container_of_yesterday_is_not_used(
    wire: Wire, memory: ForgetfulMemory, clock: list[datetime]
) -> None:
    ready(wire)
    wire.answers(503, {})
    with pytest.raises(TryLater):
        at(memory).publish(POST)
    clock.append(NOW + timedelta(hours=23, minutes=1))
    wire.answers(200, {"id": "7"})
    at(memory).publish(POST)
    assert len(made(wire)) == 2


def test_other_words_are_another_container(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(503, {})
    with pytest.raises(TryLater):
        at(memory).publish(POST)
    wire.answers(200, {"id": "7"})
    at(memory).publish(replace(POST, text="Another title"))
    assert [one["text"] for one in made(wire)] == [POST.text, "Another title"]


@pytest.mark.parametrize(
    ("one", "found"),
    [
        pytest.param(UP, True, id="ours"),
        pytest.param({**UP, "text": UP["text"].replace(" ", "\n")}, True, id="other spaces"),
        pytest.param({**UP, "timestamp": "2026-11-22T19:15:32+0000"}, False, id="of yesterday"),
        pytest.param({**UP, "text": "something else"}, False, id="other words"),
        pytest.param({"id": "7"}, False, id="a picture without words"),
        pytest.param(None, False, id="nonsense"),
    ],
)
def test_a_post_is_found_by_its_words_and_time(
    wire: Wire,
    memory: ForgetfulMemory,
    one: Any,
    found: bool,  # of a table
) -> None:
    looks(wire, "FINISHED", one)
    assert (at(memory).find(POST) is not None) is found


def test_an_answer_is_looked_for_among_answers(wire: Wire, memory: ForgetfulMemory) -> None:
    looks(wire, "FINISHED", UP, where="/v1.0/me/replies")
    assert at(memory).find(replace(POST, reply_to=Receipt("6"))) == Receipt("7", LINK)


def test_where_nobody_can_look_nothing_is_repeated(wire: Wire, memory: ForgetfulMemory) -> None:
    wire.always("GET", OWN, 200, {"oops": 1})
    with pytest.raises(TryLater):
        at(memory).find(POST)


# What errors mean


@pytest.mark.parametrize(
    ("status", "body", "kind", "closes"),
    [
        pytest.param(400, error(190), Refused, True, id="the token ended"),
        pytest.param(400, error(102), Refused, True, id="the session ended"),
        pytest.param(403, error(10), Refused, True, id="no permission"),
        pytest.param(400, error(200), Refused, True, id="no permission either"),
        pytest.param(400, error(299), Refused, True, id="the last of these"),
        pytest.param(400, error(368), Refused, False, id="blocked for a while"),
        pytest.param(400, error(100), Refused, False, id="bad parameter"),
        pytest.param(400, error(4), TryLater, False, id="too many calls of the app"),
        pytest.param(403, error(17), TryLater, False, id="too many calls of the user"),
        pytest.param(400, error(32), TryLater, False, id="too many calls of the page"),
        pytest.param(400, error(341), TryLater, False, id="too much"),
        pytest.param(400, error(613), TryLater, False, id="too many of these calls"),
        pytest.param(400, error(24, 4279009), TryLater, False, id="the container is too new"),
        pytest.param(400, error(1), Unsure, False, id="unknown"),
        pytest.param(500, error(2), Unsure, False, id="temporary"),
        pytest.param(400, error(77, is_transient=True), Unsure, False, id="transient"),
        pytest.param(200, error(1), Unsure, False, id="an error in a 200"),
        pytest.param(200, error(190), Refused, True, id="a dead token in a 200"),
    ],
)
def test_metas_codes_have_their_meaning(
    wire: Wire,
    memory: ForgetfulMemory,
    status: int,
    body: dict[str, Any],
    kind: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    ready(wire)
    wire.answers(status, body)
    with pytest.raises(kind, match="Said by Meta") as problem:
        at(memory).publish(POST)
    assert getattr(problem.value, "closes", False) is closes


def test_a_permission_that_only_answers_need_closes_nothing(
    wire: Wire, memory: ForgetfulMemory
) -> None:
    ready(wire)
    wire.always("POST", CONTAINERS, 403, error(10))
    with pytest.raises(Refused) as problem:
        at(memory).publish(replace(POST, reply_to=Receipt("7")))
    assert not problem.value.closes


def test_a_link_that_can_not_be_read_loses_no_post(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire._standing = [one for one in wire._standing if one[1] != CONTAINERS]
    wire.answers(400, error(100, 1609005))
    wire.answers(200, {"id": "11"})
    wire.answers(200, {"id": "7"})
    at(memory).publish(POST)
    assert ["link_attachment" in one for one in made(wire)] == [True, False]


def test_a_token_that_is_quoted_is_not_shown(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(400, {"error": {"message": f"Cannot parse access token {NEW}", "code": 190}})
    with pytest.raises(Refused, match=r"Cannot parse access token \*\*\*"):
        at(memory).publish(POST)


# Taking it away


def test_a_post_is_deleted(wire: Wire, memory: ForgetfulMemory) -> None:
    wire.answers(200, {"success": True, "deleted_id": "7"})
    at(memory).remove(Receipt("7"))
    assert (wire.sent[0].request.method, wire.sent[0].path) == ("DELETE", "/v1.0/7")


def test_what_can_not_be_deleted_but_read_is_not_gone(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(400, error(100, 33))
    with pytest.raises(Refused) as problem:
        at(memory).remove(Receipt("7"))
    assert not problem.value.closes


def test_what_is_gone_is_gone(wire: Wire, memory: ForgetfulMemory) -> None:
    wire.answers(400, error(100, 33), times=2)
    at(memory).remove(Receipt("7"))


@pytest.mark.parametrize(
    "body", [error(10), {"success": False}], ids=["no permission", "no success"]
)
def test_a_deletion_that_is_refused_closes_nothing(
    wire: Wire, memory: ForgetfulMemory, body: dict[str, Any]
) -> None:
    wire.answers(200, body)
    with pytest.raises(Refused) as problem:
        at(memory).remove(Receipt("7"))
    assert not problem.value.closes


# The token


def says_who(wire: Wire) -> None:
    wire.always("GET", "/v1.0/me", 200, {"id": "5", "username": "kestrel"})


def tokens_sent(wire: Wire) -> list[str]:
    return [fields(one)["access_token"] for one in wire.asked("/v1.0/me")]


def renewals(wire: Wire) -> list[str]:
    return [fields(one)["access_token"] for one in wire.asked(RENEWAL)]


def test_a_token_is_renewed_and_kept_through_a_restart(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    says_who(wire)
    account = at(memory).check()
    assert (account.handle, account.url) == ("@kestrel", "https://www.threads.com/@kestrel")
    assert account.notes == ()
    at(memory).check()
    assert tokens_sent(wire) == [NEW, NEW]
    assert renewals(wire) == [TOKEN]


def test_no_token_stands_in_the_memory(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(200, {"id": "7"})
    at(memory).publish(POST)
    assert memory._values
    assert not any(token in str(memory._values) for token in (TOKEN, NEW))


def test_a_token_is_renewed_again_when_half_of_its_life_is_over(
    wire: Wire, memory: ForgetfulMemory, clock: list[datetime]
) -> None:
    ready(wire)
    says_who(wire)
    for day in (0, 29, 31):
        clock.append(NOW + timedelta(days=day))
        at(memory).check()
    assert renewals(wire) == [TOKEN, NEW]


def test_a_token_that_is_too_young_is_used_as_it_is_and_renewed_a_day_later(
    wire: Wire, memory: ForgetfulMemory, clock: list[datetime]
) -> None:
    says_who(wire)
    wire.always("GET", RENEWAL, 400, error(100))
    for hour in (0, 23, 25):
        clock.append(NOW + timedelta(hours=hour))
        [note] = at(memory).check().notes
        assert "after a day" in note
    assert renewals(wire) == [TOKEN, TOKEN]
    assert set(tokens_sent(wire)) == {TOKEN}


def test_a_renewal_that_breaks_loses_no_post(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.always_breaks("GET", RENEWAL, read_timeout)
    wire.answers(200, {"id": "7"})
    assert at(memory).publish(POST).id == "7"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"access_token": None, "expires_in": 5183944},
        {"access_token": ["x"], "expires_in": 5183944},
        {"access_token": "", "expires_in": 5183944},
        {"access_token": NEW},
        {"access_token": NEW, "expires_in": "soon"},
        [],
        "<html>",
    ],
    ids=repr,
)
def test_a_renewal_without_a_token_leaves_the_old_one(
    wire: Wire, memory: ForgetfulMemory, said: Any
) -> None:
    says_who(wire)
    wire.always("GET", RENEWAL, 200, said)
    assert at(memory).check().handle == "@kestrel"
    assert at(memory).check().handle == "@kestrel"
    assert tokens_sent(wire) == [TOKEN, TOKEN]


def test_another_token_in_the_settings_takes_the_place_of_all(
    wire: Wire, memory: ForgetfulMemory
) -> None:
    ready(wire)
    says_who(wire)
    at(memory).check()
    at(memory, access_token=SECRET).check()
    assert renewals(wire) == [TOKEN, SECRET]


def test_the_end_of_a_token_is_told_before(
    wire: Wire, memory: ForgetfulMemory, clock: list[datetime]
) -> None:
    ready(wire)
    says_who(wire)
    assert at(memory).check().ends == NOW + timedelta(days=60)
    wire.always("GET", RENEWAL, 500)
    clock.append(NOW + timedelta(days=57))
    assert at(memory).check().notes == ("its token ends in 3 days: make a new one",)


# Text


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("abc", 3),
        ("日本語 ü", 5),
        ("🔴", 4),
        ("👨‍👩‍👧‍👦", 25),
        ("🇩🇪", 8),
        ("❤️", 6),
        ("👋🏽", 8),
        ("1 # *", 5),
    ],
)
def test_an_emoji_counts_as_its_bytes(memory: ForgetfulMemory, text: str, length: int) -> None:
    assert at(memory).measure(text) == length


def test_a_post_without_a_card_has_no_link(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(200, {"id": "7"})
    at(memory).publish(replace(POST, card=None))
    assert "link_attachment" not in made(wire)[0]


def test_the_card_is_of_our_own_address(wire: Wire, memory: ForgetfulMemory) -> None:
    ready(wire)
    wire.answers(200, {"id": "7"})
    at(memory).publish(replace(POST, card=Card("https://live.test", "@all", "", "")))
    assert made(wire)[0]["link_attachment"] == "https://live.test"


@pytest.mark.parametrize("user", ["kestrel", "@me", "1/2", "me?x", ""])
def test_a_user_that_is_no_number_is_told_at_the_start(user: str) -> None:
    with pytest.raises(ValidationError, match="must be a number"):
        Threads(access_token=TOKEN, user_id=user)
