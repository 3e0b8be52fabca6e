"""Nostr: signed notes on relays that are judged one by one, and a live event beside them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from announcer.contract import POST, Behaviour
from announcer.network import Card, DeliveryError, Receipt, Refused, TryLater, Unsure
from announcer.networks.nostr import DELETION, LIVE_EVENT, Nostr
from tests.relay import CHALLENGE, Relay, relay, sound
from tests.rows.nostr import key

NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
HEX = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
"""The same key twice: the example of NIP-19."""
AT = datetime(2026, 11, 23, 19, 16, tzinfo=UTC)
CARD = Card("https://live.example.org", "a dovetail drawer", "On now", "Kestrel Workshop")


@pytest.fixture
def relays() -> Iterator[list[Relay]]:
    with ExitStack() as stack:
        yield [stack.enter_context(relay()) for _ in range(3)]


def at(*relays: Relay, **settings: str) -> Nostr:
    return Nostr.model_validate(
        {"private_key": key("kestrel"), "relays": ",".join(one.url for one in relays), **settings}
    )


def tags(event: dict[str, Any]) -> dict[str, list[str]]:
    return {name: rest for name, *rest in event["tags"]}


def test_a_note_says_the_words_with_tags_and_link(relays: list[Relay]) -> None:
    receipt = at(relays[0]).publish(POST)
    [note] = relays[0].events.values()
    assert (note["kind"], note["content"], note["id"]) == (1, POST.text, receipt.id)
    assert note["created_at"] == int(POST.worded_at.timestamp())
    assert note["tags"] == [["t", "owncast"], ["r", "https://live.example.org"]]
    assert sound(note)
    assert receipt.url.startswith("https://njump.me/note1")


def test_the_end_answers_the_start(relays: list[Relay]) -> None:
    network = at(relays[0])
    start = network.publish(POST)
    network.publish(replace(POST, text="It is over.", reply_to=start))
    *_, reply = relays[0].events.values()
    assert tags(reply)["e"] == [start.id, "", "root"]
    assert tags(reply)["p"] == [reply["pubkey"]]


def test_the_same_words_are_the_same_bytes(relays: list[Relay]) -> None:
    at(relays[0]).publish(POST)
    at(relays[1]).publish(POST)
    [once], [again] = relays[0].events.values(), relays[1].events.values()
    assert once == again


@pytest.mark.parametrize(
    ("behaviours", "missing"),
    [
        pytest.param((Behaviour.GOOD, Behaviour.GOOD), 0, id="both"),
        pytest.param((Behaviour.REFUSES, Behaviour.GOOD), 1, id="one refuses it"),
        pytest.param((Behaviour.HANGS_UP, Behaviour.GOOD), 1, id="one is down"),
        pytest.param((Behaviour.GOOD, Behaviour.CUTS), 1, id="one does not say"),
        pytest.param((Behaviour.LOCKED_OUT, Behaviour.GOOD), 1, id="one knows us not"),
    ],
)
def test_one_relay_that_has_it_is_enough_and_the_others_are_named(
    relays: list[Relay], behaviours: tuple[Behaviour, Behaviour], missing: int
) -> None:
    for one, behaviour in zip(relays, behaviours, strict=False):
        one.behaviour = behaviour
    note = at(*relays[:2]).publish(POST).note
    assert note.startswith("not on ") is bool(missing)
    assert note.count("127.0.0.1") == missing


@pytest.mark.parametrize(
    ("behaviours", "error", "closes"),
    [
        pytest.param((Behaviour.REFUSES, Behaviour.HANGS_UP), TryLater, False, id="one is down"),
        pytest.param((Behaviour.REFUSES, Behaviour.BUSY), TryLater, False, id="one is busy"),
        pytest.param((Behaviour.BUSY, Behaviour.CUTS), Unsure, False, id="one does not say"),
        pytest.param((Behaviour.REFUSES, Behaviour.LOCKED_OUT), Refused, False, id="both refuse"),
        pytest.param((Behaviour.LOCKED_OUT,) * 2, Refused, True, id="both know us not"),
    ],
)
def test_where_none_has_it_the_most_careful_meaning_counts(
    relays: list[Relay],
    behaviours: tuple[Behaviour, Behaviour],
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    for one, behaviour in zip(relays, behaviours, strict=False):
        one.behaviour = behaviour
    with pytest.raises(error) as problem:
        at(*relays[:2]).publish(POST)
    assert getattr(problem.value, "closes", False) is closes


@pytest.mark.parametrize(
    ("prefix", "error", "closes"),
    [
        ("rate-limited: slow down", TryLater, False),
        ("error: the disk is full", TryLater, False),
        ("invalid: no", Refused, False),
        ("pow: 28 bits are due", Refused, False),
        ("blocked: you", Refused, True),
        ("restricted: members only", Refused, True),
        ("mute: nobody follows you", Refused, True),
        ("no prefix at all", Refused, False),
        ("", Refused, False),
    ],
)
def test_a_refusal_means_what_its_prefix_says(
    relays: list[Relay],
    monkeypatch: pytest.MonkeyPatch,
    prefix: str,
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    monkeypatch.setattr("tests.relay.REFUSALS", {Behaviour.REFUSES: prefix or " "})
    relays[0].behaviour = Behaviour.REFUSES
    with pytest.raises(error) as problem:
        at(relays[0]).publish(POST)
    assert getattr(problem.value, "closes", False) is closes


def test_a_relay_that_asks_who_we_are_is_told(relays: list[Relay]) -> None:
    relays[0].wants_proof = True
    at(relays[0]).publish(POST)
    assert len(relays[0].shown) == 1
    [proof] = relays[0].proofs
    assert proof["kind"] == 22242
    assert tags(proof) == {"relay": [relays[0].url], "challenge": [CHALLENGE]}


def test_a_relay_without_sense_does_not_hold_us(
    relays: list[Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.networks.nostr.A_RELAY", 0.3)
    relays[0].behaviour = Behaviour.SILENT
    receipt = at(*relays).publish(POST)
    assert "no answer in time" in receipt.note
    assert len(relays[2].shown) == 1


def test_what_is_up_is_found_by_its_words(relays: list[Relay]) -> None:
    network = at(relays[0], relays[1])
    assert network.find(POST) is None
    receipt = at(relays[1]).publish(POST)
    assert network.find(POST) == receipt


def test_nobody_says_that_it_is_not_up_while_a_relay_is_silent(relays: list[Relay]) -> None:
    relays[1].behaviour = Behaviour.HANGS_UP
    with pytest.raises(TryLater):
        at(relays[0], relays[1]).find(POST)


def test_to_take_away_is_a_request_for_that_note(relays: list[Relay]) -> None:
    network = at(relays[0])
    receipt = network.publish(POST)
    network.remove(receipt)
    network.remove(receipt)
    request = list(relays[0].events.values())[1]
    assert request["kind"] == DELETION
    assert tags(request) == {"e": [receipt.id], "k": ["1"]}


# The live event


def test_the_live_event_is_told_renewed_and_closed_under_one_name(relays: list[Relay]) -> None:
    network = at(relays[0])
    live = network.publish(POST)
    network.shine(live, CARD, AT, again=False)
    network.shine(live, replace(CARD, title="a bench"), AT + timedelta(minutes=30), again=True)
    network.dim(live, replace(CARD, title="a bench"))
    first, renewed, over = (e for e in relays[0].events.values() if e["kind"] == LIVE_EVENT)
    assert tags(first)["d"] == tags(renewed)["d"] == tags(over)["d"] == ["b1"]
    assert [tags(one)["status"] for one in (first, renewed, over)] == [
        ["live"],
        ["live"],
        ["ended"],
    ]
    assert tags(first)["starts"] == [str(int(POST.began_at.timestamp()))] == tags(over)["starts"]
    assert tags(renewed)["title"] == ["a bench"]
    assert tags(first)["streaming"] == ["https://live.example.org/hls/stream.m3u8"]
    assert tags(first)["p"] == [first["pubkey"], "", "Host"]
    assert "ends" in tags(over)
    assert "ends" not in tags(renewed)
    assert first["created_at"] < renewed["created_at"], "the newest counts"


def test_what_comes_within_a_second_or_after_our_clock_was_set_back_is_newer_still(
    relays: list[Relay],
) -> None:
    network = at(relays[0])
    live = network.publish(POST)
    for when in (AT, AT, AT - timedelta(hours=1)):
        network.shine(live, CARD, when, again=True)
    made = [e["created_at"] for e in relays[0].events.values() if e["kind"] == LIVE_EVENT]
    assert made == sorted(set(made))
    assert len(made) == 3


def test_it_is_renewed_within_the_hour_after_which_it_would_count_as_over() -> None:
    assert Nostr.badge_lasts <= timedelta(hours=1)


def test_a_live_event_can_be_left_out(relays: list[Relay]) -> None:
    assert at(relays[0]).wants_badge
    assert not at(relays[0], live_event="off").wants_badge


def test_without_an_address_there_is_no_live_event(relays: list[Relay]) -> None:
    with pytest.raises(Refused, match="OWNCAST_URL"):
        at(relays[0]).shine(Receipt("7", "", {"show": "b1", "starts": "1"}), None, AT, again=False)
    assert relays[0].shown == []


# Settings, and who we are


def test_a_key_is_read_in_both_forms(relays: list[Relay]) -> None:
    for form in (NSEC, HEX):
        at(relays[0], private_key=form).publish(POST)
    assert len(relays[0].events) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "67dea2",
        NSEC[:-1] + "6",
        NSEC.replace("nsec", "npub"),
        "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
    ],
)
def test_what_is_no_key_is_told_at_once_and_not_shown(relays: list[Relay], wrong: str) -> None:
    with pytest.raises(ValidationError) as problem:
        at(relays[0], private_key=wrong)
    assert not wrong or wrong not in str(problem.value)


@pytest.mark.parametrize(
    ("relays", "told"),
    [
        (" ", "one relay at least"),
        ("https://relay.example", "wss://relay.example"),
        ("wss://", "wss://relay.example"),
        ("ws://relay.example.org", "use wss://"),
        ("wss://me:secret@relay.example", "wss://relay.example"),
        (",".join(f"wss://relay{n}.example" for n in range(11)), "10 at most"),
    ],
)
def test_an_address_that_can_not_be_used_is_told_at_once(relays: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Nostr.model_validate({"private_key": HEX, "relays": relays})


def test_the_path_of_a_relay_stays_as_it_is_written() -> None:
    written = "wss://relay.example/Chorus, wss://relay.example/Chorus ws://127.0.0.1:7000"
    network = Nostr.model_validate({"private_key": HEX, "relays": written})
    assert network.relays == ("wss://relay.example/Chorus", "ws://127.0.0.1:7000")


def test_a_check_tells_the_name_and_which_relays_are_silent(relays: list[Relay]) -> None:
    network = at(relays[0], relays[1])
    assert network.check().handle.startswith("npub1")
    public = json.loads(json.dumps(network._public))
    relays[0].events["0"] = {
        "id": "0", "kind": 0, "pubkey": public, "content": '{"name": "kestrel"}', "tags": []
    }  # fmt: skip
    relays[1].behaviour = Behaviour.HANGS_UP
    account = network.check()
    assert account.handle == "kestrel"
    assert len(account.notes) == 1
    assert "can not be reached" in account.notes[0]


def test_a_check_fails_where_no_relay_answers(relays: list[Relay]) -> None:
    relays[0].behaviour = Behaviour.HANGS_UP
    with pytest.raises(TryLater):
        at(relays[0]).check()


@pytest.mark.parametrize(
    "title", ["nostr:npub10elfcs4fr0l0r8af98jlmgdh9c8", "NOSTR:nprofile1abc", "see nostr:note1x"]
)
def test_f01_a_reference_in_a_title_is_none(title: str) -> None:
    escaped = Nostr.model_validate({"private_key": HEX, "relays": "wss://r.example"}).escape(title)
    assert "nostr:n" not in escaped.casefold()
    assert escaped.replace("\u200b", "") == title
