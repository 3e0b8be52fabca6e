"""Subscribers kept in memory, for tests that need no database; held to what the real ones do."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from announcer.network import Message, Subscriber


@dataclass
class Remembered:
    sealed: str
    knows: Message | None = None
    trying: Message | None = None
    tries: int = 0
    not_before: datetime | None = None
    missed: int = 0


@dataclass
class FakeSubscribers:
    them: dict[str, Remembered] = field(default_factory=dict)

    def add(self, id: str, sealed: str, most: int) -> bool:  # noqa: A002  # as it is called
        if id not in self.them and len(self.them) >= most:
            return False
        before = self.them.get(id, Remembered(""))
        self.them[id] = replace(before, sealed=sealed, missed=0)
        return True

    def drop(self, ids: Collection[str]) -> None:
        for one in ids:
            self.them.pop(one, None)

    def count(self) -> int:
        return len(self.them)

    def told(self, topic: str) -> int:
        return len([one for one in self.them.values() if one.knows and one.knows.topic == topic])

    def without(self, message: Message) -> list[Subscriber]:
        return self._found(message, lambda one: not one.knows or one.knows.topic != message.topic)

    def behind(self, message: Message) -> list[Subscriber]:
        return self._found(
            message,
            lambda one: one.knows and one.knows.topic == message.topic and one.knows != message,
        )

    def reached(self, message: Message, ids: Collection[str]) -> None:
        for one in ids:
            self.them[one] = Remembered(self.them[one].sealed, knows=message)

    def missed(self, message: Message, tried: Collection[Subscriber]) -> None:
        for one in tried:
            its = self.them[one.id]
            its.trying, its.tries, its.not_before = message, one.tries, one.not_before

    def give_up(self, ids: Collection[str], most: int) -> None:
        for one in ids:
            self.them[one].missed += 1
            if self.them[one].missed >= most:
                del self.them[one]

    def _found(self, message: Message, which: object) -> list[Subscriber]:
        assert callable(which)
        found = [(id_, one) for id_, one in self.them.items() if which(one)]
        return [
            Subscriber(
                id_,
                one.sealed,
                tries=one.tries if one.trying == message else 0,
                not_before=one.not_before if one.trying == message else None,
                steady=one.knows is not None and one.missed == 0,
            )
            for id_, one in sorted(found, key=lambda pair: pair[1].missed)
        ]
