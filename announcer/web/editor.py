"""Templates, edited beside what every destination would show with them. Files stay the truth."""

import os
import threading
from dataclasses import dataclass

import structlog
from flask import Blueprint, abort, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from announcer.facts import shorten
from announcer.shelf import (
    KINDS,
    Barred,
    CanNotBeWritten,
    Changed,
    Sheet,
    Shelf,
    is_name,
    next_variant,
)
from announcer.web import trouble
from announcer.web.limits import Limits
from announcer.web.samples import CHOICES, LAST, last
from announcer.web.say import away, say
from announcer.web.trials import Bench, Outcome
from announcer.wiring import Parts
from announcer.wording import ALT

log = structlog.get_logger("announcer.pages")

LARGEST = 256 * 1024
"""Bytes of a form: a template of 64 KiB, each byte of which may be written as `%F0`."""
AT_ONCE = 2
"""Trials at the same time: they compute, and the webhook needs threads and time, too."""
PATIENCE = 2.0
"""Seconds that one waits for its turn."""
EXCERPT, TITLE = 90, 60
"""Letters of a template in the list, and of a title to choose."""
DONE = frozenset({"saved", "undone", "removed", "brought"})


@dataclass(frozen=True)
class Line:
    """One template in the list."""

    sheet: Sheet
    first: str


@dataclass(frozen=True)
class Folder:
    """*name* is empty for the shared one. *missing* are files that it could have, and variants."""

    name: str
    title: str
    lines: list[Line]
    missing: list[str]
    unused: bool


@dataclass(frozen=True)
class Speaker:
    """A destination, and by kind the files that word it: each with where it comes from."""

    name: str
    files: dict[str, list[tuple[str, str]]]


def blueprint(parts: Parts) -> Blueprint:
    pages = Blueprint("editor", __name__)
    limits = Limits()
    bench = Bench(parts, limits)
    room = threading.BoundedSemaphore(AT_ONCE)

    @pages.before_request
    def bounded() -> None:
        request.max_content_length = LARGEST  # before anybody reads the form

    @pages.get("/templates")
    def listed() -> ResponseReturnValue:
        shelf = _shelf(parts)
        limits.ask(bench.destinations())
        return render_template(
            "templates.html",
            here="templates",
            folders=_folders(shelf, bench),
            speakers=_speakers(bench),
            barred=_barred(shelf.barred()),
        )

    @pages.get("/templates/<path:name>")
    def one(name: str) -> ResponseReturnValue:
        sheet = _sheet(parts, bench, name)
        limits.ask(bench.destinations())
        said = request.args.get("said", "")
        return page(sheet, _begun(parts, bench, sheet), said=said if said in DONE else "")

    @pages.post("/templates/<path:name>")
    def act(name: str) -> ResponseReturnValue:
        sheet = _sheet(parts, bench, name)
        what, source = request.form.get("do", ""), request.form.get("source", "")
        source = source.replace("\r\n", "\n")
        if what == "preview":
            return preview(sheet, source)
        if what in ("save", "anyway"):
            return save(sheet, source, anyway=what == "anyway")
        return change(sheet, what) if what in ("undo", "remove") else abort(400)

    def tried(sheet: Sheet, source: str) -> Outcome:
        if not room.acquire(timeout=PATIENCE):
            abort(trouble.told("template.busy", 503))
        try:
            return bench.try_out(sheet, source, _choice())
        finally:
            room.release()

    def page(
        sheet: Sheet,
        source: str,
        status: int = 200,
        *,
        outcome: Outcome | None = None,
        theirs: str | None = None,
        **told: str,
    ) -> ResponseReturnValue:
        shelf, found = _shelf(parts), last(parts)
        names = shelf.names(sheet.folder) if sheet.own and sheet.kind != ALT else []
        return render_template(
            "template.html",
            here="templates",
            sheet=sheet,
            seen=told.get("seen", sheet.seen),
            source=source,
            theirs=theirs,
            outcome=outcome or tried(sheet, source),
            choice=_choice(),
            choices=[*CHOICES, *([LAST] if found else [])],
            last=shorten(found.facts.title or found.facts.name, TITLE) if found else "",
            place=_heads(bench).get(sheet.folder, sheet.folder),
            barred=_barred(shelf.barred(sheet.name)),
            more=next_variant(names, sheet.name) if names else "",
            said=told.get("said", ""),
            problem=told.get("problem", ""),
        ), status

    def preview(sheet: Sheet, source: str) -> ResponseReturnValue:
        if request.accept_mimetypes.best != "application/json":
            return page(sheet, source, seen=_seen())
        outcome = tried(sheet, source)
        return jsonify(
            faults=render_template("parts/faults.html", outcome=outcome),
            trials=render_template("parts/trials.html", outcome=outcome),
            known=render_template("parts/known.html", outcome=outcome),
            marks=outcome.marks,
            sure=outcome.sure,
        )

    def save(sheet: Sheet, source: str, *, anyway: bool) -> ResponseReturnValue:
        outcome = None if anyway else tried(sheet, source)
        if outcome and outcome.broken:
            return page(sheet, source, 422, outcome=outcome, seen=_seen(), problem="broken")
        try:
            _shelf(parts).write(sheet.name, source, _seen())
        except Changed:
            now = _shelf(parts).read(sheet.name)
            return page(now, source, 409, theirs=now.source if now.own else "", problem="changed")
        except CanNotBeWritten as problem:
            return page(sheet, source, 422, outcome=outcome, seen=_seen(), problem=str(problem))
        return done(sheet, "saved")

    def change(sheet: Sheet, what: str) -> ResponseReturnValue:
        shelf = _shelf(parts)
        try:
            (shelf.undo if what == "undo" else shelf.remove)(sheet.name, _seen())
        except (Changed, KeyError):
            return page(sheet, sheet.source, 409, problem="changed_before")
        except CanNotBeWritten as problem:
            return page(sheet, sheet.source, 422, problem=str(problem))
        back = "undone" if sheet.own else "brought"
        return done(sheet, back if what == "undo" else "removed")

    def done(sheet: Sheet, said: str) -> ResponseReturnValue:
        log.info("page", action="template", template=sheet.name, done=said)
        return away(f"templates/{sheet.name}", said=said, sample=_choice())

    @pages.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> ResponseReturnValue:
        return trouble.told("template.too_large", 413)

    return pages


def _shelf(parts: Parts) -> Shelf:
    return Shelf(parts.settings.service.templates)


def _barred(barred: Barred | None) -> str:
    """Why nothing can be saved, and what to do about it; empty if it can."""
    if barred is None:
        return ""
    remedy = say(f"templates.{barred.bar.name.lower()}", place=barred.place, user=os.geteuid())
    return f"{barred}. {remedy}"


def _seen() -> str:
    """What the form was made from."""
    return request.form.get("seen", "")


def _choice() -> str:
    choice = request.values.get("sample", "")
    return choice if choice in (*CHOICES, LAST) else "usual"


def _heads(bench: Bench) -> dict[str, str]:
    """The folders that anything uses, with what they are for."""
    found = {"": say("templates.shared")}
    for network in bench.destinations().values():
        found[network.name] = network.title
    for name, network in bench.destinations().items():
        account = name.partition(".")[2]
        found.setdefault(name, f"{network.title} {account}".rstrip())
    return found


def _sheet(parts: Parts, bench: Bench, name: str) -> Sheet:
    """404 for what is no template of ours, or of a folder that nobody has or needs."""
    shelf = _shelf(parts)
    if not is_name(name):
        abort(404)
    sheet = shelf.read(name)
    known = sheet.folder in _heads(bench) or sheet.own or sheet.shipped or sheet.undo
    return sheet if known else abort(404)


def _begun(parts: Parts, bench: Bench, sheet: Sheet) -> str:
    """The words that editing begins with: of a file that is not there, those that are used now."""
    if sheet.source or sheet.own or sheet.problem:
        return sheet.source
    templates = bench.templates()
    for name, network in bench.destinations().items():
        if sheet.folder in ("", network.name, name):
            used = templates.used(name, network, sheet.kind)
            return _shelf(parts).read(used[0].partition(":")[2]).source if used else ""
    return _shelf(parts).read(f"{sheet.kind}.txt").source


def _folders(shelf: Shelf, bench: Bench) -> list[Folder]:
    heads = _heads(bench)
    told = []
    for name in (*heads, *(one for one in shelf.folders() if one not in heads)):
        names = shelf.names(name)
        head = f"{name}/" if name else ""
        lines = [_line(shelf.read(one)) for one in names]
        missing = [f"{head}{kind}.txt" for kind in KINDS if f"{head}{kind}.txt" not in names]
        # A variant of a shipped one would not take turns with it, but its place.
        own = [line.sheet for line in lines if line.sheet.own and line.sheet.kind != ALT]
        more = dict.fromkeys(next_variant(names, sheet.name) for sheet in own)
        told.append(
            Folder(name, heads.get(name, name), lines, [*missing, *more], name not in heads)
        )
    return told


def _line(sheet: Sheet) -> Line:
    return Line(sheet, shorten(" ".join(sheet.source.split()), EXCERPT))


def _speakers(bench: Bench) -> list[Speaker]:
    templates = bench.templates()
    return [
        Speaker(
            name,
            {
                kind: [
                    (origin, file)
                    for label in templates.used(name, network, kind)
                    for origin, _, file in [label.partition(":")]
                ]
                for kind in KINDS
            },
        )
        for name, network in bench.destinations().items()
    ]
