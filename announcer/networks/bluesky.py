"""Bluesky, and any other server of the AT Protocol, by plain XRPC.

What a PDS does is from bluesky-social/atproto (packages/pds, lexicons), tried on 0.4.217.
"""

import base64
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlencode

import regex
import requests
from pydantic import PrivateAttr, SecretStr

from announcer import wire
from announcer.network import (
    UPLOAD,
    Account,
    Card,
    DeliveryError,
    Finds,
    Gone,
    Moment,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Shines,
    Unsure,
    graphemes,
)
from announcer.settings import BaseUrl, setting

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

COLLECTION = "app.bsky.feed.post"
BYTES_PER_GRAPHEME = 10
"""300 graphemes and 3000 bytes are both enforced: counting a tenth of the bytes covers both."""
TAG_LENGTH = 64
LOOK_AT = 100
"""Own posts to look through: ours is as new as the stream."""
STATUS = "app.bsky.actor.status"
"""Its one record, with the key `self`, is what is shown of an account that is live."""
STATUS_MINUTES = 240
"""The longest that Bluesky's own app offers."""

_STALE = frozenset({"ExpiredToken", "InvalidToken"})
"""A session that needs renewing. They come with 400, not 401."""
_DROPPED = "400 BlobNotFound"
"""A picture that was uploaded once, and thrown away because no post showed it."""
_DISABLED = frozenset({"AccountTakedown", "AccountSuspended", "AccountDeactivated"})
_SORTABLE = "234567abcdefghijklmnopqrstuvwxyz"
_LINK = regex.compile(r"https?://[\w\[][^\s<>\"]*", regex.IGNORECASE)
_AFTER_LINK = ".,;:!?'…»”’"
_TAG = regex.compile(r"(?<!\S)[#＃]([\w-]*[\p{L}\p{M}\p{So}_][\w\p{So}-]*)")


@dataclass(frozen=True, slots=True)
class _Login:
    did: str
    handle: str
    access: str
    refresh: str


class Bluesky(Network, Finds, Removes, Shines):
    """Posts with a link card to a Bluesky account.

    1. In Bluesky, open Settings > Privacy and security > App passwords and add one. It needs no
       access to your direct messages.
    2. Set `BLUESKY_IDENTIFIER` to your handle, such as `kestrel.bsky.social`, without the @.
    3. Set `BLUESKY_APP_PASSWORD` to the app password. Your main password stays with you.
    4. Only if your account lives on another server (PDS): set `BLUESKY_SERVICE` to its address.

    Bluesky shows no edits, so the end of a stream is told as a reply. The login is kept between
    restarts, encrypted with the app password, because Bluesky allows only 300 logins a day.

    `BLUESKY_LIVE_BADGE=on` also sets the account's live status while the stream runs. Do not expect
    to see it: Bluesky's own app shows the LIVE badge only for links to sites that Bluesky has
    allowed, and a server of your own is not among them. Other apps may show it. If we are cut off
    for good, it ends by itself, four hours after it was last renewed. A status that you set
    yourself, to another link, is neither replaced nor cleared.
    """

    name = "bluesky"
    title = "Bluesky"
    repeat = Repeat.HARMLESS
    ends_by = "reply"
    replies = True
    unit = "graphemes, of ten bytes at most on average"
    usual_limit = 300

    identifier: str = setting("Handle of the account, such as `kestrel.bsky.social`.")
    app_password: SecretStr = setting("App password, from Settings > Privacy and security.")
    service: BaseUrl = setting(
        "Server of the account, if it is not Bluesky's own.", default="https://bsky.social"
    )

    live_badge: Literal["on", "off"] = setting(
        "`on` sets the live status of the account while the stream runs. Bluesky's own app does "
        "not show it for a server of your own.",
        default="off",
    )
    badge_lasts: ClassVar[timedelta | None] = timedelta(minutes=STATUS_MINUTES)

    _vault: "Fernet | None" = PrivateAttr(default=None)

    def publish(self, post: Post) -> Receipt:
        self._login()  # before anything else, so that a refused password is asked for only once
        return self._with_picture(post, self._upload, lambda blob: self._put(post, blob))

    def _upload(self, picture: Picture) -> str:
        """The reference to the uploaded *picture*, as JSON."""
        blob = self._call("com.atproto.repo.uploadBlob", picture=picture).get("blob")
        if not isinstance(blob, dict) or not blob:
            raise Unsure("200, but without the picture's reference")
        return json.dumps(blob)

    def _put(self, post: Post, blob: str) -> Receipt:
        try:
            return self._put_record(post, blob)
        except Refused as refusal:
            if not post.picture or not str(refusal).startswith(_DROPPED):
                raise
        # It waited for its post too long. The same bytes get the same reference again.
        with wire.nothing_posted():
            self._upload(post.picture)
        return self._put_record(post, blob)

    def _put_record(self, post: Post, blob: str) -> Receipt:
        login = self._login()
        rkey = record_key(post)
        body = {"repo": login.did, "collection": COLLECTION, "rkey": rkey, "validate": True}
        record = _record(post, json.loads(blob) if blob else None)
        answer = self._call("com.atproto.repo.putRecord", {**body, "record": record})
        uri, cid = answer.get("uri"), answer.get("cid")
        if (
            not isinstance(uri, str)
            or not isinstance(cid, str)
            or not (uri.strip() and cid.strip())
        ):
            raise Unsure("200, but without the post's uri and cid")
        return _receipt(login, rkey, uri, cid)

    def find(self, post: Post) -> Receipt | None:
        """Only asked when a repeat is out of place: the stream is over, or it is too late."""
        login, rkey = self._login(), record_key(post)
        for record in self._records(COLLECTION, LOOK_AT):
            uri, cid = str(record.get("uri")), str(record.get("cid"))
            if uri.endswith(f"/{rkey}"):
                return _receipt(login, rkey, uri, cid)
        return None

    def remove(self, receipt: Receipt) -> None:
        # A record that is not there is deleted with 200, too.
        repo = receipt.extra.get("did") or self._login().did
        body = {"repo": repo, "collection": COLLECTION, "rkey": receipt.id}
        self._call("com.atproto.repo.deleteRecord", body)

    @property
    def wants_badge(self) -> bool:
        return self.live_badge == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # it stands alone
        if card is None:
            raise Refused("a live status needs the address of the stream: set OWNCAST_URL")
        there = self._status()
        ours = there is not None and _link_of(there) == card.url
        if again and not ours:
            raise Gone("it was taken away or replaced")
        if there is not None and not ours and _is_on(there, at):
            raise Refused("the account has another live status, which is left alone")
        status = {
            "$type": STATUS,
            "status": f"{STATUS}#live",
            "embed": _embed(card),
            "durationMinutes": STATUS_MINUTES,
            "createdAt": _timestamp(at),
        }
        body = {"repo": self._login().did, "collection": STATUS, "rkey": "self", "validate": True}
        self._call("com.atproto.repo.putRecord", {**body, "record": status})

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        there = self._status()
        if card is None or there is None or _link_of(there) != card.url:
            return
        body = {"repo": self._login().did, "collection": STATUS, "rkey": "self"}
        self._call("com.atproto.repo.deleteRecord", body)

    def _status(self) -> dict[str, Any] | None:
        """The record of the live status as it is now; None if there is none."""
        records = self._records(STATUS, 1)
        found = records[0].get("value") if records else None
        return found if isinstance(found, dict) else None

    def _records(self, collection: str, most: int) -> list[dict[str, Any]]:
        """The newest of a collection. getRecord would answer that there is none as it does a bad
        request.
        """
        with wire.nothing_posted():
            which = {"repo": self._login().did, "collection": collection, "limit": most}
            asked = f"com.atproto.repo.listRecords?{urlencode(which)}"
            records = self._call(asked).get("records")
            if not isinstance(records, list):
                raise Unsure("200, but without a list of records")
        return [record for record in records if isinstance(record, dict)]

    def check(self) -> Account:
        with wire.nothing_posted():
            answer = self._call("com.atproto.server.getSession")
        handle, did = str(answer.get("handle", "")), str(answer.get("did", ""))
        notes: tuple[str, ...] = ()
        if answer.get("active") is False:
            notes = (f"the account is not active: {wire.plain(answer.get('status', ''))}",)
        return Account(f"@{handle or did}", _profile(handle, did), notes)

    def measure(self, text: str) -> int:
        return max(graphemes(text), math.ceil(_bytes(text) / BYTES_PER_GRAPHEME))

    def _call(
        self, nsid: str, body: dict[str, Any] | None = None, picture: Picture | None = None
    ) -> dict[str, Any]:
        """One request in our session, with one more after renewing it if it had run out.

        A request that was refused for its token has changed nothing, so asking again is safe.
        """
        login = self._login()
        method = "POST" if body or picture else "GET"
        answer = self._ask(method, nsid, login.access, body, picture)
        if _is_stale(answer):
            answer = self._ask(method, nsid, self._renewed(login).access, body, picture)
        if answer.status_code >= 300:
            raise _meaning(answer)
        return wire.json_of(answer)

    def _ask(
        self,
        method: str,
        nsid: str,
        token: str = "",
        body: dict[str, Any] | None = None,
        picture: Picture | None = None,
    ) -> requests.Response:
        address = f"{self.service}/xrpc/{nsid}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = picture.data if picture else None
        if picture:
            headers["Content-Type"] = picture.mime
        total = UPLOAD if picture else None
        with wire.answered(), wire.Session(self.service, total=total) as session:
            return session.request(method, address, json=body, data=data, headers=headers)

    def _login(self) -> _Login:
        """The session that we have, from this run or an earlier one; else a new one."""
        return self._remembered() or self._logged_in()

    def _renewed(self, login: _Login) -> _Login:
        """A fresh session. An outage here is TryLater; only a clear word is a bad password."""
        with wire.nothing_posted():
            answer = self._ask("POST", "com.atproto.server.refreshSession", login.refresh)
            if answer.status_code < 300:
                return self._kept(wire.json_of(answer))
            meaning = _meaning(answer)
            if not isinstance(meaning, Refused):
                raise meaning
        return self._logged_in()

    def _logged_in(self) -> _Login:
        # Bluesky allows 30 logins in 5 minutes and 300 a day, for each account.
        body = {"identifier": self.identifier, "password": self.app_password.get_secret_value()}
        with wire.nothing_posted():
            answer = self._ask("POST", "com.atproto.server.createSession", body=body)
            if answer.status_code >= 300:
                raise _meaning(answer)
            return self._kept(wire.json_of(answer))

    def _kept(self, answer: dict[str, Any]) -> _Login:
        """Stored before it is used: the old refresh token will soon be worth nothing."""
        fields = [answer.get(name) for name in ("did", "handle", "accessJwt", "refreshJwt")]
        if not all(isinstance(value, str) and value for value in fields):
            raise Unsure("200, but without a session in it")
        login = _Login(*map(str, fields))
        sealed = self._seal().encrypt(json.dumps(asdict(login)).encode())
        self._memory.put("session", sealed.decode())
        return login

    def _remembered(self) -> _Login | None:
        from cryptography.fernet import InvalidToken  # 20 MB that only Bluesky's users need

        sealed = self._memory.get("session")
        if not sealed:
            return None
        try:
            return _Login(**json.loads(self._seal().decrypt(sealed)))
        except (InvalidToken, ValueError, TypeError):
            return None  # another password, or written by another version: log in again

    def _seal(self) -> "Fernet":
        """No secret may stand in a database row, so the session is locked with the password."""
        from cryptography.fernet import Fernet  # as above

        if self._vault is None:
            key = hashlib.scrypt(
                self.app_password.get_secret_value().encode(),
                salt=f"announcer session {self.identifier} {self.service}".encode(),
                n=2**11,  # an app password is no word; a thousand accounts may log in at once
                r=8,
                p=1,
                dklen=32,
            )
            self._vault = Fernet(base64.urlsafe_b64encode(key))
        return self._vault


def record_key(post: Post) -> str:
    """The same post always gets the same record key, so that a repeat can not make a second one.

    A post's key must be a TID: 53 bits of microseconds and 10 bits of clock id, in 13 letters.
    The fraction of the second is taken from the key as well as the clock id is: 10 bits alone
    would give one broadcast in a thousand the same record for its start and its end.
    """
    # A key that was deleted and is used again spoils the counts of replies and likes (social-app
    # #8781), so what is put up again gets another one.
    edition = f"{post.key}#{post.edition}" if post.edition else post.key
    digest = int.from_bytes(hashlib.sha256(edition.encode()).digest()[:8], "big")
    clock, fraction = digest & 1023, (digest >> 10) % 1_000_000
    # In a list by key, what was posted later stands later.
    second = int(post.began_at.timestamp()) + (post.moment is not Moment.LIVE) + 2 * post.edition
    number = ((second * 1_000_000 + fraction) << 10) | clock
    return "".join(_SORTABLE[(number >> shift) & 31] for shift in range(60, -1, -5))


def _record(post: Post, blob: dict[str, Any] | None) -> dict[str, Any]:
    """What is stored. Made of the post alone: a clock in here would make a repeat another post."""
    record: dict[str, Any] = {
        "$type": COLLECTION,
        "text": post.text,
        "createdAt": _timestamp(post.worded_at),
    }
    if facets := _facets(post.text):
        record["facets"] = facets
    if post.card:
        record["embed"] = _embed(post.card, blob)
    if post.reply_to and {"uri", "cid"} <= post.reply_to.extra.keys():
        parent = {name: post.reply_to.extra[name] for name in ("uri", "cid")}
        record["reply"] = {"root": parent, "parent": parent}
    return record


def _embed(card: Card, blob: dict[str, Any] | None = None) -> dict[str, Any]:
    external = {"uri": card.url, "title": card.title, "description": card.description}
    thumb = {"thumb": blob} if blob else {}
    return {"$type": "app.bsky.embed.external", "external": external | thumb}


def _link_of(status: dict[str, Any]) -> str:
    embed = status.get("embed")
    external = embed.get("external") if isinstance(embed, dict) else None
    return str(external.get("uri")) if isinstance(external, dict) else ""


def _is_on(status: dict[str, Any], at: datetime) -> bool:
    began, minutes = wire.iso_time(str(status.get("createdAt"))), status.get("durationMinutes")
    if began is None or not isinstance(minutes, int):
        return True  # who knows
    return (at - began).total_seconds() < minutes * 60


def _facets(text: str) -> list[dict[str, Any]]:
    """Links and tags as ranges of UTF-8 bytes. Never mentions: a title must ping nobody."""
    found = []
    for match in _LINK.finditer(text):
        link = _without_what_follows(match.group())
        feature = {"$type": "app.bsky.richtext.facet#link", "uri": link}
        found.append((match.start(), match.start() + len(link), feature))
    for match in _TAG.finditer(text):
        if graphemes(match[1]) <= TAG_LENGTH:
            feature = {"$type": "app.bsky.richtext.facet#tag", "tag": match[1]}
            found.append((*match.span(), feature))
    return [
        {
            "index": {"byteStart": _bytes(text[:start]), "byteEnd": _bytes(text[:end])},
            "features": [feature],
        }
        for start, end, feature in sorted(found, key=lambda each: each[0])
    ]


def _without_what_follows(link: str) -> str:
    """A link without the full stop or bracket that the sentence around it put there."""
    while True:
        shorter = link.rstrip(_AFTER_LINK)
        for opening, closing in ("()", "[]"):
            if shorter.endswith(closing) and shorter.count(closing) > shorter.count(opening):
                shorter = shorter[:-1]
        if shorter == link:
            return link
        link = shorter


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _receipt(login: _Login, rkey: str, uri: str, cid: str) -> Receipt:
    url = f"{_profile(login.handle, login.did)}/post/{rkey}"
    return Receipt(rkey, url, {"uri": uri, "cid": cid, "did": login.did})


def _profile(handle: str, did: str) -> str:
    known = handle if handle and not handle.endswith(".invalid") else did
    return f"https://bsky.app/profile/{known}"


def _is_stale(answer: requests.Response) -> bool:
    return answer.status_code == 401 or (
        answer.status_code == 400 and str(wire.error_json(answer).get("error")) in _STALE
    )


def _meaning(answer: requests.Response) -> DeliveryError:
    said = wire.error_json(answer)
    name = str(said.get("error", ""))
    reason = f"{name}: {said.get('message', '')}" if name else ""
    if name == "AuthFactorTokenRequired":
        reason = "this account asks for a second factor: use an app password"
    return wire.from_status(
        answer.status_code, reason, answer.headers, closes=name in _STALE | _DISABLED or None
    )
