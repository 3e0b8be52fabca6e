"""The first page: am I live, who was told, what do they see, what is wrong; and buttons for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.lateness import span
from announcer.network import Moment
from announcer.outbox import Shown, Sought, StorageError
from announcer.policy import CHANGE, Broadcast, Entry, Hush, State
from announcer.quiet import PAUSED
from announcer.web import trouble
from announcer.web.asking import asked
from announcer.web.cards import TONES, PostCard, anchor, card
from announcer.web.say import away, count, say
from announcer.web.stream import stream
from announcer.wiring import DEFAULT, Parts

log = structlog.get_logger("announcer.pages")

ACTIONS = ("retry", "sent", "now", "down", "announce", "pause", "resume")


@dataclass(frozen=True)
class ShowView:
    """One broadcast as the page shows it."""

    id: str
    channel: str
    title: str
    live: bool
    began: datetime
    length: str
    peak: int | None
    summary: str
    tone: str
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
        if what not in ACTIONS:
            abort(404)
        key = request.form.get("key", "")
        question = _question(parts, what, key)
        if question and (page := asked(question, say(f"action.{what}"), back="")):
            return page
        done = _do(parts, what, key, datetime.now(UTC))
        log.info("page", action=what, post=key[:250], done=done)
        return away("", said=f"done_{what}" if done else "nothing")

    pages.register_error_handler(StorageError, trouble.no_database)

    return pages


DONE = {*(f"done_{what}" for what in ACTIONS), "nothing"}


def _question(parts: Parts, what: str, key: str) -> str:
    """What is to be asked first; empty if nothing is. As it is now: the page may be old."""
    if what == "down":
        return say("action.down_ask")
    if what != "retry":
        return ""
    found = parts.outbox.search(1, Sought(broadcast=key.partition("/")[0]))
    entries = [post.entry for _, posts in found for post in posts]
    doubt = any(one.key == key and one.state is State.UNSURE for one in entries)
    return say("action.retry_ask") if doubt else ""


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
    now, settings = datetime.now(UTC), parts.settings
    current = parts.outbox.current(list(parts.channels))
    shows = [_view(parts, show, posts, now) for show, posts in current]
    several = len(parts.channels) > 1
    state = render_template(
        "parts/state.html",
        live=[show for show in shows if show.live],
        last=next((show for show in shows if not show.live), None),
        paused=parts.outbox.paused(),
        destinations=settings.destinations.keys() - set(settings.service.alerts),
        several=several,
    )
    told = {"state": state}
    for name, (_, why) in parts.outbox.closed().items():
        place = anchor(name, "closed")
        told[place] = render_template("parts/closed.html", id=place, destination=name, why=why)
    for name, breaker in parts.outbox.breakers(now).items():
        place = anchor(name, "alone")
        told[place] = render_template(
            "parts/alone.html", id=place, destination=name, until=breaker.until, why=breaker.reason
        )
    for show in shows:
        place = f"show-{show.id}"
        told[place] = render_template("parts/show.html", id=place, show=show, several=several)
    return told


def _view(parts: Parts, show: Broadcast, posts: list[Shown], now: datetime) -> ShowView:
    settings = parts.settings
    shown = [post for post in posts if post.entry.moment is not Moment.ALERT]
    summary, tone = _summary([post.entry for post in shown if post.entry.moment is Moment.LIVE])
    cards = (
        card(show, post, settings.destinations.get(post.entry.destination), settings.rules, now)
        for post in shown
    )
    return ShowView(
        id=show.id,
        channel="" if show.channel == DEFAULT else show.channel,
        title=show.title or show.name,
        live=show.live,
        began=show.began,
        length=span((show.stopped or now) - show.began) if not show.live else "",
        peak=show.peak_viewers,
        summary=summary,
        tone=tone,
        cards=tuple(sorted(cards, key=lambda one: TONES.index(one.tone))),
        held=show.live and any(_is_held(post.entry) for post in shown),
    )


def _is_held(entry: Entry) -> bool:
    """By a rule that the operator may overrule."""
    rules = (Hush.TITLE, Hush.HOURS, Hush.PAUSE)
    return entry.state is State.WITHDRAWN and entry.hush in rules


def _summary(posts: list[Entry]) -> tuple[str, str]:
    """Who was told, in few words, and the tone of it."""
    up = sum(post.shown is not None for post in posts)
    bad = sum(post.state in (State.FAILED, State.UNSURE) for post in posts)
    wait = sum(post.state in (State.DUE, State.SENDING) and post.shown is None for post in posts)
    words = [say("now.told", told=up, n=len(posts))] if posts else []
    words += [count("now.wait", wait)] if wait else []
    words += [count("now.bad", bad)] if bad else []
    tone = "bad" if bad else "wait" if wait else "good" if up else "quiet"
    return " · ".join(words), tone
