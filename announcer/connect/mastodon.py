"""Mastodon: an application of one's own, and a code that the person copies out of the browser.

Sources: docs.joinmastodon.org/methods/apps, /methods/oauth, /api/oauth-scopes.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from announcer import wire
from announcer.connect import Fields, Question, Talk
from announcer.network import DeliveryError, Refused

ADDRESS = Question("api_base_url", "Address of your server, such as https://mastodon.social")
CODE = Question("code", "The code that your server shows then", secret=True)
QUESTIONS = (ADDRESS, CODE)
MAKES = ("access_token",)

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
"""The server shows the code instead of sending the browser somewhere."""
POSTS = ("write:statuses", "write:media", "read:statuses")
WHO = (("profile",), ("read:accounts",))
"""To see who it is: since Mastodon 4.3, and before that."""
COARSE = ("read", "write")
"""For servers that know no finer ones."""


def connect(talk: Talk, known: Mapping[str, str]) -> Fields:
    server = talk.ask(ADDRESS, known.get("api_base_url", "")).rstrip("/")
    with wire.Session(server) as session, wire.nothing_posted():
        with talk.waiting(f"registering at {server}"):
            app, scopes = _register(session, server, pins=known.get("pin") == "on")
        where = {
            "client_id": app["client_id"],
            "scope": scopes,
            "redirect_uri": OUT_OF_BAND,
            "response_type": "code",
        }
        talk.tell(
            "Open this in a browser where you are logged in as the account that is to post:\n\n"
            f"  {server}/oauth/authorize?{urlencode(where)}\n"
        )
        said = _post(
            session,
            f"{server}/oauth/token",
            {
                "grant_type": "authorization_code",
                "code": talk.ask(CODE),
                "client_id": app["client_id"],
                "client_secret": app["client_secret"],
                "redirect_uri": OUT_OF_BAND,
                "scope": scopes,
            },
        )
    return {"api_base_url": server, "access_token": _text(said, "access_token")}


def _register(session: wire.Session, server: str, *, pins: bool) -> tuple[Fields, str]:
    """The application, and the narrowest scopes that the server takes."""
    more = ("write:accounts",) if pins else ()
    choices = [" ".join((*POSTS, *who, *more)) for who in WHO] + [" ".join(COARSE)]
    for scopes in choices:
        wanted = {"client_name": "Announcer", "redirect_uris": OUT_OF_BAND, "scopes": scopes}
        try:
            said = _post(session, f"{server}/api/v1/apps", wanted)
        except Refused as refusal:
            if scopes == choices[-1] or not str(refusal).startswith(("400", "422")):
                raise
            continue
        return {name: _text(said, name) for name in ("client_id", "client_secret")}, scopes
    raise AssertionError  # the last choice returns or raises


def _post(session: wire.Session, address: str, form: Mapping[str, str]) -> dict[str, Any]:
    with wire.answered():
        answer = session.post(address, data=form)
    if answer.status_code >= 300:
        raise _meaning(answer.status_code, wire.error_json(answer), answer.headers)
    return wire.json_of(answer)


def _meaning(status: int, said: Mapping[str, Any], headers: Mapping[str, str]) -> DeliveryError:
    if said.get("error") == "invalid_grant" or status == 401:
        return Refused(f"{status}: the code was wrong, or too old, or used before: begin again")
    words = said.get("error_description") or said.get("error") or ""
    if status == 404:
        words = "it speaks no Mastodon API: is the address right?"
    return wire.from_status(status, str(words), headers)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"an answer without {name}: is it a server with the Mastodon API?")
    return value.strip()
