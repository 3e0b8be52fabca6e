"""X, as the contract's suite meets it."""

from announcer.contract import DATE, NOON, SECRET, Answer, Receipt, Row
from announcer.networks.x import X

ROWS = [
    Row(
        X,
        {
            "consumer_key": SECRET,
            "consumer_secret": SECRET,
            "access_token": SECRET,
            "access_token_secret": SECRET,
        },
        answer={"data": {"id": "7", "text": "as sent"}},
        receipt=Receipt("7", "https://x.com/i/status/7"),
        throttled=Answer(429, {}, {**DATE, "x-rate-limit-reset": f"{NOON.timestamp() + 42:.0f}"}),
        uploads={
            "/2/media/upload": {"data": {"id": "301"}},
            "/2/media/metadata": {"data": {"id": "301"}},
        },
    )
]
