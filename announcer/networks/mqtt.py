"""MQTT: the state of the stream, retained, for home automation.

Sources: OASIS MQTT 5.0 (2.4 reason codes, 3.3.1.3 retain), paho-mqtt 2.2 client.py, and Home
Assistant's documentation of MQTT discovery and of the MQTT binary sensor.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from announcer import wire
from announcer.network import (
    Account,
    DeliveryError,
    Moment,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    TryLater,
)
from announcer.settings import is_private, setting

_BUSY = frozenset({128, 131, 136, 137, 151, 159})
"""Unspecified, the broker's own reason, unavailable, busy, quota, too many connections."""
_LOCKED_OUT = frozenset({134, 135, 138})
"""Bad password, not authorised, banned."""
_SLUG = re.compile(r"\W+")


class Mqtt(Network, Revises, Removes):
    """Keeps the state of the stream in a topic of an MQTT broker, for home automation.

    1. On the broker, make a user that may publish to one topic only, such as `owncast`.
    2. Set `MQTT_HOST` to the broker, `MQTT_USERNAME` and `MQTT_PASSWORD` to that user, and
       `MQTT_TOPIC` to the topic. The broker has to speak MQTT 5, as all have done for years.
    3. For a broker without TLS in your own network set `MQTT_TLS=off` and `MQTT_PORT=1883`.
    4. For Home Assistant set `MQTT_DISCOVERY=homeassistant`, and let the user publish below that,
       too: then a sensor appears by itself that is on while you are live.

    The message is JSON: `state` (`live` or `ended`), `text` (the words of your template), `name`,
    `title`, `summary`, `url`, `tags`, `nsfw`, `started_at`, `ended_at`, `peak_viewers`, `channel`
    and `replay_url`. It is retained, so whoever subscribes later is told at once.
    """

    name = "mqtt"
    title = "MQTT"
    repeat = Repeat.HARMLESS
    ends_by = "edit"
    shows_pictures = False
    unit = "characters"
    usual_limit = 5000  # ours: brokers take 256 MB
    switched_on_by = ("host",)

    host: str = setting("Name or address of the broker.")
    port: int = Field(default=8883, ge=1, le=65535, description="Its port.")
    tls: Literal["on", "off"] = setting(
        "`off` speaks without encryption, in your own network only.", default="on"
    )
    username: str = setting("User at the broker.", default="")
    password: SecretStr | None = setting("The user's password.", default=None)
    topic: str = setting("Topic that holds the state.", default="owncast")
    discovery: str = setting(
        "Home Assistant's discovery prefix, `homeassistant` if nobody changed it. None leaves it "
        "out.",
        default="",
    )

    @field_validator("topic", "discovery")
    @classmethod
    def _is_a_topic(cls, topic: str) -> str:
        topic = topic.strip("/")
        if re.search(r"[+#\x00]", topic) or topic.startswith("$") or len(topic) > 200:
            raise ValueError("must be a topic without + and #, such as home/owncast")
        return topic

    @field_validator("topic")
    @classmethod
    def _is_there(cls, topic: str) -> str:
        if not topic:
            raise ValueError("must be a topic, such as home/owncast")
        return topic

    @field_validator("tls")
    @classmethod
    def _is_not_overheard(cls, tls: str, others: ValidationInfo) -> str:
        if tls == "off" and not is_private(others.data.get("host", "")):
            raise ValueError("can not be off: it would be overheard outside your own network")
        return tls

    def publish(self, post: Post) -> Receipt:
        with self._broker() as broker:
            if self.discovery:
                broker.keeps(self._sensor_topic, json.dumps(self._sensor()))
            broker.keeps(self.topic, _state(post))
        return Receipt(self.topic)

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        with self._broker() as broker:
            broker.keeps(receipt.id, _state(post))
        return receipt

    def remove(self, receipt: Receipt) -> None:
        with self._broker() as broker:
            broker.keeps(receipt.id, "")  # which is how a broker is told to forget

    def check(self) -> Account:
        with wire.nothing_posted(), self._broker():
            return Account(f"{self.username or 'anybody'} at {self.host}")

    def measure(self, text: str) -> int:
        return len(text)

    @contextmanager
    def _broker(self) -> Iterator["_Broker"]:
        with wire.conversation(self.host, self.port, encrypted=self.tls == "on") as line:
            broker = _Broker(line)
            if self.username or self.password:
                password = self.password.get_secret_value() if self.password else None
                broker.client.username_pw_set(self.username, password)
            broker.opens()
            yield broker
            broker.client.disconnect()

    @property
    def _sensor_topic(self) -> str:
        return f"{self.discovery}/binary_sensor/announcer_{_SLUG.sub('_', self.topic)}/config"

    def _sensor(self) -> dict[str, Any]:
        identity = f"announcer_{_SLUG.sub('_', self.topic)}"
        return {
            "name": "Live",
            "unique_id": identity,
            "state_topic": self.topic,
            "value_template": "{{ 'ON' if value_json.state == 'live' else 'OFF' }}",
            "json_attributes_topic": self.topic,
            "device_class": "running",
            "device": {"identifiers": [identity], "name": f"Owncast ({self.topic})"},
            "origin": {"name": "Announcer"},
        }


class _Broker:
    """One connection, driven by our own thread: paho's would outlive the limits of the line."""

    def __init__(self, line: wire.Line) -> None:
        self._line = line
        self._said: ReasonCode | None = None
        self.client = _Client(line.sock)
        self.client.on_connect = self._hears
        self.client.on_publish = self._hears

    def _hears(self, _client: object, _userdata: object, _what: object, *rest: Any) -> None:
        self._said = next(one for one in rest if isinstance(one, ReasonCode))

    def opens(self) -> None:
        """Raises if the broker does not want us."""
        self.client.connect("given", 1)  # the socket is there
        if problem := _meaning(self._answer()):
            raise problem

    def keeps(self, topic: str, payload: str) -> None:
        """Returns once the broker holds it (QoS 1)."""
        self._line.leaves()
        self.client.publish(topic, payload, qos=1, retain=True)
        answer = self._answer()
        self._line.answered()
        if problem := _meaning(answer):
            raise problem

    def _answer(self) -> ReasonCode:
        self._said = None
        deadline = time.monotonic() + wire.READ
        while self._said is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self.client.loop(left) != MQTTErrorCode.MQTT_ERR_SUCCESS and self._said is None:
                raise EOFError
        return self._said


class _Client(paho.Client):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._given = sock

    def _create_socket(self) -> socket.socket:
        return self._given


def _meaning(code: ReasonCode) -> DeliveryError | None:
    if code.value < 128:
        return None
    reason = f"the broker says: {wire.plain(code.getName())}"
    if code.value in _BUSY:
        return TryLater(reason)
    return Refused(reason, closes=code.value in _LOCKED_OUT)


def _state(post: Post) -> str:
    state = "live" if post.mood is Moment.LIVE else "ended"
    show = asdict(post.show) if post.show else {}
    return json.dumps({"state": state, "text": post.text, **show}, default=datetime.isoformat)
