"""How an account of a network is connected: who logs in gets what the settings need.

One module here is the helper of the network of the same name; a network need not have one. It has
`QUESTIONS`, what it may ask; `MAKES`, the fields that it fills beside those asked for; and
`connect`, which talks to the person and the network and returns fields with their values. It asks
with `wire.Session` like everybody, writes nothing, and what it was told in secret goes to the
network only. Raises DeliveryError.
"""

import pkgutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from announcer.networks import places

Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """*name* is a field of the network, or another thing to know. A *secret* is not shown, and
    comes from a file or from the person, never from the command line.
    """

    name: str
    words: str
    secret: bool = False
    default: str = ""

    @property
    def flag(self) -> str:
        plain = f"--{self.name.replace('_', '-')}"
        return f"{plain}-file" if self.secret else plain


class Talk(Protocol):
    """The person at the other side, or the options that stand for one."""

    def ask(self, question: Question, default: str = "") -> str:
        """The answer, never empty."""

    def tell(self, words: str) -> None: ...

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """Around something that takes long."""


class Helper(Protocol):
    """What a module here is."""

    QUESTIONS: tuple[Question, ...]
    MAKES: tuple[str, ...]

    def connect(self, talk: Talk, known: Mapping[str, str]) -> Fields:
        """The fields to set. *known* are those that are set already and no secret."""


def names() -> list[str]:
    """The networks that have a helper."""
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name in places()]


def helper(name: str) -> Helper:
    return cast("Helper", import_module(f"{__name__}.{name}"))
