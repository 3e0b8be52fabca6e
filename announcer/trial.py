"""A real post that says it is a test: is it put up, and taken away again?"""

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from announcer.network import (
    DeliveryError,
    Finds,
    Moment,
    Network,
    Post,
    Receipt,
    Removes,
    Unsure,
)

WORDS = "This is a test of Announcer. Nobody is live."
GOES = "It will be gone in a moment."


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. *up* says whether readers see it still; None if nobody knows."""

    destination: str
    well: bool
    up: bool | None
    url: str
    says: str


class Trials:
    """Those that the page starts, each in a thread of its own, one at a time for a destination.
    What came of them is known until we stop.
    """

    def __init__(self, destinations: Mapping[str, Network], redact: Callable[[str], str]) -> None:
        self._destinations, self._redact = destinations, redact
        self._last: dict[str, Trial | None] = {}
        self._lock = threading.Lock()

    def running(self, name: str) -> bool:
        return name in self._last and self._last[name] is None

    def last(self, name: str) -> Trial | None:
        return self._last.get(name)

    def start(self, name: str) -> bool:
        """False if one is on its way there."""
        with self._lock:
            if self.running(name):
                return False
            self._last[name] = None
        threading.Thread(target=self._run, args=(name,), name=f"test {name}", daemon=True).start()
        return True

    def _run(self, name: str) -> None:
        broken = Trial(name, False, None, "", "our own mistake: look there, and into the log")
        try:
            came = run(name, self._destinations[name], datetime.now(UTC))
            self._last[name] = replace(came, says=self._redact(came.says))
        finally:  # a bug of ours is for the log of the thread, and must not keep the button away
            if self._last[name] is None:
                self._last[name] = broken


def run(destination: str, network: Network, now: datetime, *, keep: bool = False) -> Trial:
    """Post to *network*, and take it away unless it is to *keep*. Raises nothing of the network."""
    fleeting = isinstance(network, Removes) and not keep
    post = _post(destination, now, f"{WORDS} {GOES}" if fleeting else WORDS)
    try:
        receipt = network.publish(post)
    except Unsure as problem:
        return Trial(destination, False, None, "", f"may be posted, look there: {problem}")
    except DeliveryError as problem:
        return Trial(destination, False, False, "", f"not posted: {problem}")
    note = f" ({receipt.note})" if receipt.note else ""
    if keep:
        return Trial(destination, True, True, receipt.url, f"posted, and left there{note}")
    if not isinstance(network, Removes):
        said = f"posted; {network.title} lets nobody take it away{note}"
        return Trial(destination, True, True, receipt.url, said)
    return _taken_away(destination, network, network, post, receipt, note)


def _taken_away(
    destination: str, network: Network, it: Removes, post: Post, receipt: Receipt, note: str
) -> Trial:
    try:
        it.remove(receipt)
    except DeliveryError as problem:
        said = f"posted, but not taken away, do it by hand: {problem}"
        return Trial(destination, False, True, receipt.url, said)
    if _is_still_there(network, post):
        said = "posted, but still there, although the server was told to take it away"
        return Trial(destination, False, True, receipt.url, said)
    return Trial(destination, True, False, "", f"posted, and taken away again{note}")


def _is_still_there(network: Network, post: Post) -> bool:
    """Some servers say yes to everything. Not asked where a look costs money."""
    if not isinstance(network, Finds) or network.daily_posts is not None:
        return False
    try:
        return network.find(post) is not None
    except DeliveryError:
        return False


def _post(destination: str, now: datetime, text: str) -> Post:
    """Of a stream that is over, since it is seen by programs, too, such as those behind MQTT."""
    key = f"test-{secrets.token_hex(4)}/live/{destination}"
    return Post(
        key=key,
        moment=Moment.LIVE,
        mood=Moment.ENDED,
        text=text,
        began_at=now,
        worded_at=now,
        wire_key=f"{key}#0",
        test=True,
    )
