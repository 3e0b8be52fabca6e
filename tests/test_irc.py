"""IRC: lines that arrive whole, call nobody and command nothing; and the channel's topic."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer import wire
from announcer.contract import POST
from announcer.facts import SAMPLES
from announcer.network import (
    Card,
    DeliveryError,
    Gone,
    Moment,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.irc import FEW, LINE, TOPIC, Irc
from announcer.wording import Templates
from tests.chatroom import NAME, Chatroom, chatroom
from tests.fakes import wait_until

AT = datetime(2026, 11, 23, 19, 16, tzinfo=UTC)
CARD = Card("https://live.example.org", "a dovetail drawer", "On now", "Kestrel Workshop")
OURS = "🔴 Live: https://live.example.org"
LIVE = Receipt("b1/live/irc#0")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ", 0.4)


@pytest.fixture
def room() -> Iterator[Chatroom]:
    with chatroom() as one:
        yield one


def at(room: Chatroom, **settings: str) -> Irc:
    return Irc.model_validate(
        {
            "server": "127.0.0.1",
            "port": str(room.port),
            "tls": "off",
            "nick": "kestrel",
            "channel": "#kestrel",
            **settings,
        }
    )


# What is said


def test_a_post_is_said_in_the_channel_and_we_leave(room: Chatroom) -> None:
    at(room).publish(POST)
    assert room.shown == [POST.text]
    wait_until(lambda: room.said[-1] == "QUIT")  # nobody answers it, so nobody waits for it
    assert room.said == [
        "NICK kestrel",
        "USER announcer 0 * :Announcer",
        "JOIN #kestrel",
        f"PRIVMSG #kestrel :{POST.text}",
        "PING :through",
        "QUIT",
    ]


def test_each_line_is_a_message_and_the_server_has_dealt_with_it_before_the_next(
    room: Chatroom,
) -> None:
    at(room).publish(replace(POST, text="one\n\n  two  \nthree"))
    assert room.shown == ["one", "two", "three"]
    sent = [line for line in room.said if line.startswith(("PRIVMSG", "PING"))]
    assert sent[1::2] == ["PING :through"] * 3


def test_many_lines_are_no_flood(room: Chatroom) -> None:
    text = "\n".join(f"line {n}" for n in range(FEW + 3))
    at(room).publish(replace(POST, text=text))
    assert room.shown == [" ".join(text.split("\n"))]


def test_a_long_line_is_cut_between_words_and_no_word_of_it_begins_a_message(
    room: Chatroom,
) -> None:
    at(room).publish(replace(POST, text="!kick anna " * 80))
    assert len(room.shown) == 3
    assert all(one.startswith("… ") for one in room.shown[1:])
    assert " ".join(one.removeprefix("… ") for one in room.shown) == ("!kick anna " * 80).strip()


OFFLINE = Irc.model_validate({"server": "irc.example", "nick": "n" * 30, "channel": "#" + "c" * 49})
TRICKS = [
    "\r\nQUIT :bye",
    "\x03" + "04red\x02\x1f\x16\x0f",
    "\x01ACTION waves\x01",
    "\0\u2028\x85x",
]


@pytest.mark.parametrize("mood", [Moment.LIVE, Moment.ENDED])
@settings(max_examples=80, deadline=None)
@given(title=st.one_of(st.sampled_from(TRICKS), st.text(max_size=300)), name=st.text(max_size=60))
def test_f04_no_title_is_a_command_and_every_line_arrives_whole(
    mood: Moment, title: str, name: str
) -> None:
    facts = replace(SAMPLES["with a usual title"], title=title, name=name)
    words = Templates(None).word(OFFLINE, "irc", mood, facts)
    assert not words.problem
    assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 for sign in words.text)
    lines = OFFLINE._lines(words.text, OFFLINE.nick)
    head = f":{OFFLINE.nick}!~announcer@{'h' * 63} PRIVMSG {OFFLINE.channel} :"
    assert all(len(f"{head}{one}".encode()) <= LINE for one in lines)
    assert 0 < len(lines) <= FEW
    assert "".join(one.removeprefix("… ") for one in lines).replace(" ", "") == (
        words.text.replace(" ", "")
    )


@pytest.mark.parametrize("text", ["a\r\nQUIT", "a\0b", "\x0304red", "\x01ACTION x\x01", "a\u2028b"])
def test_f04_not_even_a_template_sends_control_codes(room: Chatroom, text: str) -> None:
    at(room).publish(replace(POST, text=text))
    wait_until(lambda: room.said[-1] == "QUIT")
    assert room.said.count("QUIT") == 1
    assert all(one.isprintable() for one in room.shown)


def test_a_sign_that_is_longer_than_a_line_ends_all_the_same() -> None:
    lines = OFFLINE._lines("z" + "\u0301" * 2000 + " end", "kestrel")
    assert lines[-1].endswith("end")


def test_f01_a_title_highlights_nobody_who_is_there(room: Chatroom) -> None:
    assert POST.show
    room.members = ["@Anna", "+bert", "live", "kestrel", "bench"]
    show = replace(POST.show, title="anna, BERT: and annabel", url="https://live.example.org")
    text = "kestrel is live: anna, BERT: and annabel https://live.example.org bench"
    at(room).publish(replace(POST, text=text, show=show))
    [said] = room.shown
    assert said == (
        "kestrel is live: a\u200bnna, B\u200bERT: and annabel https://live.example.org bench"
    )


# Whether it is heard


@pytest.mark.parametrize(
    ("command", "answer", "error", "closes"),
    [
        ("PRIVMSG", "401 {} #kestrel :No such nick or channel name", Refused, False),
        ("PRIVMSG", "403 {} #kestrel :No such channel", Refused, False),
        ("PRIVMSG", "404 {} #kestrel :Cannot send to channel", Refused, False),
        ("PRIVMSG", "263 {} PRIVMSG :Please wait a while and try again.", TryLater, False),
        ("PRIVMSG", "ERROR :Closing Link: (Excess Flood)", Unsure, False),
        ("JOIN", "403 {} #kestrel :No such channel", Refused, False),
        ("JOIN", "471 {} #kestrel :Cannot join channel (+l)", TryLater, False),
        ("JOIN", "473 {} #kestrel :Cannot join channel (+i)", Refused, False),
        ("JOIN", "474 {} #kestrel :Cannot join channel (+b)", Refused, True),
        ("JOIN", "475 {} #kestrel :Cannot join channel (+k)", Refused, True),
        ("JOIN", "477 {} #kestrel :Cannot join channel (+r)", Refused, True),
        ("JOIN", "366 {} ##overflow :End of /NAMES list.", Refused, False),
        ("JOIN", "ERROR :Closing Link", TryLater, False),
        ("USER", "464 {} :Password incorrect", Refused, True),
        ("USER", "465 {} :You are banned from this server", Refused, True),
        ("USER", "ERROR :Closing Link: (Throttled)", TryLater, False),
        ("NICK", "432 {} kestrel :Erroneous nickname", Refused, False),
    ],
)
def test_a_number_means_one_of_the_errors(
    room: Chatroom, command: str, answer: str, error: type[DeliveryError], *, closes: bool
) -> None:
    room.answers[command] = answer
    with pytest.raises(error) as problem:
        at(room).publish(POST)
    assert getattr(problem.value, "closes", False) is closes
    assert room.shown == []


def test_what_is_up_in_part_is_up_and_the_rest_is_told(room: Chatroom) -> None:
    room.answers["PRIVMSG #kestrel :two"] = "404 {} #kestrel :Cannot send to channel"
    receipt = at(room).publish(replace(POST, text="one\ntwo\nthree"))
    assert room.shown == ["one"]
    assert receipt.note == "not all of it: 404 Cannot send to channel"


def test_a_ping_is_answered_before_the_welcome(room: Chatroom) -> None:
    room.pings = True
    at(room).publish(POST)
    assert "PONG :are you there" in room.said


def test_somebody_who_says_pong_is_not_taken_for_the_server(room: Chatroom) -> None:
    room.answers["PING :through"] = f"PONG {NAME} :another\r\n:{NAME} 404 k #kestrel :no"
    with pytest.raises(Refused, match="404"):
        at(room).publish(POST)


# Who we are


def test_a_nick_in_use_gets_an_underscore(room: Chatroom) -> None:
    room.taken = {"kestrel", "kestrel_"}
    assert at(room).check().handle == "kestrel__ at 127.0.0.1"
    room.taken |= {"kestrel__", "kestrel___"}
    with pytest.raises(TryLater, match="in use"):
        at(room).check()


def test_an_account_is_proven_by_sasl(room: Chatroom) -> None:
    at(room, password="pässwort 1").publish(POST)
    at(room, username="account", password="x" * 300).publish(POST)
    at(room, username="a", password="x" * 297).publish(POST)  # 400 letters exactly
    assert room.logins == [
        ["kestrel", "kestrel", "pässwort 1"],
        ["account", "account", "x" * 300],
        ["a", "a", "x" * 297],
    ]
    assert len(room.shown) == 3


@pytest.mark.parametrize("old", [True, False], ids=["it knows no CAP", "it knows no SASL"])
def test_without_sasl_nobody_is_let_in_unproven(room: Chatroom, *, old: bool) -> None:
    room.knows_sasl = False
    if old:
        room.answers["CAP"] = "421 {} CAP :Unknown command"
    with pytest.raises(Refused, match="IRC_LOGIN"):
        at(room, password="secret").publish(POST)
    assert room.shown == []


def test_nickserv_is_told_before_the_channel_is_joined(room: Chatroom) -> None:
    at(room, password="secret", login="nickserv").publish(POST)
    assert room.logins == [["kestrel", "secret"]]
    told, joined = (
        next(n for n, line in enumerate(room.said) if line.startswith(word))
        for word in ("PRIVMSG NickServ", "JOIN")
    )
    assert told < joined
    assert room.shown == [POST.text]


def test_a_server_and_a_channel_are_given_their_passwords(room: Chatroom) -> None:
    at(room, password="secret", login="server", channel_key="key").publish(POST)
    assert room.said[0] == "PASS secret"
    assert "JOIN #kestrel key" in room.said


def test_a_check_joins_nothing(room: Chatroom) -> None:
    at(room).check()
    assert not any(line.startswith("JOIN") for line in room.said)


# The topic


def test_the_topic_says_it_while_it_is_live_and_is_as_before_then(room: Chatroom) -> None:
    room.topic = "Woodwork | rules: be kind"
    network = at(room, topic="on")
    network.shine(LIVE, CARD, AT, again=False)
    assert room.topic == f"{OURS} | Woodwork | rules: be kind"
    network.shine(LIVE, CARD, AT, again=True)
    network.dim(LIVE, CARD)
    assert room.topic == "Woodwork | rules: be kind"
    network.dim(LIVE, CARD)
    assert sum(line.startswith("TOPIC") for line in room.said) == 2
    assert room.shown == []


def test_a_channel_without_a_topic_has_none_again(room: Chatroom) -> None:
    network = at(room, topic="on")
    network.shine(LIVE, CARD, AT, again=False)
    assert room.topic == OURS
    network.dim(LIVE, CARD)
    assert room.topic == ""


def test_a_topic_that_a_person_changed_is_left_alone(room: Chatroom) -> None:
    network = at(room, topic="on")
    network.shine(LIVE, CARD, AT, again=False)
    room.topic = "Closed for today"
    network.dim(LIVE, CARD)
    assert room.topic == "Closed for today"
    with pytest.raises(Gone):
        network.shine(LIVE, CARD, AT, again=True)
    assert room.topic == "Closed for today"


def test_what_stands_behind_it_may_change_meanwhile(room: Chatroom) -> None:
    network = at(room, topic="on")
    room.topic = "old"
    network.shine(LIVE, CARD, AT, again=False)
    room.topic = room.topic.replace("old", "new")
    network.dim(LIVE, CARD)
    assert room.topic == "new"


def test_a_topic_is_never_cut(room: Chatroom) -> None:
    room.topic = "x" * 280
    with pytest.raises(Refused, match="no room"):
        at(room, topic="on").shine(LIVE, CARD, AT, again=False)
    room.topic_length, room.topic = 9999, "x" * (TOPIC - len(OURS.encode()) - 2)
    with pytest.raises(Refused, match="no room"):
        at(room, topic="on").shine(LIVE, CARD, AT, again=False)


def test_who_may_not_change_the_topic_is_told(room: Chatroom) -> None:
    room.answers["TOPIC"] = "482 {} #kestrel :You're not a channel operator"
    with pytest.raises(Refused, match="482"):
        at(room, topic="on").shine(LIVE, CARD, AT, again=False)
    with pytest.raises(Refused, match="OWNCAST_URL"):
        at(room, topic="on").shine(LIVE, None, AT, again=False)
    assert at(room, topic="on").wants_badge
    assert not at(room).wants_badge


# Settings


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"server": "irc://irc.example"}, "irc.libera.chat"),
        ({"server": "irc.example.org"}, "overheard"),
        ({"nick": "1kestrel"}, "must be a nick"),
        ({"nick": "kes trel"}, "must be a nick"),
        ({"nick": "k" * 31}, "must be a nick"),
        ({"channel": "#kestrel,#other"}, "must be a channel"),
        ({"channel": "#a b"}, "must be a channel"),
        ({"channel": ""}, "must be a channel"),
        ({"channel_key": "a b"}, "no spaces"),
    ],
)
def test_what_can_not_be_used_is_told_at_once(
    room: Chatroom, wrong: dict[str, str], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        at(room, **wrong)


def test_a_channel_may_be_written_without_its_sign(room: Chatroom) -> None:
    assert at(room, channel="kestrel").channel == "#kestrel"
