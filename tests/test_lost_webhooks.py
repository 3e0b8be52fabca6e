"""The real service, and an Owncast on loopback whose webhooks never arrive."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from announcer import wiring
from announcer.demo import Town
from announcer.events import Kind
from announcer.outbox import Shown, StorageError
from announcer.policy import Broadcast
from announcer.wiring import Parts
from tests.fakes import event, wait_until
from tests.running import SECRET

POLL, HOLD, GRACE = (timedelta(seconds=part) for part in (0.2, 0.3, 0.4))
ROUNDS = 8


class Owncast:
    """Answers as 0.1.3 does. Its clock is seven hours behind ours. *asked* has the time of every
    question for its status.
    """

    def __init__(self) -> None:
        self.connected: datetime | None = None
        self.disconnected: datetime | None = None
        self.title = "Drawers"
        self.viewers = 0
        self.asked: list[float] = []
        self.broken = False
        self.deaf: threading.Event | None = None
        owncast = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owncast.answer(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=7)

    def connect(self, ago: timedelta = timedelta()) -> None:
        self.connected, self.disconnected = (self.now - ago).replace(microsecond=0), None

    def drop(self) -> None:
        self.connected, self.disconnected = None, self.now.replace(microsecond=0)

    def is_asked(self, times: int = ROUNDS) -> None:
        """Wait for as many more questions, all but the last of them answered and judged."""
        before = len(self.asked)
        wait_until(lambda: len(self.asked) > before + times)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        said: dict[str, Any] = {}
        if request.path == "/api/status":
            self.asked.append(time.monotonic())
            said = self._status()
        elif request.path == "/api/config":
            said = self._page()
        if self.deaf:
            self.deaf.wait()
        body = json.dumps(said)
        request.send_response(502 if self.broken else 200 if said else 404)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body.encode())

    def close(self) -> None:
        if self.deaf:
            self.deaf.set()
        self._server.shutdown()
        self._server.server_close()

    def _status(self) -> dict[str, Any]:
        return {
            "serverTime": self.now.isoformat(),
            "lastConnectTime": self.connected and self.connected.isoformat(),
            "lastDisconnectTime": self.disconnected and self.disconnected.isoformat(),
            "streamTitle": self.title,
            "viewerCount": self.viewers,
            "online": self.connected is not None,
        }

    def _page(self) -> dict[str, Any]:
        return {"name": "Kestrel Workshop", "summary": "Woodwork", "tags": ["wood"], "nsfw": False}


class Place:
    """A folder in which the service is started and stopped, for *servers* by channel."""

    def __init__(self, folder: Path, town: Town, **servers: Owncast) -> None:
        self.town = town
        self._variables = {
            "ANNOUNCER_DATABASE_URL": f"sqlite:///{folder}/announcer.db",
            "DISCORD_WEBHOOK_URL": f"{town.address}/api/webhooks/1/an-unguessable-word",
        }
        for name, server in servers.items():
            prefix = "OWNCAST" if name == "default" else f"OWNCAST__{name.upper()}_"
            self._variables |= {f"{prefix}_URL": server.url, f"{prefix}_WEBHOOK_SECRET": SECRET}
            if name != "default":
                self._variables[f"{prefix}_WEBHOOK_SECRET"] = f"{SECRET}-{name}"
        self.parts: Parts

    def start(self) -> Parts:
        settings = wiring.read(self._variables)
        quick = {"poll": POLL, "hold": HOLD, "grace": GRACE}
        rules = settings.rules.model_copy(update=quick)
        self.parts = wiring.assemble(replace(settings, rules=rules))
        self.parts.start()
        return self.parts

    def stop(self) -> None:
        self.parts.stop(5)
        self.parts.outbox.engine.dispose()

    def restart(self) -> None:
        self.stop()
        self.start()

    def shows(self) -> list[tuple[Broadcast, list[Shown]]]:
        return self.parts.outbox.history(9)

    def show(self) -> Broadcast:
        return self.shows()[0][0]

    def texts(self) -> list[str]:
        """What the audience reads."""
        return [" ".join(seen.text.split()) for seen in list(self.town.wall.values())]

    def reads(self, *words: str) -> Callable[[], bool]:
        """Whether there is one post for the audience, with these words."""
        return lambda: len(self.texts()) == 1 and all(word in self.texts()[0] for word in words)


@pytest.fixture
def town() -> Iterator[Town]:
    made = Town()
    yield made
    made.close()


@pytest.fixture
def owncast() -> Iterator[Owncast]:
    made = Owncast()
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path, town: Town, owncast: Owncast) -> Iterator[Place]:
    made = Place(tmp_path, town, default=owncast)
    made.start()
    yield made
    made.stop()


def test_d05_d06_start_title_and_end_happen_without_any_webhook(
    place: Place, owncast: Owncast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.policy.broadcasts.MERGE", timedelta(seconds=0.1))
    owncast.is_asked(2)
    assert place.shows() == []
    owncast.viewers = 7
    owncast.connect()
    wait_until(place.reads("**Kestrel Workshop** is live", "Drawers"))
    owncast.title = "Gluing"
    wait_until(place.reads("is live", "Gluing"))
    owncast.drop()
    wait_until(place.reads("was live", "Gluing"))
    show = place.show()
    assert (show.name, show.summary, show.peak_viewers) == ("Kestrel Workshop", "Woodwork", 7)
    owncast.is_asked()
    assert len(place.shows()) == 1


def test_it_happens_within_one_poll_and_the_hold_or_the_grace(
    place: Place, owncast: Owncast
) -> None:
    slack = timedelta(seconds=1.5)  # the times of Owncast are whole seconds, and machines are slow
    owncast.is_asked(1)
    begun = datetime.now(UTC)
    owncast.connect()
    wait_until(place.reads("is live"))
    assert datetime.now(UTC) - begun < POLL + HOLD + slack
    ended = datetime.now(UTC)
    owncast.drop()
    wait_until(place.reads("was live"))
    assert datetime.now(UTC) - ended < 3 * POLL + GRACE + slack


def test_it_asks_at_once_and_more_often_while_it_is_live(place: Place, owncast: Owncast) -> None:
    def pace() -> float:
        owncast.is_asked(1)
        count, begun = len(owncast.asked), time.monotonic()
        owncast.is_asked()
        return (time.monotonic() - begun) / (len(owncast.asked) - count)

    begun = time.monotonic()
    place.restart()
    owncast.is_asked(0)
    assert time.monotonic() - begun < 8
    calm = pace()
    owncast.connect()
    wait_until(lambda: place.shows())
    assert pace() < calm * 0.8


def test_d07_a_flap_between_two_polls_makes_no_second_broadcast(
    place: Place, owncast: Owncast
) -> None:
    owncast.connect(timedelta(seconds=20))
    wait_until(place.reads("is live"))
    owncast.drop()
    owncast.connect()
    wait_until(lambda: place.show().connected == owncast.connected)
    owncast.is_asked()
    assert len(place.shows()) == 1
    assert place.reads("is live")()


def test_g05_a_restart_while_it_is_live_announces_nothing_new(
    place: Place, owncast: Owncast
) -> None:
    owncast.connect()
    wait_until(place.reads("is live"))
    before = place.show()
    for _ in range(3):
        place.restart()
        owncast.is_asked(3)
    assert place.show() == before
    assert len(place.shows()) == 1
    assert place.reads("is live")()


def test_d05_owncast_out_of_reach_ends_nothing(place: Place, owncast: Owncast) -> None:
    owncast.connect()
    wait_until(place.reads("is live"))
    owncast.broken = True
    owncast.is_asked(3 * ROUNDS)
    assert place.show().live
    owncast.broken = False
    owncast.is_asked()
    assert place.show().live
    assert place.reads("is live")()


def test_d06_a_stream_that_was_old_when_we_came_is_never_spoken_of(
    place: Place, owncast: Owncast
) -> None:
    place.stop()
    owncast.connect(timedelta(hours=2))
    place.start()
    wait_until(lambda: place.shows())
    owncast.title = "Gluing"
    wait_until(lambda: place.show().title == "Gluing")
    owncast.drop()
    wait_until(lambda: not place.show().live)
    owncast.is_asked()
    assert place.texts() == []
    assert place.shows()[0][1] == []


def test_webhooks_that_come_first_leave_nothing_to_find(place: Place, owncast: Owncast) -> None:
    def hear(kind: Kind, **told: Any) -> None:
        now = datetime.now(UTC)
        place.parts.intake.take(event(kind, now, stamp=owncast.now, **told), now)

    def stored() -> int:
        with place.parts.outbox.reading() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one()  # type: ignore[no-any-return]

    with place.parts.patrols[0]._storing:  # or it could come first
        owncast.connect()
        hear(Kind.STARTED, connected=owncast.connected, title="Drawers")
    owncast.is_asked()
    assert stored() == 1
    with place.parts.patrols[0]._storing:
        owncast.drop()
        hear(Kind.STOPPED)
    owncast.is_asked()
    assert stored() == 2


def test_an_owncast_that_never_answers_delays_neither_another_nor_delivery(
    tmp_path: Path, town: Town, owncast: Owncast
) -> None:
    deaf = [Owncast() for _ in range(12)]  # more than the clock has threads
    for server in deaf:
        server.deaf = threading.Event()
    place = Place(
        tmp_path, town, default=owncast, **{f"deaf{n}": server for n, server in enumerate(deaf)}
    )
    place.start()
    try:
        wait_until(lambda: all(server.asked for server in deaf))
        begun = time.monotonic()
        owncast.connect()
        wait_until(place.reads("is live"))
        assert time.monotonic() - begun < 4
    finally:
        for server in deaf:
            server.close()
        place.stop()


def test_that_it_is_still_live_is_written_down_seldom(
    place: Place, owncast: Owncast, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[str] = []
    sighted = place.parts.outbox.sighted

    def counted(broadcast: str, now: datetime, viewers: int | None) -> None:
        writes.append(broadcast)
        sighted(broadcast, now, viewers)

    monkeypatch.setattr(place.parts.outbox, "sighted", counted)
    owncast.connect()
    owncast.viewers = 2
    wait_until(lambda: place.shows())
    owncast.is_asked()
    assert writes == []
    monkeypatch.setattr("announcer.sightings.REFRESH", timedelta(seconds=0.5))
    owncast.viewers = 9
    before = place.show().seen
    wait_until(lambda: place.show().peak_viewers == 9)
    assert place.show().seen > before
    owncast.is_asked()
    assert len(writes) < ROUNDS


def test_a_broadcast_that_has_stopped_is_seen_no_more(place: Place, owncast: Owncast) -> None:
    owncast.connect()
    wait_until(lambda: place.shows())
    owncast.drop()
    wait_until(lambda: not place.show().live)
    before = place.show()
    place.parts.outbox.sighted(before.id, datetime.now(UTC), 99)  # by an answer on its way
    assert place.show() == before


def test_a_full_disk_ends_no_round(
    place: Place, owncast: Owncast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> None:
        raise StorageError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(place.parts.outbox, "past", full)
        owncast.connect()
        owncast.is_asked()
    wait_until(place.reads("is live"))
