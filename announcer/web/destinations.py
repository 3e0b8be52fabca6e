"""Every account: who we are there, whether it works, and what to do where it does not."""

import inspect
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.network import Network
from announcer.outbox import StorageError, Try
from announcer.policy import Breaker
from announcer.rollcall import Found
from announcer.settings import is_secret, variable_name
from announcer.web.cards import web_address
from announcer.web.history import SEASON, pace
from announcer.web.say import away, say
from announcer.web.stream import stream
from announcer.wiring import Parts

log = structlog.get_logger("announcer.pages")

SUCCESS = ("delivered", "found")
ACTIONS = ("check", "reopen")


@dataclass(frozen=True)
class Place:
    """One destination as the page shows it. *remedy* says what to do if it is closed."""

    name: str
    id: str
    network: str
    title: str
    tone: str
    state: str
    why: str
    remedy: str
    until: datetime | None
    found: Found | None
    link: str
    asking: bool
    worked: Try | None
    failed: Try | None
    pace: str
    channels: str
    alerts: bool
    guide: str
    shut: bool


def blueprint(parts: Parts) -> Blueprint:
    pages = Blueprint("destinations", __name__)

    @pages.get("/destinations")
    def listed() -> ResponseReturnValue:
        said = request.args.get("said", "")
        done = say(f"destinations.done_{said}") if said in ACTIONS else ""
        return render_template(
            "destinations.html", here="destinations", pieces=_pieces(parts), done=done
        )

    @pages.get("/destinations/events")
    def events() -> ResponseReturnValue:
        return stream(lambda: _pieces(parts), page="/destinations")

    @pages.post("/destinations/<name>/<what>")
    def act(name: str, what: str) -> ResponseReturnValue:
        if name not in parts.settings.destinations or what not in ACTIONS:
            abort(404)
        if what == "check":
            parts.rollcall.ask_soon(name)
        else:
            parts.outbox.reopen(name, datetime.now(UTC), parts.settings.destinations[name].repeat)
            parts.clock.wake()
        log.info("page", action=what, destination=name)
        return away("destinations", said=what)

    @pages.errorhandler(StorageError)
    def no_database(problem: StorageError) -> ResponseReturnValue:
        log.error("page", outcome=503, reason=type(problem).__name__)
        return Response(f"{say('door.no_database')}\n", 503, mimetype="text/plain")

    return pages


def _pieces(parts: Parts) -> dict[str, str]:
    now = datetime.now(UTC)
    closed, breakers = parts.outbox.closed(), parts.outbox.breakers(now)
    lengths: dict[str, list[float]] = {}
    for _, told in parts.outbox.season(now - SEASON):
        for name, length in told.items():
            lengths.setdefault(name, []).append(length)
    places = {
        name: _place(parts, name, network, closed.get(name), breakers.get(name), lengths.get(name))
        for name, network in parts.settings.destinations.items()
    }
    return {
        place.id: render_template("parts/destination.html", place=place)
        for place in places.values()
    }


def _place(
    parts: Parts,
    name: str,
    network: Network,
    closed: tuple[str, str] | None,
    breaker: Breaker | None,
    lengths: list[float] | None,
) -> Place:
    found = parts.rollcall.found(name)
    tries = parts.outbox.latest(name)
    worked = next((one for one in tries if one.outcome in SUCCESS), None)
    failed = next((one for one in tries if one.outcome not in SUCCESS and one.reason), None)
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
        id="to-" + name.replace(".", "-"),
        network=network.name,
        title=network.title,
        tone=tone,
        state=say(f"destinations.{state}"),
        why=why,
        remedy=_remedy(name, network) if tone == "bad" else "",
        until=until,
        found=found,
        link=web_address(found.url) if found else "",
        asking=parts.rollcall.asking(name),
        worked=worked,
        failed=failed if failed and (worked is None or failed.at > worked.at) else None,
        pace=pace(median(lengths)) if lengths else "",
        channels=", ".join(one for one in parts.channels if parts.settings.serves(name, one)),
        alerts=name in parts.settings.service.alerts,
        guide=inspect.cleandoc(network.__doc__ or ""),
        shut=closed is not None or breaker is not None,
    )


def _remedy(name: str, network: Network) -> str:
    """Which variables hold its credentials."""
    prefix = name.upper().replace(".", "__")
    secret = [
        variable_name(prefix, field)
        for field, info in type(network).model_fields.items()
        if is_secret(info) and getattr(network, field) is not None
    ]
    return say("destinations.remedy", variables=", ".join(secret)) if secret else ""
