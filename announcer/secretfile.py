"""A secret that comes from a file, as Docker, Kubernetes and systemd hand them out."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

LARGEST = 64 * 1024
"""Bytes: the longest secret there is, a private key, has a few thousand."""

Stamp = tuple[int, ...] | None
"""What `os.stat` tells of a file that changes with it; None if it tells nothing."""


class Unreadable(Exception):
    """There is no secret in it. str() follows the name of the variable, and quotes nothing."""


class SecretFile(NamedTuple):
    """Where the secret of a variable came from, and what stood there."""

    path: Path
    content: str

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r}, ***)"


def read(path: Path) -> str:
    """The content of *path*, without a byte order mark and one line end at its end.

    Raises Unreadable, and never waits: a pipe without a writer would hold up the start for ever.
    """
    try:
        place = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(place, "rb") as file:
            kind = os.fstat(place).st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                raise Unreadable("names a pipe or a device: it must be a plain file")
            raw = file.read(LARGEST + 1)
        content = raw[:LARGEST].decode("utf-8-sig")
    except (OSError, ValueError) as problem:  # not there, not ours to read, not UTF-8, a NUL
        raise Unreadable(f"can not be read ({type(problem).__name__})") from None
    if len(raw) > LARGEST:
        raise Unreadable(f"names a file of more than {LARGEST // 1024} KiB: that is no secret")
    content = content.replace("\r\n", "\n").removesuffix("\n")
    if not content.strip():
        raise Unreadable("names an empty file")
    return content


def stamp(path: Path) -> Stamp:
    """Of the file that *path* leads to in the end: a mounted one is replaced by a new symlink."""
    try:
        told = path.stat()
    except (OSError, ValueError):
        return None
    return (told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns)
