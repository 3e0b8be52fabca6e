"""Five networks in one small server on loopback, each with what our adapters use of its protocol.

Every post that its people see stands in the ledger. Any network can be told to take the next post
and then not to answer, which is where a crash hurts, or to be troubled in other ways.
"""

import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from PIL import Image

from tests.ledger import Ledger, Visible
from tests.town_networks import (
    WEBHOOK,
    Bluesky,
    Discord,
    Mastodon,
    OwncastChat,
    X,
)
from tests.town_requests import Answer, Asked


class Trouble(StrEnum):
    """What may become of a request. The first three are clear: nothing was done."""

    BUSY = "503, and nothing done"
    CLOSED = "cut off, and nothing done"
    BROKEN = "500, and nothing done"
    FAILED = "done, then 500"
    GATEWAY = "done, then a page of 502"
    RESET = "done, then a reset"
    CUT = "done, then half of the answer"
    PAGE = "done, then 200 with a page"


UNDONE = (Trouble.BUSY, Trouble.CLOSED, Trouble.BROKEN)


class Town:
    """*honours_keys*, *may_look* and *replays_errors* are Mastodon's. *pictures*: the Owncast of
    the town has a logo. *trouble* says for every request to a network what becomes of it.
    """

    def __init__(
        self,
        *,
        honours_keys: bool = True,
        may_look: bool = True,
        replays_errors: bool = False,
        pictures: bool = False,
        clock: Callable[[], float] = time.time,
        trouble: Callable[[Asked], Trouble | None] = lambda _: None,
    ) -> None:
        self.ledger = Ledger(clock)
        self.trouble, self._pictures = trouble, pictures
        self.status: dict[str, Any] = {"online": True}
        """Without times: the webhooks of a test are to say since when."""
        self.requests: list[str] = []
        self._hangs: set[str] = set()
        self.token = ""
        """The only access token that Mastodon takes; empty for any."""
        self.refused = 0
        """How many requests came with another one."""
        self._released = threading.Event()
        self._lock = threading.Lock()
        town = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                town._serve(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # as above

            def log_message(self, *_: object) -> None:
                return

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.mastodon = Mastodon(self.ledger, self.url, honours_keys, may_look, replays_errors)
        self.bluesky, self.x = Bluesky(self.ledger), X(self.ledger)
        networks = (
            self.mastodon,
            self.bluesky,
            Discord(self.ledger),
            self.x,
            OwncastChat(self.ledger),
        )
        self._routes = [
            (network.name, method, re.compile(pattern), handle)
            for network in networks
            for method, pattern, handle in network.routes()
        ]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def settings(self, *networks: str) -> dict[str, str]:
        """The variables that make *networks* destinations, and this Owncast the one to ask."""
        of = {
            "mastodon": {"API_BASE_URL": self.url, "ACCESS_TOKEN": "mastodon-token"},
            "bluesky": {
                "SERVICE": self.url,
                "IDENTIFIER": "kestrel.test",
                "APP_PASSWORD": "bluesky-password",
            },
            "discord": {"WEBHOOK_URL": f"{self.url}{WEBHOOK}"},
            "x": {
                "API_BASE_URL": self.url,
                "CONSUMER_KEY": "x-consumer-key",
                "CONSUMER_SECRET": "x-consumer-secret",
                "ACCESS_TOKEN": "x-access-token",
                "ACCESS_TOKEN_SECRET": "x-token-secret",
            },
            "owncast": {"ACCESS_TOKEN": "owncast-token"},
        }
        named = {f"{n.upper()}_{key}": value for n in networks for key, value in of[n].items()}
        return {"OWNCAST_URL": self.url, **named}

    def hangs_after_accepting(self, *networks: str) -> None:
        """The next change at each of *networks* is made, but not answered before `release`."""
        self._hangs.update(networks)

    def release(self) -> None:
        self._released.set()

    @property
    def visible(self) -> list[Visible]:
        return self.ledger.visible

    def counts(self) -> dict[str, int]:
        """How many posts people see, by network."""
        return dict(Counter(post.network for post in self.visible))

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        try:
            body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        except OSError:
            return None  # whoever asked was killed in the middle of it
        path, _, query = request.path.partition("?")
        asked = Asked(request.command, path, request.headers, body, (), query)
        for network, method, pattern, handle in self._routes:
            match = pattern.fullmatch(path)
            if match and method == request.command:
                asked = asked._replace(names=match.groups())
                return self._visit(request, network, asked, handle)
        return self._say(request, self._owncast(path))

    def _visit(
        self,
        request: BaseHTTPRequestHandler,
        network: str,
        asked: Asked,
        handle: Callable[[Asked], Answer],
    ) -> None:
        with self._lock:
            self.requests.append(f"{asked.method} {asked.path}")
            trouble = self.trouble(asked)
        sent = asked.headers.get("Authorization")
        if self.token and asked.path.startswith("/api/v1/") and sent != f"Bearer {self.token}":
            self.refused += 1
            return self._say(request, Answer(401, {"error": "The access token is invalid"}))
        replay = self.mastodon.replayed(asked) if network == "mastodon" else None
        if replay:
            return self._say(request, replay)
        if trouble not in UNDONE:
            before = self._seen(network)
            answer = handle(asked)
            if self._seen(network) != before:
                self._hang(network)
        if trouble in (Trouble.FAILED, Trouble.BROKEN):
            answer = Answer(500, {"error": "made up"})
            self.mastodon.failed(asked, answer)
        if trouble is Trouble.BUSY:
            answer = Answer(503, {"error": "made up"})
        if trouble is Trouble.GATEWAY:
            answer = Answer(502, "<html>Bad gateway")
        if trouble is Trouble.PAGE:
            answer = Answer(200, "<html>Welcome to the hotel")
        if trouble in (Trouble.CLOSED, Trouble.RESET):
            return _reset(request.connection)
        return self._say(request, answer, half=trouble is Trouble.CUT)

    def _seen(self, network: str) -> list[str]:
        marks = [mark for mark in sorted(self.ledger.marks) if mark.startswith(network)]
        return marks + [f"{post.id} {post.text}" for post in self.ledger.of(network)]

    def _hang(self, network: str) -> None:
        with self._lock:
            hangs = network in self._hangs
            self._hangs.discard(network)
        if hangs:
            self._released.wait(60)

    def _say(self, request: BaseHTTPRequestHandler, answer: Answer, *, half: bool = False) -> None:
        body = answer.body
        kind = "application/json"
        if isinstance(body, str):
            body, kind = body.encode(), "text/html"
        elif isinstance(body, bytes):
            kind = "image/png"
        else:
            body = json.dumps(body).encode()
        with suppress(OSError):  # whoever asked was killed meanwhile
            request.send_response(answer.status)
            request.send_header("Content-Type", kind)
            request.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body[: len(body) // 2] if half else body)

    def _owncast(self, path: str) -> Answer:
        if path == "/api/status":
            return Answer(200, self.status)
        if path == "/api/config":
            return Answer(200, {"tags": ["woodwork"], "nsfw": False})
        if path == "/logo/external" and self._pictures:
            return Answer(200, logo())
        return Answer(404, {"error": "no such place"})


class _Server(ThreadingHTTPServer):
    request_queue_size = 100

    def handle_error(self, *_: Any) -> None:
        """Whoever asked was killed meanwhile."""


@cache
def logo() -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 9), "green").save(file, "PNG")
    return file.getvalue()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
