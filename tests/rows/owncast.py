"""Owncast's own chat, as the contract's suite meets it."""

from announcer.contract import SECRET, Receipt, Row
from announcer.networks.owncast import Owncast

ROWS = [
    Row(
        Owncast,
        {"url": "https://live.example.org", "access_token": SECRET},
        answer={"message": "sent", "success": True},
        receipt=Receipt("b1/live/contract"),
    )
]
