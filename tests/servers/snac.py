"""A real fediverse server with the Mastodon API (snac2), and what it shows of an account in public.

It is the honest worst case: version 2.75 ignores Idempotency-Key, does not delete (404), and
shows `unlisted` posts as `public`.
"""

import json
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import requests

from tests.servers import INSTALLED, NotInstalledError, Program, answers, free_port

SECONDS = 10.0
_SNAC = INSTALLED / "snac" / "usr" / "bin" / "snac"
_PASSWORD = re.compile(r"^User password is (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Status:
    """A post as a stranger sees it. *links* leave out those of hashtags and mentions."""

    id: str
    url: str
    html: str
    links: tuple[str, ...]
    tags: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)
    """All that the API told of it."""


@dataclass(frozen=True)
class FediverseAccount:
    """An account of its own for one test, and what anyone may read of it without logging in."""

    server: str
    name: str
    token: str = field(repr=False)

    def posts(self) -> list[Status]:
        """Its public posts, oldest first."""
        who = self._get("accounts/lookup", acct=self.name)["id"]
        found = self._get(f"accounts/{who}/statuses", limit="50")
        return [_status(raw) for raw in reversed(found)]

    def _get(self, path: str, **params: str) -> Any:
        answer = requests.get(f"{self.server}/api/v1/{path}", params=params, timeout=SECONDS)
        answer.raise_for_status()
        return answer.json()


class Snac:
    """The server, running from construction until `stop`. Raises NotInstalledError."""

    def __init__(self, folder: Path) -> None:
        if not _SNAC.exists():
            raise NotInstalledError("snac is not installed")
        port = free_port()
        self._data = folder / "data"
        _prepare(self._data, port)
        self.url = f"http://localhost:{port}"
        self._program = Program([_SNAC, "httpd", self._data], folder)
        self._program.wait_until(lambda: answers(port))

    def new_user(self) -> tuple[str, str]:
        """Name and password of a fresh account."""
        name = f"kestrel_{secrets.token_hex(4)}"
        told = _PASSWORD.search(_run("adduser", self._data, name))
        assert told, "snac told no password for a new user"
        return name, told[1]

    def new_account(self) -> FediverseAccount:
        """A fresh account with a token for the API."""
        name, password = self.new_user()
        answer = requests.post(
            f"{self.url}/oauth/x-snac-get-token",
            data={"login": name, "passwd": password},
            timeout=SECONDS,
        )
        answer.raise_for_status()
        return FediverseAccount(self.url, name, answer.text.strip())

    def stop(self) -> None:
        self._program.stop()


def _prepare(data: Path, port: int) -> None:
    # It asks for address, port, host name, prefix and e-mail, in this order.
    _run("init", data, answers_given=f"127.0.0.1\n{port}\nlocalhost:{port}\n\n\n")
    settings = data / "server.json"
    changed = json.loads(settings.read_text("utf-8")) | {
        "protocol": "http",
        "queue_retry_max": 0,  # a mention of a server that does not exist is not tried for days
    }
    settings.write_text(json.dumps(changed), "utf-8")


def _run(verb: str, data: Path, *arguments: str, answers_given: str = "") -> str:
    """What snac printed. Some of it comes on its error output."""
    return subprocess.run(
        [_SNAC, verb, data, *arguments],
        input=answers_given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=SECONDS,
    ).stdout


def _status(raw: dict[str, Any]) -> Status:
    anchors = _Anchors()
    anchors.feed(raw["content"])
    return Status(
        id=raw["id"],
        url=raw["url"],
        html=raw["content"],
        links=tuple(anchors.links),
        tags=tuple(tag["name"] for tag in raw["tags"]),
        raw=raw,
    )


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "a" and said.get("href") and "mention" not in (said.get("class") or ""):
            self.links.append(said["href"] or "")
