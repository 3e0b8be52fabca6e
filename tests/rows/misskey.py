"""Misskey, as the contract's suite meets it."""

from announcer.contract import DATE, NOON, SECRET, Answer, Receipt, Row, Wire
from announcer.networks.misskey import Misskey


def _knows_its_limit(wire: Wire) -> None:
    wire.always("POST", "/api/meta", 200, {"maxNoteTextLength": 3000})
    wire.always("POST", "/api/notes/show", 200, {"id": "9xk2m1q8zt"})


def _error(code: str, **more: object) -> dict[str, object]:
    return {"error": {"message": "told by the network", "code": code, "id": "0", **more}}


ROWS = [
    Row(
        Misskey,
        {"url": "https://misskey.test", "token": SECRET},
        answer={"createdNote": {"id": "9xk2m1q8zt", "text": "as sent"}},
        receipt=Receipt("9xk2m1q8zt", "https://misskey.test/notes/9xk2m1q8zt"),
        prepare=_knows_its_limit,
        throttled=Answer(
            429,
            _error(
                "RATE_LIMIT_EXCEEDED",
                info={"remaining": 0, "resetMs": (NOON.timestamp() + 42) * 1000},
            ),
            DATE,
        ),
        gone=Answer(400, _error("NO_SUCH_NOTE", kind="client")),
        uploads={"/api/drive/files/create": {"id": "301", "type": "image/jpeg"}},
    )
]
