"""Quiet, by the operator's word, and the opposite."""

from datetime import UTC, datetime

import click

from announcer import wiring
from announcer.cli import ground
from announcer.quiet import PAUSED


@click.command()
@ground.with_json
def pause(as_json: bool) -> None:
    """Announce nothing new until `announcer resume`, but keep true what is up."""
    settings = ground.settings()
    now = datetime.now(UTC)
    with ground.storage():
        outbox = wiring.open_outbox(settings)
        before = outbox.paused()
        held = outbox.pause(PAUSED, now)
    if as_json:
        ground.say({"paused_since": (before or now).isoformat(), "withdrawn": held})
        return
    for key in held:
        click.echo(f"{key} was about to be announced and is withdrawn")
    since = f", since {before:%Y-%m-%d %H:%M} UTC" if before else ""
    click.echo(f"paused{since}: nothing new is announced until `announcer resume`")


@click.command()
@ground.with_json
def resume(as_json: bool) -> None:
    """Announce again, from the next stream on."""
    settings = ground.settings()
    with ground.storage():
        was_paused = wiring.open_outbox(settings).resume()
    if as_json:
        ground.say({"was_paused": was_paused})
    else:
        click.echo("resumed: the next stream is announced" if was_paused else "it was not paused")


@click.command()
@click.argument("broadcast", default="")
@ground.with_json
def announce(broadcast: str, as_json: bool) -> None:
    """Announce BROADCAST (else the newest live one) now, whatever the rules for quiet say."""
    settings = ground.settings()
    now = datetime.now(UTC)
    with ground.storage():
        outbox = wiring.open_outbox(settings)
        shows = [show for show, _ in outbox.history(1000) if broadcast in ("", show.id)]
        show = next((show for show in shows if show.live), None)
        if show is None:
            what = "has ended" if shows and broadcast else "is not known" if broadcast else ""
            ground.fail(f"{broadcast} {what}" if what else "nothing is live")
        keys = outbox.announce(show.id, now, now + settings.rules.give_up)
    if not keys:
        ground.fail(f"{show.id}: no rule holds it back; see `announcer history`")
    if as_json:
        ground.say({"due": keys})
        return
    for key in keys:
        click.echo(f"{key} will be sent by the running service within seconds")
