"""The outbox by hand: what was posted where, once more, and a copy of all of it."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from announcer import outbox as database
from announcer import wire, wiring
from announcer.cli import ground
from announcer.content import thaw
from announcer.lateness import lateness
from announcer.outbox import BadAddress, Shown, Unusable
from announcer.policy import Broadcast, Rules


@click.command()
@click.option("--broadcasts", default=10, show_default=True, help="How many, the newest first.")
@ground.with_json
def history(broadcasts: int, as_json: bool) -> None:
    """List what was posted where, or why not."""
    settings = ground.settings()
    with ground.storage():
        outbox = wiring.open_outbox(settings)
        shows, paused = outbox.history(broadcasts), outbox.paused()
        closed, left_alone = outbox.closed(), outbox.breakers(datetime.now(UTC))
    if as_json:
        ground.say([_row(show, post, settings.rules) for show, told in shows for post in told])
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
            click.echo(_line(show, post, settings.rules))
    if not shows:
        click.echo("nothing yet: no stream has begun since this database is in use", err=True)


def _row(show: Broadcast, post: Shown, rules: Rules) -> dict[str, Any]:
    return {
        "key": post.entry.key,
        "state": post.entry.state.value,
        "url": post.receipt.url if post.receipt else "",
        "reason": post.entry.reason,
        "late": lateness(show, post, rules),
        "text": thaw(post.content).text if post.content else "",
        "tries": [one.plain() for one in post.tries],
    }


COLOURS = {"settled": "green", "failed": "red", "unsure": "yellow"}


def _line(show: Broadcast, post: Shown, rules: Rules) -> str:
    link = post.receipt.url if post.receipt else ""
    late = lateness(show, post, rules)
    detail = wire.plain(" ".join(filter(None, (link, post.entry.reason, late))), 500)
    count = f"{len(post.tries)} {'try' if len(post.tries) == 1 else 'tries'}"
    state = click.style(f"{post.entry.state.value:9}", fg=COLOURS.get(post.entry.state.value))
    return f"  {state}  {post.entry.key}  {count}  {detail}".rstrip()


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
@ground.with_json
def backup(file: Path, force: bool, as_json: bool) -> None:
    """Copy the database to FILE while the service runs."""
    settings = ground.settings()
    url = settings.service.database_url.get_secret_value()
    try:
        with ground.waiting("copying the database"):
            size = database.backup(url, file, force=force)
    except BadAddress:
        ground.stop(
            ["ANNOUNCER_DATABASE_URL can not be used: write it like sqlite:///announcer.db"]
        )
    except Unusable as problem:
        ground.stop([f"not copied: {problem}"])
    except (sqlite3.Error, OSError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        ground.fail(f"{file} can not be written: {reason}")
    if as_json:
        ground.say({"file": str(file), "bytes": size})
    else:
        click.echo(f"{file}: {size / 1e6:.1f} MB, looked through and found sound")


@click.command()
@click.argument("key")
@ground.with_json
def retry(key: str, as_json: bool) -> None:
    """Send the post KEY again, as `announcer history` names it."""
    settings = ground.settings()
    now = datetime.now(UTC)
    with ground.storage():
        outbox = wiring.open_outbox(settings)
        entry = outbox.retry(key, now, now + settings.rules.give_up)
        if entry:
            outbox.reopen(entry.destination, now)
    if entry is None:
        ground.fail(
            f"{key}: no post that failed, is unsure or was withdrawn, of a stream that is still "
            "live; see `announcer history`"
        )
    if as_json:
        ground.say({"due": [key]})
    else:
        click.echo(f"{key} will be sent by the running service within seconds")
