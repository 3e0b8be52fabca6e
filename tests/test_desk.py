"""What the operator does by hand: taken down for good, marked as sent, sent off now; and what stays
true meanwhile. On both databases.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any, ClassVar, Literal

import pytest

from announcer import chat
from announcer.events import Kind
from announcer.network import Moment, Network, Receipt, Refused, TryLater, Unsure
from announcer.outbox import LEASE, Outbox
from announcer.policy import CHANGE, Entry, Hush, State
from tests.fakes import NOW, Fake, Lookout, Stage, Turn, open_box
from tests.test_badges import Removing as Pinned
from tests.test_outbox import DUE, RECEIPT, SHOW, put, stored, to
from tests.test_truth import Answering, Wall, later

Act = Callable[..., Stage]
HOUR = timedelta(hours=1)


@pytest.fixture
def act(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    stages: list[Stage] = []

    def act(*networks: Network, **settings: Any) -> Stage:
        told = {"fake": networks[0], **{f"fake.{n}": one for n, one in enumerate(networks[1:])}}
        stage = Stage(database_url, told, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


@pytest.fixture
def box(database_url: str) -> Iterator[Outbox]:
    box = open_box(database_url)
    yield box
    box.engine.dispose()


def live(act: Act, network: Network, **settings: Any) -> Stage:
    """A stage with a broadcast that was told a minute ago."""
    stage = act(network, **settings)
    stage.hear(title="Drawers")
    stage.run()
    stage.passes(minutes=1)
    return stage


def take_down(stage: Stage, destination: str = "fake", moment: str = "live") -> str | None:
    key = stage.post(destination).entry.key.replace("/live/", f"/{moment}/")
    return stage.box.take_down(key, stage.now, stage.now + CHANGE)


def tell(stage: Stage, *story: str) -> None:
    """Parts of a show, with a minute after each."""
    for part in story:
        match part:
            case "title":
                stage.hear(Kind.RETITLED, title=f"Title at {stage.now:%H:%M}")
            case "back":
                stage.hear(title="Drawers")
            case _:
                stage.hear(Kind.STOPPED)
                later(stage, minutes=8 if part == "end" else 0.5)
        later(stage, minutes=1)


# Taken down


@pytest.mark.parametrize(
    "after", list(permutations(["title", "end", "back", "drop"], 3)), ids="-".join
)
@pytest.mark.parametrize(
    "before", [(), ("title",), ("drop", "back"), ("end", "back")], ids="-".join
)
@pytest.mark.parametrize("ending", ["edit", "remove"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_taken_down_is_never_put_up_again(
    act: Act, ending: Literal["edit", "remove"], before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    network = Wall(when_ended=ending)
    stage = live(act, network)
    tell(stage, *before)
    assert len(network.texts) == 1
    sent = len(network.sent)
    assert take_down(stage) == "fake"
    later(stage, seconds=1)
    assert network.texts == []
    tell(stage, *after, "back", "title", "end")
    later(stage, hours=30)
    assert network.texts == []
    assert len(network.sent) == sent
    assert stage.told()[0] == "settled"


def test_it_is_gone_on_every_database_and_for_a_new_process(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    assert take_down(stage) == "fake"
    stage.start_up(stage.networks)
    later(stage, seconds=1)
    assert network.texts == []
    entry = stage.post().entry
    assert (entry.state, entry.shown, entry.hush) == (State.SETTLED, None, Hush.TAKEN)
    tell(stage, "title", "end", "back")
    assert network.texts == []


@pytest.mark.parametrize(
    "problem", [TryLater("503"), Unsure("no answer"), TryLater("429", timedelta(minutes=20))]
)
@pytest.mark.parametrize("meanwhile", [(), ("title",), ("end",), ("drop", "back"), ("end", "back")])
def test_it_is_tried_until_it_is_gone_whatever_happens_meanwhile(
    act: Act, problem: Exception, meanwhile: tuple[str, ...]
) -> None:
    network = Wall()
    stage = live(act, network)
    network.trouble(problem)
    take_down(stage)
    later(stage, seconds=0)
    tell(stage, *meanwhile)
    later(stage, hours=1)
    assert network.texts == []
    assert set(network.changes) == {"remove"}, "nobody edits what is to go"


def test_a_removal_that_was_refused_is_told_and_what_stays_up_stays_true(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    network.trouble(Refused("403 not yours"))
    take_down(stage)
    later(stage, seconds=1)
    assert stage.told() == ("failed", "not changed: 403 not yours")
    tell(stage, "end")
    assert "was live" in network.texts[0], "it is there, so it must not say that we are live"
    assert take_down(stage) == "fake", "and may be tried again"
    later(stage, seconds=1)
    assert network.texts == []


@pytest.mark.parametrize("ending", ["edit", "remove"])
def test_a_removal_that_was_refused_and_is_tried_again_is_still_for_good(
    act: Act, ending: Literal["edit", "remove"]
) -> None:
    network = Wall(when_ended=ending)
    stage = live(act, network)
    network.trouble(Refused("403 not yours"))
    take_down(stage)
    later(stage, seconds=1)
    assert stage.box.retry(stage.post().entry.key, stage.now, stage.now + HOUR)
    later(stage, seconds=1)
    assert network.texts == []
    tell(stage, "title", "end", "back", "title")
    assert network.texts == []
    assert len(network.sent) == 1


def test_of_what_was_taken_down_no_end_is_told(act: Act) -> None:
    network = Answering()
    stage = live(act, network)
    network.visible.clear()
    take_down(stage)
    stage.hear(Kind.STOPPED)  # before it is gone
    later(stage, minutes=10)
    assert network.visible == []
    assert [post.moment for post in network.sent] == [Moment.LIVE]


class Busy(Answering):
    """Not now: its removals wait for 20 minutes."""

    def remove(self, receipt: Receipt) -> None:  # noqa: ARG002
        raise TryLater("429", timedelta(minutes=20))


def test_nor_while_its_removal_waits(act: Act) -> None:
    network = Busy()
    stage = live(act, network)
    take_down(stage)
    later(stage, seconds=1)
    tell(stage, "end")
    later(stage, hours=2)
    assert [post.moment for post in network.sent] == [Moment.LIVE]


def test_the_word_of_the_end_is_taken_down_by_itself(act: Act) -> None:
    network = Answering()
    stage = live(act, network)
    tell(stage, "end")
    assert len(network.visible) == 2
    assert take_down(stage, moment="ended") == "fake"
    later(stage, seconds=1)
    assert [post.moment for post in network.visible] == [Moment.LIVE]
    tell(stage, "back", "end")
    assert [post.moment for post in network.visible] == [Moment.LIVE]


def test_what_stands_beside_it_goes_with_it(act: Act) -> None:
    network = Pinned()
    network.watched_by(lambda: NOW)
    stage = live(act, network)
    later(stage, seconds=1)
    assert network.on
    with stage.box.engine.begin() as connection:  # an announcement that removes itself has none
        connection.exec_driver_sql(
            'UPDATE posts SET receipt = \'{"id": "1", "url": "", "extra": {}}\''
        )
    take_down(stage)
    later(stage, minutes=2)
    assert not network.on
    assert network.acts[-1] == "cleared"
    tell(stage, "title", "drop", "back")
    assert not network.on


def test_chat_does_not_name_what_is_going(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    take_down(stage)
    show = stage.post().entry.broadcast
    assert chat.links(stage.box.announced(show), stage.networks) == ()


def test_taken_down_twice_is_once(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    given: list[str | None] = []
    hands = [threading.Thread(target=lambda: given.append(take_down(stage))) for _ in range(6)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert sorted(map(str, given)) == ["None"] * 5 + ["fake"]
    later(stage, seconds=1)
    assert network.changes == ["remove"]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("shown", [Moment.LIVE, None])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_what_is_up_and_within_reach_is_taken_down(
    box: Outbox, state: State, shown: Moment | None, known: bool
) -> None:
    put(box, replace(DUE, state=state, shown=shown))
    if known:
        with box.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE posts SET receipt = '{}'")
    done = box.take_down(DUE.key, NOW, NOW + CHANGE)
    may = shown and known and state in (State.SETTLED, State.DUE, State.FAILED)
    assert done == ("fake" if may else None)
    assert (stored_hush(box) is Hush.TAKEN) is bool(may)


def stored_hush(box: Outbox) -> Hush:
    with box.engine.begin() as connection:  # a receipt that is none is no matter here
        connection.exec_driver_sql("UPDATE posts SET receipt = NULL")
    return stored(box).hush


def test_what_is_on_its_way_is_left_to_arrive(act: Act) -> None:
    """Or two hands would hold one row."""
    gate = threading.Event()
    network = Wall()
    stage = live(act, network)
    network.then(Turn(gate=gate))
    stage.hear(Kind.RETITLED, title="Glue-up")
    stage.passes(seconds=11)
    (claim,) = stage.box.claim("another", stage.now, limit=1)
    assert take_down(stage) is None
    assert stage.box.store(claim, replace(claim.entry, state=State.SETTLED), stage.now, None, None)
    gate.set()
    assert take_down(stage) == "fake"


def test_a_change_that_was_claimed_before_does_not_leave_after(box: Outbox) -> None:
    """A replica claims an edit and is suspended; its lease ends; then the post is taken down."""
    put(box, replace(DUE, shown=Moment.LIVE, wanted=Moment.ENDED))
    (claim,) = box.claim("asleep", NOW, limit=1)
    assert box.store(claim, replace(claim.entry, state=State.DUE), NOW, None, RECEIPT)
    assert box.take_down(DUE.key, NOW, NOW + CHANGE)
    assert box.freeze(claim, None, NOW) is None


# Marked as sent


def doubted(act: Act, network: Fake) -> Stage:
    network.then(Turn(Unsure("no answer"), shows=True))
    return live(act, network)


def test_marked_as_sent_it_is_left_alone_for_good(act: Act) -> None:
    network = Wall()
    stage = doubted(act, network)
    assert stage.told()[0] == "unsure"
    assert stage.box.mark_sent(stage.post().entry.key, stage.now) == "fake"
    assert stage.told() == ("settled", "marked as sent by hand")
    stage.start_up(stage.networks)
    tell(stage, "title", "end", "back", "end")
    later(stage, hours=30)
    state, reason = stage.told()
    assert state == "settled"
    assert "nobody knows its id there" in reason
    assert network.changes == []
    assert len(network.sent) == 1
    assert take_down(stage) is None


def test_marked_as_sent_the_end_is_told_where_it_is_a_post(act: Act) -> None:
    network = Fake(when_ended="post")
    stage = doubted(act, network)
    stage.box.mark_sent(stage.post().entry.key, stage.now)
    tell(stage, "end")
    assert [post.moment for post in network.sent] == [Moment.LIVE, Moment.ENDED]


@pytest.mark.parametrize("state", list(State))
def test_only_what_is_in_doubt_is_marked_as_sent(box: Outbox, state: State) -> None:
    put(box, replace(DUE, state=state, doubtful_since=NOW))
    done = box.mark_sent(DUE.key, NOW)
    assert done == ("fake" if state is State.UNSURE else None)
    assert stored(box).state is (State.SETTLED if done else state)


def test_a_receipt_of_what_was_taken_away_is_not_taken_for_its(box: Outbox) -> None:
    put(box, replace(DUE, wanted=None, shown=Moment.LIVE))
    (claim,) = box.claim("me", NOW, limit=1)
    gone = replace(claim.entry, state=State.UNSURE, shown=None, doubtful_since=NOW)
    assert box.store(claim, gone, NOW, None, Receipt("old"))
    assert box.mark_sent(DUE.key, NOW)
    ((_, (post,)),) = box.history(1)
    assert post.receipt is None


# Sent now


@pytest.mark.parametrize(
    "waits",
    [
        pytest.param({"next_at": NOW + HOUR}, id="the hold"),
        pytest.param({"next_at": NOW + HOUR, "tries": 3, "reason": "503"}, id="the next try"),
        pytest.param({"next_at": NOW + HOUR, "hush": Hush.HOURS}, id="quiet hours"),
    ],
)
def test_what_waits_is_sent_now(box: Outbox, waits: dict[str, Any]) -> None:
    put(box, replace(DUE, **waits))
    assert box.claim("me", NOW, limit=9) == []
    assert box.hurry(DUE.key, NOW) == "fake"
    (claim,) = box.claim("me", NOW, limit=9)
    assert claim.entry.hush is Hush.OVERRULED, "or the quiet hours would hold it once more"
    assert box.hurry(DUE.key, NOW) is None, "it is on its way"


def test_it_beats_the_hold_and_speaks_once(act: Act) -> None:
    network = Wall()
    stage = act(network, hold=timedelta(seconds=30))
    stage.hear(title="Drawers")
    stage.run()
    assert network.texts == []
    assert stage.box.hurry(stage.post().entry.key, stage.now)
    stage.run()
    assert len(network.texts) == 1
    later(stage, minutes=5)
    assert len(network.sent) == 1


def test_it_does_not_lead_to_a_stream_that_is_not_there(act: Act) -> None:
    network = Wall()
    stage = act(network, hold=timedelta(seconds=30), watch=Lookout(*["offline"] * 9))  # type: ignore[arg-type]  # equal
    stage.hear(title="Drawers")
    stage.box.hurry(stage.post().entry.key, stage.now)
    stage.run()
    assert network.texts == []
    assert stage.told()[1] == "waits until the stream is up"


class Chat(Fake):
    told_last: ClassVar[bool] = True


def test_it_does_not_wait_for_the_posts_that_it_names(act: Act) -> None:
    other, last = Fake(), Chat()
    other.then(*[TryLater("503", timedelta(minutes=9))] * 3)
    stage = act(other, last)
    stage.hear(title="Drawers")
    stage.run()
    stage.passes(seconds=4)
    stage.run()
    assert stage.told("fake.0")[1] == chat.WAITING
    assert stage.box.hurry(stage.post("fake.0").entry.key, stage.now) == "fake.0"
    stage.run()
    assert len(last.visible) == 1


def test_a_change_that_waits_is_made_now_and_stays_what_it_was(box: Outbox) -> None:
    put(box, to("fake", shown=Moment.LIVE, wanted=None, hush=Hush.TAKEN, next_at=NOW + HOUR))
    assert box.hurry(DUE.key, NOW) == "fake"
    assert stored(box).hush is Hush.TAKEN


@pytest.mark.parametrize("state", [state for state in State if state is not State.DUE])
def test_only_what_waits_is_sent_now(box: Outbox, state: State) -> None:
    put(box, replace(DUE, state=state, next_at=NOW + HOUR))
    assert box.hurry(DUE.key, NOW) is None
    assert stored(box).next_at == NOW + HOUR


def test_no_hand_reaches_what_is_not_there(box: Outbox) -> None:
    for done in (
        box.hurry("b9/live/x", NOW),
        box.mark_sent("b9/live/x", NOW),
        box.take_down("b9/live/x", NOW, NOW),
        box.take_down("'; DROP TABLE posts; --", NOW, NOW),
    ):
        assert done is None


# Tried again


def end(box: Outbox, *, over: bool) -> Entry | None:
    """A word of the end that was withdrawn, of a stream that is over or not, tried again."""
    entry = replace(DUE, key="b1/ended/fake", moment=Moment.ENDED, wanted=None)
    show = replace(SHOW, stopped=NOW if over else None)
    put(box, replace(entry, state=State.WITHDRAWN), show=show)
    return box.retry(entry.key, NOW, NOW + LEASE)


def test_the_end_of_what_is_live_is_not_told_by_hand_either(box: Outbox) -> None:
    assert end(box, over=False) is None


def test_the_end_of_what_is_over_is(box: Outbox) -> None:
    entry = end(box, over=True)
    assert entry
    assert entry.wanted is Moment.ENDED
