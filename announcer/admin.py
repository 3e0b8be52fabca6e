"""Owncast's admin API: its webhooks and access tokens.

Sources: owncast/owncast webserver/handlers/admin/webhooks.go, externalAPIUsers.go,
webserver/router/middleware/auth.go, models/webhook.go, web/utils/apis.ts. There is no way to change
a webhook, only to make and to delete one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from announcer import wire
from announcer.network import DeliveryError, Refused

PATIENCE = 15.0
"""Seconds for one answer."""
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Webhook:
    id: int
    url: str = field(repr=False)
    events: frozenset[str]


@dataclass(frozen=True, slots=True)
class AccessToken:
    name: str
    value: str = field(repr=False)
    scopes: frozenset[str]


class Admin:
    """One server, spoken to as its administrator. Every method raises DeliveryError."""

    def __init__(self, url: str, password: str) -> None:
        self._url = url
        self._session = wire.Session(url, total=PATIENCE)
        self._auth = (b"admin", password.encode())  # as text it would be sent in Latin-1

    def version(self) -> Version | None:
        """None if it does not tell one that we understand. Needs no password."""
        for path, name in (("/api/status", "versionNumber"), ("/api/config", "version")):
            with suppress(DeliveryError), wire.answered():
                said = wire.json_of(self._session.get(self._url + path))
                if found := version_of(str(said.get(name, ""))):
                    return found
        return None

    def webhooks(self) -> list[Webhook]:
        return [_webhook(one) for one in self._list("webhooks")]

    def create_webhook(self, url: str, events: Iterable[str], secret: str = "") -> Webhook:
        wanted: dict[str, Any] = {"url": url, "events": list(events)}
        if secret:
            wanted["secret"] = secret
        return _webhook(self._change("webhooks/create", wanted, "id"))

    def delete_webhook(self, webhook: Webhook) -> None:
        self._change("webhooks/delete", {"id": webhook.id})

    def tokens(self) -> list[AccessToken]:
        return [_token(one) for one in self._list("accesstokens")]

    def create_token(self, name: str, scope: str) -> AccessToken:
        wanted = {"name": name, "scopes": [scope]}
        return _token(self._change("accesstokens/create", wanted, "accessToken"))

    def delete_token(self, token: AccessToken) -> None:
        self._change("accesstokens/delete", {"token": token.value})

    def _list(self, what: str) -> list[dict[str, Any]]:
        said = _body(self._ask("GET", what))
        if said is None:  # Go's empty list
            return []
        if not isinstance(said, list):
            raise Refused("it answers, but not like Owncast")
        return [one for one in said if isinstance(one, dict)]

    def _change(self, what: str, wanted: Mapping[str, Any], proof: str = "") -> dict[str, Any]:
        said = _body(self._ask("POST", what, wanted))
        said = said if isinstance(said, dict) else {}
        if said.get("success") is False or said.get("error") or (proof and proof not in said):
            words = wire.plain(said.get("error") or said.get("message") or "not like Owncast")
            raise Refused(f"it answers: {words}")
        return said

    def _ask(self, method: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        with wire.answered():
            answer = self._session.request(
                method,
                f"{self._url}/api/admin/{what}",
                json=body,
                auth=self._auth,
                headers={
                    "X-Owncast-CSRF-Protection": "1"
                },  # of its own pages; older ones ignore it
            )
        if answer.status_code == 401:
            raise Refused("the admin password is wrong", closes=True)
        if answer.status_code >= 300:
            said = wire.error_json(answer)
            words = said.get("error") or said.get("message") or ""
            raise wire.from_status(answer.status_code, str(words), answer.headers)
        return answer


def version_of(text: str) -> Version | None:
    """`0.1.3` of `0.1.3` or of `Owncast v0.1.3-linux-64bit (a1b2c3)`."""
    found = re.search(r"(?<![\w.])v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})", text)
    return tuple(map(int, found.groups())) if found else None


def _webhook(said: Mapping[str, Any]) -> Webhook:
    number, events = said.get("id"), said.get("events")
    return Webhook(
        number if isinstance(number, int) else -1,
        str(said.get("url", "")),
        frozenset(map(str, events if isinstance(events, list) else ())),
    )


def _token(said: Mapping[str, Any]) -> AccessToken:
    scopes = said.get("scopes")
    return AccessToken(
        str(said.get("displayName") or said.get("name") or ""),  # before 0.0.10 it was `name`
        str(said.get("accessToken") or said.get("token") or ""),
        frozenset(map(str, scopes if isinstance(scopes, list) else ())),
    )


def _body(answer: requests.Response) -> Any:
    try:
        return json.loads(answer.content or b"null")
    except (ValueError, RecursionError):
        raise Refused("it answers, but not like Owncast") from None
