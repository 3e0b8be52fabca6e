"""What a template may say of a broadcast: cleaned, shortened, and as variables.

A title is data from somebody else's form; it may hold anything that Unicode has.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import regex

from announcer.network import Show, graphemes
from announcer.sandbox import Ready

LONGEST = 200
"""Graphemes of a title that anybody would read."""
_BIGGEST = 32
"""Code points of one grapheme; the biggest honest ones are families and flags, with 11."""

_DROPPED = regex.compile(
    r"[[\p{Cc}--[\t-\r\x1c-\x1f\x85]]\p{Cs}\p{noncharacter_code_point}"
    r"\u202a-\u202e\u2066-\u2069"  # bidi overrides and isolates
    r"\u00ad\u200b\u2060\ufeff]",  # without width, and no emoji or script needs them
    regex.V1,
)
_STACKED = regex.compile(r"(\p{M}{8})\p{M}+")
_VISIBLE = regex.compile(r"[^\p{Z}\p{Cc}\p{Cf}\p{M}]")
_GRAPHEME = regex.compile(r"\X")
_ADDRESS = regex.compile(
    r"[a-z][a-z0-9+.-]{0,20}://\S+|(?<![\w.-])(?:[\w-]++\.)+\w\S*", regex.IGNORECASE
)
_WORD = regex.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Facts(Show):
    """What a template may say: plain data from Owncast and from our settings, not yet cleaned.

    *posts* are the announcements that are up, for chat: the network's title and the address.
    """

    posts: tuple[tuple[str, str], ...] = ()


class Announced(NamedTuple):
    """An announcement that is up, as a template sees it."""

    network: str
    url: str


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing."""
    return _VISIBLE.search(text) is None


def one_line(text: str) -> str:
    """Without control and bidi characters, surrogates and line ends."""
    return " ".join(_DROPPED.sub("", text).split())


def clean(text: str) -> str:
    """One line of at most 200 graphemes, in NFC.

    Joiners and variation selectors stay, since emoji need them; of stacked accents eight stay, and
    a grapheme that no network has room for becomes U+FFFD. Cleaning twice changes nothing.
    """
    text = _STACKED.sub(r"\1", one_line(text))  # first: to normalise 100,000 of them took 7 s
    text = _STACKED.sub(r"\1", unicodedata.normalize("NFC", text))
    text = "" if is_blank(text) else shorten(text, LONGEST)
    return _GRAPHEME.sub(lambda one: one[0] if len(one[0]) <= _BIGGEST else "\ufffd", text)


def shorten(text: str, most: int) -> str:
    """At most *most* graphemes, the last of them "…" if something is gone; empty if all is.

    An address is kept whole or not at all: half of one leads somewhere else.
    """
    ends = [grapheme.end() for grapheme in islice(_GRAPHEME.finditer(text), most + 1)]
    if len(ends) <= most:
        return text
    cut = ends[most - 2] if most > 1 else 0
    for address in _ADDRESS.finditer(text):
        if address.end() > cut:
            cut = min(cut, address.start())
            break
    kept = text[:cut].rstrip()
    return "" if is_blank(kept) else f"{kept}…"


def hashtags(tags: Iterable[str]) -> str:
    """`Just Chatting!` makes `#JustChatting`; nothing without a letter, and nothing twice."""
    found: dict[str, str] = {}
    for tag in tags:
        words = _WORD.findall(tag)
        if len(words) > 1:
            words = [word[0].upper() + word[1:] for word in words]
        word = "".join(words)
        if any(letter.isalpha() for letter in word):
            found.setdefault(word.casefold(), f"#{word}")
    return " ".join(found.values())


@lru_cache(16)
def cleaned(facts: Facts) -> Facts:
    """A stream without a name gets one."""
    return replace(
        facts,
        channel=clean(facts.channel),
        name=clean(facts.name) or "The stream",
        title=clean(facts.title),
        summary=clean(facts.summary),
        tags=tuple(filter(None, map(clean, facts.tags))),
    )


SHORTENED = {"title": 0, "summary": 0, "name": 2, "tags": 0}
"""What of the cleaned facts may get shorter, in this order, and the least that is left of it."""


def length(facts: Facts, part: str) -> int:
    """Graphemes, or how many tags."""
    value: str | tuple[str, ...] = getattr(facts, part)
    return graphemes(value) if isinstance(value, str) else len(value)


def cut(facts: Facts, part: str, most: int) -> Facts:
    """*facts* with no more than *most* of one part: a text is shortened, tags are whole or gone."""
    value: str | tuple[str, ...] = getattr(facts, part)
    shorter: Any = shorten(value, most) if isinstance(value, str) else value[:most]
    return replace(facts, **{part: shorter})


def duration(facts: Facts) -> str:
    """Such as "2 hours and 5 minutes"; empty while the stream is live."""
    if facts.ended_at is None or facts.ended_at < facts.started_at:
        return ""
    minutes = (facts.ended_at - facts.started_at) // timedelta(minutes=1)
    parts = zip(divmod(minutes, 60), ("hour", "minute"), strict=True)
    told = [f"{n} {unit}{'s' if n > 1 else ''}" for n, unit in parts if n]
    return " and ".join(told) or "less than a minute"


def variables(facts: Facts, link: Callable[[str], str]) -> dict[str, object]:
    """What a template sees of cleaned *facts*. What is Ready is printed without escaping."""

    def address(url: str) -> Ready:
        return Ready(link(url) if url else "")

    return {
        "channel": facts.channel,
        "name": facts.name,
        "title": facts.title,
        "summary": facts.summary,
        "url": address(facts.url),
        "tags": facts.tags,
        "hashtags": Ready(hashtags(facts.tags)),
        "nsfw": facts.nsfw,
        "started_at": facts.started_at,
        "ended_at": facts.ended_at,
        "duration": Ready(duration(facts)),
        "peak_viewers": facts.peak_viewers,
        "replay_url": address(facts.replay_url),
        "posts": tuple(Announced(title, address(url)) for title, url in facts.posts),
    }


_AT = datetime(2026, 1, 2, 19, 30, tzinfo=UTC)
_USUAL = Facts(
    channel="default",
    name="Kestrel Workshop",
    title="Fitting a dovetail drawer",
    summary="Woodwork by hand, every Friday.",
    url="https://live.example.org",
    tags=("woodwork", "hand tools"),
    nsfw=False,
    started_at=_AT,
    replay_url="https://live.example.org/replays",
    posts=(("Mastodon", "https://social.example/@kestrel/7"),),
)
_HOSTILE = "@everyone *_~`|#> <b>[x](http://evil.example) {{ 7*7 }} {% raw %} %s \u202e\ud800 &amp;"
SAMPLES = {
    "with a usual title": _USUAL,
    "with a hostile title": replace(_USUAL, name=_HOSTILE, title=_HOSTILE, tags=(_HOSTILE,)),
    "without a title": replace(_USUAL, title="", summary="", tags=(), posts=()),
    "with an endless title": replace(_USUAL, title="a very long title " * 5_556),
    "without an address": replace(_USUAL, url="", replay_url=""),
}
"""Broadcasts that every template must have words for."""


def over(facts: Facts) -> Facts:
    """A sample as of a stream that has ended."""
    return replace(facts, ended_at=_AT + timedelta(hours=2, minutes=5), peak_viewers=12)
