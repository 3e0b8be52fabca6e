"""How long Owncast waits for its answer, by load; and how many events are stored at most."""

import time
from collections.abc import Iterator, Mapping, Sequence

from bench import load, machine
from bench.figures import Section, Table, median, number, ratios
from bench.networks import FOREVER, Networks, networks
from bench.rivals import Rival, endpoint
from bench.running import Running, postgres, service

RATES = (50, 200, 400)
CLIENTS = 8
"""Who wait for their answers, when as much as possible is told."""
KINDS = ("mastodon", "bluesky", "discord")


def measure(*, quick: bool) -> Section:
    section = Section(
        "The webhook's answer",
        "Three networks. After a start, every request is a change of the title, signed and on a "
        "connection of its own: the event, the broadcast and its three posts are stored, in one "
        "transaction and synced, before it is answered. The last row is a worse load: starts and "
        "ends by turns, so that 75 posts a second are made as well. The clock of a request starts "
        "when it was due, however late it was sent.",
    )
    seconds = 0.4 if quick else 8.0
    _by_load(section, seconds)
    _at_most(section, 100 if quick else 3000, rounds=2 if quick else 3)
    return section


def _by_load(section: Section, seconds: float) -> None:
    table = Table(
        ("database", "networks", "requests/s", "p50 ms", "p99 ms", "max ms", "load's core"),
        rows := [],
    )
    with postgres() as databases:
        for name in ("SQLite", "PostgreSQL"):
            for hanging in (False, True):
                other = {"ANNOUNCER_DATABASE_URL": next(databases)}
                settings = other if name == "PostgreSQL" else {}
                for rate, kind, told in _runs(settings, seconds, hanging=hanging):
                    state = "hang" if hanging else "healthy"
                    rows.append(
                        (
                            name,
                            state,
                            f"{rate}{kind}",
                            *(number(1000 * told.within(share)) for share in (0.5, 0.99, 1.0)),
                            f"{told.share:.0%}",
                        )
                    )
                    if rate == 200 and not kind and name == "SQLite":
                        section.below(f"webhook, 200/s, {state}: p50", 5, told.within(0.5) * 1000)
                        section.below(f"webhook, 200/s, {state}: p99", 15, told.within(0.99) * 1000)
    section.tables.append(table)


def _runs(
    settings: Mapping[str, str], seconds: float, *, hanging: bool
) -> Iterator[tuple[int, str, load.Told]]:
    with (
        networks(FOREVER if hanging else 0.0) as them,
        service({**them.accounts(len(KINDS), KINDS), **settings}) as (running, _),
    ):
        stream = load.Stream()
        load.tell(running.port, load.request(stream.start()))
        _until_asked(them)
        told(running, [stream.title() for _ in range(50)], 50)
        for rate in RATES:
            titles = [stream.title() for _ in range(int(rate * seconds))]
            yield rate, "", told(running, titles, rate)
        turns = [say() for _ in range(int(25 * seconds)) for say in (stream.start, stream.stop)]
        yield 50, " starts, ends", told(running, turns, 50)


def told(running: Running, bodies: Sequence[bytes], rate: float) -> load.Told:
    return load.at_rate(running.port, [load.request(body) for body in bodies], rate).well()


def _until_asked(them: Networks) -> None:
    """The first announcement is on its way: what is loaded once is loaded."""
    while them.begun() < len(KINDS):
        time.sleep(0.02)


def _at_most(section: Section, number_of: int, rounds: int) -> None:
    """As many as get through, in turn with the least that any endpoint could do."""
    ours: list[float] = []
    nothing: list[float] = []
    commit: list[float] = []
    cost: list[float] = []
    with (
        networks() as them,
        service(them.accounts(len(KINDS), KINDS)) as (running, _),
        endpoint() as bare,
    ):
        stream = load.Stream()
        load.tell(running.port, load.request(stream.start()))
        them.until(len(KINDS))
        for _ in range(rounds + 1):
            bodies = [stream.title() for _ in range(number_of)]
            nothing.append(_bare(bare, bodies, "/nothing"))
            before = machine.processor_time(running.process.pid)
            all_ = load.at_once(running.port, [load.request(body) for body in bodies], CLIENTS)
            ours.append(number_of / all_.well().lasted)
            cost.append((machine.processor_time(running.process.pid) - before) / number_of)
            commit.append(_bare(bare, bodies, "/commit"))
    ours, nothing, commit = ours[1:], nothing[1:], commit[1:]  # the first round is for warmth
    rows = [
        (what, number(median(found)), f"{median(ratios(ours, found)):.2f}")
        for what, found in (
            ("Announcer, stored events", ours),
            ("bare Flask endpoint, one raw SQLite commit", commit),
            ("bare Flask endpoint, nothing stored", nothing),
        )
    ]
    head = (f"as fast as {CLIENTS} clients get through", "requests/s", "Announcer / this")
    section.tables.append(Table(head, rows))
    section.notes.append(
        f"One process each. An event takes Announcer {number(median(cost) * 1000)} ms of processor "
        "time, all of its threads together."
    )
    section.above("stored events/s at saturation, one process", 1000, median(ours))


def _bare(bare: Rival, bodies: Sequence[bytes], path: str) -> float:
    requests = [load.request(body, path, signed=False) for body in bodies]
    return len(bodies) / load.at_once(bare.port, requests, CLIENTS).well().lasted
