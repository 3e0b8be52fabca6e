"""What a million old posts cost: every step of the hot path on a full database and an empty one.

    .venv/bin/python bench/history.py [posts]

Five destinations, two posts of each broadcast there, as many tries and two events of each
broadcast; SQLite on this machine's disk with full sync. Prints figures and judges nothing.
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from announcer import migrations, outbox, policy
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import Moment, Receipt
from announcer.outbox import Outbox, Try
from announcer.policy import Ending, Manners, Rules

DESTINATIONS = ("bluesky", "discord", "mastodon", "owncast", "x")
MOMENTS = ("live", "ended")
CONTENT = (
    '{"text": "Kestrel Workshop is live: Fitting a dovetail drawer\\nhttps://live.example.org", '
    '"language": "", "template": "live.1.txt", "mood": "live"}'
)
ROUNDS = 200


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
            " lease_until, changed)"
            " VALUES (?, ?, 'default', ?, ?, 'settled', ?, ?, ?, ?, 1, 0, 0, '', '', ?,"
            ' \'{"id": "7", "url": "https://social.example/7", "extra": {}}\', 0, ?)',
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

        def timed(what: str, work: Callable[[], Any]) -> Any:
            begun = time.perf_counter()
            result = work()
            took.setdefault(what, []).append((time.perf_counter() - begun) * 1000)
            return result

        for n in range(ROUNDS):
            self.now += timedelta(seconds=61)
            for kind in (Kind.STARTED, Kind.STOPPED):
                event = Event(f"{kind}-new-{n}", "default", kind, self.now, self.now, self.now)
                timed(f"webhook: {kind}", lambda event=event: self.intake.take(event, self.now))
                if kind is Kind.STARTED:
                    timed("next_due", self.box.next_due)
                    claims = timed("claim of five", lambda: self.box.claim("me", self.now, 100))
                    assert len(claims) == len(DESTINATIONS)
                    for claim in claims:
                        timed("freeze", lambda c=claim: self.box.freeze(c, CONTENT, self.now))
                        what = Try(self.now, 0.3, "publish", "delivered", "")
                        told = policy.settled(claim.entry)
                        receipt = Receipt("7", "https://social.example/7")
                        timed(
                            "store",
                            lambda c=claim, t=told: self.box.store(c, t, self.now, what, receipt),
                        )
                    timed("nothing to claim", lambda: self.box.claim("me", self.now, 100))
                    timed("nothing abandoned", lambda: self.box.abandoned("me", self.now))
                    day = self.now - timedelta(days=1)
                    timed("budget of a day", lambda: self.box.published_since("x", day))
                    timed("page: history of 50", lambda: self.box.history(50))
                    assert claims[0].entry.moment is Moment.LIVE
            for claim in self.box.claim("me", self.now + timedelta(minutes=6), 100):
                self.box.store(claim, policy.changed(claim.entry), self.now, None, None)
        return took


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> None:
    posts = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        figures = []
        for number in (0, posts):
            file = Path(folder) / f"{number}.db"
            Bench(file).box.engine.dispose()
            if number:
                begun = time.perf_counter()
                fill(file, number, datetime.now(UTC))
                print(f"filled in {time.perf_counter() - begun:.0f} s: {file.stat().st_size >> 20} MB")
            figures.append(Bench(file).run())
        empty, full = figures
        print(f"{'ms':24} {'empty: p50':>12} {'p99':>8} {f'{posts:,}: p50':>18} {'p99':>8}")
        for what, took in empty.items():
            pairs = [quantile(run, part) for run in (took, full[what]) for part in (0.5, 0.99)]
            print(f"{what:24} {pairs[0]:12.2f} {pairs[1]:8.2f} {pairs[2]:18.2f} {pairs[3]:8.2f}")


if __name__ == "__main__":
    main()
