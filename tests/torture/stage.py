"""Plays one case: a town, a database, and life after life until the play is over."""

import json
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from announcer import crashpoints, rehearsal
from announcer.outbox import Outbox
from announcer.policy import Entry
from tests.running import SECRET
from tests.torture import databases
from tests.torture.judge import TEMPLATES, Verdict, is_busy, judge
from tests.torture.lives import PATIENCE, Life, Nursery, ServedLife
from tests.torture.plays import PLAYS, Case, Step
from tests.town import Town, Trouble
from tests.town_requests import Asked

BACKING_OFF = 120.0
"""Seconds until even a post that has met one trouble after the other must have come to rest."""
LIVES = 40
"""More than any case needs."""


class NeverAtRest(Exception):
    """Something was still to be done when patience ended."""


@dataclass
class Outcome:
    case: Case
    verdict: Verdict
    lives: int
    kills: int
    story: str = ""
    """What happened, if something is wrong."""
    seconds: float = 0.0


@dataclass
class Performance:
    """*trace* is a file that gets the name of every crash point passed."""

    case: Case
    folder: Path
    nursery: Nursery
    url: str
    trace: Path | None = None
    kills: int = 0
    _life: Life | None = None
    _lives: int = 0
    _shots: Counter[str] = field(default_factory=Counter)
    _acknowledged: set[str] = field(default_factory=set)
    _told: bytes = b""

    def play(self) -> Outcome:
        begun = time.monotonic()
        case = self.case
        self._dice = random.Random(case.seed)
        self._deaths = deque(case.deaths)
        self.folder.mkdir(parents=True, exist_ok=True)
        words = self.folder / "templates"
        words.mkdir(exist_ok=True)
        for name, text in TEMPLATES.items():
            (words / name).write_text(text, "utf-8")
        self._town = town = Town(
            **case.street.ways, pictures=case.pictures, trouble=_troubles(self._dice, case.troubled)
        )
        self._settings = {
            **town.settings(*case.street.networks),
            **case.street.settings,
            "OWNCAST_WEBHOOK_SECRET": SECRET,
            "ANNOUNCER_DATABASE_URL": self.url,
            "ANNOUNCER_TEMPLATES": str(words),
        }
        if "x" in case.street.networks:
            self._settings["X_POSTS_PER_DAY"] = "100"
        if case.real:
            short = {"HOLD": "0s", "GRACE": "1s", "POLL": "0s"}
            self._settings |= {f"ANNOUNCER_{name}": value for name, value in short.items()}
        self._box = databases.look(self.url)
        try:
            verdict = self._verdict()
            story = self._story(verdict) if verdict.problems else ""
        finally:
            self._end()
            town.close()
            self._box.engine.dispose()
        return Outcome(case, verdict, self._lives, self.kills, story, time.monotonic() - begun)

    def _verdict(self) -> Verdict:
        try:
            for step in PLAYS[self.case.play]:
                self._do(step)
            time.sleep(0.02)  # one that dies right after it has stored everything
            self._rest()
        except NeverAtRest as problem:
            verdict = judge(self.case, self._town.ledger, self._box, self._acknowledged)
            verdict.against("stuck", str(problem))
            return verdict
        return judge(self.case, self._town.ledger, self._box, self._acknowledged)

    def _do(self, step: Step) -> None:
        match step.what:
            case "rest":
                self._rest()
            case "pause":
                time.sleep(self._dice.uniform(0, 0.3))
            case "again":
                self._tell(self._told)
            case what:
                self._tell(rehearsal.webhook(what, step.title, "Kestrel"))

    def _living(self) -> Life:
        """The life that is, or a new one."""
        if self._life and self._life.alive():
            return self._life
        self._bury()
        if self._lives == LIVES:
            raise NeverAtRest(f"it died {LIVES} times")
        self._lives += 1
        death = self._deaths.popleft() if self._deaths else ""
        by_clock = death.startswith(("kill ", "term "))
        arms = {} if by_clock else {crashpoints.CRASH_AT: death}
        if self.trace:
            arms[crashpoints.TRACE] = str(self.trace)
        if self.case.real:
            self._life = ServedLife(self.folder, self._settings)
        else:
            log = self.folder / "service.log"
            self._life = self.nursery.start(self._settings, arms, log)
        if by_clock:
            how, _, seconds = death.partition(" ")
            timer = threading.Timer(float(seconds), self._shoot, (self._life, how))
            timer.daemon = True
            timer.start()
        return self._life

    def _shoot(self, life: Life, how: str) -> None:
        if how == "term":
            life.send(signal.SIGTERM)
            time.sleep(self._dice.uniform(0, 0.2))
        if life.alive():
            life.send(signal.SIGKILL)

    def _bury(self) -> None:
        if self._life:
            self._life.bury()
            self._life = None
            self.kills += 1
            databases.bury(self._box)

    def _end(self) -> None:
        if self._life:
            self._life.send(signal.SIGKILL)
            self._life.bury()

    def _tell(self, body: bytes) -> None:
        """As an Owncast that repeats what was not acknowledged: the real one only asks once, and
        `watch` makes up for it.
        """
        while True:
            life = self._living()
            status = life.hear(body)
            if status == 204:
                self._told = body
                self._acknowledged.add(json.loads(body)["eventData"]["id"])
                return
            if status is not None:
                raise NeverAtRest(f"a webhook was answered {status}")
            time.sleep(0.01)

    def _rest(self) -> None:
        begun = time.monotonic()
        while busy := self._busy():
            # After some troubles in a row the next try is a while off: that is no unrest.
            waits = any(entry.next_at > datetime.now(UTC) for entry in busy)
            if time.monotonic() - begun > (BACKING_OFF if waits else PATIENCE):
                told = [f"{entry.key} {entry.state} {entry.reason}" for entry in busy]
                raise NeverAtRest(f"after {time.monotonic() - begun:.0f} s: {told}")
            self._living()
            time.sleep(0.01)

    def _busy(self) -> list[Entry]:
        return [
            post.entry for _, posts in self._box.history(3) for post in posts if is_busy(post.entry)
        ]

    def _story(self, verdict: Verdict) -> str:
        lines = [f"{kind}: {text}" for kind, text in verdict.problems]
        lines += ["What people saw:"]
        for post in self._town.ledger.ever:
            gone = f", gone at {post.gone_at:.3f}" if post.gone_at else ""
            answers = f", answers {post.answers}" if post.answers else ""
            was = f", was {post.was}" if post.was else ""
            lines.append(
                f"  {post.at:.3f} {post.network} {post.id} {post.text!r}{answers}{was}{gone}"
            )
        lines += ["What we know:", *_rows(self._box)]
        lines += ["What the service said last:"]
        log = self.folder / "service.log"
        lines += log.read_text("utf-8", "replace").splitlines()[-40:] if log.exists() else []
        return "\n".join(lines)


def _rows(box: Outbox) -> list[str]:
    lines = []
    for _, posts in box.history(3):
        for post in posts:
            lines.append(f"  {post.entry.key} {post.entry.state} {post.entry.reason}")
            lines += [
                f"    {one.at.timestamp():.3f} {one.step} {one.outcome} {one.reason}"
                for one in post.tries
            ]
    return lines


def _troubles(dice: random.Random, chance: float) -> Callable[[Asked], Trouble | None]:
    def trouble(_: Asked) -> Trouble | None:
        return dice.choice(tuple(Trouble)) if dice.random() < chance else None

    return trouble
