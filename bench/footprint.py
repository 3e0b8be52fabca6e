"""Memory, start, size."""

import time
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from announcer.settings import variable_name
from bench import load
from bench.figures import Section, Table, median, ms, number
from bench.machine import proportional_size
from bench.networks import networks
from bench.rivals import apprise
from bench.running import PLAIN, Running, folder, service
from tests.rows import EVERY
from tests.servers import free_port

KINDS = ("mastodon", "bluesky", "discord")
IDLE = 2.0
"""Seconds after the first answer, until memory is looked at: what a start leaves behind is gone."""


def measure(*, quick: bool) -> Section:
    section = Section(
        "Memory, start, size",
        "Memory is the PSS of all processes: shared pages are divided among their users. *Idle* is "
        f"{IDLE:.0f} seconds after the first answer.",
    )
    _memory(section, starts=2 if quick else 7, events=200 if quick else 2000)
    _size(section)
    return section


def _memory(section: Section, starts: int, events: int) -> None:
    rows: list[tuple[str, str]] = []
    with networks() as them:
        settings, first, again = them.accounts(3, KINDS), [], []
        with folder() as place:
            _start(place, settings)
            for _ in range(starts):
                with service(settings) as (_, took):
                    first.append(took)
                again.append(_start(place, settings))
        with service(settings) as (running, _):
            time.sleep(IDLE)
            idle = proportional_size(running.process.pid)
            stream = load.Stream()
            for _ in range(events // 20):
                load.tell(running.port, load.request(stream.start()))
                titles = [load.request(stream.title()) for _ in range(18)]
                load.at_once(running.port, titles, 8).well()
                load.tell(running.port, load.request(stream.stop()))
            time.sleep(IDLE)
            loaded = proportional_size(running.process.pid)
        with service(every_network()) as (running, took_all):
            time.sleep(IDLE)
            everything = proportional_size(running.process.pid)
        with apprise(them.for_apprise(3)) as rival:
            load.tell(rival.port, load.request(stream.start(), "/notify", signed=False))
            theirs = proportional_size(rival.process.pid)
            messages = [
                load.request(stream.start(), "/notify", signed=False) for _ in range(events // 20)
            ]
            load.at_once(rival.port, messages, 8).well()
            theirs_loaded = proportional_size(rival.process.pid)
    for what, size in (
        ("idle, three networks", idle),
        (f"after {events} webhooks and the posts that follow", loaded),
        (f"idle, every network configured ({len(EVERY)} accounts)", everything),
        ("Apprise in a Flask receiver, three accounts, after its first post", theirs),
        (f"Apprise, after {events // 20} posts to each", theirs_loaded),
    ):
        rows.append((what, f"{number(size)} MB"))
    section.tables.append(Table(("memory", "PSS"), rows))
    section.tables.append(
        Table(
            ("from the start of the process to the first answer", "median", "worst"),
            [
                ("new database", f"{ms(median(first))} ms", f"{ms(max(first))} ms"),
                ("known database", f"{ms(median(again))} ms", f"{ms(max(again))} ms"),
                ("every network configured, new database", f"{ms(took_all)} ms", ""),
                ("Apprise in a Flask receiver", f"{ms(rival.started)} ms", ""),
            ],
        )
    )
    section.below("memory idle, three networks", 80, idle, "MB")
    section.below("start to first answer", 1, median(first), "s")


def _start(place: Path, settings: dict[str, str]) -> float:
    """Seconds until the first answer, on the database that stands there."""
    begun = time.perf_counter()
    running = Running(place, {**PLAIN, **settings})
    took = time.perf_counter() - begun
    running.kill()
    return took


def every_network() -> dict[str, str]:
    """Settings of an account on each, as the contract's tests have them. None is reached."""
    settings: dict[str, str] = {}
    for number_of, row in enumerate(EVERY):
        network = row.network
        fields = row.settings(free_port()) if callable(row.settings) else row.settings
        prefix = network.name.upper()
        if prefix != "OWNCAST":
            prefix = f"{prefix}__N{number_of}"
        settings |= {variable_name(prefix, field): str(fields[field]) for field in fields}
    return settings


def _size(section: Section) -> None:
    small, large = _needed("announcer", ()), _needed("announcer", ("all",))
    rows = [
        ("Announcer itself", f"{number(_megabytes(['announcer']))} MB", ""),
        ("with what it needs", f"{number(_megabytes(small))} MB", f"{len(small)}"),
        ("with all extras", f"{number(_megabytes(large))} MB", f"{len(large)}"),
    ]
    section.tables.append(Table(("installed, without Python", "size", "packages"), rows))


def _needed(name: str, extras: tuple[str, ...]) -> list[str]:
    """The names of a package and of all that it needs, as they are installed here."""
    found: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        one, wanted = waiting.pop()
        known = found.get(one)
        if known is not None and set(wanted) <= known:
            continue
        try:
            installed = distribution(one)
        except PackageNotFoundError:
            continue  # for another system or Python
        found[one] = (known or set()) | set(wanted)
        waiting += _next(installed, found[one])
    return sorted(found)


def _next(
    installed: Distribution, extras: set[str]
) -> Iterator[tuple[NormalizedName, tuple[str, ...]]]:
    for text in installed.requires or ():
        needed = Requirement(text)
        chosen = [{"extra": extra} for extra in (extras or {""})]
        if needed.marker is None or any(needed.marker.evaluate(one) for one in chosen):
            yield canonicalize_name(needed.name), tuple(needed.extras)


def _megabytes(names: list[str]) -> float:
    files = (file for name in names for file in distribution(name).files or ())
    paths = {Path(str(file.locate())) for file in files}
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
