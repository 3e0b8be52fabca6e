"""That the hunt for survivors can be held. It takes minutes itself: `make mutants`."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import Copies, found_in, problems
from tests.safeties import SAFETIES, Safety


def test_every_safety_stands_where_the_hunt_removes_it_and_its_test_is_there() -> None:
    assert problems() == []


def test_no_two_of_them_are_the_same() -> None:
    assert len({(one.file, one.old, one.new) for one in SAFETIES}) == len(SAFETIES)


def test_what_has_moved_on_is_told() -> None:
    gone = Safety("a wall", "announcer/wire.py", "no such line", "", "no_such_test")
    assert problems([gone]) == [
        "a wall: 0 times in announcer/wire.py: 'no such line'",
        "a wall: 0 tests are called no_such_test",
    ]


def test_a_test_is_found_by_its_name_without_ids(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_a01_b02_it_holds() -> None: ...\n")
    assert found_in(tmp_path) == {"it_holds": ["tests/test_it.py::test_a01_b02_it_holds"]}


@dataclass
class Pytest:
    """Ends with *status*; remembers what the file held while it ran."""

    status: int
    file: str = "announcer/logs.py"
    held: str = ""

    def run(self, copy: Path, *_: str) -> int:
        self.held = (copy / self.file).read_text("utf-8")
        return self.status


@pytest.mark.parametrize(("status", "noticed"), [(0, False), (1, True), (2, False), (4, False)])
def test_only_a_test_that_fails_has_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, noticed: bool
) -> None:
    """And not one that could not be collected."""
    fake = Pytest(status)
    monkeypatch.setattr(Copies, "run", staticmethod(fake.run))
    safety = next(one for one in SAFETIES if one.file == fake.file)
    assert Copies(tmp_path, 1).notices(safety, "tests/test_logs.py") is noticed
    assert safety.old not in fake.held
    whole = (tmp_path / "copy0" / safety.file).read_text("utf-8")
    assert safety.old in whole, "put back for the next one"
