"""What an answer of Owncast's tells that no webhook told, and what it does not.

A `World` holds what we know and moves the time by hand; it folds events by id, as intake does.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from announcer import policy, sightings
from announcer.events import Event, Kind, Status
from announcer.network import Moment
from announcer.policy import Broadcast, Decision, Past, Rules
from announcer.sightings import AGREE, REFRESH, SHORTLY, Lately
from tests.fakes import NOW, event

RULES = Rules()
BEHIND = timedelta(hours=7)
"""Owncast's clock against ours: nothing may come of it."""


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@dataclass
class World:
    """*now* is our time; Owncast's clock shows *owncast*. *found* holds what was noticed."""

    now: datetime = NOW
    past: Past = field(default_factory=Past)
    lately: Lately = field(default_factory=Lately)
    skew: timedelta = -BEHIND
    found: list[Event] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    @property
    def owncast(self) -> datetime:
        return self.now + self.skew

    @property
    def show(self) -> Broadcast:
        assert self.past.broadcast
        return self.past.broadcast

    def passes(self, **time: float) -> "World":
        self.now += timedelta(**time)
        return self

    def hears(self, kind: Kind, **told: Any) -> Decision:
        """A webhook: as Owncast sends it now, unless *told* otherwise."""
        base: dict[str, Any] = {"stamp": self.owncast}
        if kind is not Kind.STOPPED:
            base["connected"] = self.owncast.replace(microsecond=0)
        return self._take(event(kind, self.now, **base | told))

    def sees(self, status: Status | None) -> list[str]:
        """What comes of one answer: why, for every event that was noticed."""
        self.lately = sightings.remember(self.lately, status, self.past, self.now)
        noticed: list[str] = []
        while status:
            one = self.notice(status)
            if one is None:
                break
            assert len(noticed) < 3, "it notices the same again and again"
            self.found.append(one)
            noticed.append(self._take(one).because)
        return noticed

    def notice(self, status: Status) -> Event | None:
        return sightings.notice(status, self.past, self.lately, RULES, "default", self.now)

    def online(self, since: datetime, title: str = "", **more: Any) -> Status:
        return Status(True, connected=since, server=self.owncast, title=title, **more)

    def warming_up(self, since: datetime) -> Status:
        return Status(False, connected=since, server=self.owncast)

    def offline(self, ended: datetime | None = None) -> Status:
        return Status(False, disconnected=ended, server=self.owncast)

    def is_told_offline(self, ended: datetime | None = None) -> list[str]:
        """Often enough to be believed."""
        noticed: list[str] = []
        for _ in range(AGREE):
            noticed += self.passes(seconds=3).sees(self.offline(ended))
        return noticed

    def _take(self, one: Event) -> Decision:
        if one.id in self.ids:
            return Decision("a repeat: this event is known")
        self.ids.add(one.id)
        decision = policy.decide(one, self.past, RULES, self.now)
        self.past = replace(self.past, broadcast=decision.broadcast or self.past.broadcast)
        if one.kind is Kind.STOPPED:
            self.past = replace(self.past, stop_stamp=one.stamp, stop_at=one.at)
        self.decisions.append(decision)
        return decision


def live(**told: Any) -> tuple[World, datetime]:
    """A stream of which a webhook told, and when it was connected by Owncast's clock."""
    world = World()
    world.hears(Kind.STARTED, **told)
    return world, world.owncast.replace(microsecond=0)


# Starts


@pytest.mark.parametrize("skew", [-BEHIND, timedelta(), BEHIND], ids=["behind", "right", "ahead"])
def test_a_start_that_nobody_told_is_found_and_is_as_old_as_it_is(skew: timedelta) -> None:
    world = World(skew=skew)
    since = world.owncast - seconds(40)
    assert world.sees(world.online(since, "Drawers", viewers=4)) == ["a new broadcast"]
    (start,) = world.found
    assert (start.kind, start.at, start.connected) == (Kind.STARTED, NOW - seconds(40), since)
    assert start.found
    assert (world.show.title, world.show.peak_viewers) == ("Drawers", 4)
    assert world.decisions[0].speak_at == NOW - seconds(40) + RULES.hold


def test_a_stream_that_warms_up_has_started() -> None:
    world = World()
    assert world.sees(world.warming_up(world.owncast)) == ["a new broadcast"]


@pytest.mark.parametrize(
    ("age", "told"), [(29, True), (31, False), (900, False)], ids=lambda value: f"{value}"
)
def test_a_stream_that_began_too_long_ago_is_adopted_without_a_word(age: int, told: bool) -> None:
    world = World()
    world.sees(world.online(world.owncast - timedelta(minutes=age)))
    assert world.show.live
    assert (world.decisions[0].mood is Moment.LIVE) is told


def test_a_start_that_was_told_is_not_found() -> None:
    world, since = live()
    world.passes(seconds=20)
    assert world.sees(world.warming_up(since)) == []
    assert world.sees(world.online(since)) == []


def test_a_start_that_is_told_after_it_was_found_is_a_repeat() -> None:
    world = World()
    since = world.owncast
    world.sees(world.online(since))
    told = world.passes(seconds=2).hears(Kind.STARTED, stamp=since, connected=since)
    assert told.because == "a repeat: this connection is known"


def test_a_flap_between_two_answers_is_no_second_broadcast() -> None:
    world, _ = live()
    first = world.show.id
    world.passes(seconds=30)
    because = world.sees(world.online(world.owncast - seconds(10)))
    assert because == ["connected again without a stop: the same broadcast"]
    assert world.show.id == first
    assert world.passes(seconds=30).sees(world.online(world.owncast - seconds(40))) == []


def test_a_late_stop_of_the_connection_before_ends_nothing_that_was_found() -> None:
    world, _ = live()
    ended = world.passes(seconds=20).owncast
    world.passes(seconds=10)
    world.sees(world.online(world.owncast - seconds(5)))
    assert world.hears(Kind.STOPPED, stamp=ended).because == "a late stop: of an earlier connection"


def test_a_connection_that_ended_is_not_found_by_an_answer_that_was_on_its_way() -> None:
    world, since = live()
    answer = world.passes(minutes=5).online(since)
    world.passes(seconds=1).hears(Kind.STOPPED)
    assert world.sees(answer) == []
    assert not world.show.live


def test_a_connection_that_is_still_there_after_its_stop_is_live_after_all() -> None:
    """Such as after `announcer simulate stop`; and as often as that happens."""
    world, since = live()
    for _ in range(2):
        world.passes(minutes=5).hears(Kind.STOPPED)
        because = world.passes(seconds=30).sees(world.online(since))
        assert because == ["back after 0 s: the same broadcast"]
        assert world.show.live


def test_a_start_of_unknown_age_is_left_to_the_webhook() -> None:
    world = World()
    assert world.sees(Status(True, connected=world.owncast)) == []
    assert world.sees(Status(True, server=world.owncast)) == []


def test_a_broadcast_of_which_nothing_was_seen_for_long_ended_then() -> None:
    world, _ = live()
    first = world.show
    world.passes(hours=9)
    assert world.sees(world.online(world.owncast - seconds(60))) == [
        "the stream stopped",
        "a new broadcast",
    ]
    assert world.found[0].at == first.seen
    assert world.show.id != first.id


@pytest.mark.parametrize(
    "told",
    [{"connected": None}, {"connected": None, "stamp": None}],
    ids=["0.0.9 to 0.0.13", "0.0.6 to 0.0.8"],
)
def test_an_older_owncast_whose_webhooks_lack_times_is_watched_too(told: dict[str, Any]) -> None:
    world, since = live(title="A", **told)
    first = world.show.id
    for _ in range(3):
        world.passes(seconds=30).sees(world.online(since, "A"))
    assert len(world.found) <= 1  # what was not told of the connection
    assert world.passes(seconds=30).sees(world.online(since, "B")) == ["a new title"]
    assert world.show.id == first
    assert world.is_told_offline() == ["the stream stopped"]


# Stops


def test_a_stop_is_believed_when_enough_answers_agree_and_not_before() -> None:
    world, _ = live()
    world.passes(minutes=5)
    for _ in range(AGREE - 1):
        assert world.passes(seconds=3).sees(world.offline()) == []
        assert sightings.wait(world.lately, world.offline(), RULES, 0) == SHORTLY
    assert world.passes(seconds=3).sees(world.offline()) == ["the stream stopped"]
    assert world.passes(seconds=60).sees(world.offline()) == []


def test_one_answer_that_shows_the_stream_takes_all_doubt_away() -> None:
    world, since = live()
    for _ in range(4):
        for _ in range(AGREE - 1):
            assert world.passes(seconds=3).sees(world.offline()) == []
        assert world.passes(seconds=3).sees(world.warming_up(since)) == []
    assert world.show.live


def test_no_answer_is_no_stop_however_long_there_is_none() -> None:
    world, since = live()
    for _ in range(300):
        assert world.passes(minutes=1).sees(None) == []
    assert world.sees(world.offline()) == []
    assert world.show.live
    assert world.sees(world.online(since)) == []


def test_answers_from_before_a_start_do_not_count_against_it() -> None:
    world = World()
    for _ in range(9):
        world.passes(minutes=1).sees(world.offline())
    answer = world.offline()
    world.hears(Kind.STARTED)
    assert world.sees(answer) == []  # it was on its way
    assert world.passes(seconds=3).sees(world.warming_up(world.owncast - seconds(3))) == []


def test_a_stop_is_as_old_as_owncast_says() -> None:
    world, since = live()
    ended = world.passes(minutes=50).owncast
    world.passes(minutes=2)
    world.is_told_offline(ended)
    assert world.show.stopped == NOW + timedelta(minutes=50)
    assert since < ended


def test_a_crash_that_owncast_knows_nothing_of_ended_it_when_it_was_last_seen() -> None:
    """After a restart it shows the end of the stream before."""
    world, since = live()
    for _ in range(3):
        world.passes(seconds=30).sees(world.online(since, viewers=3))
    seen = world.now
    world.passes(minutes=2).is_told_offline(ended=since - timedelta(hours=20))
    assert (world.show.stopped, world.show.peak_viewers) == (seen, 3)


def test_a_stop_that_was_told_is_not_found() -> None:
    world, _ = live()
    world.passes(minutes=5).hears(Kind.STOPPED)
    assert world.is_told_offline() == []


def test_a_stop_that_is_told_after_it_was_found_is_a_repeat() -> None:
    world, _ = live()
    ended = world.passes(minutes=5).owncast
    world.is_told_offline(ended)
    told = world.hears(Kind.STOPPED, stamp=ended)
    assert told.because == "a repeat: the broadcast has stopped already"


def test_each_end_of_one_broadcast_is_found() -> None:
    world, _ = live()
    first = world.show.id
    for _ in range(3):
        assert world.passes(minutes=5).is_told_offline() == ["the stream stopped"]
        world.passes(seconds=60).sees(world.online(world.owncast))
        assert world.show.live
    assert world.show.id == first


# Titles


def test_a_title_that_nobody_told_is_found_each_time_it_changes() -> None:
    world, since = live(title="A")
    for title in "BABAB":
        world.passes(seconds=30)
        assert world.sees(world.online(since, title)) == ["a new title"]
        assert world.sees(world.online(since, title)) == []
        assert world.show.title == title
    assert len({one.id for one in world.found}) == 5


def test_a_title_of_nothing_is_none() -> None:
    world, since = live(title="A")
    assert world.passes(seconds=30).sees(world.online(since, "")) == []


def test_a_title_that_was_overtaken_by_a_webhook_is_none() -> None:
    world, since = live(title="A")
    answer = world.passes(seconds=30).online(since, "A")
    world.passes(seconds=1).hears(Kind.RETITLED, title="B", connected=since)
    assert world.sees(answer) == []
    assert world.show.title == "B"


def test_a_title_that_is_told_after_it_was_found_changes_nothing() -> None:
    world, since = live(title="A")
    changed = world.passes(seconds=29).owncast
    world.passes(seconds=1).sees(world.online(since, "B"))
    told = world.passes(seconds=1).hears(Kind.RETITLED, title="B", stamp=changed, connected=since)
    assert told.mood is None


def test_a_title_while_nothing_is_live_is_a_plan() -> None:
    world = World()
    assert world.sees(replace(world.offline(), title="Tomorrow")) == []


# Clocks, replicas, restarts


def test_two_who_find_the_same_make_the_same_event() -> None:
    world, since = live(title="A")
    for change in ("title", "reconnect", "stop"):
        world.passes(seconds=30)
        if change == "reconnect":
            since = world.owncast - seconds(9)
        answers = [world.online(since, "B")] if change != "stop" else [world.offline()] * AGREE
        for answer in answers:
            world.lately = sightings.remember(world.lately, answer, world.past, world.now)
        other = replace(world, now=world.now + seconds(7))  # the same database
        mine, theirs = world.notice(answers[-1]), other.notice(answers[-1])
        assert mine
        assert theirs
        assert mine.id == theirs.id
        world.sees(answers[-1])
    assert not world.show.live


def test_what_is_found_after_owncasts_clock_was_set_back_counts() -> None:
    world, since = live(title="A")
    world.passes(hours=1).sees(world.online(since, "B"))
    world.skew -= timedelta(minutes=20)
    assert world.passes(seconds=30).sees(world.online(since, "A")) == ["a new title"]
    assert world.passes(seconds=30).sees(world.online(since, "B")) == ["a new title"]
    assert world.passes(seconds=30).sees(world.online(since, "A")) == ["a new title"]
    world.skew -= timedelta(hours=2)
    assert world.is_told_offline() == ["the stream stopped"]
    world.passes(minutes=2)
    assert world.sees(world.online(world.owncast)) == ["back after 129 s: the same broadcast"]


def test_a_stop_after_owncasts_clock_was_set_back_is_believed() -> None:
    world, _ = live()
    world.skew -= timedelta(hours=2)
    assert world.passes(minutes=5).is_told_offline() == ["the stream stopped"]


# How often


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999])
def test_it_is_calm_while_offline_and_closer_while_live_and_never_later(dice: float) -> None:
    world, since = live()
    calm = sightings.wait(Lately(), world.offline(), RULES, dice)
    close = sightings.wait(Lately(), world.online(since), RULES, dice)
    assert RULES.poll * 0.8 <= calm <= RULES.poll
    assert close == calm / 2
    assert sightings.wait(Lately(), None, RULES, dice) == calm
    assert sightings.wait(Lately(("b", NOW)), None, RULES, dice) == close


def test_several_do_not_ask_in_step() -> None:
    status = World().offline()
    assert len({sightings.wait(Lately(), status, RULES, dice / 9) for dice in range(9)}) == 9


def test_to_confirm_takes_no_longer_than_a_short_poll() -> None:
    rules = Rules(poll=seconds(1))
    world = World()
    assert sightings.wait(Lately(("b", NOW), 1), world.offline(), rules, 0) == seconds(1)


def test_that_it_is_still_live_is_worth_a_note_every_few_minutes_only() -> None:
    world, since = live()
    noted = []
    for _ in range(60):
        world.passes(seconds=30).sees(world.online(since))
        if sightings.is_due(world.lately, world.past, world.now):
            noted.append(world.now)
            world.past = replace(world.past, broadcast=replace(world.show, seen=world.now))
    assert noted == [NOW + REFRESH * number for number in range(1, 7)]


def test_the_peak_is_the_most_that_ever_watched() -> None:
    world, since = live()
    for viewers in (3, 8, None, 5):
        world.passes(seconds=30).sees(world.online(since, viewers=viewers))
    assert world.lately.peak == 8
    world.is_told_offline()
    assert world.show.peak_viewers == 8
