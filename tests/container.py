"""Proves the Dockerfile where there is no container engine: `make container`, as root on Debian.

buildah runs every line of it, and runc the result as compose.yaml does: read-only, without any
right, as the image's user and as another one. In place of the base image, which comes from a
registry, stands a Debian of the same release that debootstrap makes, with its Python in /usr/local.

It takes minutes and what `apt-get install buildah runc debootstrap` brings, so it is no part of
`make test`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.running import SECRET
from tests.servers import free_port
from tests.town import Town

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build/container"
IMAGE = "localhost/announcer"
BUILDAH = (
    *("buildah", "--storage-driver", "vfs"),
    *("--root", str(WORK / "images"), "--runroot", str(WORK / "state")),
)
SECONDS = 60.0
USERS = (10_001, 54_321)
"""The image's own, and one that nobody has heard of."""
NETWORKS = ("mastodon", "bluesky", "discord")
ORPHAN = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.3)
    os._exit(0)
"""
"""Who made it is gone when it ends: somebody has to collect it."""
WRITE = "import sys; open(sys.argv[1], 'w')"


def main() -> None:
    needed = [name for name in ("buildah", "runc", "debootstrap") if not shutil.which(name)]
    if needed or os.geteuid():
        sys.exit(f"this takes root, and: apt-get install {' '.join(needed)}")
    WORK.mkdir(parents=True, exist_ok=True)
    stand_in_for(
        re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)[0]
    )
    say("buildah runs the Dockerfile")
    how = (*MILD, "--pull-never", "--format", "docker", "--tag", IMAGE)
    log = run(*BUILDAH, "bud", *how, str(ROOT))
    run(*BUILDAH, "rmi", "--prune", "--force")  # the image of the last time
    (WORK / "build.log").write_text(log, "utf-8")
    about = json.loads(run(*BUILDAH, "inspect", "--type", "image", IMAGE))["Docker"]["config"]
    with container(IMAGE) as (_, place):
        own = run("du", "-sm", str(place / "opt/announcer")).split()[0]
        say(f"we and our libraries take {own} MB of it")
        for user in USERS:
            prove(about, place, user)
    say("proved")


MILD = ("--isolation", "chroot")
"""Needs nothing of the kernel that a container, or a machine that is one, may lack."""


DEBIAN = ("Origin: Debian", "Created-By: Packages")


def stand_in_for(image: str) -> None:
    """Something under the name of the official *image*, unless it is there."""
    there = run(*BUILDAH, "images", "--noheading", "--format", "{{.Name}}:{{.Tag}}").split()
    if f"localhost/{image}" in there:
        return
    version, suite = re.fullmatch(r"python:([\d.]+)-slim-(\w+)", image).groups()  # type: ignore[union-attr]  # else the Dockerfile has changed
    say(f"debootstrap makes a Debian {suite}")
    sites = run("apt-get", "indextargets", "--format", "$(SITE)", *DEBIAN).split()
    folder = WORK / "debian"
    shutil.rmtree(folder, ignore_errors=True)
    parts = "--include=ca-certificates,python3,python3-venv"
    run("debootstrap", "--variant=minbase", parts, suite, str(folder), sites[0])
    trusted = "etc/ssl/certs/ca-certificates.crt"  # of this machine, which may have one of its own
    shutil.copy(f"/{trusted}", folder / trusted)
    run("chroot", str(folder), "python3", "-m", "venv", "/usr/local")
    python = run("chroot", str(folder), "/usr/local/bin/python", "--version")
    assert python.startswith(f"Python {version}."), f"{image}, and Debian has {python}"
    with container("scratch") as (box, place):
        run("cp", "-a", f"{folder}/.", str(place))
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        run(*BUILDAH, "config", "--env", path, box)
        run(*BUILDAH, "commit", box, f"localhost/{image}")
    shutil.rmtree(folder)


@contextmanager
def container(image: str) -> Iterator[tuple[str, Path]]:
    """Its name and where its files are."""
    box = run(*BUILDAH, "from", "--pull-never", *MILD, image).strip()
    try:
        yield box, Path(run(*BUILDAH, "mount", box).strip())
    finally:
        run(*BUILDAH, "rm", box)


def prove(about: Mapping[str, Any], place: Path, user: int) -> None:
    say(f"user {user}, where nothing but the data can be written")
    town = Town()
    town.hangs_after_accepting("mastodon")
    settings = {**town.settings(*NETWORKS), "ANNOUNCER_HOLD": "0s"}
    with Running(about, place, user, settings) as service:
        say(f"  started: {service.megabytes():.0f} MB (PSS) in all")
        for sign, is_so in service.confined().items():
            assert is_so, sign
        service.program("python", "-c", ORPHAN)
        until(lambda: not service.leftovers())
        service.program("announcer", "simulate", "start", "--title", "Fitting a dovetail drawer")
        until(lambda: town.counts() == dict.fromkeys(NETWORKS, 1))
        say(f"  announced on {', '.join(NETWORKS)}: {service.megabytes():.0f} MB")
        service.signal(about["StopSignal"])
        until(lambda: not service.healthy())
        town.release()
        assert service.ended() == 0, service.log
        assert "still on their way" not in service.log, service.log
        say("  a stop waited for the post that was on its way")
    town.close()
    with Running(about, place, user, settings, wait=False) as service:
        until(lambda: len(service.processes()) > 1)  # Python begins, and has no handler yet
        began = time.monotonic()
        service.signal(about["StopSignal"])
        service.ended()
        say(f"  one that had just begun was stopped within {time.monotonic() - began:.1f} s")


class Running:
    """The image as *about* describes it, run as *user* by runc as in compose.yaml."""

    def __init__(
        self,
        about: Mapping[str, Any],
        place: Path,
        user: int,
        settings: Mapping[str, str],
        *,
        wait: bool = True,
    ) -> None:
        self._about, self._user = about, user
        self._folder = TemporaryDirectory(dir=WORK)
        folder = Path(self._folder.name)
        self._id, self._log = f"announcer-{folder.name}", folder / "log"
        given = {"OWNCAST_WEBHOOK_SECRET": SECRET, "ANNOUNCER_PORT": str(free_port()), **settings}
        for volume in ("data", "templates"):
            (folder / volume).mkdir()
            (folder / volume).chmod((place / volume).stat().st_mode)  # as a fresh volume has it
        plan = bundle(about, place, user, given, folder)
        (folder / "config.json").write_text(json.dumps(plan), "utf-8")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*RUNC, "run", "--bundle", str(folder), self._id],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            until(self.healthy, lambda: self.log)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*RUNC, "delete", "--force", self._id], capture_output=True, check=False)
        self._process.wait(SECONDS)
        self._folder.cleanup()

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def healthy(self) -> bool:
        """What the image's HEALTHCHECK says."""
        assert self._process.poll() is None or self._process.returncode == 0, self.log
        kind, *command = self._about["Healthcheck"]["Test"]
        assert kind == "CMD", "a shell is needed"
        return self._try(*command).returncode == 0

    def program(self, *command: str) -> None:
        done = self._try(*command)
        assert done.returncode == 0, done.stderr

    def signal(self, name: str) -> None:
        run(*RUNC, "kill", self._id, name)

    def ended(self) -> int:
        return self._process.wait(40)

    def processes(self) -> list[int]:
        """As this machine numbers them, the first one first."""
        state = subprocess.run([*RUNC, "state", self._id], capture_output=True, check=False)
        first = json.loads(state.stdout or "{}").get("pid", 0)
        found = [first] if first else []
        for process in found:
            with_threads = Path(f"/proc/{process}/task").glob("*/children")
            found += [int(child) for children in with_threads for child in read(children).split()]
        return found

    def leftovers(self) -> list[int]:
        """Zombies."""
        return [n for n in self.processes() if "\nState:\tZ" in read(Path(f"/proc/{n}/status"))]

    def megabytes(self) -> float:
        told = "".join(read(Path(f"/proc/{n}/smaps_rollup")) for n in self.processes())
        return sum(map(int, re.findall(r"^Pss: +(\d+)", told, re.MULTILINE))) / 1024

    def confined(self) -> dict[str, bool]:
        all_of_it = [read(Path(f"/proc/{n}/status")) for n in self.processes()]
        mine = "\t".join([str(self._user)] * 4)
        return {
            "tini comes first": all_of_it[0].startswith("Name:\ttini\n"),
            "then gunicorn and its worker": len(all_of_it) == 3,
            "all are this user's": all(f"\nUid:\t{mine}\n" in one for one in all_of_it),
            "none has a right": all(f"\nCapBnd:\t{0:016x}\n" in one for one in all_of_it),
            "none can get one": all("\nNoNewPrivs:\t1\n" in one for one in all_of_it),
            "the root is read-only": "Read-only" in self._try("python", "-c", WRITE, "/x").stderr,
            "so are the templates": "Read-only"
            in self._try("python", "-c", WRITE, "/templates/x").stderr,
            "the database is there": (Path(self._folder.name) / "data/announcer.db").is_file(),
        }

    def _try(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUNC, "exec", self._id, *command],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


RUNC = ("runc", "--root", str(WORK / "running"))


def bundle(
    about: Mapping[str, Any], place: Path, user: int, settings: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """The OCI runtime's configuration for what compose.yaml asks for. The network is the host's,
    where the town is.
    """

    def mount(kind: str, target: str, source: str = "", *options: str) -> dict[str, Any]:
        return {
            "destination": target,
            "type": kind,
            "source": source or kind,
            "options": [*options, "nosuid", *(["nodev"] if target != "/dev" else [])],
        }

    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(place), "readonly": True},
        "process": {
            "user": {"uid": user, "gid": 0},  # as of an image's user without a group
            "args": [*about["Entrypoint"], *about["Cmd"]],
            "env": [*about["Env"], *(f"{name}={value}" for name, value in settings.items())],
            "cwd": about["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "mounts": [
            mount("proc", "/proc"),
            mount("tmpfs", "/dev", "", "mode=755"),
            mount("tmpfs", "/dev/shm", "", "mode=1777"),  # noqa: S108  # not ours, the container's
            mount("tmpfs", "/tmp", "", "mode=1777"),  # noqa: S108  # as above
            mount("bind", "/data", str(folder / "data"), "bind"),
            mount("bind", "/templates", str(folder / "templates"), "bind", "ro"),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }


def until(true: Callable[[], object], log: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"it did not happen:\n{log()}"
        time.sleep(0.05)


def read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return ""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
