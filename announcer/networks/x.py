"""X, once Twitter, through its API version 2.

Sources: xdevplatform/docs @2871328 (integrate, rate-limits, response-codes-and-errors, pricing,
counting-characters), tweepy 4.17 client.py and errors.py.
"""

import base64
import hashlib
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from html import unescape
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

import requests
from pydantic import PositiveInt, SecretStr

from announcer import wire
from announcer.network import (
    UPLOAD,
    ZERO_WIDTH_SPACE,
    Account,
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
    Unsure,
    break_mentions,
    squeezed,
)
from announcer.settings import BaseUrl, setting

if TYPE_CHECKING:
    from tweepy import Client

LIBRARY_HOST = "https://api.twitter.com"
"""A constant inside tweepy's Client.request."""
CLOCKS = timedelta(minutes=10)
"""How far X's clock may be behind ours."""
LOOK_AT = 10
"""Own posts to look through; X charges for each of them."""
RESERVE = 22
"""The most by which twitter-text-parser counted a link too short that touches other characters."""
PRICE = "in April 2026 a post with a link cost $0.20, one without $0.015"
OUT_OF_CREDITS = ("usage-capped", "usagecap", "credits")
"""In the type or title of an error, whatever its status."""

_LOADING = Lock()
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_LINK = re.compile(r"(?<![A-Za-z0-9_@$#./-])(?:https?://)?[^\W_][\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,}")
_PLAIN_LINK = re.compile(
    r"(?:https?://)?[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?(?:[/?#](?:[!-~]*[a-z0-9/=_-])?)?",
    re.IGNORECASE,
)
_PICTURE = re.compile(r"\s*https://t\.co/\w+\s*$")
_CASHTAG = re.compile(r"\$(?=[A-Za-z])")


class X(Network, Finds, Removes):
    """Posts as your account on X. X charges for each post, in April 2026 $0.20 for one with a link
    and $0.015 for one without, and $0.005 for the description of its picture.

    1. In X's [developer console](https://console.x.com) make a project with an app, buy credits and
       set a spending limit.
    2. Under *User authentication settings* give the app *Read and write*, nothing more, before the
       next step: tokens keep the rights that the app had when they were made.
    3. Under *Keys and tokens* copy the API key and its secret to `X_CONSUMER_KEY` and
       `X_CONSUMER_SECRET`. Make an access token for your own account and copy it and its secret to
       `X_ACCESS_TOKEN` and `X_ACCESS_TOKEN_SECRET`.
    """

    name = "x"
    title = "X"
    repeat = Repeat.FINDABLE
    unit = "weighted characters, a link counts 23, an emoji 2"
    usual_limit = 280

    consumer_key: SecretStr = setting("API key of your app.")
    consumer_secret: SecretStr = setting("Secret of that API key.")
    access_token: SecretStr = setting("Access token of your account for that app.")
    access_token_secret: SecretStr = setting("Secret of that access token.")
    api_base_url: BaseUrl = setting("Where X's API is.", default="https://api.x.com")
    posts_per_day: PositiveInt = setting(
        "How often a day it may try to post, since every post costs money.", default=5
    )

    @property
    def daily_posts(self) -> int:
        return self.posts_per_day

    def publish(self, post: Post) -> Receipt:
        return self._with_picture(post, self._upload, lambda media: self._post(post, media))

    def _upload(self, picture: Picture) -> str:
        """The id of the uploaded *picture*. The library knows only X's older, closed door."""
        sent = {
            "media": base64.b64encode(picture.data).decode(),
            "media_category": "tweet_image",
        }
        media = _mapping(wire.json_of(self._ask_media("upload", sent)).get("data")).get("id")
        if not isinstance(media, str) or not media.isdigit():
            raise Unsure("an answer without the id of the picture")
        if picture.alt:
            alt = {"alt_text": {"text": picture.alt}}
            self._ask_media("metadata", {"id": media, "metadata": alt})
        return media

    def _ask_media(self, what: str, sent: dict[str, Any]) -> requests.Response:
        return self._ask(
            lambda client: client.request("POST", f"/2/media/{what}", json=sent, user_auth=True),
            session=self._uploads,
        )

    def _post(self, post: Post, media: str) -> Receipt:
        # Never as a reply: X accepts one only from somebody whom the first post names.
        text = post.text.replace("\r\n", "\n")  # X counts both halves, the parser one
        shown = [media] if media else None
        answer = self._ask(lambda client: client.create_tweet(text=text, media_ids=shown), post)
        body = wire.json_of(answer)
        found = _mapping(body.get("data")).get("id")
        if isinstance(found, str) and found.isdigit():
            return _receipt(found)
        status = _first_error(body).get("status")
        if isinstance(status, int) and 400 <= status < 500:  # a refusal dressed as a success
            raise _meaning(status, body, answer.headers, post)
        raise Unsure(f"{answer.status_code}, but no id in it: {wire.plain(_said(body))}")

    def remove(self, receipt: Receipt) -> None:
        try:
            answer = self._ask(lambda client: client.delete_tweet(receipt.id), existing=True)
        except Gone:
            return
        body = wire.json_of(answer)
        missing = str(_first_error(body).get("type")).endswith("/resource-not-found")
        if _mapping(body.get("data")).get("deleted") is not True and not missing:
            raise Unsure(f"{answer.status_code}, but it does not say that the post is deleted")

    def find(self, post: Post) -> Receipt | None:
        """Looks through the latest own posts, which costs about a cent at most."""
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            tweets = self._own_tweets()
        wanted = _likeness(post.text)
        for tweet in tweets:
            created = wire.iso_time(str(tweet.get("created_at")))
            if created and created >= since and _likeness(_expanded(tweet)) == wanted:
                return _receipt(str(tweet.get("id")))
        return None

    def check(self) -> Account:
        with wire.nothing_posted():
            username = wire.plain(self._who_am_i().get("username"))
        return Account(f"@{username}", f"https://x.com/{username}")

    def measure(self, text: str) -> int:
        """X's own weights. A link that touches other characters gets a reserve: the parser errs."""
        touching = (
            word for word in text.split() if _LINK.search(word) and not _PLAIN_LINK.fullmatch(word)
        )
        weight: int = _parser()(text).weightedLength
        return weight + sum(RESERVE for _ in touching)

    def escape(self, text: str) -> str:
        """No cashtag either: X refuses a post with two, and another variable may bring one."""
        return _CASHTAG.sub(f"${ZERO_WIDTH_SPACE}", break_mentions(text))

    @cached_property
    def _session(self) -> wire.Session:
        return wire.Session(self.api_base_url, instead_of=LIBRARY_HOST)

    @cached_property
    def _uploads(self) -> wire.Session:
        return wire.Session(self.api_base_url, instead_of=LIBRARY_HOST, total=UPLOAD)

    def _ask(
        self,
        call: Callable[["Client"], object],
        post: Post | None = None,
        *,
        existing: bool = False,
        session: wire.Session | None = None,
    ) -> requests.Response:
        """The answer to one *call* of the library, which signs it."""
        from tweepy import Client  # 0.1 s, for those who use it

        client = Client(
            consumer_key=self.consumer_key.get_secret_value(),
            consumer_secret=self.consumer_secret.get_secret_value(),
            access_token=self.access_token.get_secret_value(),
            access_token_secret=self.access_token_secret.get_secret_value(),
            return_type=requests.Response,  # it reads no body then, and so breaks on none
        )
        client.session = session or self._session  # its own would wait for an answer for ever
        return wire.answer_to(
            lambda: call(client),
            lambda answer: _meaning(
                answer.status_code, wire.error_json(answer), answer.headers, post, existing=existing
            ),
        )

    def _own_tweets(self) -> list[dict[str, Any]]:
        """Raises Unsure if the answer does not tell."""
        me = self._user_id()
        answer = self._ask(
            lambda client: client.get_users_tweets(
                me,
                max_results=LOOK_AT,
                exclude=["retweets"],
                tweet_fields=["created_at", "entities"],
                user_auth=True,
            )
        )
        body = wire.json_of(answer)
        tweets = body.get("data")
        if isinstance(tweets, list):
            return [tweet for tweet in tweets if isinstance(tweet, dict)]
        if _mapping(body.get("meta")).get("result_count") == 0:
            return []
        raise Unsure(f"{answer.status_code}, but no list in it: {wire.plain(_said(body))}")

    def _user_id(self) -> str:
        """Asked once for each access token, since every look costs a cent."""
        token = self.access_token.get_secret_value().encode()
        name = f"user_id of {hashlib.sha256(token).hexdigest()[:16]}"
        if (known := self._memory.get(name)) is not None:
            return known
        found = str(self._who_am_i()["id"])
        self._memory.put(name, found)
        return found

    def _who_am_i(self) -> dict[str, Any]:
        body = wire.json_of(self._ask(lambda client: client.get_me()))
        me = _mapping(body.get("data"))
        if not me.get("id") or not me.get("username"):
            raise Unsure(f"an answer without the account: {wire.plain(_said(body))}")
        return me


def _parser() -> Callable[[str], Any]:
    """twitter-text-parser's `parse_tweet`; loading it takes 0.2 s, of those who use it.

    It reads its one file by setuptools' `pkg_resources`, without requiring setuptools: environments
    of Python 3.12 have none, and the newest lack that module. What it wants of it is given to it.
    """
    with _LOADING:
        stand_in = ModuleType("pkg_resources")
        vars(stand_in)["resource_string"] = pkgutil.get_data
        there = sys.modules.setdefault("pkg_resources", stand_in)
        try:
            from twitter_text import parse_tweet
        finally:
            if there is stand_in:
                del sys.modules["pkg_resources"]
    found: Callable[[str], Any] = parse_tweet
    return found


def _meaning(
    status: int,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    post: Post | None = None,
    *,
    existing: bool = False,
) -> DeliveryError:
    """The error that an answer stands for. 404 is Gone if it was about something *existing*."""
    said = wire.plain(_said(body))
    kind = f"{body.get('type')} {body.get('title')}".lower()
    if status < 300:
        return Unsure(f"{status}, but no answer that can be read")
    if status == 402 or any(word in kind for word in OUT_OF_CREDITS):
        hint = f"out of credits or over the spending limit; {PRICE}"
        return Refused(f"{status} {said} ({hint})", closes=True)
    if status == 403 and "duplicate content" in said.lower():
        if post and post.doubtful_since:
            return Unsure("403: X has an identical post, probably ours")
        return Refused("403: X refuses a text identical to an earlier post of the account")
    if existing and status in (404, 410):
        return Gone(f"{status} {said}".strip())
    return wire.from_status(status, said, headers)


def _receipt(tweet: str) -> Receipt:
    return Receipt(tweet, f"https://x.com/i/status/{tweet}")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first_error(body: Mapping[str, Any]) -> dict[str, Any]:
    errors = body.get("errors")
    return _mapping(errors[0]) if isinstance(errors, list) and errors else {}


def _said(body: Mapping[str, Any]) -> str:
    """X's own reason, of the several places where it may stand."""
    places = (body, _first_error(body))
    return next(
        (str(at[key]) for key in ("detail", "message", "title") for at in places if at.get(key)), ""
    )


def _expanded(tweet: Mapping[str, Any]) -> str:
    """The text as it was sent: X puts t.co in place of every link, HTML entities, and one more link
    for a picture.
    """
    text = unescape(str(tweet.get("text")))
    links = _mapping(tweet.get("entities")).get("urls")
    for link in map(_mapping, links if isinstance(links, list) else ()):
        address = "" if link.get("media_key") else str(link.get("expanded_url"))
        text = text.replace(str(link.get("url")), address)
    return _PICTURE.sub("", text)


def _likeness(text: str) -> str:
    """Without the scheme, which X adds to the address of a link that had none."""
    return squeezed(_SCHEME.sub("", text))
