"""Kills the service at every crash point and at random, over all networks; exit status 1 if people
ever saw what they must not.
"""

import json
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import click

from tests.torture import databases, plays
from tests.torture.lives import Nursery
from tests.torture.plays import STREETS, Case, Street
from tests.torture.sabotage import SABOTAGES
from tests.torture.stage import Outcome, Performance

KINDS = {
    "double": "doubles",
    "lost": "losses",
    "unheard": "acknowledged events lost",
    "stuck": "never at rest",
    "untrue": "untrue in the end",
    "offence": "other words sent for the same post",
}
PROGRESS = 30.0
"""Seconds between two words on how far it is."""
_lane: tuple[Nursery, Path] | None = None


def open_lane(folder: str, sabotage: str) -> None:
    """In each process of the pool, before it has a thread."""
    global _lane
    place = Path(folder) / str(os.getpid())
    place.mkdir(parents=True)
    _lane = Nursery(place, SABOTAGES.get(sabotage)), place


def perform(case: Case, server: str, *, traced: bool = False) -> tuple[Outcome, list[str]]:
    """What became of it, and the names of the points passed if it was *traced*."""
    assert _lane, "no lane was opened"
    nursery, place = _lane
    folder = place / str(case.number)
    trace = place / f"trace {case.number}" if traced else None
    with databases.fresh(server, folder, case.number) as url:
        outcome = Performance(case, folder, nursery, url, trace).play()
    shutil.rmtree(folder)
    return outcome, trace.read_text("utf-8").splitlines() if trace else []


@dataclass
class Report:
    """What all of it came to."""

    kills: int = 0
    lives: int = 0
    runs: int = 0
    posts: int = 0
    unsure: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: Outcome) -> None:
        self.runs += 1
        self.kills += outcome.kills
        self.lives += outcome.lives
        self.posts += outcome.verdict.judged
        self.unsure += outcome.verdict.unsure
        self.wrong.update(kind for kind, _ in outcome.verdict.problems)

    def __str__(self) -> str:
        unsure = ", ".join(f"{name} {n}" for name, n in sorted(self.unsure.items())) or "none"
        wrong = ", ".join(f"{text} {self.wrong[kind]}" for kind, text in KINDS.items())
        return (
            f"{self.kills} kills in {self.runs} runs with {self.lives} starts, {self.posts} posts "
            f"judged; {wrong}; unsure: {unsure}"
        )


def as_json(case: Case) -> str:
    return json.dumps(asdict(case) | {"street": case.street.name})


def from_json(text: str) -> Case:
    told = json.loads(text)
    (street,) = (street for street in STREETS if street.name == told["street"])
    return Case(**told | {"street": street, "deaths": tuple(told["deaths"])})


def points_of(passed: Sequence[str]) -> list[str]:
    """Every point, and its later passings where it is passed often: the first three, the last."""
    times = Counter(passed)
    return [
        f"{point}#{nth}"
        for point in sorted(times)
        for nth in sorted({1, 2, 3, times[point]})
        if nth <= times[point]
    ]


def cases(points: dict[str, list[str]], seed: int, real: int) -> Iterator[Case]:
    """In turn one of those that die at a point, in an order of the seed's, and one at random."""
    by_name = {street.name: street for street in STREETS}
    each = [(name, point) for name, found in points.items() for point in found]
    random.Random(seed).shuffle(each)
    systematic = deque(each)
    number = 0
    while True:
        number += 1
        if number % 2 and systematic:
            name, point = systematic.popleft()
            yield Case(number, seed + number, by_name[name], "evening", (point,), pictures=True)
        else:
            yield plays.at_random(number, seed, points, real=bool(real) and not number % real)


@click.command()
@click.option("--kills", default=500, show_default=True, help="Stop after so many.")
@click.option("--seconds", default=900, show_default=True, help="Stop after so long.")
@click.option("--seed", type=int, default=None, help="Of everything random.")
@click.option(
    "--database",
    "wanted",
    default="both",
    show_default=True,
    help="sqlite, postgresql, both, or the address of a PostgreSQL that may make databases.",
)
@click.option("--lanes", default=5, show_default=True, help="Runs at a time.")
@click.option("--street", "streets", multiple=True, help="Only these, by name. Repeatable.")
@click.option(
    "--real", default=20, show_default=True, help="One run of so many with `serve`; 0: none."
)
@click.option("--case", "one", default="", help="Repeat this one, as a failure printed it.")
@click.option("--sabotage", type=click.Choice(["", *SABOTAGES]), default="", help="Must be found.")
def main(
    kills: int,
    seconds: int,
    seed: int | None,
    wanted: str,
    lanes: int,
    streets: tuple[str, ...],
    real: int,
    one: str,
    sabotage: str,
) -> None:
    """Torture the service, and ask the people of its town."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and clean up
    seed = secrets.randbelow(10**6) if seed is None else seed
    folder = tempfile.mkdtemp(prefix="torture-", dir=_fast_place())
    with databases.servers(wanted) as servers:
        pool = ProcessPoolExecutor(lanes, get_context("fork"), open_lane, (folder, sabotage))
        try:
            if one:
                [server] = list(servers.values())[:1]
                outcome, _ = pool.submit(perform, from_json(one), server).result()
                click.echo(outcome.story or "all is well")
                sys.exit(bool(outcome.verdict.problems))
            chosen = [street for street in STREETS if street.name in streets or not streets]
            torture = Torture(pool, lanes, servers, seed)
            torture.trace(chosen)
            torture.run(kills, seconds, real)
        finally:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(folder, ignore_errors=True)
    for name, report in torture.reports.items():
        click.echo(f"{name}, seed {seed}: {report}")
    sys.exit(any(report.wrong for report in torture.reports.values()))


Running = dict[Future[tuple[Outcome, list[str]]], str]
"""Each with the name of its database."""


class Torture:
    """Case after case, on each of the *servers* (by the name of the database) in turn."""

    def __init__(
        self, pool: ProcessPoolExecutor, lanes: int, servers: Mapping[str, str], seed: int
    ) -> None:
        self.reports = {name: Report() for name in servers}
        self._pool, self._lanes, self._servers, self._seed = pool, lanes, servers, seed
        self._points: dict[str, list[str]] = {}

    def trace(self, streets: Sequence[Street]) -> None:
        """Learn the points of each street, where nobody dies."""
        name, server = next(iter(self._servers.items()))
        quiet = [
            self._pool.submit(
                perform,
                Case(-number, self._seed, street, "evening", pictures=True),
                server,
                traced=True,
            )
            for number, street in enumerate(streets, 1)
        ]
        for future in quiet:
            outcome, passed = future.result()
            self._points[outcome.case.street.name] = points_of(passed)
            self._note(name, outcome)
        total = sum(map(len, self._points.values()))
        click.echo(f"seed {self._seed}: {total} points to die at, in {len(streets)} streets")

    def run(self, kills: int, seconds: float, real: int) -> None:
        deadline, shown = time.monotonic() + seconds, time.monotonic()
        ahead = cases(self._points, self._seed, real)
        running: Running = {}
        while self.kills() < kills and time.monotonic() < deadline:
            while len(running) < 2 * self._lanes:
                case = next(ahead)
                name = random.Random(case.seed).choice(list(self._servers))
                running[self._pool.submit(perform, case, self._servers[name])] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                self._note(running.pop(future), future.result()[0])
            if time.monotonic() - shown > PROGRESS:
                shown = time.monotonic()
                click.echo(f"{self.kills()} kills so far")
        for future, name in running.items():
            if not future.cancel():
                self._note(name, future.result()[0])

    def kills(self) -> int:
        return sum(report.kills for report in self.reports.values())

    def _note(self, name: str, outcome: Outcome) -> None:
        self.reports[name].count(outcome)
        if outcome.verdict.problems:
            case = as_json(outcome.case)
            click.echo(f"\n{name}, {outcome.case.name}\n{outcome.story}")
            again = f"--database {name.lower()} --case '{case}'"
            click.echo(f"Again: python -m tests.torture {again}\n")


def _fast_place() -> str | None:
    """Killed processes lose nothing that they wrote, so a disk in memory will do."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a folder of its own


if __name__ == "__main__":
    main()
