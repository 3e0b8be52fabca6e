"""Mastodon's relatives, as their documents and answers were recorded, and what follows for each."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from announcer.contract import PICTURE
from announcer.contract.fake import Wire, read_timeout
from announcer.network import Gone, Moment, Post, Receipt, Refused, TryLater, Unsure
from announcer.networks.mastodon import Mastodon

HOME = "https://kin.test"
NOW = datetime.now(UTC)
TEXT = "🔴 Kestrel is live: drawers https://live.example.org/a/rather/long/way/to/it #owncast"
POST = Post(
    key="b1/live/mastodon",
    moment=Moment.LIVE,
    mood=Moment.LIVE,
    text=TEXT,
    began_at=NOW - timedelta(minutes=2),
    worded_at=NOW - timedelta(minutes=1),
    wire_key="b1/live/mastodon#0",
)
DOUBTFUL = replace(POST, doubtful_since=NOW - timedelta(seconds=30))


def statuses(longest: int, reserved: int | None = None) -> dict[str, Any]:
    told = {"max_characters": longest}
    return {"statuses": told | ({"characters_reserved_per_url": reserved} if reserved else {})}


@dataclass(frozen=True)
class Relative:
    """Its instance document, and what we are to make of it."""

    about: dict[str, Any]
    limit: int
    old: bool = False
    """Whether it tells of itself the old way only."""
    number: str = "109348502934850293"
    keeps_keys: bool = False
    title: str = "I <3 *oak* [x](http://evil.example) $[x2 a]"
    escaped: str = title
    remarks: tuple[str, ...] = field(default=())
    """A word of each that `check` makes."""


CODEBERG = "https://codeberg.org/superseriousbusiness/gotosocial"
LOOK_ALIKE = "I ＜3 ＊oak＊ ［x］(http://evil.example) "
KIN = {
    "Mastodon 4.5": Relative(
        {
            "version": "4.5.0",
            "source_url": "https://github.com/mastodon/mastodon",
            "configuration": statuses(500, 23),
        },
        500,
        keeps_keys=True,
    ),
    "glitch-soc": Relative(
        {
            "version": "4.5.0+glitch",
            "source_url": "https://github.com/glitch-soc/mastodon",
            "configuration": statuses(2000, 23),
        },
        2000,
        keeps_keys=True,
    ),
    "GoToSocial 0.22": Relative(
        {
            "version": "0.22.1+git-fdff42b",
            "source_url": CODEBERG,
            "configuration": statuses(5000, 25),
        },
        5000,
        number="01J9Z8Q4Y7C5VJ1N6T2W3X4Y5Z",
    ),
    "Pleroma 2.10": Relative(
        {
            "version": "2.7.2 (compatible; Pleroma 2.10.2)",
            "source_url": "https://git.pleroma.social/pleroma/pleroma",
            "configuration": statuses(5000),
        },
        5000,
        number="AqZ9Vh3nKx0bLr7f1M",
    ),
    "Akkoma 3.0, the old way": Relative(
        {"version": "2.7.2 (compatible; Akkoma 3.0.0)", "max_toot_chars": 5000},
        5000,
        old=True,
        number="AqZ9Vh3nKx0bLr7f1M",
    ),
    "Pixelfed 0.14": Relative(
        {
            "version": "3.5.3 (compatible; Pixelfed 0.14.3)",
            "source_url": "https://github.com/pixelfed/pixelfed",
            "configuration": statuses(500, 23),
        },
        500,
        escaped="I ＜3 *oak* [x](http://evil.example) $[x2 a]",
        remarks=("without a picture", "ten times"),
    ),
    "Hollo 0.6": Relative(
        {
            "version": "0.6.0",
            "source_url": "https://github.com/fedify-dev/hollo",
            "configuration": statuses(10000, 256),
        },
        10000,
        number="0192f3c4-7d5a-7cc0-b1a2-3c4d5e6f7a8b",
        escaped=r"I \<3 \*oak\* \[x\](http://evil.example) $\[x2 a\]",
    ),
    "Iceshrimp.NET": Relative(
        {
            "version": "4.2.1 (compatible; Iceshrimp.NET/2026.1)",
            "configuration": statuses(8192, 23),
        },
        8192,
        number="9xk2m1q8zt",
        escaped=LOOK_ALIKE + "＄［x2 a］",
    ),
    "snac 2.75": Relative(
        {
            "version": "4.0.0 (not true; really snac/2.75)",
            "source_url": "https://comam.es/what-is-snac",
            "configuration": statuses(100000, 32),
        },
        100000,
        old=True,
        number="1796058356af477fea52d17cfcf2e7a8c780cc2270",
        escaped=LOOK_ALIKE + "$［x2 a］",
        remarks=("take posts away",),
    ),
    "one that nobody knows": Relative({"version": "1.0", "configuration": statuses(700)}, 700),
}
each = pytest.mark.parametrize("kin", KIN.values(), ids=KIN)


def account(wire: Wire, kin: Relative, **settings: str) -> Mastodon:
    """One on a server of that kind, which has told what it is."""
    if kin.old:
        wire.always("GET", "/api/v2/instance", 404, "<h1>404 Not Found</h1>")
    wire.always("GET", "/api/v1/instance" if kin.old else "/api/v2/instance", 200, kin.about)
    mine = Mastodon.model_validate({"api_base_url": HOME, "access_token": "hush", **settings})
    assert mine.limit() == kin.limit
    return mine


def up(kin: Relative, **more: Any) -> dict[str, Any]:
    return {"id": kin.number, "url": f"{HOME}/@k/{kin.number}", "visibility": "public", **more}


def takes_pictures(wire: Wire) -> None:
    wire.always("POST", "/api/v2/media", 200, {"id": "301", "url": f"{HOME}/301.jpg"})


@each
def test_each_gets_the_same_plain_text_for_everybody_to_see(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    takes_pictures(wire)
    wire.answers(200, up(kin, media_attachments=[{"id": "301"}]))
    receipt = mine.publish(replace(POST, picture=PICTURE))
    assert receipt == Receipt(kin.number, f"{HOME}/@k/{kin.number}", {"media": "301"})
    assert wire.scripted[-1].json == {
        "status": TEXT,
        "visibility": "public",
        "content_type": "text/plain",
        "sensitive": False,
        "media_ids": ["301"],
    }
    wire.answers(200, up(kin))
    mine.revise(receipt, replace(POST, text="It ended"))
    assert wire.scripted[-1].path == f"/api/v1/statuses/{kin.number}"
    assert wire.scripted[-1].json == {
        "status": "It ended",
        "content_type": "text/plain",
        "media_ids": ["301"],
    }


@each
def test_each_gets_the_description_of_a_picture(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    takes_pictures(wire)
    wire.answers(200, up(kin))
    mine.publish(replace(POST, picture=PICTURE))
    [upload] = wire.asked("/api/v2/media")
    assert PICTURE.alt.encode() in upload.body


@each
def test_what_a_title_says_is_no_markup_on_any_of_them(wire: Wire, kin: Relative) -> None:
    assert account(wire, kin).escape(kin.title) == kin.escaped
    assert "@\u200beverybody" in account(wire, kin).escape("@everybody")


@each
def test_none_counts_more_than_we_do(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    mastodon = kin.keeps_keys
    assert mine.measure("a" * 77) == 77
    assert mine.measure("👋🏽") == (1 if mastodon else 2)
    link = "https://live.example.org/a/rather/long/way/to/it"
    assert mine.measure(link) >= (23 if mastodon else len(link))


@each
def test_a_key_is_trusted_only_where_it_is_known_to_be_kept(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    wire.always("GET", "verify_credentials", 200, {"id": "1"})
    wire.always("GET", "/accounts/1/statuses", 403, {"error": "outside the authorized scopes"})
    if kin.keeps_keys:
        assert mine.find(DOUBTFUL) is None
    else:
        with pytest.raises(Refused, match="may not look"):
            mine.find(DOUBTFUL)


@each
def test_a04_what_went_up_unheard_is_found_on_each(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    wire.breaks(read_timeout)
    takes_pictures(wire)
    with pytest.raises(Exception, match="no answer"):
        mine.publish(replace(POST, picture=PICTURE))
    wire.always("GET", "verify_credentials", 200, {"id": "1"})
    shown = up(kin, content=f"<p>{TEXT}</p>", created_at=NOW.isoformat())
    wire.always("GET", "/accounts/1/statuses", 200, [shown])
    found = mine.find(DOUBTFUL)
    assert found
    assert found.id == kin.number


@each
def test_check_says_what_is_special(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    wire.always("GET", "verify_credentials", 200, {"id": "1", "username": "k"})
    wire.always("GET", "/accounts/1/statuses", 200, [])
    notes = mine.check().notes
    assert len(notes) == len(kin.remarks)
    assert all(word in note for word, note in zip(kin.remarks, notes, strict=True))


@each
@pytest.mark.parametrize("status", [400, 422, 500])
def test_e26_an_edit_that_became_too_long_is_shortened_and_made_later(
    wire: Wire, kin: Relative, status: int
) -> None:
    mine = account(wire, kin)
    lower = kin.about | {"configuration": statuses(40), "max_toot_chars": 40}
    wire.always("GET", "/api/v1/instance" if kin.old else "/api/v2/instance", 200, lower)
    said = "The status is over the character limit"
    wire.answers(status, {"message": said, "errors": {}} if status == 500 else {"error": said})
    with pytest.raises(TryLater, match="limit has shrunk"):
        mine.revise(Receipt(kin.number), POST)
    assert mine.limit() == 40


@pytest.mark.parametrize(
    ("name", "answer", "wait"),
    [
        pytest.param("GoToSocial 0.22", 503, {"Retry-After": "30"}, id="GoToSocial, too many"),
        pytest.param("GoToSocial 0.22", 429, {"Retry-After": "30"}, id="GoToSocial, too often"),
        pytest.param("Pixelfed 0.14", 429, {}, id="Pixelfed, a thousand a day"),
    ],
)
def test_who_is_busy_is_asked_later(
    wire: Wire, name: str, answer: int, wait: dict[str, str]
) -> None:
    mine = account(wire, KIN[name])
    takes_pictures(wire)
    wire.answers(answer, {}, wait)
    with pytest.raises(TryLater) as problem:
        mine.publish(replace(POST, picture=PICTURE))
    assert problem.value.wait == timedelta(seconds=int(wait.get("Retry-After", "0")))


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        pytest.param(422, {"error": "x"}, {"idempotent-replayed": "true"}, id="Pleroma"),
        pytest.param(500, {"error": "x"}, {"idempotent-replayed": "true"}, id="Pleroma, a crash"),
        pytest.param(400, {"error": "Duplicate idempotency key."}, {}, id="Pixelfed"),
    ],
)
def test_a03_a_key_that_is_used_up_is_not_sent_again(
    wire: Wire, status: int, body: dict[str, str], headers: dict[str, str]
) -> None:
    mine = account(wire, KIN["Pleroma 2.10"])
    wire.answers(status, body, headers)
    with pytest.raises(TryLater) as problem:
        mine.publish(DOUBTFUL)
    assert problem.value.spent


# What a server can not do


@each
def test_an_edit_that_a_server_does_not_know_is_refused_and_not_called_gone(
    wire: Wire, kin: Relative
) -> None:
    mine = account(wire, kin)
    wire.answers(404, "<h1>404 Not Found</h1>")
    wire.answers(200, up(kin))
    with pytest.raises(Refused, match="does not edit posts") as refusal:
        mine.revise(Receipt(kin.number), POST)
    assert not refusal.value.closes


@each
def test_a_removal_that_a_server_does_not_know_is_no_success(wire: Wire, kin: Relative) -> None:
    mine = account(wire, kin)
    wire.answers(404, "<h1>404 Not Found (snac/2.75)</h1>")
    wire.answers(200, up(kin))
    with pytest.raises(Refused, match="does not take away posts"):
        mine.remove(Receipt(kin.number))


@pytest.mark.parametrize(
    ("look", "error"),
    [
        pytest.param((404, {"error": "Record not found"}), Gone, id="it is gone"),
        pytest.param((403, {"error": "outside the authorized scopes"}), Gone, id="we may not look"),
        pytest.param((502, "<html>"), TryLater, id="nobody can tell now"),
    ],
)
def test_e19_what_can_not_be_seen_is_gone(
    wire: Wire, look: tuple[int, Any], error: type[Exception]
) -> None:
    mine = account(wire, KIN["snac 2.75"])
    wire.answers(404, {"error": "Record not found"})
    wire.answers(*look)
    with pytest.raises(error):
        mine.revise(Receipt("7"), POST)


def test_a_server_that_shows_it_to_others_than_it_should_is_remarked_upon(wire: Wire) -> None:
    mine = account(wire, KIN["snac 2.75"], visibility="unlisted")
    wire.answers(200, up(KIN["snac 2.75"]))
    assert mine.publish(POST).note == "shown as public and not as unlisted"


# Pixelfed

PIXELFED = KIN["Pixelfed 0.14"]


def test_pixelfed_without_a_picture_is_not_even_asked(wire: Wire) -> None:
    mine = account(wire, PIXELFED)
    with pytest.raises(Refused, match=r"no post without a picture.*OWNCAST_URL") as refusal:
        mine.publish(POST)
    assert not refusal.value.closes
    assert wire.scripted == []


def test_pixelfed_that_has_not_said_what_it_is_closes_nothing(wire: Wire) -> None:
    mine = Mastodon.model_validate({"api_base_url": HOME, "access_token": "hush"})
    wire.answers(403, {"error": "Empty statuses are not allowed"})
    with pytest.raises(Refused, match="no post without a picture") as refusal:
        mine.publish(POST)
    assert not refusal.value.closes


@pytest.mark.parametrize(
    ("status", "error"), [(503, TryLater), (500, TryLater), (403, Refused), (422, Refused)]
)
def test_pixelfed_waits_for_its_picture(wire: Wire, status: int, error: type[Exception]) -> None:
    mine = account(wire, PIXELFED)
    wire.always("POST", "/api/v2/media", status, {"error": "x"})
    with pytest.raises(error):
        mine.publish(replace(POST, picture=PICTURE))
    assert wire.asked("/api/v1/statuses") == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "This action is unauthorized."),
        (500, "This action is unauthorized."),
        (500, "No query results for model [App\\Status] 7"),
    ],
)
@pytest.mark.parametrize(
    ("look", "error"), [((404, {}), Gone), ((200, {"id": "7"}), Refused)], ids=["gone", "there"]
)
def test_e19_what_pixelfed_says_of_a_deleted_post_closes_nothing(
    wire: Wire, status: int, said: str, look: tuple[int, Any], error: type[Exception]
) -> None:
    mine = account(wire, PIXELFED)
    wire.answers(status, {"error": said})
    wire.answers(*look)
    with pytest.raises(error) as problem:
        mine.revise(Receipt("7"), POST)
    assert not getattr(problem.value, "closes", False)


TOO_LONG = "The status field must not be greater than 500 characters."


@pytest.mark.parametrize(
    ("body", "error", "closes"),
    [
        pytest.param({"error": "Unauthenticated."}, Refused, True, id="Pixelfed: a bad token"),
        pytest.param(
            {"message": TOO_LONG, "errors": {"status": [TOO_LONG]}},
            Refused,
            False,
            id="Pixelfed: a text that is not as it should be",
        ),
        pytest.param(
            {"errors": {"detail": "Internal server error"}}, Unsure, False, id="Pleroma: it broke"
        ),
        pytest.param({"error": "An error occured."}, Unsure, False, id="Pixelfed: it broke"),
    ],
)
def test_pixelfeds_500_may_be_a_clear_answer(
    wire: Wire, body: dict[str, Any], error: type[Exception], closes: bool
) -> None:
    mine = account(wire, PIXELFED)
    takes_pictures(wire)
    wire.answers(500, body)
    with pytest.raises(error) as problem:
        mine.publish(replace(POST, picture=PICTURE))
    assert getattr(problem.value, "closes", False) is closes
    assert wire.scripted[-1].request.headers["Accept"] == "application/json"


def test_pixelfed_takes_an_answer_without_a_picture(wire: Wire) -> None:
    mine = account(wire, PIXELFED)
    wire.answers(200, up(PIXELFED))
    mine.publish(replace(POST, moment=Moment.ENDED, reply_to=Receipt("7")))
    assert wire.scripted[-1].json["in_reply_to_id"] == "7"
