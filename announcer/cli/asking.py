"""Questions and who answers them: options, files, the person at the terminal, or nobody."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import click

from announcer import secretfile
from announcer.cli import ground
from announcer.connect import Question

FILE = "FILE (`-` for standard input)"


class Person:
    """The person at the terminal, if there is one. *given* are options, by question; of a secret
    one the value is the file that holds it. What is asked goes to the error output, so that the
    result may go to a program.
    """

    def __init__(self, given: Mapping[str, str | None]) -> None:
        self._given = given
        self.heard: list[str] = []
        """The secrets, which must not be told again."""
        self._said: dict[str, str] = {}
        """All else, for who is asked the same again after a mistake."""

    def ask(
        self,
        question: Question,
        default: str = "",
        wrong: Callable[[str], str] = lambda _: "",
    ) -> str:
        """The answer, of which *wrong* says nothing."""
        default = default or self._said.get(question.name, "") or question.default
        while True:
            answer = self._answer(question, default).strip()
            if not answer.isprintable():
                problem = f"{question.flag} must be one line without control characters"
            else:
                problem = wrong(answer) if answer else f"{question.flag} must not be empty"
            if not problem:
                break
            if self._given.get(question.name) or not ground.has_person():
                ground.stop([problem])
            click.secho(problem, fg="red", err=True)
        if question.secret:
            self.heard.append(answer)
        else:
            self._said[question.name] = answer
        return answer

    def _answer(self, question: Question, default: str) -> str:
        if given := self._given.get(question.name):
            return secret_of(given, question.flag) if question.secret else given
        if ground.has_person():
            answer: str = click.prompt(
                f"{question.words} [not shown]" if question.secret else question.words,
                default=default or None,
                show_default=not question.secret,
                hide_input=question.secret,
                err=True,
            )
            return answer
        if not default:
            ground.stop([missing(question)])
        return default

    def tell(self, words: str) -> None:
        click.echo(words, err=True)

    def waiting(self, what: str) -> AbstractContextManager[None]:
        return ground.waiting(what)


def secret_of(place: str, flag: str) -> str:
    """The secret that stands in the file *place*; for `-` the next line of standard input."""
    if place == "-":
        line = sys.stdin.readline() if sys.stdin else ""
        if not line.strip():
            ground.stop([f"{flag} -: there is nothing on standard input"])
        return line.rstrip("\r\n")
    try:
        return secretfile.read(Path(place))
    except secretfile.Unreadable as problem:
        ground.stop([f"{flag} {problem}"])


def missing(question: Question) -> str:
    value = f" {FILE}" if question.secret else ""
    return f"{question.flag}{value} is missing: {question.words}"
