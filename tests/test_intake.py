"""The first half: an event and everything that follows from it, stored together or not at all."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NoReturn

import pytest
import sqlalchemy as sa

from announcer import policy
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import Moment
from announcer.outbox import Outbox, StorageError
from announcer.policy import Decision, Entry, Rules, State
from tests.fakes import NOW, event, open_box

RULES = Rules(
    hold=timedelta(seconds=30), resume=timedelta(minutes=30), give_up=timedelta(minutes=30)
)


@dataclass
class Desk:
    """Intake for two destinations, one of which is told of the channel `music` only."""

    box: Outbox
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.intake = Intake(self.box, RULES, self._audience, {}, lambda _: self.woken.append("!"))

    def _audience(self, channel: str) -> list[str]:
        return ["mastodon.music"] if channel == "music" else ["mastodon", "discord"]

    def take(self, told: Event) -> Decision:
        return self.intake.take(told, told.at)

    def posts(self, channel: str = "default") -> dict[str, Entry]:
        """Of the newest broadcast."""
        shows = [shown for shown in self.box.history(9) if shown[0].channel == channel]
        return {post.entry.destination: post.entry for post in shows[0][1]} if shows else {}

    def states(self) -> dict[str, str]:
        return {name: entry.state.value for name, entry in self.posts().items()}


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    box = open_box(database_url)
    yield Desk(box)
    box.engine.dispose()


def at(**time: float) -> Event:
    return event(at=NOW + timedelta(**time))


def stop(**time: float) -> Event:
    return event(Kind.STOPPED, NOW + timedelta(**time))


def settle(desk: Desk) -> None:
    """Everybody has been told."""
    for claim in desk.box.claim("me", NOW + timedelta(hours=1), limit=9):
        desk.box.store(claim, policy.settled(claim.entry), NOW, None, None)


def test_a_start_makes_one_post_for_each_destination_of_its_channel(desk: Desk) -> None:
    decision = desk.take(event(title="Drawers"))
    assert decision.because == "a new broadcast"
    ((show, _),) = desk.box.history(9)
    assert (show.title, show.name, show.live) == ("Drawers", "Kestrel", True)
    assert desk.posts()["mastodon"] == Entry(
        key=f"{show.id}/live/mastodon",
        broadcast=show.id,
        channel="default",
        moment=Moment.LIVE,
        destination="mastodon",
        state=State.DUE,
        wanted=Moment.LIVE,
        shown=None,
        next_at=NOW + timedelta(seconds=30),
        until=NOW + timedelta(minutes=30),
    )
    assert desk.posts().keys() == {"mastodon", "discord"}
    assert desk.woken == ["!"]


def test_d16_a_channel_has_its_own_broadcasts_and_destinations_even_with_the_same_event_ids(
    desk: Desk,
) -> None:
    desk.take(event())
    desk.take(event(channel="music"))
    assert desk.posts().keys() == {"mastodon", "discord"}
    assert desk.posts("music").keys() == {"mastodon.music"}


def test_a_repeat_changes_nothing_and_wakes_nobody(desk: Desk) -> None:
    desk.take(event())
    before = desk.box.history(9)
    assert desk.take(event()).because == "a repeat: this event is known"
    assert desk.box.history(9) == before
    assert desk.woken == ["!"]


def test_a_hundred_copies_at_once_are_one_event(desk: Desk) -> None:
    told: list[str] = []
    start = threading.Barrier(20)

    def take() -> None:
        start.wait()
        told.extend(desk.take(event()).because for _ in range(5))

    threads = [threading.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["a new broadcast"] + ["a repeat: this event is known"] * 99
    assert len(desk.posts()) == 2
    assert len(desk.box.history(9)) == 1


@pytest.mark.parametrize("where", ["put_broadcast", "put_entries", "add"])
@pytest.mark.parametrize("told", [at(), stop(minutes=1)], ids=["start", "stop"])
def test_what_breaks_in_the_middle_leaves_no_trace_and_may_come_again(
    desk: Desk, where: str, told: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> NoReturn:
        raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))

    if told.kind is Kind.STOPPED:
        desk.take(event())
    before, woken = desk.box.history(9), list(desk.woken)
    with monkeypatch.context() as patch:
        patch.setattr(f"announcer.outbox.Transaction.{where}", breaks)
        with pytest.raises(StorageError):
            desk.take(told)
    assert desk.box.history(9) == before
    assert desk.woken == woken
    assert desk.take(told).because != "a repeat: this event is known"


def test_nobody_is_woken_before_it_is_on_disk(desk: Desk) -> None:
    seen: list[int] = []
    intake = replace(desk.intake, wake=lambda _: seen.append(len(desk.box.history(9))))
    intake.take(event(), NOW)
    assert seen == [1]


def test_delivery_is_woken_for_when_posts_are_due_and_at_once_for_what_else_changed(
    desk: Desk,
) -> None:
    times: list[datetime] = []
    desk.intake = replace(desk.intake, wake=times.append)
    desk.take(event())
    desk.take(stop(seconds=10))  # withdraws them
    assert times == [NOW + timedelta(seconds=30), NOW + timedelta(seconds=10)]


def test_whoever_is_at_a_post_sees_to_what_came_meanwhile(desk: Desk) -> None:
    desk.take(event())
    desk.box.claim("me", NOW + timedelta(minutes=1), limit=9)
    times: list[datetime] = []
    desk.intake = replace(desk.intake, wake=times.append)
    assert desk.take(stop(minutes=2)).because
    assert desk.states() == {"mastodon": "sending", "discord": "sending"}
    assert times == []


def test_an_event_that_changes_nothing_is_stored_and_wakes_nobody(desk: Desk) -> None:
    late = stop(minutes=1)
    assert desk.take(late).broadcast is None
    assert desk.woken == []
    assert desk.take(late).because == "a repeat: this event is known"


def test_d04_a_stop_before_its_start_announces_nothing(desk: Desk) -> None:
    """Reordered on the way (D04): by Owncast's own times the start is the older one."""
    desk.take(replace(stop(seconds=4), at=NOW + timedelta(seconds=4)))
    late = replace(event(), at=NOW + timedelta(seconds=5))
    assert desk.intake.take(late, late.at).because == (
        "a late start: this connection has ended already"
    )
    assert desk.box.history(9) == []


def test_a_stop_withdraws_what_nobody_was_told(desk: Desk) -> None:
    desk.take(event())
    desk.take(stop(seconds=10))
    assert desk.states() == {"mastodon": "withdrawn", "discord": "withdrawn"}
    assert {entry.reason for entry in desk.posts().values()} == {
        "the stream stopped before it was told"
    }


def test_a_stop_leaves_what_was_told_and_what_may_be_up(desk: Desk) -> None:
    desk.take(event())
    settle(desk)
    with desk.box.transaction("default") as stored:
        doubtful = replace(desk.posts()["discord"], state=State.DUE, shown=None, doubtful_since=NOW)
        stored.put_entries([doubtful], NOW)
    desk.take(stop(minutes=10))
    assert desk.states() == {"mastodon": "settled", "discord": "due"}
    wanted = {name: entry.wanted for name, entry in desk.posts().items()}
    assert wanted == {"mastodon": Moment.ENDED, "discord": Moment.ENDED}


def test_a_stop_does_not_touch_what_is_on_its_way(desk: Desk) -> None:
    desk.take(event())
    claims = desk.box.claim("me", NOW + timedelta(minutes=1), limit=9)
    for claim in claims:
        assert desk.box.freeze(claim, "words", NOW)
    desk.take(stop(minutes=2))
    assert desk.states() == {"mastodon": "sending", "discord": "sending"}
    for claim in claims:
        assert desk.box.store(claim, policy.settled(claim.entry), NOW, None, None)


def test_what_is_not_on_its_way_yet_is_judged_again_after_a_stop(desk: Desk) -> None:
    desk.take(event())
    claims = desk.box.claim("me", NOW + timedelta(minutes=1), limit=9)
    desk.take(stop(minutes=2))
    for claim in claims:
        assert not desk.box.freeze(claim, "words", NOW)


def test_a_resume_revives_what_was_withdrawn_and_posts_nothing_twice(desk: Desk) -> None:
    desk.take(event())
    (told, _) = desk.box.claim("me", NOW + timedelta(minutes=1), limit=9)
    desk.box.store(told, policy.settled(told.entry), NOW, None, None)
    other = next(name for name in desk.posts() if name != told.entry.destination)
    with desk.box.transaction("default") as stored:  # the other was put off
        stored.put_entries([replace(desk.posts()[other], state=State.DUE)], NOW)
    desk.take(stop(minutes=2))
    assert desk.states() == {told.entry.destination: "settled", other: "withdrawn"}
    decision = desk.take(at(minutes=5))
    assert decision.because == "back after 180 s: the same broadcast"
    revived = desk.posts()[other]
    assert desk.states() == {told.entry.destination: "settled", other: "due"}
    assert (revived.next_at, revived.until, revived.reason) == (
        NOW + timedelta(minutes=5, seconds=30),
        NOW + timedelta(minutes=35),
        "",
    )
    assert {entry.wanted for entry in desk.posts().values()} == {Moment.LIVE}
    assert len(desk.box.history(9)) == 1


def test_twenty_reconnects_are_one_broadcast_with_one_post_each(desk: Desk) -> None:
    """D07: flapping."""
    for number in range(20):
        desk.take(at(seconds=15 * number))
        desk.take(stop(seconds=15 * number + 10))
    assert len(desk.box.history(99)) == 1
    assert desk.states() == {"mastodon": "withdrawn", "discord": "withdrawn"}


def test_d06_a_stream_found_too_late_is_adopted_without_a_word(desk: Desk) -> None:
    old = event()
    decision = desk.intake.take(old, NOW + timedelta(minutes=31))
    assert decision.because == "a new broadcast, but it began too long ago to be news"
    assert desk.posts() == {}
    assert len(desk.box.history(9)) == 1
    desk.take(at(minutes=35))
    assert desk.posts() == {}  # nor after a reconnect
    assert desk.take(stop(minutes=40)).because == "the stream stopped"


def test_a_destination_that_is_added_during_a_show_is_not_told_late(desk: Desk) -> None:
    """A resume tells nobody anew; the next broadcast does."""
    desk.take(event())
    settle(desk)
    desk.take(stop(minutes=60))
    desk.intake = replace(desk.intake, audience=lambda _: ["mastodon", "discord", "x"])
    desk.take(at(minutes=61))
    assert desk.posts().keys() == {"mastodon", "discord"}
    desk.take(stop(minutes=90))
    desk.take(at(minutes=190))
    assert desk.posts().keys() == {"mastodon", "discord", "x"}


def test_with_nobody_to_tell_the_broadcast_is_still_known(desk: Desk) -> None:
    desk.intake = replace(desk.intake, audience=lambda _: [])
    desk.take(event())
    assert desk.posts() == {}
    assert desk.take(stop(minutes=1)).because == "the stream stopped"
