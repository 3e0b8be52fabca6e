"""Telegram, as the contract's suite meets it."""

from announcer.contract import SECRET, Answer, Receipt, Row
from announcer.networks.telegram import Telegram


def token(word: str) -> str:
    return f"110201543:{word}"


ROWS = [
    Row(
        Telegram,
        {"bot_token": token(SECRET), "chat_id": "@kestrel"},
        answer={
            "ok": True,
            "result": {
                "message_id": 7,
                "chat": {"id": -1001234567890, "type": "channel", "username": "kestrel"},
            },
        },
        receipt=Receipt("7", "https://t.me/kestrel/7", {"chat": "-1001234567890", "kind": "text"}),
        throttled=Answer(
            429,
            {
                "ok": False,
                "error_code": 429,
                "description": "Too Many Requests: retry after 42",
                "parameters": {"retry_after": 42},
            },
        ),
        gone=Answer(
            400,
            {
                "ok": False,
                "error_code": 400,
                "description": "Bad Request: MESSAGE_ID_INVALID",
            },
        ),
        form=token,
    )
]
