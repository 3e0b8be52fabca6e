"""A real XMPP server, and what somebody else in the room is shown."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from announcer import rehearsal
from announcer.contract import POST
from announcer.network import Network, Refused, TryLater
from announcer.networks.xmpp import Xmpp
from tests.fakes import wait_until
from tests.running import Service
from tests.servers.prosody import RoomMessage, XmppRoom

AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}
TRUSTING = ("-m", "tests.trusting")
RETRACT = "{urn:xmpp:message-retract:1}retract"
STANZA = "{urn:xmpp:sid:0}stanza-id"


@pytest.fixture
def settings(xmpp_room: XmppRoom) -> dict[str, str]:
    return {
        "XMPP_JID": xmpp_room.user,
        "XMPP_PASSWORD": xmpp_room.password,
        "XMPP_ROOM": xmpp_room.room,
        "XMPP_NICKNAME": "Kestrel Live",
        "XMPP_HOST": xmpp_room.host,
        "XMPP_PORT": str(xmpp_room.port),
        "TRUSTED": str(xmpp_room.authority),
        **AT_ONCE,
    }


@pytest.fixture
def trusted(xmpp_room: XmppRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(xmpp_room.authority))


def started(folder: Path, settings: dict[str, str]) -> Iterator[Service]:
    running = Service(folder, settings, TRUSTING)
    yield running
    running.stop()


@pytest.fixture
def service(tmp_path: Path, settings: dict[str, str]) -> Iterator[Service]:
    yield from started(tmp_path, settings)


@pytest.fixture
def removing(tmp_path: Path, settings: dict[str, str]) -> Iterator[Service]:
    yield from started(tmp_path, {**settings, "XMPP_WHEN_ENDED": "remove"})


def tell(service: Service, what: str, title: str = "Fitting a dovetail drawer") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_an_evening_is_one_message_that_stays_true(service: Service, xmpp_room: XmppRoom) -> None:
    def says(words: str) -> bool:
        return any(words in message.body for message in xmpp_room.messages())

    tell(service, "start", "*drawers* & </body><x> @reader \u202e {{7*7}} ]]>")
    service.until(lambda: says("is live"), "no start")
    [start] = xmpp_room.messages()
    assert start.nick == "Kestrel Live"
    words = "\u200b*drawers* & </body><x> @\u200breader {{7*7}} ]]\u200b>"
    assert words in start.body, "as it was, but for what an app would make of it"
    tell(service, "title", "a bench")
    service.until(lambda: says("a bench"), "the title stays")
    tell(service, "stop", "a bench")
    service.until(lambda: says("was live"), "no end")
    [end] = xmpp_room.messages()
    assert (end.id, end.nick, end.corrected) == (start.id, "Kestrel Live", True)
    assert xmpp_room.archive() == [end], "whoever comes later sees the same"


def test_what_is_taken_away_is_retracted_by_the_rooms_own_id(
    removing: Service, xmpp_room: XmppRoom
) -> None:
    tell(removing, "start")
    removing.until(xmpp_room.messages, "no start")
    [start] = [one for one in xmpp_room.reader.heard() if one["body"]]
    tell(removing, "stop")
    removing.until(lambda: len(xmpp_room.reader.heard()) > 1, "it is not taken away")
    retracted = [one.xml.find(RETRACT) for one in xmpp_room.reader.heard()][-1]
    named = start.xml.find(STANZA)
    assert retracted is not None
    assert named is not None
    assert retracted.attrib["id"] == named.attrib["id"]


@pytest.mark.parametrize("point", ["say: before", "say: answered"])
def test_a_crash_while_the_room_takes_a_message_leaves_one_message(
    tmp_path: Path, settings: dict[str, str], xmpp_room: XmppRoom, point: str
) -> None:
    trace = tmp_path / "passed"
    crash = {"ANNOUNCER_CRASH_AT": point, "ANNOUNCER_CRASH_TRACE": str(trace)}
    first = Service(tmp_path, settings | crash, TRUSTING)
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
    first.kill()
    before = xmpp_room.messages()
    assert len(before) == (1 if point == "say: answered" else 0)
    second = Service(tmp_path, settings, TRUSTING)

    def is_told() -> bool:
        return any(post["state"] == "settled" for post in second.posts().values())

    second.until(is_told, "it was never told")
    second.stop()
    [message] = xmpp_room.messages()
    assert [message] == before or not before


def at(there: XmppRoom, **settings: str) -> Xmpp:
    return Xmpp.model_validate(
        {
            "jid": there.user,
            "password": there.password,
            "room": there.room,
            "host": there.host,
            "port": there.port,
            **settings,
        }
    )


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("tls", ["starttls", "direct"])
def test_both_kinds_of_encryption_are_spoken(xmpp_room: XmppRoom, tls: str) -> None:
    port = xmpp_room.port if tls == "starttls" else xmpp_room.tls_port
    before = threading.active_count()
    network = at(xmpp_room, tls=tls, port=str(port))
    receipt = network.publish(POST)
    wait_until(lambda: threading.active_count() <= before)  # no thread outlives a try
    assert xmpp_room.messages() == [
        RoomMessage(id=receipt.id, nick="Announcer", body=POST.text, links=())
    ]
    assert receipt.extra["archived"]
    assert network.check().notes == ()


@pytest.mark.parametrize("tls", ["starttls", "direct"])
def test_e09_a_certificate_that_nobody_vouches_for_ends_it(xmpp_room: XmppRoom, tls: str) -> None:
    port = xmpp_room.port if tls == "starttls" else xmpp_room.tls_port
    with pytest.raises(TryLater, match="its certificate does not hold"):
        at(xmpp_room, tls=tls, port=str(port)).publish(POST)
    assert xmpp_room.messages() == []


@pytest.mark.usefixtures("trusted")
def test_a_message_is_found_in_the_archive_by_its_id(xmpp_room: XmppRoom) -> None:
    network = at(xmpp_room)
    now = datetime.now(UTC)
    doubtful = replace(POST, worded_at=now, doubtful_since=now)
    assert network.find(doubtful) is None
    receipt = network.publish(POST)
    assert network.find(doubtful) == receipt
    assert network.find(replace(doubtful, wire_key="another")) is None


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_closes(xmpp_room: XmppRoom) -> None:
    refuses(at(xmpp_room, password="wrong"), "not-authorized")


@pytest.mark.usefixtures("trusted")
def test_a_room_that_is_not_there_is_neither_made_nor_spoken_in(xmpp_room: XmppRoom) -> None:
    elsewhere = at(xmpp_room, room=f"nobody-{xmpp_room.room}")
    for _ in range(2):  # the first one has not left it behind
        refuses(elsewhere, "there is no such room")


@pytest.mark.usefixtures("trusted")
def test_a_room_for_members_only_refuses(xmpp_room: XmppRoom) -> None:
    configure(xmpp_room, "muc#roomconfig_membersonly")
    refuses(at(xmpp_room), "only members may enter")


@pytest.mark.usefixtures("trusted")
def test_a_room_where_we_have_no_voice_refuses(xmpp_room: XmppRoom) -> None:
    configure(xmpp_room, "muc#roomconfig_moderatedroom")
    refuses(at(xmpp_room), "no voice")


@pytest.mark.usefixtures("trusted")
def test_a_nickname_that_is_taken_costs_no_announcement(xmpp_room: XmppRoom) -> None:
    network = at(xmpp_room, nickname="reader")
    receipt = network.publish(POST)
    assert receipt.note == "as reader (live): its name is taken"
    assert network.revise(receipt, replace(POST, text="It is over.")) == receipt
    [message] = xmpp_room.messages()
    assert (message.nick, message.body) == ("reader (live)", "It is over.")


def refuses(network: Network, why: str) -> None:
    with pytest.raises(Refused, match=why) as refusal:
        network.publish(POST)
    assert refusal.value.closes


def configure(room: XmppRoom, switch: str) -> None:
    """The reader, who made the room, turns *switch* on."""
    reader = room.reader

    async def set_it() -> None:
        muc = reader._client.plugin["xep_0045"]
        form = await muc.get_room_config(room.room)
        form["values"] = {**form["values"], switch: True}
        await muc.set_room_config(room.room, form)

    asyncio.run_coroutine_threadsafe(set_it(), reader._loop).result(10)
