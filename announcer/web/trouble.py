"""What is said where there is no page to show: as a page to a browser, else as one line."""

from collections.abc import Mapping

from flask import Response, render_template, request
from werkzeug.exceptions import HTTPException

from announcer.web.say import say, term


def told(what: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The sentence `page.name`, as `say` has it."""
    answer = Response(status=status, headers=headers)
    _fill(answer, say(what))
    return answer


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
