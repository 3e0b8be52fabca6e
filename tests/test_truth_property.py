"""Whatever happens, in whatever order: what stands on the networks comes to be true, and stays so.

The real intake, outbox and delivery with every manner there is: edit, reply, post, remove, leave.
The judge is a ledger of what the audience of made-up networks sees, not our own rows. How a start
is judged and told is in `test_broadcasts_property`; here it is about titles, ends and returns.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal
from unittest.mock import patch

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import PrivateAttr
from sqlalchemy.pool import StaticPool

from announcer import attempt, delivery, intake, outcome
from announcer.attempt import manners_of
from announcer.content import Channel, Composer, Content
from announcer.delivery import Delivery
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import (
    Account,
    Finds,
    Gone,
    Moment,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    TryLater,
    Unsure,
)
from announcer.outbox import Outbox, Shown, schema
from announcer.policy import CHANGE, DEADLY, Broadcast, Ending, Hush, Rules, State
from announcer.wording import Facts, Templates
from tests.test_broadcasts_property import START, Connection, Death, Eyes, Owncast, Pool, Replica

Manner = Literal["edit", "reply", "leave"]

WINDOW = timedelta(hours=1)
"""How long a network of the class WINDOW folds a repeat."""
ENDS = (State.SETTLED, State.WITHDRAWN, State.FAILED, State.UNSURE, State.GONE)
NOTHING = "nothing"
OUTCOMES = [
    "ok",
    "later",
    "later, in 20 minutes",
    "refused",
    "closes",
    "unsure, done",
    "unsure, not done",
    "bug, not done",
    "dies, done",
    "dies, not done",
]


@dataclass
class Seen:
    """One post as the audience sees it, or saw it while it was *up*.

    *confirmed* says that we were told of it. *says* is its mood.
    """

    number: str
    destination: str
    key: str
    edition: int
    wire_key: str
    below: str | None
    at: datetime
    says: Moment
    text: str
    up: bool = True
    confirmed: bool = False


class Town:
    """All the made-up networks: what they will answer next, and what their audience sees."""

    def __init__(self) -> None:
        self.now = START
        self.posts: dict[str, Seen] = {}
        self.script: dict[str, deque[str]] = {}
        self.closed: set[str] = set()
        self.deleted: set[str] = set()
        """Keys of posts that a person took away."""
        self.taken: set[str] = set()
        """Keys of posts that the operator had taken down, once that is done."""
        self.refused: dict[str, str] = {}
        """What a post would say, had the last request for it not been refused."""
        self.doubted: set[str] = set()
        """Keys of publishes whose effect nobody told us."""
        self.wrong: list[str] = []
        """What must never have been asked. Not raised: delivery would take it for a failure."""

    def up(self, key: str | None = None) -> list[Seen]:
        return [seen for seen in self.posts.values() if seen.up and key in (None, seen.key)]

    def publish(self, network: "Fake", post: Post) -> Receipt:
        if post.key in self.deleted:
            self.wrong.append(f"put up again what a person deleted: {post.key}")
        if post.key in self.taken:
            self.wrong.append(f"put up again what was taken down by hand: {post.key}")
        if post.reply_to and not self.posts[post.reply_to.id].up:
            self.refused[post.key] = post.mood
            raise Refused("what it answers is not there")
        outcome = self._next(network)
        seen = self._put_up(network, post) if _done(outcome) else None
        if outcome.partition(",")[0] in ("unsure", "bug", "dies"):
            self.doubted.add(post.key)
        self._raise(network, post.key, post.mood, outcome)
        assert seen
        return self._confirm(seen)

    def find(self, network: "Fake", post: Post) -> Receipt | None:
        outcome = self._next(network)
        if outcome != "ok":
            raise TryLater("busy")
        for seen in self.up(post.key):
            if seen.edition == post.edition:
                return self._confirm(seen)
        self.doubted.discard(post.key)
        return None

    def revise(self, network: "Fake", receipt: Receipt, post: Post) -> Receipt:
        outcome, seen = self._next(network), self.posts[receipt.id]
        if not seen.up:
            raise Gone("404")
        if _done(outcome):
            seen.says, seen.text = post.mood, post.text
        self._raise(network, seen.key, post.mood, outcome)
        self.refused.pop(seen.key, None)
        return receipt

    def remove(self, network: "Fake", receipt: Receipt) -> None:
        outcome, seen = self._next(network), self.posts[receipt.id]
        if _done(outcome):
            seen.up = False
            # No network tells who took away what is gone already.
            self.deleted.discard(seen.key)
        self._raise(network, seen.key, NOTHING, outcome)
        self.refused.pop(seen.key, None)

    def delete_by_hand(self, seen: Seen) -> None:
        seen.up = False
        self.deleted.add(seen.key)

    def _next(self, network: "Fake") -> str:
        if network.name in self.closed:
            self.wrong.append(f"{network.name} was asked for more after it was closed")
        script = self.script.get(network.name)
        return script.popleft() if script else "ok"

    def _put_up(self, network: "Fake", post: Post) -> Seen:
        for seen in self.posts.values():
            same = seen.destination == network.name and (
                (seen.key, seen.edition) == (post.key, post.edition)
                if network.repeat is Repeat.HARMLESS
                else network.repeat is Repeat.WINDOW
                and seen.wire_key == post.wire_key
                and self.now - seen.at <= WINDOW
            )
            if same:
                return seen
        number = str(len(self.posts))
        below = post.reply_to.id if post.reply_to else None
        self.posts[number] = Seen(
            number,
            network.name,
            post.key,
            post.edition,
            post.wire_key,
            below,
            self.now,
            post.mood,
            post.text,
        )
        return self.posts[number]

    def _confirm(self, seen: Seen) -> Receipt:
        seen.confirmed = True
        self.doubted.discard(seen.key)
        self.refused.pop(seen.key, None)
        return Receipt(seen.number)

    def _raise(self, network: "Fake", key: str, wish: str, outcome: str) -> None:
        match outcome.partition(",")[0]:
            case "later":
                raise TryLater("busy", timedelta(minutes=20 if "20" in outcome else 0))
            case "refused":
                self.refused[key] = wish
                raise Refused("no")
            case "closes":
                self.refused[key] = wish
                self.closed.add(network.name)
                raise Refused("401", closes=True)
            case "unsure":
                raise Unsure("no answer")
            case "bug":
                self.refused[key] = wish
                raise ZeroDivisionError
            case "dies":
                raise Death


def _done(outcome: str) -> bool:
    return outcome == "ok" or outcome.endswith(", done")


class Fake(Network):
    title: ClassVar[str] = "Made up"
    unit: ClassVar[str] = "characters"
    usual_limit: ClassVar[int] = 1000

    _world: "World" = PrivateAttr()

    def at(self, world: "World") -> "Fake":
        self._world = world
        return self

    def publish(self, post: Post) -> Receipt:
        self._world.watch_publish(post)
        return self._world.town.publish(self, post)

    def check(self) -> Account:
        return Account(self.name)


class Removing(Fake, Removes):
    def remove(self, receipt: Receipt) -> None:
        self._world.watch_change(self._world.town.posts[receipt.id].key, None)
        self._world.town.remove(self, receipt)


class Wall(Removing, Revises):
    """Can do everything with what is up, and nobody can look whether it is."""

    name = "wall"
    repeat = Repeat.DOUBLES
    ends_by: ClassVar[Manner] = "edit"
    replies: ClassVar[bool] = True

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        self._world.watch_change(post.key, post.mood)
        return self._world.town.revise(self, receipt, post)


class Keyed(Wall, Finds):
    """Like Mastodon: with keys that are kept for a while."""

    name = "keyed"
    repeat = Repeat.WINDOW

    def find(self, post: Post) -> Receipt | None:
        return self._world.town.find(self, post)


class Answering(Removing):
    """Like Bluesky: no edits, but answers, and they can be taken away."""

    name = "answering"
    repeat = Repeat.HARMLESS
    ends_by: ClassVar[Manner] = "reply"
    replies: ClassVar[bool] = True


class Leaving(Fake, Finds):
    """Like X: what is said is said."""

    name = "leaving"
    repeat = Repeat.FINDABLE

    def find(self, post: Post) -> Receipt | None:
        return self._world.town.find(self, post)


class Taking(Wall):
    name = "taking"


class Twice(Wall):
    name = "twice"
    repeat = Repeat.HARMLESS


NETWORKS: dict[str, Network] = {
    "wall": Wall(),
    "keyed": Keyed(),
    "answering": Answering(),
    "leaving": Leaving(),
    "taking": Taking(when_ended="remove"),
    "twice": Twice(when_ended="post"),
}


class Words(Composer):
    """Shows the title, and no more."""

    def compose(
        self,
        network: Network,  # noqa: ARG002  # all show the same
        destination: str,  # noqa: ARG002
        mood: Moment,
        facts: Facts,
        *,
        now: datetime,
        **_: Any,
    ) -> Content:
        return Content(facts.title, f"{mood}.txt", mood, None, facts.started_at, now)


class World:
    """The service, its database, the town and the time."""

    def __init__(self, rules: Rules) -> None:
        self.town, self.rules, self.eyes = Town(), rules, Eyes()
        engine = sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        schema.create_all(engine)
        self.outbox = Outbox(engine)
        self.networks: dict[str, Network] = {}
        for name, network in NETWORKS.items():
            made = network.model_copy()
            assert isinstance(made, Fake)
            self.networks[name] = made.at(self)
        self.manners = {name: manners_of(network) for name, network in self.networks.items()}
        self.intake = Intake(
            self.outbox, rules, lambda _: list(self.networks), self.manners, lambda _: None
        )
        self.replicas = [self._replica(), self._replica()]
        self.excused: set[tuple[str, int]] = set()
        """Tries that were claimed when an event came: as good as on their way."""
        self.deadline = START
        self.owncast = Owncast(stamps=True, connects=True)

    def _replica(self) -> Replica:
        made = Delivery(
            self.outbox,
            self.rules,
            self.networks,
            {"default": Channel("default", "https://live.example.org", self.eyes)},
            Words(Templates(None)),
            redact=str,
            wake=lambda: None,
        )
        pool = Pool([])
        vars(made)["_pool"] = pool
        return Replica(made, pool)

    def close(self) -> None:
        self.outbox.engine.dispose()

    @property
    def now(self) -> datetime:
        return self.town.now

    def take(self, event: Event) -> None:
        claimed = [shown.entry for shown in self.posts() if shown.entry.state is State.SENDING]
        self.excused |= {(entry.key, entry.tries) for entry in claimed}
        if event.kind is Kind.STARTED:
            self.deadline = self.now + self.rules.give_up
        self.intake.take(replace(event, at=self.now), self.now)

    def work(self, replica: Replica) -> None:
        """Let one post go on that was claimed."""
        try:
            replica.pool.waiting.pop(0)()
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

    def later(self, **time: float) -> None:
        """Time passes and everything that comes due is done when it is due."""
        target = self.now + timedelta(**time)
        for _ in range(1000):
            self.deliver()
            due = self.outbox.next_due()
            if due is None or due > target:
                self.town.now = target
                return
            self.town.now = max(due + timedelta(milliseconds=1), self.now)
        raise AssertionError("it never comes to rest")

    def settle(self) -> None:
        """Every fault is lifted, somebody brings new credentials, and an hour passes."""
        self.town.script.clear()
        self.town.closed.clear()
        for name in self.outbox.closed():
            self.outbox.reopen(name, self.town.now)
        for replica in list(self.replicas):
            self.kill(replica)
        self.later(hours=1)

    def take_down(self, key: str) -> None:
        """By the operator's hand."""
        self.outbox.take_down(key, self.now, self.now + CHANGE)

    def posts(self) -> list[Shown]:
        return [post for _, told in self.outbox.history(1000) for post in told]

    def watch_publish(self, post: Post) -> None:
        row, show = self._claimed(post.key)
        if self.now > row.entry.until:
            self.town.wrong.append(f"started after its deadline: {post.key}")
        if post.moment is Moment.LIVE and self.now > self.deadline:
            self.town.wrong.append(f"told long after the last start: {post.key}")
        if show.live is not (post.moment is Moment.LIVE) and not self._excused(row):
            self.town.wrong.append(f"told what is not so: {post.key}")

    def watch_change(self, key: str, mood: Moment | None) -> None:
        row, _ = self._claimed(key)
        # A removal may be done though nobody said so: it is finished before anything else.
        finished = mood is None and row.entry.tries > 1
        if row.entry.wanted is not mood and not finished and not self._excused(row):
            self.town.wrong.append(f"changed to what is not so: {key}")

    def _claimed(self, key: str) -> tuple[Shown, Broadcast]:
        for show, told in self.outbox.history(1000):
            for row in told:
                if row.entry.key == key:
                    if row.entry.state is not State.SENDING:
                        self.town.wrong.append(f"sent without a claim: {key}")
                    return row, show
        raise AssertionError("sent without a row")

    def _excused(self, row: Shown) -> bool:
        return (row.entry.key, row.entry.tries) in self.excused


def judge(world: World) -> None:
    """What must hold at any time, by what the audience sees."""
    town = world.town
    assert town.wrong == []
    for row in world.posts():
        entry = row.entry
        up = town.up(entry.key)
        if entry.hush is Hush.TAKEN and entry.state is State.SETTLED and entry.shown is None:
            town.taken.add(entry.key)
        assert len(up) <= 1, f"one broadcast, two posts: {entry.key}"
        match entry.state:
            case State.WITHDRAWN | State.GONE:
                assert up == [], f"{entry.state}, and it is up"
            case State.FAILED if entry.shown is None:
                assert up == [], "failed, and it is up"
            case State.SETTLED if entry.key not in town.deleted:
                assert [seen.says for seen in up] == ([entry.shown] if entry.shown else [])
            case State.UNSURE:
                assert entry.doubtful_since


def judge_truth(world: World) -> None:
    """What must hold once every fault is lifted and time has passed."""
    judge(world)
    for show, told in world.outbox.history(1000):
        for row in told:
            entry = row.entry
            assert entry.state in ENDS, f"{entry.key} never came to an end"
            if entry.moment is Moment.LIVE:
                judge_announcement(world, show, entry.destination, entry.key)


def judge_announcement(world: World, show: Broadcast, destination: str, key: str) -> None:
    """That what the audience reads of *show* there is true; but for what was refused or deleted,
    and for what nobody could tell us of.
    """
    town, manners = world.town, world.manners[destination]
    entries = {row.entry.key: row.entry for row in world.posts()}
    if entries[key].deaths >= DEADLY:
        return  # the process died with it again and again, so the operator has to look
    taken = [entry for entry in entries.values() if entry.hush is Hush.TAKEN]
    if {key, key.replace("/live/", "/ended/")} & {entry.key for entry in taken}:
        for entry in taken:
            assert entry.state is State.FAILED or not town.up(entry.key), "it was to be taken down"
        return
    ended = key.replace("/live/", "/ended/")
    seen = next(filter(lambda one: one.confirmed, town.up(key)), None)
    said = next(filter(lambda one: one.confirmed, town.up(ended)), None)
    answers = manners.ending in (Ending.REPLY, Ending.POST)
    if show.live:
        if said and town.refused.get(ended) != NOTHING:
            raise AssertionError(f"it is live, and {ended} is up")
        if seen and town.refused.get(key) != Moment.LIVE:
            assert seen.says is Moment.LIVE, f"it is live, and {key} says that it was"
            if manners.retitles:
                assert seen.text == show.title, f"{key} does not show its title"
        return
    if seen is None:
        return
    if manners.ending is Ending.EDIT and town.refused.get(key) != Moment.ENDED:
        assert seen.says is Moment.ENDED, f"it is over, and {key} says that it is live"
    if manners.ending is Ending.REMOVE:
        assert town.refused.get(key) == NOTHING, f"it is over, and {key} is there"
    excused = ended in town.deleted | town.doubted or town.refused.get(ended) == Moment.ENDED
    if answers and not excused:
        assert said, f"it is over, and {destination} does not tell"
        below = seen.number if manners.ending is Ending.REPLY else said.below
        assert said.below == below, "it answers something else"


@contextmanager
def world(rules: Rules) -> Iterator[World]:
    made = World(rules)
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


ANSWERS = st.lists(st.sampled_from(OUTCOMES), max_size=4)
HEARD = st.sampled_from(["at once", "at once", "at once", "later", "never"])
THEN = st.sampled_from([None, None, 5, 31, 400])
"""Seconds after an event in which all goes on as usual. None: the next thing comes first."""
TITLES = st.sampled_from(["Drawers", "Glue-up", "Sharpening", ""])


class Truth(RuleBasedStateMachine):
    """Any life of a stream, of its webhooks, of the networks, their people and our processes."""

    @initialize(hold=st.sampled_from([0, 30]), stamps=st.booleans())
    def begin(self, hold: int, stamps: bool) -> None:
        self.stack = ExitStack()
        self.world = self.stack.enter_context(world(Rules(hold=timedelta(seconds=hold))))
        self.owncast = Owncast(stamps=stamps, connects=stamps)
        self.connection: Connection | None = None
        self.connections = 0
        self.title = "Drawers"
        self.air: list[Event] = []
        self.heard: list[Event] = []
        self.connect("at once", 61)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            with self.stack:
                self.world.settle()
                judge_truth(self.world)

    def send(self, kind: Kind, heard: str) -> None:
        event = self.owncast.event(kind, self.world.now, self.connection, self.title)
        if heard == "at once":
            self.take(event)
        elif heard == "later":
            self.air.append(event)

    def take(self, event: Event) -> None:
        self.heard.append(event)
        self.world.take(event)

    @precondition(lambda self: self.connection is None)
    @rule(heard=HEARD, then=THEN)
    def connect(self, heard: str, then: int | None) -> None:
        self.connections += 1
        self.connection = Connection(self.connections, self.world.now)
        self.send(Kind.STARTED, heard)
        if then:
            self.world.later(seconds=then)

    @precondition(lambda self: self.connection is not None)
    @rule(heard=HEARD, then=THEN)
    def disconnect(self, heard: str, then: int | None) -> None:
        self.send(Kind.STOPPED, heard)
        if then:
            self.world.later(seconds=then)
        self.connection = None

    @rule(title=TITLES, heard=HEARD)
    def retitle(self, title: str, heard: str) -> None:
        self.title = title
        self.send(Kind.RETITLED, heard)

    @precondition(lambda self: self.air)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        self.take(self.air.pop(data.draw(st.integers(0, len(self.air) - 1))))

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        self.world.take(data.draw(st.sampled_from(self.heard)))

    @rule(networks=st.sampled_from([*([name] for name in NETWORKS), [*NETWORKS]]), answers=ANSWERS)
    def answer(self, networks: list[str], answers: list[str]) -> None:
        self.world.town.script |= {network: deque(answers) for network in networks}

    @precondition(lambda self: any(seen.confirmed for seen in self.world.town.up()))
    @rule(data=st.data())
    def delete_by_hand(self, data: st.DataObject) -> None:
        known = [seen for seen in self.world.town.up() if seen.confirmed]
        numbers = st.sampled_from([seen.number for seen in known])
        self.world.town.delete_by_hand(self.world.town.posts[data.draw(numbers)])

    @rule(data=st.data())
    def take_down(self, data: st.DataObject) -> None:
        networks = self.world.networks
        entries = [row.entry for row in self.world.posts()]
        able = [one for one in entries if isinstance(networks[one.destination], Removes)]
        if keys := sorted(one.key for one in able):
            self.world.take_down(data.draw(st.sampled_from(keys)))

    @rule(data=st.data())
    def by_hand(self, data: st.DataObject) -> None:
        """The operator looks whether it is up, and says so; or does not want to wait."""
        town, outbox = self.world.town, self.world.outbox
        rows = sorted(self.world.posts(), key=lambda row: row.entry.key)
        unsure = [row.entry.key for row in rows if row.entry.state is State.UNSURE]
        waiting = [row.entry.key for row in rows if row.entry.state is State.DUE]
        if unsure:
            key = data.draw(st.sampled_from(unsure))
            if town.up(key):
                outbox.mark_sent(key, self.world.now)
        elif waiting:
            outbox.hurry(data.draw(st.sampled_from(waiting)), self.world.now)

    @rule(seconds=st.sampled_from([1, 5, 31, 61, 301, 400, 1201, 7200, 22_000]))
    def go_on(self, seconds: int) -> None:
        self.world.later(seconds=seconds)

    @rule(seconds=st.sampled_from([0, 31, 301]))
    def stall(self, seconds: int) -> None:
        """The second process claims what is due, and is suspended before it goes on."""
        self.world.replicas[1].delivery.run()
        self.world.town.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.replicas[1].pool.waiting)
    @rule()
    def wake_up(self) -> None:
        while self.world.replicas[1].pool.waiting:
            self.world.work(self.world.replicas[1])

    @rule(number=st.sampled_from([0, 1]), seconds=st.sampled_from([0, 1, 31, 301, 1801]))
    def crash(self, number: int, seconds: int) -> None:
        """What was claimed is forgotten, and nobody is there for so long."""
        self.world.kill(self.world.replicas[number])
        self.world.town.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.town.closed)
    @rule()
    def new_credentials(self) -> None:
        for name in self.world.outbox.closed():
            self.world.outbox.reopen(name, self.world.town.now)
        self.world.town.closed.clear()

    @invariant()
    def the_ledger_agrees(self) -> None:
        if hasattr(self, "world"):
            judge(self.world)


Truth.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestWhatWasSaidStaysTrue = Truth.TestCase


@pytest.mark.parametrize("answer", OUTCOMES)
@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [
        pytest.param(["start"], ["Glue-up"], id="a title while the start is told"),
        pytest.param(["start"], ["stop"], id="a stop while the start is told"),
        pytest.param(["start"], ["stop", "start"], id="a drop while the start is told"),
        pytest.param(["start", 60, "Glue-up"], ["stop"], id="a stop while a title is changed"),
        pytest.param(["start", 60, "Glue-up"], ["stop", "start"], id="a drop meanwhile"),
        pytest.param(["start", 60, "stop", 290], ["start"], id="a return while the end is told"),
        pytest.param(["start", 60, "stop", 290], ["start", "stop"], id="and a stop once more"),
        pytest.param(
            ["start", 60, "stop", 400, "start"], ["stop"], id="a stop while the end is taken back"
        ),
    ],
)
def test_what_happens_while_a_post_is_on_its_way_is_made_true_afterwards(
    before: list[str | int], meanwhile: list[str], answer: str
) -> None:
    with world(Rules(hold=timedelta())) as made:
        tell(made, before)
        made.town.now += timedelta(seconds=12)
        made.replicas[1].delivery.run()
        assert made.replicas[1].pool.waiting
        made.town.now += timedelta(seconds=1)
        tell(made, meanwhile)
        made.town.script = {name: deque([answer]) for name in NETWORKS}
        while made.replicas[1].pool.waiting:
            made.work(made.replicas[1])
        judge(made)
        made.settle()
        judge_truth(made)


def test_a_stop_before_the_word_of_the_end_was_taken_back_leaves_it_there() -> None:
    with world(Rules()) as made:
        tell(made, ["start", 60, "stop", 400, "start", 5, "stop"])
        made.settle()
        judge_truth(made)
        told = [post for post in made.town.posts.values() if post.destination == "answering"]
        assert [(post.says, post.up) for post in told] == [("live", True), ("ended", True)]


def tell(made: World, story: Sequence[str | int]) -> None:
    """Events, new titles, and seconds that pass between them."""
    for part in story:
        connection = Connection(1, made.now)
        match part:
            case int():
                made.later(seconds=part)
            case "start":
                made.take(made.owncast.event(Kind.STARTED, made.now, connection, "Drawers"))
            case "stop":
                made.take(made.owncast.event(Kind.STOPPED, made.now, None, ""))
            case title:
                made.take(made.owncast.event(Kind.RETITLED, made.now, None, title))
