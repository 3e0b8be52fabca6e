"""What follows a network's no, with the real networks on a stage: asked once too often is as bad as
once too seldom.
"""

from collections.abc import Callable
from typing import Any

import pytest

from announcer.contract import SECRET, Row
from announcer.contract.fake import Sent, Wire
from announcer.events import Kind
from announcer.network import Network, Repeat
from announcer.networks.discord import Discord
from announcer.networks.mastodon import Mastodon
from tests.fakes import Stage
from tests.impostor import OnStage, each_row

HOOK = f"/webhooks/11/{SECRET}"
UNKNOWN_WEBHOOK = {"message": "Unknown Webhook", "code": 10015}
UNKNOWN_MESSAGE = {"message": "Unknown Message", "code": 10008}
MESSAGE = {"id": "33", "channel_id": "22"}
STATUS = {"id": "7", "url": "https://mastodon.test/@kestrel/7"}


def later(stage: Stage, **time: float) -> None:
    stage.passes(**time)
    stage.run()


def discord() -> Discord:
    return Discord(webhook_url=f"https://discord.com/api{HOOK}")


def mastodon() -> Mastodon:
    return Mastodon(api_base_url="https://mastodon.test", access_token=SECRET)


def limit(wire: Wire, characters: int) -> None:
    statuses = {"max_characters": characters, "characters_reserved_per_url": 23}
    wire.always("GET", "/api/v2/instance", 200, {"configuration": {"statuses": statuses}})


def key_of(sent: Sent) -> str | bytes | None:
    return sent.request.headers.get("Idempotency-Key")


# E15


def nothing_is_up(wire: Wire) -> None:
    """Whoever looks, there or there, finds that it is not."""
    wire.always("GET", "/accounts/verify_credentials", 200, {"id": "1"})
    wire.always("GET", "/accounts/1/statuses", 200, [])
    wire.always("GET", "/2/users/me", 200, {"data": {"id": "1", "username": "kestrel"}})
    wire.always("GET", "/2/users/1/tweets", 200, {"meta": {"result_count": 0}})


@each_row
@pytest.mark.parametrize("status", [500, 502, 504])
def test_e15_after_an_error_of_the_server_its_class_decides(
    row: Row, wire: Wire, on_stage: OnStage, status: int
) -> None:
    row.prepare(wire)
    nothing_is_up(wire)
    wire.answers(status, {"error": "Reason"})
    wire.answers(200, row.answer)
    network = row.make()
    stage = on_stage(network)
    stage.hear()
    stage.run()
    for _ in range(3):
        later(stage, minutes=1)
    if network.repeat is Repeat.DOUBLES:
        assert stage.told(row.name)[0] == "unsure"
        assert len(wire.scripted) == 1, "a second post would be a second one"
        return
    assert stage.told(row.name) == ("settled", "")
    first, second = wire.scripted
    assert (key_of(first), first.body) == (key_of(second), second.body)


@each_row
def test_e15_a_server_that_says_it_is_busy_is_asked_again(
    row: Row, wire: Wire, on_stage: OnStage
) -> None:
    row.prepare(wire)
    wire.answers(503, {"error": "Reason"})
    wire.answers(200, row.answer)
    stage = on_stage(row.make())
    stage.hear()
    stage.run()
    later(stage, seconds=1)
    assert stage.told(row.name) == ("settled", "")
    assert len(wire.scripted) == 2


# E17


@each_row
def test_e17_a_right_that_is_missing_is_told_and_asked_for_once(
    row: Row, wire: Wire, on_stage: OnStage
) -> None:
    row.prepare(wire)
    said = "You do not have the right to post here"
    wire.answers(403, dict.fromkeys(("error", "message", "detail", "description"), said))
    stage = on_stage(row.make())
    stage.hear()
    stage.run()
    later(stage, minutes=5)
    state, reason = stage.told(row.name)
    assert state == "failed"
    assert "right to post" in reason
    assert len(wire.scripted) == 1


def test_e17_mastodon_names_the_scope(wire: Wire, on_stage: OnStage) -> None:
    limit(wire, 500)
    wire.answers(403, {"error": "This action is outside the authorized scopes"})
    stage = on_stage(mastodon())
    stage.hear()
    stage.run()
    assert "needs the scope write:statuses" in stage.told("mastodon")[1]


# E18


def is_up(on_stage: OnStage, wire: Wire) -> Stage:
    wire.always("GET", HOOK, 200, {"guild_id": "44", "channel_id": "22"})
    wire.answers(200, MESSAGE)
    stage = on_stage(discord())
    stage.hear(title="Drawers")
    stage.run()
    assert stage.told("discord") == ("settled", "")
    return stage


def evening_after(stage: Stage) -> None:
    """Titles, an end and another start, with a restart between them."""
    stage.hear(Kind.RETITLED, title="Glue-up")
    later(stage, minutes=5)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=20)
    stage.start_up({"discord": discord()})
    stage.run()
    later(stage, hours=8)
    stage.hear(title="Next day")
    later(stage, minutes=5)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, UNKNOWN_WEBHOOK), (401, {"message": "Invalid Webhook Token", "code": 50027})],
    ids=["deleted", "another token"],
)
def test_e18_a_webhook_that_is_gone_is_never_called_again(
    wire: Wire, on_stage: OnStage, status: int, body: dict[str, Any]
) -> None:
    """Whoever calls it 10,000 times is banned, and by address."""
    wire.always("GET", HOOK, status, body)
    stage = on_stage(discord())
    stage.hear(title="Drawers")
    stage.run()
    evening_after(stage)
    assert len(wire.sent) == 1
    assert stage.told("discord")[0] == "failed"
    assert "make a new webhook" in stage.told("discord")[1]
    assert SECRET not in stage.told("discord")[1]


def test_e18_one_that_is_deleted_during_a_stream_is_not_called_again_either(
    wire: Wire, on_stage: OnStage
) -> None:
    stage = is_up(on_stage, wire)
    wire.answers(404, UNKNOWN_WEBHOOK)
    sent = len(wire.sent)
    evening_after(stage)
    assert len(wire.sent) == sent + 1, "the edit that found out"


def test_e18_a_new_webhook_opens_it_again(wire: Wire, on_stage: OnStage) -> None:
    wire.always("GET", HOOK, 404, UNKNOWN_WEBHOOK)
    stage = on_stage(discord())
    stage.hear()
    stage.run()
    stage.passes(hours=8)
    stage.hear()
    other = f"/webhooks/12/{SECRET}"
    wire.always("GET", other, 200, {"guild_id": "44", "channel_id": "22"})
    wire.answers(200, MESSAGE)
    stage.start_up({"discord": Discord(webhook_url=f"https://discord.com/api{other}")})
    stage.run()
    assert stage.told("discord") == ("settled", "")
    assert len(wire.asked(HOOK)) == 1


# E19


def delete_by_hand(
    wire: Wire, on_stage: OnStage, network: Network, status: int, body: Any
) -> Stage:
    limit(wire, 500)
    wire.answers(200, MESSAGE if network.name == "discord" else STATUS)
    wire.always("GET", HOOK, 200, {"guild_id": "44", "channel_id": "22"})
    wire.always("GET", "/api/v1/statuses/7", status, body)
    wire.answers(status, body)
    stage = on_stage(network)
    stage.hear(title="Drawers")
    stage.run()
    return stage


@pytest.mark.parametrize(
    ("network", "status", "body"),
    [
        pytest.param(discord, 404, UNKNOWN_MESSAGE, id="discord"),
        pytest.param(mastodon, 404, {"error": "Record not found"}, id="mastodon, 404"),
        pytest.param(mastodon, 410, {"error": "Gone"}, id="mastodon, 410"),
    ],
)
@pytest.mark.parametrize("first", [Kind.RETITLED, Kind.STOPPED])
def test_e19_what_a_person_deleted_is_left_alone(
    wire: Wire,
    on_stage: OnStage,
    network: Callable[[], Network],
    status: int,
    body: Any,
    first: Kind,
) -> None:
    mine = network()
    stage = delete_by_hand(wire, on_stage, mine, status, body)
    stage.hear(first, title="Glue-up")
    later(stage, minutes=6)
    for kind in (Kind.RETITLED, Kind.STOPPED, Kind.STARTED):
        stage.hear(kind, title="Finish")
        later(stage, minutes=6)
    stage.start_up({mine.name: network()})
    stage.run()
    assert stage.told(mine.name) == ("gone", "a person deleted it, so it is left alone")
    methods = [sent.request.method for sent in wire.scripted]
    assert methods in (["POST", "PATCH"], ["POST", "PUT"]), "one edit, which found out"
    assert stage.box.closed() == {}


# E23


def test_e23_a_reply_that_is_refused_leaves_the_announcement_as_it_is(
    wire: Wire, on_stage: OnStage
) -> None:
    limit(wire, 500)
    wire.answers(200, STATUS)
    wire.answers(422, {"error": "Validation failed: you may not reply here"}, times=2)
    settings = {"api_base_url": "https://mastodon.test", "access_token": SECRET}
    stage = on_stage(Mastodon.model_validate({**settings, "when_ended": "reply"}))
    stage.hear(title="Drawers")
    stage.run()
    stage.hear(Kind.STOPPED)
    for _ in range(4):
        later(stage, minutes=6)
    assert stage.told("mastodon") == ("settled", "")
    _, told = stage.box.history(1)[0]
    ends = [post.entry for post in told if post.entry.moment == "ended"]
    assert [(end.state.value, "may not reply" in end.reason) for end in ends] == [("failed", True)]
    assert len(wire.scripted) == 2, "and no second announcement in its place"
