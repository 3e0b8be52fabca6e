"""An Owncast that shouts: thousands of signed webhooks, each when it is due, whoever is slow."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from announcer import rehearsal
from tests.running import SECRET, Service, payload

WORKERS = 8
"""Owncast has as many as processors."""


@dataclass
class Weather:
    """What became of a storm: the answers by status, and how long each took, in milliseconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)

    def within(self, share: float) -> float:
        """Milliseconds that *share* of all answers took at most."""
        return sorted(self.took)[int(len(self.took) * share)]


def chatter(number: int) -> bytes:
    """The event of one of many chat messages."""
    document = json.loads(payload("0.1-chat"))
    document["eventData"] |= {"id": f"chat-{number}", "rawBody": f"message {number}"}
    return json.dumps(document).encode()


def storm(
    service: Service, number: int, rate: float, others: Mapping[int, bytes] | None = None
) -> Weather:
    """*number* chat events at *rate* a second, each on a connection of its own; *others* come in
    place of those with their number.

    The clock of a request starts when it was due, so that a stall is not hidden by waiting for it.
    """
    weather, lock = Weather(), threading.Lock()
    bodies = {n: (others or {}).get(n) or chatter(n) for n in range(number)}
    begun = time.perf_counter() + 0.1

    def shout(first: int) -> None:
        for n in range(first, number, WORKERS):
            due = begun + n / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            status = tell(service.port, bodies[n])
            with lock:
                weather.statuses[status] += 1
                weather.took.append((time.perf_counter() - due) * 1000)

    shouting = [threading.Thread(target=shout, args=(first,)) for first in range(WORKERS)]
    for one in shouting:
        one.start()
    for one in shouting:
        one.join()
    return weather


def tell(port: int, body: bytes) -> int:
    """The status that a signed webhook is answered with. Cheap, so as not to measure the teller."""
    head = (
        "POST /webhooks/owncast HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        f"Owncast-Signature: {rehearsal.sign(body, SECRET)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(head.encode() + body)
        answer = line.recv(4096)
        while answer and line.recv(4096):
            pass
    return int(answer[9:12] or 0)


def memory_of(pid: int) -> float:
    """Megabytes that a process holds, shared pages divided among their users."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("it has no memory")


def worker_of(service: Service) -> int:
    """The process that does the work; the one that was started only watches over it."""
    pid = service.process.pid
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return int(worker)
