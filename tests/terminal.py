"""The command line as its users have it: a script, or a person at a terminal."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from announcer import wire
from announcer.cli import main
from announcer.networks import places
from tests import installed
from tests.house import own_logging

Run = Callable[..., Result]
OURS = ("ANNOUNCER_", "OWNCAST_", *(f"{name.upper()}_" for name in places()))
SECONDS = 60.0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`announcer ...` of a script in an empty folder, where only the variables given are set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wire.Session, "proxy", None)
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)

    def announcer(*arguments: str, typed: str = "", **variables: str) -> Result:
        result = CliRunner().invoke(main, arguments, env=variables, input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        assert "a fault of Announcer" not in result.output
        return result

    with own_logging():
        yield announcer


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, "PYTHONPATH": installed.path(), "TERM": "xterm", **variables}


class Terminal:
    """A pseudo-terminal with `announcer` in it. *screen* is all that was shown so far."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "announcer", *arguments],
            cwd=folder,
            env=environment(**variables),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_take_terminal,  # Ctrl-C goes to who has it
        )
        os.close(theirs)
        self.screen = ""
        self._seen = 0

    def until(self, words: str) -> None:
        """Wait until *words* are shown, after those waited for before."""
        deadline = time.monotonic() + SECONDS
        while (at := self.screen.find(words, self._seen)) < 0:
            assert time.monotonic() < deadline, f"no {words!r} in:\n{self.screen}"
            assert self._read(), f"it ended without {words!r}:\n{self.screen}"
        self._seen = at + len(words)

    def type(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def answer(self, question: str, line: str) -> None:
        self.until(question)
        time.sleep(0.05)  # the echo is switched off after the words are shown
        self.type(line)

    def end(self) -> int:
        """The exit status, once it has ended."""
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait(SECONDS)

    @property
    def words(self) -> str:
        """*screen* without colours, as it stands there: what was written over is gone."""
        lines = re.sub(r"\x1b\[[0-9;]*m", "", self.screen).replace("\r\n", "\n").split("\n")
        return "\n".join(line.rpartition("\r")[2] for line in lines)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], SECONDS)
        assert ready, f"it stands still:\n{self.screen}"
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # the other side is closed, as Linux says it
            return False
        self.screen += piece.decode("utf-8", "replace")
        return bool(piece)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def variables_of(folder: Path) -> Mapping[str, str]:
    """What `.env` there sets."""
    from dotenv import dotenv_values

    found = dotenv_values(folder / ".env", interpolate=False)
    return {name: value or "" for name, value in found.items()}
