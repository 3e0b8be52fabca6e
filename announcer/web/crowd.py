"""Of what strangers cause, no more for a crowd than for one: lines in the log, guesses at the
password, subscriptions. In constant memory. And who they are, as far as that can be told.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

GUESSES = 10
"""Wrong passwords that an address may give at once."""
REGAINED = 6.0
"""Seconds until it may give one more. Nobody is locked out for longer, whatever they did."""
THROUGH = 8
"""So many times as much may come through a proxy of ours, whomever it names: a program beside us
may name another each time, and so may anybody where a container's network hides who asks.
"""
ADDRESSES = 1_000
"""How many are remembered: those that came last."""


class Seldom:
    """Warns of what may happen often. *what* is one of few words of ours, never a stranger's."""

    def __init__(self, warn: Callable[..., Any], event: str) -> None:
        self._warn, self._event = warn, event
        self._last: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def warn(self, what: str, pause: float, **said: object) -> None:
        """Not again within *pause* seconds; `unsaid` is how often that was."""
        now = time.monotonic()
        if now - self._last.get(what, float("-inf")) < pause:
            self._unsaid[what] += 1
            return
        self._last[what] = now
        self._warn(self._event, **said, unsaid=self._unsaid.pop(what, None))


class Allowance:
    """So much for each address: *at_once*, and one more every *regained* seconds. Times are of a
    monotonic clock.
    """

    def __init__(self, at_once: int, regained: float) -> None:
        self._at_once, self._regained = at_once, regained
        self._paid: OrderedDict[str, float] = OrderedDict()
        """When each will have regained all of it."""
        self._lock = threading.Lock()

    def wait(self, address: str, now: float) -> float:
        """Seconds until there is some left for *address*; 0 if there is."""
        spent = self._paid.get(address, now) - now
        return max(0.0, spent - (self._at_once - 1) * self._regained)

    def spend(self, address: str, now: float) -> None:
        with self._lock:
            self._paid[address] = max(self._paid.pop(address, now), now) + self._regained
            while len(self._paid) > ADDRESSES:
                self._paid.popitem(last=False)

    def forgive(self, address: str) -> None:
        with self._lock:
            self._paid.pop(address, None)


class Guesses(Allowance):
    """Counts wrong passwords by address, and by the proxy that passes them on, *through*. Who knew
    the password once is not held up for what others send through the same one.
    """

    def __init__(self) -> None:
        super().__init__(GUESSES, REGAINED)
        self._proxies = Allowance(GUESSES * THROUGH, REGAINED / THROUGH)
        self._known: OrderedDict[str, None] = OrderedDict()

    def delay(self, address: str, through: str, now: float) -> float:
        """Seconds until *address* may guess again."""
        own = self.wait(address, now)
        if address == through or address in self._known:
            return own
        return max(own, self._proxies.wait(through, now))

    def wrong(self, address: str, through: str, now: float) -> None:
        self.spend(address, now)
        if through != address:
            self._proxies.spend(through, now)

    def right(self, address: str) -> None:
        self.forgive(address)
        with self._lock:
            self._known[address] = None
            self._known.move_to_end(address)
            while len(self._known) > ADDRESSES:
                self._known.popitem(last=False)


def who(remote: str, forwarded: str) -> str:
    """The address that counts for a request from *remote*. A proxy on this machine or network puts
    whom it speaks for at the end of X-Forwarded-For, *forwarded*; all else there may be made up.
    """
    address, told = _parsed(remote), _parsed(forwarded.rpartition(",")[2].strip())
    if told and address and address.is_private:
        address = told
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"  # one customer has all of them
    return str(address or "unknown")


def site(origin: str) -> str:
    """Host and port of an Origin; empty for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
