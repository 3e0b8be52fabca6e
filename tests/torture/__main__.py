"""Kills the service at every crash point and at random, over all networks; exit status 1 if people
ever saw what they must not.
"""

import json
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
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
    fresh = databases.postgresql(server) if server else databases.sqlite
    trace = place / f"trace {case.number}" if traced else None
    outcome = Performance(case, folder, nursery, fresh, trace).play()
    shutil.rmtree(folder)
    return outcome, trace.read_text("utf-8").splitlines() if trace else []


@dataclass
class Report:
    """What all of it came to."""

    databases: Counter[str] = field(default_factory=Counter)
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
@click.option("--database", "server", default="", help="A PostgreSQL server; none is SQLite.")
@click.option("--lanes", default=5, show_default=True, help="Runs at a time.")
@click.option("--street", "streets", multiple=True, help="Only these, by name. Repeatable.")
@click.option(
    "--real", default=20, show_default=True, help="One run of so many with `serve`; 0: none."
)
@click.option("--case", "one", default="", help="Repeat this one, as a failure printed it.")
@click.option("--sabotage", type=click.Choice(list(SABOTAGES)), default=None, help="Must be found.")
def main(
    kills: int,
    seconds: int,
    seed: int | None,
    server: str,
    lanes: int,
    streets: tuple[str, ...],
    real: int,
    one: str,
    sabotage: str | None,
) -> None:
    """Torture the service, and ask the people of its town."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    folder = tempfile.mkdtemp(prefix="torture-", dir=_fast_place())
    pool = ProcessPoolExecutor(lanes, get_context("fork"), open_lane, (folder, sabotage or ""))
    try:
        if one:
            outcome, _ = pool.submit(perform, from_json(one), server).result()
            click.echo(outcome.story or "all is well")
            sys.exit(bool(outcome.verdict.problems))
        wanted = [street for street in STREETS if street.name in streets or not streets]
        report = _torture(pool, wanted, seed, server, kills, seconds, real)
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(f"{'PostgreSQL' if server else 'SQLite'}, seed {seed}: {report}")
    sys.exit(1 if report.wrong else 0)


def _torture(
    pool: ProcessPoolExecutor,
    streets: Sequence[Street],
    seed: int,
    server: str,
    kills: int,
    seconds: int,
    real: int,
) -> Report:
    deadline = time.monotonic() + seconds
    report, points = Report(), dict[str, list[str]]()
    quiet = [
        Case(-number, seed, street, "evening", pictures=True)
        for number, street in enumerate(streets, 1)
    ]
    for outcome, passed in pool.map(_traced, quiet, [server] * len(quiet)):
        points[outcome.case.street.name] = points_of(passed)
        _tell(report, outcome, server)
    total = sum(map(len, points.values()))
    click.echo(f"seed {seed}: {total} points to die at, in {len(points)} streets")
    ahead = cases(points, seed, real)
    running: set[Future[tuple[Outcome, list[str]]]] = set()
    shown = time.monotonic()
    while report.kills < kills and time.monotonic() < deadline:
        while len(running) < 2 * pool._max_workers:  # type: ignore[attr-defined]  # not public
            running.add(pool.submit(perform, next(ahead), server))
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            _tell(report, future.result()[0], server)
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            click.echo(str(report))
    for future in running:
        future.cancel()
    for future in wait(running).done:
        if not future.cancelled():
            _tell(report, future.result()[0], server)
    return report


def _traced(case: Case, server: str) -> tuple[Outcome, list[str]]:
    return perform(case, server, traced=True)


def _tell(report: Report, outcome: Outcome, server: str) -> None:
    report.count(outcome)
    if outcome.verdict.problems:
        database = f" --database {server}" if server else ""
        click.echo(f"\n{outcome.case.name}\n{outcome.story}")
        case = as_json(outcome.case)
        click.echo(f"Again: python -m tests.torture{database} --case '{case}'\n")


def _fast_place() -> str | None:
    """Killed processes lose nothing that they wrote, so a disk in memory will do."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a folder of its own


if __name__ == "__main__":
    main()
