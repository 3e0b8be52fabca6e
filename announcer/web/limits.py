"""How long a text may be at each destination, as far as we know without waiting for anybody."""

import threading
import time
from collections.abc import Mapping

from announcer.network import Network

AT_ONCE = 4
"""Servers that are asked at the same time: enough for a page, and no crowd of threads if none of
them answers.
"""
KEPT = 60.0
"""Seconds until one is asked again. Networks keep what they learn for longer by themselves."""


class Limits:
    """Asks in the background, so that nobody waits. Safe to share between threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Network, int, float]] = {}
        self._waiting: dict[str, Network] = {}
        self._asking = 0
        self._lock = threading.Lock()

    def of(self, destination: str, network: Network) -> tuple[int, bool]:
        """The limit, and whether that is the account's own; else it is the usual one there."""
        if _asks_nobody(network):
            return network.usual_limit, True
        before, limit, _ = self._known.get(destination, (None, 0, 0.0))
        return (limit, True) if before is network else (network.usual_limit, False)

    def ask(self, destinations: Mapping[str, Network]) -> None:
        """Begin to learn those that are not known, or not any more. Returns at once."""
        for name, network in destinations.items():
            before, _, at = self._known.get(name, (None, 0, 0.0))
            fresh = before is network and time.monotonic() - at < KEPT
            if fresh or _asks_nobody(network):
                continue
            with self._lock:
                self._waiting[name] = network
                if self._asking == AT_ONCE:
                    continue
                self._asking += 1
            threading.Thread(target=self._learn, name="limits", daemon=True).start()

    def _learn(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._asking -= 1
                    return
                name, network = self._waiting.popitem()
            self._known[name] = (network, network.limit(), time.monotonic())


def _asks_nobody(network: Network) -> bool:
    return type(network).limit is Network.limit
