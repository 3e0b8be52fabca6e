"""The page for viewers and its doors: who may knock, how often, and with what."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from werkzeug.test import TestResponse

from announcer.events import Event, Kind
from announcer.network import Welcomes
from announcer.web import push
from tests.fakes import NOW
from tests.house import ONE, House, house, locked
from tests.pushservice import CONTACT, Browser
from tests.rows.webpush import key

KEY, MUSIC = key("a"), key("music")
PUSH = {**ONE, "WEBPUSH_PRIVATE_KEY": KEY, "WEBPUSH_CONTACT": CONTACT}
TWO = {**PUSH, "WEBPUSH__MUSIC__PRIVATE_KEY": MUSIC, "WEBPUSH__MUSIC__CONTACT": CONTACT}
PAGES = ("/push", "/push/", "/push/default", "/push/default/app.webmanifest", "/push/sw.js")
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, TWO) as made:
        yield made


def subscription(name: str = "a") -> dict[str, Any]:
    return Browser(name).subscription("https://push.example")


def ask(
    house: House,
    what: Any,
    method: str = "POST",
    account: str = "default",
    address: str = "9.9.9.9",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> TestResponse:
    given = {"content_type": "application/json", **more}
    return house.client.open(
        f"/push/{account}/subscription",
        method=method,
        data=what if isinstance(what, str | bytes) else json.dumps(what),
        headers=SAME if headers is None else headers,
        environ_base={"REMOTE_ADDR": address},
        **given,
    )


def count(house: House, account: str = "webpush") -> int:
    return len([row for row in house.stored()["subscribers"] if row[0] == account])


def test_where_it_is_not_set_up_nothing_is_there(tmp_path: Path) -> None:
    with house(tmp_path) as bare:
        for path in PAGES:
            assert bare.client.get(path).status_code == 404
        assert ask(bare, subscription()).status_code == 404
        assert ask(bare, {"endpoint": "a"}, "DELETE").status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_the_page_is_open_to_the_world_and_never_leads_away(there: House, path: str) -> None:
    answer = there.client.get(path, environ_base={"REMOTE_ADDR": "9.9.9.9"})
    assert answer.status_code == 200


def test_the_operators_pages_stay_closed(there: House) -> None:
    answer = there.client.get("/", environ_base={"REMOTE_ADDR": "9.9.9.9"})
    assert answer.status_code == 403


def test_each_account_has_its_page_with_its_key(there: House) -> None:
    for name, path in (("webpush", "/push"), ("webpush.music", "/push/music")):
        network = there.parts.settings.destinations[name]
        assert isinstance(network, Welcomes)
        assert f'data-key="{network.public_key}"' in there.client.get(path).text
    assert there.client.get("/push/nobody").status_code == 404


def test_nothing_on_the_page_is_from_elsewhere_or_alive(there: House) -> None:
    answer = there.client.get("/push")
    text = answer.text.replace('<a href="https://live.kestrel.example"', "<a")
    assert "//" not in text
    assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=|<style", text)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_service_worker_may_be_one_and_is_not_kept_for_long(there: House) -> None:
    answer = there.client.get("/push/sw.js")
    assert answer.mimetype == "text/javascript"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; connect-src 'self'"


HOSTILE = """</h1><script>alert(1)</script>"' onload=a() {{ 7*7 }}"""


def test_a_hostile_name_is_text(there: House) -> None:
    assert "when <bdi>live.kestrel.example</bdi> is live" in there.client.get("/push").text
    there.parts.intake.take(Event("e", "default", Kind.STARTED, NOW, name=HOSTILE), NOW)
    text = there.client.get("/push").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "{{ 7*7 }}" in text
    manifest = json.loads(there.client.get("/push/default/app.webmanifest").text)
    assert manifest["name"] == HOSTILE


def test_to_subscribe_is_kept_once_however_often_it_is_said(there: House) -> None:
    one = subscription()
    for _ in range(3):
        answer = ask(there, one)
        assert (answer.status_code, answer.data) == (204, b"")
    assert count(there) == 1
    assert ask(there, one, account="music").status_code == 204
    assert count(there, "webpush.music") == 1
    for _ in range(2):
        assert ask(there, {"endpoint": one["endpoint"]}, "DELETE").status_code == 204
    assert count(there) == 0
    assert count(there, "webpush.music") == 1


def test_the_database_does_not_tell_where_somebody_is(there: House) -> None:
    one = subscription("a-word-that-nobody-guesses")
    ask(there, one)
    for file in there.file.parent.iterdir():
        raw = file.read_bytes()
        for secret in ("a-word-that-nobody-guesses", one["keys"]["auth"], one["keys"]["p256dh"]):
            assert secret.encode() not in raw, file.name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://localhost"}, 204),
        ({"Origin": "https://live.example", "X-Forwarded-Host": "a, live.example"}, 204),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({}, 403),
    ],
)
def test_another_page_can_not_do_it(there: House, headers: dict[str, str], status: int) -> None:
    assert ask(there, subscription(), headers=headers).status_code == status
    assert count(there) == (1 if status == 204 else 0)
    answer = ask(there, {"endpoint": "x"}, "DELETE", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("", 400),
        ("no JSON", 400),
        ("[]", 400),
        ("null", 400),
        ("[" * 3000, 400),
        (b"\xff\xfe", 400),
        ("{}", 400),
        ({"endpoint": "https://10.0.0.1/a", "keys": {"p256dh": "a", "auth": "b"}}, 400),
        (" " * (push.LARGEST + 1), 413),
        (json.dumps(subscription()) + " " * push.LARGEST, 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_subscription_is_refused(there: House, what: Any, status: int) -> None:
    answer = ask(there, what)
    assert answer.status_code == status
    assert "10.0.0.1" not in answer.text
    assert count(there) == 0


def test_only_json_is_read(there: House) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(there, subscription(), content_type=kind).status_code == 415
    packed = {**SAME, "Content-Encoding": "gzip"}
    assert ask(there, subscription(), headers=packed).status_code == 415
    assert there.client.get("/push/default/subscription").status_code == 405


def test_an_address_gets_so_many_and_no_other_has_to_wait_for_it(there: House) -> None:
    for number in range(push.CHANGES):
        assert ask(there, subscription(f"s{number}")).status_code == 204
    answer = ask(there, subscription("more"))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= push.REGAINED
    assert ask(there, {"endpoint": "x"}, "DELETE").status_code == 429
    assert ask(there, subscription("more"), address="9.9.9.8").status_code == 204
    forged = {**SAME, "X-Forwarded-For": "1.2.3.4"}
    assert ask(there, subscription("again"), headers=forged).status_code == 429
    assert ask(there, subscription("p"), address="10.0.0.1", headers=forged).status_code == 204


def test_where_there_is_no_more_room_it_is_said_and_told_the_operator_once(
    there: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.networks.webpush.MOST", 1)
    ask(there, subscription("a"))
    with structlog.testing.capture_logs() as lines:
        for name in ("b", "c"):
            assert ask(there, subscription(name)).status_code == 503
    assert [line["destination"] for line in lines] == ["webpush"]
    assert count(there) == 1


def test_a_database_that_is_away_is_said_and_shows_nothing(
    there: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = subscription()
    there.parts.outbox.engine.dispose()
    monkeypatch.setattr("announcer.outbox.database.PRAGMAS", ("journal_mode=WAL", "busy_timeout=1"))
    with locked(there):
        answer = ask(there, one)
    assert answer.status_code == 503
    assert one["endpoint"] not in answer.text
    assert ask(there, one).status_code == 204
