"""A post with a picture, from the choice of it to what the audience of each network sees."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
from PIL import Image
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from announcer.contract.fake import Sent, Wire
from announcer.events import Kind
from announcer.network import (
    Card,
    ForgetfulMemory,
    Moment,
    Network,
    Picture,
    Post,
    Receipt,
    Removes,
    Revises,
    TryLater,
    Unsure,
)
from announcer.networks import mastodon
from announcer.networks.bluesky import Bluesky
from announcer.networks.discord import Discord
from announcer.networks.mastodon import Mastodon
from announcer.networks.x import X
from announcer.pictures import Shot
from announcer.policy import Sight
from announcer.watch import About
from tests.fakes import Camera, Fake, Harmless, Lookout, Stage
from tests.running import Service, payload
from tests.servers.pds import BlueskyAccount
from tests.servers.snac import FediverseAccount


def jpeg(colour: str) -> Picture:
    file = BytesIO()
    Image.new("RGB", (64, 36), colour).save(file, "JPEG")
    return Picture(file.getvalue(), 64, 36)


FIRST, SECOND = jpeg("red"), jpeg("green")
ALT = "A dovetail drawer on the bench"
POST = Post(
    key="b1/live/mastodon",
    moment=Moment.LIVE,
    mood=Moment.LIVE,
    text="Kestrel is live: Drawers https://live.example.org",
    began_at=datetime(2026, 11, 23, 19, 15, tzinfo=UTC),
    worded_at=datetime(2026, 11, 23, 19, 16, tzinfo=UTC),
    wire_key="b1/live/mastodon#0",
    card=Card("https://live.example.org", "Drawers", "", "Kestrel"),
    picture=replace(FIRST, alt=ALT),
)


# Which picture, and that it stays the same


class Editable(Harmless, Revises, Removes):
    """*edits* holds what it was changed to."""

    ends_by = "edit"

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        self.sent.append(post)
        return receipt

    def remove(self, receipt: Receipt) -> None: ...


class Wordy(Fake):
    """Like Owncast's chat."""

    shows_pictures = False


Act = Callable[..., Stage]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    stages: list[Stage] = []

    def act(network: Network, *shots: Shot | None, **settings: Any) -> Stage:
        camera = Camera(*shots)
        stage = Stage(tmp_path / "announcer.db", {"fake": network}, pictures=camera, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def asked(stage: Stage) -> list[bool]:
    assert isinstance(stage.pictures, Camera)
    return stage.pictures.asked


OF_STREAM, OF_LOGO = Shot(FIRST, of_stream=True), Shot(SECOND, of_stream=False)


def test_the_stream_is_shown_and_described_in_the_operators_words(act: Act) -> None:
    network = Fake()
    stage = act(network, OF_STREAM, hold=timedelta(seconds=30))
    stage.hear(title="Drawers")
    stage.passes(seconds=30)
    stage.run()
    alt = "A moment of the live stream of Kestrel, titled “Drawers”."
    assert network.sent[0].picture == replace(FIRST, alt=alt)
    assert asked(stage) == [True]


def test_in_its_first_seconds_owncast_still_shows_the_last_stream_so_the_logo_is_shown(
    act: Act,
) -> None:
    network = Fake()
    stage = act(network, OF_LOGO)
    stage.hear(title="Drawers")
    stage.passes(seconds=21)
    stage.run()
    assert asked(stage) == [False]
    assert network.sent[0].picture == replace(SECOND, alt="Kestrel")


def test_a_reconnect_starts_these_seconds_anew(act: Act) -> None:
    network = Fake()
    network.then(TryLater("503"))
    stage = act(network, OF_LOGO)
    stage.hear()
    stage.run()
    stage.passes(seconds=20)
    stage.hear(Kind.STOPPED)
    stage.passes(seconds=10)
    stage.hear()
    stage.run()
    assert len(network.visible) == 1
    assert asked(stage) == [False, False]


def test_what_is_not_for_all_eyes_is_not_shown(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lookout, "about", lambda *_, **__: About(nsfw=True))
    stage = act(Fake(), OF_LOGO, watch=Lookout(Sight.ONLINE), hold=timedelta(seconds=30))
    stage.hear()
    stage.passes(seconds=30)
    stage.run()
    assert asked(stage) == [False]


def test_without_a_picture_the_words_go_alone(act: Act) -> None:
    network = Fake()
    stage = act(network, None)
    stage.hear()
    stage.run()
    assert [post.picture for post in network.visible] == [None]
    assert stage.told() == ("settled", "")


def test_where_none_can_be_shown_none_is_asked_for(act: Act) -> None:
    stage = act(Wordy(), OF_STREAM)
    stage.hear()
    stage.run()
    assert asked(stage) == []


def test_what_may_be_up_is_repeated_with_the_same_picture_even_by_the_next_process(
    act: Act,
) -> None:
    network = Harmless()
    network.then(Unsure("no answer in time"))
    stage = act(network, OF_STREAM, OF_LOGO)
    stage.hear(title="Drawers")
    stage.run()
    stage.start_up({"fake": network})
    stage.passes(seconds=30)
    stage.run()
    first, second = network.sent
    assert first.picture == second.picture == replace(FIRST, alt=first.picture.alt)  # type: ignore[union-attr]
    assert len(asked(stage)) == 1


def test_what_is_surely_not_up_goes_with_the_picture_of_the_moment(act: Act) -> None:
    network = Harmless()
    network.then(TryLater("503"))
    stage = act(network, OF_STREAM, OF_LOGO)
    stage.hear()
    stage.run()
    stage.passes(seconds=30)
    stage.run()
    assert [post.picture and post.picture.data for post in network.sent] == [
        FIRST.data,
        SECOND.data,
    ]


def test_each_picture_is_stored_once(act: Act) -> None:
    networks = {name: Fake() for name in ("one", "two", "three")}
    stage = act(Fake(), OF_STREAM)
    stage.start_up(networks)
    stage.hear()
    stage.run()
    with stage.box.reading() as connection:
        rows = connection.exec_driver_sql("SELECT digest, data, width, height FROM pictures").all()
    assert rows == [(FIRST.digest, FIRST.data, 64, 36)]
    assert stage.box.picture(FIRST.digest) == FIRST
    assert stage.box.picture("unheard of") is None


def test_an_edit_brings_no_picture_and_the_next_one_still_knows_of_it(act: Act) -> None:
    network = Editable()
    stage = act(network, OF_STREAM)
    stage.hear(title="Drawers")
    stage.run()
    for title in ("Dovetails", "Glue"):
        stage.hear(Kind.RETITLED, title=title)
        stage.passes(seconds=10)
        stage.run()
    published, *edits = network.sent
    assert published.picture
    assert [post.picture for post in edits] == [None, None]
    assert len(asked(stage)) == 1
    content = json.loads(stage.post().content or "")
    assert (content["picture"], content["alt"]) == (FIRST.digest, published.picture.alt)


def test_why_it_went_without_is_in_the_history(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Fake()
    note = "without its picture: 403 first password may not"
    monkeypatch.setattr(Fake, "receipt", lambda *_: Receipt("7", note=note))
    stage = act(network, OF_STREAM)
    stage.hear()
    stage.run()
    [tried] = stage.post().tries
    assert (tried.outcome, tried.reason) == (
        "delivered",
        "without its picture: 403 *** may not",
    )


# Mastodon


def mastodon_account() -> Mastodon:
    return Mastodon(api_base_url="https://mastodon.test", access_token="hush")


MEDIA = [{"id": "301", "type": "image"}]


def test_mastodon_gets_the_description_with_the_file(wire: Wire) -> None:
    wire.always("POST", "/api/v2/media", 200, {"id": "301", "url": "https://mastodon.test/1.jpg"})
    wire.answers(200, {"id": "7", "media_attachments": MEDIA})
    receipt = mastodon_account().publish(POST)
    [upload] = wire.asked("/api/v2/media")
    assert ALT.encode() in upload.body
    assert b"image/jpeg" in upload.body
    assert wire.scripted[0].json["media_ids"] == ["301"]
    assert receipt == Receipt("7", "", {"media": "301"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mastodon, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(mastodon, "UPLOAD", 0.2)


def test_a_picture_that_mastodon_works_on_is_waited_for(wire: Wire, impatient: None) -> None:
    wire.always("POST", "/api/v2/media", 202, {"id": "301", "url": None})
    wire.answers(206, {"id": "301", "url": None}, times=2)
    wire.answers(200, {"id": "301", "url": "https://mastodon.test/1.jpg"})
    wire.answers(200, {"id": "7"})
    receipt = mastodon_account().publish(POST)
    assert not receipt.note
    assert wire.scripted[-1].json["media_ids"] == ["301"]


def test_e24_a_picture_that_mastodon_never_finishes_is_left_out(
    wire: Wire, impatient: None
) -> None:
    wire.always("POST", "/api/v2/media", 202, {"id": "301", "url": None})
    wire.always("GET", "/api/v1/media/301", 206, {"id": "301", "url": None})
    wire.answers(200, {"id": "7"})
    receipt = mastodon_account().publish(POST)
    assert receipt.note == "without its picture: 206: the server still works on the picture"
    assert "media_ids" not in wire.scripted[-1].json


def test_an_edit_names_the_picture_or_mastodon_would_take_it_away(wire: Wire) -> None:
    wire.answers(200, {"id": "7", "media_attachments": MEDIA})
    shown = Receipt("7", "", {"media": "301"})
    assert mastodon_account().revise(shown, replace(POST, picture=None)) == shown
    assert wire.scripted[0].json["media_ids"] == ["301"]


def test_a_post_that_is_found_is_edited_with_its_picture(wire: Wire) -> None:
    status = {"id": "7", "content": POST.text, "created_at": POST.worded_at.isoformat()}
    wire.always("GET", "verify_credentials", 200, {"id": "1"})
    wire.answers(200, [status | {"media_attachments": MEDIA}])
    assert mastodon_account().find(POST) == Receipt("7", "", {"media": "301"})


def test_a_server_that_does_not_tell_of_pictures_loses_none(wire: Wire) -> None:
    wire.answers(200, {"id": "7"})
    shown = Receipt("7", "", {"media": "301"})
    assert mastodon_account().revise(shown, POST) == shown


def test_pleroma_keeps_refusals_by_key_so_the_post_alone_has_its_own(wire: Wire) -> None:
    wire.always("POST", "/api/v2/media", 200, {"id": "301"})
    wire.always("GET", "/api/v2/instance", 200, {})
    wire.answers(422, {"error": "bad media"})
    wire.answers(200, {"id": "7"})
    mastodon_account().publish(POST)
    refused, alone = (sent.request.headers["Idempotency-Key"] for sent in wire.scripted)
    assert refused != alone


# X


def x_account() -> X:
    return X(
        consumer_key="k",
        consumer_secret="s",
        access_token="t",
        access_token_secret="u",
    )


def test_x_gets_the_picture_its_description_and_the_post_in_this_order(wire: Wire) -> None:
    wire.answers(200, {"data": {"id": "301"}})
    wire.answers(200, {"data": {"id": "301"}})
    wire.answers(201, {"data": {"id": "7"}})
    x_account().publish(POST)
    upload, alt, tweet = (sent.json for sent in wire.sent)
    assert base64.b64decode(upload["media"]) == FIRST.data
    assert upload["media_category"] == "tweet_image"
    assert alt == {"id": "301", "metadata": {"alt_text": {"text": ALT}}}
    assert tweet == {"text": POST.text, "media": {"media_ids": ["301"]}}
    assert all("oauth_signature" in str(s.request.headers["Authorization"]) for s in wire.sent)


@pytest.mark.parametrize(
    "entities",
    [
        pytest.param(
            [
                {"url": "https://t.co/a", "expanded_url": "https://live.example.org"},
                {
                    "url": "https://t.co/b",
                    "expanded_url": "https://x.com/kestrel/status/7/photo/1",
                    "media_key": "3_301",
                },
            ],
            id="told",
        ),
        pytest.param(
            [{"url": "https://t.co/a", "expanded_url": "https://live.example.org"}], id="not told"
        ),
    ],
)
def test_the_link_that_x_adds_for_a_picture_does_not_hide_the_post(
    wire: Wire, entities: list[dict[str, str]]
) -> None:
    tweet = {
        "id": "7",
        "text": "Kestrel is live: Drawers https://t.co/a https://t.co/b",
        "created_at": POST.worded_at.isoformat(),
        "entities": {"urls": entities},
    }
    wire.answers(200, {"data": {"id": "1", "username": "kestrel"}})
    wire.answers(200, {"data": [tweet]})
    found = x_account().find(POST)
    assert found
    assert found.id == "7"


# Discord


def discord_account() -> Discord:
    return Discord(webhook_url="https://discord.com/api/webhooks/11/hush")


def parts(sent: Sent) -> dict[str, bytes]:
    """The parts of a multipart body by name."""
    head = f"Content-Type: {sent.request.headers['Content-Type']}\r\n\r\n"
    message = message_from_bytes(head.encode() + sent.body)
    found: dict[str, bytes] = {}
    for part in message.walk():
        body = part.get_payload(decode=True)
        if isinstance(body, bytes):
            found[str(part.get_param("name", header="Content-Disposition"))] = body
    return found


def test_discord_gets_everything_in_one_message(wire: Wire) -> None:
    wire.always("GET", "/webhooks/11/hush", 200, {"guild_id": "44"})
    wire.answers(200, {"id": "33", "channel_id": "22", "attachments": []})
    receipt = discord_account().publish(POST)
    sent = parts(wire.scripted[0])
    assert sent["files[0]"] == FIRST.data
    body = json.loads(sent["payload_json"])
    assert body["attachments"] == [{"id": 0, "filename": "stream.jpg", "description": ALT}]
    assert body["embeds"][0]["image"] == {"url": "attachment://stream.jpg"}
    assert body["allowed_mentions"] == {"parse": []}
    assert receipt.extra == {"picture": "stream.jpg"}


def test_an_edit_on_discord_keeps_the_picture_in_its_card(wire: Wire) -> None:
    wire.answers(200, {"id": "33"})
    shown = Receipt("33", "", {"picture": "stream.jpg"})
    assert discord_account().revise(shown, replace(POST, picture=None)) == shown
    body = wire.scripted[0].json
    assert body["embeds"][0]["image"] == {"url": "attachment://stream.jpg"}
    assert "attachments" not in body


def test_an_edit_on_discord_shows_no_picture_that_is_not_there(wire: Wire) -> None:
    wire.answers(200, {"id": "33"})
    discord_account().revise(Receipt("33"), replace(POST, picture=None))
    assert "image" not in wire.scripted[0].json["embeds"][0]


# What audiences of real servers see


@pytest.fixture
def bluesky(bluesky_account: BlueskyAccount) -> Bluesky:
    return Bluesky(
        service=bluesky_account.service,
        identifier=bluesky_account.identifier,
        app_password=bluesky_account.app_password,
    )


def thumb(account: BlueskyAccount) -> bytes:
    [post] = account.posts()
    return account.blob(post["embed"]["external"]["thumb"]["ref"]["$link"])


def test_bluesky_shows_the_picture_in_the_card(
    bluesky: Bluesky, bluesky_account: BlueskyAccount
) -> None:
    assert not bluesky.publish(POST).note
    assert thumb(bluesky_account) == FIRST.data


def test_a_repeat_on_bluesky_is_the_same_record(
    bluesky: Bluesky, bluesky_account: BlueskyAccount
) -> None:
    first = bluesky.publish(POST)
    assert bluesky.publish(POST) == first
    assert len(bluesky_account.posts()) == 1


def reference(picture: Picture) -> str:
    """What Bluesky calls these bytes, whether it has them or not: their hash as a CID."""
    cid = b"\x01\x55\x12\x20" + bytes.fromhex(picture.digest)
    link = "b" + base64.b32encode(cid).decode().lower().rstrip("=")
    size = len(picture.data)
    return json.dumps(
        {"$type": "blob", "ref": {"$link": link}, "mimeType": picture.mime, "size": size}
    )


def test_a_picture_that_bluesky_threw_away_is_uploaded_again(
    bluesky: Bluesky, bluesky_account: BlueskyAccount
) -> None:
    memory = ForgetfulMemory()
    memory.put("pictures", json.dumps({POST.wire_key: reference(FIRST)}))
    bluesky.remember_in(memory)
    assert not bluesky.publish(POST).note
    assert thumb(bluesky_account) == FIRST.data
    [post] = bluesky_account.posts()
    assert post["text"] == POST.text


def test_a_picture_that_bluesky_can_not_find_even_then_is_left_out(
    bluesky: Bluesky, bluesky_account: BlueskyAccount
) -> None:
    memory = ForgetfulMemory()
    memory.put("pictures", json.dumps({POST.wire_key: reference(SECOND)}))
    bluesky.remember_in(memory)
    assert "BlobNotFound" in bluesky.publish(POST).note
    [post] = bluesky_account.posts()
    assert post["text"] == POST.text
    assert "thumb" not in post["embed"]["external"]


def test_a_picture_that_bluesky_finds_too_big_costs_the_picture_only(
    bluesky: Bluesky, bluesky_account: BlueskyAccount
) -> None:
    huge = Picture(FIRST.data + bytes(1_000_000), 64, 36)
    receipt = bluesky.publish(replace(POST, picture=huge))
    assert receipt.note.startswith("without its picture: 400")
    [post] = bluesky_account.posts()
    assert "thumb" not in post["embed"]["external"]


def test_a_fediverse_server_shows_the_picture_with_its_description(
    fediverse_account: FediverseAccount,
) -> None:
    network = Mastodon(
        api_base_url=fediverse_account.server,
        access_token=fediverse_account.token,
    )
    receipt = network.publish(POST)
    assert not receipt.note
    [status] = fediverse_account.posts()
    [shown] = status.raw["media_attachments"]
    assert shown["description"] == ALT
    assert requests.get(shown["url"], timeout=10).content == FIRST.data
    assert network.find(POST) is not None, "the picture does not hide the text"
    network.revise(receipt, replace(POST, picture=None, text="It is over"))
    [status] = fediverse_account.posts()
    assert "It is over" in status.html
    assert [one["description"] for one in status.raw["media_attachments"]] == [ALT]


@pytest.fixture
def owncast() -> Iterator[str]:
    """The address of a server that shows nothing but its logo."""

    def answer(request: Request) -> Response:
        logo = request.path == "/logo/external"
        return Response(FIRST.data, mimetype="image/jpeg") if logo else Response("", 404)

    server = make_server("127.0.0.1", 0, Request.application(answer), threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_service_shows_the_logo_of_its_owncast_everywhere(
    tmp_path: Path,
    owncast: str,
    bluesky_account: BlueskyAccount,
    fediverse_account: FediverseAccount,
) -> None:
    service = Service(
        tmp_path,
        {
            "BLUESKY_SERVICE": bluesky_account.service,
            "BLUESKY_IDENTIFIER": bluesky_account.identifier,
            "BLUESKY_APP_PASSWORD": bluesky_account.app_password,
            "MASTODON_API_BASE_URL": fediverse_account.server,
            "MASTODON_ACCESS_TOKEN": fediverse_account.token,
            "ANNOUNCER_HOLD": "1s",
            "OWNCAST_URL": owncast,
        },
    )
    try:
        service.hear(payload("0.3-stream-started"))
        service.until(
            lambda: bluesky_account.posts() and fediverse_account.posts(), "nothing was posted"
        )
    finally:
        service.stop()
    with Image.open(BytesIO(thumb(bluesky_account))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (64, 36))
    [status] = fediverse_account.posts()
    [attached] = status.raw["media_attachments"]
    assert attached["description"] == "Kestrel Workshop"
    assert requests.get(attached["url"], timeout=10).content == thumb(bluesky_account)
