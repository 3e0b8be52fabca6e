"""Telegram: the bot reads where it was made a member or somebody posted, and so learns the chat.

Sources: core.telegram.org/bots/api getMe, getUpdates, Update, ChatMemberUpdated.
"""

import time
from collections.abc import Mapping
from typing import Any

from announcer import wire
from announcer.connect import Fields, Question, Talk
from announcer.network import Refused, TryLater

TOKEN = Question("bot_token", "The bot's token, from @BotFather (/newbot)", secret=True)
CHAT = Question("chat_id", "Which of them, by its number or @name")
QUESTIONS = (TOKEN, CHAT)
MAKES = ()

PATIENCE, ROUND = 300.0, 10
"""Seconds in all, and of one request, which is answered as soon as there is something."""
KINDS = ("channel", "supergroup", "group")
TELLING = ("message", "channel_post", "my_chat_member")
"""The updates that name a chat. The last one comes when the bot is made a member or administrator,
and so also from a group whose messages it may not read.
"""


def connect(talk: Talk, known: Mapping[str, str]) -> Fields:
    server = known.get("api_base_url") or "https://api.telegram.org"
    token = talk.ask(TOKEN)
    with wire.Session(server) as session, wire.nothing_posted():
        me = _ask(session, f"{server}/bot{token}/getMe", {})
        name = wire.plain(me.get("username") if isinstance(me, dict) else "")
        talk.tell(
            f"This is @{name}. Make it an administrator of your channel, with the right to post, "
            "or add it to your group. Then write anything there."
        )
        with talk.waiting("waiting for a post there (Ctrl-C ends it)"):
            chats = _listen(session, f"{server}/bot{token}/getUpdates")
    if len(chats) == 1:
        (number, title), *_ = chats.items()
        talk.tell(f"It is in {title} ({number}).")
        return {"bot_token": token, "chat_id": number}
    for number, title in chats.items():
        talk.tell(f"  {number}  {title}")
    return {"bot_token": token, "chat_id": talk.ask(CHAT)}


def _listen(session: wire.Session, address: str) -> dict[str, str]:
    """Title by number of every chat that the bot hears of. Raises TryLater if there is none."""
    deadline, after = time.monotonic() + PATIENCE, None
    while time.monotonic() < deadline:
        asked: dict[str, Any] = {"timeout": ROUND, "allowed_updates": TELLING}
        if after is not None:
            asked["offset"] = after
        updates = _ask(session, address, asked)
        heard = (
            [one for one in updates if isinstance(one, dict)] if isinstance(updates, list) else []
        )
        if chats := _chats(heard):
            return chats
        numbers = [one["update_id"] for one in heard if isinstance(one.get("update_id"), int)]
        after = max(numbers) + 1 if numbers else after
    raise TryLater("the bot heard nothing: is it in the chat, and did somebody write there?")


def _chats(updates: list[dict[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for update in updates:
        for kind in TELLING:
            message = update.get(kind)
            chat = message.get("chat") if isinstance(message, dict) else None
            if isinstance(chat, dict) and chat.get("type") in KINDS:
                found[str(chat.get("id"))] = wire.plain(chat.get("title"))
    return found


def _ask(session: wire.Session, address: str, fields: Mapping[str, Any]) -> Any:
    with wire.answered():
        answer = session.post(address, json=fields)
    said = wire.error_json(answer)
    if answer.status_code == 409:
        raise Refused("another program reads what this bot hears: make a bot for Announcer alone")
    if answer.status_code in (401, 404):
        raise Refused(f"{answer.status_code}: Telegram does not know this token")
    if answer.status_code >= 300 or said.get("ok") is not True:
        words = str(said.get("description") or "no answer of the Bot API")
        raise wire.from_status(max(answer.status_code, 400), words, answer.headers)
    return said.get("result")
