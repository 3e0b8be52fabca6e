"""Told to stop at the worst moments: what was acknowledged is kept, what is on its way arrives, and
after the next start nobody has seen anything twice.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import requests

from announcer import rehearsal
from announcer.web.stream import leaving
from announcer.web.worker import Worker
from tests.fakes import wait_until
from tests.running import Service
from tests.storm import tell
from tests.test_process import settled, start, states
from tests.town import Town

HURRIED = (
    "-c",
    "from announcer import cli; from announcer.web import server; "
    "server.GRACE, server.PARTING = 3, 2; cli.main()",
)
"""As the service, but a stop waits 1 s and 3 s in all, instead of 25 and 30."""
AT_ONCE = {"ANNOUNCER_HOLD": "0s"}


class Sleepy(Town):
    """Does not answer at *place* before it is released."""

    place = ""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        if self.place and request.path.startswith(self.place):
            self.asked.set()
            self._released.wait(60)
        super()._serve(request)


@pytest.fixture
def town() -> Iterator[Sleepy]:
    town = Sleepy()
    yield town
    town.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Starts the service, on the same database each time."""
    started: list[Service] = []

    def serve(settings: dict[str, str], hurried: bool = False) -> Service:
        program = HURRIED if hurried else ("-m", "announcer")
        started.append(Service(tmp_path, settings, program))
        return started[-1]

    yield serve
    for service in started:
        if service.process.poll() is None:
            service.kill()


def ends(service: Service, within: float) -> int:
    """The exit status, once it has ended in time."""
    status = service.wait(within)
    assert "Traceback" not in service.log
    return status


def locked(folder: Path) -> sqlite3.Connection:
    """The database, in the hands of another process until this is closed."""
    other = sqlite3.connect(folder / "announcer.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def stored(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "announcer.db")) as reader:
        return {row[0] for row in reader.execute("SELECT title FROM events")}


def settles(serve: Any, settings: dict[str, str], folder: Path) -> dict[str, str]:
    """The states after another start, when there is nothing left to do."""
    service = serve(settings)
    service.until(lambda: settled(folder), "it never settled")
    assert service.stop() == 0
    return states(folder)


# While an event is being acknowledged


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_g01_b07_what_was_acknowledged_is_kept_whenever_it_stops(
    serve: Any, tmp_path: Path, how: signal.Signals
) -> None:
    service = serve({})
    assert service.hear(start()) == 204
    kept: list[str] = []

    def shout(name: int) -> None:
        with suppress(OSError, ValueError):
            for number in range(10_000):
                title = f"Title {name}-{number}"
                if tell(service.port, rehearsal.webhook("title", title, "Kestrel")) != 204:
                    return
                kept.append(title)

    shouting = [threading.Thread(target=shout, args=(name,)) for name in range(4)]
    for one in shouting:
        one.start()
    wait_until(lambda: len(kept) > 40)
    os.killpg(service.process.pid, how)
    for one in shouting:
        one.join()
    assert ends(service, 15) == (0 if how is signal.SIGTERM else -how)
    assert set(kept) <= stored(tmp_path)


@pytest.mark.parametrize("lasts", [False, True], ids=["a short lock", "a lock that lasts"])
def test_g01_b04_a_stop_while_an_event_waits_for_the_database(
    serve: Any, tmp_path: Path, lasts: bool
) -> None:
    service = serve({}, hurried=True)
    lock, answers = locked(tmp_path), list[int]()
    body = rehearsal.webhook("start", "Fitting a dovetail drawer", "Kestrel")

    def tell_it() -> None:
        with suppress(requests.RequestException):
            answers.append(service.hear(body))

    telling = threading.Thread(target=tell_it)
    telling.start()
    time.sleep(0.3)
    service.process.terminate()
    time.sleep(0.3)
    if not lasts:
        lock.close()
    telling.join(12)
    assert ends(service, 12) == 0
    lock.close()
    assert answers in ([[], [503]] if lasts else [[204]])
    assert ("Fitting a dovetail drawer" in stored(tmp_path)) is not lasts


def test_g01_a_client_that_dawdles_does_not_cost_the_posts_their_time(
    town: Sleepy, serve: Any, tmp_path: Path
) -> None:
    """Both waits together stay within the grace, or the process is killed in the second."""
    town.hangs_after_accepting("discord")
    service = serve({**town.settings("discord"), **AT_ONCE})
    assert service.hear(start()) == 204
    wait_until(lambda: town.visible)
    with requests.Session() as kept:
        kept.get(f"{service.url}/healthz", timeout=5)
        begun = time.monotonic()
        service.process.terminate()
        time.sleep(0.5)
        town.release()
        assert ends(service, 15) == 0
    assert time.monotonic() - begun < 6
    assert states(tmp_path) == {"discord": "settled"}


# While a post is on its way


def test_g01_a_stop_before_the_post_has_left(town: Sleepy, serve: Any, tmp_path: Path) -> None:
    """Claimed and not yet sent: it looks whether the stream is up. The stop waits for it."""
    town.place = "/api/status"
    settings = {**town.settings("discord"), "ANNOUNCER_HOLD": "1s", "ANNOUNCER_POLL": "0s"}
    service = serve(settings)
    assert service.hear(start()) == 204
    wait_until(town.asked.is_set)
    assert states(tmp_path) == {"discord": "sending"}
    service.process.terminate()
    time.sleep(0.3)
    town.release()
    assert ends(service, 15) == 0
    assert (states(tmp_path), town.counts()) == ({"discord": "settled"}, {"discord": 1})
    assert "still on their way" not in service.log


def test_g02_killed_before_the_post_has_left_it_is_sent_by_the_next(
    town: Sleepy, serve: Any, tmp_path: Path
) -> None:
    town.place = "/api/status"
    settings = {**town.settings("discord"), "ANNOUNCER_HOLD": "1s", "ANNOUNCER_POLL": "0s"}
    service = serve(settings)
    assert service.hear(start()) == 204
    wait_until(town.asked.is_set)
    service.process.terminate()
    time.sleep(0.1)
    service.kill()
    town.release()
    assert settles(serve, settings, tmp_path) == {"discord": "settled"}
    assert town.counts() == {"discord": 1}


NETWORKS = ("mastodon", "bluesky", "x", "discord")
AFTERWARDS = dict.fromkeys(NETWORKS, "settled") | {"discord": "unsure"}
"""Of a post that was taken, and no answer came: nothing twice, and Discord does not tell."""


def hanging(town: Sleepy, serve: Any, hurried: bool = False) -> Service:
    """A service whose posts were all taken, and none was answered."""
    town.hangs_after_accepting(*NETWORKS)
    service: Service = serve({**town.settings(*NETWORKS), **AT_ONCE}, hurried)
    assert service.hear(start()) == 204
    wait_until(lambda: len(town.visible) == len(NETWORKS))
    return service


def test_g01_networks_that_never_answer_do_not_hold_up_the_end(
    town: Sleepy, serve: Any, tmp_path: Path
) -> None:
    service, begun = hanging(town, serve, hurried=True), time.monotonic()
    service.process.terminate()
    assert ends(service, 10) == 0
    assert time.monotonic() - begun < 8
    assert states(tmp_path) == dict.fromkeys(NETWORKS, "sending"), "left to the next start"
    assert "still on their way" in service.log
    town.release()
    settings = {**town.settings(*NETWORKS), **AT_ONCE}
    assert settles(serve, settings, tmp_path) == AFTERWARDS
    assert town.counts() == dict.fromkeys(NETWORKS, 1)


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_g02_a_second_signal_loses_and_repeats_nothing(
    town: Sleepy, serve: Any, tmp_path: Path, second: str
) -> None:
    service = hanging(town, serve)
    service.process.terminate()
    time.sleep(0.3)
    begun = time.monotonic()
    if second == "SIGKILL":
        service.kill()
    else:
        service.process.send_signal(signal.Signals[second])
    if second == "SIGTERM":  # patience is not for one more ask to end
        time.sleep(0.3)
        assert service.process.poll() is None
        town.release()
    if second != "SIGKILL":
        assert ends(service, 10) == 0
    assert time.monotonic() - begun < 6
    if second == "SIGTERM":
        assert states(tmp_path) == dict.fromkeys(NETWORKS, "settled")
        assert town.counts() == dict.fromkeys(NETWORKS, 1)
        return
    assert states(tmp_path) == dict.fromkeys(NETWORKS, "sending")
    town.release()
    settings = {**town.settings(*NETWORKS), **AT_ONCE}
    assert settles(serve, settings, tmp_path) == AFTERWARDS
    assert town.counts() == dict.fromkeys(NETWORKS, 1)


def test_g01_ctrl_c_waits_for_what_is_on_its_way(town: Sleepy, serve: Any, tmp_path: Path) -> None:
    """A terminal sends it to every process of the group."""
    service = hanging(town, serve)
    os.killpg(service.process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert service.process.poll() is None
    town.release()
    assert ends(service, 15) == 0
    assert states(tmp_path) == dict.fromkeys(NETWORKS, "settled")
    assert town.counts() == dict.fromkeys(NETWORKS, 1)


def test_g01_b02_a_stop_while_the_receipt_can_not_be_stored(
    town: Sleepy, serve: Any, tmp_path: Path
) -> None:
    service = hanging(town, serve, hurried=True)
    lock = locked(tmp_path)
    service.process.terminate()
    time.sleep(0.3)
    town.release()
    assert ends(service, 10) == 0
    lock.close()
    assert states(tmp_path) == dict.fromkeys(NETWORKS, "sending")
    settings = {**town.settings(*NETWORKS), **AT_ONCE}
    assert settles(serve, settings, tmp_path) == AFTERWARDS
    assert town.counts() == dict.fromkeys(NETWORKS, 1)


# Right at the start


@pytest.mark.parametrize("after", [0.1, 0.5, 0.8, 1.1])
def test_g01_a_stop_right_at_the_start(
    town: Sleepy, serve: Any, tmp_path: Path, after: float
) -> None:
    settings = {**town.settings("discord"), "ANNOUNCER_HOLD": "1s"}
    service = serve(settings)
    assert service.hear(start()) == 204
    service.kill()
    process = subprocess.Popen(
        [sys.executable, "-m", "announcer", "serve"],
        cwd=tmp_path,
        env=service.environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        time.sleep(after)
        process.terminate()
        _, said = process.communicate(timeout=12)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # Before Python listens to signals, the system ends it.
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"Traceback" not in said
    assert settles(serve, settings, tmp_path) == {"discord": "settled"}
    assert town.counts() == {"discord": 1}


def test_a_second_signal_in_the_middle_of_the_first_does_not_wait_for_it() -> None:
    """As when Ctrl-C comes from the terminal and from gunicorn's parent: in one thread."""
    worker = Worker.__new__(Worker)
    worker.told_to_stop, worker._quitting, ended = None, False, list[str]()

    class Pool:
        lock = threading.Lock()

        def shutdown(self, *, wait: bool) -> None:
            assert self.lock.acquire(timeout=1), f"it waits for itself ({wait})"
            worker.handle_quit(signal.SIGQUIT, None)
            ended.append("once")

    worker.tpool, worker.cfg = Pool(), Mock()
    leaving.clear()
    try:
        with pytest.raises(SystemExit):
            worker.handle_quit(signal.SIGINT, None)
    finally:
        leaving.clear()
    assert ended == ["once"]
