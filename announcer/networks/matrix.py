"""Matrix: messages in one room, of a homeserver of any make.

Sources: matrix-org/matrix-spec content/client-server-api/_index.md (transaction identifiers, rate
limiting, API standards), modules/event_replacements.md, instant_messaging.md, mentions.md,
content_repo.md, and what Synapse 1.163 does.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

import requests
from pydantic import PrivateAttr, SecretStr, field_validator

from announcer import wire
from announcer.network import (
    UPLOAD,
    ZERO_WIDTH_SPACE,
    Account,
    Card,
    DeliveryError,
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

MARK = "online.owncast.announcer.post"
"""A field of our events, by which one is found again. Names of one's own are like those of Java."""
PINS, ENCRYPTION, POWER = "m.room.pinned_events", "m.room.encryption", "m.room.power_levels"
CLOCKS = timedelta(minutes=10)
"""By so much the server's clock may be behind ours."""
PAGE, PAGES = 100, 10
"""Events of a room that are looked through, at most, are these multiplied."""
WIDE = 640
"""Width of the picture in a chat. Element shows no more than 800 by 600."""
_EDITS = 32
"""Messages of which the last edit is remembered: far more than are ever up at a time."""

_ROOM = re.compile(r"![^\s:/?#]+(:\S+)?|#[^\s:]+:\S+")
_MEDIA = re.compile(r"mxc://[\w.:\[\]-]+/[\w-]+", re.ASCII)
_REFERENCE = re.compile(r"(?<=matrix)(?=\.to\b|:\w)", re.IGNORECASE)
_IMAGE = re.compile(r"<img [^<>]*>")
_LOCKED_OUT = {
    "M_UNKNOWN_TOKEN": "log in again for a new access token",
    "M_MISSING_TOKEN": "log in again for a new access token",
    "M_USER_DEACTIVATED": "this account is no more",
    "M_USER_LOCKED": "ask the people who run the homeserver",
    "M_USER_SUSPENDED": "ask the people who run the homeserver",
}
"""Nothing can be done with this token or account, in any room."""
_HINTS = {
    "M_FORBIDDEN": "is the account in the room, and may it write there?",
    "M_UNRECOGNIZED": "is MATRIX_HOMESERVER the address of a homeserver?",
    "404": "is MATRIX_HOMESERVER the address of a homeserver?",
    **_LOCKED_OUT,
}


class Matrix(Network, Finds, Revises, Removes, Shines):
    """Posts to one room of Matrix, which must not be encrypted.

    1. Make an account for this alone, such as `@kestrel-live:matrix.org`, with any app, on any
       homeserver that lets you. A token of Matrix can do all that its account can, so it should
       not be yours.
    2. Invite it to the room, and accept the invitation in the app, logged in as that account. Where
       only some may write, give it the power level for that, and no more. Encryption can not be
       switched off in a room that has it: make another room, without.
    3. Set `MATRIX_HOMESERVER` to the *base URL* of the homeserver of that account: in Element, All
       settings > Help & About. For `matrix.org` it is `https://matrix-client.matrix.org`. It may
       differ from what stands behind the colon of the account's name, and is not looked for.
    4. Log in once more, for the service, with a device of its own:
       `curl -d '{"type": "m.login.password", "identifier": {"type": "m.id.user", "user":
       "kestrel-live"}, "password": "...", "device_id": "ANNOUNCER"}'
       https://matrix-client.matrix.org/_matrix/client/v3/login` (on one line). Set
       `MATRIX_ACCESS_TOKEN` to the `access_token` in the answer. One copied out of an app ends
       when that app logs out, and with many servers after minutes.
    5. Set `MATRIX_ROOM_ID` to the room's id (Element: Room settings > Advanced), such as
       `!abc:matrix.org`, or to its address, such as `#kestrel:matrix.org`.

    Whoever has notifications for all messages of the room is told. Nobody is mentioned, neither by
    a title nor by an edit, and a test is a notice, which notifies nobody. `MATRIX_PIN=on` also pins
    the message while you are live; for that the account needs the power level for pinned messages,
    50 in most rooms. Only ours is unpinned. The picture stands in the message, below the words;
    Element X on phones does not show such pictures, while desktop and web do.
    """

    name = "matrix"
    title = "Matrix"
    repeat = Repeat.HARMLESS
    ends_by = "edit"
    replies = True
    unit = "bytes"
    # Ours. An event may have 65,536 bytes, and that of an edit has the words four times, twice of
    # them as HTML, where one byte may take five.
    usual_limit = 4000

    homeserver: BaseUrl = setting("Base URL of the account's homeserver.")
    access_token: SecretStr = setting("Access token of the account.")
    room_id: str = setting("Id of the room, `!...`, or its address, `#...:...`.")
    pin: Literal["on", "off"] = setting(
        "`on` pins the message in the room while the stream runs; the account then needs the power "
        "level for that.",
        default="off",
    )

    _me: str = PrivateAttr(default="")

    @field_validator("room_id")
    @classmethod
    def _is_a_room(cls, room: str) -> str:
        if not _ROOM.fullmatch(room):
            raise ValueError("must be like !abc:matrix.org or #kestrel:matrix.org")
        return room

    def publish(self, post: Post) -> Receipt:
        doubtful = post.doubtful_since is not None
        # Only the same login gets its repeats folded, and only as long as its server likes.
        if doubtful and (found := self.find(post)):
            return found
        room = self._room(known=doubtful)
        self._refuse_encrypted(room)
        self._server()  # now, so that nothing stands between the event's answer and the receipt
        return self._with_picture(post, self._upload, lambda media: self._send(post, room, media))

    def _send(self, post: Post, room: str, media: str) -> Receipt:
        picture = _image(media, post.picture) if media and post.picture else ""
        content = _content(post, picture) | {MARK: _mark(post)}
        if post.reply_to and post.reply_to.extra.get("room") == room:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": post.reply_to.id}}
        # Another one without the picture: a server may repeat its refusal of the post with it.
        alone = post.picture is not None and not media
        transaction = _digest(post.wire_key, "without") if alone else _mark(post)
        event = self._put(room, f"send/m.room.message/{transaction}", content)
        return self._receipt(room, event, picture)

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        room = receipt.extra.get("room") or self._room()
        # To edit what was deleted is a success, which nobody sees.
        there = self._look(f"{_in(room)}/event/{_quoted(receipt.id)}")
        if there is None or there.get("content") == {}:
            raise Gone("a person deleted the message")
        new = _content(post, receipt.extra.get("picture", ""))
        old = _content(post, "")  # for apps that know no edits
        content = old | {
            "body": f"* {old['body']}",
            "formatted_body": f"* {old['formatted_body']}",
            "m.new_content": new,
            "m.relates_to": {"rel_type": "m.replace", "event_id": receipt.id},
        }
        transaction = self._transaction_of_edit(receipt.id, json.dumps(new))
        self._put(room, f"send/m.room.message/{transaction}", content, existing=True)
        return receipt

    def _transaction_of_edit(self, event: str, content: str) -> str:
        """The same for a repeat of the last edit that was tried. Any other gets another, even where
        it brings back earlier words: it would be folded into the edit that brought them first.
        """
        tried: dict[str, list[str]] = json.loads(self._memory.get("edits") or "{}")
        words = _digest(content)
        last, transaction = tried.pop(event, ["", ""])
        if words != last:
            transaction = _digest(event, transaction, words)
        recent = list(tried.items())[1 - _EDITS :]
        self._memory.put("edits", json.dumps(dict(recent) | {event: [words, transaction]}))
        return transaction

    def remove(self, receipt: Receipt) -> None:
        room = receipt.extra.get("room") or self._room()
        path = f"redact/{_quoted(receipt.id)}/{_digest('redact', receipt.id)}"
        with suppress(Gone):
            self._put(room, path, {}, existing=True)

    def find(self, post: Post) -> Receipt | None:
        """By our mark, which nobody else can set in our name."""
        room, me, mark = self._room(known=True), self._user(), _mark(post)
        for event in self._own_messages(room, me, post):
            content = event.get("content")
            if isinstance(content, dict) and content.get(MARK) == mark:
                image = _IMAGE.search(str(content.get("formatted_body")))
                return self._receipt(room, str(event.get("event_id")), image[0] if image else "")
        return None

    def _own_messages(self, room: str, me: str, post: Post) -> Iterator[dict[str, Any]]:
        """The newest first. Raises TryLater if there are too many to look at."""
        since = ((post.doubtful_since or post.worded_at) - CLOCKS).timestamp() * 1000
        which = json.dumps({"senders": [me], "types": ["m.room.message"]})
        asked = {"dir": "b", "limit": str(PAGE), "filter": which}
        for _ in range(PAGES):
            said = self._look(f"{_in(room)}/messages", asked) or {}
            events = said.get("chunk")
            if not isinstance(events, list):
                raise TryLater("200, but without the room's messages")
            for event in events:
                if isinstance(event, dict) and event.get("sender") == me:
                    yield event
                    at = event.get("origin_server_ts")
                    if isinstance(at, int) and at < since:
                        return
            end = said.get("end")
            if not end or not isinstance(end, str):
                return
            asked["from"] = end
        raise TryLater("so much was said since that it can not be looked for")

    @property
    def wants_badge(self) -> bool:
        return self.pin == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # a pin has no words and no end
        room = live.extra.get("room") or self._room()
        state, pinned = self._pinned(room)
        if live.id in pinned:
            return
        if again:
            raise Gone("a person unpinned it")
        # What somebody else pins at this very moment is lost: Matrix can not compare and set.
        self._put(room, f"state/{PINS}", {**state, "pinned": [*pinned, live.id]})

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        room = live.extra.get("room") or self._room()
        state, pinned = self._pinned(room)
        if live.id in pinned:
            others = [event for event in pinned if event != live.id]
            self._put(room, f"state/{PINS}", {**state, "pinned": others})

    def _pinned(self, room: str) -> tuple[dict[str, Any], list[Any]]:
        """The whole state, and the list in it."""
        state = self._look(f"{_in(room)}/state/{PINS}") or {}
        pinned = state.get("pinned")
        return state, pinned if isinstance(pinned, list) else []

    def check(self) -> Account:
        me, room = self._user(), self._room()
        self._refuse_encrypted(room)
        member = self._look(f"{_in(room)}/state/m.room.member/{_quoted(me)}") or {}
        if member.get("membership") != "join":
            raise Refused("the account is not in the room: invite it, and accept as that account")
        notes: tuple[str, ...] = ()
        if lacks := self._lacks(room, me, "m.room.message", "events_default", 0):
            raise Refused(f"the account may not write in the room: {lacks}")
        if self.wants_badge and (lacks := self._lacks(room, me, PINS, "state_default", 50)):
            notes = (f"it may not pin in the room: {lacks}",)
        return Account(wire.plain(me), _permalink(room, self._server()), notes)

    def _lacks(self, room: str, me: str, kind: str, otherwise: str, usual: int) -> str:
        """What is missing to send events of a *kind*; empty if nothing is, or if nobody knows."""
        levels = self._look(f"{_in(room)}/state/{POWER}")
        if levels is None or me in self._creators(room):
            return ""
        has = _level(levels, "users", me, _level(levels, "", "users_default", 0))
        needs = _level(levels, "events", kind, _level(levels, "", otherwise, usual))
        return f"its power level is {has}, and {needs} is needed" if has < needs else ""

    def _creators(self, room: str) -> list[Any]:
        """Who may do anything without being listed, since version 12 of rooms."""
        if ":" in room:
            return []
        created = self._look(f"{_in(room)}/state/m.room.create", {"format": "event"}) or {}
        content = created.get("content")
        others = content.get("additional_creators") if isinstance(content, dict) else None
        return [created.get("sender"), *(others if isinstance(others, list) else [])]

    def measure(self, text: str) -> int:
        return len(text.encode("utf-8", errors="surrogatepass"))

    def escape(self, text: str) -> str:
        """What apps show as a person is an @name, or an address that leads to one, however that is
        written: matrix.to/#/%40name.
        """
        return _REFERENCE.sub(ZERO_WIDTH_SPACE, break_mentions(text))

    def _refuse_encrypted(self, room: str) -> None:
        # Synapse takes plain text there, and apps show it with a warning or not at all. Asked each
        # time, since any moderator may switch it on.
        if self._look(f"{_in(room)}/state/{ENCRYPTION}") is not None:
            raise Refused("the room is encrypted, which can not be undone: use another room")

    def _upload(self, picture: Picture) -> str:
        """The mxc:// address of the uploaded *picture*."""
        most = self._most_bytes()
        if most is not None and len(picture.data) > most:
            raise Refused(f"the homeserver takes {most} bytes at most")
        name = {"filename": picture.file_name}
        answer = self._call("POST", "media/v3/upload", query=name, picture=picture, total=UPLOAD)
        if answer.status_code >= 300:
            raise _meaning(answer)
        media = wire.json_of(answer).get("content_uri")
        if not isinstance(media, str) or not _MEDIA.fullmatch(media):
            raise Unsure("200, but without the picture's address")
        return media

    def _most_bytes(self) -> int | None:
        try:
            said = self._look("client/v1/media/config", total=UPLOAD) or {}
        except DeliveryError:
            return None  # older servers do not tell; the upload will show
        most = said.get("m.upload.size")
        return most if isinstance(most, int) else None

    def _room(self, *, known: bool = False) -> str:
        """The room's id. *known* prefers what its address led to last, so that a repeat goes where
        the first try went.
        """
        if self.room_id.startswith("!"):
            return self.room_id
        name = f"room of {self.room_id}"
        last = self._memory.get(name)
        if last and known:
            return last
        try:
            said = self._look(f"client/v3/directory/room/{_quoted(self.room_id)}")
        except TryLater:
            if last:
                return last  # the address may be of a third server, which is down
            raise
        if said is None:
            raise Refused(f"there is no room {self.room_id}")
        room = said.get("room_id")
        if not isinstance(room, str) or not room.startswith("!"):
            raise TryLater("200, but without the room's id")
        if room != last:
            self._memory.put(name, room)
        return room

    def _user(self) -> str:
        """Our own id, asked once."""
        if not self._me:
            me = (self._look("client/v3/account/whoami") or {}).get("user_id")
            if not isinstance(me, str) or not me.startswith("@"):
                raise TryLater("it does not say who we are: is it a homeserver?")
            self._me = me
        return self._me

    def _server(self) -> str:
        """The name of our server, which a permalink should have; empty if it can not be had."""
        try:
            return self._user().partition(":")[2]
        except DeliveryError as problem:
            if isinstance(problem, Refused) and problem.closes:
                raise
            return ""

    def _receipt(self, room: str, event: str, picture: str) -> Receipt:
        extra = {"room": room, "picture": picture} if picture else {"room": room}
        return Receipt(event, _permalink(room, self._me.partition(":")[2], event), extra)

    def _put(self, room: str, path: str, content: dict[str, Any], *, existing: bool = False) -> str:
        """The id of the event that this makes. 404 is Gone if it is about an *existing* one."""
        answer = self._call("PUT", f"{_in(room)}/{path}", content)
        if existing and _is_missing(answer):
            raise Gone("a person deleted the message")
        if answer.status_code >= 300:
            raise _meaning(answer)
        event = wire.json_of(answer).get("event_id")
        if not isinstance(event, str) or not event.strip():
            raise Unsure(f"{answer.status_code}, but without the event's id")
        return event

    def _look(
        self, path: str, query: Mapping[str, str] | None = None, *, total: float | None = None
    ) -> dict[str, Any] | None:
        """What is there, None if nothing is."""
        with wire.nothing_posted():
            answer = self._call("GET", path, query=query, total=total)
            if _is_missing(answer):
                return None
            if answer.status_code >= 300:
                raise _meaning(answer)
            return wire.json_of(answer)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        picture: Picture | None = None,
        total: float | None = None,
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.access_token.get_secret_value()}"}
        if picture:
            headers["Content-Type"] = picture.mime
        data = picture.data if picture else None
        address = f"{self.homeserver}/_matrix/{path}"
        with wire.answered(), wire.Session(self.homeserver, total=total) as session:
            return session.request(
                method, address, params=query, json=body, data=data, headers=headers
            )


def _content(post: Post, picture: str) -> dict[str, Any]:
    """What create and edit have in common. Without `m.mentions` apps look for names in the words,
    and a notice, which is for programs, would notify nobody of a start.

    The picture is part of the words: where one is the message itself, with the words for a caption,
    apps that know no captions show neither words nor link.
    """
    words = _html(post)
    return {
        "msgtype": "m.notice" if post.test else "m.text",
        "body": post.text,
        "format": "org.matrix.custom.html",
        "formatted_body": f"{words}<br>{picture}" if picture else words,
        "m.mentions": {},
    }


def _html(post: Post) -> str:
    """The text of *post*, of which only our own addresses become links."""
    ours = {post.card.url} if post.card else set()
    if post.show:
        ours |= {post.show.url, post.show.replay_url}
    ours.discard("")
    words = []
    for word in re.split(r"(\s+)", post.text):
        safe = html.escape(word, quote=False)
        words.append(f'<a href="{html.escape(word)}">{safe}</a>' if word in ours else safe)
    return "".join(words).replace("\n", "<br>")


def _image(media: str, picture: Picture) -> str:
    width = min(WIDE, picture.width)
    height = round(picture.height * width / picture.width)
    alt = html.escape(picture.alt)
    return f'<img src="{html.escape(media)}" alt="{alt}" width="{width}" height="{height}">'


def _mark(post: Post) -> str:
    return _digest(post.wire_key)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _in(room: str) -> str:
    return f"client/v3/rooms/{_quoted(room)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _permalink(room: str, server: str, event: str = "") -> str:
    place = "/".join(quote(one, safe="!") for one in (room, event) if one)
    return f"https://matrix.to/#/{place}" + (f"?via={_quoted(server)}" if server else "")


def _level(levels: dict[str, Any], group: str, name: str, otherwise: int) -> int:
    """A number that *levels* has under *name*, in a *group* or without one."""
    found = levels.get(group) if group else levels
    level = found.get(name) if isinstance(found, dict) else None
    return level if isinstance(level, int) else otherwise


def _is_missing(answer: requests.Response) -> bool:
    """Whether the server says that a thing is not there; a 404 of something else says nothing."""
    return answer.status_code == 404 and _code(wire.error_json(answer)) == "M_NOT_FOUND"


def _meaning(answer: requests.Response) -> DeliveryError:
    said, status = wire.error_json(answer), answer.status_code
    code = _code(said)
    words = " ".join(filter(None, [code, wire.plain(said.get("error") or "", 100)]))
    if hint := _HINTS.get(code or f"{status}"):
        words = f"{words}: {hint}" if words else hint
    if said.get("soft_logout") is True:
        words += ", with the same device_id (a soft logout)"
    if status == 429 or code in ("M_LIMIT_EXCEEDED", "M_RESOURCE_LIMIT_EXCEEDED"):
        wait = max(wire.wait_hint(answer.headers), _asked_wait(said))
        return TryLater(f"{status} {words}".strip(), wait)
    closes = True if code in _LOCKED_OUT else None
    if status == 403 and code and not closes:
        closes = False  # it is about this room, and a member of it can change that
    return wire.from_status(status, words, answer.headers, closes=closes)


def _code(said: dict[str, Any]) -> str:
    """Matrix's own error code, empty if there is none."""
    code = said.get("errcode")
    return code if isinstance(code, str) and code.startswith("M_") and len(code) < 60 else ""


def _asked_wait(said: dict[str, Any]) -> timedelta:
    """What older servers say instead of a Retry-After."""
    wait = said.get("retry_after_ms")
    if not isinstance(wait, int | float) or not wait > 0:  # NaN is not, either
        return timedelta()
    return timedelta(seconds=min(wait / 1000, wire.LONGEST_WAIT.total_seconds()))
