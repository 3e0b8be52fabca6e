"""Removes our safeties in a copy, one at a time, and sees whether a test notices: `make mutants`.

The rows stand in safeties.py. A test is named without the ids of faults, and found wherever it is.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.catalogue import ids_in
from tests.safeties import SAFETIES, Safety

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "__pycache__")
SUITES = {
    "suite.py": "tests/test_network_contract.py::TestContract",
    "spoken.py": "tests/test_line.py::TestPigeon",
}
"""What runs the tests that are no functions of ours."""
PATIENCE = 120
"""Seconds for one test; a safety without which it never ends was noticed, too."""
FAILED = 1
"""pytest's own status: a test said no. Any other means that none was run."""


def found_in(folder: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Where each test is, by its name without ids: `file::name`."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = ids_in(node.name)[1].replace(" ", "_")
                there = f"tests/{file.relative_to(folder).as_posix()}::{node.name}"
                found.setdefault(name, []).append(there)
    return found


def found_in_suites() -> dict[str, list[str]]:
    """Where each test of the contract is run, by its name without ids."""
    found: dict[str, list[str]] = {}
    for suite, runs in SUITES.items():
        for line in (ROOT / "announcer/contract" / suite).read_text("utf-8").splitlines():
            if test := re.match(r"    def (test_\w+)", line):
                name = ids_in(test[1])[1].replace(" ", "_")
                found.setdefault(name, []).append(f"{runs}::{test[1]}")
    return found


def problems(safeties: Sequence[Safety] = SAFETIES) -> list[str]:
    """What is wrong with the rows: code or tests have moved on."""
    known, told = found_in() | found_in_suites(), []
    for safety in safeties:
        times = (ROOT / safety.file).read_text("utf-8").count(safety.old)
        if times != 1:
            told.append(f"{safety.protects}: {times} times in {safety.file}: {safety.old!r}")
        if len(there := known.get(safety.test, [])) != 1:
            told.append(f"{safety.protects}: {len(there)} tests are called {safety.test}")
    return told


class Copies:
    """As many copies of the tree as there are runs at a time."""

    def __init__(self, folder: Path, number: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for n in range(number):
            copy = folder / f"copy{n}"
            shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
            self._free.put(copy)

    def notices(self, safety: Safety, test: str) -> bool:
        """Whether *test* fails without *safety*."""
        copy = self._free.get()
        try:
            file = copy / safety.file
            whole = file.read_text("utf-8")
            file.write_text(whole.replace(safety.old, safety.new), "utf-8")
            ast.parse(file.read_text("utf-8"))
            try:
                return self.run(copy, test) == FAILED
            finally:
                file.write_text(whole, "utf-8")
        finally:
            self._free.put(copy)

    def all_pass(self, named: Sequence[str]) -> bool:
        copy = self._free.get()
        try:
            return self.run(copy, *named) == 0
        finally:
            self._free.put(copy)

    @staticmethod
    def run(copy: Path, *named: str) -> int:
        """pytest's exit status; FAILED if it never ends."""
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *named]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(PATIENCE * max(1, len(named) // 5))
        except subprocess.TimeoutExpired:
            return FAILED
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()


def hunt() -> Iterator[tuple[Safety, str, bool]]:
    """Each safety, the test that guards it, and whether that noticed."""
    known = found_in() | found_in_suites()
    named = {safety: known[safety.test][0] for safety in SAFETIES}
    number = os.cpu_count() or 2
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(number) as pool:
        copies = Copies(Path(folder), number)
        every = list(dict.fromkeys(named.values()))
        shares = [every[n::number] for n in range(number)]
        if not all(pool.map(copies.all_pass, filter(None, shares))):
            raise SystemExit("the tests fail with every safety in place: mend that first")
        verdicts = pool.map(lambda safety: copies.notices(safety, named[safety]), SAFETIES)
        for safety, noticed in zip(SAFETIES, verdicts, strict=True):
            yield safety, named[safety], noticed


def main() -> None:
    if wrong := problems():
        raise SystemExit("\n".join(wrong))
    begun, survivors = time.monotonic(), 0
    for safety, test, noticed in hunt():
        survivors += not noticed
        verdict = "red" if noticed else "SURVIVES"
        sys.stdout.write(f"{verdict:9} {safety.protects:44} {test.removeprefix('tests/')}\n")
        sys.stdout.flush()
    took = time.monotonic() - begun
    sys.stdout.write(f"{len(SAFETIES)} removed, {survivors} survive, {took:.0f} s\n")
    raise SystemExit(survivors > 0)


if __name__ == "__main__":
    main()
