"""MQTT, as the contract's suite meets it."""

from announcer.contract import SECRET, Spoken
from announcer.networks.mqtt import Mqtt
from tests.broker import broker

SPOKEN = [
    Spoken(
        Mqtt,
        lambda port: {
            "host": "127.0.0.1",
            "port": str(port),
            "tls": "off",
            "username": "kestrel",
            "password": SECRET,
        },
        broker,
    )
]
