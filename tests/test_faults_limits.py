"""Limits: of characters, that a server lowers, and of time, that one try of a post may take."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from announcer import wire as door
from announcer.contract import PICTURED, POST, SECRET, Row
from announcer.contract.fake import Sent, Wire
from announcer.network import DeliveryError, Finds, Network
from announcer.networks import mastodon as module
from announcer.networks.mastodon import Mastodon
from announcer.outbox import LEASE
from tests.fakes import Stage
from tests.impostor import OnStage
from tests.rows import ROWS as CONTRACT

STATUS = {"id": "7", "url": "https://mastodon.test/@kestrel/7"}


def mastodon() -> Mastodon:
    return Mastodon(api_base_url="https://mastodon.test", access_token=SECRET)


def later(stage: Stage, **time: float) -> None:
    stage.passes(**time)
    stage.run()


def limit(wire: Wire, characters: int) -> None:
    statuses = {"max_characters": characters, "characters_reserved_per_url": 23}
    wire.always("GET", "/api/v2/instance", 200, {"configuration": {"statuses": statuses}})


def key_of(sent: Sent) -> str | bytes | None:
    return sent.request.headers.get("Idempotency-Key")


# E26


def said_in(sent: Sent) -> str:
    return str(sent.json["status"])


TOO_LONG = {"error": "Validation failed: Text character limit of 100 exceeded"}


def test_e26_a_server_that_lowers_its_limit_gets_a_shorter_text_with_another_key(
    wire: Wire, on_stage: OnStage
) -> None:
    limit(wire, 500)
    mine = mastodon()
    stage = on_stage(mine)
    wire.answers(422, TOO_LONG)
    wire.answers(200, STATUS)
    assert mine.limit() == 500
    limit(wire, 100)
    stage.hear(title="Drawers " * 80)
    stage.run()
    later(stage, seconds=1)
    assert stage.told("mastodon") == ("settled", "")
    first, second = wire.scripted
    assert mine.measure(said_in(first)) > 100 >= mine.measure(said_in(second))
    assert key_of(first) != key_of(second), "Pleroma would replay its refusal"


def test_e26_one_that_refuses_the_shorter_text_too_is_asked_no_more(
    wire: Wire, on_stage: OnStage
) -> None:
    limit(wire, 500)
    mine = mastodon()
    stage = on_stage(mine)
    wire.answers(422, TOO_LONG, times=2)
    assert mine.limit() == 500
    limit(wire, 100)
    stage.hear(title="Drawers " * 80)
    stage.run()
    for _ in range(4):
        later(stage, minutes=1)
    assert stage.told("mastodon")[0] == "failed"
    assert "limit of 100 exceeded" in stage.told("mastodon")[1]
    assert len(wire.scripted) == 2


def test_e26_one_that_does_not_tell_its_new_limit_is_asked_once(
    wire: Wire, on_stage: OnStage
) -> None:
    limit(wire, 500)
    stage = on_stage(mastodon())
    wire.answers(422, TOO_LONG)
    stage.hear(title="Drawers " * 80)
    stage.run()
    later(stage, minutes=1)
    assert stage.told("mastodon") == ("failed", f"422 {TOO_LONG['error']}")
    assert stage.box.closed() == {}


# Time


class Clock:
    """Every request takes exactly as long as it may, and a pause as long as it is."""

    def __init__(self) -> None:
        self.spent = 0.0

    def monotonic(self) -> float:
        return self.spent

    def sleep(self, seconds: float) -> None:
        self.spent += seconds

    @contextmanager
    def limited(self, seconds: float) -> Iterator[threading.Event]:
        self.spent += seconds
        yield threading.Event()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(door, "limited", clock.limited)
    monkeypatch.setattr(module, "time", clock)
    return clock


ROWS = {row.name: row for row in CONTRACT}
BLOB = {"blob": {"ref": {"$link": "bafk2"}}}
NONE_UP = {"meta": {"result_count": 0}}


def bluesky_dawdles(wire: Wire) -> None:
    """The session has run out, and so has the right to a new one; the picture gets lost twice."""
    wire.always("POST", "refreshSession", 400, {"error": "ExpiredToken"})
    wire.answers(400, {"error": "ExpiredToken"})
    wire.answers(200, BLOB)
    wire.answers(400, {"error": "BlobNotFound"})
    wire.answers(200, BLOB)
    wire.answers(400, {"error": "BlobNotFound"})
    wire.answers(200, ROWS["bluesky"].answer)


def mastodon_dawdles(wire: Wire) -> None:
    """It never finishes with the picture, and finds the text too long, too."""
    wire.always("POST", "/api/v2/media", 202, {"id": "301"})
    wire.always("GET", "/api/v1/media/301", 206, {"id": "301"})
    wire.always("GET", "/api/v2/instance", 404)
    wire.always("GET", "/api/v1/instance", 200, {})
    wire.answers(422, TOO_LONG)


def refuses_the_picture_and_the_words(row: Row) -> Callable[[Wire], None]:
    def answer(wire: Wire) -> None:
        for path, good in row.uploads.items():
            wire.always("POST", path, 200, good)
        wire.answers(422, {}, times=2 if row.make().shows_pictures else 1)

    return answer


def finds_nothing(wire: Wire) -> None:
    wire.always("GET", "/accounts/verify_credentials", 200, {"id": "1"})
    wire.always("GET", "/accounts/1/statuses", 403, {"error": "no scope"})
    wire.always("GET", "/api/v2/instance", 404)
    wire.always("GET", "/api/v1/instance", 200, {})
    wire.always("GET", "/2/users/me", 200, {"data": {"id": "1", "username": "kestrel"}})
    wire.always("GET", "/2/users/1/tweets", 200, NONE_UP)


def publish(network: Network) -> None:
    network.publish(PICTURED)


def find(network: Network) -> None:
    assert isinstance(network, Finds)
    network.find(replace(POST, doubtful_since=datetime.now(UTC)))


LONGEST = [
    *(
        pytest.param(row, refuses_the_picture_and_the_words(row), publish, id=row.name)
        for row in CONTRACT
    ),
    pytest.param(ROWS["bluesky"], bluesky_dawdles, publish, id="bluesky dawdles"),
    pytest.param(ROWS["mastodon"], mastodon_dawdles, publish, id="mastodon dawdles"),
    pytest.param(ROWS["mastodon"], finds_nothing, find, id="mastodon looks"),
    pytest.param(ROWS["x"], finds_nothing, find, id="x looks"),
]


@pytest.mark.parametrize(("row", "answers", "act"), LONGEST)
def test_the_longest_try_ends_well_within_its_lease(
    row: Row,
    answers: Callable[[Wire], None],
    act: Callable[[Network], None],
    wire: Wire,
    clock: Clock,
) -> None:
    """If every single request took all the time that it may, and another one came on top."""
    row.prepare(wire)
    answers(wire)
    with suppress(DeliveryError):
        act(row.make())
    assert len(wire.sent) >= 1
    assert not wire.has_more, "this is not the longest way"
    assert clock.spent + door.TOTAL < LEASE.total_seconds()


def test_e24_a_picture_that_is_never_finished_costs_half_a_minute_at_most(
    wire: Wire, clock: Clock
) -> None:
    wire.always("POST", "/api/v2/media", 202, {"id": "301"})
    wire.always("GET", "/api/v1/media/301", 206, {"id": "301"})
    wire.answers(200, STATUS)
    receipt = mastodon().publish(PICTURED)
    assert receipt.note == "without its picture: 206: the server still works on the picture"
    assert clock.spent <= 30 + door.TOTAL, "and the post itself"
    assert "media_ids" not in wire.scripted[-1].json
