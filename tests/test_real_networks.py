"""Real input to real networks: every generation of webhook, read back as the audience sees it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import Service, payload
from tests.servers.pds import BlueskyAccount
from tests.servers.snac import FediverseAccount

STREAM = "https://live.kestrel.example"
TITLE = "Fitting a dovetail drawer"
GENERATIONS = ["0.0.6", "0.0.7", "0.0.9", "0.1", "0.2", "0.3"]


@pytest.fixture
def settings(
    bluesky_account: BlueskyAccount, fediverse_account: FediverseAccount
) -> dict[str, str]:
    return {
        "BLUESKY_SERVICE": bluesky_account.service,
        "BLUESKY_IDENTIFIER": bluesky_account.identifier,
        "BLUESKY_APP_PASSWORD": bluesky_account.app_password,
        "MASTODON_API_BASE_URL": fediverse_account.server,
        "MASTODON_ACCESS_TOKEN": fediverse_account.token,
        "ANNOUNCER_HOLD": "1s",
        # The address of the stream is shown, and asked for its status; nobody answers there.
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
    }


@pytest.fixture
def service(tmp_path: Path, settings: dict[str, str]) -> Iterator[Service]:
    running = Service(tmp_path, settings)
    yield running
    running.stop()


def started(generation: str) -> bytes:
    return payload(f"{generation}-stream-started")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_start_of_every_generation_is_told_once_on_a_real_network(
    generation: str,
    service: Service,
    bluesky_account: BlueskyAccount,
    fediverse_account: FediverseAccount,
) -> None:
    assert service.hear(started(generation)) == 204
    assert service.hear(started(generation)) == 204, "a repeat is no error"
    service.until(
        lambda: bluesky_account.posts() and fediverse_account.posts(), "nothing was posted"
    )
    [bluesky] = bluesky_account.posts()
    [fediverse] = fediverse_account.posts()
    assert STREAM in bluesky["text"]
    assert STREAM in fediverse.links
    if generation != "0.0.6":  # which tells nothing but that it happened
        assert TITLE in bluesky["text"]
        assert TITLE in fediverse.html


def test_link_and_card_stand_where_bluesky_reads_them(
    service: Service, bluesky_account: BlueskyAccount
) -> None:
    service.hear(started("0.3"))
    service.until(bluesky_account.posts, "nothing was posted")
    [post] = bluesky_account.posts()
    raw = post["text"].encode()
    linked = {
        raw[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode(): feature["uri"]
        for facet in post["facets"]
        for feature in facet["features"]
        if feature["$type"] == "app.bsky.richtext.facet#link"
    }
    assert linked == {STREAM: STREAM}
    card = post["embed"]["external"]
    assert (card["uri"], card["title"]) == (STREAM, TITLE)


def test_a_restart_within_the_hold_leaves_one_post_on_each(
    tmp_path: Path,
    settings: dict[str, str],
    bluesky_account: BlueskyAccount,
    fediverse_account: FediverseAccount,
) -> None:
    first = Service(tmp_path, settings)
    assert first.hear(started("0.3")) == 204
    first.kill()
    second = Service(tmp_path, settings)
    second.until(
        lambda: bluesky_account.posts() and fediverse_account.posts(), "nothing was posted"
    )
    assert second.hear(started("0.3")) == 204
    keys = second.posts()
    second.stop()
    assert {row["state"] for row in keys.values()} == {"settled"}
    assert len(bluesky_account.posts()) == len(fediverse_account.posts()) == 1


def test_f01_a_hostile_title_pings_nobody(
    service: Service, bluesky_account: BlueskyAccount, fediverse_account: FediverseAccount
) -> None:
    start = json.loads(started("0.3"))
    start["eventData"]["streamTitle"] = "@golive and {{7*7}} <script> #woodwork @everyone"
    service.hear(json.dumps(start).encode())
    service.until(
        lambda: bluesky_account.posts() and fediverse_account.posts(), "nothing was posted"
    )
    [bluesky] = bluesky_account.posts()
    [fediverse] = fediverse_account.posts()
    assert "{{7*7}}" in bluesky["text"]
    kinds = {f["$type"] for facet in bluesky["facets"] for f in facet["features"]}
    assert kinds == {"app.bsky.richtext.facet#link", "app.bsky.richtext.facet#tag"}
    assert fediverse.raw["mentions"] == []
    assert fediverse.tags == ("woodwork",)
