"""ntfy: push notifications to phones and desktops.

Sources: binwiederhier/ntfy docs/publish.md, server/server.go and server/errors.go, and what servers
of 2.11 and 2.27 did when asked.
"""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import regex
import requests
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    DeliveryError,
    Moment,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    Unsure,
)
from announcer.settings import BaseUrl, setting

PRIORITIES = {"min": 1, "low": 2, "default": 3, "high": 4, "max": 5}
QUIET = PRIORITIES["low"]
"""No sound and no vibration."""
TITLE = 500
"""Bytes: 2.28 takes 1024, and title and text together must fit into 8192 of JSON."""

BAD_SEQUENCE, BAD_PRIORITY = 40049, 40007
_PICTURE_TROUBLE = frozenset({42905, 50001})
"""Attachments of today are used up; it could not be stored. Both before anything is shown."""
_OLD = "this server is older than ntfy 2.16"
_GRAPHEME = regex.compile(r"\X")


class Ntfy(Network, Revises, Removes):
    """Sends a push notification to everybody who subscribed to a topic, by ntfy.sh or a server of
    your own.

    1. Choose a topic that your audience subscribes to in the ntfy app or at `https://ntfy.sh/app`,
       and set `NTFY_TOPIC` to its name (not to its address).
    2. Make sure that only you can post there: on ntfy.sh whoever knows a topic's name may also
       post to it, unless it is reserved. Reserve it in your account (Account > Reserved topics,
       others may only read) and create a token under Account > Access tokens.
    3. On your own server: `ntfy user add announcer`, `ntfy access announcer TOPIC write-only`,
       `ntfy access everyone TOPIC read-only` and `ntfy token add announcer`; set `NTFY_SERVER` to
       its address.
    4. Set `NTFY_ACCESS_TOKEN` to the token.

    A tap opens the stream. New titles and the end of the stream replace the notification, without
    a sound. That takes ntfy 2.16 or later: `announcer check` tells if yours is older. The app for
    iPhones does not replace but shows one more; if that disturbs your audience, set
    `NTFY_WHEN_ENDED=leave` and `NTFY_WHEN_RETITLED=leave`. The picture is kept by the server for
    some hours, and only if it allows attachments.
    """

    name = "ntfy"
    title = "ntfy"
    repeat = Repeat.HARMLESS
    ends_by = "edit"
    describes_pictures = False
    unit = "UTF-8 bytes, two for a quote, a backslash or a line end"
    usual_limit = 4095  # with one more, 2.11 makes a file of it and 2.27 answers 500

    topic: SecretStr = setting("Name of the topic; on ntfy.sh it is the password, too.")
    server: BaseUrl = setting("Address of the server.", default="https://ntfy.sh")
    access_token: SecretStr | None = setting(
        "Access token of a user that may post to the topic.", default=None
    )
    priority: Literal["min", "low", "default", "high", "max"] = setting(
        "How much a start insists: `high` and `max` vibrate longer, `low` makes no sound.",
        default="default",
    )
    button: str = setting(
        "Label of a button that opens the stream, such as `Watch`. None shows no button; a tap "
        "opens it, too.",
        default="",
    )

    @field_validator("topic")
    @classmethod
    def _is_a_name(cls, topic: SecretStr) -> SecretStr:
        if not regex.fullmatch("[-_A-Za-z0-9]{1,64}", topic.get_secret_value()):
            raise ValueError("must be a name of letters, digits, - and _, and no address")
        return topic

    def publish(self, post: Post) -> Receipt:
        if post.doubtful_since and self.when_unsure == "stop" and not self._replaces():
            raise Refused(f"{_OLD} and would show it twice")
        message = self._message(post, _sequence(post), quiet=post.mood is Moment.ENDED)
        if not post.picture:
            return self._put(message)
        try:
            return self._put(message, post.picture)
        except Refused as refusal:
            if refusal.closes:
                raise
            receipt = self._put(message)
            return replace(receipt, note=f"without its picture: {refusal}")

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        if "old" in receipt.extra:
            raise Refused(f"{_OLD} and can not change a message")
        message = self._message(post, receipt.id, quiet=True)
        if post.mood is Moment.LIVE and _lasts(receipt, post.worded_at):
            message |= {"attach": receipt.extra["picture"], "filename": Picture.file_name}
        self._put(message)
        return receipt

    def remove(self, receipt: Receipt) -> None:
        if "old" in receipt.extra:
            raise Refused(f"{_OLD} and can not take a message away")
        answer = self._call("DELETE", f"{self.topic.get_secret_value()}/{receipt.id}")
        if answer.status_code >= 300:
            raise _meaning(answer)

    def check(self) -> Account:
        notes = []
        if not self._replaces():
            notes.append(f"{_OLD}: titles and ends are not told, and after a time-out nobody knows")
        if not self.access_token:
            notes.append("without an access token, whoever knows the topic may post there as well")
        return Account(f"a topic of {urlsplit(self.server).netloc}", notes=tuple(notes))

    def measure(self, text: str) -> int:
        return len(_json(text)) - len('""')

    def _replaces(self) -> bool:
        """Whether the server knows sequence ids. Raises if it does not let us post.

        It shows no version to who is no admin. But it refuses a message with a bad sequence id
        before it looks at its bad priority, while an older one knows only the latter.
        """
        name = f"replaces messages: {self.server}"
        if self._memory.get(name):
            return True
        probe = {
            "topic": self.topic.get_secret_value(),
            "message": "-",
            "sequence_id": "?",
            "priority": 9,
        }
        with wire.nothing_posted():
            answer = self._call("POST", "", _json(probe))
            code = wire.error_json(answer).get("code")
            if answer.status_code != 400 or code not in (BAD_SEQUENCE, BAD_PRIORITY):
                if answer.status_code >= 300:
                    raise _meaning(answer)
                raise Refused("it answers, but not like ntfy")
        if code == BAD_PRIORITY:
            return False
        self._memory.put(name, "yes")
        return True

    def _message(self, post: Post, sequence: str, *, quiet: bool) -> dict[str, Any]:
        show, priority = post.show, PRIORITIES[self.priority]
        if post.test:
            priority = PRIORITIES["min"]
        elif quiet:
            priority = min(priority, QUIET)
        over = post.mood is Moment.ENDED
        url = (show.replay_url if show and over else "") or (post.card.url if post.card else "")
        message: dict[str, Any] = {
            "topic": self.topic.get_secret_value(),
            "sequence_id": sequence,
            "title": _title(show.name if show else "Announcer"),
            "message": post.text,
            "priority": priority,
        }
        if not over:  # ntfy shows the emoji of this name
            message["tags"] = ["warning" if post.moment is Moment.ALERT else "red_circle"]
        if url:
            message["click"] = url
        if url and self.button:
            message["actions"] = [{"action": "view", "label": self.button, "url": url}]
        return message

    def _put(self, message: dict[str, Any], picture: Picture | None = None) -> Receipt:
        if picture:
            topic = message["topic"]
            answer = self._call("POST", topic, picture.data, _as_query(message, picture))
        else:
            answer = self._call("POST", "", _json(message))
        if answer.status_code >= 300:
            raise _meaning(answer, with_picture=picture is not None)
        said = wire.json_of(answer)
        if not isinstance(said.get("id"), str) or not said["id"].strip():
            raise Unsure(f"{answer.status_code}, but without the message's id")
        extra: dict[str, str] = {}
        sequence = said.get("sequence_id")
        if not isinstance(sequence, str) or not sequence:
            extra["old"] = "yes"
        kept = said.get("attachment")
        if picture and isinstance(kept, dict) and isinstance(kept.get("url"), str):
            extra |= {"picture": kept["url"], "until": str(kept.get("expires", ""))}
        return Receipt(said["id"] if "old" in extra else str(sequence), extra=extra)

    def _call(
        self, method: str, path: str, body: bytes = b"", query: dict[str, str] | None = None
    ) -> requests.Response:
        token, headers = self.access_token, {}
        if token:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        with wire.answered(), wire.Session(self.server) as session:
            return session.request(
                method, f"{self.server}/{path}", params=query, data=body, headers=headers
            )


def _sequence(post: Post) -> str:
    """Not made of the wire key: after a clear refusal nothing is there to be mistaken for."""
    return hashlib.sha256(f"{post.key}#{post.edition}".encode()).hexdigest()[:32]


def _json(value: object) -> bytes:
    """In UTF-8: with escapes a message of other letters than Latin ones would not fit."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace")


def _title(name: str) -> str:
    """*name* at most as long as a title may be. In JSON, ntfy decodes it like a mail's header."""
    name, kept, room = name.replace("=?", f"={ZERO_WIDTH_SPACE}?"), [], TITLE
    for grapheme in _GRAPHEME.findall(name):
        room -= len(grapheme.encode(errors="replace"))
        if room < 0:
            break
        kept.append(grapheme)
    return "".join(kept)


def _as_query(message: dict[str, Any], picture: Picture) -> dict[str, str]:
    """What goes beside a file, whose bytes are the body. Headers would have to be ASCII."""
    query = {name: str(value) for name, value in message.items() if name != "topic"}
    query["sequence-id"] = query.pop("sequence_id")  # the other spelling is overlooked here
    query["filename"] = picture.file_name
    # Here, and not in JSON, these two signs mean a line end.
    query["message"] = query["message"].replace("\\n", f"\\{ZERO_WIDTH_SPACE}n")
    if "tags" in message:
        query["tags"] = ",".join(message["tags"])
    if "actions" in message:
        query["actions"] = json.dumps(message["actions"])
    return query


def _lasts(receipt: Receipt, at: datetime) -> bool:
    """Whether the server still has the picture."""
    until = receipt.extra.get("until", "")
    return until.isdigit() and datetime.fromtimestamp(int(until[:10]), UTC) > at


def _meaning(answer: requests.Response, *, with_picture: bool = False) -> DeliveryError:
    said = wire.error_json(answer)
    words = str(said.get("error", ""))
    if with_picture and said.get("code") in _PICTURE_TROUBLE:
        return Refused(f"{answer.status_code} {wire.plain(words)}".strip())
    return wire.from_status(answer.status_code, words, answer.headers)
