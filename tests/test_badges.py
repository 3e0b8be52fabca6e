"""Badges: on beside the announcement while the stream is live, and never in its way."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import PrivateAttr

from announcer import badges
from announcer.contract.fake import Wire, read_timeout
from announcer.events import Kind
from announcer.lateness import lateness
from announcer.network import (
    Card,
    DeliveryError,
    Gone,
    Moment,
    Network,
    Receipt,
    Refused,
    Removes,
    Shines,
    TryLater,
    Unsure,
)
from announcer.networks.bluesky import Bluesky
from announcer.networks.mastodon import Mastodon
from announcer.outbox import LEASE, Shown
from announcer.policy import Broadcast, Decision, Entry, State
from announcer.web.cards import card
from tests.fakes import NOW, Harmless, Stage, Turn, wait_until
from tests.running import Service, payload
from tests.servers.pds import BlueskyAccount
from tests.test_bluesky import CREATE, PUT, session
from tests.test_mastodon import HOME, OUT_OF_SCOPE

Act = Callable[..., Stage]


class Pin(Harmless, Shines):
    """A mark that never ends by itself. `acts` are those that arrived, each with when."""

    wanted: bool = True

    _on: bool = PrivateAttr(default=False)
    _acts: list[tuple[str, datetime]] = PrivateAttr(default_factory=list)
    _beside: list[str] = PrivateAttr(default_factory=list)
    _trouble: list[Exception] = PrivateAttr(default_factory=list)
    _clocks: list[Callable[[], datetime]] = PrivateAttr(default_factory=list)

    @property
    def on(self) -> bool:
        return self._on

    @property
    def acts(self) -> list[str]:
        return [what for what, _ in self._acts]

    @property
    def times(self) -> list[datetime]:
        return [at for _, at in self._acts]

    @property
    def beside(self) -> list[str]:
        return self._beside

    @property
    def wants_badge(self) -> bool:
        return self.wanted

    def trouble(self, *problems: Exception) -> None:
        """What comes next; an Unsure comes after it was done."""
        self._trouble.extend(problems)

    def watched_by(self, clock: Callable[[], datetime]) -> None:
        self._clocks[:] = [clock]

    def take_away(self) -> None:
        self._on = False

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002
        assert self.visible, "it is set before there is anything to set it beside"
        if again and not self._on:
            raise Gone("404")
        self._do("set", on=True)
        self._beside.append(live.id)

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002
        self._do("cleared", on=False)

    def _do(self, what: str, *, on: bool) -> None:
        problem = self._trouble.pop(0) if self._trouble else None
        if problem and not isinstance(problem, Unsure):
            raise problem
        self._acts.append((what, self._clocks[-1]()))
        self._on = on
        if problem:
            raise problem


class Light(Pin):
    """Like Bluesky's live status: ends by itself, and tells the title."""

    badge_lasts: ClassVar[timedelta | None] = timedelta(hours=4)


class Removing(Pin, Removes):
    """Takes its post away at the end, and puts another one up when the stream is back."""

    def remove(self, receipt: Receipt) -> None:  # noqa: ARG002
        self.visible.clear()
        self._on = False

    def identity(self, post: Any) -> object:
        return post.key, post.edition

    def receipt(self, post: Any) -> Receipt:
        return Receipt(f"{post.key}#{post.edition}")


@pytest.fixture
def act(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    stages: list[Stage] = []

    def act(network: Pin, **settings: Any) -> Stage:
        stage = Stage(database_url, {"fake": network}, **settings)
        stages.append(stage)
        network.watched_by(lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def live(act: Act, network: Pin, **settings: Any) -> Stage:
    """A stage with a broadcast that was told, and a badge beside it unless that has trouble."""
    stage = act(network, **settings)
    stage.hear(title="Drawers")
    stage.run()
    stage.run()
    return stage


def later(stage: Stage, **time: float) -> None:
    """Time passes, with a sign of life every hour, and what comes due is done then."""
    target = stage.now + timedelta(**time)
    stage.run()
    while stage.now < target:
        due = stage.box.next_due() or target
        hour = stage.now + timedelta(hours=1)
        stage.now = max(stage.now, min(due, hour, target))
        stage.box.sighted(show(stage), stage.now, None)
        stage.run()
    stage.run()


def show(stage: Stage) -> str:
    return stage.box.history(1)[0][0].id


def badge(stage: Stage) -> Shown:
    [found] = [post for post in stage.box.history(1)[0][1] if post.entry.moment is Moment.BADGE]
    return found


def has_badge(stage: Stage) -> bool:
    return any(post.entry.moment is Moment.BADGE for post in stage.box.history(1)[0][1])


# On while live


def test_it_is_set_once_the_post_is_up_and_beside_that(act: Act) -> None:
    network = Pin()
    network.then(TryLater("503"))
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    assert not has_badge(stage)
    later(stage, minutes=1)
    assert network.on
    receipt = stage.post().receipt
    assert receipt
    assert network.beside == [receipt.id]
    assert badge(stage).entry.key == f"{show(stage)}/badge/fake"


def test_without_the_setting_there_is_none(act: Act) -> None:
    network = Pin(wanted=False)
    stage = live(act, network)
    later(stage, hours=1)
    assert not has_badge(stage)
    assert stage.told() == ("settled", "")


def test_one_that_ends_by_itself_is_renewed_long_before(act: Act) -> None:
    network = Light()
    stage = live(act, network)
    later(stage, hours=13)
    assert network.acts == ["set"] * 4
    gaps = [b - a for a, b in zip(network.times, network.times[1:], strict=False)]
    assert set(gaps) == {timedelta(hours=3, minutes=30)}


def test_one_that_stays_is_set_once(act: Act) -> None:
    network = Pin()
    stage = live(act, network)
    stage.hear(Kind.RETITLED, title="Glue-up")
    later(stage, hours=13)
    assert network.acts == ["set"]


def test_one_that_tells_the_title_is_set_anew_with_a_new_one(act: Act) -> None:
    network = Light()
    stage = live(act, network)
    stage.passes(minutes=20)
    stage.hear(Kind.RETITLED, title="Glue-up")
    later(stage, minutes=1)
    assert network.acts == ["set", "set"]


@pytest.mark.parametrize("kind", [Pin, Light])
@pytest.mark.parametrize("grace", [0, 5])
def test_it_is_cleared_at_the_end_when_the_grace_is_over(
    act: Act, kind: type[Pin], grace: int
) -> None:
    network = kind()
    stage = live(act, network, grace=timedelta(minutes=grace))
    later(stage, hours=1)
    stopped = stage.now
    stage.hear(Kind.STOPPED)
    later(stage, minutes=30)
    assert network.acts == ["set", "cleared"]
    assert network.times[-1] == stopped + timedelta(minutes=grace)
    assert badge(stage).entry.shown is None
    later(stage, hours=9)
    assert len(network.acts) == 2


@pytest.mark.parametrize("kind", [Pin, Light])
def test_a_reconnect_never_clears_it(act: Act, kind: type[Pin]) -> None:
    network = kind()
    stage = live(act, network)
    later(stage, hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=2)
    stage.hear()
    later(stage, hours=3)
    assert network.on
    assert "cleared" not in network.acts
    stage.hear(Kind.STOPPED)
    later(stage, minutes=6)
    assert network.acts[-1] == "cleared"


@pytest.mark.parametrize("kind", [Pin, Light])
def test_it_is_set_again_when_the_stream_is_back(act: Act, kind: type[Pin]) -> None:
    network = kind()
    stage = live(act, network)
    later(stage, hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    stage.hear()
    later(stage, minutes=10)
    assert network.acts == ["set", "cleared", "set"]
    assert len(network.visible) == 1


def test_a_post_that_was_put_up_again_gets_it_too(act: Act) -> None:
    network = Removing(when_ended="remove")
    stage = live(act, network)
    later(stage, hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert not network.visible
    stage.hear()
    later(stage, minutes=10)
    assert network.on
    first, second = network.beside
    assert first != second


def test_a_stop_while_the_post_is_on_its_way_leaves_it_off(act: Act) -> None:
    network, gate = Pin(), threading.Event()
    network.then(Turn(shows=True, gate=gate))
    stage = act(network)
    stage.hear(title="Drawers")
    stage.delivery.run()
    wait_until(lambda: network.sent)
    stage.hear(Kind.STOPPED)
    gate.set()
    wait_until(lambda: not stage.in_flight())
    later(stage, minutes=10)
    assert network.acts == []
    assert badge(stage).entry.state is State.WITHDRAWN
    stage.hear()
    later(stage, minutes=1)
    assert network.on


def test_a_stream_that_nobody_hears_of_any_more_loses_it(act: Act) -> None:
    network = Light()
    stage = live(act, network)
    while stage.now < NOW + timedelta(hours=9):
        stage.now = stage.box.next_due() or NOW + timedelta(hours=9)
        stage.run()
    assert network.acts == ["set", "set", "cleared"]
    assert "no sign of life" in badge(stage).entry.reason


# Trouble


@pytest.mark.parametrize(
    "problem",
    [Refused("422 over the limit"), Refused("403 scope", closes=True), ValueError("ours")],
    ids=["refused", "a missing scope", "a bug of ours"],
)
@pytest.mark.filterwarnings("default")
def test_e23_a_badge_that_is_refused_leaves_everything_else_as_it_is(
    act: Act, problem: Exception
) -> None:
    network = Pin()
    network.trouble(problem)
    stage = live(act, network)
    later(stage, hours=1)
    entry = badge(stage).entry
    assert entry.state is State.FAILED
    assert entry.reason.startswith("not set: ")
    assert stage.told() == ("settled", "")
    assert stage.box.closed() == {}
    stage.hear(Kind.STOPPED)
    later(stage, hours=1)
    assert network.acts == [], "there is nothing to clear"


def test_it_is_tried_again_no_sooner_than_in_a_minute(act: Act) -> None:
    network = Pin()
    network.trouble(TryLater("503"), TryLater("429", timedelta(minutes=7)))
    stage = live(act, network)
    later(stage, seconds=59)
    assert not network.on
    later(stage, minutes=10)
    assert [at - NOW for at in network.times] == [timedelta(minutes=8)]


def test_every_post_goes_before_a_badge(act: Act) -> None:
    network = Pin(when_ended="post")
    network.trouble(TryLater("503", timedelta(minutes=5)))
    stage = live(act, network, grace=timedelta())
    network.trouble(TryLater("503"))
    stage.passes(hours=1)
    stage.run()  # the badge is overdue by now and waits for its next try
    entry = badge(stage).entry
    assert entry.state is State.DUE
    stage.passes(minutes=5)
    assert entry.next_at < stage.now
    # The word of the end comes due after the badge did.
    with stage.box.transaction("default") as stored:
        end = replace(
            stage.post().entry,
            key=f"{show(stage)}/ended/fake",
            moment=Moment.ENDED,
            wanted=Moment.ENDED,
            shown=None,
            state=State.DUE,
            next_at=stage.now,
        )
        stored.put_entries([end], stage.now)
    [first] = stage.box.claim("somebody", stage.now, 10)
    assert first.entry.moment is Moment.ENDED


def test_an_unclear_answer_is_followed_by_a_repeat_and_by_the_end(act: Act) -> None:
    network = Pin()
    network.trouble(Unsure("read timeout"), Unsure("read timeout"))
    stage = live(act, network)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert network.acts[-1] == "cleared"
    assert not network.on


def test_it_is_cleared_when_that_takes_a_few_tries(act: Act) -> None:
    network = Pin()
    stage = live(act, network)
    network.trouble(TryLater("503"), Unsure("timeout"))
    stage.hear(Kind.STOPPED)
    later(stage, minutes=30)
    assert not network.on
    assert (badge(stage).entry.state, badge(stage).entry.shown) == (State.SETTLED, None)


def test_a_clearing_that_never_works_is_given_up_after_a_day(act: Act) -> None:
    network = Pin()
    stage = live(act, network)
    network.trouble(*[TryLater("503", timedelta(hours=5))] * 9)
    stage.hear(Kind.STOPPED)
    later(stage, hours=30)
    assert badge(stage).entry.state is State.FAILED
    assert badge(stage).entry.reason.startswith("not cleared, too late now")


def test_what_a_person_took_away_is_never_set_again(act: Act) -> None:
    network = Light()
    stage = live(act, network)
    network.take_away()
    later(stage, hours=4)
    assert badge(stage).entry.state is State.GONE
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    stage.hear()
    later(stage, hours=4)
    assert network.acts == ["set"]
    assert badge(stage).entry.reason == "a person took it away, so it is left alone"


def crash(stage: Stage, network: Network, *, left: bool) -> None:
    """The process dies with the badge on its way; the next one starts when its lease is over."""
    [claim] = stage.box.claim("the dead", stage.now, 10)
    assert claim.entry.moment is Moment.BADGE
    if left:
        assert stage.box.freeze(claim, None, stage.now)
    stage.start_up({"fake": network})
    stage.passes(seconds=LEASE.total_seconds() + 1)


@pytest.mark.parametrize("left", [False, True])
def test_a_crash_while_it_is_set_is_made_good(act: Act, left: bool) -> None:
    network = Pin()
    stage = act(network)
    stage.hear(title="Drawers")
    network.trouble(TryLater("503"))
    stage.run()
    stage.run()
    stage.passes(minutes=2)
    crash(stage, network, left=left)
    later(stage, minutes=1)
    assert network.on


@pytest.mark.parametrize("left", [False, True])
def test_after_a_crash_and_an_end_it_is_off(act: Act, left: bool) -> None:
    network = Pin()
    network.trouble(TryLater("503"))
    stage = live(act, network)
    stage.passes(minutes=1)
    crash(stage, network, left=left)
    network.take_away() if not left else network._do("set", on=True)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert not network.on
    assert network.acts == (["set", "cleared"] if left else [])


def test_a_restart_forgets_no_badge(act: Act) -> None:
    network = Pin()
    stage = live(act, network)
    stage.start_up({"fake": network})
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert not network.on


def test_switched_off_meanwhile_it_is_cleared(act: Act) -> None:
    network = Light()
    stage = live(act, network)
    off = Light(wanted=False)
    off.watched_by(lambda: stage.now)
    stage.start_up({"fake": off})
    later(stage, hours=4)
    assert off.acts == ["cleared"]
    assert badge(stage).entry.reason == "it is switched off"


def test_a_hand_may_try_it_again(act: Act) -> None:
    network = Pin()
    network.trouble(Refused("422 over the limit"))
    stage = live(act, network)
    assert stage.box.retry(f"{show(stage)}/badge/fake", stage.now, stage.now)
    later(stage, minutes=1)
    assert network.on


def test_a_hand_that_tries_it_after_the_end_sets_nothing(act: Act) -> None:
    network = Pin()
    network.trouble(Refused("422 over the limit"))
    stage = live(act, network)
    stage.hear(Kind.STOPPED)
    later(stage, hours=1)
    assert stage.box.retry(f"{show(stage)}/badge/fake", stage.now, stage.now) is None
    later(stage, minutes=1)
    assert network.acts == []
    assert badge(stage).entry.state is State.FAILED


# The judgement itself, for what can hardly be staged

LIVE = Entry(
    "b/live/n", "b", "c", Moment.LIVE, "n", State.SETTLED, Moment.LIVE, Moment.LIVE, NOW, NOW
)
ON_ITS_WAY = replace(badges.beside(LIVE, NOW), state=State.SENDING)
SOON = NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("decision", "renews", "wanted", "change_at"),
    [
        (Decision("", mood=Moment.ENDED, change_at=SOON), True, None, SOON),
        (Decision("", mood=Moment.LIVE, change_at=SOON), True, Moment.BADGE, SOON),
        (Decision("", mood=Moment.LIVE, change_at=SOON), False, Moment.BADGE, None),
        (Decision("", mood=Moment.LIVE, speak_at=NOW, change_at=SOON), False, Moment.BADGE, SOON),
        (Decision(""), True, Moment.BADGE, None),
    ],
    ids=["an end", "a title", "a title that it does not tell", "a return", "nothing"],
)
def test_what_comes_while_it_is_on_its_way_is_done_afterwards(
    decision: Decision, renews: bool, wanted: Moment | None, change_at: datetime | None
) -> None:
    followed = badges.follow(ON_ITS_WAY, decision, renews=renews)
    assert followed.state is State.SENDING
    assert (followed.wanted, followed.change_at) == (wanted, change_at)


STREAM = Broadcast("b", "c", NOW, NOW, NOW)
MAYBE_ON = replace(ON_ITS_WAY, doubtful_since=NOW, wanted=None)


def test_beside_a_post_that_is_not_up_there_is_nothing_to_set() -> None:
    away = replace(LIVE, shown=None)
    step, because = badges.next_step(ON_ITS_WAY, STREAM, away, NOW, on=True)
    assert (step, because) == (badges.Step.WITHDRAW, "the start is not told here")


@pytest.mark.parametrize(
    ("at", "step"), [(SOON, badges.Step.WAIT), (NOW, badges.Step.DIM)], ids=["during", "after"]
)
def test_what_may_be_on_stays_so_for_the_grace(at: datetime, step: badges.Step) -> None:
    badge = replace(MAYBE_ON, change_at=at)
    assert badges.next_step(badge, STREAM, LIVE, NOW, on=True)[0] is step


def test_an_end_that_came_while_it_was_set_is_told_by_the_table(act: Act) -> None:
    network = Light()
    network.trouble(TryLater("503"))
    stage = live(act, network)
    stage.passes(minutes=1)
    [claim] = stage.box.claim("somebody", stage.now, 10)
    stage.hear(Kind.STOPPED)
    lit = badges.lit(claim.entry, network.badge_lasts, stage.now)
    assert stage.box.store(claim, lit, stage.now, None, None)
    entry = badge(stage).entry
    assert (entry.state, entry.wanted, entry.shown) == (State.DUE, None, Moment.BADGE)
    assert entry.next_at == stage.now + stage.rules.grace


def test_the_page_says_plainly_what_it_is(act: Act) -> None:
    network = Light()
    stage = live(act, network)
    [(broadcast, _)] = stage.box.history(1)
    shown = card(broadcast, badge(stage), network, stage.rules, stage.now)
    assert (shown.title, shown.kind, shown.state, shown.late) == (
        *(network.title, "mark while live"),
        *("on", ""),
    )
    assert lateness(broadcast, badge(stage), stage.rules) == ""
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert card(broadcast, badge(stage), network, stage.rules, stage.now).state == "off"


# Mastodon

AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
CARD = Card("https://live.example.org", "a dovetail drawer", "On now", "Kestrel")
STATUS = Receipt("7", f"{HOME}/@kestrel/7")
LIMIT = {"error": "Validation failed: You have already pinned the maximum number of posts"}


def mastodon() -> Mastodon:
    return Mastodon(api_base_url=HOME, access_token="hush", pin="on")


def test_mastodon_pins_and_unpins_our_own_post(wire: Wire) -> None:
    wire.answers(200, {"id": "7", "pinned": True}, times=2)
    mastodon().shine(STATUS, CARD, AT, again=False)
    mastodon().dim(STATUS, CARD)
    asked = [(sent.request.method, sent.path) for sent in wire.sent]
    assert asked == [("POST", "/api/v1/statuses/7/pin"), ("POST", "/api/v1/statuses/7/unpin")]


def test_a_pin_that_is_there_already_is_a_success(wire: Wire) -> None:
    wire.answers(422, {"error": "Duplicate record"})
    wire.always("GET", "/api/v1/statuses/7", 200, {"id": "7", "pinned": True})
    mastodon().shine(STATUS, CARD, AT, again=False)
    assert [sent.request.method for sent in wire.sent] == ["POST", "GET"], "it looks, once"


@pytest.mark.parametrize(
    ("status", "body", "look", "problem", "words"),
    [
        (422, LIMIT, (200, {"id": "7", "pinned": False}), Refused, "422.*maximum number"),
        (422, LIMIT, (403, OUT_OF_SCOPE), Refused, "422.*maximum number"),
        (403, OUT_OF_SCOPE, None, Refused, "it needs the scope write:accounts"),
        (404, {"error": "Record not found"}, None, Gone, "404"),
        (503, {}, None, TryLater, "503"),
    ],
    ids=["one too many", "nobody may look", "no scope", "the post is gone", "down"],
)
def test_mastodon_says_why_a_post_is_not_pinned(
    wire: Wire,
    status: int,
    body: dict[str, Any],
    look: tuple[int, dict[str, Any]] | None,
    problem: type[DeliveryError],
    words: str,
) -> None:
    wire.answers(status, body)
    if look:
        wire.always("GET", "/api/v1/statuses/7", *look)
    with pytest.raises(problem, match=words):
        mastodon().shine(STATUS, CARD, AT, again=False)


def test_a_pin_without_an_answer_may_be_there(wire: Wire) -> None:
    wire.breaks(read_timeout)
    with pytest.raises(Unsure):
        mastodon().shine(STATUS, CARD, AT, again=False)


def test_nothing_is_left_to_unpin_of_a_deleted_post(wire: Wire) -> None:
    wire.answers(404, {"error": "Record not found"})
    mastodon().dim(STATUS, CARD)
    assert [sent.path for sent in wire.sent] == ["/api/v1/statuses/7/unpin"], "and asks no more"


# Bluesky

LIST, DELETE = "/xrpc/com.atproto.repo.listRecords", "/xrpc/com.atproto.repo.deleteRecord"
RECORD = {
    "$type": "app.bsky.actor.status",
    "status": "app.bsky.actor.status#live",
    "embed": {
        "$type": "app.bsky.embed.external",
        "external": {
            "uri": "https://live.example.org",
            "title": "a dovetail drawer",
            "description": "On now",
        },
    },
    "durationMinutes": 240,
    "createdAt": "2026-11-23T19:15:00.000Z",
}
OTHER = RECORD | {"embed": {"external": {"uri": "https://www.twitch.tv/kestrel"}}}
NAMED = {"repo": "did:plc:kestrel", "collection": "app.bsky.actor.status", "rkey": "self"}


def bluesky(wire: Wire, *records: dict[str, Any]) -> Bluesky:
    """With an account whose status is one of *records*."""
    wire.always("POST", CREATE, 200, session())
    wire.always("GET", LIST, 200, {"records": [{"uri": "at://x", "value": r} for r in records]})
    return Bluesky(identifier="kestrel.example", app_password="abcd", live_badge="on")


def test_bluesky_gets_a_live_status_with_the_link_and_the_title(wire: Wire) -> None:
    network = bluesky(wire)
    wire.answers(200, {"uri": "at://x", "cid": "bafy"})
    network.shine(STATUS, CARD, AT, again=False)
    [put] = wire.asked(PUT)
    assert put.json == {**NAMED, "validate": True, "record": RECORD}
    [looked] = wire.asked(LIST)
    assert looked.request.url is not None
    where = "?repo=did%3Aplc%3Akestrel&collection=app.bsky.actor.status&limit=1"
    assert looked.request.url.endswith(where)


@pytest.mark.parametrize("again", [False, True])
def test_our_live_status_is_renewed(wire: Wire, again: bool) -> None:
    network = bluesky(wire, RECORD)
    wire.answers(200, {"uri": "at://x", "cid": "bafy"})
    network.shine(STATUS, CARD, AT + timedelta(hours=3), again=again)
    [put] = wire.asked(PUT)
    assert put.json["record"]["createdAt"] == "2026-11-23T22:15:00.000Z"


@pytest.mark.parametrize("there", [[], [OTHER]], ids=["cleared", "replaced"])
def test_a_live_status_that_a_person_changed_is_not_set_again(
    wire: Wire, there: list[dict[str, Any]]
) -> None:
    with pytest.raises(Gone):
        bluesky(wire, *there).shine(STATUS, CARD, AT, again=True)
    assert not wire.asked(PUT)


def test_another_live_status_is_left_alone(wire: Wire) -> None:
    network = bluesky(wire, OTHER)
    with pytest.raises(Refused, match="another live status"):
        network.shine(STATUS, CARD, AT + timedelta(hours=3), again=False)
    network.dim(STATUS, CARD)
    assert not wire.asked(PUT)
    assert not wire.asked(DELETE)


def test_another_live_status_that_has_run_out_is_none(wire: Wire) -> None:
    network = bluesky(wire, OTHER)
    wire.answers(200, {"uri": "at://x", "cid": "bafy"})
    network.shine(STATUS, CARD, AT + timedelta(hours=4), again=False)
    assert wire.asked(PUT)


def test_ours_is_deleted_and_only_if_it_is_there(wire: Wire) -> None:
    network = bluesky(wire, RECORD)
    wire.answers(200, {})
    network.dim(STATUS, CARD)
    [deleted] = wire.asked(DELETE)
    assert deleted.json == NAMED
    bluesky(wire).dim(STATUS, CARD)
    assert len(wire.asked(DELETE)) == 1


def test_without_the_address_of_the_stream_there_is_nothing_to_link(wire: Wire) -> None:
    with pytest.raises(Refused, match="OWNCAST_URL"):
        bluesky(wire).shine(STATUS, None, AT, again=False)


def test_a_look_that_fails_has_set_nothing(wire: Wire) -> None:
    network = bluesky(wire)
    wire.always("GET", LIST, 500, {"error": "InternalServerError"})
    with pytest.raises(TryLater):
        network.shine(STATUS, CARD, AT, again=False)


# For real


def test_a_real_account_is_live_while_the_stream_is(
    tmp_path: Path, bluesky_account: BlueskyAccount
) -> None:
    def status() -> dict[str, Any] | None:
        return bluesky_account.record("app.bsky.actor.status", "self")

    settings = {
        "BLUESKY_SERVICE": bluesky_account.service,
        "BLUESKY_IDENTIFIER": bluesky_account.identifier,
        "BLUESKY_APP_PASSWORD": bluesky_account.app_password,
        "BLUESKY_LIVE_BADGE": "on",
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "1s",
        "ANNOUNCER_POLL": "0s",
        "OWNCAST_URL": "https://live.kestrel.example",
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",  # nobody answers at the stream's address
    }
    service = Service(tmp_path, settings)
    service.hear(payload("0.3-stream-started"))
    service.until(status, "the account has no live status")
    record = status()
    assert record
    assert record["value"]["embed"]["external"]["uri"] == "https://live.kestrel.example"
    assert record["value"]["durationMinutes"] == 240
    service.kill()
    service = Service(tmp_path, settings)
    assert status() == record
    service.hear(payload("0.3-stream-stopped"))
    service.until(lambda: status() is None, "the live status stayed")
    states = {key.split("/")[1]: row["state"] for key, row in service.posts().items()}
    service.stop()
    assert states["badge"] == "settled"
    assert len(bluesky_account.posts()) == 2, "the start, and the answer that it is over"
