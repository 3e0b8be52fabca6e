"""The operator's folder of templates as something to edit: plain files stay the truth.

A file is written whole or not at all, the version before it is kept beside it, and what somebody
else changed meanwhile is not written over. Links are read, as wording reads them, but neither
followed nor replaced by a change: whoever made one wants the words kept elsewhere.
"""

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from announcer.wording import LARGEST, SHIPPED

KINDS = ("live", "ended", "alt")
PATIENCE = 2.0
"""Seconds to wait for somebody who saves at the same moment."""
_NAME = re.compile(
    r"(?:(?P<folder>[a-z0-9][a-z0-9_.-]{0,130})/)?"
    r"(?P<kind>live|ended|alt)(?:\.(?P<number>[0-9]{1,3}))?\.txt"
)
_BEFORE = ".before"
"""What the name of the version before ends with; no template is called so."""
_FRESH = ".announcer-saving-"


class CanNotBeWritten(Exception):
    """str() is for the operator."""


class Changed(Exception):
    """The file is not what the editor was shown."""


class Bar(StrEnum):
    """What is in the way of a change, and its reason for the operator."""

    UNSET = "ANNOUNCER_TEMPLATES is not set, so there is no folder for yours"
    MOUNT = "{place} is mounted read-only (ANNOUNCER_TEMPLATES)"
    OWNER = "{place} can not be written to (ANNOUNCER_TEMPLATES)"
    FOLDER = "{place} is no folder (ANNOUNCER_TEMPLATES)"
    LINK = "{place} is a link to another place, and links are left alone"


class Barred(NamedTuple):
    """That nothing can be written at *place*."""

    bar: Bar
    place: Path = Path()

    def __str__(self) -> str:
        return self.bar.format(place=self.place)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One template. *own* says that the operator has a file of that name, *shipped* that we have
    one, *undo* that there is a version before; *source* is what is used of the two, or empty.
    *seen* names what was read of the operator's, for a change. *problem* is what is wrong with the
    file.
    """

    name: str
    kind: str
    source: str = ""
    own: bool = False
    shipped: bool = False
    undo: bool = False
    seen: str = ""
    problem: str = ""

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]


class Shelf:
    """The folder *own*; None if none is set, and then nothing can be written."""

    def __init__(self, own: Path | None, shipped: Path = SHIPPED) -> None:
        self._own, self._shipped = own, shipped

    def folders(self) -> list[str]:
        """Those of the operator that hold templates, whether anything uses them or not."""
        found: set[str] = set()
        with suppress(OSError):
            for one in self._own.iterdir() if self._own else ():
                with suppress(OSError):
                    if any(is_name(f"{one.name}/{file.name}") for file in one.iterdir()):
                        found.add(one.name)
        return sorted(found)

    def names(self, folder: str) -> list[str]:
        """Of the templates that *folder* has, ours or the operator's; "" is the shared one."""
        names: set[str] = set()
        for root in filter(None, (self._own, self._shipped)):
            with suppress(OSError):
                names |= {one.name for one in (root / folder).iterdir()}
        head = f"{folder}/" if folder else ""
        return sorted((f"{head}{name}" for name in names if is_name(f"{head}{name}")), key=_rank)

    def barred(self, name: str = "") -> Barred | None:
        """Why nothing, or not the file *name*, can be written; None if it can."""
        if self._own is None:
            return Barred(Bar.UNSET)
        place = (self._own / name).parent if name else self._own
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            return Barred(Bar.FOLDER, place)
        if not os.access(place, os.W_OK | os.X_OK):
            fixed = os.statvfs(place).f_flag & os.ST_RDONLY
            return Barred(Bar.MOUNT if fixed else Bar.OWNER, place)
        if name and (link := self._link(name)):
            return Barred(Bar.LINK, link)
        return None

    def read(self, name: str) -> Sheet:
        """Raises KeyError for what is no template's name."""
        kind = _parts(name)["kind"]
        ours, theirs = self._shipped / name, self._own / name if self._own else None
        shipped = ours.is_file()
        for path in filter(None, (theirs, ours)):
            try:
                data = _bytes(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                why = f"can not be read ({error.strerror})"
                return Sheet(name, kind, own=path == theirs, shipped=shipped, problem=why)
            own = path == theirs
            seen, undo = _digest(data) if own else "", self._before(name, data if own else None)
            source, why = data.decode("utf-8-sig", "replace"), ""
            if len(data) > LARGEST:
                source, why = "", "is larger than 64 KiB"
            elif source.encode() not in data:
                why = "is not UTF-8: what can not be read is shown as \ufffd"
            return Sheet(name, kind, source, own, shipped, undo, seen, why)
        return Sheet(name, kind, shipped=shipped, undo=self._before(name, None))

    def write(self, name: str, source: str, seen: str) -> None:
        """Put *source* in place of what was *seen*. Raises Changed, CanNotBeWritten, KeyError."""
        text = source.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
        data = text.encode("utf-8", "replace")
        if len(data) > LARGEST:
            raise CanNotBeWritten("a template has 64 KiB at most")
        with self._alone(name, seen) as (path, now):
            if now == data:
                return
            with _written(path, data) as fresh:
                if now is not None:
                    with _written(_before(path), now) as kept:
                        kept.replace(_before(path))
                fresh.replace(path)

    def undo(self, name: str, seen: str) -> None:
        """Swap it with the version before; where it was removed, bring it back. Raises as `write`,
        and KeyError if there is none.
        """
        with self._alone(name, seen) as (path, now):
            try:
                data = _bytes(_before(path))
            except FileNotFoundError:
                raise KeyError(name) from None
            if now is None:
                _before(path).replace(path)
                return
            with _written(path, data) as fresh, _written(_before(path), now) as kept:
                fresh.replace(path)
                kept.replace(_before(path))

    def remove(self, name: str, seen: str) -> None:
        """Back to what is shipped, if anything is. The file is kept as the version before. Raises
        as `write`, and KeyError if there is none.
        """
        with self._alone(name, seen) as (path, now):
            if now is None:
                raise KeyError(name)
            path.replace(_before(path))

    def _link(self, name: str) -> Path | None:
        """The file or its folder, if that leads elsewhere. The whole folder may well be a link."""
        path = (self._own or Path()) / name
        folder = [path.parent] if "/" in name else []
        return next((one for one in (*folder, path) if one.is_symlink()), None)

    def _before(self, name: str, now: bytes | None) -> bool:
        """Whether there is another version than *now* to go back to."""
        with suppress(OSError):
            return self._own is not None and _bytes(_before(self._own / name)) != now
        return False

    @contextmanager
    def _alone(self, name: str, seen: str) -> Iterator[tuple[Path, bytes | None]]:
        """Nobody else of us changes anything meanwhile. The file, and what is in it: as it was
        *seen*.
        """
        _parts(name)
        if barred := self.barred(name):
            raise CanNotBeWritten(str(barred))
        path = (self._own or Path()) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.parent):
                for left in path.parent.glob(f"{_FRESH}*"):
                    left.unlink()  # of one who died while saving
                now: bytes | None = None
                with suppress(FileNotFoundError):
                    now = _bytes(path)
                if (_digest(now) if now is not None else "") != seen:
                    raise Changed
                if now is not None and len(now) > LARGEST:
                    raise CanNotBeWritten("the file is larger than 64 KiB: look at it by hand")
                yield path, now
        except OSError as problem:
            why = problem.strerror or type(problem).__name__
            raise CanNotBeWritten(f"the file can not be written: {why}") from None


def is_name(name: str) -> bool:
    """Whether it is a template's, within the folder: nothing else is read or written."""
    match = _NAME.fullmatch(name)
    return match is not None and ".." not in (match["folder"] or "")


def next_variant(names: Iterable[str], name: str) -> str:
    """What one more file beside *name* is called: after `live.txt` comes `live.1.txt`."""
    parts = _parts(name)
    taken = {
        int(_parts(one)["number"] or 0) for one in names if _parts(one)["kind"] == parts["kind"]
    }
    number = next(n for n in range(1, 1001) if n not in taken)
    return f"{parts['folder'] + '/' if parts['folder'] else ''}{parts['kind']}.{number}.txt"


def _parts(name: str) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    if match is None or not is_name(name):
        raise KeyError(name)
    return {key: value or "" for key, value in match.groupdict().items()}


def _bytes(path: Path) -> bytes:
    """One more than a template may have, at most. Raises OSError, also for what is no file: a pipe
    would be waited for.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "it is no file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(LARGEST + 1)
    finally:
        os.close(handle)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """For everybody who edits with us, other processes too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise CanNotBeWritten("somebody else is saving: try again") from None
                time.sleep(0.02)
        yield
        os.fsync(handle)  # what was renamed stays so after a power cut
    finally:
        os.close(handle)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """*data* in a file of its own beside *path*, to be put in its place at once: a go-live may read
    it at this moment. A full disk is noticed before anything has changed.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_FRESH)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)
        yield fresh
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    return path.with_name(path.name + _BEFORE)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _rank(name: str) -> tuple[int, int]:
    parts = _parts(name)
    return KINDS.index(parts["kind"]), int(parts["number"] or 0)
