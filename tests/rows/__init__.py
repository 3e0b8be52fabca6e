"""One module is one network as the contract's suite meets it; it is found by being here."""

import pkgutil
from importlib import import_module

from announcer.contract import Row, Spoken

_MODULES = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
ROWS: list[Row] = [row for module in _MODULES for row in getattr(module, "ROWS", [])]
"""Those that are asked by HTTP, in the order of their modules."""
SPOKEN: list[Spoken] = [row for module in _MODULES for row in getattr(module, "SPOKEN", [])]
"""The others."""
EVERY: list[Row | Spoken] = [*ROWS, *SPOKEN]
