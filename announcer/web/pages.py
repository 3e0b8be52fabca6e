"""The pages for people. Everything shown is escaped; nothing here changes anything."""

import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from math import ceil

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.content import thaw
from announcer.lateness import lateness
from announcer.network import Moment
from announcer.outbox import Shown, StorageError
from announcer.policy import Broadcast, Entry, Rules, State
from announcer.web.crowd import Guesses, Seldom, who
from announcer.wiring import Parts

log = structlog.get_logger("announcer.pages")

BROADCASTS = 20
"""How many the first page shows."""
PASSED_ON = ("forwarded", "via", "x-", "cf-", "true-client-ip")
"""So begin the headers that proxies add, and none that a browser sends by itself."""

SELDOM = 60.0
"""Seconds between two log lines on wrong passwords."""

STATES = {
    State.DUE: "waiting",
    State.SENDING: "on its way",
    State.SETTLED: "posted",
    State.WITHDRAWN: "not told",
    State.FAILED: "failed",
    State.UNSURE: "may be posted",
    State.GONE: "deleted by a person",
}


NOTES = {Moment.BADGE: "badge", Moment.ALERT: "alert"}
"""Rows that are not what an audience reads."""


@dataclass(frozen=True)
class Row:
    """One post as the page shows it."""

    destination: str
    state: str
    words: str
    link: str
    text: str
    reason: str
    late: str
    tries: int
    next_at: str


def blueprint(parts: Parts) -> Blueprint:
    pages = Blueprint("pages", __name__)
    guesses, seldom = Guesses(), Seldom(log.warning, "page")

    @pages.before_request
    def guard() -> ResponseReturnValue | None:
        password = parts.settings.service.admin_password  # each time: its file may change
        if password is None:
            if not _on_this_machine():
                abort(
                    Response(
                        "Set ANNOUNCER_ADMIN_PASSWORD to see this page from elsewhere.\n",
                        403,
                        mimetype="text/plain",
                    )
                )
            return None
        given = request.authorization
        name, word = (given.username, given.password) if given else ("", "")
        address = who(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""))
        now = time.monotonic()
        wait = guesses.wait(address, now) if given else 0
        right = hmac.compare_digest((word or "").encode(), password.get_secret_value().encode())
        if wait:
            return Response(
                "Too many wrong passwords.\n",
                429,
                {"Retry-After": str(ceil(wait))},
                mimetype="text/plain",
            )
        if right and name == "admin":
            guesses.right(address)
            return None
        if given:
            guesses.wrong(address, now)
            why = "wrong user name or password"
            seldom.warn(why, SELDOM, outcome=401, address=address, reason=why)
        return Response(
            "Log in as admin.\n",
            401,
            {"WWW-Authenticate": 'Basic realm="Announcer"'},
            mimetype="text/plain",
        )

    @pages.get("/")
    def home() -> ResponseReturnValue:
        shows = parts.outbox.history(BROADCASTS)
        paused = parts.outbox.paused()
        rules, now = parts.settings.rules, datetime.now(UTC)
        alerted = parts.settings.service.alerts
        return render_template(
            "home.html",
            paused=paused.strftime("%Y-%m-%d %H:%M UTC") if paused else "",
            broadcasts=[
                (_show(show), [_row(show, post, rules, now) for post in told])
                for show, told in shows
            ],
            closed={name: why for name, (_, why) in parts.outbox.closed().items()},
            left_alone=[
                (name, breaker.until.strftime("%H:%M:%S UTC"), breaker.reason)
                for name, breaker in parts.outbox.breakers(now).items()
            ],
            destinations=[one for one in parts.settings.destinations if one not in alerted],
            alerted=alerted,
            refresh=any(show.live for show, _ in shows),
        )

    @pages.errorhandler(StorageError)
    def no_database(problem: StorageError) -> ResponseReturnValue:
        log.error("page", outcome=503, reason=type(problem).__name__)
        said = "The database (ANNOUNCER_DATABASE_URL) can not be read now.\n"
        return Response(said, 503, mimetype="text/plain")

    return pages


def _on_this_machine() -> bool:
    """A forwarded request is never local, and neither is one for another name (DNS rebinding)."""
    if any(name.lower().startswith(PASSED_ON) for name, _ in request.headers):
        return False
    # nginx adds nothing unless told to, and asks for our own address: but no browser is so old.
    if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return False
    host = request.host.rpartition(":")[0] if request.host[-1:] != "]" else request.host
    if (host or request.host).strip("[]") not in ("localhost", "127.0.0.1", "::1"):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def _show(broadcast: Broadcast) -> dict[str, object]:
    length = (broadcast.stopped or datetime.now(UTC)) - broadcast.began
    return {
        "id": broadcast.id,
        "channel": broadcast.channel,
        "title": broadcast.title or broadcast.name or "(no title)",
        "began": broadcast.began.strftime("%Y-%m-%d %H:%M UTC"),
        "live": broadcast.live,
        "length": str(timedelta(seconds=int(length.total_seconds()))),
    }


def _badge(entry: Entry) -> str:
    if entry.state in (State.DUE, State.SETTLED) and entry.shown:
        return "on"
    if entry.state in (State.SETTLED, State.WITHDRAWN):
        return "off"
    return "taken away by a person" if entry.state is State.GONE else STATES[entry.state]


def _row(show: Broadcast, post: Shown, rules: Rules, now: datetime) -> Row:
    entry = post.entry
    waits = entry.state is State.DUE and entry.next_at > now
    badge, note = entry.moment is Moment.BADGE, NOTES.get(entry.moment)
    link = post.receipt.url if post.receipt else ""
    return Row(
        destination=f"{entry.destination} ({note})" if note else entry.destination,
        state=entry.state.value,
        words=_badge(entry) if badge else STATES[entry.state],
        link=link if link.startswith(("https://", "http://")) else "",
        text=thaw(post.content).text if post.content else "",
        reason=entry.reason,
        late=lateness(show, post, rules),
        tries=len(post.tries),
        next_at=entry.next_at.strftime("%H:%M:%S UTC") if waits else "",
    )
