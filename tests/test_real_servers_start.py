"""The real servers start, take a post from a plain HTTP client, and show it to a stranger."""

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, Protocol

import pytest
import requests
from playwright.sync_api import Browser, Page

from tests.rogue import OK, Authority, Serve
from tests.servers import NotInstalledError, answers
from tests.servers.chromium import Chromium
from tests.servers.fixtures import started
from tests.servers.mosquitto import Mosquitto
from tests.servers.ngircd import Ngircd
from tests.servers.nostr import NostrRelay
from tests.servers.ntfy import Ntfy, NtfyTopic
from tests.servers.pds import BlueskyAccount, Pds
from tests.servers.prosody import Prosody
from tests.servers.smtp import MailServer
from tests.servers.snac import FediverseAccount, Snac
from tests.servers.synapse import MatrixRoom, Synapse

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


def in_matrix(
    room: MatrixRoom, method: str, path: str, body: object, token: str = ""
) -> requests.Response:
    return requests.request(
        method,
        f"{room.homeserver}/_matrix/{path}",
        data=body if isinstance(body, bytes) else json.dumps(body),
        headers={"Authorization": f"Bearer {token or room.token}"},
        timeout=SECONDS,
    )


def said(room: MatrixRoom, text: str, **more: object) -> str:
    """The id of a message that its user sent."""
    path = f"client/v3/rooms/{room.id}/send/m.room.message/{secrets.token_hex(4)}"
    body = {"msgtype": "m.text", "body": text, **more}
    event: str = in_matrix(room, "PUT", path, body).json()["event_id"]
    return event


def test_a_matrix_room_shows_a_member_edits_and_no_redacted_message(
    matrix_room: MatrixRoom,
) -> None:
    room = matrix_room
    first = said(room, "Live", format="org.matrix.custom.html", formatted_body="<b>Live</b>")
    second = said(room, "a slip")
    edit = {"rel_type": "m.replace", "event_id": first}
    said(room, "* Ended", **{"m.new_content": {"body": "Ended"}, "m.relates_to": edit})
    in_matrix(room, "PUT", f"client/v3/rooms/{room.id}/redact/{second}/1", {}).raise_for_status()

    [message] = room.messages()
    assert (message.id, message.sender, message.body) == (first, room.user, "Ended")
    assert message.edited


def test_matrix_gives_back_the_bytes_of_a_picture(matrix_room: MatrixRoom) -> None:
    picture = bytes(range(256))
    uploaded = in_matrix(matrix_room, "POST", "media/v3/upload", picture).json()
    assert matrix_room.media(uploaded["content_uri"]) == picture


def test_a_matrix_room_may_be_encrypted_or_closed_to_its_user(synapse: Synapse) -> None:
    encrypted = synapse.new_room(encrypted=True)
    state = f"client/v3/rooms/{encrypted.id}/state/m.room.encryption"
    assert in_matrix(encrypted, "GET", state, b"").json()["algorithm"]
    outside = synapse.new_room(member=False)
    send = f"client/v3/rooms/{outside.id}/send/m.room.message/1"
    assert in_matrix(outside, "PUT", send, {"body": "Live"}).status_code == 403


def test_matrix_limits_a_user_who_is_to_be_limited(synapse: Synapse) -> None:
    limited, free = synapse.new_room(), synapse.new_room()
    synapse.allow(limited.user, per_second=1, at_once=1)
    path = "client/v3/rooms/{}/send/m.room.message/{}"
    live = {"msgtype": "m.text", "body": "Live"}
    statuses = [
        in_matrix(room, "PUT", path.format(room.id, n), live).status_code
        for room in (limited, free)
        for n in range(4)
    ]
    assert 429 in statuses[:4]
    assert set(statuses[4:]) == {200}


def to_ntfy(topic: NtfyTopic, token: str, **message: str) -> requests.Response:
    return requests.post(
        topic.server,
        json={"topic": topic.topic, **message},
        headers={"Authorization": f"Bearer {token}"},
        timeout=SECONDS,
    )


def test_an_ntfy_topic_shows_a_reader_its_messages_as_they_are_now(ntfy_topic: NtfyTopic) -> None:
    first = to_ntfy(ntfy_topic, ntfy_topic.token, title="Live").json()
    slip = to_ntfy(ntfy_topic, ntfy_topic.write_only_token, title="a slip").json()
    to_ntfy(ntfy_topic, ntfy_topic.token, title="Ended", sequence_id=first["id"])
    requests.delete(
        f"{ntfy_topic.server}/{ntfy_topic.topic}/{slip['id']}",
        auth=(ntfy_topic.user, ntfy_topic.password),
        timeout=SECONDS,
    ).raise_for_status()

    assert [message["title"] for message in ntfy_topic.messages()] == ["Ended"]


def test_ntfy_gives_back_the_bytes_of_a_picture(ntfy_topic: NtfyTopic) -> None:
    picture = bytes(range(256))
    sent = requests.put(
        f"{ntfy_topic.server}/{ntfy_topic.topic}",
        data=picture,
        headers={"Authorization": f"Bearer {ntfy_topic.token}", "Filename": "live.png"},
        timeout=SECONDS,
    ).json()
    assert ntfy_topic.attachment(sent) == picture


def test_ntfy_keeps_rights_apart(ntfy_topic: NtfyTopic) -> None:
    tried = [
        to_ntfy(ntfy_topic, token, title="Live").status_code
        for token in (ntfy_topic.write_only_token, ntfy_topic.reader_token, "tk_none")
    ]
    assert tried == [200, 403, 401]


def test_ntfy_limits_whom_it_is_to_limit(tmp_path: Path) -> None:
    server = started(lambda folder: Ntfy(folder, requests_at_once=2), tmp_path)
    topic = server.new_topic()
    statuses = [to_ntfy(topic, topic.token, title="Live").status_code for _ in range(3)]
    server.stop()
    assert statuses[-1] == 429


def test_a_browser_shows_a_page_and_what_became_of_it(serve: Serve, page: Page) -> None:
    html = b"<!doctype html><button onclick=\"document.title='pressed'\">Subscribe</button>"
    kind = b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(html)
    page.goto(serve(OK + kind + html, aside=no_icon).origin)
    page.get_by_role("button", name="Subscribe").click()
    assert page.title() == "pressed"
    assert page.screenshot().startswith(b"\x89PNG")


def no_icon(_: str, path: str) -> bytes | None:
    return b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n" if "icon" in path else None


def test_a_browser_knows_nothing_of_the_test_before(browser: Browser) -> None:
    pages = [browser.new_context().new_page() for _ in range(2)]
    assert [page.url for page in pages] == ["about:blank"] * 2
    assert len(browser.contexts) == 3


def mail_server(folder: Path) -> MailServer:
    return MailServer(Authority(folder))


class Server(Protocol):
    url: str

    def stop(self) -> None: ...


@pytest.mark.parametrize(
    "start",
    [Pds, Snac, Synapse, Ntfy, Mosquitto, Ngircd, Prosody, NostrRelay, mail_server, Chromium],
    ids=[
        "bluesky",
        "fediverse",
        "matrix",
        "ntfy",
        "mqtt",
        "irc",
        "xmpp",
        "nostr",
        "mail",
        "browser",
    ],
)
def test_a_server_is_gone_once_it_was_stopped(
    start: Callable[[Path], Server], tmp_path: Path
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
