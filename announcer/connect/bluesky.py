"""Bluesky: is it an app password, of that account, on that server?

Sources: atproto lexicons com.atproto.server.createSession, com.atproto.identity.resolveHandle;
packages/pds/src/auth-scope.ts of bluesky-social/atproto for what a session says of its password.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from announcer import wire
from announcer.connect import Fields, Question, Talk
from announcer.network import Refused

SERVICE = Question(
    "service",
    "Server of the account; Enter for Bluesky's own",
    default="https://bsky.social",
)
IDENTIFIER = Question("identifier", "Handle of the account, such as kestrel.bsky.social")
PASSWORD = Question(
    "app_password",
    "App password, from Settings > Privacy and security > App passwords",
    secret=True,
)
QUESTIONS = (SERVICE, IDENTIFIER, PASSWORD)
MAKES = ()

FULL = "com.atproto.access"
"""The scope of a session that was opened with the account's own password."""


def connect(talk: Talk, known: Mapping[str, str]) -> Fields:
    service = talk.ask(SERVICE, known.get("service", "")).rstrip("/")
    identifier = talk.ask(IDENTIFIER, known.get("identifier", "")).strip().removeprefix("@")
    password = talk.ask(PASSWORD)
    with talk.waiting(f"logging in at {service}"):
        said = _login(service, identifier, password)
    if _scope(str(said.get("accessJwt"))) == FULL:
        raise Refused(
            "that is the password of the account itself: make an app password, which can do less "
            "and can be taken back"
        )
    fields = {"identifier": identifier, "app_password": password}
    return fields if service == SERVICE.default else {"service": service, **fields}


def _login(service: str, identifier: str, password: str) -> dict[str, Any]:
    address = f"{service}/xrpc/com.atproto.server.createSession"
    with wire.Session(service) as session, wire.nothing_posted():
        with wire.answered():
            answer = session.post(address, json={"identifier": identifier, "password": password})
        if answer.status_code < 300:
            return wire.json_of(answer)
        said = wire.error_json(answer)
    name = str(said.get("error", ""))
    if name == "AuthFactorTokenRequired":
        raise Refused("that is the password of the account itself: make an app password")
    if name == "AuthenticationRequired" or answer.status_code == 401:
        raise Refused(
            "handle and app password do not belong together there; if the account lives on another "
            f"server, name it ({SERVICE.flag})"
        )
    raise wire.from_status(
        answer.status_code, f"{name}: {said.get('message', '')}" if name else "", answer.headers
    )


def _scope(token: str) -> str:
    """What a session's token says of itself; empty if it can not be read."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError):
        return ""
    return str(claims.get("scope", "")) if isinstance(claims, dict) else ""
