"""Secrets whose files change while we run: each is read again and takes effect without a restart.

Whoever replaces a file does not tell us, so we look: every few seconds, and before a destination
that refused our credentials counts as closed.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from announcer import secretfile
from announcer.outbox import StorageError, cause_of
from announcer.secretfile import SecretFile, Stamp, Unreadable
from announcer.settings import SettingsError

log = structlog.get_logger("announcer.rotation")

EVERY = timedelta(seconds=2)
"""Between two looks; a look is one stat for each file."""

Stamps = Mapping[str, Stamp]


def to_read(now: Stamps, last: Stamps, read: Stamps, *, patient: bool) -> list[str]:
    """The variables whose files are to be read: those that changed since they were *read* last.

    The *patient* wait until a file is the same in two looks: it is not half written then.
    """
    return [
        variable
        for variable, stamp in now.items()
        if (variable not in read or stamp != read[variable])
        and (not patient or (variable in last and stamp == last[variable]))
    ]


class Rotation:
    """Watches *files*, by variable. *take* puts new contents to use, all that there are so far, and
    raises SettingsError where it can not; *then* is called when it did.
    """

    def __init__(
        self,
        files: Mapping[str, SecretFile],
        take: Callable[[Mapping[str, str]], None],
        then: Callable[[], None],
    ) -> None:
        self._paths = {variable: file.path for variable, file in files.items()}
        self._contents = {variable: file.content for variable, file in files.items()}
        self._take, self._then = take, then
        self._last: Stamps = {}
        self._read: dict[str, Stamp] = {}
        self._owed = 0
        self._lock = threading.Lock()

    def look(self) -> datetime:
        """One round of the clock; when the next is due."""
        self.refresh(patient=True)
        return datetime.now(UTC) + EVERY

    def refresh(self, *, patient: bool = False) -> None:
        """Put to use whatever has changed by now. What can not be used is told once, and the old
        secret stays. Never raises.
        """
        with self._lock:
            now = {variable: secretfile.stamp(path) for variable, path in self._paths.items()}
            fresh: dict[str, str] = {}
            for variable in to_read(now, self._last, self._read, patient=patient):
                self._read[variable] = now[variable]
                try:
                    content = secretfile.read(self._paths[variable])
                except Unreadable as problem:
                    _kept([f"{variable}_FILE {problem}"])
                    continue
                if content != self._contents[variable]:
                    fresh[variable] = content
            self._last = now
            self._use(fresh)
            if self._owed:
                try:
                    self._then()
                    self._owed -= 1
                except StorageError as problem:  # the next look does it
                    log.error("storage", reason=cause_of(problem))

    def _use(self, fresh: dict[str, str]) -> None:
        """All at once, for some fit only together; else each that fits by itself."""
        alone = [{variable: content} for variable, content in fresh.items()]
        for some in [fresh, *alone] if len(alone) > 1 else alone:
            try:
                self._take(self._contents | some)
            except SettingsError as error:
                if len(some) == 1:
                    _kept(error.problems)
                continue
            self._contents |= some
            self._owed = 2  # once more in the next look, for what was refused just now
            log.info("secret", outcome="changed", variables=",".join(sorted(some)))
            if some == fresh:
                return


def _kept(problems: list[str]) -> None:
    for problem in problems:
        log.error("secret", outcome="the old one is kept", reason=problem)
