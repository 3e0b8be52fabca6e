"""Threads, as the contract's suite meets it."""

from announcer.contract import SECRET, Answer, Receipt, Row, Wire
from announcer.networks.threads import Threads


def _is_ready(wire: Wire) -> None:
    renewed = {"access_token": f"renewed-{SECRET}", "expires_in": 5183944}
    wire.always("GET", "/refresh_access_token", 200, renewed)
    wire.always("POST", "/me/threads", 200, {"id": "11"})
    wire.always("GET", "/v1.0/7", 200, {"permalink": "https://www.threads.com/@k/post/7"})


ROWS = [
    Row(
        Threads,
        {"access_token": SECRET},
        answer={"id": "7"},
        receipt=Receipt("7", "https://www.threads.com/@k/post/7"),
        prepare=_is_ready,
        gone=Answer(
            400,
            {
                "error": {
                    "message": "Unsupported delete request. Object with ID '7' does not exist, "
                    "cannot be loaded due to missing permissions, or does not support this "
                    "operation",
                    "type": "THApiException",
                    "code": 100,
                    "error_subcode": 33,
                }
            },
        ),
    )
]
