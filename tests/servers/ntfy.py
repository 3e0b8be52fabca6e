"""A real ntfy server, and what somebody who may read a topic is shown of it."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.servers import INSTALLED, NotInstalledError, Program, free_port

SECONDS = 10.0
_NTFY = INSTALLED / "ntfy" / "usr" / "bin" / "ntfy"
_PASSWORD = "correct-kestrel"
_HASH = "$2a$10$yWIY.x/HI74FWN1MouAk5O7KCyyU/r7E/wyC2GNWLrdJKH48p8zLC"  # by `ntfy user hash`
_MAY = {"owner": "rw", "writer": "wo", "reader": "ro"}


@dataclass(frozen=True)
class NtfyTopic:
    """A topic of its own for one test. *user* and *token* may write and read there."""

    server: str
    topic: str
    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    write_only_token: str = field(repr=False)
    reader_token: str = field(repr=False)

    def events(self) -> list[dict[str, Any]]:
        """All that a reader who looks now is told, oldest first."""
        answer = requests.get(
            f"{self.server}/{self.topic}/json",
            params={"poll": "1", "since": "all"},
            headers={"Authorization": f"Bearer {self.reader_token}"},
            timeout=SECONDS,
        )
        answer.raise_for_status()
        return [json.loads(line) for line in answer.content.splitlines()]

    def messages(self) -> list[dict[str, Any]]:
        """What a reader's app shows, oldest first: each in its newest version, no deleted one."""
        shown: dict[str, dict[str, Any]] = {}
        for event in self.events():
            which = event.get("sequence_id") or event["id"]
            if event["event"] == "message":
                shown[which] = event
            elif event["event"] == "message_delete":
                shown.pop(which, None)
        return list(shown.values())

    def attachment(self, message: dict[str, Any]) -> bytes:
        """The bytes of a file that was sent with *message*."""
        answer = requests.get(
            message["attachment"]["url"],
            headers={"Authorization": f"Bearer {self.reader_token}"},
            timeout=SECONDS,
        )
        answer.raise_for_status()
        return answer.content


class Ntfy:
    """The server, running from construction until `stop`. Raises NotInstalledError.

    It answers 429 after *requests_at_once*.
    """

    def __init__(self, folder: Path, requests_at_once: int = 100_000) -> None:
        if not _NTFY.exists():
            raise NotInstalledError("ntfy is not installed")
        port = free_port()
        self.url = f"http://localhost:{port}"
        self._tokens = {who: _new_token() for who in _MAY}
        settings = {
            "listen-http": f"127.0.0.1:{port}",
            "base-url": self.url,
            "cache-file": str(folder / "cache.db"),
            "attachment-cache-dir": str(folder / "attachments"),
            "auth-file": str(folder / "auth.db"),
            "auth-default-access": "deny-all",
            "auth-users": [f"{who}:{_HASH}:user" for who in _MAY],
            "auth-access": [f"{who}:kestrel_*:{may}" for who, may in _MAY.items()],
            "auth-tokens": [f"{who}:{token}" for who, token in self._tokens.items()],
            "web-root": "disable",
            "visitor-request-limit-burst": requests_at_once,
            "visitor-topic-creation-limit-burst": 100_000,
        }
        file = folder / "server.yml"
        file.write_text(json.dumps(settings), "utf-8")  # JSON is a part of YAML
        self._program = Program([_NTFY, "serve", "--config", file], folder)
        self._program.wait_until(self._is_healthy)

    def new_topic(self) -> NtfyTopic:
        """A fresh topic, with everybody who may do something there."""
        return NtfyTopic(
            server=self.url,
            topic=f"kestrel_{secrets.token_hex(4)}",
            user="owner",
            password=_PASSWORD,
            token=self._tokens["owner"],
            write_only_token=self._tokens["writer"],
            reader_token=self._tokens["reader"],
        )

    def stop(self) -> None:
        self._program.stop()

    def _is_healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/v1/health", timeout=SECONDS).ok
        except requests.ConnectionError:
            return False


def _new_token() -> str:
    """As `ntfy token generate` makes them."""
    return f"tk_{secrets.token_hex(15)[:29]}"
