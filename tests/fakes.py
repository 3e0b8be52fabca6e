"""A made-up network, and the second half on a real database with a clock that is moved by hand."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, SecretStr

from announcer import migrations, outbox
from announcer.attempt import manners_of
from announcer.content import Channel, Composer
from announcer.delivery import Delivery
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import Account, Finds, Network, Post, Receipt, Repeat
from announcer.outbox import Outbox, Shown
from announcer.pictures import Pictures, Shot
from announcer.policy import Decision, Rules, Sight
from announcer.watch import About, Watch
from announcer.wording import Templates

NOW = datetime(2026, 9, 12, 19, 0, tzinfo=UTC)
HOME = "https://live.example.org"
PATIENCE = 30.0
"""Seconds until a test that waits for something gives up."""


def wait_until(true: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def open_box(place: Path | str) -> Outbox:
    """The database at an address, or a SQLite file."""
    engine = outbox.connect(place if isinstance(place, str) else f"sqlite:///{place}")
    migrations.upgrade(engine)
    return Outbox(engine)


def event(kind: Kind = Kind.STARTED, at: datetime = NOW, **fields: Any) -> Event:
    """A start has the connect time *at*, as Owncast's have; ids are new for every *at*."""
    told: dict[str, Any] = {
        "id": f"{kind}-{at:%H%M%S.%f}",
        "channel": "default",
        "stamp": at,
        "name": "Kestrel",
    }
    if kind is not Kind.STOPPED:
        told["connected"] = at
    return Event(kind=kind, at=at, **told | fields)


@dataclass(frozen=True)
class Turn:
    """What one publish does: wait for *gate*, show the post or not, then *problem* or a receipt."""

    problem: Exception | None = None
    shows: bool = False
    gate: threading.Event | None = None


class Fake(Network):
    """Follows a script of turns, then takes everything. *visible* is what its audience sees."""

    name = "fake"
    title = "Fake"
    repeat = Repeat.DOUBLES
    unit = "characters"
    usual_limit = 500

    handle: str = "kestrel"
    token: SecretStr = SecretStr("first password")
    budget: int | None = None

    _script: deque[Turn] = PrivateAttr(default_factory=deque)
    _sent: list[Post] = PrivateAttr(default_factory=list)
    _visible: list[Post] = PrivateAttr(default_factory=list)
    _identities: list[object] = PrivateAttr(default_factory=list)

    def then(self, *turns: Turn | Exception) -> None:
        """The next publishes do this. A bare exception: nothing is shown and it is raised."""
        self._script.extend(turn if isinstance(turn, Turn) else Turn(turn) for turn in turns)

    @property
    def sent(self) -> list[Post]:
        return self._sent

    @property
    def visible(self) -> list[Post]:
        return self._visible

    @property
    def daily_posts(self) -> int | None:
        return self.budget

    def identity(self, post: Post) -> object:  # noqa: ARG002  # it tells all of them apart
        """What tells one post from another: the network takes equals for the same sent again."""
        return object()

    def publish(self, post: Post) -> Receipt:
        turn = self._script.popleft() if self._script else Turn(shows=True)
        self._sent.append(post)
        if turn.gate:
            assert turn.gate.wait(PATIENCE), "the test never opened the gate"
        if turn.shows and self.identity(post) not in self._identities:
            self._visible.append(post)
            self._identities.append(self.identity(post))
        if turn.problem:
            raise turn.problem
        return self.receipt(post)

    def receipt(self, post: Post) -> Receipt:
        return Receipt(f"id of {post.text}", "https://fake.test/1", {"cid": "7"})

    def check(self) -> Account:
        return Account(self.handle)


class Harmless(Fake):
    """Like Bluesky: the key names the record."""

    repeat = Repeat.HARMLESS

    def identity(self, post: Post) -> object:
        return post.key


class Findable(Fake, Finds):
    """Like X: it doubles, and shows us what is up. `blind` turns are what a look raises."""

    repeat = Repeat.FINDABLE

    _blind: deque[Exception] = PrivateAttr(default_factory=deque)
    _looks: list[Post] = PrivateAttr(default_factory=list)

    @property
    def looks(self) -> list[Post]:
        return self._looks

    def blind(self, *problems: Exception) -> None:
        self._blind.extend(problems)

    def find(self, post: Post) -> Receipt | None:
        self._looks.append(post)
        if self._blind:
            raise self._blind.popleft()
        found = [one for one in self.visible if one.text == post.text]
        return self.receipt(found[0]) if found else None


class Window(Findable):
    """Like Mastodon: an idempotency key made from the wire key, kept for an hour."""

    repeat = Repeat.WINDOW

    def identity(self, post: Post) -> object:
        return post.wire_key


class Lookout(Watch):
    """Sees what the test says."""

    def __init__(self, *sights: Sight) -> None:
        super().__init__("http://owncast.test")
        self.sights = deque(sights)

    def look(self) -> Sight:
        return self.sights.popleft() if len(self.sights) > 1 else self.sights[0]

    def about(self, *, ask: bool = True) -> About:  # noqa: ARG002  # always knows
        return About(("woodwork",))


class Camera(Pictures):
    """Takes what the test says, the last for ever; *asked* is what was wanted each time."""

    def __init__(self, *shots: Shot | None) -> None:
        super().__init__(HOME)
        self.shots, self.asked = deque(shots), list[bool]()

    def take(self, *, of_stream: bool) -> Shot | None:
        self.asked.append(of_stream)
        return self.shots.popleft() if len(self.shots) > 1 else self.shots[0]


class Stage:
    """Both halves on one database, an address or a SQLite file. *now* is the time of all of it."""

    rules = Rules(hold=timedelta(), give_up=timedelta(minutes=30))

    def __init__(
        self,
        place: Path | str,
        networks: Mapping[str, Network],
        *,
        watch: Watch | None = None,
        pictures: Pictures | None = None,
        alerted: Sequence[str] = (),
        **rules: timedelta,
    ) -> None:
        self.place, self.watch, self.pictures = place, watch, pictures
        self.alerted = alerted
        self.rules = self.rules.model_copy(update=rules)
        self.now = NOW
        self.boxes: list[Outbox] = []
        self.deliveries: list[Delivery] = []
        self.start_up(networks)

    def start_up(self, networks: Mapping[str, Network]) -> None:
        """A new process on the same database, as after a crash: its leases only time ends here."""
        self.box = open_box(self.place)
        self.networks = dict(networks)
        self.delivery = Delivery(
            self.box,
            self.rules,
            self.networks,
            {"default": Channel("default", HOME, self.watch, self.pictures)},
            Composer(Templates(None)),
            redact=lambda text: text.replace("first password", "***"),
            wake=lambda: None,
            alerted=self.alerted,
        )
        manners = {name: manners_of(network) for name, network in self.networks.items()}
        self.intake = Intake(
            self.box, self.rules, lambda _: self.audience(), manners, lambda _: None
        )
        self.delivery.reopen_changed()
        self.boxes.append(self.box)
        self.deliveries.append(self.delivery)

    def close(self) -> None:
        for delivery in self.deliveries:
            delivery.stop(PATIENCE)
        for box in self.boxes:
            box.engine.dispose()

    def audience(self) -> list[str]:
        return [name for name in self.networks if name not in self.alerted]

    def hear(self, kind: Kind = Kind.STARTED, **fields: Any) -> Decision:
        return self.intake.take(event(kind, self.now, **fields), self.now)

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)

    def run(self) -> datetime | None:
        """Everything that is due, and wait for what came of it."""
        again = self.delivery.run()
        wait_until(lambda: not self.in_flight())
        return again

    def in_flight(self) -> list[str]:
        told = [post for _, posts in self.box.history(1) for post in posts]
        return [post.entry.destination for post in told if post.entry.state == "sending"]

    def posts(self) -> dict[str, Shown]:
        """Those that tell of the start of the newest broadcast, by destination."""
        told = [post for _, posts in self.box.history(1) for post in posts]
        return {post.entry.destination: post for post in told if post.entry.moment == "live"}

    def post(self, destination: str = "fake") -> Shown:
        return self.posts()[destination]

    def told(self, destination: str = "fake") -> tuple[str, str]:
        """State and reason."""
        entry = self.post(destination).entry
        return entry.state.value, entry.reason
