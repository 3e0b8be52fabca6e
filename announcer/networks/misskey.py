"""Misskey, and its relatives Sharkey and Firefish, by their own API.

Sources: misskey-dev/misskey packages/backend/src/server/api (ApiCallService.ts, endpoints/notes,
endpoints/drive/files/create.ts, endpoints/i/pin.ts) and mfm.js docs/syntax.md; Sharkey's and
Firefish's endpoints/notes/edit.ts, Sharkey's rate-limit-utils.ts.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

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

CLOCKS = timedelta(minutes=10)
"""How far the server's clock may be behind ours."""
ABOUT_LIVES, ABOUT_PAUSE = 3600.0, 60.0
"""Seconds until the server is asked for its limit again, after an answer and after none."""
ALT, WARNING = 512, 100
"""Characters of a picture's description and of a content warning; Sharkey takes more."""
A_TIME = 1e12
"""From here on milliseconds are a time (Misskey), below they are a wait (Sharkey)."""

NO_SUCH_NOTE, UNKNOWN = "NO_SUCH_NOTE", "UNKNOWN_API_ENDPOINT"
_BUSY = frozenset({"RATE_LIMIT_EXCEEDED", "BRIEF_REQUEST_INTERVAL"})
_DEAD = frozenset(
    {
        *("AUTHENTICATION_FAILED", "CREDENTIAL_REQUIRED", "PERMISSION_DENIED"),
        *("YOUR_ACCOUNT_SUSPENDED", "YOUR_ACCOUNT_MOVED", "ACCOUNT_LOCKED"),
        "ROLE_PERMISSION_DENIED",
    }
)
"""Some of them come with 400, or 500, by the age of the server."""

_SIGN = regex.compile(
    r"[*~<\]\\]"  # bold, struck, tags, links, formulas
    r"|(?<![A-Za-z0-9])_|_(?=_)"  # an address may have one inside
    r"|\$(?=\[)|:(?=[\w+-]+:)"  # functions, emoji
)
_SEARCH = regex.compile(r"(?:search|検索)\]?$", regex.IGNORECASE)
_GRAPHEME = regex.compile(r"\X")


class Misskey(Network, Finds, Revises, Removes, Shines):
    """Posts notes as your account on Misskey, Sharkey, Firefish or another server with their API.

    1. Put the address of your server into `MISSKEY_URL`.
    2. Open *Settings > API* (*Settings > Other settings > API* on some) there and generate an
       access token. Name it `Announcer` and switch on these permissions only: *compose or delete
       notes* (`write:notes`), *edit or delete your drive files* (`write:drive`) to show a picture
       of the stream, and *view your account information* (`read:account`), to see who it is and
       to look whether a note is up after a connection broke, so that it is not posted twice.
    3. Copy the token, which is shown once, to `MISSKEY_TOKEN`.

    Misskey itself can not edit a note. So the end of a stream is told by a reply, and a new title
    not at all. Sharkey and Firefish can; `announcer check` says whether your server does. Then
    `MISSKEY_WHEN_ENDED=edit` and `MISSKEY_WHEN_RETITLED=edit` keep one note true.

    `MISSKEY_PIN=on` also pins the note to your profile while the stream runs, which needs *edit
    your account information* (`write:account`), too. Only a few notes can be pinned: what can not
    be is posted all the same.
    """

    name = "misskey"
    title = "Misskey"
    repeat = Repeat.FINDABLE
    ends_by = "reply"
    replies = True
    unit = "UTF-16 units"
    usual_limit = 3000

    url: BaseUrl = setting("Address of your server, such as `https://misskey.io`.")
    token: SecretStr = setting("Access token.")
    visibility: Literal["public", "home", "followers"] = setting(
        "Who sees the notes: `public`, `home` (not in the timelines of the server) or `followers`.",
        default="public",
    )
    local_only: Literal["on", "off"] = setting(
        "`on` keeps the notes on your server: no other one gets them.", default="off"
    )
    cw: str = setting(
        "Content warning that hides the text until it is opened, of at most 100 characters.",
        default="",
    )
    pin: Literal["on", "off"] = setting(
        "`on` pins the note to your profile while the stream runs; the token then needs "
        "`write:account`, too.",
        default="off",
    )
    when_retitled: Literal["edit", "leave"] | None = setting(
        "What to do with the note when the title changes: `edit` it, where the server can, or "
        "`leave` it.",
        default="leave",  # of a server that can not, every new title would be a failure
    )

    _longest: int = PrivateAttr(default=0)
    _ask_again: float = PrivateAttr(default=0.0)

    @field_validator("cw")
    @classmethod
    def _is_short(cls, cw: str) -> str:
        if len(cw) > WARNING:
            raise ValueError(f"must be of at most {WARNING} characters")
        return cw

    def publish(self, post: Post) -> Receipt:
        return self._with_picture(
            post, lambda picture: self._upload(post, picture), lambda file: self._post(post, file)
        )

    def _upload(self, post: Post, picture: Picture) -> str:
        """The id of the file in our drive. One with the same bytes is there but once."""
        token = self.token.get_secret_value()
        sensitive = "true" if post.show and post.show.nsfw else "false"
        with wire.answered(), wire.Session(self.url, total=UPLOAD) as session:
            answer = session.post(
                f"{self.url}/api/drive/files/create",
                data={"i": token, "comment": _cut(picture.alt, ALT), "isSensitive": sensitive},
                files={"file": (picture.file_name, picture.data, picture.mime)},
            )
        return _id(wire.json_of(_good(answer)))

    def _post(self, post: Post, file: str) -> Receipt:
        note = self._note(post, file)
        if post.reply_to:
            note["replyId"] = post.reply_to.id
        return self._receipt(self._send("notes/create", note, post), file)

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        """What is not sent again would be taken away, or set to what is usual."""
        note = self._note(post, receipt.extra.get("file", "")) | {"editId": receipt.id}
        try:
            said = self._send("notes/edit", note, post)
        except Unsure:
            # Sharkey says 500 of a note that is not there.
            if self._is_gone(receipt.id):
                raise Gone("there is no such note") from None
            raise
        return self._receipt(said, receipt.extra.get("file", ""))

    def _note(self, post: Post, file: str) -> dict[str, Any]:
        """What create and edit have in common."""
        note: dict[str, Any] = {
            "text": post.text,
            "visibility": self.visibility,
            "localOnly": self.local_only == "on",
            # Firefish minds it in no edit, so mentions are broken as well.
            "noExtractMentions": True,
        }
        if self.cw:
            note["cw"] = self.cw
        if file:
            note["fileIds"] = [file]
        return note

    def _send(self, endpoint: str, note: dict[str, Any], post: Post) -> dict[str, Any]:
        try:
            return wire.json_of(self._call(endpoint, note))
        except Refused as refusal:
            if str(refusal).startswith(("400", "413")) and self._is_too_long_by_now(post.text):
                raise TryLater(f"{refusal} (the server's limit has shrunk)") from None
            raise

    def _receipt(self, said: dict[str, Any], file: str) -> Receipt:
        note = said.get("createdNote")
        number = _id(note if isinstance(note, dict) else {})
        return Receipt(number, f"{self.url}/notes/{number}", {"file": file} if file else {})

    def remove(self, receipt: Receipt) -> None:
        try:
            self._call("notes/delete", {"noteId": receipt.id})
        except Gone:
            return

    def _is_gone(self, note: str) -> bool:
        with wire.nothing_posted():
            try:
                self._call("notes/show", {"noteId": note})
            except Gone:
                return True
            except Refused:
                return False
        return False

    @property
    def wants_badge(self) -> bool:
        return self.pin == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # a pin has no words and no end
        try:
            self._call("i/pin", {"noteId": live.id})
        except Refused as refusal:
            if "ALREADY_PINNED" not in str(refusal):
                raise

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        try:
            self._call("i/unpin", {"noteId": live.id})
        except Gone:
            return  # with its note

    def find(self, post: Post) -> Receipt | None:
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            try:
                me = _id(self._who_am_i())
            except Refused as refusal:
                raise Refused(f"may be posted, and this token may not look: {refusal}") from None
            # By its age a server knows one of the two; a reply is a note, too.
            asked = {"userId": me, "limit": 50, "withReplies": True, "includeReplies": True}
            answer = self._call("users/notes", asked)
        for note in _list(answer):
            created = wire.iso_time(str(note.get("createdAt")))
            if created and created >= since and str(note.get("text")).strip() == post.text.strip():
                files = note.get("fileIds")
                file = str(files[0]) if isinstance(files, list) and files else ""
                return self._receipt({"createdNote": note}, file)
        return None

    def check(self) -> Account:
        with wire.nothing_posted():
            me = self._who_am_i()
        handle = f"@{wire.plain(me.get('username'))}@{urlsplit(self.url).hostname}"
        return Account(handle, f"{self.url}/@{me.get('username')}", self._remarks())

    def _remarks(self) -> tuple[str, ...]:
        """On edits, which are a matter of the server."""
        wished = "edit" in (self.when_ended, self.when_retitled)
        try:
            # 204 of what it does not know.
            edits = self._call("endpoint", {"endpoint": "notes/edit"}).status_code == 200
        except DeliveryError:
            return ()
        if wished and not edits:
            return (
                "this server can not edit notes: set WHEN_ENDED to `reply` and WHEN_RETITLED to "
                "`leave`, or the notes stay as they are",
            )
        if edits and not wished:
            return (
                "this server can edit notes: WHEN_ENDED=edit and WHEN_RETITLED=edit keep one note "
                "true",
            )
        return ()

    @property
    def warning(self) -> str:
        return self.cw

    def limit(self) -> int:
        if time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + ABOUT_PAUSE
            try:
                about = wire.json_of(self._call("meta", {"detail": False}))
            except DeliveryError:
                about = {}
            longest = about.get("maxNoteTextLength")
            if isinstance(longest, int) and longest > 0:
                self._longest, self._ask_again = longest, time.monotonic() + ABOUT_LIVES
        return self._longest or self.usual_limit

    def measure(self, text: str) -> int:
        """As Sharkey counts; Misskey counts code points, which are never more."""
        return len(text.encode("utf-16-le", errors="surrogatepass")) // 2

    def escape(self, text: str) -> str:
        """MFM has no way to escape a sign; what stands apart is none. Tags stay tags."""
        text = _SIGN.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", break_mentions(text).replace("`", "｀"))
        text = f"{ZERO_WIDTH_SPACE}{text}" if text.startswith(">") else text
        # A line that ends in "search" becomes a form with a button.
        return f"{text}{ZERO_WIDTH_SPACE}" if _SEARCH.search(text) else text

    @cached_property
    def _session(self) -> wire.Session:
        return wire.Session(self.url)

    def _call(self, endpoint: str, asked: dict[str, Any]) -> requests.Response:
        """Its good answer; raises what another one means."""
        with wire.answered():
            answer = self._session.post(
                f"{self.url}/api/{endpoint}", json={"i": self.token.get_secret_value(), **asked}
            )
        return _good(answer)

    def _who_am_i(self) -> dict[str, Any]:
        return wire.json_of(self._call("i", {}))

    def _is_too_long_by_now(self, text: str) -> bool:
        self._ask_again = 0.0
        return self.limit() < self.measure(text)


def _good(answer: requests.Response) -> requests.Response:
    """*answer*, if it is one. Raises the error that it stands for."""
    status = answer.status_code
    if status < 300:
        return answer
    found = wire.error_json(answer).get("error")
    error: dict[str, Any] = found if isinstance(found, dict) else {}
    code = str(error.get("code", ""))
    said = f"{wire.plain(code)} {wire.plain(error.get('message') or '')}".strip()
    reason = f"{status} {said}".strip()
    if code in _BUSY:
        raise TryLater(reason, max(wire.wait_hint(answer.headers), _asked_wait(error, answer)))
    if code == NO_SUCH_NOTE:
        raise Gone(reason)
    if code == UNKNOWN:
        raise Refused(f"{reason} (this server can not do that)")
    if code in _DEAD:
        raise Refused(reason, closes=True)
    raise wire.from_status(status, said, answer.headers)


def _asked_wait(error: dict[str, Any], answer: requests.Response) -> timedelta:
    """How long `info` asks us to stay away, by the server's own clock."""
    info = error.get("info")
    wait = info.get("resetMs") if isinstance(info, dict) else None
    if not isinstance(wait, int | float) or not 0 < wait < 1e15:
        return timedelta()
    if wait >= A_TIME:
        server = wire.http_date(answer.headers.get("Date", "")) or datetime.now(UTC)
        wait -= server.timestamp() * 1000
    return max(timedelta(), min(timedelta(milliseconds=wait), wire.LONGEST_WAIT))


def _list(answer: requests.Response) -> list[dict[str, Any]]:
    """The notes of *answer*. Raises TryLater, since to look posts nothing."""
    try:
        notes = answer.json()
    except (ValueError, RecursionError):
        notes = None
    if not isinstance(notes, list):
        raise TryLater("an answer without the list of notes")
    return [note for note in notes if isinstance(note, dict)]


def _id(thing: dict[str, Any]) -> str:
    """Raises Unsure if there is none. Letters and digits, by the kind of ids the server makes."""
    found = thing.get("id")
    if not isinstance(found, str) or not found.strip():
        raise Unsure("an answer without an id")
    return found


def _cut(text: str, room: int) -> str:
    """*text* in at most *room* code points, never cut inside a character."""
    if len(text) <= room:
        return text
    kept = ""
    for piece in _GRAPHEME.findall(text):
        if len(kept) + len(piece) >= room:
            break
        kept += piece
    return f"{kept}…"
