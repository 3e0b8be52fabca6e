"""The file `.env`: read, and changed without losing a line of what a person wrote there."""

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

HEADING = """\
# Settings of Announcer: docs/settings.md names them all, `announcer check` looks through them.
# There are secrets in here: show it to nobody, and put it into no repository.
"""
PLACE = Path(".env")
"""In the folder where a command runs."""
OWNERS = 0o600
"""Secrets stand in it."""
_HEAD = re.compile(r"\s*(?:export\s+)?")
_BLANK = re.compile(r"(?:[^\S\r\n]*\r?\n)*")
_BARE = re.compile(r"""[^\s'"`#$]+""", re.ASCII)


class Unusable(Exception):
    """str() follows the name of the file, and quotes nothing of it."""


def read(path: Path = PLACE) -> list[tuple[str, str | None]]:
    """What it sets, in its order; nothing if it is not there. Raises Unusable."""
    return [
        (line.key, line.value)
        for line in parse_stream(StringIO(_text(path)))
        if line.key and not line.error
    ]


def write(values: Mapping[str, str], path: Path = PLACE) -> None:
    """Set *values* in it, where they stand or else at its end. It is whole at every moment, and
    readable by its owner only. Raises Unusable.
    """
    for name, value in values.items():
        if not value.isprintable():  # some server's, which is not to begin a line of its own
            raise Unusable(f"can not hold {name}: it is not one line")
    text = changed(_text(path) or HEADING, values)
    place = Path(os.path.realpath(path))  # a link stays one
    try:
        handle, temporary = tempfile.mkstemp(prefix=".env-", dir=place.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError, PermissionError):  # new, or not root: ours
                before = place.stat()
                os.chown(temporary, before.st_uid, before.st_gid)
            Path(temporary).chmod(OWNERS)
            Path(temporary).replace(place)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as problem:
        raise Unusable(
            f"can not be written ({problem.strerror or type(problem).__name__})"
        ) from None


def why_not(path: Path = PLACE) -> str:
    """Why it can not be written; empty if it can. To be asked before anything is made."""
    folder = Path(os.path.realpath(path)).parent
    if path.is_dir():
        return "is a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"can not be written: the folder {folder} is not yours to write to"
    return ""


def is_open(path: Path = PLACE) -> bool:
    """Whether others on this machine can read what stands in it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def changed(text: str, values: Mapping[str, str]) -> str:
    """*text*, the content of such a file, with other *values*: all else stays as it stands."""
    end = "\r\n" if "\r\n" in text else "\n"
    left, pieces = dict(values), []
    for line in parse_stream(StringIO(text, newline="")):
        was = line.original.string
        if line.error or line.key not in values:
            pieces.append(was)
        elif line.key in left:
            head = _HEAD.match(was)
            pieces.append(f"{head[0] if head else ''}{line.key}={quoted(left.pop(line.key))}{end}")
        elif blank := _BLANK.match(was):  # what is set twice is set once from now on
            pieces.append(blank[0])
    new = "".join(pieces)
    if left and new and not new.endswith("\n"):
        new += end
    return new + "".join(f"{name}={quoted(value)}{end}" for name, value in left.items())


def quoted(value: str) -> str:
    """*value* as it is read again, by Docker Compose and systemd, too."""
    if _BARE.fullmatch(value) or not value:
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError):  # some have a folder of that name
        return ""
    except UnicodeDecodeError:
        raise Unusable("can not be read: it is not UTF-8") from None
    except OSError as problem:
        raise Unusable(f"can not be read ({problem.strerror or type(problem).__name__})") from None
