"""What Owncast says of itself when asked, and what is made of it when it says nothing."""

import json
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from announcer import watch
from announcer.contract.fake import Problem, Wire, connect_timeout, read_timeout, refused, reset
from announcer.events import Status
from announcer.policy import Sight
from announcer.watch import PATIENCE, About, Watch
from tests.running import PAYLOADS

HOME = "https://live.kestrel.example"
ABOUT = About(
    ("woodwork", "repair"),
    name="Kestrel Workshop",
    summary="Woodwork & repair, live from a small shed.",
)


def said(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `watch` measures; add to the only one."""
    now = [0.0]
    monkeypatch.setattr("announcer.watch.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(
    ("answer", "sight"),
    [
        ("api-0.1-status-online", Sight.ONLINE),
        ("api-dev-status-online-with-stream-id", Sight.ONLINE),
        ("api-0.1-status-warming-up", Sight.CONNECTED),
        ("api-0.1-status-offline", Sight.OFFLINE),
    ],
)
def test_what_owncast_answers_is_what_is_seen(wire: Wire, answer: str, sight: Sight) -> None:
    wire.answers(200, said(answer))
    assert Watch(HOME).look() is sight
    assert [sent.request.url for sent in wire.sent] == [f"{HOME}/api/status"]


@pytest.mark.parametrize("problem", [refused, connect_timeout, read_timeout, reset])
def test_out_of_reach_is_not_offline(wire: Wire, problem: Problem) -> None:
    wire.breaks(problem)
    assert Watch(HOME).look() is Sight.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, "<html>captive portal</html>", id="HTML"),
        pytest.param(502, "<html>bad gateway</html>", id="a proxy's error"),
        pytest.param(503, {"online": False}, id="an error that looks like an answer"),
        pytest.param(302, "", id="a redirect"),
        pytest.param(200, {}, id="nothing in it"),
        pytest.param(200, {"online": "false"}, id="a text for a boolean"),
        pytest.param(200, {"online": None}, id="null"),
        pytest.param(200, [], id="a list"),
        pytest.param(200, b"\xff\xfe", id="no text"),
    ],
)
def test_nonsense_is_not_offline(wire: Wire, status: int, body: Any) -> None:
    wire.answers(status, body)
    assert Watch(HOME).look() is Sight.UNREACHABLE


def test_a_server_that_never_answers_costs_its_patience_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes the call and says nothing
        begun = time.monotonic()
        sight = Watch(f"http://127.0.0.1:{deaf.getsockname()[1]}").look()
        took = time.monotonic() - begun
    assert sight is Sight.UNREACHABLE
    assert 0.3 <= took < 3
    assert PATIENCE <= 5  # an announcement is held up by it


def test_one_look_serves_all_destinations_for_two_seconds(wire: Wire, clock: list[float]) -> None:
    wire.answers(200, said("api-0.1-status-warming-up"))
    wire.answers(200, said("api-0.1-status-online"))
    there = Watch(HOME)
    assert [there.look(), there.look()] == [Sight.CONNECTED] * 2
    clock[0] += 2.1
    assert there.look() is Sight.ONLINE
    assert len(wire.sent) == 2


def test_many_destinations_at_once_ask_once(wire: Wire) -> None:
    wire.answers(200, said("api-0.1-status-online"))
    there, seen = Watch(HOME), list[Sight]()
    threads = [threading.Thread(target=lambda: seen.append(there.look())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [Sight.ONLINE] * 8
    assert len(wire.sent) == 1


def test_what_was_seen_before_an_outage_is_not_taken_for_now(
    wire: Wire, clock: list[float]
) -> None:
    wire.answers(200, said("api-0.1-status-online"))
    wire.breaks(refused)
    there = Watch(HOME)
    assert there.look() is Sight.ONLINE
    clock[0] += 3
    assert there.look() is Sight.UNREACHABLE


# The whole answer


ONLINE = Status(
    online=True,
    connected=datetime(2024, 5, 18, 17, 0, 2, tzinfo=UTC),
    server=datetime(2024, 5, 18, 18, 5, 0, 118273, tzinfo=UTC),
    title="Fitting a dovetail drawer - glue-up",
    viewers=9,
)
CONNECT = {"lastConnectTime": "2024-05-18T17:00:02Z"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("api-0.1-status-online", ONLINE),
        (
            "api-0.1-status-warming-up",
            replace(
                ONLINE,
                online=False,
                server=datetime(2024, 5, 18, 17, 0, 5, 100000, tzinfo=UTC),
                title="Fitting a dovetail drawer",
                viewers=None,
            ),
        ),
        (
            "api-0.1-status-offline",
            replace(
                ONLINE,
                online=False,
                connected=None,
                disconnected=datetime(2024, 5, 18, 19, 14, 40, tzinfo=UTC),
                server=datetime(2024, 5, 18, 20, 0, 0, 500000, tzinfo=UTC),
                viewers=None,
            ),
        ),
    ],
)
def test_c07_an_answer_is_read_with_its_times_in_any_zone(
    wire: Wire, name: str, expected: Status
) -> None:
    wire.answers(200, said(name))
    assert Watch(HOME).status() == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"online": False, **CONNECT, "lastDisconnectTime": "2024-05-18T18:00:00Z"},
            Sight.OFFLINE,
            id="before 0.1.0 the time of a connection outlives it",
        ),
        pytest.param(
            {"online": False, **CONNECT, "lastDisconnectTime": "2024-05-17T18:00:00Z"},
            Sight.CONNECTED,
            id="an end of the day before",
        ),
        pytest.param(
            {"online": True, **CONNECT, "lastDisconnectTime": "2024-05-18T17:00:02Z"},
            Sight.ONLINE,
            id="gone and back within a second",
        ),
        pytest.param(
            {"online": False, "lastConnectTime": "0001-01-01T00:00:00Z"},
            Sight.OFFLINE,
            id="zero is unknown",
        ),
        pytest.param({"online": False, "lastConnectTime": 7}, Sight.UNREACHABLE, id="no time"),
    ],
)
def test_what_the_times_say_is_what_is_seen(wire: Wire, body: Any, expected: Sight) -> None:
    wire.answers(200, body)
    assert Watch(HOME).look() is expected


def test_a_connection_within_the_second_of_the_last_end_is_one(wire: Wire) -> None:
    wire.answers(200, {"online": True, **CONNECT, "lastDisconnectTime": "2024-05-18T17:00:02Z"})
    status = Watch(HOME).status()
    assert status
    assert status.connected == ONLINE.connected


@pytest.mark.parametrize(
    ("viewers", "expected"),
    [(3, 3), (0, None), (None, None), (-1, None), ("9", None), (True, None), (10**12, 10**9)],
)
def test_only_a_count_of_viewers_is_one(wire: Wire, viewers: Any, expected: int | None) -> None:
    wire.answers(200, {"online": True, "viewerCount": viewers})
    status = Watch(HOME).status()
    assert status
    assert status.viewers == expected


def test_an_older_owncast_tells_its_time_by_http_only(wire: Wire) -> None:
    date = {"Date": "Sat, 18 May 2024 18:05:00 GMT"}
    wire.answers(200, {"online": True, **CONNECT}, date)
    status = Watch(HOME).status()
    assert status
    assert status.server == datetime(2024, 5, 18, 18, 5, tzinfo=UTC)


@pytest.mark.parametrize("problem", [refused, connect_timeout, read_timeout, reset])
def test_no_answer_is_no_status(wire: Wire, problem: Problem) -> None:
    wire.breaks(problem)
    assert Watch(HOME).status() is None


# What its page says


def test_tags_come_from_its_page(wire: Wire) -> None:
    wire.answers(200, said("api-0.1-config"))
    assert Watch(HOME).about() == ABOUT
    assert [sent.request.url for sent in wire.sent] == [f"{HOME}/api/config"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"tags": None, "nsfw": True}, About((), True), id="no tags, mature"),
        pytest.param({"tags": "one", "nsfw": "yes"}, About(), id="other types"),
        pytest.param({"tags": [1, "t" * 9000]}, About(("1", "t" * 2000)), id="odd and endless"),
        pytest.param({"name": 7, "summary": None}, About(), id="no words"),
        pytest.param({"name": "a\0\ud83d" + "n" * 9000}, About(name="a" + "n" * 1997), id="wild"),
        pytest.param({}, About(), id="nothing"),
    ],
)
def test_an_odd_page_breaks_nothing(wire: Wire, body: Any, expected: About) -> None:
    wire.answers(200, body)
    assert Watch(HOME).about() == expected


def test_the_page_is_read_once_a_minute_and_remembered_through_an_outage(
    wire: Wire, clock: list[float]
) -> None:
    there = Watch(HOME)
    wire.answers(200, said("api-0.1-config"))
    assert [there.about(), there.about()] == [ABOUT] * 2
    assert len(wire.sent) == 1
    clock[0] += 61
    wire.answers(502, "<html>bad gateway</html>")
    assert [there.about(), there.about()] == [ABOUT] * 2
    assert len(wire.sent) == 2  # nor is a server that is down asked for every post
    clock[0] += 61
    wire.answers(200, {"tags": ["live"]})
    assert there.about() == About(("live",))


def test_it_may_be_asked_to_ask_nobody(wire: Wire) -> None:
    assert Watch(HOME).about(ask=False) == About()
    assert wire.sent == []


def test_it_learns_in_the_background(wire: Wire) -> None:
    wire.answers(200, said("api-0.1-config"))
    there = Watch(HOME)
    there.warm()
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join()
    assert there.about(ask=False) == ABOUT
