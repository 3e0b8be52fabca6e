"""Every account: who we are there, whether it works, and what to do where it does not."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from announcer import connect
from announcer.network import Network
from announcer.outbox import StorageError, Try
from announcer.policy import Breaker
from announcer.rollcall import KEPT, Found
from announcer.settings import is_secret, variable_name
from announcer.trial import Trials
from announcer.web import trouble
from announcer.web.asking import asked
from announcer.web.cards import anchor, web_address
from announcer.web.pace import SEASON, Pace, paces
from announcer.web.say import away, marked, say
from announcer.web.stream import stream
from announcer.wiring import Parts

log = structlog.get_logger("announcer.pages")

SUCCESS = ("delivered", "found")
ACTIONS = ("check", "reopen", "test")
TONES = ("bad", "wait", "quiet", "good")
"""In this order they are shown: trouble first."""
PAUSE = 2.0
"""Seconds between two looks: it is no page to hold one's breath over."""
_CODE = re.compile(r"``?([^`]+)``?")


@dataclass(frozen=True)
class Place:
    """One destination as the page shows it. *remedy* says what to do if it is closed."""

    name: str
    id: str
    network: str
    title: str
    account: str
    tone: str
    state: str
    why: str
    remedy: Markup
    until: datetime | None
    found: Found | None
    link: str
    asking: bool
    worked: Try | None
    failed: Try | None
    pace: Pace | None
    channels: str
    alerts: bool
    guide: Markup
    shut: bool


def blueprint(parts: Parts) -> Blueprint:
    pages = Blueprint("destinations", __name__)
    trials = Trials(parts.settings.destinations, parts.settings.redactor)

    @pages.get("/destinations")
    def listed() -> ResponseReturnValue:
        said = request.args.get("said", "")
        done = say(f"destinations.done_{said}") if said in ACTIONS else ""
        return render_template(
            "destinations.html", here="destinations", pieces=_pieces(parts, trials), done=done
        )

    @pages.get("/destinations/events")
    def events() -> ResponseReturnValue:
        return stream(lambda: _pieces(parts, trials), page="/destinations", pause=PAUSE)

    @pages.post("/destinations/<name>/<what>")
    def act(name: str, what: str) -> ResponseReturnValue:
        if name not in parts.settings.destinations or what not in ACTIONS:
            abort(404)
        if what == "check":
            parts.rollcall.ask_soon(name)
        elif what == "test":
            question = say("destinations.test_ask", name=name)
            if page := asked(question, say("destinations.test"), back="destinations"):
                return page
            trials.start(name)
        else:
            parts.outbox.reopen(name, datetime.now(UTC), parts.settings.destinations[name].repeat)
            parts.clock.wake()
        log.info("page", action=what, destination=name)
        return away("destinations", said=what)

    pages.register_error_handler(StorageError, trouble.no_database)

    return pages


def _pieces(parts: Parts, trials: Trials) -> dict[str, str]:
    now, outbox = datetime.now(UTC), parts.outbox
    known = Known(
        outbox.closed(),
        outbox.breakers(now),
        outbox.latest(parts.settings.destinations.keys()),
        outbox.remembered(KEPT),
        paces(outbox.season(now - SEASON)),
    )
    places = [_place(parts, known, *named) for named in parts.settings.destinations.items()]
    return {
        place.id: render_template(
            "parts/destination.html",
            place=place,
            trial=trials.last(place.name),
            trying=trials.running(place.name),
        )
        for place in sorted(places, key=lambda place: TONES.index(place.tone))
    }


@dataclass(frozen=True)
class Known:
    """What is stored of all destinations, by name."""

    closed: Mapping[str, tuple[str, str]]
    breakers: Mapping[str, Breaker]
    tries: Mapping[str, list[Try]]
    remembered: Mapping[str, str]
    paces: Mapping[str, Pace]


def _place(parts: Parts, known: Known, name: str, network: Network) -> Place:
    found = parts.rollcall.found(name, known.remembered.get(name))
    worked = next((one for one in known.tries[name] if one.outcome in SUCCESS), None)
    failed = next((one for one in known.tries[name] if _is_failure(one)), None)
    closed, breaker = known.closed.get(name), known.breakers.get(name)
    tone, state, why, until = "quiet", "unknown", "", None
    if closed:
        tone, state, why = "bad", "closed", closed[1]
    elif breaker:
        tone, state, why, until = "wait", "left_alone", breaker.reason, breaker.until
    elif found and found.problem:
        tone, state, why = ("bad" if found.final else "wait"), "troubled", found.problem
    elif found:
        tone, state = "good", "well"
    return Place(
        name=name,
        id=anchor(name, "to"),
        network=network.name,
        title=network.title,
        account=name.partition(".")[2],
        tone=tone,
        state=say(f"destinations.{state}"),
        why=why,
        remedy=_remedy(name, network) if tone == "bad" else Markup(""),
        until=until,
        found=found,
        link=web_address(found.url) if found else "",
        asking=parts.rollcall.asking(name),
        worked=worked,
        failed=failed,
        pace=known.paces.get(name),
        channels=", ".join(one for one in parts.channels if parts.settings.serves(name, one))
        if len(parts.channels) > 1
        else "",
        alerts=name in parts.settings.service.alerts,
        guide=guide(network.__doc__ or ""),
        shut=closed is not None or breaker is not None,
    )


def _is_failure(made: Try) -> bool:
    return made.outcome not in SUCCESS and bool(made.reason)


def _remedy(name: str, network: Network) -> Markup:
    """Which variables hold its credentials, and the command that writes them if there is one."""
    prefix = name.upper().replace(".", "__")
    secret = [
        variable_name(prefix, field)
        for field, info in type(network).model_fields.items()
        if is_secret(info) and getattr(network, field) is not None
    ]
    variables = Markup(", ").join(map(_code, secret or [f"{prefix}_*"]))
    words = [marked("destinations.remedy", variables=variables)]
    if network.name in connect.names():
        account = name.partition(".")[2]
        command = f"announcer connect {network.name}" + (f" --account {account}" if account else "")
        words.append(marked("destinations.connect", command=_code(command)))
    return Markup(" ").join(words)


def _code(words: str) -> Markup:
    return Markup("<code>{}</code>").format(words)


def guide(words: str) -> Markup:
    """The docstring of a network as HTML: paragraphs and numbered steps, in which what stands in
    backticks is code.
    """
    out = Markup("")
    for block in re.split(r"\n\s*\n", inspect.cleandoc(words)):
        steps = re.split(r"(?m)^\d+\.\s+", block)
        if steps[0]:
            out += Markup("<p>{}</p>").format(_coded(steps[0]))
        if steps[1:]:
            items = Markup("").join(Markup("<li>{}</li>").format(_coded(one)) for one in steps[1:])
            out += Markup("<ol>{}</ol>").format(items)
    return out


def _coded(words: str) -> Markup:
    words, out, done = " ".join(words.split()), Markup(""), 0
    for match in _CODE.finditer(words):
        out += escape(words[done : match.start()]) + _code(match[1])
        done = match.end()
    return out + escape(words[done:])
