"""Zulip: a channel of an organisation, by a bot.

Sources: zulip.com/api (send-message, update-message, get-messages, register-queue, upload-file,
rest-error-handling); zulip/zulip zerver/lib/exceptions.py, mention.py, markdown/__init__.py
(build_inlinepatterns), actions/message_edit.py and models/realms.py.
"""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

import requests
from pydantic import PrivateAttr, SecretStr, field_validator
from requests.auth import HTTPBasicAuth

from announcer import wire
from announcer.network import (
    UPLOAD,
    Account,
    Card,
    DeliveryError,
    Dialect,
    Finds,
    Gone,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    Shines,
    TryLater,
    Unsure,
    break_mentions,
    squeezed,
)
from announcer.settings import BaseUrl, setting, show_duration

CLOCKS = timedelta(minutes=10)
"""How far the server's clock may be behind ours."""
LOOK_AT = 100
"""Own messages to look through."""
ABOUT_LIVES, ABOUT_PAUSE = 3600.0, 60.0
"""Seconds until the limits are asked again, after an answer and after none."""
PICTURE_ROOM, ALT = 600, 200
"""Characters kept free for the link to a picture, and the most that its description takes of it."""
LONG_ENOUGH = timedelta(hours=24)
"""An organisation where a message can be edited for so long lets an evening's end be edited in."""
RESOLVED = "✔ "

_DEAD = frozenset({"STREAM_DOES_NOT_EXIST", "NONEXISTENT_SUBDOMAIN"})
"""Nothing can be posted until a setting is changed; both come with a status that says less."""
_SIGN = re.compile(r"[*`~\[\]<>$#|\\]|&(?=#?\w+;)|:(?=[\w+-]+:)|^[-+/]|(?<=\d)\.(?=\s)")
_LINE_START = re.compile(r"(?<=\n)[-+/]")
_NOT_IN_A_LINK = re.compile(r"[*`~\[\]<>$#|\\\s]+")
_PICTURE = re.compile(r"\n\[[^\]\n]*\]\(/user_uploads/[^)\s]*\)$")


class Zulip(Network, Finds, Revises, Removes, Shines):
    """Posts to a channel of a Zulip organisation, as a bot.

    1. In Zulip, open *Personal settings > Bots > Add a new bot*. As its type choose *Generic bot*:
       an *Incoming webhook* may neither correct what it said nor look whether it got there.
    2. Set `ZULIP_URL` to the address of the organisation, such as `https://kestrel.zulipchat.com`,
       and `ZULIP_EMAIL` and `ZULIP_API_KEY` to the bot's email and API key.
    3. Set `ZULIP_CHANNEL` to the name of the channel. If it is private, subscribe the bot to it.

    The end is told by a second message in the same topic, because Zulip lets a message be edited
    for ten minutes only, unless an administrator allows more. If yours does (`announcer check`
    tells), set `ZULIP_WHEN_ENDED=edit`. With `ZULIP_RESOLVE=on` the topic is marked as resolved (✔)
    when the stream has ended, and the mark taken off if it comes back: for a topic that is for
    announcements only.
    """

    name = "zulip"
    title = "Zulip"
    dialect = Dialect.CHAT
    repeat = Repeat.FINDABLE
    ends_by = "reply"
    replies = True
    unit = "characters"
    usual_limit = 10_000 - PICTURE_ROOM

    url: BaseUrl = setting("Address of the organisation, such as `https://kestrel.zulipchat.com`.")
    email: str = setting("The bot's email.")
    api_key: SecretStr = setting("The bot's API key.")
    channel: str = setting("Name of the channel.")
    topic: str = setting("Topic of the announcements in it.", default="live")
    resolve: Literal["on", "off"] = setting(
        "`on` marks the topic as resolved (✔) when the stream has ended.", default="off"
    )

    _about: dict[str, Any] = PrivateAttr(default_factory=dict)
    _ask_again: float = PrivateAttr(default=0.0)

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        return channel.removeprefix("#")

    @field_validator("topic")
    @classmethod
    def _is_a_topic(cls, topic: str) -> str:
        topic = topic.removeprefix(RESOLVED.strip()).strip()
        if not topic or len(RESOLVED + topic) > 60:
            raise ValueError("must have 1 to 58 characters")
        return topic

    def publish(self, post: Post) -> Receipt:
        topic = self._topic_of(post.reply_to) if post.reply_to else self.topic
        return self._with_picture(
            post, self._upload, lambda file: self._post(post, topic, _link(post.picture, file))
        )

    def _upload(self, picture: Picture) -> str:
        """Where the organisation keeps *picture*."""
        file = {"file": (picture.file_name, picture.data, picture.mime)}
        with wire.answered():
            answer = self._uploads.post(self._address("user_uploads"), files=file, auth=self._auth)
        said = _success(answer)
        place = said.get("url") or said.get("uri")  # its name before Zulip 9
        if not isinstance(place, str) or not re.fullmatch(r"/user_uploads/[^)\s]{1,300}", place):
            raise Unsure(f"{answer.status_code}, but without the place of the picture")
        return place

    def _post(self, post: Post, topic: str, picture: str) -> Receipt:
        answer = self._ask(
            "POST",
            "messages",
            type="stream",
            to=json.dumps(self.channel),  # a bare number would be taken for an id
            topic=topic,
            content=post.text + picture,
        )
        message = _success(answer).get("id")
        if isinstance(message, bool) or not isinstance(message, int):
            raise Unsure(f"{answer.status_code}, but without the message's id")
        return self._receipt(message, topic, picture)

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        content = post.text + receipt.extra.get("picture", "")
        self._change(receipt, self._ask("PATCH", f"messages/{receipt.id}", content=content))
        return receipt

    def remove(self, receipt: Receipt) -> None:
        try:
            self._change(receipt, self._ask("DELETE", f"messages/{receipt.id}"))
        except Gone:
            return

    def _change(self, receipt: Receipt, answer: requests.Response) -> None:
        """Raises what *answer* to a change of that message means. That it is gone has no code of
        its own, and words in the bot's language: so it is looked for.
        """
        try:
            _success(answer)
        except Refused as refusal:
            if refusal.closes or self._message(receipt):
                raise
            raise Gone("a person deleted the message") from None

    @property
    def wants_badge(self) -> bool:
        return self.resolve == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # the mark has no words and no end
        message = self._message(live)
        if not message:
            raise Gone("a person deleted the message")
        if message.get("subject") == RESOLVED + self.topic:
            if again:
                raise Gone("a person has resolved the topic")
            self._rename(live, self.topic)

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        message = self._message(live)
        # Elsewhere a person has moved it, into a topic that is not ours to resolve.
        if message and str(message.get("subject")).casefold() == self.topic.casefold():
            self._rename(live, RESOLVED + self.topic)

    def _rename(self, receipt: Receipt, topic: str) -> None:
        answer = self._ask(
            "PATCH",
            f"messages/{receipt.id}",
            topic=topic,
            propagate_mode="change_all",
            send_notification_to_old_thread="false",
            send_notification_to_new_thread="false",
        )
        _success(answer)

    def find(self, post: Post) -> Receipt | None:
        """Whatever its topic is by now. Compares letters and digits only."""
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        narrow = [
            {"operator": "sender", "operand": self.email},
            {"operator": "stream", "operand": self.channel},
        ]
        with wire.nothing_posted():
            try:
                said = _success(
                    self._ask(
                        "GET",
                        "messages",
                        anchor="newest",
                        num_before=str(LOOK_AT),
                        num_after="0",
                        apply_markdown="false",
                        narrow=json.dumps(narrow),
                    )
                )
            except Refused as refusal:
                reason = f"may be posted, and this bot may not look: {refusal}"
                raise Refused(reason, closes=refusal.closes) from None
            messages = said.get("messages")
            if not isinstance(messages, list):
                raise Unsure("an answer without the list of messages")
        wanted = squeezed(post.text)
        for message in filter(lambda one: isinstance(one, dict), messages):
            sent, number = message.get("timestamp"), message.get("id")
            if not isinstance(sent, int) or not isinstance(number, int):
                raise TryLater("an answer with a message that can not be read")
            content = str(message.get("content")).strip()
            picture = _PICTURE.search(content)
            if (
                datetime.fromtimestamp(sent, UTC) >= since
                and squeezed(_PICTURE.sub("", content)) == wanted
            ):
                topic = str(message.get("subject"))
                return self._receipt(number, topic, picture[0] if picture else "")
        return None

    def check(self) -> Account:
        with wire.nothing_posted():
            me = _success(self._ask("GET", "users/me"))
            _success(self._ask("GET", "get_stream_id", stream=self.channel))
        self._learn()
        handle = f"{wire.plain(me.get('full_name') or self.email)} in #{self.channel}"
        return Account(handle, self.url, tuple(self._restrictions()))

    def _restrictions(self) -> list[str]:
        if self._about.get("realm_allow_message_editing") is False:
            return ["this organisation lets nobody edit a message"]
        seconds = self._about.get("realm_message_content_edit_limit_seconds")
        if isinstance(seconds, int) and 0 < seconds < LONG_ENOUGH.total_seconds():
            limit = show_duration(timedelta(seconds=seconds))
            return [f"this organisation lets a message be edited for {limit} only"]
        return []

    def limit(self) -> int:
        self._learn()
        longest = self._about.get("max_message_length")
        if not isinstance(longest, int) or longest <= 2 * PICTURE_ROOM:
            return self.usual_limit
        return longest - PICTURE_ROOM

    def measure(self, text: str) -> int:
        return len(text)

    def escape(self, text: str) -> str:
        """Zulip knows no backslash, which would be shown, but it knows the entities of HTML."""
        text = _SIGN.sub(_entity, break_mentions(text))
        return _LINE_START.sub(_entity, text)

    @cached_property
    def _session(self) -> wire.Session:
        return wire.Session(self.url)

    @cached_property
    def _uploads(self) -> wire.Session:
        return wire.Session(self.url, total=UPLOAD)

    @property
    def _auth(self) -> HTTPBasicAuth:
        """In bytes: requests would write words in Latin-1, and stumble over the others."""
        return HTTPBasicAuth(self.email.encode(), self.api_key.get_secret_value().encode())

    def _address(self, path: str) -> str:
        return f"{self.url}/api/v1/{path}"

    def _ask(self, method: str, path: str, **what: str) -> requests.Response:
        where: dict[str, Any] = {"params" if method == "GET" else "data": what}
        with wire.answered():
            return self._session.request(method, self._address(path), auth=self._auth, **where)

    def _message(self, receipt: Receipt) -> dict[str, Any] | None:
        """What *receipt* names as it is now, None if it is gone."""
        with wire.nothing_posted():
            try:
                said = _success(self._ask("GET", f"messages/{receipt.id}"))
            except Refused as refusal:
                if refusal.closes:
                    raise
                return None
            message = said.get("message")
            if not isinstance(message, dict):
                raise Unsure("an answer without the message")
            return message

    def _topic_of(self, receipt: Receipt) -> str:
        """Where the conversation about it is by now, which may have been resolved."""
        try:
            message = self._message(receipt)
        except DeliveryError:
            return self.topic
        found = message.get("subject") if message else None
        return found if isinstance(found, str) and found else self.topic

    def _receipt(self, message: int, topic: str, picture: str) -> Receipt:
        place = f"stream/{_in_hash(self.channel)}/topic/{_in_hash(topic)}/near/{message}"
        extra = {"picture": picture} if picture else {}
        return Receipt(str(message), f"{self.url}/#narrow/{place}", extra)

    def _learn(self) -> None:
        """Ask for the limits once in a while; the last ones stay while there is no answer."""
        if time.monotonic() < self._ask_again:
            return
        self._ask_again = time.monotonic() + ABOUT_PAUSE
        only = json.dumps(["realm"])
        try:
            answer = self._ask("POST", "register", event_types=only, fetch_event_types=only)
            self._about = _success(answer)
        except DeliveryError:
            return  # the usual limit will do until then
        self._ask_again = time.monotonic() + ABOUT_LIVES


def _success(answer: requests.Response) -> dict[str, Any]:
    """What a good answer says; raises what another one means."""
    if answer.status_code >= 300:
        raise _meaning(answer)
    said = wire.json_of(answer)
    if said.get("result") != "success":
        raise Unsure(f"{answer.status_code}, but it does not say that it was done")
    return said


def _meaning(answer: requests.Response) -> DeliveryError:
    said = wire.error_json(answer)
    status, code = answer.status_code, said.get("code")
    reason = f"{status} {wire.plain(said.get('msg') or '')}".strip()
    if status == 429 or code == "RATE_LIMIT_HIT":
        return TryLater(reason, max(wire.wait_hint(answer.headers), _asked_wait(said)))
    if status < 500 and isinstance(code, str) and code in _DEAD:
        return Refused(reason, closes=True)
    return wire.from_status(status, str(said.get("msg") or ""), answer.headers)


def _asked_wait(said: dict[str, Any]) -> timedelta:
    seconds = said.get("retry-after")
    if not isinstance(seconds, int | float) or not seconds > 0:  # NaN is not, either
        return timedelta()
    return timedelta(seconds=min(seconds, wire.LONGEST_WAIT.total_seconds()))


def _entity(sign: re.Match[str]) -> str:
    return f"&#{ord(sign[0])};"


def _link(picture: Picture | None, file: str) -> str:
    """The line that shows *file*. Without signs: in a link's text Zulip knows no entities."""
    if picture is None or not file:
        return ""
    words = " ".join(_NOT_IN_A_LINK.sub(" ", break_mentions(picture.alt)).split())
    return f"\n[{words[:ALT] or 'picture'}]({file})"


def _in_hash(name: str) -> str:
    """As Zulip writes a name behind the # of its addresses."""
    return quote(name, safe="").replace(".", "%2E").replace("%", ".")
