"""The rules for quiet from a webhook to what the audience sees, on a real database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from announcer import policy
from announcer.events import Kind
from announcer.network import Moment, TryLater, Unsure
from announcer.policy import Hush, State
from announcer.quiet import PAUSED, Quiet
from tests.fakes import NOW, Fake, Findable, Stage, Turn, event
from tests.test_truth import Wall

RULES = Quiet.model_validate({"skip_titles": "test", "quiet_hours": "20:00-22:00"})
"""`NOW` is 19:00 UTC."""
BY_TITLE = ("withdrawn", "its title contains 'test'")
BY_PAUSE = ("withdrawn", PAUSED)


class QuietStage(Stage):
    """Under RULES, in every process."""

    def quieten(self) -> None:
        self.intake = replace(self.intake, quiet=RULES)
        self.delivery.attempts.gate.quiet = RULES

    def title(self, title: str) -> None:
        self.hear(Kind.RETITLED, title=title)

    def next_at(self) -> datetime:
        return self.post().entry.next_at


@pytest.fixture
def network() -> Wall:
    return Wall()


@pytest.fixture
def stage(
    database_url: str, network: Wall, monkeypatch: pytest.MonkeyPatch
) -> Iterator[QuietStage]:
    made = QuietStage(database_url, {"fake": network})
    made.quieten()
    monkeypatch.setattr("announcer.attempt.now", lambda: made.now)
    monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
    yield made
    made.close()


# Titles


def test_a_skipped_title_is_tracked_but_not_told_and_says_why(
    stage: QuietStage, network: Wall
) -> None:
    stage.hear(title="A Test")
    stage.run()
    assert stage.told() == BY_TITLE
    ((show, _),) = stage.box.history(9)
    assert show.live
    stage.passes(minutes=5)
    stage.hear(Kind.STOPPED)
    stage.run()
    assert stage.told() == BY_TITLE
    assert not network.sent


def test_a_skipped_title_that_becomes_a_fine_one_is_announced_then(
    stage: QuietStage, network: Wall
) -> None:
    """However long the stream has been live: it is news since it has that title."""
    stage.hear(title="Test")
    stage.passes(minutes=50)
    stage.title("Drawers")
    stage.passes(seconds=10)
    stage.run()
    assert stage.told() == ("settled", "")
    assert ["Drawers" in text for text in network.texts] == [True]


def test_a_title_that_becomes_one_to_skip_withdraws_what_is_not_up(
    stage: QuietStage, network: Wall
) -> None:
    network.then(TryLater("503"))
    stage.hear(title="Drawers")
    stage.run()
    stage.title("Test")
    assert stage.told() == BY_TITLE
    stage.passes(minutes=5)
    stage.run()
    assert not network.texts


def test_a_title_that_becomes_one_to_skip_leaves_and_edits_what_is_up(
    stage: QuietStage, network: Wall
) -> None:
    stage.hear(title="Drawers")
    stage.run()
    stage.title("Test")
    stage.passes(seconds=11)
    stage.run()
    assert stage.told() == ("settled", "")
    assert ["Test" in text for text in network.texts] == [True]


def test_a_return_with_the_same_title_is_skipped_still(stage: QuietStage, network: Wall) -> None:
    stage.hear(title="Test")
    stage.passes(minutes=1)
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=1)
    stage.hear(title="Test")
    stage.run()
    assert stage.told() == BY_TITLE
    assert not network.sent


def test_a_retry_judges_the_title_of_now(stage: QuietStage, network: Wall) -> None:
    """The title came while a try was on its way, so intake had to leave the post alone."""
    stage.hear(title="Drawers")
    (claim,) = stage.box.claim("me", stage.now, 1)
    stage.title("Test")
    assert stage.told() == ("sending", "")
    again = policy.after(claim.entry, TryLater("503"), network.repeat, left=NOW, now=NOW, dice=0)
    stage.box.store(claim, again, NOW, None, None)
    stage.passes(minutes=1)
    stage.run()
    assert stage.told() == BY_TITLE
    assert not network.sent


def test_a_title_that_turns_fine_while_the_old_one_is_being_judged_is_not_missed(
    stage: QuietStage, network: Wall
) -> None:
    stage.hear(title="Drawers")
    (first,) = stage.box.claim("me", stage.now, 1)
    stage.title("Test")
    stage.box.store(first, replace(first.entry, state=State.DUE), NOW, None, None)
    (claim,) = stage.box.claim("me", stage.now, 1)
    stage.passes(seconds=1)
    stage.title("Chairs")  # intake sees a post on its way, delivery holds the old title
    held = replace(
        claim.entry, state=State.WITHDRAWN, hush=Hush.TITLE, reason="its title contains 'test'"
    )
    stage.box.store(claim, held, stage.now, None, None)
    assert stage.told()[0] == "due"
    stage.passes(seconds=30)
    stage.run()
    assert ["Chairs" in text for text in network.texts] == [True]


# Hours


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-09-12T{clock}+00:00")


def test_a_stream_that_is_news_when_the_quiet_hours_end_is_told_then(
    stage: QuietStage, network: Wall
) -> None:
    stage.now = at("21:45")
    stage.hear()
    assert stage.told() == ("due", "quiet hours until 22:00")
    assert stage.run() == at("22:00")
    assert not network.sent
    stage.now = at("22:00")
    stage.run()
    assert stage.told() == ("settled", "")


def test_a_stream_that_is_no_news_by_then_is_not_told(stage: QuietStage, network: Wall) -> None:
    stage.now = at("21:15")
    stage.hear()
    assert stage.told() == ("withdrawn", "quiet hours until 22:00")
    for clock in ("22:00", "22:20"):
        stage.now = at(clock)
        stage.run()
        stage.hear(Kind.STOPPED)
        stage.passes(minutes=1)
        stage.hear()
        stage.run()
        assert stage.told() == ("withdrawn", "quiet hours until 22:00")
    assert not network.sent


def test_what_counts_is_when_it_would_be_told(stage: QuietStage, network: Wall) -> None:
    stage.rules = stage.rules.model_copy(update={"hold": timedelta(seconds=30)})
    stage.intake = replace(stage.intake, rules=stage.rules)
    stage.now = at("19:59:45")
    stage.hear()
    assert stage.told() == ("withdrawn", "quiet hours until 22:00")
    stage.now = at("21:59:45")
    stage.hear(Kind.STOPPED)
    stage.passes(hours=24)
    stage.hear()
    assert stage.told() == ("due", "")


def test_a_start_that_was_heard_late_is_judged_by_now(stage: QuietStage) -> None:
    stage.intake.take(event(at=at("19:50")), at("20:01"))
    assert stage.told() == ("withdrawn", "quiet hours until 22:00")


def test_a_stream_that_stops_before_the_hours_end_is_not_told(
    stage: QuietStage, network: Wall
) -> None:
    stage.now = at("21:45")
    stage.hear()
    stage.now = at("21:50")
    stage.hear(Kind.STOPPED)
    stage.now = at("22:00")
    stage.run()
    assert stage.told() == ("withdrawn", "the stream stopped before it was told")
    assert not network.sent


def test_a_retry_does_not_wake_anybody_at_night(stage: QuietStage, network: Wall) -> None:
    network.then(TryLater("503", timedelta(minutes=10)))
    stage.now = at("19:55")
    stage.hear()
    stage.run()
    stage.now = at("20:06")
    stage.run()
    assert stage.told() == ("withdrawn", "quiet hours until 22:00")
    assert len(network.sent) == 1


def test_what_may_be_up_already_is_finished_at_night(stage: QuietStage) -> None:
    network = Findable()
    network.then(Unsure("no answer"))
    stage.start_up({"fake": network})
    stage.quieten()
    stage.now = at("19:59:59")
    stage.hear()
    stage.run()
    network.blind(TryLater("503"))
    stage.passes(seconds=2)
    stage.run()
    assert stage.told()[0] == "due", "it is looked for"
    stage.passes(minutes=5)
    stage.run()
    assert stage.told() == ("withdrawn", "quiet hours until 22:00"), "it is not up"
    assert len(network.sent) == 1


def test_edits_and_ends_of_what_is_up_happen_at_night(stage: QuietStage, network: Wall) -> None:
    stage.now = at("19:50")
    stage.hear(title="Drawers")
    stage.run()
    stage.now = at("20:30")
    stage.title("Chairs")
    stage.passes(seconds=11)
    stage.run()
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=6)
    stage.run()
    assert network.changes == ["edit", "edit"]
    assert stage.post().entry.shown is Moment.ENDED


# A pause


def test_a_pause_withdraws_what_is_not_up_and_keeps_what_is(
    stage: QuietStage, network: Wall
) -> None:
    other = Fake()
    other.then(TryLater("503"))
    stage.start_up({"fake": network, "other": other})
    stage.quieten()
    stage.hear(title="Drawers")
    stage.run()
    assert stage.box.pause(PAUSED, stage.now) == [stage.post("other").entry.key]
    assert stage.told("other") == BY_PAUSE
    stage.passes(minutes=1)
    stage.title("Chairs")
    stage.passes(seconds=11)
    stage.run()
    assert network.changes == ["edit"]
    assert (stage.told("fake"), stage.told("other")) == (("settled", ""), BY_PAUSE)


def test_a_pause_leaves_what_may_be_up_to_be_found(stage: QuietStage) -> None:
    network = Findable()
    network.then(Turn(Unsure("no answer"), shows=True))
    stage.start_up({"fake": network})
    stage.hear()
    stage.run()
    assert stage.box.pause(PAUSED, stage.now) == []
    stage.passes(seconds=5)
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(network.visible) == 1


def test_a_start_in_a_pause_is_withdrawn_by_every_process(stage: QuietStage, network: Wall) -> None:
    stage.box.pause(PAUSED, stage.now)
    stage.start_up({"fake": network})
    assert stage.box.paused() == NOW
    stage.hear()
    stage.run()
    assert stage.told() == BY_PAUSE
    assert not network.sent


def test_a_pause_reaches_what_is_on_its_way_once_it_comes_back(
    stage: QuietStage, network: Wall
) -> None:
    stage.hear()
    (claim,) = stage.box.claim("me", stage.now, 1)
    assert stage.box.pause(PAUSED, stage.now) == []
    stage.box.store(claim, replace(claim.entry, state=State.DUE), NOW, None, None)
    stage.run()
    assert stage.told() == BY_PAUSE
    assert not network.sent


def test_after_a_pause_nothing_is_told_late_and_the_next_stream_is(
    stage: QuietStage, network: Wall
) -> None:
    stage.box.pause(PAUSED, stage.now)
    stage.hear()
    assert stage.box.resume()
    assert not stage.box.resume()
    stage.title("Chairs")
    stage.passes(minutes=1)
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=1)
    stage.hear()
    stage.run()
    assert stage.told() == BY_PAUSE
    stage.hear(Kind.STOPPED)
    stage.passes(hours=23)
    stage.hear()
    stage.run()
    assert stage.told() == ("settled", "")


def test_a_second_pause_keeps_the_time_of_the_first(stage: QuietStage) -> None:
    stage.box.pause(PAUSED, NOW)
    stage.box.pause(PAUSED, NOW + timedelta(hours=1))
    assert stage.box.paused() == NOW


# Announced anyway


def announce(stage: QuietStage) -> list[str]:
    until = stage.now + stage.rules.give_up
    return stage.box.announce(stage.post().entry.broadcast, stage.now, until)


@pytest.mark.parametrize("rule", ["title", "hours that end late", "hours", "pause"])
def test_what_a_rule_holds_back_is_announced_by_the_operators_word(
    stage: QuietStage, network: Wall, rule: str
) -> None:
    match rule:
        case "title":
            stage.hear(title="Test")
        case "pause":
            stage.box.pause(PAUSED, stage.now)
            stage.hear()
        case _:
            stage.now = at("21:45" if rule == "hours" else "21:00")
            stage.hear()
    stage.run()
    assert not network.sent
    assert announce(stage) == [stage.post().entry.key]
    stage.run()
    assert stage.told() == ("settled", "")
    assert announce(stage) == []


def test_the_operators_word_outlasts_failures_and_titles(stage: QuietStage, network: Wall) -> None:
    stage.hear(title="Test")
    network.then(TryLater("503"))
    announce(stage)
    stage.run()
    stage.passes(seconds=5)
    stage.title("Test two")
    stage.run()
    assert stage.told() == ("settled", "")


def test_retry_is_the_operators_word_for_one_post(stage: QuietStage, network: Wall) -> None:
    stage.hear(title="Test")
    assert stage.box.retry(stage.post().entry.key, stage.now, stage.now + timedelta(minutes=30))
    stage.run()
    assert stage.told() == ("settled", "")


def test_a_pause_is_the_later_word(stage: QuietStage, network: Wall) -> None:
    stage.hear(title="Test")
    announce(stage)
    stage.box.pause(PAUSED, stage.now)
    stage.run()
    assert stage.told() == BY_PAUSE


def test_only_what_a_rule_holds_back_is_announced(stage: QuietStage, network: Wall) -> None:
    """Not what stopped, failed, or waits because a network asked for it."""
    network.then(TryLater("503", timedelta(minutes=5)))
    stage.hear()
    stage.run()
    assert announce(stage) == []
    stage.hear(Kind.STOPPED)
    assert announce(stage) == []


def test_what_the_night_put_off_waits_for_its_network_afterwards(
    stage: QuietStage, network: Wall
) -> None:
    stage.now = at("21:45")
    stage.hear()
    network.then(TryLater("429", timedelta(minutes=5)))
    stage.now = at("22:00")
    stage.run()
    assert announce(stage) == []
    assert stage.told() == ("due", "429")


def test_another_channel_is_not_touched(stage: QuietStage) -> None:
    stage.intake.take(event(at=NOW, channel="music", title="Test"), NOW)
    music = stage.post().entry.broadcast
    stage.passes(minutes=1)
    stage.hear(title="Test")
    assert stage.post().entry.broadcast != music
    announce(stage)
    states = {show.channel: told[0].entry.state.value for show, told in stage.box.history(9)}
    assert states == {"default": "due", "music": "withdrawn"}
