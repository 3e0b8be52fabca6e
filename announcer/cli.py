"""Commands. Errors name the variable and the remedy, never a traceback."""

import json
import os
import resource
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import click
import structlog

from announcer import crashpoints, outbox, reference, rehearsal, wire, wiring
from announcer.content import Channel, thaw
from announcer.lateness import lateness
from announcer.logs import configure
from announcer.migrations import SchemaTooNew
from announcer.network import DeliveryError, Moment, Network, Welcomes
from announcer.outbox import BadAddress, StorageError, Unusable
from announcer.policy import Broadcast
from announcer.quiet import PAUSED
from announcer.settings import SettingsError
from announcer.watch import About, Watch, sight_of
from announcer.wiring import Settings

PREVIEWED = timedelta(hours=2, minutes=5)
"""How long the stream of a preview lasted when it ended."""
UNUSABLE, TROUBLE = 2, 1
"""Exit status: settings that can not be used; something that was asked for is not well."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="announcer")
def main() -> None:
    """Tell your audience, on every network you use, that your Owncast stream is live."""


@main.command()
def serve() -> None:
    """Run the service."""
    settings = _settings()
    doors = settings.open_doors()
    if doors:
        _stop(doors)
    if danger := crashpoints.arm(os.environ):
        structlog.get_logger("announcer.crashpoints").critical("crashpoints", reason=danger)
    with _storage():
        if not outbox.inspect(settings.service.database_url.get_secret_value()):
            click.echo("the database is big: looked for damage in a part of it only", err=True)
        wiring.open_outbox(settings).engine.dispose()
    from announcer.web.server import Server  # gunicorn is of no use to the other commands

    # Of a crash no image of our memory is left on disk: all secrets stand in it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    Server(settings).run()


@main.command()
@click.option("--offline", is_flag=True, help="Ask no network; say what was not checked.")
def check(offline: bool) -> None:
    """Check settings, templates and every account, without posting anything."""
    settings = _settings()
    well = True
    for line in settings.open_doors():
        click.echo(f"webhook    {line}")
        well = False
    wire.Session.proxy = settings.service.proxy
    templates = wiring.composer(settings).templates
    for name, network in settings.destinations.items():
        if name in settings.service.alerts:
            click.echo(f"{name}    gets alerts and no announcements")
        limit = network.usual_limit if offline else None
        problems = templates.problems(name, network, limit=limit)
        for problem in problems:
            click.echo(f"{name}    template {problem}")
        well = well and not problems
        if offline:
            click.echo(f"{name}    account not checked (offline)")
        else:
            well = _check_account(name, network, settings) and well
    for name, server in settings.channels.items():
        if not server.url:
            variable = "OWNCAST_URL" if name == wiring.DEFAULT else f"OWNCAST__{name.upper()}__URL"
            click.echo(f"{name}    {variable} is not set: announcements will have no link")
        elif offline:
            click.echo(f"{name}    {server.url} not checked (offline)")
        else:
            status = Watch(server.url).status()
            title = f": {status.title}" if status and status.live and status.title else ""
            seen = wire.plain(f"{sight_of(status).value}{title}")
            click.echo(f"{name}    {server.url} says: {seen}")
    if not any(settings.audience(channel) for channel in settings.channels):
        click.echo("no destination is configured: nobody would be told")
        well = False
    sys.exit(0 if well else TROUBLE)


def _check_account(name: str, network: Network, settings: Settings) -> bool:
    if isinstance(network, Welcomes):  # how many have come
        with _storage():
            wiring.give_place(network, wiring.open_outbox(settings), name)
    try:
        account = network.check()
    except DeliveryError as problem:
        click.echo(f"{name}    {wire.plain(settings.redactor(str(problem)))}")
        return False
    click.echo(f"{name}    ok, {wire.plain(f'{account.handle} {account.url}')}".rstrip())
    for note in account.notes:
        click.echo(f"{name}    note: {wire.plain(note)}")
    return True


@main.command()
@click.option("--title", default="Fitting a dovetail drawer", help="Title of the stream.")
@click.option("--name", default="Kestrel Workshop", help="Name of the server.")
@click.option(
    "--summary", default="Woodwork and repair, live from a small shed.", help="About the server."
)
@click.option("--tag", "tags", multiple=True, default=("woodwork", "repair"), help="Repeatable.")
def preview(title: str, name: str, summary: str, tags: tuple[str, ...]) -> None:
    """Show every text as its network would get it, with its length."""
    settings = _settings()
    wire.Session.proxy = settings.service.proxy
    composer = wiring.composer(settings)
    now = datetime.now(UTC)
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
                length = f"{network.measure(wording.text)}/{network.limit()} {network.unit}"
                click.secho(f"{destination} {mood}  {length}  {wording.template}", bold=True)
                if wording.problem:
                    click.secho(f"! {wording.problem}", fg="red")
                click.echo(f"{wording.text}\n")


@main.command()
@click.argument("what", type=click.Choice(["start", "title", "stop"]))
@click.option("--title", default="Fitting a dovetail drawer", help="Title of the stream.")
@click.option("--name", default="Kestrel Workshop", help="Name of the server.")
@click.option("--channel", default=wiring.DEFAULT, help="Which Owncast server to play.")
def simulate(what: str, title: str, name: str, channel: str) -> None:
    """Send the running service a genuine webhook, as Owncast would."""
    settings = _settings()
    server = settings.channels.get(channel)
    if server is None:
        raise click.ClickException(f"there is no channel {channel}")
    if not server.webhook_secret and not server.webhook_token:
        _stop(settings.open_doors())
    service = settings.service
    try:
        status, said = rehearsal.send(rehearsal.webhook(what, title, name), server, service)
    except DeliveryError as problem:
        place = rehearsal.place(service)
        raise click.ClickException(f"{place} does not answer ({problem}): is it running?") from None
    click.echo(f"the service answered {status} {said}".rstrip())
    sys.exit(0 if status == 204 else TROUBLE)


@main.command()
@click.option("--broadcasts", default=10, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def history(broadcasts: int, as_json: bool) -> None:
    """List what was posted where, or why not."""
    settings = _settings()
    with _storage():
        outbox = wiring.open_outbox(settings)
        shows, paused = outbox.history(broadcasts), outbox.paused()
        closed, left_alone = outbox.closed(), outbox.breakers(datetime.now(UTC))
    if as_json:
        rows = [
            {
                "key": post.entry.key,
                "state": post.entry.state.value,
                "url": post.receipt.url if post.receipt else "",
                "reason": post.entry.reason,
                "late": lateness(show, post, settings.rules),
                "text": thaw(post.content).text if post.content else "",
                "tries": [
                    {
                        "at": t.at.isoformat(),
                        "took": t.took,
                        "step": t.step,
                        "outcome": t.outcome,
                        "reason": t.reason,
                    }
                    for t in post.tries
                ],
            }
            for show, told in shows
            for post in told
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    if paused:
        click.echo(f"paused since {paused:%Y-%m-%d %H:%M} UTC: `announcer resume` ends it")
    for name, (_, why) in closed.items():
        click.echo(f"{name} is closed until its settings change: {wire.plain(why)}")
    for name, breaker in left_alone.items():
        until, why = f"{breaker.until:%H:%M:%S} UTC", wire.plain(breaker.reason)
        click.echo(f"{name} is left alone until {until}: {why}")
    for show, told in shows:
        state = "live" if show.live else "ended"
        title = wire.plain(show.title or show.name)  # whose, nobody knows: a terminal obeys some
        click.echo(f"{show.began:%Y-%m-%d %H:%M}  {state}  {show.id}  {title}")
        if not told:
            click.echo("  nobody was told: it began too long ago, or no destination was configured")
        for post in told:
            link = post.receipt.url if post.receipt else ""
            late = lateness(show, post, settings.rules)
            detail = wire.plain(" ".join(filter(None, (link, post.entry.reason, late))), 500)
            count = f"{len(post.tries)} {'try' if len(post.tries) == 1 else 'tries'}"
            click.echo(
                f"  {post.entry.state.value:9}  {post.entry.key}  {count}  {detail}".rstrip()
            )


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
def backup(file: Path, force: bool) -> None:
    """Copy the database to FILE while the service runs."""
    settings = _settings()
    url = settings.service.database_url.get_secret_value()
    try:
        size = outbox.backup(url, file, force=force)
    except BadAddress:
        _stop(["ANNOUNCER_DATABASE_URL can not be used: write it like sqlite:///announcer.db"])
    except Unusable as problem:
        _stop([f"not copied: {problem}"])
    except (sqlite3.Error, OSError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise click.ClickException(f"{file} can not be written: {reason}") from None
    click.echo(f"{file}: {size / 1e6:.1f} MB, looked through and found sound")


@main.command()
@click.argument("key")
def retry(key: str) -> None:
    """Send the post KEY again, as `announcer history` names it."""
    settings = _settings()
    now = datetime.now(UTC)
    with _storage():
        outbox = wiring.open_outbox(settings)
        entry = outbox.retry(key, now, now + settings.rules.give_up)
        if entry:
            outbox.reopen(entry.destination, now)
    if entry is None:
        raise click.ClickException(
            f"{key}: no post that failed, is unsure or was withdrawn, of a stream that is still "
            "live; see `announcer history`"
        )
    click.echo(f"{key} will be sent by the running service within seconds")


@main.command()
def pause() -> None:
    """Announce nothing new until `announcer resume`, but keep true what is up."""
    settings = _settings()
    with _storage():
        outbox = wiring.open_outbox(settings)
        before = outbox.paused()
        held = outbox.pause(PAUSED, datetime.now(UTC))
    for key in held:
        click.echo(f"{key} was about to be announced and is withdrawn")
    since = f", since {before:%Y-%m-%d %H:%M} UTC" if before else ""
    click.echo(f"paused{since}: nothing new is announced until `announcer resume`")


@main.command()
def resume() -> None:
    """Announce again, from the next stream on."""
    settings = _settings()
    with _storage():
        was_paused = wiring.open_outbox(settings).resume()
    click.echo("resumed: the next stream is announced" if was_paused else "it was not paused")


@main.command()
@click.argument("broadcast", default="")
def announce(broadcast: str) -> None:
    """Announce BROADCAST (else the newest live one) now, whatever the rules for quiet say."""
    settings = _settings()
    now = datetime.now(UTC)
    with _storage():
        outbox = wiring.open_outbox(settings)
        shows = [show for show, _ in outbox.history(1000) if broadcast in ("", show.id)]
        show = next((show for show in shows if show.live), None)
        if show is None:
            what = "has ended" if shows and broadcast else "is not known" if broadcast else ""
            raise click.ClickException(f"{broadcast} {what}" if what else "nothing is live")
        keys = outbox.announce(show.id, now, now + settings.rules.give_up)
    if not keys:
        raise click.ClickException(f"{show.id}: no rule holds it back; see `announcer history`")
    for key in keys:
        click.echo(f"{key} will be sent by the running service within seconds")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("docs"))
@click.option("--check", "compare", is_flag=True, help="Only say whether they are up to date.")
def docs(folder: Path, compare: bool) -> None:
    """Write docs/settings.md and docs/networks.md from the code."""
    stale = []
    for name, text in reference.pages().items():
        path = folder / name
        if compare:
            if not path.is_file() or path.read_text("utf-8") != text:
                stale.append(str(path))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    for path_name in stale:
        click.echo(f"{path_name} is out of date: run `announcer docs`", err=True)
    sys.exit(TROUBLE if stale else 0)


@main.command()
@click.option("--port", default=8000, show_default=True, help="Where the page is shown.")
@click.option(
    "--stay",
    type=int,
    default=None,
    help="Seconds to keep the page up afterwards; without it, until Ctrl-C on a terminal, else 30.",
)
def demo(port: int, stay: int | None) -> None:
    """Show the whole thing with nothing configured: a scripted broadcast, posts on a local page."""
    from announcer import demo as play

    if stay is None and not sys.stdin.isatty():
        stay = 30
    sys.exit(play.run(port, stay))


def _variables() -> Mapping[str, str]:
    from dotenv.main import DotEnv

    try:
        lines = list(DotEnv(".env", interpolate=False, encoding="utf-8").parse())
    except (OSError, UnicodeDecodeError) as problem:
        _stop([f".env can not be read ({type(problem).__name__})"])
    for name, times in Counter(name for name, _ in lines).items():
        if times > 1:
            click.echo(f"warning: {name} is set {times} times in .env, the last counts", err=True)
    written = {name: value for name, value in lines if value is not None}
    ours = {name: os.environ[name] for name in os.environ.keys() - crashpoints.VARIABLES}
    return written | ours


def _settings() -> Settings:
    try:
        settings = wiring.read(_variables())
    except SettingsError as error:
        _stop(error.problems)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    # Before anything else is done: libraries warn of addresses, and some of these are secrets.
    service = settings.service
    configure(service.log_level, service.log_format, settings.redactor)
    return settings


def _stop(problems: list[str]) -> NoReturn:
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(UNUSABLE)


@contextmanager
def _storage() -> Iterator[None]:
    """Around everything that opens the database."""
    try:
        yield
    except (StorageError, SchemaTooNew, Unusable, OSError, ImportError) as problem:
        reason = _why(problem)
        raise click.ClickException(f"ANNOUNCER_DATABASE_URL can not be used: {reason}") from None


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
