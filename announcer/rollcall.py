"""Who we are on every network, as it was found out last: the page asks no network by itself.

An account is asked when its credentials are new to us, by the operator's word, and again after an
hour if it could not be reached. It is not asked round the clock: to some, a question is an event.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import structlog

from announcer.attempt import fingerprint
from announcer.network import Account, DeliveryError, Memory, Network, Refused

log = structlog.get_logger("announcer.rollcall")

EVERY = timedelta(hours=1)
AFTER_START = timedelta(seconds=30)
"""Until the first round: whoever starts us in the middle of a stream waits for its post."""
KEPT = "account"
"""The name of what a destination's memory holds of it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an account said of itself. *problem* is why it did not; *final* that asking again is of
    no use before something changes. *credentials* is their fingerprint.
    """

    at: datetime
    credentials: str
    handle: str = ""
    url: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""
    final: bool = False


class RollCall:
    """Asks *destinations*, and remembers in the memory of each."""

    def __init__(
        self,
        destinations: Mapping[str, Network],
        memory_of: Callable[[str], Memory],
        redact: Callable[[str], str],
    ) -> None:
        self._destinations, self._memory_of, self._redact = destinations, memory_of, redact
        self._asking: set[str] = set()
        self._began = False
        self._lock = threading.Lock()

    def found(self, name: str) -> Found | None:
        """What is known of a destination with its present credentials; None if nothing is."""
        stored = self._memory_of(name).get(KEPT)
        if stored is None:
            return None
        told = json.loads(stored)
        told |= {"at": datetime.fromisoformat(told["at"]), "notes": tuple(told["notes"])}
        found = Found(**told)
        network = self._destinations.get(name)
        return found if network and found.credentials == fingerprint(network) else None

    def asking(self, name: str) -> bool:
        """Whether it is being asked just now."""
        return name in self._asking

    def ask(self, name: str) -> Found | None:
        """Ask it now, for as long as a request may take. None if it is being asked already."""
        network = self._destinations[name]
        with self._lock:
            if name in self._asking:
                return None
            self._asking.add(name)
        try:
            found = self._hear(name, network)
            told = asdict(found) | {"at": found.at.isoformat()}
            self._memory_of(name).put(KEPT, json.dumps(told))
            return found
        finally:
            self._asking.discard(name)

    def ask_soon(self, name: str) -> None:
        """Ask it in a thread of its own."""
        threading.Thread(target=self.ask, args=(name,), name=f"ask {name}", daemon=True).start()

    def round(self) -> datetime:
        """One round of the clock: whoever is not known, or could not be reached."""
        if not self._began:
            self._began = True
            return datetime.now(UTC) + AFTER_START
        for name in list(self._destinations):
            found = self.found(name)
            if found is None or (found.problem and not found.final):
                self.ask(name)
        return datetime.now(UTC) + EVERY

    def _hear(self, name: str, network: Network) -> Found:
        at, credentials = datetime.now(UTC), fingerprint(network)
        try:
            account: Account = network.check()
        except DeliveryError as problem:
            reason = self._redact(str(problem))
            log.warning("account", destination=name, outcome=type(problem).__name__, reason=reason)
            return Found(at, credentials, problem=reason, final=isinstance(problem, Refused))
        except Exception as bug:  # one account of many: the others are asked all the same
            log.exception("bug", destination=name, reason=type(bug).__name__)
            reason = f"our own mistake while asking ({type(bug).__name__})"
            return Found(at, credentials, problem=reason, final=True)
        notes = tuple(map(self._redact, account.notes))
        return Found(at, credentials, self._redact(account.handle), account.url, notes)
