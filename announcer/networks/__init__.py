"""One module here is one network: a class, whose docstring is its set-up guide."""

import pkgutil
from importlib import import_module

from announcer.network import Network


def available() -> dict[str, type[Network]]:
    """Every network by its name, in that order. A module defines exactly one."""
    networks: dict[str, type[Network]] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        (network,) = (
            thing
            for thing in vars(import_module(module.name)).values()
            if isinstance(thing, type)
            and issubclass(thing, Network)
            and thing.__module__ == module.name
        )
        networks[network.name] = network
    return dict(sorted(networks.items()))
