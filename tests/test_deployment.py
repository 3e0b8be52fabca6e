"""The whole service in odd places: no log, no files left, no home, no zone, twice, broken words."""

import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import pytest
import requests

from announcer import rehearsal
from tests.fakes import wait_until
from tests.preload import CLOCK, compiled
from tests.running import Service, payload
from tests.stranger import NOBODY
from tests.town import Town

AT_ONCE = {"ANNOUNCER_HOLD": "0s"}


def start(title: str = "Fitting a dovetail drawer") -> bytes:
    return rehearsal.webhook("start", title, "Kestrel Workshop")


@pytest.fixture
def town() -> Iterator[Town]:
    built = Town()
    yield built
    built.close()


class Unread(Service):
    """Nobody can read its log."""

    @property
    def log(self) -> str:
        return "(unread)"


Run = Callable[..., Service]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts the service, as *kind* of it and in *folder* if that is given."""
    started: list[Service] = []

    def run(
        settings: dict[str, str], folder: Path = tmp_path, kind: type[Service] = Service
    ) -> Service:
        started.append(kind(folder, settings))
        return started[-1]

    yield run
    for service in started:
        if service.process.poll() is None:
            service.kill()


# The log


def nobody_reads(log: Path) -> Callable[[], None]:
    """A pipe that is full from the beginning."""
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(log, os.O_WRONLY | os.O_NONBLOCK)
    fcntl(writer, F_SETPIPE_SZ, 4096)
    while True:
        try:
            os.write(writer, b"." * 512)
        except BlockingIOError:
            break
    os.close(writer)
    return lambda: os.close(reader)


def disk_is_full(log: Path) -> Callable[[], None]:
    log.symlink_to("/dev/full")
    return lambda: None


@pytest.mark.parametrize("breaks", [nobody_reads, disk_is_full])
def test_g16_a_log_that_takes_nothing_never_holds_up_a_post(
    run: Run, town: Town, tmp_path: Path, breaks: Callable[[Path], Callable[[], None]]
) -> None:
    mend = breaks(tmp_path / "service.log")
    level = {"ANNOUNCER_LOG_LEVEL": "debug"}
    service = run(town.settings("mastodon", "discord") | AT_ONCE | level, kind=Unread)
    for title in ("one", "two", "three"):
        assert service.hear(rehearsal.webhook("title", title, "Kestrel")) == 204
    assert service.hear(start()) == 204
    wait_until(lambda: town.counts() == {"mastodon": 1, "discord": 1})
    assert service.stop() == 0
    mend()


# Files and threads


def files_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def worker_of(service: Service) -> int:
    """gunicorn's one worker, where everything happens."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    return int(children.read_text("utf-8").split()[0])


def test_g17_without_files_left_it_waits_and_then_goes_on(run: Run, town: Town) -> None:
    service = run(town.settings("mastodon") | AT_ONCE)
    worker = worker_of(service)
    most = files_of(worker) + 6
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (most, most + 1000))
    with ExitStack() as crowd:
        for _ in range(40):
            guest = crowd.enter_context(socket.create_connection(("127.0.0.1", service.port), 5))
            guest.sendall(b"GET /healthz HTTP/1.1\r\n")
        service.until(lambda: "no room for another connection" in service.log, "there was room")
    assert service.hear(start()) == 204
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (most + 1000, most + 1000))
    wait_until(lambda: town.counts() == {"mastodon": 1})
    assert worker_of(service) == worker, "the same one, without a restart"
    assert service.log.count("no room") == 1, "said once"


# The place


class Stranger(Service):
    """As a user without a name, a home, a zone, or a place to write but the data."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__(folder, settings, program=("-m", "tests.stranger"))


def test_g13_any_user_without_home_or_zones_may_run_it(town: Town, run: Run) -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own is closed to strangers
        folder, data = Path(place), Path(place) / "data"
        data.mkdir()
        folder.chmod(0o755)
        nowhere = {"HOME": "/nowhere", "TMPDIR": "/nowhere", "PYTHONTZPATH": "", "TZ": ":nowhere"}
        zone = {"ANNOUNCER_TIMEZONE": "Europe/Berlin", "ANNOUNCER_QUIET_HOURS": "00:00-00:01"}
        file = {"ANNOUNCER_DATABASE_URL": f"sqlite:///{data}/announcer.db"}
        if os.geteuid() == 0:
            os.chown(data, NOBODY, NOBODY)
        service = run(town.settings("mastodon") | AT_ONCE | nowhere | zone | file, folder, Stranger)
        assert os.geteuid() or Path(f"/proc/{worker_of(service)}").stat().st_uid == NOBODY
        assert service.hear(payload("0.2-stream-stopped")) == 204
        assert service.stop() == 0
        assert {path.name for path in folder.iterdir()} == {"data", "service.log"}
        assert "announcer.db" in {path.name for path in data.iterdir()}


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Caracas", ""])
def test_c05_whatever_zone_the_container_has_times_are_utc(run: Run, town: Town, zone: str) -> None:
    service = run(town.settings("mastodon") | AT_ONCE | {"TZ": zone, "ANNOUNCER_POLL": "0s"})
    assert service.hear(start()) == 204
    wait_until(lambda: town.counts() == {"mastodon": 1})
    lines = [line for line in service.log.splitlines() if "event=event" in line]
    said, late = lines[0].split()[0].removeprefix("timestamp="), timedelta(minutes=1)
    assert said.endswith("Z"), lines[0]
    assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(said) < late
    wait_until(lambda: all(post["tries"] for post in service.posts().values()))
    (post,) = service.posts().values()
    told = datetime.fromisoformat(post["tries"][0]["at"])
    assert told.utcoffset() == timedelta()
    assert timedelta() <= datetime.now(UTC) - told < late


# The words


def test_f08_a_template_broken_on_disk_right_before_the_stream_loses_no_post(
    run: Run, town: Town, tmp_path: Path
) -> None:
    own = tmp_path / "templates"
    own.mkdir()
    (own / "live.txt").write_text("{{ name }} is here: {{ title }}", "utf-8")
    settings = {"ANNOUNCER_TEMPLATES": str(own), "ANNOUNCER_RESUME": "0s"}
    service = run(town.settings("mastodon") | AT_ONCE | settings)
    (own / "live.txt").write_text("{{ name }} is {% if", "utf-8")
    assert service.hear(start("Drawers")) == 204
    wait_until(lambda: town.counts() == {"mastodon": 1})
    (seen,) = town.visible
    assert "Drawers" in seen.text
    service.until(lambda: "own:live.txt line 1" in service.log, "nobody was told")


# Twice


def test_g08_two_deployments_with_the_same_accounts_are_one_post_where_keys_are_known(
    run: Run, town: Town, tmp_path: Path
) -> None:
    """They know nothing of each other but what Owncast tells both."""
    both = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        both.append(run(town.settings("mastodon", "bluesky") | AT_ONCE, tmp_path / name))
    told = start()
    assert [service.hear(told) for service in both] == [204, 204]
    for service in both:
        service.until(
            lambda at=service: {post["state"] for post in at.posts().values()} == {"settled"},
            "it never settled",
        )
    assert town.counts() == {"mastodon": 1, "bluesky": 1}


# A clock that was never set


class Waiting(Service):
    """Alive, and not ready before its clock is set."""

    ready = "/healthz"


def test_g14_a_clock_that_was_never_set_is_told_of(run: Run, tmp_path: Path) -> None:
    """As on a board without a battery: 1970 until it finds a time server."""
    ahead = {"LD_PRELOAD": str(compiled(CLOCK, tmp_path)), "AHEAD": str(60 - int(time.time()))}
    service = run({"ANNOUNCER_POLL": "0s", **ahead}, kind=Waiting)
    ready = requests.get(f"{service.url}/readyz", timeout=5)
    assert (ready.status_code, ready.json()["clock"]) == (503, "not set")
    assert service.hear(payload("0.2-stream-started")) == 401
    service.until(lambda: "outcome=401" in service.log, "it is not in the log")
    (line,) = [line for line in service.log.splitlines() if "outcome=401" in line]
    assert "both clocks" in line
    assert line.startswith("timestamp=1970-01-01")
