"""Discord, by a channel's webhook.

Source: discord/discord-api-docs developers/reference.mdx, developers/resources/webhook.mdx and
message.mdx, developers/topics/opcodes-and-status-codes.mdx.
"""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import regex
import requests
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    Account,
    Card,
    DeliveryError,
    Dialect,
    Gone,
    Moment,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    TryLater,
    Unsure,
    break_mentions,
)
from announcer.settings import SecretUrl, setting

AGENT = "DiscordBot (https://owncast.online, 0.1)"
"""Discord turns other forms away."""
RED, GREY = 0xE0245E, 0x80848E
TITLE, DESCRIPTION, AUTHOR = 256, 4096, 256
"""Together they stay under the 6000 of all embeds of a message."""

UNKNOWN_MESSAGE = 10008
_DEAD = frozenset({10015, 50027})
"""Unknown webhook, invalid webhook token: to call again would be punished."""
_BUSY = frozenset({30046, 130000})
"""Too many edits of an old message; overloaded."""

_ADDRESS = regex.compile(r".*/webhooks/\d+/[^/]+")
_VERSION = regex.compile(r"/api(/v\d+)?/webhooks/")
_SIGN = regex.compile(r"[\\*_~`|>#\-\[\]()<:]")
_PIECE = regex.compile(r"\\\X|\X")


class Discord(Network, Revises, Removes):
    """Posts to one channel of a Discord server, through a webhook.

    1. In Discord, open the channel's settings > Integrations > Webhooks and make a new webhook.
       Its name and picture are what people see.
    2. Copy the webhook's URL and set `DISCORD_WEBHOOK_URL` to it. Whoever knows it can post in
       the channel. For a thread, add `?thread_id=` and the thread's id.
    3. If a start should ping people, set `DISCORD_MENTION` to the id of a role (Developer Mode >
       right click on the role > Copy Role ID), to `here` or to `everyone`.

    Nobody is pinged but by this setting: not by a title, not by an edit and not by a test.
    """

    name = "discord"
    title = "Discord"
    dialect = Dialect.MARKDOWN
    repeat = Repeat.DOUBLES
    ends_by = "edit"
    unit = "UTF-16 units"
    usual_limit = 2000

    webhook_url: SecretUrl = setting("The webhook's URL; it is the password, too.")
    mention: str = setting(
        "Whom a start pings: the id of a role, `here` or `everyone`.", default=""
    )

    @field_validator("webhook_url")
    @classmethod
    def _is_a_webhook(cls, url: SecretStr) -> SecretStr:
        path = urlsplit(url.get_secret_value()).path
        if not _ADDRESS.fullmatch(path):
            raise ValueError("is not like https://discord.com/api/webhooks/<number>/<token>")
        return url

    @field_validator("mention")
    @classmethod
    def _is_a_mention(cls, mention: str) -> str:
        mention = mention.removeprefix("@")
        if mention in ("", "here", "everyone") or regex.fullmatch("[0-9]{15,20}", mention):
            return mention
        raise ValueError("must be the id of a role, `here` or `everyone`")

    def publish(self, post: Post) -> Receipt:
        # Asked before the post, so that nothing stands between its answer and the receipt.
        guild = self._guild()
        try:
            return self._post(post, guild, post.picture)
        except Refused as refusal:
            if refusal.closes or not post.picture:
                raise
            receipt = self._post(post, guild, None)
            return replace(receipt, note=f"without its picture: {refusal}")

    def _post(self, post: Post, guild: str, picture: Picture | None) -> Receipt:
        body = _message(post, picture.file_name if picture else "")
        if self.mention and post.mood == post.moment == Moment.LIVE and not post.test:
            body["content"] = f"{post.text} {self._ping()}"
            body["allowed_mentions"] = self._allowed()
        if picture:
            body["attachments"] = [
                {"id": 0, "filename": picture.file_name, "description": picture.alt}
            ]
        answer = self._call("POST", "", body, picture, wait="true")
        if answer.status_code >= 300:
            raise _meaning(answer)
        said = wire.json_of(answer)
        message, channel = said.get("id"), said.get("channel_id")
        if not isinstance(message, str) or not message.strip():
            raise Unsure(f"{answer.status_code}, but without the message's id")
        place = f"{guild}/{channel}" if guild and channel else ""
        url = f"https://discord.com/channels/{place}/{message}" if place else ""
        return Receipt(message, url, {"picture": picture.file_name} if picture else {})

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        body = _message(post, receipt.extra.get("picture", ""))
        answer = self._call("PATCH", f"/messages/{receipt.id}", body)
        if _code(wire.error_json(answer)) == UNKNOWN_MESSAGE:
            raise Gone("a person deleted the message")
        if answer.status_code >= 300:
            raise _meaning(answer)
        if not wire.json_of(answer).get("id"):
            raise Unsure(f"{answer.status_code}, but without the message's id")
        return receipt

    def remove(self, receipt: Receipt) -> None:
        answer = self._call("DELETE", f"/messages/{receipt.id}")
        if answer.status_code in (200, 204):
            return
        if answer.status_code != 404 or _code(wire.error_json(answer)) in _DEAD:
            raise _meaning(answer)

    def check(self) -> Account:
        with wire.nothing_posted():
            said = self._webhook()
        place = f"{said.get('guild_id')}/{said.get('channel_id')}"
        notes = (f"a start pings @{self.mention}",) if self.mention else ()
        name = wire.plain(said.get("name") or "webhook")
        return Account(name, f"https://discord.com/channels/{place}", notes)

    def limit(self) -> int:
        return self.usual_limit - (self.measure(f" {self._ping()}") if self.mention else 0)

    def measure(self, text: str) -> int:
        return _units(text)

    def escape(self, text: str) -> str:
        return _escape(text)

    def link(self, url: str) -> str:
        """In angle brackets, or it would unfold into a second card below ours."""
        return f"<{url}>"

    def _ping(self) -> str:
        return f"<@&{self.mention}>" if self.mention.isdigit() else f"@{self.mention}"

    def _allowed(self) -> dict[str, list[str]]:
        if self.mention.isdigit():
            return {"parse": [], "roles": [self.mention]}
        return {"parse": ["everyone"]}  # Discord's word for @here as well

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        picture: Picture | None = None,
        **query: str,
    ) -> requests.Response:
        address, _, configured = self.webhook_url.get_secret_value().partition("?")
        # A webhook is shown without a version, which means v6, where waits are milliseconds.
        address = _VERSION.sub("/api/v10/webhooks/", address)
        query |= {name: value for name, value in parse_qsl(configured) if name == "thread_id"}
        headers = {"User-Agent": AGENT}
        with wire.answered(), wire.Session(address) as session:
            if not picture:
                return session.request(
                    method, f"{address}{path}", params=query, json=body, headers=headers
                )
            return session.request(
                method,
                f"{address}{path}",
                params=query,
                data={"payload_json": json.dumps(body)},
                files={"files[0]": (picture.file_name, picture.data, picture.mime)},
                headers=headers,
            )

    def _webhook(self) -> dict[str, Any]:
        answer = self._call("GET", "")
        if answer.status_code >= 300:
            raise _meaning(answer)
        return wire.json_of(answer)

    def _guild(self) -> str:
        """The id that a permalink needs, empty if it can not be had: a post matters more."""
        webhook = urlsplit(self.webhook_url.get_secret_value()).path.split("/")[-2]
        name = f"guild of webhook {webhook}"
        known = self._memory.get(name)
        if known is None:
            try:
                known = self._webhook().get("guild_id")
            except Refused as problem:
                if problem.closes:
                    raise  # to go on would be one more call of a webhook that is gone
                return ""
            except DeliveryError:
                return ""
            if not isinstance(known, str):
                return ""
            self._memory.put(name, known)
        return known


def _message(post: Post, file_name: str) -> dict[str, Any]:
    """What create and edit have in common, with the attached *file_name* in the card, if there is
    one. Without `attachments` an edit keeps them, but one that its card does not name shows up
    beside it (discord-api-docs #4809, #5675); without `allowed_mentions` it would go back to
    pinging whom the text names.
    """
    return {
        "content": post.text,
        "embeds": [_embed(post.card, post.mood, file_name)] if post.card else [],
        "allowed_mentions": {"parse": []},
    }


def _embed(card: Card, mood: Moment, file_name: str) -> dict[str, Any]:
    """Title and description know Markdown, the author does not."""
    embed: dict[str, Any] = {"url": card.url, "color": RED if mood is Moment.LIVE else GREY}
    if card.title:
        embed["title"] = _cut(_escape(card.title), TITLE)
    if card.description:
        embed["description"] = _cut(_escape(card.description), DESCRIPTION)
    if card.name:
        embed["author"] = {"name": _cut(card.name, AUTHOR)}
    if file_name:
        embed["image"] = {"url": f"attachment://{file_name}"}
    return embed


def _escape(text: str) -> str:
    return _SIGN.sub(r"\\\g<0>", break_mentions(text))


def _cut(text: str, room: int) -> str:
    """*text* in at most *room* units, never cut inside a character or an escaped sign."""
    if _units(text) <= room:
        return text
    kept, room = [], room - 1
    for piece in _PIECE.findall(text):
        room -= _units(piece)
        if room < 0:
            break
        kept.append(piece)
    return f"{''.join(kept)}…"


def _units(text: str) -> int:
    """Discord says only "characters"; UTF-16 units are never fewer than what it counts."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def _meaning(answer: requests.Response) -> DeliveryError:
    said = wire.error_json(answer)
    status, code = answer.status_code, _code(said)
    message = str(said.get("message", ""))
    reason = f"{status} {wire.plain(message)}".strip()
    if code in _DEAD:
        return Refused(f"{reason}: make a new webhook", closes=True)
    if status == 429 or code in _BUSY:
        return TryLater(reason, max(wire.wait_hint(answer.headers), _asked_wait(said)))
    gone = status == 404 and "html" not in answer.headers.get("Content-Type", "")
    return wire.from_status(status, message, answer.headers, closes=gone or None)


def _code(said: dict[str, Any]) -> int:
    """Discord's own error code, 0 if there is none."""
    code = said.get("code")
    return code if isinstance(code, int) else 0


def _asked_wait(said: dict[str, Any]) -> timedelta:
    seconds = said.get("retry_after")
    if not isinstance(seconds, int | float) or not seconds > 0:  # NaN is not, either
        return timedelta()
    return timedelta(seconds=min(seconds, wire.LONGEST_WAIT.total_seconds()))
