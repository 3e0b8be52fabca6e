"""The pictures of the pages for the docs: `make pictures`.

A realistic evening in a database of its own, the real pages, the system's Chromium and fonts.
Nothing is sent anywhere.
"""

import io
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from announcer.wiring import Parts
from tests.kestrel import EVENING, LINKS, OVERLAY, evening, introduce
from tests.pushservice import CONTACT
from tests.rows.webpush import key
from tests.scenes import MINUTE, Scene, served, tried
from tests.servers.chromium import command

WATCHED = {"WEBPUSH_PRIVATE_KEY": key("pictures"), "WEBPUSH_CONTACT": CONTACT}
GUARDED = {"ANNOUNCER_ADMIN_PASSWORD": "nobody-logs-in"}
WORDS = "🔴 {{ name }} is live: {{ title }}\n\n{{ url }}\n\n{{ hashtags }}\n"
LARGEST, TOGETHER = 150_000, 2_500_000
"""Bytes of one picture, and of all: they are part of every clone."""


class Look(NamedTuple):
    """What a page is looked at with; *height* 0 is as high as the page is."""

    ending: str
    dark: bool
    size: ViewportSize
    sharp: float = 1.5


LOOKS = (
    Look("", dark=False, size={"width": 1120, "height": 0}),
    Look("-dark", dark=True, size={"width": 1120, "height": 0}),
    Look("-phone", dark=False, size={"width": 390, "height": 844}, sharp=2),
)
TALLEST = 1300
PAGES = {
    "now": "",
    "history": "history",
    "destinations": "destinations",
    "templates": "templates",
    "editor": "templates/mastodon/live.txt",
}
ALONE = {"login": "login", "push": "push"}
SCENES: Mapping[str, tuple[str, ViewportSize]] = {
    "": ("linear-gradient(#c9b08c, #8a5a2b)", {"width": 960, "height": 540}),
    "-dark": ("linear-gradient(#14100c, #4b3018)", {"width": 960, "height": 540}),
    "-phone": ("linear-gradient(#2b2118, #8a5a2b)", {"width": 540, "height": 960}),
}
"""What the overlay lies over: by day, by night, and a stream that is held upright."""


def main(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "mastodon").mkdir()
        (folder / "mastodon/live.txt").write_text(WORDS, "utf-8")
        own = {"ANNOUNCER_TEMPLATES": str(folder)}
        parts, home = stack.enter_context(served({**EVENING, **own}))
        evening(parts)
        introduce(parts)
        others, door = stack.enter_context(served({**EVENING, **WATCHED, **GUARDED}))
        evening(others, live=False)
        play = stack.enter_context(sync_playwright())
        browser = play.chromium.launch(executable_path=command(), args=["--no-sandbox"])
        sizes = {}
        for look in LOOKS:
            for address, pages in ((home, PAGES), (door, ALONE)):
                for name, path in pages.items():
                    shot = _shoot(browser, f"{address}/{path}", look)
                    sizes[f"{name}{look.ending}"] = _keep(place / f"{name}{look.ending}.png", shot)
        _freshen(parts)
        for ending, (behind, size) in SCENES.items():
            look = Look(ending, dark=False, size=size, sharp=1)
            shot = _shoot(browser, f"{home}/overlay/{OVERLAY}?seconds=60", look, behind)
            sizes[f"overlay{ending}"] = _keep(place / f"overlay{ending}.png", shot)
        browser.close()
    _judge(sizes)


def _shoot(browser: Browser, address: str, look: Look, behind: str = "") -> bytes:
    context = browser.new_context(
        color_scheme="dark" if look.dark else "light",
        viewport={"width": look.size["width"], "height": look.size["height"] or 800},
        device_scale_factor=look.sharp,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_timeout(1500)
    if behind:
        page.evaluate(f"document.documentElement.style.background = '{behind}'")
    if not look.size["height"]:
        high = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": look.size["width"], "height": high})
        page.wait_for_timeout(300)
    shot = page.screenshot()
    context.close()
    return shot


def _keep(file: Path, shot: bytes) -> int:
    small = Image.open(io.BytesIO(shot)).convert("RGB")
    small = small.quantize(256, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    return file.stat().st_size


def _judge(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        print(f"{name}: {size // 1024} kB{', TOO LARGE' if size > LARGEST else ''}")
    print(f"together: {sum(sizes.values()) // 1024} kB")
    if max(sizes.values()) > LARGEST or sum(sizes.values()) > TOGETHER:
        sys.exit("these are too large to be part of every clone")


def _freshen(parts: Parts) -> None:
    """Something went up just now."""
    scene = Scene(parts.outbox)
    show = scene.show("b102", "Fitting a dovetail drawer, third try", ago=MINUTE)
    now = datetime.now(UTC)
    scene.post(show, "mastodon", link=LINKS["mastodon"], made=[tried(now)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
