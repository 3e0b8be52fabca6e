"""Plays the networks: one loop in a process of its own, which notes when each was asked.

Of every protocol as much as a post needs. Each request is answered after the same while, or never;
whoever measures talks to it in between, at `/bench/...`.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from tests.servers import answers, free_port

FOREVER = 3600.0
KINDS = ("mastodon", "misskey", "ntfy", "webhook")
"""Those that Apprise speaks to a server of one's own, too."""
POSTS = ("/api/v1/statuses", "/api/notes/create", "/hooks/", "/api/v10/webhooks/", "putRecord")
"""What a request's path holds if it puts up a post; ntfy's is the name of a topic."""


@dataclass(frozen=True)
class Asked:
    """A post, by the monotonic clock, which all processes of a machine share."""

    account: str
    at: float
    answered: float


@dataclass
class Ledger:
    delay: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    begun: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, one: Asked) -> None:
        self.asked.append(one)
        self.changed.set()


class Line(asyncio.Protocol):
    """One connection, one request after another on it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._got = b""
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._got:
            self._since = time.perf_counter()
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        if len(body) < int(headers.get("content-length", 0)):
            return
        method, target, _ = first.split(" ")
        self._got = b""
        if target.startswith("/bench/"):
            self._control = asyncio.ensure_future(self._obey(target))
            return
        account = f"{target} {headers.get('authorization', '')}" if _is_post(method, target) else ""
        self._ledger.begun += 1
        what = answer_to(target, body)
        if self._ledger.delay < FOREVER:
            loop = asyncio.get_running_loop()
            loop.call_later(self._ledger.delay, self._answer, what, account, self._since)

    def _answer(self, what: Any, account: str, since: float) -> None:
        self._say(what)
        if account:
            self._ledger.note(Asked(account, since, time.perf_counter()))

    async def _obey(self, target: str) -> None:
        place = urlsplit(target)
        given = {name: values[0] for name, values in parse_qs(place.query).items()}
        ledger = self._ledger
        match place.path:
            case "/bench/delay":
                ledger.delay = float(given["seconds"])
            case "/bench/forget":
                ledger.asked.clear()
                ledger.begun = 0
            case "/bench/until":  # so many are answered
                while len(ledger.asked) < int(given["posts"]):
                    ledger.changed.clear()
                    await ledger.changed.wait()
            case "/bench/begun":
                return self._say(ledger.begun)
        return self._say([[one.account, one.at, one.answered] for one in ledger.asked])

    def _say(self, what: Any) -> None:
        body = json.dumps(what).encode()
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)


def _is_post(method: str, target: str) -> bool:
    topic = target == "/" or target.startswith("/topic-")
    return method in ("POST", "PUT") and (topic or any(part in target for part in POSTS))


def answer_to(target: str, body: bytes) -> Any:
    """As each network answers."""
    if "/api/v10/webhooks/" in target:
        return {"id": "1", "channel_id": "2"}
    if target.endswith("createSession"):
        name = json.loads(body)["identifier"]
        tokens = {"accessJwt": "access", "refreshJwt": "refresh"}
        return {"did": f"did:plc:{name}", "handle": name, **tokens}
    if target.endswith("putRecord"):
        put = json.loads(body)
        uri = f"at://{put['repo']}/app.bsky.feed.post/{put['rkey']}"
        return {"uri": uri, "cid": "bafy"}
    if target.endswith("notes/create"):
        return {"createdNote": {"id": "1"}}
    if target.endswith("api/meta"):
        return {"maxNoteTextLength": 3000, "version": "2026.1.0"}
    return {
        "id": "1",
        "url": "https://fediverse.example/1",
        "username": "kestrel",
        "configuration": {"statuses": {"max_characters": 500}},
    }


class Networks:
    """All of them, in a process that runs until it is told to end."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(  # noqa: S603  # ours
            [sys.executable, "-m", __name__, str(self.port)]
        )
        while not answers(self.port):
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def answer_after(self, seconds: float) -> None:
        self._ask(f"delay?seconds={seconds}")

    def forget(self) -> None:
        self._ask("forget")

    def until(self, posts: int) -> list[Asked]:
        """Waits, without asking again and again, until so many are answered."""
        return [Asked(*one) for one in self._ask(f"until?posts={posts}")]

    def begun(self) -> int:
        """Requests of any kind that came, answered or not."""
        return int(self._ask("begun"))

    def _ask(self, what: str) -> Any:
        with urlopen(f"{self.url}/bench/{what}", timeout=60) as answer:  # noqa: S310  # our own
            return json.load(answer)

    def accounts(self, number: int, kinds: Sequence[str] = KINDS, **more: str) -> dict[str, str]:
        """Settings of so many destinations, the *kinds* by turns, each with *more*."""
        settings: dict[str, str] = {}
        for n in range(number):
            kind = kinds[n % len(kinds)]
            settings |= {
                f"{kind.upper()}__A{n}__{field}": value
                for field, value in {**self._fields(kind, n), **more}.items()
            }
        return settings

    def _fields(self, kind: str, n: int) -> dict[str, str]:
        match kind:
            case "mastodon":
                return {"API_BASE_URL": self.url, "ACCESS_TOKEN": f"token-{n}"}
            case "misskey":
                return {"URL": self.url, "TOKEN": f"token-{n}"}
            case "ntfy":
                return {"SERVER": self.url, "TOPIC": f"topic-{n}"}
            case "webhook":
                return {"URL": f"{self.url}/hooks/{n}", "SECRET": f"whsec_{'A' * 32}"}
            case "discord":
                return {"WEBHOOK_URL": f"{self.url}/api/v10/webhooks/{n}/token-of-the-webhook"}
            case "bluesky":
                account = {"IDENTIFIER": f"kestrel-{n}.test", "SERVICE": self.url}
                return {**account, "APP_PASSWORD": "abcd-efgh-ijkl-mnop"}
        raise ValueError(kind)

    def for_apprise(self, number: int) -> list[str]:
        """The same accounts, as Apprise writes them."""
        place = f"127.0.0.1:{self.port}"
        forms = {
            "mastodon": "mastodon://token-{n}@{place}",
            "misskey": "misskey://token-{n}@{place}",
            "ntfy": "ntfy://{place}/topic-{n}",
            "webhook": "json://{place}/hooks/{n}",
        }
        return [forms[KINDS[n % len(KINDS)]].format(n=n, place=place) for n in range(number)]


@contextmanager
def networks(delay: float = 0.0) -> Iterator[Networks]:
    running = Networks()
    try:
        running.answer_after(delay)
        yield running
    finally:
        running.stop()


async def _serve(port: int) -> None:
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(ledger), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
