"""Slack: a channel's incoming webhook, or a bot that can also change what it said.

Sources: docs.slack.dev messaging/sending-messages-using-incoming-webhooks, formatting-message-text
and message-metadata; reference/methods chat.postMessage, chat.update, conversations.history and
pins.add; reference/block-kit text-object; apis/web-api/rate-limits.
"""

import hashlib
import html
from collections.abc import Container
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import regex
import requests
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    Card,
    DeliveryError,
    Dialect,
    Finds,
    Gone,
    Network,
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
from announcer.settings import BaseUrl, SecretUrl, setting

MARK = "announcer_post"
"""The type of the metadata that our messages carry, and by which they are found again."""
CLOCKS = timedelta(minutes=10)
"""How far Slack's clock may be behind ours."""
PAGE, PAGES = 200, 10
"""Messages to a page, pages to look through."""

_DEAD = frozenset(
    {
        *("invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"),
        "not_allowed_token_type",
    }
)
"""Only another token helps. A right or an invitation that is missing is not among them: the token
stays the same when it is there.
"""
_LATER = frozenset(
    {
        *("ratelimited", "rate_limited", "message_limit_exceeded", "accesslimited"),
        *("service_unavailable", "request_timeout", "team_added_to_org", "org_login_required"),
    }
)
_UNCLEAR = frozenset({"internal_error", "fatal_error"})
"""Slack says of both that some of it may have been done."""
_ADVICE = {
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "is it the channel's id, and is the bot in it?",
    "is_archived": "the channel is archived",
}
_NO_WEBHOOK = frozenset(
    {
        *("no_service", "no_service_id", "no_active_hooks", "no_team", "team_disabled"),
        *("invalid_token", "channel_not_found", "user_not_found"),
    }
)
"""As the whole body: only another webhook helps."""
_FORBIDDEN_BY_A_PERSON = frozenset({"action_prohibited", "posting_to_general_channel_denied"})
_NOTHING_TO_SAY = frozenset({"no_text", "missing_text_or_fallback_or_attachments"})

_WORDS = regex.compile(r"[A-Za-z_ ,.'-]{2,200}")
"""All that is repeated of what is said: a page, or a proxy, may quote our address or token."""
_CHANNEL = regex.compile(r"[CGD][A-Z0-9]{7,}")
_ADDRESS = regex.compile(r"/services/[^/]+/[^/]+/[^/]+")
_EMPHASIS = regex.compile(r"(?<![\p{L}\p{N}])[*_~]|[*_~](?![\p{L}\p{N}])|`")
_LOOKALIKE = {"*": "\u2217", "_": "\u02cd", "~": "\u223c", "`": "\u2035"}
_EMOJI = regex.compile(r":(?=[\w+'-]+:)")
_QUOTE = regex.compile(r"^\s*>")


class _InSlack(Network):
    """What both have in common: how a text is written."""

    name = "slack"
    dialect = Dialect.MRKDWN
    # A file goes up to an address on another host that an answer names, and only hosts that are
    # configured are asked. A picture by its address is fetched once and kept: it would often be the
    # one of the last stream. The card that Slack makes of the link has the page's own.
    shows_pictures = False
    unit = "UTF-16 units, a link as it is written"
    usual_limit = 3000  # of a block, in which nothing but our own links becomes one

    def measure(self, text: str) -> int:
        """Slack says only "characters"; UTF-16 units are never fewer than what it counts."""
        return len(text.encode("utf-16-le", errors="surrogatepass")) // 2

    def escape(self, text: str) -> str:
        """Entities kill links and every <!channel>. For the other signs Slack has no escape, so
        where they would format, signs that look alike take their place.
        """
        text = _QUOTE.sub("\uff1e", break_mentions(text))
        text = _EMOJI.sub(f":{ZERO_WIDTH_SPACE}", html.escape(text, quote=False))
        return _EMPHASIS.sub(lambda sign: _LOOKALIKE[sign[0]], text)

    def link(self, url: str) -> str:
        for sign, coded in (("&", "&amp;"), ("<", "%3C"), (">", "%3E"), ("|", "%7C")):
            url = url.replace(sign, coded)
        return f"<{url}>"


class Slack(_InSlack):
    """Posts to one channel of Slack, through an incoming webhook.

    1. At [api.slack.com/apps](https://api.slack.com/apps) choose *Create New App > From scratch*,
       and the workspace.
    2. Open *Incoming Webhooks*, switch them on, choose *Add New Webhook* and pick the channel. The
       app's name and picture, under *Basic Information*, are what people see.
    3. Copy the webhook's URL and set `SLACK_WEBHOOK_URL` to it. Whoever knows it can post in the
       channel.

    A webhook can not change or take away what it said, so a start stays as it was told. Set
    `SLACK_BOT_TOKEN` instead of it for a bot that can.
    """

    title = "Slack webhook"
    repeat = Repeat.DOUBLES

    webhook_url: SecretUrl = setting("The webhook's URL; it is the password, too.")

    @field_validator("webhook_url")
    @classmethod
    def _is_a_webhook(cls, url: SecretStr) -> SecretStr:
        if not _ADDRESS.fullmatch(urlsplit(url.get_secret_value()).path):
            raise ValueError("is not like https://hooks.slack.com/services/<T...>/<B...>/<secret>")
        return url

    def publish(self, post: Post) -> Receipt:
        answer = self._say({**_message(post.text), "unfurl_links": True})
        if answer.status_code >= 300:
            raise _webhook_meaning(answer)
        if _word(answer) != "ok":
            raise Unsure(f"{answer.status_code}, but no ok in it")
        return Receipt(post.key)  # Slack gives no id

    def check(self) -> Account:
        """Says nothing to nobody: an empty text is refused, by a webhook that would take others."""
        with wire.nothing_posted():
            answer = self._say({"text": ""})
            if answer.status_code != 400 or _word(answer) not in _NOTHING_TO_SAY:
                if answer.status_code >= 300:
                    raise _webhook_meaning(answer)
                raise Refused("it answers, but not like Slack")
        return Account("incoming webhook")

    def _say(self, message: dict[str, Any]) -> requests.Response:
        address = self.webhook_url.get_secret_value()
        with wire.answered(), wire.Session(address.partition("?")[0]) as session:
            return session.post(address, json=message)


class SlackBot(_InSlack, Finds, Revises, Removes, Shines):
    """Posts to a channel of Slack as a bot, and keeps true what it said.

    1. At [api.slack.com/apps](https://api.slack.com/apps) choose *Create New App > From scratch*,
       and the workspace.
    2. Under *OAuth & Permissions > Bot Token Scopes* add `chat:write` to post, and
       `channels:history` (`groups:history` for a private channel) to look whether a message is up
       after a connection broke, so that it is not posted twice.
    3. Choose *Install to Workspace* and copy the *Bot User OAuth Token*, `xoxb-...`, to
       `SLACK_BOT_TOKEN`.
    4. In the channel write `/invite @` and the bot's name. Open the channel's details and copy its
       id, at the very bottom, to `SLACK_CHANNEL`.

    `SLACK_PIN=on` also pins the message while the stream runs, which needs the scope `pins:write`,
    too. Slack tells the channel of a pin. We unpin only the message that we pinned.
    """

    title = "Slack bot"
    repeat = Repeat.FINDABLE
    ends_by = "edit"

    bot_token: SecretStr = setting("The bot's token, `xoxb-...`.")
    channel: str = setting("Id of the channel, such as `C0123456789`.")
    api_base_url: BaseUrl = setting("Where Slack's API is.", default="https://slack.com")
    pin: Literal["on", "off"] = setting(
        "`on` pins the message while the stream runs; the bot then needs the scope `pins:write`, "
        "too.",
        default="off",
    )

    @field_validator("channel")
    @classmethod
    def _is_an_id(cls, channel: str) -> str:
        if not _CHANNEL.fullmatch(channel):
            raise ValueError("must be the channel's id, such as C0123456789, and not its name")
        return channel

    def publish(self, post: Post) -> Receipt:
        # Asked before the post, so that nothing stands between its answer and the receipt.
        workspace = self._workspace()
        mark = {"event_type": MARK, "event_payload": {"id": post.wire_key}}
        message = {**_message(post.text), **_quiet(), "unfurl_links": True, "metadata": mark}
        said = self._ask("chat.postMessage", {"channel": self.channel, **message})
        return _receipt(said, self.channel, workspace)

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        message = {**_message(post.text), **_quiet()}
        said = self._ask("chat.update", {**self._place(receipt, "ts"), **message})
        _ts(said)
        return receipt

    def remove(self, receipt: Receipt) -> None:
        try:
            self._ask("chat.delete", self._place(receipt, "ts"))
        except Gone:
            return

    @property
    def wants_badge(self) -> bool:
        return self.pin == "on"

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # a pin has no words and no end
        self._ask("pins.add", self._place(live, "timestamp"), or_else={"already_pinned"})

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # as above
        try:
            self._ask("pins.remove", self._place(live, "timestamp"), or_else={"no_pin"})
        except Gone:
            return  # with its message

    def find(self, post: Post) -> Receipt | None:
        since = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            me = self._ask("auth.test")
            cursor = ""
            for _ in range(PAGES):
                said = self._history(cursor, PAGE, since.timestamp())
                for message in said["messages"]:
                    if _is_marked(message, post.wire_key) and _is_by(message, me):
                        return _receipt(message, self.channel, str(me.get("url")))
                cursor = str(_mapping(said.get("response_metadata")).get("next_cursor") or "")
                if not cursor and said.get("has_more") is not True:
                    return None
        raise TryLater("the channel has more messages since then than can be looked through")

    def check(self) -> Account:
        notes = []
        with wire.nothing_posted():
            me = self._ask("auth.test")
            try:
                self._history("", 1)
            except Refused as refusal:
                if refusal.closes:
                    raise
                notes.append(f"after a broken connection nobody can look for a post: {refusal}")
        handle = f"{wire.plain(me.get('user'), 60)} in {wire.plain(me.get('team'), 60)}"
        return Account(handle, _web(me.get("url")), tuple(notes))

    def _workspace(self) -> str:
        """The address that a permalink begins with, asked once for each token; empty if it can not
        be had: a post matters more.
        """
        token = self.bot_token.get_secret_value().encode()
        name = f"workspace of {hashlib.sha256(token).hexdigest()[:16]}"
        known = self._memory.get(name)
        if known is None:
            try:
                known = _web(self._ask("auth.test").get("url"))
            except Refused as problem:
                if problem.closes:
                    raise
                return ""
            except DeliveryError:
                return ""
            if known:
                self._memory.put(name, known)
        return known

    def _history(self, cursor: str, most: int, since: float | None = None) -> dict[str, Any]:
        """A page of the channel's messages. Raises Unsure if the answer does not tell."""
        asked = {"channel": self.channel, "limit": str(most), "include_all_metadata": "true"}
        if since is not None:
            asked["oldest"] = f"{since:.6f}"
        if cursor:
            asked["cursor"] = cursor
        said = self._ask("conversations.history", asked, reads=True)
        if not isinstance(said.get("messages"), list):
            raise Unsure("an answer without the list of messages")
        return said

    def _place(self, receipt: Receipt, name: str) -> dict[str, str]:
        """Which message is meant; Slack gives its time another *name* in each family."""
        return {"channel": receipt.extra.get("channel", self.channel), name: receipt.id}

    def _ask(
        self,
        method: str,
        sent: dict[str, Any] | None = None,
        *,
        reads: bool = False,
        or_else: Container[str] = (),
    ) -> dict[str, Any]:
        """What Slack answers. A refusal comes with status 200; those named in *or_else* are none.
        What *reads* takes its arguments from the address only.
        """
        token = self.bot_token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.api_base_url}/api/{method}"
        with wire.answered(), wire.Session(self.api_base_url) as session:
            if reads:
                answer = session.get(url, params=sent, headers=headers)
            else:
                headers["Content-Type"] = "application/json; charset=utf-8"
                answer = session.post(url, json=sent or {}, headers=headers)
        said = wire.json_of(answer) if answer.status_code < 300 else wire.error_json(answer)
        if answer.status_code < 300 and said.get("ok") is True:
            return said
        if said.get("ok") is False and str(said.get("error")) in or_else:
            return said
        raise _meaning(answer, said)


def _message(text: str) -> dict[str, Any]:
    """What create and edit have in common. `verbatim` makes no link of a bare address or name;
    `text` is what notifications and screen readers say.
    """
    words = {"type": "mrkdwn", "text": text, "verbatim": True}
    return {"text": text, "blocks": [{"type": "section", "text": words}]}


def _quiet() -> dict[str, Any]:
    """That names in a text mean nobody. Without it an edit goes back to `parse: client`."""
    return {"parse": "none", "link_names": False}


def _receipt(message: dict[str, Any], channel: str, workspace: str) -> Receipt:
    ts = _ts(message)
    place = message.get("channel")
    channel = place if isinstance(place, str) and place else channel
    web = _web(workspace).rstrip("/")
    url = f"{web}/archives/{channel}/p{ts.replace('.', '')}" if web else ""
    return Receipt(ts, url, {"channel": channel})


def _ts(message: dict[str, Any]) -> str:
    """The time of a message, which is its id in the channel."""
    ts = message.get("ts")
    if not isinstance(ts, str) or not ts.strip():
        raise Unsure("an answer without the message's ts")
    return ts


def _is_marked(message: object, key: str) -> bool:
    metadata = _mapping(_mapping(message).get("metadata"))
    payload = _mapping(metadata.get("event_payload"))
    return metadata.get("event_type") == MARK and payload.get("id") == key


def _is_by(message: dict[str, Any], me: dict[str, Any]) -> bool:
    """Any app in the channel could copy a mark, and two of ours could be in one channel."""
    return any(
        me.get(mine) and message.get(its) == me[mine]
        for its, mine in (("bot_id", "bot_id"), ("user", "user_id"))
    )


def _mapping(thing: object) -> dict[str, Any]:
    return thing if isinstance(thing, dict) else {}


def _web(url: object) -> str:
    return url if isinstance(url, str) and url.startswith("https://") else ""


def _meaning(answer: requests.Response, said: dict[str, Any]) -> DeliveryError:
    status, code = answer.status_code, _words(said.get("error"))
    reason = f"{status} {code}".strip()
    if needed := said.get("needed"):
        reason = f"{reason}: it needs the scope {wire.plain(needed, 60)}"
    elif advice := _ADVICE.get(code):
        reason = f"{reason}: {advice}"
    if code == "message_not_found":
        return Gone("a person deleted the message")
    if code in _DEAD:
        return Refused(reason, closes=True)
    if code in _LATER:
        return TryLater(reason, wire.wait_hint(answer.headers))
    if code in _UNCLEAR:
        return Unsure(reason)
    if status >= 300:
        return wire.from_status(status, code, answer.headers)
    return Refused(reason) if said.get("ok") is False else Unsure(f"{status}, but no ok in it")


def _words(told: object) -> str:
    return told if isinstance(told, str) and _WORDS.fullmatch(told) else ""


def _word(answer: requests.Response) -> str:
    """What a webhook says, which is one word; empty for anything else."""
    return _words(answer.content[:100].decode("utf-8", "replace").strip())


def _webhook_meaning(answer: requests.Response) -> DeliveryError:
    word = _word(answer) or _words(wire.error_json(answer).get("error"))
    closes: bool | None = None
    if word in _NO_WEBHOOK:
        word, closes = f"{word}: make a new webhook", True
    elif word in _FORBIDDEN_BY_A_PERSON:
        closes = False
    return wire.from_status(answer.status_code, word, answer.headers, closes=closes)
