"""Owncast's admin API as each generation of it answers, on loopback, and what it was asked.

Sources: owncast/owncast models/webhook.go (valid events), webserver/handlers/admin/webhooks.go and
externalAPIUsers.go, webserver/router/middleware/auth.go.
"""

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSWORD = "größer-than-abc123"
"""Not in Latin-1 as everybody writes it."""
BEFORE_TITLES = {"CHAT", "USER_JOINED", "NAME_CHANGE", "VISIBILITY-UPDATE"} | {
    "STREAM_STARTED",
    "STREAM_STOPPED",
}
SCOPES = {"CAN_SEND_MESSAGES", "CAN_SEND_SYSTEM_MESSAGES", "HAS_ADMIN_ACCESS"}


class OwncastAdmin:
    """One server of a *version*; an empty one is not told. *trouble* may answer in its place, by
    the path: a status, or None to answer nothing at all once the request was obeyed.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.webhooks: list[dict[str, Any]] = []
        self.tokens: list[dict[str, Any]] = []
        self.changed: list[str] = []
        """The paths of all requests that changed something."""
        self.trouble: dict[str, int | None] = {}
        self._last = 0
        there = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                there._serve(self)

            def do_POST(self) -> None:
                there._serve(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def _number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split(".")) if self.version else (0, 0, 9)

    @property
    def _events(self) -> set[str]:
        return BEFORE_TITLES | ({"STREAM_TITLE_UPDATED"} if self._number >= (0, 1) else set())

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length) or b"{}")
        path = request.path
        views: dict[str, Callable[[dict[str, Any]], tuple[int, Any]]] = {
            "/api/status": lambda _: (200, {"versionNumber": self.version, "online": False}),
            "/api/config": lambda _: (
                200,
                {"version": self.version and f"Owncast v{self.version}"},
            ),
            "/api/admin/webhooks": lambda _: (200, self.webhooks or None),
            "/api/admin/webhooks/create": self._create_webhook,
            "/api/admin/webhooks/delete": self._delete_webhook,
            "/api/admin/accesstokens": lambda _: (200, self.tokens or None),
            "/api/admin/accesstokens/create": self._create_token,
            "/api/admin/accesstokens/delete": self._delete_token,
            "/api/integrations/chat/system/client/2147483647": lambda _: (200, {"success": True}),
        }
        status, answer = 404, {"error": "not found"}
        trouble = self.trouble.get(path, 0)
        if path.startswith("/api/admin") and not self._is_admin(request):
            status, answer = 401, {}
        elif trouble:
            status, answer = trouble, {"error": "out of order"}
        elif path in views:
            if request.command == "POST" and "/admin/" in path:
                self.changed.append(path.removeprefix("/api/admin/"))
            status, answer = views[path](body)
            if trouble is None:
                request.close_connection = True
                return
        raw = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)

    def _is_admin(self, request: BaseHTTPRequestHandler) -> bool:
        wanted = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {wanted}"

    def _create_webhook(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if not set(asked["events"]) <= self._events:
            return 400, {"error": "one or more invalid event provided"}
        self._last += 1
        known = {"url", "events"} | ({"secret"} if self._number >= (0, 3) else set())
        new = {"id": self._last, **{name: asked[name] for name in known if name in asked}}
        self.webhooks.append(new)
        return 200, {**new, "timestamp": "2026-11-23T19:15:00Z", "lastUsed": None}

    def _delete_webhook(self, asked: dict[str, Any]) -> tuple[int, Any]:
        self.webhooks = [one for one in self.webhooks if one["id"] != asked["id"]]
        return 200, {"success": True, "message": "deleted webhook"}

    def _create_token(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if not set(asked["scopes"]) <= SCOPES:
            return 400, {"error": "one or more invalid scopes provided"}
        self._last += 1
        new = {
            "accessToken": f"made-by-owncast-{self._last}=",
            "displayName": asked["name"],
            "scopes": asked["scopes"],
        }
        self.tokens.append(new)
        return 200, new

    def _delete_token(self, asked: dict[str, Any]) -> tuple[int, Any]:
        self.tokens = [one for one in self.tokens if one["accessToken"] != asked["token"]]
        return 200, {"success": True, "message": "deleted token"}
