"""Asks Owncast how things are: its status now, and what its page says about itself.

Source: controllers/status.go and config.go of owncast/owncast 0.1.3 (GET /api/status, /api/config).
"""

import threading
import time
from dataclasses import dataclass

from announcer import wire
from announcer.events import LONGEST
from announcer.network import DeliveryError
from announcer.policy import Sight

FRESH, STALE = 2.0, 60.0
"""Seconds that a look at the stream, and one at its page, serves all destinations."""
PATIENCE = 5.0
"""Seconds for one answer: a look never holds up an announcement for long."""


@dataclass(frozen=True, slots=True)
class About:
    """What a server's page says about itself."""

    tags: tuple[str, ...] = ()
    nsfw: bool = False


class Watch:
    """One Owncast server, asked at its configured address. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = wire.Session(url, total=PATIENCE)
        self._lock = threading.Lock()
        self._sight = Sight.UNREACHABLE
        self._about = About()
        self._asked = self._asked_about = float("-inf")

    def warm(self) -> None:
        """Learn in the background what the page says, so that the first post need not wait."""
        threading.Thread(target=self.about, name="watch", daemon=True).start()

    def look(self) -> Sight:
        """What the server shows of its stream now; UNREACHABLE if it did not say."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                self._sight = self._ask()
                self._asked = time.monotonic()
            return self._sight

    def about(self, *, ask: bool = True) -> About:
        """Tags and the like; what it said last if it does not answer now, or if *ask* is false."""
        with self._lock:
            if ask and time.monotonic() - self._asked_about > STALE:
                self._asked_about = time.monotonic()
                try:
                    said = self._get("/api/config")
                except DeliveryError:
                    return self._about
                tags = said.get("tags")
                self._about = About(
                    tuple(str(tag)[:LONGEST] for tag in tags) if isinstance(tags, list) else (),
                    said.get("nsfw") is True,
                )
            return self._about

    def _ask(self) -> Sight:
        try:
            status = self._get("/api/status")
        except DeliveryError:
            return Sight.UNREACHABLE
        if not isinstance(status.get("online"), bool):
            return Sight.UNREACHABLE
        if status["online"]:
            return Sight.ONLINE
        # Set from the connect on, while `online` comes 7 to 15 s later.
        return Sight.CONNECTED if status.get("lastConnectTime") else Sight.OFFLINE

    def _get(self, path: str) -> dict[str, object]:
        with wire.answered():
            answer = self._session.get(self._url + path)
        if answer.status_code != 200:
            raise wire.from_status(answer.status_code, "", answer.headers)
        return wire.json_of(answer)
