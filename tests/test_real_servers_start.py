"""The real servers start, take a post from a plain HTTP client, and show it to a stranger."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
import requests

from tests.servers import NotInstalledError, answers
from tests.servers.fixtures import started
from tests.servers.pds import BlueskyAccount, Pds
from tests.servers.snac import FediverseAccount, Snac

SECONDS = 10.0
LINK = "https://live.example.test/"
POSTS = "app.bsky.feed.post"


@pytest.fixture
def owner(bluesky_account: BlueskyAccount) -> Iterator[requests.Session]:
    """Somebody who logged in with the app password."""
    login = requests.post(
        f"{bluesky_account.service}/xrpc/com.atproto.server.createSession",
        json={"identifier": bluesky_account.identifier, "password": bluesky_account.app_password},
        timeout=SECONDS,
    )
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {login.json()['accessJwt']}"
        yield session


def put(owner: requests.Session, account: BlueskyAccount, rkey: str, text: str) -> dict[str, str]:
    record = {"$type": POSTS, "text": text, "createdAt": datetime.now(UTC).isoformat()}
    answer = owner.post(
        f"{account.service}/xrpc/com.atproto.repo.putRecord",
        json={"repo": account.did, "collection": POSTS, "rkey": rkey, "record": record},
        timeout=SECONDS,
    )
    answer.raise_for_status()
    receipt: dict[str, str] = answer.json()
    return receipt


def test_bluesky_shows_what_was_posted_to_anyone_oldest_first(
    bluesky_account: BlueskyAccount, owner: requests.Session
) -> None:
    first = put(owner, bluesky_account, "3mgkaaaaaaa2a", "Kestrel Workshop is live")
    put(owner, bluesky_account, "3mgkaaaaaab2a", "Kestrel Workshop has ended")

    told = [post["text"] for post in bluesky_account.posts()]
    assert told == ["Kestrel Workshop is live", "Kestrel Workshop has ended"]
    found = bluesky_account.record(POSTS, "3mgkaaaaaaa2a")
    assert found is not None
    assert (found["uri"], found["cid"]) == (first["uri"], first["cid"])
    assert bluesky_account.record(POSTS, "3mgkaaaaaac2a") is None


def test_bluesky_gives_back_the_bytes_of_a_picture(
    bluesky_account: BlueskyAccount, owner: requests.Session
) -> None:
    picture = bytes(range(256))
    uploaded = owner.post(
        f"{bluesky_account.service}/xrpc/com.atproto.repo.uploadBlob",
        data=picture,
        headers={"Content-Type": "image/png"},
        timeout=SECONDS,
    ).json()["blob"]
    owner.post(
        f"{bluesky_account.service}/xrpc/com.atproto.repo.putRecord",
        json={
            "repo": bluesky_account.did,
            "collection": "app.bsky.actor.profile",
            "rkey": "self",
            "record": {"$type": "app.bsky.actor.profile", "avatar": uploaded},
        },
        timeout=SECONDS,
    ).raise_for_status()

    assert bluesky_account.blob(uploaded["ref"]["$link"]) == picture


def test_bluesky_accounts_share_nothing(pds: Pds, owner: requests.Session) -> None:
    assert pds.new_account().posts() == []


def test_the_fediverse_shows_what_was_posted_to_anyone_oldest_first(
    fediverse_account: FediverseAccount,
) -> None:
    for text in (f"Live: {LINK} #owncast", "Ended"):
        requests.post(
            f"{fediverse_account.server}/api/v1/statuses",
            data={"status": text, "visibility": "public"},
            headers={"Authorization": f"Bearer {fediverse_account.token}"},
            timeout=SECONDS,
        ).raise_for_status()

    live, ended = fediverse_account.posts()
    assert live.links == (LINK,)
    assert live.tags == ("owncast",)
    assert live.html.startswith("Live: ")
    assert ended.html.startswith("Ended")
    assert requests.get(live.url, timeout=SECONDS).status_code == 200


def test_the_fediverse_keeps_private_posts_to_itself(fediverse_account: FediverseAccount) -> None:
    answer = requests.post(
        f"{fediverse_account.server}/api/v1/statuses",
        data={"status": "for followers", "visibility": "private"},
        headers={"Authorization": f"Bearer {fediverse_account.token}"},
        timeout=SECONDS,
    )
    assert answer.json()["visibility"] == "private"
    assert fediverse_account.posts() == []


@pytest.mark.parametrize("start", [Pds, Snac], ids=["bluesky", "fediverse"])
def test_a_server_is_gone_once_it_was_stopped(
    start: Callable[[Path], Pds | Snac], tmp_path: Path
) -> None:
    server = started(start, tmp_path)
    port = int(server.url.rpartition(":")[2])
    assert answers(port)
    server.stop()
    assert not answers(port)


def absent(_: Path) -> NoReturn:
    raise NotInstalledError("the server is not installed")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CI", "true"), ("ANNOUNCER_REAL_SERVERS", "required")],
)
def test_a_missing_server_fails_where_tests_decide(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(pytest.fail.Exception, match="not installed: run tests/servers/install"):
        started(absent, tmp_path)


def test_a_missing_server_is_a_skip_with_its_remedy_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("ANNOUNCER_REAL_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not installed: run tests/servers/install"):
        started(absent, tmp_path)
