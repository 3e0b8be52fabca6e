"""A push service that behaves as it is told, and the browsers behind it: they check who sends, and
decrypt what comes, by the standards' own libraries.
"""

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import http_ece  # type: ignore[import-untyped]  # ships no types
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02  # type: ignore[import-untyped]  # ships no types

from announcer.contract import Behaviour
from tests.rogue import Authority

CONTACT = "mailto:kestrel@example.org"
ANSWERS = {
    Behaviour.LOCKED_OUT: (403, {}),
    Behaviour.BUSY: (429, {"Retry-After": "42"}),
    Behaviour.REFUSES: (400, {}),
}
BEFORE = (Behaviour.DEAF, Behaviour.NONSENSE, Behaviour.HANGS_UP)


def coded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Browser:
    """It has one subscription, at the path of its *name*."""

    def __init__(self, name: str = "kestrel") -> None:
        self.path = f"/push/{name}"
        self.key, self.secret = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)

    def subscription(self, origin: str) -> dict[str, Any]:
        """As `PushSubscription.toJSON` gives it."""
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": coded(point), "auth": coded(self.secret)}
        return {"endpoint": f"{origin}{self.path}", "expirationTime": None, "keys": keys}

    def reads(self, body: bytes) -> dict[str, Any]:
        plain = http_ece.decrypt(
            body, private_key=self.key, auth_secret=self.secret, version="aes128gcm"
        )
        found: dict[str, Any] = json.loads(plain)
        return found


@dataclass(frozen=True)
class Push:
    """One that came, checked and read."""

    path: str
    headers: Mapping[str, str]
    size: int
    message: Mapping[str, Any]
    claims: Mapping[str, Any]
    key: str


@dataclass
class PushService:
    """Over TLS if it is given an *authority*. *answers* are for single browsers, by path: a status,
    with headers if need be; 0 hangs up. Of what it refuses it shows nothing.
    """

    authority: Authority | None = None
    behaviour: Behaviour = Behaviour.GOOD
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    browsers: dict[str, Browser] = field(default_factory=dict)
    pushes: list[Push] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Paths, whatever was answered."""
    shown: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    pause: float = 0.0
    most_at_once: int = 0
    _now: int = 0

    def __post_init__(self) -> None:
        self._over, self._lock = threading.Event(), threading.Lock()
        self._server = _Server(self)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def origin(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def browser(self, name: str = "kestrel") -> Browser:
        made = Browser(name)
        self.browsers[made.path] = made
        return made

    def to(self, browser: Browser) -> list[Mapping[str, Any]]:
        return [push.message for push in self.pushes if push.path == browser.path]

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def takes(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str]]:
        """What is answered to a push that is complete; 0 hangs up."""
        with self._lock:
            self.asked.append(path)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            time.sleep(self.pause)
            return self._takes(path, headers, body)
        finally:
            with self._lock:
                self._now -= 1

    def _takes(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str]]:
        answer = self.answers.get(path) or ANSWERS.get(self.behaviour) or (201, {})
        if answer[0] not in (0, 201):
            return answer
        token, key = read(headers["authorization"])
        if token["aud"] != self.origin or not 0 < token["exp"] - time.time() <= 86400:
            return 403, {}
        if "ttl" not in headers or len(headers.get("topic", "")) > 32:
            return 400, {}
        if len(body) > 4096 or headers["content-encoding"] != "aes128gcm":
            return 413, {}
        message = self.browsers[path].reads(body)
        self.pushes.append(Push(path, headers, len(body), message, token, key))
        self.shown.append(f"{message['title']}\n{message['body']}".strip())
        self.identities.append(f"{headers['topic']} {message['tag']}")
        if self.behaviour is Behaviour.SILENT:
            self._over.wait(3)
        if self.behaviour is Behaviour.CUTS:
            return 0, {}
        return answer[0], {"Location": f"{self.origin}/message/{len(self.pushes)}", **answer[1]}

    def before(self, peer: socket.socket) -> bool:
        """Whether the connection gets any further."""
        if self.behaviour is Behaviour.NONSENSE:
            peer.sendall(b"coo\n")
        if self.behaviour is Behaviour.DEAF:
            self._over.wait(3)
        return self.behaviour not in BEFORE


def read(authorization: str) -> tuple[dict[str, Any], str]:
    """The claims, and the key that signed them. Raises AssertionError for a bad signature."""
    assert Vapid02.verify(authorization)
    parts = dict(part.split("=", 1) for part in authorization.split(" ", 1)[1].split(","))
    claims = parts["t"].split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return found, parts["k"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: PushService) -> None:
        self.service = service
        self._tls = service.authority.server() if service.authority else None
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if not self.service.before(request):
            return
        with suppress(OSError):  # whoever came is gone again
            if self._tls:
                request = self._tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
            request.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):  # it broke off: that is no push
            self.close_connection = True
            return
        heard = {name.lower(): value for name, value in self.headers.items()}
        status, more = self.server.service.takes(self.path, heard, body)
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def push_service() -> Iterator[PushService]:
    """With TLS that we trust."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as trust:
        authority = Authority(Path(folder))
        trust.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(authority.file))
        service = PushService(authority)
        yield service
        service.stop()
