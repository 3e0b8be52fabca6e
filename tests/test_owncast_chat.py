"""Owncast's own chat: what its answers mean, and that a title stays plain text in it."""

import html
import re
from datetime import UTC, datetime

import pytest

from announcer.contract.fake import Body, Wire, read_timeout
from announcer.network import Moment, Post, Refused, TryLater, Unsure, break_mentions
from announcer.networks.owncast import NOBODY, Owncast

CHAT = Owncast(url="https://live.example.org", access_token="chat-token")
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
POST = Post("b1/live/owncast", Moment.LIVE, Moment.LIVE, "Also on Mastodon", AT, AT, "k")
ONLY_ENTITIES = re.compile(r"(?:[^!-/:-@\[-`{-~]|&#\d+;)*")


def test_it_speaks_as_the_server_with_the_token(wire: Wire) -> None:
    wire.answers(200, {"message": "sent", "success": True})
    CHAT.publish(POST)
    (sent,) = wire.sent
    assert sent.request.url == "https://live.example.org/api/integrations/chat/system"
    assert sent.request.headers["Authorization"] == "Bearer chat-token"
    assert sent.json == {"body": "Also on Mastodon"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param({"error": "unexpected EOF"}, Refused, id="0.1.3 answers 200 to bad JSON"),
        pytest.param({"message": "no", "success": False}, Refused, id="says no"),
        pytest.param({"message": "sent"}, Unsure, id="does not say"),
        pytest.param({"success": "true"}, Unsure, id="a text is no truth"),
    ],
)
def test_only_success_is_success(wire: Wire, body: Body, error: type[Exception]) -> None:
    wire.answers(200, body)
    with pytest.raises(error):
        CHAT.publish(POST)


def test_e17_a_missing_scope_is_named_since_the_server_does_not(wire: Wire) -> None:
    wire.answers(401, "unauthorized", {"Content-Type": "text/plain"})
    with pytest.raises(Refused, match="may not send system messages") as refusal:
        CHAT.publish(POST)
    assert refusal.value.closes


@pytest.mark.parametrize(
    "title",
    [
        "<script>alert(1)</script><img src=x onerror=1>",
        "[x](http://evil.example) ![i](x) *a* _b_ `c` ~~~ # > - + 1. 1) | \\*",
        ":smile: :beer:",
        "https://evil.example/a www.evil.example mailto:a@evil.example",
        "&lt;b&gt; &#60; &copy; &amp;",
        "@kestrel and @everyone",
    ],
)
def test_f07_a_title_has_no_sign_left_to_mean_anything(title: str) -> None:
    """HTML, Markdown, emoji names and the server's bare links all begin with an ASCII sign."""
    escaped = CHAT.escape(title)
    assert ONLY_ENTITIES.fullmatch(escaped)
    assert html.unescape(escaped).replace("\u200b", "") == title


def test_no_bare_link_is_left_for_the_page_to_make() -> None:
    """The page looks for names with dots after the entities are read."""
    shown = html.unescape(CHAT.escape("see evil.example/x and v2.0."))
    assert shown == "see evil.\u200bexample/x and v2.\u200b0."


def test_f07_an_ampersand_is_not_escaped_twice() -> None:
    assert html.unescape(CHAT.escape("R&B &amp; @soul")) == break_mentions("R&B &amp; @soul")


def test_check_proves_the_token_without_telling_anyone(wire: Wire) -> None:
    wire.answers(200, {"message": "sent", "success": True})
    account = CHAT.check()
    (sent,) = wire.sent
    assert sent.path == f"/api/integrations/chat/system/client/{NOBODY}"
    assert sent.json == {"body": ""}
    assert (account.handle, account.url, account.notes) == (
        "live.example.org",
        "https://live.example.org",
        (),
    )


def test_check_takes_the_word_that_an_empty_text_is_none(wire: Wire) -> None:
    wire.answers(200, {"message": "no message body provided", "success": False})
    assert CHAT.check().notes == ()


def test_check_says_when_the_token_could_not_be_proven(wire: Wire) -> None:
    wire.answers(404, "404 page not found")
    assert CHAT.check().notes == ("the access token could not be proven without posting",)


def test_check_finds_a_wrong_token(wire: Wire) -> None:
    wire.answers(401, "unauthorized")
    with pytest.raises(Refused) as refusal:
        CHAT.check()
    assert refusal.value.closes


def test_check_of_something_else_is_refused(wire: Wire) -> None:
    wire.answers(200, {"hello": "world"})
    with pytest.raises(Refused, match="not like Owncast"):
        CHAT.check()


def test_check_never_leaves_a_doubt(wire: Wire) -> None:
    wire.breaks(read_timeout)
    with pytest.raises(TryLater):
        CHAT.check()
