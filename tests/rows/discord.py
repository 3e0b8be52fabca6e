"""Discord, as the contract's suite meets it."""

from announcer.contract import SECRET, Answer, Receipt, Row, Wire
from announcer.networks.discord import Discord, DiscordBot

CHANNEL = "165511591545143297"


def _answers_a_bot(wire: Wire) -> None:
    wire.always("GET", f"/channels/{CHANNEL}", 200, {"guild_id": "44", "type": 0})
    wire.always("GET", f"/channels/{CHANNEL}/messages", 200, [])
    wire.always("GET", "/users/@me", 200, {"id": "55", "username": "kestrel"})


ROWS = [
    Row(
        Discord,
        {"webhook_url": f"https://discord.com/api/webhooks/11/{SECRET}"},
        answer={"id": "33", "channel_id": "22"},
        receipt=Receipt("33", "https://discord.com/channels/44/22/33"),
        prepare=lambda wire: wire.always(
            "GET", f"/webhooks/11/{SECRET}", 200, {"guild_id": "44", "channel_id": "22"}
        ),
        throttled=Answer(429, {"message": "slow down", "retry_after": 42.0, "global": False}),
        gone=Answer(404, {"message": "Unknown Message", "code": 10008}),
    ),
    Row(
        DiscordBot,
        {"bot_token": SECRET, "channel_id": CHANNEL},
        answer={"id": "33", "channel_id": CHANNEL},
        receipt=Receipt(
            "33", f"https://discord.com/channels/44/{CHANNEL}/33", {"channel": CHANNEL}
        ),
        prepare=_answers_a_bot,
        throttled=Answer(429, {"message": "slow down", "retry_after": 42.0, "global": True}),
        gone=Answer(404, {"message": "Unknown Message", "code": 10008}),
    ),
]
