"""Slack's webhook and bot, as the contract's suite meets them."""

from announcer.contract import SECRET, Answer, Receipt, Row, Wire
from announcer.networks.slack import Slack, SlackBot

ME = {
    "ok": True,
    "url": "https://kestrel.slack.com/",
    "team": "Kestrel Workshop",
    "user": "announcer",
    "user_id": "U0KESTREL",
    "bot_id": "B0KESTREL",
}


def _tells(wire: Wire) -> None:
    """Who we are, and that nothing of ours is up."""
    wire.always("POST", "/api/auth.test", 200, ME)
    wire.always("GET", "/api/conversations.history", 200, {"ok": True, "messages": []})


ROWS = [
    Row(
        Slack,
        {"webhook_url": f"https://hooks.slack.com/services/T0/B0/{SECRET}"},
        answer="ok",
        receipt=Receipt("b1/live/contract"),
    ),
    Row(
        SlackBot,
        {"bot_token": SECRET, "channel": "C0123456789"},
        answer={"ok": True, "channel": "C0123456789", "ts": "1795461300.000100"},
        receipt=Receipt(
            "1795461300.000100",
            "https://kestrel.slack.com/archives/C0123456789/p1795461300000100",
            {"channel": "C0123456789"},
        ),
        prepare=_tells,
        gone=Answer(200, {"ok": False, "error": "message_not_found"}),
    ),
]
