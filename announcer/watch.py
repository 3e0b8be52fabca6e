"""Asks Owncast how things are: its status now, and what its page says about itself.

Source: controllers/status.go and config.go of owncast/owncast 0.1.3 (GET /api/status, /api/config).
"""

import threading
import time
from dataclasses import dataclass

from requests import Response

from announcer import wire
from announcer.events import LONGEST, MalformedEvent, Status, clip, parse_status
from announcer.network import DeliveryError, Refused
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
    name: str = ""
    summary: str = ""


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

    def status(self) -> Status | None:
        """What the server says of its stream now; None if it did not, or nobody understands it."""
        with self._lock:
            return self._status()

    def proof(self) -> Status:
        """The same for somebody who wants to know why not. Raises DeliveryError."""
        try:
            with self._lock:
                return self._read()
        except MalformedEvent:
            raise Refused("it answers, but not like Owncast") from None

    def look(self) -> Sight:
        """What the server shows of its stream now; UNREACHABLE if it did not say."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                self._sight = sight_of(self._status())
                self._asked = time.monotonic()
            return self._sight

    def about(self, *, ask: bool = True) -> About:
        """Tags and the like; what it said last if it does not answer now, or if *ask* is false."""
        with self._lock:
            if ask and time.monotonic() - self._asked_about > STALE:
                self._asked_about = time.monotonic()
                try:
                    said = wire.json_of(self._get("/api/config"))
                except DeliveryError:
                    return self._about
                tags, words = said.get("tags"), (said.get("name"), said.get("summary"))
                self._about = About(
                    tuple(str(tag)[:LONGEST] for tag in tags) if isinstance(tags, list) else (),
                    said.get("nsfw") is True,
                    *(clip(text) if isinstance(text, str) else "" for text in words),
                )
            return self._about

    def _status(self) -> Status | None:
        try:
            return self._read()
        except (DeliveryError, MalformedEvent):
            return None

    def _read(self) -> Status:
        answer = self._get("/api/status")
        return parse_status(wire.json_of(answer), wire.http_date(answer.headers.get("Date", "")))

    def _get(self, path: str) -> Response:
        with wire.answered():
            answer = self._session.get(self._url + path)
        if answer.status_code != 200:
            raise wire.from_status(answer.status_code, "", answer.headers)
        return answer


def sight_of(status: Status | None) -> Sight:
    if status is None:
        return Sight.UNREACHABLE
    if status.online:
        return Sight.ONLINE
    return Sight.CONNECTED if status.live else Sight.OFFLINE
