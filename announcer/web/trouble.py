"""What is said where there is no page to show: as a page to a browser, else as one line."""

from collections.abc import Mapping

import structlog
from flask import Response, render_template, request
from werkzeug.exceptions import HTTPException

from announcer.outbox import StorageError, cause_of
from announcer.web.say import say, term

log = structlog.get_logger("announcer.pages")


def told(
    what: str, status: int, headers: Mapping[str, str] | None = None, **fields: object
) -> Response:
    """The sentence `page.name` with *fields*, as `say` has it."""
    answer = Response(status=status, headers=headers)
    _fill(answer, say(what, **fields))
    return answer


def no_database(problem: StorageError) -> Response:
    why = cause_of(problem)
    log.error("page", outcome=503, reason=why)
    return told("door.no_database", 503, why=why)


def of(problem: HTTPException) -> Response:
    """What *problem* answers, in our words: it was raised by whoever looks for addresses, or by a
    mistake of ours.
    """
    answer = Response(status=problem.code, headers=problem.get_headers())
    _fill(answer, term("wrong", str(problem.code)))
    return answer


def _fill(answer: Response, words: str) -> None:
    if "text/html" in {kind for kind, _ in request.accept_mimetypes}:
        answer.data, answer.mimetype = render_template("wrong.html", words=words), "text/html"
    else:
        answer.data, answer.mimetype = f"{words}\n", "text/plain"
