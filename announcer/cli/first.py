"""`init`: from nothing to settings that `check` likes."""

import inspect
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import click
from pydantic import BaseModel

from announcer import connect as helpers
from announcer import envfile, wiring
from announcer.cli import accounts, choosing, ground
from announcer.cli.asking import Person, secret_of
from announcer.cli.joining import join, use_proxy, with_scheme, wrong_value
from announcer.connect import Question
from announcer.network import Network
from announcer.policy import Rules
from announcer.quiet import Quiet
from announcer.settings import SettingsError, is_secret, variable_name
from announcer.wiring import OwncastServer, Service
from announcer.wording import SHIPPED

URL = Question("owncast_url", "Public address of your stream, such as https://live.example.org")
ADMIN = Question(
    "admin_password", "Password for Announcer's own pages (Enter makes one)", secret=True
)
FOLDER = "templates"
NEXT = """\
Next, in this folder:
  announcer preview   what would be said, and where
  announcer test      a real post that is taken away again
  announcer setup     tells Owncast where Announcer runs
  announcer serve     runs it"""


@click.command()
@click.option("--owncast-url", metavar="URL", help="Public address of your stream.")
@click.option(
    "--network", "wanted", multiple=True, metavar="NAME", help="One to post to; repeatable."
)
@click.option(
    "--set", "plain", multiple=True, metavar="NAME=VALUE", help="A setting that is no secret."
)
@click.option(
    "--set-file",
    "hidden",
    multiple=True,
    metavar="NAME=FILE",
    help="A setting whose value stands in FILE, or for `-` in a line of standard input.",
)
@click.option(
    "--admin-password-file", metavar="FILE", help="Password for our pages; without it one is made."
)
@click.option(
    "--templates",
    metavar="FOLDER",
    help="Where your copies of the templates go; `templates` unless set otherwise.",
)
@click.option("--force", is_flag=True, help="Add to the `.env` that is there; what it says stays.")
@click.option("--offline", is_flag=True, help="Ask no network whether it is right.")
@ground.with_json
def init(
    owncast_url: str | None,
    wanted: tuple[str, ...],
    plain: tuple[str, ...],
    hidden: tuple[str, ...],
    admin_password_file: str | None,
    templates: str | None,
    force: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Write a `.env` and a folder of templates, by asking what is needed, and check them."""
    if envfile.PLACE.exists() and not force:
        ground.fail(".env is there already; with --force what lacks is added, and all of it stays")
    if why := envfile.why_not():
        ground.fail(f".env {why}")
    person = Person({"owncast_url": owncast_url, "admin_password": admin_password_file})
    beginning = Beginning(person, ground.variables())
    beginning.take(plain, hidden)
    if ground.has_person():
        click.echo("Nothing is written before the last answer; Ctrl-C ends it.\n", err=True)
    beginning.ask_owncast()
    beginning.ask_networks(wanted)
    beginning.make_doors(ask=admin_password_file is not None or ground.has_person())
    folder, copied = beginning.shelve(templates)
    beginning.write()
    if not as_json:
        click.echo(f".env      {', '.join(beginning.new)}")
        what = f"{copied} files to edit" if copied else "nothing lacked there"
        click.echo(f"{folder}    {what}: they are what is said")
        if "ANNOUNCER_ADMIN_PASSWORD" in beginning.new:
            click.echo("The pages know you as admin, with ANNOUNCER_ADMIN_PASSWORD of .env.")
        click.echo()
    well, found = accounts.look(ground.settings(), offline=offline, silent=as_json)
    if as_json:
        told = {"file": ".env", "wrote": list(beginning.new), "templates": str(folder)}
        ground.say({**told, "copied": copied, "well": well, "found": found})
    else:
        click.echo(f"\n{NEXT}")
    ground.leave(well=well)


class Beginning:
    """What is set already, and what is *new*."""

    def __init__(self, person: Person, known: Mapping[str, str]) -> None:
        self._person, self._known = person, known
        self.new: dict[str, str] = {}
        use_proxy(known)

    def take(self, plain: tuple[str, ...], hidden: tuple[str, ...]) -> None:
        """What options say of single settings."""
        problems = []
        for flag, pairs in (("--set", plain), ("--set-file", hidden)):
            for pair in pairs:
                name, equals, value = pair.partition("=")
                name = name.strip().upper()
                if not equals or not name.isidentifier():
                    problems.append(f"{flag} must be like NAME=...")
                elif flag == "--set" and _is_secret(name):
                    problems.append(f"{name} is a secret: use --set-file {name}=FILE")
                else:
                    secret = secret_of(value, f"{flag} {name}") if flag == "--set-file" else value
                    self.new[name] = secret
        if problems:
            ground.stop(problems)

    def ask_owncast(self) -> None:
        if self._lacks("OWNCAST_URL"):
            answer = self._person.ask(
                URL, wrong=lambda given: wrong_value("OWNCAST", "url", OwncastServer, _web(given))
            )
            self.new["OWNCAST_URL"] = _web(answer)

    def ask_networks(self, wanted: tuple[str, ...]) -> None:
        kinds = choosing.kinds()
        chosen = [name for one in wanted for name in choosing.split(one)]
        if not chosen and ground.has_person():
            chosen = choosing.choose(kinds)
        unknown = [name for name in chosen if name not in kinds]
        if unknown:
            why = choosing.why_unknown(unknown[0], kinds)
            ground.stop([f"--network: {why}; there are: {', '.join(kinds)}"])
        for name in dict.fromkeys(chosen):
            self._ask_network(kinds[name])

    def _ask_network(self, kind: type[Network]) -> None:
        prefix = kind.name.upper()
        required = [field for field, info in kind.model_fields.items() if info.is_required()]
        lacking = [field for field in required if self._lacks(variable_name(prefix, field))]
        if not lacking:
            return
        if not ground.has_person():
            ground.stop([_missing(kind, field) for field in lacking])
        click.secho(f"\n{kind.title}\n", bold=True, err=True)
        if kind.name in helpers.names() and click.confirm(
            "Log in there now, and have the rest done for you?", default=True, err=True
        ):
            self._join(kind, prefix)
            return
        click.echo(f"{inspect.cleandoc(kind.__doc__ or '')}\n", err=True)
        for field in lacking:
            info = kind.model_fields[field]
            variable = variable_name(prefix, field)
            question = Question(variable, f"{variable}: {info.description}", is_secret(info))

            def wrong(given: str, field: str = field) -> str:
                return wrong_value(prefix, field, kind, given)

            self.new[variable] = self._person.ask(question, wrong=wrong)

    def _join(self, kind: type[Network], prefix: str) -> None:
        """What was answered before is not lost by a mistake here."""
        while True:
            try:
                self.new |= join(kind.name, prefix, self._person, {**self._known, **self.new})
            except click.ClickException as problem:
                click.secho(problem.message, fg="red", err=True)
            else:
                return
            if not click.confirm("Try again?", default=True, err=True):
                click.echo(f"Left out; later: `announcer connect {kind.name}`.", err=True)
                return

    def make_doors(self, *, ask: bool) -> None:
        """What only we and Owncast, or only the operator, are to know."""
        for field in ("webhook_secret", "webhook_token"):
            if self._lacks(variable := variable_name("OWNCAST", field)):
                self.new[variable] = secrets.token_urlsafe(24)
        if self._lacks("ANNOUNCER_ADMIN_PASSWORD"):
            made = secrets.token_urlsafe(12)
            self.new["ANNOUNCER_ADMIN_PASSWORD"] = self._person.ask(ADMIN, made) if ask else made

    def shelve(self, templates: str | None) -> tuple[Path, int]:
        """The folder of templates, and how many were copied there: those that it lacked."""
        variable = "ANNOUNCER_TEMPLATES"
        # Not the environment's: in a container that is the place where this folder will be seen.
        before = self.new.get(variable) or dict(ground.read_file()).get(variable)
        folder = Path(templates or before or FOLDER)
        if str(folder) != before:
            self.new[variable] = str(folder)
        self._examine()  # before anything is written
        copied = 0
        try:
            for source in sorted(SHIPPED.rglob("*.txt")):
                copy = folder / source.relative_to(SHIPPED)
                if not copy.exists():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, copy)
                    copied += 1
        except OSError as problem:
            ground.fail(f"{folder} can not be written ({problem.strerror}): see --templates")
        return folder, copied

    def write(self) -> None:
        try:
            envfile.write(self.new)
        except envfile.Unusable as problem:
            ground.fail(f".env {problem}")

    def _examine(self) -> None:
        try:
            wiring.read({**self._known, **self.new})
        except SettingsError as error:
            ground.stop(error.problems)

    def _lacks(self, variable: str) -> bool:
        there = (self.new, self._known)
        return not any(one.get(f"{variable}{end}") for one in there for end in ("", "_FILE"))


def _is_secret(variable: str) -> bool:
    head, _, rest = variable.partition("_")
    field = rest.rpartition("__")[2].lower() if rest.startswith("_") else rest.lower()
    known: dict[str, list[type[BaseModel]]] = {
        "ANNOUNCER": [Service, Rules, Quiet],
        "OWNCAST": [OwncastServer],
    }
    groups = known.get(head, []) + [
        kind for kind in choosing.kinds().values() if kind.name.upper() == head
    ]
    return any(
        field in group.model_fields and is_secret(group.model_fields[field]) for group in groups
    )


def _missing(kind: type[Network], field: str) -> str:
    variable, info = variable_name(kind.name.upper(), field), kind.model_fields[field]
    if is_secret(info):
        return f"--set-file {variable}=FILE (`-` for standard input) is missing: {info.description}"
    return f"--set {variable}=VALUE is missing: {info.description}"


def _web(answer: str) -> str:
    """As people write it: without the scheme, with a slash at the end, from the admin pages."""
    return with_scheme(answer).removesuffix("/admin").rstrip("/")
