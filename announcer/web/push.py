"""The page for viewers: be told, or be told no more. Open to the world where Web Push is set up,
not there at all where it is not.

A folder before it is nobody's business here: all addresses are relative to the page, so it works
behind any proxy. The service worker lies in /push/ since it may serve what is below it only.
"""

import json
import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import structlog
from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from announcer.network import Welcomes
from announcer.outbox import StorageError, cause_of
from announcer.web.crowd import Allowance, Seldom, site, who
from announcer.web.say import say
from announcer.wiring import DEFAULT, Parts

log = structlog.get_logger("announcer.push")

CHANGES, REGAINED = 12, 30.0
"""Subscriptions and their ends that an address may bring at once, and seconds until one more."""
LARGEST = 4096
"""Bytes of one."""
SELDOM = 60.0
"""Seconds between two log lines on the same trouble."""

PAGE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
WORKER = Path(__file__).parent / "static/push-worker.js"
OF_WORKER = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'",
    "Cache-Control": "no-cache",
}


def blueprint(parts: Parts) -> Blueprint:
    push = Blueprint("push", __name__)
    changes, seldom = Allowance(CHANGES, REGAINED), Seldom(log.warning, "push")

    def account(name: str) -> Welcomes:
        found = _accounts(parts).get(name)
        return found[1] if found else abort(404)

    # Without `defaults=`, for which Flask would redirect, to an address that a proxy's is not.
    @push.get("/push", strict_slashes=False)
    @push.get("/push/<name>")
    def page(name: str = DEFAULT) -> ResponseReturnValue:
        network = account(name)
        shown = render_template(
            "push.html", account=name, key=network.public_key, **_stream(parts, name)
        )
        return shown, PAGE

    @push.get("/push/sw.js")
    def worker() -> ResponseReturnValue:
        if not _accounts(parts):
            abort(404)
        words = f"self.news = {json.dumps(say('push.news'))};\n"
        script = WORKER.read_text("utf-8") + words
        return Response(script, headers=OF_WORKER, mimetype="text/javascript")

    @push.get("/push/<name>/app.webmanifest")
    def manifest(name: str) -> ResponseReturnValue:
        """What an iPhone needs to put the page on the home screen."""
        account(name)
        icon = {"src": "../../static/push.png", "sizes": "192x192", "type": "image/png"}
        said = {
            "name": _stream(parts, name)["stream"],
            "start_url": f"../{name}",
            "scope": "../",
            "display": "standalone",
            "icons": [icon],
        }
        return Response(json.dumps(said), mimetype="application/manifest+json")

    @push.post("/push/<name>/subscription")
    def subscribe(name: str) -> ResponseReturnValue:
        network, subscription = account(name), _body(changes)
        try:
            taken = network.welcome(subscription)
        except ValueError:
            return _told("this is no subscription that can be used", 400)
        if not taken:
            destination, _ = _accounts(parts)[name]
            reason = "there is no room for more subscribers"
            seldom.warn(destination, SELDOM, destination=destination, reason=reason)
            return _told("there is no room for one more", 503)
        return "", 204

    @push.delete("/push/<name>/subscription")
    def unsubscribe(name: str) -> ResponseReturnValue:
        """Whoever knows an endpoint may end it: it is as secret as a password."""
        network = account(name)
        match _body(changes):
            case {"endpoint": str(endpoint)}:
                network.part_with(endpoint)
                return "", 204
            case _:
                return _told("this is no subscription", 400)

    @push.errorhandler(StorageError)
    def no_database(problem: StorageError) -> ResponseReturnValue:
        reason = cause_of(problem)
        seldom.warn(reason, SELDOM, outcome=503, reason=reason)
        return _told("the database can not be reached now", 503)

    return push


def _accounts(parts: Parts) -> dict[str, tuple[str, Welcomes]]:
    """By the names that they have in addresses, each with its destination's. Looked up each time: a
    key may be replaced while we run.
    """
    return {
        destination.partition(".")[2] or DEFAULT: (destination, network)
        for destination, network in parts.settings.destinations.items()
        if isinstance(network, Welcomes)
    }


def _told(what: str, status: int, **headers: str) -> Response:
    return Response(f"{what}\n", status, headers, mimetype="text/plain")


def _stream(parts: Parts, account: str) -> dict[str, str]:
    """Whose page it is: the name that Owncast said last, else the address."""
    destination, _ = _accounts(parts)[account]
    served = [name for name in parts.channels if parts.settings.serves(destination, name)]
    url = next((parts.channels[name].url for name in served if parts.channels[name].url), "")
    name = parts.outbox.last_name(served) or urlsplit(url).hostname or say("push.some_stream")
    return {"stream": name, "url": url}


def _body(changes: Allowance) -> Mapping[str, Any]:
    """The JSON object of a request from our own page, if its sender may have one more."""
    if request.mimetype != "application/json" or request.content_encoding:
        abort(415)
    if not _from_our_page():
        _refuse("only the page itself may do that", 403)
    address = who(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""))
    now = time.monotonic()
    if wait := changes.wait(address, now):
        _refuse("too often", 429, **{"Retry-After": str(ceil(wait))})
    changes.spend(address, now)
    request.max_content_length = LARGEST + 1
    body = request.get_data(cache=False)
    if len(body) > LARGEST:
        abort(413)
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        _refuse("no JSON object", 400)
    return said


def _from_our_page() -> bool:
    """As browsers tell it. A proxy may have changed the name that we are called by, so the first
    header counts where it is sent, which all browsers do that know push.
    """
    fetched = request.headers.get("Sec-Fetch-Site")
    if fetched is not None:
        return fetched == "same-origin"
    origin = site(request.headers.get("Origin", ""))
    told = request.headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
    return bool(origin) and origin in (request.host, told)


def _refuse(what: str, status: int, **headers: str) -> NoReturn:
    abort(_told(what, status, **headers))
