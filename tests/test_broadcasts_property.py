"""Whatever Owncast sends and networks answer, in whatever order: one announcement, and no late one.

The real intake, outbox and delivery, on SQLite in memory, with a clock that the tests turn. The
judge is a ledger of what the audience of made-up networks sees, not our own rows.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations
from typing import Any, ClassVar, NamedTuple
from unittest.mock import patch

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import PrivateAttr
from sqlalchemy.pool import StaticPool

from announcer import attempt, delivery, intake, outcome
from announcer.content import Channel, Composer, Content
from announcer.delivery import Delivery
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import (
    Account,
    Finds,
    Moment,
    Network,
    Post,
    Receipt,
    Refused,
    Repeat,
    TryLater,
    Unsure,
)
from announcer.outbox import LEASE, Claim, Outbox, Shown, connect, schema
from announcer.policy import Broadcast, Rules, Sight, State
from announcer.watch import About, Watch
from announcer.wording import Facts, Templates

START = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
WINDOW = timedelta(hours=1)
"""How long the network of the class WINDOW folds a repeat."""
ENDS = (State.SETTLED, State.WITHDRAWN, State.FAILED, State.UNSURE)
OUTCOMES = [
    "delivered",
    "later",
    "later, in 20 minutes",
    "refused",
    "unsure, up",
    "unsure, not up",
    "bug, up",
    "dies, up",
    "dies, not up",
]


class Death(BaseException):
    """The process was killed in the middle of a request."""


class Visible(NamedTuple):
    """One post as the audience sees it."""

    destination: str
    key: str
    wire_key: str
    text: str
    at: datetime


class Town:
    """All the made-up networks: what they will answer next, and what their audience sees."""

    def __init__(self) -> None:
        self.now = START
        self.wall: list[Visible] = []
        self.script: dict[str, deque[str]] = {}
        self.tried: dict[str, str] = {}
        """The words of the last try of each post."""
        self.before_publish: Callable[[Post], None] = lambda _: None
        self.wrong: list[str] = []
        """What must never have been asked. Not raised: delivery would take it for a failure."""

    def publish(self, network: "Fake", post: Post) -> Receipt:
        self.before_publish(post)
        if post.doubtful_since and post.text != self.tried[post.key]:
            self.wrong.append("a repeat of what may be up was reworded")
        self.tried[post.key] = post.text
        script = self.script.get(network.name)
        outcome = script.popleft() if script else "delivered"
        if outcome.endswith("up") and not outcome.endswith("not up"):
            self._put_up(network, post)
        match outcome.partition(",")[0]:
            case "later":
                wait = timedelta(minutes=20 if "20" in outcome else 0)
                raise TryLater("busy", wait)
            case "refused":
                raise Refused("no")
            case "unsure":
                raise Unsure("no answer")
            case "bug":
                raise ZeroDivisionError
            case "dies":
                raise Death
        return self._put_up(network, post)

    def find(self, network: "Fake", post: Post) -> Receipt | None:
        script = self.script.get(network.name)
        if script and script[0].startswith("later"):
            script.popleft()
            raise TryLater("busy")
        up = [seen for seen in self.wall if seen.key == post.key]
        return Receipt(post.key) if up else None

    def _put_up(self, network: "Fake", post: Post) -> Receipt:
        folds = network.repeat is Repeat.HARMLESS or network.repeat is Repeat.WINDOW
        patience = WINDOW if network.repeat is Repeat.WINDOW else timedelta.max
        for seen in self.wall:
            same = seen.destination == network.name and seen.wire_key == post.wire_key
            if folds and same and self.now - seen.at <= patience:
                return Receipt(post.key)
        self.wall.append(Visible(network.name, post.key, post.wire_key, post.text, self.now))
        return Receipt(post.key)


class Fake(Network):
    title: ClassVar[str] = "Made up"
    unit: ClassVar[str] = "characters"
    usual_limit: ClassVar[int] = 1000

    _town: Town = PrivateAttr()

    def at(self, town: Town) -> "Fake":
        self._town = town
        return self

    def publish(self, post: Post) -> Receipt:
        return self._town.publish(self, post)

    def check(self) -> Account:
        return Account(self.name)


class FindingFake(Fake, Finds):
    def find(self, post: Post) -> Receipt | None:
        return self._town.find(self, post)


class Harmless(Fake):
    name = "harmless"
    repeat = Repeat.HARMLESS


class Window(FindingFake):
    name = "window"
    repeat = Repeat.WINDOW


class Findable(FindingFake):
    name = "findable"
    repeat = Repeat.FINDABLE


class Doubles(Fake):
    name = "doubles"
    repeat = Repeat.DOUBLES


NETWORKS = (Harmless, Window, Findable, Doubles)


class Words(Composer):
    """No two wordings are alike, so that one that changed is seen."""

    def compose(
        self,
        network: Network,
        destination: str,
        mood: Moment,
        facts: Facts,
        *,
        now: datetime,
        **_: Any,
    ) -> Content:
        text = f"{facts.title} ({destination} on {network.title}, {now.isoformat()})"
        return Content(text, "live.txt", mood, None, facts.started_at, now)


TEMPLATES = Templates(None)


class Eyes(Watch):
    """Sees what the test says."""

    def __init__(self) -> None:
        self.sight = Sight.UNREACHABLE

    def look(self) -> Sight:
        return self.sight

    def about(self, *, ask: bool = True) -> About:  # noqa: ARG002  # never knows
        return About()


@dataclass
class Pool:
    """In place of threads: work waits here until the test lets it go on."""

    waiting: list[Callable[[], None]]

    def submit(self, work: Callable[[Claim], None], claim: Claim) -> None:
        self.waiting.append(partial(work, claim))


@dataclass
class Replica:
    """One process of ours."""

    delivery: Delivery
    pool: Pool


def in_memory() -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    schema.create_all(engine)
    return engine


class World:
    """The service, its database, the town and the time."""

    def __init__(self, rules: Rules, engine: sa.Engine) -> None:
        self.town, self.rules, self.eyes = Town(), rules, Eyes()
        self.outbox = Outbox(engine)
        self.networks = {network.name: network().at(self.town) for network in NETWORKS}
        self.intake = Intake(self.outbox, rules, lambda _: list(self.networks), {}, lambda _: None)
        self.replicas = [self._replica(), self._replica()]
        self.excused: set[tuple[str, int]] = set()
        """Tries that were claimed when their stream stopped: as good as on their way."""
        self.town.before_publish = self._nothing_wrong_leaves

    def _replica(self) -> Replica:
        made = Delivery(
            self.outbox,
            self.rules,
            self.networks,
            {"default": Channel("default", "https://live.example.org", self.eyes)},
            Words(TEMPLATES),
            redact=str,
            wake=lambda: None,
        )
        pool = Pool([])
        vars(made)["_pool"] = pool
        return Replica(made, pool)

    def close(self) -> None:
        self.outbox.engine.dispose()

    def take(self, event: Event) -> None:
        claimed = [shown.entry for shown in self.posts() if shown.entry.state is State.SENDING]
        self.excused |= {(entry.key, entry.tries) for entry in claimed}
        self.intake.take(replace(event, at=event.at if event.found else self.now), self.now)

    @property
    def now(self) -> datetime:
        return self.town.now

    def work(self, replica: Replica, number: int = 0) -> None:
        """Let one post go out that was claimed."""
        try:
            replica.pool.waiting.pop(number)()
        except Death:
            self.kill(replica)

    def kill(self, replica: Replica) -> None:
        """And start it again. What it had claimed stays `sending`."""
        self.replicas[self.replicas.index(replica)] = self._replica()

    def deliver(self) -> None:
        """Everything that is due now, by the first of our processes."""
        self.replicas[0].delivery.run()
        while self.replicas[0].pool.waiting:
            self.work(self.replicas[0])
            if not self.replicas[0].pool.waiting:
                self.replicas[0].delivery.run()

    def settle(self) -> None:
        """Every fault is lifted, and time passes until each post has come to an end."""
        self.town.script.clear()
        self.eyes.sight = Sight.UNREACHABLE
        for replica in list(self.replicas):
            self.kill(replica)
        for _ in range(12):
            self.deliver()
            if all(shown.entry.state in ENDS for shown in self.posts()):
                return
            self.town.now += LEASE + timedelta(seconds=1)
        raise AssertionError("a post never came to an end")

    def posts(self) -> list[Shown]:
        return [post for _, told in self.outbox.history(1000) for post in told]

    def shows(self) -> list[Broadcast]:
        return [show for show, _ in self.outbox.history(1000)]

    def _nothing_wrong_leaves(self, post: Post) -> None:
        (row,) = [shown.entry for shown in self.posts() if shown.entry.key == post.key]
        if row.state is not State.SENDING:
            self.town.wrong.append("sent without a claim")
        if self.now > row.until:
            self.town.wrong.append("started after its deadline")
        if row.wanted is not Moment.LIVE and (row.key, row.tries) not in self.excused:
            self.town.wrong.append("a stopped broadcast was started")


@contextmanager
def world(rules: Rules, engine: sa.Engine | None = None) -> Iterator[World]:
    made = World(rules, engine or in_memory())
    silent = structlog.wrap_logger(None, processors=[_drop])
    with ExitStack() as stack:
        stack.callback(made.close)
        stack.enter_context(patch.object(attempt, "now", lambda: made.now))
        stack.enter_context(patch.object(attempt, "dice", lambda: 0.5))
        for module in (attempt, delivery, intake, outcome):
            stack.enter_context(patch.object(module, "log", silent))
        yield made


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


@dataclass(frozen=True)
class Connection:
    """One RTMP connection as it really was."""

    number: int
    began: datetime
    ended: datetime | None = None


class Owncast:
    """What it would send for its connections, in one generation of the format."""

    def __init__(self, *, stamps: bool, connects: bool) -> None:
        self.stamps, self.connects = stamps, connects
        self._sent = 0

    def event(self, kind: Kind, at: datetime, connection: Connection | None, title: str) -> Event:
        self._sent += 1
        began = connection.began.replace(microsecond=0) if connection else None
        known = self.connects and kind is not Kind.STOPPED
        return Event(
            id=f"event-{self._sent}",
            channel="default",
            kind=kind,
            at=at,
            stamp=at if self.stamps else None,
            connected=began if known else None,
            title=title,
        )


ANSWERS = st.lists(st.sampled_from(OUTCOMES), max_size=5)
HEARD = st.sampled_from([True, True, True, False])
"""Most events are heard at once, the others later, twice or never."""


class Broadcasts(RuleBasedStateMachine):
    """Any life of a stream, of its webhooks, of the networks and of our own processes."""

    engine = staticmethod(in_memory)

    @initialize(
        hold=st.sampled_from([0, 30]),
        generation=st.sampled_from(["no times", "stamps", "stamps and connects"]),
        answers=st.fixed_dictionaries({network.name: ANSWERS for network in NETWORKS}),
    )
    def begin(self, hold: int, generation: str, answers: dict[str, list[str]]) -> None:
        self.stack = ExitStack()
        self.world = self.stack.enter_context(
            world(Rules(hold=timedelta(seconds=hold)), self.engine())
        )
        self.world.town.script = {name: deque(script) for name, script in answers.items()}
        self.owncast = Owncast(
            stamps=generation != "no times", connects=generation == "stamps and connects"
        )
        self.connection: Connection | None = None
        self.connections = 0
        self.air: list[Event] = []

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            with self.stack:
                self.world.settle()
                self.the_ledger_agrees()

    def send(self, kind: Kind, heard: bool, title: str = "A title") -> None:
        event = self.owncast.event(kind, self.world.now, self.connection, title)
        if heard:
            self.world.take(event)
        else:
            self.air.append(event)

    @precondition(lambda self: self.connection is None)
    @rule(heard=HEARD)
    def connect(self, heard: bool) -> None:
        self.connections += 1
        self.connection = Connection(self.connections, self.world.now)
        self.send(Kind.STARTED, heard)

    @precondition(lambda self: self.connection is not None)
    @rule(heard=HEARD)
    def disconnect(self, heard: bool) -> None:
        self.send(Kind.STOPPED, heard)
        self.connection = None

    @rule(title=st.sampled_from(["", "Another title", "A third one"]), heard=HEARD)
    def retitle(self, title: str, heard: bool) -> None:
        self.send(Kind.RETITLED, heard, title)

    @precondition(lambda self: self.air)
    @rule(data=st.data(), again=st.booleans())
    def hear(self, data: st.DataObject, again: bool) -> None:
        number = data.draw(st.integers(0, len(self.air) - 1))
        self.world.take(self.air[number] if again else self.air.pop(number))

    @precondition(lambda self: self.connection is not None)
    @rule()
    def notice(self) -> None:
        """The start is found by asking, perhaps hours later."""
        assert self.connection
        found = Event(
            id=f"found-{self.connection.number}",
            channel="default",
            kind=Kind.STARTED,
            at=self.connection.began,
            connected=self.connection.began.replace(microsecond=0),
            found=True,
        )
        if not any(show.connected == found.connected for show in self.world.shows()):
            self.world.take(found)

    @rule(sight=st.sampled_from(Sight))
    def look(self, sight: Sight) -> None:
        self.world.eyes.sight = sight

    @rule(network=st.sampled_from(NETWORKS), answers=ANSWERS)
    def answer(self, network: type[Fake], answers: list[str]) -> None:
        self.world.town.script[network.name] = deque(answers)

    @rule(seconds=st.sampled_from([1, 4, 31, 1200, 1801, 4000, 22_000]))
    def wait(self, seconds: int) -> None:
        self.world.town.now += timedelta(seconds=seconds)

    @rule(seconds=st.sampled_from([0, 4, 31, 61, 301, 700]))
    def deliver(self, seconds: int) -> None:
        self.world.town.now += timedelta(seconds=seconds)
        self.world.deliver()

    @rule(seconds=st.sampled_from([0, 31, 301, 700]))
    def stall(self, seconds: int) -> None:
        """The second process claims what is due, and is suspended before it goes on."""
        self.world.replicas[1].delivery.run()
        self.world.town.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.replicas[1].pool.waiting)
    @rule()
    def go_on(self) -> None:
        self.world.work(self.world.replicas[1])

    @rule(number=st.sampled_from([0, 1]))
    def kill(self, number: int) -> None:
        self.world.kill(self.world.replicas[number])

    @invariant()
    def the_ledger_agrees(self) -> None:
        if hasattr(self, "world"):
            judge(self.world)


Broadcasts.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestAnyLifeOfAStream = Broadcasts.TestCase


def test_any_life_of_a_stream_on_postgresql(postgresql_url: str) -> None:
    def emptied() -> sa.Engine:
        engine = connect(postgresql_url)
        with engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {', '.join(schema.tables)}"))
        return engine

    class OnPostgres(Broadcasts):
        engine = staticmethod(emptied)

    few = settings(max_examples=8, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(OnPostgres, settings=few)


def judge(world: World) -> None:
    """What must hold at any time, by what the audience sees."""
    assert world.town.wrong == []
    seen = Counter(post.key for post in world.town.wall)
    assert all(count == 1 for count in seen.values()), "one broadcast, two posts"
    for show, told in world.outbox.history(1000):
        for shown in told:
            entry = shown.entry
            assert show.live or entry.wanted is not Moment.LIVE, "it would be told after its end"
            match entry.state:
                case State.SETTLED:
                    assert seen[entry.key] == 1, "settled, and nobody sees it"
                    assert shown.receipt
                    assert entry.shown is Moment.LIVE
                case State.FAILED | State.WITHDRAWN:
                    assert not seen[entry.key], f"{entry.state}, and it is up"
                    assert entry.doubtful_since is None
                case State.UNSURE:
                    assert entry.doubtful_since
                case State.DUE if entry.doubtful_since is None:
                    assert not seen[entry.key], "due without a doubt, and it is up"


@settings(max_examples=80, deadline=None)
@given(
    answers=st.fixed_dictionaries({network.name: ANSWERS for network in NETWORKS}),
    waits=st.lists(st.sampled_from([1, 4, 31, 301, 700]), min_size=2, max_size=8),
    changes=st.dictionaries(st.integers(0, 8), st.sampled_from(["stop", "resume"]), max_size=3),
)
@example(answers={"harmless": ["unsure, not up"]}, waits=[31, 1, 31], changes={1: "stop"})
def test_a_post_survives_any_answers(
    answers: dict[str, list[str]], waits: list[int], changes: dict[int, str]
) -> None:
    owncast = Owncast(stamps=True, connects=True)
    with world(Rules()) as made:
        made.town.script = {name: deque(script) for name, script in answers.items()}
        connection = Connection(1, made.now)
        made.take(owncast.event(Kind.STARTED, made.now, connection, "A title"))
        for number, wait in enumerate(waits):
            made.town.now += timedelta(seconds=wait)
            if changes.get(number) == "stop":
                made.take(owncast.event(Kind.STOPPED, made.now, None, "A title"))
            elif changes.get(number) == "resume":
                again = Connection(2, made.now)
                made.take(owncast.event(Kind.STARTED, made.now, again, "A title"))
            made.deliver()
            judge(made)
        made.settle()
        judge(made)


def hear(made: World, events: Iterable[Event]) -> None:
    """One event a second, each delivered upon at once."""
    for event in events:
        made.town.now += timedelta(seconds=1)
        made.take(event)
        made.deliver()


@pytest.mark.parametrize(
    ("on", "connects"),
    [
        pytest.param(True, True, id="still on"),
        pytest.param(False, True, id="over"),
        pytest.param(False, False, id="over, in a version without connect times"),
    ],
)
def test_three_connections_are_one_show_in_any_order(on: bool, connects: bool) -> None:
    """Every order there is, at once after it happened: 24 or 120 of them."""
    owncast = Owncast(stamps=True, connects=connects)
    first, second = Connection(1, START), Connection(2, START + timedelta(seconds=9))
    events = [
        owncast.event(Kind.STARTED, first.began, first, "A title"),
        owncast.event(Kind.STOPPED, START + timedelta(seconds=6), None, "A title"),
        owncast.event(Kind.STARTED, second.began, second, "A title"),
        owncast.event(Kind.STOPPED, START + timedelta(seconds=12), None, "A title"),
    ]
    if on:
        third = Connection(3, START + timedelta(seconds=15))
        events.append(owncast.event(Kind.STARTED, third.began, third, "A title"))
    for order in permutations(events):
        with world(Rules(hold=timedelta())) as made:
            made.town.now += timedelta(seconds=20)
            hear(made, order)
            made.settle()
            judge(made)
            told = Counter(post.destination for post in made.town.wall)
            names = [f"{event.kind} {event.id}" for event in order]
            assert set(told.values()) <= {1}, names
            assert [show.live for show in made.shows() if show.live] == [True] * on, names
            assert not on or len(told) == len(NETWORKS), names


def test_what_was_no_news_when_it_was_found_is_none_after_a_reconnect() -> None:
    owncast = Owncast(stamps=True, connects=True)
    first, second = Connection(1, START), Connection(2, START + timedelta(hours=5))
    found = replace(
        owncast.event(Kind.STARTED, START, first, "A title"), stamp=None, id="found", found=True
    )
    with world(Rules()) as made:
        made.town.now = START + timedelta(hours=4)
        made.take(found)
        made.town.now = second.began
        made.take(owncast.event(Kind.STARTED, second.began, second, "A title"))
        made.settle()
        assert made.town.wall == []
        assert [show.live for show in made.shows()] == [True]


@st.composite
def evenings(draw: st.DrawFn) -> tuple[list[Event], bool]:
    """What Owncast sends of one show that dropped and resumed a few times, in the order in which
    it is heard, copies included; and whether it is still on.

    Each event is heard within a minute, which may be after its successors.
    """
    owncast = Owncast(stamps=True, connects=draw(st.booleans()))
    on = draw(st.booleans())
    at, sent = START, list[Event]()
    connections = draw(st.integers(1, 4))
    for number in range(1, connections + 1):
        connection = Connection(number, at)
        sent.append(owncast.event(Kind.STARTED, at, connection, f"Title {number}"))
        at += timedelta(seconds=draw(st.sampled_from([2, 20, 45, 900, 7200])))
        if number < connections or not on:
            sent.append(owncast.event(Kind.STOPPED, at, None, f"Title {number}"))
        at += timedelta(seconds=draw(st.sampled_from([2, 20, 45, 900])))
    seconds = st.sampled_from([0, 0, 1, 10, 59])
    heard = [replace(event, at=event.at + timedelta(seconds=draw(seconds))) for event in sent]
    copies = draw(st.lists(st.sampled_from(heard), max_size=3))
    heard += [replace(event, at=event.at + timedelta(seconds=1)) for event in copies]
    return sorted(draw(st.permutations(heard)), key=lambda event: event.at), on


@settings(max_examples=40, deadline=None)
@given(evening=evenings(), hold=st.sampled_from([0, 30]))
def test_d04_d07_a_show_that_drops_and_resumes_is_told_once_however_its_events_arrive(
    evening: tuple[list[Event], bool], hold: int
) -> None:
    events, on = evening
    with world(Rules(hold=timedelta(seconds=hold))) as made:
        for event in events:
            # Soon after the last event is when something is due; then a long time nothing is.
            for moment in (made.now + timedelta(seconds=wait) for wait in (30, 35, 600)):
                made.town.now = min(event.at, moment)
                made.deliver()
            made.town.now = event.at
            made.take(event)
        made.settle()
        judge(made)
        told = Counter(post.destination for post in made.town.wall)
        assert all(count == 1 for count in told.values()), "one show, two posts"
        if on:
            assert [show.live for show in made.shows()] == [True]
            assert set(told) == set(made.networks), "it is live, and somebody was not told"
        else:
            assert not any(show.live for show in made.shows()), "it is over, and counts as live"
