"""A real mail server, and what lies in the mailboxes behind it."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from announcer import rehearsal
from announcer.contract import POST
from announcer.network import Refused, TryLater
from announcer.networks.email import Email
from tests.fakes import wait_until
from tests.running import SECONDS, Service
from tests.servers.smtp import MailServer

ANNA, BERT, CLEO = "anna@kestrel.example", "bert@kestrel.example", "cleo@kestrel.example"
PROGRAM = """
import requests.adapters
requests.adapters.DEFAULT_CA_BUNDLE_PATH = {authority!r}
from datetime import timedelta
from announcer.networks import email
email.GREYLISTED = timedelta(seconds=1)
from announcer.cli import main
main()
"""
Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path, mail_server: MailServer) -> Iterator[Start]:
    """The service, which trusts the certificate of the tests."""
    running: list[Service] = []
    program = PROGRAM.format(authority=str(mail_server.authority.file))

    def one(**more: str) -> Service:
        settings = {
            "EMAIL_TO": f"{ANNA}, {BERT}, {CLEO}",
            "EMAIL_FROM": "Kestrel Workshop <live@kestrel.example>",
            "EMAIL_SMTP_HOST": mail_server.host,
            "EMAIL_SMTP_PORT": str(mail_server.port),
            "EMAIL_USERNAME": mail_server.user,
            "EMAIL_PASSWORD": mail_server.password,
            "ANNOUNCER_HOLD": "0s",
            "ANNOUNCER_GRACE": "0s",
            "ANNOUNCER_POLL": "0s",
            **more,
        }
        running.append(Service(tmp_path, settings, ("-c", program)))
        return running[-1]

    yield one
    for service in running:
        if service.process.poll() is None:
            service.stop()


def tell(service: Service, what: str, title: str = "Fitting a dovetail drawer") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def states(service: Service) -> list[str]:
    return [str(row["state"]) for row in service.posts().values()]


def at(server: MailServer, **settings: str) -> Email:
    return Email.model_validate(
        {
            "to": ANNA,
            "from_": "live@kestrel.example",
            "smtp_host": server.host,
            "smtp_port": server.port,
            "username": server.user,
            "password": server.password,
            **settings,
        }
    )


@pytest.fixture
def trusting(mail_server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(mail_server.authority.file)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", where)


def test_an_evening_is_two_mails_for_everybody(start: Start, mail_server: MailServer) -> None:
    service = start(EMAIL_WHEN_ENDED="reply")
    title = "Drawers\r\nBcc: eve@evil.example\r\n\r\n.\r\n<b>{{7*7}}</b> =?utf-8?q?x?= ä ö"
    tell(service, "start", title)
    service.until(lambda: len(mail_server.mails) == 3, "nobody is told")
    tell(service, "start", "the same again")
    tell(service, "title", "a bench")
    tell(service, "stop")
    service.until(lambda: len(mail_server.mails) == 6, "no word of the end")
    for one in (ANNA, BERT, CLEO):
        first, second = mail_server.mails_to(one)
        assert first.recipients == second.recipients == (one,)
        assert first.sender == "live@kestrel.example"
        assert first.message["Subject"].replace("\u200b", "") == (
            "🔴 Kestrel Workshop is live: "
            "Drawers Bcc: eve@evil.example . <b>{{7*7}}</b> =?utf-8?q?x?= ä ö"
        )
        assert first.message["Bcc"] is None
        assert "<b>" not in first.text("html")
        assert "&lt;b&gt;{{7*7}}&lt;/b&gt;" in first.text("html")
        assert "was live" in second.message["Subject"]
        assert second.message["In-Reply-To"] == first.message["Message-ID"]
    service.until(lambda: states(service) == ["settled"] * 2, "it is not known")


def test_e28_who_is_greylisted_is_told_by_and_by_and_nobody_twice(
    start: Start, mail_server: MailServer, tmp_path: Path
) -> None:
    mail_server.answers = {BERT: f"451 4.7.1 <{BERT}>: greylisted", CLEO: f"550 <{CLEO}> unknown"}
    service = start()
    tell(service, "start")
    service.until(
        lambda: any("451" in str(row) for row in service.posts().values()), "it is not tried"
    )
    del mail_server.answers[BERT]
    service.until(lambda: states(service) == ["settled"], "it is not told")
    assert [mail.recipients for mail in mail_server.mails] == [(ANNA,), (BERT,)]
    [row] = service.posts().values()
    assert "2 of 3 have it; c…@kestrel.example: 550" in str(row)
    said = str(row) + service.log
    said += (tmp_path / "announcer.db").read_bytes().decode("latin-1")
    assert not any(one in said for one in (ANNA, BERT, CLEO))


@pytest.mark.parametrize("wish", ["repeat", "stop"])
def test_a16_a_crash_after_the_last_byte_repeats_that_mail_only(
    start: Start, mail_server: MailServer, tmp_path: Path, wish: str
) -> None:
    trace = tmp_path / "passed"
    point = "say: answered"
    crash: Mapping[str, str] = {
        "ANNOUNCER_CRASH_AT": f"{point}#2",
        "ANNOUNCER_CRASH_TRACE": str(trace),
        "EMAIL_WHEN_UNSURE": wish,
    }
    first = start(**crash)
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and trace.read_text().splitlines().count(point) == 2)
    first.kill()
    assert [mail.recipients for mail in mail_server.mails] == [(ANNA,), (BERT,)]
    second = start(EMAIL_WHEN_UNSURE=wish)
    if wish == "stop":
        second.until(lambda: states(second) == ["unsure"], "it is not left to a person")
        assert len(mail_server.mails) == 2
        [key] = second.posts()
        subprocess.run(
            [sys.executable, "-m", "announcer", "retry", key],
            cwd=tmp_path,
            env=second.environment,
            check=True,
            timeout=SECONDS,
        )
    second.until(lambda: states(second) == ["settled"], "it was never told")
    assert [mail.recipients for mail in mail_server.mails] == [(ANNA,), (BERT,), (BERT,), (CLEO,)]
    assert len({mail.message["Message-ID"] for mail in mail_server.mails}) == 1
    if wish == "repeat":
        assert mail_server.mails[1].raw == mail_server.mails[2].raw


def test_a_wrong_password_closes(mail_server: MailServer, trusting: None) -> None:
    with pytest.raises(Refused) as refusal:
        at(mail_server, password="wrong").publish(POST)
    assert refusal.value.closes
    assert at(mail_server).check().handle == "live@kestrel.example"
    assert mail_server.mails == []


def test_a_login_that_is_due_and_missing_closes(mail_server: MailServer, trusting: None) -> None:
    with pytest.raises(Refused, match="530") as refusal:
        at(mail_server, username="", password="").publish(POST)
    assert refusal.value.closes


def test_e09_a_certificate_of_nobody_is_not_taken(mail_server: MailServer) -> None:
    with pytest.raises(TryLater, match="certificate"):
        at(mail_server).publish(POST)


def test_tls_from_the_first_byte(mail_server: MailServer, trusting: None) -> None:
    server = MailServer(mail_server.authority, tls_from_the_start=True)
    try:
        at(server, encryption="tls").publish(POST)
        assert [mail.recipients for mail in server.mails] == [(ANNA,)]
    finally:
        server.stop()
