"""Slack and Mattermost as far as we speak to them, on loopback, with what their members see."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

Trouble = Literal["takes it and hangs up", "hangs up"]
Told = dict[str, Any]


class Teamchat:
    """*shown* is what the channel shows, by id and in order; *pinned* the ids at its top. The next
    posts meet *troubles*, one each.
    """

    posts_to = ""
    """The path that something is put up by."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.shown: dict[str, Told] = {}
        self.pinned: set[str] = set()
        self.asked: list[str] = []
        self.troubles: list[Trouble] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def texts(self) -> list[str]:
        return [self.text_of(one) for one in list(self.shown.values())]

    def text_of(self, message: Told) -> str:
        raise NotImplementedError

    def answer(self, method: str, path: str, sent: Told) -> tuple[int, Told]:
        raise NotImplementedError

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                address = urlsplit(self.path)
                sent = dict(parse_qsl(address.query)) | _fields(body, self.headers["Content-Type"])
                with chat._lock:
                    chat.asked.append(f"{self.command} {address.path}")
                    trouble = None
                    if chat.troubles and (self.command, address.path) == ("POST", chat.posts_to):
                        trouble = chat.troubles.pop(0)
                    if trouble != "hangs up":
                        status, said = chat.answer(self.command, address.path, sent)
                if trouble:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                told = json.dumps(said).encode()
                with suppress(OSError):  # who asked may be dead by now
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(told)))
                    self.end_headers()
                    self.wfile.write(told)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  # http.server's names

            def log_message(self, *_: object) -> None:
                return

        return Handler


class Slack(Teamchat):
    """One workspace with one channel, in which strangers write, too."""

    posts_to = "/api/chat.postMessage"
    channel = "C0123456789"

    def text_of(self, message: Told) -> str:
        return str(message["blocks"][0]["text"]["text"])

    def answer(self, method: str, path: str, sent: Told) -> tuple[int, Told]:  # noqa: ARG002  # a path says it all
        said = getattr(self, "_" + path.removeprefix("/api/").replace(".", "_"))(sent)
        return 200, said if isinstance(said, dict) else {"ok": False, "error": said}

    def stranger_says(self, text: str, **fields: Any) -> str:
        ts = f"{self.clock():.0f}.{len(self.shown):06}"
        words = [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]
        self.shown[ts] = {"ts": ts, "user": "U0STRANGER", "blocks": words, **fields}
        return ts

    def _auth_test(self, _: Told) -> Told:
        me = {"user": "announcer", "user_id": "U0BOT", "bot_id": "B0BOT", "team": "Kestrel"}
        return {"ok": True, "url": "https://kestrel.slack.com/", **me}

    def _chat_postMessage(self, sent: Told) -> Told | str:  # noqa: N802  # Slack's name
        if sent["channel"] != self.channel:
            return "channel_not_found"
        ts = f"{self.clock():.0f}.{len(self.shown):06}"
        self.shown[ts] = {"ts": ts, "user": "U0BOT", "bot_id": "B0BOT", **sent}
        return {"ok": True, "channel": self.channel, "ts": ts}

    def _chat_update(self, sent: Told) -> Told | str:
        if sent["ts"] not in self.shown:
            return "message_not_found"
        self.shown[sent["ts"]] |= {name: sent[name] for name in ("text", "blocks")}
        return {"ok": True, "channel": self.channel, "ts": sent["ts"]}

    def _chat_delete(self, sent: Told) -> Told | str:
        if self.shown.pop(sent["ts"], None) is None:
            return "message_not_found"
        return {"ok": True, "channel": self.channel, "ts": sent["ts"]}

    def _pins_add(self, sent: Told) -> Told | str:
        if sent["timestamp"] in self.pinned:
            return "already_pinned"
        self.pinned.add(sent["timestamp"])
        return {"ok": True}

    def _pins_remove(self, sent: Told) -> Told | str:
        if sent["timestamp"] not in self.pinned:
            return "no_pin"
        self.pinned.remove(sent["timestamp"])
        return {"ok": True}

    def _conversations_history(self, sent: Told) -> Told:
        """Two to a page, however many are wanted; metadata for those only who ask for it."""
        since, start = float(sent.get("oldest", 0)), int(sent.get("cursor") or 0)
        there = [one for one in reversed(self.shown.values()) if float(one["ts"]) >= since]
        page = there[start : start + 2]
        if sent.get("include_all_metadata") != "true":
            page = [{**one, "metadata": {}} for one in page]
        more = start + 2 < len(there)
        cursor = {"next_cursor": str(start + 2) if more else ""}
        return {"ok": True, "messages": page, "has_more": more, "response_metadata": cursor}


class Mattermost(Teamchat):
    """One server with one channel. A post that a member deleted is still listed, as deleted."""

    posts_to = "/api/v4/posts"
    channel = "4xp9fdt77pncbef59f4k1qe83o"

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.deleted: dict[str, Told] = {}
        self.files: dict[str, bytes] = {}
        self._pending: dict[str, tuple[float, str]] = {}
        super().__init__(clock=clock)

    def text_of(self, message: Told) -> str:
        return str(message["message"])

    def stranger_says(self, text: str) -> str:
        return self._put({"message": text, "props": {}}, "u2")

    def _put(self, post: Told, user: str) -> str:
        found = f"p{len(self.shown) + len(self.deleted)}"
        now = self.clock() * 1000
        self.shown[found] = {**post, "id": found, "user_id": user, "update_at": now}
        return found

    def answer(self, method: str, path: str, sent: Told) -> tuple[int, Told]:
        match [method, *path.removeprefix("/api/v4/").split("/")]:
            case ["POST", "posts"]:
                return self._post(sent)
            case ["GET", "users", "me"]:
                return 200, {"id": "u1", "username": "announcer"}
            case ["GET", "channels", self.channel, "members", "me"]:
                return 200, {"user_id": "u1"}
            case ["GET", "channels", self.channel, "posts"]:
                every = {**self.shown, **self.deleted}
                since = float(sent["since"])
                return 200, {"posts": {k: v for k, v in every.items() if v["update_at"] > since}}
            case ["GET", "config", "client"]:
                return 200, {"MaxPostSize": "4000"}
            case ["POST", "files"]:
                self.files[f"f{len(self.files)}"] = sent["files"]
                return 201, {"file_infos": [{"id": f"f{len(self.files) - 1}"}]}
            case [_, "posts", found, *what]:
                return self._change(method, found, "".join(what), sent)
        return 404, {"id": "api.context.404.app_error", "message": "no such page"}

    def _post(self, sent: Told) -> tuple[int, Told]:
        at, found = self._pending.get(sent["pending_post_id"], (0.0, ""))
        if self.clock() - at > 30:
            found = self._put(sent, "u1")
            self._pending[sent["pending_post_id"]] = (self.clock(), found)
        return 201, self.shown[found]

    def _change(self, method: str, found: str, what: str, sent: Told) -> tuple[int, Told]:
        if found not in self.shown:
            if what:
                return 403, {"id": "api.context.permissions.app_error", "message": "You may not"}
            return 404, {"id": "app.post.get.app_error", "message": "Unable to get the post"}
        match (method, what):
            case ("GET", ""):
                return 200, self.shown[found]
            case ("PUT", "patch"):
                self.shown[found] |= sent
                return 200, self.shown[found]
            case ("DELETE", ""):
                self.deleted[found] = self.shown.pop(found)
            case ("POST", "pin"):
                self.pinned.add(found)
            case ("POST", "unpin"):
                self.pinned.discard(found)
        return 200, {"status": "OK"}


def _fields(body: bytes, kind: str | None) -> Told:
    """Of JSON, or of a form with a file, of which the bytes stand for themselves."""
    if not body:
        return {}
    if kind and "multipart" in kind:
        mail = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        parts = [part for part in mail.walk() if not part.is_multipart()]
        return {
            str(part.get_param("name", header="Content-Disposition")): part.get_payload(decode=True)
            for part in parts
        }
    said: Told = json.loads(body)
    return said
