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
from announcer.outbox import StorageError, cause_of

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
    ends: datetime | None = None

    def kept(self) -> str:
        """As `_read` reads it."""
        ends = self.ends and self.ends.isoformat()
        return json.dumps(asdict(self) | {"at": self.at.isoformat(), "ends": ends})


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
        self._prints: dict[str, tuple[Network, str]] = {}
        self._began = self._stopped = False
        self._lock = threading.Lock()

    def found(self, name: str, stored: str | None) -> Found | None:
        """What *stored*, the memory of a destination, tells of it with its present credentials;
        None if that is nothing.
        """
        network = self._destinations.get(name)
        found = _read(stored) if stored else None
        if network is None or found is None:
            return None
        return found if found.credentials == self._fingerprint(name, network) else None

    def asking(self, name: str) -> bool:
        """Whether it is being asked just now."""
        return name in self._asking

    def ask(self, name: str) -> None:
        """Ask it now, for as long as a request may take; unless it is being asked already."""
        with self._lock:
            if name in self._asking:
                return
            self._asking.add(name)
        self._hear(name)

    def ask_soon(self, name: str) -> None:
        """Ask it in a thread of its own."""
        with self._lock:
            if name in self._asking:
                return
            self._asking.add(name)
        threading.Thread(target=self._hear, args=(name,), name=f"ask {name}", daemon=True).start()

    def round(self) -> datetime:
        """One round of the clock: whoever is not known, or could not be reached."""
        if not self._began:
            self._began = True
            return datetime.now(UTC) + AFTER_START
        for name in list(self._destinations):
            if self._stopped:
                break
            found = self.found(name, self._memory_of(name).get(KEPT))
            if found is None or (found.problem and not found.final):
                self.ask(name)
        return datetime.now(UTC) + EVERY

    def stop(self) -> None:
        """Nobody else is asked. Returns at once."""
        self._stopped = True

    def _fingerprint(self, name: str, network: Network) -> str:
        """Kept as long as the account is the same: it takes time on purpose."""
        known = self._prints.get(name)
        if known is None or known[0] is not network:
            self._prints[name] = known = (network, fingerprint(network))
        return known[1]

    def _hear(self, name: str) -> None:
        try:
            found = self._answer(name, self._destinations[name])
            self._memory_of(name).put(KEPT, found.kept())
        except StorageError as problem:
            log.error("storage", destination=name, reason=cause_of(problem))
        finally:
            self._asking.discard(name)

    def _answer(self, name: str, network: Network) -> Found:
        at, credentials = datetime.now(UTC), self._fingerprint(name, network)
        try:
            account: Account = network.check()
        except DeliveryError as problem:
            reason = self._redact(str(problem))
            log.warning("account", destination=name, outcome=type(problem).__name__, reason=reason)
            return Found(at, credentials, problem=reason, final=isinstance(problem, Refused))
        except StorageError:
            raise
        except Exception as bug:  # one account of many: the others are asked all the same
            log.exception("bug", destination=name, reason=type(bug).__name__)
            reason = f"our own mistake while asking ({type(bug).__name__})"
            return Found(at, credentials, problem=reason, final=True)
        notes = tuple(map(self._redact, account.notes))
        handle, url = self._redact(account.handle), self._redact(account.url)
        return Found(at, credentials, handle, url, notes, ends=account.ends)


def _read(stored: str) -> Found | None:
    """None for what another version kept, in another form."""
    try:
        told = json.loads(stored)
        told |= {"at": datetime.fromisoformat(told["at"]), "notes": tuple(told["notes"])}
        if ends := told.get("ends"):
            told["ends"] = datetime.fromisoformat(ends)
        return Found(**told)
    except (KeyError, TypeError, ValueError):
        return None
