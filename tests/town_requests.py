"""What comes to a server of the town, and what it answers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import parse_qs


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012  # nobody changes it


class Asked(NamedTuple):
    """A request, and *names*, the variable parts of its path."""

    method: str
    path: str
    headers: Message
    body: bytes
    names: tuple[str, ...] = ()
    query: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> dict[str, str]:
        """Of a form, or of JSON, whichever it is."""
        if "json" in self.headers.get("Content-Type", ""):
            return {name: str(value) for name, value in self.json.items()}
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


Route = tuple[str, str, Callable[[Asked], Answer]]
"""Method, pattern of the whole path, and who answers."""


def payload(asked: Asked) -> Any:
    """Of a message, with or without a file."""
    kind = asked.headers.get("Content-Type", "")
    if "multipart" not in kind:
        return asked.json
    mail = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + asked.body)
    for part in mail.walk():
        if part.get_param("name", header="Content-Disposition") == "payload_json":
            return json.loads(bytes(part.get_payload(decode=True)))
    raise ValueError("a message without a payload")


def missing() -> Answer:
    return Answer(404, {"error": "Record not found"})


def shown_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
