"""What was said stays true: titles, endings and returns, as the audience sees them step by step."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from pydantic import PrivateAttr, ValidationError

from announcer import migrations, outbox, policy
from announcer.events import Kind
from announcer.network import (
    Gone,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Revises,
    TryLater,
    Unsure,
)
from announcer.networks.bluesky import Bluesky
from announcer.networks.x import X
from tests.fakes import Fake, Harmless, Stage, Turn

Act = Callable[..., Stage]


class Wall(Fake, Revises, Removes):
    """Like Mastodon without keys: shows edits and removals. `visible` is what is up now."""

    ends_by: ClassVar[Literal["edit", "reply", "leave"]] = "edit"
    replies: ClassVar[bool] = True

    _up: dict[str, Post] = PrivateAttr(default_factory=dict)
    _changes: list[str] = PrivateAttr(default_factory=list)
    _trouble: list[Exception] = PrivateAttr(default_factory=list)

    @property
    def changes(self) -> list[str]:
        """Every edit and removal that arrived, in order."""
        return self._changes

    def trouble(self, *problems: Exception) -> None:
        """What the next edits and removals raise, after they were done if it is an Unsure."""
        self._trouble.extend(problems)

    @property
    def texts(self) -> list[str]:
        return [post.text for post in self._up.values()]

    def publish(self, post: Post) -> Receipt:
        super().publish(post)
        number = str(len(self.sent))
        self._up[number] = post
        return Receipt(number, f"https://fake.test/{number}")

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        self._do("edit")
        if receipt.id not in self._up:
            raise Gone("404")
        self._up[receipt.id] = post
        self._raise()
        return receipt

    def remove(self, receipt: Receipt) -> None:
        self._do("remove")
        self._up.pop(receipt.id, None)
        self._raise()

    def delete_by_hand(self) -> None:
        self._up.clear()

    def _do(self, what: str) -> None:
        if self._trouble and not isinstance(self._trouble[0], Unsure):
            raise self._trouble.pop(0)
        self._changes.append(what)

    def _raise(self) -> None:
        if self._trouble:
            raise self._trouble.pop(0)


class Answering(Harmless, Removes):
    """Like Bluesky: no edits, but answers, and they can be taken away."""

    ends_by: ClassVar[Literal["edit", "reply", "leave"]] = "reply"
    replies: ClassVar[bool] = True

    def remove(self, receipt: Receipt) -> None:
        self.visible[:] = [post for post in self.visible if f"id of {post.text}" != receipt.id]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    stages: list[Stage] = []

    def act(network: Network, **settings: Any) -> Stage:
        stage = Stage(tmp_path / "announcer.db", {"fake": network}, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def live(act: Act, network: Network, **settings: Any) -> Stage:
    """A stage with a broadcast that was told."""
    stage = act(network, **settings)
    stage.hear(title="Drawers")
    stage.run()
    return stage


def later(stage: Stage, **time: float) -> None:
    """Time passes and everything that comes due is done when it is due."""
    target = stage.now + timedelta(**time)
    stage.run()
    while (due := stage.box.next_due()) is not None and due <= target:
        stage.now = max(due, stage.now)
        stage.run()
    stage.now = target


# Titles


def test_a_new_title_is_an_edit_in_place(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=20)
    stage.hear(Kind.RETITLED, title="Glue-up")
    later(stage, seconds=11)
    assert len(network.texts) == len(network.sent) == 1
    assert "Glue-up" in network.texts[0]


def test_d09_a_burst_of_titles_is_one_edit_with_the_last_of_them(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=20)
    for number in range(5):
        stage.hear(Kind.RETITLED, title=f"Title {number}")
        later(stage, seconds=1.5)
    later(stage, seconds=11)
    assert network.changes == ["edit"]
    assert "Title 4" in network.texts[0]


def test_d09_200_titles_in_a_minute_are_a_few_edits_and_the_last_one_stands(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=20)
    for number in range(200):
        stage.hear(Kind.RETITLED, title=f"Title {number}")
        later(stage, seconds=0.3)
    later(stage, seconds=15)
    assert 1 <= len(network.changes) <= 7, "one in 10 s at most"
    assert "Title 199" in network.texts[0]
    assert len(network.sent) == 1


def test_a_title_there_and_back_sends_nothing(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=1)
    stage.hear(Kind.RETITLED, title="Oops")
    stage.passes(seconds=3)
    stage.hear(Kind.RETITLED, title="Drawers")
    later(stage, seconds=11)
    assert network.changes == []
    assert stage.told() == ("settled", "")


def test_the_same_title_sends_nothing(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=1)
    stage.hear(Kind.RETITLED, title="Drawers")
    later(stage, seconds=11)
    assert network.changes == []


def test_a_title_while_offline_changes_nothing(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(hours=2)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=6)
    text = network.texts
    stage.hear(Kind.RETITLED, title="Tomorrow: sharpening day")
    later(stage, minutes=6)
    assert network.texts == text


def test_a_title_that_changes_while_the_post_is_on_its_way_is_put_right_afterwards(
    act: Act,
) -> None:
    import threading

    gate = threading.Event()
    network = Wall()
    network.then(Turn(shows=True, gate=gate))
    stage = act(network)
    stage.hear(title="Drawers")
    stage.delivery.run()
    stage.passes(seconds=2)
    stage.hear(Kind.RETITLED, title="Glue-up")
    gate.set()
    stage.run()
    assert "Drawers" in network.sent[0].text
    later(stage, seconds=11)
    assert "Glue-up" in network.texts[0]
    assert network.changes == ["edit"]


def test_a_title_is_left_alone_where_the_operator_wants_that(act: Act) -> None:
    network = Wall(when_retitled="leave")
    stage = live(act, network)
    stage.hear(Kind.RETITLED, title="Glue-up")
    later(stage, minutes=1)
    assert network.changes == []


# Endings


def test_an_end_is_edited_in_after_the_grace(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(hours=2, minutes=5)
    stage.hear(Kind.STOPPED, peak_viewers=17)
    later(stage, minutes=4, seconds=59)
    assert "is live" in network.texts[0]
    later(stage, seconds=2)
    [text] = network.texts
    assert "is live" not in text
    assert "2 hours and 5 minutes" in text
    assert stage.post().entry.shown == "ended"


@pytest.mark.parametrize(
    ("ending", "up"),
    [
        pytest.param("edit", ["was live"], id="edit: it says that it was"),
        pytest.param("reply", ["is live", "was live"], id="reply: an answer below it"),
        pytest.param("post", ["is live", "was live"], id="post: a second one"),
        pytest.param("remove", [], id="remove: nothing is left"),
        pytest.param("leave", ["is live"], id="leave: as it was"),
    ],
)
def test_an_end_is_told_as_the_destination_wants_it(act: Act, ending: Any, up: list[str]) -> None:
    network = Wall(when_ended=ending)
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=6)
    assert len(network.texts) == len(up)
    for text, words in zip(network.texts, up, strict=True):
        assert words in text
    if ending in ("reply", "post"):
        answered = network.sent[1].reply_to
        assert (answered is not None) == (ending == "reply")


def test_what_was_never_told_has_no_end(act: Act) -> None:
    network = Wall(when_ended="post")
    network.then(Refused("422 not today"))
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=6)
    assert network.texts == []
    assert len(network.sent) == 1


def test_an_end_waits_for_a_start_that_may_be_up(act: Act) -> None:
    network = Answering()
    network.then(Turn(Unsure("no answer in time"), shows=True))
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    stage.passes(seconds=0.5)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=6)
    moods = [post.mood.value for post in network.visible]
    assert moods in (["live"], ["live", "ended"])


def test_an_end_of_which_no_answer_came_is_edited_again(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    network.trouble(Unsure("no answer in time"), TryLater("503"))
    later(stage, minutes=7)
    assert "was live" in network.texts[0]
    assert stage.told() == ("settled", "")


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (2, ("settled", "")),
        (3, ("failed", "not changed: our own mistake (ZeroDivisionError)")),
    ],
)
def test_a_mistake_of_ours_in_an_edit_is_made_a_few_times_and_no_more(
    act: Act, times: int, told: tuple[str, str]
) -> None:
    wall = Wall()
    stage = act(wall)
    stage.hear(title="Drawers")
    stage.run()
    wall.trouble(*[ZeroDivisionError()] * times)
    stage.hear(Kind.RETITLED, title="Dovetails")
    for _ in range(5):
        stage.passes(minutes=5)
        stage.run()
    assert stage.told() == told


def test_a_mistake_of_ours_before_an_edit_is_said_and_made_no_more_often(act: Act) -> None:
    broken: list[bool] = []

    class Clumsy(Wall):
        def limit(self) -> int:
            return 1 // 0 if broken else super().limit()

    wall = Clumsy()
    stage = act(wall)
    stage.hear(title="Drawers")
    stage.run()
    broken.append(True)
    stage.hear(Kind.RETITLED, title="Dovetails")
    for _ in range(5):
        stage.passes(minutes=5)
        stage.run()
    assert stage.told() == ("failed", "not changed: our own mistake (ZeroDivisionError)")
    assert "Drawers" in wall.texts[0]


def test_an_end_that_can_not_be_told_for_a_day_is_given_up_with_its_reason(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.hear(Kind.STOPPED)
    network.trouble(*[TryLater("503 away")] * 2000)
    later(stage, hours=25)
    assert stage.told() == ("failed", "too late to change it: 503 away")


@pytest.mark.parametrize("ending", ["edit", "remove"])
def test_an_end_costs_no_post_of_the_days_budget(act: Act, ending: Any) -> None:
    network = Wall(budget=1, when_ended=ending)
    stage = live(act, network)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=6)
    assert network.changes == [ending]


# Returns


def test_d07_a_drop_within_the_grace_is_seen_by_nobody(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=1)
    stage.hear(title="Drawers")
    later(stage, hours=1)
    assert network.changes == []
    assert len(network.sent) == 1


def test_d07_20_drops_in_5_minutes_are_one_post_that_ends_once(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=20)
    for _ in range(20):
        stage.hear(Kind.STOPPED)
        later(stage, seconds=8)
        stage.hear(title="Drawers")
        later(stage, seconds=7)
    assert (len(network.sent), network.changes) == (1, [])
    stage.hear(Kind.STOPPED)
    later(stage, hours=1)
    assert (len(network.sent), network.changes) == (1, ["edit"])


def test_a_return_after_the_end_was_told_turns_it_back_to_live(act: Act) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert "was live" in network.texts[0]
    stage.hear(title="Drawers")
    later(stage, minutes=1)
    assert "is live" in network.texts[0]
    assert len(network.sent) == 1
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert "was live" in network.texts[0]


def test_a_return_takes_the_word_of_the_end_away(act: Act) -> None:
    network = Answering()
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert [post.mood.value for post in network.visible] == ["live", "ended"]
    stage.hear(title="Drawers")
    later(stage, minutes=1)
    assert [post.mood.value for post in network.visible] == ["live"]


def test_history_tells_the_start_before_its_end(act: Act) -> None:
    stage = live(act, Answering())
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    [(_, told)] = stage.box.history(1)
    assert [post.entry.moment.value for post in told] == ["live", "ended"]


def test_a_return_before_the_word_of_the_end_withdraws_it(act: Act) -> None:
    network = Answering()
    stage = live(act, network)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=2)
    stage.hear(title="Drawers")
    later(stage, hours=1)
    assert [post.mood.value for post in network.visible] == ["live"]


def test_a_return_while_the_end_was_about_to_be_told_takes_no_later_end_away(act: Act) -> None:
    """Torture found it: what the return wanted taken back was never said, and the next end was."""
    network = Answering()
    stage = live(act, network)
    stage.passes(hours=1)
    stage.hear(Kind.STOPPED)
    stage.passes(minutes=5)
    [claim] = stage.box.claim("a replica", stage.now, 9)
    stage.passes(seconds=1)
    stage.hear(title="Drawers")
    withdrawn = policy.withdrawn(claim.entry, "the stream came back")
    assert stage.box.store(claim, withdrawn, stage.now, None, None)
    stage.passes(minutes=10)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert [post.mood.value for post in network.visible] == ["live", "ended"]


def test_what_was_removed_is_published_again_once(act: Act) -> None:
    network = Wall(when_ended="remove")
    stage = live(act, network)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    assert network.texts == []
    stage.hear(title="Drawers")
    later(stage, minutes=10)
    assert len(network.texts) == 1
    assert network.sent[0].wire_key != network.sent[1].wire_key, "another key: a key replays"
    assert (network.sent[0].edition, network.sent[1].edition) == (0, 1)


# People


@pytest.mark.parametrize("what", ["title", "end", "return"])
def test_e19_a_post_that_a_person_deleted_is_left_alone(act: Act, what: str) -> None:
    network = Wall()
    stage = live(act, network)
    stage.passes(minutes=20)
    network.delete_by_hand()
    if what == "title":
        stage.hear(Kind.RETITLED, title="Glue-up")
        later(stage, minutes=1)
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    if what == "return":
        stage.hear(title="Drawers")
        later(stage, minutes=10)
    assert network.texts == []
    assert stage.told() == ("gone", "a person deleted it, so it is left alone")
    assert len(network.changes) == 1, "and it is not tried again"


def test_nobody_is_told_by_hand_that_a_stream_is_live_that_is_over(act: Act) -> None:
    network = Wall()
    network.then(Refused("422 not today"))
    stage = live(act, network)
    key = stage.post().entry.key
    again = stage.now + timedelta(minutes=30)
    stage.hear(Kind.STOPPED)
    assert stage.box.retry(key, stage.now, again) is None
    stage.passes(minutes=1)
    stage.hear(title="Drawers")
    assert stage.box.retry(key, stage.now, again) is not None
    later(stage, seconds=1)
    assert len(network.texts) == 1


# Settings


@pytest.mark.parametrize(
    ("network", "wish"),
    [
        pytest.param(X, {"when_ended": "edit"}, id="X shows no edits"),
        pytest.param(X, {"when_retitled": "edit"}, id="nor new titles"),
        pytest.param(X, {"when_ended": "reply"}, id="and refuses answers"),
        pytest.param(Bluesky, {"when_ended": "edit"}, id="Bluesky shows no edits"),
    ],
)
def test_what_a_network_can_not_do_is_refused_at_the_start(
    network: type[Network], wish: dict[str, Any]
) -> None:
    needed = {name: "kestrel" for name, info in network.model_fields.items() if info.is_required()}
    with pytest.raises(ValidationError, match="does not offer that"):
        network(**needed, **wish)


# A restart, an upgrade, and clocks


def test_g05_after_a_restart_edits_go_on_and_nothing_is_told_again(act: Act) -> None:
    wall = Wall()
    stage = live(act, wall)
    stage.start_up({"fake": wall})
    stage.hear(title="Drawers")
    stage.hear(Kind.RETITLED, title="Legs")
    later(stage, minutes=1)
    assert wall.changes == ["edit"]
    stage.start_up({"fake": wall})
    stage.hear(Kind.STOPPED)
    later(stage, minutes=10)
    (text,) = wall.texts
    assert "was live" in text
    assert (len(wall.sent), wall.changes) == (1, ["edit", "edit"])


NEWER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade() -> None:
    op.add_column("posts", sa.Column("mood", sa.String(20)))
"""


def test_g15_what_waits_through_an_upgrade_is_told_once(
    act: Act, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next version's schema, made up."""
    wall = Wall()
    stage = act(wall, hold=timedelta(minutes=1))
    stage.hear(title="Drawers")
    stage.run()
    assert wall.sent == []
    folder = tmp_path / "migrations"
    shutil.copytree(Path(migrations.__file__).parent, folder)
    (folder / "versions" / "9999_newer.py").write_text(NEWER.format(head=outbox.HEAD))
    monkeypatch.setattr(migrations, "__file__", str(folder / "__init__.py"))
    monkeypatch.setattr(migrations, "HEAD", "9999")
    stage.start_up({"fake": wall})
    columns = sa.inspect(stage.box.engine).get_columns("posts")
    assert "mood" in {column["name"] for column in columns}
    later(stage, minutes=2)
    assert stage.told() == ("settled", "")
    assert len(wall.sent) == 1


def test_c01_a_clock_that_jumps_ahead_repeats_nothing_and_says_what_is_too_late(act: Act) -> None:
    """What is said of it is honest; a hand can still send it once the clock is right."""
    up, away = Wall(), Fake()
    away.then(*[TryLater("503")] * 3)
    stage = act(up)
    stage.start_up({"fake": up, "away": away})
    stage.hear(title="Drawers")
    stage.run()
    right = stage.now
    stage.passes(days=1)
    stage.run()
    assert (len(up.sent), up.changes, len(up.texts)) == (1, [], 1)
    assert stage.told("away") == ("failed", "too late: 503")
    stage.now = right + timedelta(minutes=1)
    stage.run()
    stage.hear(Kind.RETITLED, title="Legs")
    stage.passes(minutes=1)
    stage.run()
    assert (len(up.sent), up.changes) == (1, ["edit"])
    away.then(Turn(shows=True))
    key = stage.post("away").entry.key
    assert stage.box.retry(key, stage.now, stage.now + timedelta(minutes=30))
    later(stage, minutes=10)
    assert stage.told("away") == ("settled", "")
    assert len(away.visible) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_c04_a_clock_set_back_for_the_winter_changes_no_duration(
    act: Act, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """From half past two to half past two: an hour, which the clock on the wall shows as none."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        wall = Wall()
        stage = act(wall)
        stage.now = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        stage.hear(title="Drawers")
        stage.run()
        later(stage, hours=1)
        stage.hear(Kind.STOPPED)
        later(stage, minutes=10)
    finally:
        monkeypatch.undo()
        time.tzset()
    (text,) = wall.texts
    assert "was live for 1 hour:" in text
