"""An event of the server that is on while the stream is. Pure.

It is external: its place is the address of the stream. It has to have an end, and ends by itself
then; an event that is over stays so.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from announcer.network import Card, Refused, break_mentions
from announcer.networks.discord.message import cut, escape, units

LASTS = timedelta(hours=2)
NAME, DESCRIPTION, PLACE = 100, 1000, 100
SCHEDULED, ACTIVE, COMPLETED, CANCELED = 1, 2, 3, 4
_EXTERNAL, _MEMBERS_ONLY = 3, 2
_AHEAD = timedelta(minutes=5)
"""A start in the past is refused, and our clock may be behind."""


def told(card: Card | None, at: datetime) -> dict[str, Any]:
    """What an event says of the stream that *card* is about, at the time *at*."""
    if card is None:
        raise Refused("an event needs the address of the stream: set OWNCAST_URL")
    if units(card.url) > PLACE:
        raise Refused(f"the address of the stream is longer than the {PLACE} units of an event")
    name = break_mentions(card.title or card.name)  # which knows no Markdown
    return {
        "name": cut(name, NAME) or "Live",
        "description": cut(escape(card.description), DESCRIPTION) or None,
        "scheduled_end_time": (at + LASTS).isoformat(),
    }


def new(card: Card | None, at: datetime) -> dict[str, Any]:
    said = told(card, at)
    return {
        **{name: value for name, value in said.items() if value is not None},
        "entity_type": _EXTERNAL,
        "entity_metadata": {"location": card.url if card else ""},
        "privacy_level": _MEMBERS_ONLY,
        "scheduled_start_time": (at + _AHEAD).isoformat(),
    }


def ours(events: Iterable[Mapping[str, Any]], me: str, card: Card) -> list[tuple[str, int]]:
    """Id and status of those that we made for the stream of *card* and that are not over."""
    found = []
    for event in events:
        status, place = event.get("status"), event.get("entity_metadata")
        there = isinstance(place, dict) and place.get("location") == card.url
        if there and event.get("creator_id") == me and status in (SCHEDULED, ACTIVE):
            found.append((str(event.get("id")), int(status)))
    return found
