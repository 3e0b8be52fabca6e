"""A real browser (the system's Chromium), without a window, that a test looks through."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.servers import INSTALLED, NotInstalledError, Program, program

_FLAGS = (
    "--headless",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # a container gives it 64 MB, which it crashes at
    "--disable-gpu",
    "--disable-sync",
    "--password-store=basic",
)


class Chromium:
    """The browser, running from construction until `stop`. Raises NotInstalledError.

    It keeps one profile for as long as it runs: `browser.contexts[0]`, the only one where a page
    may subscribe to push. `browser.new_context()` shares nothing with anybody.
    """

    def __init__(self, folder: Path) -> None:
        browser = command()
        profile = folder / "profile"
        told = profile / "DevToolsActivePort"
        # Root is refused its sandbox.
        flags = (*_FLAGS, "--no-sandbox") if os.getuid() == 0 else _FLAGS
        self._program = Program(
            [browser, *flags, f"--user-data-dir={profile}", "about:blank"],
            folder,
            env={**os.environ, "HOME": str(folder)},
        )
        self._program.wait_until(lambda: told.exists() and "/" in told.read_text("utf-8"))
        port = told.read_text("utf-8").split()[0]
        self.url = f"http://127.0.0.1:{port}"
        """Of its DevTools protocol."""

    @contextmanager
    def connected(self) -> Iterator[Browser]:
        """For one test at a time: its library keeps a loop running in the thread meanwhile."""
        with sync_playwright() as playwright:
            browser = playwright.chromium.connect_over_cdp(self.url)
            before = list(browser.contexts)
            yield browser
            for context in browser.contexts:
                if context not in before:
                    context.close()

    def stop(self) -> None:
        self._program.stop()


def axe() -> str:
    """The script that looks for barriers on a page. Raises NotInstalledError."""
    script = INSTALLED / "axe/node_modules/axe-core/axe.min.js"
    if not script.exists():
        raise NotInstalledError("axe-core is not installed")
    return script.read_text("utf-8")


def command() -> str:
    """What starts the browser. Raises NotInstalledError."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        try:
            return program(name)
        except NotInstalledError:
            continue
    raise NotInstalledError("chromium is not installed")
