"""The whole service, killed and restarted at the worst moments. The people of a made-up town are
the judge: what they see on each network, after everything has settled.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from announcer import rehearsal
from announcer.outbox import Shown
from tests.fakes import open_box, wait_until
from tests.running import Service
from tests.town import Town

SOCIAL = ("mastodon", "bluesky", "x", "discord")
ALL = (*SOCIAL, "owncast")
AT_ONCE = {"ANNOUNCER_HOLD": "0s"}
MOVING = ("due", "sending")


def start() -> bytes:
    return rehearsal.webhook("start", "Fitting a dovetail drawer", "Kestrel Workshop")


def posts(folder: Path) -> dict[str, Shown]:
    """Of the newest broadcast, by destination, as they stand in the database."""
    box = open_box(folder / "announcer.db")
    shows = box.history(1)
    box.engine.dispose()
    return {post.entry.destination: post for post in shows[0][1]} if shows else {}


def states(folder: Path) -> dict[str, str]:
    return {name: post.entry.state.value for name, post in posts(folder).items()}


def settled(folder: Path) -> bool:
    """Whether there is nothing left to do."""
    found = states(folder)
    return bool(found) and not any(state in MOVING for state in found.values())


Build = Callable[..., Town]


@pytest.fixture
def build() -> Iterator[Build]:
    towns: list[Town] = []

    def build(**ways: Any) -> Town:
        towns.append(Town(**ways))
        return towns[-1]

    yield build
    for town in towns:
        town.close()


Serve = Callable[..., Service]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the service, on the same database each time."""
    started: list[Service] = []

    def serve(*settings: dict[str, str]) -> Service:
        merged = {name: value for some in settings for name, value in some.items()}
        started.append(Service(tmp_path, merged))
        return started[-1]

    yield serve
    for service in started:
        if service.process.poll() is None:
            service.kill()


def crash(
    town: Town, serve: Serve, folder: Path, *networks: str
) -> tuple[dict[str, str], dict[str, int]]:
    """Killed after *networks* took the post and before a receipt was stored, then started again.
    What the database and the people say in the end.
    """
    town.hangs_after_accepting(*networks)
    service = serve(town.settings(*networks), AT_ONCE)
    assert service.hear(start()) == 204
    wait_until(lambda: town.counts() == dict.fromkeys(networks, 1))
    service.kill()
    assert states(folder) == dict.fromkeys(networks, "sending")
    service = serve(town.settings(*networks), AT_ONCE)
    service.until(lambda: settled(folder), "it never settled")
    assert service.stop() == 0
    return states(folder), town.counts()


# A: killed between the network's accepting and our storing the receipt


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param({}, id="it honours the key and lets us look"),
        pytest.param({"honours_keys": False}, id="it ignores the key but lets us look"),
        pytest.param({"may_look": False}, id="it honours the key and our token may not look"),
    ],
)
def test_a01_a04_a_crash_leaves_one_post_on_mastodon(
    build: Build, serve: Serve, tmp_path: Path, ways: dict[str, bool]
) -> None:
    town = build(**ways)
    assert crash(town, serve, tmp_path, "mastodon") == ({"mastodon": "settled"}, {"mastodon": 1})
    receipt = posts(tmp_path)["mastodon"].receipt
    assert receipt is not None
    assert (receipt.id, receipt.url) == ("1", f"{town.url}/@k/1")


def test_a05_a07_a08_a_crash_leaves_one_post_everywhere_and_says_where_to_look(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    networks = ("bluesky", "x", "discord")
    assert crash(build(), serve, tmp_path, *networks) == (
        {"bluesky": "settled", "x": "settled", "discord": "unsure"},
        dict.fromkeys(networks, 1),
    )
    told = posts(tmp_path)
    assert told["discord"].entry.reason == "may be posted, look first: we stopped in the middle"
    assert told["x"].receipt
    assert told["bluesky"].receipt


def test_a08_a_crash_while_the_chat_is_told_leaves_it_to_a_person(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    """By itself: the chat is told last, when the other posts are up."""
    assert crash(build(), serve, tmp_path, "owncast") == ({"owncast": "unsure"}, {"owncast": 1})


# G: process


def test_g05_g15_a_restart_in_the_middle_of_the_hold_still_announces_once(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build()
    settings = town.settings(*ALL), {"ANNOUNCER_HOLD": "3s"}
    service = serve(*settings)
    assert service.hear(start()) == 204
    service.kill()
    assert states(tmp_path) == dict.fromkeys(ALL, "due")
    due = {post.entry.next_at.timestamp() for post in posts(tmp_path).values()}
    assert town.counts() == {}
    service = serve(*settings)
    service.until(lambda: settled(tmp_path), "it never settled")
    assert town.counts() == dict.fromkeys(ALL, 1)
    assert min(post.at for post in town.visible) >= max(due)
    assert service.stop() == 0


def test_g05_a_webhook_that_comes_again_after_a_restart_posts_nothing(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town, told = build(), start()
    settings = town.settings("discord"), AT_ONCE
    service = serve(*settings)
    assert service.hear(told) == 204
    service.until(lambda: settled(tmp_path), "it never settled")
    assert service.stop() == 0
    service = serve(*settings)
    before = posts(tmp_path)
    assert service.hear(told) == 204
    assert posts(tmp_path) == before
    assert town.counts() == {"discord": 1}


def worker_of(service: Service) -> int:
    pid = service.process.pid
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(worker)


def test_g03_g04_a_worker_that_dies_is_replaced_and_its_post_is_found(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build(honours_keys=False)
    town.hangs_after_accepting("mastodon")
    service = serve(town.settings("mastodon"), AT_ONCE)
    assert service.hear(start()) == 204
    wait_until(lambda: town.visible)
    os.kill(worker_of(service), signal.SIGKILL)
    service.until(lambda: settled(tmp_path), "it never settled")
    assert (states(tmp_path), town.counts()) == ({"mastodon": "settled"}, {"mastodon": 1})
    assert requests.get(f"{service.url}/readyz", timeout=5).status_code == 200
    assert service.stop() == 0


def answers(service: Service) -> bool:
    try:
        return requests.get(f"{service.url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def test_g01_a_stop_during_a_send_waits_for_the_receipt(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build()
    town.hangs_after_accepting(*SOCIAL)
    service = serve(town.settings(*SOCIAL), AT_ONCE)
    assert service.hear(start()) == 204
    wait_until(lambda: len(town.visible) == len(SOCIAL))
    service.process.terminate()
    wait_until(lambda: not answers(service))
    assert service.process.poll() is None
    town.release()
    assert service.stop() == 0
    assert states(tmp_path) == dict.fromkeys(SOCIAL, "settled")
    assert all(post.receipt for post in posts(tmp_path).values())
    assert town.counts() == dict.fromkeys(SOCIAL, 1)


def test_g01_an_idle_service_stops_at_once(build: Build, serve: Serve) -> None:
    service = serve(build().settings("discord"))
    assert service.stop() == 0
    assert "Traceback" not in service.log


def test_two_services_on_one_database_post_once(build: Build, serve: Serve, tmp_path: Path) -> None:
    town, told = build(), start()
    settings = town.settings(*ALL), {"ANNOUNCER_HOLD": "1s"}
    services = [serve(*settings), serve(*settings)]
    assert [service.hear(told) for service in services] == [204, 204]
    services[0].until(lambda: settled(tmp_path), "it never settled")
    assert states(tmp_path) == dict.fromkeys(ALL, "settled")
    assert town.counts() == dict.fromkeys(ALL, 1)
    assert [service.stop() for service in services] == [0, 0]


def test_of_two_services_the_other_goes_on_when_one_is_killed(
    build: Build, serve: Serve, tmp_path: Path
) -> None:
    town = build()
    settings: list[Any] = [town.settings(*ALL), {"ANNOUNCER_HOLD": "2s"}]
    killed, left = serve(*settings), serve(*settings)
    assert killed.hear(start()) == 204
    killed.kill()
    left.until(lambda: settled(tmp_path), "it never settled")
    assert town.counts() == dict.fromkeys(ALL, 1)
    assert left.stop() == 0
