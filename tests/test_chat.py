"""What is said in chat: after the posts and with their links, again and again, and when asked."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from announcer import wiring
from announcer.answers import SELDOM, Answers
from announcer.content import Channel, Composer
from announcer.contract.fake import Wire
from announcer.events import Kind
from announcer.network import Moment, Network, Post, Receipt, Refused, TryLater, Unsure
from announcer.networks.owncast import NOBODY, Owncast
from announcer.outbox import Shown
from announcer.policy import Sight
from announcer.quiet import Quiet
from announcer.wording import Templates
from tests.fakes import NOW, Fake, Lookout, Stage, Turn, wait_until
from tests.house import MUSIC_SECRET, ONE, house

Act = Callable[..., Stage]
QUARTER = timedelta(minutes=15)
ASKED = json.dumps({"type": "CHAT", "eventData": {"rawBody": "!posts", "body": "<p>!posts</p>"}})


class Chat(Fake):
    """Like Owncast's chat."""

    name = "owncast"
    told_last: ClassVar[bool] = True

    every: timedelta | None = None
    question: str = ""

    @property
    def repeats_every(self) -> timedelta | None:
        return self.every

    @property
    def answers_to(self) -> str:
        return self.question


class Mastodon(Fake):
    title = "Mastodon"

    def receipt(self, post: Post) -> Receipt:  # noqa: ARG002  # its number is enough
        return Receipt("7", f"https://social.example/@kestrel/{len(self.visible)}")


class Bluesky(Mastodon):
    title = "Bluesky"


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """Makes the stage; destinations are called like their classes."""
    stages: list[Stage] = []

    def act(*networks: Network, **settings: Any) -> Stage:
        told = {type(network).__name__.lower(): network for network in networks}
        stage = Stage(tmp_path / "announcer.db", told, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def runs(stage: Stage, **time: float) -> None:
    """*time* passes and everything that becomes due in it is done when it is due."""
    end = stage.now + timedelta(**time)
    _finishes(stage)
    while (due := stage.box.next_due()) is not None and due <= end:
        stage.now = max(stage.now, due)
        _finishes(stage)
    stage.now = end


def _finishes(stage: Stage) -> None:
    """Like `run`, with what belongs to the broadcast before."""
    stage.run()
    wait_until(
        lambda: all(
            post.entry.state != "sending" for _, told in stage.box.history(2) for post in told
        )
    )


def texts(network: Fake) -> list[str]:
    return [post.text for post in network.visible]


def rounds(stage: Stage) -> Shown:
    (again,) = [
        post for _, told in stage.box.history(1) for post in told if post.entry.moment == "again"
    ]
    return again


# After the posts


def test_chat_is_told_once_the_posts_are_up_and_links_them(act: Act) -> None:
    chat = Chat()
    stage = act(chat, Mastodon(), Bluesky())
    stage.hear()
    runs(stage, seconds=3)
    (text,) = texts(chat)
    assert text.splitlines()[2:] == [
        "Bluesky: https://social.example/@kestrel/1",
        "",
        "Mastodon: https://social.example/@kestrel/1",
    ]


def test_waiting_for_the_posts_is_no_try(act: Act) -> None:
    stage = act(Chat(), late := Mastodon())
    late.then(TryLater("503"))
    stage.hear()
    stage.run()
    entry = stage.post("chat").entry
    assert (entry.state, entry.tries, entry.reason) == ("due", 0, "waits until the posts are up")
    assert stage.post("chat").tries == []


def test_it_waits_a_minute_and_no_longer_for_a_network_that_is_down(act: Act) -> None:
    chat, down = Chat(), Mastodon()
    down.then(*[TryLater("503", timedelta(minutes=10))] * 3)
    stage = act(chat, down, Bluesky())
    stage.hear()
    runs(stage, seconds=59)
    assert texts(chat) == []
    runs(stage, seconds=2)
    (text,) = texts(chat)
    assert "Bluesky" in text
    assert "Mastodon" not in text


def test_after_quiet_hours_it_waits_for_the_posts_as_well(act: Act) -> None:
    """They all become due in the same second, long after the start."""
    chat, slow = Chat(), Mastodon()
    slow.then(TryLater("503", timedelta(seconds=20)))
    stage = act(chat, slow)
    stage.intake = type(stage.intake)(
        stage.box,
        stage.rules,
        lambda _: list(stage.networks),
        stage.intake.manners,
        lambda _: None,
        Quiet.model_validate({"quiet_hours": "18:00-19:10"}),
    )
    stage.hear()
    runs(stage, minutes=10, seconds=15)
    assert texts(chat) == []
    runs(stage, seconds=10)
    assert "Mastodon: https://" in texts(chat)[0]


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(Turn(Refused("422")), id="refused"),
        pytest.param(Turn(Unsure("504"), shows=True), id="may be up"),
    ],
)
def test_what_will_not_be_up_or_not_surely_is_neither_waited_for_nor_linked(
    act: Act, turn: Turn
) -> None:
    chat, other = Chat(), Mastodon()
    other.then(turn)
    stage = act(chat, other)
    stage.hear()
    runs(stage, seconds=3)
    assert texts(chat) == ["The announcement of this stream is out."]


def test_a_stream_that_stops_while_chat_waits_is_not_told_there(act: Act) -> None:
    chat, down = Chat(), Mastodon()
    down.then(TryLater("503", timedelta(minutes=10)))
    stage = act(chat, down)
    stage.hear()
    runs(stage, seconds=30)
    stage.hear(Kind.STOPPED)
    runs(stage, minutes=5)
    assert texts(chat) == []
    assert stage.post("chat").entry.state == "withdrawn"


def test_a_short_time_to_give_up_is_not_spent_waiting(act: Act) -> None:
    chat, down = Chat(), Mastodon()
    down.then(TryLater("503", timedelta(seconds=19)))
    stage = act(chat, down, give_up=timedelta(seconds=20))
    stage.hear()
    runs(stage, seconds=30)
    assert len(texts(chat)) == 1


def test_only_chat_waits(act: Act) -> None:
    stage = act(down := Mastodon(), fast := Bluesky())
    down.then(TryLater("503", timedelta(minutes=10)))
    stage.hear()
    stage.run()
    assert len(texts(fast)) == 1


# Again


def repeats(act: Act, **settings: Any) -> tuple[Stage, Chat]:
    chat = Chat(every=QUARTER)
    stage = act(chat, Mastodon(), **settings)
    stage.hear()
    runs(stage, seconds=10)
    return stage, chat


def test_it_is_said_again_every_so_often_while_the_stream_is_live(act: Act) -> None:
    stage, chat = repeats(act)
    runs(stage, minutes=14)
    assert len(texts(chat)) == 1
    runs(stage, minutes=31)
    assert len(texts(chat)) == 4
    assert len(set(texts(chat))) == 1
    assert len(rounds(stage).tries) == 3


def test_the_links_are_those_known_then(act: Act) -> None:
    chat, late = Chat(every=QUARTER), Mastodon()
    late.then(TryLater("503", timedelta(minutes=5)))
    stage = act(chat, late)
    stage.hear()
    runs(stage, minutes=16)
    first, second = texts(chat)
    assert "Mastodon" not in first
    assert "Mastodon: https://" in second


def test_nothing_is_said_again_unless_that_is_wanted(act: Act) -> None:
    stage = act(chat := Chat(), Mastodon())
    stage.hear()
    runs(stage, hours=3)
    assert len(texts(chat)) == 1


def test_it_ends_with_the_stream_and_goes_on_with_it(act: Act) -> None:
    stage, chat = repeats(act)
    runs(stage, minutes=10)
    stage.hear(Kind.STOPPED)
    runs(stage, minutes=20)
    assert len(texts(chat)) == 1
    assert rounds(stage).entry.state == "withdrawn"
    stage.hear()
    runs(stage, minutes=1)
    assert len(texts(chat)) == 2


def test_a_drop_does_not_hurry_it(act: Act) -> None:
    stage, chat = repeats(act)
    stage.hear(Kind.STOPPED)
    runs(stage, minutes=1)
    stage.hear()
    runs(stage, minutes=12)
    assert len(texts(chat)) == 1
    runs(stage, minutes=3)
    assert len(texts(chat)) == 2


def test_a_stop_while_it_is_on_its_way_ends_it(act: Act) -> None:
    stage, chat = repeats(act)
    stage.passes(minutes=15)
    claims = stage.box.claim("another process", stage.now, 10)
    assert [claim.entry.moment for claim in claims] == ["again"]
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=6)
    runs(stage, minutes=40)
    assert len(texts(chat)) == 1
    assert rounds(stage).entry.state == "withdrawn"


def test_a_new_title_changes_nothing_of_it(act: Act) -> None:
    stage, chat = repeats(act)
    runs(stage, minutes=5)
    stage.hear(Kind.RETITLED, title="Gluing up")
    runs(stage, minutes=11)
    assert len(texts(chat)) == 2


@pytest.mark.parametrize("shows", [True, False], ids=["is up", "is not up"])
def test_in_doubt_a_round_is_not_repeated_and_the_next_one_is_said(act: Act, shows: bool) -> None:
    stage, chat = repeats(act)
    chat.then(Turn(Unsure("no answer"), shows=shows))
    runs(stage, minutes=29)
    assert len(chat.sent) == 2
    assert "may be posted" in rounds(stage).entry.reason
    runs(stage, minutes=2)
    assert len(chat.sent) == 3


def test_a_round_whose_process_died_is_not_said_twice(act: Act) -> None:
    stage, chat = repeats(act)
    stage.passes(minutes=15)
    (claim,) = stage.box.claim("a process that dies", stage.now, 10)
    assert stage.box.freeze(claim, claim.last, stage.now)
    stage.passes(minutes=6)
    runs(stage, minutes=9)
    assert len(chat.sent) == 1
    runs(stage, minutes=7)
    assert len(chat.sent) == 2


def test_a_refused_round_is_tried_again_within_it(act: Act) -> None:
    stage, chat = repeats(act)
    chat.then(TryLater("503"), TryLater("503"))
    runs(stage, minutes=16)
    assert len(texts(chat)) == 2
    assert len(rounds(stage).tries) == 3


def test_a_closed_destination_is_not_called_every_quarter_of_an_hour(act: Act) -> None:
    stage, chat = repeats(act)
    chat.then(Refused("the token is gone", closes=True))
    runs(stage, hours=2)
    assert len(chat.sent) == 2


@pytest.mark.parametrize("sight", [Sight.OFFLINE, Sight.CONNECTED, Sight.UNREACHABLE])
def test_it_is_never_said_while_owncast_does_not_show_the_stream(act: Act, sight: Sight) -> None:
    lookout = Lookout(Sight.ONLINE)
    stage, chat = repeats(act, watch=lookout)
    lookout.sights[0] = sight
    runs(stage, minutes=20)
    stage.passes(hours=6)
    runs(stage, minutes=16)
    assert len(texts(chat)) == 1
    assert rounds(stage).entry.state == "withdrawn"


def test_an_end_that_was_never_heard_ends_it_when_the_next_broadcast_begins(act: Act) -> None:
    lookout = Lookout(Sight.ONLINE)
    stage, chat = repeats(act, watch=lookout)
    lookout.sights[0] = Sight.OFFLINE
    runs(stage, minutes=50)
    stage.passes(hours=6)
    lookout.sights[0] = Sight.ONLINE
    stage.hear(title="The next one")
    before = len(chat.sent)
    runs(stage, minutes=16)
    assert len(chat.sent) == before + 2  # the next one and its first repetition
    old = [post.entry for post in stage.box.history(2)[1][1] if post.entry.moment == "again"]
    assert [entry.state for entry in old] == ["withdrawn"]


def test_a_pause_keeps_it_silent_for_as_long_as_it_lasts(act: Act) -> None:
    stage, chat = repeats(act)
    stage.box.pause("paused by the operator", stage.now)
    runs(stage, minutes=31)
    assert len(texts(chat)) == 1
    stage.box.resume()
    runs(stage, minutes=16)
    assert len(texts(chat)) == 2


def test_where_the_start_was_not_told_nothing_is_repeated(act: Act) -> None:
    chat = Chat(every=QUARTER)
    stage = act(chat, Mastodon())
    stage.box.pause("paused by the operator", stage.now)
    stage.hear()
    stage.box.resume()
    runs(stage, hours=1)
    assert texts(chat) == []


# When asked


def answers(stage: Stage, clock: Callable[[], float]) -> Answers:
    channels = {"default": Channel("default", "https://live.example.org")}
    composer = Composer(Templates(None))
    return Answers(
        stage.box, composer, channels, stage.networks, lambda _: list(stage.networks), clock
    )


def asks(act: Act, **settings: Any) -> tuple[Stage, Chat]:
    chat = Chat(question="!posts", **settings)
    stage = act(chat, Mastodon())
    return stage, chat


def hear(stage: Stage, *bodies: str, seconds: float = 0) -> None:
    """Each *seconds* after the one before, and all answered."""
    time = 0.0
    there = answers(stage, lambda: time)
    for body in bodies:
        there.hear(body.encode(), "default")
        time += seconds
    there._pool.shutdown(wait=True)


def test_who_asks_is_told_the_links(act: Act) -> None:
    stage, chat = asks(act)
    stage.hear()
    runs(stage, seconds=5)
    hear(stage, ASKED)
    said, answer = texts(chat)
    assert answer == said
    assert "Mastodon: https://" in answer


def test_a_crowd_is_answered_once_in_half_a_minute(act: Act) -> None:
    stage, chat = asks(act)
    stage.hear()
    runs(stage, seconds=5)
    hear(stage, *[ASKED] * 7, seconds=SELDOM / 3)
    assert len(texts(chat)) == 1 + 3


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param("!posts", True, id="as it is"),
        pytest.param(" !Posts\n", True, id="as people type"),
        pytest.param("!posts please", False, id="more than that"),
        pytest.param("hello", False, id="something else"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_only_the_command_is_answered(act: Act, raw: str, told: bool) -> None:
    stage, chat = asks(act)
    stage.hear()
    runs(stage, seconds=5)
    hear(stage, json.dumps({"type": "CHAT", "eventData": {"rawBody": raw}}))
    assert (len(texts(chat)) == 2) is told


@pytest.mark.parametrize(
    "body",
    [
        '{"type": "CHAT"}',
        '{"type": "CHAT", "eventData": null}',
        '{"type": "CHAT", "eventData": []}',
        '{"type": "CHAT", "eventData": {"rawBody": 7}}',
        '{"type": "CHAT", "eventData": {"rawBody": "!posts", "visible": false}}',
        '{"type": "USER_JOINED", "eventData": {"rawBody": "!posts", "x": "CHAT"}}',
    ],
)
def test_odd_and_hidden_messages_are_passed_over(act: Act, body: str) -> None:
    stage, chat = asks(act)
    stage.hear()
    runs(stage, seconds=5)
    hear(stage, body)
    assert len(texts(chat)) == 1


def test_without_a_command_nobody_listens(act: Act) -> None:
    chat = Chat()
    stage = act(chat, Mastodon())
    stage.hear()
    runs(stage, seconds=5)
    hear(stage, ASKED, json.dumps({"type": "CHAT", "eventData": {"rawBody": ""}}))
    assert len(texts(chat)) == 1


def test_nobody_is_answered_before_the_posts_are_up_or_after_the_end(act: Act) -> None:
    stage, chat = asks(act)
    hear(stage, ASKED)
    stage.hear()
    hear(stage, ASKED)
    assert chat.sent == []
    runs(stage, seconds=5)
    stage.hear(Kind.STOPPED)
    hear(stage, ASKED)
    assert len(chat.sent) == 1


def test_an_answer_that_fails_is_lost_and_nothing_else(act: Act) -> None:
    stage, chat = asks(act)
    stage.hear()
    runs(stage, seconds=5)
    before = stage.box.history(5)
    chat.then(Unsure("504"), RuntimeError("a bug"))
    hear(stage, ASKED, ASKED, ASKED, seconds=SELDOM)
    assert len(texts(chat)) == 2
    assert stage.box.history(5) == before


CHAT = {
    **ONE,
    "OWNCAST_ACCESS_TOKEN": "chat-token",
    "OWNCAST_CHAT_COMMAND": "!posts",
    "OWNCAST__MUSIC__URL": "https://music.kestrel.example",
    "OWNCAST__MUSIC__WEBHOOK_SECRET": MUSIC_SECRET,
    "OWNCAST__MUSIC__ACCESS_TOKEN": "token-of-the-music",
    "OWNCAST__MUSIC__CHAT_AS": "action",
    "OWNCAST__MUSIC__CHAT_REPEAT": "20m",
}


def test_a_webhook_that_asks_is_answered_by_its_own_channel_and_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(Answers, "_answer", lambda _, *where: asked.append(where))
    with house(tmp_path, CHAT) as there:
        before = there.stored()
        assert there.hear(ASKED.encode()).status_code == 204
        assert there.hear(ASKED.encode(), MUSIC_SECRET).status_code == 204
        wait_until(lambda: asked)
        assert there.stored() == before
    assert asked == [("default", "owncast")]


def test_each_server_has_its_own_way_to_speak() -> None:
    told = wiring.read(CHAT).destinations
    one, music = told["owncast"], told["owncast.music"]
    assert isinstance(one, Owncast)
    assert isinstance(music, Owncast)
    assert (one.chat_as, one.chat_repeat, one.chat_command) == ("system", None, "!posts")
    assert (music.chat_as, music.chat_repeat) == ("action", timedelta(minutes=20))
    assert music.chat_command == ""


# Owncast's three ways to speak


def owncast(**fields: Any) -> Owncast:
    return Owncast(url="https://live.example.org", access_token="chat-token", **fields)


POST = Post("b/live/owncast", Moment.LIVE, Moment.LIVE, "Out", NOW, NOW, "k")


@pytest.mark.parametrize(
    ("way", "path"), [("system", "system"), ("action", "action"), ("user", "send")]
)
def test_it_speaks_as_it_is_told(wire: Wire, way: str, path: str) -> None:
    wire.answers(200, {"message": "sent", "success": True})
    owncast(chat_as=way).publish(POST)
    (sent,) = wire.sent
    assert sent.path == f"/api/integrations/chat/{path}"


def test_check_asks_for_the_right_that_an_action_needs(wire: Wire) -> None:
    wire.answers(200, {"message": "sent", "success": True})
    owncast(chat_as="action").check()
    assert wire.sent[0].path == f"/api/integrations/chat/system/client/{NOBODY}"


def test_check_of_a_user_sends_what_owncast_refuses_as_empty(wire: Wire) -> None:
    wire.answers(400, {"error": "invalid message"})
    account = owncast(chat_as="user").check()
    (sent,) = wire.sent
    assert (sent.path, sent.json) == ("/api/integrations/chat/send", {"body": ""})
    assert account.notes == ()


def test_the_scope_that_is_missing_is_named(wire: Wire) -> None:
    wire.answers(401, "unauthorized")
    with pytest.raises(Refused, match="may not send chat messages") as refusal:
        owncast(chat_as="user").check()
    assert refusal.value.closes


def test_check_of_a_user_is_not_content_with_any_400(wire: Wire) -> None:
    wire.answers(400, "<html>Bad Request</html>")
    with pytest.raises(Refused, match="not like Owncast"):
        owncast(chat_as="user").check()


@pytest.mark.parametrize(
    "url", ["https://bsky.app/profile/did:plc:a_b/post/3k", "https://m.org/@k/7"]
)
def test_an_address_stays_what_it_is(url: str) -> None:
    assert owncast().link(url) == url


def test_a_strangers_address_brings_no_markup() -> None:
    link = owncast().link('https://evil.example/"><img src=x>*a*[x]`y`')
    assert not set(link) & set('<>"*[]` ')


@pytest.mark.parametrize(("text", "every"), [("15m", QUARTER), ("0s", None)])
def test_how_often_it_is_repeated(text: str, every: timedelta | None) -> None:
    assert owncast(chat_repeat=text).repeats_every == every


def test_chat_is_not_flooded() -> None:
    with pytest.raises(ValidationError, match="is shorter than 1m"):
        owncast(chat_repeat="30s")
