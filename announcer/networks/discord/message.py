"""What a message says, in Discord's dialect. Pure."""

from typing import Any

import regex

from announcer.network import Card, Moment, Post, break_mentions

RED, GREY = 0xE0245E, 0x80848E
TITLE, DESCRIPTION, AUTHOR = 256, 4096, 256
"""Together they stay under the 6000 of all embeds of a message."""

_SIGN = regex.compile(r"[\\*_~`|>#\-\[\]()<:]")
_PIECE = regex.compile(r"\\\X|\X")


def message(post: Post, file_name: str) -> dict[str, Any]:
    """What create and edit have in common, with the attached *file_name* in the card, if there is
    one. Without `attachments` an edit keeps them, but one that its card does not name shows up
    beside it (discord-api-docs #4809, #5675); without `allowed_mentions` it would go back to
    pinging whom the text names.
    """
    return {
        "content": post.text,
        "embeds": [_embed(post.card, post.mood, file_name)] if post.card else [],
        "allowed_mentions": {"parse": []},
    }


def _embed(card: Card, mood: Moment, file_name: str) -> dict[str, Any]:
    """Title and description know Markdown, the author does not."""
    embed: dict[str, Any] = {"url": card.url, "color": RED if mood is Moment.LIVE else GREY}
    if card.title:
        embed["title"] = cut(escape(card.title), TITLE)
    if card.description:
        embed["description"] = cut(escape(card.description), DESCRIPTION)
    if card.name:
        embed["author"] = {"name": cut(card.name, AUTHOR)}
    if file_name:
        embed["image"] = {"url": f"attachment://{file_name}"}
    return embed


def escape(text: str) -> str:
    return _SIGN.sub(r"\\\g<0>", break_mentions(text))


def cut(text: str, room: int) -> str:
    """*text* in at most *room* units, never cut inside a character or an escaped sign."""
    if units(text) <= room:
        return text
    kept, room = [], room - 1
    for piece in _PIECE.findall(text):
        room -= units(piece)
        if room < 0:
            break
        kept.append(piece)
    return f"{''.join(kept)}…"


def units(text: str) -> int:
    """Discord says only "characters"; UTF-16 units are never fewer than what it counts."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2
