"""Bluesky: the record key, the ranges in a text, and a login that is kept and never hammered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from announcer.contract.fake import (
    Answer,
    Problem,
    Wire,
    connect_timeout,
    read_timeout,
    refused,
    reset,
)
from announcer.network import (
    Card,
    DeliveryError,
    ForgetfulMemory,
    Moment,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.bluesky import Bluesky, record_key

PASSWORD = "abcd-efgh-ijkl-mnop"
BEGAN = datetime(2026, 11, 23, 19, 15, 0, 250_000, tzinfo=UTC)
WORDED = datetime(2026, 11, 23, 19, 15, 31, 500_000, tzinfo=UTC)
POST = Post("b1/live/bluesky", Moment.LIVE, Moment.LIVE, "We are live", BEGAN, WORDED, "k")
DONE = {"uri": "at://did:plc:kestrel/app.bsky.feed.post/x", "cid": "bafy1"}
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"

CREATE, REFRESH, PUT = (
    "/xrpc/com.atproto.server.createSession",
    "/xrpc/com.atproto.server.refreshSession",
    "/xrpc/com.atproto.repo.putRecord",
)


def session(number: int = 1, **more: Any) -> dict[str, Any]:
    """What a login answers; *number* tells one from the next."""
    return {
        "did": "did:plc:kestrel",
        "handle": "kestrel.example",
        "accessJwt": f"access-{number}",
        "refreshJwt": f"refresh-{number}",
        **more,
    }


def bluesky(memory: ForgetfulMemory | None = None, password: str = PASSWORD) -> Bluesky:
    network = Bluesky(identifier="kestrel.example", app_password=password)
    if memory:
        network.remember_in(memory)
    return network


def bearer(wire: Wire) -> list[tuple[str, str | None]]:
    """What was asked, in order, and with which token."""
    return [
        (sent.path.rsplit(".", 1)[-1], sent.request.headers.get("Authorization"))
        for sent in wire.sent
    ]


def published(wire: Wire, post: Post) -> Any:
    """The request body of *post*, as it left."""
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, DONE)
    bluesky().publish(post)
    return wire.scripted[-1].json


# The record


def test_the_record_is_made_of_the_post_alone(wire: Wire) -> None:
    assert published(wire, POST) == {
        "repo": "did:plc:kestrel",
        "collection": "app.bsky.feed.post",
        "rkey": record_key(POST),
        "validate": True,
        "record": {
            "$type": "app.bsky.feed.post",
            "text": "We are live",
            "createdAt": "2026-11-23T19:15:31.500Z",
        },
    }


def test_a_record_key_is_a_tid_in_the_second_of_the_beginning() -> None:
    key = record_key(POST)
    number = 0
    for letter in key:
        number = number * 32 + "234567abcdefghijklmnopqrstuvwxyz".index(letter)
    assert len(key) == 13
    assert (number >> 10) // 1_000_000 == int(BEGAN.timestamp())


def test_the_record_key_stays_when_the_words_change() -> None:
    assert record_key(replace(POST, text="other", worded_at=BEGAN, wire_key="2")) == record_key(
        POST
    )


def test_the_end_never_takes_the_place_of_the_start() -> None:
    """A clock id of ten bits alone would collide about five times in these."""
    for number in range(5000):
        live = replace(POST, key=f"b{number}/live/bluesky")
        ended = replace(POST, key=f"b{number}/ended/bluesky")
        assert record_key(live) != record_key(ended)


def link(text: str, uri: str | None = None) -> tuple[str, str, str]:
    return (text, "link", uri or text)


def tag(text: str) -> tuple[str, str, str]:
    return (text, "tag", text[1:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("no such thing", [], id="none"),
        pytest.param(
            "🔴 Zwölf https://live.example.org/ #owncast",
            [link("https://live.example.org/"), tag("#owncast")],
            id="ranges count bytes",
        ),
        pytest.param(
            "(https://live.example.org/a_(b)), now.",
            [link("https://live.example.org/a_(b)")],
            id="brackets and commas around",
        ),
        pytest.param(
            "https://live.example.org/a?b=c#d! https://b.example",
            [link("https://live.example.org/a?b=c#d"), link("https://b.example")],
            id="query and fragment",
        ),
        pytest.param(
            f"{FAMILY} #日本語 #🎸 #a-b_c",
            [tag("#日本語"), tag("#🎸"), tag("#a-b_c")],
            id="any script",
        ),
        pytest.param("C# #1 # ## a#b", [], id="not a tag"),
        pytest.param("#" + "a" * 65, [], id="too long for a tag"),
        pytest.param("@alice.example @everyone", [], id="never a mention"),
        pytest.param("http:// https:/// ftp://x javascript:x", [], id="not a link"),
    ],
)
def test_f13_links_and_tags_are_ranges_of_bytes(
    wire: Wire, text: str, expected: list[tuple[str, str, str]]
) -> None:
    facets = published(wire, replace(POST, text=text))["record"].get("facets", [])
    raw, found = text.encode(), []
    for facet in facets:
        words = raw[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
        (feature,) = facet["features"]
        kind = feature["$type"].removeprefix("app.bsky.richtext.facet#")
        found.append((words, kind, feature.get("uri") or feature["tag"]))
    assert found == expected


def test_the_card_is_ours_to_build(wire: Wire) -> None:
    card = Card("https://live.example.org", "A drawer", "On now", "Kestrel")
    assert published(wire, replace(POST, card=card))["record"]["embed"] == {
        "$type": "app.bsky.embed.external",
        "external": {
            "uri": "https://live.example.org",
            "title": "A drawer",
            "description": "On now",
        },
    }


def test_an_end_is_told_as_a_reply(wire: Wire) -> None:
    start = Receipt("x", "", {**DONE, "did": "did:plc:kestrel"})
    record = published(wire, replace(POST, reply_to=start))["record"]
    assert record["reply"] == {"root": DONE, "parent": DONE}


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("a" * 300, 300),
        (FAMILY * 120, 300),
        pytest.param(FAMILY * 121, 303, id="121 families: under 300 graphemes, over 3000 bytes"),
        ("日" * 300, 300),
        ("e\u0301", 1),
        ("z" + "\u0301" * 20, 5),
        ("\U0001f1e9\U0001f1ea", 1),
    ],
)
def test_f02_graphemes_and_bytes_are_one_length(text: str, length: int) -> None:
    assert bluesky().measure(text) == length


@pytest.mark.parametrize("answer", [{"uri": DONE["uri"]}, {"cid": "bafy1"}, {**DONE, "cid": ""}])
def test_success_needs_uri_and_cid(wire: Wire, answer: dict[str, str]) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, answer)
    with pytest.raises(Unsure):
        bluesky().publish(POST)


def test_a_handle_that_does_not_hold_is_not_shown(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session(handle="handle.invalid"))
    wire.answers(200, DONE)
    receipt = bluesky().publish(POST)
    assert receipt.url == f"https://bsky.app/profile/did:plc:kestrel/post/{record_key(POST)}"


LIST = "/xrpc/com.atproto.repo.listRecords"


def listed(*rkeys: str) -> dict[str, Any]:
    uris = [f"at://did:plc:kestrel/app.bsky.feed.post/{rkey}" for rkey in rkeys]
    return {"records": [{"uri": uri, "cid": "bafy1", "value": {}} for uri in uris]}


def test_what_is_up_is_found_by_its_key_and_has_the_receipt_that_it_would_have_got(
    wire: Wire,
) -> None:
    wire.always("POST", CREATE, 200, session())
    rkey = record_key(POST)
    wire.always("GET", LIST, 200, listed("3jzf", rkey))
    wire.answers(200, {"uri": f"at://did:plc:kestrel/app.bsky.feed.post/{rkey}", "cid": "bafy1"})
    network = bluesky()
    assert network.find(POST) == network.publish(POST)


def test_what_is_not_up_is_not_found(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.always("GET", LIST, 200, listed("3jzf"))
    assert bluesky().find(POST) is None


@pytest.mark.parametrize("answer", [Answer(500), Answer(200, b"<html>"), Answer(200, {})])
def test_a_look_that_tells_nothing_is_made_again_later(wire: Wire, answer: Answer) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.always("GET", LIST, answer.status, answer.body)
    with pytest.raises(TryLater):
        bluesky().find(POST)


def test_removing_names_the_record(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, {})
    bluesky().remove(Receipt("3n2ytokevsqn5", "", {"did": "did:plc:kestrel"}))
    assert wire.scripted[0].path == "/xrpc/com.atproto.repo.deleteRecord"
    assert wire.scripted[0].json == {
        "repo": "did:plc:kestrel",
        "collection": "app.bsky.feed.post",
        "rkey": "3n2ytokevsqn5",
    }


# The login


def test_a_restart_needs_no_new_login(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, DONE, times=3)
    memory = ForgetfulMemory()
    bluesky(memory).publish(POST)
    bluesky(memory).publish(POST)
    bluesky(memory).publish(POST)
    assert len(wire.asked(CREATE)) == 1


def test_what_is_kept_can_not_be_read_without_the_password(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, DONE, times=2)
    memory = ForgetfulMemory()
    bluesky(memory).publish(POST)
    kept = str(memory.get("session"))
    for secret in ("access-1", "refresh-1", "did:plc:kestrel", PASSWORD):
        assert secret not in kept
    bluesky(memory, password="another").publish(POST)
    assert len(wire.asked(CREATE)) == 2, "a changed password logs in anew"


def test_the_session_of_another_account_is_never_used(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, DONE, times=2)
    memory = ForgetfulMemory()
    bluesky(memory).publish(POST)
    other = Bluesky(identifier="heron.example", app_password=PASSWORD)
    other.remember_in(memory)
    other.publish(POST)
    assert len(wire.asked(CREATE)) == 2


@pytest.mark.parametrize("kept", ["", "nonsense", "gAAAAAnonsense"])
def test_what_can_not_be_read_is_forgotten(wire: Wire, kept: str) -> None:
    memory = ForgetfulMemory()
    memory.put("session", kept)
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, DONE)
    bluesky(memory).publish(POST)
    assert len(wire.asked(CREATE)) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(400, "ExpiredToken"), (400, "InvalidToken"), (401, "AuthMissing")]
)
def test_a_session_that_ran_out_is_renewed_once(wire: Wire, status: int, error: str) -> None:
    wire.always("POST", CREATE, 200, session(1))
    wire.always("POST", REFRESH, 200, session(2))
    wire.answers(status, {"error": error, "message": "Token"})
    wire.answers(200, DONE)
    bluesky().publish(POST)
    assert bearer(wire) == [
        ("createSession", None),
        ("putRecord", "Bearer access-1"),
        ("refreshSession", "Bearer refresh-1"),
        ("putRecord", "Bearer access-2"),
    ]
    first, second = (sent.body for sent in wire.asked(PUT))
    assert first == second


def test_a21_a_renewed_session_is_stored_before_it_is_used(wire: Wire) -> None:
    """The old refresh token is soon worth nothing: dying after the renewal must not lose it."""
    memory = ForgetfulMemory()
    wire.always("POST", CREATE, 200, session(1))
    wire.always("POST", REFRESH, 200, session(2))
    wire.answers(400, {"error": "ExpiredToken"})
    wire.breaks(read_timeout)
    with pytest.raises(Unsure):
        bluesky(memory).publish(POST)
    wire.answers(200, DONE)
    bluesky(memory).publish(POST)
    assert bearer(wire)[-1] == ("putRecord", "Bearer access-2")


def test_a21_a_refused_renewal_logs_in_again(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.always("POST", REFRESH, 400, {"error": "ExpiredToken"})
    wire.answers(400, {"error": "ExpiredToken"})
    wire.answers(200, DONE)
    bluesky().publish(POST)
    assert [path for path, _ in bearer(wire)] == [
        "createSession",
        "putRecord",
        "refreshSession",
        "createSession",
        "putRecord",
    ]


class Dying(ForgetfulMemory):
    """The process dies before its second session is stored."""

    def put(self, name: str, value: str) -> None:
        if name == "session" and self.get(name):
            raise KeyboardInterrupt
        super().put(name, value)


@pytest.mark.parametrize("honoured", [True, False], ids=["it is still good", "it is worth nothing"])
def test_a21_a_death_before_a_renewed_session_is_stored_loses_nothing(
    wire: Wire, honoured: bool
) -> None:
    """The old refresh token is tried once, and then the password, which stays what it is."""
    memory = Dying()
    wire.always("POST", CREATE, 200, session(1))
    wire.always("POST", REFRESH, 200, session(2))
    wire.answers(400, {"error": "ExpiredToken"})
    with pytest.raises(KeyboardInterrupt):
        bluesky(memory).publish(POST)
    alive = ForgetfulMemory()
    alive.put("session", str(memory.get("session")))
    refreshed = (200, session(3)) if honoured else (400, {"error": "ExpiredToken"})
    wire.always("POST", REFRESH, *refreshed)
    wire.always("POST", CREATE, 200, session(3))
    wire.answers(400, {"error": "ExpiredToken"})
    wire.answers(200, DONE)
    assert bluesky(alive).publish(POST).id
    assert len(wire.asked(REFRESH)) == 2, "the lost one and one more"
    assert len(wire.asked(CREATE)) == 1 + (not honoured)
    assert bearer(wire)[-1] == ("putRecord", "Bearer access-3")
    assert len({sent.body for sent in wire.asked(PUT)}) == 1


def test_a_fresh_session_that_is_refused_closes_the_account(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.always("POST", REFRESH, 200, session())
    wire.answers(400, {"error": "InvalidToken"}, times=9)
    with pytest.raises(Refused) as refusal:
        bluesky().publish(POST)
    assert refusal.value.closes
    assert len(wire.scripted) == 2


@pytest.mark.parametrize(
    "error", ["AuthenticationRequired", "AccountTakedown", "AuthFactorTokenRequired"]
)
def test_a_bad_password_is_tried_once_and_closes_the_account(wire: Wire, error: str) -> None:
    wire.answers(401, {"error": error, "message": "Invalid identifier or password"}, times=9)
    with pytest.raises(Refused) as refusal:
        bluesky().publish(POST)
    assert refusal.value.closes
    assert len(wire.sent) == 1, "there are 300 logins a day"


OUTAGES: list[Any] = [
    *(pytest.param(Answer(status), id=str(status)) for status in (429, 500, 502, 503, 504)),
    pytest.param(Answer(200, "<html>hotel</html>"), id="captive portal"),
    pytest.param(Answer(200, {"did": "did:plc:kestrel"}), id="without the tokens"),
    *(pytest.param(p, id=p.__name__) for p in (refused, connect_timeout, read_timeout, reset)),
]


def meets(wire: Wire, outage: Answer | Problem) -> None:
    if isinstance(outage, Answer):
        wire.answers(outage.status, outage.body, outage.headers)
    else:
        wire.breaks(outage)


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_is_never_taken_for_a_bad_password(wire: Wire, outage: Answer | Problem) -> None:
    meets(wire, outage)
    with pytest.raises(TryLater):
        bluesky().publish(POST)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_while_renewing_does_not_spend_a_login(
    wire: Wire, outage: Answer | Problem
) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(400, {"error": "ExpiredToken"})
    meets(wire, outage)
    with pytest.raises(TryLater):
        bluesky().publish(POST)
    assert len(wire.asked(CREATE)) == 1


def test_e12_too_many_logins_wait_for_the_reset(wire: Wire) -> None:
    reset_at = datetime(2026, 11, 23, 12, 5, tzinfo=UTC).timestamp()
    headers = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT", "RateLimit-Reset": f"{reset_at:.0f}"}
    wire.answers(429, {"error": "RateLimitExceeded"}, headers)
    with pytest.raises(TryLater) as later:
        bluesky().publish(POST)
    assert later.value.wait == timedelta(minutes=5)


def test_a_server_of_ones_own_is_used_for_everything(wire: Wire) -> None:
    network = Bluesky(identifier="k.example", app_password=PASSWORD, service="https://pds.example/")
    wire.answers(200, session())
    wire.answers(200, DONE)
    network.publish(POST)
    assert [str(sent.request.url) for sent in wire.sent] == [
        f"https://pds.example{CREATE}",
        f"https://pds.example{PUT}",
    ]


# Who am I


def test_check_tells_the_handle(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, {"did": "did:plc:kestrel", "handle": "kestrel.example", "active": True})
    account = bluesky().check()
    assert account.handle == "@kestrel.example"
    assert account.url == "https://bsky.app/profile/kestrel.example"
    assert account.notes == ()
    assert wire.scripted[0].request.method == "GET"


def test_check_tells_of_an_account_that_is_not_active(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.answers(200, {"did": "d", "handle": "k.example", "active": False, "status": "takendown"})
    assert bluesky().check().notes == ("the account is not active: takendown",)


def test_check_leaves_no_doubt(wire: Wire) -> None:
    wire.always("POST", CREATE, 200, session())
    wire.breaks(read_timeout)
    with pytest.raises(DeliveryError) as problem:
        bluesky().check()
    assert isinstance(problem.value, TryLater)
