"""Five networks in one small server on loopback, each with what our adapters use of its protocol.

Every post that its people see stands in `visible`. Any network can be told to take the next post
and then not to answer, which is where a crash hurts.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]


class Visible(NamedTuple):
    network: str
    text: str
    at: float
    """Seconds of time.time()."""


class Town:
    """*honours_keys* and *may_look* are Mastodon's: whether the server folds what comes with the
    same Idempotency-Key, and whether our token may list our own posts.
    """

    def __init__(self, *, honours_keys: bool = True, may_look: bool = True) -> None:
        self._honours_keys, self._may_look = honours_keys, may_look
        self.visible: list[Visible] = []
        self._known: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._hangs: set[str] = set()
        self._released = threading.Event()
        town = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                town._serve(self)

            do_POST = do_GET  # noqa: N815  # as above

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
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
            "discord": {"WEBHOOK_URL": f"{self.url}/api/webhooks/1/discord-token-of-ours"},
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
        """The next post to each of *networks* is shown, but not answered before `release`."""
        self._hangs.update(networks)

    def release(self) -> None:
        self._released.set()

    def counts(self) -> dict[str, int]:
        """How many posts people see, by network."""
        return dict(Counter(post.network for post in self.visible))

    def _show(self, network: str, text: str, identity: str = "") -> int:
        """The number of the post. The same *identity* is the same post."""
        with self._lock:
            number = self._known.get((network, identity)) if identity else None
            if number is None:
                self.visible.append(Visible(network, text, time.time()))
                number = len(self.visible)
                self._known[network, identity] = number
            hangs = network in self._hangs
            self._hangs.discard(network)
        if hangs:
            self._released.wait(60)
        return number

    def _own(self, network: str) -> list[tuple[int, Visible]]:
        """The newest first."""
        found = [(n, post) for n, post in enumerate(self.visible, 1) if post.network == network]
        return found[::-1]

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = urlsplit(request.path).path
        routes: dict[str, Callable[[BaseHTTPRequestHandler, bytes], Answer]] = {
            "/api/status": _online,
            "/api/config": _about,
            "/api/integrations/chat/system": self._chat,
            "/api/v2/instance": _instance,
            "/api/v1/accounts/verify_credentials": _mastodon_account,
            "/api/v1/accounts/1/statuses": self._statuses,
            "/api/v1/statuses": self._status,
            "/xrpc/com.atproto.server.createSession": _session,
            "/xrpc/com.atproto.repo.putRecord": self._record,
            "/api/v10/webhooks/1/discord-token-of-ours": self._discord,
            "/2/users/me": _x_account,
            "/2/users/1/tweets": self._tweets,
            "/2/tweets": self._tweet,
        }
        handle = routes.get(path, _nowhere)
        status, answer = handle(request, body)
        written = json.dumps(answer).encode()
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(written)))
            request.end_headers()
            request.wfile.write(written)
        except OSError:
            return  # whoever asked was killed meanwhile

    def _chat(self, _: BaseHTTPRequestHandler, body: bytes) -> Answer:
        self._show("owncast", json.loads(body)["body"])
        return 200, {"success": True, "message": "sent"}

    def _status(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        key = request.headers.get("Idempotency-Key", "") if self._honours_keys else ""
        number = self._show("mastodon", parse_qs(body.decode())["status"][0], key)
        return 200, {"id": str(number), "url": f"{self.url}/@k/{number}"}

    def _statuses(self, *_: object) -> Answer:
        if not self._may_look:
            return 403, {"error": "This action is outside the authorized scopes"}
        return 200, [
            {
                "id": str(number),
                "url": f"{self.url}/@k/{number}",
                "created_at": _time(post.at),
                "content": f"<p>{escape(post.text)}</p>",
            }
            for number, post in self._own("mastodon")
        ]

    def _record(self, _: BaseHTTPRequestHandler, body: bytes) -> Answer:
        put = json.loads(body)
        self._show("bluesky", put["record"]["text"], put["rkey"])
        return 200, {"uri": f"at://did:plc:k/app.bsky.feed.post/{put['rkey']}", "cid": "bafy"}

    def _discord(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        if request.command == "GET":
            return 200, {"id": "1", "guild_id": "2", "channel_id": "3", "name": "ours"}
        number = self._show("discord", json.loads(body)["content"])
        return 200, {"id": str(number), "channel_id": "3"}

    def _tweet(self, _: BaseHTTPRequestHandler, body: bytes) -> Answer:
        number = self._show("x", json.loads(body)["text"])
        return 201, {"data": {"id": str(number), "text": ""}}

    def _tweets(self, *_: object) -> Answer:
        told = [
            {"id": str(number), "text": escape(post.text), "created_at": _time(post.at)}
            for number, post in self._own("x")
        ]
        return 200, {"data": told, "meta": {"result_count": len(told)}}


def _online(*_: object) -> Answer:
    """Without times: the webhooks of a test are to say since when."""
    return 200, {"online": True}


def _about(*_: object) -> Answer:
    return 200, {"tags": ["woodwork"], "nsfw": False}


def _instance(*_: object) -> Answer:
    return 200, {"source_url": "https://github.com/mastodon/mastodon"}


def _mastodon_account(*_: object) -> Answer:
    return 200, {"id": "1", "username": "k"}


def _session(*_: object) -> Answer:
    login = {"did": "did:plc:k", "handle": "kestrel.test"}
    return 200, {**login, "accessJwt": "access", "refreshJwt": "refresh"}


def _x_account(*_: object) -> Answer:
    return 200, {"data": {"id": "1", "username": "kestrel"}}


def _nowhere(*_: object) -> Answer:
    return 404, {"error": "no such place"}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
