"""Mattermost, as a bot in one channel.

Sources: mattermost/mattermost server/channels app/post.go (a pending post id is kept for 30 s) and
api4/post.go (a change of a post that was deleted is 403), developers.mattermost.com on bot accounts
and the API.
"""

import hashlib
import hmac
import time
from datetime import datetime, timedelta
from typing import Any, Literal

import regex
import requests
from pydantic import PrivateAttr, SecretStr, field_validator

from announcer import wire
from announcer.network import (
    UPLOAD,
    ZERO_WIDTH_SPACE,
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
)
from announcer.settings import BaseUrl, setting

MARK = "announcer"
"""The property that our posts carry, and by which they are found again."""
CLOCKS = timedelta(minutes=10)
"""How far the server's clock may be behind ours."""
MOST = 1000
"""Posts that a server lists at once."""
LIST = 10_000_000
"""Bytes that so many may take."""
ABOUT_LIVES, ABOUT_PAUSE = 3600.0, 60.0
"""Seconds until a server is asked for its limit again; until it is, if it did not say."""

NO_PERMISSION = "api.context.permissions.app_error"
STILL_SAVING = "api.post.deduplicate_create_post.pending"
TOO_LONG = frozenset(
    {"model.post.is_valid.message_length.app_error", "model.post.is_valid.msg.app_error"}
)

_SIGN = regex.compile(r"[\\*_~`#\[\]]|^[-+>]|(?<=^[0-9]{1,9})[.)]")
_GAP = regex.compile(
    r"(?<=:)(?=[\w+-]+:)|(?<=[a-z]:)(?=//)|(?<=www)(?=\.)|(?<=&)(?=#?\w+;)|^(?==)",
    regex.IGNORECASE,
)
"""In an emoji's name, an address, an entity, and before a line that would make its neighbour a
heading.
"""


class Mattermost(Network, Finds, Revises, Removes, Shines):
    """Posts to a channel of a Mattermost server as a bot, and keeps true what it said.

    1. Put the address of your server into `MATTERMOST_URL`.
    2. As an administrator open *Integrations > Bot Accounts > Add Bot Account* (the System Console
       switches them on) and make a bot with the role *Member*, nothing more. Copy its token to
       `MATTERMOST_TOKEN`; it is shown once.
    3. Add the bot to the team, and to the channel with `/invite @` and its name.
    4. Open the channel's *View Info*, copy the id at its bottom to `MATTERMOST_CHANNEL_ID`.

    `MATTERMOST_PIN=on` also pins the post to the channel while the stream runs. We unpin only the
    post that we pinned. A server can limit for how long a post may be edited; what can not be
    edited any more stays as it is, and history says so.
    """

    name = "mattermost"
    title = "Mattermost"
    dialect = Dialect.MARKDOWN
    repeat = Repeat.WINDOW
    ends_by = "edit"
    replies = True
    describes_pictures = False  # a file has a name and no other words
    unit = "code points"
    usual_limit = 16_383

    url: BaseUrl = setting("Address of your server, such as `https://chat.example.org`.")
    token: SecretStr = setting("Access token of the bot.")
    channel_id: str = setting("Id of the channel: 26 letters and digits.")
    pin: Literal["on", "off"] = setting(
        "`on` pins the post to the channel while the stream runs.", default="off"
    )

    _longest: int = PrivateAttr(default=usual_limit)
    _ask_again: float = PrivateAttr(default=0.0)

    @field_validator("channel_id")
    @classmethod
    def _is_an_id(cls, channel: str) -> str:
        if not regex.fullmatch("[a-z0-9]{26}", channel):
            raise ValueError("must be the channel's id of 26 letters and digits, not its name")
        return channel

    def publish(self, post: Post) -> Receipt:
        return self._with_picture(post, self._upload, lambda file: self._post(post, file))

    def _upload(self, picture: Picture) -> str:
        """The id of the uploaded *picture*, which nobody sees before its post."""
        answer = self._ask(
            "POST",
            "/files",
            total=UPLOAD,
            data={"channel_id": self.channel_id},
            files={"files": (picture.file_name, picture.data, picture.mime)},
        )
        files = wire.json_of(answer).get("file_infos")
        return _id(files[0] if isinstance(files, list) and files else None)

    def _post(self, post: Post, file: str) -> Receipt:
        sent: dict[str, Any] = {
            "channel_id": self.channel_id,
            "message": post.text,
            "props": {MARK: _mark(post)},
            "pending_post_id": self._pending(post),
        }
        if file:
            sent["file_ids"] = [file]
        if post.reply_to:
            sent["root_id"] = post.reply_to.id
        try:
            answer = self._ask("POST", "/posts", json=sent)
        except _TooLong as refusal:
            self._ask_again = 0.0
            if self.measure(post.text) > self.limit():
                raise TryLater(f"{refusal} (the server's limit has shrunk)") from None
            raise
        return self._receipt(wire.json_of(answer))

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        """Nothing but the words: properties that are sent take the place of all that are there."""
        _id(wire.json_of(self._change("PUT", receipt, "/patch", json={"message": post.text})))
        return receipt

    def remove(self, receipt: Receipt) -> None:
        try:
            _done(self._change("DELETE", receipt, ""))
        except Gone:
            return

    @property
    def wants_badge(self) -> bool:
        return self.pin == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # a pin has no words and no end
        _done(self._change("POST", live, "/pin"))

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        try:
            _done(self._change("POST", live, "/unpin"))
        except Gone:
            return  # with its post

    def find(self, post: Post) -> Receipt | None:
        """One that a person deleted meanwhile counts as up: it was told."""
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            me = _id(self._me())
            asked = {"since": f"{since.timestamp() * 1000:.0f}"}
            answer = self._ask("GET", f"/channels/{self.channel_id}/posts", size=LIST, params=asked)
            posts = wire.json_of(answer).get("posts")
            if not isinstance(posts, dict):
                raise Unsure("an answer without the list of posts")
        for one in filter(_is_object, posts.values()):
            if _mapping(one.get("props")).get(MARK) == _mark(post) and one.get("user_id") == me:
                return self._receipt(one)
        if len(posts) >= MOST:
            raise TryLater("the channel has more posts since then than the server lists")
        return None

    def check(self) -> Account:
        notes = []
        with wire.nothing_posted():
            me = self._me()
            try:
                self._ask("GET", f"/channels/{self.channel_id}/members/me")
            except Refused as refusal:
                if refusal.closes:
                    raise
                notes.append(f"the bot is not in the channel: {refusal}")
        return Account(f"@{wire.plain(me.get('username'), 64)}", self.url, tuple(notes))

    def limit(self) -> int:
        if time.monotonic() < self._ask_again:
            return self._longest
        self._ask_again = time.monotonic() + ABOUT_PAUSE
        try:
            answer = self._ask("GET", "/config/client", params={"format": "old"})
            told = str(wire.json_of(answer).get("MaxPostSize"))
        except DeliveryError:
            return self._longest  # the last one, or the usual, will do until then
        if regex.fullmatch("[1-9][0-9]{2,6}", told):
            self._longest = int(told)
            self._ask_again = time.monotonic() + ABOUT_LIVES
        return self._longest

    def measure(self, text: str) -> int:
        return len(text)

    def escape(self, text: str) -> str:
        """A backslash before what formats, a space of no width where no client knows one."""
        return _SIGN.sub(r"\\\g<0>", _GAP.sub(ZERO_WIDTH_SPACE, break_mentions(text)))

    def _pending(self, post: Post) -> str:
        """The same on every try, and of this account only: a server has one list for all."""
        token = self.token.get_secret_value().encode()
        return hmac.new(token, post.wire_key.encode(), hashlib.sha256).hexdigest()

    def _me(self) -> dict[str, Any]:
        return wire.json_of(self._ask("GET", "/users/me"))

    def _receipt(self, post: dict[str, Any]) -> Receipt:
        found = _id(post)
        return Receipt(found, f"{self.url}/_redirect/pl/{found}")

    def _change(
        self, method: str, receipt: Receipt, what: str, json: dict[str, Any] | None = None
    ) -> requests.Response:
        """Raises Gone if the post is not there: a server says 404 of some changes then, and of
        others that they are not allowed.
        """
        path = f"/posts/{receipt.id}"
        try:
            return self._ask(method, f"{path}{what}", json=json)
        except _Missing:
            raise Gone("a person deleted the post") from None
        except _Forbidden:
            if self._is_gone(path):
                raise Gone("a person deleted the post") from None
            raise

    def _is_gone(self, path: str) -> bool:
        """False if we may not look."""
        try:
            self._ask("GET", path)
        except DeliveryError as problem:
            return isinstance(problem, _Missing)
        return False

    def _ask(
        self,
        method: str,
        path: str,
        *,
        total: float | None = None,
        size: int = wire.SIZE,
        **sent: Any,
    ) -> requests.Response:
        """The good answer to one request."""
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        with wire.answered(), wire.Session(self.url, total=total, size=size) as session:
            answer = session.request(method, f"{self.url}/api/v4{path}", headers=headers, **sent)
        if answer.status_code >= 300:
            raise _meaning(answer)
        return answer


class _TooLong(Refused):
    """The text is longer than the server allows."""


class _Missing(Refused):
    """Mattermost itself, and no proxy before it, says that something is not there."""


class _Forbidden(Refused):
    """A permission is missing. It can be given to the same token, so this closes nothing."""


def _meaning(answer: requests.Response) -> DeliveryError:
    said, status = wire.error_json(answer), answer.status_code
    code, message = said.get("id"), str(said.get("message") or "")
    reason = f"{status} {wire.plain(message)}".strip()
    if code == STILL_SAVING:
        return Unsure(f"{status} an earlier try is still being saved")
    if isinstance(code, str) and code in TOO_LONG:
        return _TooLong(reason)
    if code == NO_PERMISSION:
        return _Forbidden(f"{reason} (is the bot in the channel, and may it do that there?)")
    if status == 404 and isinstance(code, str):
        return _Missing(reason)
    return wire.from_status(status, message, answer.headers)


def _done(answer: requests.Response) -> None:
    """Raises Unsure if the server does not say so."""
    if wire.json_of(answer).get("status") != "OK":
        raise Unsure(f"{answer.status_code}, but it does not say OK")


def _mark(post: Post) -> str:
    return hashlib.sha256(post.wire_key.encode()).hexdigest()


def _id(thing: object) -> str:
    found = _mapping(thing).get("id")
    if not isinstance(found, str) or not found.strip():
        raise Unsure("an answer without an id")
    return found


def _is_object(thing: object) -> bool:
    return isinstance(thing, dict)


def _mapping(thing: object) -> dict[str, Any]:
    return thing if isinstance(thing, dict) else {}
