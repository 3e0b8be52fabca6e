"""What is handed to others: the wheel holds what runs and no more, and no file names a place."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import installed
from tests.servers import must_be_there

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


class Built(NamedTuple):
    """A wheel of the checkout, its source release, and a wheel made of that."""

    wheel: Path
    sdist: Path
    again: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    here, there = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("again")
    build(ROOT, here, "-t", "wheel", "-t", "sdist")
    (wheel,), (sdist,) = here.glob("*.whl"), here.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(there, filter="data")
    build(there / sdist.name.removesuffix(".tar.gz"), there, "-t", "wheel")
    (again,) = there.glob("*.whl")
    return Built(wheel, sdist, again)


def build(source: Path, target: Path, *what: str) -> None:
    """With what .venv has: nothing is fetched."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *what]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def contents(built: Built) -> dict[str, bytes]:
    with zipfile.ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def about(contents: dict[str, bytes]) -> Message:
    (name,) = [name for name in contents if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(contents[name])


def test_the_wheel_has_every_file_that_runs_and_no_other(contents: dict[str, bytes]) -> None:
    ours = installed.checkout()
    assert {name: contents.get(name) for name in ours} == ours
    others = {name for name in contents if name not in ours}
    assert {re.sub(r"^announcer-[\d.]+[.]dist-info/", "", name) for name in others} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


@pytest.mark.parametrize(
    "part",
    [
        "announcer/py.typed",
        "announcer/migrations/env.py",
        "announcer/migrations/script.py.mako",
        "announcer/migrations/versions/",
        "announcer/templates/live.txt",
        "announcer/templates/ended.txt",
        "announcer/templates/alt.txt",
        "announcer/web/english.toml",
        "announcer/web/pages/",
        "announcer/web/static/announcer.css",
    ],
)
def test_the_wheel_has(part: str, contents: dict[str, bytes]) -> None:
    assert any(name.startswith(part) for name in contents)


def test_what_the_wheel_says_of_itself(about: Message, contents: dict[str, bytes]) -> None:
    said = {name: about[name] for name in ("Name", "License-Expression", "Requires-Python")}
    assert said == {"Name": "announcer", "License-Expression": "MIT", "Requires-Python": ">=3.11"}
    assert "Typing :: Typed" in about.get_all("Classifier", ())
    assert about.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    (doors,) = [contents[name] for name in contents if name.endswith("entry_points.txt")]
    assert b"announcer = announcer.cli:main" in doors


def test_the_same_source_is_the_same_wheel_to_the_byte(built: Built) -> None:
    """So is one that is built from the source release: nothing is missing there."""
    assert built.again.read_bytes() == built.wheel.read_bytes()


def test_the_source_release_can_be_tested_and_has_nothing_of_the_machine(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        owners = {(member.uid, member.uname) for member in archive}
    project = {path.relative_to(ROOT).as_posix() for path in files_of_the_project()}
    folders = {".ci", "announcer", "bench", "docs", "examples", "templates", "tests"}
    needed = {name for name in project if name.partition("/")[0] in folders}
    needed |= {"Dockerfile", "Makefile", "compose.yaml", ".dockerignore", ".gitignore", *LOCKS}
    assert needed <= names
    assert names - project == {"PKG-INFO"}
    assert owners == {(0, "")}


def test_what_is_installed_is_what_is_here() -> None:
    """Then every process of a test runs it. `make test` sees to it; elsewhere it may be older."""
    if not must_be_there() and installed.differences():
        pytest.skip("what is installed is something else: processes run the checkout")
    assert installed.differences() == ()
    program = "import announcer; print(announcer.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "docs",
        env={"PYTHONPATH": installed.path()},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "site-packages" in Path(told).parts


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
