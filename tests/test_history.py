"""History: found again, page by page, and taken along as a file. The questions on both
databases.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from announcer.network import Moment
from announcer.outbox import Outbox, Sought, StorageError, archive
from announcer.policy import State
from announcer.web import history
from announcer.web.pace import SEASON
from tests.fakes import open_box
from tests.house import ONE, House, house
from tests.scenes import MINUTE, Scene, tried
from tests.test_now import MASTODON, words
from tests.test_pages import HOSTILE, Page

DAY = timedelta(days=1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, {**ONE, **MASTODON}) as made:
        yield made


@pytest.fixture
def scene(home: House) -> Scene:
    return Scene(home.parts.outbox)


@pytest.fixture
def box(database_url: str) -> Iterator[Outbox]:
    box = open_box(database_url)
    yield box
    box.engine.dispose()


def shows(there: House, path: str = "/history", **query: str) -> list[str]:
    """The titles of the list."""
    page = there.client.get(path, query_string=query or None).text
    return re.findall(r'<h2 id="show-[^>]*><a [^>]*>([^<]*)</a>', page)


# The questions


def year(box: Outbox, number: int = 9) -> Scene:
    """So many shows, one a day, the newest first in name."""
    scene = Scene(box)
    for day in range(number):
        title = "Oak" if day % 3 == 0 else "Cherry"
        show = scene.show(f"b{day:04}", f"{title} {day}", ago=(day + 1) * DAY, lasted=60 * MINUTE)
        scene.post(show, "discord", State.FAILED if day == 4 else State.SETTLED)
        scene.post(show, "mastodon")
    return scene


def found(box: Outbox, limit: int = 99, **sought: Any) -> list[str]:
    return [show.id for show, _ in box.search(limit, Sought(**sought))]


def test_what_is_sought_is_found(box: Outbox) -> None:
    year(box)
    assert len(found(box)) == 9
    assert found(box, words="oak") == ["b0000", "b0003", "b0006"]
    assert found(box, words="OAK 3") == ["b0003"]
    assert found(box, words="kestrel") == found(box), "by name, too"
    assert found(box, words="b0005") == ["b0005"]
    assert found(box, state="failed") == ["b0004"]
    assert found(box, state="failed", destination="discord") == ["b0004"]
    assert found(box, state="failed", destination="mastodon") == []
    assert found(box, words="cherry", state="failed") == ["b0004"]
    assert found(box, words="oak", state="failed") == []
    assert found(box, broadcast="b0002") == ["b0002"]
    assert found(box, broadcast="b0002", words="nothing") == []


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("École d'été", "École"),
        ("École d'été", "école d'été"),
        ("ГОЛОС", "голос"),
        ("Straße", "straße"),
        ("100% oak", "100%"),
        ("a_b", "a_b"),
        ("back\\slash", "back\\slash"),
        ("it's", "it's"),
        ("🔴 live", "🔴"),
        ("日本語の配信", "本語"),
    ],
)
def test_a_title_is_found_as_it_is_typed(box: Outbox, title: str, words: str) -> None:
    scene = Scene(box)
    scene.show("b1", title)
    scene.show("b2", "axb 1000 oak backslash")
    assert found(box, words=words) == ["b1"]


@pytest.mark.parametrize(
    "words",
    ["%", "_", "' OR 1=1 --", "\\", "é" * 200, "\ud800".encode("utf-8", "replace").decode()],
)
def test_signs_of_a_database_are_signs(box: Outbox, words: str) -> None:
    year(box, 3)
    assert found(box, words=words) == []


def test_page_after_page_every_show_comes_once_even_of_the_same_second(box: Outbox) -> None:
    scene = Scene(box)
    for number in range(25):
        scene.show(f"b{number:02}", ago=timedelta(days=number // 5))
    seen: list[str] = []
    while page := found(box, 4, before=seen[-1] if seen else ""):
        seen += page
    assert len(seen) == len(set(seen)) == 25
    assert seen == found(box)
    assert found(box, before="b-never") == []


def test_a_season_has_the_newest_and_how_fast_each_was_told(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = year(box)
    monkeypatch.setattr(archive, "SEASON", 4)
    season = box.season(scene.now - 7 * DAY)
    assert [show.id for show, _ in season] == ["b0003", "b0002", "b0001", "b0000"]
    assert season[0][1] == {"discord": pytest.approx(33.42), "mastodon": pytest.approx(33.42)}
    assert box.season(scene.now) == []


def test_a_thousand_shows_are_read_in_few_questions(box: Outbox) -> None:
    Scene(box).show("b0000", lasted=MINUTE)
    with box.writing() as connection:
        for number in range(1, 1000):
            connection.exec_driver_sql(COPY.format(number=number))
    asked: list[str] = []
    sa.event.listen(box.engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
    assert len(box.history(1000)) == 1000
    assert (
        len([one for one in asked if one.startswith("SELECT")]) == 1 + 2 * 1000 // archive.AT_ONCE
    )


COPY = (
    "INSERT INTO broadcasts (id, channel, began, since, seen, stopped, name, title, summary) "
    "SELECT 'c{number:04}', channel, began - 60 * {number}, since, seen, stopped, name, title, "
    "summary FROM broadcasts WHERE id = 'b0000'"
)


# The page


def test_the_list_tells_what_was_posted_where(home: House, scene: Scene) -> None:
    show = scene.show(lasted=80 * MINUTE, peak=41)
    scene.post(show, "discord", link="https://discord.com/channels/1/2/3")
    scene.post(show, "mastodon", State.FAILED, reason="403")
    page = Page(home.client.get("/history"))
    told = " ".join(page.words.split())
    assert "1 h 20 min" in told
    assert "41 viewers" in told
    assert "Mastodon failed" in told
    assert "https://discord.com/channels/1/2/3" in page.links
    assert "1 stream" in told


def test_a_search_keeps_what_was_asked_and_shows_what_was_found(home: House, scene: Scene) -> None:
    year(home.parts.outbox)
    assert shows(home, words="oak") == ["Oak 0", "Oak 3", "Oak 6"]
    page = home.client.get("/history?words=oak&destination=discord&state=settled").text
    assert 'value="oak"' in page
    assert "<option selected>discord</option>" in page
    assert '<option value="settled" selected>' in page
    assert "Nothing was found" in words(home, "/history?words=zebra")
    assert "Nothing yet" not in words(home, "/history?words=zebra")


def test_an_empty_history_says_what_will_stand_there(home: House) -> None:
    assert "Every stream will stand here" in words(home, "/history")


def test_older_leads_on_with_the_same_question(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    year(home.parts.outbox)
    seen, path = [], "/history?words=oak"
    for _ in range(9):
        seen += shows(home, path)
        links = Page(home.client.get(path)).links
        older = [link for link in links if "before=" in link]
        if not older:
            break
        path = f"/{older[0]}"
        assert parse_qs(urlsplit(path).query)["words"] == ["oak"]
    assert seen == ["Oak 0", "Oak 3", "Oak 6"]
    assert "Back to the newest" in words(home, path)


@pytest.mark.parametrize(
    "query",
    [
        {"words": "x" * 5000},
        {"before": "x" * 5000},
        {"before": "2026-01-01"},
        {"state": "nonsense"},
        {"destination": HOSTILE},
        {"words": HOSTILE},
        {"before": HOSTILE},
        {"page": "-1", "said": "x"},
        {"words": ["a", "b"]},
    ],
)
def test_what_makes_no_sense_is_no_error(home: House, scene: Scene, query: dict[str, Any]) -> None:
    scene.show()
    answer = home.client.get("/history", query_string=query)
    page = Page(answer)
    assert page.elements["script"] == 1
    assert not {name for name in page.attributes if name.startswith("on")}


def test_one_show_is_told_from_its_first_try_to_its_last(home: House, scene: Scene) -> None:
    show = scene.show()
    made = [tried(show.began, "TryLater", "503 busy"), tried(show.began + MINUTE)]
    scene.post(show, "discord", text="**We** are live", made=made, link="https://discord.com/1")
    scene.post(show, "mastodon", moment=Moment.ALERT, text="@here something is wrong")
    told = words(home, f"/history/{show.id}")
    assert "503 busy" in told
    assert "b1/live/discord" in told
    assert "We are live" in told
    assert "something is wrong" in told
    assert told.index("not now") < told.index("done")
    assert home.client.get("/history/b9").status_code == 404
    assert home.client.get("/history/..%2f..%2fetc").status_code == 404


def test_the_bars_stay_within_their_picture(home: House, scene: Scene) -> None:
    scene.show("b1", ago=MINUTE)
    scene.show("b2", HOSTILE, ago=SEASON - MINUTE, lasted=timedelta(hours=30))
    page = home.client.get("/history").text
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="([\d.]+)"', page)
    assert len(bars) == 2
    for x, y, width, height in bars:
        assert 0 <= float(x) <= 900 - int(width)
        assert float(y) + float(height) == 106
        assert 4 <= float(height) <= 100


# As a file


def test_as_json_it_is_one_object_for_each_post(home: House, scene: Scene) -> None:
    show = scene.show(lasted=MINUTE)
    scene.post(show, "discord", link="https://discord.com/1", text="We are live")
    scene.post(show, "mastodon", State.FAILED, reason="403", link="javascript:alert(1)")
    answer = home.client.get("/history.json")
    assert answer.mimetype == "application/json"
    assert re.match(
        r'attachment; filename="announcer-history-\d{4}-\d\d-\d\d.json"',
        answer.headers["Content-Disposition"],
    )
    told = json.loads(answer.text)
    assert [row["destination"] for row in told] == ["discord", "mastodon"]
    assert told[0]["url"] == "https://discord.com/1"
    assert told[0]["text"] == "We are live"
    assert told[0]["tries"][0]["outcome"] == "delivered"
    assert told[1]["url"] == ""
    assert told[1]["reason"] == "403"


def test_nothing_as_a_file_is_still_a_file(home: House) -> None:
    assert home.client.get("/history.json").json == []
    assert len(rows_of(home)) == 0


def rows_of(there: House, **query: str) -> list[dict[str, str]]:
    answer = there.client.get("/history.csv", query_string=query)
    assert answer.mimetype == "text/csv"
    assert answer.data.startswith("\ufeff".encode())
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"), newline="")))


def test_as_csv_it_is_one_line_for_each_try(home: House, scene: Scene) -> None:
    show = scene.show()
    made = [tried(show.began, "TryLater", "503"), tried(show.began + MINUTE)]
    scene.post(show, "discord", made=made, text='two\nlines, "quoted"')
    scene.post(show, "mastodon", State.WITHDRAWN, reason="quiet")
    told = rows_of(home)
    assert [(row["destination"], row["outcome"]) for row in told] == [
        ("discord", "TryLater"),
        ("discord", "delivered"),
        ("mastodon", ""),
    ]
    assert told[0]["text"] == 'two\nlines, "quoted"'
    assert set(told[0]) == set(history.COLUMNS)


@pytest.mark.parametrize(
    "sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", " =", "\ufeff=", "  @"]
)
def test_no_spreadsheet_takes_a_word_for_a_formula(home: House, scene: Scene, sign: str) -> None:
    bad = f'{sign}HYPERLINK("https://evil.example","x")'
    show = scene.show(title=bad)
    scene.post(
        show,
        "discord",
        State.FAILED,
        text=bad,
        reason=bad,
        made=[tried(show.began, "Refused", bad)],
    )
    (row,) = rows_of(home)
    for name in ("title", "text", "reason", "try_reason"):
        assert row[name] == f"'{bad}", name


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("Drawers;=1+1", "Drawers;'=1+1"),
        ("Drawers; @SUM(A1);＝x", "Drawers;' @SUM(A1);'＝x"),
        ("a\r\n-2;b", "a\r\n'-2;b"),
        ("a;b = c; 5-3, +1", "a;b = c; 5-3, +1"),
    ],
)
def test_no_spreadsheet_finds_a_formula_behind_a_semicolon(
    home: House, scene: Scene, title: str, told: str
) -> None:
    """Where a comma is for decimals, a semicolon ends the cell: of our file, too."""
    scene.post(scene.show(), "discord", text=title)
    (row,) = rows_of(home)
    assert row["text"] == told


def test_a_file_has_what_was_searched_for(home: House) -> None:
    year(home.parts.outbox)
    told = rows_of(home, words="oak", state="settled")
    assert {row["title"] for row in told} == {"Oak 0", "Oak 3", "Oak 6"}
    everything = home.client.get("/history.json").json
    assert everything
    assert len(everything) == 18


def test_a_thousand_shows_fit_into_a_file_and_little_memory(home: House) -> None:
    """Read piece by piece: what is in memory at once is a piece."""
    scene = Scene(home.parts.outbox)
    scene.show("b0000", lasted=MINUTE)
    with scene.box.writing() as connection:
        for number in range(1, 1000):
            connection.exec_driver_sql(COPY.format(number=number))
        for name in ("b0000", "c0999"):
            connection.exec_driver_sql(POST.format(name=name))
    most = 0
    search = scene.box.search

    def counted(limit: int, sought: Sought) -> Any:
        nonlocal most
        most = max(most, limit)
        return search(limit, sought)

    scene.box.search = counted  # type: ignore[method-assign]
    told = home.client.get("/history.json").json
    assert told
    assert [row["broadcast"] for row in told] == ["b0000", "c0999"]
    assert most == history.PIECE


POST = (
    "INSERT INTO posts (key, broadcast, channel, moment, destination, state, next_at, until, "
    "tries, generation, edition, hush, reason, lease_until, deaths, changed) VALUES "
    "('{name}/live/x', '{name}', 'default', 'live', 'x', 'failed', 0, 0, 0, 0, 0, '', '', 0, 0, 0)"
)


def test_a_file_that_is_cut_short_says_so(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PIECE", 2)
    year(home.parts.outbox)
    box, asked = home.parts.outbox, 0
    search = box.search

    def breaks(limit: int, sought: Sought) -> Any:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise StorageError
        return search(limit, sought)

    monkeypatch.setattr(box, "search", breaks)
    answer = home.client.get("/history.csv")
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("INCOMPLETE: the database could not be read any more.")
    asked = 0
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(home.client.get("/history.json").text)
