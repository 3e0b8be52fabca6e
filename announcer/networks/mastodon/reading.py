"""A text as these servers count it, and as it is recognised in what they made of it."""

import re
from html.parser import HTMLParser

from announcer.network import graphemes, squeezed
from announcer.settings import is_private

# What Mastodon surely takes for a link. Where it would see more in it, we count a little too much.
_LINK = re.compile(
    r"(?<![A-Za-z0-9@$#])https?://((?:[a-z0-9-]+\.)+[a-z]{2,})(?::\d+)?"
    r"(?:/?\?|/)?(?:(?<=[/?])[a-z0-9!*';:=+,.$/%#\[\]_~@|&?-]*[a-z0-9=_#/+-])?",
    re.IGNORECASE,
)
_FOREIGN_MENTION = re.compile(r"(?<![\w/=])(@[A-Za-z0-9_]+(?:[\w.-]*\w)?)@[\w.-]*\w")
_MARKDOWN_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def length(text: str, reserved: int) -> int:
    """As Mastodon counts: graphemes; a link counts *reserved*, and of @user@host only @user."""

    def counted(link: re.Match[str]) -> str:
        # A host that is not public may be no link to Mastodon, which then counts it as written.
        written = link[0] if is_private(link[1].lower()) else ""
        return max("x" * reserved, written, key=len)

    return graphemes(without_hosts(_LINK.sub(counted, text)))


def longest_length(text: str, reserved: int) -> int:
    """No less than any relative counts: GoToSocial code points, Pleroma every link as written."""
    return len(_LINK.sub(lambda link: max("x" * reserved, link[0], key=len), text))


def without_hosts(text: str) -> str:
    """@user@host as Mastodon shows and counts it: @user."""
    return _FOREIGN_MENTION.sub(r"\1", text)


def forms(text: str) -> set[str]:
    """What a server may leave of *text*: all of it, or what snac reads as Markdown and HTML."""
    read = text_of(_MARKDOWN_LINK.sub(r"\1", text))
    return {squeezed(without_hosts(form)) for form in (text, read)} - {""}


class _Reader(HTMLParser):
    """Collects the text; a link's text spells the whole address, parts of it hidden by style."""

    text = ""

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.text += "\n" if tag in ("br", "p") else ""

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text
