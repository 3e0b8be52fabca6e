"""`connect`: log in to a network once, and have what it needs in `.env`."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import click
from pydantic import BaseModel

from announcer import connect as helpers
from announcer import envfile, networks, wire
from announcer.cli import accounts, ground
from announcer.cli.asking import Person
from announcer.connect import Question
from announcer.logs import Redactor
from announcer.network import DeliveryError, Network
from announcer.settings import (
    ACCOUNT,
    Environment,
    is_address,
    is_private,
    is_secret,
    variable_name,
)
from announcer.wiring import LONGEST_NAME, Service


class Helpers(click.Group):
    """One command for each network that has a helper."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        return helpers.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        return _command(cmd_name) if cmd_name in helpers.names() else None


@click.group(cls=Helpers)
def connect() -> None:
    """Log in to a network, and write what it needs into `.env`."""


def _command(name: str) -> click.Command:
    options: list[click.Parameter] = [
        click.Option(
            [question.flag, question.name],
            help=question.words + ("; `-`: standard input." if question.secret else "."),
            metavar="FILE" if question.secret else "TEXT",
        )
        for question in helpers.helper(name).QUESTIONS
    ]
    more = {
        "--account": "Name of a second account there, such as `music`.",
        "--yes": "Write to `.env` without asking, over what stands there.",
        "--json": "For programs.",
    }
    for flag, words in more.items():
        plain = ["--json", "as_json"] if flag == "--json" else [flag]
        options.append(click.Option(plain, is_flag=flag != "--account", help=words))
    words = f"Connect an account of {name.capitalize()}."
    return click.Command(name, callback=partial(_connect, name), params=options, help=words)


def _connect(name: str, account: str | None, yes: bool, as_json: bool, **given: str | None) -> None:
    variables = ground.variables()
    use_proxy(variables)
    account = (account or "").upper()
    if account and (not ACCOUNT.fullmatch(account) or len(account) > LONGEST_NAME):
        ground.stop(["--account must be a name of letters and digits, such as music"])
    prefix = f"{name.upper()}__{account}" if account else name.upper()
    _get_consent(name, prefix, variables, yes=yes)
    values = join(name, prefix, Person(given), variables)
    try:
        envfile.write(values)
    except envfile.Unusable as problem:
        ground.fail(f".env {problem}")
    if not as_json:
        click.echo(f".env has {', '.join(values)}")
    destination = f"{name}.{account.lower()}" if account else name
    well, found = accounts.look(ground.settings(), silent=as_json, only=[destination])
    if as_json:
        ground.say({"file": ".env", "wrote": list(values), "well": well, "found": found})
    ground.leave(well=well)


def join(name: str, prefix: str, person: Person, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that connect an account, with their values, as its network takes them."""
    kind = _kind(name)
    known = {
        field: value
        for field, info in kind.model_fields.items()
        if (value := variables.get(variable_name(prefix, field), "")) and not is_secret(info)
    }
    try:
        fields = helpers.helper(name).connect(Careful(person, prefix, kind), known)
    except DeliveryError as problem:
        ground.fail(Redactor(person.heard)(f"{kind.title}: {problem}"))
    values = {variable_name(prefix, field): value for field, value in fields.items()}
    env = Environment({**variables, **values})
    if env.group(prefix, kind) is None:
        ground.stop(env.problems)
    return values


class Careful:
    """The person, whose answers are looked at before anything is sent where they say."""

    def __init__(self, person: Person, prefix: str, kind: type[Network]) -> None:
        self._person, self._prefix, self._kind = person, prefix, kind
        self.tell, self.waiting = person.tell, person.waiting

    def ask(self, question: Question, default: str = "") -> str:
        info = self._kind.model_fields.get(question.name)
        if info is None:
            return self._person.ask(question, default)
        change = with_scheme if is_address(info) else str.strip
        return change(
            self._person.ask(question, default, lambda given: self._wrong(question, change(given)))
        )

    def _wrong(self, question: Question, given: str) -> str:
        variable = variable_name(self._prefix, question.name)
        words = wrong_value(self._prefix, question.name, self._kind, given)
        return words.replace(variable, question.flag, 1)


def with_scheme(address: str) -> str:
    """The scheme that people leave out: http, which few serve there otherwise, inside one's own
    network, else https.
    """
    address = address.strip().rstrip("/")
    if "://" in address or not address:
        return address
    try:
        host = urlsplit(f"//{address}").hostname or ""
    except ValueError:  # it is no address either way
        host = ""
    return f"{'http' if host and is_private(host) else 'https'}://{address}"


def wrong_value(prefix: str, field: str, group: type[BaseModel], value: str) -> str:
    """What is wrong with the *value* of one field, whatever lacks beside it."""
    variable = variable_name(prefix, field)
    env = Environment({variable: value})
    env.group(prefix, group)
    return next((one for one in env.problems if one.startswith(f"{variable} ")), "")


def use_proxy(variables: Mapping[str, str]) -> Service:
    """The settings of the service, whatever else lacks; its proxy is used from now on."""
    env = Environment(variables)
    service = env.group("ANNOUNCER", Service)
    if service is None:
        ground.stop(env.problems)
    wire.Session.proxy = service.proxy
    return service


def writable(names: list[str], variables: Mapping[str, str]) -> None:
    """Stops unless `.env` can be written and what it says of *names* will count."""
    problems = [f".env {why}"] if (why := envfile.why_not()) else []
    elsewhere = ground.environment()
    for name in names:
        if elsewhere.get(name, "").strip():
            problems.append(f"{name} is set in the environment, which wins over .env: unset it")
        if variables.get(f"{name}_FILE", "").strip():
            problems.append(f"{name}_FILE is set: unset it, or write what is new into that file")
    if problems:
        ground.stop(problems)


def _get_consent(name: str, prefix: str, variables: Mapping[str, str], *, yes: bool) -> None:
    kind, helper = _kind(name), helpers.helper(name)
    asked = [one.name for one in helper.QUESTIONS if one.name in kind.model_fields]
    names = [variable_name(prefix, field) for field in [*asked, *helper.MAKES]]
    writable(names, variables)
    secrets = [
        name
        for field, info in kind.model_fields.items()
        if (name := variable_name(prefix, field)) in names and is_secret(info)
    ]
    replaced = [one for one in secrets if variables.get(one)]
    if yes:
        return
    if ground.has_person():
        over = f", in place of what {', '.join(replaced)} is now" if replaced else ""
        click.echo(f"This will write {', '.join(names)} to .env{over}.", err=True)
        click.confirm("Go on?", default=True, abort=True, err=True)
    elif replaced:
        ground.fail(f"{', '.join(replaced)} in .env would be replaced: say --yes")


def _kind(name: str) -> type[Network]:
    try:
        kinds: Any = networks.places()[name]()
    except networks.NotInstalledError as missing:
        ground.fail(str(missing))
    kind: type[Network] = kinds[0]
    return kind
