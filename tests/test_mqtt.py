"""MQTT: the state of the stream, retained in a topic, for home automation."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from announcer.contract import POST
from announcer.network import DeliveryError, Moment, Refused, TryLater
from announcer.networks.mqtt import Mqtt
from tests.broker import CONNECT, PUBLISH, Broker, broker

ENDED = replace(
    POST,
    mood=Moment.ENDED,
    text="It is over.",
    show=replace(
        POST.show,  # type: ignore[type-var]  # the suite's post has one
        ended_at=datetime(2026, 11, 23, 21, 15, tzinfo=UTC),
        peak_viewers=12,
    ),
)


@pytest.fixture
def there() -> Iterator[Broker]:
    with broker() as one:
        yield one


def at(there: Broker, **settings: str) -> Mqtt:
    return Mqtt.model_validate(
        {"host": "127.0.0.1", "port": there.port, "tls": "off", "topic": "home/owncast", **settings}
    )


def test_the_state_is_retained_as_json(there: Broker) -> None:
    at(there).publish(POST)
    assert json.loads(there.retained["home/owncast"]) == {
        "state": "live",
        "text": POST.text,
        "channel": "default",
        "name": "Kestrel Workshop",
        "title": "a dovetail drawer",
        "summary": "On now",
        "url": "https://live.example.org",
        "tags": ["owncast"],
        "nsfw": False,
        "started_at": "2026-11-23T19:15:00.250000+00:00",
        "ended_at": None,
        "peak_viewers": None,
        "replay_url": "",
    }


def test_the_end_takes_the_place_of_the_start(there: Broker) -> None:
    network = at(there)
    receipt = network.publish(POST)
    assert network.revise(receipt, ENDED) == receipt
    state = json.loads(there.retained["home/owncast"])
    assert (state["state"], state["text"]) == ("ended", "It is over.")
    assert (state["ended_at"], state["peak_viewers"]) == ("2026-11-23T21:15:00+00:00", 12)


def test_what_is_taken_away_is_forgotten_by_the_broker(there: Broker) -> None:
    network = at(there)
    network.remove(network.publish(POST))
    assert there.retained["home/owncast"] == ""


def test_home_assistant_is_told_of_the_sensor_first(there: Broker) -> None:
    at(there, discovery="homeassistant/").publish(POST)
    topics = list(there.retained)
    assert topics == ["homeassistant/binary_sensor/announcer_home_owncast/config", "home/owncast"]
    sensor = json.loads(there.retained[topics[0]])
    assert sensor["state_topic"] == "home/owncast"
    assert sensor["unique_id"] == "announcer_home_owncast"
    assert "value_json.state == 'live'" in sensor["value_template"]


@pytest.mark.parametrize("packet", [CONNECT, PUBLISH], ids=["connecting", "publishing"])
@pytest.mark.parametrize(
    ("code", "error", "closes"),
    [
        (128, TryLater, False),
        (131, TryLater, False),
        (135, Refused, True),
        (144, Refused, False),
        (151, TryLater, False),
    ],
)
def test_a_reason_code_means_one_of_the_errors(
    there: Broker,
    packet: int,
    code: int,
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    there.codes[packet] = code
    with pytest.raises(error, match="the broker says") as problem:
        at(there).publish(POST)
    assert getattr(problem.value, "closes", False) is closes


@pytest.mark.parametrize(
    ("code", "error"), [(132, Refused), (134, Refused), (136, TryLater), (137, TryLater)]
)
def test_who_is_not_let_in_is_told_why(
    there: Broker, code: int, error: type[DeliveryError]
) -> None:
    there.codes[CONNECT] = code
    with pytest.raises(error):
        at(there).check()


def test_nobody_who_listens_is_no_failure(there: Broker) -> None:
    there.codes[PUBLISH] = 16
    assert at(there).publish(POST).id == "home/owncast"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"topic": "home/+/owncast"}, "must be a topic"),
        ({"topic": "home/#"}, "must be a topic"),
        ({"topic": "$SYS/owncast"}, "must be a topic"),
        ({"topic": "/"}, "must be a topic"),
        ({"host": "broker.example.org"}, "overheard"),
        ({"port": "0"}, "greater than or equal to 1"),
    ],
)
def test_what_can_not_work_is_told_at_once(
    there: Broker, settings: dict[str, str], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        at(there, **settings)
