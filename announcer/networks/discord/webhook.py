"""Discord, by a channel's webhook."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import regex
import requests
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    Account,
    DeliveryError,
    Picture,
    Post,
    Receipt,
    Refused,
    Repeat,
)
from announcer.networks.discord import api
from announcer.networks.discord.channel import Channel, address_of
from announcer.settings import SecretUrl, setting

_ADDRESS = regex.compile(r".*/webhooks/\d+/[^/]+")
_VERSION = regex.compile(r"/api(/v\d+)?/webhooks/")


class Discord(Channel):
    """Posts to one channel of a Discord server, through a webhook.

    1. In Discord, open the channel's settings > Integrations > Webhooks and make a new webhook.
       Its name and picture are what people see.
    2. Copy the webhook's URL and set `DISCORD_WEBHOOK_URL` to it. Whoever knows it can post in
       the channel. For a thread, add `?thread_id=` and the thread's id.
    3. If a start should ping people, set `DISCORD_MENTION` to the id of a role (Developer Mode >
       right click on the role > Copy Role ID), to `here` or to `everyone`.

    Nobody is pinged but by this setting: not by a title, not by an edit and not by a test. If a
    connection breaks, nobody can look whether the message is up; a bot can, see below.
    """

    title = "Discord"
    repeat = Repeat.DOUBLES

    webhook_url: SecretUrl = setting("The webhook's URL; it is the password, too.")

    @field_validator("webhook_url")
    @classmethod
    def _is_a_webhook(cls, url: SecretStr) -> SecretStr:
        path = urlsplit(url.get_secret_value()).path
        if not _ADDRESS.fullmatch(path):
            raise ValueError("is not like https://discord.com/api/webhooks/<number>/<token>")
        return url

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
        answer = self._call("POST", "", self._new(post, picture), picture, wait="true")
        said = self._message(answer)
        url = address_of(guild, said.get("channel_id"), said["id"])
        return Receipt(said["id"], url, {"picture": picture.file_name} if picture else {})

    def remove(self, receipt: Receipt) -> None:
        answer = self._call("DELETE", f"/messages/{receipt.id}")
        if answer.status_code in (200, 204):
            return
        if answer.status_code != 404 or api.code_of(answer) in api.NO_WEBHOOK:
            raise self._meaning(answer)

    def check(self) -> Account:
        with wire.nothing_posted():
            said = self._webhook()
        place = f"{said.get('guild_id')}/{said.get('channel_id')}"
        notes = (f"a start pings @{self.mention}",) if self.mention else ()
        name = wire.plain(said.get("name") or "webhook")
        return Account(name, f"https://discord.com/channels/{place}", notes)

    def _edit(self, receipt: Receipt, body: dict[str, Any]) -> requests.Response:
        return self._call("PATCH", f"/messages/{receipt.id}", body)

    def _meaning(self, answer: requests.Response) -> DeliveryError:
        return api.meaning(answer, unknown_closes=True)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        picture: Picture | None = None,
        **query: str,
    ) -> requests.Response:
        address, _, configured = self.webhook_url.get_secret_value().partition("?")
        address = _VERSION.sub(f"{api.VERSION}/webhooks/", address)
        query |= {name: value for name, value in parse_qsl(configured) if name == "thread_id"}
        return api.ask(method, f"{address}{path}", body, picture, query=query)

    def _webhook(self) -> dict[str, Any]:
        answer = self._call("GET", "")
        if answer.status_code >= 300:
            raise self._meaning(answer)
        return wire.json_of(answer)

    def _guild(self) -> str:
        webhook = urlsplit(self.webhook_url.get_secret_value()).path.split("/")[-2]
        return self._server(f"webhook {webhook}", self._webhook)
