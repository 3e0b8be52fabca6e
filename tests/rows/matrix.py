"""Matrix, as the contract's suite meets it."""

from announcer.contract import SECRET, Answer, Receipt, Row, Wire
from announcer.networks.matrix import Matrix

ROOM = "!kestrel:matrix.test"
NOT_FOUND = {"errcode": "M_NOT_FOUND", "error": "Event not found."}


def _is_joined(wire: Wire) -> None:
    wire.always("GET", "/account/whoami", 200, {"user_id": "@live:matrix.test", "device_id": "A"})
    wire.always("GET", "/state/m.room.encryption", 404, NOT_FOUND)
    wire.always("GET", "/media/config", 200, {"m.upload.size": 50_000_000})
    wire.always("GET", "/event/%247", 200, {"event_id": "$7", "content": {"body": "We are live"}})


ROWS = [
    Row(
        Matrix,
        {"homeserver": "https://matrix.test", "access_token": SECRET, "room_id": ROOM},
        answer={"event_id": "$7"},
        receipt=Receipt(
            "$7",
            "https://matrix.to/#/!kestrel%3Amatrix.test/%247?via=matrix.test",
            {"room": ROOM},
        ),
        prepare=_is_joined,
        throttled=Answer(
            429, {"errcode": "M_LIMIT_EXCEEDED", "error": "Slow down", "retry_after_ms": 42_000}
        ),
        gone=Answer(404, NOT_FOUND),
        uploads={"/_matrix/media/v3/upload": {"content_uri": "mxc://matrix.test/301"}},
    )
]
