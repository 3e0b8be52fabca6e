"""A real homeserver, and what a second member of the room sees there."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from announcer import rehearsal
from announcer.contract import PICTURE, PICTURED, POST
from announcer.network import Gone, Receipt, Refused, TryLater
from announcer.networks.matrix import Matrix
from tests.fakes import wait_until
from tests.running import Service
from tests.servers.synapse import MatrixRoom, Synapse

AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}
STREAM = "https://live.kestrel.example"
HURRIED = ("-m", "tests.hurried")
SEND = "PUT /_matrix/client/v3/rooms/*/send/m.room.message/*"
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)


def settings_of(room: MatrixRoom, **more: str) -> dict[str, str]:
    return {
        "MATRIX_HOMESERVER": room.homeserver,
        "MATRIX_ACCESS_TOKEN": room.token,
        "MATRIX_ROOM_ID": room.alias,
        # The address of the stream is shown, and asked for its status; nobody answers there.
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
        **AT_ONCE,
        **more,
    }


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Service] = []

    def begin(settings: dict[str, str]) -> Service:
        running.append(Service(tmp_path, settings, HURRIED))
        return running[-1]

    yield begin
    running[-1].stop()


def tell(service: Service, what: str, title: str = "Fitting a dovetail drawer") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def at(room: MatrixRoom, **settings: str) -> Matrix:
    return Matrix.model_validate(
        {
            "homeserver": room.homeserver,
            "access_token": room.token,
            "room_id": room.id,
            **settings,
        }
    )


def test_an_evening_is_one_message_that_stays_true(start: Start, matrix_room: MatrixRoom) -> None:
    matrix_room.allow_to_pin()
    service = start(settings_of(matrix_room, MATRIX_PIN="on"))
    tell(service, "start")
    service.until(matrix_room.pinned, "no pin")
    [live] = matrix_room.messages()
    assert (live.sender, live.edited) == (matrix_room.user, False)
    assert live.body == f"🔴 Kestrel Workshop is live: Fitting a dovetail drawer\n{STREAM}"
    assert f'<br><a href="{STREAM}">{STREAM}</a>' in live.html
    assert matrix_room.pinned() == [live.id]
    tell(service, "start", "the same again")
    tell(service, "title", "A <bench>")
    service.until(lambda: "bench" in matrix_room.messages()[0].body, "the title stays")
    tell(service, "title", "Fitting a dovetail drawer")
    service.until(lambda: "dovetail" in matrix_room.messages()[0].body, "no way back")
    tell(service, "title", "A <bench>")
    service.until(lambda: "bench" in matrix_room.messages()[0].body, "and not forth again")
    tell(service, "stop")
    service.until(lambda: "was live" in matrix_room.messages()[0].body, "it does not end")
    service.until(lambda: not matrix_room.pinned(), "it stays pinned")
    [over] = matrix_room.messages()
    assert (over.id, over.edited) == (live.id, True)
    assert "A &lt;bench&gt;" in over.html
    [row] = (one for one in service.posts().values() if "/live/" in one["key"])
    assert row["url"].startswith(f"https://matrix.to/#/!{matrix_room.id[1:]}/%24")
    assert row["url"].endswith("?via=localhost")


def test_f01_a_hostile_title_mentions_nobody_and_is_no_markup(
    start: Start, matrix_room: MatrixRoom
) -> None:
    hostile = (
        f'@room {matrix_room.owner} https://matrix.to/#/%40a:b <img src="mxc://a/b"> {{{{7*7}}}}'
    )
    service = start(settings_of(matrix_room))
    tell(service, "start", hostile)
    service.until(matrix_room.messages, "nothing was posted")
    tell(service, "title", f"still {hostile}")
    service.until(lambda: "still" in matrix_room.messages()[0].body, "the title stays")
    said = [one["content"] for one in matrix_room.events() if one["type"] == "m.room.message"]
    assert len(said) == 2
    for content in (*said, said[1]["m.new_content"]):
        assert content["m.mentions"] == {}
        assert "{{7*7}}" in content["body"]
        assert "matrix.to" not in content["body"] + content["formatted_body"]
        assert not re.search(r"@\w", content["body"] + content["formatted_body"])
        assert set(re.findall(r"<(\w+)", content["formatted_body"])) == {"br", "a"}


@pytest.mark.parametrize("point", [f"{SEND}: before", f"{SEND}: answered"])
@pytest.mark.parametrize("login", ["the same login", "another login"])
def test_a10_a_crash_while_matrix_takes_an_event_leaves_one_event(
    tmp_path: Path, start: Start, matrix_room: MatrixRoom, point: str, login: str
) -> None:
    trace = tmp_path / "passed"
    crash = {"ANNOUNCER_CRASH_AT": point, "ANNOUNCER_CRASH_TRACE": str(trace)}
    first = start(settings_of(matrix_room, **crash))
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
    first.kill()
    before = [one.id for one in matrix_room.messages()]
    assert len(before) == (1 if point.endswith("answered") else 0)
    again = matrix_room if login == "the same login" else matrix_room.with_another_login()
    second = start(settings_of(again))
    second.until(
        lambda: [one["state"] for one in second.posts().values()] == ["settled"], "never told"
    )
    [message] = matrix_room.messages()
    assert [message.id] == before or not before


def test_a10_the_same_transaction_twice_is_one_event(matrix_room: MatrixRoom) -> None:
    receipts = [at(matrix_room).publish(POST) for _ in range(2)]
    assert receipts[0] == receipts[1]
    [message] = matrix_room.messages()
    assert message.id == receipts[0].id


def test_a10_with_another_login_the_first_event_is_found(matrix_room: MatrixRoom) -> None:
    receipt = at(matrix_room).publish(POST)
    other = at(matrix_room.with_another_login())
    doubtful = replace(POST, doubtful_since=datetime.now(UTC))
    assert other.publish(doubtful) == receipt
    assert len(matrix_room.messages()) == 1
    other.publish(POST)
    assert len(matrix_room.messages()) == 2, "without a look it would double"


def test_a18_an_edit_that_is_repeated_is_one_event(matrix_room: MatrixRoom) -> None:
    network = at(matrix_room)
    receipt = network.publish(POST)
    for text in ("Benches", "Benches", "Drawers", "Benches"):
        network.revise(receipt, replace(POST, text=text))
    events = [one for one in matrix_room.events() if one["type"] == "m.room.message"]
    assert len(events) == 1 + 3
    assert [one.body for one in matrix_room.messages()] == ["Benches"]


def test_the_end_can_be_a_reply(start: Start, matrix_room: MatrixRoom) -> None:
    service = start(settings_of(matrix_room, MATRIX_WHEN_ENDED="reply"))
    tell(service, "start")
    service.until(matrix_room.messages, "nothing was posted")
    tell(service, "stop")
    service.until(lambda: len(matrix_room.messages()) == 2, "no word of the end")
    live, over = matrix_room.messages()
    assert over.content["m.relates_to"] == {"m.in_reply_to": {"event_id": live.id}}
    assert over.content["m.mentions"] == {}


def test_the_end_can_take_it_away_and_that_twice_is_fine(
    start: Start, matrix_room: MatrixRoom
) -> None:
    service = start(settings_of(matrix_room, MATRIX_WHEN_ENDED="remove"))
    tell(service, "start")
    service.until(matrix_room.messages, "nothing was posted")
    [live] = matrix_room.messages()
    tell(service, "stop")
    service.until(lambda: not matrix_room.messages(), "it is still there")
    gone = Receipt(live.id, extra={"room": matrix_room.id})
    at(matrix_room).remove(gone)
    at(matrix_room).remove(Receipt("$never", extra={"room": matrix_room.id}))


def test_e19_what_a_moderator_deleted_is_gone(matrix_room: MatrixRoom) -> None:
    receipt = at(matrix_room).publish(POST)
    matrix_room.delete(receipt.id)
    for gone in (receipt, replace(receipt, id="$never")):
        with pytest.raises(Gone):
            at(matrix_room).revise(gone, POST)
    assert matrix_room.messages() == []


def test_the_picture_is_there_and_stays_through_an_edit(matrix_room: MatrixRoom) -> None:
    network = at(matrix_room)
    receipt = network.publish(PICTURED)
    assert not receipt.note
    network.revise(receipt, replace(POST, text="It is over."))
    [message] = matrix_room.messages()
    assert message.body == "It is over."
    [uri] = re.findall(r'<img src="(mxc://[^"]+)" alt="A dovetail drawer"', message.html)
    assert matrix_room.media(uri) == PICTURE.data


@pytest.mark.parametrize("sign", ["&", '"', "\\", "日"])
def test_the_longest_edit_is_taken(matrix_room: MatrixRoom, sign: str) -> None:
    network = at(matrix_room)
    longest = replace(POST, text=sign * (network.limit() // network.measure(sign)))
    alt = sign * 1000
    receipt = network.publish(replace(longest, picture=replace(PICTURE, alt=alt)))
    network.revise(receipt, longest)
    assert matrix_room.messages()[0].edited


def test_e12_a_real_limit_is_waited_for(synapse: Synapse, matrix_room: MatrixRoom) -> None:
    synapse.allow(matrix_room.user, per_second=1, at_once=1)
    network = at(matrix_room)

    def publish_many() -> None:
        for n in range(20):
            network.publish(replace(POST, wire_key=f"{n}"))

    with pytest.raises(TryLater) as later:
        publish_many()
    assert 0 < later.value.wait.total_seconds() <= 2


def test_an_encrypted_room_is_refused_with_its_reason(start: Start, synapse: Synapse) -> None:
    room = synapse.new_room(encrypted=True)
    with pytest.raises(Refused, match="encrypted"):
        at(room).check()
    service = start(settings_of(room))
    tell(service, "start")
    service.until(
        lambda: [one["state"] for one in service.posts().values()] == ["failed"], "not refused"
    )
    assert room.messages() == []
    assert "the room is encrypted" in next(iter(service.posts().values()))["reason"]


def test_e17_a_room_that_it_is_not_in_refuses_and_closes_nothing(synapse: Synapse) -> None:
    room = synapse.new_room(member=False)
    for act in (at(room).check, lambda: at(room).publish(POST)):
        with pytest.raises(Refused, match="M_FORBIDDEN") as refusal:
            act()
        assert not refusal.value.closes


def test_e16_a_token_that_is_none_closes(matrix_room: MatrixRoom) -> None:
    network = at(matrix_room, access_token="none")
    for act in (network.check, lambda: network.publish(POST)):
        with pytest.raises(Refused, match="M_UNKNOWN_TOKEN") as refusal:
            act()
        assert refusal.value.closes


def test_check_says_who_it_is_and_what_it_may_not(matrix_room: MatrixRoom) -> None:
    assert at(matrix_room, room_id=matrix_room.alias).check().handle == matrix_room.user
    network = at(matrix_room, pin="on")
    assert "may not pin" in network.check().notes[0]
    receipt = network.publish(POST)
    with pytest.raises(Refused, match=r"user_level \(0\)"):
        network.shine(receipt, None, AT, again=False)
    matrix_room.allow_to_pin()
    assert network.check().notes == ()


def test_only_our_pin_is_taken_away(matrix_room: MatrixRoom) -> None:
    matrix_room.allow_to_pin()
    network = at(matrix_room, pin="on")
    theirs = network.publish(replace(POST, wire_key="theirs"))
    network.shine(theirs, None, AT, again=False)
    ours = network.publish(POST)
    for _ in range(2):
        network.shine(ours, None, AT, again=False)
    assert matrix_room.pinned() == [theirs.id, ours.id]
    for _ in range(2):
        network.dim(ours, None)
    assert matrix_room.pinned() == [theirs.id]


def test_no_homeserver_there(matrix_room: MatrixRoom) -> None:
    with pytest.raises(Refused, match="address of a homeserver"):
        at(matrix_room, homeserver=f"{matrix_room.homeserver}/elsewhere").publish(POST)
