"""For machines: is the process alive, and is it able to work? No network is asked: an outage there
must never restart us.
"""

from datetime import UTC, datetime

from flask import Blueprint
from flask.typing import ResponseReturnValue

from announcer.outbox import CLOCK_SET, StorageError, cause_of
from announcer.wiring import Parts


def blueprint(parts: Parts) -> Blueprint:
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    def healthz() -> ResponseReturnValue:
        """The process answers and the database can be read."""
        try:
            parts.outbox.next_due()
        except StorageError as problem:
            return {"ok": False, "database": cause_of(problem)}, 503
        return {"ok": True}

    @health.get("/readyz")
    def readyz() -> ResponseReturnValue:
        """Events can be stored, posts go out, and Owncast is asked (whether it answers or not): the
        database is writable, the clock ticks and watch makes its rounds.
        """
        database = "writable"
        try:
            parts.outbox.prove_writable()
        except StorageError as problem:
            database = cause_of(problem)
        clock = "ticking" if parts.clock.ticking() else "stuck"
        if datetime.now(UTC) < CLOCK_SET:
            clock = "not set"
        watch = "off"
        if parts.patrols:
            stuck = not all(patrol.looking() for patrol in parts.patrols)
            watch = "stuck" if stuck else "looking"
        ok = database == "writable" and clock == "ticking" and watch != "stuck"
        said = {"ok": ok, "database": database, "clock": clock, "watch": watch}
        if database == "writable":
            said["database_bytes"] = parts.outbox.size()
        return said | _accounts(parts), 200 if ok else 503

    return health


def _accounts(parts: Parts) -> dict[str, int]:
    """How many destinations are in trouble, if any is: a matter for the operator and no reason to
    restart us. Which they are is for who may read the page, or /metrics.
    """
    try:
        closed = parts.outbox.closed().keys() & parts.settings.destinations.keys()
        alone = parts.outbox.breakers(datetime.now(UTC)).keys() & parts.settings.destinations.keys()
    except StorageError:
        return {}
    told = {"destinations_closed": len(closed), "destinations_left_alone": len(alone - closed)}
    return {name: number for name, number in told.items() if number}
