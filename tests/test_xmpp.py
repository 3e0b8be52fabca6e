"""XMPP: a room where people chat, and all the ways in which it may not let us speak."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer.contract import POST, SECRET, Behaviour
from announcer.network import DeliveryError, Receipt, Refused, TryLater, Unsure
from announcer.networks.xmpp import Xmpp
from tests.parlour import ROOM, Parlour, parlour
from tests.pigeon import loft
from tests.rogue import Authority
from tests.rows.xmpp import SPOKEN

REPLACE = "{urn:xmpp:message-correct:0}replace"
RETRACT = "{urn:xmpp:message-retract:1}retract"
[ROW] = SPOKEN
HOUR = timedelta(hours=1)


@pytest.fixture
def there() -> Iterator[Parlour]:
    with parlour() as one:
        yield one


def at(where: int, **settings: str) -> Xmpp:
    return Xmpp.model_validate({**ROW.settings(where), **settings})


def test_a_message_is_as_it_was_worded_and_has_our_id(there: Parlour) -> None:
    receipt = at(there.port).publish(POST)
    [message] = there.stanzas
    assert message.attrib["type"] == "groupchat"
    assert message.attrib["id"] == receipt.id
    assert [child.tag for child in message] == [
        "{jabber:client}body",
        "{urn:xmpp:sid:0}origin-id",
    ], "no mention, no link that an app would take for a file"
    assert receipt == Receipt(
        receipt.id, f"xmpp:{ROOM}?join", {"nick": "Announcer", "archived": "kept-0"}
    )


def test_a_room_that_gives_ids_of_its_own_is_understood(there: Parlour) -> None:
    there.keeps_ids = False
    assert at(there.port).publish(POST).extra["archived"] == "kept-0"


def test_the_same_post_has_the_same_id_and_another_one_another(there: Parlour) -> None:
    network = at(there.port)
    for post in (POST, POST, replace(POST, wire_key="b1/ended/contract/0")):
        network.publish(post)
    there.password = "another"
    at(there.port, password="another").publish(POST)
    first, again, other, later = there.identities
    assert first == again == later != other


def test_every_correction_names_the_first_message(there: Parlour) -> None:
    network = at(there.port)
    receipt = network.publish(POST)
    for text in ("Retitled", "It is over."):
        assert network.revise(receipt, replace(POST, text=text)) == receipt
    _, retitled, ended = there.stanzas
    for correction in (retitled, ended):
        [replaced] = correction.findall(REPLACE)
        assert replaced.attrib["id"] == receipt.id
    assert len(set(there.identities)) == 3
    assert there.shown[1:] == ["Retitled", "It is over."]


def test_a_title_that_comes_back_is_a_change_of_its_own(there: Parlour) -> None:
    network = at(there.port)
    receipt = network.publish(POST)
    network.revise(receipt, replace(POST, text="A"))
    network.revise(receipt, replace(POST, text="A", worded_at=POST.worded_at + HOUR))
    network.revise(receipt, replace(POST, text="A", worded_at=POST.worded_at + HOUR))
    _, once, back, again = there.identities
    assert once != back == again


def test_g21_the_library_logs_nothing_of_what_it_sends_or_gets(
    there: Parlour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    at(there.port).publish(POST)
    there.behaviour = Behaviour.NONSENSE
    with pytest.raises(TryLater):
        at(there.port).publish(POST)
    assert [record.name for record in caplog.records if record.name.startswith("slixmpp")] == []


def test_what_is_taken_away_is_named_by_the_rooms_own_id(there: Parlour) -> None:
    network = at(there.port)
    network.remove(network.publish(POST))
    network.remove(Receipt("ours"))
    named = [one.attrib["id"] for stanza in there.stanzas for one in stanza.findall(RETRACT)]
    assert named == ["kept-0", "ours"], "the only id there is, in a room that gives none"


def test_what_xml_can_not_say_is_left_out(there: Parlour) -> None:
    at(there.port).publish(replace(POST, text="a\x00b\x0bc\ud800d\ufffee\n\tf\U0001f600<&>'\"]]>"))
    assert there.shown == ["abcde\n\tf\U0001f600<&>'\"]]>"]


@pytest.mark.parametrize(
    ("refusal", "error", "closes", "told"),
    [
        ("wait resource-constraint", TryLater, False, "resource-constraint: in its words"),
        ("wait policy-violation", TryLater, False, "policy-violation"),
        ("cancel service-unavailable", TryLater, False, "service-unavailable"),
        ("cancel remote-server-not-found", TryLater, False, "remote-server-not-found"),
        ("modify policy-violation", Refused, False, "policy-violation"),
        ("modify not-acceptable", Refused, False, "not-acceptable"),
        ("cancel not-allowed", Refused, False, "not-allowed"),
        ("auth forbidden", Refused, True, "forbidden"),
        ("auth not-authorized", Refused, True, "not-authorized"),
    ],
)
def test_a_message_that_is_refused_means_one_of_the_errors(
    there: Parlour,
    refusal: str,
    error: type[DeliveryError],
    closes: bool,  # of a table
    told: str,
) -> None:
    there.said = refusal
    with pytest.raises(error, match=told) as problem:
        at(there.port).publish(POST)
    assert getattr(problem.value, "closes", False) is closes
    assert there.shown == []


@pytest.mark.parametrize(
    ("refusal", "error", "told"),
    [
        ("auth not-authorized", Refused, "wants a password"),
        ("auth forbidden", Refused, "banned"),
        ("auth registration-required", Refused, "only members"),
        ("cancel item-not-found", Refused, "no such room"),
        ("cancel not-allowed", Refused, "no such room"),
        ("cancel gone", Refused, "has moved or is gone"),
        ("modify not-acceptable", Refused, "another nickname"),
        ("cancel service-unavailable", TryLater, "service-unavailable"),
        ("wait resource-constraint", TryLater, "resource-constraint"),
        ("cancel remote-server-not-found", TryLater, "remote-server-not-found"),
    ],
)
def test_whom_the_room_does_not_let_in_is_told_why(
    there: Parlour, refusal: str, error: type[DeliveryError], told: str
) -> None:
    there.door = refusal
    for ask in (lambda: at(there.port).publish(POST), at(there.port).check):
        with pytest.raises(error, match=told) as problem:
            ask()
        assert getattr(problem.value, "closes", True) is (error is Refused) or error is TryLater
    assert there.shown == []


def test_a_room_that_we_would_make_is_no_room(there: Parlour) -> None:
    there.exists = False
    with pytest.raises(Refused, match="no such room") as refusal:
        at(there.port).publish(POST)
    assert refusal.value.closes
    assert there.shown == []


def test_who_has_no_voice_does_not_try_to_speak(there: Parlour) -> None:
    there.role = "visitor"
    with pytest.raises(Refused, match="no voice") as refusal:
        at(there.port).publish(POST)
    assert refusal.value.closes


def test_another_name_is_taken_where_ours_is_somebody_elses(there: Parlour) -> None:
    there.taken = frozenset({"Announcer"})
    network = at(there.port)
    receipt = network.publish(POST)
    assert receipt.extra["nick"] == "Announcer (live)"
    assert "its name is taken" in receipt.note
    assert network.check().notes == ("the nickname Announcer is taken in the room",)
    there.taken = frozenset({"Announcer (live)"})
    with pytest.raises(TryLater, match="our nickname is taken"):
        network.revise(receipt, POST)
    assert len(there.shown) == 1, "under another name it would be a second message"


def test_where_every_name_is_taken_it_waits(there: Parlour) -> None:
    there.taken = frozenset({"Announcer", "Announcer (live)"})
    with pytest.raises(TryLater, match="our nickname is taken"):
        at(there.port).publish(POST)


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("not-authorized", Refused),
        ("account-disabled", Refused),
        ("credentials-expired", Refused),
        ("temporary-auth-failure", TryLater),
    ],
)
def test_a_login_that_fails_is_told_in_the_servers_word(
    there: Parlour, condition: str, error: type[DeliveryError]
) -> None:
    there.login = condition
    with pytest.raises(error, match=condition) as problem:
        at(there.port).check()
    assert getattr(problem.value, "closes", error is Refused) is (error is Refused)


@pytest.mark.parametrize(
    ("mechanisms", "tls", "error"),
    [
        pytest.param(("PLAIN", "SCRAM-SHA-1"), "starttls", TryLater, id="TLS was taken out"),
        pytest.param(("ANONYMOUS", "DIGEST-MD5", "CRAM-MD5"), "off", Refused, id="unsafe ones"),
    ],
)
def test_nothing_of_the_password_leaves_where_it_would_not_be_safe(
    there: Parlour, mechanisms: tuple[str, ...], tls: str, error: type[DeliveryError]
) -> None:
    there.mechanisms = mechanisms
    with pytest.raises(error, match=r"no TLS|no way to log in"):
        at(there.port, tls=tls).publish(POST)
    assert b"<auth" not in there.heard


@pytest.mark.parametrize(
    ("ends", "error", "told"),
    [
        ("policy-violation", Unsure, "policy-violation"),
        ("system-shutdown", Unsure, "system-shutdown"),
        ("host-gone", Refused, "XMPP_HOST"),
        ("see-other-host", Refused, "XMPP_HOST"),
    ],
)
def test_a_server_that_sends_us_away_says_why(
    there: Parlour, ends: str, error: type[DeliveryError], told: str
) -> None:
    there.ends = ends
    with pytest.raises(error, match=told):
        at(there.port).publish(POST)


def test_what_may_be_up_is_looked_up_in_the_archive(there: Parlour) -> None:
    network = at(there.port)
    doubtful = replace(POST, doubtful_since=POST.worded_at)
    assert network.find(doubtful) is None
    for other in range(5):
        network.publish(replace(POST, wire_key=f"another {other}"))
    receipt = network.publish(POST)
    network.revise(receipt, replace(POST, text="Retitled"))
    assert network.find(doubtful) == receipt
    assert network.find(replace(doubtful, wire_key="b1/ended/contract/0")) is None
    assert b"2026-11-23T19:05:31Z" in there.heard, "not from the beginning of time"
    assert len(there.shown) == 7


def test_where_nothing_is_kept_nobody_says_that_it_is_not_up(there: Parlour) -> None:
    there.archived = False
    with pytest.raises(Refused, match="may be posted, and the room keeps no archive"):
        at(there.port).find(POST)
    [note] = at(there.port).check().notes
    assert "nobody can look" in note


@pytest.mark.parametrize(
    ("refusal", "error"),
    [("wait resource-constraint", TryLater), ("auth forbidden", Refused)],
)
def test_an_archive_that_does_not_answer_says_nothing_about_the_post(
    there: Parlour, refusal: str, error: type[DeliveryError]
) -> None:
    there.looked = refusal
    with pytest.raises(error):
        at(there.port).find(POST)


def test_e09_a_certificate_for_another_domain_ends_it(trusted: Authority) -> None:
    """Of the domain in the address, wherever its server is."""
    for domain in ("another.example", "127.0.0.1"):
        with (
            loft(trusted.server(domain)) as locked,
            pytest.raises(TryLater, match="its certificate does not hold"),
        ):
            at(locked.port, tls="direct").publish(POST)


@given(st.text(alphabet="a *_~`>\n", max_size=30))
def test_no_style_of_xep_0393_begins_in_what_is_escaped(title: str) -> None:
    escaped = at(9).escape(title)
    for before, sign in zip(f"\n{escaped}", escaped, strict=False):
        assert sign not in "*_~`>" or not (before.isspace() or before in "*_~`>")
    assert escaped.replace("\u200b", "") == title


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"jid": "announcer"}, "must be an address"),
        ({"room": "rooms.example.org"}, "must be an address"),
        ({"room": "a b@@c"}, "must be an address"),
        ({"host": "chat.example.org"}, "overheard"),
        ({"host": "", "jid": "announcer@example.org"}, "overheard"),
        ({"port": "0"}, "greater than or equal to 1"),
    ],
)
def test_what_can_not_work_is_told_at_once(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as problem:
        at(9, **settings)
    assert SECRET not in str(problem.value)


def test_an_address_is_taken_as_apps_show_it() -> None:
    network = at(9, jid="Announcer@LOCALHOST/phone", room=f"xmpp:{ROOM}")
    assert (network.jid, network.room) == ("announcer@localhost", ROOM)
