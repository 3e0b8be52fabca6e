"""docs/faults.md says what is proven and what is not: fresh, complete, and true of the tests."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.catalogue import (
    FAMILIES,
    FAULTS,
    FIRST_RELEASE,
    PAGE,
    SUITE,
    TESTS,
    by_fault,
    ids_in,
    page,
    proofs,
)

FOUND = list(proofs(TESTS, SUITE))
TESTED = {id_ for id_, found in by_fault(FOUND).items() if found}
KNOWN = {fault.id: fault for fault in FAULTS}


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == page(FOUND), "run `make faults`"


def test_the_catalogue_is_whole() -> None:
    """Every id once, in order, without a gap."""
    sizes = Counter(fault.id[0] for fault in FAULTS)
    assert sizes == {"A": 21, "B": 13, "C": 7, "D": 16, "E": 32, "F": 13, "G": 21}
    ids = [f"{letter}{n:02}" for letter in FAMILIES for n in range(1, sizes[letter] + 1)]
    assert [fault.id for fault in FAULTS] == ids
    assert len(FIRST_RELEASE) == 50


@pytest.mark.parametrize("proof", FOUND, ids=lambda one: f"{one.file}-{one.sentence}")
def test_a_test_names_faults_that_exist(proof: object) -> None:
    assert set(getattr(proof, "faults", ())) <= set(KNOWN)


def test_every_fault_of_the_first_release_is_tested() -> None:
    assert FIRST_RELEASE <= TESTED


def test_no_excuse_outlives_its_reason() -> None:
    assert not [id_ for id_ in TESTED if KNOWN[id_].untested]


def test_no_bar_breaks_a_table() -> None:
    for line in PAGE.read_text("utf-8").splitlines():
        assert not line.startswith("|") or line.count("|") == 5, line


def test_ids_are_read_from_the_front_of_a_name_only() -> None:
    assert ids_in("test_a09_a11_nobody_knows") == (("A09", "A11"), "nobody knows")
    assert ids_in("test_nothing_of_a09_here") == ((), "nothing of a09 here")
    assert ids_in("helper_b01_no_test") == ((), "")


def test_tests_in_folders_are_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    text = "class Of:\n    def test_b01_within(self) -> None: ...\n"
    (tmp_path / "deep/test_it.py").write_text(text)
    (tmp_path / "test_none.py").write_text("def test_plain() -> None: ...\n")
    found = list(proofs(tmp_path))
    assert [(one.faults, one.file, one.sentence) for one in found] == [
        (("B01",), "deep/test_it.py", "within")
    ]


def test_a_fault_without_a_test_is_called_not_tested() -> None:
    rows = re.findall(r"^\| \**(\w\d\d)\** .*\| not tested", page([]), re.MULTILINE)
    assert rows == [fault.id for fault in FAULTS]
