"""The pages for people: what the first one shows, to whom, and what every answer has."""

import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import structlog
from werkzeug.test import TestResponse

from announcer import policy
from announcer.content import Content
from announcer.events import Event, Kind
from announcer.network import Moment, Receipt, Refused, Repeat, Unsure
from announcer.outbox import Claim, Try
from announcer.policy import Entry
from announcer.web import HEADERS, door
from announcer.web.crowd import ADDRESSES, GUESSES, REGAINED, THROUGH, Guesses, who
from tests.house import ONE, TWO, House, house

HOSTILE = """</code></div><script>alert(1)</script><img src=x onerror='a()'>"quoted" & {{ 7*7 }}"""
PASSWORD = "pässword with a space"
EVERY_SECRET: Mapping[str, str] = {
    **TWO,
    "ANNOUNCER_ADMIN_PASSWORD": "canary-admin-password",
    "OWNCAST_ACCESS_TOKEN": "canary-owncast-token",
    "MASTODON_API_BASE_URL": "https://social.example",
    "MASTODON_ACCESS_TOKEN": "canary-mastodon-token",
    "BLUESKY_IDENTIFIER": "kestrel.example",
    "BLUESKY_APP_PASSWORD": "canary-bluesky-password",
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/17/canary-discord-webhook",
    "X_CONSUMER_KEY": "canary-x-consumer-key",
    "X_CONSUMER_SECRET": "canary-x-consumer-secret",
    "X_ACCESS_TOKEN": "canary-x-access-token",
    "X_ACCESS_TOKEN_SECRET": "canary-x-access-token-secret",
}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, links and visible words."""

    def __init__(self, answer: TestResponse) -> None:
        super().__init__()
        assert answer.status_code == 200
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.elements: Counter[str] = Counter()
        self.links: list[str] = []
        self.words = ""
        self.feed(answer.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.elements[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        yield made


def begin(
    there: House, title: str = "Fitting a dovetail drawer", channel: str = "default"
) -> Claim:
    """A broadcast that is live, and its one post, which is about to leave."""
    now = datetime.now(UTC)
    there.parts.intake.take(Event(f"e-{channel}", channel, Kind.STARTED, now, title=title), now)
    there.past_the_hold()
    (claim,) = there.parts.outbox.claim("me", now, 10)
    return claim


def become(there: House, claim: Claim, entry: Entry, text: str = "", link: str = "") -> None:
    """What became of it: *text* left, *entry* came back, seen at *link*."""
    box, now = there.parts.outbox, datetime.now(UTC)
    if text:
        assert box.freeze(
            claim, Content(text, "live.txt", Moment.LIVE, None, now, now).frozen(), now
        )
    tried = Try(now, 0.1, "publish", "delivered" if link else "failed", entry.reason)
    assert box.store(claim, entry, now, tried, Receipt("7", link) if link else None)


def look(there: House, **headers: str) -> TestResponse:
    return there.client.get("/", headers=headers)


# What is shown


def test_a_new_announcer_says_what_to_do_next(home: House) -> None:
    words = Page(look(home)).words
    assert "You are not live" in words
    assert "announcer simulate start" in words


def test_without_a_destination_the_page_says_so(tmp_path: Path) -> None:
    with house(tmp_path, {"OWNCAST_WEBHOOK_SECRET": "a-secret"}) as empty:
        assert "No destination is configured" in Page(look(empty)).words


def test_a_post_that_is_up_is_shown_with_its_words_and_link(home: House) -> None:
    claim = begin(home)
    become(home, claim, policy.settled(claim.entry), "We are live", "https://discord.com/c/1")
    page = Page(look(home))
    for shown in (
        "Fitting a dovetail drawer",
        "You are live",
        "Discord",
        "posted",
        "We are live",
        "1 of 1 told",
    ):
        assert shown in page.words
    assert claim.entry.broadcast in page.words, "the operator needs the key"
    assert "https://discord.com/c/1" in page.links


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (Refused("403 no such right"), "failed"),
        (Unsure("no answer in time"), "may be posted"),
    ],
)
def test_a_post_that_is_not_up_is_shown_with_the_reason(
    home: House, problem: Exception, state: str
) -> None:
    claim, now = begin(home), datetime.now(UTC)
    assert isinstance(problem, Refused | Unsure)
    entry = policy.after(claim.entry, problem, Repeat.DOUBLES, left=now, now=now, dice=0)
    become(home, claim, entry)
    words = Page(look(home)).words
    assert state in words
    assert str(problem) in words
    assert "1 try" in words
    assert "0 of 1 told · 1 needs you" in words


def test_a_post_that_waits_is_shown_with_the_time_of_its_next_try(home: House) -> None:
    now = datetime.now(UTC)
    home.parts.intake.take(Event("e", "default", Kind.STARTED, now), now)
    words = Page(look(home)).words
    assert "waiting" in words
    assert "next try in" in words
    assert f"{now + timedelta(seconds=30):%H:%M:%S} UTC" in words


def test_a_closed_destination_is_told_on_top(home: House) -> None:
    home.parts.outbox.close("discord", "fingerprint", f"401 {HOSTILE}", datetime.now(UTC))
    page = Page(look(home))
    assert "discord is closed" in page.words
    assert HOSTILE in page.words


def test_another_channel_is_named(tmp_path: Path) -> None:
    with house(tmp_path, TWO) as two:
        begin(two, channel="music")
        assert "music" in Page(look(two)).words


def test_g18_everything_from_outside_is_words_and_nothing_else(home: House) -> None:
    before = Page(look(home))
    claim = begin(home, HOSTILE)
    failed = policy.failed(claim.entry, f"403 {HOSTILE}")
    become(home, claim, failed, f"text: {HOSTILE}", f'https://x.example/"><script>{HOSTILE}')
    page = Page(look(home))
    assert page.words.count("<script>alert(1)</script>") == 3, "title, text and reason"
    assert page.words.count("{{ 7*7 }}") == 3
    ours = {"article", "header", "h2", "h3", "ul", "li", "strong", "time"}
    assert page.tags - before.tags <= ours
    assert page.elements["script"] == before.elements["script"]
    assert page.elements["img"] == before.elements["img"]
    assert not {name for name in page.attributes if name.startswith("on")}


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:x",
        "data:text/html,x",
        "//evil.example",
    ],
)
def test_g18_what_is_no_web_address_is_not_linked(home: House, link: str) -> None:
    claim = begin(home)
    become(home, claim, policy.settled(claim.entry), "We are live", link)
    page = Page(look(home))
    assert "posted" in page.words
    assert link not in page.links
    assert not [one for one in page.links if ":" in one or one.startswith("//")]


def test_the_page_needs_nothing_from_elsewhere_and_its_style_is_there(home: House) -> None:
    page = Page(look(home))
    assert not [link for link in page.links if "//" in link]
    files = {link for link in page.links if link.startswith("static/")}
    assert len(files) >= 3
    for file in files:
        with home.client.get(f"/{file}") as answer:
            assert answer.status_code == 200
            data = answer.data.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"http" not in data, file


def test_g18_looking_changes_nothing(home: House) -> None:
    begin(home)
    home.client.get("/readyz")  # whose proof that something can be stored is a row of its own
    before = home.stored()
    for path in ("/", "/healthz", "/readyz", "/static/announcer.css"):
        with home.client.get(path) as answer:
            assert answer.status_code == 200
    assert home.stored() == before
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert home.client.open("/", method=method).status_code in (403, 405)


def test_a_broken_database_is_no_traceback_for_visitors(home: House) -> None:
    with home.parts.outbox.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE closed")
    answer = look(home)
    assert answer.status_code == 503
    assert answer.mimetype == "text/plain"
    assert "ANNOUNCER_DATABASE_URL" in answer.text
    assert "SELECT" not in answer.text


# To whom


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
@pytest.mark.parametrize(
    "host", ["localhost:8000", "localhost", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
)
def test_without_a_password_it_is_seen_on_this_machine(
    home: House, address: str, host: str
) -> None:
    answer = home.client.get("/", headers={"Host": host}, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "address", ["192.168.1.7", "10.0.0.1", "172.17.0.1", "203.0.113.9", "2001:db8::1", "", "unix:"]
)
def test_without_a_password_it_is_not_seen_from_elsewhere(home: House, address: str) -> None:
    answer = home.client.get("/", environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == 403
    assert "ANNOUNCER_ADMIN_PASSWORD" in answer.text


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Real-IP",
        "X-Client-IP",
        "X-Original-URL",
        "CF-Connecting-IP",
        "True-Client-IP",
        "Via",
    ],
)
def test_what_a_proxy_passed_on_is_not_from_this_machine(home: House, header: str) -> None:
    assert look(home, **{header: "127.0.0.1"}).status_code == 403


def test_a_proxy_that_adds_no_header_is_known_by_its_old_protocol(home: House) -> None:
    """nginx, told nothing but `proxy_pass`, asks with our own address as Host, and in HTTP/1.0."""
    answer = home.client.get(
        "/", headers={"Host": "127.0.0.1:8000"}, environ_overrides={"SERVER_PROTOCOL": "HTTP/1.0"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("said", ["", "close", "upgrade", "keep-alive, upgrade"])
@pytest.mark.parametrize("path", ["/", "/metrics"])
def test_a_proxy_that_adds_no_header_is_known_by_what_it_says_of_the_connection(
    home: House, path: str, said: str
) -> None:
    """nginx from 1.29.7 on, told nothing but `proxy_pass`, and before with the usual lines for
    HTTP/1.1: our own address as Host, and of the connection what it means itself.
    """
    headers = {"Host": "127.0.0.1:8000", "Connection": said}
    assert home.client.get(path, headers=headers).status_code in (401, 403)
    assert home.client.get(path, headers=headers | {"Connection": "keep-alive"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:127.0.0.1",
        "localhost@evil.example",
        "[::1].evil.example",
        "live.kestrel.example",
        "0.0.0.0:8000",
        "",
    ],
)
def test_under_another_name_it_is_not_seen_even_here(home: House, host: str) -> None:
    """DNS rebinding: a hostile page's own name is made to mean 127.0.0.1."""
    answer = look(home, Host=host)
    assert answer.status_code in (400, 403)


def login(name: str, password: str) -> str:
    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, {**ONE, "ANNOUNCER_ADMIN_PASSWORD": PASSWORD}) as made:
        begin(made, title="not for everybody")
        yield made


@pytest.mark.parametrize("address", ["127.0.0.1", "203.0.113.9"])
def test_with_a_password_it_is_seen_from_everywhere(guarded: House, address: str) -> None:
    answer = guarded.client.get(
        "/",
        headers={"Authorization": login("admin", PASSWORD), "X-Forwarded-For": "203.0.113.9"},
        environ_base={"REMOTE_ADDR": address},
    )
    assert "not for everybody" in Page(answer).words


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param(login("admin", ""), id="an empty password"),
        pytest.param(login("admin", PASSWORD.upper()), id="a wrong password"),
        pytest.param(login("admin", PASSWORD[:-1]), id="a shorter one"),
        pytest.param(login("admin", PASSWORD + "x"), id="a longer one"),
        pytest.param(login("Admin", PASSWORD), id="another name"),
        pytest.param(login("", PASSWORD), id="no name"),
        pytest.param("Basic admin", id="not base64"),
        pytest.param(f"Basic {b64encode(b'admin').decode()}", id="no colon"),
        pytest.param(f"Basic {b64encode(bytes(range(256))).decode()}", id="not UTF-8"),
        pytest.param("Bearer admin", id="a bearer"),
        pytest.param('Digest username="admin", response="x"', id="a digest"),
        pytest.param("Basic", id="only the scheme"),
        pytest.param("Basic " + "A" * 100_000, id="100,000 letters"),
    ],
)
def test_g18_with_a_password_it_is_seen_by_nobody_else(
    guarded: House, authorization: str | None
) -> None:
    answer = look(guarded, **({} if authorization is None else {"Authorization": authorization}))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "not for everybody" not in answer.text


# What every answer has


def guess(there: House, word: str, address: str = "203.0.113.9", **headers: str) -> TestResponse:
    return there.client.get(
        "/",
        headers={"Authorization": login("admin", word), **headers},
        environ_base={"REMOTE_ADDR": address},
    )


def test_g18_wrong_passwords_are_limited_for_each_address(
    guarded: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: now))
    with structlog.testing.capture_logs() as lines:
        said = [guess(guarded, f"guess {n}").status_code for n in range(GUESSES + 5)]
    assert said == [401] * GUESSES + [429] * 5
    assert [(line["address"], line["outcome"]) for line in lines] == [("203.0.113.9", 401)]
    assert "guess 0" not in repr(lines)
    refused = guess(guarded, PASSWORD)
    assert refused.status_code == 429, "or the limit would be none"
    assert 0 < int(refused.headers["Retry-After"]) <= REGAINED
    assert guess(guarded, PASSWORD, "198.51.100.7").status_code == 200, "another is not held up"
    now += REGAINED
    assert guess(guarded, PASSWORD).status_code == 200
    said = [guess(guarded, "again").status_code for _ in range(GUESSES)]
    assert said == [401] * GUESSES, "who knew it starts anew"


def test_g18_no_password_at_all_is_no_guess(guarded: House) -> None:
    """A browser asks that way first, each time."""
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    for _ in range(3 * GUESSES):
        assert guarded.client.get("/", environ_base=elsewhere).status_code == 401
    assert guess(guarded, PASSWORD).status_code == 200


def test_g18_a_stranger_behind_our_proxy_does_not_lock_us_out(guarded: House) -> None:
    """And what a stranger says of where it is from counts for nothing: only the proxy's word."""
    for n in range(2 * GUESSES):
        made_up = {"X-Forwarded-For": f"192.0.2.{n}, 203.0.113.9"}
        guess(guarded, "wrong", "127.0.0.1", **made_up)
    assert guess(guarded, PASSWORD, "127.0.0.1", **made_up).status_code == 429
    assert guess(guarded, PASSWORD, "127.0.0.1").status_code == 200


def test_g18_who_makes_up_an_address_for_each_guess_is_limited_all_the_same(
    guarded: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program beside us, or anybody where a container's network hides where they come from."""
    now = time.monotonic()
    monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: now))
    ours = {"X-Forwarded-For": "198.51.100.7"}
    assert guess(guarded, PASSWORD, "127.0.0.1", **ours).status_code == 200
    said = [
        guess(guarded, "wrong", "127.0.0.1", **{"X-Forwarded-For": f"192.0.2.{n}"}).status_code
        for n in range(GUESSES * THROUGH + 20)
    ]
    assert said == [401] * GUESSES * THROUGH + [429] * 20
    stranger = {"X-Forwarded-For": "203.0.113.9"}
    assert guess(guarded, PASSWORD, "127.0.0.1", **stranger).status_code == 429
    assert guess(guarded, PASSWORD, "127.0.0.1", **ours).status_code == 200, "known from before"
    assert guess(guarded, PASSWORD, "203.0.113.9").status_code == 200, "not through the proxy"
    now += 1.01 * REGAINED / THROUGH
    assert guess(guarded, PASSWORD, "127.0.0.1", **stranger).status_code == 200


@pytest.mark.parametrize(
    ("remote", "forwarded", "counts"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("9.9.9.9", "198.51.100.7", "9.9.9.9"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("172.18.0.2", "10.0.0.1, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7, nonsense", "127.0.0.1"),
        ("::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "", "2001:db8:1:2::/64"),
        ("", "", "unknown"),
    ],
)
def test_g18_who_counts_is_whom_a_proxy_of_ours_names(
    remote: str, forwarded: str, counts: str
) -> None:
    assert who(remote, forwarded) == counts


def test_g18_a_million_addresses_take_no_more_memory_than_a_thousand() -> None:
    guesses = Guesses()
    for number in range(5 * ADDRESSES):
        for _ in range(GUESSES):
            guesses.wrong(str(number), "", 0.0)
    held_up = [number for number in range(5 * ADDRESSES) if guesses.wait(str(number), 0.0)]
    assert held_up == list(range(4 * ADDRESSES, 5 * ADDRESSES))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/static/announcer.css",
        "/healthz",
        "/readyz",
        "/nowhere",
        "/webhooks/owncast",
        "/static/../x",
    ],
)
def test_g18_every_answer_is_hardened(home: House, path: str) -> None:
    with home.client.get(path) as answer:
        policy_ = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy_
        assert "frame-ancestors 'none'" in policy_
        assert "unsafe" not in policy_
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert set(HEADERS) <= set(answer.headers.keys())
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/static/../pages/home.html", "/static/%2e%2e/webhooks.py", "/pages/home.html"]
)
def test_no_file_but_the_style_is_served(home: House, path: str) -> None:
    assert home.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/nowhere", 404, "There is nothing at this address."),
        ("GET", "/overlay/a-wrong-token", 404, "There is nothing at this address."),
        ("DELETE", "/history", 405, "This address can be looked at"),
        ("POST", "/do/pause", 403, "This page was too old to change anything."),
    ],
    ids=lambda value: str(value),
)
def test_what_can_not_be_had_is_said_on_a_page_to_a_browser_and_else_in_a_line(
    home: House, method: str, path: str, status: int, said: str
) -> None:
    plain = home.client.open(path, method=method)
    assert (plain.status_code, plain.mimetype) == (status, "text/plain")
    assert plain.text.startswith(said)
    assert plain.text.count("\n") == 1
    shown = home.client.open(path, method=method, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (shown.status_code, shown.mimetype) == (status, "text/html")
    assert said in shown.text
    assert 'href="' + "../" * (path.count("/") - 1) + 'static/announcer.css"' in shown.text
    assert ("Allow" in shown.headers) is (status == 405)


def test_a_mistake_of_ours_is_said_to_be_one_and_no_more(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.web.now.say", lambda *_: 1 / 0)
    answer = home.client.get("/?said=nothing", headers={"Accept": "text/html"})
    assert answer.status_code == 500
    assert "That is a mistake of ours, and the log says which." in answer.text
    assert "ZeroDivision" not in answer.text
    assert set(HEADERS) <= set(answer.headers.keys())


def test_no_answer_holds_a_secret(tmp_path: Path) -> None:
    with house(tmp_path, EVERY_SECRET) as made:
        secrets = made.parts.settings.secrets()
        assert sum("canary" in secret for secret in secrets) == 9
        begin_all(made)
        login_ = {"Authorization": login("admin", "canary-admin-password")}
        texts = []
        for path in ("/", "/healthz", "/readyz", "/nowhere", "/webhooks/owncast"):
            answer = made.client.get(path, headers=login_)
            texts.append(answer.text + repr(answer.headers))
        texts.append(repr(made.stored()))
    for secret in secrets:
        forms = {secret, quote(secret, safe=""), b64encode(secret.encode()).decode().rstrip("=")}
        assert not [text for text in texts if any(form in text for form in forms)], secret


def begin_all(there: House) -> None:
    """A broadcast whose posts all failed with words that quote every secret they know."""
    box, now = there.parts.outbox, datetime.now(UTC)
    there.parts.intake.take(Event("e", "default", Kind.STARTED, now, title="A title"), now)
    there.past_the_hold()
    for claim in box.claim("me", now, 10):
        network = there.parts.settings.destinations[claim.entry.destination]
        leak = " ".join(there.parts.settings.secrets())
        there.parts.delivery.attempts.settle_failure(
            claim, network, Refused(leak, closes=True), now, "publish"
        )
