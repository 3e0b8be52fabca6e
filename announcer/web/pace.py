"""How fast each destination is told: from the start of a stream to its post, the hold included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from announcer.lateness import span
from announcer.policy import Broadcast
from announcer.web.say import say

SEASON = timedelta(days=90)
"""The streams that count."""


@dataclass(frozen=True)
class Pace:
    """Of one destination, in words: how long it took in the middle, at worst and last."""

    destination: str
    times: int
    middle: str
    slowest: str
    last: str


def paces(shows: Sequence[tuple[Broadcast, Mapping[str, float]]]) -> dict[str, Pace]:
    """By destination, of *shows* as the outbox tells a season: the oldest first."""
    of: dict[str, list[float]] = {}
    for _, told in shows:
        for destination, seconds in told.items():
            of.setdefault(destination, []).append(seconds)
    return {
        name: Pace(name, len(took), *map(_words, (median(took), max(took), took[-1])))
        for name, took in sorted(of.items())
    }


def _words(seconds: float) -> str:
    """As a person says it."""
    if seconds < 120:
        return say("history.seconds", n=round(seconds))
    return span(timedelta(seconds=seconds))
