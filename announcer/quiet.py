"""What is not announced, though it is live: words in the title, hours of the night, a pause. Pure.

The posts of such a stream are there all the same, put off or withdrawn, each with its reason.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated

import regex
from pydantic import BaseModel, BeforeValidator, ConfigDict, InstanceOf

from announcer.network import Moment
from announcer.policy import Decision, Entry, Hush, State
from announcer.settings import Zone, setting

_HOURS = regex.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*[-\u2013]\s*([01]?\d|2[0-3]):([0-5]\d)")
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of every day by the clock on the wall, over midnight if it ends before it begins."""

    begin: time
    end: time

    def hold(self, at: datetime, zone: tzinfo) -> bool:
        wall = at.astimezone(zone).timetz().replace(tzinfo=None)
        if self.begin < self.end:
            return self.begin <= wall < self.end
        return wall >= self.begin or wall < self.end

    def over(self, at: datetime, zone: tzinfo) -> datetime:
        """The first moment from *at* on that they do not hold; *at* if they do not hold then.

        Looks at every minute: no arithmetic goes wrong on the days when the clock is changed, when
        the wall skips the end or shows it twice. A whole night takes it about a millisecond.
        """
        if not self.hold(at, zone):
            return at
        at = at.astimezone(UTC).replace(second=0, microsecond=0)
        while self.hold(at, zone):
            at += MINUTE
        return at

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"


def _hours(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _HOURS.fullmatch(value.strip())
    if match is None:
        raise ValueError("is not a part of the day: write it like 23:00-07:00")
    one, two, three, four = map(int, match.groups())
    hours = Hours(time(one, two), time(three, four))
    if hours.begin == hours.end:
        raise ValueError("begins when it ends: `announcer pause` is for the whole day")
    return hours


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(" ".join(words.split()) for words in value.split(",") if words.strip())


class Quiet(BaseModel):
    """When not to speak."""

    model_config = ConfigDict(frozen=True)

    skip_titles: Annotated[tuple[str, ...], BeforeValidator(_words)] = setting(
        "Words or phrases, with commas between them: a stream with one of them in its title is not "
        "announced until it gets another title. Whole words, in capitals or not.",
        default=(),
    )
    quiet_hours: Annotated[InstanceOf[Hours], BeforeValidator(_hours)] | None = setting(
        "Hours without announcements, like `23:00-07:00`. A stream that is still news when they "
        "end is announced then.",
        default=None,
    )
    timezone: Zone = setting(
        "Whose clock the quiet hours follow: a name like `Europe/Berlin`.", default=UTC
    )

    def verdict(self, title: str, at: datetime, *, paused: bool) -> "Verdict | None":
        """What keeps a stream with this *title* from being announced at *at*; None if nothing."""
        if paused:
            return Verdict(Hush.PAUSE, PAUSED)
        word = _found(self.skip_titles, title)
        if word:
            return Verdict(Hush.TITLE, f"its title contains '{word}'")
        if self.quiet_hours and self.quiet_hours.hold(at, self.timezone):
            end = self.quiet_hours.over(at, self.timezone)
            clock = end.astimezone(self.timezone).strftime("%H:%M")
            return Verdict(Hush.HOURS, f"quiet hours until {clock}", end)
        return None


PAUSED = "paused by the operator"
NEVER = Quiet()
"""Not quiet unless paused."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Not now: by which rule, and why in plain words. *end* is when the rule itself lets go, None
    if only somebody's word does.
    """

    hush: Hush
    reason: str
    end: datetime | None = None


def hushed(entry: Entry, verdict: Verdict | None) -> Entry:
    """*entry*, about to be put up, under *verdict*: unchanged, put off or withdrawn. What may be
    up already is finished.
    """
    free = entry.hush is Hush.OVERRULED or entry.moment is not Moment.LIVE
    if verdict is None or free or entry.doubtful_since is not None:
        return entry
    held = replace(entry, hush=verdict.hush, reason=verdict.reason, tries=0)
    if verdict.end and verdict.end <= entry.until:
        return replace(held, state=State.DUE, next_at=verdict.end)
    return replace(held, state=State.WITHDRAWN)


def follow(
    before: Entry, after: Entry, decision: Decision, judge: Callable[[datetime], Verdict | None]
) -> Entry:
    """What an event made of a post, *after*, under the rules: *judge* gives the verdict on its
    broadcast for a time. A title is judged anew; hours and a pause keep what they were given.
    """
    if decision.mood is not Moment.LIVE or decision.change_at is None:
        return after
    back = before.state is State.WITHDRAWN and after.state is State.DUE
    if back and before.hush is Hush.PAUSE:
        return replace(before, wanted=after.wanted)
    if back and before.hush is Hush.HOURS:
        if after.next_at > before.until:
            return replace(before, wanted=after.wanted)
        after = replace(after, until=before.until)
    if after.state is State.WITHDRAWN and after.hush is Hush.TITLE and decision.until:
        # With the new title the show is news, whenever it began.
        after = replace(
            after,
            state=State.DUE,
            next_at=max(after.next_at, decision.change_at),
            until=decision.until,
            reason="",
        )
    if after.state is not State.DUE or after.shown is not None:
        return after
    return hushed(after, judge(after.next_at))


def _found(words: tuple[str, ...], title: str) -> str:
    """The first of *words* that *title* contains, not as part of a word; else empty."""
    plain = _plain(title)
    return next((word for word in words if _within(_plain(word), plain)), "")


def _within(word: str, title: str) -> bool:
    # Where Unicode sees a boundary, for scripts without spaces, or the eye: "test.stream".
    edge_before, edge_after = r"(?:\b|(?<!\w))", r"(?:\b|(?!\w))"
    pattern = f"{edge_before}{regex.escape(word)}{edge_after}"
    return regex.search(pattern, title, regex.WORD | regex.V1) is not None


def _plain(text: str) -> str:
    """Without what the eye does not tell apart: case, composition, width, kinds of space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())
