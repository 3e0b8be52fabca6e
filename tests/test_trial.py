"""`announcer test`: a real post that says it is a test, pings nobody, and is taken away again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import PrivateAttr

from announcer import trial
from announcer.contract.fake import Wire, read_timeout
from announcer.network import (
    Account,
    DeliveryError,
    Finds,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    TryLater,
    Unsure,
)
from tests.house import DISCORD, ONE
from tests.terminal import Run, Terminal
from tests.terminal import run as run

NOW = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
MESSAGE = {"id": "5", "channel_id": "2"}


class Wall(Network, Removes, Finds):
    """Shows what was posted there, as far as it is in the mood."""

    name = "wall"
    title = "Wall"
    repeat = Repeat.FINDABLE
    unit = "characters"
    usual_limit = 500

    posting: str = "works"
    removing: str = "works"

    _shown: dict[str, Post] = PrivateAttr(default_factory=dict)

    def publish(self, post: Post) -> Receipt:
        _fail(self.posting)
        self._shown[post.key] = post
        return Receipt(post.key, "https://wall.example/1")

    def remove(self, receipt: Receipt) -> None:
        _fail(self.removing)
        if self.removing == "works":
            del self._shown[receipt.id]

    def find(self, post: Post) -> Receipt | None:
        return Receipt(post.key) if post.key in self._shown else None

    def check(self) -> Account:
        return Account("wall")


FAILURES: dict[str, Callable[[], DeliveryError]] = {
    "refused": lambda: Refused("403 no such right"),
    "later": lambda: TryLater("429"),
    "unsure": lambda: Unsure("no answer in time"),
}


def _fail(how: str) -> None:
    if how in FAILURES:
        raise FAILURES[how]()


@pytest.mark.parametrize(
    ("settings", "keep", "well", "up", "says"),
    [
        pytest.param({}, False, True, False, "posted, and taken away again", id="works"),
        pytest.param({}, True, True, True, "posted, and left there", id="kept"),
        pytest.param(
            {"posting": "refused"},
            False,
            False,
            False,
            "not posted: 403 no such right",
            id="refused",
        ),
        pytest.param({"posting": "later"}, False, False, False, "not posted: 429", id="busy"),
        pytest.param(
            {"posting": "unsure"}, False, False, None, "may be posted, look there", id="unsure"
        ),
        pytest.param(
            {"removing": "refused"}, False, False, True, "not taken away, do it by hand", id="stays"
        ),
        pytest.param(
            {"removing": "says yes"},
            False,
            False,
            True,
            "still there, although",
            id="says yes only",
        ),
    ],
)
def test_what_came_of_it_is_told(
    settings: dict[str, str], keep: bool, well: bool, up: bool | None, says: str
) -> None:
    result = trial.run("wall", Wall(**settings), NOW, keep=keep)
    assert (result.well, result.up) == (well, up)
    assert says in result.says
    assert bool(result.url) is bool(up)


def posted(wire: Wire) -> list[dict[str, object]]:
    return [sent.json for sent in wire.sent if sent.request.method == "POST"]


HOOK = DISCORD.rpartition("/")[2]
GUILD = {"guild_id": "3", "name": "Kestrel's hook", "channel_id": "2", "id": "17", "type": 1}


@pytest.fixture
def discord(wire: Wire) -> Wire:
    wire.always("GET", HOOK, 200, GUILD)
    wire.always("POST", HOOK, 200, MESSAGE)
    wire.always("DELETE", "/messages/5", 204)
    return wire


def test_it_says_that_it_is_a_test_and_pings_nobody(run: Run, discord: Wire) -> None:
    said = run("test", "discord", **ONE, DISCORD_MENTION="everyone")
    assert said.exit_code == 0, said.output
    assert "discord    posted, and taken away again" in said.stdout
    (body,) = posted(discord)
    assert "This is a test of Announcer. Nobody is live." in str(body["content"])
    assert "everyone" not in json.dumps(body["content"])
    assert body["allowed_mentions"] == {"parse": []}
    assert [sent.request.method for sent in discord.sent] == ["GET", "POST", "DELETE"]


def test_with_keep_it_stays(run: Run, discord: Wire) -> None:
    said = run("test", "discord", "--keep", **ONE)
    assert said.exit_code == 0
    assert "posted, and left there" in said.stdout
    assert "It will be gone" not in str(posted(discord)[0]["content"])


def test_what_nobody_can_take_away_says_so(run: Run, wire: Wire) -> None:
    wire.answers(200, {"success": True})
    said = run("test", "owncast", **ONE, OWNCAST_ACCESS_TOKEN="canary-chat")
    assert said.exit_code == 0
    assert "Owncast chat lets nobody take it away" in said.stdout


def test_all_are_tried_and_one_that_fails_is_the_status(run: Run, discord: Wire) -> None:
    discord.always("POST", "/chat/system", 200, {"success": True})
    discord.always_breaks("POST", HOOK, read_timeout)
    said = run("test", "--json", **ONE, OWNCAST_ACCESS_TOKEN="canary-chat")
    assert said.exit_code == 1
    results = {one["destination"]: one for one in json.loads(said.stdout)}
    assert (results["owncast"]["well"], results["discord"]["well"]) == (True, False)
    assert results["discord"]["up"] is None
    assert HOOK not in said.output


def test_an_unknown_destination_is_told_which_there_are(run: Run) -> None:
    said = run("test", "mastodon", **ONE)
    assert said.exit_code == 1
    assert "there is no destination mastodon; there are: discord" in said.stderr


def test_without_any_destination_it_says_where_to_begin(run: Run) -> None:
    said = run("test")
    assert said.exit_code == 1
    assert "announcer init" in said.stderr


def test_a_person_is_asked_before_everybody_gets_it(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "test", **ONE)
    there.until("A test post goes to discord.")
    there.answer("Go on?", "n")
    assert there.end() == 130
