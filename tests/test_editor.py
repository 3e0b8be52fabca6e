"""Templates on the page: tried for every destination, saved as files, never lost or trusted."""

import hashlib
import os
import re
import shutil
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from announcer.content import Content
from announcer.contract.fake import Wire
from announcer.events import Event, Kind
from announcer.facts import SAMPLES, variables
from announcer.network import Moment, Network, Receipt
from announcer.outbox import Try
from announcer.policy import settled
from announcer.shelf import Bar, Barred, Shelf
from announcer.web import limits as limited
from announcer.web import say, trials
from announcer.web.limits import Limits
from announcer.web.samples import CHOICES
from announcer.wording import LARGEST, SHIPPED
from tests.house import ONE, House, full, house, table_gone
from tests.test_pages import HOSTILE, login
from tests.test_wording import FACTS, Plain

ADDRESS = "https://live.example.org/a-long-name"
SET = {
    **ONE,
    "OWNCAST_URL": ADDRESS,
    "MASTODON_API_BASE_URL": "https://social.example",
    "MASTODON_ACCESS_TOKEN": "a-token-of-mastodons",
    "MASTODON__MUSIC__API_BASE_URL": "https://music.example",
    "MASTODON__MUSIC__ACCESS_TOKEN": "another-token-of-mastodons",
    "OWNCAST_ACCESS_TOKEN": "a-token-of-owncasts",
    "X_CONSUMER_KEY": "a-key-of-xs",
    "X_CONSUMER_SECRET": "a-secret-of-xs",
    "X_ACCESS_TOKEN": "a-token-of-xs",
    "X_ACCESS_TOKEN_SECRET": "another-secret-of-xs",
}
TOKEN = re.compile(r'name="csrf" value="([0-9a-f]+)"')
SEEN = re.compile(r'name="seen" value="([0-9a-f]*)"')
SOURCE = re.compile(r'<textarea id="source".*?>\n(.*?)</textarea>', re.DOTALL)
CARD = re.compile(r'<li class="card net-(\w+) (\w+)">(.*?)</li>', re.DOTALL)
WIDE = "Hello {{ name }}\n{{ url }}"


def words(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html))


def shown(html: str) -> dict[str, str]:
    """What stands on the card of each account, without markup."""
    cards = [words(inner) for _, _, inner in CARD.findall(html)]
    return {" ".join(card.split()[1:]).partition(" / ")[0]: card for card in cards}


def card_of(html: str, network: str) -> str:
    return next(words(inner) for name, _, inner in CARD.findall(html) if name == network)


@dataclass
class Editor:
    """The page of one operator, and the folder behind it."""

    house: House
    own: Path

    def open(self, name: str = "", **query: str) -> str:
        answer = self.house.client.get(f"/templates/{name}".rstrip("/"), query_string=query)
        assert answer.status_code == 200
        return answer.text

    def send(
        self, name: str, do: str, source: str = "", seen: str | None = None, **more: Any
    ) -> TestResponse:
        """A press on a button of the page as it is now, or as it was *seen*."""
        file = self.own / name
        now = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        form = {
            "csrf": self.token,
            "seen": now if seen is None else seen,
            "do": do,
            "source": source,
            "sample": more.pop("sample", "usual"),
        }
        return self.house.client.post(f"/templates/{name}", data=form, **more)

    @cached_property
    def token(self) -> str:
        found = TOKEN.search(self.house.client.get("/").text)
        assert found
        return found[1]

    def seen(self, name: str) -> str:
        """What the page of a file says that it was made from."""
        found = SEEN.search(self.open(name))
        assert found
        return found[1]

    def try_out(self, name: str, source: str, **more: Any) -> Any:
        """What the script of the page gets for what is typed."""
        answer = self.send(name, "preview", source, headers={"Accept": "application/json"}, **more)
        assert answer.status_code == 200
        return answer.json

    def save(self, name: str, source: str) -> None:
        answer = self.send(name, "save", source)
        assert answer.status_code == 303, words(answer.text)

    def files(self) -> dict[str, str]:
        found = (path for path in self.own.rglob("*") if path.is_file())
        return {path.relative_to(self.own).as_posix(): path.read_text() for path in found}


@pytest.fixture
def editor(tmp_path: Path, wire: Wire) -> Iterator[Editor]:
    wire.always("GET", "/instance", 404)
    own = tmp_path / "own"
    own.mkdir()
    with house(tmp_path, {**SET, "ANNOUNCER_TEMPLATES": str(own)}) as made:
        yield Editor(made, own)
        learned()


def learned() -> None:
    """Waits until nobody is asked any more."""
    for thread in threading.enumerate():
        if thread.name == "limits":
            thread.join(10)


def told(editor: Editor, title: str, name: str = "Kestrel Workshop") -> None:
    """A stream that began, and what Discord was told of it."""
    there, now = editor.house.parts, datetime.now(UTC)
    start = Event("e", "default", Kind.STARTED, now, title=title, name=name)
    there.intake.take(start, now)
    editor.house.past_the_hold()
    for claim in there.outbox.claim("me", now, 10):
        if claim.entry.destination == "discord":
            content = Content("We are live", "live.txt", Moment.LIVE, None, now, now)
            assert there.outbox.freeze(claim, content.frozen(), now)
            made = Try(now, 0.1, "publish", "delivered", "")
            receipt = Receipt("7", "https://discord.com/c/1")
            assert there.outbox.store(claim, settled(claim.entry), now, made, receipt)


# The list


def test_the_list_says_which_are_shipped_which_are_yours_and_who_uses_them(editor: Editor) -> None:
    editor.save("x/live.txt", WIDE)
    editor.save("mastodon.music/live.txt", WIDE)
    page = words(editor.open())
    assert re.search(r"x/live\.txt\s+yours, instead of the shipped one", page)
    assert re.search(r"mastodon\.music/live\.txt\s+yours\s", page)
    assert re.search(r"discord/live\.txt\s+shipped\s", page)
    row = re.search(r"<th scope=\"row\">mastodon\.music</th>(.*?)</tr>", editor.open(), re.DOTALL)
    assert row
    assert words(row[1]).split() == ["mastodon.music/live.txt", "yours", "ended.txt", "alt.txt"]


def test_the_shared_folder_comes_first_then_networks_then_accounts(editor: Editor) -> None:
    heads = re.findall(r"<h2 id=\"folder-\d+\">(.*?)</h2>", editor.open())
    assert [" ".join(words(head).split()) for head in heads] == [
        "Shared by all",
        "Discord discord/",
        "Mastodon mastodon/",
        "Owncast chat owncast/",
        "X x/",
        "Mastodon music mastodon.music/",
    ]


def test_a_folder_that_nothing_uses_is_said_to_be_one(editor: Editor) -> None:
    (editor.own / "mastodn").mkdir()
    (editor.own / "mastodn/live.txt").write_text("Hello")
    assert "No network or destination is called mastodn" in words(editor.open())
    assert "Anywhere" in words(editor.open("mastodn/live.txt"))


def test_a_folder_that_is_not_there_yet_holds_nothing(editor: Editor) -> None:
    editor.own.rmdir()
    assert "yours" not in words(editor.open()).replace("Make it yours", "").replace("of yours", "")
    assert "Takes over" not in card_of(editor.open("live.txt"), "mastodon")
    editor.save("live.txt", WIDE)
    assert editor.files() == {"live.txt": WIDE + "\n"}


def test_a_variant_is_offered_where_it_would_take_turns(editor: Editor) -> None:
    assert "live.1.txt" not in editor.open(), "it would take the place of the shipped one"
    editor.save("live.txt", WIDE)
    assert "live.1.txt" in editor.open()
    assert "Add a variant, live.1.txt" in editor.open("live.txt")
    editor.save("live.1.txt", "Hi {{ name }}")
    assert "In turn with  live.txt" in card_of(editor.open("live.1.txt"), "x")
    assert "Hi Kestrel" in card_of(editor.open("live.1.txt"), "x"), "it is tried, not its twin"
    assert "Hello Kestrel" in card_of(editor.open("live.txt"), "x")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../announcer.db",
            "x/../../live.txt",
            "%2e%2e/live.txt",
            "..%2flive.txt",
            "live.txt.before",
        ),
        *("nowhere/live.txt", "etc/passwd", "live.exe", "x/", "X/live.txt", "x/y/live.txt"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_template_here_is_not_found(editor: Editor, method: str, name: str) -> None:
    form = {"csrf": editor.token, "do": "anyway", "source": "x", "seen": ""}
    answer = editor.house.client.open(f"/templates/{name}", method=method, data=form)
    assert answer.status_code in (404, 405, 308)
    assert editor.files() == {}


# What would be seen


def test_every_destination_is_shown_as_it_counts(editor: Editor) -> None:
    trials = editor.try_out("live.txt", "{{ name }}: {{ title }} {{ url }}")["trials"]
    assert set(shown(trials)) == {
        "Discord 82",
        "Mastodon 67",
        "Mastodon music 67",
        "Owncast chat 80",
        "X 67",
    }, "in angle brackets, as 23, and as it is"
    assert " / 280" in card_of(trials, "x")
    assert " / 2000" in card_of(trials, "discord")
    assert "weighted characters, a link counts 23" in card_of(trials, "x")
    discord = card_of(trials, "discord").replace(" ", "")
    assert ADDRESS in discord
    assert f"<{ADDRESS}>" not in discord, "its readers see no angle brackets"


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["live.txt", "ended.txt", "alt.txt"])
def test_the_shipped_words_are_fine_with_every_sample(
    editor: Editor, choice: str, name: str
) -> None:
    page = editor.open(name, sample=choice)
    assert "It has words for every stream" in page
    assert {tone for _, tone, _ in CARD.findall(page)} == {"good"}
    assert all(("Kestrel" in card) is (choice != "hostile") for card in shown(page).values())


def test_a_long_title_is_cut_as_the_network_cuts_it(editor: Editor) -> None:
    source = "{{ title }}\n" + "x" * 200
    card = card_of(editor.try_out("x/live.txt", source, sample="long")["trials"], "x")
    size = re.search(r"(\d+) / 280", card)
    assert size
    assert 270 <= int(size[1]) <= 280
    assert "a very long title a very…" in card or "…" in card


def test_the_last_real_stream_can_be_the_sample(editor: Editor) -> None:
    assert "your last stream" not in editor.open("live.txt")
    told(editor, "Drawers & dovetails")
    page = editor.open("live.txt", sample="last")
    assert "your last stream: Drawers &amp; dovetails</option>" in page
    assert "Drawers & dovetails" in card_of(page, "x")
    chat = editor.open("owncast/live.txt", sample="last")
    assert "Discord: https://discord.com/c/1" in " ".join(card_of(chat, "owncast").split())
    ended = editor.open("ended.txt", sample="last")
    assert "was live for less than a minute: Drawers & dovetails" in card_of(ended, "mastodon")


def test_a_database_that_is_broken_leaves_the_other_samples(editor: Editor) -> None:
    told(editor, "Drawers")
    assert editor.token
    with table_gone(editor.house):
        assert "a usual stream" in editor.open("live.txt", sample="last")
        editor.save("live.txt", WIDE)


def test_who_uses_another_file_is_named_with_it(editor: Editor) -> None:
    editor.save("mastodon.music/live.txt", WIDE)
    answer = editor.try_out("mastodon/live.txt", WIDE)["trials"]
    assert list(shown(answer)) == ["Mastodon 46"]
    assert re.search(r"mastodon\.music :\s+uses\s+mastodon\.music/live\.txt", words(answer))
    assert "discord" not in answer, "that folder is no concern of it"


def test_what_the_file_takes_over_from_is_named(editor: Editor) -> None:
    """A shared file of the operator's own is used before the shipped one of a network."""
    trials = editor.try_out("live.txt", WIDE)["trials"]
    assert "Takes over from  discord/live.txt  (shipped)" in card_of(trials, "discord")
    assert "Takes over" not in card_of(trials, "mastodon")


def test_of_the_end_each_says_how_it_is_told_and_who_says_nothing(editor: Editor) -> None:
    answer = words(editor.try_out("ended.txt", "{{ name }} was live for {{ duration }}")["trials"])
    assert "edits its post at the end" in answer
    assert "was live for 2 hours and 5 minutes" in answer
    assert re.search(r"x :\s+says nothing at the end", answer)


def test_a_description_is_for_those_who_show_pictures(editor: Editor) -> None:
    answer = editor.try_out("alt.txt", "The workbench of {{ name }}")["trials"]
    assert "The workbench of Kestrel Workshop" in card_of(answer, "mastodon")
    assert "33 / 1000" in card_of(answer, "mastodon")
    assert re.search(r"owncast :\s+shows no picture", words(answer))


def test_where_alerts_go_no_template_is_used(tmp_path: Path) -> None:
    settings = {
        **ONE,
        "DISCORD__OPS__WEBHOOK_URL": "https://discord.com/api/webhooks/18/another-word",
        "ANNOUNCER_ALERTS": "discord.ops",
    }
    with house(tmp_path, settings) as made:
        assert list(shown(made.client.get("/templates/live.txt").text)) == ["Discord 108"]


def test_without_any_destination_words_are_tried_all_the_same(tmp_path: Path, wire: Wire) -> None:
    with house(tmp_path, {"OWNCAST_WEBHOOK_SECRET": "a-secret"}) as made:
        alone = Editor(made, tmp_path)
        assert "Kestrel Workshop is live" in card_of(alone.open("live.txt"), "anybody")
        assert "unknown variable" in alone.try_out("live.txt", "{{ titel }}")["faults"]
        assert alone.open()


# What is wrong


def test_what_is_wrong_stands_at_its_line(editor: Editor) -> None:
    answer = editor.try_out("live.txt", "Hello\n{{ name }}\n{{ titel }}")
    wrong = "unknown variable 'titel' (did you mean 'title'?)"
    assert answer["marks"] == [[3, wrong]]
    assert f"Line 3: {wrong}" in " ".join(words(answer["faults"]).split())
    card = card_of(answer["trials"], "x")
    assert "Not these words" in card
    assert "x/live.txt" in card, "what is said instead"


def test_what_is_wrong_for_some_names_them_and_when(editor: Editor) -> None:
    faults = words(editor.try_out("live.txt", "{{ title }}" + "x" * 281)["faults"])
    assert "too long even without a title: 281 of 280 (for x)" in " ".join(faults.split())
    faults = words(editor.try_out("live.txt", "{{ title }}")["faults"])
    assert "As a whole: says nothing (without a title)" in " ".join(faults.split())


def test_a_template_that_takes_long_is_tried_for_one_at_least(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "BUDGET", 0.0)
    loops = "{% for a in title %}" * 20 + "{% endfor %}" * 20
    answer = editor.try_out("live.txt", loops)
    assert "does not come to an end" in answer["faults"]
    assert list(shown(answer["trials"])) == ["Discord 97"]
    late = "There was no time to try it for: mastodon, mastodon.music, owncast, x."
    assert late in words(answer["trials"])


def test_few_are_tried_at_once(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are for the webhook first."""
    going, release = threading.Semaphore(0), threading.Event()
    real = trials.Bench.try_out

    def slow(self: trials.Bench, *arguments: Any) -> trials.Outcome:
        going.release()
        release.wait(20)
        return real(self, *arguments)

    monkeypatch.setattr("announcer.web.editor.PATIENCE", 0.05)
    form = {"csrf": editor.token, "do": "preview", "source": "Hi", "seen": ""}
    monkeypatch.setattr(trials.Bench, "try_out", slow)
    app = editor.house.client.application

    def ask() -> TestResponse:
        says = {"Connection": "keep-alive"}
        return app.test_client().post("/templates/live.txt", data=form, headers=says)

    busy = [threading.Thread(target=ask) for _ in range(2)]
    for thread in busy:
        thread.start()
        assert going.acquire(timeout=10)
    try:
        assert ask().status_code == 503
    finally:
        release.set()
        for thread in busy:
            thread.join()
    assert ask().status_code == 200


def test_too_much_is_said_to_be_too_much(editor: Editor) -> None:
    answer = editor.try_out("live.txt", "ü" * (LARGEST // 2 + 1))
    assert "64 KiB at most" in answer["faults"]
    assert editor.send("live.txt", "anyway", "x" * (LARGEST + 1)).status_code == 422
    assert editor.send("live.txt", "anyway", "ü" * LARGEST).status_code == 413
    assert editor.files() == {}
    assert editor.send("live.txt", "preview", "🔴" * (LARGEST // 4 - 1)).status_code == 200


# The preview touches nothing


def test_a_preview_writes_no_file_and_asks_nobody(editor: Editor, wire: Wire) -> None:
    editor.open("live.txt")
    learned()
    token = editor.token
    before, rows, asked = editor.files(), editor.house.stored(), len(wire.sent)
    for name in ("live.txt", "x/ended.txt", "alt.txt"):
        form = {"csrf": token, "do": "preview", "source": WIDE, "seen": ""}
        assert editor.house.client.post(f"/templates/{name}", data=form).status_code == 200
    assert (editor.files(), editor.house.stored(), len(wire.sent)) == (before, rows, asked)


def test_a_preview_without_a_script_keeps_the_words_and_what_was_seen(editor: Editor) -> None:
    editor.save("live.txt", "One {{ name }}")
    seen = editor.seen("live.txt")
    (editor.own / "live.txt").write_text("By hand")
    answer = editor.send("live.txt", "preview", "\n\nTwo {{ name }}", seen=seen, sample="empty")
    source = SOURCE.search(answer.text)
    assert source
    assert source[1] == "\n\nTwo {{ name }}"
    assert '<option value="empty" selected>' in answer.text
    assert "Two Kestrel" in card_of(answer.text, "x")
    assert SEEN.search(answer.text)[1] == seen, "or saving would write over the other editor"  # type: ignore[index]


def test_a_server_that_does_not_answer_delays_no_page_and_its_usual_limit_is_said(
    editor: Editor, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    class Slow(type(editor.house.parts.settings.destinations["mastodon"])):  # type: ignore[misc]
        def limit(self) -> int:
            release.wait(20)
            return 5_000

    settings = editor.house.parts.settings
    network = settings.destinations["mastodon"]
    settings.destinations["mastodon"] = Slow(**dict(network))
    try:
        begun = time.monotonic()
        card = card_of(editor.open("live.txt"), "mastodon")
        assert time.monotonic() - begun < 5
        assert "/ 500" in card
        assert "the usual limit: its own server has not told yet" in card
        assert "data-again" in editor.open("live.txt")
    finally:
        release.set()
    learned()
    page = editor.open("live.txt")
    assert "/ 5000" in card_of(page, "mastodon")
    assert "usual limit" not in card_of(page, "mastodon")


def test_limits_are_asked_for_few_at_a_time_and_of_who_has_one_to_tell() -> None:
    running, most, asked = [0], [0], []
    lock = threading.Lock()

    class Asks(Plain):
        title = "Asks"
        account: str = ""

        def limit(self) -> int:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
                asked.append(self.account)
            time.sleep(0.02)
            with lock:
                running[0] -= 1
            return 77

    there: dict[str, Network] = {f"a{n}": Asks(account=f"{n}") for n in range(20)}
    limits = Limits()
    assert limits.of("plain", Plain()) == (100, True)
    assert limits.of("a1", there["a1"]) == (100, False)
    limits.ask({**there, "plain": Plain()})
    learned()
    assert most[0] == limited.AT_ONCE
    assert sorted(asked) == sorted(f"{n}" for n in range(20))
    assert limits.of("a1", there["a1"]) == (77, True)
    limits.ask(there)
    learned()
    assert len(asked) == 20, "what is known is not asked for again"
    assert limits.of("a1", Asks(account="other")) == (100, False), "its settings have changed"


# Saved


def test_what_is_saved_is_a_plain_file_and_the_page_says_so(editor: Editor) -> None:
    answer = editor.send("live.txt", "save", "Hello {{ name }}\r\n{{ url }}\r\n")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "../templates/live.txt?said=saved&sample=usual"
    assert editor.files() == {"live.txt": WIDE + "\n"}
    page = words(editor.open("live.txt", said="saved"))
    assert "Saved. The next post is worded with it." in page
    assert "Hello Kestrel Workshop" in page


def test_the_next_post_is_worded_with_it(editor: Editor, wire: Wire) -> None:
    editor.save("discord/live.txt", "Come in, {{ title }} has begun")
    told(editor, "Drawers")
    template = editor.house.parts.delivery.attempts.author.composer.templates
    network = editor.house.parts.settings.destinations["discord"]
    said = template.word(network, "discord", Moment.LIVE, FACTS, limit=2000)
    assert said.text == "Come in, Fitting a dovetail drawer has begun"


def test_a_shipped_one_is_made_yours_and_can_be_taken_back(editor: Editor) -> None:
    page = editor.open("discord/live.txt")
    source = SOURCE.search(page)
    assert source
    assert unescape(source[1]) == (SHIPPED / "discord/live.txt").read_text()
    assert "Save as yours" in page
    editor.save("discord/live.txt", unescape(source[1]))
    page = editor.open("discord/live.txt")
    assert "yours, instead of the shipped one" in page
    assert "Back to the shipped one" in page
    answer = editor.send("discord/live.txt", "remove")
    assert answer.status_code == 303
    page = editor.open("discord/live.txt", said="removed")
    assert "Your file is put aside." in page
    assert "Bring yours back" in page
    assert editor.send("discord/live.txt", "undo").headers["Location"].count("said=brought") == 1
    assert "discord/live.txt" in editor.files()


def test_one_click_brings_the_version_before_back(editor: Editor) -> None:
    for source in ("One {{ name }}", "Two {{ name }}"):
        editor.save("live.txt", source)
    assert "Back to the version before" in editor.open("live.txt")
    for expected in ("One {{ name }}\n", "Two {{ name }}\n"):
        answer = editor.send("live.txt", "undo")
        assert "said=undone" in answer.headers["Location"]
        assert editor.files()["live.txt"] == expected


def test_a_file_that_is_not_there_begins_with_the_words_that_are_used(editor: Editor) -> None:
    editor.save("mastodon/live.txt", "Mastodon's {{ name }}")
    source = SOURCE.search(editor.open("mastodon.music/live.txt"))
    assert source
    assert unescape(source[1]) == "Mastodon's {{ name }}\n"
    assert "This file is not there yet." in editor.open("mastodon.music/live.txt")
    assert "mastodon.music/live.txt" not in editor.files()


def test_broken_words_are_saved_only_if_that_is_meant(editor: Editor) -> None:
    answer = editor.send("live.txt", "save", "{{ titel }}")
    assert answer.status_code == 422
    assert "Not saved yet" in answer.text
    assert "Save all the same" in answer.text
    assert "data-unsaved" in answer.text
    assert unescape(SOURCE.search(answer.text)[1]) == "{{ titel }}"  # type: ignore[index]
    assert editor.files() == {}
    assert editor.send("live.txt", "anyway", "{{ titel }}").status_code == 303
    assert editor.files() == {"live.txt": "{{ titel }}\n"}
    assert "unknown variable" in editor.open("live.txt")


def test_words_that_fail_with_some_titles_only_are_saved(editor: Editor) -> None:
    editor.save("live.txt", "{{ title }}")
    assert "says nothing" in editor.open("live.txt")


def test_what_another_editor_saved_is_shown_and_neither_version_is_lost(editor: Editor) -> None:
    editor.save("live.txt", "Start {{ name }}")
    seen = editor.seen("live.txt")
    editor.save("live.txt", "Theirs {{ name }}")
    answer = editor.send("live.txt", "save", "Mine {{ name }}", seen=seen)
    assert answer.status_code == 409
    assert "somebody else has changed this file" in words(answer.text)
    mine, theirs = re.findall(r"<textarea.*?>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert (mine, theirs) == ("Mine {{ name }}", "Theirs {{ name }}\n")
    assert editor.files()["live.txt"] == "Theirs {{ name }}\n"
    again = SEEN.search(answer.text)
    assert again
    assert editor.send("live.txt", "save", mine, seen=again[1]).status_code == 303
    assert editor.files() == {
        "live.txt": "Mine {{ name }}\n",
        "live.txt.before": "Theirs {{ name }}\n",
    }


@pytest.mark.parametrize("do", ["undo", "remove"])
def test_what_changed_meanwhile_is_neither_undone_nor_removed(editor: Editor, do: str) -> None:
    for source in ("One {{ name }}", "Two {{ name }}"):
        editor.save("live.txt", source)
    seen = editor.seen("live.txt")
    (editor.own / "live.txt").write_text("By hand {{ name }}")
    answer = editor.send("live.txt", do, seen=seen)
    assert answer.status_code == 409
    assert "Nothing was done" in answer.text
    assert editor.files()["live.txt"] == "By hand {{ name }}"
    assert editor.send("live.txt", "undo", seen="").status_code == 409


def test_where_nothing_can_be_saved_the_page_says_why_and_words_can_be_tried(
    tmp_path: Path, wire: Wire
) -> None:
    with house(tmp_path, ONE) as made:
        alone = Editor(made, tmp_path / "none")
        for page in (alone.open(), alone.open("live.txt")):
            assert "ANNOUNCER_TEMPLATES is not set" in page
            assert "Make it yours" not in page
            assert 'value="save"' not in page
        assert "Hello Kestrel" in card_of(alone.try_out("live.txt", WIDE)["trials"], "discord")
        answer = alone.send("live.txt", "save", WIDE)
        assert answer.status_code == 422
        assert "ANNOUNCER_TEMPLATES is not set" in answer.text


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        (Bar.OWNER, f"“sudo chown -R {os.geteuid()} templates”"),
        (Bar.MOUNT, "Take “:ro” off its line in compose.yaml"),
        (Bar.FOLDER, "Put a folder in its place."),
        (Bar.UNSET, "Set it to a folder that Announcer may write to"),
        (Bar.LINK, "Edit it there."),
    ],
    ids=lambda value: value.name if isinstance(value, Bar) else "",
)
def test_where_nothing_can_be_saved_the_page_says_exactly_what_to_do(
    editor: Editor, monkeypatch: pytest.MonkeyPatch, bar: Bar, words: str
) -> None:
    monkeypatch.setattr(Shelf, "barred", lambda *_: Barred(bar, Path("/templates")))
    for name in ("", "live.txt"):
        page = editor.open(name)
        assert words in page
        assert 'value="save"' not in page
        assert "Make it yours" not in page


def test_a_folder_that_went_read_only_loses_no_words(editor: Editor) -> None:
    shutil.rmtree(editor.own)
    editor.own.write_text("no folder any more")
    answer = editor.send("live.txt", "save", WIDE)
    assert answer.status_code == 422
    assert f"{editor.own} is no folder (ANNOUNCER_TEMPLATES)" in answer.text
    assert unescape(SOURCE.search(answer.text)[1]) == WIDE  # type: ignore[index]


def test_a_link_is_shown_and_said_to_be_one(editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("Kept {{ name }}")
    (editor.own / "live.txt").symlink_to(tmp_path / "kept.txt")
    page = editor.open("live.txt")
    assert "is a link to another place" in page
    assert "Kept Kestrel" in card_of(page, "x")
    assert 'value="save"' not in page


def test_a_full_database_hinders_no_template(editor: Editor) -> None:
    with full(editor.house):
        editor.save("live.txt", WIDE)


# Who may, and what is only data


def test_nobody_else_sees_or_saves_anything(tmp_path: Path, wire: Wire) -> None:
    settings = {
        **ONE,
        "ANNOUNCER_ADMIN_PASSWORD": "a-password",
        "ANNOUNCER_TEMPLATES": str(tmp_path),
    }
    with house(tmp_path, settings) as made:
        for path in ("/templates", "/templates/live.txt"):
            assert made.client.get(path).status_code == 401
            assert made.client.post(path, data={"do": "anyway", "source": "x"}).status_code in (
                401,
                405,
            )
            inside = {"Authorization": login("admin", "a-password")}
            assert made.client.get(path, headers=inside).status_code == 200
    assert not (tmp_path / "live.txt").exists()


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        pytest.param("", {}, id="without a token"),
        pytest.param("0" * 64, {}, id="with a wrong one"),
        pytest.param(None, {"Sec-Fetch-Site": "cross-site"}, id="from another site"),
        pytest.param(None, {"Origin": "https://evil.example"}, id="from another origin"),
    ],
)
def test_g18_nothing_is_done_that_the_page_did_not_ask_for(
    editor: Editor, token: str | None, headers: dict[str, str]
) -> None:
    editor.save("live.txt", "One {{ name }}")
    before = editor.files()
    form = {
        "csrf": editor.token if token is None else token,
        "seen": editor.seen("live.txt"),
        "source": "Two",
    }
    for do in ("preview", "save", "anyway", "undo", "remove"):
        answer = editor.house.client.post(
            "/templates/live.txt", data={**form, "do": do}, headers=headers
        )
        assert answer.status_code == 403
    assert editor.files() == before


def test_looking_at_templates_changes_nothing(editor: Editor) -> None:
    told(editor, "Drawers")
    before = editor.files(), editor.house.stored()
    for path in ("/templates", "/templates/live.txt?do=remove&said=saved", "/templates/x/alt.txt"):
        assert editor.house.client.get(path).status_code == 200
        assert editor.house.client.head(path).status_code == 200
    assert (editor.files(), editor.house.stored()) == before


def test_an_order_that_nobody_knows_is_refused(editor: Editor) -> None:
    assert editor.send("live.txt", "format the disk").status_code == 400


def test_g18_a_hostile_title_template_and_error_are_words(editor: Editor) -> None:
    told(editor, HOSTILE, HOSTILE)
    hostile = f"</textarea>{HOSTILE}{{{{ name }}}}\n{{{{ titel|{HOSTILE} }}}}"
    (editor.own / "live.txt").write_text(hostile)
    editor.save("ended.txt", "{{ title }} {{ name }}")
    plain = editor.open("x/live.txt")
    for name in ("", "live.txt", "ended.txt", "owncast/live.txt"):
        page = editor.open(name, sample="last") if name else editor.open()
        assert page.count("<script") <= plain.count("<script")
        assert "<img src=x" not in page
        assert page.count("<textarea") == page.count("</textarea>") == (1 if name else 0)
        assert "onerror='a()'" not in re.sub(r">[^<]*<", "><", page)
    answer = editor.try_out("live.txt", hostile, sample="last")
    assert "<script>" not in "".join(
        str(part) for part in answer.values() if part != answer["marks"]
    )
    assert "<img src=x" not in answer["trials"] + answer["faults"] + answer["known"]


def test_no_page_holds_a_secret(editor: Editor) -> None:
    pages = [editor.open(), *(editor.open(name) for name in ("live.txt", "x/live.txt"))]
    for secret in editor.house.parts.settings.secrets():
        for form in (secret, b64encode(secret.encode()).decode()):
            assert not [page for page in pages if form in page]


# What there is to write


def test_every_variable_is_explained_and_no_other(editor: Editor) -> None:
    known = variables(FACTS, str)
    assert set(known) == set(say._words()["variable"])
    page = editor.open("live.txt")
    assert re.findall(r'data-word="(\w+)"', page) == list(known)


def test_every_made_up_stream_is_one_that_the_check_uses() -> None:
    assert all(any(made is sample for sample in SAMPLES.values()) for made in CHOICES.values())
    assert {*CHOICES, "last"} == set(say._words()["sample"])


def test_the_values_are_those_of_the_sample(editor: Editor) -> None:
    known = words(editor.try_out("ended.txt", WIDE)["known"])
    assert "2 hours and 5 minutes" in known
    assert "#woodwork #HandTools" in known
    assert "2 hours" not in words(editor.try_out("live.txt", WIDE)["known"])


@pytest.mark.parametrize("ends", ["edit", "reply", "post", "remove", "leave"])
def test_there_are_words_for_every_way_to_end(ends: str) -> None:
    assert say.say(f"template.ends_{ends}")
