"""The judgement, rule by rule: each row's id is the rule in plain words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from announcer.events import Event, Kind
from announcer.network import DeliveryError, Gone, Moment, Refused, Repeat, TryLater, Unsure
from announcer.policy import (
    FORGOTTEN,
    LOOK_AGAIN,
    MERGE,
    REORDERED,
    Broadcast,
    Decision,
    Ending,
    Entry,
    Manners,
    NotLive,
    Past,
    Rules,
    Sight,
    State,
    Step,
    after,
    backoff,
    decide,
    entry_for,
    failed,
    follow,
    next_step,
    settled,
    wait_for_stream,
    withdrawn,
)

RULES = Rules()
LEAVES = Manners(Ending.LEAVE, retitles=False, removes=False)
HOLD, GIVE_UP, RESUME = RULES.hold, RULES.give_up, RULES.resume
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


def at(seconds: float = 0, *, minutes: float = 0, hours: float = 0) -> datetime:
    """By our clock."""
    moment = timedelta(seconds=seconds, minutes=minutes, hours=hours)
    return datetime(2026, 11, 23, 19, 0, tzinfo=UTC) + moment


def theirs(seconds: float = 0, *, minutes: float = 0, hours: float = 0) -> datetime:
    """The same moment by Owncast's clock, which is four minutes fast."""
    return at(seconds, minutes=minutes + 4, hours=hours)


def start(when: datetime, stamp: datetime | None = None, **what: object) -> Event:
    told = {"stamp": stamp, "connected": stamp, "title": "Drawers", "name": "Kestrel"}
    return Event(id="e", channel="default", kind=Kind.STARTED, at=when, **told | what)  # type: ignore[arg-type]


def stop(when: datetime, stamp: datetime | None = None, peak: int | None = None) -> Event:
    return Event(
        id="e", channel="default", kind=Kind.STOPPED, at=when, stamp=stamp, peak_viewers=peak
    )


def retitle(when: datetime, title: str, stamp: datetime | None = None) -> Event:
    return Event(id="e", channel="default", kind=Kind.RETITLED, at=when, stamp=stamp, title=title)


LIVE = Broadcast(
    id="b1",
    channel="default",
    began=at(),
    since=at(),
    seen=at(),
    stamp=theirs(),
    connected=theirs(),
    title_stamp=theirs(),
    name="Kestrel",
    title="Drawers",
)
OLD = replace(LIVE, stamp=None, connected=None, title_stamp=None)
"""The same, of an Owncast that tells no times (before 0.0.9)."""
OVER = replace(LIVE, stopped=at(hours=1), seen=at(hours=1), peak_viewers=17)
AFTER = Past(OVER, theirs(hours=1), at(hours=1))


def spoken(because: str, broadcast: Broadcast, when: datetime) -> Decision:
    return Decision(
        because,
        broadcast,
        Moment.LIVE,
        speak_at=when + HOLD,
        until=when + GIVE_UP,
        change_at=when + HOLD,
    )


def stopped(broadcast: Broadcast) -> Decision:
    assert broadcast.stopped
    at = broadcast.stopped + RULES.grace
    return Decision("the stream stopped", broadcast, Moment.ENDED, change_at=at)


def retitled(broadcast: Broadcast) -> Decision:
    at = broadcast.seen + MERGE
    until = broadcast.seen + GIVE_UP
    return Decision("a new title", broadcast, Moment.LIVE, until=until, change_at=at)


def back(past: Past, when: datetime, stamp: datetime | None, **what: object) -> Broadcast:
    """The broadcast of *past*, live again by a connection of *when*."""
    assert past.broadcast
    told = {"since": when, "seen": when, "stopped": None, "stamp": stamp, "connected": stamp}
    title_stamp = stamp or past.broadcast.title_stamp
    return replace(past.broadcast, **told | {"title_stamp": title_stamp} | what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("past", "event", "expected"),
    [
        pytest.param(
            Past(LIVE),
            start(at(2), theirs()),
            Decision("a repeat: this connection is known"),
            id="a second webhook for a connection that is known is a repeat",
        ),
        pytest.param(
            Past(LIVE, theirs(-3), at(1)),
            start(at(2), theirs(-60)),
            Decision("a late start: this connection has ended already"),
            id="a start that was overtaken by its own stop announces nothing",
        ),
        pytest.param(
            Past(None, theirs(5), at(5)),
            start(at(6), theirs()),
            Decision("a late start: this connection has ended already"),
            id="D04: the very first thing heard is the stop of it",
        ),
        pytest.param(
            Past(LIVE),
            start(at(2), theirs(-60)),
            Decision("a late start: a newer connection is known"),
            id="a start that was overtaken by the next one announces nothing",
        ),
        pytest.param(
            AFTER,
            start(at(20, hours=1), theirs(20, hours=1)),
            spoken(
                "back after 20 s: the same broadcast",
                back(AFTER, at(20, hours=1), theirs(20, hours=1)),
                at(20, hours=1),
            ),
            id="a stream that is back soon was never gone",
        ),
        pytest.param(
            AFTER,
            start(at(hours=1) + RESUME, theirs(hours=1) + RESUME),
            spoken(
                "back after 1800 s: the same broadcast",
                back(AFTER, at(hours=1) + RESUME, theirs(hours=1) + RESUME),
                at(hours=1) + RESUME,
            ),
            id="back in the last moment of the resume",
        ),
        pytest.param(
            replace(AFTER, stop_stamp=theirs(minutes=75), stop_at=at(minutes=75)),
            start(at(minutes=100), theirs(minutes=100)),
            spoken(
                "back after 1500 s: the same broadcast",
                back(AFTER, at(minutes=100), theirs(minutes=100)),
                at(minutes=100),
            ),
            id="the resume counts from the last stop, though its start was never heard",
        ),
        pytest.param(
            Past(replace(OLD, stopped=at(minutes=10)), None, at(minutes=10)),
            start(at(minutes=11)),
            spoken(
                "back after 60 s: the same broadcast",
                replace(OLD, since=at(minutes=11), seen=at(minutes=11)),
                at(minutes=11),
            ),
            id="an Owncast without times resumes by our clock",
        ),
        pytest.param(
            AFTER,
            start(at(20, hours=1), theirs(20, hours=1), title="", name=""),
            spoken(
                "back after 20 s: the same broadcast",
                back(AFTER, at(20, hours=1), theirs(20, hours=1)),
                at(20, hours=1),
            ),
            id="an empty title is none, not a wish for none",
        ),
        pytest.param(
            AFTER,
            start(at(20, hours=1), theirs(20, hours=1), title="Chairs"),
            spoken(
                "back after 20 s: the same broadcast",
                back(AFTER, at(20, hours=1), theirs(20, hours=1), title="Chairs"),
                at(20, hours=1),
            ),
            id="a resumed stream may have another title",
        ),
        pytest.param(
            Past(LIVE),
            start(at(minutes=10), theirs(minutes=10)),
            spoken(
                "connected again without a stop: the same broadcast",
                back(Past(LIVE), at(minutes=10), theirs(minutes=10)),
                at(minutes=10),
            ),
            id="connected again, and the stop was lost",
        ),
        pytest.param(
            Past(OLD),
            start(at(1)),
            spoken(
                "connected again without a stop: the same broadcast",
                replace(OLD, since=at(1), seen=at(1)),
                at(1),
            ),
            id="a copy that no id or time gives away is folded into its broadcast",
        ),
    ],
)
def test_a_start_that_is_no_news(past: Past, event: Event, expected: Decision) -> None:
    assert decide(event, past, RULES, event.at) == expected


NEW = "a new broadcast"


@pytest.mark.parametrize(
    ("past", "event", "because"),
    [
        pytest.param(Past(), start(at(), theirs()), NEW, id="the first ever"),
        pytest.param(Past(), start(at()), NEW, id="the first ever, of an Owncast without times"),
        pytest.param(
            AFTER,
            start(at(1, hours=1) + RESUME, theirs(1, hours=1) + RESUME),
            NEW,
            id="back after the resume is another show",
        ),
        pytest.param(
            Past(LIVE),
            start(at() + FORGOTTEN, theirs() + FORGOTTEN),
            "a new broadcast; the end of the one before was never heard",
            id="a broadcast without a sign of life for hours is forgotten",
        ),
        pytest.param(
            AFTER,
            start(at(hours=2), theirs(hours=2) - DAY),
            NEW,
            id="Owncast's clock was set back a day: the next show is told",
        ),
        pytest.param(
            Past(LIVE),
            start(at(hours=7), theirs(hours=7) - DAY),
            "a new broadcast; the end of the one before was never heard",
            id="Owncast's clock was set back a day and the stop was lost: the next show is told",
        ),
        pytest.param(
            Past(None, theirs(), at()),
            start(at() + REORDERED + SECOND, theirs() - DAY),
            NEW,
            id="an old stop of a clock that was set back hinders no show",
        ),
        pytest.param(
            Past(None, theirs(), at()),
            start(at(5), theirs(5)),
            NEW,
            id="a start after the stop of a stream that was never known",
        ),
        pytest.param(
            Past(None, theirs(), at()),
            start(at(1), theirs()),
            NEW,
            id="a start in the same moment as the stop before it is later",
        ),
    ],
)
def test_a_start_of_a_new_broadcast(past: Past, event: Event, because: str) -> None:
    decision = decide(event, past, RULES, event.at)
    assert decision.broadcast
    expected = Broadcast(
        id=decision.broadcast.id,
        channel="default",
        began=event.at,
        since=event.at,
        seen=event.at,
        stamp=event.stamp,
        connected=event.connected,
        title_stamp=event.stamp,
        name="Kestrel",
        title="Drawers",
    )
    assert decision == spoken(because, expected, event.at)
    assert not past.broadcast or decision.broadcast.id != past.broadcast.id


def test_a_connection_again_after_a_clock_was_set_back_is_live() -> None:
    """Not a late one for the rest of the day, which would keep its stop from being heard."""
    event = start(at(hours=2), theirs(hours=2) - DAY)
    decision = decide(event, Past(LIVE), RULES, event.at)
    assert decision.because == "connected again without a stop: the same broadcast"
    assert decision.broadcast
    assert decision.broadcast.stamp == event.stamp


@pytest.mark.parametrize(
    ("age", "told"), [(GIVE_UP, True), (GIVE_UP + SECOND, False)], ids=["just in time", "too late"]
)
def test_a_start_found_late_is_told_only_while_it_is_news(age: timedelta, told: bool) -> None:
    event = start(at(), theirs(), found=True)
    decision = decide(event, Past(), RULES, at() + age)
    assert decision.broadcast
    assert decision.broadcast.began == at()
    assert decision.broadcast.seen == at() + age, "found is a sign of life"
    if told:
        assert decision == spoken(NEW, decision.broadcast, at())
    else:
        because = "a new broadcast, but it began too long ago to be news"
        assert decision == Decision(because, decision.broadcast)


def test_the_same_show_has_the_same_id_wherever_it_is_judged() -> None:
    told = decide(start(at(), theirs()), Past(), RULES, at()).broadcast
    found = replace(start(at(300), None), connected=theirs(), id="other", found=True)
    elsewhere = decide(found, Past(), RULES, at(301)).broadcast
    assert told
    assert elsewhere
    assert told.id == elsewhere.id
    assert told.id.startswith("20261123-1904-")


def test_different_shows_have_different_ids() -> None:
    events = [
        start(at(), theirs()),
        start(at(), theirs(1)),
        replace(start(at(), theirs()), channel="music"),
        start(at()),
        replace(start(at()), id="other"),
    ]
    ids = {
        decision.broadcast.id
        for decision in (decide(event, Past(), RULES, at()) for event in events)
        if decision.broadcast
    }
    assert len(ids) == len(events)


@pytest.mark.parametrize(
    ("past", "event", "expected"),
    [
        pytest.param(
            Past(),
            stop(at()),
            Decision("a stop, but no broadcast is known"),
            id="a stop of nothing",
        ),
        pytest.param(
            Past(LIVE),
            stop(at(hours=1), theirs(hours=1), 17),
            stopped(OVER),
            id="a stop ends the broadcast and knows its peak",
        ),
        pytest.param(
            Past(replace(LIVE, peak_viewers=40)),
            stop(at(hours=1), theirs(hours=1), 17),
            stopped(replace(OVER, peak_viewers=40)),
            id="the peak is that of all connections",
        ),
        pytest.param(
            Past(OLD),
            stop(at(hours=1)),
            stopped(replace(OLD, stopped=at(hours=1), seen=at(hours=1))),
            id="a stop without times is believed",
        ),
        pytest.param(
            AFTER,
            stop(at(5, hours=1), theirs(5, hours=1)),
            Decision("a repeat: the broadcast has stopped already"),
            id="two stops are one",
        ),
        pytest.param(
            Past(LIVE),
            stop(at(3), theirs(-1)),
            Decision("a late stop: of an earlier connection"),
            id="the stop of the connection before is heard after its successor's start",
        ),
        pytest.param(
            Past(LIVE),
            stop(at(hours=1), theirs(hours=1) - DAY),
            stopped(replace(OVER, peak_viewers=None)),
            id="Owncast's clock was set back while live: the stop is believed",
        ),
    ],
)
def test_a_stop(past: Past, event: Event, expected: Decision) -> None:
    assert decide(event, past, RULES, event.at) == expected


@pytest.mark.parametrize(
    ("past", "event", "expected"),
    [
        pytest.param(
            Past(),
            retitle(at(), "Chairs"),
            Decision("a title while nothing is live"),
            id="a title before the first broadcast is a plan",
        ),
        pytest.param(
            AFTER,
            retitle(at(hours=1), "Tomorrow", theirs(hours=1)),
            Decision("a title while nothing is live"),
            id="a title while offline is a plan",
        ),
        pytest.param(
            Past(LIVE),
            retitle(at(60), "Chairs", theirs(60)),
            retitled(
                replace(LIVE, title="Chairs", title_stamp=theirs(60), seen=at(60)),
            ),
            id="a title while live is news, and moods no post",
        ),
        pytest.param(
            Past(OLD),
            retitle(at(60), "Chairs"),
            retitled(replace(OLD, title="Chairs", seen=at(60))),
            id="a title without a time is believed",
        ),
        pytest.param(
            Past(LIVE),
            retitle(at(60), "Drawers", theirs(60)),
            Decision("the same title", replace(LIVE, title_stamp=theirs(60), seen=at(60))),
            id="saved again without a change",
        ),
        pytest.param(
            Past(LIVE),
            retitle(at(60), "", theirs(60)),
            Decision("the same title", replace(LIVE, title_stamp=theirs(60), seen=at(60))),
            id="an empty title changes nothing",
        ),
        pytest.param(
            Past(replace(LIVE, title="Chairs", title_stamp=theirs(60), seen=at(60))),
            retitle(at(61), "Tables", theirs(59)),
            Decision("a late title: a newer one is known"),
            id="two titles in the wrong order: the newer one stays",
        ),
        pytest.param(
            Past(LIVE),
            retitle(at(hours=1), "Chairs", theirs(hours=1) - DAY),
            retitled(
                replace(LIVE, title="Chairs", title_stamp=theirs(hours=1) - DAY, seen=at(hours=1)),
            ),
            id="Owncast's clock was set back while live: the title is believed",
        ),
    ],
)
def test_a_title(past: Past, event: Event, expected: Decision) -> None:
    assert decide(event, past, RULES, event.at) == expected


def test_nothing_is_forgotten_while_titles_change() -> None:
    past = Past(replace(LIVE, seen=at(hours=20)))
    event = start(at(hours=25), theirs(hours=25))
    decision = decide(event, past, RULES, event.at)
    assert decision.because == "connected again without a stop: the same broadcast"


def test_the_hold_may_be_nothing() -> None:
    decision = decide(start(at(), theirs()), Past(), Rules(hold=timedelta()), at())
    assert decision.speak_at == at()


DUE = Entry(
    key="b1/live/mastodon",
    broadcast="b1",
    channel="default",
    moment=Moment.LIVE,
    destination="mastodon",
    state=State.DUE,
    wanted=Moment.LIVE,
    shown=None,
    next_at=at() + HOLD,
    until=at() + GIVE_UP,
)
SENDING = replace(DUE, state=State.SENDING, tries=1)
DOUBTFUL = replace(DUE, doubtful_since=at(30), tries=1, reason="no answer")
UP = replace(DUE, state=State.SETTLED, shown=Moment.LIVE, tries=1)
WITHDRAWN = replace(
    DUE,
    state=State.WITHDRAWN,
    wanted=Moment.ENDED,
    reason="the stream stopped before it was told",
)
FAILED = replace(DUE, state=State.FAILED, tries=1, reason="403")
UNSURE = replace(DOUBTFUL, state=State.UNSURE)

STOPPED = stopped(OVER)
RESUMED = spoken("back after 20 s: the same broadcast", LIVE, at(minutes=5))
RETITLED = retitled(LIVE)


def test_a_new_post_waits_for_the_hold_and_knows_when_to_give_up() -> None:
    assert entry_for(spoken(NEW, LIVE, at()), LIVE, "mastodon") == DUE


@pytest.mark.parametrize(
    ("entry", "decision", "expected"),
    [
        pytest.param(DUE, STOPPED, WITHDRAWN, id="stopped before it was told: nobody hears of it"),
        pytest.param(
            replace(DUE, tries=2, reason="503"),
            STOPPED,
            replace(WITHDRAWN, tries=2),
            id="D08: stopped while it is tried again: nobody hears of it",
        ),
        pytest.param(
            SENDING,
            STOPPED,
            replace(SENDING, wanted=Moment.ENDED),
            id="what is on its way is waited for",
        ),
        pytest.param(
            DOUBTFUL,
            STOPPED,
            replace(DOUBTFUL, wanted=Moment.ENDED),
            id="what may be up is not called withdrawn",
        ),
        pytest.param(UP, STOPPED, replace(UP, wanted=Moment.ENDED), id="what is up stays up"),
        pytest.param(
            FAILED, STOPPED, replace(FAILED, wanted=Moment.ENDED), id="what failed has failed"
        ),
        pytest.param(
            UNSURE, STOPPED, replace(UNSURE, wanted=Moment.ENDED), id="what is unsure stays so"
        ),
        pytest.param(
            WITHDRAWN,
            RESUMED,
            replace(DUE, next_at=at(minutes=5) + HOLD, until=at(minutes=5) + GIVE_UP),
            id="a resume revives what was withdrawn, with a hold of its own",
        ),
        pytest.param(
            replace(UP, wanted=Moment.ENDED), RESUMED, UP, id="a resume posts nothing again"
        ),
        pytest.param(
            replace(SENDING, wanted=Moment.ENDED),
            RESUMED,
            SENDING,
            id="a resume while it is on its way",
        ),
        pytest.param(
            replace(DOUBTFUL, wanted=Moment.ENDED),
            RESUMED,
            DOUBTFUL,
            id="a resume of what may be up keeps its deadline",
        ),
        pytest.param(
            replace(DUE, tries=2, next_at=at(90)),
            RESUMED,
            replace(DUE, tries=2, next_at=at(90)),
            id="a reconnect postpones no retry",
        ),
        pytest.param(
            replace(FAILED, wanted=Moment.ENDED), RESUMED, FAILED, id="a resume retries no failure"
        ),
        pytest.param(
            replace(UNSURE, wanted=Moment.ENDED),
            RESUMED,
            UNSURE,
            id="a resume risks no second post",
        ),
        *(
            pytest.param(entry, RETITLED, entry, id=f"a title changes nothing of what is {name}")
            for name, entry in {"due": DUE, "up": UP, "withdrawn": WITHDRAWN}.items()
        ),
    ],
)
def test_a_post_follows_its_broadcast(entry: Entry, decision: Decision, expected: Entry) -> None:
    assert follow(entry, decision, LEAVES) == expected


def test_of_many_titles_while_it_is_on_its_way_the_first_tells_when_to_change_it() -> None:
    edits = Manners(Ending.EDIT, retitles=True, removes=True)
    once = follow(SENDING, RETITLED, edits)
    assert once.change_at == RETITLED.change_at
    assert follow(once, replace(RETITLED, change_at=at(minutes=9)), edits) == once
    over = follow(once, STOPPED, edits)
    assert (over.wanted, over.change_at) == (Moment.ENDED, STOPPED.change_at)
    assert follow(over, RESUMED, edits).change_at == RESUMED.change_at


ALL = tuple(Repeat)
LOOKED_FOR = (Repeat.FINDABLE, Repeat.WINDOW)
NOT_SENT = (*LOOKED_FOR, Repeat.HARMLESS)
NOT_LOOKED_FOR = (Repeat.HARMLESS, Repeat.DOUBLES)


@pytest.mark.parametrize(
    ("entry", "repeats", "now", "step"),
    [
        pytest.param(DUE, ALL, at(30), Step.PUBLISH, id="what is wanted is published"),
        pytest.param(DUE, ALL, DUE.until, Step.PUBLISH, id="in the last moment, too"),
        pytest.param(DUE, ALL, DUE.until + SECOND, Step.GIVE_UP, id="never late"),
        pytest.param(
            replace(DUE, wanted=Moment.ENDED), ALL, at(30), Step.WITHDRAW, id="over: never told"
        ),
        pytest.param(
            replace(DUE, wanted=Moment.ENDED),
            ALL,
            DUE.until + SECOND,
            Step.WITHDRAW,
            id="over is over, however late",
        ),
        pytest.param(
            DOUBTFUL, LOOKED_FOR, at(60), Step.FIND_OR_PUBLISH, id="what may be up is looked for"
        ),
        pytest.param(
            DOUBTFUL,
            NOT_SENT,
            DUE.until + SECOND,
            Step.FIND,
            id="what may be up is looked for, and not sent late",
        ),
        pytest.param(
            replace(DOUBTFUL, wanted=Moment.ENDED),
            NOT_SENT,
            at(60),
            Step.FIND,
            id="what may be up is looked for, and not sent after the end",
        ),
        pytest.param(
            DOUBTFUL,
            NOT_LOOKED_FOR,
            at(60),
            Step.PUBLISH,
            id="where nobody can look, the same bytes again",
        ),
        pytest.param(
            DOUBTFUL, (Repeat.DOUBLES,), DUE.until + SECOND, Step.GIVE_UP, id="but never late"
        ),
        pytest.param(
            replace(DOUBTFUL, wanted=Moment.ENDED),
            (Repeat.DOUBLES,),
            at(60),
            Step.WITHDRAW,
            id="and never after the end",
        ),
    ],
)
def test_the_next_step(
    entry: Entry, repeats: tuple[Repeat, ...], now: datetime, step: Step
) -> None:
    assert {repeat: next_step(entry, repeat, now) for repeat in repeats} == dict.fromkeys(
        repeats, step
    )


PATIENT_UNTIL = at() + 2 * HOLD


@pytest.mark.parametrize(
    ("sight", "now", "expected"),
    [
        pytest.param(Sight.ONLINE, at(30), None, id="online: speak"),
        pytest.param(Sight.UNREACHABLE, at(30), None, id="out of reach: speak"),
        pytest.param(Sight.UNREACHABLE, at(600), None, id="out of reach for long: speak"),
        pytest.param(Sight.CONNECTED, at(30), at(30) + LOOK_AGAIN, id="warming up: look again"),
        pytest.param(Sight.CONNECTED, PATIENT_UNTIL, None, id="warming up for long: speak"),
        pytest.param(Sight.OFFLINE, at(30), at(30) + LOOK_AGAIN, id="offline: look again"),
        pytest.param(
            Sight.OFFLINE,
            PATIENT_UNTIL - SECOND,
            PATIENT_UNTIL,
            id="no longer than twice the hold",
        ),
    ],
)
def test_a_post_waits_for_its_stream(
    sight: Sight, now: datetime, expected: datetime | None
) -> None:
    assert wait_for_stream(DUE, sight, RULES, now) == expected


@pytest.mark.parametrize("now", [PATIENT_UNTIL, at(minutes=20)], ids=["at last", "at a retry"])
def test_a_stream_that_is_offline_is_not_called_live(now: datetime) -> None:
    with pytest.raises(NotLive, match="offline"):
        wait_for_stream(DUE, Sight.OFFLINE, RULES, now)


def test_a_revived_post_waits_for_its_stream_afresh() -> None:
    revived = follow(WITHDRAWN, RESUMED, LEAVES)
    assert wait_for_stream(revived, Sight.OFFLINE, RULES, revived.next_at) is not None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(SENDING, replace(UP, reason=""), id="delivered"),
        pytest.param(
            replace(DOUBTFUL, state=State.SENDING),
            replace(UP, reason=""),
            id="what was doubted is certain now",
        ),
        pytest.param(
            replace(SENDING, wanted=Moment.ENDED),
            replace(UP, wanted=Moment.ENDED),
            id="delivered in the moment of the end",
        ),
    ],
)
def test_settled(entry: Entry, expected: Entry) -> None:
    assert settled(entry) == expected


@pytest.mark.parametrize("give_up", [withdrawn, failed], ids=["withdrawn", "failed"])
def test_what_may_be_up_is_never_called_anything_but_unsure(give_up: object) -> None:
    assert callable(give_up)
    assert give_up(DOUBTFUL, "too late") == replace(
        DOUBTFUL, state=State.UNSURE, reason="may be posted, look first: too late"
    )


def test_withdrawn_and_failed_say_why() -> None:
    assert withdrawn(SENDING, "offline") == replace(
        SENDING, state=State.WITHDRAWN, reason="offline"
    )
    assert failed(SENDING, "403") == replace(SENDING, state=State.FAILED, reason="403")


HALF = 0.5
AGAIN = replace(DUE, tries=1, next_at=at(31), reason="")
"""One second later: half of the two seconds after a first try."""


@pytest.mark.parametrize(
    ("entry", "problem", "repeats", "expected"),
    [
        pytest.param(
            SENDING,
            TryLater("503"),
            ALL,
            replace(AGAIN, generation=1, reason="503"),
            id="certainly not posted: again, under a new wire key",
        ),
        pytest.param(
            SENDING,
            TryLater("429", timedelta(minutes=7)),
            ALL,
            replace(AGAIN, generation=1, reason="429", next_at=at(30, minutes=7)),
            id="never before what the network asked for",
        ),
        pytest.param(
            SENDING,
            TryLater("429", timedelta(minutes=29, seconds=30)),
            ALL,
            replace(
                AGAIN,
                generation=1,
                reason="429",
                next_at=DUE.until,
            ),
            id="in the last moment there is",
        ),
        pytest.param(
            SENDING,
            TryLater("429", timedelta(hours=3)),
            ALL,
            replace(
                SENDING,
                state=State.FAILED,
                generation=1,
                reason="too late to try again: 429",
            ),
            id="never past the deadline",
        ),
        pytest.param(
            replace(DOUBTFUL, state=State.SENDING, tries=1),
            TryLater("503"),
            ALL,
            replace(AGAIN, doubtful_since=at(30), reason="503"),
            id="a clear no to the repeat says nothing of the first try, and keeps its key",
        ),
        pytest.param(
            SENDING,
            Unsure("no answer"),
            (Repeat.HARMLESS, Repeat.WINDOW, Repeat.FINDABLE),
            replace(AGAIN, doubtful_since=at(20), reason="no answer"),
            id="may be up: again, where that can not double it",
        ),
        pytest.param(
            SENDING,
            Unsure("no answer"),
            (Repeat.DOUBLES,),
            replace(
                SENDING,
                state=State.UNSURE,
                doubtful_since=at(20),
                reason="may be posted, look first: no answer",
            ),
            id="may be up, and nobody can look: stop",
        ),
        pytest.param(
            replace(DOUBTFUL, state=State.SENDING, doubtful_since=at(5)),
            Unsure("no answer"),
            (Repeat.HARMLESS, Repeat.WINDOW, Repeat.FINDABLE),
            replace(AGAIN, doubtful_since=at(5), reason="no answer"),
            id="in doubt since the first try, not the last",
        ),
        pytest.param(
            SENDING,
            Refused("422"),
            ALL,
            replace(SENDING, state=State.FAILED, reason="422"),
            id="refused: failed, told once",
        ),
        pytest.param(
            replace(DOUBTFUL, state=State.SENDING),
            Refused("403"),
            ALL,
            replace(DOUBTFUL, state=State.UNSURE, reason="may be posted, look first: 403"),
            id="refused the second time: the first may be up",
        ),
        pytest.param(
            SENDING,
            Gone("deleted"),
            ALL,
            replace(SENDING, state=State.FAILED, reason="deleted"),
            id="gone: nothing to do",
        ),
    ],
)
def test_after_a_failure(
    entry: Entry, problem: DeliveryError, repeats: tuple[Repeat, ...], expected: Entry
) -> None:
    for repeat in repeats:
        became = after(entry, problem, repeat, left=at(20), now=at(30), dice=HALF)
        assert became == expected, repeat


def test_the_operator_may_insist_where_nobody_can_look() -> None:
    problem = Unsure("no answer")
    insisted = after(
        SENDING, problem, Repeat.DOUBLES, left=at(20), now=at(30), dice=HALF, insist=True
    )
    assert insisted == replace(AGAIN, doubtful_since=at(20), reason="no answer")


def test_what_is_unsure_too_late_is_unsure() -> None:
    late = DUE.until - timedelta(milliseconds=1)
    became = after(SENDING, Unsure("gone"), Repeat.HARMLESS, left=late, now=late, dice=HALF)
    assert became.state is State.UNSURE
    assert became.doubtful_since == late


@pytest.mark.parametrize(
    ("tries", "longest"),
    [(0, 1), (1, 2), (2, 4), (3, 8), (7, 128), (8, 256), (9, 300), (10**9, 300)],
)
def test_the_wait_doubles_with_full_jitter_up_to_five_minutes(tries: int, longest: int) -> None:
    assert backoff(tries, 0.0) == timedelta()
    assert backoff(tries, 0.25) == timedelta(seconds=longest / 4)
    assert timedelta(seconds=longest * 0.99) < backoff(tries, 0.999) < timedelta(seconds=longest)
