"""`.env` is changed without losing a line, is whole at every moment, and is for its owner only."""

import errno
import os
import stat
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from announcer import envfile
from announcer.envfile import changed, quoted

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True)
LINES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40
).filter(lambda text: text == text.strip() and text.isprintable())


def read_back(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=StringIO(text), interpolate=False))


@given(st.dictionaries(NAMES, LINES, min_size=1, max_size=4))
def test_every_value_is_read_again_as_it_was(values: dict[str, str]) -> None:
    assert read_back(changed("", values)) == values


@given(
    st.lists(
        st.sampled_from(["# a remark", "", "  ", "export A=1", "B='x y'", "C", "A=2", "D=3 # d"])
    ),
    st.dictionaries(st.sampled_from("ABEF"), LINES),
)
def test_what_is_not_changed_stays_as_it_stands(lines: list[str], values: dict[str, str]) -> None:
    before = "".join(f"{line}\n" for line in lines)
    after = changed(before, values)
    kept = [
        line for line in lines if line.removeprefix("export ")[:1] not in values or "=" not in line
    ]
    rest = after.splitlines()
    for line in kept:
        assert line in rest
        rest.remove(line)
    assert read_back(after) == read_back(before) | values


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        pytest.param("A=1\nB=2\n", {"A": "3"}, "A=3\nB=2\n", id="in its place"),
        pytest.param("A=1", {"B": "2"}, "A=1\nB=2\n", id="after a last line without an end"),
        pytest.param("A=1\r\n", {"A": "2", "B": "3"}, "A=2\r\nB=3\r\n", id="from Windows"),
        pytest.param("A=1\nA=2\n", {"A": "3"}, "A=3\n", id="set twice before, once from now on"),
        pytest.param("\n\nexport A='x\ny'\nB=2\n", {"A": "3"}, "\n\nexport A=3\nB=2\n", id="lines"),
        pytest.param("AB=1\n", {"A": "2"}, "AB=1\nA=2\n", id="a longer name is another one"),
        pytest.param("# A=1\n", {"A": "2"}, "# A=1\nA=2\n", id="a remark is none"),
    ],
)
def test_a_change_is_made_where_it_stands(before: str, values: dict[str, str], after: str) -> None:
    assert changed(before, values) == after


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("https://live.example/a?b=c&d=%20", "https://live.example/a?b=c&d=%20"),
        ("made-by-owncast=", "made-by-owncast="),
        ("pa$$word", "'pa$$word'"),
        ("a #b", "'a #b'"),
        ("it's", r"'it\'s'"),
    ],
)
def test_only_what_needs_quotes_has_them(value: str, written: str) -> None:
    """Docker Compose puts in something for a dollar that stands in no single quotes."""
    assert quoted(value) == written


def test_it_is_for_its_owner_only_even_where_it_was_not(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    envfile.write({"A": "1"}, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith(envfile.HEADING)
    file.chmod(0o644)
    envfile.write({"B": "2"}, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_back(file.read_text()) == {"A": "1", "B": "2"}
    assert [one.name for one in tmp_path.iterdir()] == [".env"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("A=1\n")
    (tmp_path / ".env").symlink_to("real")
    envfile.write({"A": "2"}, tmp_path / ".env")
    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "real").read_text() == "A=2\n"


def test_a_full_disk_leaves_it_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / ".env"
    file.write_text("A=1\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(envfile.Unusable, match="No space left on device"):
        envfile.write({"A": "canary"}, file)
    assert file.read_text() == "A=1\n"
    assert [one.name for one in tmp_path.iterdir()] == [".env"]


def test_a_value_can_not_begin_a_line_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(envfile.Unusable, match="can not hold TOKEN: it is not one line"):
        envfile.write({"TOKEN": "x'\nANNOUNCER_HOST=0.0.0.0"}, tmp_path / ".env")
    assert not list(tmp_path.iterdir())


def test_what_is_no_text_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=canary\n", "utf-16")
    before = file.read_bytes()
    with pytest.raises(envfile.Unusable) as refusal:
        envfile.write({"A": "2"}, file)
    assert "canary" not in str(refusal.value)
    assert file.read_bytes() == before


def test_a_folder_of_that_name_sets_nothing_and_is_said_to_be_one(tmp_path: Path) -> None:
    folder = tmp_path / ".env"
    folder.mkdir()
    assert envfile.read(folder) == []
    assert envfile.why_not(folder) == "is a folder"
