"""One module is one network as the contract's suite meets it; it is found by being here."""

import pkgutil
from importlib import import_module

from announcer.contract import Row

ROWS: list[Row] = [
    row
    for module in pkgutil.iter_modules(__path__)
    for row in getattr(import_module(f"{__name__}.{module.name}"), "ROWS", [])
]
"""Those that are asked by HTTP, in the order of their modules."""
