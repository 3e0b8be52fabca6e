"""What pages say stands in one file, so that it can be translated: no page, script or style has
words of its own.
"""

import json
import re
import string
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from announcer.network import Moment
from announcer.policy import State
from announcer.web import say
from tests.fakes import NOW
from tests.house import ONE, House, house
from tests.scenes import MINUTE, Scene, tried
from tests.test_push_page import PUSH

WEB = Path(say.__file__).parent
PAGES = sorted((WEB / "pages").rglob("*.html"))
SCRIPTS = sorted((WEB / "static").glob("*.js"))
STYLES = sorted((WEB / "static").glob("*.css"))
SHOWN = {"alt", "title", "aria-label", "aria-description", "placeholder", "data-ask", "label"}
"""Attributes that a person sees or hears."""
NAMES = {"JSON", "CSV"}
"""The same in every language."""
SENTENCE = re.compile(r"[^\W\d_]{2,}[,.:;!?]? [^\W\d_]{2,}|^[A-Z][a-z]+$")
"""Words that follow each other, or one that begins like a sentence."""
TECHNICAL = {
    "use strict",
    "details[open]",
    *("AbortError", "Accept", "Content-Type", "EventSource", "Macintosh", "Notification"),
}


def words(text: str) -> str:
    """Of *text*, what anybody could read; empty if there is nothing."""
    text = " ".join(text.split())
    return text if re.search(r"[^\W\d_]", text) and text not in NAMES else ""


class Read(HTMLParser):
    """The words of a page that a person sees or hears, but for what is code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        self.found += [
            told for name, value in attrs if name in SHOWN and (told := words(value or ""))
        ]

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "code" not in self._inside and (told := words(data)):
            self.found.append(told)


def own_words(page: str) -> list[str]:
    """What of a template is not asked from the file of words."""
    tree = Environment().parse(page)  # noqa: S701  # nothing is rendered
    html = "".join(one.data for one in tree.find_all(nodes.TemplateData))
    said = [one.value for one in tree.find_all(nodes.Const) if isinstance(one.value, str)]
    return Read(html).found + [one for one in said if SENTENCE.search(one)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_words_of_its_own(page: Path) -> None:
    assert own_words(page.read_text("utf-8")) == []


LITERAL = re.compile(
    r"//[^\n]*|/\*.*?\*/|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)",
    re.DOTALL,
)
SAID = re.compile(
    r"(?:textContent|innerText|innerHTML|\.title|\.alt|placeholder|ariaLabel)\s*=\s*$"
    r"|(?:append|after|before|alert|confirm|prompt|showNotification)\(\s*$"
)


def spoken(script: str) -> Iterator[str]:
    """The literals of a script that a person would read."""
    for match in LITERAL.finditer(script):
        text = (match["text"] or "")[1:-1]
        plain = re.sub(r"\$\{[^}]*\}", "", text)
        shown = SAID.search(script[: match.start()]) and words(re.sub(r"\\u....", "", plain))
        if text not in TECHNICAL and (shown or SENTENCE.search(plain)):
            yield text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_script_has_words_of_its_own(script: Path) -> None:
    assert list(spoken(script.read_text("utf-8"))) == []


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_no_style_has_words_of_its_own(style: Path) -> None:
    contents = re.findall(r"content:\s*([^;}]*)", style.read_text("utf-8"))
    quoted = [one for content in contents for one in re.findall(r"\"[^\"]*\"|'[^']*'", content)]
    assert [one for one in quoted if words(one)] == []


# In another language

FOREIGN = str.maketrans(dict.fromkeys(string.ascii_letters, "ж"))


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages speak a language with one letter."""
    ours = say._words()

    def translated(text: str) -> str:
        pieces = re.split(r"(\{[^}]*\})", text)
        return "".join(one if one[:1] == "{" else one.translate(FOREIGN) for one in pieces)

    theirs = {page: {k: translated(v) for k, v in said.items()} for page, said in ours.items()}
    monkeypatch.setattr(say, "_words", lambda: theirs)


def latin(there: House, path: str, status: int = 200) -> set[str]:
    """The words of a page that were not translated."""
    answer = there.client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status
    return {word for text in Read(answer.text).found for word in re.findall(r"[A-Za-z]{2,}", text)}


def test_the_page_for_viewers_speaks_another_language(tmp_path: Path, foreign: None) -> None:
    with house(tmp_path, PUSH) as there:
        host = {"live", "kestrel", "example"}
        assert latin(there, "/push") == host
        assert latin(there, "/push/nobody", 404) == set()
        worker = there.client.get("/push/sw.js").text
        (news,) = re.findall(r"^self\.news = (.*);$", worker, re.MULTILINE)
        assert re.fullmatch("[ж ]+", json.loads(news))


MADE = [
    *(tried(NOW, step=one) for one in ("publish", "find", "revise", "remove", "shine", "dim")),
    *(tried(NOW, one) for one in ("found", "not up", "TryLater", "Refused", "Unsure", "Gone")),
    tried(NOW, "Another"),
]


def test_the_pages_for_the_operator_speak_another_language(
    tmp_path: Path, foreign: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    units, names = {"min", "UTC"}, {"Discord", "discord", "DISCORD", "WEBHOOK", "URL"}
    with house(tmp_path, {**ONE, "ANNOUNCER_ADMIN_PASSWORD": "x"}) as there:
        untold = {"/login": latin(there, "/login")}
        there.client.post("/login", data={"password": "x"})
        scene = Scene(there.parts.outbox)
        show = scene.show("b1", "ж", peak=7)
        for number, (moment, state) in enumerate(product(Moment, State)):
            name = f"discord.{number}" if number else "discord"
            made, soon = [] if number else MADE, scene.now + MINUTE
            scene.post(
                show, name, state, text="ж", reason="ж", moment=moment, made=made, next_at=soon
            )
        there.parts.outbox.close("discord", "ж", "ж", scene.now)
        there.parts.outbox.pause("ж", scene.now)
        monkeypatch.setattr("announcer.web.destinations.guide", lambda _: "")  # the network's words
        paths = ("/", "/history", "/history/b1", "/history?words=ж", "/destinations", "/nowhere")
        for path in paths:
            untold[path] = latin(there, path, 404 if path == "/nowhere" else 200)
    assert [(path, left) for path, told in untold.items() if (left := told - units - names)] == []
