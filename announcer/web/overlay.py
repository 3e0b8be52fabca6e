"""For the stream itself: a transparent page for OBS that shows each post as it goes up.

Nobody can log in inside a browser source, so its address is the secret. It tells only what is
public already. Source: OBS Studio, Browser Source (a page is drawn over the scene, 1920 by 1080).
"""

import hmac
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.network import Moment
from announcer.outbox import Shown, StorageError
from announcer.policy import State
from announcer.web.cards import anchor, web_address
from announcer.web.stream import stream
from announcer.wiring import Parts

PLACES = ("bottom-left", "bottom-right", "bottom", "top-left", "top-right", "top")
SECONDS = 8
"""How long each post is shown unless the address says otherwise: `?seconds=12`."""
FRESH = timedelta(minutes=2)
"""Posts that are older are no news to viewers."""
SHORT = 45
"""Letters of an address that anybody reads over a stream."""
_NUMBERS = re.compile(r"(?:/(?:status|statuses|post|notes))?(?:/(?=\w*\d)\w{10,})+/?$")
OWN = 64 * 1024
"""Bytes of the operator's own style."""


def blueprint(parts: Parts) -> Blueprint:
    overlay = Blueprint("overlay", __name__, url_prefix="/overlay")

    def let_in(token: str) -> None:
        right = parts.settings.service.overlay_token  # each time: its file may change
        # The same answer whether it is switched off or the token is wrong.
        known = right.get_secret_value().encode() if right else b""
        if not known or not hmac.compare_digest(token.encode("utf-8", "replace"), known):
            abort(404)

    @overlay.get("/<token>")
    def page(token: str) -> ResponseReturnValue:
        let_in(token)
        place = request.args.get("position", PLACES[0])
        size = request.args.get("size", "medium")
        return render_template(
            "overlay.html",
            # Relative to this page, which has no slash at its end.
            here=f"{token}/",
            place=place if place in PLACES else PLACES[0],
            size=size if size in ("small", "medium", "large") else "medium",
            seconds=min(max(request.args.get("seconds", SECONDS, int), 2), 60),
            own=parts.settings.service.overlay_css is not None,
        )

    @overlay.get("/<token>/events")
    def events(token: str) -> ResponseReturnValue:
        let_in(token)
        return stream(lambda: _fresh(parts, datetime.now(UTC)), page=f"/overlay/{token}")

    @overlay.get("/<token>/own.css")
    def own(token: str) -> ResponseReturnValue:
        let_in(token)
        file = parts.settings.service.overlay_css
        style = _style(file) if file else None
        if style is None:
            abort(404)
        return Response(style, mimetype="text/css")

    @overlay.errorhandler(StorageError)
    def no_database(_: StorageError) -> ResponseReturnValue:
        return Response(status=503)  # nothing is drawn over a stream for our sake

    return overlay


def _fresh(parts: Parts, now: datetime) -> dict[str, str]:
    """The posts that went up just now, HTML by id, the oldest first."""
    told: list[tuple[datetime, str, str]] = []
    for show, posts in parts.outbox.current(list(parts.channels)):
        for post in posts:
            network = parts.settings.destinations.get(post.entry.destination)
            at = _went_up(post)
            if not show.live or network is None or network.told_last or not at:
                continue
            if now - at > FRESH:
                continue
            place = anchor(post.entry.key)
            link = _address(post.receipt.url if post.receipt else "")
            html = render_template(
                "parts/toast.html", id=place, network=network.name, title=network.title, link=link
            )
            told.append((at, place, html))
    return {place: html for _, place, html in sorted(told)}


def _went_up(post: Shown) -> datetime | None:
    """When; None if it is not up, or nobody can go and see."""
    there = post.entry.moment is Moment.LIVE and post.entry.state is State.SETTLED
    public = post.receipt is not None and web_address(post.receipt.url)
    if not there or post.entry.shown is None or not public:
        return None
    return next((one.at for one in post.tries if one.outcome in ("delivered", "found")), None)


def _address(link: str) -> str:
    """As viewers could type it: without the numbers at its end, and only whose it is if that is
    still too long.
    """
    plain = _NUMBERS.sub("", link.removeprefix("https://").removeprefix("http://"))
    return plain if len(plain) <= SHORT else plain.partition("/")[0]


def _style(file: Path) -> bytes | None:
    """The operator's own file, read each time so that an edit needs no restart."""
    try:
        with file.open("rb") as own:
            style = own.read(OWN + 1)
    except OSError:
        return None
    return style if len(style) <= OWN else None
