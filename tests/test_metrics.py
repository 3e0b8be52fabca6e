"""What Prometheus is told: who may ask, that every number is true, and that labels stay few."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from announcer import scheduler
from announcer.contract.fake import Wire, refused
from announcer.events import Event, Kind
from announcer.network import Refused, TryLater, Unsure
from announcer.outbox import UnderWay
from announcer.policy import Breaker
from tests.fakes import Fake, Findable, Stage, wait_until
from tests.house import DISCORD, ONE, House, house, locked, table_gone
from tests.running import payload
from tests.test_pages import EVERY_SECRET, HOSTILE

TOKEN = "a-long-random-word-for-prometheus"
PASSWORD = "the admin's password"
ALONE = {**ONE, "OWNCAST_URL": ""}
"""Nobody asks Owncast."""
NAMES = {
    *("announcer_build_info", "announcer_clock_ticking", "announcer_database_size_bytes"),
    *("announcer_database_up", "announcer_destination_state", "announcer_events"),
    *("announcer_outbox_oldest_due_timestamp_seconds", "announcer_outbox_posts"),
    *("announcer_paused", "announcer_posts", "announcer_retries"),
    *("announcer_start_to_post_seconds", "announcer_try_duration_seconds"),
    *("announcer_watch_last_answer_timestamp_seconds", "announcer_watch_looking"),
    *("announcer_watch_state", "announcer_webhook_duration_seconds", "announcer_webhooks"),
    "announcer_webhooks_by_previous_secret",
}
LABELS = {
    *("channel", "destination", "kind", "le", "moment", "outcome", "python", "source", "state"),
    *("step", "version"),
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, ALONE) as made:
        yield made


def with_fake(there: House, *turns: Exception, network: Fake | None = None) -> Fake:
    """A made-up network in place of Discord, which first meets these problems."""
    fake = network or Fake()
    fake.then(*turns)
    there.parts.delivery._destinations["discord"] = fake  # type: ignore[index]  # a dict, in truth
    return fake


def deliver(there: House) -> None:
    """All that waits, now; and what came of it is stored."""
    there.past_the_hold()
    there.parts.delivery.run()
    wait_until(lambda: not there.parts.delivery._in_flight.total())


def go_live(there: House, ago: timedelta = timedelta(), title: str = "") -> None:
    now = datetime.now(UTC)
    event = Event(
        f"e{now.timestamp()}", "default", Kind.STARTED, now - ago, title=title, name=title
    )
    there.parts.intake.take(event, now)


def shown(there: House, name: str, **labels: str) -> float | None:
    """The one sample with these labels; None if there is none."""
    found = [value for its, value in there.scraped(name) if labels.items() <= its.items()]
    assert len(found) < 2, found
    return found[0] if found else None


def counted(there: House, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples that are not zero, by the values of these labels."""
    return {tuple(its[one] for one in labels): n for its, n in there.scraped(name) if n}


# Who may ask


def basic(password: str) -> str:
    return f"Basic {b64encode(f'admin:{password}'.encode()).decode()}"


OPEN: Mapping[str, str] = {}
GUARDED = {"ANNOUNCER_ADMIN_PASSWORD": PASSWORD}
SCRAPED = {"ANNOUNCER_METRICS_TOKEN": TOKEN}
HERE, LAN, WORLD = "127.0.0.1", "10.0.0.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("settings", "address", "headers", "status"),
    [
        pytest.param(OPEN, HERE, {}, 200, id="a browser on this machine, nothing set"),
        pytest.param(OPEN, HERE, {"Connection": ""}, 401, id="a program: a proxy's looks the same"),
        pytest.param(OPEN, LAN, {}, 401, id="a private address is no proof: a proxy has one"),
        pytest.param(OPEN, WORLD, {}, 401, id="a stranger"),
        pytest.param(OPEN, HERE, {"X-Forwarded-For": WORLD}, 401, id="passed on by a proxy"),
        pytest.param(OPEN, HERE, {"Host": "evil.example"}, 401, id="this machine by another name"),
        pytest.param(OPEN, WORLD, {"Authorization": "Bearer "}, 401, id="an empty token"),
        pytest.param(OPEN, WORLD, {"Authorization": f"Bearer {TOKEN}"}, 401, id="no token is set"),
        pytest.param(SCRAPED, WORLD, {"Authorization": f"Bearer {TOKEN}"}, 200, id="the token"),
        pytest.param(SCRAPED, WORLD, {"Authorization": f"bearer {TOKEN}"}, 200, id="in lower case"),
        pytest.param(SCRAPED, WORLD, {"Authorization": f"Bearer {TOKEN}x"}, 401, id="a wrong one"),
        pytest.param(SCRAPED, WORLD, {"Authorization": basic(TOKEN)}, 401, id="as a password"),
        pytest.param(SCRAPED, WORLD, {}, 401, id="no proof"),
        pytest.param(SCRAPED, HERE, {}, 200, id="this machine sees the page, too"),
        pytest.param(SCRAPED, HERE, {"Authorization": "Bearer x"}, 401, id="but not by a lie"),
        pytest.param(GUARDED, HERE, {}, 401, id="with a password, this machine needs it"),
        pytest.param(GUARDED, WORLD, {"Authorization": basic(PASSWORD)}, 200, id="the password"),
        pytest.param(GUARDED, WORLD, {"Authorization": basic("guess")}, 401, id="a wrong password"),
        pytest.param(
            GUARDED, WORLD, {"Authorization": f"Bearer {PASSWORD}"}, 401, id="no bearer of it"
        ),
        pytest.param(
            {**GUARDED, **SCRAPED}, HERE, {"Authorization": f"Bearer {TOKEN}"}, 200, id="both set"
        ),
    ],
)
def test_who_may_read_it(
    tmp_path: Path, settings: Mapping[str, str], address: str, headers: dict[str, str], status: int
) -> None:
    accepts = {"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}  # as Prometheus does
    with house(tmp_path, {**ALONE, **settings}) as there:
        answer = there.client.get(
            "/metrics", headers=accepts | headers, environ_base={"REMOTE_ADDR": address}
        )
        assert answer.status_code == status, "never a redirect to the login"
        assert ("announcer_build_info" in answer.text) is (status == 200)
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)


def test_the_token_opens_nothing_else(tmp_path: Path) -> None:
    with house(tmp_path, {**ALONE, **GUARDED, **SCRAPED}) as there:
        for page in ("/", "/history", "/history.json"):
            answer = there.client.get(page, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code in (302, 401)


def test_g18_passwords_are_not_guessed_here_either(tmp_path: Path) -> None:
    with house(tmp_path, {**ALONE, **GUARDED}) as there:
        guess = {"Authorization": basic("guess")}
        said = [there.client.get("/metrics", headers=guess).status_code for _ in range(20)]
        assert said[-1] == 429
        assert there.client.get("/", headers={"Authorization": basic(PASSWORD)}).status_code == 429


def test_a_refusal_is_logged_once_and_without_the_token(tmp_path: Path) -> None:
    with house(tmp_path, {**ALONE, **SCRAPED}) as there, structlog.testing.capture_logs() as lines:
        for _ in range(5):
            there.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"})
    (line,) = lines
    assert (line["event"], line["outcome"]) == ("page", 401)
    assert TOKEN not in repr(lines)


def test_a_token_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(Exception, match="ANNOUNCER_METRICS_TOKEN must be 16 or more"),
        house(tmp_path, {**ALONE, "ANNOUNCER_METRICS_TOKEN": "short"}),
    ):
        pass


# What happened


def test_every_webhook_is_counted_by_what_became_of_it(home: House) -> None:
    start = payload("0.3-stream-started")
    assert home.hear(start).status_code == 204
    assert home.hear(payload("0.1-chat")).status_code == 204
    assert home.hear(b"[]").status_code == 400
    assert home.hear(start, "a wrong secret").status_code == 401
    assert home.hear_by_token(start, "a-wrong-token").status_code == 404
    assert home.hear(start, **{"Content-Type": "text/plain"}).status_code == 415
    assert home.hear(b"x" * 300_000).status_code == 413
    assert counted(home, "announcer_webhooks_total", "outcome", "kind") == {
        ("taken", "STREAM_STARTED"): 1,
        ("of no interest", "none"): 1,
        ("not an event", "none"): 1,
        ("bad signature", "none"): 1,
        ("wrong token", "none"): 1,
        ("not JSON", "none"): 1,
        ("too large", "none"): 1,
    }
    assert shown(home, "announcer_webhook_duration_seconds_count") == 7
    assert counted(home, "announcer_events_total", "kind", "source") == {
        ("STREAM_STARTED", "webhook"): 1
    }


def test_what_could_not_be_stored_is_counted(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("announcer.outbox.together.TURN", 0.1)
    with home.parts.outbox.writing():
        assert home.hear(payload("0.3-stream-started")).status_code == 503
    counts = counted(home, "announcer_webhooks_total", "outcome")
    assert counts == {("not stored",): 1}
    assert not counted(home, "announcer_events_total", "kind")


def test_a_mistake_of_ours_is_counted(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("announcer.web.webhooks.parse", lambda *_: 1 / 0)
    assert home.hear(payload("0.3-stream-started")).status_code == 500
    assert counted(home, "announcer_webhooks_total", "outcome") == {("our mistake",): 1}


def test_an_event_that_lost_its_webhook_is_told_from_the_others(home: House) -> None:
    now = datetime.now(UTC)
    home.parts.intake.take(Event("seen", "default", Kind.STARTED, now, found=True), now)
    assert counted(home, "announcer_events_total", "kind", "source") == {
        ("STREAM_STARTED", "watch"): 1
    }


def test_tries_retries_and_what_became_of_a_post(home: House) -> None:
    with_fake(home, TryLater("503"))
    go_live(home)
    deliver(home)
    assert counted(home, "announcer_try_duration_seconds_count", "destination", "outcome") == {
        ("discord", "TryLater"): 1
    }
    assert not counted(home, "announcer_retries_total", "destination")
    assert not counted(home, "announcer_posts_total", "state"), "it does not rest yet"
    deliver(home)
    assert counted(home, "announcer_try_duration_seconds_count", "step", "outcome") == {
        ("publish", "TryLater"): 1,
        ("publish", "delivered"): 1,
    }
    assert counted(home, "announcer_retries_total", "destination") == {("discord",): 1}
    assert counted(home, "announcer_posts_total", "destination", "moment", "state") == {
        ("discord", "live", "settled"): 1
    }


def test_a_look_for_a_post_is_a_try_too(home: House) -> None:
    with_fake(home, Unsure("no answer"), network=Findable())
    go_live(home)
    deliver(home)
    deliver(home)
    steps = counted(home, "announcer_try_duration_seconds_count", "step", "outcome")
    assert steps[("publish", "Unsure")] == 1
    assert steps[("publish", "delivered")] == 1


def test_the_time_from_the_start_to_the_post_is_that_of_the_audience(home: House) -> None:
    with_fake(home)
    go_live(home, ago=timedelta(seconds=100))
    deliver(home)
    name = "announcer_start_to_post_seconds"
    assert shown(home, f"{name}_count", destination="discord") == 1
    assert 100 <= (shown(home, f"{name}_sum", destination="discord") or 0) < 110
    assert shown(home, f"{name}_bucket", destination="discord", le="90.0") == 0
    assert shown(home, f"{name}_bucket", destination="discord", le="120.0") == 1


def test_what_may_still_happen_begins_with_zero(home: House) -> None:
    """Of what appears as one, Prometheus sees no increase, and no alert is raised."""
    for state in ("settled", "failed", "unsure"):
        labels = {"destination": "discord", "moment": "live", "state": state}
        assert shown(home, "announcer_posts_total", **labels) == 0
    assert shown(home, "announcer_events_total", kind="STREAM_STARTED", source="watch") == 0
    assert shown(home, "announcer_webhooks_total", outcome="not stored") == 0


# How things are


def test_the_outbox_by_state_and_the_oldest_that_is_due(home: House) -> None:
    name = "announcer_outbox_posts"
    oldest = "announcer_outbox_oldest_due_timestamp_seconds"
    assert shown(home, oldest) is None
    with_fake(home, Unsure("no answer"))
    go_live(home)
    assert counted(home, name, "state") == {("waiting",): 1}
    assert shown(home, oldest) is None, "it waits for its time"
    due = datetime.now(UTC).timestamp() - 90
    with home.parts.outbox.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE posts SET next_at = ?", (due,))
    assert counted(home, name, "state") == {("due",): 1}
    assert shown(home, oldest) == pytest.approx(due)
    deliver(home)
    assert counted(home, name, "state") == {("unsure",): 1}
    assert shown(home, oldest) is None


def test_either_database_can_tell(database_url: str) -> None:
    stage = Stage(database_url, {"fake": Fake()})
    try:
        assert stage.box.under_way(stage.now) == UnderWay(0, 0, 0, 0, None)
        stage.hear()
        later = stage.now + timedelta(seconds=7)
        assert stage.box.under_way(later) == UnderWay(1, 0, 0, 0, stage.now)
        assert stage.box.under_way(stage.now - timedelta(seconds=7)) == UnderWay(0, 1, 0, 0, None)
        stage.box.claim("me", later, 1)
        assert stage.box.under_way(later) == UnderWay(0, 0, 1, 0, None)
    finally:
        stage.close()


def test_a_post_whose_destination_is_left_alone_is_not_overdue(home: House) -> None:
    """It waits for the network, and not for us: no alert of ours mends that."""
    go_live(home)
    now = datetime.now(UTC)
    hold(home, Breaker(3, now, now + timedelta(minutes=5), "503"))
    home.past_the_hold()
    assert shown(home, "announcer_outbox_oldest_due_timestamp_seconds") is None
    assert shown(home, "announcer_outbox_posts", state="due") == 1


def hold(there: House, breaker: Breaker) -> None:
    with there.parts.outbox.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO breakers VALUES ('discord', ?, ?, ?, ?)",
            (
                breaker.failures,
                breaker.since.timestamp(),
                breaker.until.timestamp(),
                breaker.reason,
            ),
        )


def test_a_destination_is_open_left_alone_or_closed(home: House) -> None:
    def state() -> dict[tuple[str, ...], float]:
        return counted(home, "announcer_destination_state", "destination", "state")

    assert state() == {("discord", "open"): 1}
    now = datetime.now(UTC)
    hold(home, Breaker(3, now, now + timedelta(minutes=5), "503"))
    assert state() == {("discord", "left alone"): 1}
    home.parts.outbox.close("discord", "a fingerprint", "401", now)
    assert state() == {("discord", "closed"): 1}
    assert len(home.scraped("announcer_destination_state")) == 3, "one for each that it may be"


def test_a_destination_that_refuses_us_is_counted_and_closed(home: House) -> None:
    with_fake(home, Refused("401 no such token", closes=True))
    go_live(home)
    deliver(home)
    assert counted(home, "announcer_posts_total", "state") == {("failed",): 1}
    assert shown(home, "announcer_destination_state", state="closed") == 1


def test_clock_pause_and_size(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(home, "announcer_clock_ticking") == 1
    assert shown(home, "announcer_paused") == 0
    assert (shown(home, "announcer_database_size_bytes") or 0) > 4096
    assert shown(home, "announcer_database_up") == 1
    assert shown(home, "announcer_build_info") == 1
    assert (shown(home, "process_resident_memory_bytes") or 0) > 1e6
    home.parts.outbox.pause("paused", datetime.now(UTC))
    monkeypatch.setattr(scheduler, "STUCK", -1.0)
    assert shown(home, "announcer_paused") == 1
    assert shown(home, "announcer_clock_ticking") == 0


def test_what_owncast_showed_last_and_when(tmp_path: Path, wire: Wire) -> None:
    def state() -> dict[tuple[str, ...], float]:
        return counted(there, "announcer_watch_state", "channel", "state")

    with house(tmp_path) as there:
        (patrol,) = there.parts.patrols
        answered = "announcer_watch_last_answer_timestamp_seconds"
        assert state() == {}, "nobody has looked yet"
        assert shown(there, answered) is None
        wire.always("GET", "/api/status", 200, {"online": False})
        patrol.look()
        assert state() == {("default", "offline"): 1}
        first = shown(there, answered)
        assert first == pytest.approx(datetime.now(UTC).timestamp(), abs=5)
        wire.always_breaks("GET", "/api/status", refused)
        patrol.look()
        assert state() == {("default", "unreachable"): 1}
        assert shown(there, answered) == first
        there.parts.outbox.give_back(there.parts.delivery.owner)
        others = datetime.now(UTC), timedelta(minutes=5)
        assert there.parts.outbox.hold("watch default", "another replica", *others)
        patrol.look()
        assert state() == {}, "another replica knows"
        assert shown(there, "announcer_watch_looking", channel="default") == 1


def test_a_database_that_can_not_be_read_is_told_and_hides_nothing_else(home: House) -> None:
    home.hear(payload("0.3-stream-started"))
    with table_gone(home):
        assert shown(home, "announcer_database_up") == 0
        assert not home.scraped("announcer_outbox_posts")
        assert shown(home, "announcer_webhooks_total", kind="STREAM_STARTED") == 1
        assert shown(home, "announcer_clock_ticking") == 1
    assert shown(home, "announcer_database_up") == 1


def test_a_scrape_waits_for_no_writer_and_asks_no_network(tmp_path: Path, wire: Wire) -> None:
    with house(tmp_path) as there:
        before = there.stored()
        with locked(there):
            begun = datetime.now(UTC)
            assert shown(there, "announcer_database_up") == 1
            assert datetime.now(UTC) - begun < timedelta(seconds=2)
        assert there.stored() == before, "it changes nothing"
    assert not wire.sent


# Few labels, and none of a stranger's


def test_labels_are_ours_and_few(tmp_path: Path) -> None:
    with house(tmp_path, {**EVERY_SECRET, **SCRAPED}) as there:
        opens = {"Authorization": f"Bearer {TOKEN}"}
        with_fake(there)
        for number in range(3):
            go_live(there, title=f"{HOSTILE} {number}")
            there.hear(b'{"type": "%d", "eventData": {}}' % number)
            there.client.post(f"/webhooks/owncast/guess-{number}", data=b"x")
            there.client.get(f"/metrics?{HOSTILE}", headers=opens)
        there.parts.outbox.close("discord", "a fingerprint", f"401 {DISCORD}", datetime.now(UTC))
        told = there.client.get("/metrics", headers=opens).text
    for never in ("<script", "guess", "http", "canary", TOKEN, "fingerprint", "live.kestrel"):
        assert never not in told
    families = list(text_string_to_metric_families(told))
    samples = [one for family in families for one in family.samples]
    ours = [one for one in samples if one.name.startswith("announcer_")]
    assert {label for one in ours for label in one.labels} <= LABELS
    assert len({(one.name, *sorted(one.labels.items())) for one in samples}) == len(samples)
    kinds = {one.labels["kind"] for one in ours if one.name == "announcer_webhooks_total"}
    assert kinds <= {"none", *Kind}
    assert len(ours) < 300


def test_it_keeps_to_the_conventions_of_prometheus(home: House) -> None:
    with_fake(home, TryLater("503"))
    go_live(home)
    deliver(home)
    home.hear(payload("0.3-stream-started"))
    home.past_the_hold()
    answer = home.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["Cache-Control"] == "no-store"
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    assert {name for name in families if name.startswith("announcer_")} == NAMES
    for name, family in families.items():
        assert re.fullmatch("(announcer|process)_[a-z_]+", name), name
        assert family.documentation, name
        ends = {sample.name.removeprefix(name) for sample in family.samples}
        assert "_created" not in ends
        if family.type == "counter":
            assert ends == {"_total"}
        if family.type == "histogram":
            assert name.endswith("_seconds")
        assert not re.search("milli|minutes|percent|_ms$", name)


def test_two_services_in_one_process_do_not_share_their_counts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with house(tmp_path / "a", ALONE) as one, house(tmp_path / "b", ALONE) as other:
        one.hear(payload("0.3-stream-started"))
        assert shown(one, "announcer_webhook_duration_seconds_count") == 1
        assert shown(other, "announcer_webhook_duration_seconds_count") == 0
