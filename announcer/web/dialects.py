"""A text as its readers see it: the marks of its network become ours, all else is escaped. Pure.

Only as much of each dialect as templates use: bold, slanted, struck out, code, links. What is not
understood stands there as it is; nothing of a text can become markup of another kind, or a link to
follow. Sources: Discord, Markdown Text 101; Telegram Bot API, Formatting options; Slack, Formatting
text for app surfaces; CommonMark 0.31, backslash escapes.
"""

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser

from markupsafe import Markup, escape

from announcer.network import ZERO_WIDTH_SPACE, Dialect

LONGEST = 500
"""Letters between two marks that belong together: a text of marks only takes no time."""
_WORD = re.compile(r"(https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]])|((?<![\w&/])#\w+)")
_SIGN = r"\\(?P<sign>[!-/:-@\[-`{-~])"
_ENTITY = r"&(?P<entity>\#[0-9]{1,7}|\#x[0-9A-Fa-f]{1,6}|[a-z]{2,8});"
_ADDRESS = r"<(?P<address>https?://[^\s<>|]{1,2000})>"
_LABEL = r"\[(?P<label>(?:\\.|[^\]\\\n]){1,300})\]\(<?https?://[^\s<>]{1,2000}?>?\)"
_PING = r"<[@\#][&!]?(?P<ping>[0-9]{1,20})>"


def _between(name: str, mark: str) -> str:
    """Something between two marks, neither of which stands within a word."""
    inner = rf"(?P<{name}>(?!\s)(?:\\.|[^\\\n]){{1,{LONGEST}}}?(?<!\s))"
    return rf"(?<!\w){mark}{inner}{mark}(?!\w)"


_STRONG, _EMPH, _EMPHASIS = _between("b", r"\*\*"), _between("i", r"\*"), _between("em", "_")
_GONE, _CODE = _between("s", "~~"), r"`(?P<code>[^`\n]{1,500})`"
_MARKDOWN = "|".join(
    (_SIGN, _ADDRESS, _LABEL, _PING, _CODE, _STRONG, _between("u", "__"), _EMPH, _EMPHASIS, _GONE)
)
_MRKDWN = "|".join(
    (
        _ENTITY,
        r"<(?P<address>https?://[^\s<>|]{1,2000})(?:\|(?P<label>[^<>\n]{1,300}))?>",
        r"<[!@\#](?P<ping>[A-Za-z0-9^]{1,40})(?:\|[^<>\n]{0,100})?>",
        _CODE,
        _between("b", r"\*"),
        _EMPHASIS,
        _between("s", "~"),
    )
)
_PATTERNS = {
    Dialect.MARKDOWN: re.compile(_MARKDOWN),
    Dialect.CHAT: re.compile(f"{_ENTITY}|{_MARKDOWN}"),
    Dialect.MRKDWN: re.compile(_MRKDWN),
}
_TAGS = {"b": "b", "strong": "b", "i": "i", "em": "i", "u": "u", "ins": "u", "code": "code"} | {
    "pre": "code",
    "s": "s",
    "strike": "s",
    "del": "s",
    "a": "link",
}
_OURS = {
    "b": Markup("<strong>{}</strong>"),
    "i": Markup("<em>{}</em>"),
    "em": Markup("<em>{}</em>"),
    "u": Markup("<u>{}</u>"),
    "s": Markup("<s>{}</s>"),
    "code": Markup("<code>{}</code>"),
    "link": Markup('<span class="link">{}</span>'),
    "tag": Markup('<span class="tag">{}</span>'),
}


def read(text: str, dialect: Dialect) -> Markup:
    """*text* as it looks where *dialect* is spoken. Safe, whatever it is."""
    text = text.replace(ZERO_WIDTH_SPACE, "")
    if dialect is Dialect.HTML:
        reader = _Reader()
        reader.feed(text)
        reader.close()
        return reader.whole()
    pattern = _PATTERNS.get(dialect)
    return _marked(text, pattern) if pattern else _plain(text)


def _marked(text: str, pattern: re.Pattern[str], depth: int = 0) -> Markup:
    out, done, signs = Markup(""), 0, ""
    for match in pattern.finditer(text):
        kind = match.lastgroup or ""
        inside = match[kind] if kind else ""
        signs += text[done : match.start()]
        done = match.end()
        if kind == "sign":
            signs += inside
        elif kind == "entity":
            signs += html.unescape(f"&{inside};")
        else:  # signs that were escaped stand beside words: a link may have some
            out += _plain(signs)
            signs = ""
            out += _piece(kind, inside, lambda one: _marked(one, pattern, depth + 1), depth)
    return out + _plain(signs + text[done:])


def _piece(kind: str, inside: str, deeper: Callable[[str], Markup], depth: int) -> Markup:
    if kind == "ping":
        return _OURS["tag"].format(f"@{'' if inside.isdigit() else inside}")
    if kind == "code":
        return _OURS["code"].format(inside)
    if kind in ("address", "label"):
        return _OURS["link"].format(html.unescape(inside))
    return _OURS[kind].format(deeper(inside) if depth < 3 else escape(inside))


def _plain(text: str) -> Markup:
    """Words, with links and tags marked."""
    out, done = Markup(""), 0
    for match in _WORD.finditer(text):
        out += escape(text[done : match.start()])
        out += _OURS["link" if match[1] else "tag"].format(match[0])
        done = match.end()
    return out + escape(text[done:])


class _Reader(HTMLParser):
    """What a browser would show of a few tags, made anew; all others are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, Markup]] = [("", Markup(""))]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _TAGS and len(self._open) < 20:
            self._open.append((tag, Markup("")))
        elif tag == "br":
            self._say(Markup("\n"))

    def handle_endtag(self, tag: str) -> None:
        if tag in [name for name, _ in self._open]:
            while self._close() != tag:
                pass

    def handle_data(self, data: str) -> None:
        linked = any(name in ("a", "code", "pre") for name, _ in self._open)
        self._say(escape(data) if linked else _plain(data))

    def whole(self) -> Markup:
        while len(self._open) > 1:
            self._close()
        return self._open[0][1]

    def _close(self) -> str:
        tag, words = self._open.pop()
        self._say(_OURS[_TAGS[tag]].format(words))
        return tag

    def _say(self, words: Markup) -> None:
        tag, before = self._open[-1]
        self._open[-1] = (tag, before + words)
