"""Several replicas on one PostgreSQL, each a process of its own: killed, frozen, and with the
database pulled away under them. What the people of the town see is the judge.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from announcer import rehearsal
from announcer.outbox import Outbox, connect
from announcer.outbox.schema import duties, posts
from tests.balancer import Balancer
from tests.fakes import wait_until
from tests.running import Service, webhook
from tests.servers.postgres import Postgres
from tests.town import Town
from tests.town_networks import WEBHOOK
from tests.town_requests import Answer, Asked

SOCIAL = ("mastodon", "bluesky", "x", "discord")
ALL = (*SOCIAL, "owncast")
AT_ONCE = {"ANNOUNCER_HOLD": "0s"}
ARRIVES = {
    "mastodon": "/api/v1/statuses",
    "bluesky": "repo.putRecord",
    "x": "/2/tweets",
    "discord": WEBHOOK.removeprefix("/api"),
    "owncast": "/chat/system",
}
"""How the request ends that brings a post to a network."""
HURRIED = ("-m", "tests.hurried")
PATIENCE = 30.0
POLL = 1.0


def start() -> bytes:
    return rehearsal.webhook("start", "Fitting a dovetail drawer", "Kestrel Workshop")


class Street(Town):
    """Counts who knocks where, and may keep one waiting who logs in to Bluesky: right before a
    post, when everything but sending is done.
    """

    def __init__(self) -> None:
        self.questions: Counter[str] = Counter()
        """Of its Owncast, by path."""
        self.logins = 0
        self.hangs_at_login = False
        super().__init__()

    def arrived(self) -> dict[str, int]:
        """Posts that arrived, by network; of those that are the same people see one."""
        posts = [request for request in self.requests if request.startswith("POST ")]
        found = {
            network: sum(1 for post in posts if post.endswith(end))
            for network, end in ARRIVES.items()
        }
        return {network: count for network, count in found.items() if count}

    def _owncast(self, path: str) -> Answer:
        self.questions[path] += 1
        return super()._owncast(path)

    def _visit(self, request: Any, network: str, asked: Asked, *rest: Any) -> None:
        if asked.path.endswith("createSession"):
            self.logins += 1
            if self.hangs_at_login and self.logins == 1:
                self._released.wait(60)
        super()._visit(request, network, asked, *rest)


@pytest.fixture
def town() -> Iterator[Street]:
    town = Street()
    yield town
    town.close()


class Fleet:
    """Replicas on the database at *url*, which has no table yet."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self.url = folder, url
        self.replicas: list[Service] = []
        self.box = Outbox(connect(url))

    def start(self, count: int, *settings: dict[str, str]) -> list[Service]:
        """So many more, all at once; those."""
        merged = {name: value for some in settings for name, value in some.items()}
        merged["ANNOUNCER_DATABASE_URL"] = self.url

        def one(number: int) -> Service:
            folder = self._folder / f"replica{number}"
            folder.mkdir()
            return Service(folder, merged, HURRIED)

        with ThreadPoolExecutor(count) as pool:
            more = list(pool.map(one, range(len(self.replicas), len(self.replicas) + count)))
        self.replicas += more
        return more

    def stop(self) -> None:
        for replica in self.replicas:
            if replica.process.poll() is None:
                os.killpg(replica.process.pid, signal.SIGCONT)
                replica.kill()
        self.box.engine.dispose()

    def states(self) -> dict[str, str]:
        """Of the only broadcast."""
        shows = self.box.history(9)
        assert len(shows) <= 1, "there must be one broadcast"
        return {p.entry.destination: p.entry.state.value for _, told in shows for p in told}

    def settles(self) -> dict[str, str]:
        """How everything ends."""
        over = ("settled", "unsure", "withdrawn", "failed")
        wait_until(lambda: self.states() and set(self.states().values()) <= {*over}, PATIENCE)
        return self.states()

    def owner(self, column: sa.Column[str]) -> Service:
        """The replica whose name stands in a row."""
        with self.box.engine.connect() as connection:
            (name,) = connection.scalars(sa.select(column).where(column.is_not(None)).distinct())
        (one,) = (r for r in self.replicas if f"-{worker_of(r)}-" in str(name))
        return one


def worker_of(service: Service) -> int:
    pid = service.process.pid
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(worker)


@pytest.fixture
def fleet(tmp_path: Path, postgres: Postgres) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, postgres.empty_database())
    yield fleet
    fleet.stop()


def hear(replicas: list[Service], body: bytes) -> list[int]:
    """All at the same moment."""
    with ThreadPoolExecutor(len(replicas)) as pool:
        return list(pool.map(lambda replica: replica.hear(body), replicas))


def test_d02_g07_three_replicas_that_start_and_hear_at_once_tell_it_once(
    fleet: Fleet, town: Street
) -> None:
    """They find no table: one of them makes the schema. One of them watches, too."""
    polls = {"ANNOUNCER_POLL": f"{POLL:.0f}s"}
    replicas = fleet.start(3, town.settings(*ALL), AT_ONCE, polls)
    told = start()
    assert hear(replicas * 3, told) == [204] * 9
    assert fleet.settles() == dict.fromkeys(ALL, "settled")
    assert town.counts() == dict.fromkeys(ALL, 1)
    assert town.arrived() == dict.fromkeys(ALL, 1)
    assert [replica.stop() for replica in replicas] == [0, 0, 0]


def test_g07_one_replica_watches_and_another_when_it_is_gone(fleet: Fleet, town: Street) -> None:
    polls = {"ANNOUNCER_POLL": f"{POLL:.0f}s"}
    fleet.start(3, town.settings("discord"), AT_ONCE, polls)
    path, rounds = "/api/status", 8
    began, before = time.monotonic(), town.questions["/api/status"]
    wait_until(lambda: town.questions[path] >= before + rounds, PATIENCE)
    # What is live is asked for twice as often, and by chance a fifth more often than that.
    assert time.monotonic() - began > (rounds - 1) * POLL / 2 * 0.8
    watching = fleet.owner(duties.c.owner)
    watching.kill()
    asked = town.questions[path]
    wait_until(lambda: town.questions[path] > asked + 2, PATIENCE)
    fleet.replicas.remove(watching)
    assert fleet.owner(duties.c.owner) in fleet.replicas


def test_a01_a05_a07_a08_g07_a_killed_replica_is_taken_over(fleet: Fleet, town: Street) -> None:
    """Killed after the networks took its posts; another began meanwhile, and waits for its lease
    to end.
    """
    town.hangs_after_accepting(*SOCIAL)
    settings = town.settings(*SOCIAL), AT_ONCE
    (killed,) = fleet.start(1, *settings)
    assert killed.hear(start()) == 204
    wait_until(lambda: town.counts() == dict.fromkeys(SOCIAL, 1), PATIENCE)
    (left,) = fleet.start(1, *settings)
    killed.kill()
    assert fleet.settles() == {**dict.fromkeys(SOCIAL, "settled"), "discord": "unsure"}
    assert town.counts() == dict.fromkeys(SOCIAL, 1)
    assert left.stop() == 0


def test_c06_g07_a_frozen_replica_says_nothing_when_it_wakes(fleet: Fleet, town: Street) -> None:
    """It had done everything but send: the words were stored, and it waited for its login."""
    town.hangs_at_login = True
    replicas = fleet.start(3, town.settings("bluesky"), AT_ONCE)
    balancer = Balancer(*(replica.url for replica in replicas))
    told = start()
    assert webhook(balancer.url, told) == 204
    wait_until(lambda: town.logins, PATIENCE)
    frozen = fleet.owner(posts.c.owner)
    os.killpg(frozen.process.pid, signal.SIGSTOP)
    try:
        assert fleet.settles() == {"bluesky": "settled"}
        assert webhook(balancer.url, told) == 204
        town.release()
    finally:
        os.killpg(frozen.process.pid, signal.SIGCONT)
    wait_until(lambda: "our turn is over" in frozen.log, PATIENCE)
    assert "lost to another owner" in frozen.log
    balancer.close()
    assert town.arrived() == {"bluesky": 1}
    assert [replica.stop() for replica in replicas] == [0, 0, 0]


@pytest.fixture
def fragile() -> Iterator[Postgres]:
    """A server of its own, to be crashed."""
    server = Postgres()
    yield server
    server.stop()


def ready(replica: Service) -> bool:
    return requests.get(f"{replica.url}/readyz", timeout=10).status_code == 200


def test_b12_a_database_that_crashes_and_comes_back_doubles_and_loses_nothing(
    tmp_path: Path, fragile: Postgres, town: Street
) -> None:
    fleet = Fleet(tmp_path, fragile.empty_database())
    town.hangs_after_accepting("mastodon")
    try:
        replicas = fleet.start(2, town.settings("mastodon", "discord"), AT_ONCE)
        assert replicas[0].hear(start()) == 204
        wait_until(lambda: town.counts() == {"mastodon": 1, "discord": 1}, PATIENCE)
        fragile.crash()
        stop = rehearsal.webhook("stop", "Fitting a dovetail drawer", "Kestrel Workshop")
        assert hear(replicas, stop) == [503, 503]
        assert not any(map(ready, replicas))
        town.release()  # the answer comes while there is nowhere to store it
        fragile.start_again()
        assert fleet.settles() == {"mastodon": "settled", "discord": "settled"}
        for replica in replicas:
            replica.until(lambda r=replica: ready(r), "it never recovered")
            replica.until(lambda r=replica: "listening again" in r.log, "it stays deaf")
        assert town.arrived() == {"mastodon": 1, "discord": 1}
        assert hear(replicas, stop) == [204, 204]
        assert [replica.stop() for replica in replicas] == [0, 0]
    finally:
        fleet.stop()
