"""Before anybody is told: is everything well, what would be said, and does it arrive?"""

from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import click

from announcer import connect as helpers
from announcer import envfile, outbox, trial, wire, wiring
from announcer.cli import ground
from announcer.content import Channel
from announcer.network import DeliveryError, Moment, Network, Refused, Welcomes
from announcer.policy import Broadcast
from announcer.settings import SettingsError, variable_name
from announcer.watch import About, Watch, sight_of
from announcer.wiring import Settings

PREVIEWED = timedelta(hours=2, minutes=5)
"""How long the stream of a preview lasted when it ended."""
NOBODY = "no destination is configured (`announcer connect` and docs/networks.md bring one)"
Kind = Literal[
    "webhook", "database", "alerts", "template", "account", "note", "channel", "audience"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw. *well* is None where it did not look."""

    about: str
    what: Kind
    well: bool | None
    says: str

    def line(self) -> str:
        words = f"note: {self.says}" if self.what == "note" else self.says
        words = f"template {words}" if self.what == "template" and self.about else words
        if self.what == "account" and self.well:
            words = click.style("ok", fg="green") + f", {words}".rstrip(", ")
        elif self.well is False:
            words = click.style(words, fg="red")
        return f"{self.about}    {words}" if self.about else words


@click.command()
@click.option("--offline", is_flag=True, help="Ask no network; say what was not checked.")
@ground.with_json
def check(offline: bool, as_json: bool) -> None:
    """Check settings, templates and every account, without posting anything."""
    well, found = look(ground.settings(), offline=offline, silent=as_json)
    if as_json:
        ground.say({"well": well, "found": found})
    if envfile.is_open():
        words = "others on this machine can read .env and its secrets: chmod 600 .env"
        click.echo(f"warning: {words}", err=True)
    if not well:
        for words in ground.where_to_begin():
            click.echo(words, err=True)
    ground.leave(well=well)


def look(
    settings: Settings,
    *,
    offline: bool = False,
    silent: bool = False,
    only: Collection[str] = (),
) -> tuple[bool, list[dict[str, Any]]]:
    """Whether all is well, and what there is; told as it is found, unless *silent*. *only* some
    destinations, if there are any.
    """
    wire.Session.proxy = settings.service.proxy
    found = []
    for finding in _findings(settings, offline, only):
        found.append(finding)
        if not silent:
            click.echo(finding.line())
    return all(one.well is not False for one in found), [asdict(one) for one in found]


def _findings(settings: Settings, offline: bool, only: Collection[str]) -> Iterator[Finding]:
    if not only:
        for line in settings.open_doors():
            yield Finding("webhook", "webhook", False, line)
        yield from _database(settings, offline)
    templates, folder = wiring.composer(settings).templates, settings.service.templates
    lost = folder is not None and not folder.is_dir()
    if lost and not only:
        words = f"ANNOUNCER_TEMPLATES: there is no folder {folder}, so the shipped texts are used"
        yield Finding("", "template", False, words)
    for name, network in settings.destinations.items():
        if only and name not in only:
            continue
        if name in settings.service.alerts:
            yield Finding(name, "alerts", None, "gets alerts and no announcements")
        limit = network.usual_limit if offline else None
        with ground.waiting(f"asking {name}"):
            problems = templates.problems(name, network, limit=limit)
        for problem in problems:
            if not (lost and problem.startswith("own:")):
                yield Finding(name, "template", False, problem)
        if offline:
            yield Finding(name, "account", None, "account not checked (offline)")
        else:
            yield from _account(name, network, settings)
    if not only:
        yield from _channels(settings, offline)


def _database(settings: Settings, offline: bool) -> Iterator[Finding]:
    """What is wrong with it, if anything."""
    try:
        outbox.examine(settings.service.database_url.get_secret_value(), reach=not offline)
    except ground.TROUBLES as problem:
        yield Finding("database", "database", False, ground.unusable(problem))


def _account(name: str, network: Network, settings: Settings) -> Iterator[Finding]:
    if isinstance(network, Welcomes):  # how many have come
        with ground.storage():
            wiring.give_place(network, wiring.open_outbox(settings), name)
    try:
        with ground.waiting(f"asking {name}"):
            account = network.check()
    except DeliveryError as problem:
        words = wire.plain(settings.redactor(str(problem)))
        # Of a server that has no time nothing here is wrong.
        if isinstance(problem, Refused) or not words[:1].isdigit():
            words = f"{words}: {_where_to_look(name, network)}"
        yield Finding(name, "account", False, words)
        return
    yield Finding(name, "account", True, wire.plain(f"{account.handle} {account.url}").rstrip())
    for note in account.notes:
        yield Finding(name, "note", None, wire.plain(note))


def _where_to_look(destination: str, network: Network) -> str:
    """The variables that lead to an account, and how to fill them anew."""
    kind, _, account = destination.partition(".")
    prefix = f"{kind}__{account}".upper() if account else kind.upper()
    names = [
        variable_name(prefix, field)
        for field, info in type(network).model_fields.items()
        if info.is_required()
        or (field in network.model_fields_set and str(info.default).startswith("http"))
    ]
    words = f"look at {', '.join(names)}"
    if kind not in helpers.names():
        return words
    return f"{words}, or run `announcer connect {kind}{f' --account {account}' * bool(account)}`"


def _channels(settings: Settings, offline: bool) -> Iterator[Finding]:
    for name, server in settings.channels.items():
        if not server.url:
            words = f"{_url_of(name)} is not set: announcements will have no link"
            yield Finding(name, "channel", None, words)
        elif offline:
            yield Finding(name, "channel", None, f"{server.url} not checked (offline)")
        else:
            yield _stream(name, server.url)
    if not any(settings.audience(channel) for channel in settings.channels):
        yield Finding("", "audience", False, f"{NOBODY}: nobody would be told")


def _url_of(channel: str) -> str:
    return "OWNCAST_URL" if channel == wiring.DEFAULT else f"OWNCAST__{channel.upper()}__URL"


def _stream(channel: str, url: str) -> Finding:
    try:
        with ground.waiting(f"asking {url}"):
            status = Watch(url).proof()
    except DeliveryError as problem:
        words = f"{_url_of(channel)}: no Owncast at {url} ({wire.plain(problem)})"
        return Finding(channel, "channel", False, f"{words}; is it the address of the stream?")
    title = f": {status.title}" if status.live and status.title else ""
    seen = wire.plain(f"{sight_of(status).value}{title}")
    return Finding(channel, "channel", None, f"{url} says: {seen}")


@click.command()
@click.option("--title", default="Fitting a dovetail drawer", help="Title of the stream.")
@click.option("--name", default="Kestrel Workshop", help="Name of the server.")
@click.option(
    "--summary", default="Woodwork and repair, live from a small shed.", help="About the server."
)
@click.option("--tag", "tags", multiple=True, default=("woodwork", "repair"), help="Repeatable.")
@ground.with_json
def preview(title: str, name: str, summary: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Show every text as its network would get it, with its length."""
    settings = ground.settings()
    composer = wiring.composer(settings)
    now = datetime.now(UTC)
    texts = []
    for channel, server in settings.channels.items():
        show = Broadcast(
            "preview", channel, now, now, now, None, name=name, title=title, summary=summary
        )
        facts = composer.facts(show, Channel(channel, server.url or ""), About(tags))
        over = replace(facts, ended_at=now + PREVIEWED, peak_viewers=17)
        for destination in settings.audience(channel):
            network = settings.destinations[destination]
            for mood, told in ((Moment.LIVE, facts), (Moment.ENDED, over)):
                wording = composer.templates.word(network, destination, mood, told)
                text = {
                    "destination": destination,
                    "moment": mood.value,
                    "text": wording.text,
                    "length": network.measure(wording.text),
                    "limit": network.limit(),
                    "unit": network.unit,
                    "template": wording.template,
                    "problem": wording.problem,
                }
                texts.append(text)
                if not as_json:
                    _show(text)
    if as_json:
        ground.say(texts)
    elif not texts:
        ground.fail("; ".join([NOBODY, *ground.where_to_begin()]))


def _show(text: dict[str, Any]) -> None:
    length = f"{text['length']}/{text['limit']} {text['unit']}"
    head = f"{text['destination']} {text['moment']}  {length}  {text['template']}"
    click.secho(head, bold=True)
    if text["problem"]:
        click.secho(f"! {text['problem']}", fg="red")
    click.echo(f"{text['text']}\n")


def _names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For completion. Whatever is wrong with the settings is not said there."""
    try:
        names = wiring.read(ground.variables()).destinations
    except (SettingsError, SystemExit):
        return []
    return [name for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("destination", default="", shell_complete=_names)
@click.option("--keep", is_flag=True, help="Leave the post there, to look at it.")
@click.option("--yes", is_flag=True, help="Post to all destinations without asking first.")
@ground.with_json
def test(destination: str, keep: bool, yes: bool, as_json: bool) -> None:
    """Post to DESTINATION (else to all) that this is a test, pinging nobody, and take it away."""
    settings = ground.settings()
    if destination and destination not in settings.destinations:
        known = ", ".join(settings.destinations) or "none"
        ground.fail(f"there is no destination {destination}; there are: {known}")
    chosen = [destination] if destination else list(settings.destinations)
    if not chosen:
        ground.fail("; ".join([NOBODY, *ground.where_to_begin()]))
    if not destination and not yes and ground.has_person():
        click.echo(f"A test post goes to {', '.join(chosen)}.", err=True)
        click.confirm("Go on?", default=True, abort=True, err=True)
    results = []
    for name in chosen:
        with nullcontext() if as_json else ground.waiting(f"posting to {name}"):
            result = trial.run(name, settings.destinations[name], datetime.now(UTC), keep=keep)
        said = replace(result, says=settings.redactor(result.says))
        results.append(said)
        if not as_json:
            colour = "green" if said.well else "red"
            words = wire.plain(said.says, 500)
            click.echo(f"{name}    {click.style(words, fg=colour)} {said.url}".rstrip())
    if as_json:
        ground.say([asdict(one) for one in results])
    ground.leave(well=all(one.well for one in results))
