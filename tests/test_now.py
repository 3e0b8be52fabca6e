"""The first page, as the operator sees and uses it: what is told, and a click that mends it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from announcer.events import Event, Kind
from announcer.network import Moment
from announcer.outbox import StorageError
from announcer.outbox.accounts import hold
from announcer.policy import Breaker, Entry, Hush, State
from announcer.quiet import PAUSED
from announcer.web import stream
from tests.house import ONE, TWO, House, _on_every_connection, full, house, locked, table_gone
from tests.scenes import MINUTE, Scene, tried
from tests.test_door import token
from tests.test_pages import HOSTILE, Page

MASTODON = {
    "MASTODON_API_BASE_URL": "https://social.example",
    "MASTODON_ACCESS_TOKEN": "a-token-of-mastodons",
    "X_CONSUMER_KEY": "one",
    "X_CONSUMER_SECRET": "two",
    "X_ACCESS_TOKEN": "three",
    "X_ACCESS_TOKEN_SECRET": "four",
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, {**ONE, **MASTODON}) as made:
        yield made


@pytest.fixture
def scene(home: House) -> Scene:
    return Scene(home.parts.outbox)


def words(there: House, path: str = "/") -> str:
    return " ".join(Page(there.client.get(path)).words.split())


def cards(there: House) -> list[str]:
    """Their words, in the order of the page."""
    page = there.client.get("/").text
    found = re.findall(r'<li id="post-.*?</li>', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in found]


def press(there: House, what: str, key: str) -> str:
    """What the page says after a click, and the answer that the script asks for."""
    form = {"csrf": token(there), "key": key, "sure": "yes"}
    done = there.client.post(f"/do/{what}", data=form)
    assert done.status_code == 303
    assert done.headers["Location"].startswith("../?said=")
    page = there.client.get(done.headers["Location"].removeprefix("..")).text
    said: list[str] = re.findall(r'<p class="banner good"[^>]*>([^<]*)</p>', page)
    return "".join(said)


def entry(there: House, key: str) -> Entry:
    for _, posts in there.parts.outbox.history(99):
        for post in posts:
            if post.entry.key == key:
                return post.entry
    raise AssertionError(key)


# What is shown


def test_what_needs_somebody_comes_first(home: House, scene: Scene) -> None:
    show = scene.show()
    scene.post(show, "discord", link="https://discord.com/1")
    scene.post(show, "mastodon", State.DUE, next_at=scene.now + MINUTE, reason="503")
    scene.post(show, "x", State.FAILED, reason="402 no credits", made=[tried(scene.now)])
    assert [card.split()[1] for card in cards(home)] == ["X", "Mastodon", "Discord"]
    assert "1 of 3 told · 1 on its way · 1 needs you" in words(home)


def test_two_channels_live_at_once_are_both_there(tmp_path: Path) -> None:
    with house(tmp_path, TWO) as two:
        scene = Scene(two.parts.outbox)
        scene.show("b1", "Drawers", ago=9 * MINUTE)
        scene.show("b2", "Bagpipes", channel="music", ago=5 * MINUTE)
        scene.show("b0", "Yesterday", ago=timedelta(days=1), lasted=MINUTE)
        told = words(two)
        assert "You are live on 2 channels" in told
        assert "Live on music" in told
        assert "Live on the main channel" in told
        assert told.index("Bagpipes") < told.index("Drawers")
        assert "Yesterday" not in told


def test_a_channel_that_is_served_no_more_is_not_live_for_ever(home: House, scene: Scene) -> None:
    scene.show("b1", "Long ago", ago=timedelta(days=9), channel="music")
    scene.show("b2", "Drawers", ago=MINUTE * 90, lasted=MINUTE * 60)
    assert "You are not live" in words(home)
    assert "Drawers" in words(home)


def test_when_nobody_is_live_the_last_stream_is_there(home: House, scene: Scene) -> None:
    for day in (1, 2, 3):
        scene.show(f"b{day}", f"Day {day}", ago=timedelta(days=day), lasted=90 * MINUTE, peak=40)
    told = words(home)
    assert "Last stream Day 1" in told
    assert "lasted 1 h 30 min" in told
    assert "40 viewers at the peak" in told
    assert "Day 2" not in told


def test_a_post_stands_there_as_its_readers_see_it(home: House, scene: Scene) -> None:
    show = scene.show()
    scene.post(
        show, "discord", text="🔴 **Kestrel** is live: 5 \\* 3 @\u200beveryone\n<https://a.example>"
    )
    (card,) = cards(home)
    assert "Kestrel is live: 5 * 3 @everyone https://a.example" in card
    assert "**" not in card
    page = home.client.get("/").text
    assert "<strong>Kestrel</strong>" in page
    assert "\u200b" not in page


def test_a_content_warning_stands_before_the_words(tmp_path: Path) -> None:
    with house(tmp_path, {**ONE, **MASTODON, "MASTODON_SPOILER_TEXT": "Sharp tools"}) as made:
        scene = Scene(made.parts.outbox)
        scene.post(scene.show(), "mastodon", text="We are live")
        (card,) = cards(made)
        assert "Content warning: Sharp tools We are live" in card


def test_a_picture_is_shown_with_its_words_and_given_to_no_one_else(
    home: House, scene: Scene
) -> None:
    digest = scene.picture()
    scene.post(scene.show(), "mastodon", picture=digest, alt='A "drawer" <b>')
    assert 'alt="A &#34;drawer&#34; &lt;b&gt;"' in home.client.get("/").text
    answer = home.client.get(f"/pictures/{digest}")
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"].startswith("private")
    for other in ("0" * 64, "x", "..%2f..%2fetc%2fpasswd", digest.upper(), "é" * 64):
        assert home.client.get(f"/pictures/{other}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"state": State.SETTLED, "wanted": None, "shown": None}, "taken down"),
        ({"state": State.DUE, "wanted": None, "shown": Moment.LIVE}, "being taken down"),
        ({"state": State.SENDING, "wanted": None, "shown": Moment.LIVE}, "being taken down"),
        (
            {"state": State.DUE, "wanted": Moment.ENDED, "shown": Moment.LIVE},
            "being brought up to date",
        ),
        ({"state": State.FAILED, "shown": Moment.LIVE}, "not brought up to date"),
        ({"state": State.GONE}, "deleted by a person"),
        ({"state": State.WITHDRAWN}, "not told"),
        ({"state": State.UNSURE}, "may be posted"),
    ],
)
def test_every_state_has_words(
    home: House, scene: Scene, fields: dict[str, Any], state: str
) -> None:
    state_ = fields.pop("state")
    scene.post(scene.show(), "mastodon", state_, **fields)
    assert f" {state} " in cards(home)[0] + " "


def test_a_destination_left_alone_says_why_and_until_when(home: House) -> None:
    now = datetime.now(UTC)
    with home.parts.outbox.writing() as connection:
        hold(connection, "discord", Breaker(5, now, now + 3 * MINUTE, f"503 {HOSTILE}"))
    page = Page(home.client.get("/"))
    assert "discord is left alone for" in page.words
    assert HOSTILE in page.words


@pytest.mark.parametrize("destinations", [1, 4, 20])
def test_it_takes_as_many_questions_for_many_destinations_as_for_one(
    tmp_path: Path, destinations: int
) -> None:
    more = {
        f"MASTODON__A{n}__{name}": MASTODON[f"MASTODON_{name}"] + str(n)
        for n in range(destinations)
        for name in ("API_BASE_URL", "ACCESS_TOKEN")
    }
    with house(tmp_path, {**ONE, **more}) as made:
        scene = Scene(made.parts.outbox)
        show = scene.show()
        for n in range(destinations):
            scene.post(show, f"mastodon.a{n}")
        assert questions(made, "/") <= 7
        assert questions(made, "/destinations") <= 6


def questions(there: House, path: str) -> int:
    asked: list[str] = []

    def hear(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("BEGIN"):
            asked.append(statement)

    there.client.get(path)
    sa.event.listen(there.parts.outbox.engine, "before_cursor_execute", hear)
    there.client.get(path)
    sa.event.remove(there.parts.outbox.engine, "before_cursor_execute", hear)
    return len(asked)


# What strangers say


@pytest.mark.parametrize("path", ["/", "/history", "/history/b1", "/destinations"])
def test_g18_a_hostile_word_is_a_word_wherever_it_stands(
    home: House, scene: Scene, path: str
) -> None:
    before = Page(home.client.get(path.replace("/b1", "")))
    bad = f'{HOSTILE} <https://x.example/"onclick="a()> [a](javascript:alert(1)) **<b>**'
    show = scene.show(title=bad)
    link = f'https://x.example/" onmouseover="a()"><script>{HOSTILE}'
    for name in ("discord", "mastodon"):
        scene.post(show, name, text=bad, link=link, extra={"note": bad}, card=True, reason=bad)
    scene.post(
        show, "x", State.FAILED, text=bad, reason=bad, made=[tried(scene.now, "Refused", bad)]
    )
    home.parts.outbox.close("discord", "fingerprint", bad, scene.now)
    page = Page(home.client.get(path))
    assert "alert(1)" in page.words
    assert page.elements["script"] == before.elements["script"]
    assert page.elements["img"] == before.elements["img"]
    assert not {name for name in page.attributes if name.startswith("on")}
    for address in page.links:
        assert (
            address.startswith(("https://x.example/", "https://discord", "#")) or ":" not in address
        )


# A click


def failed(scene: Scene, destination: str = "discord", **fields: Any) -> Entry:
    return scene.post(scene.show(), destination, State.FAILED, reason="403 no such right", **fields)


def test_try_again_makes_it_due(home: House, scene: Scene) -> None:
    post = failed(scene)
    assert "Try again" in cards(home)[0]
    assert press(home, "retry", post.key) == "It is tried again."
    assert entry(home, post.key).state is State.DUE
    assert press(home, "retry", post.key) == "That had changed meanwhile. Nothing was done."


def test_try_again_and_send_now_open_a_closed_destination(home: House, scene: Scene) -> None:
    box = home.parts.outbox
    post = failed(scene)
    box.close("discord", "fingerprint", "401", scene.now)
    press(home, "retry", post.key)
    assert box.closed() == {}
    waiting = scene.post(
        scene.show("b2"), "mastodon", State.DUE, next_at=scene.now + MINUTE, reason="503"
    )
    box.close("mastodon", "fingerprint", "401", scene.now)
    assert press(home, "now", waiting.key) == "It is sent now."
    assert box.closed() == {}
    assert entry(home, waiting.key).next_at <= datetime.now(UTC)


def test_in_doubt_both_ways_are_offered_and_the_risky_one_asks(home: House, scene: Scene) -> None:
    post = scene.post(
        scene.show(), "discord", State.UNSURE, reason="no answer", doubtful_since=scene.now
    )
    (card,) = cards(home)
    assert "Mark as posted" in card
    assert "Try again" in card
    page = home.client.get("/").text
    assert re.search(r'action="do/retry" data-ask="Have you looked', page)
    assert press(home, "sent", post.key) == "Marked as posted."
    assert entry(home, post.key).state is State.SETTLED
    assert "Take down" not in cards(home)[0], "nobody knows its id"


@pytest.mark.parametrize(
    ("what", "state", "question"),
    [
        ("retry", State.UNSURE, "Have you looked whether it is up?"),
        ("down", State.SETTLED, "Take this post down on the network?"),
    ],
)
def test_what_can_not_be_taken_back_is_asked_by_a_page_where_no_script_asks(
    home: House, scene: Scene, what: str, state: State, question: str
) -> None:
    post = scene.post(scene.show(), "mastodon", state, doubtful_since=scene.now)
    before = entry(home, post.key)
    form = {"csrf": token(home), "key": post.key}
    page = home.client.post(f"/do/{what}", data=form)
    assert page.status_code == 200
    assert question in page.text
    assert entry(home, post.key) == before, "it only asks"
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    assert fields == {**form, "sure": "yes"}
    assert re.search(r'<a class="button main" href="\.\./"', page.text), "the harmless way leads"
    assert home.client.post(f"/do/{what}", data=fields).status_code == 303
    assert entry(home, post.key).state is State.DUE


def test_a_page_that_is_old_does_not_know_what_is_in_doubt_but_the_server_does(
    home: House, scene: Scene
) -> None:
    post = failed(scene)
    form = {"csrf": token(home), "key": post.key}
    with home.parts.outbox.writing() as connection:
        connection.execute(sa.text("UPDATE posts SET state = 'unsure'"))
    assert "Have you looked" in home.client.post("/do/retry", data=form).text
    assert entry(home, post.key).state is State.UNSURE


def test_taken_down_by_a_click(home: House, scene: Scene) -> None:
    post = scene.post(scene.show(), "mastodon", link="https://social.example/1")
    assert re.search(r'action="do/down" data-ask="Take this post down', home.client.get("/").text)
    assert press(home, "down", post.key) == "It is being taken down."
    assert entry(home, post.key).hush is Hush.TAKEN
    assert "being taken down" in cards(home)[0]
    assert "Take down" not in cards(home)[0]
    assert press(home, "down", post.key) == "That had changed meanwhile. Nothing was done."


def test_a_network_that_removes_nothing_offers_no_such_button(tmp_path: Path) -> None:
    with house(tmp_path, {**ONE, "OWNCAST_ACCESS_TOKEN": "a-token-of-the-chat"}) as made:
        scene = Scene(made.parts.outbox)
        scene.post(scene.show(), "owncast")
        assert "Take down" not in cards(made)[0]


def test_a_pause_and_its_end(home: House) -> None:
    assert press(home, "pause", "") == "Paused: nothing new is announced."
    assert "Paused since" in words(home)
    now = datetime.now(UTC)
    home.parts.intake.take(Event("e", "default", Kind.STARTED, now, title="Drawers"), now)
    assert all("not told" in card and PAUSED in card for card in cards(home))
    for card in cards(home):
        assert "Announce here" in card, "for nothing was tried yet"
        assert "Try again" not in card
    assert press(home, "resume", "") == "Resumed: the next stream is announced."
    ((show, _),) = home.parts.outbox.history(1)
    assert "Announce anyway" in words(home)
    assert press(home, "announce", show.id) == "It is being announced."
    assert "Announce anyway" not in words(home)
    assert press(home, "resume", "") == "That had changed meanwhile. Nothing was done."


def test_nothing_is_offered_for_what_is_over(home: House, scene: Scene) -> None:
    show = scene.show(lasted=30 * MINUTE)
    scene.post(show, "discord", State.FAILED, reason="403")
    scene.post(show, "mastodon", State.WITHDRAWN, hush=Hush.TITLE, reason="its title")
    assert "Try again" not in words(home)
    assert not re.search(r"Announce (here|anyway)", words(home))


def test_the_word_of_an_end_is_not_offered_while_it_is_live(home: House, scene: Scene) -> None:
    scene.post(scene.show(), "discord", State.WITHDRAWN, moment=Moment.ENDED, reason="it came back")
    assert "Try again" not in words(home)


def test_what_is_configured_no_more_is_shown_and_not_touched(home: House, scene: Scene) -> None:
    post = failed(scene, "misskey.old")
    (card,) = cards(home)
    assert "misskey" in card
    assert "Try again" not in card
    assert post.key


@pytest.mark.parametrize("path", ["/do/drop", "/do/", "/do/retry/x"])
def test_there_are_no_other_actions(home: House, path: str) -> None:
    assert home.client.post(path, data={"csrf": token(home)}).status_code == 404


@pytest.mark.parametrize("said", ["<script>", "done_x", "title", "x" * 5000])
def test_the_page_says_only_what_is_its_own(home: House, said: str) -> None:
    page = home.client.get("/", query_string={"said": said})
    assert page.status_code == 200
    assert "banner good" not in page.text


@pytest.mark.parametrize("what", ["retry", "sent", "now", "down", "announce"])
@pytest.mark.parametrize("key", ["", "b9/live/x", "'; DROP TABLE posts;--", "é" * 300, "x" * 9000])
def test_a_key_of_nothing_does_nothing(home: House, what: str, key: str) -> None:
    assert press(home, what, key) == "That had changed meanwhile. Nothing was done."


# What changes by itself


def news(answer: TestResponse) -> list[dict[str, str]]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LASTS", 0.3)
    monkeypatch.setattr(stream, "PAUSE", 0.05)


def test_a_stream_tells_how_it_is_and_then_only_what_is_new(
    home: House, scene: Scene, brief: None
) -> None:
    first = home.client.get("/now/events")
    assert first.mimetype == "text/event-stream"
    assert first.headers["Cache-Control"] == "no-store"
    assert first.headers["X-Accel-Buffering"] == "no"
    (told,) = news(first)
    assert "You are not live" in told["state"]
    (known,) = re.findall(r"^id: (\w+)$", first.text, re.MULTILINE)
    again = home.client.get("/now/events", headers={"Last-Event-ID": known})
    assert news(again) == []
    scene.post(scene.show(), "discord")
    (told,) = news(home.client.get("/now/events", headers={"Last-Event-ID": known}))
    assert list(told) == ["state", "show-b1"]
    assert 'action="do/down"' in told["show-b1"], "relative to the page, not to the stream"


def test_the_parts_have_the_ids_that_the_page_has(home: House, scene: Scene, brief: None) -> None:
    scene.post(scene.show(), "discord")
    for name in ("discord", "mastodon.music", "mastodon-music", "mastodon_music"):
        home.parts.outbox.close(name, "fingerprint", "401", scene.now)
    (told,) = news(home.client.get("/now/events"))
    assert len(told) == 6
    for place, html in told.items():
        assert re.match(rf'<\w+ id="{re.escape(place)}"', html.strip()), place


def test_more_watchers_than_there_is_room_for_hold_nothing_and_are_told_all_the_same(
    home: House, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LASTS", 30.0)
    scene.post(scene.show(), "discord")
    held = [home.client.get("/now/events", buffered=False) for _ in range(stream.AT_ONCE)]
    try:
        for _ in range(20):
            answer = home.client.get("/now/events")  # whole at once, or this would wait
            assert answer.status_code == 200
            assert f"retry: {stream.LATER}" in answer.text
            assert "show-b1" in news(answer)[0]
    finally:
        for one in reversed(held):  # as their contexts are nested in this one thread
            one.close()
    monkeypatch.setattr(stream, "LASTS", 0.0)
    for _ in range(3 * stream.AT_ONCE):
        again = home.client.get("/now/events").text
        assert f"retry: {stream.AGAIN}" in again, "their room is free again"


def test_a_stream_ends_in_time_however_long_a_look_takes(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our worker would cut it off in the middle of an event."""
    passed = 0.0

    def look() -> dict[str, str]:
        nonlocal passed
        passed += 3.0
        return {}

    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: passed))
    with home.client.application.test_request_context("/now/events"):
        list(stream.stream(look, "", pause=0.0).response)
    assert passed == 6.0, "a third look would end after nine"
    passed, looks = 0.0, 0

    def slower() -> dict[str, str]:
        nonlocal passed, looks
        passed, looks = passed + 5.0, looks + 1
        return {}

    with home.client.application.test_request_context("/now/events"):
        list(stream.stream(slower, "", pause=0.0).response)
    assert looks == 1, "a second would end after ten"


def test_a_stream_ends_when_the_service_stops(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LASTS", 60.0)
    stream.leaving.set()
    try:
        assert news(home.client.get("/now/events"))
    finally:
        stream.leaving.clear()


def test_a_stream_is_open_to_nobody_else(tmp_path: Path) -> None:
    with house(tmp_path, {**ONE, "ANNOUNCER_ADMIN_PASSWORD": "x"}) as made:
        assert made.client.get("/now/events").status_code == 401


# Without a database


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/now/events",
        "/history",
        "/history.csv",
        "/history.json",
        "/history/b1",
        "/destinations",
        "/destinations/events",
        f"/pictures/{'0' * 64}",
    ],
)
def test_without_a_database_every_page_says_so_and_no_more(home: House, path: str) -> None:
    box = home.parts.outbox
    Scene(box).show()
    with box.engine.begin() as connection:
        for table in ("broadcasts", "pictures", "closed"):
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO away_{table}")
    answer = home.client.get(path)
    assert answer.status_code == 503
    assert answer.mimetype == "text/plain"
    assert "ANNOUNCER_DATABASE_URL" in answer.text
    assert "away" not in answer.text


def test_a_stream_that_loses_its_database_ends_quietly(
    home: House, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LASTS", 30.0)
    box, asked = home.parts.outbox, 0
    paused = box.paused

    def breaks() -> datetime | None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise StorageError
        return paused()

    monkeypatch.setattr(box, "paused", breaks)
    assert len(news(home.client.get("/now/events"))) == 1
    assert asked == 2


@pytest.mark.parametrize("breakage", [full, table_gone], ids=["a full disk", "a table gone"])
def test_a_click_that_can_not_be_stored_says_so(home: House, scene: Scene, breakage: Any) -> None:
    post = failed(scene)
    given = token(home)
    with breakage(home):
        answer = home.client.post("/do/retry", data={"csrf": given, "key": post.key})
        assert answer.status_code in (303, 503)
        if answer.status_code == 503:
            assert "ANNOUNCER_DATABASE_URL" in answer.text
    assert entry(home, post.key)


def test_a_click_waits_for_no_lock_for_ever(home: House, scene: Scene) -> None:
    post = failed(scene)
    given = token(home)
    with _on_every_connection(home, "busy_timeout", "50", "10000"), locked(home):
        answer = home.client.post("/do/retry", data={"csrf": given, "key": post.key})
    assert answer.status_code == 503
    assert entry(home, post.key).state is State.FAILED
