"""Discord's API: how it is asked, and what its answers mean."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests

from announcer import wire
from announcer.network import DeliveryError, Picture, Refused, TryLater, Unsure

AGENT = "DiscordBot (https://owncast.online, 0.1)"
"""Discord turns other forms away."""
VERSION = "/api/v10"
"""Always said: the default is v6, where waits are milliseconds."""

UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, UNKNOWN_EVENT = 10003, 10008, 10070
MISSING_ACCESS, NOT_OURS, MISSING_PERMISSIONS = 50001, 50005, 50013
NO_HISTORY = 160002
"""Who may not read the history may not reply either."""
ALREADY_CROSSPOSTED = 40033

NO_WEBHOOK = frozenset({10015, 50027})
"""Unknown webhook, invalid webhook token."""
DEAD = {
    **dict.fromkeys(NO_WEBHOOK, "make a new webhook"),
    UNKNOWN_CHANNEL: "the channel is gone",
    MISSING_ACCESS: "it can not see the channel",
}
"""To call again would be punished: ten thousand refusals in ten minutes, and we are banned."""
_BUSY = frozenset({20016, 20022, 20028, 20029, 30046, 40004, 40006, 40062, 130000})
"""Slow mode; limits on writing; too many edits of an old message; switched off for a while;
overloaded.
"""


def ask(
    method: str,
    address: str,
    body: Mapping[str, Any] | None = None,
    picture: Picture | None = None,
    *,
    query: Mapping[str, str] | None = None,
    token: str = "",
    total: float | None = None,
) -> requests.Response:
    """The answer to one request, with the *token* of a bot if it has one."""
    headers = {"User-Agent": AGENT}
    if token:
        headers["Authorization"] = f"Bot {token}"
    data = None
    if picture:
        headers["Content-Type"], data = _form(body, picture)
    with wire.answered(), wire.Session(address, total=total) as session:
        return session.request(
            method,
            address,
            params=query,
            json=None if data else body,
            data=data,
            headers=headers,
        )


def _form(body: Mapping[str, Any] | None, picture: Picture) -> tuple[str, bytes]:
    """Its type and bytes, which are the same for the same message: the library would take another
    boundary each time.
    """
    words = json.dumps(body).encode()
    boundary = hashlib.sha256(words + picture.data).hexdigest()
    file = f'name="files[0]"; filename="{picture.file_name}"'
    parts = (
        ('name="payload_json"', "application/json", words),
        (file, picture.mime, picture.data),
    )
    form = b""
    for name, kind, content in parts:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {kind}"
        form += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", form + f"--{boundary}--\r\n".encode()


def meaning(answer: requests.Response, *, unknown_closes: bool = False) -> DeliveryError:
    """The error that *answer* stands for. *unknown_closes*: a 404 of any kind is the end of us."""
    said = wire.error_json(answer)
    status, code = answer.status_code, code_of(answer)
    message = str(said.get("message", ""))
    reason = f"{status} {wire.plain(message)}".strip()
    if code in DEAD:
        return Refused(f"{reason}: {DEAD[code]}", closes=True)
    if status == 429 or code in _BUSY:
        return TryLater(reason, max(wire.wait_hint(answer.headers), _asked_wait(said)))
    if code == NOT_OURS:
        return Refused(reason)
    page = "html" in answer.headers.get("Content-Type", "")
    gone = unknown_closes and status == 404 and not page
    return wire.from_status(status, message, answer.headers, closes=gone or None)


def code_of(answer: requests.Response) -> int:
    """Discord's own error code, 0 if there is none."""
    code = wire.error_json(answer).get("code")
    return code if isinstance(code, int) else 0


def _asked_wait(said: Mapping[str, Any]) -> timedelta:
    seconds = said.get("retry_after")
    if not isinstance(seconds, int | float) or not seconds > 0:  # NaN is not, either
        return timedelta()
    return timedelta(seconds=min(seconds, wire.LONGEST_WAIT.total_seconds()))


@dataclass(frozen=True, slots=True)
class Client:
    """Asks as the bot that has the *token*, at the address *base*."""

    base: str
    token: str = field(repr=False)

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        picture: Picture | None = None,
        *,
        total: float | None = None,
    ) -> requests.Response:
        address = f"{self.base}{VERSION}{path}"
        return ask(method, address, body, picture, token=self.token, total=total)

    def do(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        succeed(self.ask(method, path, body))

    def get(self, path: str) -> dict[str, Any]:
        return wire.json_of(succeed(self.ask("GET", path)))

    def list(self, path: str) -> list[dict[str, Any]]:
        answer = succeed(self.ask("GET", path))
        with suppress(ValueError, RecursionError):
            found = json.loads(answer.content)
            if isinstance(found, list):
                return [one for one in found if isinstance(one, dict)]
        raise Unsure(f"{answer.status_code}, but no list in it")

    def me(self) -> dict[str, Any]:
        me = self.get("/users/@me")
        if not isinstance(me.get("id"), str):
            raise Unsure("200, but without who we are")
        return me


def succeed(answer: requests.Response) -> requests.Response:
    if answer.status_code >= 300:
        raise meaning(answer)
    return answer
