"""The door for Owncast. It answers as soon as the event is on disk, and never repeats a body.

Signature: services/webhooks/auth.go of owncast/owncast, `owncast-signature: t=<unix>.s=<hex>`, an
HMAC-SHA256 over `<t>.` and the raw body.
"""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter, time_ns
from typing import NoReturn

import structlog
from flask import Blueprint, Response, abort, g, request
from flask.typing import ResponseReturnValue
from pydantic import SecretStr
from werkzeug.exceptions import HTTPException

from announcer.events import Kind, MalformedEvent, parse
from announcer.intake import told_as
from announcer.metrics import TAKEN
from announcer.outbox import StorageError, cause_of
from announcer.web.crowd import Seldom
from announcer.web.gathering import LARGEST
from announcer.wiring import OwncastServer, Parts

log = structlog.get_logger("announcer.webhooks")

WINDOW = 300
"""Seconds that a signature's time may differ from ours, either way."""
SELDOM = 60.0
"""Seconds between two log lines on the same refusal: anybody can cause one."""
REFUSED = {
    "no signature": "Owncast before 0.3 needs the address with a token",
    "bad signature": "check the secret, here and in Owncast",
    "timestamp outside the window": "check both clocks, Owncast's is {ahead} s {side} ours",
    "wrong token": "check the webhook's address in Owncast",
    "not JSON": "Owncast sends application/json, and packs nothing",
    "too large": f"Owncast never sends more than {LARGEST} bytes",
}
"""Why, and what to do about it."""
OUTCOMES = (
    *("of no interest", "not an event", "not stored", "our mistake"),
    *REFUSED,
)
HOURLY = 3600.0
"""Seconds between two on a previous secret that is still in use: it is no trouble yet."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Which *channel* a webhook is from. *previous*: it was proved by the secret before the current
    one. *ahead* is by how many seconds its time is ahead of ours.
    """

    channel: str
    previous: bool
    ahead: int = 0


def blueprint(parts: Parts) -> Blueprint:
    door = Blueprint("webhooks", __name__)
    seldom = Seldom(log.warning, "webhook")
    metrics, tracing = parts.metrics, parts.tracing
    metrics.expect(outcomes=OUTCOMES, kinds=Kind)

    def refuse(status: int, what: str, **facts: object) -> NoReturn:
        metrics.webhook(what)
        reason = f"{what}: {REFUSED[what].format(**facts)}"
        seldom.warn(what, SELDOM, outcome=status, reason=reason)
        if status == 404:
            abort(404)  # like any other place that does not exist
        abort(Response(f"{what}\n", status, mimetype="text/plain"))

    @door.before_request
    def ask() -> None:
        g.asked = perf_counter()

    @door.after_request
    def answer(said: Response) -> Response:
        metrics.answered.observe(perf_counter() - g.asked)
        if said.status_code == 500:
            metrics.webhook("our mistake")
        return said

    # Secrets are looked up each time: one may be replaced while we run.

    @door.post("/webhooks/owncast")
    def signed() -> ResponseReturnValue:
        body = read()
        header = request.headers.get("owncast-signature", "")
        proof = _signer(header, body, parts.settings.channels, time.time())
        if proof is None:
            if not header:
                refuse(401, "no signature")
            refuse(401, "bad signature")
        if abs(proof.ahead) > WINDOW:
            side = "ahead of" if proof.ahead > 0 else "behind"
            refuse(401, "timestamp outside the window", ahead=abs(proof.ahead), side=side)
        return _take(body, proof)

    @door.post("/webhooks/owncast/<token>")
    def by_token(token: str) -> ResponseReturnValue:
        proof = _bearer(token.encode(), parts.settings.channels)
        if proof is None:
            refuse(404, "wrong token")
        return _take(read(), proof)

    def read() -> bytes:
        try:
            return _body()
        except HTTPException as problem:
            if problem.code in (413, 415):
                refuse(problem.code, "too large" if problem.code == 413 else "not JSON")
            raise

    def _take(body: bytes, proof: Proof) -> ResponseReturnValue:
        now, channel, begun = datetime.now(UTC), proof.channel, time_ns()
        if proof.previous:
            metrics.outdated()
            why = "it still proves itself with the secret or token before: tell Owncast the new one"
            seldom.warn(f"previous {channel}", HOURLY, channel=channel, reason=why)
        try:
            event = parse(body, channel, now)
            if event:
                show = parts.intake.take(event, now).broadcast
                if show:
                    tracing.span("webhook", show.id, begun, me=told_as(event), channel=channel)
            else:
                parts.answers.hear(body, channel)
        except MalformedEvent as problem:
            metrics.webhook("not an event")
            reason = str(problem)
            seldom.warn(f"{channel} {reason}", SELDOM, outcome=400, channel=channel, reason=reason)
            return Response(f"not an event: {problem}\n", 400, mimetype="text/plain")
        except StorageError as problem:
            metrics.webhook("not stored")
            tracing.span("webhook", "", begun, failed=True, channel=channel)
            log.error("webhook", outcome=503, channel=channel, reason=cause_of(problem))
            return Response("could not be stored\n", 503, mimetype="text/plain")
        if event:
            metrics.webhook(TAKEN, event.kind.value)
        else:
            metrics.webhook("of no interest")
        return "", 204

    return door


def _body() -> bytes:
    """The raw body. Answers 415 or 413 itself, without reading more than LARGEST."""
    if request.mimetype != "application/json" or request.content_encoding:
        abort(415)
    request.max_content_length = LARGEST + 1  # a body without a length is cut off there, unsaid
    body = request.get_data(cache=False)
    if len(body) > LARGEST:
        abort(413)
    return body


# Below, all that is secret is compared every time, so that the time taken tells nothing.


def _signer(
    header: str, body: bytes, servers: Mapping[str, OwncastServer], now: float
) -> Proof | None:
    """Whose secret signed *body* with the time it gives, however long ago; None if nobody's."""
    parts = dict(part.partition("=")[::2] for part in header.split("."))
    at, signature = parts.get("t", ""), parts.get("s", "")
    if not (at.isascii() and at.isdigit() and len(at) < 15 and signature.isascii()):
        return None
    signed, ahead, found = at.encode() + b"." + body, int(at) - round(now), None
    for name, server in servers.items():
        for secret in (server.webhook_secret, server.webhook_secret_previous):
            if secret and hmac.compare_digest(_digest(secret, signed), signature):
                found = Proof(name, secret is not server.webhook_secret, ahead)
    return found


def _bearer(token: bytes, servers: Mapping[str, OwncastServer]) -> Proof | None:
    """Whose *token* it is; None if nobody's."""
    found = None
    for name, server in servers.items():
        for secret in (server.webhook_token, server.webhook_token_previous):
            if secret and hmac.compare_digest(secret.get_secret_value().encode(), token):
                found = Proof(name, secret is not server.webhook_token)
    return found


def _digest(secret: SecretStr, signed: bytes) -> str:
    return hmac.digest(secret.get_secret_value().encode(), signed, "sha256").hex()
