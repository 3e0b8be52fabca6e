"""From a template's source to a text that fits where it goes: what is too long gets shorter. Pure.

Each part is cut as little as possible, the next one only where that was not enough.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from announcer.facts import SHORTENED, Facts, cleaned, cut, is_blank, length, variables
from announcer.network import Network
from announcer.sandbox import BadTemplate, Sandbox

ALT_LIMIT = 1000
"""Of the description of a picture; X's limit, the shortest there is, in UTF-16 units."""
_HOPELESS, _ANY = 20, 5_000
"""A text with so many code points for each unit of its limit, or this many where that is small, is
not measured: X's own library takes a second for 60,000. A family of emoji has 11, and an address of
2,000 may count 23.
"""
_GAP = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the place that a text is for writes and counts."""

    measure: Callable[[str], int]
    limit: int
    escape: Callable[[str], str]
    link: Callable[[str], str]

    def fits(self, text: str) -> bool:
        return self.size(text) <= self.limit

    def size(self, text: str) -> int:
        """What it measures; roughly, if that is far too much."""
        hopeless = len(text) > max(_HOPELESS * self.limit, _ANY)
        return len(text) if hopeless else self.measure(text)


PLAIN = Dialect(lambda text: len(text.encode("utf-16-le")) // 2, ALT_LIMIT, str, str)
"""Of the description of a picture."""


def dialect_of(network: Network, limit: int) -> Dialect:
    return Dialect(network.measure, limit, network.escape, network.link)


def fit(source: str, facts: Facts, dialect: Dialect) -> tuple[str, int]:
    """A text that fits, and how many tags had to be left out for it. Raises BadTemplate."""
    facts = cleaned(facts)
    addresses = (facts.url, facts.replay_url, *(url for _, url in facts.posts))
    sandbox = Sandbox(dialect.escape, {dialect.link(url) for url in addresses if url})
    template = sandbox.understand(source, variables(facts, dialect.link))

    def say(facts: Facts) -> str:
        return _tidy(sandbox.render(template, variables(facts, dialect.link)))

    text, tags = say(facts), len(facts.tags)
    for part, least in SHORTENED.items():
        if dialect.fits(text):
            break
        whole, low, high = facts, least, length(facts, part)
        facts = cut(whole, part, low)
        text = say(facts)
        while high - low > 1 and dialect.fits(text):
            middle = (low + high) // 2
            longer = cut(whole, part, middle)
            if dialect.fits(said := say(longer)):
                low, facts, text = middle, longer, said
            else:
                high = middle
    if not dialect.fits(text):
        size = f"{dialect.size(text)} of {dialect.limit}"
        raise BadTemplate(f"is too long even without a title: {size}")
    if is_blank(text):
        raise BadTemplate("says nothing")
    return text, tags - len(facts.tags)


def bare(facts: Facts, dialect: Dialect) -> str:
    """What is left to say when no template can be used: the address, or else the name."""
    told = cleaned(facts)
    address = dialect.link(told.url) if told.url else ""
    names = (cut(told, "name", n).name for n in range(length(told, "name"), 0, -1))
    ways = chain(filter(None, [address]), map(dialect.escape, names))
    return next(filter(dialect.fits, ways), "")


def _tidy(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return _GAP.sub("\n\n", lines).strip()
