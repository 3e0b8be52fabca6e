"""What is handed to others: the wheel holds what runs and no more, and no file names a place."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")

PLACES = re.compile(
    r"""
    (?:registry|packages?)[.]npm\w*[.]\w+ | npm[.]pkg[.]github        # npm
    | (?:test[.])?\bpypi[.](?:org|python) | \bpythonhosted[.]         # Python
    | \b(?:deb|security|snapshot|ftp)[.]debian[.] | \bdebian[.]org/debian # Debian
    | \b(?:docker|ghcr|quay|gcr)[.]io\b | \bregistry[.]hub\b          # images
    | (?<![\w.}$])/(?:root|home/\w+|Users/\w+|work)/                  # somebody's folders
    | /tmp/[w]\b | [.]py[e]nv/
    """,
    re.VERBOSE,
)
"""Hosts that a machine gets packages from, which each machine chooses itself, and paths of ours."""


def files_of_the_project() -> Iterator[Path]:
    """What git would keep, told without git: a release may be tested where there is none."""
    ignored = {
        line.rstrip("/")
        for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()
        if line.endswith("/")
    }
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in ignored | {".git"}]
        yield from (Path(folder, name) for name in names if name not in {".env", ".git"})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def contents(wheel: zipfile.ZipFile) -> set[str]:
    return set(wheel.namelist())


@pytest.mark.parametrize("folder", ["announcer", "templates"])
def test_the_wheel_has_every_file_of(folder: str, contents: set[str]) -> None:
    target = "announcer/templates" if folder == "templates" else folder
    ours = {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert ours, f"{folder} is empty"
    assert ours <= contents


@pytest.mark.parametrize(
    "part",
    [
        "announcer/py.typed",
        "announcer/templates/live.txt",
        "announcer/templates/ended.txt",
        "announcer/migrations/env.py",
        "announcer/migrations/versions/",
        "announcer/web/",
    ],
)
def test_the_wheel_has_what_runs(part: str, contents: set[str]) -> None:
    assert any(name.startswith(part) for name in contents)


def test_the_wheel_has_nothing_else(contents: set[str]) -> None:
    places = {name.partition("/")[0] for name in contents}
    assert {place.partition("-")[0] for place in places} == {"announcer"}
    assert len(places) == 2  # the package, and what pip knows of it
    assert not [name for name in contents if re.search(r"test_|[.]lock$|[.]env$|[.]pyc$", name)]


def test_no_file_names_a_place_where_packages_come_from_or_a_folder_of_ours() -> None:
    found = []
    for path in files_of_the_project():
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if place := PLACES.search(line.decode("utf-8", "replace")):
                found.append(f"{path.relative_to(ROOT)}:{number}: {place.group()}")
    assert not found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_by_hash(lock: str) -> None:
    pinned = pins(lock)
    assert pinned
    for name, block in pinned.items():
        assert "--hash=sha256:" in block, name


def test_what_every_network_needs_is_locked_for_the_container() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = told["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(re.findall(r"[a-z]+", everything)) - {"announcer"} == {
        *extras.keys() - {"all", "contract", "dev"}
    }
    known = pins("requirements.lock")
    for extra in extras.keys() - {"all", "contract", "dev"}:
        for requirement in extras[extra]:
            assert re.split(r"[\[>=<]", requirement)[0].lower() in known, (
                f"{requirement}: make lock"
            )


def test_the_locks_agree_on_versions() -> None:
    """One environment takes all three of them."""
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, block in pins(lock).items():
            versions.setdefault(name, set()).add(block.split()[0])
    assert not {name: found for name, found in versions.items() if len(found) > 1}


def test_the_locked_servers_have_no_address() -> None:
    assert '"resolved"' not in (ROOT / "tests/servers/package-lock.json").read_text("utf-8")


def pins(lock: str) -> dict[str, str]:
    """Each package of a lock, and the lines that pin it, with the version first."""
    text = (ROOT / lock).read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==((?:.*\\\n)+.*$)", text, re.MULTILINE))
