"""The first page: am I live, who was told, what do they see, what is wrong; and buttons for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.lateness import span
from announcer.network import Moment
from announcer.outbox import StorageError
from announcer.policy import CHANGE, Broadcast, State
from announcer.quiet import PAUSED
from announcer.web.cards import PostCard, card
from announcer.web.say import away, say
from announcer.web.stream import stream
from announcer.wiring import DEFAULT, Parts

log = structlog.get_logger("announcer.pages")

ENDED = 1
"""How many broadcasts are shown that have ended, if none is live."""
LOOKED_AT = 50
"""Among how many of the newest broadcasts those that are live are looked for."""


@dataclass(frozen=True)
class ShowView:
    """One broadcast as the page shows it."""

    id: str
    channel: str
    title: str
    live: bool
    began: datetime
    stopped: datetime | None
    length: str
    peak: int | None
    told: int
    cards: tuple[PostCard, ...]
    held: bool


def blueprint(parts: Parts) -> Blueprint:
    pages = Blueprint("now", __name__)
    desk = parts.outbox

    @pages.get("/")
    def home() -> ResponseReturnValue:
        said = request.args.get("said", "")
        done = say(f"action.{said}") if said in DONE else ""
        return render_template("now.html", here="now", pieces=_pieces(parts), done=done)

    @pages.get("/now/events")
    def events() -> ResponseReturnValue:
        return stream(lambda: _pieces(parts), page="/")

    @pages.get("/pictures/<digest>")
    def picture(digest: str) -> ResponseReturnValue:
        found = desk.picture(digest) if len(digest) == 64 and digest.isalnum() else None
        if found is None:
            abort(404)
        kept = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(found.data, mimetype=found.mime, headers=kept)

    @pages.post("/do/<what>")
    def act(what: str) -> ResponseReturnValue:
        if what not in ("retry", "sent", "now", "down", "announce", "pause", "resume"):
            abort(404)
        done = _do(parts, what, request.form.get("key", ""), datetime.now(UTC))
        log.info("page", action=what, post=request.form.get("key", "")[:250], done=done)
        return away("", said=f"done_{what}" if done else "nothing")

    @pages.errorhandler(StorageError)
    def no_database(problem: StorageError) -> ResponseReturnValue:
        log.error("page", outcome=503, reason=type(problem).__name__)
        return Response(f"{say('door.no_database')}\n", 503, mimetype="text/plain")

    return pages


DONE = {
    *(f"done_{what}" for what in ("retry", "sent", "now", "down", "announce", "pause", "resume")),
    "nothing",
}


def _do(parts: Parts, what: str, key: str, now: datetime) -> bool:
    """False if there was nothing (any more) to be done."""
    desk, until = parts.outbox, now + parts.settings.rules.give_up
    match what:
        case "retry":
            entry = desk.retry(key, now, until)
            if entry:
                desk.reopen(entry.destination, now)
            done = entry is not None
        case "sent":
            done = desk.mark_sent(key, now) is not None
        case "now":
            destination = desk.hurry(key, now)
            if destination:
                desk.reopen(destination, now)
            done = destination is not None
        case "down":
            done = desk.take_down(key, now, now + CHANGE) is not None
        case "announce":
            done = bool(desk.announce(key, now, until))
        case "pause":
            desk.pause(PAUSED, now)
            done = True
        case _:
            done = desk.resume()
    parts.clock.wake()
    return done


def _pieces(parts: Parts) -> Mapping[str, str]:
    """The parts of the page that change by themselves: HTML by id, in order."""
    now = datetime.now(UTC)
    shows = _shows(parts, now)
    told = {
        "state": render_template(
            "parts/state.html",
            shows=shows,
            paused=parts.outbox.paused(),
            destinations=[
                name
                for name in parts.settings.destinations
                if name not in parts.settings.service.alerts
            ],
            several=len(parts.channels) > 1,
        )
    }
    for name, (_, why) in parts.outbox.closed().items():
        told[f"closed-{name}"] = render_template("parts/closed.html", destination=name, why=why)
    for name, breaker in parts.outbox.breakers(now).items():
        told[f"alone-{name}"] = render_template(
            "parts/alone.html", destination=name, until=breaker.until, why=breaker.reason
        )
    for show in shows:
        told[f"show-{show.id}"] = render_template(
            "parts/show.html", show=show, several=len(parts.channels) > 1
        )
    return told


def _shows(parts: Parts, now: datetime) -> list[ShowView]:
    """Those that are live; the last one, if none is."""
    newest = parts.outbox.history(LOOKED_AT if len(parts.channels) > 1 else 5)
    chosen = [pair for pair in newest if pair[0].live] or newest[:ENDED]
    settings = parts.settings
    views = []
    for show, posts in chosen:
        cards = tuple(
            card(show, post, settings.destinations.get(post.entry.destination), settings.rules, now)
            for post in posts
            if post.entry.moment is not Moment.ALERT
        )
        told = sum(
            post.entry.shown is not None for post in posts if post.entry.moment is Moment.LIVE
        )
        held = show.live and any(
            post.entry.state is State.WITHDRAWN and post.entry.hush.value for post in posts
        )
        views.append(_view(show, cards, told, held=held, now=now))
    return views


def _view(
    show: Broadcast, cards: tuple[PostCard, ...], told: int, *, held: bool, now: datetime
) -> ShowView:
    return ShowView(
        id=show.id,
        channel="" if show.channel == DEFAULT else show.channel,
        title=show.title or show.name,
        live=show.live,
        began=show.began,
        stopped=show.stopped,
        length=span((show.stopped or now) - show.began),
        peak=show.peak_viewers,
        told=told,
        cards=cards,
        held=held,
    )
