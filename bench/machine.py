"""What it is measured on, and what a process takes of it. Linux only: it reads /proc."""

import os
import platform
import sqlite3
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.figures import median, ms

PAGE = 4096
LIBRARIES = ("Flask", "gunicorn", "SQLAlchemy", "apprise", "psycopg")


def facts(folder: Path) -> list[tuple[str, str]]:
    """What a reader must know of this machine; *folder* is where the databases stand."""
    libraries = []
    for name in LIBRARIES:
        try:
            libraries.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            libraries.append(f"{name} is not installed")
    return [
        ("Processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("Memory", f"{_total() / 2**30:.0f} GB"),
        ("System", platform.platform()),
        ("Python", f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}"),
        ("Libraries", ", ".join(libraries)),
        ("Disk", f"4 kB written and synced in {ms(_sync(folder))} ms (median of 50)"),
        ("Load before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sync(folder: Path) -> float:
    """Seconds: what no commit can be faster than."""
    took = []
    file = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT, 0o600)
    for _ in range(50):
        begun = time.perf_counter()
        os.pwrite(file, os.urandom(PAGE), 0)
        os.fdatasync(file)
        took.append(time.perf_counter() - begun)
    os.close(file)
    (folder / "sync").unlink()
    return median(took)


def group(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == leader:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def proportional_size(leader: int) -> float:
    """Megabytes of all processes of a group, shared pages divided among their users (PSS)."""
    total = 0
    for pid in group(leader):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def processor_time(leader: int) -> float:
    """Seconds that all processes of a group have computed so far."""
    ticks = 0
    for pid in group(leader):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
