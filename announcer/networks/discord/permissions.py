"""What a bot may do in a channel. Pure.

Source: the order of rules in discord/discord-api-docs developers/topics/permissions.mdx.
"""

from collections.abc import Iterable, Mapping
from enum import IntFlag
from typing import Any


class May(IntFlag):
    """Those that we may need, by the names that people read in Discord."""

    ADMINISTRATOR = 1 << 3
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    SEND_MESSAGES_IN_THREADS = 1 << 38
    CREATE_EVENTS = 1 << 44
    PIN_MESSAGES = 1 << 51

    def __str__(self) -> str:
        return (self.name or "").replace("_", " ").title()


ALL = ~May(0)


def of_server(guild: str, mine: Iterable[str], roles: Iterable[Mapping[str, Any]]) -> May:
    """What a member with the roles *mine* may do where no channel says otherwise."""
    held = {guild, *mine}  # everybody has the role that is called as the server
    may = May(0)
    for role in roles:
        if role.get("id") in held:
            may |= _bits(role.get("permissions"))
    return ALL if May.ADMINISTRATOR in may else may


def of_channel(
    base: May, guild: str, me: str, mine: Iterable[str], overwrites: Iterable[Mapping[str, Any]]
) -> May:
    """What is left of *base*, or added to it, by the channel's *overwrites*."""
    if base == ALL:
        return base
    by = {str(one.get("id")): one for one in overwrites}
    for step in ([guild], [role for role in mine if role != guild], [me]):
        there = [by[name] for name in step if name in by]
        for one in there:
            base &= ~_bits(one.get("deny"))
        for one in there:
            base |= _bits(one.get("allow"))
    return base


def _bits(written: object) -> May:
    """Of a number that is written as text."""
    return May(int(written)) if isinstance(written, str) and written.isdecimal() else May(0)
