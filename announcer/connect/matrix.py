"""Matrix: a login of its own, with a fixed device, and the room entered.

Sources: matrix-org/matrix-spec client-server-api, "Login", "Well-known URI", "Joining rooms".
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests

from announcer import wire
from announcer.connect import Fields, Question, Talk
from announcer.network import DeliveryError, Refused

USER = Question("user", "The account that is to post, such as @kestrel-live:matrix.org")
HOMESERVER = Question("homeserver", "Base URL of its homeserver")
PASSWORD = Question("password", "Its password, which is not kept", secret=True)
ROOM = Question("room_id", "The room, by its id (!...) or its address (#...:...)")
QUESTIONS = (USER, HOMESERVER, PASSWORD, ROOM)
MAKES = ("access_token",)

DEVICE = "ANNOUNCER"
"""Always the same: a second login takes the place of the first, and repeats of a post are folded
for one device only.
"""
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def connect(talk: Talk, known: Mapping[str, str]) -> Fields:
    user = talk.ask(USER)
    with talk.waiting("looking for its homeserver"):
        likely = known.get("homeserver") or _homeserver(user.partition(":")[2])
    homeserver = talk.ask(HOMESERVER, likely).rstrip("/")
    password = talk.ask(PASSWORD)
    with wire.Session(homeserver) as session, wire.nothing_posted():
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
            "device_id": DEVICE,
            "initial_device_display_name": "Announcer",
        }
        with talk.waiting(f"logging in at {homeserver}"):
            said = _post(session, f"{homeserver}/_matrix/client/v3/login", login)
        token = said.get("access_token")
        if not isinstance(token, str) or not token:
            raise Refused("an answer without an access token: is it a homeserver?")
        room = talk.ask(ROOM, known.get("room_id", ""))
        session.headers["Authorization"] = f"Bearer {token}"
        with talk.waiting("entering the room"):  # which accepts an invitation, too
            place = f"{homeserver}/_matrix/client/v3/join/{quote(room, safe='')}"
            _post(session, place, {})
    return {"homeserver": homeserver, "access_token": token, "room_id": room}


def _homeserver(host: str) -> str:
    """Where the *host* of a name says that its homeserver is; a guess if it says nothing."""
    if not _HOST.fullmatch(host):
        return ""
    origin = f"https://{host}"
    try:
        with wire.Session(origin, total=10) as session, wire.answered():
            answer = session.get(f"{origin}/.well-known/matrix/client")
        base = wire.json_of(answer).get("m.homeserver") if answer.ok else None
    except DeliveryError:
        return origin
    found = base.get("base_url") if isinstance(base, dict) else None
    return found.rstrip("/") if isinstance(found, str) and found.startswith("https://") else origin


def _post(session: wire.Session, address: str, body: Mapping[str, Any]) -> dict[str, Any]:
    with wire.answered():
        answer = session.post(address, json=body)
    if answer.status_code >= 300:
        raise _meaning(answer)
    return wire.json_of(answer)


def _meaning(answer: requests.Response) -> DeliveryError:
    said = wire.error_json(answer)
    code = str(said.get("errcode") or "")
    words = wire.plain(f"{code} {said.get('error') or ''}")
    if answer.status_code == 404 and not code:
        words = "it is no homeserver"
    return wire.from_status(answer.status_code, words, answer.headers, closes=False)
