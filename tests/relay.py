"""A Nostr relay that behaves as it is told. It checks ids and signatures, as every relay does."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from coincurve import PublicKeyXOnly
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from announcer.contract import Behaviour

REFUSALS = {
    Behaviour.LOCKED_OUT: "restricted: only members write here",
    Behaviour.BUSY: "rate-limited: slow down",
    Behaviour.REFUSES: "invalid: not today",
}
CHALLENGE = "what bird are you"


class Relay:
    """With *wants_proof* it takes events only of who has answered its challenge (NIP-42)."""

    def __init__(self) -> None:
        self.behaviour = Behaviour.GOOD
        self.wants_proof = False
        self.proofs: list[dict[str, Any]] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.shown: list[str] = []
        self.identities: list[str] = []
        self._over = threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._server: Server = serve(
            self._talk, sock=self._door, process_request=self._opens, compression=None
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join(5)

    def _opens(self, there: ServerConnection, _: Request) -> Response | None:
        if self.behaviour is Behaviour.DEAF:
            self._over.wait(3)
        if self.behaviour in (Behaviour.DEAF, Behaviour.HANGS_UP):
            there.socket.shutdown(socket.SHUT_RDWR)
        if self.behaviour is Behaviour.NONSENSE:
            return Response(HTTPStatus.OK, "OK", Headers({"Content-Length": "4"}), b"coo\n")
        return None

    def _talk(self, there: ServerConnection) -> None:
        proven = not self.wants_proof
        if not proven:
            there.send(json.dumps(["AUTH", CHALLENGE]))
        with suppress(ConnectionClosed):
            for message in there:
                match json.loads(message):
                    case ["AUTH", dict(event)]:
                        assert sound(event)
                        self.proofs.append(event)
                        proven = True
                        there.send(json.dumps(["OK", event["id"], True, ""]))
                    case ["EVENT", dict(event)] if not proven:
                        reason = "auth-required: who are you"
                        there.send(json.dumps(["OK", event["id"], False, reason]))
                    case ["EVENT", dict(event)]:
                        answer = self._takes(event)
                        if self.behaviour is Behaviour.SILENT:
                            self._over.wait(3)
                        if self.behaviour is Behaviour.CUTS:
                            there.socket.shutdown(socket.SHUT_RDWR)
                            return
                        there.send(json.dumps(["NOTICE", "be welcome"]))
                        there.send(json.dumps(["OK", event["id"], *answer]))
                    case ["REQ", str(name), dict(wanted)]:
                        for event in self.events.values():
                            if matches(event, wanted):
                                there.send(json.dumps(["EVENT", name, event]))
                        there.send(json.dumps(["EOSE", name]))

    def _takes(self, event: dict[str, Any]) -> tuple[bool, str]:
        if refusal := REFUSALS.get(self.behaviour):
            return False, refusal
        if not sound(event):
            return False, "invalid: the signature does not fit"
        again = event["id"] in self.events
        self.identities.append(event["id"])
        if again:
            return False, "duplicate: have it"
        self.events[event["id"]] = event
        self.shown.append(event["content"])
        return True, ""


def sound(event: dict[str, Any]) -> bool:
    """By NIP-01 alone, and nothing of ours."""
    parts = [0, *(event[name] for name in ("pubkey", "created_at", "kind", "tags", "content"))]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).digest()
    if digest.hex() != event["id"]:
        return False
    key = PublicKeyXOnly(bytes.fromhex(event["pubkey"]))
    return bool(key.verify(bytes.fromhex(event["sig"]), digest))


def matches(event: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return (
        event["id"] in wanted.get("ids", [event["id"]])
        and event["kind"] in wanted.get("kinds", [event["kind"]])
        and event["pubkey"] in wanted.get("authors", [event["pubkey"]])
    )


@contextmanager
def relay() -> Iterator[Relay]:
    one = Relay()
    yield one
    one.stop()
