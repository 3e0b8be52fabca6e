"""Every account on one page: who we are there, whether it works, what to do where it does not."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from announcer.attempt import fingerprint
from announcer.contract import Wire
from announcer.networks import available
from announcer.outbox.accounts import hold
from announcer.policy import Breaker, State
from announcer.rollcall import Found
from announcer.web.destinations import guide
from tests.fakes import wait_until
from tests.house import ONE, TWO, House, house
from tests.scenes import MINUTE, Scene, tried
from tests.test_door import token
from tests.test_now import MASTODON, words
from tests.test_pages import HOSTILE, Page
from tests.test_rollcall import keep

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(
        tmp_path,
        {
            **ONE,
            **MASTODON,
            "MASTODON__MUSIC__API_BASE_URL": "https://m.example",
            "MASTODON__MUSIC__ACCESS_TOKEN": "a-token-of-the-music",
        },
    ) as made:
        yield made


def card(there: House, name: str) -> str:
    """What the page says of one account."""
    page = there.client.get("/destinations").text
    (part,) = [one for one in page.split("<section ") if f'/{name}/check"' in one]
    return " ".join(part.split())


def introduce(there: House, name: str, **about: object) -> None:
    network = there.parts.settings.destinations[name]
    found = Found(NOW, fingerprint(network), "@kestrel", "https://social.example/@kestrel")
    keep(there.parts.outbox, name, replace(found, **about))  # type: ignore[arg-type]


def test_an_account_says_who_we_are(home: House) -> None:
    introduce(home, "mastodon", notes=("it lacks the scope write:media",))
    told = card(home, "mastodon")
    assert ">works<" in told
    assert 'href="https://social.example/@kestrel"' in told
    assert "it lacks the scope write:media" in told
    assert "not asked yet" in card(home, "discord")


def test_what_a_network_says_of_itself_is_no_markup_and_no_way_out(home: House) -> None:
    before = Page(home.client.get("/destinations"))
    introduce(home, "mastodon", handle=HOSTILE, url="javascript:alert(1)", notes=(HOSTILE,))
    introduce(home, "discord", problem=HOSTILE, final=True)
    page = Page(home.client.get("/destinations"))
    assert page.words.count("<script>alert(1)</script>") == 3
    assert page.elements["script"] == before.elements["script"]
    assert not [link for link in page.links if "javascript" in link]


def test_what_was_known_of_other_credentials_counts_no_more(home: House) -> None:
    introduce(home, "mastodon", credentials="of another time")
    assert "not asked yet" in card(home, "mastodon")


@pytest.mark.parametrize("final", [True, False])
def test_an_account_that_does_not_get_in_says_why_and_what_to_look_at(
    home: House, final: bool
) -> None:
    introduce(home, "mastodon.music", problem="401 invalid token", final=final)
    told = card(home, "mastodon.music")
    assert "does not work" in told
    assert "401 invalid token" in told
    assert ("MASTODON__MUSIC__ACCESS_TOKEN" in told) is final, "no use if only the network is down"
    assert "a-token-of-the-music" not in told


def test_a_closed_account_is_opened_by_a_click_and_what_is_due_goes_out(home: House) -> None:
    box = home.parts.outbox
    box.close("discord", "fingerprint", "401 gone", NOW - MINUTE)
    scene = Scene(box)
    post = scene.post(
        scene.show(ago=MINUTE),
        "discord",
        State.FAILED,
        reason="closed until its credentials change",
    )
    told = card(home, "discord")
    assert "closed" in told
    assert "DISCORD_WEBHOOK_URL" in told
    assert press(home, "discord", "reopen") == "It is open again: what is still due is sent."
    assert box.closed() == {}
    ((_, (row,)),) = box.history(1)
    assert (row.entry.key, row.entry.state) == (post.key, State.DUE)
    assert "Try it again" not in card(home, "discord")


def test_an_account_that_is_left_alone_is_asked_again_by_a_click(home: House) -> None:
    box, now = home.parts.outbox, datetime.now(UTC)
    with box.writing() as connection:
        hold(connection, "discord", Breaker(9, now, now + timedelta(minutes=9), "503 busy"))
    assert "left alone" in card(home, "discord")
    press(home, "discord", "reopen")
    assert box.breakers(datetime.now(UTC)) == {}


def press(there: House, name: str, what: str) -> str:
    form = {"csrf": token(there), "sure": "yes"}
    done = there.client.post(f"/destinations/{name}/{what}", data=form)
    assert done.status_code == 303
    page = there.client.get(done.headers["Location"].removeprefix("../..")).text
    return page.partition('class="banner good"')[2].partition(">")[2].partition("<")[0]


@pytest.mark.parametrize("path", ["nobody/check", "discord/drop", "../x/check", "discord/"])
def test_there_is_nothing_else_to_press(home: House, path: str) -> None:
    form = {"csrf": token(home)}
    assert home.client.post(f"/destinations/{path}", data=form).status_code == 404


def test_trouble_stands_on_top(home: House) -> None:
    introduce(home, "discord")
    introduce(home, "x", problem="402 no credits", final=True)
    home.parts.outbox.close("mastodon.music", "fingerprint", "401", NOW)
    page = home.client.get("/destinations").text
    order = [
        page.index(f'/{name}/check"') for name in ("mastodon.music", "x", "mastodon", "discord")
    ]
    assert order == sorted(order) or page.index('/x/check"') < order[2] < order[3]


def test_the_last_success_and_the_last_error_are_told(home: House) -> None:
    scene = Scene(home.parts.outbox)
    show = scene.show()
    scene.post(show, "discord", made=[tried(show.began)])
    mended = [tried(show.began, "TryLater", "429 slow down"), tried(show.began + MINUTE)]
    scene.post(show, "x", made=mended)
    scene.post(
        show,
        "mastodon",
        State.DUE,
        made=[tried(show.began), tried(show.began + MINUTE, "TryLater", "503 busy")],
    )
    assert "Last error" not in card(home, "discord")
    assert "503 busy" in card(home, "mastodon")
    assert "Last success" in card(home, "mastodon")
    assert "429 slow down" in card(home, "x"), "though it has worked since"


def test_the_time_to_post_is_the_same_here_as_in_history(home: House) -> None:
    scene = Scene(home.parts.outbox)
    for day, seconds in ((9, 60), (8, 40), (7, 33)):
        show = scene.show(f"b{day}", ago=timedelta(days=day), lasted=30 * MINUTE)
        made = [tried(show.began + timedelta(seconds=seconds))]
        scene.post(show, "discord", made=made)
        if day == 8:
            scene.post(show, "mastodon", made=[tried(show.began + 3 * MINUTE)])
    told = card(home, "discord")
    assert "Time to post" in told
    assert "usually 40 s after the start, last time 33 s" in told
    assert "3 min after the start, so far once" in card(home, "mastodon")
    assert "Time to post" not in card(home, "x")
    table = words(home, "/history").partition("Last time")[2].replace(" ", "")
    assert table.startswith("discord340s60s33smastodon13min3min3min")


def test_when_a_login_ends_is_told_where_it_is_known(home: House) -> None:
    introduce(home, "mastodon", ends=datetime(2031, 5, 1, 12, tzinfo=UTC))
    introduce(home, "discord")
    assert "<dt>Login ends</dt>" in card(home, "mastodon")
    assert "2031-05-01 12:00 UTC" in card(home, "mastodon")
    assert "Login ends" not in card(home, "discord")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("mastodon.music", "MASTODON__MUSIC__ACCESS_TOKEN"),
        ("mastodon.music", "announcer connect mastodon --account music"),
        ("mastodon", "<code>announcer connect mastodon</code>."),
        ("owncast", "OWNCAST_ACCESS_TOKEN"),
        ("irc", "IRC_*"),
    ],
)
def test_whatever_is_closed_says_what_to_do(tmp_path: Path, name: str, remedy: str) -> None:
    more = {"OWNCAST_ACCESS_TOKEN": "x", "IRC_SERVER": "irc.example", "IRC_NICK": "kestrel"}
    music = {"MASTODON__MUSIC__ACCESS_TOKEN": "y", "IRC_CHANNEL": "#kestrel"}
    at = {"MASTODON__MUSIC__API_BASE_URL": "https://m.example"}
    with house(tmp_path, {**ONE, **MASTODON, **more, **music, **at}) as made:
        made.parts.outbox.close(name, "fingerprint", "401 gone", NOW)
        assert remedy in card(made, name)


def test_where_there_are_channels_it_says_whose_posts_it_gets(tmp_path: Path) -> None:
    ops = {"DISCORD__OPS__WEBHOOK_URL": "https://discord.com/api/webhooks/18/another-word"}
    route = {"DISCORD_CHANNELS": "music", "ANNOUNCER_ALERTS": "discord.ops"}
    with house(tmp_path, {**TWO, **ops, **route}) as two:
        assert "<dd>music</dd>" in card(two, "discord")
        assert "alerts only" in card(two, "discord.ops")


def test_without_a_destination_it_says_what_to_set(tmp_path: Path) -> None:
    with house(tmp_path, {"OWNCAST_WEBHOOK_SECRET": "a-secret"}) as empty:
        assert "No destination is configured" in words(empty, "/destinations")


# The guide


@pytest.mark.parametrize("network", available(), ids=lambda network: network.title)
def test_every_guide_reads_as_steps(network: type) -> None:
    told = str(guide(network.__doc__ or ""))
    assert told.startswith("<p>")
    assert "<ol><li>" in told
    assert "`" not in told
    assert told.count("<li>") == told.count("</li>")


def test_a_guide_is_words_and_nothing_else() -> None:
    told = str(guide(f"{HOSTILE} `<b>`\n\n1. {HOSTILE}\n2. Two"))
    assert "<script" not in told
    assert "<code>&lt;b&gt;</code>" in told
    assert told.endswith("<li>Two</li></ol>")


def test_a_test_is_posted_by_a_click_and_told_where_it_was_asked_for(
    home: House, wire: Wire
) -> None:
    hook = "/webhooks/17/an-unguessable-word-of-discords"
    wire.always("GET", hook, 200, {"guild_id": "44", "channel_id": "22"})
    wire.always("DELETE", f"{hook}/messages/33", 204)
    wire.answers(200, {"id": "33", "channel_id": "22"})
    assert press(home, "discord", "test").startswith("The test is on its way.")
    wait_until(lambda: "Test: posted, and taken away again" in card(home, "discord"))
    (posted,) = wire.scripted
    assert "This is a test" in posted.json["content"]
    assert posted.json["allowed_mentions"] == {"parse": []}


def test_a_test_is_asked_for_by_a_page_where_no_script_asks(home: House) -> None:
    page = home.client.post("/destinations/discord/test", data={"csrf": token(home)})
    assert page.status_code == 200
    assert "Post to discord that this is a test?" in page.text
    assert "Sending" not in card(home, "discord"), "it only asks"


def test_a_test_that_fails_says_why_and_can_be_tried_again(home: House, wire: Wire) -> None:
    wire.always("GET", "/webhooks/17/an-unguessable-word-of-discords", 200, {})
    wire.answers(403, {"message": "Missing Permissions", "code": 50013})
    press(home, "discord", "test")
    wait_until(lambda: "Test: not posted: 403 Missing Permissions" in card(home, "discord"))
    assert "unguessable" not in card(home, "discord")
    assert "Send a test" in card(home, "discord")
