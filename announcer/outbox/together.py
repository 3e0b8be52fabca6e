"""One transaction for all who wait for one, so that its sync is paid once.

Who finds nobody at work begins at once, alone. Who comes meanwhile waits, and the first of those
does the work of all of them in the next one. Nobody waits for company.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NoReturn, TypeVar, cast

import sqlalchemy as sa

C = TypeVar("C")
T = TypeVar("T")
Work = Callable[[C], object]

MOST = 32
"""Pieces of work in one transaction: others want to write, too."""
TURN = 10.0
"""Seconds to wait for those of this process that were there before: a lock that lasts would hold up
the crowd before it one after another, each for 10 s, and every thread of the server with them.
"""


class NotBegun(Exception):
    """The transaction could not be begun, so no work was tried. `__cause__` says why."""


@dataclass(frozen=True, eq=False)
class _Piece(Generic[C]):
    """*then* is what its own thread has to do to come by its result, once that is known."""

    work: Work[C]
    then: Future[Callable[[], object]] = field(default_factory=Future)


class Together(Generic[C]):
    """*store* does many pieces of work in one transaction, and gives their results once that is
    committed. It raises NotBegun, or whatever hindered it: then nothing is stored.
    """

    def __init__(self, store: Callable[[Sequence[Work[C]]], Sequence[object]]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: deque[_Piece[C]] = deque()
        self._busy = False

    def do(self, work: Callable[[C], T]) -> T:
        """What *work* gives, done in a transaction that is committed. It may be done more than
        once, of which the last counts. Raises what *work* raises, and StorageError.
        """
        mine = _Piece(work)
        with self._lock:
            if self._busy:
                self._waiting.append(mine)
            else:
                self._busy = True
                self._let_lead(mine)
        return cast("T", self._wait(mine)())

    def _wait(self, mine: _Piece[C]) -> Callable[[], object]:
        try:
            return mine.then.result(TURN)
        except TimeoutError:
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    words = "the writers before this one took too long"
                    raise sa.exc.TimeoutError(words) from None
        return mine.then.result()  # it is being stored just now, which has limits of its own

    def _let_lead(self, piece: _Piece[C]) -> None:
        piece.then.set_result(partial(self._lead, piece))

    def _lead(self, mine: _Piece[C]) -> object:
        with self._lock:
            others = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST - 1))]
        crowd = [mine, *others]
        then: list[Callable[[], object]] = [partial(self._alone, one.work) for one in crowd]
        try:
            results = self._store([one.work for one in crowd])
            then = [partial(_given, result) for result in results]
        except NotBegun as problem:  # nor could it for them, one after another
            then = [partial(_raise, problem)] * len(crowd)
        except Exception:  # whose fault it was shows when each is stored by itself
            if not others:
                raise
        finally:
            with self._lock:
                if self._waiting:
                    self._let_lead(self._waiting.popleft())
                else:
                    self._busy = False
            for one, what in zip(others, then[1:], strict=True):
                one.then.set_result(what)
        return then[0]()

    def _alone(self, work: Work[C]) -> object:
        try:
            return self._store([work])[0]
        except NotBegun as problem:
            _raise(problem)


def _given(result: object) -> object:
    return result


def _raise(problem: NotBegun) -> NoReturn:
    raise problem.__cause__ or problem
