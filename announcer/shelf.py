"""The operator's folder of templates as something to edit: plain files stay the truth.

A file is written whole or not at all, the version before it is kept beside it, and what somebody
else changed meanwhile is not written over.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from announcer.wording import SHIPPED

KINDS = ("live", "ended", "alt")
LARGEST = 64 * 1024
"""Bytes of one file; wording reads no more."""
_NAME = re.compile(r"(?:([a-z0-9][a-z0-9_.-]{0,130})/)?(live|ended|alt)(?:\.[0-9]{1,3})?\.txt")
_BEFORE = ".before"
"""What the name of the version before ends with; no template is called so."""


class CanNotBeWritten(Exception):
    """str() is for the operator."""


class Changed(Exception):
    """The file is not what the editor was shown."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One template. *own* says that the operator has a file of that name, *undo* that there is a
    version before it; else *source* is what is shipped, or empty. *seen* names what was read.
    """

    name: str
    kind: str
    source: str
    own: bool
    undo: bool
    seen: str
    problem: str = ""


class Shelf:
    """The folder *own*; None if none is set, and then nothing can be written."""

    def __init__(self, own: Path | None, shipped: Path = SHIPPED) -> None:
        self._own, self._shipped = own, shipped

    def names(self, folders: Iterable[str]) -> list[str]:
        """Of all templates that are there, and of those that *folders*, networks and destinations,
        could have, by folder.
        """
        found: list[str] = []
        for folder in ("", *dict.fromkeys(folders)):
            names = {f"{kind}.txt" for kind in KINDS}
            for root in filter(None, (self._own, self._shipped)):
                with suppress(OSError):
                    names |= {one.name for one in (root / folder).iterdir()}
            head = f"{folder}/" if folder else ""
            found += sorted(
                (f"{head}{name}" for name in names if is_name(f"{head}{name}")), key=_rank
            )
        return found

    def why_not(self) -> str:
        """Why nothing can be written; empty if it can. For the operator."""
        if self._own is None:
            return "ANNOUNCER_TEMPLATES is not set, so there is no folder for yours"
        place = self._own
        while not place.exists() and place != place.parent:
            place = place.parent
        if not os.access(place, os.W_OK | os.X_OK):
            return f"{self._own} can not be written to (ANNOUNCER_TEMPLATES)"
        return ""

    def read(self, name: str) -> Sheet:
        """Raises KeyError for what is no template's name."""
        kind = _kind(name)
        own = self._own / name if self._own else None
        for path in filter(None, (own, self._shipped / name)):
            try:
                with path.open("rb") as file:
                    data = file.read(LARGEST + 1)
            except FileNotFoundError:
                continue
            except OSError as problem:
                why = f"can not be read ({problem.strerror})"
                return Sheet(name, kind, "", path == own, False, "", why)
            if len(data) > LARGEST:
                return Sheet(name, kind, "", path == own, False, "", "is larger than 64 KiB")
            source = data.decode("utf-8-sig", "replace")
            mine = path == own
            undo = mine and _before(path).is_file()
            return Sheet(name, kind, source, mine, undo, _digest(data) if mine else "")
        return Sheet(name, kind, "", False, own is not None and _before(own).is_file(), "")

    def write(self, name: str, source: str, seen: str) -> None:
        """Put *source* in place of what was *seen*. Raises Changed, CanNotBeWritten, KeyError."""
        path = self._place(name)
        text = source.replace("\r\n", "\n").rstrip("\n") + "\n"
        data = text.encode("utf-8", "replace")
        if len(data) > LARGEST:
            raise CanNotBeWritten("a template has 64 KiB at most")
        self._replace(path, data, seen)

    def undo(self, name: str, seen: str) -> None:
        """Swap it with the version before. Raises as `write`, and KeyError if there is none."""
        path = self._place(name)
        try:
            data = _before(path).read_bytes()
        except OSError:
            raise KeyError(name) from None
        self._replace(path, data, seen)

    def remove(self, name: str, seen: str) -> None:
        """Back to what is shipped, if anything is. The file is kept as the version before."""
        path = self._place(name)
        self._check(path, seen)
        try:
            path.replace(_before(path))
        except FileNotFoundError:
            raise KeyError(name) from None
        except OSError as problem:
            raise CanNotBeWritten(_why(problem)) from None

    def _place(self, name: str) -> Path:
        _kind(name)
        if self._own is None:
            raise CanNotBeWritten(self.why_not())
        return self._own / name

    def _check(self, path: Path, seen: str) -> bytes | None:
        """What is there now. Raises Changed if it is not what was *seen*."""
        try:
            now = path.read_bytes()
        except FileNotFoundError:
            now = None
        except OSError as problem:
            raise CanNotBeWritten(_why(problem)) from None
        if (_digest(now) if now is not None else "") != seen:
            raise Changed
        return now

    def _replace(self, path: Path, data: bytes, seen: str) -> None:
        now = self._check(path, seen)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if now is not None and now != data:
                _put(_before(path), now)
            _put(path, data)
        except OSError as problem:
            raise CanNotBeWritten(_why(problem)) from None


def is_name(name: str) -> bool:
    """Whether it is a template's, within the folder: nothing else is read or written."""
    match = _NAME.fullmatch(name)
    return match is not None and ".." not in (match[1] or "")


def _kind(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None or not is_name(name):
        raise KeyError(name)
    return match[2]


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all: a go-live may read it at this moment."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".saving-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def _before(path: Path) -> Path:
    return path.with_name(path.name + _BEFORE)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _rank(name: str) -> tuple[str, int, str]:
    folder, _, file = name.rpartition("/")
    return folder, KINDS.index(file.partition(".")[0]), file


def _why(problem: OSError) -> str:
    return f"the file can not be written: {problem.strerror or type(problem).__name__}"
