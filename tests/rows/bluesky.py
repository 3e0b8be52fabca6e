"""Bluesky, as the contract's suite meets it."""

from announcer.contract import DATE, NOON, SECRET, Answer, Receipt, Row, Wire
from announcer.networks.bluesky import Bluesky

URI = "at://did:plc:kestrel/app.bsky.feed.post/3n2ytokevsqn5"


def _logs_in(wire: Wire) -> None:
    login = {"did": "did:plc:kestrel", "handle": "kestrel.example", "accessJwt": f"a.{SECRET}"}
    for nsid in ("createSession", "refreshSession"):
        wire.always("POST", f"com.atproto.server.{nsid}", 200, {**login, "refreshJwt": "r.1"})


ROWS = [
    Row(
        Bluesky,
        {"identifier": "kestrel.example", "app_password": SECRET},
        answer={"uri": URI, "cid": "bafy1"},
        receipt=Receipt(
            "3n2ytokevsqn5",
            "https://bsky.app/profile/kestrel.example/post/3n2ytokevsqn5",
            {"uri": URI, "cid": "bafy1", "did": "did:plc:kestrel"},
        ),
        prepare=_logs_in,
        throttled=Answer(
            429,
            {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"},
            {**DATE, "RateLimit-Reset": f"{NOON.timestamp() + 42:.0f}"},
        ),
        gone=Answer(200, {}),
        uploads={
            "com.atproto.repo.uploadBlob": {
                "blob": {"$type": "blob", "ref": {"$link": "bafk2"}, "mimeType": "image/jpeg"}
            }
        },
    )
]
