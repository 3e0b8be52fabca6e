"""The examples of reverse proxies, on real ones: what has to get through does, and no log tells a
token.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from announcer import rehearsal
from tests.fakes import wait_until
from tests.running import SECRET, Service
from tests.servers import free_port
from tests.servers.fixtures import started
from tests.servers.proxies import BELOW, Caddy, Nginx

TOKENS = {
    "OWNCAST_WEBHOOK_TOKEN": "kestrel-webhook-token-2f9c",
    "ANNOUNCER_OVERLAY_TOKEN": "kestrel-overlay-token-71ab",
}
HOOK = f"/webhooks/owncast/{TOKENS['OWNCAST_WEBHOOK_TOKEN']}"
OVERLAY = f"/overlay/{TOKENS['ANNOUNCER_OVERLAY_TOKEN']}"
PASSWORD = "correct-horse-admin-9"
STRANGER = "203.0.113.9"
SECONDS = 20.0

Proxy = Nginx | Caddy


def trusting(proxy: Proxy) -> requests.Session:
    session = requests.Session()
    session.verify, session.trust_env = str(proxy.trust), False
    return session


def hook(what: str, title: str) -> bytes:
    return rehearsal.webhook(what, title, "Kestrel Workshop")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"ANNOUNCER_ADMIN_PASSWORD": PASSWORD, "ANNOUNCER_POLL": "0s", **TOKENS}
    service = Service(tmp_path_factory.mktemp("service"), settings)
    assert service.hear(hook("start", "Drawers")) == 204
    yield service
    if service.process.poll() is None:
        service.kill()


def before(port: int, kind: type[Proxy], folder: Path) -> Proxy:
    """A proxy that passes everything on to *port*."""
    return started(lambda place: kind(place, port), folder)


@pytest.fixture(scope="module", params=[Nginx, Caddy])
def proxy(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    server = before(service.port, request.param, tmp_path_factory.mktemp("proxy"))
    yield server
    server.stop()


@pytest.fixture
def browser(proxy: Proxy) -> Iterator[requests.Session]:
    """One that is logged in."""
    with trusting(proxy) as session:
        session.headers["X-Forwarded-For"] = STRANGER  # a lie
        answer = session.post(
            f"{proxy.url}/login",
            data={"password": PASSWORD},
            headers={"Origin": proxy.url},
            timeout=SECONDS,
        )
        assert answer.status_code == 200, answer.text
        yield session


@pytest.mark.parametrize("below", ["", BELOW])
def test_a_webhook_gets_through_signed_or_with_a_token(proxy: Proxy, below: str) -> None:
    body, kind = hook("title", "Drawers"), {"Content-Type": "application/json"}
    signed = {"owncast-signature": rehearsal.sign(body, SECRET), **kind}
    with trusting(proxy) as owncast:
        for place, headers, status in (
            (HOOK, kind, 204),
            (HOOK[:-1], kind, 404),
            (HOOK.rpartition("/")[0], signed, 204),
            (HOOK.rpartition("/")[0], kind, 401),
        ):
            address = f"{proxy.url}{below}{place}"
            answer = owncast.post(address, body, headers=headers, timeout=SECONDS)
            assert answer.status_code == status, place


def test_the_login_is_a_secure_cookie(browser: requests.Session) -> None:
    assert [(one.name, one.secure) for one in browser.cookies] == [("__Host-announcer", True)]


@pytest.mark.parametrize("below", ["", f"{BELOW}/"])
def test_a_page_finds_its_parts_wherever_it_is(
    browser: requests.Session, proxy: Proxy, below: str
) -> None:
    page = browser.get(f"{proxy.url}{below}", timeout=SECONDS)
    parts = re.findall(r'(?:href|src)="(static/[^"]+)"', page.text)
    assert parts
    assert {browser.get(f"{page.url}{part}", timeout=SECONDS).status_code for part in parts} == {
        200
    }


def test_what_is_new_is_passed_on_at_once(
    browser: requests.Session, proxy: Proxy, service: Service
) -> None:
    """What is held back would come at the end of the stream, and nothing new in it."""
    title = f"Fitting a drawer, by {type(proxy).__name__}"
    with browser.get(f"{proxy.url}/now/events", stream=True, timeout=SECONDS) as events:
        lines = events.iter_lines(chunk_size=1, decode_unicode=True)
        next(line for line in lines if line.startswith("data:"))
        assert service.hear(hook("title", title)) == 204
        assert any(title in line for line in lines)


def test_a_stranger_is_counted_by_the_address_that_the_proxy_saw(
    proxy: Proxy, service: Service
) -> None:
    with trusting(proxy) as guest:
        lie = {"X-Forwarded-For": STRANGER}
        answer = guest.get(
            f"{proxy.url}/history", auth=("admin", "wrong"), headers=lie, timeout=SECONDS
        )
        assert answer.status_code == 401
    wait_until(lambda: "address=127.0.0.1" in service.log)
    assert STRANGER not in service.log


def test_no_log_tells_a_token(proxy: Proxy, service: Service) -> None:
    """Not as an address, and not as the page that asks for its parts."""
    assert visit(proxy) == {200, 204}
    with trusting(proxy) as obs:
        page = {"Referer": f"{proxy.url}{OVERLAY}"}
        assert obs.get(f"{proxy.url}/static/overlay.css", headers=page, timeout=SECONDS).ok
    logs = proxy.logs()
    for said in ("/overlay/***", "/webhooks/owncast/***", "/static/overlay.css"):
        assert said in logs
    assert not told(logs + service.log)


@pytest.mark.parametrize("kind", [Nginx, Caddy])
def test_no_log_tells_a_token_when_nobody_answers(kind: type[Proxy], tmp_path: Path) -> None:
    proxy = before(free_port(), kind, tmp_path)
    try:
        assert visit(proxy) == {502}
    finally:
        proxy.stop()
    assert not told(proxy.logs())


def visit(proxy: Proxy) -> set[int]:
    """The answers to what has a token in its address, at the root and below a path."""
    found = set()
    with trusting(proxy) as guest:
        for below in ("", BELOW):
            page = guest.get(f"{proxy.url}{below}{OVERLAY}", timeout=SECONDS)
            event = guest.post(
                f"{proxy.url}{below}{HOOK}",
                hook("title", "Drawers"),
                headers={"Content-Type": "application/json"},
                timeout=SECONDS,
            )
            found |= {page.status_code, event.status_code}
    return found


def told(logs: str) -> list[str]:
    return [line for line in logs.splitlines() if any(token in line for token in TOKENS.values())]
