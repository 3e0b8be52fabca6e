"""Mattermost, as the contract's suite meets it."""

from announcer.contract import SECRET, Answer, Receipt, Row, Wire
from announcer.networks.mattermost import Mattermost


def _tells(wire: Wire) -> None:
    """Of itself, and that nothing of ours is up."""
    wire.always("GET", "/api/v4/config/client", 200, {})
    wire.always("GET", "/api/v4/users/me", 200, {"id": "u1", "username": "announcer"})
    wire.always("GET", "/api/v4/channels/4xp9fdt77pncbef59f4k1qe83o/posts", 200, {"posts": {}})


ROWS = [
    Row(
        Mattermost,
        {
            "url": "https://chat.test",
            "token": SECRET,
            "channel_id": "4xp9fdt77pncbef59f4k1qe83o",
        },
        answer={"id": "p7", "user_id": "u1", "message": "as sent"},
        receipt=Receipt("p7", "https://chat.test/_redirect/pl/p7"),
        prepare=_tells,
        gone=Answer(404, {"id": "app.post.get.app_error", "message": "Not found"}),
        uploads={"/api/v4/files": {"file_infos": [{"id": "301"}], "client_ids": []}},
    )
]
