"""Every command in what is written for people is one that works as it stands there."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from announcer.cli import main
from announcer.contract.fake import Wire
from tests.house import ONE
from tests.terminal import Run
from tests.terminal import run as run
from tests.test_docs import PAGES, ROOT

BY_THE_PARSER = {"command-line.md"}
"""Written from the commands themselves, and with their signs for what may be left out."""
OF_OTHERS = {
    "python3": "makes the environment that a newcomer's run needs, and wants the network for pip",
    ".": "is the shell's: enters that environment",
    "cd": "is the shell's",
    "pip": "gets packages from the network; test_packaging.py builds the wheel and looks into it",
    "pipx": "does, too",
    "docker": "needs a container engine, which is not at hand",
}
"""The first word of a line that is not run here, and why."""
ALONE = {
    "check --offline",
    "preview",
    "history",
    "docs docs --check",
    "pause",
    "resume",
}
"""Run as they stand, with settings, and without anybody to talk to."""


@dataclass(frozen=True, slots=True)
class Line:
    page: Path
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.words)}"


def shown() -> Iterator[Line]:
    """What a reader is to type, in blocks and within the text."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", ""), re.MULTILINE):
                yield from _commands(page, line)
        if page.name not in BY_THE_PARSER:
            quotes = re.findall(r"`((?:announcer|make|docker) [^`]+)`", " ".join(text.split()))
            for quoted in quotes:
                # A command's mere name, which tests/test_docs.py looks at, is often only mentioned.
                if quoted.startswith("make ") or len(quoted.split()) > 2:
                    yield from _commands(page, quoted)


def _commands(page: Path, line: str) -> Iterator[Line]:
    words = shlex.split(line, comments=True)
    while words:
        end = next((at for at, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
        yield Line(page, tuple(words[:end]))
        words = words[end + 1 :]


SHOWN = list(dict.fromkeys(shown()))
OURS = [one for one in SHOWN if one.words[0] == "announcer"]


def understood(words: tuple[str, ...]) -> None:
    """Raises click.UsageError. Nothing is run."""
    context, rest = click.Context(main, info_name="announcer"), list(words)
    found: click.Command | None = main
    while isinstance(found, click.Group):
        _, found, rest = found.resolve_command(context, rest)
    assert found
    found.make_context(found.name, rest, parent=context)


def test_commands_are_found_where_they_stand() -> None:
    """Or the tests below could not fail."""
    told = {str(one) for one in SHOWN}
    assert "README.md: make demo" in told
    assert "README.md: announcer init" in told
    assert "docs/first-stream.md: announcer connect mastodon --account music" in told
    assert "README.md: docker compose run --rm announcer init" in told


@pytest.mark.parametrize("line", OURS, ids=str)
def test_the_command_line_understands(line: Line) -> None:
    understood(line.words[1:])


@pytest.mark.parametrize(
    "words", [("shout",), ("check", "--loud"), ("simulate", "x"), ("retry",), ("connect", "smoke")]
)
def test_what_is_wrong_would_be_found(words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        understood(words)


@pytest.mark.parametrize("line", [one for one in SHOWN if one.words[0] == "make"], ids=str)
def test_make_knows(line: Line) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert line.words[1] in targets


def test_what_a_container_is_told_is_understood() -> None:
    """Its entry point is `announcer`; `exec` does not go through it."""
    for line in SHOWN:
        words = line.words
        if words[:2] == ("docker", "compose") and "announcer" in words:
            told = words[words.index("announcer") + 1 :]
            if words[2] == "exec":
                assert told[0] == "announcer"
                told = told[1:]
            understood(told)


def test_what_is_not_ours_is_known_by_name() -> None:
    firsts = {one.words[0] for one in SHOWN} - {"announcer", "make"}
    assert firsts == OF_OTHERS.keys()


@pytest.mark.parametrize("words", sorted(ALONE))
def test_what_needs_nobody_does_what_it_says(run: Run, wire: Wire, words: str) -> None:
    given = shlex.split(words)
    if given[0] == "docs":
        given[1] = str(ROOT / "docs")
    said = run(*given, **ONE)
    assert said.exit_code == 0, said.output
    assert not wire.sent
