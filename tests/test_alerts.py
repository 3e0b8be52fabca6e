"""The operator hears of what is wrong: once, in words to act on, and nobody else does."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from announcer import alerts, rehearsal
from announcer.alerts import Alert
from announcer.cli import main
from announcer.content import Composer, Content
from announcer.contract.fake import Wire
from announcer.events import Event, Kind
from announcer.network import Moment, Network, Refused, TryLater, Unsure
from announcer.networks.bluesky import Bluesky
from announcer.networks.discord import Discord
from announcer.networks.mastodon import Mastodon
from announcer.networks.x import X
from announcer.outbox import LEASE, Claim, Outbox, Shown
from announcer.outbox.beside import put_alerts
from announcer.policy import Entry, State
from announcer.settings import SettingsError
from announcer.wiring import Settings, read
from announcer.wording import Templates
from tests.fakes import NOW, Fake, Harmless, Stage, Turn, wait_until
from tests.house import house, own_logging
from tests.running import Service
from tests.test_pages import look
from tests.test_truth import Wall
from tests.town import Town

Act = Callable[..., Stage]
REVOKED = Refused("401 The access token is invalid", closes=True)


class Ops(Harmless):
    """Where the alerts go."""

    @property
    def told(self) -> list[str]:
        return [post.text for post in self.visible]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """Makes the stage; destinations are called like their classes, and `ops` gets the alerts."""
    stages: list[Stage] = []

    def act(*networks: Network, **settings: Any) -> Stage:
        told = {type(network).__name__.lower(): network for network in networks}
        stage = Stage(tmp_path / "announcer.db", told, alerted=("ops",), **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def works(stage: Stage) -> None:
    """What is due now, and what follows from that at once."""
    for _ in range(3):
        stage.delivery.run()
        wait_until(lambda: not any(post.entry.state == "sending" for post in rows(stage)))


def rows(stage: Stage) -> list[Shown]:
    return [post for _, posts in stage.box.history(20) for post in posts]


def alert(stage: Stage) -> Shown:
    (found,) = (post for post in rows(stage) if post.entry.moment == "alert")
    return found


# A destination that closes


def test_e16_a_token_that_is_revoked_mid_stream_is_one_alert_and_the_others_are_fine(
    act: Act,
) -> None:
    wall, fake, ops = Wall(), Fake(), Ops()
    stage = act(wall, fake, ops)
    stage.hear(title="Drawers")
    works(stage)
    wall.trouble(REVOKED)
    stage.hear(Kind.RETITLED, title="Dovetails")
    for _ in range(3):  # the edit, and every one that is queued after it
        stage.passes(minutes=6)
        works(stage)
        stage.hear(Kind.RETITLED, title=f"Dovetails at {stage.now}")
    stage.hear(channel="second")
    works(stage)
    assert len(ops.told) == 1, "once, however many posts meet it"
    assert len(fake.visible) == 2
    assert wall.changes == []
    kept = next(post.entry for post in rows(stage) if post.tries and "/wall" in post.entry.key)
    assert kept.state == "due", "until a day has passed, or the token is replaced"
    assert f"announcer retry {kept.key}" in ops.told[0]
    assert stage.box.retry(kept.key, stage.now, stage.now + timedelta(minutes=30)) == replace(
        kept, next_at=stage.now
    )
    stage.start_up(
        {"wall": wall.model_copy(update={"handle": "renewed"}), "fake": fake, "ops": ops}
    )
    stage.passes(minutes=6)
    works(stage)
    assert wall.changes == ["edit"]


def test_e16_it_says_what_is_wrong_and_what_to_do(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(REVOKED)
    stage.hear(title="Drawers")
    works(stage)
    key = stage.post().entry.key
    assert ops.told == [
        'Announcer: fake is closed ("Drawers"): 401 The access token is invalid. Nothing is sent '
        f"there until its settings change or you run: announcer retry {key}"
    ]
    assert alert(stage).entry.key == f"{key.partition('/')[0]}/alert.{_closed_name(stage)}/ops"
    assert [post.card for post in ops.visible] == [None], "no link to the stream either"


def _closed_name(stage: Stage) -> str:
    credentials, _ = stage.box.closed()["fake"]
    return f"closed.fake.{credentials[:8]}"


def test_after_a_permanent_answer_there_are_no_more_requests_even_after_a_restart(
    act: Act,
) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(REVOKED)
    for number in range(5):
        stage.hear(channel=f"channel {number}")
        works(stage)
        stage.start_up(stage.networks)
    assert (len(fake.sent), len(ops.told)) == (1, 1)


def test_other_credentials_that_are_refused_too_are_another_alert(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(REVOKED)
    stage.hear()
    works(stage)
    second = Fake(handle="another")
    second.then(REVOKED)
    stage.start_up({"fake": second, "ops": ops})
    stage.hear(channel="second")
    works(stage)
    assert len(ops.told) == 2


def test_a21_a_login_that_is_refused_closes_bluesky_with_one_alert(act: Act, wire: Wire) -> None:
    wire.always("POST", "createSession", 401, {"error": "AuthenticationRequired"})
    bluesky, ops = Bluesky(identifier="kestrel.test", app_password="wrong"), Ops()
    stage = act(bluesky, ops)
    for channel in ("first", "second"):
        stage.hear(channel=channel)
        works(stage)
    assert len(ops.told) == 1
    assert "bluesky is closed" in ops.told[0]
    assert len(wire.asked("createSession")) == 1


def test_e22_x_out_of_credits_pauses_with_a_note_on_the_cost_and_spends_nothing_more(
    act: Act, wire: Wire
) -> None:
    spent = {"title": "CreditsDepleted", "detail": "no credits", "type": "credits"}
    wire.always("POST", "/2/tweets", 402, spent)
    keys = dict.fromkeys(
        ("consumer_key", "consumer_secret", "access_token", "access_token_secret"), "key"
    )
    x, ops = X(**keys), Ops()
    stage = act(x, ops)
    for channel in ("first", "second"):
        stage.hear(channel=channel)
        works(stage)
        stage.passes(minutes=6)
    assert len(wire.asked("/2/tweets")) == 1
    (told,) = ops.told
    assert "402 no credits (out of credits or over the spending limit; in April 2026" in told
    assert "announcer retry" in told
    stage.hear(Kind.STOPPED, channel="second")
    # Credits were bought: the operator's word sends it once, and the budget has counted both.
    wire.always("POST", "/2/tweets", 201, {"data": {"id": "7", "text": ""}})
    key = next(post.entry.key for post in rows(stage) if post.tries and "/x" in post.entry.key)
    assert stage.box.retry(key, stage.now, stage.now + timedelta(minutes=30))
    stage.box.reopen("x", stage.now)
    works(stage)
    works(stage)
    assert len(wire.asked("/2/tweets")) == 2
    assert stage.box.published_since("x", NOW) == 2


# A post that is not told


def test_a_refused_post_is_one_alert(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(Refused("422 the text is too long"))
    stage.hear(title="Drawers")
    works(stage)
    key = stage.post().entry.key
    told = (
        'Announcer: fake was not told ("Drawers"): 422 the text is too long. '
        f"To try again: announcer retry {key}"
    )
    assert ops.told == [told]
    fake.then(Refused("422 the text is too long"))
    assert stage.box.retry(key, stage.now, stage.now + timedelta(minutes=30))
    works(stage)
    assert ops.told == [told], "who tried again by hand is looking"


def test_a_post_that_may_be_up_is_for_a_person(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(Turn(Unsure("no answer in time"), shows=True))
    stage.hear()
    works(stage)
    assert ops.told == [
        'Announcer: look at fake, please ("Kestrel"): may be posted, look first: no answer in '
        f"time. If nothing is there: announcer retry {stage.post().entry.key}"
    ]


def test_an_edit_that_is_refused_is_told_too(act: Act) -> None:
    wall, ops = Wall(), Ops()
    stage = act(wall, ops)
    stage.hear(title="Drawers")
    works(stage)
    wall.trouble(Refused("422 no"))
    stage.hear(Kind.RETITLED, title="Dovetails")
    stage.passes(minutes=1)
    works(stage)
    (told,) = ops.told
    assert told.startswith('Announcer: a post on wall is not up to date ("Dovetails"): not changed')


def test_what_comes_right_by_itself_is_no_alert(act: Act) -> None:
    fake, ops = Harmless(), Ops()
    stage = act(fake, ops)
    fake.then(TryLater("503"), Unsure("no answer"))
    stage.hear()
    works(stage)
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=1)
    works(stage)
    assert ops.told == []


def test_f08_f10_a_template_that_broke_is_one_alert_and_the_post_goes_out(
    act: Act, tmp_path: Path
) -> None:
    (tmp_path / "live.txt").write_text("{{ nmae }} is live")
    one, two, ops = Fake(), Harmless(), Ops()
    stage = act(one, two, ops)
    stage.delivery.attempts.author = _with_templates(stage, tmp_path)
    stage.hear(title="Drawers")
    works(stage)
    assert len(one.visible) == len(two.visible) == 1
    assert len(ops.told) == 1, "both destinations use the same file"
    assert "own:live.txt" in ops.told[0]


def _with_templates(stage: Stage, folder: Path) -> Any:
    return replace(stage.delivery.attempts.author, composer=Composer(Templates(folder)))


# The alert itself


def test_where_alerts_go_nothing_is_announced(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    stage.hear()
    works(stage)
    assert (len(fake.visible), ops.visible) == (1, [])


def test_an_alert_is_tried_again_through_restarts_pause_and_the_end_of_the_stream(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(REVOKED)
    ops.then(*[TryLater("503 busy")] * 3)
    stage.hear(title="Drawers")
    works(stage)
    stage.box.pause("paused by the operator", stage.now)
    stage.hear(Kind.STOPPED)
    stage.start_up(stage.networks)
    for _ in range(4):
        stage.passes(minutes=10)
        works(stage)
    assert len(ops.told) == 1
    assert '"Drawers"' in ops.told[0]


def test_a_failing_alert_makes_no_other_alert(act: Act) -> None:
    fake, ops = Fake(), Ops()
    stage = act(fake, ops)
    fake.then(Refused("422"))
    ops.then(Refused("401", closes=True))
    stage.hear()
    works(stage)
    works(stage)
    assert len([post for post in rows(stage) if post.entry.moment == "alert"]) == 1
    assert alert(stage).entry.state == "failed"


def test_where_a_repeat_doubles_an_alert_in_doubt_stops(act: Act) -> None:
    class Doubling(Fake):
        pass

    fake, ops = Fake(), Doubling()
    stage = act(fake, ops)
    stage.alerted = ("doubling",)
    stage.start_up(stage.networks)
    fake.then(REVOKED)
    ops.then(Turn(Unsure("no answer"), shows=True))
    stage.hear()
    works(stage)
    works(stage)
    assert len(ops.visible) == 1
    assert alert(stage).entry.state == "unsure"


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
def test_a_crash_around_the_closing_loses_no_alert_and_makes_no_second(
    act: Act, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    fake, ops = Harmless(), Ops()
    stage = act(fake, ops)
    fake.then(REVOKED, REVOKED)
    stage.hear()
    store = Outbox.store
    killed: list[Claim] = []

    def dies(self: Outbox, claim: Claim, *rest: Any) -> bool:
        if not killed and claim.entry.destination == "harmless":
            killed.append(claim)
            if stored:
                store(self, claim, *rest)
            raise SystemExit
        return store(self, claim, *rest)

    monkeypatch.setattr(Outbox, "store", dies)
    stage.delivery.run()
    wait_until(lambda: killed)
    stage.start_up(stage.networks)
    for _ in range(3):
        stage.passes(seconds=LEASE.total_seconds() + 1)
        works(stage)
    assert len(fake.sent) == (1 if stored else 2)
    assert len(ops.told) == 1
    assert "harmless is closed" in ops.told[0]


LONG = "the network said a lot " * 30


@pytest.mark.parametrize(
    "network",
    [
        Mastodon(api_base_url="https://a.test", access_token="t"),
        Bluesky(identifier="a.test", app_password="p"),
        Discord(webhook_url="https://discord.com/api/webhooks/1/token"),
        X(consumer_key="k", consumer_secret="s", access_token="t", access_token_secret="s"),
    ],
    ids=lambda network: network.name,
)
def test_it_fits_mentions_nobody_and_keeps_the_remedy(network: Network) -> None:
    words = Alert(
        "post.x", "Announcer: x was not told", f"@everyone {LONG}", "Run: announcer retry"
    )
    told = alerts.text(words, network)
    assert network.measure(told) <= network.usual_limit
    assert "@everyone" not in told
    assert told.endswith("announcer retry")


# Settings


def settings(**variables: str) -> Settings:
    town = {
        "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/token-of-ours",
        "DISCORD__OPS__WEBHOOK_URL": "https://discord.com/api/webhooks/2/token-of-theirs",
        "OWNCAST_URL": "https://live.example.org",
        "OWNCAST_ACCESS_TOKEN": "a token",
        "OWNCAST_WEBHOOK_SECRET": "correct-horse",
    }
    return read(town | variables)


def test_an_alerted_destination_is_in_no_audience() -> None:
    read_ = settings(ANNOUNCER_ALERTS="discord.ops")
    assert read_.audience("default") == ["discord", "owncast"]


# The real process


class Revoking(BaseHTTPRequestHandler):
    """A Mastodon that takes one post, and then does not know our token any more."""

    taken: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._say(200, {"source_url": "https://github.com/mastodon/mastodon"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.taken.append(self.command)
        if self.taken == ["POST"]:
            self._say(200, {"id": "7", "url": "https://social.example/@k/7"})
        else:
            self._say(401, {"error": "The access token was revoked"})

    do_PUT = do_POST  # noqa: N815  # as http.server wants it

    def _say(self, status: int, said: object) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def revoking() -> Iterator[str]:
    Revoking.taken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Revoking)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_e16_the_service_tells_the_operator_once_and_goes_on(tmp_path: Path, revoking: str) -> None:
    town = Town()
    variables = {
        **town.settings("bluesky", "discord"),
        "MASTODON_API_BASE_URL": revoking,
        "MASTODON_ACCESS_TOKEN": "token-that-is-revoked",
        "ANNOUNCER_ALERTS": "discord",
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "0s",
    }
    service = Service(tmp_path, variables)
    try:
        assert service.hear(rehearsal.webhook("start", "Drawers", "Kestrel")) == 204
        service.until(lambda: town.counts() == {"bluesky": 1} and Revoking.taken, "not told")
        assert service.hear(rehearsal.webhook("stop", "Drawers", "Kestrel")) == 204
        service.until(lambda: town.counts().get("discord"), "the operator was not told")
        assert service.stop() == 0
        service = Service(tmp_path, variables)
        service.until(lambda: "alert" in str(service.posts()), "no alert in history")
    finally:
        service.kill()
        town.close()
    assert Revoking.taken == ["POST", "PUT"]
    assert town.counts()["discord"] == 1
    (told,) = (post.text for post in town.visible if post.network == "discord")
    assert "mastodon is closed" in told
    assert "401 The access token was revoked" in told
    assert "token-that-is-revoked" not in service.log + told


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("discord.ops, pager", "ANNOUNCER_ALERTS: there is no destination pager"),
        ("owncast", "ANNOUNCER_ALERTS must not name owncast: your viewers read its chat"),
    ],
)
def test_it_must_be_a_destination_that_no_audience_sees(names: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings(ANNOUNCER_ALERTS=names)
    assert refusal.value.problems == [problem]


# Where the operator looks


OPS = {
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/token-of-ours",
    "DISCORD__OPS__WEBHOOK_URL": "https://discord.com/api/webhooks/2/token-of-theirs",
    "ANNOUNCER_ALERTS": "discord.ops",
    "ANNOUNCER_HOLD": "0s",
}


def test_the_page_and_history_say_why_posts_wait_and_what_was_told_whom(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.always("POST", "/1/token-of-ours", 429, {}, {"Retry-After": "600"})
    wire.always("GET", "/token-of-ours", 200, {"id": "1", "guild_id": "2"})
    wire.always("GET", "/token-of-theirs", 200, {"id": "2", "guild_id": "2"})
    wire.always("POST", "/2/token-of-theirs", 200, {"id": "9", "channel_id": "3"})
    with own_logging(), house(tmp_path, OPS) as home:
        now = datetime.now(UTC)
        home.parts.intake.take(Event("e", "default", Kind.STARTED, now), now)
        box = home.parts.outbox
        (claim,) = box.claim("tests", now, limit=9)
        home.parts.delivery.attempts.make(claim)
        with box.writing() as connection:
            put_alerts(connection, [_an_alert(claim)], now.timestamp())
        page = look(home).get_data(as_text=True)
        until = box.breakers(now)["discord"].until.strftime("%H:%M:%S UTC")
        assert "discord is left alone for" in page
        assert f">{until}</time></strong>: 429" in page
        assert "alerts only" in home.client.get("/destinations").text
        story = home.client.get(f"/history/{claim.entry.broadcast}").text
        assert "Discord ops" in story
        assert "discord was not told" in story
        monkeypatch.chdir(tmp_path)
        variables = {**OPS, "ANNOUNCER_DATABASE_URL": f"sqlite:///{tmp_path}/announcer.db"}
        said = CliRunner().invoke(main, ["history"], env=variables).stdout
        assert f"discord is left alone until {until}: 429" in said
        assert "/alert.post.discord/discord.ops" in said
        said = CliRunner().invoke(main, ["check", "--offline"], env=variables).stdout
        assert "discord.ops    gets alerts and no announcements" in said


def _an_alert(claim: Claim) -> tuple[Entry, str]:
    failed = replace(claim.entry, state=State.FAILED, reason="422")
    found = alerts.of_end(failed, claim.broadcast)
    assert found
    words = Content(found.said, "", Moment.LIVE, None, NOW, NOW).frozen()
    return alerts.entry_for(found, failed, "discord.ops", NOW), words
