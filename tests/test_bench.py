"""The benchmarks still work; what they find is no test's business."""

import pkgutil
from importlib import import_module

import pytest

import bench
from bench import page
from bench.__main__ import PARTS, parser
from bench.figures import Section, Table
from bench.footprint import every_network
from tests.rows import EVERY

MODULES = [module.name for module in pkgutil.iter_modules(bench.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_every_program_can_be_loaded(name: str) -> None:
    import_module(f"bench.{name}")


def test_every_part_can_be_asked_for() -> None:
    for part in PARTS:
        assert callable(import_module(f"bench.{part}").measure)
    given = parser().parse_args([*PARTS, "--quick"])
    assert (tuple(given.parts), given.quick, given.page) == (PARTS, True, None)


def test_the_page_tells_what_was_wanted_and_what_came() -> None:
    section = Section("Speed", "How fast.", [Table(("what", "ms"), [("all", "7.0")])])
    section.below("all", 5, 7.0)
    section.above("stored events/s", 1000, 1200.0)
    text = page.written([("Processor", "one")], [section], "make bench", quick=False)
    assert "| all | < 5 ms | 7 ms | **no** |\n" in text
    assert "| stored events/s | >= 1,000 | 1,200 | yes |\n" in text
    assert "| all | 7.0 |\n" in text


def test_every_network_is_among_those_that_are_measured() -> None:
    settings = every_network()
    for row in EVERY:
        assert any(name.startswith(row.network.name.upper()) for name in settings)
