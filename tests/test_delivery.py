"""The second half: what becomes of a post that is due, whatever the network, the database or the
machine does meanwhile. The audience is the judge: `visible` is what it sees.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from announcer.delivery import AT_ONCE, SHARE
from announcer.events import Kind
from announcer.network import Network, Post, Receipt, Refused, Repeat, TryLater, Unsure
from announcer.outbox import LEASE, Claim, Outbox
from announcer.policy import Sight, State
from tests.fakes import (
    Fake,
    Findable,
    Harmless,
    Lookout,
    Stage,
    Turn,
    Window,
    open_box,
    wait_until,
)

Act = Callable[..., Stage]


@pytest.fixture
def act(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """Makes the stage: destinations are called `fake`, or like their classes if there are several.

    The jitter is always a half: the first wait is 1 s, the second 2 s.
    """
    stages: list[Stage] = []

    def act(*networks: Network, **settings: Any) -> Stage:
        names = ["fake"] if len(networks) == 1 else [type(n).__name__.lower() for n in networks]
        told = dict(zip(names, networks, strict=True))
        stage = Stage(database_url, told, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def texts(network: Fake) -> list[str]:
    return [post.text for post in network.visible]


# The plain way


def test_a_start_is_published_once_with_its_receipt(act: Act) -> None:
    network = Fake()
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    stage.run()
    assert texts(network) == ["🔴 Kestrel is live: Drawers\n\nhttps://live.example.org"]
    shown = stage.post()
    assert stage.told() == ("settled", "")
    assert shown.entry.shown == "live"
    assert shown.receipt == Receipt(
        f"id of {texts(network)[0]}", "https://fake.test/1", {"cid": "7"}
    )
    assert [(t.step, t.outcome) for t in shown.tries] == [("publish", "delivered")]


def test_it_is_worded_when_it_is_sent_so_a_title_corrected_during_the_hold_is_right(
    act: Act,
) -> None:
    network = Fake()
    stage = act(network, hold=timedelta(seconds=30))
    stage.hear(title="Yesterday's title")
    assert stage.run() == stage.now + timedelta(seconds=30)
    assert network.sent == []
    stage.passes(seconds=20)
    stage.hear(Kind.RETITLED, title="Drawers")
    stage.passes(seconds=10)
    stage.run()
    assert "Drawers" in texts(network)[0]


def test_a_destination_that_is_not_configured_fails_and_the_others_are_served(act: Act) -> None:
    fake, harmless = Fake(), Harmless()
    stage = act(fake, harmless)
    stage.hear()
    stage.start_up({"harmless": harmless})
    stage.run()
    assert stage.told("fake") == ("failed", "this destination is not configured")
    assert stage.told("harmless") == ("settled", "")


# A clear no


def test_try_later_is_due_again_after_a_backoff_that_doubles(act: Act) -> None:
    network = Fake()
    network.then(TryLater("503"), TryLater("503"))
    stage = act(network)
    stage.hear()
    assert stage.run() is not None
    assert stage.told() == ("due", "503")
    assert stage.post().entry.next_at == stage.now + timedelta(seconds=1)
    stage.passes(seconds=1)
    stage.run()
    assert stage.post().entry.next_at == stage.now + timedelta(seconds=2)
    stage.passes(seconds=2)
    stage.run()
    assert stage.told() == ("settled", "")
    assert [t.outcome for t in stage.post().tries] == ["TryLater", "TryLater", "delivered"]
    assert len(network.visible) == 1


def test_it_stays_away_for_as_long_as_the_network_asked(act: Act) -> None:
    network = Fake()
    network.then(TryLater("429", timedelta(seconds=90)))
    stage = act(network)
    stage.hear()
    stage.run()
    assert stage.run() == stage.now + timedelta(seconds=90)
    assert len(network.sent) == 1


def test_e13_a_wait_past_the_deadline_is_not_waited_for(act: Act) -> None:
    network = Fake()
    network.then(TryLater("429", timedelta(hours=1)))
    stage = act(network)
    stage.hear()
    stage.run()
    assert stage.told() == ("failed", "too late to try again: 429")


def test_a_refusal_fails_with_the_networks_reason_and_the_others_are_served(act: Act) -> None:
    network, harmless = Fake(), Harmless()
    network.then(Refused("422 text is too long"))
    stage = act(network, harmless)
    stage.hear()
    stage.run()
    assert stage.told("fake") == ("failed", "422 text is too long")
    assert stage.told("harmless") == ("settled", "")
    assert stage.box.closed() == {}


def test_no_secret_gets_into_the_reason(act: Act) -> None:
    network = Fake()
    network.then(Refused("400 bad token first password"))
    stage = act(network)
    stage.hear()
    stage.run()
    assert stage.told() == ("failed", "400 bad token ***")
    assert stage.post().tries[0].reason == "400 bad token ***"


def test_each_definite_no_gets_a_new_wire_key_since_some_servers_replay_it(act: Act) -> None:
    network = Window()
    network.then(TryLater("503"))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(seconds=1)
    stage.run()
    first, second = network.sent
    assert (first.wire_key, second.wire_key) == (f"{first.key}#0", f"{first.key}#1")


# A closed account (E16, E18)


def closed_stage(act: Act, network: Fake) -> Stage:
    network.then(Refused("401 invalid token", closes=True))
    stage = act(network)
    stage.hear()
    stage.run()
    assert stage.told() == ("failed", "401 invalid token")
    stage.passes(hours=7)
    stage.hear()
    return stage


def test_a_closed_account_is_never_called_again_even_after_a_restart(act: Act) -> None:
    network = Fake()
    stage = closed_stage(act, network)
    stage.start_up({"fake": network})
    stage.run()
    assert stage.told() == ("failed", "closed until its credentials change: 401 invalid token")
    assert len(network.sent) == 1


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"token": "second password"}, id="another password"),
        pytest.param({"handle": "kestrel.example"}, id="another name, which was the wrong part"),
    ],
)
def test_it_is_open_again_once_its_settings_change(act: Act, changed: dict[str, str]) -> None:
    stage = closed_stage(act, Fake())
    mended = Fake.model_validate(changed)
    stage.start_up({"fake": mended})
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(mended.visible) == 1


# No clear answer: it may be up


UP = Turn(Unsure("no answer in time"), shows=True)
LOST = Turn(Unsure("no answer in time"))


@pytest.mark.parametrize("turn", [UP, LOST], ids=["it is up", "it is not up"])
def test_harmless_to_repeat_means_the_same_bytes_with_the_same_key(act: Act, turn: Turn) -> None:
    network = Harmless()
    network.then(turn)
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    assert stage.told() == ("due", "no answer in time")
    stage.hear(Kind.RETITLED, title="Changed meanwhile")
    stage.passes(seconds=1)
    stage.run()
    first, second = network.sent
    assert (first.text, first.wire_key, first.worded_at, first.card) == (
        second.text,
        second.wire_key,
        second.worded_at,
        second.card,
    )
    assert second.doubtful_since is not None
    assert stage.told() == ("settled", "")
    assert len(network.visible) == 1


@pytest.mark.parametrize("kind", [Findable, Window])
def test_it_looks_first_and_adopts_what_is_up(act: Act, kind: type[Findable]) -> None:
    network = kind()
    network.then(UP)
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(seconds=1)
    stage.run()
    assert stage.told() == ("settled", "")
    assert stage.post().receipt == network.receipt(network.visible[0])
    assert (len(network.sent), len(network.visible), len(network.looks)) == (1, 1, 1)


@pytest.mark.parametrize("kind", [Findable, Window])
def test_what_is_not_up_is_sent_again_the_same_with_the_same_key(
    act: Act, kind: type[Findable]
) -> None:
    network = kind()
    network.then(LOST)
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    stage.hear(Kind.RETITLED, title="Changed meanwhile")
    stage.passes(seconds=1)
    stage.run()
    first, second = network.sent
    assert (first.text, first.wire_key) == (second.text, second.wire_key)
    assert len(network.visible) == 1
    outcomes = [(t.step, t.outcome) for t in stage.post().tries]
    assert ("publish", "Unsure") in outcomes
    assert ("publish", "delivered") in outcomes


def test_while_nobody_can_look_nothing_is_sent(act: Act) -> None:
    network = Findable()
    network.then(UP)
    network.blind(TryLater("503"), TryLater("503"))
    stage = act(network)
    stage.hear()
    for _ in range(4):
        stage.run()
        stage.passes(seconds=5)
    assert stage.told() == ("settled", "")
    assert (len(network.sent), len(network.looks)) == (1, 3)


def test_a_bug_in_the_look_holds_up_nothing(act: Act) -> None:
    network = Findable()
    network.then(UP)
    network.blind(KeyError("created_at"))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(seconds=1)
    stage.run()
    assert stage.told() == ("due", "our own mistake while looking (KeyError)")
    stage.passes(seconds=5)
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(network.visible) == 1


def test_a_look_that_is_never_answered_ends_as_unsure_at_the_deadline(act: Act) -> None:
    network = Findable()
    network.then(UP)
    network.blind(*[TryLater("503")] * 30)
    stage = act(network)
    stage.hear()
    for _ in range(30):
        stage.run()
        stage.passes(minutes=3)
    state, reason = stage.told()
    assert state == "unsure"
    assert reason == "may be posted, look first: too late to try again: 503"
    assert len(network.sent) == 1


@pytest.mark.parametrize("turn", [UP, LOST], ids=["it is up", "it is not up"])
def test_where_a_repeat_doubles_it_is_left_to_a_person(act: Act, turn: Turn) -> None:
    network = Fake()
    network.then(turn)
    stage = act(network)
    stage.hear()
    for _ in range(3):
        stage.run()
        stage.passes(minutes=5)
    assert stage.told() == ("unsure", "may be posted, look first: no answer in time")
    assert len(network.sent) == 1


def test_the_operator_may_choose_the_other_risk(act: Act) -> None:
    network = Fake(when_unsure="repeat")
    network.then(LOST)
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    stage.hear(Kind.RETITLED, title="Changed meanwhile")
    stage.passes(seconds=1)
    stage.run()
    assert stage.told() == ("settled", "")
    assert [post.text for post in network.sent] == [network.visible[0].text] * 2


def test_a_bug_in_a_network_is_unsure_and_never_lost(act: Act) -> None:
    network, harmless = Fake(), Harmless()
    network.then(Turn(KeyError("id"), shows=True))
    stage = act(network, harmless)
    stage.hear()
    stage.run()
    reason = "may be posted, look first: our own mistake after sending (KeyError)"
    assert stage.told("fake") == ("unsure", reason)
    assert stage.told("harmless") == ("settled", "")


class Clumsy(Fake):
    """Of which something of ours breaks before anything is sent."""

    breaks: list[int]

    def limit(self) -> int:
        return 1 // self.breaks.pop() if self.breaks else super().limit()


def test_a_bug_before_anything_left_is_said_and_tried_again(act: Act) -> None:
    network = Clumsy(breaks=[0])
    stage = act(network)
    stage.hear()
    stage.run()
    assert stage.told() == ("due", "our own mistake before sending (ZeroDivisionError)")
    assert not network.sent
    stage.passes(seconds=5)
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(network.sent) == 1


def test_a_bug_that_stays_ends_with_the_time_to_tell_and_nothing_is_doubted(act: Act) -> None:
    network = Clumsy(breaks=[0] * 1000)
    stage = act(network)
    stage.hear()
    for _ in range(40):
        stage.run()
        stage.passes(minutes=1)
    assert stage.told() == (
        "failed",
        "too late to try again: our own mistake before sending (ZeroDivisionError)",
    )
    assert not network.sent


def test_what_was_surely_not_posted_is_worded_anew(act: Act) -> None:
    network = Fake()
    network.then(TryLater("503"))
    stage = act(network)
    stage.hear(title="Yesterday's title")
    stage.run()
    stage.hear(Kind.RETITLED, title="Drawers")
    stage.passes(seconds=1)
    stage.run()
    assert "Drawers" in texts(network)[0]


# The stream stops meanwhile (D08)


def test_d08_a_stop_while_it_is_due_withdraws_it(act: Act) -> None:
    network = Fake()
    network.then(TryLater("503"))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(seconds=1)
    stage.hear(Kind.STOPPED)
    assert stage.told() == ("withdrawn", "the stream stopped before it was told")
    stage.passes(minutes=1)
    stage.run()
    assert network.visible == []


@pytest.mark.parametrize(
    ("turn", "state"),
    [
        pytest.param(Turn(shows=True), "settled", id="and it arrives: it is up"),
        pytest.param(Turn(TryLater("503")), "withdrawn", id="and it is put off: nobody was told"),
        pytest.param(Turn(Refused("422")), "failed", id="and it is refused"),
    ],
)
def test_d08_a_stop_while_it_is_on_its_way_waits_for_what_comes_of_it(
    act: Act, turn: Turn, state: str
) -> None:
    network, gate = Fake(), threading.Event()
    network.then(Turn(turn.problem, turn.shows, gate))
    stage = act(network)
    stage.hear()
    stage.delivery.run()
    wait_until(lambda: network.sent)
    stage.passes(seconds=1)
    stage.hear(Kind.STOPPED)
    gate.set()
    wait_until(lambda: not stage.in_flight())
    stage.passes(minutes=1)
    stage.run()
    assert stage.told()[0] == state
    assert len(network.sent) == 1


class Keyed(Findable):
    """Like Bluesky: a repeat is harmless, but out of place when the stream is over."""

    repeat = Repeat.HARMLESS


@pytest.mark.parametrize("kind", [Findable, Keyed])
@pytest.mark.parametrize("turn", [UP, LOST], ids=["it is up", "it is not up"])
def test_after_a_stop_it_only_looks_and_publishes_nothing(
    act: Act, turn: Turn, kind: type[Findable]
) -> None:
    network = kind()
    network.then(turn)
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(seconds=1)
    stage.hear(Kind.STOPPED)
    stage.passes(seconds=1)
    stage.run()
    assert stage.told()[0] == ("settled" if turn is UP else "withdrawn")
    assert (len(network.sent), len(network.looks)) == (1, 1)


# Limits


def test_nothing_is_started_after_the_deadline(act: Act) -> None:
    network = Fake()
    network.then(TryLater("503", timedelta(minutes=29)))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(minutes=30, seconds=1)
    stage.run()
    assert stage.told() == ("failed", "too late: 503")
    assert len(network.sent) == 1


def test_a_look_that_takes_past_the_deadline_starts_nothing_after_it(act: Act) -> None:
    stage: Stage

    class Slow(Findable):
        def find(self, post: Post) -> Receipt | None:
            stage.passes(minutes=5)
            return super().find(post)

    network = Slow()
    network.then(LOST)
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(minutes=26)
    stage.run()
    assert stage.told()[0] == "unsure"
    assert len(network.sent) == 1


def test_the_budget_of_a_day_counts_every_try_and_is_never_passed(act: Act) -> None:
    network = Fake(budget=2)
    network.then(TryLater("503"))
    stage = act(network)
    stage.hear()
    for _ in range(2):
        stage.run()
        stage.passes(seconds=1)
    assert stage.told() == ("settled", "")
    stage.passes(hours=7)
    stage.hear()
    stage.run()
    assert stage.told() == ("failed", "the budget of 2 posts a day is spent")
    stage.passes(hours=18)
    stage.hear()
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(network.sent) == 3


# Is the stream really up?


HOLD = timedelta(seconds=30)


def waits(act: Act, *sights: Sight, hold: timedelta = HOLD, give: int = 0) -> tuple[Stage, Fake]:
    network = Fake()
    network.then(*[TryLater("503")] * give)
    stage = act(network, watch=Lookout(*sights), hold=hold)
    stage.hear()
    stage.passes(seconds=hold.total_seconds())
    stage.run()
    return stage, network


@pytest.mark.parametrize("sight", [Sight.ONLINE, Sight.UNREACHABLE])
def test_it_speaks_after_the_hold_if_nothing_speaks_against_it(act: Act, sight: Sight) -> None:
    stage, network = waits(act, sight)
    assert stage.told() == ("settled", "")
    assert "#woodwork" in texts(network)[0]


@pytest.mark.parametrize("sight", [Sight.OFFLINE, Sight.CONNECTED])
def test_it_waits_for_the_stream_and_waiting_is_no_try(act: Act, sight: Sight) -> None:
    stage, network = waits(act, sight, sight, sight, Sight.ONLINE)
    for _ in range(3):
        assert stage.told() == ("due", "waits until the stream is up")
        assert stage.post().entry.tries == 0
        stage.passes(seconds=3)
        stage.run()
    assert stage.told() == ("settled", "")
    assert (stage.post().entry.tries, len(network.sent)) == (1, 1)


def test_d15_a_stream_that_stays_offline_is_not_announced(act: Act) -> None:
    stage, network = waits(act, Sight.OFFLINE)
    stage.passes(seconds=30)
    stage.run()
    assert stage.told() == ("withdrawn", "Owncast says that the stream is offline")
    assert network.sent == []


def test_a_stream_that_warms_up_for_ever_is_announced_after_twice_the_hold(act: Act) -> None:
    stage, _ = waits(act, Sight.CONNECTED)
    stage.passes(seconds=30)
    stage.run()
    assert stage.told() == ("settled", "")


def test_without_a_hold_it_speaks_at_once_whatever_owncast_says_yet(act: Act) -> None:
    stage, _ = waits(act, Sight.OFFLINE, hold=timedelta())
    assert stage.told() == ("settled", "")


def test_without_a_hold_a_later_try_does_look(act: Act) -> None:
    stage, network = waits(act, Sight.OFFLINE, hold=timedelta(), give=1)
    stage.passes(seconds=1)
    stage.run()
    assert stage.told() == ("withdrawn", "Owncast says that the stream is offline")
    assert len(network.sent) == 1


# After a crash: what a dead process held


def dies_after_sending(act: Act, network: Fake, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The network has taken the post, and the process dies before it stores the receipt."""
    stage = act(network)
    stage.hear(title="Drawers")
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "store", _dies)
        stage.delivery.run()
        wait_until(lambda: network.visible and stage.delivery.stop(0))
    assert stage.in_flight() == ["fake"]
    stage.start_up({"fake": network})
    return stage


def _dies(*_: object) -> bool:
    raise SystemExit  # ends that thread and nothing else, like a kill


def test_what_never_left_is_sent_as_if_nothing_had_been(act: Act) -> None:
    network = Fake()
    stage = act(network)
    stage.hear()
    stage.box.claim("dead", stage.now, limit=9)
    stage.delivery.run()
    assert network.sent == []
    stage.passes(seconds=LEASE.total_seconds() + 1)
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(network.visible) == 1


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        pytest.param(Harmless, "settled", id="harmless: the same again, folded"),
        pytest.param(Findable, "settled", id="findable: found and adopted"),
        pytest.param(Window, "settled", id="window: found and adopted"),
        pytest.param(Fake, "unsure", id="doubles: a person must look"),
    ],
)
def test_a_crash_between_accepting_and_the_receipt_leaves_one_visible_post(
    act: Act, kind: type[Fake], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = kind()
    stage = dies_after_sending(act, network, monkeypatch)
    stage.hear(Kind.RETITLED, title="Changed meanwhile")
    stage.passes(seconds=LEASE.total_seconds() + 1)
    for _ in range(3):
        stage.run()
        stage.passes(seconds=2)
    assert stage.told()[0] == state
    assert len(network.visible) == 1
    assert len({post.text for post in network.sent}) == 1


def test_a_lease_in_good_hands_is_left_alone(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Fake()
    stage = dies_after_sending(act, network, monkeypatch)
    stage.delivery.run()
    stage.passes(seconds=LEASE.total_seconds() - 1)
    stage.delivery.run()
    assert stage.in_flight() == ["fake"]
    assert len(network.sent) == 1


def test_a_process_that_slept_past_its_lease_sends_nothing_when_it_wakes(act: Act) -> None:
    """SIGSTOP between the claim and the first byte, while another process goes on (G07)."""
    asleep, awake = threading.Event(), threading.Event()

    class Slow(Fake):
        def limit(self) -> int:
            asleep.set()
            assert awake.wait(10)
            return super().limit()

    slow, quick = Slow(), Fake()
    stage = act(slow)
    stage.hear()
    stage.delivery.run()
    assert asleep.wait(10)
    stage.passes(seconds=LEASE.total_seconds() + 1)
    stage.start_up({"fake": quick})
    stage.run()
    awake.set()
    assert stage.deliveries[0].stop(10)
    assert (len(slow.sent), len(quick.sent)) == (0, 1)
    assert stage.told() == ("settled", "")


# The database fails (B02)


FULL = {
    "sqlite": [
        "CREATE TRIGGER full_disk BEFORE UPDATE ON posts WHEN NEW.state = 'settled' "
        "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER full_disk BEFORE UPDATE ON posts FOR EACH ROW "
        "WHEN (NEW.state = 'settled') EXECUTE FUNCTION full_disk()",
    ],
}


def refuse_receipts(box: Outbox) -> None:
    """As a full disk would: whatever a network answered can not be stored."""
    with box.engine.begin() as connection:
        for statement in FULL[box.engine.dialect.name]:
            connection.execute(sa.text(statement))


def accept_receipts(box: Outbox) -> None:
    where = " ON posts" if box.engine.dialect.name == "postgresql" else ""
    with box.engine.begin() as connection:
        connection.execute(sa.text(f"DROP TRIGGER full_disk{where}"))


def test_a_receipt_that_can_not_be_stored_is_kept_until_it_can_and_nothing_is_sent_twice(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.outcome.STORE_AGAIN", (0.01,))
    network = Fake()
    stage = act(network)
    stage.hear()
    refuse_receipts(stage.box)
    stage.delivery.run()
    wait_until(lambda: network.visible)
    stage.passes(seconds=LEASE.total_seconds() + 1)
    for _ in range(3):
        stage.delivery.run()
    assert stage.in_flight() == ["fake"]
    accept_receipts(stage.box)
    wait_until(lambda: stage.told() == ("settled", ""))
    assert stage.post().receipt is not None
    assert len(network.sent) == 1


def test_a_stop_does_not_wait_for_a_database_that_stays_away(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.outcome.STORE_AGAIN", (0.01,))
    network = Fake()
    stage = act(network)
    stage.hear()
    refuse_receipts(stage.box)
    stage.delivery.run()
    wait_until(lambda: network.visible)
    assert stage.delivery.stop(10)
    assert stage.in_flight() == ["fake"]  # so the next start finds out


def test_a_database_that_fails_before_the_send_sends_nothing(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("disk I/O error"))

    network = Fake()
    stage = act(network)
    stage.hear()
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "freeze", fails)
        stage.run()
    assert network.sent == []
    stage.run()
    assert stage.told() == ("settled", "")


def test_a_lost_lease_is_noticed_right_before_the_first_byte(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(self: Outbox, claim: Claim, content: str, left: Any) -> bool:
        other = open_box(stage.place)
        (taken,) = other.abandoned("another", stage.now + 2 * LEASE)
        other.engine.dispose()
        assert taken.entry.key == claim.entry.key
        return bool(freeze(self, claim, content, left))

    freeze = Outbox.freeze
    monkeypatch.setattr(Outbox, "freeze", too_late)
    network = Fake()
    stage = act(network)
    stage.hear()
    stage.delivery.run()
    assert stage.delivery.stop(10)
    assert network.sent == []
    assert stage.in_flight() == ["fake"]  # it is another's now


def test_a_stop_that_comes_while_the_post_is_being_worded_is_heeded(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(self: Outbox, *args: Any) -> datetime | None:
        stage.hear(Kind.STOPPED)
        return freeze(self, *args)

    freeze = Outbox.freeze
    network = Fake()
    stage = act(network)
    stage.hear()
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "freeze", stops)
        stage.run()
    assert network.sent == []
    stage.run()
    assert stage.told() == ("withdrawn", "the stream stopped before it was told")
    assert stage.post().entry.tries == 1  # the one that found that out


# Many at once


def test_one_hanging_network_delays_no_other(act: Act) -> None:
    gate = threading.Event()
    fake, harmless, findable = Fake(), Harmless(), Findable()
    fake.then(Turn(shows=True, gate=gate))
    stage = act(fake, harmless, findable)
    stage.hear()
    stage.delivery.run()
    wait_until(lambda: stage.in_flight() == ["fake"])
    assert (stage.told("harmless"), stage.told("findable")) == (("settled", ""),) * 2
    gate.set()
    wait_until(lambda: stage.told("fake") == ("settled", ""))


def test_a_hanging_network_gets_nothing_else_meanwhile(act: Act) -> None:
    gate, network = threading.Event(), Fake()
    network.then(Turn(shows=True, gate=gate))
    stage = act(network)
    stage.hear()
    stage.delivery.run()
    wait_until(lambda: network.sent)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    stage.passes(hours=1)
    stage.hear()
    stage.delivery.run()
    assert stage.told() == ("due", "")
    gate.set()
    wait_until(lambda: not stage.delivery.run() or len(network.visible) == 2)
    assert len(network.visible) == 2


# Stopping


def test_a_stop_lets_what_is_on_its_way_arrive(act: Act) -> None:
    gate, network = threading.Event(), Fake()
    network.then(Turn(shows=True, gate=gate))
    stage = act(network)
    stage.hear()
    stage.delivery.run()
    wait_until(lambda: network.sent)
    assert not stage.delivery.stop(0.05)
    gate.set()
    assert stage.delivery.stop(10)
    assert stage.told() == ("settled", "")


def test_after_a_stop_nothing_is_started(act: Act) -> None:
    network = Fake()
    stage = act(network)
    stage.hear()
    assert stage.delivery.stop(10)
    assert stage.delivery.run() is None
    assert network.sent == []
    assert stage.told() == ("due", "")


def test_a_stop_in_the_middle_of_claiming_hands_the_post_back(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(self: Outbox, *args: Any, **kwargs: Any) -> list[Claim]:
        claims = claiming(self, *args, **kwargs)
        stage.delivery.stop(0)
        return claims

    claiming = Outbox.claim
    monkeypatch.setattr(Outbox, "claim", claim)
    network = Fake()
    stage = act(network)
    stage.hear()
    assert stage.delivery.run() is None
    assert network.sent == []
    assert stage.told() == ("due", "")


def test_a_try_that_begins_while_the_one_before_is_just_ending_is_waited_for_too(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, network = threading.Event(), Harmless()
    network.then(Unsure("500"), Turn(shows=True, gate=gate))
    stage = act(network)
    monkeypatch.setattr("announcer.attempt.dice", lambda: 0.0)

    def store(self: Outbox, *args: Any) -> bool:
        stored = storing(self, *args)
        if len(network.sent) == 1:
            stage.delivery.run()
            wait_until(lambda: len(network.sent) == 2)
        return stored

    storing = Outbox.store
    monkeypatch.setattr(Outbox, "store", store)
    stage.hear()
    stage.delivery.run()
    wait_until(lambda: len(network.sent) == 2)
    assert not stage.delivery.stop(0.2)
    gate.set()
    assert stage.delivery.stop(10)
    assert stage.told() == ("settled", "")


def test_accounts_on_one_dead_network_leave_threads_to_the_others(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, and although they were due before the other one."""
    gate = threading.Event()
    dead: dict[str, Network] = {f"dead.{n}": Fake() for n in range(SHARE + AT_ONCE + 5)}
    for network in dead.values():
        assert isinstance(network, Fake)
        network.then(Turn(shows=True, gate=gate))
    alive = Fake()
    stage = Stage(database_url, dead | {"fake": alive})
    monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
    stage.hear()
    try:
        assert stage.delivery.run() is None  # whoever is done wakes it
        wait_until(lambda: alive.visible)
        assert SHARE <= len(stage.in_flight()) < SHARE + AT_ONCE
    finally:
        gate.set()
    wait_until(lambda: not stage.in_flight())
    stage.run()
    assert {post.entry.state for post in stage.posts().values()} == {State.SETTLED}
    stage.close()
