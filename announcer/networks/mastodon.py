"""Mastodon, and servers that speak its API.

Sources: docs.joinmastodon.org (methods, api/rate-limits), StatusLengthValidator and
PostStatusService in mastodon/mastodon, Mastodon.py 2.3 internals.py.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

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
    graphemes,
    squeezed,
)
from announcer.settings import BaseUrl, is_private, setting

if TYPE_CHECKING:
    from mastodon import Mastodon as Client

KEY_LIVES = timedelta(minutes=55)
"""Mastodon keeps an Idempotency-Key for an hour; less the time that a repeat may take."""
CLOCKS = timedelta(minutes=10)
"""How far the server's clock may be behind ours."""
ABOUT_LIVES, ABOUT_PAUSE = 3600.0, 60.0
"""Seconds until the instance document is asked again, after an answer and after none."""
KEEPS_KEYS = re.compile(r"github\.com/(mastodon|glitch-soc)/mastodon\b")
"""Whose `source_url` says that the key is honoured. GoToSocial and snac ignore it."""
LOOK_AGAIN = 0.5
"""Seconds between looks at a picture that the server still works on."""
PINS = "write:accounts"
READS, WRITES, PROFILE = "read:statuses", "write:statuses", "profile (before 4.3: read:accounts)"
MEDIA = "write:media"

# What Mastodon surely takes for a link. Where it would see more in it, we count a little too much.
_LINK = re.compile(
    r"(?<![A-Za-z0-9@$#])https?://((?:[a-z0-9-]+\.)+[a-z]{2,})(?::\d+)?"
    r"(?:/?\?|/)?(?:(?<=[/?])[a-z0-9!*';:=+,.$/%#\[\]_~@|&?-]*[a-z0-9=_#/+-])?",
    re.IGNORECASE,
)
_FOREIGN_MENTION = re.compile(r"(?<![\w/=])(@[A-Za-z0-9_]+(?:[\w.-]*\w)?)@[\w.-]*\w")
_MARKDOWN_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


class Mastodon(Network, Finds, Revises, Removes, Shines):
    """Posts as your account on Mastodon, or on a server that speaks its API, such as GoToSocial,
    Pleroma, Akkoma or snac.

    1. Put the address of your server into `MASTODON_API_BASE_URL`.
    2. Open *Preferences > Development > New application* there. Name it `Announcer` and tick these
       scopes only: `write:statuses` to post, `write:media` to show a picture of the stream,
       `profile` to see who it is (`read:accounts` on servers older than 4.3), and `read:statuses`
       to look whether a post is up after a connection broke, so that it is not posted twice.
    3. Save, open the application again and copy *Your access token* to `MASTODON_ACCESS_TOKEN`.

    `MASTODON_PIN=on` also pins the post to your profile while the stream runs, which needs the
    scope `write:accounts`, too. Only people who open the profile see it. A server allows only a few
    pinned posts, five on Mastodon, and none for `direct` ones: what can not be pinned is posted all
    the same. We unpin only the post that we pinned; if we are cut off for good, it stays pinned.
    """

    name = "mastodon"
    title = "Mastodon"
    repeat = Repeat.WINDOW
    ends_by = "edit"
    replies = True
    unit = "characters, a link counts 23"
    usual_limit = 500

    api_base_url: BaseUrl = setting("Address of your server, such as `https://mastodon.social`.")
    access_token: SecretStr = setting("Access token of your application there.")
    visibility: Literal["public", "unlisted", "private", "direct"] = setting(
        "Who sees the posts: `public`, `unlisted`, `private` (followers) or `direct` (nobody but "
        "those it names).",
        default="public",
    )
    language: str = setting("Language of your posts as ISO 639 code, such as `en`.", default="")
    spoiler_text: str = setting(
        "Content warning that hides the text until it is opened.", default=""
    )

    pin: Literal["on", "off"] = setting(
        "`on` pins the post to your profile while the stream runs; the token then needs the scope "
        "`write:accounts`, too.",
        default="off",
    )

    _about: dict[str, Any] = PrivateAttr(default_factory=dict)
    _ask_again: float = PrivateAttr(default=0.0)

    def publish(self, post: Post) -> Receipt:
        return self._with_picture(post, self._upload, lambda media: self._post(post, media))

    def _upload(self, picture: Picture) -> str:
        """The id of the uploaded *picture*, once it can be shown."""
        until = time.monotonic() + UPLOAD
        answer = self._ask(
            MEDIA,
            lambda client: client.media_post(
                picture.data,
                picture.mime,
                description=picture.alt or None,
                file_name=picture.file_name,
            ),
            session=self._uploads,
        )
        media = _id(wire.json_of(answer))
        while answer.status_code != 200:  # 202 and 206: a post that shows it now would be refused
            if time.monotonic() > until:
                raise TryLater(f"{answer.status_code}: the server still works on the picture")
            time.sleep(LOOK_AGAIN)
            answer = self._ask(MEDIA, lambda client: client.media(media), session=self._uploads)
        return media

    def _post(self, post: Post, media: str) -> Receipt:
        try:
            answer = self._ask(
                WRITES,
                lambda client: client.status_post(
                    post.text,
                    in_reply_to_id=post.reply_to.id if post.reply_to else None,
                    visibility=self.visibility,  # always: GoToSocial's own default is unlisted
                    spoiler_text=self.spoiler_text or None,
                    language=self.language or None,
                    media_ids=[media] if media else None,
                    idempotency_key=self._idempotency_key(post, media),
                ),
            )
        except Refused as refusal:
            if str(refusal).startswith("422") and self._is_too_long_by_now(post.text):
                raise TryLater(f"{refusal} (the server's limit has shrunk)") from None
            raise
        return _receipt(wire.json_of(answer))

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        """The language stays; a content warning or picture that is not sent again would be taken
        away.
        """
        media = receipt.extra.get("media", "")
        answer = self._ask(
            WRITES,
            lambda client: client.status_update(
                receipt.id,
                post.text,
                spoiler_text=self.spoiler_text or None,
                media_ids=media.split(",") if media else None,
            ),
            existing=True,
        )
        return _receipt(wire.json_of(answer), media)

    def remove(self, receipt: Receipt) -> None:
        try:
            self._ask(WRITES, lambda client: client.status_delete(receipt.id), existing=True)
        except Gone:
            return

    @property
    def wants_badge(self) -> bool:
        return self.pin == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # a pin has no words and no end
        try:
            self._ask(PINS, lambda client: client.status_pin(live.id), existing=True)
        except Refused as refusal:
            # A second pin of the same post is refused like one too many.
            if not str(refusal).startswith("422") or not self._is_pinned(live.id):
                raise

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        try:
            self._ask(PINS, lambda client: client.status_unpin(live.id), existing=True)
        except Gone:
            return  # with its post

    def _is_pinned(self, status_id: str) -> bool:
        """False if we may not look."""
        try:
            with wire.nothing_posted():
                answer = self._ask(READS, lambda client: client.status(status_id), existing=True)
                return wire.json_of(answer).get("pinned") is True
        except Refused:
            return False

    def find(self, post: Post) -> Receipt | None:
        """Compares letters and digits only, since a server formats the text."""
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            try:
                statuses = self._own_statuses(_id(self._who_am_i()), 40)
            except Refused as refusal:
                if not refusal.closes:
                    raise
                if self._key_still_guards(post):
                    return None
                raise Refused(f"may be posted, and this token may not look: {refusal}") from None
        wanted = _forms(post.text)
        for status in statuses:
            created = wire.iso_time(str(status.get("created_at")))
            shown = _without_hosts(_text_of(str(status.get("content"))))
            if created and created >= since and squeezed(shown) in wanted:
                return _receipt(status)
        return None

    def check(self) -> Account:
        notes = []
        with wire.nothing_posted():
            me = self._who_am_i()
            try:
                self._own_statuses(_id(me), 1)
            except Refused:
                notes.append(
                    f"this token lacks the scope {READS}: after a broken connection nobody can "
                    "look whether a post is up"
                )
        handle = f"@{wire.plain(me.get('username'))}@{urlsplit(self.api_base_url).hostname}"
        return Account(handle, _url(me), tuple(notes))

    @property
    def warning(self) -> str:
        return self.spoiler_text

    def limit(self) -> int:
        self._learn()
        longest = self._number("max_characters", self.usual_limit)
        return max(longest - graphemes(self.spoiler_text), 0)

    def measure(self, text: str) -> int:
        """Graphemes; a link counts what the server reserves, and of @user@host only @user."""
        reserved = "x" * self._number("characters_reserved_per_url", 23)

        def counted(link: re.Match[str]) -> str:
            # A host that is not public may be no link to Mastodon, which then counts it as written.
            written = link[0] if is_private(link[1].lower()) else ""
            return max(reserved, written, key=len)

        return graphemes(_without_hosts(_LINK.sub(counted, text)))

    @cached_property
    def _session(self) -> wire.Session:
        return wire.Session(self.api_base_url)

    @cached_property
    def _uploads(self) -> wire.Session:
        return wire.Session(self.api_base_url, total=UPLOAD)

    def _ask(
        self,
        scope: str,
        call: Callable[["Client"], object],
        *,
        existing: bool = False,
        session: wire.Session | None = None,
    ) -> requests.Response:
        """The answer to one *call*, which needs *scope*; 404 is Gone if it is to be *existing*."""
        from mastodon import Mastodon as Client  # 0.14 s, for those who use it

        client = Client(
            api_base_url=self.api_base_url,
            session=session or self._session,
            ratelimit_method="throw",  # the default sleeps
            mastodon_version="4.3.0",
            version_check_mode="created",  # without it the version is never read
            user_agent="",  # so that the session's own is sent
        )
        # The constructor would take the token for a file's name if there is such a file.
        client.access_token = self.access_token.get_secret_value()
        return wire.answer_to(
            lambda: call(client), lambda answer: _meaning(answer, scope, existing=existing)
        )

    def _who_am_i(self) -> dict[str, Any]:
        return wire.json_of(self._ask(PROFILE, lambda client: client.account_verify_credentials()))

    def _own_statuses(self, me: str, most: int) -> list[dict[str, Any]]:
        answer = self._ask(
            READS, lambda client: client.account_statuses(me, exclude_reblogs=True, limit=most)
        )
        statuses = answer.json()  # the library has read it before
        if not isinstance(statuses, list):
            raise Unsure("an answer without the list of statuses")
        return [status for status in statuses if isinstance(status, dict)]

    def _idempotency_key(self, post: Post, media: str) -> str:
        """The same on every try, and of this account only: Pleroma keeps one list for all users.
        Another one without the picture: it would repeat its refusal of the post with it.
        """
        token = self.access_token.get_secret_value().encode()
        key = post.wire_key if media or not post.picture else f"{post.wire_key} without"
        return hmac.new(token, key.encode(), hashlib.sha256).hexdigest()

    def _key_still_guards(self, post: Post) -> bool:
        if post.doubtful_since is None or datetime.now(UTC) - post.doubtful_since > KEY_LIVES:
            return False
        self._learn()
        if not self._about:
            raise TryLater("this token may not look, and the server does not say what it is")
        return bool(KEEPS_KEYS.search(str(self._about.get("source_url"))))

    def _is_too_long_by_now(self, text: str) -> bool:
        self._ask_again = 0.0
        return self.measure(text) > self.limit()

    def _learn(self) -> None:
        """Read the instance document once in a while; the last one stays while there is none."""
        if time.monotonic() < self._ask_again:
            return
        self._ask_again = time.monotonic() + ABOUT_PAUSE
        # Not the library's way, which puts a slash at the end: some servers answer that with 404.
        token = {"Authorization": f"Bearer {self.access_token.get_secret_value()}"}
        for version in ("v2", "v1"):
            try:
                with wire.answered():
                    answer = self._session.get(
                        f"{self.api_base_url}/api/{version}/instance", headers=token
                    )
                if answer.ok:
                    self._about = wire.json_of(answer)
                    self._ask_again = time.monotonic() + ABOUT_LIVES
                    return
            except DeliveryError:
                return  # the usual limit will do until then

    def _number(self, name: str, usual: int) -> int:
        found: Any = self._about
        for key in ("configuration", "statuses", name):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, int) and found > 0 else usual


def _meaning(answer: requests.Response, scope: str, *, existing: bool) -> DeliveryError:
    """The error that *answer* stands for, although it may look like a success."""
    status = answer.status_code
    if status < 300:
        return Unsure(f"{status}, but no answer that can be read")
    said = wire.plain(wire.error_json(answer).get("error") or "")
    if status >= 400 and answer.headers.get("Idempotent-Replayed") == "true":
        # Pleroma keeps errors with their key, too: only another key gets a new answer.
        return TryLater(f"{status} {said} (an old answer, replayed)", spent=True)
    if existing and status in (404, 410):
        return Gone(f"{status} {said}".strip())
    if status == 403:
        said = f"{said} (it needs the scope {scope})"
    return wire.from_status(status, said, answer.headers)


def _receipt(status: dict[str, Any], media: str = "") -> Receipt:
    """With the ids of its pictures, *media* if the server does not tell them."""
    shown = status.get("media_attachments")
    if isinstance(shown, list):
        media = ",".join(str(one["id"]) for one in shown if isinstance(one, dict) and "id" in one)
    return Receipt(_id(status), _url(status), {"media": media} if media else {})


def _id(thing: dict[str, Any]) -> str:
    """Raises Unsure if there is none. Opaque: a number on Mastodon, letters on Pleroma."""
    found = thing.get("id")
    if not isinstance(found, str | int) or isinstance(found, bool) or not str(found).strip():
        raise Unsure("an answer without an id")
    return str(found)


def _url(thing: dict[str, Any]) -> str:
    url = str(thing.get("url"))
    return url if url.startswith(("https://", "http://")) else ""


def _without_hosts(text: str) -> str:
    """@user@host as Mastodon shows and counts it: @user."""
    return _FOREIGN_MENTION.sub(r"\1", text)


def _forms(text: str) -> set[str]:
    """What a server may leave of *text*: all of it, or what snac reads as Markdown and HTML."""
    read = _text_of(_MARKDOWN_LINK.sub(r"\1", text))
    return {squeezed(_without_hosts(form)) for form in (text, read)} - {""}


class _Reader(HTMLParser):
    """Collects the text; a link's text spells the whole address, parts of it hidden by style."""

    text = ""

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.text += "\n" if tag in ("br", "p") else ""

    def handle_data(self, data: str) -> None:
        self.text += data


def _text_of(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text
