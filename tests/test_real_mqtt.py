"""A real MQTT broker, and what a subscriber finds there who comes later."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from announcer import rehearsal
from announcer.contract import POST
from announcer.network import Refused, TryLater
from announcer.networks.mqtt import Mqtt
from tests.running import Service
from tests.servers.mosquitto import MqttTopic

AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}


@pytest.fixture
def service(tmp_path: Path, mqtt_topic: MqttTopic) -> Iterator[Service]:
    settings = {
        "MQTT_HOST": mqtt_topic.host,
        "MQTT_PORT": str(mqtt_topic.port),
        "MQTT_TLS": "off",
        "MQTT_USERNAME": mqtt_topic.user,
        "MQTT_PASSWORD": mqtt_topic.password,
        "MQTT_TOPIC": mqtt_topic.topic,
        "MQTT_DISCOVERY": "homeassistant",
        **AT_ONCE,
    }
    running = Service(tmp_path, settings, ("-m", "tests.hurried"))
    yield running
    running.stop()


def state(topic: MqttTopic) -> dict[str, Any]:
    kept = topic.retained().get(topic.topic)
    found: dict[str, Any] = json.loads(kept) if kept else {}
    return found


def tell(service: Service, what: str, title: str) -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def test_an_evening_is_a_state_that_is_always_true(service: Service, mqtt_topic: MqttTopic) -> None:
    title = '"}, {"state": "\u2028 {{7*7}} <b>'
    tell(service, "start", title)
    service.until(lambda: state(mqtt_topic), "no state")
    live = state(mqtt_topic)
    assert (live["state"], live["name"]) == ("live", "Kestrel Workshop")
    assert "{{7*7}}" in live["title"]
    tell(service, "title", "a bench")
    service.until(lambda: state(mqtt_topic)["title"] == "a bench", "the title stays")
    tell(service, "stop", "a bench")
    service.until(lambda: state(mqtt_topic)["state"] == "ended", "it does not end")
    assert state(mqtt_topic)["ended_at"]
    sensors = mqtt_topic.retained("homeassistant")
    assert any(json.loads(one)["state_topic"] == mqtt_topic.topic for one in sensors.values())


def at(there: MqttTopic, **settings: str) -> Mqtt:
    return Mqtt.model_validate(
        {
            "host": there.host,
            "port": there.port,
            "tls": "off",
            "topic": there.topic,
            "username": there.user,
            "password": there.password,
            **settings,
        }
    )


def test_a_wrong_password_closes(mqtt_topic: MqttTopic) -> None:
    with pytest.raises(Refused) as problem:
        at(mqtt_topic, password="wrong").check()
    assert problem.value.closes


def test_a_topic_of_somebody_else_closes(mqtt_topic: MqttTopic) -> None:
    with pytest.raises(Refused) as problem:
        at(mqtt_topic, topic="somebody/else").publish(POST)
    assert problem.value.closes


def test_e09_tls_holds_or_nothing_is_said(
    mqtt_topic: MqttTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure = at(mqtt_topic, tls="on", port=str(mqtt_topic.tls_port))
    with pytest.raises(TryLater, match="certificate"):
        secure.publish(POST)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(mqtt_topic.authority))
    secure.publish(POST)
    assert state(mqtt_topic)["state"] == "live"
