"""Owncast's own chat, by its integrations API.

Sources: owncast/owncast webserver/handlers/admin/chat.go, core/chat/events/events.go,
web/components/chat/ChatSystemMessage; 0.1.3 answers 200 to what it did not understand.
"""

from typing import Any
from urllib.parse import urlsplit

import regex
import requests
from pydantic import SecretStr

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    DeliveryError,
    Network,
    Post,
    Receipt,
    Refused,
    Repeat,
    Unsure,
    break_mentions,
)
from announcer.settings import PublicUrl, setting

NOBODY = 2**31 - 1
"""A chat client that does not exist; Owncast counts its clients up from nought."""

_DOT_IN_NAME = regex.compile(r"(?<=\w)\.(?=\w)")
_PUNCTUATION = regex.compile(r"[!-/:-@\[-`{-~]")


class Owncast(Network):
    """Tells the viewers in Owncast's own chat, as a message of the server.

    1. In Owncast, open Admin > Integrations > Access Tokens and create a token that may send
       system chat messages, and nothing else.
    2. Set `OWNCAST_URL` to the public address of the stream, such as `https://live.example.org`.
    3. Set `OWNCAST_ACCESS_TOKEN` to the token. Without it nothing is said in chat.

    A message can be neither changed nor taken away, and on Owncast 0.1 only those see it who are
    in the chat at that moment.
    """

    name = "owncast"
    title = "Owncast chat"
    repeat = Repeat.DOUBLES
    unit = "characters"
    usual_limit = 2000  # ours: the endpoint has no limit, a viewer's message 2 kB
    switched_on_by = ("access_token",)

    url: PublicUrl = setting("Public address of the stream, such as `https://live.example.org`.")
    access_token: SecretStr = setting("Access token that may send system chat messages.")

    def publish(self, post: Post) -> Receipt:
        answer = self._post("chat/system", {"body": post.text})
        if answer.status_code >= 300:
            raise _meaning(answer)
        said = wire.json_of(answer)
        if said.get("success") is True:
            return Receipt(post.key)  # Owncast gives no id
        if said.get("success") is False or "error" in said:
            words = wire.plain(said.get("error") or said.get("message") or "")
            raise Refused(f"{answer.status_code}, but not sent: {words}")
        raise Unsure(f"{answer.status_code}, but no success in it")

    def check(self) -> Account:
        """Says nothing to nobody: only that request asks for the same right and posts nothing."""
        with wire.nothing_posted():
            answer = self._post(f"chat/system/client/{NOBODY}", {"body": ""})
            account = Account(urlsplit(self.url).netloc, self.url)
            if answer.status_code == 404:  # there is an Owncast, or something, without it
                note = "the access token could not be proven without posting"
                return Account(account.handle, account.url, (note,))
            if answer.status_code >= 300:
                raise _meaning(answer)
            if not {"success", "error"} & wire.json_of(answer).keys():
                raise Refused("it answers, but not like Owncast")
        return account

    def escape(self, text: str) -> str:
        """Every ASCII sign becomes an entity: without signs there is no HTML, no Markdown and no
        `:emoji:`. Names with dots are broken as well, since the page makes links of bare ones.
        """
        inert = _DOT_IN_NAME.sub(f".{ZERO_WIDTH_SPACE}", break_mentions(text))
        return _PUNCTUATION.sub(lambda sign: f"&#{ord(sign.group())};", inert)

    def _post(self, path: str, body: dict[str, Any]) -> requests.Response:
        token = self.access_token.get_secret_value()
        with wire.answered(), wire.Session(self.url) as session:
            return session.post(
                f"{self.url}/api/integrations/{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
            )


def _meaning(answer: requests.Response) -> DeliveryError:
    said = str(wire.error_json(answer).get("error", ""))
    if answer.status_code == 401:  # there is no 403: a missing scope looks the same
        said = "the access token is wrong or may not send system messages"
    return wire.from_status(answer.status_code, said, answer.headers)
