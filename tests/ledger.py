"""What the people of a town see, and ever saw: the judge of what we do, and not our own rows."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Visible:
    """One post. *id* is the network's own; *at* is in seconds of the town's clock; *was* holds the
    texts that it had before; *content* is all that its readers got with it.
    """

    id: str
    network: str
    text: str
    at: float
    answers: str = ""
    """The id of the post that it replies to."""
    content: str = ""
    gone_at: float | None = None
    was: list[str] = field(default_factory=list)


class Ledger:
    """Every post there ever was, the oldest first. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.ever: list[Visible] = []
        self.marks: set[str] = set()
        """Badges that are on, such as `mastodon pin 1`."""
        self.complaints: list[str] = []
        """What no network should ever be sent, whatever became of it."""
        self._known: dict[tuple[str, str], Visible] = {}
        self._lock = threading.RLock()

    @property
    def visible(self) -> list[Visible]:
        with self._lock:
            return [post for post in self.ever if post.gone_at is None]

    def of(self, network: str) -> list[Visible]:
        """What is visible there, the newest first, as networks list it."""
        return [post for post in self.visible if post.network == network][::-1]

    def put(
        self,
        network: str,
        text: str,
        *,
        identity: str = "",
        name: str = "",
        answers: str = "",
        content: str = "",
    ) -> tuple[Visible, bool]:
        """Show a post, and whether it is a new one. The same *identity* is the same post, and it is
        an offence to send other words with it. *name* is the id that the sender chose.
        """
        with self._lock:
            known = self._known.get((network, identity)) if identity else None
            if known and not (known.gone_at and name):
                if (known.text, known.content) != (text, content):
                    self.complaints.append(f"{network}: other words were sent for {known.text!r}")
                return known, False
            number = name or str(len(self.ever) + 1)
            post = Visible(number, network, text, self.clock(), answers, content)
            self.ever.append(post)
            self._known[network, identity] = post
            return post, True

    def get(self, network: str, number: str) -> Visible | None:
        return next((post for post in self.of(network) if post.id == number), None)

    def edit(self, network: str, number: str, text: str) -> Visible | None:
        """None if it is not there."""
        with self._lock:
            post = self.get(network, number)
            if post and post.text != text:
                post.was.append(post.text)
                post.text = text
            return post

    def take_away(self, network: str, number: str) -> bool:
        """False if it was not there."""
        with self._lock:
            post = self.get(network, number)
            if post:
                post.gone_at = self.clock()
            return post is not None
