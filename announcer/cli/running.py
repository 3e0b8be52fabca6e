"""The running service, and those who play with it."""

import os
import resource
import sys

import click
import structlog

from announcer import crashpoints, outbox, rehearsal, wiring
from announcer.cli import ground
from announcer.network import DeliveryError
from announcer.watch import Watch


@click.command()
def serve() -> None:
    """Run the service."""
    settings = ground.settings()
    doors = settings.open_doors()
    if doors:
        ground.stop(doors + ground.where_to_begin())
    if danger := crashpoints.arm(os.environ):
        structlog.get_logger("announcer.crashpoints").critical("crashpoints", reason=danger)
    with ground.storage():
        if not outbox.inspect(settings.service.database_url.get_secret_value()):
            click.echo("the database is big: looked for damage in a part of it only", err=True)
        wiring.open_outbox(settings).engine.dispose()
    from announcer.web.server import Server  # gunicorn is of no use to the other commands

    # Of a crash no image of our memory is left on disk: all secrets stand in it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    Server(settings).run()


@click.command()
@click.argument("what", type=click.Choice(["start", "title", "stop"]))
@click.option("--title", default="Fitting a dovetail drawer", help="Title of the stream.")
@click.option("--name", default="Kestrel Workshop", help="Name of the server.")
@click.option("--channel", default=wiring.DEFAULT, help="Which Owncast server to play.")
@ground.with_json
def simulate(what: str, title: str, name: str, channel: str, as_json: bool) -> None:
    """Send the running service a genuine webhook, as Owncast would."""
    settings = ground.settings()
    server = settings.channels.get(channel)
    if server is None:
        ground.fail(f"there is no channel {channel}")
    if not server.webhook_secret and not server.webhook_token:
        ground.stop(settings.open_doors())
    service = settings.service
    try:
        status, said = rehearsal.send(rehearsal.webhook(what, title, name), server, service)
    except DeliveryError as problem:
        place = rehearsal.place(service)
        ground.fail(f"{place} does not answer ({problem}): is it running?")
    if as_json:
        ground.say({"status": status, "said": said})
    else:
        click.echo(f"the service answered {status} {said}".rstrip())
    if what == "start" and status == 204 and server.url:
        seen = Watch(server.url).status()
        if seen and not seen.live:
            click.echo(
                f"note: {server.url} is offline, and so nothing is announced; `announcer test` "
                "posts without a stream",
                err=True,
            )
    ground.leave(well=status == 204)


@click.command()
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

    if stay is None and not ground.has_person():
        stay = 30
    sys.exit(play.run(port, stay))
