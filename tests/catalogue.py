"""What can go wrong, what we promise for it, and which test proves it: docs/faults.md.

The faults stand in faults.txt. A test's name begins with the id of the fault that it proves
something about, `test_b01_...`, or with several, `test_a09_a11_...`; `python -m tests.catalogue`
writes the page from these names.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath, relpath
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "faults.md"
SUITE = ROOT / "announcer" / "contract" / "suite.py"
"""What every network has to pass."""


@dataclass(frozen=True, slots=True)
class Fault:
    """*untested* is why no test proves the promise; empty while one does or should."""

    id: str
    happens: str
    promise: str
    untested: str = ""


FAMILIES = {
    "A": "A crash between a request and its receipt",
    "B": "Our own storage",
    "C": "Time",
    "D": "What Owncast sends",
    "E": "What networks answer",
    "F": "What is said",
    "G": "Process, deployment, configuration",
}


def _read() -> Iterator[tuple[Fault, bool]]:
    for line in (ROOT / "tests" / "faults.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            id_, *said = line.split(" | ")
            yield Fault(id_.rstrip("*"), *said), id_.endswith("*")


FAULTS = [fault for fault, _ in _read()]
FIRST_RELEASE = {fault.id for fault, first in _read() if first}


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that proves what we promise for *faults*."""

    faults: tuple[str, ...]
    file: str
    sentence: str


def ids_in(name: str) -> tuple[tuple[str, ...], str]:
    """The ids that the *name* of a test begins with, and the rest of it as a sentence."""
    match = re.fullmatch(r"test_((?:[a-z]\d\d_)*)(\w+)", name)
    if not match:
        return (), ""
    return tuple(match[1].upper().split("_")[:-1]), match[2].replace("_", " ")


def proofs(folder: Path = TESTS, *suites: Path) -> Iterator[Proof]:
    """Those of *folder*, and of *suites* elsewhere."""
    for file in (*sorted(folder.rglob("test_*.py")), *suites):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                faults, sentence = ids_in(node.name)
                if faults:
                    yield Proof(faults, Path(relpath(file, folder)).as_posix(), sentence)


def by_fault(found: Sequence[Proof]) -> Mapping[str, Sequence[Proof]]:
    return {fault.id: [one for one in found if fault.id in one.faults] for fault in FAULTS}


def page(found: Sequence[Proof]) -> str:
    of = by_fault(found)
    proven = sum(bool(of[fault.id]) for fault in FAULTS)
    first = sum(bool(of[id_]) for id_ in FIRST_RELEASE)
    lines = [
        "# Faults",
        "",
        "What can go wrong, what Announcer promises for it, and the tests that prove it: each test",
        "breaks the real thing and looks at what the world would see. This page is made from their",
        "names by `make faults`; a test fails when it is stale.",
        "",
        f"{len(FAULTS)} faults; {proven} with a test, {len(FAULTS) - proven} not tested. Of the "
        f"{len(FIRST_RELEASE)} that matter most (in bold) {first} are tested.",
    ]
    for letter, family in FAMILIES.items():
        lines += ["", f"## {letter}. {family}", ""]
        lines += ["| | Fault | What we promise | Tested by |", "|---|---|---|---|"]
        for fault in FAULTS:
            if fault.id[0] == letter:
                id_ = f"**{fault.id}**" if fault.id in FIRST_RELEASE else fault.id
                tested = _tested_by(fault, of[fault.id])
                lines.append(f"| {id_} | {fault.happens} | {fault.promise} | {tested} |")
    return "\n".join(lines) + "\n"


def _tested_by(fault: Fault, found: Sequence[Proof]) -> str:
    if not found:
        return f"not tested: {fault.untested}" if fault.untested else "not tested"
    files = {one.file: [other for other in found if other.file == one.file] for one in found}
    return "; ".join(
        f"[{Path(file).name}]({normpath(f'../tests/{file}')}): "
        + ", ".join(one.sentence for one in ones)
        for file, ones in files.items()
    )


if __name__ == "__main__":
    PAGE.write_text(page(list(proofs(TESTS, SUITE))), "utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
