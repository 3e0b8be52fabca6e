"""What Owncast told us, in every generation of the format: a webhook's body becomes an Event, the
answer to a question a Status.

Shapes by version: core/webhooks/stream.go and controllers/status.go in owncast/owncast, from v0.0.6
on. Pure.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

LONGEST = 2_000
"""Characters kept of a name, title or summary. Nobody's words are longer; an attacker's are."""
LONGEST_ID = 100
"""Characters of an id that are stored; Owncast's have 9."""
MOST_VIEWERS = 10**9
CHAT = b'"CHAT"'
"""Stands in every event of chat, and in few others."""


class Kind(StrEnum):
    """The events that matter; the values are Owncast's."""

    STARTED = "STREAM_STARTED"
    STOPPED = "STREAM_STOPPED"
    RETITLED = "STREAM_TITLE_UPDATED"


class MalformedEvent(Exception):
    """The body is not an event of Owncast's. str() says why, and repeats nothing of the body."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that Owncast told us, by webhook or when asked.

    *id* is new for every event and the same in every copy of one event that Owncast sends. *at* is
    when it happened by our clock, as well as we know; *stamp* is Owncast's own time for it, None
    before 0.0.9: use it to order Owncast's events, never to measure against ours. *connected* is
    the stream's `lastConnectTime`, by Owncast's clock: the only value that ties events and status
    of one connection together, None before 0.1.0 and in stop events. Empty texts are unknown.
    *peak_viewers* is None where it is noise.
    """

    id: str
    channel: str
    kind: Kind
    at: datetime
    stamp: datetime | None = None
    connected: datetime | None = None
    name: str = ""
    title: str = ""
    summary: str = ""
    peak_viewers: int | None = None
    found: bool = False
    """Noticed by asking Owncast, not told by a webhook."""


@dataclass(frozen=True, slots=True)
class Status:
    """What Owncast answers when asked how its stream is. All times are by its own clock, which says
    *server*.

    *connected* is when the connection that is there now began: a key, see Event. *online* follows 7
    to 15 s after it. *viewers* is None if it counts none or hides them.
    """

    online: bool
    connected: datetime | None = None
    disconnected: datetime | None = None
    server: datetime | None = None
    title: str = ""
    viewers: int | None = None

    @property
    def live(self) -> bool:
        """Online or warming up."""
        return self.online or self.connected is not None


def parse(body: bytes, channel: str, now: datetime) -> Event | None:
    """The event in *body*, received at *now*. None if it is of a type that we do not act on.

    Raises MalformedEvent.
    """
    document = _object(_decode(body), "the body")
    if not isinstance(document.get("type"), str):
        raise MalformedEvent("type is missing or not a text")
    try:
        kind = Kind(document["type"])
    except ValueError:
        return None
    data = _part(document, "eventData")
    status = _part(data, "status")
    id_ = _text(data, "id")
    if len(id_) > LONGEST_ID:
        raise MalformedEvent("id is too long")
    peak = status.get("sessionMaxViewerCount")
    if peak is not None and (not isinstance(peak, int) or isinstance(peak, bool)):
        raise MalformedEvent("sessionMaxViewerCount is not a number")
    return Event(
        # Before 0.0.9 there is no id. A copy of the same event comes within a second, if at all;
        # what comes later is told apart by judgement.
        id=id_
        or hashlib.sha256(body + now.isoformat(timespec="seconds").encode()).hexdigest()[:32],
        channel=channel,
        kind=kind,
        at=now,
        stamp=_time(data, "timestamp"),
        connected=_time(status, "lastConnectTime"),
        name=_text(data, "name"),
        title=_text(data, "streamTitle"),
        summary=_text(data, "summary"),
        # In a start event the counts are those of the stream before.
        peak_viewers=None
        if kind is Kind.STARTED or peak is None
        else max(0, min(peak, MOST_VIEWERS)),
    )


def command(body: bytes) -> str:
    """What a viewer wrote in chat, if *body* tells of that; else empty. As it was typed, for
    Owncast's `body` is HTML. Raises MalformedEvent.
    """
    if CHAT not in body:
        return ""
    document = _object(_decode(body), "the body")
    data = _part(document, "eventData")
    if document.get("type") != "CHAT" or data.get("visible") is False:
        return ""
    return _text(data, "rawBody").strip()


def parse_status(document: dict[str, Any], served: datetime | None) -> Status:
    """The answer of `/api/status`, of which HTTP says that it was *served* then: older versions
    have no `serverTime`. Raises MalformedEvent.
    """
    online = document.get("online")
    if not isinstance(online, bool):
        raise MalformedEvent("online is not true or false")
    connected = _time(document, "lastConnectTime")
    disconnected = _time(document, "lastDisconnectTime")
    # Before 0.1.0 it stays there when the connection is gone.
    gone = connected and disconnected and connected <= disconnected and not online
    viewers = document.get("viewerCount")
    return Status(
        online=online,
        connected=None if gone else connected,
        disconnected=disconnected,
        server=_time(document, "serverTime") or served,
        title=_text(document, "streamTitle"),
        viewers=min(viewers, MOST_VIEWERS) if type(viewers) is int and viewers > 0 else None,
    )


def clip(text: str) -> str:
    """What is kept of *text*, fit to be stored."""
    # Half a surrogate pair is valid JSON, but no database and no network takes it.
    return text[:LONGEST].encode("utf-8", "ignore").decode("utf-8").replace("\0", "")


def _decode(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_repeats
        )
    except UnicodeDecodeError:
        raise MalformedEvent("not UTF-8") from None
    except RecursionError:
        raise MalformedEvent("nested too deeply") from None
    except ValueError:
        raise MalformedEvent("not JSON") from None


def _no_constant(name: str) -> None:
    raise MalformedEvent(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise MalformedEvent("the same key twice")
    return document


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedEvent(f"{what} is not an object")
    return value


def _part(data: dict[str, Any], key: str) -> dict[str, Any]:
    """Empty if it is missing or null, which older versions do without."""
    value = data.get(key)
    return {} if value is None else _object(value, key)


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedEvent(f"{key} is not a text")
    return clip(value)


def _time(data: dict[str, Any], key: str) -> datetime | None:
    """None if it is missing or Go's zero time, which means unknown."""
    value = data.get(key)
    if value is None or value == "":
        return None
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError
        if at.year <= 1:
            return None
        if at.year >= 9999:  # stored as a float it would be rounded out of the calendar
            raise ValueError
        return at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise MalformedEvent(f"{key} is not a time") from None
