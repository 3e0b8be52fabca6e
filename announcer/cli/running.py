"""The running service, and those who play with it."""

import errno
import os
import resource
import socket
import sys
import time

import click
import structlog

from announcer import crashpoints, outbox, rehearsal, wiring
from announcer.cli import ground
from announcer.cli.accounts import NOBODY
from announcer.network import DeliveryError
from announcer.watch import Watch

PATIENCE = 5.0
"""Seconds that a port may still be held by the service of before."""
HANDED_DOWN = {"LISTEN_FDS", "GUNICORN_FD"}
"""With these gunicorn gets a socket that listens already: from systemd, or from itself."""


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
    if not os.environ.keys() & HANDED_DOWN:
        _be_free(settings.service.host, settings.service.port)
    if ground.has_person():
        _greet(settings)
    from announcer.web.server import Server  # gunicorn is of no use to the other commands

    # Of a crash no image of our memory is left on disk: all secrets stand in it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    Server(settings).run()


def _be_free(host: str, port: int, flag: str = "ANNOUNCER_PORT") -> None:
    """Stops unless it can be listened there: gunicorn would say so in a dozen lines."""
    deadline = time.monotonic() + PATIENCE
    while problem := _why_not(host, port):
        if problem.errno != errno.EADDRINUSE or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    else:
        return
    match problem.errno:
        case errno.EADDRINUSE:
            words = f"{flag}: {port} is taken; stop what runs there, or choose another port"
        case errno.EACCES:
            words = f"{flag}: {port} is for root only; choose one above 1023"
        case _:
            reason = problem.strerror or type(problem).__name__
            words = f"ANNOUNCER_HOST: {host} is no address of this machine ({reason})"
    ground.fail(words)


def _why_not(host: str, port: int) -> OSError | None:
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
            probe.bind(address)
            probe.listen(1)
    except OSError as problem:
        return problem
    return None


def _greet(settings: wiring.Settings) -> None:
    """Somebody who has it before their eyes, and may look for the page."""
    service = settings.service
    click.echo(f"The page: {rehearsal.place(service)}/", err=True)
    if service.admin_password:
        click.echo("Its password: ANNOUNCER_ADMIN_PASSWORD, of .env or the environment.", err=True)
    if not any(settings.audience(channel) for channel in settings.channels):
        click.echo(f"Nobody will be told: {NOBODY}.", err=True)
    click.echo("Ctrl-C ends it.\n", err=True)


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
    if status in (401, 404):
        click.echo(
            "it runs with another OWNCAST_WEBHOOK_SECRET or OWNCAST_WEBHOOK_TOKEN than is set "
            "here: start it again, in this folder",
            err=True,
        )
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

    _be_free("127.0.0.1", port, "--port")
    if stay is None and not ground.has_person():
        stay = 30
    sys.exit(play.run(port, stay))
