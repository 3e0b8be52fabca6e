"""A real browser at our page, and a push service that checks and decrypts what we send.

The push service of the browser's maker can not be reached from here. So the page is given a
subscription at our own, with the keys of a browser that the test plays, and what arrives there goes
into the real service worker by the browser's debugger.
"""

import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import CDPSession, Locator, Page, expect

from announcer import rehearsal
from tests.fakes import wait_until
from tests.pushservice import CONTACT, Browser, PushService, coded
from tests.running import Service

STREAM = "https://live.kestrel.example"
AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}
HURRIED = ("-m", "tests.hurried")

SUBSCRIPTION = """
(() => {
  const given = %s;
  const kept = "the subscription";
  function made(key) {
    return {
      endpoint: given.endpoint,
      options: { userVisibleOnly: true, applicationServerKey: key },
      toJSON: () => given,
      unsubscribe: async () => { localStorage.removeItem(kept); return true; },
    };
  }
  const bytes = (text) => Uint8Array.from(
    atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)).buffer;
  PushManager.prototype.subscribe = async function (options) {
    if (options.userVisibleOnly !== true) throw new Error("refused");
    localStorage.setItem(kept, options.applicationServerKey);
    return made(bytes(options.applicationServerKey));
  };
  PushManager.prototype.getSubscription = async function () {
    const key = localStorage.getItem(kept);
    return key ? made(bytes(key)) : null;
  };
})()
"""


@pytest.fixture
def push_service() -> Iterator[PushService]:
    service = PushService()
    yield service
    service.stop()


@pytest.fixture
def settings(push_service: PushService) -> dict[str, str]:
    return {
        "WEBPUSH_PRIVATE_KEY": coded(secrets.token_bytes(32)),
        "WEBPUSH_CONTACT": CONTACT,
        "WEBPUSH_SERVICES": push_service.origin,
        # The address of the stream is shown, and asked for its status; nobody answers there.
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
        **AT_ONCE,
    }


@pytest.fixture
def service(tmp_path: Path, settings: dict[str, str]) -> Iterator[Service]:
    running = Service(tmp_path, settings, HURRIED)
    yield running
    running.stop()


def origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


class Viewer:
    """Somebody at the page, whose browser is *theirs* as far as pushes go."""

    def __init__(self, chromium: Chromium, place: str, theirs: Browser, at: str) -> None:
        self.context = chromium.contexts[0]  # push is for the profile that stays
        self.context.grant_permissions(["notifications"], origin=origin(place))
        self.page: Page = self.context.new_page()
        self.noise: list[str] = []
        self.page.on("console", lambda said: self.noise.append(said.text))
        self.page.on("pageerror", lambda said: self.noise.append(str(said)))
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.theirs, self.url = theirs, f"{place}/push"
        self.page.add_init_script(SUBSCRIPTION % json.dumps(theirs.subscription(at)))

    def opens(self) -> None:
        self.page.goto(self.url)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def reads(self, words: str) -> None:
        said = self.page.get_by_role("status").locator("p:visible")
        expect(said).to_have_count(1)
        expect(said).to_contain_text(words)

    def subscribes(self) -> None:
        self.opens()
        self.button("Notify me").click()
        self.reads("Notifications are on.")

    def notifications(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(
            """async () => {
              const here = await navigator.serviceWorker.getRegistration("push/default/");
              if (!here) throw new Error(location.href + " has " +
                (await navigator.serviceWorker.getRegistrations()).map((one) => one.scope));
              const shown = await here.getNotifications();
              return shown.map(({ title, body, tag, silent, icon, data, timestamp }) =>
                ({ title, body, tag, silent, icon, timestamp, url: data.url }));
            }"""
        )
        return found

    def gets(self, message: Mapping[str, Any] | str) -> None:
        """A push comes out of the blue, as the browser would hand it to the service worker."""
        data = message if isinstance(message, str) else json.dumps(message)
        self._debugger().send(
            "ServiceWorker.deliverPushMessage",
            {
                "origin": origin(self.url),
                "registrationId": self._registration,
                "data": data,
            },
        )

    def shows(self, message: Mapping[str, Any] | str, words: str) -> list[dict[str, Any]]:
        """Chromium drops a notification that is asked for while it goes up. So it is left alone for
        a moment, and a push whose *words* are not there comes again, as it may from any service."""
        for pause in (300, 300, 600, 1200, 2400, 4800):
            self.gets(message)
            self.page.wait_for_timeout(pause)
            shown = self.notifications()
            if any(words in one["title"] for one in shown):
                return shown
        raise AssertionError(f"{words!r} is not among {shown}")

    def _debugger(self) -> CDPSession:
        if not hasattr(self, "_session"):
            self._session = self.context.new_cdp_session(self.page)
            known: list[Any] = []
            self._session.on(
                "ServiceWorker.workerRegistrationUpdated",
                lambda event: known.extend(event["registrations"]),
            )
            self._session.send("ServiceWorker.enable")
            scope = f"{self.url}/default/"
            wait_until(lambda: self.page.title() and [k for k in known if k["scopeURL"] == scope])
            self._registration = next(
                one["registrationId"] for one in known if one["scopeURL"] == scope
            )
        return self._session

    def leaves(self) -> None:
        self.page.close()


@pytest.fixture
def viewer(browser: Chromium, service: Service, push_service: PushService) -> Iterator[Viewer]:
    somebody = Viewer(browser, service.url, push_service.browser(), push_service.origin)
    yield somebody
    somebody.leaves()


def tell(service: Service, what: str, title: str = "Fitting a dovetail drawer") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_an_evening_is_a_notification_that_stays_true(
    service: Service, push_service: PushService, viewer: Viewer
) -> None:
    viewer.subscribes()
    hostile = '"}, {{7*7}} <b>@kestrel</b> \u202e \\'
    tell(service, "start", hostile)
    service.until(lambda: push_service.pushes, "no push")
    [live] = push_service.pushes
    assert live.claims["sub"] == CONTACT
    assert live.key == viewer.page.get_attribute("main", "data-key")
    assert live.headers["urgency"] == "high"
    [shown] = viewer.shows(live.message, "is live")
    assert shown["title"] == "Kestrel Workshop is live"
    assert shown["body"] == '"}, {{7*7}} <b>@\u200bkestrel</b> \\'
    assert shown["url"] == f"{STREAM}/"
    assert shown["icon"] == f"{STREAM}/logo/external"
    assert not shown["silent"]
    tell(service, "start", "the same again")
    tell(service, "stop", hostile)
    service.until(lambda: len(push_service.pushes) == 2, "the end is not told")
    over = push_service.pushes[1]
    assert over.headers["topic"] == live.headers["topic"], "it replaces one that waits"
    [shown] = viewer.shows(over.message, "was live")
    assert shown["silent"]
    viewer.gets(live.message)  # it was overtaken on the way
    for one in viewer.shows({"title": "Something else"}, "Something else"):
        assert one["title"] == "Something else" or one == shown


def test_the_page_says_what_is_the_case(
    service: Service, push_service: PushService, viewer: Viewer
) -> None:
    viewer.opens()
    viewer.reads("Notifications are off on this device.")
    expect(viewer.button("Stop notifying me")).to_be_hidden()
    viewer.button("Notify me").focus()
    viewer.page.keyboard.press("Enter")
    viewer.reads("Notifications are on.")
    expect(viewer.button("Stop notifying me")).to_be_focused()
    viewer.page.reload()
    viewer.reads("Notifications are on.")
    viewer.button("Stop notifying me").press("Space")
    viewer.reads("Notifications are off")
    expect(viewer.button("Notify me")).to_be_focused()
    viewer.page.reload()
    viewer.reads("Notifications are off")
    tell(service, "start")
    service.until(lambda: service.posts(), "no post")
    service.until(
        lambda: all(post["state"] == "settled" for post in service.posts().values()), "not settled"
    )
    assert push_service.asked == [], "who left is told nothing"
    assert viewer.noise == [], "nothing against the policy of the page"
    assert all(url.startswith(service.url) for url in viewer.asked)


def test_a_browser_that_blocks_or_lacks_it_is_told_what_to_do(
    service: Service, viewer: Viewer
) -> None:
    viewer.page.add_init_script(
        "Object.defineProperty(Notification, 'permission', { get: () => 'denied' })"
    )
    viewer.opens()
    viewer.reads("Your browser blocks notifications from this page.")
    expect(viewer.page.get_by_role("button")).to_have_count(0)
    viewer.page.add_init_script("delete window.PushManager")
    viewer.page.reload()
    viewer.reads("This browser has no notifications for pages")
    viewer.page.add_init_script(
        "Object.defineProperty(navigator, 'userAgent', { get: () => 'like iPhone OS' })"
    )
    viewer.page.reload()
    viewer.reads("Add to Home Screen")


@pytest.mark.parametrize(
    ("status", "words"), [(503, "no room"), (429, "try again in a minute"), (500, "did not work")]
)
def test_a_failure_is_said_and_leaves_nothing_behind(
    service: Service, viewer: Viewer, status: int, words: str
) -> None:
    viewer.page.route("**/subscription", lambda route: route.fulfill(status=status))
    viewer.opens()
    viewer.button("Notify me").click()
    viewer.reads(words)
    expect(viewer.button("Notify me")).to_be_enabled()
    viewer.page.reload()
    viewer.reads("Notifications are off")


def test_a_push_that_can_not_be_read_shows_something_harmless(
    service: Service, viewer: Viewer
) -> None:
    viewer.subscribes()
    for bad in (
        "no JSON",
        "",
        "[]",
        "null",
        '{"title": 7, "body": {}, "tag": [], "url": "javascript:alert(1)", "icon": "data:,"}',
    ):
        [shown] = viewer.shows(bad, "There is news of the stream")
        assert shown["url"] == f"{viewer.url}/default"
    endless = {"title": "a" * 100_000, "tag": "other", "url": "http://127.0.0.1:9/x"}
    assert sorted(len(one["title"]) for one in viewer.shows(endless, "aaa")) == [27, 1000]


def test_with_another_key_the_page_asks_again(
    tmp_path: Path,
    settings: dict[str, str],
    service: Service,
    push_service: PushService,
    viewer: Viewer,
) -> None:
    viewer.subscribes()
    key = viewer.page.get_attribute("main", "data-key")
    viewer.page.evaluate("() => localStorage.setItem('the subscription', 'BAAA' + 'A'.repeat(83))")
    viewer.page.reload()
    viewer.reads("Notifications are off")
    viewer.button("Notify me").click()
    viewer.reads("Notifications are on.")
    assert viewer.page.evaluate("() => localStorage.getItem('the subscription')") == key


@contextmanager
def proxy_of(service: Service, folder: str) -> Iterator[str]:
    """It takes the *folder* off, calls the service by another name, and tells it neither."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = None
            if self.path.startswith(f"{folder}/"):
                size = int(self.headers["Content-Length"] or 0)
                passed = ("Content-Type", "Sec-Fetch-Site", "Origin")
                answer = requests.request(
                    self.command,
                    f"{service.url}{self.path.removeprefix(folder)}",
                    data=self.rfile.read(size),
                    headers={name: self.headers[name] for name in passed if name in self.headers},
                    timeout=10,
                    allow_redirects=False,
                )
            self.send_response(answer.status_code if answer is not None else 404)
            for name, value in answer.headers.items() if answer is not None else ():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content if answer is not None else b"")

        do_POST = do_DELETE = do_GET  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{folder}"
    server.shutdown()
    server.server_close()


def test_behind_a_proxy_and_in_a_folder_it_is_the_same(
    browser: Chromium, service: Service, push_service: PushService
) -> None:
    with proxy_of(service, "/news/today") as place:
        theirs = push_service.browser()
        viewer = Viewer(browser, place, theirs, push_service.origin)
        for path in ("/push", "/push/", "/push/default"):
            viewer.url = f"{place}{path}"
            viewer.subscribes()
            viewer.button("Stop notifying me").click()
            viewer.reads("Notifications are off")
        viewer.url = f"{place}/push"
        viewer.subscribes()
        assert viewer.noise == []
        tell(service, "start")
        service.until(lambda: push_service.to(theirs), "no push")
        viewer.shows(push_service.to(theirs)[0], "is live")
        assert viewer.noise == []
        assert all(url.startswith(place) for url in viewer.asked)
        viewer.leaves()


def test_e28_a_crash_among_the_pushes_reaches_the_others_and_nobody_twice(
    tmp_path: Path, settings: dict[str, str], push_service: PushService
) -> None:
    """Its third outcome is stored, and then it is killed."""
    there = push_service.origin
    browsers = [push_service.browser(f"b{number}") for number in range(40)]
    push_service.pause = 0.2
    first = Service(tmp_path, settings, HURRIED)
    for number, browser in enumerate(browsers):
        answer = requests.post(
            f"{first.url}/push/default/subscription",
            json=browser.subscription(there),
            headers={"Sec-Fetch-Site": "same-origin", "X-Forwarded-For": f"9.9.9.{number}"},
            timeout=10,
        )
        assert answer.status_code == 204
    push_service.pause = 0.7
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: len(push_service.pushes) > 32)
    first.kill()
    before = len(push_service.pushes)
    push_service.pause = 0.0
    second = Service(tmp_path, settings, HURRIED)
    second.until(
        lambda: [post["state"] for post in second.posts().values()] == ["settled"], "never told"
    )
    second.stop()
    assert all(push_service.to(browser) for browser in browsers)
    again = len(push_service.pushes) - len(browsers)
    assert again <= before, "those that were stored are not asked again"
    assert again < 32
    assert len(set(push_service.identities)) == 1
