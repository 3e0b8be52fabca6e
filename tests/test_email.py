"""E-mail: a mail for each recipient, and what became of each."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer import connection, wire
from announcer.contract import PICTURE, PICTURED, POST, Behaviour
from announcer.facts import SAMPLES
from announcer.network import (
    DeliveryError,
    ForgetfulMemory,
    Moment,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks import email as module
from announcer.networks.email import Email
from announcer.wording import Templates
from tests.postbox import USER, Postbox, postbox

ANNA, BERT, CLEO, DORA, EMIL = (
    f"{name}@audience.example" for name in ("anna", "bert", "cleo", "dora", "emil")
)
EVERYBODY = ", ".join((ANNA, BERT, CLEO, DORA, EMIL))
PASSWORD = "correct-kestrel"
LIVE = replace(
    POST,
    text="Kestrel Workshop is live: a drawer\n\nOn now\n\nWatch now: https://live.example.org",
)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ", 0.3)


@pytest.fixture
def box() -> Iterator[Postbox]:
    with postbox(PASSWORD) as one:
        yield one


def at(box: Postbox, to: str = ANNA, **settings: str) -> Email:
    return Email.model_validate(
        {
            "to": to,
            "from_": "Kestrel Workshop <live@kestrel.example>",
            "smtp_host": "127.0.0.1",
            "smtp_port": str(box.port),
            "username": USER,
            "password": PASSWORD,
            **settings,
        }
    )


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


# What a mail says


def test_a_mail_says_the_words_in_both_forms(box: Postbox) -> None:
    receipt = at(box).publish(LIVE)
    [(_, mail)] = box.mails
    assert mail["From"] == "Kestrel Workshop <live@kestrel.example>"
    assert (mail["To"], mail["Cc"], mail["Bcc"]) == (ANNA, None, None)
    assert mail["Subject"] == "Kestrel Workshop is live: a drawer"
    assert mail["Date"].datetime == LIVE.worded_at
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == receipt.id
    assert re.fullmatch(r"<\w{32}@kestrel\.example>", receipt.id)
    assert part(mail, "plain").strip() == LIVE.text
    page = part(mail, "html")
    assert ">Kestrel Workshop is live: a drawer</h1>" in page
    assert '<a href="https://live.example.org">https://live.example.org</a>' in page
    assert "EHLO kestrel.example" in box.said, "the name of this machine is nobody's business"


def test_everybody_gets_a_mail_of_their_own_and_sees_no_other_address(box: Postbox) -> None:
    at(box, EVERYBODY).publish(LIVE)
    assert box.recipients == [ANNA, BERT, CLEO, DORA, EMIL]
    for (to, _), raw in zip(box.mails, box.raw, strict=True):
        assert set(re.findall(rb"\w+@audience\.example", raw)) == {to.encode()}
    assert box.conversations == 1


def test_a_picture_is_in_the_mail_with_its_words(box: Postbox) -> None:
    alt = '"><script>a & b'
    at(box).publish(replace(LIVE, picture=replace(PICTURE, alt=alt)))
    [(_, mail)] = box.mails
    [picture] = (one for one in mail.walk() if one.get_content_maintype() == "image")
    assert picture.get_content() == PICTURE.data
    assert picture.get_content_disposition() == "inline"
    page = part(mail, "html")
    assert f'src="cid:{picture["Content-ID"][1:-1]}"' in page
    assert html.escape(alt) in page
    assert "<script" not in page
    assert part(mail, "plain").strip() == LIVE.text


def test_the_end_answers_the_start(box: Postbox) -> None:
    start = at(box).publish(LIVE)
    at(box).publish(replace(LIVE, key="b1/ended/contract", text="It is over.", reply_to=start))
    _, (_, mail) = box.mails
    assert mail["In-Reply-To"] == mail["References"] == start.id != mail["Message-ID"]


def test_the_same_post_is_the_same_bytes(box: Postbox) -> None:
    for _ in range(2):
        at(box).publish(PICTURED)
    first, second = box.raw
    assert first == second


def test_a_line_that_begins_with_a_dot_arrives(box: Postbox) -> None:
    text = "one\n.\n..two\n.three\nQUIT"
    at(box).publish(replace(LIVE, text=text))
    assert part(box.mails[0][1], "plain").strip() == text


def test_a_long_first_line_is_cut_in_the_subject_only(box: Postbox) -> None:
    at(box).publish(replace(LIVE, text="word " * 60 + "end"))
    [(_, mail)] = box.mails
    assert mail["Subject"] == "word " * 22 + "word…"
    assert part(mail, "plain").strip().endswith("word end")
    at(box).publish(replace(LIVE, key="b2", text="👨‍👩‍👧‍👦" * 150))
    assert box.mails[1][1]["Subject"] == "👨‍👩‍👧‍👦" * 119 + "…"


def test_ids_and_addresses_are_never_folded_into_encoded_words(box: Postbox) -> None:
    far = "a-domain-with-a-name-that-is-long.and-longer-than-a-line-of-prose-may-be.example"
    network = at(
        box, from_=f"live@{far}", unsubscribe="https://lists.kestrel.example/out?who={address}&" * 2
    )
    start = network.publish(LIVE)
    network.publish(replace(LIVE, key="b2", reply_to=start))
    head = box.raw[1].partition(b"\r\n\r\n")[0]
    assert f"\r\nReferences: {start.id}\r\n".encode() in head
    assert b"\r\nMessage-ID: <" in head
    assert b"=?" not in head


@pytest.mark.parametrize(
    ("way", "header", "one_click"),
    [
        ("", None, None),
        ("leave@kestrel.example", "<mailto:leave@kestrel.example?subject=unsubscribe>", None),
        ("https://kestrel.example/leave", "<https://kestrel.example/leave>", None),
        (
            "https://kestrel.example/leave?who={address}",
            "<https://kestrel.example/leave?who=anna%40audience.example>",
            "List-Unsubscribe=One-Click",
        ),
    ],
)
def test_a_way_out_is_told_to_people_and_programs(
    box: Postbox, way: str, header: str | None, one_click: str | None
) -> None:
    at(box, unsubscribe=way).publish(LIVE)
    [(_, mail)] = box.mails
    assert mail["List-Unsubscribe"] == header
    assert mail["List-Unsubscribe-Post"] == one_click
    assert ("Unsubscribe" in part(mail, "html")) is bool(way)
    if header:
        assert header[1:-1] in part(mail, "plain")
        assert f'href="{header[1:-1]}"' in part(mail, "html")


def test_a_test_goes_to_the_first_recipient_only(box: Postbox) -> None:
    at(box, EVERYBODY).publish(replace(LIVE, test=True))
    assert box.recipients == [ANNA]


class Seen(HTMLParser):
    """What a reader of HTML sees, and what could be clicked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str | None] = []
        self.text = ""
        self.feed(page.partition("<body")[2].partition(">")[2])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


OFFLINE = Email.model_validate({"to": ANNA, "from_": "a@b.example", "smtp_host": "mail.example"})
TRICKS = [
    "\r\nBcc: eve@evil.example",
    "=?utf-8?q?=0ABcc=3A_eve?= =?utf-8?b?ZXZpbA==?=",
    "<img src=x onerror=alert(1)> </h1><a href='https://evil.example'>win</a>",
    "https://evil.example/ &lt;b&gt; &amp;",
    "{{7*7}} {% raw %} {subject} {0}",
    "\u2028Bcc: a\x0bb\x85c \u202etxt",
    "👨‍👩‍👧‍👦 🇩🇪 ｅ́ é",
]


@pytest.mark.parametrize("mood", [Moment.LIVE, Moment.ENDED])
@settings(max_examples=60, deadline=None)
@given(title=st.one_of(st.sampled_from(TRICKS), st.text(max_size=250)), name=st.text(max_size=40))
def test_f04_f07_no_title_is_a_header_or_markup(mood: Moment, title: str, name: str) -> None:
    facts = replace(SAMPLES["with a usual title"], title=title, name=name, summary=title)
    words = Templates(None).word(OFFLINE, "email", mood, facts)
    assert not words.problem
    post = replace(LIVE, text=words.text)
    raw = OFFLINE._letter(post, ANNA, None)
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    mail = message_from_bytes(raw, policy=policy.default)
    ours = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"}
    assert set(mail.keys()) - {"MIME-Version", "Content-Type"} == ours
    assert len(mail.keys()) == 8
    first = " ".join(words.text.splitlines()[0].split())
    told = mail["Subject"].replace("=\u200b?", "=?")
    assert told == first or (told.endswith("…") and first.startswith(told[:-1]))
    assert part(mail, "plain").strip() == words.text
    seen = Seen(part(mail, "html"))
    assert " ".join(seen.text.split()) == " ".join(words.text.split())
    assert seen.tags <= {"h1", "p", "a", "br"}
    assert set(seen.links) <= {"https://live.example.org"}


@pytest.mark.parametrize(
    "line",
    [
        "🔴 ¡ is live: 👨‍👩‍👧‍👦 🇩🇪 ｅ́ é",
        "The stream was live: 👨‍👩‍👧‍👦 🇩🇪 ｅ́ é",
        "Küche, Öl und Äpfel: " + "Übung macht den Meister " * 4,
    ],
)
def test_a_subject_of_many_words_arrives_with_all_its_spaces(box: Postbox, line: str) -> None:
    """CPython's own folding loses the one before the flag."""
    at(box, from_="Köstrel Wörkshop mit Äpfeln und Öl <live@kestrel.example>").publish(
        replace(LIVE, text=line)
    )
    [(_, mail)] = box.mails
    assert mail["Subject"] == line.strip()
    assert mail["From"].addresses[0].display_name == "Köstrel Wörkshop mit Äpfeln und Öl"
    assert max(map(len, box.raw[0].partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78


def test_what_looks_like_an_encoded_word_stays_what_it_is(box: Postbox) -> None:
    at(box).publish(replace(LIVE, text="live: =?utf-8?q?evil=0A?="))
    assert box.mails[0][1]["Subject"].replace("\u200b", "") == "live: =?utf-8?q?evil=0A?="


def test_our_own_words_have_no_hashtags_in_mails() -> None:
    facts = replace(SAMPLES["with a usual title"], tags=("woodwork",))
    assert "#" not in Templates(None).word(OFFLINE, "email", Moment.LIVE, facts).text


# Some have it


def test_e28_only_who_was_not_told_is_tried_again(box: Postbox) -> None:
    box.answers = {
        f"RCPT TO:<{BERT}>": "550 5.1.1 <bert@audience.example>: no such user",
        f"RCPT TO:<{DORA}>": "451 4.7.1 <dora@audience.example> greylisted",
    }
    memory = ForgetfulMemory()
    network = at(box, EVERYBODY)
    network.remember_in(memory)
    with pytest.raises(TryLater) as later:
        network.publish(LIVE)
    assert box.recipients == [ANNA, CLEO, EMIL]
    assert later.value.wait == timedelta(minutes=1)
    assert str(later.value) == (
        "3 of 5 have it; d…@audience.example: 451 4.7.1 <d…@audience.example> greylisted; "
        "b…@audience.example: 550 5.1.1 <b…@audience.example>: no such user"
    )
    box.answers.clear()
    box.said.clear()
    again = at(box, EVERYBODY)  # after a restart, and with the key of another try
    again.remember_in(memory)
    receipt = again.publish(replace(LIVE, wire_key="b1/live/contract/1", text="a new title"))
    assert box.recipients == [ANNA, CLEO, EMIL, DORA]
    assert [line for line in box.said if "RCPT" in line] == [f"RCPT TO:<{DORA}>"]
    assert receipt.note == (
        "4 of 5 have it; b…@audience.example: 550 5.1.1 <b…@audience.example>: no such user"
    )
    assert set(box.identities) == {receipt.id}, "an answer to it reaches everybody's"
    assert not re.search("(anna|bert|cleo|dora|emil)@", str(memory.get("told")))


def test_e28_everybody_has_it_and_nothing_is_to_be_told(box: Postbox) -> None:
    assert at(box, EVERYBODY).publish(LIVE).note == ""


def test_a16_who_may_have_a_mail_gets_the_same_once_more_and_nobody_else(box: Postbox) -> None:
    memory = ForgetfulMemory()
    network = at(box, EVERYBODY)
    network.remember_in(memory)
    box.answers = {f". <{CLEO}>": "000 cut"}
    with pytest.raises(Unsure, match=r"4 of 5 have it; c…@\S+: the connection broke"):
        network.publish(LIVE)
    assert box.recipients == [ANNA, BERT, CLEO, DORA, EMIL], "one doubt holds up nobody"
    assert box.conversations == 2
    box.answers.clear()
    again = at(box, EVERYBODY)
    again.remember_in(memory)
    again.publish(replace(LIVE, doubtful_since=LIVE.worded_at))
    assert box.recipients[5:] == [CLEO]
    assert box.raw[5] == box.raw[2]
    assert len(set(box.identities)) == 1


def test_a_conversation_that_ends_between_two_mails_leaves_no_doubt(box: Postbox) -> None:
    box.answers = {f"RCPT TO:<{CLEO}>": "421 4.3.2 shutting down"}
    network = at(box, f"{ANNA},{BERT},{CLEO}")
    with pytest.raises(TryLater, match="2 of 3 have it"):
        network.publish(LIVE)
    box.answers.clear()
    network.publish(LIVE)
    assert box.recipients == [ANNA, BERT, CLEO]


def test_who_has_one_post_gets_the_next(box: Postbox) -> None:
    network = at(box)
    for key in ("b1/live/email", "b2/live/email"):
        network.publish(replace(LIVE, key=key))
    network.publish(replace(LIVE, key="b2/live/email", edition=1))
    assert len(set(box.identities)) == 3


def test_it_is_forgotten_who_has_an_old_post(box: Postbox) -> None:
    network = at(box)
    network.remember_in(memory := ForgetfulMemory())
    for number in range(module.PAGES + 3):
        network.publish(replace(LIVE, key=f"b{number}/live/email"))
    kept = json.loads(str(memory.get("told")))
    assert len(kept) == module.PAGES
    assert f"b{module.PAGES + 2}/live/email.0" in kept


def test_where_all_were_refused_a_person_may_try_it_again(box: Postbox) -> None:
    box.answers = {"RCPT": "552 5.2.2 mailbox full"}
    network = at(box, f"{ANNA},{BERT}")
    with pytest.raises(Refused, match=r"0 of 2 have it; a…@\S+, b…@\S+: 552"):
        network.publish(LIVE)
    box.answers.clear()
    network.publish(LIVE)
    assert box.recipients == [ANNA, BERT]


def test_time_that_is_up_leaves_the_others_to_the_next_try(
    box: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 1.0, 1.0, *[module.ENOUGH + 1] * 9])
    clock = SimpleNamespace(monotonic=lambda: next(moments))
    monkeypatch.setattr(module, "time", clock)
    network = at(box, f"{ANNA},{BERT},{CLEO}")
    with pytest.raises(TryLater, match="its turn has not come yet"):
        network.publish(LIVE)
    assert box.recipients == [ANNA]
    monkeypatch.undo()
    network.publish(LIVE)
    assert box.recipients == [ANNA, BERT, CLEO]


def test_g07_mails_after_our_turn_are_left_to_others(box: Postbox) -> None:
    soon = connection.now() - timedelta(seconds=1)
    with pytest.raises(TryLater, match="our turn is over"), connection.not_after(soon):
        at(box, f"{ANNA},{BERT}").publish(LIVE)
    assert box.mails == []


# What a server answers


@pytest.mark.parametrize(
    ("where", "answer", "error", "closes"),
    [
        pytest.param("220", "421 4.3.2 too busy", TryLater, False, id="busy at once"),
        pytest.param("220", "554 5.7.1 no service for you", Refused, False, id="no service"),
        pytest.param("EHLO", "421 4.7.0 try again later (EHLO)", TryLater, False, id="ehlo"),
        pytest.param("STARTTLS", "454 4.7.0 TLS not available", TryLater, False, id="no tls now"),
        pytest.param("AUTH", "535 5.7.8 bad credentials", Refused, True, id="wrong password"),
        pytest.param("AUTH", "534 5.7.9 app password needed", Refused, True, id="app password"),
        pytest.param("AUTH", "454 4.7.0 try later", TryLater, False, id="login is down"),
        pytest.param("MAIL", "530 5.7.0 log in", Refused, True, id="wants a login"),
        pytest.param("MAIL", "553 5.7.1 sender not yours", Refused, True, id="not our address"),
        pytest.param("MAIL", "550 5.7.1 blocked for now", Refused, False, id="sender refused"),
        pytest.param("MAIL", "452 4.3.1 no room", TryLater, False, id="no room"),
        pytest.param("RCPT", "450 4.2.1 mailbox busy", TryLater, False, id="mailbox busy"),
        pytest.param("RCPT", "451 4.7.1 greylisted", TryLater, False, id="greylisted"),
        pytest.param("RCPT", "550 5.1.1 no such user", Refused, False, id="no such user"),
        pytest.param("DATA", "451 4.3.0 not now", TryLater, False, id="data later"),
        pytest.param("DATA", "554 5.5.1 no", Refused, False, id="data never"),
        pytest.param(".", "451 4.3.0 queue is down", TryLater, False, id="queue is down"),
        pytest.param(".", "421 4.3.2 shutting down", TryLater, False, id="shutting down"),
        pytest.param(".", "554 5.7.1 looks like spam", Refused, False, id="spam"),
        pytest.param(".", "354 what?", Unsure, False, id="nonsense at the end"),
        pytest.param(".", "hello", Unsure, False, id="no answer at the end"),
        pytest.param("RCPT", "hello", TryLater, False, id="no answer before it"),
        pytest.param("RCPT", "250 " + "x" * 10_000, TryLater, False, id="a line without end"),
    ],
)
def test_an_answer_means_what_its_first_digit_says(
    box: Postbox,
    where: str,
    answer: str,
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    box.answers[where] = answer
    with pytest.raises(error) as problem:
        at(box).publish(LIVE)
    assert getattr(problem.value, "closes", False) is closes
    assert len(box.mails) == (error is Unsure)
    if answer[:3].isdigit() and len(answer) < 99 and error is not Unsure:
        assert answer in str(problem.value)


def test_a_wrong_password_is_said_once(box: Postbox) -> None:
    with pytest.raises(Refused):
        at(box, password="wrong").publish(LIVE)
    assert box.said.count("AUTH") == 1


@pytest.mark.parametrize("ways", ["AUTH PLAIN LOGIN", "AUTH LOGIN XOAUTH2", "AUTH=PLAIN"])
def test_a_login_is_made_the_way_that_is_offered(box: Postbox, ways: str) -> None:
    box.offers[True] = [ways]
    at(box).publish(LIVE)
    assert box.recipients == [ANNA]


@pytest.mark.parametrize("offers", [["AUTH XOAUTH2"], ["SIZE 10000"]])
def test_a_server_that_offers_no_login_is_told(box: Postbox, offers: list[str]) -> None:
    box.offers[True] = offers
    with pytest.raises(Refused, match="offers no login"):
        at(box).publish(LIVE)


def test_e09_without_tls_nothing_is_said(box: Postbox) -> None:
    box.offers[False] = ["AUTH PLAIN LOGIN"]  # as somebody in between would have it
    with pytest.raises(Refused, match="STARTTLS"):
        at(box).publish(LIVE)
    assert box.secrets_in_clear == []
    assert box.said == ["EHLO kestrel.example"]


def test_e09_a_certificate_that_does_not_hold_ends_it_before_a_login(
    box: Postbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with postbox() as another:
        trusted = another  # its authority is the one that is trusted in here
        with pytest.raises(TryLater, match="certificate"):
            at(box).publish(LIVE)
    assert trusted.said == []
    assert box.said == ["EHLO kestrel.example", "STARTTLS"]


def test_tls_from_the_first_byte() -> None:
    with postbox(PASSWORD, tls_at_once=True) as box:
        at(box, encryption="tls").publish(LIVE)
        assert box.recipients == [ANNA]
        assert "STARTTLS" not in box.said


def test_a_server_of_our_own_network_may_do_without(box: Postbox) -> None:
    box.answers["MAIL"] = "250 ok"
    at(box, encryption="off", username="", password="").publish(LIVE)
    assert box.recipients == [ANNA]
    assert "STARTTLS" not in box.said


@pytest.mark.parametrize("says_so", [True, False])
def test_a_picture_that_is_too_big_loses_no_mail(box: Postbox, *, says_so: bool) -> None:
    if says_so:
        box.offers[True] = ["AUTH PLAIN", "SIZE 20000"]
    else:
        box.room = 20_000
    big = replace(PICTURED, picture=replace(PICTURE, data=b"x" * 40_000))
    receipt = at(box, f"{ANNA},{BERT}").publish(big)
    assert box.recipients == [ANNA, BERT]
    assert not any(one.get_content_maintype() == "image" for _, m in box.mails for one in m.walk())
    assert receipt.note.startswith("without its picture: ")
    assert box.said.count("DATA") == (2 if says_so else 3), "a refused picture is not tried again"


def test_who_does_not_exist_costs_nobody_the_picture(box: Postbox) -> None:
    box.answers[f"RCPT TO:<{ANNA}>"] = "550 5.1.1 no such user"
    at(box, f"{ANNA},{BERT}").publish(PICTURED)
    [(_, mail)] = box.mails
    assert any(one.get_content_maintype() == "image" for one in mail.walk())


def test_no_address_is_shown_in_full(box: Postbox) -> None:
    told = repr(at(box, EVERYBODY)) + str(at(box, EVERYBODY))
    for answer in ("550 <{}> unknown", '451 "{}": wait', "550 {}, no"):
        box.answers = {f"RCPT TO:<{one}>": answer.format(one) for one in (ANNA, BERT)}
        with pytest.raises(DeliveryError) as problem:
            at(box, f"{ANNA},{BERT}").publish(LIVE)
        told += str(problem.value)
    assert "anna@" not in told
    assert "bert@" not in told
    assert "a…@audience.example" in told


def test_a_check_proves_login_and_sender_and_sends_nothing(box: Postbox) -> None:
    account = at(box, EVERYBODY).check()
    assert (account.handle, account.notes) == ("live@kestrel.example", ("to 5 recipients",))
    assert "MAIL FROM:<live@kestrel.example>" in " ".join(box.said)
    assert not any("RCPT" in line or "DATA" in line for line in box.said)
    box.answers["MAIL"] = "553 5.7.1 not yours"
    with pytest.raises(Refused) as refusal:
        at(box).check()
    assert refusal.value.closes


def test_a_check_of_a_silent_server_is_no_doubt(box: Postbox) -> None:
    box.behaviour = Behaviour.DEAF
    with pytest.raises(TryLater, match="no answer in time"):
        at(box).check()


# Settings


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"to": " , "}, "one address at least"),
        ({"to": ",".join(f"a{n}@b.example" for n in range(51))}, "50 at most"),
        ({"to": "anna"}, "addresses like"),
        ({"to": "anna@audience.example>\r\nDATA"}, "addresses like"),
        ({"to": "änna@audience.example"}, "addresses like"),
        ({"from_": "Kestrel"}, "address like"),
        ({"from_": "Kestrel\nBcc: <a@b.example>"}, "address like"),
        ({"smtp_host": "https://mail.example"}, "smtp.example.org"),
        ({"encryption": "off", "smtp_host": "mail.example.org"}, "overheard"),
        ({"encryption": "off"}, "in clear"),
        ({"password": ""}, "belong together"),
        ({"username": ""}, "belong together"),
        ({"password": "pässwort"}, "ASCII"),
        ({"unsubscribe": "http://kestrel.example/leave"}, "https://"),
        ({"unsubscribe": "https://kestrel.example/a b>"}, "https://"),
        ({"smtp_port": "0"}, "greater"),
    ],
)
def test_what_can_not_be_used_is_told_at_once(
    box: Postbox, wrong: dict[str, str], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        at(box, **{"to": ANNA, **wrong})


def test_port_465_means_tls_from_the_first_byte(box: Postbox) -> None:
    assert at(box, smtp_port="465").secured == "tls"
    assert at(box, smtp_port="587").secured == "starttls"
    assert at(box, smtp_port="465", encryption="starttls").secured == "starttls"


def test_the_same_address_twice_is_one_mail(box: Postbox) -> None:
    at(box, f"{ANNA}, {BERT}; Anna@audience.example").publish(LIVE)
    assert len(box.mails) == 2


def test_a_receipt_needs_no_address(box: Postbox) -> None:
    assert at(box).publish(LIVE) == Receipt(box.identities[0])
