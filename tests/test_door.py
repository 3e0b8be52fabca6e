"""Who comes in, for how long, and what nobody can make a browser do that is in."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from announcer.outbox.schema import schema
from announcer.web import create_app, door
from announcer.web.crowd import GUESSES
from tests.house import ONE, TOKEN, House, house, table_gone
from tests.test_pages import PASSWORD, Page, begin, login

PAGES = ("/", "/history", "/destinations")
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OURS = "http://localhost"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, {**ONE, "ANNOUNCER_ADMIN_PASSWORD": PASSWORD}) as made:
        begin(made, title="not for everybody")
        yield made


def enter(there: House, word: str = PASSWORD, then: str = "", **headers: str) -> TestResponse:
    form = {"password": word, "then": then}
    return there.client.post("/login", data=form, headers={**HTML, **headers})


def token(there: House, path: str = "/", **headers: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', there.client.get(path, headers=headers).text)
    assert found
    return found[1]


def cookie(answer: TestResponse) -> tuple[str, dict[str, object]]:
    """The name of the one that *answer* sets, and its flags."""
    ((name, morsel),) = SimpleCookie(answer.headers["Set-Cookie"]).items()
    return name, {flag: value for flag, value in morsel.items() if value}


# In and out


@pytest.mark.parametrize("path", PAGES)
def test_a_person_is_asked_for_the_password_and_comes_back_where_they_were(
    guarded: House, path: str
) -> None:
    asked = guarded.client.get(f"{path}?words=oak&state=failed", headers=HTML)
    assert asked.status_code == 303
    form = urljoin(path, asked.headers["Location"])
    page = guarded.client.get(form, headers=HTML)
    assert "Admin password" in page.text
    (then,) = re.findall(r'name="then" value="([^"]*)"', page.text)
    came = enter(guarded, then=then.replace("&amp;", "&"))
    assert came.status_code == 303
    back = urljoin("/login", came.headers["Location"])
    assert back == f"{path}?words=oak&state=failed"
    assert guarded.client.get(back, headers=HTML).status_code == 200


def test_a_wrong_password_is_told_on_the_page_and_not_shown_again(guarded: House) -> None:
    answer = enter(guarded, "wrong-word", then="history")
    assert answer.status_code == 401
    assert "That is not the password" in answer.text
    assert "wrong-word" not in answer.text
    assert 'value="history"' in answer.text, "where they wanted to go is kept"
    assert guarded.client.get("/", headers=HTML).status_code == 303


def test_a_logout_ends_it_and_needs_the_token(guarded: House) -> None:
    enter(guarded)
    assert guarded.client.post("/logout").status_code == 403
    assert guarded.client.get("/", headers=HTML).status_code == 200
    left = guarded.client.post("/logout", data={"csrf": token(guarded)})
    assert urljoin("/logout", left.headers["Location"]) == "/login"
    assert guarded.client.get("/", headers=HTML).status_code == 303


def test_a_cookie_that_was_copied_is_worth_nothing_after_the_logout(
    guarded: House, tmp_path: Path
) -> None:
    enter(guarded)
    copied = guarded.client.get_cookie("announcer")
    given = token(guarded)
    enter(other := replace(guarded, client=guarded.client.application.test_client()))
    guarded.client.post("/logout", data={"csrf": given})
    assert copied
    for app in (guarded.client.application, create_app(guarded.parts)):
        thief = app.test_client()  # of this process, and of another replica
        thief.set_cookie("announcer", copied.value)
        assert thief.get("/", headers=HTML).status_code == 303
        assert thief.post("/do/pause", data={"csrf": given}).status_code == 401
    assert other.client.get("/", headers=HTML).status_code == 200, "another login goes on"
    assert copied.value.encode() not in (tmp_path / "announcer.db").read_bytes()


def test_without_a_database_a_logout_holds_all_the_same(guarded: House) -> None:
    enter(guarded)
    copied, given = guarded.client.get_cookie("announcer"), token(guarded)
    with table_gone(guarded):
        guarded.client.post("/logout", data={"csrf": given})
        assert copied
        guarded.client.set_cookie("announcer", copied.value)
        assert guarded.client.get("/templates", headers=HTML).status_code == 303
    assert guarded.client.get("/templates", headers=HTML).status_code == 303, "nor afterwards"


def test_a_login_ends_for_everybody_when_the_password_changes(guarded: House) -> None:
    enter(guarded)
    before = token(guarded)
    service = guarded.parts.settings.service
    changed = service.model_copy(update={"admin_password": SecretStr("another one")})
    guarded.parts.settings.service = changed
    assert guarded.client.get("/", headers=HTML).status_code == 303
    assert guarded.client.post("/do/pause", data={"csrf": before}).status_code == 401
    assert guarded.parts.outbox.paused() is None
    assert enter(guarded).status_code == 401
    assert enter(guarded, "another one").status_code == 303


def test_a_login_lasts_a_month(guarded: House, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(guarded)
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 29 * 86_400)
    assert guarded.client.get("/", headers=HTML).status_code == 200
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 31 * 86_400)
    assert guarded.client.get("/", headers=HTML).status_code == 303


def test_every_login_is_a_session_of_its_own(guarded: House) -> None:
    """Who plants a cookie in a browser does not know the session that is logged in with it."""
    first = enter(guarded).headers["Set-Cookie"]
    assert enter(guarded).headers["Set-Cookie"] != first


@pytest.mark.parametrize("made_up", ["", "x", "a.b.c", "InN0b2xlbiI.aaaa.bbbb", "é", "0" * 3900])
def test_a_made_up_cookie_is_none(guarded: House, made_up: str) -> None:
    guarded.client.set_cookie("announcer", made_up)
    assert guarded.client.get("/", headers=HTML).status_code == 303


def test_the_cookie_of_another_password_is_none(guarded: House, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with house(other, {**ONE, "ANNOUNCER_ADMIN_PASSWORD": "theirs"}) as there:
        value = enter(there, "theirs").headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    guarded.client.set_cookie("announcer", value)
    assert guarded.client.get("/", headers=HTML).status_code == 303


# The cookie


def test_the_cookie_is_for_us_only(guarded: House) -> None:
    name, flags = cookie(enter(guarded))
    assert name == "announcer"
    assert flags == {"httponly": True, "samesite": "Lax", "path": "/", "max-age": "2592000"} | {
        "expires": flags["expires"]
    }


def test_behind_tls_the_cookie_never_leaves_it(guarded: House) -> None:
    """`__Host-` also keeps a neighbour under the same domain from planting one."""
    name, flags = cookie(enter(guarded, **{"X-Forwarded-Proto": "https"}))
    assert name == "__Host-announcer"
    assert flags["secure"] is True
    assert flags["path"] == "/"
    assert "domain" not in flags
    assert (flags["httponly"], flags["samesite"]) == (True, "Lax")


def test_a_page_that_is_only_looked_at_sets_no_cookie_again(guarded: House) -> None:
    enter(guarded)
    assert "Set-Cookie" not in guarded.client.get("/").headers


# What another site can make a browser do


def routes(there: House) -> list[str]:
    """Every address that takes a POST, with its blanks filled in; the webhook and subscribers have
    doors of their own, and to log in is what the form is for.
    """
    fill = {"what": "pause", "name": "discord", "broadcast": "b1"}
    found = []
    for rule in there.client.application.url_map.iter_rules():
        kept = not rule.endpoint.startswith(("webhooks.", "push.")) and rule.rule != "/login"
        if "POST" in (rule.methods or ()) and kept:
            found.append(
                re.sub(r"<(?:\w+:)?(\w+)>", lambda blank: fill.get(blank[1], "x"), rule.rule)
            )
    return found


def test_every_change_is_a_post_that_needs_the_token(guarded: House) -> None:
    enter(guarded)
    paths = routes(guarded)
    assert {"/do/pause", "/destinations/discord/pause", "/logout"} <= set(paths)
    before = guarded.stored()
    for path in paths:
        for form in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "é"}):
            answer = guarded.client.post(path, data=form)
            assert answer.status_code == 403, f"{path} {form}"
            assert "too old" in answer.text
    assert guarded.stored() == before
    assert guarded.client.post("/do/pause", data={"csrf": token(guarded)}).status_code == 303
    assert guarded.parts.outbox.paused()


def test_a_token_is_of_one_session_only(guarded: House) -> None:
    enter(guarded)
    theirs = token(guarded)
    guarded.client.delete_cookie("announcer")
    enter(guarded)
    assert guarded.client.post("/do/pause", data={"csrf": theirs}).status_code == 403


def test_a_script_of_our_pages_brings_the_token_in_a_header(home: House) -> None:
    """Also where no password is set, though a proxy's headers begin like it."""
    header = {"X-CSRF-Token": token(home)}
    assert home.client.post("/do/pause", headers=header).status_code == 303


SITES = [
    pytest.param({}, True, id="a script, or a browser of long ago"),
    pytest.param({"Sec-Fetch-Site": "same-origin"}, True, id="our page"),
    pytest.param({"Sec-Fetch-Site": "none"}, True, id="typed"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, False, id="another site"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, False, id="a neighbour"),
    pytest.param({"Sec-Fetch-Site": "SAME-ORIGIN "}, False, id="made up"),
    pytest.param({"Sec-Fetch-Site": ""}, False, id="empty"),
    pytest.param({"Origin": OURS}, True, id="our page, old browser"),
    pytest.param({"Origin": "https://evil.example"}, False, id="another site, old browser"),
    pytest.param({"Origin": "http://localhost.evil.example"}, False, id="a name like ours"),
    pytest.param({"Origin": "http://localhost:81"}, False, id="another port"),
    pytest.param({"Origin": "null"}, False, id="a sandbox"),
    pytest.param({"Origin": ""}, False, id="no origin"),
    pytest.param({"Origin": "http://["}, False, id="nonsense"),
    pytest.param({"Origin": OURS, "Sec-Fetch-Site": "cross-site"}, False, id="a contradiction"),
]


@pytest.mark.parametrize(("headers", "passes"), SITES)
def test_another_site_changes_nothing_even_with_the_token(
    guarded: House, headers: dict[str, str], passes: bool
) -> None:
    enter(guarded)
    answer = guarded.client.post("/do/pause", data={"csrf": token(guarded)}, headers=headers)
    assert answer.status_code == (303 if passes else 403)
    assert bool(guarded.parts.outbox.paused()) is passes


@pytest.mark.parametrize(("headers", "passes"), SITES)
def test_another_site_does_not_even_log_in(
    guarded: House, headers: dict[str, str], passes: bool
) -> None:
    assert enter(guarded, **headers).status_code == (303 if passes else 403)


@pytest.mark.parametrize(("headers", "passes"), SITES)
def test_a_script_with_the_password_is_believed_and_a_browser_with_it_is_not(
    guarded: House, headers: dict[str, str], passes: bool
) -> None:
    """A browser sends Basic by itself, wherever the form came from."""
    basic = {"Authorization": login("admin", PASSWORD)}
    answer = guarded.client.post("/do/pause", headers=basic | headers)
    assert answer.status_code == (403 if headers else 303)
    assert bool(guarded.parts.outbox.paused()) is (not headers)
    assert guarded.client.get("/", headers=basic | headers).status_code == 200


def test_looking_changes_nothing(guarded: House) -> None:
    enter(guarded)
    guarded.client.get("/readyz")
    before = guarded.stored()
    for rule in guarded.client.application.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "pause", rule.rule)
        if "GET" in (rule.methods or ()) and not path.startswith("/webhooks"):
            with guarded.client.get(path) as answer:
                assert answer.status_code < 500, path
    assert guarded.stored() == before
    assert set(before) == set(schema.tables)


@pytest.mark.parametrize("path", ["/history?words=%00", "/history/a%00b", "/do/retry"])
def test_what_no_database_takes_is_refused_and_no_failure_of_ours(home: House, path: str) -> None:
    given = {"csrf": token(home), "key": "a\0b"}
    answer = home.client.post(path, data=given) if "/do/" in path else home.client.get(path)
    assert answer.status_code == 400


# Guesses


def test_the_form_and_scripts_have_their_guesses_together(
    guarded: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: now))
    said = []
    for number in range(GUESSES):
        if number % 2:
            said.append(enter(guarded, f"guess {number}").status_code)
        else:
            basic = {"Authorization": login("admin", f"guess {number}")}
            said.append(guarded.client.get("/", headers=basic).status_code)
    assert said == [401] * GUESSES
    held = enter(guarded, PASSWORD)
    assert held.status_code == 429
    assert int(held.headers["Retry-After"]) > 0
    assert "Wait a moment" in held.text
    basic = {"Authorization": login("admin", PASSWORD)}
    assert guarded.client.get("/", headers=basic).status_code == 429


# Where a login leads


@pytest.mark.parametrize(
    "then",
    [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        " //evil.example",
        "\t//evil.example",
        "http:evil.example",
        "https:/evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "@evil.example",
        ".//evil.example",
        "..//..//evil.example",
        "%2e%2e/neighbour",
        "x/%2E./%2e%2E/neighbour",
        "history\r\nSet-Cookie: a=b",
        "%2f%2fevil.example",
        "%0d%0aSet-Cookie:%20a=b",
        "\u2028//evil.example",
        "https://localhost@evil.example",
        "login?then=login",
    ],
)
def test_a_login_never_leads_to_another_site(guarded: House, then: str) -> None:
    answer = enter(guarded, then=then)
    assert answer.status_code == 303
    location = answer.headers["Location"]
    for base in ("http://us.example/login", "https://us.example/below/login"):
        led = urlsplit(urljoin(base, location))
        assert (led.scheme, led.netloc) == tuple(urlsplit(base)[:2])
        assert ".." not in unquote(led.path), "a browser takes it for a folder up"
    assert location.startswith("./")
    assert "\n" not in location
    assert "a=b" not in answer.headers["Set-Cookie"]
    assert not led.path.endswith("/login")


@pytest.mark.parametrize("path", ["/history//x", "/static//x", "/templates//live.txt"])
def test_no_address_is_corrected_by_a_redirect_to_whatever_host_was_named(
    guarded: House, path: str
) -> None:
    answer = guarded.client.get(f"http://evil.example{path}", headers=HTML)
    assert "evil" not in answer.headers.get("Location", "")


# Without a password, and below a path of a proxy


def test_on_this_machine_without_a_password_nothing_is_asked(home: House) -> None:
    assert home.client.get("/", headers=HTML).status_code == 200
    assert "Log out" not in home.client.get("/").text
    assert home.client.get("/login").headers["Location"] == "./"
    done = home.client.post("/do/pause", data={"csrf": token(home)})
    assert done.status_code == 303
    assert home.parts.outbox.paused()


@pytest.mark.parametrize("path", [*PAGES, "/login", "/now/events", "/history.csv", "/pictures/x"])
def test_without_a_password_nothing_is_open_from_elsewhere(home: House, path: str) -> None:
    answer = home.client.get(path, headers=HTML, environ_base={"REMOTE_ADDR": "192.168.1.7"})
    assert answer.status_code == 403
    assert "ANNOUNCER_ADMIN_PASSWORD" in answer.text


def test_every_page_but_the_doors_is_guarded(guarded: House) -> None:
    """Found in the map, so that the next page is, too."""
    open_to_all = {"/login", "/healthz", "/readyz", "/static/<path:filename>"}
    for rule in guarded.client.application.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.rule in open_to_all:
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        answer = guarded.client.get(path)
        expected = 404 if path.startswith(("/webhooks", "/overlay", "/push")) else 401
        assert answer.status_code in (expected, 405), path
        assert "not for everybody" not in answer.text


@pytest.mark.parametrize(
    "headers", [{"Accept": "text/event-stream"}, {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}]
)
def test_a_page_whose_login_has_ended_is_not_asked_by_the_browser_itself(
    guarded: House, headers: dict[str, str]
) -> None:
    answer = guarded.client.get("/now/events", headers=headers)
    assert answer.status_code == 401
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_a_script_is_told_that_it_needs_the_password(guarded: House, accept: str) -> None:
    answer = guarded.client.get("/history.json", headers={"Accept": accept})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def below(client: FlaskClient, path: str) -> str:
    """What a proxy that serves us at /announcer/ makes of an address there."""
    assert path.startswith("/announcer/"), f"{path} is not ours"
    return path.removeprefix("/announcer")


def test_below_a_path_of_a_proxy_every_address_leads_to_us(guarded: House) -> None:
    enter(guarded)
    at = [f"/announcer{path}" for path in PAGES]
    (show,) = [show.id for show, _ in guarded.parts.outbox.history(9)]
    at.append(f"/announcer/history/{show}")
    for page in at:
        for link in Page(guarded.client.get(below(guarded.client, page))).links:
            if link.startswith(("http", "#")):
                continue
            target = urlsplit(urljoin(f"http://x{page}", link)).path
            with guarded.client.open(below(guarded.client, target)) as answer:
                assert answer.status_code in (200, 405) or "templates" in target, f"{page}: {link}"


def test_below_a_path_of_a_proxy_every_way_on_leads_to_us(guarded: House) -> None:
    form = {"password": PASSWORD}
    came = guarded.client.post("/login", data=form)
    assert urljoin("/announcer/login", came.headers["Location"]) == "/announcer/"
    given = {"csrf": token(guarded)}
    for path, to in (
        ("/do/pause", "/announcer/?said=done_pause"),
        ("/do/retry", "/announcer/?said=nothing"),
        ("/destinations/discord/reopen", "/announcer/destinations?said=reopen"),
        ("/logout", "/announcer/login"),
    ):
        answer = guarded.client.post(path, data=given)
        assert urljoin(f"/announcer{path}", answer.headers["Location"]) == to
    asked = guarded.client.get("/history?words=a", headers=HTML)
    led = urljoin("/announcer/history", asked.headers["Location"])
    assert led == "/announcer/login?then=history%3Fwords%3Da"


def test_two_replicas_know_the_same_logins(guarded: House) -> None:
    enter(guarded)
    given = token(guarded)
    other = create_app(guarded.parts).test_client()
    sent = guarded.client.get_cookie("announcer")
    assert sent
    other.set_cookie("announcer", sent.value)
    assert other.post("/do/pause", data={"csrf": given}).status_code == 303


def test_the_webhook_is_no_page(guarded: House) -> None:
    """It has doors of its own, and takes neither a login nor a password."""
    enter(guarded)
    assert guarded.client.post("/webhooks/owncast", json={}).status_code == 401
    assert guarded.hear_by_token(b"{}", TOKEN).status_code == 400
