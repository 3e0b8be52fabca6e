"""Templates are plain files: written whole or not at all, never lost, never outside the folder."""

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from announcer import shelf as shelves
from announcer.network import Moment
from announcer.shelf import (
    Bar,
    Barred,
    CanNotBeWritten,
    Changed,
    Sheet,
    Shelf,
    is_name,
    next_variant,
)
from announcer.wording import LARGEST, Templates
from tests.test_wording import FACTS, Plain

SHIPPED = {"live.txt": "Shipped\n", "x/live.txt": "Shipped for X\n", "alt.txt": "A picture\n"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def shelf(tmp_path: Path, own: Path) -> Shelf:
    for name, words in SHIPPED.items():
        file = tmp_path / "shipped" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(words)
    return Shelf(own, tmp_path / "shipped")


def save(shelf: Shelf, name: str, source: str) -> None:
    shelf.write(name, source, shelf.read(name).seen)


def changes(shelf: Shelf, name: str, seen: str) -> list[Callable[[], None]]:
    """All that can be done to a file."""
    return [
        partial(shelf.write, name, "Mine", seen),
        partial(shelf.undo, name, seen),
        partial(shelf.remove, name, seen),
    ]


def files(folder: Path) -> dict[str, str]:
    """Everything below *folder*, with what it holds."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


# Read and written


def test_what_is_shipped_is_read_until_there_is_one_of_the_operator_s_own(shelf: Shelf) -> None:
    assert shelf.read("live.txt") == Sheet("live.txt", "live", "Shipped\n", shipped=True)
    save(shelf, "live.txt", "Mine")
    mine = shelf.read("live.txt")
    assert (mine.source, mine.own, mine.shipped, mine.undo) == ("Mine\n", True, True, False)
    assert shelf.read("ended.txt") == Sheet("ended.txt", "ended")


def test_what_is_saved_is_what_the_next_post_says(shelf: Shelf, own: Path) -> None:
    words = Templates(own)
    save(shelf, "live.txt", "One of {{ name }}")
    assert words.word(Plain(), "plain", Moment.LIVE, FACTS).text == "One of Kestrel Workshop"
    save(shelf, "live.txt", "Two of {{ name }}")
    assert words.word(Plain(), "plain", Moment.LIVE, FACTS).text == "Two of Kestrel Workshop"


def test_who_is_reading_meanwhile_reads_one_version_whole(shelf: Shelf, own: Path) -> None:
    save(shelf, "live.txt", "One")
    with (own / "live.txt").open() as going_live:
        save(shelf, "live.txt", "Two")
        shelf.undo("live.txt", shelf.read("live.txt").seen)
        save(shelf, "live.txt", "Three")
        assert going_live.read() == "One\n"


def test_a_browser_s_line_ends_become_plain_ones(shelf: Shelf, own: Path) -> None:
    save(shelf, "live.txt", "a\r\n\r\nb\rc\r\n\r\n")
    assert (own / "live.txt").read_bytes() == b"a\n\nb\nc\n"


def test_the_folder_of_a_network_is_made_when_it_is_needed(shelf: Shelf, own: Path) -> None:
    own.rmdir()
    save(shelf, "mastodon.music/live.1.txt", "Music")
    assert files(own) == {"mastodon.music/live.1.txt": "Music\n"}
    assert shelf.folders() == ["mastodon.music"]


def test_a_file_keeps_who_may_read_it(shelf: Shelf, own: Path) -> None:
    save(shelf, "live.txt", "One")
    assert (own / "live.txt").stat().st_mode & 0o777 == 0o644
    (own / "live.txt").chmod(0o640)
    save(shelf, "live.txt", "Two")
    assert (own / "live.txt").stat().st_mode & 0o777 == 0o640


def test_files_are_listed_by_kind_and_number_and_nothing_else_is(shelf: Shelf, own: Path) -> None:
    for name in ("live.10", "live.2", "live", "ended", "alt.1", "lively", "live.x", ".live"):
        (own / f"{name}.txt").write_text("words")
    (own / "live.txt.before").write_text("words")
    assert shelf.names("") == [
        "live.txt",
        "live.2.txt",
        "live.10.txt",
        "ended.txt",
        "alt.txt",
        "alt.1.txt",
    ]
    assert shelf.names("x") == ["x/live.txt"]
    assert shelf.names("nowhere") == []


def test_the_next_variant_is_the_first_free_number() -> None:
    assert next_variant(["live.txt", "ended.1.txt"], "live.txt") == "live.1.txt"
    assert next_variant(["x/live.txt", "x/live.1.txt", "x/live.3.txt"], "x/live.3.txt") == (
        "x/live.2.txt"
    )


# The version before


def test_one_click_brings_the_version_before_back_and_another_takes_it_away(shelf: Shelf) -> None:
    save(shelf, "live.txt", "One")
    assert not shelf.read("live.txt").undo
    save(shelf, "live.txt", "Two")
    for words in ("One\n", "Two\n", "One\n"):
        assert shelf.read("live.txt").undo
        shelf.undo("live.txt", shelf.read("live.txt").seen)
        assert shelf.read("live.txt").source == words


def test_saving_the_same_words_keeps_the_version_before(shelf: Shelf) -> None:
    for words in ("One", "Two", "Two"):
        save(shelf, "live.txt", words)
    shelf.undo("live.txt", shelf.read("live.txt").seen)
    assert shelf.read("live.txt").source == "One\n"


def test_what_is_removed_gives_way_to_the_shipped_words_and_can_be_brought_back(
    shelf: Shelf, own: Path
) -> None:
    save(shelf, "live.txt", "Mine")
    shelf.remove("live.txt", shelf.read("live.txt").seen)
    gone = shelf.read("live.txt")
    assert (gone.source, gone.own, gone.undo) == ("Shipped\n", False, True)
    shelf.undo("live.txt", gone.seen)
    assert files(own) == {"live.txt": "Mine\n"}
    assert not shelf.read("live.txt").undo


def test_there_is_nothing_to_undo_or_remove_where_nothing_was_done(shelf: Shelf) -> None:
    with pytest.raises(KeyError):
        shelf.undo("live.txt", "")
    with pytest.raises(KeyError):
        shelf.remove("live.txt", "")


# Two editors


def test_what_another_editor_saved_meanwhile_is_not_written_over(shelf: Shelf, own: Path) -> None:
    save(shelf, "live.txt", "One")
    seen = shelf.read("live.txt").seen
    (own / "live.txt").write_text("By hand\n")
    for change in (*changes(shelf, "live.txt", seen), *changes(shelf, "live.txt", "")):
        with pytest.raises(Changed):
            change()
    assert files(own) == {"live.txt": "By hand\n"}


def test_what_another_editor_removed_meanwhile_is_told(shelf: Shelf, own: Path) -> None:
    save(shelf, "live.txt", "One")
    seen = shelf.read("live.txt").seen
    (own / "live.txt").unlink()
    with pytest.raises(Changed):
        shelf.write("live.txt", "Two", seen)


def test_of_many_who_save_at_once_one_does_and_the_others_are_told(shelf: Shelf, own: Path) -> None:
    save(shelf, "live.txt", "Start")
    seen, start = shelf.read("live.txt").seen, threading.Barrier(8)
    outcomes: list[str] = []

    def edit(number: int) -> None:
        start.wait()
        try:
            shelf.write("live.txt", f"Editor {number}", seen)
            outcomes.append(f"Editor {number}\n")
        except Changed:
            outcomes.append("")

    threads = [threading.Thread(target=edit, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [saved] = filter(None, outcomes)
    assert files(own) == {"live.txt": saved, "live.txt.before": "Start\n"}


def test_who_waits_too_long_for_another_is_told(
    shelf: Shelf, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "PATIENCE", 0.05)
    handle = os.open(own, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(CanNotBeWritten, match="somebody else is saving"):
            save(shelf, "live.txt", "Two")
    finally:
        os.close(handle)
    save(shelf, "live.txt", "Two")


# Only templates, only in the folder


@pytest.mark.parametrize(
    "name",
    [
        *("../live.txt", "..%2flive.txt", "x/../live.txt", "x/../../live.txt", "/etc/live.txt"),
        *(
            "./live.txt",
            "x//live.txt",
            "x/y/live.txt",
            "..live.txt",
            "x..y/live.txt",
            "../x/live.txt",
        ),
        *(
            "live.txt/",
            "live.txt\0",
            "live.txt\n",
            "\\..\\live.txt",
            "x\\live.txt",
            "",
            "/",
            ".",
            "..",
        ),
        *("live", "live.TXT", "Live.txt", "live.txt.before", "live.1000.txt", "live.-1.txt"),
        *(
            ".ssh/live.txt",
            "X/live.txt",
            "live..txt",
            "x/",
            "announcer.db",
            "live.txt\u202e",
            "ⅼive.txt",
        ),
        "x" * 200 + "/live.txt",
    ],
)
def test_what_is_no_template_s_name_is_neither_read_nor_written(
    shelf: Shelf, name: str, tmp_path: Path
) -> None:
    before = files(tmp_path)
    assert not is_name(name)
    with pytest.raises(KeyError):
        shelf.read(name)
    for change in changes(shelf, name, ""):
        with pytest.raises(KeyError):
            change()
    assert files(tmp_path) == before


def test_a_link_is_read_as_wording_reads_it_but_never_replaced(
    shelf: Shelf, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept.txt").write_text("Kept elsewhere\n")
    (own / "live.txt").symlink_to(tmp_path / "kept.txt")
    sheet = shelf.read("live.txt")
    assert sheet.source == "Kept elsewhere\n"
    assert "is a link to another place" in str(shelf.barred("live.txt"))
    for change in changes(shelf, "live.txt", sheet.seen):
        with pytest.raises(CanNotBeWritten, match="is a link to another place"):
            change()
    assert (own / "live.txt").is_symlink()
    assert (tmp_path / "kept.txt").read_text() == "Kept elsewhere\n"


def test_nothing_is_written_into_a_folder_that_leads_out(
    shelf: Shelf, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (own / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CanNotBeWritten, match="is a link to another place"):
        save(shelf, "x/live.txt", "Mine")
    assert files(tmp_path / "elsewhere") == {}


def test_the_whole_folder_may_be_a_link(tmp_path: Path, own: Path) -> None:
    (tmp_path / "link").symlink_to(own)
    save(Shelf(tmp_path / "link"), "x/live.txt", "Mine")
    assert files(own) == {"x/live.txt": "Mine\n"}


def test_a_pipe_is_not_waited_for_and_a_folder_is_no_file(shelf: Shelf, own: Path) -> None:
    os.mkfifo(own / "live.txt")
    (own / "ended.txt").mkdir()
    for name in ("live.txt", "ended.txt"):
        sheet = shelf.read(name)
        assert (sheet.source, sheet.problem) == ("", "can not be read (it is no file)")
        with pytest.raises(CanNotBeWritten, match="it is no file"):
            shelf.write(name, "Mine", sheet.seen)


def test_what_is_too_large_is_not_shown_in_part_and_not_written(shelf: Shelf, own: Path) -> None:
    (own / "live.txt").write_text("x" * (LARGEST + 1))
    sheet = shelf.read("live.txt")
    assert (sheet.source, sheet.problem) == ("", "is larger than 64 KiB")
    with pytest.raises(CanNotBeWritten, match="larger than 64 KiB"):
        shelf.write("live.txt", "Mine", sheet.seen)
    with pytest.raises(CanNotBeWritten, match="64 KiB at most"):
        save(shelf, "x/live.txt", "ü" * (LARGEST // 2))
    assert files(own) == {"live.txt": "x" * (LARGEST + 1)}


def test_bytes_that_are_no_text_are_said_to_be_none(shelf: Shelf, own: Path) -> None:
    (own / "live.txt").write_bytes("Grüße".encode("latin-1"))
    sheet = shelf.read("live.txt")
    assert sheet.source == "Gr\ufffd\ufffde"
    assert sheet.problem.startswith("is not UTF-8")
    (own / "live.txt").write_bytes("\ufeffan honest \ufffd".encode())
    assert shelf.read("live.txt") == Sheet(
        "live.txt", "live", "an honest \ufffd", True, True, False, shelf.read("live.txt").seen
    )


# What can not be written


def test_without_a_folder_nothing_can_be_written(tmp_path: Path) -> None:
    nowhere = Shelf(None)
    assert nowhere.read("live.txt").source
    assert "ANNOUNCER_TEMPLATES is not set" in str(nowhere.barred())
    with pytest.raises(CanNotBeWritten, match="ANNOUNCER_TEMPLATES is not set"):
        nowhere.write("live.txt", "Mine", "")


@contextmanager
def read_only() -> Iterator[Path]:
    """A folder that we may not write to: root is somebody else meanwhile, who has fewer rights."""
    folder, root = Path(tempfile.mkdtemp()), os.getuid() == 0
    folder.chmod(0o555)
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield folder
    finally:
        if root:
            os.setresuid(0, 0, 0)
        folder.rmdir()


def test_a_folder_that_is_read_only_is_said_to_be() -> None:
    with read_only() as folder:
        shelf = Shelf(folder / "templates")
        assert shelf.barred() == Barred(Bar.OWNER, folder)
        assert str(shelf.barred()) == f"{folder} can not be written to (ANNOUNCER_TEMPLATES)"
        with pytest.raises(CanNotBeWritten, match="can not be written to"):
            shelf.write("live.txt", "Mine", "")


def test_a_mount_that_is_read_only_is_told_from_a_folder_of_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with read_only() as folder:
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
        assert Shelf(folder).barred() == Barred(Bar.MOUNT, folder)


def test_a_place_that_is_no_folder_is_said_to_be(shelf: Shelf, own: Path) -> None:
    (own / "x").write_text("a file")
    assert shelf.barred("x/live.txt") == Barred(Bar.FOLDER, own / "x")
    assert shelf.barred() is shelf.barred("live.txt") is None
    assert shelf.read("x/live.txt").source == "Shipped for X\n"


@contextmanager
def a_disk_with(room: int) -> Iterator[None]:
    """As many bytes fit into a file: the kernel refuses the rest in the middle of it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 10, 3_000])
def test_a_full_disk_loses_neither_the_words_nor_the_version_before(
    shelf: Shelf, own: Path, room: int
) -> None:
    save(shelf, "live.txt", "One")
    save(shelf, "live.txt", "Two")
    before = files(own)
    with a_disk_with(room), pytest.raises(CanNotBeWritten, match="the file can not be written"):
        save(shelf, "live.txt", "x" * 4_000)
    assert files(own) == before


def test_a_disk_that_is_full_only_for_the_version_before_changes_nothing(
    shelf: Shelf, own: Path
) -> None:
    save(shelf, "live.txt", "One")
    save(shelf, "live.txt", "x" * 4_000)
    before = files(own)
    with a_disk_with(3_000), pytest.raises(CanNotBeWritten):
        save(shelf, "live.txt", "short")
    with a_disk_with(3_000), pytest.raises(CanNotBeWritten):
        shelf.undo("live.txt", shelf.read("live.txt").seen)
    assert files(own) == before


def test_the_reason_is_the_system_s_and_names_no_path(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/place")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CanNotBeWritten) as problem:
        save(shelf, "live.txt", "Mine")
    assert str(problem.value) == "the file can not be written: No space left on device"


# A crash in the middle

MORTAL = """
import os, sys
from pathlib import Path
from announcer.shelf import Shelf

own, act = Path(sys.argv[1]), sys.argv[2]
shelf = Shelf(own, own / "none")

def die(when):
    seen, passed = shelf.read("live.txt").seen, 0

    def watch(event, arguments):
        # One of these comes before all that touches the folder.
        nonlocal passed
        if event in ("open", "os.rename", "os.remove", "os.chmod", "os.mkdir", "fcntl.flock"):
            passed += 1
            if passed == when:
                os._exit(9)

    sys.addaudithook(watch)
    {"write": lambda: shelf.write("live.txt", "Three" * 2000, seen),
     "undo": lambda: shelf.undo("live.txt", seen),
     "remove": lambda: shelf.remove("live.txt", seen)}[act]()
    os._exit(0)

for when in sys.stdin:
    child = os.fork()
    if not child:
        die(int(when))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Does *act* for each number that it reads, and dies at that step of it."""


@pytest.mark.parametrize(
    ("act", "wished", "steps"),
    [("write", "Three" * 2000, 6), ("undo", "One", 6), ("remove", "", 3)],
)
def test_a_crash_at_any_moment_leaves_the_words_whole(
    own: Path, act: str, wished: str, steps: int
) -> None:
    shelf, passed = Shelf(own, own / "none"), 0
    with subprocess.Popen(
        [sys.executable, "-c", MORTAL, str(own), act],
        cwd=Path(shelves.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as mortal:
        assert mortal.stdin
        assert mortal.stdout
        status = 9
        while status == 9:
            passed += 1
            shutil.rmtree(own)
            for words in ("One", "Two"):
                save(shelf, "live.txt", words)
            mortal.stdin.write(f"{passed}\n")
            mortal.stdin.flush()
            status = int(mortal.stdout.readline())
            left = files(own)
            assert left.get("live.txt", "\n") in ("Two\n", f"{wished}\n"), f"at step {passed}"
            assert "Two\n" in left.values(), f"at step {passed} the words were lost"
            save(shelf, "live.txt", "After")
            assert set(files(own)) == {"live.txt", "live.txt.before"}, "something lies about"
        mortal.stdin.close()
    assert status == 0
    assert passed > steps, "it died at every step of the way"
