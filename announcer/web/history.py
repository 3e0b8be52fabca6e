"""What was posted where, when, and why not: searched, looked into, and taken along as a file."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.content import thaw
from announcer.lateness import lateness, span
from announcer.outbox import Shown, Sought, StorageError, cause_of
from announcer.policy import Broadcast, Rules, State
from announcer.web import trouble
from announcer.web.cards import PostCard, card, web_address
from announcer.web.pace import SEASON, paces
from announcer.web.say import say
from announcer.wiring import DEFAULT, Parts

log = structlog.get_logger("announcer.pages")

PAGE = 20
"""Broadcasts on one page."""
FILE, PIECE = 2_000, 50
"""Broadcasts in one file, and read at a time for it."""
FORMULA = (*"=+-@\t\r\n", *"＝＋－＠")
_CELL = re.compile(r"(?<=[;\t\r\n])(?=[ \ufeff]*[=+\-@＝＋－＠])")
"""Where a formula could begin inside of a text: `;` may be taken for the end of a cell."""
WORDS = 200
"""Letters of what is searched for."""
COLUMNS = (
    *(
        "broadcast",
        "channel",
        "title",
        "began",
        "stopped",
        "post",
        "destination",
        "moment",
        "state",
    ),
    *("url", "text", "reason", "late", "try_at", "took", "step", "outcome", "try_reason"),
)


@dataclass(frozen=True)
class Line:
    """One broadcast in the list."""

    show: Broadcast
    title: str
    length: str
    channel: str
    cards: tuple[PostCard, ...]


@dataclass(frozen=True)
class Bar:
    """One broadcast in the picture of the season, in the units of its drawing."""

    x: float
    height: float
    words: str


def blueprint(parts: Parts) -> Blueprint:
    pages = Blueprint("history", __name__)

    @pages.get("/history")
    def listed() -> ResponseReturnValue:
        asked = _asked()
        found = parts.outbox.search(PAGE + 1, asked)
        now = datetime.now(UTC)
        lines = [_line(parts, show, posts, now) for show, posts in found[:PAGE]]
        more = {"words": asked.words, "destination": asked.destination, "state": asked.state}
        more["before"] = found[PAGE - 1][0].id if len(found) > PAGE else ""
        shows = parts.outbox.season(now - SEASON)
        return render_template(
            "history.html",
            here="history",
            lines=lines,
            older=more if len(found) > PAGE else None,
            asked=asked,
            searched=asked != Sought(),
            newest=not asked.before,
            destinations=list(parts.settings.destinations),
            states=[state.value for state in State],
            bars=_bars(shows, now),
            paces=paces(shows).values(),
            streams=len(shows),
            hours=span(sum(((show.stopped or now) - show.began for show, _ in shows), timedelta())),
            peak=max((show.peak_viewers or 0 for show, _ in shows), default=0),
        )

    @pages.get("/history/<broadcast>")
    def one(broadcast: str) -> ResponseReturnValue:
        found = parts.outbox.search(1, Sought(broadcast=broadcast))
        if not found:
            abort(404)
        ((show, posts),) = found
        now = datetime.now(UTC)
        line = _line(parts, show, posts, now)
        return render_template(
            "broadcast.html",
            here="history",
            line=line,
            posts=list(zip(line.cards, posts, strict=True)),
        )

    @pages.get("/history.json")
    def as_json() -> ResponseReturnValue:
        return _file(_json(_rows(parts, _asked())), "application/json", "json")

    @pages.get("/history.csv")
    def as_csv() -> ResponseReturnValue:
        return _file(_csv(_rows(parts, _asked())), "text/csv", "csv")

    pages.register_error_handler(StorageError, trouble.no_database)

    return pages


_TRY = {
    "at": "try_at",
    "took": "took",
    "step": "step",
    "outcome": "outcome",
    "reason": "try_reason",
}


def _asked() -> Sought:
    """What the address asks for. What makes no sense is left out."""
    state = request.args.get("state", "")
    return Sought(
        words=request.args.get("words", "")[:WORDS].strip(),
        destination=request.args.get("destination", "")[:WORDS],
        state=state if state in {one.value for one in State} else "",
        before=request.args.get("before", "")[:WORDS],
    )


def _line(parts: Parts, show: Broadcast, posts: list[Shown], now: datetime) -> Line:
    settings = parts.settings
    return Line(
        show=show,
        title=show.title or show.name,
        length=span((show.stopped or now) - show.began),
        channel="" if show.channel == DEFAULT else show.channel,
        cards=tuple(
            card(show, post, settings.destinations.get(post.entry.destination), settings.rules, now)
            for post in posts
        ),
    )


def rows(show: Broadcast, posts: list[Shown], rules: Rules) -> Iterator[dict[str, Any]]:
    """One for each post, for programs."""
    for post in posts:
        yield {
            "broadcast": show.id,
            "channel": show.channel,
            "title": show.title or show.name,
            "began": show.began.isoformat(),
            "stopped": show.stopped.isoformat() if show.stopped else "",
            "post": post.entry.key,
            "destination": post.entry.destination,
            "moment": post.entry.moment.value,
            "state": post.entry.state.value,
            "url": web_address(post.receipt.url if post.receipt else ""),
            "text": thaw(post.content).text if post.content else "",
            "reason": post.entry.reason,
            "late": lateness(show, post, rules),
            "tries": [one.plain() for one in post.tries],
        }


def _rows(parts: Parts, asked: Sought) -> Iterator[dict[str, Any]]:
    """Read piece by piece, so that a year takes no more memory than a week."""
    for _ in range(FILE // PIECE):
        found = parts.outbox.search(PIECE, asked)
        for show, posts in found:
            yield from rows(show, posts, parts.settings.rules)
        if len(found) < PIECE:
            return
        asked = replace(asked, before=found[-1][0].id)


def _json(told: Iterator[dict[str, Any]]) -> Iterator[str]:
    """An array, one post on each line."""
    before = "[\n"
    for row in told:
        yield before + json.dumps(row)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def _csv(told: Iterator[dict[str, Any]]) -> Iterator[str]:
    """One line for each try; one for a post that was never tried."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    out.write("\ufeff")  # or a spreadsheet takes it for another alphabet
    writer.writeheader()
    for row in told:
        made = row.pop("tries") or [{}]
        for one in made:
            line = row | {_TRY[name]: value for name, value in one.items()}
            writer.writerow({name: _harmless(value) for name, value in line.items()})
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _harmless(value: object) -> object:
    """A spreadsheet takes what begins like this for a formula (OWASP, CSV Injection)."""
    if not isinstance(value, str):
        return value
    text = _CELL.sub("'", value)
    return f"'{text}" if text.lstrip(" \ufeff").startswith(FORMULA) else text


def _file(content: Iterator[str], kind: str, ending: str) -> Response:
    """The first piece is made before the answer begins: it may be an error."""
    first = next(content)
    name = f"announcer-history-{datetime.now(UTC):%Y-%m-%d}.{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(chain([first], _to_the_end(content)), mimetype=kind, headers=headers)


def _to_the_end(content: Iterator[str]) -> Iterator[str]:
    """Or the file says that it is not whole."""
    try:
        yield from content
    except StorageError as problem:
        log.error("page", outcome="cut short", reason=cause_of(problem))
        yield f"\n{say('history.incomplete')}\n"


def _bars(shows: list[tuple[Broadcast, dict[str, float]]], now: datetime) -> list[Bar]:
    """Of a drawing that is 900 wide, a bar 7, and 100 high, six hours or more."""
    first, bars = now - SEASON, []
    for show, told in shows:
        length = ((show.stopped or now) - show.began).total_seconds()
        days = (show.began - first) / timedelta(days=1)
        words = say(
            "history.bar",
            day=show.began.strftime("%Y-%m-%d"),
            title=show.title or show.name,
            length=span(timedelta(seconds=length)),
            n=len(told),
        )
        bars.append(
            Bar(
                round(days / SEASON.days * 893, 1),
                round(max(4.0, min(100.0, length / 216)), 1),
                words,
            )
        )
    return bars
