"""Telegram, by a bot.

Text is sent as HTML and not as bare words with `entities`: a template may then have bold and links,
three signs make any title inert, and what Telegram can not parse goes again as plain words.

Sources: the Bot API 10.1 (core.telegram.org/bots/api, PaulSonOfLars/telegram-bot-api-spec);
tdlib/td td/telegram/MessageEntity.cpp for its HTML and for what becomes a command; the error texts
as callers of it have recorded them, since no list of them is published.
"""

import html
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

import regex
import requests
from pydantic import PositiveInt, SecretStr, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
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
    Shines,
    TryLater,
    Unsure,
    break_mentions,
)
from announcer.settings import BaseUrl, setting

CAPTION, TEXT = 1024, 4096
"""UTF-16 units below a picture, and in a post of words alone."""
CHANNELS = 10**12
"""The id of a channel or a big group is minus this, minus its number in links."""
GENERAL = 1
"""The topic that every such group has. Sent to by its number it is "not found"."""

_TOKEN = regex.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{8,100}")
_CHAT = regex.compile(r"-?[0-9]{1,19}|@[A-Za-z][A-Za-z0-9_]{2,63}")
_COMMAND = regex.compile(r"(?<![\w/<>])/(?=\w)")
_TAG = regex.compile(
    r"</?(?:a|b|strong|i|em|u|ins|s|strike|del|span|code|pre|blockquote|tg-[a-z]+)"
    r"""(?:\s(?:"[^"]*"|'[^']*'|[^<>"'])*)?>""",
    regex.IGNORECASE,
)
_ENTITY = regex.compile(
    r"&(?:(?:lt|gt|amp|quot)(?![A-Za-z])|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});?"  # and no other name
)
_METHODS = {
    "photo": ("sendPhoto", "editMessageCaption"),
    "text": ("sendMessage", "editMessageText"),
}

Fields = dict[str, Any]


class Telegram(Network, Revises, Removes, Shines):
    """Posts to a channel or a group of Telegram, as a bot.

    1. In Telegram, open a chat with @BotFather and send it `/newbot`. It asks for a name and for a
       user name, and answers with a token: set `TELEGRAM_BOT_TOKEN` to it. Whoever knows it is
       the bot.
    2. Open your channel > Administrators > Add Administrator, search for the bot's user name, and
       leave only *Post Messages* on. In a group it is enough to add the bot as a member.
    3. Set `TELEGRAM_CHAT_ID`. For a public channel or group it is its name, such as `@kestrel`. For
       a private one copy the link of any post there: of `https://t.me/c/1234567890/5` the id is
       `-1001234567890`. To try it out first, make a private channel of your own.
    4. For one topic of a group, copy the link of a post in it, such as
       `https://t.me/c/1234567890/15/99`, and set `TELEGRAM_TOPIC=15`.
    5. To pin the announcement while you are live, set `TELEGRAM_PIN=on` and give the bot *Edit
       Messages of Others* in a channel, *Pin Messages* in a group. It is pinned without a sound,
       and only what the bot pinned is unpinned.

    A template may use Telegram's HTML, such as `<b>{{ name }}</b>`. A text below a picture may have
    1024 characters; with `TELEGRAM_PICTURE=off` there is room for 4096, and the preview of the link
    shows the stream. Telegram has no place for a picture's description. A test, and the word of the
    end, make no sound. A post can be taken away within 48 hours.
    """

    name = "telegram"
    title = "Telegram"
    dialect = Dialect.HTML
    repeat = Repeat.DOUBLES
    ends_by = "edit"
    replies = True
    describes_pictures = False
    unit = "UTF-16 units without markup"
    usual_limit = CAPTION

    bot_token: SecretStr = setting("The bot's token, from @BotFather.")
    chat_id: str = setting("The channel or group: `@its_name`, or its number.")
    api_base_url: BaseUrl = setting("Where the Bot API is.", default="https://api.telegram.org")
    topic: PositiveInt | None = setting("The topic of the group, by its number.", default=None)
    picture: Literal["on", "off"] = setting(
        "Whether the announcement is a picture with a text below it.", default="on"
    )
    silent: Literal["on", "off"] = setting(
        "Whether the announcement comes without a sound.", default="off"
    )
    pin: Literal["on", "off"] = setting(
        "Whether the announcement is pinned while you are live.", default="off"
    )
    button: str = setting(
        "What a button below the announcement says that leads to the stream, such as `Watch`. It "
        "is there while you are live.",
        default="",
    )

    @field_validator("bot_token")
    @classmethod
    def _is_a_token(cls, token: SecretStr) -> SecretStr:
        if not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("must be a token of @BotFather: a number, a colon and a long word")
        return token

    @field_validator("chat_id")
    @classmethod
    def _is_a_chat(cls, chat: str) -> str:
        if not _CHAT.fullmatch(chat):
            raise ValueError("must be like @kestrel or -1001234567890")
        return chat

    @property
    def wants_badge(self) -> bool:
        return self.pin == "on"

    def publish(self, post: Post) -> Receipt:
        before = self._chat
        receipt = self._illustrated(post)
        moved = self._moved if self._chat != before else ""
        return replace(receipt, note=_remarks(moved, receipt.note))

    def _illustrated(self, post: Post) -> Receipt:
        picture = post.picture if self.picture == "on" else None
        if picture is None or self.measure(post.text) > CAPTION:
            return self._put(post, None)
        try:
            return self._put(post, picture)
        except Refused as refusal:
            if refusal.closes:
                raise
            receipt = self._put(post, None)
            return replace(receipt, note=_remarks(f"without its picture: {refusal}", receipt.note))

    def _put(self, post: Post, picture: Picture | None) -> Receipt:
        kind = "photo" if picture else "text"
        quiet = self.silent == "on" or post.test or post.mood is not Moment.LIVE
        fields = self._dressed(post, kind) | {"disable_notification": quiet}
        if self.topic and self.topic != GENERAL:
            fields["message_thread_id"] = self.topic
        if post.reply_to and self._is_here(post.reply_to):
            answered = {"message_id": int(post.reply_to.id), "allow_sending_without_reply": True}
            fields["reply_parameters"] = answered
        send, _ = _METHODS[kind]
        message, note = _say(lambda fields: self._here(send, fields, picture), fields)
        number = message.get("message_id")
        if not isinstance(number, int) or number <= 0:  # 0: it is only scheduled
            raise Unsure("200, but without the message's id")
        chat = message.get("chat")
        chat = chat if isinstance(chat, dict) else {}
        where = str(chat.get("id") or self._chat)
        return Receipt(str(number), _link(chat, number), {"chat": where, "kind": kind}, note)

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        kind = receipt.extra.get("kind", "text")
        _, edit = _METHODS[kind]
        try:
            _say(lambda words: self._there(edit, receipt, **words), self._dressed(post, kind))
        except Refused as refusal:
            if _says(refusal, "not modified"):
                return receipt
            if _says(refusal, "message to edit not found", "message_id_invalid"):
                raise Gone("a person deleted the message") from None
            raise
        return receipt

    def remove(self, receipt: Receipt) -> None:
        try:
            self._there("deleteMessage", receipt)
        except Refused as refusal:
            if _says(refusal, "message can't be deleted"):
                raise Refused(f"{refusal}: that is possible for 48 hours") from None
            if not _says(refusal, "message to delete not found", "message_id_invalid"):
                raise

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # a pin knows no time
        try:
            self._there("pinChatMessage", live, disable_notification=True)
        except Refused as refusal:
            if _says(refusal, "message to pin not found"):
                raise Gone("a person deleted the message") from None
            if not _says(refusal, "not_modified"):
                raise

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # one pin is meant
        try:
            self._there("unpinChatMessage", live)
        except Refused as refusal:
            if not _says(refusal, "message to unpin not found", "not_modified"):
                raise

    def check(self) -> Account:
        with wire.nothing_posted():
            me = _result(self._ask("getMe", {}))
            chat = self._here("getChat", {})
            notes = [self._moved] if self._chat != self.chat_id else []
            if self.topic and not chat.get("is_forum"):
                notes.append("TELEGRAM_TOPIC is set, but this chat has no topics")
            if chat.get("type") != "private":
                try:
                    member = self._here("getChatMember", {"user_id": me.get("id")})
                    notes += self._lacks(chat, member)
                except Refused as refusal:
                    notes.append(f"what the bot may do there can not be seen: {refusal}")
        handle = f"@{me.get('username')} in {chat.get('title') or chat.get('username')}"
        return Account(wire.plain(handle), _link(chat), tuple(notes))

    def limit(self) -> int:
        return CAPTION if self.picture == "on" else TEXT

    def measure(self, text: str) -> int:
        """After parsing, as Telegram counts."""
        return len(_bare(text).encode("utf-16-le", errors="surrogatepass")) // 2

    def escape(self, text: str) -> str:
        """A /word would become a command that a tap sends to the group."""
        text = _COMMAND.sub(f"/{ZERO_WIDTH_SPACE}", break_mentions(text))
        return html.escape(text, quote=False)

    def link(self, url: str) -> str:
        """Also fit for the `href` of a template."""
        return html.escape(url)

    @property
    def _chat(self) -> str:
        """Where posts go: a group gets a new number when it becomes a big one."""
        return self._memory.get(f"new number of {self.chat_id}") or self.chat_id

    @property
    def _moved(self) -> str:
        return f"the group has a new number: set TELEGRAM_CHAT_ID={self._chat}"

    def _is_here(self, receipt: Receipt) -> bool:
        """Whether it is in the chat that posts go to. A group with a name has moved long ago: only
        a number can be out of date.
        """
        return self._chat.startswith("@") or receipt.extra["chat"] == self._chat

    def _dressed(self, post: Post, kind: str) -> Fields:
        """The words, with what is part of them on an edit, too: what is left out there is gone."""
        fields: Fields = {"caption" if kind == "photo" else "text": post.text, "parse_mode": "HTML"}
        if kind == "text":
            # Without an address it would be of the first link, which may be one in a title.
            preview = {"url": post.card.url, "prefer_large_media": True} if post.card else None
            fields["link_preview_options"] = preview or {"is_disabled": True}
        if self.button and post.card and post.mood is Moment.LIVE:
            row = [{"text": self.button, "url": post.card.url}]
            fields["reply_markup"] = {"inline_keyboard": [row]}
        return fields

    def _here(self, method: str, fields: Fields, picture: Picture | None = None) -> Fields:
        """The result of a call for the chat of the settings, wherever it has moved to."""
        answer = self._ask(method, {"chat_id": self._chat, **fields}, picture)
        parameters = wire.error_json(answer).get("parameters")
        moved = parameters.get("migrate_to_chat_id") if isinstance(parameters, dict) else None
        if isinstance(moved, int):
            self._memory.put(f"new number of {self.chat_id}", str(moved))
            # Messages are counted anew there: an answer would be to a stranger's.
            kept = {name: value for name, value in fields.items() if name != "reply_parameters"}
            answer = self._ask(method, {"chat_id": str(moved), **kept}, picture)
        return _result(answer)

    def _there(self, method: str, receipt: Receipt, **fields: Any) -> Fields:
        """The result of a call for a message, in the chat that it was sent to: after a move its id
        is another message's.
        """
        where = {"chat_id": receipt.extra["chat"], "message_id": int(receipt.id)}
        return _result(self._ask(method, where | fields))

    def _ask(
        self, method: str, fields: Fields, picture: Picture | None = None
    ) -> requests.Response:
        address = f"{self.api_base_url}/bot{self.bot_token.get_secret_value()}/{method}"
        with wire.answered(), wire.Session(self.api_base_url) as session:
            if picture is None:
                return session.post(address, json=fields)
            form = {
                name: value if isinstance(value, str) else json.dumps(value)
                for name, value in fields.items()
            }
            photo = (picture.file_name, picture.data, picture.mime)
            return session.post(address, data=form, files={"photo": photo})

    def _lacks(self, chat: Fields, member: Fields) -> list[str]:
        """What the bot may not do there, though it is to."""
        status, rights = member.get("status"), member
        if chat.get("type") == "channel":
            wanted = {"can_post_messages": "post messages"}
            if self.wants_badge:
                wanted["can_edit_messages"] = "edit messages of others, and so not pin"
        else:
            wanted = {"can_send_messages": "send messages"}
            if self.picture == "on":
                wanted["can_send_photos"] = "send photos"
            if self.wants_badge:
                wanted["can_pin_messages"] = "pin messages"
            if status == "administrator":
                rights = {"can_send_messages": True, "can_send_photos": True, **member}
            elif status == "member":
                rights = chat.get("permissions") or {}
        return [
            f"it may not {what} there" for right, what in wanted.items() if not rights.get(right)
        ]


def _say(send: Callable[[Fields], Fields], fields: Fields) -> tuple[Fields, str]:
    """What *send* returns for *fields*, and what they went without: neither markup that a template
    has wrong nor a button loses a post.
    """
    without: list[str] = []
    while True:
        try:
            return send(fields), _remarks(*without)
        except Refused as refusal:
            if "parse_mode" in fields and _says(refusal, "can't parse entities"):
                without.append(f"without its markup: {refusal}")
                fields = fields | {
                    name: _bare(fields[name]) for name in ("text", "caption") if name in fields
                }
                del fields["parse_mode"]
            elif "reply_markup" in fields and _says(refusal, "button"):
                without.append(f"without its button: {refusal}")
                fields = {name: fields[name] for name in fields if name != "reply_markup"}
            else:
                raise


def _remarks(*remarks: str) -> str:
    return "; ".join(filter(None, remarks))


def _bare(text: str) -> str:
    """*text* as readers see it, without tags and with entities resolved."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), _TAG.sub("", text))


def _link(chat: Fields, message: int | None = None) -> str:
    """The address of a message, or of the chat; empty if it has none, as in a small group."""
    number, name = chat.get("id"), chat.get("username")
    if not isinstance(number, int) or number >= 0:
        return ""
    if isinstance(name, str) and _CHAT.fullmatch(f"@{name}"):
        return f"https://t.me/{name}/{message}" if message else f"https://t.me/{name}"
    if -number > CHANNELS and message:
        return f"https://t.me/c/{-number - CHANNELS}/{message}"
    return ""


def _result(answer: requests.Response) -> Fields:
    """What was asked for, empty where Telegram only says yes. Raises one of the errors."""
    if answer.status_code >= 300:
        raise _meaning(answer, answer.status_code)
    said = wire.json_of(answer)
    if said.get("ok") is True:
        result = said.get("result")
        return result if isinstance(result, dict) else {}
    code = said.get("error_code")
    if said.get("ok") is False and isinstance(code, int) and code >= 400:  # a proxy made it 200
        raise _meaning(answer, code)
    raise Unsure(f"{answer.status_code}, but it does not say that it is done")


def _meaning(answer: requests.Response, status: int) -> DeliveryError:
    said = wire.error_json(answer)
    told = str(said.get("description") or "")
    reason = f"{status} {wire.plain(told)}".strip()
    if status == 429:
        return TryLater(reason, max(wire.wait_hint(answer.headers), _asked_wait(said)))
    closes = None
    if "chat not found" in told:
        reason = f"{reason}: see TELEGRAM_CHAT_ID, and whether the bot is there"
        return Refused(reason, closes=True)
    if status == 404 and said.get("ok") is False:
        return Refused(f"{reason}: see TELEGRAM_BOT_TOKEN", closes=True)
    if "_FORBIDDEN" in told or "not enough rights" in told:
        closes = False  # one right is missing, such as that to send photos
    return wire.from_status(status, told, answer.headers, closes=closes)


def _asked_wait(said: Fields) -> timedelta:
    parameters = said.get("parameters")
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if not isinstance(seconds, int | float) or not seconds > 0:  # NaN is not, either
        return timedelta()
    return timedelta(seconds=min(seconds, wire.LONGEST_WAIT.total_seconds()))


def _says(refusal: Refused, *words: str) -> bool:
    return any(one in str(refusal).lower() for one in words)
