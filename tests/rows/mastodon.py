"""Mastodon, as the contract's suite meets it."""

from announcer.contract import DATE, SECRET, Answer, Receipt, Row, Wire
from announcer.networks.mastodon import Mastodon


def _is_mastodon(wire: Wire) -> None:
    wire.always("GET", "/api/v2/instance", 200, {})
    wire.always("GET", "/api/v1/statuses/7", 404, {"error": "Record not found"})


ROWS = [
    Row(
        Mastodon,
        {"api_base_url": "https://mastodon.test", "access_token": SECRET},
        answer={"id": "7", "url": "https://mastodon.test/@kestrel/7"},
        receipt=Receipt("7", "https://mastodon.test/@kestrel/7"),
        prepare=_is_mastodon,
        throttled=Answer(429, {}, {**DATE, "X-RateLimit-Reset": "2026-11-23T12:00:42.000000Z"}),
        uploads={"/api/v2/media": {"id": "301", "url": "https://mastodon.test/301.jpg"}},
    )
]
