"""The editor as a streamer uses it: a real browser, the running service, and a town to tell."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, Request, expect

from announcer import rehearsal
from announcer.demo import Town
from tests.running import SECONDS, Service

NAME = "Kestrel Workshop"
HOSTILE = """</p><img src=x onerror="window.hacked=1"><script>window.hacked=2</script>{{ 7*7 }}"""


@dataclass
class Studio:
    service: Service
    town: Town
    own: Path
    page: Page

    def edit(self, name: str) -> Locator:
        """The field with the words of a template."""
        self.page.goto(f"{self.service.url}/templates/{name}")
        return self.page.get_by_label("Its words")

    def card(self, account: str) -> Locator:
        return self.page.locator(f".see li.card:has(strong:text-is('{account}'))")

    def stream(self, what: str, title: str) -> None:
        self.town.live = what == "start"
        assert self.service.hear(rehearsal.webhook(what, title, NAME)) == 204

    def said(self, network: str) -> list[str]:
        return [seen.text for seen in list(self.town.wall.values()) if seen.network == network]

    def until(self, true: Callable[[], bool], otherwise: str) -> None:
        self.service.until(true, otherwise)


@pytest.fixture
def studio(tmp_path: Path, page: Page) -> Iterator[Studio]:
    town, own = Town(), tmp_path / "templates"
    service = Service(
        tmp_path,
        {
            "ANNOUNCER_TEMPLATES": str(own),
            "ANNOUNCER_HOLD": "0s",
            "ANNOUNCER_GRACE": "0s",
            "ANNOUNCER_RESUME": "0s",
            "ANNOUNCER_POLL": "0s",
            "OWNCAST_URL": town.address,
            "MASTODON_API_BASE_URL": town.address,
            "MASTODON_ACCESS_TOKEN": "a-made-up-token",
            "DISCORD_WEBHOOK_URL": f"{town.address}/api/webhooks/1/a-made-up-word",
        },
    )
    page.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    yield Studio(service, town, own, page)
    page.context.close()
    service.stop()
    town.close()


def test_words_typed_in_the_browser_are_seen_saved_and_said_by_the_next_post(
    studio: Studio,
) -> None:
    studio.stream("start", "Drawers")
    studio.until(lambda: len(studio.said("discord")) == 1, "the first stream was not told")
    studio.stream("stop", "Drawers")
    words = studio.edit("discord/live.txt")
    words.fill("Come in! {{ title }} at {{ name }}")
    expect(studio.card("Discord")).to_contain_text("Come in! Fitting a dovetail drawer at Kestrel")
    expect(studio.card("Discord")).to_contain_text("54 / 2000")
    assert not studio.own.exists(), "nothing is saved before that is asked for"
    studio.page.get_by_label("Try it with").select_option(label="your last stream: Drawers")
    expect(studio.card("Discord")).to_contain_text("Come in! Drawers at Kestrel Workshop")
    studio.page.get_by_role("button", name="Save as yours").click()
    expect(studio.page.get_by_role("status").first).to_contain_text("Saved.")
    file = studio.own / "discord/live.txt"
    assert file.read_text("utf-8") == "Come in! {{ title }} at {{ name }}\n"

    time.sleep(1)  # Owncast's times have whole seconds
    studio.stream("start", "Chairs")
    studio.until(lambda: len(studio.said("discord")) == 2, "the second stream was not told")
    assert studio.said("discord")[1] == "Come in! Chairs at Kestrel Workshop"
    studio.until(lambda: len(studio.said("mastodon")) == 2, "Mastodon was not told")
    assert studio.said("mastodon")[1].startswith("🔴 Kestrel Workshop is live: Chairs")

    studio.page.on("dialog", lambda dialog: dialog.accept())
    studio.page.get_by_role("button", name="Back to the shipped one").click()
    expect(studio.page.get_by_role("status").first).to_contain_text("put aside")
    studio.page.get_by_role("button", name="Bring yours back").click()
    expect(studio.page.get_by_role("status").first).to_contain_text("Your file is back.")
    assert file.read_text("utf-8").startswith("Come in!")


def test_g18_a_hostile_title_does_nothing_in_a_browser(studio: Studio) -> None:
    page, requests = studio.page, list[str]()
    page.on("request", lambda one: requests.append(one.url))
    page.on("pageerror", lambda error: pytest.fail(f"an error in the page: {error}"))
    studio.stream("start", HOSTILE)
    studio.until(lambda: len(studio.said("discord")) == 1, "it was not told")
    words = studio.edit("discord/live.txt")
    words.fill("{{ title }}")
    page.get_by_label("Try it with").select_option("last")
    expect(studio.card("Discord").locator(".text")).to_contain_text("onerror=")
    words.fill(f"{HOSTILE}</textarea>{HOSTILE}\n{{{{ titel }}}}")
    expect(page.locator("#faults")).to_contain_text("unknown variable 'titel'")
    page.get_by_text("What you can write").click()
    expect(page.locator("#known")).to_contain_text("window.hacked=1")
    page.get_by_role("button", name="Save as yours").click()
    expect(page.get_by_role("alert")).to_contain_text("Not saved yet")
    page.goto(f"{studio.service.url}/templates")
    page.goto(f"{studio.service.url}/templates/live.txt?sample=last")
    expect(studio.card("Discord").locator(".text")).to_contain_text("onerror=")
    assert page.evaluate("window.hacked") is None
    assert all(one.startswith(studio.service.url) for one in requests)
    assert not [one for one in requests if one.endswith("/x")], "no picture was asked for"


def test_what_is_wrong_stands_beside_its_line(studio: Studio) -> None:
    words = studio.edit("live.txt")
    long = "{{ name }} " * 30
    words.fill(f"{long}\n\n{{{{ titel }}}}\nend")
    fault = studio.page.locator("#faults li")
    expect(fault).to_contain_text("Line 3: unknown variable 'titel' (did you mean 'title'?)")
    expect(words).to_have_attribute("aria-invalid", "true")
    numbers = studio.page.locator(".mirror .line")
    assert numbers.evaluate_all("all => all.map(one => one.dataset.n)") == ["1", "2", "3", "4"]
    note = numbers.nth(2).locator(".note")
    expect(note).to_contain_text("unknown variable")
    assert numbers.first.evaluate("one => one.clientHeight > 40"), "a long line is broken"
    studio.page.get_by_role("button", name="Line 3:").click()
    chosen = "one => one.value.slice(one.selectionStart, one.selectionEnd)"
    assert words.evaluate(chosen) == "{{ titel }}"
    assert words.evaluate("one => one === document.activeElement")
    studio.page.keyboard.type("Come in")
    expect(studio.page.locator("#faults")).to_contain_text("It has words for every stream")
    expect(note).to_have_count(0)
    expect(words).not_to_have_attribute("aria-invalid", "true")


def test_numbers_stay_at_their_lines_where_long_ones_are_broken(studio: Studio) -> None:
    """A copy of the words carries them: it has the same breaks if it needs the same room."""
    words = studio.edit("live.txt")
    for letters in range(40, 140, 7):
        words.fill("\n".join(("{{ name }} ä🔴 " * 40)[:letters] for _ in range(30)))
        room = "one => one.scrollHeight"
        copy = studio.page.locator(".mirror").evaluate(room)
        assert words.evaluate(room) == copy, f"lines of {letters}"


def test_hands_that_use_keys_only_get_everywhere_and_save(studio: Studio) -> None:
    page, words = studio.page, studio.edit("live.txt")
    words.focus()
    page.keyboard.press("ControlOrMeta+End")
    page.keyboard.type("!")
    passed = []
    for _ in range(8):
        page.keyboard.press("Tab")
        passed.append(page.evaluate("document.activeElement.textContent.trim().slice(0, 17)"))
    assert "Save as yours" in passed, "Tab is not kept in the field"
    assert "What you can writ" in passed
    words.focus()
    page.keyboard.press("ControlOrMeta+s")
    expect(page.get_by_role("status").first).to_contain_text("Saved.")
    assert (studio.own / "live.txt").read_text("utf-8").endswith("!\n")


def test_fast_typing_asks_seldom_and_a_word_writes_itself(studio: Studio) -> None:
    page, words = studio.page, studio.edit("live.txt")
    asked: list[Request] = []
    page.on("request", lambda one: asked.append(one) if one.method == "POST" else None)
    words.fill("")
    words.press_sequentially("Come in and see what becomes of it: ", delay=10)
    page.get_by_text("What you can write").click()
    page.get_by_role("button", name="title", exact=True).click()
    expect(studio.card("Mastodon")).to_contain_text("of it: Fitting a dovetail drawer")
    assert words.input_value() == "Come in and see what becomes of it: {{ title }}"
    assert 1 <= len(asked) <= 6, "36 letters were typed"


def test_unsaved_words_are_not_left_by_mistake(studio: Studio) -> None:
    words, asked = studio.edit("live.txt"), list[str]()

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    studio.page.on("dialog", stay)
    studio.page.get_by_role("link", name="History").click()
    expect(studio.page).to_have_title("History · Announcer")
    assert asked == []
    words = studio.edit("live.txt")
    words.press_sequentially("Precious")
    studio.page.get_by_role("link", name="History").click(no_wait_after=True)
    expect(words).to_have_value(re.compile("Precious"))
    assert asked == ["beforeunload"]


def test_when_the_service_is_away_the_page_says_so_and_keeps_the_words(studio: Studio) -> None:
    words = studio.edit("live.txt")
    cut = studio.page.get_by_text("This preview is not up to date")
    expect(cut).to_be_hidden()
    studio.page.route("**/templates/live.txt", lambda route: route.abort())
    words.fill("Precious {{ name }}")
    expect(cut).to_be_visible()
    assert words.input_value() == "Precious {{ name }}"
    studio.page.unroute("**/templates/live.txt")
    words.press_sequentially("!")
    expect(cut).to_be_hidden(timeout=20_000)


def test_without_a_script_words_are_tried_and_saved_as_well(
    studio: Studio, browser: Browser
) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{studio.service.url}/templates/live.txt")
    page.get_by_label("Its words").fill("Hello {{ nam }}")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#faults")).to_contain_text("Line 1: unknown variable 'nam'")
    page.get_by_label("Its words").fill("Hello {{ name }}")
    page.get_by_label("Try it with").select_option("empty")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".see")).to_contain_text("Hello Kestrel Workshop")
    page.get_by_role("button", name="Save as yours").click()
    expect(page.get_by_role("status").first).to_contain_text("Saved.")
    assert (studio.own / "live.txt").read_text("utf-8") == "Hello {{ name }}\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(studio: Studio, browser: Browser, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    for path in ("", "/live.txt?sample=hostile", "/ended.txt?sample=long", "/alt.txt"):
        page.goto(f"{studio.service.url}/templates{path}")
        if path.startswith("/live"):
            page.get_by_label("Its words").fill("x" * 300 + "\n{{ titel }}\n{{ x.y }}")
            expect(page.locator("#faults li").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert page.evaluate(DIM) == [], path


DIM = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$|transparent/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const one of document.querySelectorAll("main *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !one.checkVisibility() || one.closest(".mirror") && !one.matches(".note")) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${one.className || one.tagName}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""
"""What has less contrast than WCAG 2.2 asks for, 1.4.3."""
