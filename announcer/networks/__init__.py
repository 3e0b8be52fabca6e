"""One module here, or one folder, is one network: a class, whose docstring is its set-up guide.

Another package brings one more by an entry point of the group `announcer.networks`: its name is the
network's, its value the module. Nothing is imported before its variables are seen.
"""

import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from announcer.network import Network

GROUP = "announcer.networks"
Load = Callable[[], tuple[type[Network], ...]]


class NotInstalledError(Exception):
    """A library that a network needs is not there. str() says what to install."""


def places() -> dict[str, Load]:
    """How to load each network, by its name. Ours come before those of other packages."""
    found: dict[str, Load] = {
        point.name: partial(_load, point.name, point.load, f"the package of {point.value}")
        for point in entry_points(group=GROUP)
    }
    for module in pkgutil.iter_modules(__path__):
        how = partial(import_module, f"{__name__}.{module.name}")
        found[module.name] = partial(_load, module.name, how, f"announcer[{module.name}]")
    return dict(sorted(found.items()))


def available() -> list[type[Network]]:
    """Every network, by name. Raises NotInstalledError."""
    return [network for load in places().values() for network in load()]


def _load(name: str, how: Callable[[], ModuleType], package: str) -> tuple[type[Network], ...]:
    try:
        module = how()
    except ImportError as missing:
        raise NotInstalledError(f"install {package}: {missing.name} is missing") from missing
    return tuple(
        thing
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Network)
        and f"{thing.__module__}.".startswith(f"{module.__name__}.")
        and not inspect.isabstract(thing)
        and thing.name == name
    )
