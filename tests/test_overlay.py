"""The page for OBS: open to who knows its address, and it tells only what everybody may see."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from announcer.network import Moment
from announcer.outbox import StorageError
from announcer.policy import State
from announcer.settings import SettingsError
from announcer.web import overlay, stream
from announcer.wiring import read
from tests.house import ONE, TWO, House, house
from tests.scenes import MINUTE, Scene, tried
from tests.test_now import MASTODON, news
from tests.test_pages import HOSTILE

WORD = "an-overlay-nobody-guesses"
PLACE = f"/overlay/{WORD}"
LINK = "https://social.example/@kestrel/1"
SECOND = timedelta(seconds=1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    more = {"ANNOUNCER_OVERLAY_TOKEN": WORD, "ANNOUNCER_ADMIN_PASSWORD": "for the pages"}
    with house(tmp_path, {**TWO, **MASTODON, **more}) as made:
        yield made


@pytest.fixture
def scene(home: House) -> Scene:
    return Scene(home.parts.outbox)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LASTS", 0.0)


def toasts(there: House) -> list[str]:
    """Their words, the oldest first."""
    (told,) = news(there.client.get(f"{PLACE}/events"))
    return [" ".join(re.sub(r"<[^>]+>", " ", html).split()) for html in told.values()]


# Who may see it


@pytest.mark.parametrize("rest", ["", "/events", "/own.css"])
@pytest.mark.parametrize(
    "word", ["wrong-word-of-some-length", WORD[:-1], WORD + "x", WORD.upper(), "é" * 20, "%00", "x"]
)
def test_who_does_not_know_its_address_finds_nothing(home: House, word: str, rest: str) -> None:
    assert home.client.get(f"/overlay/{word}{rest}").status_code == 404


def test_without_a_word_there_is_no_such_page(tmp_path: Path) -> None:
    with house(tmp_path) as closed:
        answer = closed.client.get(PLACE)
        assert answer.status_code == 404
        assert closed.client.get("/overlay/").status_code == 404
        wrong = closed.client.get("/overlay/wrong")
        assert wrong.data == answer.data, "nobody learns whether it is switched on"


@pytest.mark.parametrize(
    "word", ["short", "fifteen-letters", "a word with spaces", "ä" * 20, "a/b" * 9]
)
def test_a_word_that_can_be_guessed_is_refused(word: str) -> None:
    with pytest.raises(SettingsError, match="ANNOUNCER_OVERLAY_TOKEN"):
        read({**ONE, "ANNOUNCER_OVERLAY_TOKEN": word})


def test_it_needs_no_login_and_gives_none(home: House) -> None:
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    answer = home.client.get(PLACE, environ_base=elsewhere)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert "csrf" not in answer.text
    assert "<form" not in answer.text
    assert home.client.post(PLACE).status_code == 405
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


# What it shows


def test_each_post_is_told_as_it_goes_up_the_oldest_first(home: House, scene: Scene) -> None:
    show = scene.show(ago=MINUTE)
    assert toasts(home) == []
    scene.post(show, "mastodon", link=LINK, made=[tried(scene.now - 20 * SECOND)])
    scene.post(show, "x", link="https://x.com/1", made=[tried(scene.now - 50 * SECOND)])
    assert toasts(home) == [
        "X Now on X x.com/1",
        "M Now on Mastodon social.example/@kestrel/1",
    ]


def test_two_that_went_up_in_the_same_moment_are_both_told(home: House, scene: Scene) -> None:
    show = scene.show(ago=MINUTE)
    for name in ("mastodon", "x"):
        scene.post(show, name, link=LINK, made=[tried(scene.now)])
    assert len(toasts(home)) == 2


def test_both_channels_are_told(home: House, scene: Scene) -> None:
    for name, channel in (("b1", "default"), ("b2", "music")):
        show = scene.show(name, ago=MINUTE, channel=channel)
        scene.post(show, "mastodon", link=LINK, made=[tried(scene.now)])
    assert len(toasts(home)) == 2


@pytest.mark.parametrize(
    ("why", "state", "fields"),
    [
        ("not up yet", State.DUE, {}),
        ("failed", State.FAILED, {"reason": "401 secret words of a network"}),
        ("in doubt", State.UNSURE, {}),
        ("taken down", State.SETTLED, {"shown": None}),
        ("without an address", State.SETTLED, {"link": ""}),
        ("with none that a browser follows", State.SETTLED, {"link": "javascript:alert(1)"}),
        ("the end", State.SETTLED, {"moment": Moment.ENDED}),
        ("an alert", State.SETTLED, {"moment": Moment.ALERT, "text": "an alert"}),
        ("old news", State.SETTLED, {"old": True}),
    ],
)
def test_what_is_no_news_for_viewers_is_not_told(
    home: House, scene: Scene, why: str, state: State, fields: dict[str, object]
) -> None:
    at = scene.now - (overlay.FRESH + MINUTE if fields.pop("old", False) else SECOND)
    given = {"link": LINK, "made": [tried(at)], **fields}
    scene.post(scene.show(), "mastodon", state, **given)  # type: ignore[arg-type]  # by name
    assert toasts(home) == [], why


def test_after_the_end_nothing_is_told(home: House, scene: Scene) -> None:
    show = scene.show(ago=MINUTE, lasted=30 * SECOND)
    scene.post(show, "mastodon", link=LINK, made=[tried(scene.now)])
    assert toasts(home) == []


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://m.example/@kestrel/115600000000000001", "m.example/@kestrel"),
        ("https://x.com/kestrel/status/1990000000000000001", "x.com/kestrel"),
        ("https://bsky.app/profile/k.example/post/3m6abcdefgh2k", "bsky.app/profile/k.example"),
        ("https://discord.com/channels/118642000000000/118642000000001/7", "discord.com"),
        ("http://m.example/@kestrel/7", "m.example/@kestrel/7"),
    ],
)
def test_numbers_that_nobody_types_are_left_out(
    home: House, scene: Scene, link: str, shown: str
) -> None:
    scene.post(scene.show(ago=MINUTE), "mastodon", link=link, made=[tried(scene.now)])
    assert toasts(home) == [f"M Now on Mastodon {shown}"]


def test_a_hostile_address_is_words(home: House, scene: Scene) -> None:
    link = f'https://x.e/"><script>{HOSTILE}'
    scene.post(
        scene.show(title=HOSTILE, ago=MINUTE), "mastodon", link=link, made=[tried(scene.now)]
    )
    (html,) = news(home.client.get(f"{PLACE}/events"))[0].values()
    assert "<script" not in html
    assert "<img" not in html
    assert "onerror" not in re.sub(r">[^<]*<", "><", html)


# How it looks


@pytest.mark.parametrize(
    ("query", "classes", "seconds"),
    [
        ("", "bottom-left medium", 8),
        ("position=top-right&size=large&seconds=12", "top-right large", 12),
        ("position=%22%3E%3Cscript%3E&size=huge&seconds=x", "bottom-left medium", 8),
        ("seconds=0", "bottom-left medium", 2),
        ("seconds=99999", "bottom-left medium", 60),
        ("seconds=-5&size=small", "bottom-left small", 2),
    ],
)
def test_its_address_says_how_it_looks(home: House, query: str, classes: str, seconds: int) -> None:
    page = home.client.get(f"{PLACE}?{query}").text
    assert f'<body class="{classes}"' in page
    assert f'data-seconds="{seconds}"' in page


def test_a_style_of_ones_own_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "own.css"
    more = {"ANNOUNCER_OVERLAY_TOKEN": WORD, "ANNOUNCER_OVERLAY_CSS": str(file)}
    with house(tmp_path, {**ONE, **more}) as made:
        assert made.client.get(f"{PLACE}/own.css").status_code == 404, "it is not there yet"
        for style in (".toast { color: red }", ".toast { color: blue }"):
            file.write_text(style, "utf-8")
            answer = made.client.get(f"{PLACE}/own.css")
            assert (answer.text, answer.mimetype) == (style, "text/css")
        assert f'href="{WORD}/own.css"' in made.client.get(PLACE).text
        file.write_text("x" * (overlay.OWN + 1), "utf-8")
        assert made.client.get(f"{PLACE}/own.css").status_code == 404
        file.unlink()
        file.mkdir()
        assert made.client.get(f"{PLACE}/own.css").status_code == 404


def test_without_one_there_is_no_such_file(home: House) -> None:
    assert home.client.get(f"{PLACE}/own.css").status_code == 404
    assert "own.css" not in home.client.get(PLACE).text


def test_without_a_database_nothing_is_drawn(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: object) -> None:
        raise StorageError

    monkeypatch.setattr(home.parts.outbox, "current", breaks)
    answer = home.client.get(f"{PLACE}/events")
    assert (answer.status_code, answer.data) == (503, b"")
