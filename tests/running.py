"""The service as a user starts it: a process of its own, spoken to over HTTP."""

import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from announcer import wiring
from announcer.cli.records import _row
from tests import installed
from tests.servers import free_port

SECRET = "correct-horse-kestrel-7"
SECONDS = 45.0
"""What a busy machine may take for anything; a test that passes does not wait for it."""
PAYLOADS = Path(__file__).parent / "payloads"


def payload(name: str) -> bytes:
    """A webhook's body as Owncast sends it: compact, `<`, `>` and `&` escaped."""
    document = json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))
    return json.dumps(document, separators=(",", ":")).replace("&", "\\u0026").encode()


def webhook(place: str, body: bytes, **headers: str) -> int:
    """The status that *body*, signed now, is answered with at the address *place*."""
    at = str(int(time.time()))
    seal = hmac.digest(SECRET.encode(), f"{at}.".encode() + body, "sha256").hex()
    answer = requests.post(
        f"{place}/webhooks/owncast",
        data=body,
        headers={
            "Content-Type": "application/json",
            "owncast-signature": f"t={at}.s={seal}",
            **headers,
        },
        timeout=SECONDS,
    )
    return answer.status_code


class Service:
    """`announcer serve` in *folder*, with *settings* as its whole environment.

    A second one in the same folder finds the database of the first.
    """

    ready = "/readyz"
    """What answers 200 once it has started."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        program: Sequence[str] = ("-m", "announcer"),
    ) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **inherited,
            "PYTHONPATH": installed.path(),
            "PYTHONWARNINGS": "default",
            "ANNOUNCER_DATABASE_URL": f"sqlite:///{folder}/announcer.db",
            "ANNOUNCER_PORT": str(self.port),
            "OWNCAST_WEBHOOK_SECRET": SECRET,
            **settings,
        }
        self._log = (folder / "service.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *program, "serve"],
            cwd=folder,
            env=self.environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.until(self._ready, "the service does not answer")

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text("utf-8")

    def hear(self, body: bytes, **headers: str) -> int:
        """The status that a webhook with *body*, signed now, is answered with."""
        return webhook(self.url, body, **headers)

    def posts(self) -> dict[str, dict[str, Any]]:
        """The outbox as `announcer history --json` tells it, by key.

        Read here: a process of its own for each look would cost more than all that is looked at.
        """
        settings = wiring.read(self.environment)
        outbox = wiring.open_outbox(settings)
        try:
            shows = outbox.history(50)
        finally:
            outbox.engine.dispose()
        rows = (_row(show, post, settings.rules) for show, told in shows for post in told)
        return {row["key"]: row for row in rows}

    def until(self, ready: Any, otherwise: str) -> None:
        """Returns once *ready* says so; AssertionError with the log if it never does."""
        deadline = time.monotonic() + SECONDS
        while not ready():
            assert time.monotonic() < deadline, f"{otherwise}:\n{self.log[-3000:]}"
            time.sleep(0.03)

    def kill(self) -> None:
        """SIGKILL to every process of it, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.wait(40)

    def wait(self, patience: float) -> int:
        """The exit status, once it has ended by itself."""
        status = self.process.wait(patience)
        self._log.close()
        return status

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the service ended:\n{self.log[-3000:]}"
        try:
            return requests.get(f"{self.url}{self.ready}", timeout=2).status_code == 200
        except requests.RequestException:
            return False
