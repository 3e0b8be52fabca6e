"""What the world may ask of us: the webhook, the pages for people and for viewers, health."""

from flask import Flask, Response
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException

from announcer.web import (
    cards,
    destinations,
    editor,
    health,
    history,
    now,
    overlay,
    push,
    say,
    scrape,
    trouble,
    webhooks,
)
from announcer.web.door import Door
from announcer.wiring import Parts

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def create_app(parts: Parts) -> Flask:
    """The whole of HTTP, for *parts* that somebody else starts and stops."""
    app = Flask(__name__, template_folder="pages", static_folder="static")
    app.url_map.merge_slashes = False  # by a redirect to whatever Host said
    app.jinja_env.undefined = StrictUndefined
    door = Door(parts)
    app.jinja_env.globals.update(
        say=say.say,
        term=say.term,
        marked=say.marked,
        isolated=say.isolated,
        count=say.count,
        at=say.at,
        anchor=cards.anchor,
        token=lambda: door.token,
        guarded=lambda: parts.settings.service.admin_password is not None,
    )
    app.register_blueprint(webhooks.blueprint(parts))
    app.register_blueprint(door.blueprint())
    for face in (now, history, editor, destinations):
        pages = face.blueprint(parts)
        door.guards(pages)
        app.register_blueprint(pages)
    app.register_blueprint(overlay.blueprint(parts))
    app.register_blueprint(health.blueprint(parts))
    app.register_blueprint(push.blueprint(parts))
    app.register_blueprint(scrape.blueprint(parts, door))
    app.register_error_handler(HTTPException, trouble.of)

    @app.after_request
    def harden(answer: Response) -> Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return app
