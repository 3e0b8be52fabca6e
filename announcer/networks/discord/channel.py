"""What a webhook and a bot have in common: one channel, and whom a start pings in it."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import regex
import requests
from pydantic import field_validator

from announcer import wire
from announcer.network import (
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
    Revises,
    Unsure,
)
from announcer.networks.discord.api import UNKNOWN_MESSAGE, code_of
from announcer.networks.discord.message import escape, message, units
from announcer.settings import setting


class Channel(Network, Revises, Removes):
    name = "discord"
    dialect = Dialect.MARKDOWN
    ends_by = "edit"
    unit = "UTF-16 units"
    usual_limit = 2000

    mention: str = setting(
        "Whom a start pings: the id of a role, `here` or `everyone`.", default=""
    )

    @field_validator("mention")
    @classmethod
    def _is_a_mention(cls, mention: str) -> str:
        mention = mention.removeprefix("@")
        if mention in ("", "here", "everyone") or regex.fullmatch("[0-9]{15,20}", mention):
            return mention
        raise ValueError("must be the id of a role, `here` or `everyone`")

    @abstractmethod
    def _edit(self, receipt: Receipt, body: dict[str, Any]) -> requests.Response: ...

    @abstractmethod
    def _meaning(self, answer: requests.Response) -> DeliveryError: ...

    def _server(self, of: str, ask: Callable[[], dict[str, Any]]) -> str:
        """The server's id, which a permalink needs: of a channel or webhook, that *ask* tells of.
        Empty if it can not be had: a post matters more.
        """
        name = f"guild of {of}"
        known = self._memory.get(name)
        if known is None:
            try:
                known = ask().get("guild_id")
            except Refused as problem:
                if problem.closes:
                    raise  # to go on would be one more refusal, and of a webhook that is gone
                return ""
            except DeliveryError:
                return ""
            if not isinstance(known, str):
                return ""
            self._memory.put(name, known)
        return known

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        body = message(post, receipt.extra.get("picture", ""))
        if "bare" in receipt.extra:
            body["embeds"] = []
        answer = self._edit(receipt, body)
        if code_of(answer) == UNKNOWN_MESSAGE:
            raise Gone("a person deleted the message")
        self._message(answer)
        return receipt

    def _message(self, answer: requests.Response) -> dict[str, Any]:
        """The message that is up as *answer* says. Raises if it does not say that."""
        if answer.status_code >= 300:
            raise self._meaning(answer)
        said = wire.json_of(answer)
        number = said.get("id")
        if not isinstance(number, str) or not number.strip():
            raise Unsure(f"{answer.status_code}, but without the message's id")
        return said

    def limit(self) -> int:
        return self.usual_limit - (self.measure(f" {self._ping()}") if self.mention else 0)

    def measure(self, text: str) -> int:
        return units(text)

    def escape(self, text: str) -> str:
        return escape(text)

    def link(self, url: str) -> str:
        """In angle brackets, or it would unfold into a second card below ours."""
        return f"<{url}>"

    def _new(self, post: Post, picture: Picture | None) -> dict[str, Any]:
        """The message that puts *post* up. Only a start pings."""
        body = message(post, picture.file_name if picture else "")
        if self.mention and is_a_start(post):
            body["content"] = f"{post.text} {self._ping()}"
            body["allowed_mentions"] = self._allowed()
        if picture:
            body["attachments"] = [
                {"id": 0, "filename": picture.file_name, "description": picture.alt}
            ]
        return body

    def _ping(self) -> str:
        return f"<@&{self.mention}>" if self.mention.isdigit() else f"@{self.mention}"

    def _allowed(self) -> dict[str, list[str]]:
        if self.mention.isdigit():
            return {"parse": [], "roles": [self.mention]}
        return {"parse": ["everyone"]}  # Discord's word for @here as well


def is_a_start(post: Post) -> bool:
    return post.mood == post.moment == Moment.LIVE and not post.test


def address_of(guild: object, channel: object, number: str) -> str:
    """What a person opens, empty if not all of it is known."""
    if not guild or not channel:
        return ""
    return f"https://discord.com/channels/{guild}/{channel}/{number}"
