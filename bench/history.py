"""What a million old posts cost: every step of the hot path on full databases and an empty one."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from announcer import migrations, outbox, policy
from announcer.events import Event, Kind
from announcer.intake import Intake
from announcer.network import Receipt
from announcer.outbox import Outbox, Try
from announcer.policy import Ending, Manners, Rules
from bench.figures import Section, Table, median, number, quantile, ratios
from bench.running import folder

DESTINATIONS = ("bluesky", "discord", "mastodon", "owncast", "x")
MOMENTS = ("live", "ended")
CONTENT = (
    '{"text": "Kestrel Workshop is live: Fitting a dovetail drawer\\nhttps://live.example.org", '
    '"language": "", "template": "live.1.txt", "mood": "live"}'
)
DAY = timedelta(days=1)
UNEQUAL = ("page: history of 50", "retention: one batch")
"""There is less to show, and nothing to throw away, where there is no history."""


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
        self.intake = Intake(self.box, rules, lambda _: DESTINATIONS, manners, lambda _: None)
        self.now = datetime.now(UTC)
        self.took: dict[str, list[float]] = {}
        self._round = 0

    def _timed(self, what: str, work: Callable[..., Any], *args: Any) -> Any:
        begun = time.perf_counter()
        result = work(*args)
        self.took.setdefault(what, []).append((time.perf_counter() - begun) * 1000)
        return result

    def round(self) -> None:
        """One broadcast from its start to its end."""
        box, what = self.box, Try(self.now, 0.3, "publish", "delivered", "")
        timed, receipt = self._timed, Receipt("7", "https://social.example/7")
        self.now += timedelta(seconds=61)
        self._round += 1
        for kind in (Kind.STARTED, Kind.STOPPED):
            event = Event(
                f"{kind}-new-{self._round}", "default", kind, self.now, self.now, self.now
            )
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
        if self._round % 5 == 0:
            past = timedelta(days=2)
            timed("retention: one batch", box.forget_broadcasts, self.now, past, None)
        if self._round % 2 == 0:
            timed("start: schema and leases", self._start)

    def _start(self) -> None:
        migrations.upgrade(self.box.engine)
        self.box.enlist()


def measure(*, quick: bool) -> Section:
    sizes = (0, 2_000, 20_000) if quick else (0, 10_000, 1_000_000)
    rounds = 10 if quick else 100
    section = Section(
        "Old posts",
        f"Every step of the hot path on three databases in turn, {rounds} broadcasts on each: "
        "empty, and with so many old posts. Five destinations, two posts of each broadcast there, "
        "as many tries; SQLite with full sync. *Ratio* is the median of the ratios to the empty "
        "one, round by round: a disk that is slow for a while is slow for all three.",
    )
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with folder() as place:
            benches = [_made(place, size, section) for size in sizes]
            for one in benches * (rounds + 1):
                one.round()
    finally:
        structlog.configure(**before)
    head = ["milliseconds", "empty: p50", "p99"]
    for size in sizes[1:]:
        head += [f"{size:,}: p50", "p99", "ratio"]
    rows, worst = [], ("", 0.0)
    for what in benches[0].took:
        took = [one.took[what][1:] or one.took[what] for one in benches]  # the first is for warmth
        row = [what]
        for number_of, mine in enumerate(took):
            row += [f"{quantile(mine, share):.2f}" for share in (0.5, 0.99)]
            if number_of:
                ratio = median(ratios(mine, took[0]))
                row.append(f"{ratio:.2f}")
        if what not in UNEQUAL:
            worst = max(worst, (what, ratio), key=lambda found: found[1])
        rows.append(row)
    section.tables.append(Table(head, rows))
    section.notes.append(
        f"No comparison, since an empty database gives less to do: {', '.join(UNEQUAL)}."
    )
    what = f"{sizes[-1]:,} old posts: the worst ratio ({worst[0]})"
    section.below(what, 1.1, worst[1], "times")
    return section


def _made(place: Path, size: int, section: Section) -> Bench:
    file = place / f"{size}.db"
    Bench(file).box.engine.dispose()
    if size:
        fill(file, size, datetime.now(UTC))
        look = time.perf_counter()
        outbox.inspect(f"sqlite:///{file}")
        took = time.perf_counter() - look
        section.notes.append(
            f"{size:,} posts take {number(file.stat().st_size / 1e6)} MB; to look for damage at "
            f"the start, which reads the whole file, {number(took)} s."
        )
    return Bench(file)
