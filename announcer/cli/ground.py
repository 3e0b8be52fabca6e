"""What every command stands on: settings, the database, and words for a person or a program."""

import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from announcer import crashpoints, envfile, wire, wiring
from announcer.cli import TROUBLE, UNUSABLE
from announcer.logs import configure
from announcer.migrations import SchemaTooNew
from announcer.outbox import BadAddress, StorageError, Unusable
from announcer.settings import SettingsError
from announcer.wiring import Settings

with_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
TROUBLES = (StorageError, SchemaTooNew, Unusable, OSError, ImportError)
"""Of whoever opens the database."""


def variables() -> Mapping[str, str]:
    """Those of `.env` and of the environment, which wins."""
    lines = read_file()
    for name, times in Counter(name for name, _ in lines).items():
        if times > 1:
            click.echo(f"warning: {name} is set {times} times in .env, the last counts", err=True)
    return {name: value for name, value in lines if value is not None} | environment()


def read_file() -> list[tuple[str, str | None]]:
    """What stands in `.env`."""
    try:
        return envfile.read()
    except envfile.Unusable as problem:
        stop([f".env {problem}"])


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in os.environ.keys() - crashpoints.VARIABLES}


def settings() -> Settings:
    try:
        found = wiring.read(variables())
    except SettingsError as error:
        stop(error.problems)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    # Before anything else is done: libraries warn of addresses, and some of these are secrets.
    service = found.service
    configure(service.log_level, service.log_format, found.redactor)
    wire.Session.proxy = service.proxy
    return found


def stop(problems: list[str]) -> NoReturn:
    """With what can not be used, before anything was tried."""
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(UNUSABLE)


def where_to_begin() -> list[str]:
    """For somebody who has just arrived."""
    return [] if envfile.PLACE.exists() else ["there is no .env here: `announcer init` writes one"]


def fail(problem: str) -> NoReturn:
    """With what could not be done."""
    raise click.ClickException(problem)


def leave(*, well: bool) -> NoReturn:
    sys.exit(0 if well else TROUBLE)


def say(value: Any) -> None:
    """To a program."""
    click.echo(json.dumps(value, indent=2))


def has_person() -> bool:
    """Whether somebody can be asked. Where standard input is closed there is none at all."""
    return all(one is not None and one.isatty() for one in (sys.stdin, sys.stderr))


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Tells a person at a terminal *what* takes so long, until it is over."""
    shown = f"{what} ..."
    watched = sys.stderr is not None and sys.stderr.isatty()
    if watched:
        click.echo(f"\r{shown}", nl=False, err=True)
    try:
        yield
    finally:
        if watched:
            click.echo(f"\r{' ' * len(shown)}\r", nl=False, err=True)


@contextmanager
def storage() -> Iterator[None]:
    """Around everything that opens the database."""
    try:
        yield
    except TROUBLES as problem:
        if isinstance(problem, BrokenPipeError):
            raise
        fail(unusable(problem))


def unusable(problem: Exception) -> str:
    """What is wrong with the database, of the TROUBLES."""
    return f"ANNOUNCER_DATABASE_URL can not be used: {_why(problem)}"


def _why(problem: Exception) -> str:
    """In the database's own words where they quote neither its address nor a statement."""
    match problem:
        case SchemaTooNew() | Unusable():
            return str(problem)
        case ImportError():
            return f"the library for it is not installed ({problem.name})"
        case BadAddress():
            return "write it like sqlite:///announcer.db or postgresql://user:password@host/name"
        case OSError():
            return problem.strerror or type(problem).__name__
        case StorageError() if isinstance(cause := getattr(problem, "orig", None), sqlite3.Error):
            return str(cause)
        case StorageError() if " failed: " in (told := str(getattr(problem, "orig", ""))):
            # PostgreSQL's, with the address before that; it repeats no password.
            return told.rpartition(" failed: ")[2].partition("\n")[0]
        case _:
            return type(problem).__name__
