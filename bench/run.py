"""Speed and size, measured on this machine. Prints figures and judges nothing.

    make bench

The service runs as a user starts it, on SQLite with full sync; the networks are servers in this
process on loopback, scripted to answer after a while or not at all.
"""

import http.client
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from storm import measure_storm

from announcer import rehearsal
from tests.running import SECRET, Service

SECRET_FREE = {"ANNOUNCER_LOG_LEVEL": "error", "ANNOUNCER_HOLD": "0s", "ANNOUNCER_RESUME": "0s"}


class Slow(ThreadingHTTPServer):
    """Mastodon, as far as a post needs it, answering after *seconds*; notes when it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[float] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Slow
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: object) -> None:
        return

    def do_GET(self) -> None:
        self._say(b'{"configuration": {"statuses": {"max_characters": 500}}}')

    def do_POST(self) -> None:
        self.server.asked.append(time.perf_counter())
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.seconds)
        self._say(b'{"id": "1", "url": "https://fediverse.example/1"}')

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def accounts(server: Slow, number: int) -> dict[str, str]:
    settings = {}
    for n in range(number):
        settings[f"MASTODON__A{n}__API_BASE_URL"] = server.url
        settings[f"MASTODON__A{n}__ACCESS_TOKEN"] = f"token-{n}"
    return settings


@contextmanager
def service(settings: dict[str, str]) -> Iterator[tuple[Service, float]]:
    """The running service, and the seconds until it was ready."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        running = Service(Path(folder), {**SECRET_FREE, **settings})
        took = time.perf_counter() - begun
        try:
            yield running, took
        finally:
            running.kill()


def webhooks(running: Service, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each answer, each request on a connection of its own as Owncast makes them.

    The clock of a request starts when it was due, so that a stall is not hidden by waiting for it.
    """
    begun = time.perf_counter() + 0.1

    def one(n: int) -> float:
        body = rehearsal.webhook(("start", "stop")[n % 2], f"Title {n}", "Kestrel Workshop")
        headers = {
            "Content-Type": "application/json",
            "owncast-signature": rehearsal.sign(body, SECRET),
        }
        due = begun + n / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        connection.request("POST", "/webhooks/owncast", body, headers)
        answer = connection.getresponse()
        answer.read()
        took = (time.perf_counter() - due) * 1000
        connection.close()
        assert answer.status == 204
        return took

    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(one, range(int(rate * seconds))))


def measure_webhook(hanging: bool) -> None:
    server = Slow(3600.0 if hanging else 0.0)
    with service(accounts(server, 5)) as (running, _):
        webhooks(running, 50, 1)
        took = webhooks(running, 50, 20)
        p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
        state = "every network hanging" if hanging else "networks healthy"
        print(
            f"webhook answer, 50/s, {state}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"max {took[-1]:.1f} ms, n {len(took)}"
        )


def measure_spread() -> None:
    server = Slow(0.3)
    spreads, firsts = [], []
    with service(accounts(server, 16)) as (running, _):
        for n in range(10):
            server.asked.clear()
            sent = time.perf_counter()
            running.hear(rehearsal.webhook("start", f"Title {n}", "Kestrel Workshop"))
            while len(server.asked) < 16:
                time.sleep(0.005)
            spreads.append((max(server.asked) - min(server.asked)) * 1000)
            firsts.append((min(server.asked) - sent) * 1000)
            time.sleep(1.1)  # past the second that names the next connection
            running.hear(rehearsal.webhook("stop", f"Title {n}", "Kestrel Workshop"))
    print(
        f"16 destinations at 300 ms: first to last request {statistics.median(spreads):.0f} ms "
        f"(max {max(spreads):.0f}), webhook sent to first request "
        f"{statistics.median(firsts):.0f} ms (max {max(firsts):.0f}), n {len(spreads)}"
    )


def measure_size_and_start() -> None:
    networks = {
        "MASTODON_API_BASE_URL": "http://127.0.0.1:9",
        "MASTODON_ACCESS_TOKEN": "token",
        "BLUESKY_IDENTIFIER": "kestrel.test",
        "BLUESKY_APP_PASSWORD": "abcd-efgh-ijkl-mnop",
        "BLUESKY_SERVICE": "http://127.0.0.1:9",
        "DISCORD_WEBHOOK_URL": "http://127.0.0.1:9/api/webhooks/1/token",
    }
    starts, sizes = [], []
    for _ in range(5):
        with service(networks) as (running, took):
            starts.append(took)
            time.sleep(1)
            sizes.append(proportional_size(running.process.pid))
    print(
        f"start to first answer, three networks: median {statistics.median(starts):.2f} s, "
        f"max {max(starts):.2f} s, n {len(starts)}"
    )
    print(f"memory idle, three networks: PSS of all processes {statistics.median(sizes):.0f} MB")


def proportional_size(group: int) -> float:
    """Megabytes of all processes of a process group, shared pages divided among their users."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
            for line in (entry / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def main() -> None:
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    measure_size_and_start()
    measure_webhook(hanging=False)
    measure_webhook(hanging=True)
    measure_spread()
    measure_storm()


if __name__ == "__main__":
    main()
