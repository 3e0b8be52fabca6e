"""A real MQTT broker (mosquitto), and the state that a late subscriber finds there."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.rogue import Authority
from tests.servers import Program, answers, free_port, program

SECONDS = 10.0
_READER = "reader"
_SETTINGS = """
listener {plain} 127.0.0.1
listener {tls} 127.0.0.1
certfile {certificate}
keyfile {certificate}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rights
persistence false
user root
"""
_RIGHTS = """
user {writer}
topic readwrite kestrel/#
topic readwrite homeassistant/#
user {reader}
topic readwrite #
"""


@dataclass(frozen=True)
class MqttTopic:
    """A topic of its own for one test. *user* may publish below `kestrel/` and `homeassistant/`."""

    host: str
    port: int
    tls_port: int
    authority: Path
    """The certificate to trust for TLS."""
    topic: str
    user: str
    password: str = field(repr=False)
    reader_password: str = field(repr=False)

    def retained(self, below: str = "") -> dict[str, bytes]:
        """What a subscriber finds who comes only now: each topic with its last retained message.

        Of *below* and what is below it; without it, of this test's topic.
        """
        found: dict[str, bytes] = {}
        over = f"readers/{secrets.token_hex(8)}"
        ended = False

        def hear(_: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
            nonlocal ended
            ended = ended or message.topic == over
            if message.retain:
                found[message.topic] = bytes(message.payload)

        def subscribed(client: mqtt.Client, *_: object) -> None:
            client.publish(over)  # it comes back after all that was retained

        reader = mqtt.Client(CallbackAPIVersion.VERSION2)
        reader.username_pw_set(_READER, self.reader_password)
        reader.on_message, reader.on_subscribe = hear, subscribed
        reader.on_connect = lambda client, *_: client.subscribe(
            [(f"{below or self.topic}/#", 1), (over, 0)]
        )
        reader.connect(self.host, self.port)
        deadline = time.monotonic() + SECONDS
        while not ended:
            assert reader.loop() == mqtt.MQTT_ERR_SUCCESS, "the broker closed the connection"
            assert time.monotonic() < deadline, "the broker does not answer"
        reader.disconnect()
        return found


class Mosquitto:
    """The broker, running from construction until `stop`. Raises NotInstalledError."""

    def __init__(self, folder: Path) -> None:
        command = program("mosquitto")
        self._plain, self._tls = free_port(), free_port()
        self.url = f"mqtt://127.0.0.1:{self._plain}"
        self._user, self._password = "kestrel", secrets.token_urlsafe(12)
        self._reader_password = secrets.token_urlsafe(12)
        authority = Authority(folder)
        self._authority = authority.file
        settings = folder / "mosquitto.conf"
        settings.write_text(
            _SETTINGS.format(
                plain=self._plain,
                tls=self._tls,
                certificate=authority.certificate("127.0.0.1", "localhost"),
                folder=folder,
            )
        )
        passwords = {self._user: self._password, _READER: self._reader_password}
        for file, text in (
            ("passwords", "".join(f"{who}:{_sealed(word)}\n" for who, word in passwords.items())),
            ("rights", _RIGHTS.format(writer=self._user, reader=_READER)),
        ):
            (folder / file).touch(mode=0o600)
            (folder / file).write_text(text)
        self._program = Program([command, "-c", settings], folder)
        self._program.wait_until(lambda: answers(self._plain) and answers(self._tls))

    def new_topic(self) -> MqttTopic:
        """A topic that nobody has published to."""
        return MqttTopic(
            host="127.0.0.1",
            port=self._plain,
            tls_port=self._tls,
            authority=self._authority,
            topic=f"kestrel/{secrets.token_hex(4)}",
            user=self._user,
            password=self._password,
            reader_password=self._reader_password,
        )

    def stop(self) -> None:
        self._program.stop()


def _sealed(password: str) -> str:
    """As mosquitto_passwd writes it: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return "$".join(["", "7", "101", *(base64.b64encode(part).decode() for part in (salt, key))])
