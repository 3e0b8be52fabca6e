"""Owncast's own chat, by its integrations API.

Sources: owncast/owncast webserver/handlers/admin/chat.go, core/chat/events/events.go,
web/components/chat/ChatSystemMessage; 0.1.3 answers 200 to what it did not understand.
"""

from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import regex
import requests
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    DeliveryError,
    Dialect,
    Network,
    Post,
    Receipt,
    Refused,
    Repeat,
    Unsure,
    break_mentions,
)
from announcer.settings import Duration, PublicUrl, setting

SHORTEST_REPEAT = timedelta(minutes=1)
NOBODY = 2**31 - 1
"""A chat client that does not exist; Owncast counts its clients up from nought."""

_ENDPOINT = {"system": "chat/system", "action": "chat/action", "user": "chat/send"}
_ADDRESS_SIGNS = ":/?#@!$&'()+,;=%~"
"""Stay as they are in an address; the others could be Markdown or HTML."""
_DOT_IN_NAME = regex.compile(r"(?<=\w)\.(?=\w)")
_PUNCTUATION = regex.compile(r"[!-/:-@\[-`{-~]")


class Owncast(Network):
    """Tells the viewers in Owncast's own chat, once the other posts are up, and links them.

    1. In Owncast, open Admin > Integrations > Access Tokens and create a token that may send
       system chat messages, and nothing else. With `OWNCAST_CHAT_AS=user` it needs to send chat
       messages instead, and its name is the one that viewers see.
    2. Set `OWNCAST_URL` to the public address of the stream, such as `https://live.example.org`.
    3. Set `OWNCAST_ACCESS_TOKEN` to the token. Without it nothing is said in chat.

    A message can be neither changed nor taken away, and on Owncast 0.1 only those see it who are
    in the chat at that moment, unless it is said as a `user`. For those who come later, repeat it
    with `OWNCAST_CHAT_REPEAT=15m`, or let them ask: with `OWNCAST_CHAT_COMMAND=!posts` whoever
    writes `!posts` gets the links, if Owncast's webhook has the event "When a user sends a chat
    message" as well.
    """

    name = "owncast"
    title = "Owncast chat"
    dialect = Dialect.CHAT
    repeat = Repeat.DOUBLES
    shows_pictures = False
    told_last = True
    unit = "characters"
    usual_limit = 2000  # ours: the endpoint has no limit, a viewer's message 2 kB
    switched_on_by = ("access_token",)

    url: PublicUrl = setting("Public address of the stream, such as `https://live.example.org`.")
    access_token: SecretStr = setting(
        "Access token that may send system chat messages, or for `user` chat messages."
    )
    chat_as: Literal["system", "action", "user"] = setting(
        "How it is said: as a message of the server (`system`), as a line like those of who joins "
        "(`action`), or under the access token's name (`user`), which late joiners see, too.",
        default="system",
    )
    chat_repeat: Duration | None = setting(
        "Say it again this often while the stream is live, such as `15m`, at least `1m`. None says "
        "it once.",
        default=None,
    )
    chat_command: str = setting(
        "What viewers write in chat to be told the posts, such as `!posts`: at most every 30 s. "
        "None answers nobody.",
        default="",
    )

    @field_validator("chat_repeat")
    @classmethod
    def _is_no_spam(cls, every: timedelta | None) -> timedelta | None:
        if every is not None and timedelta() < every < SHORTEST_REPEAT:
            raise ValueError("is shorter than 1m")
        return every or None

    @property
    def repeats_every(self) -> timedelta | None:
        return self.chat_repeat

    @property
    def answers_to(self) -> str:
        return self.chat_command.strip()

    def publish(self, post: Post) -> Receipt:
        answer = self._post(_ENDPOINT[self.chat_as], {"body": post.text})
        if answer.status_code >= 300:
            raise self._meaning(answer)
        said = wire.json_of(answer)
        if said.get("success") is True:
            return Receipt(post.key)  # Owncast gives no id
        if said.get("success") is False or "error" in said:
            words = wire.plain(said.get("error") or said.get("message") or "")
            raise Refused(f"{answer.status_code}, but not sent: {words}")
        raise Unsure(f"{answer.status_code}, but no success in it")

    def check(self) -> Account:
        """Says nothing to nobody: only these requests ask for the same right and post nothing."""
        with wire.nothing_posted():
            by_user = self.chat_as == "user"
            path = "chat/send" if by_user else f"chat/system/client/{NOBODY}"
            answer = self._post(path, {"body": ""})
            account = Account(urlsplit(self.url).netloc, self.url)
            if answer.status_code == 404:  # there is an Owncast, or something, without it
                note = "the access token could not be proven without posting"
                return Account(account.handle, account.url, (note,))
            empty_is_refused = by_user and answer.status_code == 400
            if answer.status_code >= 300 and not empty_is_refused:
                raise self._meaning(answer)
            if empty_is_refused:
                if not wire.error_json(answer).get("error"):
                    raise Refused("it answers, but not like Owncast")
                return account
            if not {"success", "error"} & wire.json_of(answer).keys():
                raise Refused("it answers, but not like Owncast")
        return account

    def escape(self, text: str) -> str:
        """Every ASCII sign becomes an entity: without signs there is no HTML, no Markdown and no
        `:emoji:`. Names with dots are broken as well, since the page makes links of bare ones.

        An action is rendered twice, but the second time it is a block of HTML, a `<p>`, in which
        Owncast's Markdown changes nothing: to escape twice would show the entities.
        """
        inert = _DOT_IN_NAME.sub(f".{ZERO_WIDTH_SPACE}", break_mentions(text))
        return _PUNCTUATION.sub(lambda sign: f"&#{ord(sign.group())};", inert)

    def link(self, url: str) -> str:
        """Bare, for Owncast makes a link of it, and nothing else: it may be a stranger's."""
        return quote(url, safe=_ADDRESS_SIGNS)

    def _meaning(self, answer: requests.Response) -> DeliveryError:
        said = str(wire.error_json(answer).get("error", ""))
        if answer.status_code == 401:  # there is no 403: a missing scope looks the same
            right = "chat messages" if self.chat_as == "user" else "system messages"
            said = f"the access token is wrong or may not send {right}"
        return wire.from_status(answer.status_code, said, answer.headers)

    def _post(self, path: str, body: dict[str, Any]) -> requests.Response:
        token = self.access_token.get_secret_value()
        with wire.answered(), wire.Session(self.url) as session:
            return session.post(
                f"{self.url}/api/integrations/{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
            )
