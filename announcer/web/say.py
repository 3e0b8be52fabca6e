"""What the pages say, and how they point at each other.

All English stands in `english.toml`, so that it can be translated. Addresses are relative to the
page: behind a proxy that serves us below a path of its own, nothing has to be set.
"""

import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlencode

from flask import Response, g, request
from markupsafe import Markup, escape

_FILE = Path(__file__).with_name("english.toml")


@cache
def _words() -> dict[str, dict[str, str]]:
    return tomllib.loads(_FILE.read_text("utf-8"))


def say(what: str, **facts: object) -> str:
    """The sentence `page.name`. Raises KeyError: whoever writes a page sees it at once."""
    return _sentence(what).format(**facts)


def term(page: str, name: str) -> str:
    """What *page* has for a *name* that comes from elsewhere; its `other` if that is nothing."""
    return _words()[page].get(name) or _words()[page]["other"]


def marked(what: str, **facts: Markup) -> Markup:
    """As `say`, with markup of ours within the sentence."""
    return escape(_sentence(what)).format(**facts)


def isolated(name: str) -> Markup:
    """Somebody's *name*, whatever way it is written, that turns no other words around."""
    return Markup("<bdi>{}</bdi>").format(name)


def _sentence(what: str) -> str:
    page, _, name = what.partition(".")
    return _words()[page][name]


def count(what: str, n: int, **facts: object) -> str:
    """`what_one` for one, `what` for any other number of things."""
    return say(f"{what}_one" if n == 1 else what, n=n, **facts)


def root() -> str:
    """From the page that is asked for to the first one: "" or "../" and so on."""
    path: str = g.get("path") or request.path
    return "../" * (path.count("/") - 1)


def at(path: str, **query: str) -> str:
    """The relative address of a page or file of ours, such as `history` or `static/live.js`."""
    address = f"{root()}{quote(path)}" or "."
    return f"{address}?{urlencode(query)}" if any(query.values()) else address


def away(path: str, **query: str) -> Response:
    """On to another page, by GET."""
    return Response(status=303, headers={"Location": at(path, **query)})
