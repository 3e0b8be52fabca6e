"""Plays an Owncast that has much to say: one loop for all requests, so that on a machine of two
cores it leaves nearly all to the service. What it took itself is told with every figure.

Each request has a connection of its own, which costs the service more than one that is kept.
"""

import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from announcer import rehearsal
from bench.figures import quantile
from tests.running import SECRET

PATIENCE = 30.0
"""Seconds for an answer, before it counts as none."""
MOST_OPEN = 400
"""Connections at once, of the 1,024 that select can watch. Whoever waits for one is late: that
counts.
"""


@dataclass
class Told:
    """What became of many requests: the answers by status, how long each took in seconds, and the
    processor time that the teller took itself.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    lasted: float = 0.0
    cost: float = 0.0

    def within(self, share: float) -> float:
        return quantile(self.took, share)

    @property
    def share(self) -> float:
        """Of one core, that the teller took."""
        return self.cost / self.lasted if self.lasted else 0.0

    def well(self) -> "Told":
        """Stops a measurement that makes no sense."""
        assert set(self.statuses) <= {200, 204}, self.statuses
        return self


def request(body: bytes, path: str = "/webhooks/owncast", *, signed: bool = True) -> bytes:
    """As Owncast sends it, good for five minutes."""
    seal = f"Owncast-Signature: {rehearsal.sign(body, SECRET)}\r\n" if signed else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n{seal}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


class Stream:
    """One stream after another, as Owncast tells of them: each connects a second after the one
    before, however fast they are told.
    """

    def __init__(self) -> None:
        self._connected = datetime.now(UTC) - timedelta(minutes=20)
        self._number = 0

    def start(self) -> bytes:
        self._connected += timedelta(seconds=1)
        return self._body("start")

    def stop(self) -> bytes:
        return self._body("stop")

    def title(self) -> bytes:
        return self._body("title")

    def _body(self, what: str) -> bytes:
        self._number += 1
        document = json.loads(rehearsal.webhook(what, f"Title {self._number}", "Kestrel Workshop"))
        status = document["eventData"]["status"]
        if status["lastConnectTime"]:
            status["lastConnectTime"] = self._connected.isoformat().replace("+00:00", "Z")
        return json.dumps(document).encode()


def tell(port: int, message: bytes) -> float:
    """Seconds until one request is answered."""
    return at_once(port, [message], 1).well().took[0]


def at_rate(port: int, messages: Sequence[bytes], rate: float) -> Told:
    """So many a second, whoever is slow. The clock of a request starts when it was due, so that a
    stall is not hidden by waiting for it.
    """
    begun = time.perf_counter() + 0.01
    return _run(port, messages, lambda n: begun + n / rate, MOST_OPEN)


def at_once(ports: int | Sequence[int], messages: Sequence[bytes], clients: int) -> Told:
    """As fast as *clients* who each wait for their answer get through; to the *ports* in turn."""
    return _run(ports, messages, lambda _: 0.0, clients)


def _run(
    ports: int | Sequence[int],
    messages: Sequence[bytes],
    due: Callable[[int], float],
    most_open: int,
) -> Told:
    ports = [ports] if isinstance(ports, int) else ports
    told, clock = Told(), time.perf_counter
    open_: dict[socket.socket, float] = {}
    cost, begun = time.process_time(), clock()
    sent, whole = 0, len(messages)
    while sent < whole or open_:
        now = clock()
        while sent < whole and len(open_) < most_open and due(sent) <= now:
            since = due(sent) or now
            line = socket.create_connection(
                ("127.0.0.1", ports[sent % len(ports)]), timeout=PATIENCE
            )
            line.sendall(messages[sent])
            open_[line] = since
            sent += 1
            now = clock()
        wait = PATIENCE
        if sent < whole and len(open_) < most_open:
            wait = max(0.0, due(sent) - now)
        ready, _, _ = select.select(list(open_), (), (), wait)  # epoll counts in milliseconds
        assert ready or wait < PATIENCE, "no answer any more"
        for line in ready:
            answer = line.recv(4096)  # closed without one counts as status 0
            told.took.append(clock() - open_.pop(line))
            told.statuses[int(answer[9:12] or 0)] += 1
            line.close()
    told.lasted, told.cost = clock() - begun, time.process_time() - cost
    return told
