"""What is special to Misskey and its relatives; the contract suite holds what all networks do."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer.contract import PICTURE
from announcer.contract.fake import Sent, Wire, read_timeout, reset
from announcer.events import Kind
from announcer.facts import SAMPLES
from announcer.network import Card, Gone, Moment, Post, Receipt, Refused, Show, TryLater, Unsure
from announcer.networks.misskey import Misskey
from announcer.wording import Templates
from tests.impostor import OnStage

HOME = "https://misskey.test"
NUMBER = "9xk2m1q8zt"
UP = {"createdNote": {"id": NUMBER, "text": "as sent"}}
SHOWN = Receipt(NUMBER, f"{HOME}/notes/{NUMBER}")
NOW = datetime.now(UTC)
AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
POST = Post(
    key="b1/live/misskey",
    moment=Moment.LIVE,
    mood=Moment.LIVE,
    text="🔴 Kestrel is live: drawers\n\nhttps://live.example.org\n\n#owncast",
    began_at=NOW - timedelta(minutes=2),
    worded_at=NOW - timedelta(minutes=1),
    wire_key="b1/live/misskey#0",
)
DOUBTFUL = replace(POST, doubtful_since=NOW - timedelta(seconds=30))
CARD = Card("https://live.example.org", "drawers")


def account(**settings: Any) -> Misskey:
    return Misskey.model_validate({"url": HOME, "token": "hush", **settings})


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "Said so.", "code": code, "id": "b0a7f5f8", **more}}


def may_be_long(wire: Wire, longest: object = 3000) -> None:
    wire.always("POST", "/api/meta", 200, {"maxNoteTextLength": longest})


def body(sent: Sent) -> dict[str, Any]:
    """Without the token, which is always there."""
    said: dict[str, Any] = sent.json
    assert said.pop("i") == "hush"
    return said


# Publishing


def test_a_note_says_the_words_and_mentions_nobody(wire: Wire) -> None:
    wire.answers(200, UP)
    assert account().publish(POST) == SHOWN
    assert [sent.path for sent in wire.sent] == ["/api/notes/create"], "and asks nothing before"
    assert body(wire.sent[0]) == {
        "text": POST.text,
        "visibility": "public",
        "localOnly": False,
        "noExtractMentions": True,
    }


def test_every_setting_reaches_the_server(wire: Wire) -> None:
    wire.answers(200, UP)
    mine = account(visibility="home", local_only="on", cw="Stream")
    mine.publish(replace(POST, reply_to=Receipt("9xk2m1q8aa")))
    assert body(wire.sent[0]) == {
        "text": POST.text,
        "visibility": "home",
        "localOnly": True,
        "noExtractMentions": True,
        "cw": "Stream",
        "replyId": "9xk2m1q8aa",
    }


@pytest.mark.parametrize("nsfw", [False, True])
def test_a_picture_goes_to_the_drive_with_its_description(wire: Wire, *, nsfw: bool) -> None:
    show = Show("default", "Kestrel", "drawers", "", "", (), nsfw, NOW)
    wire.always("POST", "/api/drive/files/create", 200, {"id": "301"})
    wire.answers(200, UP)
    receipt = account().publish(replace(POST, picture=PICTURE, show=show))
    [upload] = wire.asked("/api/drive/files/create")
    fields = dict(re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', upload.body, re.DOTALL))
    assert fields == {
        b"i": b"hush",
        b"comment": PICTURE.alt.encode(),
        b"isSensitive": b"true" if nsfw else b"false",
    }
    assert body(wire.scripted[0])["fileIds"] == ["301"]
    assert receipt == replace(SHOWN, extra={"file": "301"})


def test_a_description_that_misskey_would_refuse_is_cut_between_characters(wire: Wire) -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    wire.always("POST", "/api/drive/files/create", 200, {"id": "301"})
    wire.answers(200, UP)
    account().publish(replace(POST, picture=replace(PICTURE, alt=family * 200)))
    [upload] = wire.asked("/api/drive/files/create")
    [comment] = re.findall(
        r'name="comment"\r\n\r\n(.*?)\r\n--', upload.body.decode(errors="replace")
    )
    assert len(comment) <= 512
    assert comment == family * 102 + "…"


@pytest.mark.parametrize("cw", ["x" * 101])
def test_a_content_warning_that_would_be_refused_is_found_at_the_start(cw: str) -> None:
    with pytest.raises(ValidationError, match="at most 100"):
        account(cw=cw)


# What an error means


@pytest.mark.parametrize(
    ("status", "said", "kind", "closes"),
    [
        pytest.param(401, error("AUTHENTICATION_FAILED"), Refused, True, id="wrong token"),
        pytest.param(403, error("AUTHENTICATION_FAILED"), Refused, True, id="wrong token, v12"),
        pytest.param(401, error("CREDENTIAL_REQUIRED"), Refused, True, id="no token"),
        pytest.param(403, error("PERMISSION_DENIED"), Refused, True, id="a permission is missing"),
        pytest.param(400, error("PERMISSION_DENIED"), Refused, True, id="the same, v12"),
        pytest.param(403, error("YOUR_ACCOUNT_SUSPENDED"), Refused, True, id="suspended"),
        pytest.param(403, error("YOUR_ACCOUNT_MOVED"), Refused, True, id="moved away"),
        pytest.param(400, error("ACCOUNT_LOCKED"), Refused, True, id="moved away, Firefish"),
        pytest.param(403, error("ROLE_PERMISSION_DENIED"), Refused, True, id="a role may not"),
        pytest.param(400, error("CONTAINS_PROHIBITED_WORDS"), Refused, False, id="words"),
        pytest.param(400, error("NO_SUCH_REPLY_TARGET"), Refused, False, id="no reply target"),
        pytest.param(400, error("INVALID_PARAM"), Refused, False, id="not as it should be"),
        pytest.param(429, error("RATE_LIMIT_EXCEEDED"), TryLater, False, id="too often"),
        pytest.param(400, error("BRIEF_REQUEST_INTERVAL"), TryLater, False, id="too soon"),
        pytest.param(500, error("INTERNAL_ERROR"), Unsure, False, id="it broke"),
        pytest.param(503, "<html>", TryLater, False, id="a proxy's page"),
        pytest.param(400, {"error": "CONTENT_REQUIRED"}, Refused, False, id="another form"),
    ],
)
def test_an_error_means_what_misskey_means_by_it(
    wire: Wire, status: int, said: Any, kind: type[Exception], closes: bool
) -> None:
    may_be_long(wire)
    wire.answers(status, said)
    with pytest.raises(kind, match=str(status)) as problem:
        account().publish(POST)
    assert getattr(problem.value, "closes", False) is closes


def test_the_inside_of_a_server_is_told_to_nobody(wire: Wire) -> None:
    inside = {"e": {"message": "relation note", "stack": "at /srv/misskey/built/index.js"}}
    wire.answers(500, error("INTERNAL_ERROR", info=inside))
    with pytest.raises(Unsure) as problem:
        account().publish(POST)
    assert str(problem.value) == "500 INTERNAL_ERROR Said so."


DATE = {"Date": "Mon, 23 Nov 2026 19:15:00 GMT"}


@pytest.mark.parametrize(
    ("info", "headers", "seconds"),
    [
        pytest.param({"resetMs": AT.timestamp() * 1000 + 7000}, DATE, 7, id="Misskey: a time"),
        pytest.param({"resetMs": AT.timestamp() * 1000 - 9}, DATE, 0, id="a time that is over"),
        pytest.param({"resetMs": 7000, "blocked": True}, {}, 7, id="Sharkey: a wait"),
        pytest.param({"resetMs": 500}, {"Retry-After": "7"}, 7, id="Sharkey's header"),
        pytest.param(
            {"resetMs": 7000}, {"X-RateLimit-Reset": "7.000"}, 7, id="Sharkey's other one"
        ),
        pytest.param({"resetMs": "soon"}, {}, 0, id="a word"),
        pytest.param({"resetMs": float("inf")}, {}, 0, id="no number"),
        pytest.param([], {}, 0, id="nonsense"),
    ],
)
def test_e12_a_wait_is_a_time_on_misskey_and_a_span_on_sharkey(
    wire: Wire, info: Any, headers: dict[str, str], seconds: int
) -> None:
    wire.answers(429, error("RATE_LIMIT_EXCEEDED", info=info), headers)
    with pytest.raises(TryLater) as problem:
        account().publish(POST)
    assert problem.value.wait == timedelta(seconds=seconds)


# Changing and taking away


def test_an_edit_sends_all_again_or_it_would_be_lost(wire: Wire) -> None:
    wire.answers(200, UP)
    shown = replace(SHOWN, extra={"file": "301"})
    mine = account(cw="Stream", visibility="home", local_only="on")
    assert mine.revise(shown, replace(POST, text="It ended")) == shown
    assert wire.sent[0].path == "/api/notes/edit"
    assert body(wire.sent[0]) == {
        "editId": NUMBER,
        "text": "It ended",
        "visibility": "home",
        "localOnly": True,
        "noExtractMentions": True,
        "cw": "Stream",
        "fileIds": ["301"],
    }


def test_where_no_edit_is_known_it_is_refused_and_closes_nothing(wire: Wire) -> None:
    wire.answers(404, error("UNKNOWN_API_ENDPOINT"))
    with pytest.raises(Refused, match="this server can not do that") as refusal:
        account().revise(SHOWN, POST)
    assert not refusal.value.closes


@pytest.mark.parametrize(
    ("look", "kind"),
    [
        pytest.param((400, error("NO_SUCH_NOTE")), Gone, id="it is not there"),
        pytest.param((200, {"id": NUMBER}), Unsure, id="it is there"),
        pytest.param((403, error("PERMISSION_DENIED")), Unsure, id="we may not look"),
        pytest.param((502, ""), TryLater, id="nobody can tell"),
    ],
)
def test_e19_sharkeys_500_may_mean_that_a_person_deleted_it(
    wire: Wire, look: tuple[int, Any], kind: type[Exception]
) -> None:
    wire.answers(500, error("INTERNAL_ERROR"))
    wire.answers(*look)
    with pytest.raises(kind):
        account().revise(SHOWN, POST)
    assert body(wire.sent[-1]) == {"noteId": NUMBER}


@pytest.mark.parametrize("how", ["create", "edit"])
def test_e26_a_limit_that_was_lowered_gets_a_shorter_text_later(wire: Wire, how: str) -> None:
    mine = account()
    may_be_long(wire, 3000)
    assert mine.limit() == 3000
    may_be_long(wire, 20)
    wire.answers(400, error("MAX_LENGTH" if how == "edit" else "INVALID_PARAM"))
    with pytest.raises(TryLater, match="limit has shrunk"):
        mine.publish(POST) if how == "create" else mine.revise(SHOWN, POST)
    assert mine.limit() == 20


@pytest.mark.parametrize(("status", "said"), [(204, ""), (400, error("NO_SUCH_NOTE"))])
def test_a_note_is_taken_away_or_is_gone_already(wire: Wire, status: int, said: Any) -> None:
    wire.answers(status, said)
    account().remove(SHOWN)
    assert (wire.sent[0].path, body(wire.sent[0])) == ("/api/notes/delete", {"noteId": NUMBER})


# Looking whether it is up


def note(text: str | None, at: datetime = NOW, **more: Any) -> dict[str, Any]:
    return {"id": NUMBER, "text": text, "createdAt": at.isoformat(), "fileIds": [], **more}


def knows_me(wire: Wire) -> None:
    wire.always("POST", "/api/i", 200, {"id": "9aaa", "username": "kestrel"})


def test_a04_a_note_that_went_up_unheard_is_found(wire: Wire) -> None:
    knows_me(wire)
    wire.answers(200, [note(None), note("Good morning"), note(f"{POST.text}\n", fileIds=["301"])])
    assert account().find(DOUBTFUL) == replace(SHOWN, extra={"file": "301"})
    asked = body(wire.scripted[0])
    assert (asked["userId"], asked["withReplies"]) == ("9aaa", True)


@pytest.mark.parametrize(
    "notes",
    [
        pytest.param([], id="none"),
        pytest.param([note(None)], id="a renote"),
        pytest.param([note(POST.text.replace("drawers", "doors"))], id="another text"),
        pytest.param([note(POST.text, NOW - timedelta(minutes=11))], id="of an earlier broadcast"),
        pytest.param([note(POST.text) | {"createdAt": "soon"}, "x", {}], id="nonsense"),
    ],
)
def test_another_note_is_not_taken_for_ours(wire: Wire, notes: list[Any]) -> None:
    knows_me(wire)
    wire.answers(200, notes)
    assert account().find(DOUBTFUL) is None


def test_a_look_that_fails_is_made_again_later(wire: Wire) -> None:
    for problem in (read_timeout, reset):
        wire.breaks(problem)
        with pytest.raises(TryLater):
            account().find(DOUBTFUL)
    knows_me(wire)
    for said in ("<html>", {"not": "a list"}):
        wire.answers(200, said)
        with pytest.raises(TryLater):
            account().find(DOUBTFUL)


def test_a_token_that_may_not_look_leaves_it_to_a_person(wire: Wire) -> None:
    wire.answers(403, error("PERMISSION_DENIED"))
    with pytest.raises(Refused, match="may be posted, and this token may not look") as refusal:
        account().find(DOUBTFUL)
    assert not refusal.value.closes


# The pin


def test_a_note_is_pinned_and_unpinned(wire: Wire) -> None:
    wire.answers(200, {"id": "9aaa"})
    wire.answers(400, error("ALREADY_PINNED"))
    wire.answers(200, {"id": "9aaa"})
    wire.answers(400, error("NO_SUCH_NOTE"))
    mine = account(pin="on")
    assert mine.wants_badge
    assert not account().wants_badge
    for act in (mine.shine, mine.shine):
        act(SHOWN, CARD, AT, again=False)
    mine.dim(SHOWN, CARD)
    mine.dim(SHOWN, CARD)
    assert [sent.path for sent in wire.sent] == ["/api/i/pin"] * 2 + ["/api/i/unpin"] * 2


@pytest.mark.parametrize(
    ("code", "kind"), [("PIN_LIMIT_EXCEEDED", Refused), ("NO_SUCH_NOTE", Gone)]
)
def test_a_pin_that_is_not_set_is_told(wire: Wire, code: str, kind: type[Exception]) -> None:
    wire.answers(400, error(code))
    with pytest.raises(kind):
        account(pin="on").shine(SHOWN, CARD, AT, again=False)


# Length, markup


@pytest.mark.parametrize(
    ("told", "limit"), [(3000, 3000), (512, 512), ("512", 3000), (0, 3000), (None, 3000)]
)
def test_the_server_tells_its_limit(wire: Wire, told: object, limit: int) -> None:
    may_be_long(wire, told)
    mine = account()
    assert mine.limit() == mine.limit() == limit
    assert len(wire.asked("/api/meta")) == 1, "and is asked once"


def test_length_is_no_less_than_any_of_them_counts() -> None:
    assert account().measure("🔴ä") == 3


LIVE = {
    "a tag": r"</?(b|i|s|small|center|plain)>",
    "bold": r"\*\*|__",
    "italic": r"\*[a-z0-9 \t]+\*|(?<![A-Za-z0-9])_[a-z0-9 \t]+_",
    "struck": r"~~",
    "code": r"`",
    "a function": r"\$\[",
    "a link": r"\]\(",
    "a formula": r"\\[(\[]",
    "an emoji": r":[a-z0-9_+-]+:",
    "a mention": r"@\w",
    "a search": r"(?:search|検索|\[search\]|\[検索\])$",
    "a quote": r"^>",
}
"""What mfm.js reads as markup, each more widely than it does. In one line, since a title is one."""


@given(
    st.lists(
        st.sampled_from(
            [*"*_~`<>$[]()\\:@?b a1", "**", "$[x2 ", "](", "<plain>", ":ok:", "search", "検索", "ä"]
        ),
        max_size=12,
    ).map("".join)
)
def test_f01_no_markup_survives_escaping(title: str) -> None:
    escaped = account().escape(title)
    alive = [what for what, sign in LIVE.items() if re.search(sign, escaped, re.IGNORECASE)]
    assert not alive
    assert escaped.replace("\u200b", "").replace("｀", "`") == title.replace("\u200b", "")


@pytest.mark.parametrize(
    "title", ["at 12:30 for $5", "see https://a.example/b_c?d=1 ok", "C# #wood"]
)
def test_what_is_no_markup_is_left_alone(title: str) -> None:
    assert account().escape(title) == title


@pytest.mark.parametrize("facts", SAMPLES.values(), ids=SAMPLES)
def test_every_sample_fits(wire: Wire, facts: Any) -> None:
    may_be_long(wire, 120)
    mine = account()
    said = Templates(None).word(mine, "misskey", Moment.LIVE, facts)
    assert 0 < mine.measure(said.text) <= 120
    assert not re.search(LIVE["a function"], said.text)


# What the server can do


@pytest.mark.parametrize(
    ("status", "settings", "remark"),
    [
        pytest.param(204, {}, "", id="Misskey, as it comes"),
        pytest.param(204, {"when_ended": "edit"}, "can not edit notes", id="Misskey, edit wished"),
        pytest.param(204, {"when_retitled": "edit"}, "can not edit notes", id="Misskey, titles"),
        pytest.param(200, {}, "WHEN_ENDED=edit", id="Sharkey, as it comes"),
        pytest.param(200, {"when_ended": "edit"}, "", id="Sharkey, edit wished"),
        pytest.param(404, {"when_ended": "edit"}, "", id="nobody says"),
    ],
)
def test_check_says_what_becomes_of_edits(
    wire: Wire, status: int, settings: dict[str, str], remark: str
) -> None:
    knows_me(wire)
    wire.answers(status, {"params": []} if status == 200 else "")
    found = account(**settings).check()
    assert (found.handle, found.url) == ("@kestrel@misskey.test", f"{HOME}/@kestrel")
    assert [remark in note for note in found.notes] == ([True] if remark else [])


def evening(wire: Wire, on_stage: OnStage, **settings: str) -> list[str]:
    """A start, a new title and an end; what was asked, but for limits."""
    may_be_long(wire)
    wire.answers(200, UP, times=3)
    stage = on_stage(account(**settings))
    stage.hear(title="Drawers")
    stage.run()
    for kind in (Kind.RETITLED, Kind.STOPPED):
        stage.passes(minutes=6)
        stage.hear(kind, title="A bench")
        stage.passes(minutes=6)
        stage.run()
    return [sent.path.removeprefix("/api/notes/") for sent in wire.scripted]


def test_on_plain_misskey_the_end_is_a_reply_and_a_title_is_no_failure(
    wire: Wire, on_stage: OnStage
) -> None:
    assert evening(wire, on_stage) == ["create", "create"]
    assert wire.scripted[-1].json["replyId"] == NUMBER


def test_on_sharkey_one_note_is_kept_true(wire: Wire, on_stage: OnStage) -> None:
    edits = {"when_ended": "edit", "when_retitled": "edit"}
    assert evening(wire, on_stage, **edits) == ["create", "edit", "edit"]
