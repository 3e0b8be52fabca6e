"""A real server that is no Mastodon (snac2), and what a stranger reads there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from announcer import rehearsal
from announcer.contract import POST
from announcer.network import Gone, Receipt, Refused
from announcer.networks.mastodon import Mastodon
from tests.running import Service
from tests.servers.snac import FediverseAccount

STREAM = "https://live.kestrel.example"
HOSTILE = "*star* [x](http://evil.example) <b>t</b> `c` I <3 @golive"


@pytest.fixture
def service(tmp_path: Path, fediverse_account: FediverseAccount) -> Iterator[Service]:
    settings = {
        "MASTODON_API_BASE_URL": fediverse_account.server,
        "MASTODON_ACCESS_TOKEN": fediverse_account.token,
        # The address of the stream is shown, and asked for its status; nobody answers there.
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "0s",
        "ANNOUNCER_POLL": "0s",
    }
    running = Service(tmp_path, settings, ("-m", "tests.hurried"))
    yield running
    running.stop()


def account(there: FediverseAccount) -> Mastodon:
    return Mastodon(api_base_url=there.server, access_token=there.token)


def test_f01_an_evening_with_a_title_full_of_markup(
    service: Service, fediverse_account: FediverseAccount
) -> None:
    def shown() -> str:
        return "".join(post.html for post in fediverse_account.posts())

    def tell(what: str, title: str) -> None:
        assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204

    tell("start", HOSTILE)
    service.until(shown, "nothing was posted")
    [post] = fediverse_account.posts()
    assert post.links == ("http://evil.example", STREAM), "as written, and behind no other words"
    assert not any(tag in post.html for tag in ("<i>", "<b>", "<code>"))
    assert ">http://evil.example<" in post.html
    assert "I ＜3" in post.html
    assert post.raw["mentions"] == []
    tell("title", "a bench *plane*")
    service.until(lambda: "＊plane＊" in shown(), "the title stays")
    tell("stop", "a bench *plane*")
    service.until(lambda: "was live" in shown(), "it does not end")
    assert len(fediverse_account.posts()) == 1


def test_a_removal_that_snac_does_not_know_is_no_success(
    fediverse_account: FediverseAccount,
) -> None:
    mine = account(fediverse_account)
    receipt = mine.publish(POST)
    with pytest.raises(Refused, match="does not take away posts"):
        mine.remove(receipt)
    assert len(fediverse_account.posts()) == 1


def test_e19_what_is_not_there_is_gone(fediverse_account: FediverseAccount) -> None:
    mine = account(fediverse_account)
    with pytest.raises(Gone):
        mine.revise(Receipt("1796058356af477fea52d17cfcf2e7a8c780cc2270"), POST)
    mine.remove(Receipt("1796058356af477fea52d17cfcf2e7a8c780cc2270"))


def test_the_server_says_what_it_is(fediverse_account: FediverseAccount) -> None:
    assert ["snac" in note for note in account(fediverse_account).check().notes] == [True]
