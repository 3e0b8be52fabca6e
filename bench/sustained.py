"""Announcements a second, from the webhook to the stored receipt: one process, and three."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from pydantic import SecretStr

from announcer import logs, rehearsal
from announcer.network import Network
from announcer.networks.bluesky import Bluesky
from announcer.networks.discord import Discord
from announcer.networks.mastodon import Mastodon
from announcer.policy import Rules
from announcer.web.server import Server
from announcer.wiring import OwncastServer, Service, Settings
from bench import load
from bench.figures import Section, Table, number
from bench.networks import Networks, networks
from bench.running import folder, postgres
from tests.servers import answers, free_port

KINDS = ("mastodon", "discord", "bluesky")
REPLICAS = 3
MIDDLE = (0.1, 0.9)
"""Of all receipts, in their order: neither the beginning nor the end is what can be sustained."""
PATIENCE = 180.0


def measure(*, quick: bool) -> Section:
    channels = 20 if quick else 300
    delay = 0.1
    section = Section(
        "Announcements a second",
        f"{channels} channels go live at once, each with an account of its own on "
        f"{len(KINDS)} networks that answer after {delay * 1000:.0f} ms; webhooks go to the "
        "replicas in turn. A rate is that of the middle 80 % of the receipts, by the time at which "
        "they were stored.",
    )
    rows = []
    with networks(delay) as them, postgres() as databases, folder() as place:
        for who, replicas, database in (
            ("one process, SQLite", 1, f"sqlite:///{place}/sustained.db"),
            ("one process, PostgreSQL", 1, next(databases)),
            (f"{REPLICAS} replicas, PostgreSQL", REPLICAS, next(databases)),
        ):
            rows.append((who, *_rate(them, channels, replicas, database)))
    head = ("", "announcements/s", "all stored after", "told twice", "webhook p99 ms")
    section.tables.append(Table(head, rows))
    section.notes.append(
        "All of it shares this machine's cores: the replicas, PostgreSQL, the networks and whoever "
        "plays Owncast. On machines of their own, replicas would not be in each other's way."
    )
    return section


def _rate(them: Networks, channels: int, replicas: int, database: str) -> tuple[str, ...]:
    with _replicas(channels, database, [free_port() for _ in range(replicas)], them.url) as ports:
        them.forget()
        begun = time.time()
        told = _go_live(channels, ports)
        wanted = channels * len(KINDS)
        stored = _stored(database, wanted)
        twice = len(them.until(wanted)) - wanted
    first, last = (int((len(stored) - 1) * share) for share in MIDDLE)
    rate = (last - first) / (stored[last] - stored[first])
    return (
        number(rate),
        f"{stored[-1] - begun:.1f} s",
        f"{twice}",
        number(told.within(0.99) * 1000),
    )


def _go_live(channels: int, ports: Sequence[int]) -> load.Told:
    messages = [
        load.request(
            rehearsal.webhook("start", f"Stream {n}", f"Channel {n}"),
            f"/webhooks/owncast/{token(n)}",
            signed=False,
        )
        for n in range(channels)
    ]
    return load.at_once(ports, messages, 8).well()


def _stored(database: str, wanted: int) -> list[float]:
    """When each receipt was stored, in their order, once all of them are."""
    engine = sa.create_engine(database.replace("postgresql://", "postgresql+psycopg://", 1))
    when = sa.text("SELECT changed FROM posts WHERE receipt IS NOT NULL ORDER BY changed")
    deadline = time.monotonic() + PATIENCE
    while True:
        with engine.connect() as connection:
            found = [float(row[0]) for row in connection.execute(when)]
        if len(found) >= wanted:
            engine.dispose()
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {wanted} are stored"
        time.sleep(0.2)


@contextmanager
def _replicas(
    channels: int, database: str, ports: Sequence[int], place: str
) -> Iterator[Sequence[int]]:
    """The real server, each in a process of its own, with what 10,000 variables would say."""
    fork = multiprocessing.get_context("spawn")
    running = [
        fork.Process(target=serve_replica, args=(channels, database, port, place)) for port in ports
    ]
    for process in running:
        process.start()
    try:
        for port in ports:
            while not answers(port):
                time.sleep(0.05)
        time.sleep(1)  # their clocks have begun
        yield ports
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join(40)


def serve_replica(channels: int, database: str, port: int, place: str) -> None:
    sys.argv = ["announcer"]  # gunicorn reads it
    os.setsid()
    logs.configure("error", "console", logs.Redactor(()))
    Server(settings(channels, database, port, place)).run()


def settings(channels: int, database: str, port: int, place: str) -> Settings:
    kinds = {kind.name: kind for kind in (Mastodon, Discord, Bluesky)}
    destinations: dict[str, Network] = {}
    for n in range(channels):
        made: tuple[dict[str, object], ...] = (
            {"api_base_url": place, "access_token": SecretStr(f"token-{n}")},
            {"webhook_url": SecretStr(f"{place}/api/webhooks/{n}/token-of-the-webhook")},
            {
                "service": place,
                "identifier": f"c-{n}.test",
                "app_password": SecretStr("abcd-efgh-ijkl-mnop"),
            },
        )
        for name, fields in zip(KINDS, made, strict=True):
            destinations[f"{name}.c{n}"] = kinds[name].model_validate(
                {**fields, "channels": (f"c{n}",)}
            )
    return Settings(
        Service(database_url=SecretStr(database), port=port, log_level="error"),
        Rules(hold=timedelta(), poll=timedelta()),
        {f"c{n}": OwncastServer(webhook_token=SecretStr(token(n))) for n in range(channels)},
        destinations,
    )


def token(channel: int) -> str:
    return f"webhook-token-of-channel-{channel}"
