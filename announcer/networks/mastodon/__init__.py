"""Mastodon, and servers that speak its API, each in its own way: see `kin`.

Sources: docs.joinmastodon.org (methods, api/rate-limits), StatusLengthValidator and
PostStatusService in mastodon/mastodon, Mastodon.py 2.3 internals.py.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
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
    break_mentions,
    squeezed,
)
from announcer.networks.mastodon.answers import (
    NEEDS_A_PICTURE,
    id_of,
    meaning,
    receipt_of,
    url_of,
)
from announcer.networks.mastodon.kin import Kin, kin_of
from announcer.networks.mastodon.reading import (
    forms,
    length,
    longest_length,
    text_of,
    without_hosts,
)
from announcer.settings import BaseUrl, setting

if TYPE_CHECKING:
    from mastodon import Mastodon as Client

KEY_LIVES = timedelta(minutes=55)
"""Mastodon keeps an Idempotency-Key for an hour; less the time that a repeat may take."""
CLOCKS = timedelta(minutes=10)
"""How far the server's clock may be behind ours."""
ABOUT_LIVES, ABOUT_PAUSE = 3600.0, 60.0
"""Seconds until the instance document is asked again, after an answer and after none."""
TOO_LONG = ("400", "413", "422", "500")
"""How a text is refused for its length: by Mastodon with 422, GoToSocial 400, Pixelfed 500."""
LOOK_AGAIN = 0.5
"""Seconds between looks at a picture that the server still works on."""
PINS = "write:accounts"
READS, WRITES, PROFILE = "read:statuses", "write:statuses", "profile (before 4.3: read:accounts)"
MEDIA = "write:media"


class Mastodon(Network, Finds, Revises, Removes, Shines):
    """Posts as your account on Mastodon, or on a server that speaks its API: GoToSocial, Pleroma,
    Akkoma, Pixelfed, Hollo, Iceshrimp, snac and others. What yours does otherwise is found by
    asking it; `announcer check` says what you should know of it.

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
        if not self._kin.needs_a_picture or post.reply_to:
            return self._with_picture(post, self._upload, lambda media: self._post(post, media))
        if post.picture is None:
            raise Refused(NEEDS_A_PICTURE)
        with wire.nothing_posted():
            media = self._upload(post.picture)
        return self._post(post, media)

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
        media = id_of(wire.json_of(answer))
        while answer.status_code != 200:  # 202 and 206: a post that shows it now would be refused
            if time.monotonic() > until:
                raise TryLater(f"{answer.status_code}: the server still works on the picture")
            time.sleep(LOOK_AGAIN)
            answer = self._ask(MEDIA, lambda client: client.media(media), session=self._uploads)
        return media

    def _post(self, post: Post, media: str) -> Receipt:
        status = self._write(
            "POST",
            "statuses",
            post,
            # Always: GoToSocial's own default is unlisted.
            {"visibility": self.visibility, "sensitive": bool(self.spoiler_text)},
            media=[media] if media else [],
            headers={"Idempotency-Key": self._idempotency_key(post, media)},
        )
        receipt, shown = receipt_of(status), status.get("visibility")
        if isinstance(shown, str) and shown != self.visibility:
            note = f"shown as {wire.plain(shown, 20)} and not as {self.visibility}"
            return replace(receipt, note=note)
        return receipt

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        """A content warning or picture that is not sent again would be taken away."""
        media = receipt.extra.get("media", "")
        try:
            status = self._write(
                "PUT",
                f"statuses/{receipt.id}",
                post,
                {"sensitive": True} if self.spoiler_text else {},
                media=media.split(",") if media else [],
            )
        except Gone as gone:
            raise self._gone_or_unable(receipt.id, gone, "edit") from None
        return receipt_of(status, media)

    def remove(self, receipt: Receipt) -> None:
        try:
            self._ask(WRITES, lambda client: client.status_delete(receipt.id), existing=True)
        except Gone as gone:
            problem = self._gone_or_unable(receipt.id, gone, "take away")
            if isinstance(problem, Refused):
                raise problem from None

    def _gone_or_unable(self, status_id: str, gone: Gone, what: str) -> DeliveryError:
        """Why an existing post was not found. A server that can not do *what* answers 404, too:
        snac 2.75 a removal, and Mastodon before 3.5 an edit.
        """
        with wire.nothing_posted():
            if self._look_at(status_id) is None:
                return gone
        return Refused(f"this server does not {what} posts: it answers {gone}, and it is there")

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
        with wire.nothing_posted():
            status = self._look_at(status_id)
        return status is not None and status.get("pinned") is True

    def _look_at(self, status_id: str) -> dict[str, Any] | None:
        """A post of ours that is up; None if it is not there, or we may not look."""
        try:
            answer = self._ask(READS, lambda client: client.status(status_id), existing=True)
        except (Refused, Gone):
            return None
        return wire.json_of(answer)

    def find(self, post: Post) -> Receipt | None:
        """Compares letters and digits only, since a server formats the text."""
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            try:
                statuses = self._own_statuses(id_of(self._who_am_i()), 40)
            except Refused as refusal:
                if not refusal.closes:
                    raise
                if self._key_still_guards(post):
                    return None
                raise Refused(f"may be posted, and this token may not look: {refusal}") from None
        wanted = forms(post.text)
        for status in statuses:
            created = wire.iso_time(str(status.get("created_at")))
            shown = without_hosts(text_of(str(status.get("content"))))
            if created and created >= since and squeezed(shown) in wanted:
                return receipt_of(status)
        return None

    def check(self) -> Account:
        notes = []
        with wire.nothing_posted():
            me = self._who_am_i()
            try:
                self._own_statuses(id_of(me), 1)
            except Refused:
                notes.append(
                    f"this token lacks the scope {READS}: after a broken connection nobody can "
                    "look whether a post is up"
                )
        self._learn()
        handle = f"@{wire.plain(me.get('username'))}@{urlsplit(self.api_base_url).hostname}"
        return Account(handle, url_of(me), (*notes, *self._kin.remarks))

    @property
    def warning(self) -> str:
        return self.spoiler_text

    def limit(self) -> int:
        self._learn()
        longest = self._number("max_characters", self._number("", self.usual_limit))
        return max(longest - self.measure(self.spoiler_text), 0)

    def measure(self, text: str) -> int:
        """As Mastodon counts; of a relative, no less than it may count."""
        reserved = self._number("characters_reserved_per_url", 23)
        exact = not self._about or self._kin.counts_like_mastodon
        return length(text, reserved) if exact else longest_length(text, reserved)

    def escape(self, text: str) -> str:
        """Mastodon reads no markup. Some of its relatives do, whatever type we say it is."""
        return break_mentions(text.translate(self._kin.signs))

    @property
    def _kin(self) -> Kin:
        """By what is known, without asking."""
        return kin_of(self._about)

    @cached_property
    def _session(self) -> wire.Session:
        return self._speaking_json(wire.Session(self.api_base_url))

    @cached_property
    def _uploads(self) -> wire.Session:
        return self._speaking_json(wire.Session(self.api_base_url, total=UPLOAD))

    def _speaking_json(self, session: wire.Session) -> wire.Session:
        """Else Pixelfed answers a bad token, or a text that is too long, with a redirect."""
        session.headers["Accept"] = "application/json"
        return session

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
            lambda: call(client), lambda answer: meaning(answer, scope, existing=existing)
        )

    def _write(
        self,
        method: str,
        path: str,
        post: Post,
        fields: Mapping[str, object],
        *,
        media: list[str],
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The status that came of it. Not the library's way: an edit has no type and no language
        there, and Hollo understands no form.
        """
        body = {
            "status": post.text,
            # Else GoToSocial and glitch-soc take the account's own type, which may be Markdown.
            "content_type": "text/plain",
            "language": self.language,
            "spoiler_text": self.spoiler_text,
            "media_ids": media,
            "in_reply_to_id": post.reply_to.id if post.reply_to else "",
        }
        sent = {name: value for name, value in body.items() if value} | dict(fields)
        try:
            with wire.answered():
                answer = self._session.request(
                    method,
                    f"{self.api_base_url}/api/v1/{path}",
                    json=sent,
                    headers={**self._token, **(headers or {})},
                )
            if answer.status_code >= 300:
                raise meaning(answer, WRITES, existing=method == "PUT")
        except Refused as refusal:
            if str(refusal)[:3] in TOO_LONG and self._is_too_long_by_now(post.text):
                raise TryLater(f"{refusal} (the server's limit has shrunk)") from None
            raise
        return wire.json_of(answer)

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
        return self._kin.keeps_keys

    def _is_too_long_by_now(self, text: str) -> bool:
        self._ask_again = 0.0
        return self.limit() < self.measure(text)

    def _learn(self) -> None:
        """Read the instance document once in a while; the last one stays while there is none."""
        if time.monotonic() < self._ask_again:
            return
        self._ask_again = time.monotonic() + ABOUT_PAUSE
        # Not the library's way, which puts a slash at the end: some servers answer that with 404.
        for version in ("v2", "v1"):
            try:
                with wire.answered():
                    answer = self._session.get(
                        f"{self.api_base_url}/api/{version}/instance", headers=self._token
                    )
                if answer.ok:
                    self._about = wire.json_of(answer)
                    self._ask_again = time.monotonic() + ABOUT_LIVES
                    return
            except DeliveryError:
                return  # the usual limit will do until then

    @property
    def _token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token.get_secret_value()}"}

    def _number(self, name: str, usual: int) -> int:
        """What the instance document says of texts; without a *name*, older ones' longest."""
        found: Any = self._about
        for key in ("configuration", "statuses", name) if name else ("max_toot_chars",):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, int) and found > 0 else usual
