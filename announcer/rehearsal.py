"""Plays Owncast: genuine webhooks for a running service, signed or with its token."""

import hmac
import json
import secrets
import time
from datetime import UTC, datetime

from announcer import wire
from announcer.events import Kind
from announcer.wiring import OwncastServer, Service

KINDS = {"start": Kind.STARTED, "title": Kind.RETITLED, "stop": Kind.STOPPED}


def webhook(what: str, title: str, name: str) -> bytes:
    """The body of Owncast 0.3.0 for `start`, `title` or `stop`, happening now.

    Shape: services/webhooks/stream.go of owncast/owncast.
    """
    now = datetime.now(UTC)
    whole = now.replace(microsecond=0).isoformat()
    status = {
        "lastConnectTime": None if what == "stop" else whole,
        "lastDisconnectTime": whole if what == "stop" else None,
        "versionNumber": "0.3.0",
        "streamTitle": title,
        "viewerCount": 0,
        "overallMaxViewerCount": 0,
        "sessionMaxViewerCount": 0,
        "online": what == "title",
    }
    data = {
        "id": secrets.token_urlsafe(7),
        "name": name,
        "serverURL": "",
        "status": status,
        "streamTitle": title,
        "summary": "",
        "timestamp": now.isoformat(),
    }
    return json.dumps({"eventData": data, "type": KINDS[what]}).encode()


def sign(body: bytes, secret: str) -> str:
    """The value of the header `owncast-signature`."""
    at = str(int(time.time()))
    return f"t={at}.s={hmac.digest(secret.encode(), f'{at}.'.encode() + body, 'sha256').hex()}"


def place(service: Service) -> str:
    """Where the service answers, as seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.host, service.host)  # noqa: S104  # compared only
    return f"http://{f'[{host}]' if ':' in host else host}:{service.port}"


def send(body: bytes, server: OwncastServer, service: Service) -> tuple[int, str]:
    """Status and text of the answer. Raises DeliveryError if none came."""
    headers, path = {"Content-Type": "application/json"}, "/webhooks/owncast"
    if server.webhook_secret:
        headers["owncast-signature"] = sign(body, server.webhook_secret.get_secret_value())
    elif server.webhook_token:
        path += f"/{server.webhook_token.get_secret_value()}"
    with wire.answered():
        at = place(service)
        answer = wire.Session(at).post(at + path, data=body, headers=headers)
    return answer.status_code, answer.text.strip()
