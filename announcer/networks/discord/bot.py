"""Discord, as a bot: it can do what a webhook can not."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import regex
import requests
from pydantic import SecretStr, ValidationInfo, field_validator

from announcer import wire
from announcer.network import (
    UPLOAD,
    Account,
    Card,
    DeliveryError,
    Finds,
    Gone,
    Picture,
    Post,
    Receipt,
    Refused,
    Repeat,
    Shines,
    TryLater,
    squeezed,
)
from announcer.networks.discord import api, history, scheduled
from announcer.networks.discord.channel import Channel, address_of, is_a_start
from announcer.networks.discord.permissions import May, of_channel, of_server
from announcer.settings import BaseUrl, setting

NONCE = 25
"""Characters of it that Discord takes."""
NONCE_LIVES = timedelta(minutes=2)
"""Discord folds a repeat for "the past few minutes", which is all that it says."""
CLOCKS = timedelta(minutes=10)
"""How far Discord's clock may be behind ours."""
ANNOUNCEMENTS, THREADS = 5, (10, 11, 12)
"""Types of channels."""
_LEFT_OUT = {api.MISSING_PERMISSIONS: "embeds", api.NO_HISTORY: "message_reference"}
"""What a message does without, if the bot may not send it. The words matter more."""


class DiscordBot(Channel, Finds, Shines):
    """Posts to one channel of a Discord server, as a bot of your own. It takes more steps than a
    webhook and can do more: a message that may be up after a broken connection is looked for, the
    end can be told as a reply, and an event of the server can be on while you are live.

    1. Open <https://discord.com/developers/applications>, make a new application and name it as
       people shall see it.
    2. On its page *Bot*, press *Reset Token* and set `DISCORD_BOT_TOKEN` to what is shown. Whoever
       has it is your bot. Switch *Public Bot* off. It needs none of the privileged intents.
    3. On its page *OAuth2*, tick the scope `bot` and these permissions: *View Channels*, *Send
       Messages*, *Embed Links*, *Attach Files*, *Read Message History*. For a thread, *Send
       Messages in Threads*. Open the address that is made of it and add the bot to your server.
    4. In Discord, switch on Settings > Advanced > Developer Mode, right click on the channel, *Copy
       Channel ID*, and set `DISCORD_CHANNEL_ID` to it. A private channel must let the bot in.
    5. If a start should ping people, set `DISCORD_MENTION` to the id of a role (right click on the
       role > *Copy Role ID*), to `here` or to `everyone`. It needs *Mention @everyone, @here, and
       All Roles*, but for a role that anyone may mention.

    `announcer check` names the permissions that are missing. Nobody is pinged but by this setting:
    not by a title, not by an edit and not by a test.

    `DISCORD_EVENT=on` makes an event of the server for as long as you are live, with your title and
    the address of the stream; it needs *Create Events*. Members see it above the channels. If we
    are cut off for good, it ends by itself two hours after it was last renewed. If a person ends
    it, it stays ended. It has no picture.

    `DISCORD_PIN=on` pins the message while you are live instead; it needs *Pin Messages*. Either of
    the two, since they are renewed and cleared as one: it could not be known which of them a person
    took away.

    `DISCORD_CROSSPOST=on`, in an announcement channel, also publishes the start to the servers that
    follow it. Edits follow by themselves. Discord allows ten in an hour.
    """

    title = "Discord bot"
    repeat = Repeat.WINDOW
    replies = True
    switched_on_by = ("bot_token", "channel_id", "api_base_url", "pin", "event", "crosspost")
    badge_lasts: ClassVar[timedelta | None] = scheduled.LASTS

    bot_token: SecretStr = setting("Token of the bot.")
    channel_id: str = setting("Id of the channel or thread to post in.")
    api_base_url: BaseUrl = setting(
        "Where the API is, if it is not Discord's own.", default="https://discord.com"
    )
    pin: Literal["on", "off"] = setting(
        "`on` pins the message while the stream runs. Not together with `DISCORD_EVENT`.",
        default="off",
    )
    event: Literal["on", "off"] = setting(
        "`on` makes an event of the server while the stream runs.", default="off"
    )
    crosspost: Literal["on", "off"] = setting(
        "`on` publishes a start to the servers that follow this announcement channel.",
        default="off",
    )

    @field_validator("bot_token")
    @classmethod
    def _is_a_token(cls, token: SecretStr) -> SecretStr:
        if not regex.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
            raise ValueError("must be the token alone, without `Bot` before it")
        return token

    @field_validator("channel_id")
    @classmethod
    def _is_an_id(cls, channel: str) -> str:
        if not regex.fullmatch("[0-9]{15,20}", channel):
            raise ValueError("must be the id of a channel: 15 to 20 digits")
        return channel

    @field_validator("event")
    @classmethod
    def _is_the_only_mark(cls, wish: str, others: ValidationInfo) -> str:
        if wish == others.data.get("pin") == "on":
            raise ValueError("can not be on while DISCORD_PIN is: keep one")
        return wish

    def publish(self, post: Post) -> Receipt:
        # Asked before the post, so that nothing stands between its answer and the receipt.
        guild = self._guild()
        receipt = self._with_picture(
            post,
            lambda picture: picture.file_name,  # it goes with the message
            lambda name: self._post(post, guild, post.picture if name else None),
        )
        if self.crosspost == "off" or not is_a_start(post):
            return receipt
        note = self._published_to_followers(receipt)
        return replace(receipt, note="; ".join(filter(None, (receipt.note, note))))

    def _post(self, post: Post, guild: str, picture: Picture | None) -> Receipt:
        body = self._body(post, picture)
        answer = self._api.ask("POST", self._messages(), body, picture)
        if picture and api.code_of(answer) == api.MISSING_PERMISSIONS:
            raise Refused("403: it may lack the permission to attach files")
        left_out = []
        while body.get(what := _LEFT_OUT.get(api.code_of(answer), "")):
            del body[what]
            left_out.append(what)
            answer = self._api.ask("POST", self._messages(), body)
        receipt = self._receipt(
            self._message(answer), guild, pictured=picture is not None, bare="embeds" in left_out
        )
        if not left_out:
            return receipt
        names = {"embeds": "its card", "message_reference": "being a reply"}
        without = " and ".join(names[what] for what in left_out)
        return replace(receipt, note=f"without {without}: a permission is missing, see `check`")

    def _body(self, post: Post, picture: Picture | None) -> dict[str, Any]:
        body = self._new(post, picture)
        # The same on every try. A new edition has another one, or what was taken away would be
        # the answer.
        body["nonce"] = hashlib.sha256(post.wire_key.encode()).hexdigest()[:NONCE]
        body["enforce_nonce"] = True
        if post.reply_to and post.reply_to.extra.get("channel") == self.channel_id:
            reference = {"message_id": post.reply_to.id, "fail_if_not_exists": False}
            body["message_reference"] = reference
        return body

    def _receipt(
        self, message: Mapping[str, Any], guild: str, *, pictured: bool, bare: bool
    ) -> Receipt:
        extra = {"channel": self.channel_id}
        if pictured:
            extra["picture"] = Picture.file_name
        if bare:
            extra["bare"] = "yes"
        number = str(message["id"])
        return Receipt(number, address_of(guild, self.channel_id, number), extra)

    def _published_to_followers(self, receipt: Receipt) -> str:
        """Why it was not, empty if it was. Whatever happens here, the message is up."""
        try:
            path = f"{self._messages(receipt)}/crosspost"
            answer = self._api.ask("POST", path, total=UPLOAD)
        except DeliveryError as problem:
            return f"not published to followers: {problem}"
        if answer.status_code < 300 or api.code_of(answer) == api.ALREADY_CROSSPOSTED:
            return ""
        return f"not published to followers: {self._meaning(answer)}"

    def find(self, post: Post) -> Receipt | None:
        began = (post.doubtful_since or post.worded_at) - CLOCKS
        with wire.nothing_posted():
            me = self._api.me()["id"]
            said = history.since(began, self.channel_id, self._api)
            for message in said.messages:
                if history.is_by(me, message) and self._is(post, message):
                    pictured = history.shows_a_picture(message)
                    bare = bool(post.card) and not message.get("embeds")
                    return self._receipt(message, self._guild(), pictured=pictured, bare=bare)
        guarded = post.doubtful_since and now() - post.doubtful_since < NONCE_LIVES
        if said.doubt and not guarded:
            raise Refused(f"may be posted, and the bot can not look: {said.doubt}")
        return None

    def _is(self, post: Post, message: Mapping[str, Any]) -> bool:
        """By the nonce where one is shown, else by the words, which Discord may have trimmed."""
        body = self._body(post, None)
        if message.get("nonce"):
            return bool(message["nonce"] == body["nonce"])
        return squeezed(str(message.get("content"))) == squeezed(body["content"])

    def remove(self, receipt: Receipt) -> None:
        answer = self._api.ask("DELETE", self._messages(receipt))
        code = api.code_of(answer)
        if answer.status_code in (200, 204) or code in (api.UNKNOWN_MESSAGE, api.UNKNOWN_CHANNEL):
            return
        if code == api.MISSING_PERMISSIONS:
            raise Refused("403: the message is of another bot")
        raise self._meaning(answer)

    @property
    def wants_badge(self) -> bool:
        return "on" in (self.pin, self.event)

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:
        if self.pin == "on":
            self._pin(live, again=again)
        else:
            self._hold_event(card, at, again=again)

    def dim(self, live: Receipt, card: Card | None) -> None:
        if self.pin == "on":
            answer = self._api.ask("DELETE", self._messages(live, "/pins"))
            if api.code_of(answer) not in (api.UNKNOWN_MESSAGE, api.UNKNOWN_CHANNEL):
                api.succeed(answer)
            return
        for number, status in self._events(card):
            over = scheduled.COMPLETED if status == scheduled.ACTIVE else scheduled.CANCELED
            answer = self._api.ask("PATCH", self._scheduled(number), {"status": over})
            if api.code_of(answer) != api.UNKNOWN_EVENT:
                api.succeed(answer)

    def _pin(self, live: Receipt, *, again: bool) -> None:
        if again:
            with wire.nothing_posted():
                answer = self._api.ask("GET", self._messages(live))
                if api.code_of(answer) == api.UNKNOWN_MESSAGE:
                    raise Gone("the message is gone, and its pin with it")
                if self._message(answer).get("pinned") is not True:
                    raise Gone("it was unpinned")
        else:
            self._api.do("PUT", self._messages(live, "/pins"))

    def _hold_event(self, card: Card | None, at: datetime, *, again: bool) -> None:
        told = scheduled.told(card, at)
        there = self._events(card)
        if not there:
            ends = wire.iso_time(self._memory.get("event ends") or "")
            if again and ends and at < ends:
                raise Gone("the event was ended or deleted")
            made = self._api.ask("POST", self._scheduled(), scheduled.new(card, at))
            there = [(self._message(made)["id"], scheduled.SCHEDULED)]
        for number, status in there:
            begins = {"status": scheduled.ACTIVE} if status == scheduled.SCHEDULED else {}
            self._api.do("PATCH", self._scheduled(number), told | begins)
        self._memory.put("event ends", told["scheduled_end_time"])

    def _events(self, card: Card | None) -> list[tuple[str, int]]:
        """Those of ours that are not over. They are known by the address of the stream."""
        if card is None:
            return []
        with wire.nothing_posted():
            return scheduled.ours(self._api.list(self._scheduled()), self._api.me()["id"], card)

    def _scheduled(self, number: str = "") -> str:
        """The path of all events of the server, or of one."""
        guild = self._guild()
        if not guild:
            raise TryLater("the server of the channel is not known")
        return f"/guilds/{guild}/scheduled-events" + (f"/{number}" if number else "")

    def check(self) -> Account:
        with wire.nothing_posted():
            me, channel = self._api.me(), self._channel()
            guild = str(channel.get("guild_id") or "")
            notes = [f"a start pings @{self.mention}"] if self.mention else []
            if self.crosspost == "on" and channel.get("type") != ANNOUNCEMENTS:
                notes.append("only an announcement channel can be followed: DISCORD_CROSSPOST")
            try:
                notes += self._missing(str(me["id"]), guild, channel)
            except Refused as refusal:
                notes.append(f"its permissions can not be looked at: {refusal}")
        name = f"{wire.plain(me.get('username'))} in #{wire.plain(channel.get('name'))}"
        url = address_of(guild, self.channel_id, "").rstrip("/")
        return Account(name, url, tuple(notes))

    def _missing(self, me: str, guild: str, channel: Mapping[str, Any]) -> list[str]:
        """What the bot may not do, of what it is to do."""
        member = self._api.get(f"/guilds/{guild}/members/{me}")
        roles = self._api.list(f"/guilds/{guild}/roles")
        mine = [str(role) for role in member.get("roles") or []]
        thread = channel.get("type") in THREADS
        if thread:
            channel = self._channel(str(channel.get("parent_id")))
        server = of_server(guild, mine, roles)
        overwrites = channel.get("permission_overwrites") or []
        here = of_channel(server, guild, me, mine, overwrites)
        needed = May.VIEW_CHANNEL | May.EMBED_LINKS | May.ATTACH_FILES | May.READ_MESSAGE_HISTORY
        needed |= May.SEND_MESSAGES_IN_THREADS if thread else May.SEND_MESSAGES
        needed |= May.PIN_MESSAGES if self.pin == "on" else May(0)
        notes = []
        role = next((role for role in roles if role.get("id") == self.mention), None)
        if self.mention.isdigit() and role is None:
            notes.append(f"there is no role {self.mention}")
        elif self.mention and not (role and role.get("mentionable")):
            needed |= May.MENTION_EVERYONE
        lacking = needed & ~here
        if self.event == "on":
            lacking |= May.CREATE_EVENTS & ~server
        return notes + [f"the bot lacks the permission {one}" for one in lacking]

    def _edit(self, receipt: Receipt, body: dict[str, Any]) -> requests.Response:
        return self._api.ask("PATCH", self._messages(receipt), body)

    def _meaning(self, answer: requests.Response) -> DeliveryError:
        return api.meaning(answer)

    def _messages(self, receipt: Receipt | None = None, among: str = "") -> str:
        """The path of all of them, or of one, wherever it was put."""
        if receipt is None:
            return f"/channels/{self.channel_id}/messages"
        channel = receipt.extra.get("channel", self.channel_id)
        return f"/channels/{channel}/messages{among}/{receipt.id}"

    def _channel(self, number: str = "") -> dict[str, Any]:
        return self._api.get(f"/channels/{number or self.channel_id}")

    def _guild(self) -> str:
        return self._server(f"channel {self.channel_id}", self._channel)

    @property
    def _api(self) -> api.Client:
        return api.Client(self.api_base_url, self.bot_token.get_secret_value())


def now() -> datetime:
    return datetime.now(UTC)
