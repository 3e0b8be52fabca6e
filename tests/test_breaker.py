"""A destination that asks for patience, or does not answer, is left alone: as a whole, for as long
as needed, and nobody else waits for it.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from announcer.events import Kind
from announcer.network import DeliveryError, Gone, Network, Refused, TryLater, Unsure
from announcer.policy import Breaker, State, breaker_after
from announcer.policy.breaker import LONGEST_HOLD, TRIP
from tests.fakes import NOW, Fake, Findable, Harmless, Stage, wait_until
from tests.test_badges import Pin
from tests.test_truth import Wall

Act = Callable[..., Stage]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BUSY = TryLater("503 busy")
SLOW = TryLater("429 slow down", MINUTE)


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """Makes the stage; destinations are called like their classes. The jitter is always a half."""
    stages: list[Stage] = []

    def act(*networks: Network, **settings: Any) -> Stage:
        told = {type(network).__name__.lower(): network for network in networks}
        stage = Stage(tmp_path / "announcer.db", told, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def works(stage: Stage) -> None:
    """What is due now, for every broadcast."""
    stage.delivery.run()
    wait_until(
        lambda: (
            not any(
                post.entry.state is State.SENDING
                for _, posts in stage.box.history(20)
                for post in posts
            )
        )
    )


def plays(stage: Stage, **time: float) -> None:
    """Everything that comes due in this time is done when it is due."""
    until = stage.now + timedelta(**time)
    for _ in range(500):
        works(stage)
        again = stage.box.next_due()
        if again is None or again > until:
            stage.now = until
            return
        stage.now = max(again + timedelta(milliseconds=1), stage.now)
    raise AssertionError("it never comes to rest")


# Judgement


def after(*problems: DeliveryError | None, dice: float = 0.5) -> Breaker | None:
    """One after the other, each as soon as it may be asked."""
    breaker, now = None, NOW
    for problem in problems:
        now = max(now, breaker.until) if breaker else now
        breaker = breaker_after(breaker, problem, now, dice)
    return breaker


def test_it_waits_for_as_long_as_the_network_asked() -> None:
    assert after(SLOW) == Breaker(1, NOW, NOW + MINUTE, "429 slow down")


@pytest.mark.parametrize("failure", [BUSY, Unsure("no answer in time")])
def test_a_few_tries_without_an_answer_hold_up_nothing(failure: DeliveryError) -> None:
    few = after(*[failure] * (TRIP - 1))
    assert few
    assert not few.holds(NOW)


def test_after_five_the_next_ones_are_probes_ever_further_apart() -> None:
    waits, now = [], NOW
    breaker = after(*[BUSY] * (TRIP - 1))
    for _ in range(6):
        breaker = breaker_after(breaker, BUSY, now, 1 / 3)
        assert breaker
        waits.append((breaker.until - now).total_seconds())
        now = breaker.until
    assert waits == [20, 40, 80, 160, 200, 200]
    assert breaker
    assert breaker.since == NOW


@pytest.mark.parametrize("answer", [None, Refused("422"), Gone("404"), Refused("401", closes=True)])
def test_any_clear_answer_ends_it(answer: DeliveryError | None) -> None:
    assert after(*[BUSY] * TRIP, answer) is None


def test_an_absurd_wait_is_not_believed_for_ever() -> None:
    breaker = after(TryLater("429", timedelta(days=1)))
    assert breaker
    assert breaker.until == NOW + LONGEST_HOLD


@pytest.mark.parametrize(
    ("before", "problem", "counts"),
    [
        (None, BUSY, False),
        (None, SLOW, True),
        (Breaker(TRIP - 1, NOW, NOW, "503"), BUSY, False),
        (Breaker(TRIP, NOW, NOW, "503"), BUSY, True),
    ],
    ids=["alone", "asked to wait", "among others", "as a probe"],
)
def test_a_minor_failure_counts_only_where_nobody_answers_anyway(
    before: Breaker | None, problem: DeliveryError, counts: bool
) -> None:
    assert (breaker_after(before, problem, NOW, 0.5, minor=True) != before) is counts


# On the stage


def test_a_429_holds_the_whole_destination_and_no_other(act: Act) -> None:
    wall, other = Wall(), Fake()
    stage = act(wall, other)
    stage.hear(title="Drawers")
    works(stage)
    wall.then(TryLater("429 slow down", 10 * MINUTE))
    stage.hear(channel="second")
    works(stage)
    stage.hear(Kind.RETITLED, title="Dovetails")
    plays(stage, minutes=9)
    assert (len(wall.sent), wall.changes) == (2, []), "the edit waits, too"
    assert len(other.visible) == 2, "another one does not"
    assert list(stage.box.breakers(stage.now)) == ["wall"]
    plays(stage, minutes=2)
    assert (len(wall.visible), wall.changes) == (2, ["edit"])
    assert stage.box.breakers(stage.now) == {}


@pytest.mark.parametrize("wait", [0, 1], ids=["without a hint", "in a second"])
def test_e14_a_429_for_ever_costs_few_requests_however_many_posts_wait(act: Act, wait: int) -> None:
    network = Harmless()
    stage = act(network, give_up=timedelta(hours=2))
    network.then(*[TryLater("429 slow down", wait * SECOND)] * 500)
    for number in range(8):  # eight channels, one account
        stage.hear(channel=f"channel {number}")
    plays(stage, hours=1)
    assert TRIP < len(network.sent) < 40
    network._script.clear()
    plays(stage, minutes=6)
    assert len(network.visible) == 8, "once it answers again, everything is told"


def test_e14_what_can_not_wait_is_given_up_in_time_without_a_request(act: Act) -> None:
    network = Harmless()
    stage = act(network)
    network.then(TryLater("429 slow down", 50 * MINUTE))
    stage.hear(channel="first")
    stage.run()
    stage.hear(channel="second")
    works(stage)
    assert stage.box.next_due() == NOW + stage.rules.give_up
    plays(stage, minutes=31)
    assert len(network.sent) == 1
    states = {post.entry.state: post.entry.reason for _, (post,) in stage.box.history(2)}
    assert states == {"failed": "too late: 429 slow down"}


def test_what_may_be_up_is_called_unsure_when_its_time_is_over(act: Act) -> None:
    network = Findable()
    stage = act(network)
    stage.hear()
    network.then(Unsure("no answer in time"))
    network.blind(TryLater("429 slow down", 20 * MINUTE))
    network.blind(*[TryLater("429 slow down", 20 * MINUTE)] * 5)
    plays(stage, minutes=31)
    assert stage.told("findable")[0] == "unsure"
    assert len(network.looks) == 1 + 1


def test_a_dead_destination_delays_no_other(act: Act) -> None:
    dead, well = Harmless(), Fake()
    stage = act(dead, well)
    dead.then(*[BUSY] * 100)
    stage.hear()
    plays(stage, minutes=20)
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=31)
    stage.hear()
    stage.run()
    assert [post.began_at for post in well.visible] == [NOW, stage.now]


def test_it_survives_a_restart_and_the_operator_knows_better(act: Act) -> None:
    network = Harmless()
    stage = act(network)
    stage.hear()
    network.then(TryLater("429 slow down", 10 * MINUTE))
    stage.run()
    stage.start_up({"harmless": network})
    stage.run()
    assert len(network.sent) == 1
    held = stage.box.breakers(stage.now)["harmless"]
    assert (held.until, held.reason) == (NOW + 10 * MINUTE, "429 slow down")
    stage.box.reopen("harmless", stage.now)
    assert stage.box.breakers(stage.now) == {}


def test_a_badge_that_breaks_holds_up_no_post(act: Act) -> None:
    network = Pin()
    stage = act(network)
    network.watched_by(lambda: stage.now)
    network.trouble(*[BUSY] * 20)
    stage.hear()
    plays(stage, minutes=15)
    assert stage.box.breakers(stage.now) == {}


def test_a_mistake_of_ours_is_not_held_against_the_network(act: Act) -> None:
    network = Findable()
    stage = act(network)
    stage.hear()
    network.then(ZeroDivisionError())
    network.blind(*[ZeroDivisionError()] * 20)
    plays(stage, minutes=25)
    assert len(network.looks) > TRIP
    assert stage.box.breakers(stage.now) == {}
