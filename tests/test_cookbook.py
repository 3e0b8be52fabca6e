"""docs/cookbook.md: twelve examples that work, and say what stands below them."""

from pathlib import Path

import pytest

from announcer.facts import variables
from tests.cookbook import PAGE, USUAL, Example, examples, fresh, network_of, said, written

TEXT = PAGE.read_text("utf-8")
EXAMPLES = list(examples(TEXT))


def test_what_each_says_is_fresh() -> None:
    assert fresh(TEXT) == TEXT, "run `python -m tests.cookbook`"


def test_there_are_twelve_and_each_shows_what_it_says() -> None:
    assert [one.title.partition(".")[0] for one in EXAMPLES] == [str(n) for n in range(1, 13)]
    assert all(one.shown for one in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_each_is_used_as_it_stands(example: Example, tmp_path: Path) -> None:
    """And no other file in its place."""
    used = set()
    for about in example.shown:
        wording = said(example, about, tmp_path)
        assert not wording.problem
        used.add(wording.template)
    assert used == {f"own:{name}" for name in example.templates}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_each_has_words_for_every_broadcast(example: Example, tmp_path: Path) -> None:
    """A hostile title, an endless one, none, and no address."""
    templates = written(example, tmp_path)
    for destination in {about.partition(" ")[0] for about in example.shown}:
        network = network_of(destination)
        assert not templates.problems(destination, network, limit=network.usual_limit)


def test_all_variables_are_listed() -> None:
    table = TEXT.partition("| Variable |")[2].partition("\n\n")[0]
    assert not [name for name in variables(USUAL, str) if f"`{name}`" not in table]
