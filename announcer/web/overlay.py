"""For the stream itself: a transparent page for OBS that shows each post as it goes up.

Nobody can log in inside a browser source, so its address is the secret. It tells only what is
public already. Source: OBS Studio, Browser Source (a page is drawn over the scene, 1920 by 1080).
"""

import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.network import Moment
from announcer.outbox import StorageError
from announcer.policy import State
from announcer.web.cards import anchor, web_address
from announcer.web.stream import stream
from announcer.wiring import Parts

PLACES = ("bottom-left", "bottom-right", "bottom", "top-left", "top-right", "top")
SECONDS = 8
"""How long each post is shown unless the address says otherwise: `?seconds=12`."""
FRESH = timedelta(minutes=2)
"""Posts that are older are no news to viewers."""
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
    told: dict[datetime, tuple[str, str]] = {}
    for show, posts in parts.outbox.history(len(parts.channels) + 2):
        if not show.live:
            continue
        for post in posts:
            entry = post.entry
            network = parts.settings.destinations.get(entry.destination)
            up = [one.at for one in post.tries if one.outcome in ("delivered", "found")]
            link = web_address(post.receipt.url if post.receipt else "")
            if (
                entry.moment is not Moment.LIVE
                or entry.state is not State.SETTLED
                or network is None
                or network.told_last
                or not link
                or not up
                or now - up[0] > FRESH
            ):
                continue
            told[up[0]] = (
                anchor(entry.key),
                render_template(
                    "parts/toast.html",
                    id=anchor(entry.key),
                    network=network.name,
                    title=network.title,
                    link=link.removeprefix("https://").removeprefix("http://"),
                ),
            )
    return dict(told[at] for at in sorted(told))


def _style(file: Path) -> bytes | None:
    """The operator's own file, read each time so that an edit needs no restart."""
    try:
        with file.open("rb") as own:
            style = own.read(OWN + 1)
    except OSError:
        return None
    return style if len(style) <= OWN else None
