"""What a million old posts cost: every step of the hot path on a full database and an empty one.

    .venv/bin/python bench/history.py [posts]

Five destinations, two posts of each broadcast there, as many tries and two events of each
broadcast; SQLite on this machine's disk with full sync. Prints figures and judges nothing.
"""

import logging
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from announcer import migrations, outbox, policy
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import Receipt
from announcer.outbox import Outbox, Try
from announcer.policy import Ending, Manners, Rules

DESTINATIONS = ("bluesky", "discord", "mastodon", "owncast", "x")
MOMENTS = ("live", "ended")
CONTENT = (
    '{"text": "Kestrel Workshop is live: Fitting a dovetail drawer\\nhttps://live.example.org", '
    '"language": "", "template": "live.1.txt", "mood": "live"}'
)
ROUNDS = 100
DAY = timedelta(days=1)


def fill(file: Path, posts: int, newest: datetime) -> None:
    """*posts* that are settled, the last a day before *newest*."""
    shows = posts // (len(DESTINATIONS) * len(MOMENTS))
    first = newest - timedelta(days=1, minutes=shows)
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.executemany(
            "INSERT INTO broadcasts (id, channel, began, since, seen, stopped, stamp, connected,"
            " title_stamp, name, title, summary, peak_viewers)"
            " VALUES (?, 'default', ?, ?, ?, ?, ?, ?, ?, 'Kestrel Workshop',"
            " 'Fitting a dovetail drawer', 'Woodwork, live from a small shed.', 17)",
            _shows(shows, first),
        )
        database.executemany(
            "INSERT INTO events VALUES ('default', ?, ?, ?, ?, 'Fitting a dovetail drawer',"
            " 'a new broadcast', ?)",
            (
                (f"{kind}-{n}", kind, at + shift, at + shift, f"b{n}")
                for n in range(shows)
                for at in [(first + timedelta(minutes=n)).timestamp()]
                for kind, shift in ((Kind.STARTED.value, 0), (Kind.STOPPED.value, 30))
            ),
        )
        database.executemany(
            "INSERT INTO posts (key, broadcast, channel, moment, destination, state, wanted, shown,"
            " next_at, until, tries, generation, edition, hush, reason, content, receipt,"
            " lease_until, changed, deaths)"
            " VALUES (?, ?, 'default', ?, ?, 'settled', ?, ?, ?, ?, 1, 0, 0, '', '', ?,"
            ' \'{"id": "7", "url": "https://social.example/7", "extra": {}}\', 0, ?, 0)',
            (
                (key, f"b{n}", moment, name, moment, moment, at, at + 1800, CONTENT, at)
                for n, moment, name, key, at in _posts(shows, first)
            ),
        )
        database.executemany(
            "INSERT INTO tries (post, destination, at, took, step, outcome, reason)"
            " VALUES (?, ?, ?, 0.3, 'publish', 'delivered', '')",
            ((key, name, at) for _, _, name, key, at in _posts(shows, first)),
        )
    database.close()


def _shows(shows: int, first: datetime) -> Iterator[tuple[object, ...]]:
    for n in range(shows):
        at = (first + timedelta(minutes=n)).timestamp()
        yield (f"b{n}", at, at, at + 30, at + 30, at, at, at)


def _posts(shows: int, first: datetime) -> Iterator[tuple[int, str, str, str, float]]:
    for n in range(shows):
        at = (first + timedelta(minutes=n)).timestamp()
        for moment in MOMENTS:
            for name in DESTINATIONS:
                yield n, moment, name, f"b{n}/{moment}/{name}", at


class Bench:
    """The hot path on one database."""

    def __init__(self, file: Path) -> None:
        engine = outbox.connect(f"sqlite:///{file}")
        migrations.upgrade(engine)
        self.box = Outbox(engine)
        manners = dict.fromkeys(DESTINATIONS, Manners(Ending.EDIT, retitles=True, removes=True))
        rules = Rules(hold=timedelta(), resume=timedelta())
        self.intake = Intake(self.box, rules, lambda _: DESTINATIONS, manners, lambda: None)
        self.now = datetime.now(UTC)

    def run(self) -> dict[str, list[float]]:
        """Milliseconds of every round, by what was done."""
        took: dict[str, list[float]] = {}

        def timed(what: str, work: Callable[..., Any], *args: Any) -> Any:
            begun = time.perf_counter()
            result = work(*args)
            took.setdefault(what, []).append((time.perf_counter() - begun) * 1000)
            return result

        box, what = self.box, Try(self.now, 0.3, "publish", "delivered", "")
        receipt = Receipt("7", "https://social.example/7")
        for n in range(ROUNDS):
            self.now += timedelta(seconds=61)
            for kind in (Kind.STARTED, Kind.STOPPED):
                event = Event(f"{kind}-new-{n}", "default", kind, self.now, self.now, self.now)
                timed(f"webhook: {kind}", self.intake.take, event, self.now)
                timed("next_due", box.next_due)
                if kind is Kind.STARTED:
                    claims = timed("claim of five", box.claim, "me", self.now, 100)
                    assert len(claims) == len(DESTINATIONS)
                    for claim in claims:
                        timed("freeze", box.freeze, claim, CONTENT, self.now)
                        told = policy.settled(claim.entry)
                        timed("store", box.store, claim, told, self.now, what, receipt)
                    timed("nothing to claim", box.claim, "me", self.now, 100)
                    timed("nothing abandoned", box.abandoned, "me", self.now)
                    timed("clock set right", box.set_right, self.now)
                    timed("budget of a day", box.published_since, "x", self.now - DAY)
                    timed("page: history of 50", box.history, 50)
            for claim in box.claim("me", self.now + timedelta(minutes=6), 100):
                box.store(claim, policy.changed(claim.entry), self.now, None, None)
        for _ in range(20):
            timed("retention: one batch", box.forget_broadcasts, self.now, timedelta(days=2), None)
        timed("look for damage", outbox.inspect, str(box.engine.url))
        timed("start: schema and leases", self._start)
        return took

    def _start(self) -> None:
        migrations.upgrade(self.box.engine)
        self.box.enlist()


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    posts = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        figures = []
        for number in (0, posts):
            file = Path(folder) / f"{number}.db"
            Bench(file).box.engine.dispose()
            if number:
                begun = time.perf_counter()
                fill(file, number, datetime.now(UTC))
                print(
                    f"filled in {time.perf_counter() - begun:.0f} s: {file.stat().st_size >> 20} MB"
                )
            figures.append(Bench(file).run())
        empty, full = figures
        print(f"{'ms':24} {'empty: p50':>12} {'p99':>8} {f'{posts:,}: p50':>18} {'p99':>8}")
        for what, took in empty.items():
            pairs = [quantile(run, part) for run in (took, full[what]) for part in (0.5, 0.99)]
            print(f"{what:24} {pairs[0]:12.2f} {pairs[1]:8.2f} {pairs[2]:18.2f} {pairs[3]:8.2f}")


if __name__ == "__main__":
    main()
