"""What is special to Mastodon and its relatives; the contract suite holds what all networks do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from announcer.contract.fake import Wire, read_timeout, reset
from announcer.network import Gone, Moment, Post, Receipt, Refused, TryLater
from announcer.networks import mastodon
from announcer.networks.mastodon import Mastodon

HOME = "https://mastodon.test"
ACCOUNT = Mastodon(api_base_url=HOME, access_token="hush")
UP = {"id": "7", "url": f"{HOME}/@kestrel/7"}
ME = {"id": "1", "username": "kestrel", "acct": "kestrel", "url": f"{HOME}/@kestrel"}
OUT_OF_SCOPE = {"error": "This action is outside the authorized scopes"}
TEXT = '\U0001f534 Kestrel is live: drawers & "joints"\nhttps://live.example.org/?a=1&b=2 #owncast'
NOW = datetime.now(UTC)
POST = Post(
    key="b1/live/mastodon",
    moment=Moment.LIVE,
    mood=Moment.LIVE,
    text=TEXT,
    began_at=NOW - timedelta(minutes=2),
    worded_at=NOW - timedelta(minutes=1),
    wire_key="b1/live/mastodon/0",
)
DOUBTFUL = replace(POST, doubtful_since=NOW - timedelta(seconds=30))


def account(**settings: Any) -> Mastodon:
    """A fresh one: the instance document is remembered in the object."""
    return Mastodon.model_validate({"api_base_url": HOME, "access_token": "hush", **settings})


def key_of(wire: Wire) -> str:
    return wire.sent[-1].request.headers["Idempotency-Key"]


# Publishing


def test_the_visibility_is_always_sent_since_gotosocial_has_another_default(wire: Wire) -> None:
    wire.answers(200, UP)
    ACCOUNT.publish(POST)
    assert wire.sent[-1].json == {
        "status": TEXT,
        "visibility": "public",
        "sensitive": False,
        "content_type": "text/plain",
    }


def test_every_setting_of_a_post_reaches_the_server(wire: Wire) -> None:
    wire.answers(200, UP)
    mine = account(visibility="unlisted", language="de", spoiler_text="Stream")
    mine.publish(replace(POST, reply_to=Receipt("5")))
    assert wire.sent[-1].json == {
        "status": TEXT,
        "visibility": "unlisted",
        "language": "de",
        "spoiler_text": "Stream",
        "sensitive": True,
        "in_reply_to_id": "5",
        "content_type": "text/plain",
    }


def test_nothing_is_asked_before_a_post(wire: Wire) -> None:
    wire.answers(200, UP)
    account().publish(POST)
    assert [sent.path for sent in wire.sent] == ["/api/v1/statuses"]


def test_an_idempotency_key_belongs_to_one_account_and_one_try(wire: Wire) -> None:
    keys = []
    for mine, post in [
        (ACCOUNT, POST),
        (account(access_token="other"), POST),
        (ACCOUNT, replace(POST, wire_key="b1/live/mastodon/1")),
        (ACCOUNT, DOUBTFUL),
    ]:
        wire.answers(200, UP)
        mine.publish(post)
        keys.append(key_of(wire))
    assert len(set(keys[:3])) == 3
    assert keys[3] == keys[0]


def test_a_token_that_is_the_name_of_a_file_is_still_a_token(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hush").write_text("from the file\n")
    wire.answers(200, UP)
    ACCOUNT.publish(POST)
    assert wire.sent[-1].request.headers["Authorization"] == "Bearer hush"


def test_an_error_that_pleroma_replays_asks_for_another_key(wire: Wire) -> None:
    wire.answers(422, {"error": "too long"}, {"idempotent-replayed": "true"})
    with pytest.raises(TryLater, match="replayed"):
        ACCOUNT.publish(POST)


def test_a_post_that_pleroma_replays_is_up(wire: Wire) -> None:
    wire.answers(200, UP, {"idempotent-replayed": "true"})
    assert ACCOUNT.publish(POST).id == "7"


@pytest.mark.parametrize("answer_id", ["01J9Z8", "109348502934850293", 109348502934850293])
def test_an_id_is_kept_as_it_is(wire: Wire, answer_id: str | int) -> None:
    wire.answers(200, {"id": answer_id, "url": None})
    assert ACCOUNT.publish(POST) == Receipt(str(answer_id), "")


def test_a_redirect_without_an_address_is_no_success(wire: Wire) -> None:
    wire.answers(300, UP)
    with pytest.raises(Refused):
        ACCOUNT.publish(POST)


def test_e17_a_missing_scope_is_named(wire: Wire) -> None:
    wire.answers(403, OUT_OF_SCOPE)
    with pytest.raises(Refused, match="needs the scope write:statuses") as refusal:
        ACCOUNT.publish(POST)
    assert refusal.value.closes


def test_e26_a_server_that_lowered_its_limit_gets_a_shorter_text_later(wire: Wire) -> None:
    mine = account()
    wire.always("GET", "/api/v2/instance", 200, instance(100))
    assert mine.limit() == 100
    wire.always("GET", "/api/v2/instance", 200, instance(40))
    wire.answers(422, {"error": "Validation failed: Text character limit of 40 exceeded"})
    with pytest.raises(TryLater, match="limit has shrunk"):
        mine.publish(POST)
    assert mine.limit() == 40


def test_a_text_that_is_refused_although_it_is_short_enough_is_refused(wire: Wire) -> None:
    wire.always("GET", "/api/v2/instance", 200, instance(500))
    wire.answers(422, {"error": "Validation failed: Language is invalid"})
    with pytest.raises(Refused, match="Language is invalid") as refusal:
        account().publish(POST)
    assert not refusal.value.closes


# Changing and taking away


def test_a_change_sends_the_content_warning_again_or_it_would_be_lost(wire: Wire) -> None:
    wire.answers(200, UP)
    receipt = account(spoiler_text="Stream").revise(Receipt("7"), replace(POST, text="It ended"))
    assert receipt == Receipt("7", f"{HOME}/@kestrel/7")
    assert (wire.sent[-1].request.method, wire.sent[-1].path) == ("PUT", "/api/v1/statuses/7")
    assert wire.sent[-1].json == {
        "status": "It ended",
        "spoiler_text": "Stream",
        "sensitive": True,
        "content_type": "text/plain",
    }


@pytest.mark.parametrize("status", [404, 410])
def test_e19_what_a_person_deleted_is_gone(wire: Wire, status: int) -> None:
    wire.always("GET", "/api/v1/statuses/7", status, {"error": "Record not found"})
    wire.answers(status, {"error": "Record not found"}, times=2)
    with pytest.raises(Gone):
        ACCOUNT.revise(Receipt("7"), POST)
    ACCOUNT.remove(Receipt("7"))


def test_a_removal_names_the_post(wire: Wire) -> None:
    wire.answers(200, UP)
    ACCOUNT.remove(Receipt("7"))
    assert (wire.sent[-1].request.method, wire.sent[-1].path) == ("DELETE", "/api/v1/statuses/7")


# Looking whether a post is up

BY_MASTODON = (
    "<p>\U0001f534 Kestrel is live: drawers &amp; &quot;joints&quot;<br />"
    '<a href="https://live.example.org/?a=1&amp;b=2" target="_blank" rel="nofollow noopener" '
    'translate="no"><span class="invisible">https://</span><span class="ellipsis">'
    'live.example.org/?a=1</span><span class="invisible">&amp;b=2</span></a> '
    f'<a href="{HOME}/tags/owncast" class="mention hashtag" rel="tag">#<span>owncast</span></a></p>'
)
BY_SNAC = (
    '\U0001f534 Kestrel is live: drawers & "joints"<br>'
    '<a href="https://live.example.org/?a=1&b=2" target="_blank">'
    "https://live.example.org/?a=1&b=2</a> "
    '<a href="http://localhost:8893?t=owncast" class="mention hashtag" rel="tag">#owncast</a><br>'
)


def status(content: str, created_at: str | None = None, number: str = "7") -> dict[str, Any]:
    created_at = created_at or NOW.isoformat().replace("+00:00", "Z")
    return {"id": number, "url": f"{HOME}/@kestrel/{number}", "content": content,
            "created_at": created_at, "visibility": "public"}  # fmt: skip


def knows_me(wire: Wire) -> None:
    wire.always("GET", "/api/v1/accounts/verify_credentials", 200, ME)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        pytest.param(TEXT, BY_MASTODON, id="recorded Mastodon"),
        pytest.param(TEXT, BY_SNAC, id="recorded snac 2.75"),
        pytest.param(
            "a *dovetail* drawer_with_x `code` ~~s~~",
            "a <i>dovetail</i> drawer_with_x <code>code</code> <s>s</s><br>",
            id="Markdown, as snac 2.75 renders it",
        ),
        pytest.param(
            "see [x](https://a.example/b) :kestrel: ;-)",
            'see <a href="https://a.example/b">x</a> :kestrel: &#128521;<br>',
            id="a Markdown link and a smiley, as snac 2.75 renders them",
        ),
        pytest.param(
            "<b>tags</b> & such", "<b>tags</b> & such<br>", id="HTML, which snac 2.75 lets through"
        ),
        pytest.param(
            "with @friend@other.example",
            '<p>with <span class="h-card"><a href="https://other.example/@friend" '
            'class="u-url mention">@<span>friend</span></a></span></p>',
            id="a mention loses its host",
        ),
        pytest.param("cafe\u0301", "<p>caf\u00e9</p>", id="another form of the same letter"),
        pytest.param("\U0001f534 \U0001f534", "<p>\U0001f534\U0001f534</p>", id="no letter at all"),
    ],
)
def test_a_post_is_recognised_in_what_the_server_made_of_it(
    wire: Wire, text: str, content: str
) -> None:
    knows_me(wire)
    wire.answers(200, [status("<p>Good morning</p>", number="8"), status(content)])
    assert ACCOUNT.find(replace(DOUBTFUL, text=text)) == Receipt("7", f"{HOME}/@kestrel/7")
    asked = wire.sent[-1].request.url or ""
    assert asked.startswith(f"{HOME}/api/v1/accounts/1/statuses?")
    assert {"exclude_reblogs=1", "limit=40"} <= set(asked.partition("?")[2].split("&"))


@pytest.mark.parametrize(
    "statuses",
    [
        pytest.param([], id="none"),
        pytest.param([status("<p>Good morning</p>")], id="another text"),
        pytest.param([status("<p>\U0001f534</p>")], id="an emoji of it only"),
        pytest.param([status(BY_MASTODON.replace("drawers", "doors"))], id="nearly the same text"),
        pytest.param(
            [status(BY_MASTODON, (NOW - timedelta(minutes=11)).isoformat())],
            id="the same text, of yesterday's broadcast",
        ),
        pytest.param([status(BY_MASTODON, "yesterday")], id="a date that can not be read"),
        pytest.param(["nonsense", {}], id="nonsense"),
    ],
)
def test_another_post_is_not_taken_for_ours(wire: Wire, statuses: list[Any]) -> None:
    knows_me(wire)
    wire.answers(200, statuses)
    assert ACCOUNT.find(DOUBTFUL) is None


def test_a_server_clock_that_is_behind_does_not_hide_a_post(wire: Wire) -> None:
    knows_me(wire)
    wire.answers(200, [status(BY_MASTODON, (NOW - timedelta(minutes=9)).isoformat())])
    assert ACCOUNT.find(DOUBTFUL)


def test_a_look_that_fails_is_made_again_later(wire: Wire) -> None:
    wire.breaks(read_timeout)
    with pytest.raises(TryLater):
        ACCOUNT.find(DOUBTFUL)
    knows_me(wire)
    wire.breaks(reset)
    with pytest.raises(TryLater):
        ACCOUNT.find(DOUBTFUL)
    wire.answers(200, {"not": "a list"})
    with pytest.raises(TryLater):
        ACCOUNT.find(DOUBTFUL)


def blind(wire: Wire, **about: Any) -> None:
    """A server where our token may not read statuses."""
    knows_me(wire)
    wire.always("GET", "/api/v1/accounts/1/statuses", 403, OUT_OF_SCOPE)
    wire.always("GET", "/api/v2/instance", 200, about)


def test_where_nobody_may_look_mastodons_key_guards_a_repeat_for_an_hour(wire: Wire) -> None:
    blind(wire, source_url="https://github.com/mastodon/mastodon")
    assert account().find(DOUBTFUL) is None
    with pytest.raises(Refused, match=r"may not look.*scope read:statuses") as refusal:
        account().find(replace(POST, doubtful_since=NOW - timedelta(hours=1)))
    assert not refusal.value.closes


@pytest.mark.parametrize(
    "source",
    ["https://codeberg.org/superseriousbusiness/gotosocial", None, "https://comam.es/snac"],
)
def test_where_nobody_may_look_and_no_key_is_kept_it_is_left_to_a_person(
    wire: Wire, source: str | None
) -> None:
    blind(wire, source_url=source)
    with pytest.raises(Refused) as refusal:
        account().find(DOUBTFUL)
    assert not refusal.value.closes


def test_where_nobody_may_look_a_server_that_is_silent_for_a_moment_is_asked_again(
    wire: Wire,
) -> None:
    blind(wire)
    wire.always("GET", "/api/v2/instance", 502)
    wire.always("GET", "/api/v1/instance", 502)
    with pytest.raises(TryLater):
        account().find(DOUBTFUL)


# Length


def instance(longest: object, reserved: object = 23) -> dict[str, Any]:
    statuses = {"max_characters": longest, "characters_reserved_per_url": reserved}
    return {"configuration": {"statuses": statuses}}


@pytest.mark.parametrize(
    ("about", "limit"),
    [
        (instance(5000), 5000),
        (instance(300), 300),
        (instance("5000"), 500),
        (instance(0), 500),
        ({"configuration": None}, 500),
        ({}, 500),
    ],
)
def test_the_server_tells_its_limit(wire: Wire, about: dict[str, Any], limit: int) -> None:
    wire.always("GET", "/api/v2/instance", 200, about)
    assert account().limit() == limit


def test_an_older_server_is_asked_the_old_way_without_a_slash_at_the_end(wire: Wire) -> None:
    wire.always("GET", "/api/v2/instance", 404)
    wire.always("GET", "/api/v1/instance", 200, instance(1000))
    assert account().limit() == 1000


def test_the_content_warning_counts(wire: Wire) -> None:
    wire.always("GET", "/api/v2/instance", 200, instance(500))
    assert account(spoiler_text="Stream").limit() == 494


def test_the_limit_is_asked_once_an_hour_and_after_a_failure_once_a_minute(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(mastodon, "time", SimpleNamespace(monotonic=lambda: clock.now))
    mine, limits = account(), []
    wire.breaks(read_timeout)
    for later in (0, 59, 1, 3599):  # fails, is left alone, answers, is left alone
        clock.now += later
        if later == 1:
            wire.answers(200, instance(5000))
        limits.append(mine.limit())
    assert limits == [500, 500, 5000, 5000]
    clock.now += 1
    wire.breaks(reset)
    assert mine.limit() == 5000, "the last known limit stays while the server is away"


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (FAMILY, 1),
        ("\U0001f44b\U0001f3fd", 1),
        ("\U0001f1e9\U0001f1ea", 1),
        ("❤\ufe0f", 1),
        ("e\u0301", 1),
        ("日本語", 3),
        ("a\u200bb", 3),
        ("…", 1),
        ("z" + "\u0335" * 20, 1),
        ("https://live.example.org/", 23),
        ("http://a.io", 23),
        ("https://live.example.org/" + "x" * 200, 23),
        ("https://live.example.org?a=1", 23),
        ("live.example.org", 16),
        ("@a@b.example", 2),
        ("me@b.example", 12),
        ("https://live.example.org/@a@b.example", 23),
        pytest.param("(https://live.example.org).", 26, id="marks around a link count"),
        pytest.param("https://live.example.org/日本", 25, id="a link ends at other letters"),
        pytest.param("http://owncast.lan:8080/" + "x" * 76, 100, id="not public, so as written"),
        pytest.param("http://203.0.113.9:8080/", 24, id="an address of digits is no link"),
    ],
)
def test_f02_f13_length_is_counted_as_mastodon_counts(text: str, length: int) -> None:
    assert ACCOUNT.measure(text) == length


def test_a_link_counts_what_the_server_reserves(wire: Wire) -> None:
    wire.always("GET", "/api/v2/instance", 200, instance(5000, 30))
    mine = account()
    mine.limit()
    assert mine.measure("https://live.example.org/") == 30


# Who am I


def test_an_account_is_shown_with_its_server(wire: Wire) -> None:
    knows_me(wire)
    wire.always(
        "GET", "/api/v2/instance", 200, {"source_url": "https://github.com/mastodon/mastodon"}
    )
    wire.answers(200, [])
    found = account().check()
    assert (found.handle, found.url, found.notes) == (
        "@kestrel@mastodon.test",
        f"{HOME}/@kestrel",
        (),
    )


def test_a_token_that_may_not_look_is_remarked_upon(wire: Wire) -> None:
    knows_me(wire)
    wire.always("GET", "/api/v2/instance", 200, {})
    wire.answers(403, OUT_OF_SCOPE)
    assert "read:statuses" in account().check().notes[0]


def test_a_revoked_token_is_told(wire: Wire) -> None:
    wire.answers(401, {"error": "The access token was revoked"})
    with pytest.raises(Refused, match="401 The access token was revoked"):
        ACCOUNT.check()
