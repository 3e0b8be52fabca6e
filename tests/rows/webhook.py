"""The webhook, as the contract's suite meets it."""

from hashlib import sha256

from announcer.contract import SECRET, Receipt, Row
from announcer.networks.webhook import Webhook


def key(word: str) -> str:
    """In small letters only: they are base64, too."""
    return f"whsec_{sha256(word.encode()).hexdigest()}"


ROWS = [
    Row(
        Webhook,
        {"url": f"https://hooks.test/{key(SECRET)}", "secret": key(SECRET)},
        answer="",
        receipt=Receipt(
            "msg_2d8fd61dba600f98c2dfe85f1f050506",
            "",
            {"event": "msg_2d8fd61dba600f98c2dfe85f1f050506", "told": "stream.live"},
        ),
        gone=None,  # an event is told, and can not be gone
        form=key,
        bare=True,
    )
]
