"""A whole evening, read back step by step as the public sees it, on a real Bluesky server and a
real fediverse server, and on the town for Discord and the chat.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from announcer import rehearsal
from announcer.demo import Town
from tests.running import SECONDS, Service
from tests.servers.pds import BlueskyAccount
from tests.servers.snac import FediverseAccount
from tests.town import Town as Others

LIVE, OVER = "is live", re.compile(r"was live|is over")
NAME = "Kestrel Workshop"


@dataclass
class Evening:
    """The service with short times, and everybody who watches."""

    service: Service
    bluesky: BlueskyAccount
    fediverse: FediverseAccount
    town: Town
    x: Others
    seen: list[dict[str, list[str]]] = field(default_factory=list)

    def tell(self, what: str, title: str) -> None:
        assert self.service.hear(rehearsal.webhook(what, title, NAME)) == 204

    def look(self) -> dict[str, list[str]]:
        """What stands where, by network, oldest first."""
        shown = {
            "bluesky": [post["text"] for post in self.bluesky.posts()],
            "fediverse": [re.sub(r"<[^>]+>", " ", post.html) for post in self.fediverse.posts()],
            "discord": self._wall("discord"),
        }
        self.seen.append(shown)
        for network, texts in shown.items():
            live = [text for text in texts if LIVE in text]
            assert len(live) <= 1, f"{network} shows two live posts: {texts}"
        return shown

    def chat(self) -> list[str]:
        return self._wall("owncast")

    def _wall(self, network: str) -> list[str]:
        return [seen.text for seen in list(self.town.wall.values()) if seen.network == network]

    def until(self, true: Callable[[dict[str, list[str]]], bool], otherwise: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not true(self.look()):
            assert time.monotonic() < deadline, f"{otherwise}: {self.seen[-1]}\n{self.service.log}"
            time.sleep(0.1)

    def stays(self, seconds: float) -> dict[str, list[str]]:
        """What is shown does not change for so long."""
        before = self.look()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.look() == before
            time.sleep(0.1)
        return before


@pytest.fixture
def evening(
    tmp_path: Path, bluesky_account: BlueskyAccount, fediverse_account: FediverseAccount
) -> Iterator[Evening]:
    town, x = Town(), Others()
    service = Service(
        tmp_path,
        {
            **x.settings("x"),
            "ANNOUNCER_HOLD": "1s",
            "ANNOUNCER_GRACE": "3s",
            "ANNOUNCER_POLL": "0s",
            "OWNCAST_URL": town.address,
            "BLUESKY_SERVICE": bluesky_account.service,
            "BLUESKY_IDENTIFIER": bluesky_account.identifier,
            "BLUESKY_APP_PASSWORD": bluesky_account.app_password,
            "MASTODON_API_BASE_URL": fediverse_account.server,
            "MASTODON_ACCESS_TOKEN": fediverse_account.token,
            "DISCORD_WEBHOOK_URL": f"{town.address}/api/webhooks/1/a-made-up-word",
            "OWNCAST_ACCESS_TOKEN": "a-made-up-token",
        },
    )
    yield Evening(service, bluesky_account, fediverse_account, town, x)
    service.stop()
    town.close()
    x.close()


def test_an_evening_with_titles_drops_a_return_and_an_end(evening: Evening) -> None:
    town, look = evening.town, evening.look
    town.live = True
    evening.tell("start", "Drawers")
    evening.until(
        lambda shown: all(len(texts) == 1 for texts in shown.values()), "not told everywhere"
    )
    assert all("Drawers" in texts[0] for texts in look().values())
    evening.until(lambda _: len(evening.chat()) == 1, "the chat was not told")
    assert "/post/" in evening.chat()[0], "the chat tells where the posts are"

    for number in range(5):
        evening.tell("title", f"Title {number}")
        time.sleep(2)
    evening.until(
        lambda shown: all("Title 4" in shown[name][0] for name in ("fediverse", "discord")),
        "the last title is not shown",
    )
    assert town_edits(town) == 1, "five titles in ten seconds are one edit"
    assert "Drawers" in look()["bluesky"][0], "Bluesky shows no edits"

    town.live = False
    evening.tell("stop", "Title 4")
    evening.stays(2)
    town.live = True
    evening.tell("start", "Title 4")
    evening.stays(5)

    time.sleep(1)  # Owncast's times have whole seconds: a new connection is seen to be one
    evening.tell("start", "Title 4")  # it crashed, and never said that the stream had stopped
    evening.stays(5)

    town.live = False
    evening.tell("stop", "Title 4")
    evening.until(ended, "the end is not told")
    town.live = True
    evening.tell("start", "Title 4")
    evening.until(
        lambda shown: all(LIVE in texts[0] and len(texts) == 1 for texts in shown.values()),
        "it is not live again everywhere",
    )

    town.live = False
    evening.tell("stop", "Title 4")
    evening.until(ended, "the end is not told once more")
    final = evening.stays(2)
    assert len(final["fediverse"]) == len(final["discord"]) == 1
    assert len(final["bluesky"]) == 2
    assert len(evening.chat()) == 1
    [tweet] = evening.x.visible
    assert "Drawers" in tweet.text, "X shows no edits, and an answer there is refused: it is left"


def ended(shown: dict[str, list[str]]) -> bool:
    """Nothing that can be edited says "live", and what can not has an answer that tells the end."""
    return (
        all(OVER.search(shown[name][0]) is not None for name in ("fediverse", "discord"))
        and len(shown["bluesky"]) == 2
        and OVER.search(shown["bluesky"][1]) is not None
    )


def town_edits(town: Town) -> int:
    [seen] = [seen for seen in town.wall.values() if seen.network == "discord"]
    return len(seen.was)
