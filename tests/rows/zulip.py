"""Zulip, as the contract's suite meets it."""

from announcer.contract import SECRET, Answer, Receipt, Row, Wire
from announcer.networks.zulip import Zulip

MISSING = {"result": "error", "msg": "Invalid message(s)", "code": "BAD_REQUEST"}


def _prepare(wire: Wire) -> None:
    wire.always("POST", "/api/v1/register", 200, {"result": "success", "max_message_length": 10000})
    wire.always("GET", "/api/v1/messages/7", 400, MISSING)


ROWS = [
    Row(
        Zulip,
        {
            "url": "https://kestrel.zulipchat.com",
            "email": "live-bot@kestrel.zulipchat.com",
            "api_key": SECRET,
            "channel": "general chat",
        },
        answer={"result": "success", "msg": "", "id": 7},
        receipt=Receipt(
            "7",
            "https://kestrel.zulipchat.com/#narrow/stream/general.20chat/topic/live/near/7",
        ),
        prepare=_prepare,
        throttled=Answer(429, {"result": "error", "code": "RATE_LIMIT_HIT", "retry-after": 42.0}),
        gone=Answer(400, MISSING),
        uploads={
            "/api/v1/user_uploads": {
                "result": "success",
                "uri": "/user_uploads/1/ab/301/stream.jpg",
            }
        },
    )
]
