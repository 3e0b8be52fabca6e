"""The door for Owncast. It answers as soon as the event is on disk, and never repeats a body.

Signature: services/webhooks/auth.go of owncast/owncast, `owncast-signature: t=<unix>.s=<hex>`, an
HMAC-SHA256 over `<t>.` and the raw body.
"""

import hmac
import time
from collections import Counter
from datetime import UTC, datetime

import structlog
from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from announcer.events import MalformedEvent, parse
from announcer.outbox import StorageError
from announcer.wiring import Parts

log = structlog.get_logger("announcer.webhooks")

LARGEST = 256 * 1024
"""Bytes of a body."""
WINDOW = 300
"""Seconds that a signature's time may differ from ours, either way."""
SELDOM = 60.0
"""Seconds between two log lines on the same refusal: anybody can cause one."""


def blueprint(parts: Parts) -> Blueprint:
    door = Blueprint("webhooks", __name__)
    servers = parts.settings.channels
    secrets = {name: _bytes(server.webhook_secret) for name, server in servers.items()}
    tokens = {name: _bytes(server.webhook_token) for name, server in servers.items()}
    refusals = _Refusals()

    @door.post("/webhooks/owncast")
    def signed() -> ResponseReturnValue:
        body = _body()
        channel = _signer(request.headers.get("owncast-signature", ""), body, secrets)
        if channel is None:
            refusals.tell(401, "bad or stale signature: check the secret and both clocks")
            abort(Response("bad or stale signature\n", 401, mimetype="text/plain"))
        return _take(body, channel)

    @door.post("/webhooks/owncast/<token>")
    def by_token(token: str) -> ResponseReturnValue:
        channel = None
        for name, secret in tokens.items():
            # Every one is compared, so that the time taken tells nothing.
            if secret and hmac.compare_digest(secret, token.encode()):
                channel = name
        if channel is None:
            refusals.tell(404, "a wrong token: check the webhook's address in Owncast")
            abort(404)
        return _take(_body(), channel)

    def _take(body: bytes, channel: str) -> ResponseReturnValue:
        now = datetime.now(UTC)
        try:
            event = parse(body, channel, now)
            if event:
                parts.intake.take(event, now)
            else:
                parts.answers.hear(body, channel)
        except MalformedEvent as problem:
            log.warning("webhook", outcome=400, channel=channel, reason=str(problem))
            return Response(f"not an event: {problem}\n", 400, mimetype="text/plain")
        except StorageError as problem:
            log.error("webhook", outcome=503, channel=channel, reason=type(problem).__name__)
            return Response("could not be stored\n", 503, mimetype="text/plain")
        return "", 204

    return door


class _Refusals:
    """Logs that nobody was let in, but for a crowd no more than for one."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._unsaid: Counter[int] = Counter()

    def tell(self, outcome: int, reason: str) -> None:
        now = time.monotonic()
        if now - self._last.get(outcome, float("-inf")) < SELDOM:
            self._unsaid[outcome] += 1
            return
        self._last[outcome] = now
        unsaid = self._unsaid.pop(outcome, None)
        log.warning("webhook", outcome=outcome, reason=reason, unsaid=unsaid)


def _body() -> bytes:
    """The raw body. Answers 415 or 413 itself, without reading more than LARGEST."""
    if request.mimetype != "application/json" or request.content_encoding:
        abort(415)
    request.max_content_length = LARGEST + 1  # a body without a length is cut off there, unsaid
    body = request.get_data(cache=False)
    if len(body) > LARGEST:
        abort(413)
    return body


def _signer(header: str, body: bytes, secrets: dict[str, bytes]) -> str | None:
    """The channel whose secret signed *body*, None if there is none or the time is off."""
    parts = dict(part.partition("=")[::2] for part in header.split("."))
    at, signature = parts.get("t", ""), parts.get("s", "")
    if not (at.isascii() and at.isdigit() and len(at) < 15 and signature.isascii()):
        return None
    if abs(time.time() - int(at)) > WINDOW:
        return None
    found = None
    for name, secret in secrets.items():
        expected = hmac.digest(secret, f"{at}.".encode() + body, "sha256").hex()
        if hmac.compare_digest(expected, signature) and secret:
            found = name
    return found


def _bytes(secret: object) -> bytes:
    reveal = getattr(secret, "get_secret_value", None)
    return reveal().encode() if reveal else b""
