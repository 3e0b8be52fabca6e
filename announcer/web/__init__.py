"""What the world may ask of us: the webhook, the pages for people, health, the page for viewers."""

from flask import Flask, Response

from announcer.web import health, pages, push, webhooks
from announcer.wiring import Parts

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def create_app(parts: Parts) -> Flask:
    """The whole of HTTP, for *parts* that somebody else starts and stops."""
    app = Flask(__name__, template_folder="pages", static_folder="static")
    app.register_blueprint(webhooks.blueprint(parts))
    app.register_blueprint(pages.blueprint(parts))
    app.register_blueprint(health.blueprint(parts))
    app.register_blueprint(push.blueprint(parts))

    @app.after_request
    def harden(answer: Response) -> Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return app
