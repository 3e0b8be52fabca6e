"""A: killed between what a network took and what we stored of it, at each network's worst spot. The
people of the town are the judge. `test_torture` dies everywhere else.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from announcer import rehearsal
from announcer.events import Kind
from announcer.networks.mastodon import Mastodon
from tests.fakes import Stage, open_box, wait_until
from tests.running import Service
from tests.town import Town, Trouble
from tests.town_requests import Asked

AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}


class Evening:
    """The service on one database, life after life, and the town that watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.town = Town(pictures=True)
        self.settings: dict[str, str] = dict(AT_ONCE)
        self.service: Service | None = None
        self.box = open_box(folder / "announcer.db")

    def serves(self, *networks: str, **settings: str) -> None:
        self.settings |= self.town.settings(*networks) | settings
        self.begin()

    def begin(self, **crash: str) -> Service:
        """A new life."""
        self.service = Service(self.folder, self.settings | crash)
        return self.service

    def dies_at(self, point: str, what: str) -> None:
        """Killed at *point*, told *what*; then a new life."""
        self.end()
        trace = self.folder / "passed"
        crash = {"ANNOUNCER_CRASH_AT": point, "ANNOUNCER_CRASH_TRACE": str(trace)}
        service = self.begin(**crash)
        with suppress(requests.ConnectionError):  # what it answers with may be the last it did
            service.hear(rehearsal.webhook(what, "Drawers", "Kestrel"))
        wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
        service.kill()

    def tell(self, what: str) -> None:
        assert self.service
        assert self.service.hear(rehearsal.webhook(what, "Drawers", "Kestrel")) == 204

    def comes_to(self, state: Callable[[Town], object], otherwise: str) -> None:
        assert self.service
        self.service.until(lambda: state(self.town), otherwise)

    def settles(self) -> dict[str, str]:
        """State by moment, once nothing is left to do."""
        assert self.service
        self.service.until(lambda: self._states() and not self._busy(), "it never settled")
        return self._states()

    def _busy(self) -> set[str]:
        return {"due", "sending"} & set(self._states().values())

    def _states(self) -> dict[str, str]:
        told = [post for _, posts in self.box.history(1) for post in posts]
        return {post.entry.moment.value: post.entry.state.value for post in told}

    def end(self) -> None:
        if self.service and self.service.process.poll() is None:
            self.service.kill()


@pytest.fixture
def evening(tmp_path: Path) -> Iterator[Evening]:
    made = Evening(tmp_path)
    yield made
    made.end()
    made.box.engine.dispose()
    made.town.close()


def texts(town: Town) -> list[str]:
    return [post.text for post in town.visible]


# Before the post, and after it


@pytest.mark.parametrize("dropped", [False, True], ids=["it is there", "the server dropped it"])
def test_a06_a_crash_between_picture_and_record_keeps_the_picture_and_the_words(
    evening: Evening, *, dropped: bool
) -> None:
    bluesky = evening.town.bluesky
    evening.settings |= evening.town.settings("bluesky")
    evening.dies_at("POST /xrpc/com.atproto.repo.putRecord: before", "start")
    assert (bluesky.uploads, evening.town.visible) == (1, [])
    if dropped:
        bluesky.blobs.clear()
    evening.begin()
    assert evening.settles() == {"live": "settled"}
    [post] = evening.town.visible
    assert '"thumb"' in post.content
    assert bluesky.uploads == (2 if dropped else 1)
    assert evening.town.ledger.complaints == []


# Changes and follow-ups


@pytest.mark.parametrize(
    ("network", "point"),
    [
        ("mastodon", "PUT /api/v*/statuses/*: sent"),
        ("discord", "PATCH /api/v*/webhooks/*/*/messages/*: sent"),
    ],
)
@pytest.mark.parametrize("back", [False, True], ids=["it stays over", "it is back by then"])
def test_a18_a_crash_during_an_edit_ends_with_the_newest_words(
    evening: Evening, network: str, point: str, *, back: bool
) -> None:
    evening.serves(network)
    evening.tell("start")
    evening.settles()
    evening.dies_at(point.replace("v*", "v1" if network == "mastodon" else "v10"), "stop")
    evening.begin()
    if back:
        evening.tell("start")
    assert evening.settles() == {"live": "settled"}
    [text] = texts(evening.town)
    assert ("is live" if back else "was live") in text


def test_a19_a_crash_while_it_is_taken_away_ends_with_nothing_up(evening: Evening) -> None:
    evening.serves("discord", DISCORD_WHEN_ENDED="remove")
    evening.tell("start")
    evening.settles()
    evening.dies_at("DELETE /api/v10/webhooks/*/*/messages/*: sent", "stop")
    evening.begin()
    assert evening.settles() == {"live": "settled"}
    assert evening.town.visible == []
    deletes = [asked for asked in evening.town.requests if asked.startswith("DELETE")]
    assert len(deletes) >= 2, "it is asked again, and 404 is good news"


def test_a19_a_crash_while_it_is_unpinned_leaves_no_pin(evening: Evening) -> None:
    evening.serves("mastodon", MASTODON_PIN="on")
    evening.tell("start")
    evening.comes_to(lambda town: town.ledger.marks, "it was never pinned")
    evening.settles()  # that it is pinned is stored, too
    evening.dies_at("POST /api/v1/statuses/*/unpin: sent", "stop")
    evening.begin()
    assert evening.settles() == {"live": "settled", "badge": "settled"}
    assert evening.town.ledger.marks == set()


def test_a20_what_follows_the_post_is_a_row_of_its_own_and_is_done_by_the_next_life(
    evening: Evening,
) -> None:
    evening.settings |= evening.town.settings("mastodon") | {"MASTODON_PIN": "on"}
    evening.dies_at("store: committed", "start")
    assert evening.town.counts() == {"mastodon": 1}
    assert evening.town.ledger.marks == set()
    evening.begin()
    assert evening.settles() == {"live": "settled", "badge": "settled"}
    assert evening.town.counts() == {"mastodon": 1}
    assert evening.town.ledger.marks == {f"mastodon pin {evening.town.visible[0].id}"}


def test_a20_the_answer_that_tells_the_end_is_given_by_the_next_life(evening: Evening) -> None:
    evening.serves("bluesky")
    evening.tell("start")
    evening.settles()
    evening.dies_at("event: committed", "stop")
    evening.begin()
    assert evening.settles() == {"live": "settled", "ended": "settled"}
    live, ended = evening.town.visible
    assert ended.answers == live.id


# Stopped in the middle


def test_g02_a_stop_that_is_cut_short_by_a_kill_is_no_worse_than_a_kill(evening: Evening) -> None:
    town = evening.town
    town.hangs_after_accepting("mastodon", "x")
    evening.serves("mastodon", "x")
    evening.tell("start")
    wait_until(lambda: len(town.visible) == 2)
    assert evening.service
    evening.service.process.terminate()
    time.sleep(0.3)
    assert evening.service.process.poll() is None, "it waits for the answers"
    evening.service.kill()
    evening.begin()
    assert evening.settles() == {"live": "settled"}
    assert town.counts() == {"mastodon": 1, "x": 1}


# Mastodon and its kin, by a clock that is moved by hand


Act = Callable[..., tuple[Stage, Town]]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """A stage with the real adapter, and a town with the stage's clock."""
    made: list[Any] = []

    def act(give_up: timedelta = timedelta(hours=3), **ways: Any) -> tuple[Stage, Town]:
        town = Town(clock=lambda: made[1].now.timestamp(), **ways)
        made.append(town)
        network = Mastodon(api_base_url=town.url, access_token="mastodon-token")
        stage = Stage(tmp_path / "announcer.db", {"mastodon": network}, give_up=give_up)
        made.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.connection.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage, town

    yield act
    for one in made:
        one.close()


def first(*troubles: Trouble) -> Callable[[Asked], Trouble | None]:
    """The first posts meet these troubles."""
    left = list(troubles)

    def trouble(asked: Asked) -> Trouble | None:
        posts = asked.method == "POST" and asked.path.endswith("/statuses")
        return left.pop(0) if left and posts else None

    return trouble


TAKEN = pytest.mark.parametrize(
    "taken", [True, False], ids=["it went up before", "it did not go up before"]
)


@TAKEN
def test_a02_after_an_hour_its_key_is_worth_nothing_so_it_is_looked_for(
    act: Act, *, taken: bool
) -> None:
    """Down for so long that no server remembers the key."""
    trouble = Trouble.FAILED if taken else Trouble.BROKEN
    stage, town = act(honours_keys=False, trouble=first(trouble))
    stage.hear(title="Drawers")
    stage.run()
    stage.passes(minutes=70)
    stage.run()
    assert stage.told("mastodon") == ("settled", "")
    assert town.counts() == {"mastodon": 1}


@TAKEN
def test_a02_what_is_too_late_by_then_is_recorded_and_not_posted(act: Act, *, taken: bool) -> None:
    trouble = Trouble.FAILED if taken else Trouble.BROKEN
    stage, town = act(timedelta(minutes=30), honours_keys=False, trouble=first(trouble))
    stage.hear(title="Drawers")
    stage.run()
    stage.passes(minutes=70)
    stage.run()
    state, reason = stage.told("mastodon")
    assert (state, town.counts()) == (("settled", {"mastodon": 1}) if taken else ("failed", {}))
    assert taken or "too late" in reason


@TAKEN
def test_a03_where_a_server_replays_its_error_it_is_looked_for_and_gets_another_key(
    act: Act, *, taken: bool
) -> None:
    trouble = Trouble.FAILED if taken else Trouble.BROKEN
    stage, town = act(replays_errors=True, trouble=first(trouble))
    stage.hear(title="Drawers")
    for _ in range(5):
        stage.run()
        stage.passes(seconds=30)
    assert stage.told("mastodon") == ("settled", "")
    assert town.counts() == {"mastodon": 1}


@TAKEN
def test_a04_a_server_that_ignores_the_key_is_asked_for_our_posts_first(
    act: Act, *, taken: bool
) -> None:
    trouble = Trouble.RESET if taken else Trouble.CLOSED
    stage, town = act(honours_keys=False, trouble=first(trouble))
    stage.hear(title="Drawers")
    for _ in range(3):
        stage.run()
        stage.passes(seconds=30)
    looked = [asked for asked in town.requests if asked.endswith("/accounts/1/statuses")]
    assert (stage.told("mastodon"), town.counts()) == (("settled", ""), {"mastodon": 1})
    assert len(looked) == 1


def test_a04_where_nobody_can_look_either_it_is_left_to_a_person(act: Act) -> None:
    stage, town = act(honours_keys=False, may_look=False, trouble=first(Trouble.RESET))
    stage.hear(Kind.STARTED, title="Drawers")
    for _ in range(3):
        stage.run()
        stage.passes(seconds=30)
    state, reason = stage.told("mastodon")
    assert (state, town.counts()) == ("unsure", {"mastodon": 1})
    assert "may be posted" in reason
