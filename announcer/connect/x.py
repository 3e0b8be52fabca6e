"""X: the account's own yes, by a number that the person copies out of the browser.

Sources: xdevplatform/docs, "OAuth 1.0a: PIN-based", oauth/request_token, oauth/access_token.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

from announcer import wire
from announcer.connect import Fields, Question, Talk
from announcer.network import Refused

KEY = Question("consumer_key", "API key of your app (console.x.com > Keys and tokens)", secret=True)
SECRET = Question("consumer_secret", "Secret of that API key", secret=True)
PIN = Question("pin", "The number that X shows then", secret=True)
QUESTIONS = (KEY, SECRET, PIN)
MAKES = ("access_token", "access_token_secret")


def connect(talk: Talk, known: Mapping[str, str]) -> Fields:
    server = known.get("api_base_url") or "https://api.x.com"
    app = {"client_key": talk.ask(KEY), "client_secret": talk.ask(SECRET)}
    with wire.Session(server) as session, wire.nothing_posted():
        with talk.waiting(f"asking {server}"):
            first = _ask(session, f"{server}/oauth/request_token", callback_uri="oob", **app)
        if first.get("oauth_callback_confirmed") != "true":
            raise Refused("X does not offer this app a number: is it set to Read and write?")
        asked = urlencode({"oauth_token": _text(first, "oauth_token")})
        talk.tell(
            "Open this in a browser where you are logged in as the account that is to post, and "
            f"allow it:\n\n  {server}/oauth/authorize?{asked}\n"
        )
        last = _ask(
            session,
            f"{server}/oauth/access_token",
            resource_owner_key=_text(first, "oauth_token"),
            resource_owner_secret=_text(first, "oauth_token_secret"),
            verifier=talk.ask(PIN),
            **app,
        )
    if name := last.get("screen_name"):
        talk.tell(f"It is @{wire.plain(name)}.")
    return {
        "consumer_key": app["client_key"],
        "consumer_secret": app["client_secret"],
        "access_token": _text(last, "oauth_token"),
        "access_token_secret": _text(last, "oauth_token_secret"),
    }


def _ask(session: wire.Session, address: str, **signing: Any) -> dict[str, str]:
    """What stands in the answer, which is a form."""
    from requests_oauthlib import OAuth1  # 0.1 s, for those who use it

    with wire.answered():
        answer = session.post(address, auth=OAuth1(**signing))
    if answer.status_code in (401, 403):
        what = "the number was wrong or too old" if "verifier" in signing else "key and secret"
        hint = what if "verifier" in signing else f"X does not know this {what}"
        raise Refused(f"{answer.status_code}: {hint}")
    if answer.status_code >= 300:
        raise wire.from_status(answer.status_code, "", answer.headers)
    found = parse_qs(answer.content[:10_000].decode("utf-8", "replace"))
    return {name: values[0] for name, values in found.items()}


def _text(said: Mapping[str, str], name: str) -> str:
    if not (value := said.get(name, "").strip()):
        raise Refused(f"an answer without {name}: is it X?")
    return value
