"""Which networks somebody wants to begin with."""

import difflib
import inspect
import textwrap
from collections.abc import Mapping

import click

from announcer import networks
from announcer.network import Network


def choose(kinds: Mapping[str, type[Network]]) -> list[str]:
    click.echo("\nWhere is your audience to be told?\n", err=True)
    for name, kind in kinds.items():
        first = inspect.cleandoc(kind.__doc__ or "").partition(". ")[0].partition("\n\n")[0]
        words = textwrap.shorten(first.rstrip("."), 78, placeholder=" …")
        click.echo(f"  {click.style(f'{name:12}', bold=True)} {words}", err=True)
    if more := asleep():
        click.echo(f"\n  Each with a library of its own to install: {', '.join(more)}", err=True)
    click.echo(err=True)
    while True:
        said = click.prompt(
            "Their names, with commas between; Enter for none now",
            default="",
            show_default=False,
            err=True,
        )
        names = split(said)
        unknown = [name for name in names if name not in kinds]
        if not unknown:
            return names
        click.secho(why_unknown(unknown[0], kinds), fg="red", err=True)


def split(said: str) -> list[str]:
    """Names as people string them together."""
    return [name for name in said.lower().replace(",", " ").split() if name != "and"]


def asleep() -> list[str]:
    """The networks whose libraries are not there."""
    return [name for name in networks.places() if _lacking(name)]


def _lacking(name: str) -> str:
    """What the network *name* lacks to be used, in words; empty if nothing."""
    try:
        networks.places()[name]()
    except networks.NotInstalledError as missing:
        return str(missing)
    return ""


def why_unknown(name: str, kinds: Mapping[str, type[Network]]) -> str:
    if name in networks.places() and (lacking := _lacking(name)):
        return f"{name}: {lacking}"
    near = difflib.get_close_matches(name, kinds, 1)
    return f"there is no {name}" + (f"; did you mean {near[0]}?" if near else "")


def kinds() -> dict[str, type[Network]]:
    """Every network whose libraries are there; those of one module by their own names."""
    found = {}
    for name, load in networks.places().items():
        try:
            kinds = load()
        except networks.NotInstalledError:
            continue
        for kind in kinds:
            found[name if len(kinds) == 1 else kind.__name__.lower()] = kind
    return found
