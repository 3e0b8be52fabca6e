"""Processes of tests run what is installed, which is what a wheel holds, and not the checkout.

`make test` installs it first. Who works on a file and runs its test has installed something older:
then it is the checkout after all.
"""

import os
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = {"announcer": "announcer", "templates": "announcer/templates"}
"""Folders of the checkout, and where a wheel has them."""


@cache
def differences() -> tuple[str, ...]:
    """The files that are not the same, or only here or there; of a wheel, as it names them."""
    ours, theirs = checkout(), _installed()
    return tuple(sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)))


@cache
def path() -> str:
    """PYTHONPATH for a process of a test."""
    places = [place for place in sys.path if place and Path(place) != ROOT]
    where = [*places, str(ROOT)] if not differences() else [str(ROOT), *places]
    return os.pathsep.join(where)


def checkout() -> dict[str, bytes]:
    """What a wheel is to hold of it: each file with what is in it."""
    return {
        f"{there}/{path.relative_to(ROOT / here).as_posix()}": path.read_bytes()
        for here, there in PARTS.items()
        for path in (ROOT / here).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def _installed() -> dict[str, bytes]:
    try:
        found = distribution("announcer")
    except PackageNotFoundError:
        return {}
    return {
        str(file): Path(str(file.locate())).read_bytes()
        for file in found.files or ()
        if file.parts[0] == "announcer" and file.suffix != ".pyc"
    }
