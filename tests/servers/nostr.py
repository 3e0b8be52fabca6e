"""A real Nostr relay (nostr-relay), and what a reader who subscribes there is given."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.servers import INSTALLED, NotInstalledError, Program, answers, free_port

SECONDS = 10.0
_SCRIPT = INSTALLED / "nostr" / "bin" / "nostr-relay"


class NostrRelay:
    """The relay, running from construction until `stop`. Raises NotInstalledError.

    *settings* of its own go over ours: `rate_limits`, or `authentication`. To write there takes no
    account; a key of its own is what makes a test's events its own.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        if not (INSTALLED / "nostr" / "complete").exists():
            raise NotInstalledError("nostr-relay is not installed")
        port = free_port()
        self.url = f"ws://127.0.0.1:{port}"
        checks = ("is_not_too_large", "is_signed", "is_recent")
        file = folder / "relay.yaml"
        ours = {
            "relay_name": "a relay of the tests",
            "storage": {
                "sqlalchemy.url": f"sqlite+aiosqlite:///{folder}/events.db",
                "validators": [f"nostr_relay.validators.{check}" for check in checks],
            },
            "gunicorn": {
                "bind": f"127.0.0.1:{port}",
                "workers": 1,
                "graceful_timeout": 1,
                "loglevel": "warning",
                "control_socket_disable": True,  # with it a stop takes 2 s longer
            },
            "authentication": {"enabled": False},
        }
        file.write_text(json.dumps(ours | dict(settings or {})), "utf-8")  # a part of YAML
        # Not by its first line, which says where the environment was made.
        python = _SCRIPT.with_name("python")
        self._program = Program([python, _SCRIPT, "--config", file, "serve"], folder)
        self._program.wait_until(lambda: answers(port))

    def events(self, *, author: str, **more: Any) -> list[dict[str, Any]]:
        """What it holds of the public key *author*, oldest first; *more* as in a subscription."""
        found: list[dict[str, Any]] = []
        with connect(self.url, open_timeout=SECONDS, close_timeout=1) as reader:
            reader.send(json.dumps(["REQ", "reader", {"authors": [author], **more}]))
            while True:
                kind, _, *event = json.loads(reader.recv(SECONDS))
                if kind == "EOSE":
                    return sorted(found, key=lambda event: int(event["created_at"]))
                found += event

    def stop(self) -> None:
        self._program.stop()
