"""What happens in a run, and when the service dies in it. All of it follows from a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ALL = ("mastodon", "bluesky", "x", "discord", "owncast")


class Street(NamedTuple):
    """Networks of a town, how its Mastodon is, and how posts end there."""

    name: str
    networks: tuple[str, ...]
    ways: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    settings: dict[str, str] = {}  # noqa: RUF012  # as above


STREETS = (
    Street("mastodon", ("mastodon",), {}, {"MASTODON_PIN": "on"}),
    Street("mastodon without keys", ("mastodon",), {"honours_keys": False}),
    Street("mastodon unseen", ("mastodon",), {"may_look": False}),
    Street(
        "mastodon without keys, unseen", ("mastodon",), {"honours_keys": False, "may_look": False}
    ),
    Street("mastodon that answers", ("mastodon",), {}, {"MASTODON_WHEN_ENDED": "reply"}),
    Street("mastodon that removes", ("mastodon",), {}, {"MASTODON_WHEN_ENDED": "remove"}),
    Street("bluesky", ("bluesky",), {}, {"BLUESKY_LIVE_BADGE": "on"}),
    Street("x", ("x",)),
    Street("x that tells the end", ("x",), {}, {"X_WHEN_ENDED": "post"}),
    Street("discord", ("discord",)),
    Street("discord that removes", ("discord",), {}, {"DISCORD_WHEN_ENDED": "remove"}),
    Street("chat", ("owncast",)),
    Street("all", ALL),
    Street("all without keys", ALL, {"honours_keys": False}, {"MASTODON_PIN": "on"}),
)


class Step(NamedTuple):
    """`start`, `title` or `stop` is told; `rest`: everything is let come to rest; `again`: what
    was told last comes once more; `pause`: a moment passes.
    """

    what: str
    title: str = ""


REST = Step("rest")
EVENING = (
    *(Step("start", "Drawers"), REST, Step("title", "Dovetails"), REST),
    *(Step("stop"), Step("start", "Dovetails"), REST, Step("stop"), REST),
)
"""Told, retitled, dropped and back within the grace, ended: what every street sees."""
PLAYS: dict[str, tuple[Step, ...]] = {
    "evening": EVENING,
    "live": (Step("start", "Drawers"), Step("again"), REST),
    "end": (Step("start", "Drawers"), REST, Step("stop"), Step("again"), REST),
    "return": (
        *(Step("start", "Drawers"), REST, Step("stop"), REST),
        *(Step("start", "Dovetails"), Step("again"), REST),
    ),
    "twice over": (
        *(Step("start", "Drawers"), REST, Step("stop"), REST),
        *(Step("start", "Drawers"), REST, Step("stop"), REST),
    ),
    "burst": (
        *(
            Step("start", "Drawers"),
            REST,
            Step("title", "One"),
            Step("title", "Two"),
            Step("pause"),
        ),
        *(Step("title", "Three"), Step("again"), REST),
    ),
    "corrected": (Step("start", "Drawers"), Step("title", "Dovetails"), Step("again"), REST),
    "false start": (Step("start", "Drawers"), Step("pause"), Step("stop"), REST),
}


@dataclass(frozen=True)
class Case:
    """One run. *deaths* say how each life ends, in turn, and the life after the last of them goes
    on: a crash point, or `kill 0.123` or `term 0.123` after so many seconds. *troubled* is the
    chance that a request meets a trouble. *real* lives are started as a user would.
    """

    number: int
    seed: int
    street: Street
    play: str
    deaths: tuple[str, ...] = ()
    troubled: float = 0.0
    pictures: bool = False
    real: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        parts = [f"{self.street.name}, {self.play}"]
        parts += [f"dies at {death}" for death in self.deaths]
        parts += [f"trouble {self.troubled:.0%}"] * bool(self.troubled)
        parts += ["with pictures"] * self.pictures + ["announcer serve"] * self.real
        return f"{self.number}: {', '.join(parts)}"


def at_random(number: int, seed: int, points: Mapping[str, Sequence[str]], *, real: bool) -> Case:
    """A case with deaths of every kind; half of them by the clock. *points* by street."""
    dice = random.Random(f"{seed} {number}")
    street = dice.choice([street for street in STREETS if street.name in points])
    names = [point.partition("#")[0] for point in points[street.name]]
    return Case(
        number,
        dice.getrandbits(32),
        street,
        dice.choice(("live", "end") if real else tuple(PLAYS)),
        tuple(_death(dice, () if real else names) for _ in range(dice.randint(1, 4))),
        0.0 if real else dice.choice((0.0, 0.0, 0.1, 0.25)),
        dice.random() < 0.3,
        real,
    )


def _death(dice: random.Random, points: Sequence[str]) -> str:
    if points and dice.random() < 0.5:
        return f"{dice.choice(points)}#{dice.choice((1, 1, 1, 2, 3))}"
    return f"{dice.choice(('kill', 'kill', 'term'))} {dice.uniform(0, 0.6):.3f}"
