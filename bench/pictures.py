"""The pictures of the pages for the docs: `python bench/pictures.py docs/pictures`.

A realistic evening in a database of its own, the real pages, the system's Chromium. Nothing is
sent anywhere.
"""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from announcer.wiring import Parts
from tests.kestrel import EVENING, LINKS, OVERLAY, evening, introduce
from tests.scenes import MINUTE, Scene, served, tried
from tests.servers.chromium import command

STREAM = "linear-gradient(#2b2118, #8a5a2b)"
SHOTS = (
    ("now", "", "light", 1120, 0),
    ("now-dark", "", "dark", 1120, 0),
    ("now-phone", "", "light", 390, 1500),
    ("history", "history", "light", 1120, 900),
    ("destinations", "destinations", "light", 1120, 0),
    ("overlay", f"overlay/{OVERLAY}?seconds=60", "light", 960, 540),
)
"""Name, path, scheme, width and height; 0 is as high as the page is."""


def main(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with served(EVENING) as (parts, address), sync_playwright() as play:
        evening(parts)
        introduce(parts)
        browser = play.chromium.launch(executable_path=command(), args=["--no-sandbox"])
        for name, path, scheme, width, height in SHOTS:
            if name == "overlay":
                _freshen(parts)
            context = browser.new_context(
                color_scheme="dark" if scheme == "dark" else "light",
                viewport={"width": width, "height": height or 800},
            )
            page = context.new_page()
            page.goto(f"{address}/{path}")
            page.wait_for_timeout(1500)
            if name == "overlay":  # over something like a stream
                page.evaluate(f"document.documentElement.style.background = '{STREAM}'")
            shot = page.screenshot(full_page=not height)
            small = Image.open(io.BytesIO(shot)).convert("RGB")
            small = small.quantize(256, dither=Image.Dither.NONE)
            small.save(place / f"{name}.png", optimize=True)
            print(f"{name}: {(place / f'{name}.png').stat().st_size // 1024} kB")
            context.close()
        browser.close()


def _freshen(parts: Parts) -> None:
    """Something went up just now."""
    scene = Scene(parts.outbox)
    show = scene.show("b102", "Fitting a dovetail drawer, third try", ago=MINUTE)
    now = datetime.now(UTC)
    scene.post(show, "mastodon", link=LINKS["mastodon"], made=[tried(now)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
