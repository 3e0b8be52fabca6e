"""Threads, by Meta's graph API.

Sources: developers.facebook.com/docs/threads (posts, reference/publishing, troubleshooting,
retrieve-posts, delete-posts, long-lived-tokens) and docs/graph-api/guides/error-handling.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import regex
import requests
from pydantic import PrivateAttr, SecretStr, field_validator

from announcer import wire
from announcer.network import (
    UPLOAD,
    Account,
    DeliveryError,
    Finds,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    TryLater,
    Unsure,
    squeezed,
)
from announcer.settings import BaseUrl, setting

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

DAY = timedelta(days=1)
"""A token that is younger can not be renewed."""
RENEWED = timedelta(days=30)
"""Half of the life of a token: that much must be left."""
SOON = timedelta(days=14)
"""When `announcer check` begins to speak of its end."""
CONTAINER = timedelta(hours=23)
"""After 24 hours it is thrown away if it was not published."""
NOT_READY = timedelta(seconds=5)
CLOCKS = timedelta(minutes=10)
"""How far its clock may be behind ours."""
LOOK_AT = 25
"""Own posts to look through: ours is as new as the stream."""
_KEPT = 8
"""Posts of which the container is remembered."""

_TOKEN = frozenset({102, 190})
_PERMISSION = frozenset({10, *range(200, 300)})
_BUSY = frozenset({4, 17, 32, 341, 613})
"""Too many calls, of one kind or another."""
_UNKNOWN = frozenset({1, 2})
"""Unknown, and temporarily unavailable: neither says that nothing was done."""
_TOO_SOON = 4279009
"""A container that is not known everywhere yet."""
_BAD_LINK = 1609005
"""The page of the link could not be read."""
_NO_SUCH_OBJECT = (100, 33)

_EMOJI = regex.compile(r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{RI}\u200d\ufe0f\u20e3]")
_USER = regex.compile(r"me|[0-9]+")


@dataclass(frozen=True, slots=True)
class _Token:
    """*asked* is when we last wanted a new one, *ends* when this one ends, both in seconds; 0 is
    never and unknown.
    """

    access: str
    asked: float = 0
    ends: float = 0


class Threads(Network, Finds, Removes):
    """Posts to a Threads account.

    1. At https://developers.facebook.com/apps make an app with the use case "Access the Threads
       API", and give it the permissions `threads_basic`, `threads_content_publish` and, for
       `THREADS_WHEN_ENDED=remove`, `threads_delete`; for `=reply`, `threads_manage_replies`.
    2. Under App roles > Roles add your Threads account as a Threads Tester, and accept that in
       Threads under Settings > Account > Website permissions. The app needs no review then.
    3. In the app, under Use cases > Customize > Settings, use the User Token Generator to make a
       token for that account, and set `THREADS_ACCESS_TOKEN` to it.

    The token lasts 60 days. Once it is a day old it is renewed by itself, when a stream is
    announced or `announcer check` runs, and what comes of that is kept between restarts, encrypted
    with the token that you set. Who is silent for 60 days has to make a new one by hand.

    A post there can not be edited, so the end of a stream leaves it as it is unless you choose
    `reply`, `post` or `remove`. Its picture is the one that Threads finds at the address of your
    stream by itself: it takes none from us, only from addresses that it can reach.
    """

    name = "threads"
    title = "Threads"
    repeat = Repeat.FINDABLE
    replies = True
    shows_pictures = False
    unit = "characters, an emoji counts as its UTF-8 bytes"
    usual_limit = 500

    access_token: SecretStr = setting("Long-lived token of the account.")
    user_id: str = setting("Number of the account; `me` is the token's own.", default="me")
    api_base_url: BaseUrl = setting("Where the API is.", default="https://graph.threads.net")

    _vault: "Fernet | None" = PrivateAttr(default=None)

    @field_validator("user_id")
    @classmethod
    def _is_a_user(cls, user: str) -> str:
        if not _USER.fullmatch(user):
            raise ValueError("must be a number, or `me`")
        return user

    def publish(self, post: Post) -> Receipt:
        self._renew()
        container = self._container(post) or self._contain(post)
        try:
            said = self._call("POST", f"{self.user_id}/threads_publish", {"creation_id": container})
        except Refused:
            self._keep_container(post, "")  # whoever tries again begins anew
            raise
        media = said.get("id")
        if not isinstance(media, str) or not media.strip():
            raise Unsure("200, but without the post's id")
        return Receipt(media, self._permalink(media))

    def find(self, post: Post) -> Receipt | None:
        """Its container says whether it was published, and our own posts say as which."""
        status = ""
        with wire.nothing_posted():
            if container := self._container(post):
                with suppress(_NotThere):
                    said = self._call("GET", container, {"fields": "status"})
                    status = _text(said.get("status"))
            found = self._own(post)
        if found is None and status == "PUBLISHED":
            raise TryLater("it is up, but not among our posts yet", NOT_READY)
        if status in ("ERROR", "EXPIRED"):
            self._keep_container(post, "")
        return found

    def remove(self, receipt: Receipt) -> None:
        try:
            said = self._call("DELETE", receipt.id)
        except _NotThere as problem:
            # Which is also what it says to a token that may not.
            with suppress(_NotThere), wire.nothing_posted():
                if self._call("GET", receipt.id, {"fields": "id"}).get("id"):
                    raise Refused(f"{problem}: it is there, see the permissions") from None
            return
        if said.get("success") is False:
            raise Refused("it did not delete the post")

    def check(self) -> Account:
        self._renew()
        with wire.nothing_posted():
            said = self._call("GET", self.user_id, {"fields": "id,username"})
        name = wire.plain(_text(said.get("username")) or said.get("id"))
        ends = self._token().ends
        left = ends - _now().timestamp()
        notes: tuple[str, ...] = ()
        if not ends:
            notes = ("its token could not be renewed yet: after a day it can",)
        elif left < SOON.total_seconds():
            notes = (f"its token ends in {max(0, int(left // 86400))} days: make a new one",)
        until = datetime.fromtimestamp(ends, UTC) if ends else None
        return Account(f"@{name}", f"https://www.threads.com/@{name}", notes, until)

    def measure(self, text: str) -> int:
        extra = (len(sign.encode()) - 1 for sign in _EMOJI.findall(text))
        return len(text) + sum(extra)

    def _contain(self, post: Post) -> str:
        """The first step. Nobody sees a container, so it can not be made twice too often."""
        fields = {"media_type": "TEXT", "text": post.text}
        if post.reply_to:
            fields["reply_to_id"] = post.reply_to.id
        link = {"link_attachment": post.card.url} if post.card else {}
        with wire.nothing_posted():
            try:
                said = self._make(post, fields | link)
            except _BadLink:
                said = self._make(post, fields)
            container = said.get("id")
            if not isinstance(container, str) or not container.strip():
                raise Unsure("200, but without a container's id")
        self._keep_container(post, container)
        return container

    def _make(self, post: Post, fields: dict[str, str]) -> dict[str, Any]:
        return self._call("POST", f"{self.user_id}/threads", fields, lesser=bool(post.reply_to))

    def _own(self, post: Post) -> Receipt | None:
        kind = "replies" if post.reply_to else "threads"
        fields = {"fields": "id,text,permalink,timestamp", "limit": str(LOOK_AT)}
        posts = self._call("GET", f"{self.user_id}/{kind}", fields).get("data")
        if not isinstance(posts, list):
            raise Unsure("200, but without a list of posts")
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        for one in posts:
            made = wire.iso_time(str(one.get("timestamp"))) if isinstance(one, dict) else None
            if made and made >= since and squeezed(str(one.get("text"))) == squeezed(post.text):
                return Receipt(str(one.get("id")), _text(one.get("permalink")))
        return None

    def _permalink(self, media: str) -> str:
        """Empty if it can not be had: the post is up, and that matters more."""
        try:
            return _text(self._call("GET", media, {"fields": "permalink"}).get("permalink"))
        except DeliveryError:
            return ""

    def _call(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        fields: Mapping[str, str] = MappingProxyType({}),
        *,
        lesser: bool = False,
    ) -> dict[str, Any]:
        """*lesser* is what a token may lack the permission for, and yet be of use."""
        token = self._token().access
        answer = self._ask(method, f"v1.0/{path}", {**fields, "access_token": token})
        if answer.status_code < 300 and "error" not in wire.error_json(answer):
            return wire.json_of(answer)
        raise _meaning(answer, token, lesser=lesser or method == "DELETE")

    def _ask(
        self, method: str, path: str, fields: dict[str, str], total: float | None = None
    ) -> requests.Response:
        where = {"data" if method == "POST" else "params": fields}
        with wire.answered(), wire.Session(self.api_base_url, total=total) as session:
            return session.request(method, f"{self.api_base_url}/{path}", **where)

    def _container(self, post: Post) -> str:
        """The one that was made of the same words before, empty if there is none."""
        made = json.loads(self._memory.get("containers") or "{}").get(_words_of(post))
        fresh = made and _now().timestamp() - made[1] < CONTAINER.total_seconds()
        return str(made[0]) if fresh else ""

    def _keep_container(self, post: Post, container: str) -> None:
        kept = json.loads(self._memory.get("containers") or "{}")
        kept.pop(_words_of(post), None)
        if container:
            kept[_words_of(post)] = [container, _now().timestamp()]
        self._memory.put("containers", json.dumps(dict(list(kept.items())[-_KEPT:])))

    def _renew(self) -> None:
        """Takes a new token in time. What fails here is of no matter while the old one lasts."""
        old, now = self._token(), _now()
        lasts = old.ends and old.ends - now.timestamp() > RENEWED.total_seconds()
        if lasts or now.timestamp() - old.asked < DAY.total_seconds():
            return
        new = _Token(old.access, now.timestamp(), old.ends)
        fields = {"grant_type": "th_refresh_token", "access_token": old.access}
        try:
            answer = self._ask("GET", "refresh_access_token", fields, total=UPLOAD)
            said = wire.json_of(answer) if answer.status_code < 300 else {}
        except DeliveryError:
            said = {}
        access, seconds = said.get("access_token"), said.get("expires_in")
        if isinstance(access, str) and access and isinstance(seconds, int):
            new = _Token(access, now.timestamp(), now.timestamp() + seconds)
        self._memory.put("token", self._seal().encrypt(json.dumps(asdict(new)).encode()).decode())

    def _token(self) -> _Token:
        """The one that we have by now; another one in the settings makes it worthless."""
        from cryptography.fernet import InvalidToken  # 20 MB

        sealed = self._memory.get("token")
        try:
            return _Token(**json.loads(self._seal().decrypt(sealed or "")))
        except (InvalidToken, ValueError, TypeError):
            return _Token(self.access_token.get_secret_value())

    def _seal(self) -> "Fernet":
        """No secret may stand in a database row, so it is locked with the one that was set."""
        from cryptography.fernet import Fernet  # as above

        if self._vault is None:
            key = hashlib.scrypt(
                self.access_token.get_secret_value().encode(),
                salt=f"announcer token {self.user_id} {self.api_base_url}".encode(),
                n=2**11,  # a token is no word
                r=8,
                p=1,
                dklen=32,
            )
            self._vault = Fernet(base64.urlsafe_b64encode(key))
        return self._vault


class _NotThere(Refused):
    """What is asked for does not exist, or not for us."""


class _BadLink(Refused):
    """The link's page could not be read."""


def _words_of(post: Post) -> str:
    """Names what a container is made of."""
    parts = [post.key, str(post.edition), post.text, post.card.url if post.card else ""]
    parts.append(post.reply_to.id if post.reply_to else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _meaning(answer: requests.Response, token: str, *, lesser: bool) -> DeliveryError:
    """By Meta's own codes where there is one: most of them come with 400, some with 200. Nobody
    else knows *token* as a secret once it was renewed.
    """
    status, said = answer.status_code, wire.error_json(answer).get("error")
    error: dict[str, Any] = said if isinstance(said, dict) else {}
    code, sub = error.get("code"), error.get("error_subcode")
    message = _text(error.get("message")).replace(token, "***")
    reason = f"{status} {wire.plain(message)}".strip()
    wait = wire.wait_hint(answer.headers)
    if sub == _TOO_SOON:
        return TryLater(reason, max(wait, NOT_READY))
    if _BAD_LINK in (code, sub):
        return _BadLink(reason)
    if (code, sub) == _NO_SUCH_OBJECT:
        return _NotThere(reason)
    if code in _TOKEN:
        return Refused(f"{reason}: make a new token", closes=True)
    if code in _PERMISSION:
        return Refused(f"{reason}: the token lacks a permission", closes=not lesser)
    if code in _BUSY or status == 429:
        return TryLater(reason, wait)
    if code in _UNKNOWN or error.get("is_transient") is True or status < 300:
        return Unsure(reason)
    return wire.from_status(status, message, answer.headers)


def _now() -> datetime:
    return datetime.now(UTC)
