"""The rules for quiet: words, hours by the wall clock, a pause, and what they do to a post."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from announcer.network import Moment
from announcer.policy import Decision, Entry, Hush, State
from announcer.quiet import NEVER, PAUSED, Hours, Quiet, Verdict, follow, hushed
from announcer.settings import Environment, SettingsError
from tests.fakes import NOW

BERLIN, YORK, LORD_HOWE = (
    ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NIGHT = Hours(time(23), time(7))


def utc(day: str, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}+00:00")


# Words


@pytest.mark.parametrize(
    ("words", "title", "found"),
    [
        ("test", "Just a test", "test"),
        ("test", "TEST: new camera", "test"),
        ("test", "Testing the camera", ""),
        ("test", "The latest drawer", ""),
        ("test", "test_stream", ""),
        ("test", "stream.test.two", "test"),
        ("test", "", ""),
        ("private,sound check", "Sound   CHECK before the show", "sound check"),
        ("sound check", "sound checks", ""),
        ("sound check", "check of the sound", ""),
        ("straße", "Auf der STRASSE", "straße"),
        ("CAFÉ", "im cafe\u0301", "CAFÉ"),
        ("test", "ｔｅｓｔ stream", "test"),
        ("тест", "Это тест.", "тест"),
        ("test", "тест", ""),
        ("テスト", "今日はテスト配信", "テスト"),
        ("测试", "直播测试中", "测试"),
        ("पर", "परी", ""),
        ("c++", "Learning C++ today", "c++"),
        ("#test", "Bench #test now", "#test"),
        ("a.c", "abc", ""),
        ("(wip", "Drawers (wip)", "(wip"),
        ("one,two", "two and one", "one"),
        (" , ,", "anything", ""),
    ],
)
def test_a_word_is_found_whole_and_in_any_case(words: str, title: str, found: str) -> None:
    verdict = Quiet.model_validate({"skip_titles": words}).verdict(title, NOW, paused=False)
    expected = Verdict(Hush.TITLE, f"its title contains '{found}'") if found else None
    assert verdict == expected


# Hours


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        pytest.param(NIGHT, ["23:00", "23:59", "00:00", "06:59"], ["07:00", "22:59"], id="night"),
        pytest.param(
            Hours(time(12), time(13, 30)),
            ["12:00", "13:29"],
            ["11:59", "13:30", "00:00"],
            id="noon",
        ),
        pytest.param(Hours(time(22), time(0)), ["22:00", "23:59"], ["00:00", "21:59"], id="eve"),
        pytest.param(Hours(time(0), time(6)), ["00:00", "05:59"], ["06:00", "23:59"], id="morning"),
    ],
)
def test_hours_begin_on_their_minute_and_end_before_it(
    hours: Hours, inside: list[str], outside: list[str]
) -> None:
    assert all(hours.hold(utc("2026-09-12", clock), UTC) for clock in inside)
    assert not any(hours.hold(utc("2026-09-12", clock), UTC) for clock in outside)


@pytest.mark.parametrize(
    ("zone", "hours", "now", "end"),
    [
        pytest.param(
            UTC, NIGHT, utc("2026-09-12", "23:30:59"), utc("2026-09-13", "07:00"), id="UTC"
        ),
        pytest.param(
            BERLIN, NIGHT, utc("2026-07-01", "22:30"), utc("2026-07-02", "05:00"), id="summer"
        ),
        pytest.param(
            BERLIN, NIGHT, utc("2026-12-01", "22:30"), utc("2026-12-02", "06:00"), id="winter"
        ),
        pytest.param(
            BERLIN,
            NIGHT,
            utc("2026-03-28", "22:30"),
            utc("2026-03-29", "05:00"),
            id="the night is an hour shorter",
        ),
        pytest.param(
            BERLIN,
            NIGHT,
            utc("2026-10-24", "21:30"),
            utc("2026-10-25", "06:00"),
            id="the night is an hour longer",
        ),
        pytest.param(
            BERLIN,
            Hours(time(23), time(2, 30)),
            utc("2026-03-28", "23:30"),
            utc("2026-03-29", "01:00"),
            id="the end is skipped: they end where the clock jumps",
        ),
        pytest.param(
            BERLIN,
            Hours(time(23), time(2, 30)),
            utc("2026-10-24", "23:30"),
            utc("2026-10-25", "00:30"),
            id="the end comes twice: the first one counts",
        ),
        pytest.param(
            BERLIN,
            Hours(time(2), time(3)),
            utc("2026-10-25", "00:10"),
            utc("2026-10-25", "02:00"),
            id="an hour that comes twice is quiet twice",
        ),
        pytest.param(
            YORK,
            Hours(time(1), time(4)),
            utc("2026-03-08", "06:30"),
            utc("2026-03-08", "08:00"),
            id="New York in March",
        ),
        pytest.param(
            LORD_HOWE,
            Hours(time(23), time(2, 15)),
            utc("2026-10-03", "15:00"),
            utc("2026-10-03", "15:30"),
            id="a clock that jumps by half an hour",
        ),
    ],
)
def test_c04_hours_end_by_the_clock_on_the_wall(
    zone: ZoneInfo, hours: Hours, now: datetime, end: datetime
) -> None:
    assert hours.hold(now, zone)
    assert hours.over(now, zone) == end
    assert not hours.hold(end, zone)


def test_c04_an_hour_that_does_not_exist_is_never_quiet() -> None:
    skipped = Hours(time(2), time(3))
    day = utc("2026-03-28", "23:00")
    assert not any(skipped.hold(day + number * MINUTE, BERLIN) for number in range(600))


CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
ZONES = st.sampled_from(sorted(available_timezones() - {"localtime", "posixrules"}))
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.tuples(CLOCKS, CLOCKS).filter(lambda pair: pair[0] != pair[1]), ZONES, INSTANTS)
@example((time(23), time(2, 30)), "Europe/Berlin", utc("2026-03-28", "23:59:59"))
@example((time(23), time(2, 30)), "Europe/Berlin", utc("2026-10-25", "00:59:30"))
@example((time(0), time(23, 59)), "Pacific/Apia", utc("2011-12-30", "09:59"))  # a day left out
def test_hours_end_at_the_first_moment_outside(
    hours: tuple[time, time], name: str, now: datetime
) -> None:
    quiet, zone = Hours(*hours), ZoneInfo(name)
    end = quiet.over(now, zone)
    if not quiet.hold(now, zone):
        assert end == now
        return
    assert now < end <= now + timedelta(days=3)
    assert not quiet.hold(end, zone)
    assert quiet.hold(end - timedelta(microseconds=1), zone)
    span = (end - now) / 97
    assert all(quiet.hold(now + number * span, zone) for number in range(97))


# Settings


def read(**variables: str) -> Quiet:
    env = Environment({f"ANNOUNCER_{name}": value for name, value in variables.items()})
    found = env.group("ANNOUNCER", Quiet)
    env.finish()
    assert found
    return found


def test_settings_are_read_as_people_write_them() -> None:
    quiet = read(
        SKIP_TITLES=" Test, sound  check ,,", QUIET_HOURS="23:00 – 7:00", TIMEZONE="Europe/Berlin"
    )
    assert quiet.skip_titles == ("Test", "sound check")
    assert (quiet.quiet_hours, str(quiet.quiet_hours)) == (NIGHT, "23:00-07:00")
    assert quiet.timezone == BERLIN


def test_nothing_set_is_never_quiet() -> None:
    assert read() == NEVER
    assert NEVER.verdict("test", NOW, paused=False) is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("QUIET_HOURS", "23:00", "write it like 23:00-07:00"),
        ("QUIET_HOURS", "23-7", "write it like 23:00-07:00"),
        ("QUIET_HOURS", "25:00-07:00", "write it like 23:00-07:00"),
        ("QUIET_HOURS", "23:00-07:60", "write it like 23:00-07:00"),
        ("QUIET_HOURS", "07:00-7:00", "begins when it ends"),
        ("TIMEZONE", "Europe/Kestrel", "is not a time zone"),
        ("TIMEZONE", "Europe", "is not a time zone"),
        ("TIMEZONE", "../../etc/passwd", "is not a time zone"),
        ("TIMEZONE", "/etc/localtime", "is not a time zone"),
        ("TIMEZONE", "zone.tab", "is not a time zone"),
        ("TIMEZONE", "Zürich", "is not a time zone"),
    ],
)
def test_what_makes_no_sense_is_told_by_its_variable(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as told:
        read(**{name: value})
    (problem,) = told.value.problems
    assert problem.startswith(f"ANNOUNCER_{name} ")
    assert says in problem


def test_g13_without_any_table_of_zones_utc_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(key: str) -> ZoneInfo:
        raise KeyError(key)

    monkeypatch.setattr("announcer.settings.ZoneInfo", unknown)
    assert read().timezone is UTC
    assert read(TIMEZONE="utc").timezone is UTC
    with pytest.raises(SettingsError, match="ANNOUNCER_TIMEZONE is not a time zone"):
        read(TIMEZONE="Europe/Berlin")


# What they do to a post

AT = NOW + timedelta(seconds=30)
POST = Entry(
    key="b1/live/fake",
    broadcast="b1",
    channel="default",
    moment=Moment.LIVE,
    destination="fake",
    state=State.DUE,
    wanted=Moment.LIVE,
    shown=None,
    next_at=AT,
    until=NOW + 30 * MINUTE,
)
BY_TITLE = Verdict(Hush.TITLE, "its title contains 'test'")
BY_PAUSE = Verdict(Hush.PAUSE, PAUSED)
BY_HOURS = Verdict(Hush.HOURS, "quiet hours until 07:00", NOW + 20 * MINUTE)
TOO_LONG = replace(BY_HOURS, end=NOW + 31 * MINUTE)
RETITLED = Decision(
    "a new title",
    mood=Moment.LIVE,
    until=NOW + 40 * MINUTE,
    change_at=NOW + 10 * MINUTE,
)
RETURN = replace(RETITLED, because="back", speak_at=NOW + 10 * MINUTE)


def held(verdict: Verdict, entry: Entry = POST) -> Entry:
    return replace(entry, state=State.WITHDRAWN, hush=verdict.hush, reason=verdict.reason)


PUT_OFF = replace(POST, hush=Hush.HOURS, reason=BY_HOURS.reason, next_at=NOW + 20 * MINUTE)


def test_a_pause_comes_before_a_title_and_a_title_before_the_hours() -> None:
    quiet = read(SKIP_TITLES="test", QUIET_HOURS="18:00-20:00")
    assert quiet.verdict("A test", NOW, paused=True) == BY_PAUSE
    assert quiet.verdict("A test", NOW, paused=False) == BY_TITLE
    assert quiet.verdict("Drawers", NOW, paused=False) == Verdict(
        Hush.HOURS, "quiet hours until 20:00", NOW + HOUR
    )
    assert quiet.verdict("Drawers", NOW + HOUR, paused=False) is None


@pytest.mark.parametrize(
    ("entry", "verdict", "after"),
    [
        pytest.param(POST, None, POST, id="no rule"),
        pytest.param(POST, BY_TITLE, held(BY_TITLE), id="a title"),
        pytest.param(POST, BY_PAUSE, held(BY_PAUSE), id="a pause"),
        pytest.param(POST, BY_HOURS, PUT_OFF, id="hours that end while it is news"),
        pytest.param(POST, TOO_LONG, held(TOO_LONG), id="hours that end too late"),
        pytest.param(replace(POST, tries=3), BY_HOURS, PUT_OFF, id="it begins anew then"),
        *(
            pytest.param(entry, verdict, entry, id=f"{why}, {verdict.hush}")
            for verdict in (BY_TITLE, BY_PAUSE, BY_HOURS)
            for why, entry in {
                "by the operator's word": replace(POST, hush=Hush.OVERRULED),
                "may be up": replace(POST, doubtful_since=NOW),
                "of the end": replace(POST, moment=Moment.ENDED),
            }.items()
        ),
    ],
)
def test_a_post_that_is_about_to_be_told(
    entry: Entry, verdict: Verdict | None, after: Entry
) -> None:
    assert hushed(entry, verdict) == after


@pytest.mark.parametrize(
    ("before", "after", "decision", "verdict", "expected"),
    [
        pytest.param(
            held(BY_TITLE),
            held(BY_TITLE),
            RETITLED,
            None,
            replace(POST, hush=Hush.TITLE, next_at=NOW + 10 * MINUTE, until=NOW + 40 * MINUTE),
            id="a fine title: told then, as news of its own",
        ),
        pytest.param(
            held(BY_TITLE, replace(POST, next_at=NOW + 15 * MINUTE)),
            held(BY_TITLE, replace(POST, next_at=NOW + 15 * MINUTE)),
            RETITLED,
            None,
            replace(POST, hush=Hush.TITLE, next_at=NOW + 15 * MINUTE, until=NOW + 40 * MINUTE),
            id="a fine title within the hold: told after the hold",
        ),
        pytest.param(
            held(BY_TITLE),
            held(BY_TITLE),
            RETITLED,
            BY_PAUSE,
            held(BY_PAUSE, replace(POST, next_at=NOW + 10 * MINUTE, until=NOW + 40 * MINUTE)),
            id="a fine title in a pause",
        ),
        pytest.param(
            held(BY_TITLE),
            held(BY_TITLE),
            RETITLED,
            TOO_LONG,
            replace(PUT_OFF, next_at=NOW + 31 * MINUTE, until=NOW + 40 * MINUTE),
            id="a fine title at night is news for as long as a start",
        ),
        pytest.param(POST, POST, RETITLED, BY_TITLE, held(BY_TITLE), id="a skipped title"),
        pytest.param(PUT_OFF, PUT_OFF, RETITLED, None, PUT_OFF, id="put off, another title"),
        *(
            pytest.param(held(by), held(by), RETITLED, None, held(by), id=f"retitled, {by.hush}")
            for by in (BY_PAUSE, TOO_LONG)
        ),
        pytest.param(
            held(BY_PAUSE),
            replace(POST, hush=Hush.PAUSE, next_at=NOW + 10 * MINUTE, until=NOW + 40 * MINUTE),
            RETURN,
            None,
            held(BY_PAUSE),
            id="back after a pause: not told late",
        ),
        pytest.param(
            held(TOO_LONG),
            replace(POST, hush=Hush.HOURS, next_at=NOW + 31 * MINUTE, until=NOW + 60 * MINUTE),
            RETURN,
            None,
            held(TOO_LONG),
            id="back after the night: not told late",
        ),
        pytest.param(
            held(BY_HOURS),
            replace(POST, hush=Hush.HOURS, next_at=NOW + 10 * MINUTE, until=NOW + 40 * MINUTE),
            RETURN,
            BY_HOURS,
            PUT_OFF,
            id="back within the night, and still news in the morning",
        ),
        pytest.param(
            held(BY_TITLE),
            replace(POST, hush=Hush.TITLE, next_at=NOW + 10 * MINUTE),
            RETURN,
            BY_TITLE,
            held(BY_TITLE, replace(POST, next_at=NOW + 10 * MINUTE)),
            id="back with the same title",
        ),
        *(
            pytest.param(entry, entry, RETITLED, BY_PAUSE, entry, id=why)
            for why, entry in {
                "up": replace(POST, state=State.SETTLED, shown=Moment.LIVE),
                "up, to be edited": replace(POST, shown=Moment.LIVE),
                "on its way": replace(POST, state=State.SENDING),
                "failed": replace(POST, state=State.FAILED),
                "deleted by a person": replace(POST, state=State.GONE),
            }.items()
        ),
    ],
)
def test_a_post_after_an_event(
    before: Entry, after: Entry, decision: Decision, verdict: Verdict | None, expected: Entry
) -> None:
    assert follow(before, after, decision, lambda _: verdict) == expected


def test_an_end_is_never_judged() -> None:
    over = replace(POST, state=State.WITHDRAWN, hush=Hush.TITLE)
    decision = Decision("the stream stopped", mood=Moment.ENDED, change_at=NOW)
    assert follow(POST, over, decision, lambda _: pytest.fail("judged")) is over
