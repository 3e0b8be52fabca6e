"""The pages in a real browser: they change by themselves, keep their hands off what strangers say,
and are there for everybody. What the console complains of fails a test, wherever it comes from.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import request
from flask.typing import ResponseReturnValue
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Request,
    ViewportSize,
    expect,
)

from announcer import rehearsal
from announcer.demo import NAME, Town
from announcer.policy import State
from announcer.web import stream
from tests.kestrel import EVENING, OVERLAY, evening, introduce
from tests.running import Service
from tests.scenes import MINUTE, Scene, served, tried
from tests.test_pages import HOSTILE
from tests.test_push_page import PUSH

PHONE = ViewportSize(width=360, height=740)
PASSWORD = "a password of ours"
PAGES = ("", "history", "history/b101", "destinations", "templates")
Opens = Callable[..., Page]


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """A fresh page. At the end: no complaint, no dialog, nothing asked of another host."""
    wrong: list[str] = []
    hosts: set[str] = set()

    def opened(address: str, **how: Any) -> Page:
        hosts.add(address.split("/")[2])
        page = browser.new_context(**how).new_page()
        page.on("console", lambda said: _said(said, wrong))
        page.on("pageerror", lambda problem: _wrong(problem, wrong))
        page.on("dialog", lambda dialog: _dialog(dialog, wrong))
        page.on("request", lambda asked: _asked(asked, hosts, wrong))
        page.goto(address)
        return page

    yield opened
    assert wrong == []


def _said(message: ConsoleMessage, wrong: list[str]) -> None:
    if message.type == "error" and not message.location["url"].endswith("/nowhere"):
        wrong.append(f"{message.text} ({message.location['url']})")


def _wrong(problem: Error, wrong: list[str]) -> None:
    wrong.append(str(problem))


def _dialog(dialog: Dialog, wrong: list[str]) -> None:
    if dialog.type != "confirm":
        wrong.append(f"a dialog: {dialog.message}")
    dialog.accept()


def _asked(asked: Request, hosts: set[str], wrong: list[str]) -> None:
    if asked.url.startswith("http") and asked.url.split("/")[2] not in hosts:
        wrong.append(f"another host was asked: {asked.url}")


class Bumpy(Town):
    """A town where Discord does what the test says: a status, or "" for well."""

    discord = ""

    def _discord(self, word: str, key: str | None = None) -> ResponseReturnValue:
        if self.discord and request.method == "POST":
            return {"message": "not now"}, int(self.discord), {"Retry-After": "300"}
        return super()._discord(word, key)


@pytest.fixture
def town() -> Iterator[Bumpy]:
    made = Bumpy()
    yield made
    made.close()


@pytest.fixture
def service(town: Bumpy, tmp_path: Path) -> Iterator[Service]:
    running = Service(
        tmp_path,
        {
            "ANNOUNCER_HOLD": "1s",
            "ANNOUNCER_GRACE": "1s",
            "OWNCAST_URL": town.address,
            "MASTODON_API_BASE_URL": town.address,
            "MASTODON_ACCESS_TOKEN": "a-token-of-the-town",
            "DISCORD_WEBHOOK_URL": f"{town.address}/api/webhooks/1/an-unguessable-word",
        },
    )
    yield running
    if running.process.poll() is None:
        running.stop()


def tell(service: Service, what: str, title: str) -> None:
    assert service.hear(rehearsal.webhook(what, title, NAME)) == 204


def test_an_evening_on_one_page_without_a_reload(
    service: Service, town: Bumpy, opens: Opens
) -> None:
    page = opens(service.url)
    headline, cards = page.get_by_role("heading", level=1), page.locator(".card")
    mastodon, discord = cards.filter(has_text="Mastodon"), cards.filter(has_text="Discord")
    expect(headline).to_have_text("You are not live")
    page.evaluate("window.untouched = true")

    town.live, town.discord = True, "503"
    tell(service, "start", "Fitting a drawer")
    expect(headline).to_have_text("You are live")
    expect(mastodon).to_contain_text("posted", timeout=15_000)
    expect(mastodon).to_contain_text("is live: Fitting a drawer")
    expect(discord).to_contain_text("not now", timeout=15_000)
    expect(discord).to_contain_text("next try in 4:")
    first = discord.locator("time[data-until]").text_content()
    expect(discord.locator("time[data-until]")).not_to_have_text(first or "", timeout=10_000)
    expect(page.locator("#news")).to_contain_text("1 of 2 told · 1 on its way")

    tell(service, "title", "Glue-up")
    expect(mastodon).to_contain_text("is live: Glue-up", timeout=20_000)
    expect(mastodon).to_contain_text("edited")
    assert page.evaluate("window.untouched"), "it was not loaded anew"

    town.discord = "400"
    discord.get_by_role("button", name="Send now").click()
    expect(page.get_by_text("It is sent now.")).to_be_focused()
    expect(discord).to_contain_text("failed", timeout=15_000)
    town.discord = ""
    discord.get_by_role("button", name="Try again").click()
    expect(discord).to_contain_text("posted", timeout=15_000)
    expect(page.locator(".sum")).to_contain_text("2 of 2 told")
    assert page.url.endswith("/"), "a reload says nothing a second time"

    town.live = False
    tell(service, "stop", "")
    expect(headline).to_have_text("You are not live", timeout=15_000)
    expect(mastodon).to_contain_text("was live", timeout=15_000)


def test_a_risky_click_is_asked_about_with_a_script_and_without(browser: Browser) -> None:
    with served(EVENING) as (parts, address):
        scene = Scene(parts.outbox)
        show = scene.show("b101")
        for name in ("discord", "discord.second"):
            scene.post(show, name, State.UNSURE, reason="no answer", doubtful_since=scene.now)
        asked: list[str] = []

        def agree(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.accept()

        page = browser.new_context().new_page()
        page.on("dialog", agree)
        page.goto(address)
        page.get_by_role("button", name="Try again").first.click()
        expect(page.get_by_text("It is tried again.")).to_be_visible()
        assert [one[:28] for one in asked] == ["Have you looked whether it i"]

        with parts.outbox.writing() as connection:
            connection.exec_driver_sql("UPDATE posts SET state = 'unsure'")
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto(address)
        plain.get_by_role("button", name="Try again").first.click()
        expect(plain.get_by_role("heading", level=1)).to_contain_text("Have you looked")
        plain.get_by_role("link", name="No, go back").click()
        expect(plain.get_by_role("heading", level=1)).to_have_text("You are live")
        plain.get_by_role("button", name="Try again").first.click()
        plain.get_by_role("button", name="Try again").click()
        expect(plain.get_by_text("It is tried again.")).to_be_visible()


def test_a_service_that_is_gone_is_seen_and_so_is_its_return(
    service: Service, browser: Browser
) -> None:
    page = browser.new_context().new_page()
    page.goto(service.url)
    banner = page.get_by_text("This page is not up to date")
    expect(banner).to_be_hidden()
    service.stop()
    expect(banner).to_be_visible(timeout=25_000)


def test_nothing_that_a_stranger_says_runs_or_asks_for_anything(opens: Opens) -> None:
    bad = (
        f"{HOSTILE}<iframe src=https://evil.example></iframe><svg onload=alert(1)>"
        '<link rel=stylesheet href=//evil.example/x.css>" style="background:url(//evil.example)'
    )
    with served(EVENING) as (parts, address):
        scene = Scene(parts.outbox)
        show = scene.show("b101", title=bad)
        for name in ("mastodon", "discord", "owncast", "bluesky"):
            link = f"https://x.example/{bad}"
            made = [tried(scene.now, "Refused", bad)]
            scene.post(show, name, text=bad, link=link, made=made, card=True, reason=bad, alt=bad)
        scene.post(show, "x", State.FAILED, text=bad, reason=bad)
        parts.outbox.close("discord", "fingerprint", bad, scene.now)
        for path in PAGES[:4]:
            page = opens(f"{address}/{path}")
            page.wait_for_timeout(1000)  # the stream has told it all once more
            assert "alert(1)" in page.inner_text("main")
            assert page.locator("main :is(iframe, svg[onload], script, link)").count() == 0
        opens(f"{address}/overlay/{OVERLAY}").wait_for_timeout(500)


def test_a_login_by_keyboard_alone(opens: Opens) -> None:
    with served({**EVENING, "ANNOUNCER_ADMIN_PASSWORD": PASSWORD}) as (_, address):
        page = opens(f"{address}/history?words=oak")
        expect(page.get_by_label("Admin password")).to_be_focused()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("History")
        expect(page.get_by_label("Title or name")).to_have_value("oak")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.goto(address)
        page.get_by_role("button", name="Pause").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Paused since")).to_be_visible()
        page.get_by_role("button", name="Log out").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Admin password")).to_be_visible()


def test_a_page_whose_login_has_ended_says_so_by_itself(browser: Browser) -> None:
    with served({**EVENING, "ANNOUNCER_ADMIN_PASSWORD": PASSWORD}) as (_, address):
        page = browser.new_context().new_page()
        page.goto(address)
        page.get_by_label("Admin password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("You are not live")
        page.context.clear_cookies()
        expect(page.get_by_label("Admin password")).to_be_visible(timeout=25_000)


def test_what_one_does_on_a_page_outlasts_its_changes(opens: Opens) -> None:
    with served(EVENING) as (parts, address):
        page = opens(f"{address}/destinations")
        guide = page.locator("#to-discord").get_by_text("How to get its credentials")
        guide.click()
        expect(page.get_by_text("Integrations > Webhooks").first).to_be_visible()
        introduce(parts)
        expect(page.locator("#to-discord")).to_contain_text("works", timeout=10_000)
        expect(page.get_by_text("Integrations > Webhooks").first).to_be_visible()
        expect(guide).to_be_focused()


HARD = "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 4


def hard(scene: Scene) -> None:
    """The longest words, in every state."""
    show = scene.show("b101", f"{HARD} and a title that goes on and on", peak=10**9)
    made, link = [tried(scene.now, "Refused", HARD)] * 3, f"https://{HARD}.example/{HARD}"
    for number, state in enumerate(State):
        name = ("mastodon", "discord", "bluesky", "x", "owncast")[number % 5]
        scene.post(
            show,
            f"{name}.{state}" if number % 2 else name,
            state,
            text=f"{HARD} {link}",
            link=link,
            made=made,
            card=True,
            reason=HARD,
            next_at=scene.now + 9 * MINUTE,
        )
    scene.box.close("discord", "fingerprint", HARD, scene.now)
    scene.box.pause(HARD, scene.now)


@pytest.mark.parametrize("path", [path for path in PAGES if path != "templates"])
def test_on_a_phone_nothing_has_to_be_moved_sideways(opens: Opens, path: str) -> None:
    with served(EVENING) as (parts, address):
        evening(parts, live=False)
        hard(Scene(parts.outbox))
        page = opens(f"{address}/{path}", viewport=PHONE)
        page.wait_for_timeout(900)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_overlay_is_empty_and_clear_until_a_post_goes_up(opens: Opens) -> None:
    with served(EVENING) as (parts, address):
        page = opens(f"{address}/overlay/{OVERLAY}?seconds=2")
        for element in ("html", "body"):
            look = f"getComputedStyle(document.querySelector('{element}')).backgroundColor"
            assert page.evaluate(look) == "rgba(0, 0, 0, 0)"
        assert page.inner_text("body").strip() == ""
        session = page.context.new_cdp_session(page)
        clear = {"color": {"r": 0, "g": 0, "b": 0, "a": 0}}
        session.send("Emulation.setDefaultBackgroundColorOverride", clear)
        empty = page.screenshot(omit_background=True)
        scene = Scene(parts.outbox)
        show = scene.show(ago=MINUTE)
        scene.post(show, "mastodon", link="https://m.example/@k/1", made=[tried(scene.now)])
        toast = page.locator(".toast.in")
        expect(toast).to_contain_text("Now on Mastodon", timeout=10_000)
        expect(toast).to_contain_text("m.example/@k/1")
        page.wait_for_timeout(600)
        assert page.screenshot(omit_background=True) != empty
        expect(page.locator(".toast")).to_have_count(0, timeout=10_000)
        assert page.screenshot(omit_background=True) == empty
        page.wait_for_timeout(1500)
        expect(page.locator(".toast")).to_have_count(0)  # it is told once


CONTROLS = """() => {
  const controls = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const all = [...document.querySelectorAll(controls)];
  const usable = all.filter((one) => one.checkVisibility() && !one.disabled);
  const met = new Map();
  function meet(one) {
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    met.set(one, outlineStyle !== "none" && parseFloat(outlineWidth) >= 2);
  }
  meet(document.activeElement);
  document.addEventListener("focusin", (event) => meet(event.target));
  window.unmet = () => usable.filter((one) => !met.get(one)).map((one) => one.outerHTML);
  return usable.length;
}"""
"""How many controls a page has. From now on `unmet()` tells where the focus was not seen."""


def barriers(page: Page, axe_script: str) -> dict[str, Any]:
    """What keeps somebody out of a page, by whom it concerns: who needs a screen reader, strong
    colours in the light or in the dark, a phone, or a keyboard. Empty if nothing does.
    """
    page.evaluate(axe_script)
    found: dict[str, Any] = {}
    for scheme, only in (("light", ""), ("dark", ", runOnly: ['color-contrast']")):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        told = page.evaluate(f"axe.run(document, {{resultTypes: ['violations']{only}}})")
        bad = [one for one in told["violations"] if one["impact"] in ("serious", "critical")]
        found[scheme] = [_short(one) for one in bad]
    for _ in range(page.evaluate(CONTROLS) + 2):
        page.keyboard.press("Tab")
    found["keyboard"] = page.evaluate("unmet()")
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    found["wide"] = width if width > PHONE["width"] else 0
    return {name: bad for name, bad in found.items() if bad}


def _short(violation: dict[str, Any]) -> str:
    where = [node["html"][:120] for node in violation["nodes"][:3]]
    return f"{violation['id']}: {violation['help']}: {where}"


def test_nobody_meets_a_barrier_on_any_page(opens: Opens, axe_script: str) -> None:
    with ExitStack() as stack:
        parts, address = stack.enter_context(served(EVENING))
        introduce(parts)
        scene = Scene(parts.outbox)
        scene.show("b200", "Of last week", ago=7 * 24 * 60 * MINUTE, lasted=90 * MINUTE)
        show = scene.show("b300", "With every state there is")
        for number, state in enumerate(State):
            name = f"{('mastodon', 'discord', 'x')[number % 3]}.{state}"
            scene.post(show, name, state, reason="a reason", text="**We** are live #oak")
        scene.post(show, "mastodon", link="https://m.example/1")
        parts.outbox.close("discord", "fingerprint", "401", scene.now)
        guard = {"ANNOUNCER_ADMIN_PASSWORD": "x"}
        _, guarded = stack.enter_context(served({**EVENING, **guard, **PUSH}))
        _, empty = stack.enter_context(served({"OWNCAST_WEBHOOK_SECRET": "a-secret"}))
        here = ("", "?said=done_retry", "history", "history/b300", "history?words=nothing")
        places = [f"{address}/{path}" for path in (*here, "destinations", "templates")]
        places += [f"{address}/templates/live.txt", f"{address}/overlay/{OVERLAY}"]
        places += [f"{guarded}/login", f"{guarded}/push", f"{guarded}/nowhere"]
        places += [f"{empty}/{path}" for path in ("", "destinations", "history")]
        found = {}
        for place in places:
            page = opens(place, reduced_motion="reduce")
            page.wait_for_timeout(300)
            found[place.removeprefix("http://")] = barriers(page, axe_script)
            page.context.close()
        page = opens(address, reduced_motion="reduce")
        # As without a script: nothing asks before. In one step: the form may be replaced any time.
        with page.expect_navigation():
            page.evaluate("document.querySelector(\"form[action='do/down']\").submit()")
        expect(page.get_by_role("link", name="No, go back")).to_be_visible()
        found["what is asked first"] = barriers(page, axe_script)
    found = {place: bad for place, bad in found.items() if bad}
    assert found == {}, json.dumps(found, indent=1)


def test_the_pages_ask_gently(opens: Opens) -> None:
    """One stream at a time, and that one lasts."""
    with served(EVENING) as (_, address):
        page = opens(address)
        asked: list[str] = []

        def heard(one: Request) -> None:
            if "events" in one.url:
                asked.append(one.url)

        page.on("request", heard)
        page.wait_for_timeout(int(stream.LASTS * 1000) + 1500)
        assert 1 <= len(asked) <= 2
