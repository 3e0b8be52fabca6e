"""What was said in a channel since a time, as far as a bot may know it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from announcer.networks.discord.api import Client

PAGE, PAGES = 100, 5
"""Messages that are given at once, and how often we ask."""
EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
"""Of the times that are in every id of Discord's, in milliseconds above 22 other bits."""


@dataclass(frozen=True, slots=True)
class History:
    """*doubt* says why there may be more than these *messages*; empty if these are all."""

    messages: tuple[dict[str, Any], ...]
    doubt: str = ""


def since(at: datetime, channel: str, client: Client) -> History:
    """Everything that was said in the *channel* after *at*, at most PAGES pages of it."""
    found: list[dict[str, Any]] = []
    after = _id_at(at)
    for _ in range(PAGES):
        page = client.list(f"/channels/{channel}/messages?limit={PAGE}&after={after}")
        found += page
        if len(page) < PAGE:
            break
        after = max(after, *(_number(message.get("id")) for message in page))
    else:
        return History(tuple(found), "too much was said since")
    # Who may not read the history is given an empty one, and no error.
    if not found and _number(client.get(f"/channels/{channel}").get("last_message_id")) > _id_at(
        at
    ):
        return History((), "it lacks the permission Read Message History")
    return History(tuple(found))


def is_by(author: str, message: Mapping[str, Any]) -> bool:
    who = message.get("author")
    return isinstance(who, dict) and who.get("id") == author


def shows_a_picture(message: Mapping[str, Any]) -> bool:
    """In its card, or beside it if that could not be shown."""
    cards = message.get("embeds") or []
    return bool(message.get("attachments")) or any("image" in card for card in cards)


def _id_at(at: datetime) -> int:
    """The lowest id of that time."""
    return max(0, int((at - EPOCH).total_seconds() * 1000)) << 22


def _number(written: object) -> int:
    return int(written) if isinstance(written, str) and written.isdecimal() else 0
