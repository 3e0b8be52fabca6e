"""What these servers answer: one of the errors, or a status that is up."""

from typing import Any

import requests

from announcer import wire
from announcer.network import DeliveryError, Gone, Receipt, Refused, TryLater, Unsure

NEEDS_A_PICTURE = "this server takes no post without a picture, and there is none: see OWNCAST_URL"

_UNSEEN = ("This action is unauthorized", "No query results for model")
"""What Pixelfed says of a post that is not there; its status for that, and for nearly all, is 500
(Exceptions/Handler.php).
"""


def meaning(answer: requests.Response, scope: str, *, existing: bool) -> DeliveryError:
    """The error that *answer* stands for, although it may look like a success."""
    status = answer.status_code
    if status < 300:
        return Unsure(f"{status}, but no answer that can be read")
    told = wire.error_json(answer)
    said = wire.plain(told.get("error") or told.get("message") or "")
    if status >= 400 and answer.headers.get("Idempotent-Replayed") == "true":
        # Pleroma keeps errors with their key, too: only another key gets a new answer.
        return TryLater(f"{status} {said} (an old answer, replayed)", spent=True)
    if existing and (status in (404, 410) or said.startswith(_UNSEEN)):
        return Gone(f"{status} {said}".strip())
    if said.startswith("Unauthenticated"):  # Pixelfed's 500
        return Refused(f"{status} {said}", closes=True)
    if status == 500 and {"message", "errors"} <= set(told):  # Pixelfed, before it does anything
        return Refused(f"{status} {said}")
    if said.startswith("Empty statuses"):  # Pixelfed's 403, and no matter of rights
        return Refused(f"{status} {NEEDS_A_PICTURE}")
    if said.startswith("Duplicate idempotency key"):  # Pixelfed's 400: it has seen it, no more
        return TryLater(f"{status} {said}", spent=True)
    if status == 403:
        said = f"{said} (it needs the scope {scope})"
    return wire.from_status(status, said, answer.headers)


def receipt_of(status: dict[str, Any], media: str = "") -> Receipt:
    """With the ids of its pictures, *media* if the server does not tell them."""
    shown = status.get("media_attachments")
    if isinstance(shown, list):
        media = ",".join(str(one["id"]) for one in shown if isinstance(one, dict) and "id" in one)
    return Receipt(id_of(status), url_of(status), {"media": media} if media else {})


def id_of(thing: dict[str, Any]) -> str:
    """Raises Unsure if there is none. Opaque: a number on Mastodon, letters on Pleroma."""
    found = thing.get("id")
    if not isinstance(found, str | int) or isinstance(found, bool) or not str(found).strip():
        raise Unsure("an answer without an id")
    return str(found)


def url_of(thing: dict[str, Any]) -> str:
    url = str(thing.get("url"))
    return url if url.startswith(("https://", "http://")) else ""
