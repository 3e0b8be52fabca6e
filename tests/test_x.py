"""What is special to X; the contract suite holds what all networks do."""

import base64
import hashlib
import hmac
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest

from announcer.contract.fake import Body, Sent, Wire, read_timeout
from announcer.network import (
    DeliveryError,
    ForgetfulMemory,
    Moment,
    Post,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks.x import X

KEYS = {
    "consumer_key": "ck",
    "consumer_secret": "consumer & secret",
    "access_token": "1-at",
    "access_token_secret": "token / secret",
}
TEXT = "Kestrel is live: nuts & bolts\nlive.example.org https://a.example/b?c=1&copy=2 #owncast"
NOW = datetime.now(UTC)
POST = Post(
    key="b1/live/x",
    moment=Moment.LIVE,
    mood=Moment.LIVE,
    text=TEXT,
    began_at=NOW - timedelta(minutes=2),
    worded_at=NOW - timedelta(minutes=1),
    wire_key="b1/live/x/0",
)
DOUBTFUL = replace(POST, doubtful_since=NOW - timedelta(seconds=30))
UP = {"data": {"id": "7", "text": "as sent"}}
ME = {"data": {"id": "1", "name": "Kestrel", "username": "kestrel"}}
DUPLICATE = {
    "detail": "You are not allowed to create a Tweet with duplicate content.",
    "type": "about:blank",
    "title": "Forbidden",
    "status": 403,
}


def account(**settings: Any) -> X:
    return X.model_validate({**KEYS, **settings})


def signature(sent: Sent) -> tuple[str, str]:
    """The signature that left, and the one that RFC 5849 asks for at the address really used."""
    request = sent.request
    header = request.headers["Authorization"]
    header = header.decode() if isinstance(header, bytes) else header
    said = {name: unquote(value) for name, value in re.findall(r'(\w+)="([^"]*)"', header)}
    given = said.pop("oauth_signature")
    address = urlsplit(request.url or "")
    pairs = sorted(
        (quote(name, safe="~"), quote(value, safe="~"))
        for name, value in [*said.items(), *parse_qsl(address.query)]
    )
    base = "&".join(
        quote(part, safe="~")
        for part in (
            request.method or "",
            f"{address.scheme}://{address.netloc}{address.path}",
            "&".join(f"{name}={value}" for name, value in pairs),
        )
    )
    secret = "&".join(quote(KEYS[name], safe="~") for name in SECRETS)
    digest = hmac.new(secret.encode(), base.encode(), hashlib.sha1).digest()
    return given, base64.b64encode(digest).decode()


SECRETS = ("consumer_secret", "access_token_secret")


# Publishing


@pytest.mark.parametrize("origin", ["https://api.x.com", "http://127.0.0.1:8080/x"])
def test_every_request_is_signed_for_the_host_that_gets_it(wire: Wire, origin: str) -> None:
    mine = account(api_base_url=origin)
    wire.answers(201, UP)
    wire.answers(200, ME)
    wire.answers(200, {"meta": {"result_count": 0}})
    mine.publish(POST)
    mine.find(DOUBTFUL)
    for sent, path in zip(
        wire.sent, ["/2/tweets", "/2/users/me", "/2/users/1/tweets?"], strict=True
    ):
        assert (sent.request.url or "").startswith(f"{origin}{path}")
        given, right = signature(sent)
        assert given == right


def test_only_the_text_is_sent_and_never_as_a_reply_which_x_would_refuse(wire: Wire) -> None:
    wire.answers(201, UP)
    account().publish(replace(POST, text="a\r\nb", reply_to=Receipt("5")))
    assert wire.sent[-1].json == {"text": "a\nb"}


def test_a_duplicate_after_an_unclear_try_is_probably_ours(wire: Wire) -> None:
    wire.answers(403, DUPLICATE)
    with pytest.raises(Unsure, match="identical"):
        account().publish(DOUBTFUL)


def test_f12_a_duplicate_of_an_older_post_is_refused_and_the_account_stays_open(wire: Wire) -> None:
    wire.answers(403, DUPLICATE)
    with pytest.raises(Refused, match="identical to an earlier post") as refusal:
        account().publish(POST)
    assert not refusal.value.closes


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(402, {}, id="402"),
        pytest.param(
            402,
            {
                "title": "CreditsDepleted",
                "detail": "Your enrolled account does not have any credits.",
                "type": "https://api.twitter.com/2/problems/credits",
            },
            id="no credits left",
        ),
        pytest.param(
            429,
            {
                "title": "UsageCapExceeded",
                "detail": "Usage cap exceeded: Monthly product cap",
                "type": "https://api.twitter.com/2/problems/usage-capped",
            },
            id="usage cap, which is no rate limit",
        ),
    ],
)
def test_without_credits_the_account_is_closed_and_the_price_told(
    wire: Wire, status: int, body: Body
) -> None:
    wire.answers(status, body)
    with pytest.raises(Refused, match=r"out of credits .* \$0\.20") as refusal:
        account().publish(POST)
    assert refusal.value.closes


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param(
            {"errors": [{"title": "Forbidden", "detail": "You may not.", "status": 403}]},
            Refused,
            "403 You may not.",
            id="a refusal dressed as a success",
        ),
        pytest.param({"errors": [DUPLICATE]}, Refused, "identical", id="a duplicate, likewise"),
        pytest.param(
            {"errors": [{"message": "Something broke", "code": 131}]},
            Unsure,
            "Something broke",
            id="an error without a status",
        ),
        pytest.param({"errors": ["odd"]}, Unsure, "no id", id="an odd error"),
        pytest.param({"data": {"id": 7}}, Unsure, "no id", id="an id that is no text"),
        pytest.param({"data": [UP]}, Unsure, "no id", id="a list"),
    ],
)
def test_an_error_may_hide_in_a_success(
    wire: Wire, body: Body, error: type[DeliveryError], words: str
) -> None:
    wire.answers(200, body)
    with pytest.raises(error, match=re.escape(words)):
        account().publish(POST)


def test_a_post_is_up_if_it_has_an_id_whatever_else_is_said(wire: Wire) -> None:
    wire.answers(201, {**UP, "errors": [{"title": "Not Found Error", "status": 404}]})
    assert account().publish(POST) == Receipt("7", "https://x.com/i/status/7")


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        pytest.param(500, [{"oops": 1}], {}, Unsure, id="a list, which tweepy stumbles over"),
        pytest.param(503, "[]", {}, TryLater, id="an empty list"),
        pytest.param(503, '"text"', {}, TryLater, id="a text"),
        pytest.param(429, {}, {"x-rate-limit-reset": "soon"}, TryLater, id="a reset in words"),
        pytest.param(400, {"errors": None}, {}, Refused, id="errors that are none"),
        pytest.param(400, {"errors": [None], "error": 1}, {}, Refused, id="odd errors"),
    ],
)
def test_an_odd_answer_is_still_judged_by_its_status(
    wire: Wire, status: int, body: Body, headers: dict[str, str], error: type[DeliveryError]
) -> None:
    wire.answers(status, body, headers)
    with pytest.raises(error):
        account().publish(POST)


def test_e12_the_daily_limit_is_waited_for_when_it_is_the_one_that_was_met(wire: Wire) -> None:
    headers = {
        "Date": "Mon, 23 Nov 2026 12:00:00 GMT",
        "x-rate-limit-reset": str(int(datetime(2026, 11, 23, 12, 15, tzinfo=UTC).timestamp())),
        "x-user-limit-24hour-reset": str(int(datetime(2026, 11, 23, 20, tzinfo=UTC).timestamp())),
        "x-user-limit-24hour-remaining": "0",
    }
    wire.answers(429, {}, headers)
    with pytest.raises(TryLater) as later:
        account().publish(POST)
    assert later.value.wait == timedelta(hours=8)


def test_a_refusal_gives_xs_own_reason(wire: Wire) -> None:
    body = {"title": "Forbidden", "detail": "Your app has only read rights.", "status": 403}
    wire.answers(403, body)
    with pytest.raises(Refused, match="403 Your app has only read rights"):
        account().publish(POST)


def test_the_budget_is_the_operators(wire: Wire) -> None:
    assert (account().daily_posts, account(posts_per_day=2).daily_posts) == (5, 2)


# Taking away


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"deleted": True}},
        {"errors": [{"type": "https://api.twitter.com/2/problems/resource-not-found"}]},
    ],
    ids=["deleted", "not there"],
)
def test_a_removal_is_done_when_the_post_is_gone(wire: Wire, answer: Body) -> None:
    wire.answers(200, answer)
    account().remove(Receipt("7"))
    assert (wire.sent[-1].request.method, wire.sent[-1].path) == ("DELETE", "/2/tweets/7")


def test_a_removal_that_is_not_confirmed_is_not_believed(wire: Wire) -> None:
    wire.answers(200, {"data": {"deleted": False}})
    with pytest.raises(Unsure):
        account().remove(Receipt("7"))


# Looking whether a post is up

AS_SHOWN = (
    "Kestrel is live: nuts &amp; bolts\nhttps://t.co/AAAAAAAAAA https://t.co/BBBBBBBBBB #owncast"
)
LINKS = [
    {"url": "https://t.co/AAAAAAAAAA", "expanded_url": "http://live.example.org"},
    {"url": "https://t.co/BBBBBBBBBB", "expanded_url": "https://a.example/b?c=1&copy=2"},
]


def tweet(text: str = AS_SHOWN, created_at: datetime = NOW, number: str = "7") -> dict[str, Any]:
    created = created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"id": number, "text": text, "created_at": created, "entities": {"urls": LINKS}}


def knows_me(wire: Wire) -> None:
    wire.always("GET", "/2/users/me", 200, ME)


def test_a_post_is_recognised_behind_shortened_links_and_entities(wire: Wire) -> None:
    knows_me(wire)
    wire.answers(200, {"data": [tweet("Good morning", number="8"), tweet()]})
    assert account().find(DOUBTFUL) == Receipt("7", "https://x.com/i/status/7")
    asked = dict(parse_qsl(urlsplit(wire.sent[-1].request.url or "").query))
    assert asked == {
        "max_results": "10",
        "exclude": "retweets",
        "tweet.fields": "created_at,entities",
    }


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"meta": {"result_count": 0}}, id="none"),
        pytest.param({"data": []}, id="an empty list"),
        pytest.param({"data": [tweet("Good morning")]}, id="another text"),
        pytest.param({"data": [tweet(created_at=NOW - timedelta(minutes=11))]}, id="an older one"),
        pytest.param({"data": ["odd", {}, {"text": 1, "entities": {"urls": 3}}]}, id="nonsense"),
    ],
)
def test_another_post_is_not_taken_for_ours(wire: Wire, body: Body) -> None:
    knows_me(wire)
    wire.answers(200, body)
    assert account().find(DOUBTFUL) is None


def test_a_look_that_tells_nothing_is_made_again_later(wire: Wire) -> None:
    knows_me(wire)
    wire.answers(200, {"errors": [{"title": "Not Found Error", "detail": "Could not find user"}]})
    with pytest.raises(TryLater, match="Could not find user"):
        account().find(DOUBTFUL)
    wire.breaks(read_timeout)
    with pytest.raises(TryLater):
        account().find(DOUBTFUL)


def test_who_we_are_is_asked_once_for_each_token_since_it_costs_a_cent(wire: Wire) -> None:
    memory = ForgetfulMemory()
    knows_me(wire)
    wire.answers(200, {"data": []}, times=3)
    for token in ("1-at", "1-at", "2-at"):
        mine = account(access_token=token)
        mine.remember_in(memory)
        mine.find(DOUBTFUL)
    assert len(wire.asked("/2/users/me")) == 2


# Length and escaping

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        (FAMILY, 2),
        ("\U0001f44b\U0001f3fd", 2),
        ("\U0001f1e9\U0001f1ea", 2),
        ("❤\ufe0f", 2),
        ("e\u0301", 1),
        ("日本語", 6),
        ("a\u200bb", 3),
        ("…", 2),
        ("z" + "\u0335" * 20, 21),
        ("https://live.example.org/", 23),
        ("live.example.org", 23),
        ("@a@b.example", 12),
        ("a\r\nb", 3),
        ("v1.2", 4),
        ("see https://live.example.org/a?b=c now", 31),
        pytest.param("(https://live.example.org)", 2 + 23 + 22, id="a reserve for what touches it"),
        pytest.param("配信https://live.example.org", 4 + 23 + 22, id="letters that touch it"),
    ],
)
def test_f02_f13_length_is_counted_as_x_counts(text: str, weight: int) -> None:
    assert account().measure(text) == weight


def test_it_is_counted_without_setuptools(monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment of Python 3.12 or newer has them, unless somebody asks for them."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("twitter_text", "pkg_resources"):
            monkeypatch.delitem(sys.modules, name)
    with ThreadPoolExecutor(4) as posts:
        assert list(posts.map(account().measure, ["live \U0001f44b\U0001f3fd"] * 4)) == [7] * 4
    assert "pkg_resources" not in sys.modules


def test_a_cashtag_in_a_title_is_broken_since_x_refuses_a_post_with_two() -> None:
    assert account().escape("$TSLA for $5, A$AP, @kestrel") == (
        "$\u200bTSLA for $5, A$\u200bAP, @\u200bkestrel"
    )


# Who am I


def test_an_account_is_shown_with_its_address(wire: Wire) -> None:
    wire.answers(200, ME)
    found = account().check()
    assert (found.handle, found.url) == ("@kestrel", "https://x.com/kestrel")


def test_an_answer_without_an_account_proves_nothing(wire: Wire) -> None:
    wire.answers(200, {"errors": [{"detail": "Try again"}]})
    with pytest.raises(TryLater, match="Try again"):
        account().check()
