"""From the event to the last network: when the first byte of its request is there, and when its
answer is stored. In turn with Apprise, which stores nothing, on the same networks.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench import load
from bench.figures import Section, Table, median, ms
from bench.networks import Asked, Networks, networks
from bench.rivals import Rival, apprise
from bench.running import Running, service, until_stored

NUMBERS = (1, 8, 32)
DELAYS = (0.0, 0.1, 0.3)
WAYS = {"/notify": "Apprise", "/async": "Apprise, 64 threads"}
"""By the path of its receiver."""
LIMITS = {(1, 0.0): 15, (8, 0.1): 40, (32, 0.3): 120}
"""Milliseconds until the last network has its first byte."""


@dataclass
class Found:
    """In seconds from the event: when the last network was asked, when its answer was stored, and
    when the caller had its own.
    """

    asked: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def add(self, asked: float, done: float, waited: float) -> None:
        self.asked.append(asked)
        self.done.append(done)
        self.waited.append(waited)


def measure(*, quick: bool) -> Section:
    section = Section(
        "From the event to the last network",
        "Accounts on four networks (Mastodon, Misskey, ntfy, a webhook), which answer after a "
        "while. *Asked* is the time from the webhook's first byte to the first byte of the last "
        "network's request, *done* until the last answer is stored (Apprise stores nothing: until "
        "it has the last answer), *caller waits* until the webhook is answered. *Alone* is one "
        "request to one "
        "of these networks by a plain socket, which nobody can beat. Apprise stands in a Flask "
        "receiver behind gunicorn: once by `notify`, as it comes, and once by `async_notify` with "
        "64 threads, the best that we found. All of them in turn; medians, in milliseconds.",
    )
    rounds = 1 if quick else 9
    head = ("accounts", "network", "by", "asked", "worst", "done", "done / alone", "caller waits")
    rows: list[tuple[str, ...]] = []
    with networks() as them:
        for count in NUMBERS:
            for delay, found, alone in _with(them, count, rounds):
                for who, one in found.items():
                    ratio = median(one.done) / alone
                    rows.append(
                        (
                            f"{count}",
                            f"{delay * 1000:.0f} ms",
                            who,
                            ms(median(one.asked)),
                            ms(max(one.asked)),
                            ms(median(one.done)),
                            f"{ratio:.2f}" if delay else "",
                            ms(median(one.waited)),
                        )
                    )
                ours = found["Announcer"]
                what = f"{count} account{'s' if count > 1 else ''} at {delay * 1000:.0f} ms"
                if limit := LIMITS.get((count, delay)):
                    section.below(f"{what}: the last is asked", limit, median(ours.asked) * 1000)
                if delay:
                    ratio = median(ours.done) / alone
                    section.below(f"{what}: the last answer stored / alone", 1.25, ratio, "times")
    section.tables.append(Table(head, rows))
    section.notes.append(f"{rounds} rounds after one for warmth.")
    return section


def _with(
    them: Networks, count: int, rounds: int
) -> Iterator[tuple[float, dict[str, Found], float]]:
    accounts = them.accounts(count, WHEN_ENDED="leave")
    with service(accounts) as (running, _), apprise(them.for_apprise(count)) as rival:
        stream, total = load.Stream(), 0
        for delay in DELAYS:
            them.answer_after(delay)
            found = {who: Found() for who in ("Announcer", *WAYS.values())}
            alone = []
            for number in range(rounds + 1):
                total += count
                made = {"Announcer": _ours(running, them, stream, count, total)}
                for path, who in WAYS.items():
                    made[who] = _theirs(rival, path, them, stream.start(), count)
                alone.append(_alone(them))
                if number:
                    for who, one in made.items():
                        found[who].add(*one)
            yield delay, found, median(alone[1:])


def _ours(
    running: Running, them: Networks, stream: load.Stream, count: int, total: int
) -> tuple[float, float, float]:
    them.forget()
    message = load.request(stream.start())
    begun = time.perf_counter()
    waited = load.tell(running.port, message)
    asked = them.until(count)
    stored = until_stored(running.database, total)
    load.tell(running.port, load.request(stream.stop()))
    return _last(asked) - begun, stored - begun, waited


def _theirs(
    rival: Rival, path: str, them: Networks, body: bytes, count: int
) -> tuple[float, float, float]:
    them.forget()
    message = load.request(body, path, signed=False)
    begun = time.perf_counter()
    waited = load.tell(rival.port, message)
    return _last(them.until(count)) - begun, waited, waited


def _last(asked: Sequence[Asked]) -> float:
    return max(one.at for one in asked)


def _alone(them: Networks) -> float:
    return load.tell(them.port, load.request(b"{}", "/api/v1/statuses", signed=False))
