"""The contract as tests: what holds for every network, whoever wrote it."""

import base64
import html
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Protocol, TypeVar
from urllib.parse import unquote_plus

import pytest

from announcer.contract.fake import (
    Answer,
    Body,
    Problem,
    Wire,
    connect_timeout,
    read_timeout,
    reset,
)
from announcer.contract.fake import refused as refused_connection
from announcer.network import (
    Card,
    DeliveryError,
    Gone,
    Moment,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    Show,
    TryLater,
    Unsure,
)
from announcer.settings import secrets_of, variable_name
from announcer.wire import LONGEST_WAIT

Test = TypeVar("Test", bound=Callable[..., None])

SECRET = "hush-canary-4711"
"""Stands in every secret of every row, so that it can be looked for wherever it must not be."""

BEGAN = datetime(2026, 11, 23, 19, 15, 0, 250_000, tzinfo=UTC)
POST = Post(
    key="b1/live/contract",
    moment=Moment.LIVE,
    mood=Moment.LIVE,
    text="Kestrel Workshop is live: a dovetail drawer https://live.example.org #owncast",
    began_at=BEGAN,
    worded_at=datetime(2026, 11, 23, 19, 15, 31, tzinfo=UTC),
    wire_key="b1/live/contract/0",
    card=Card("https://live.example.org", "a dovetail drawer", "On now", "Kestrel Workshop"),
    show=Show(
        channel="default",
        name="Kestrel Workshop",
        title="a dovetail drawer",
        summary="On now",
        url="https://live.example.org",
        tags=("owncast",),
        nsfw=False,
        started_at=BEGAN,
    ),
)

PICTURE = Picture(b"\xff\xd8 as if it were a JPEG \xff\xd9", 1280, 720, "A dovetail drawer")
PICTURED = replace(POST, picture=PICTURE)

HOSTILE = [
    "@everyone @here <!channel> <@U1> <@&99> @room @all <users/all> @**all**",
    "duo with @kestrel and ＠kestrel@example.org",
    "<script>alert(1)</script> <b>[x](http://evil.example)</b> *_~|` &amp; &lt;",
    "{{7*7}} {% for a in b %} ${x} %s {0}",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea",
]
LIVE_MENTION = re.compile(r"[@＠]\w")

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DATE = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}


@dataclass(frozen=True)
class Row:
    """One network, what it answers to a good post, and the receipt that must follow."""

    network: type[Network]
    settings: Mapping[str, str]
    """Its fields as an operator would set them, with SECRET, in its form, in every secret one."""
    answer: Body
    receipt: Receipt
    prepare: Callable[[Wire], None] = lambda _: None
    """Standing answers to the requests beside the one that posts, such as a login."""
    throttled: Answer = field(default_factory=lambda: Answer(429, {}, {"Retry-After": "42"}))
    """"Come back in 42 seconds", as this network says it on a Monday at noon, UTC."""
    gone: Answer | None = field(default_factory=lambda: Answer(404, {"error": "not found"}))
    """What it answers when asked to change or remove what is no longer there. None if it never says
    so.
    """
    uploads: Mapping[str, Body] = field(default_factory=dict)
    """Where a picture goes before its post, and the good answers. Empty if it goes with it."""
    form: Callable[[str], str] = str
    """What a secret of this network looks like, made of any word. A key in hex is no word."""
    bare: bool = False
    """Whether a good status is all that it says, and so no id can be missing."""

    @property
    def secret(self) -> str:
        return self.form(SECRET)

    @property
    def name(self) -> str:
        """What a test is called by."""
        return self.network.__name__.lower()

    def make(self) -> Network:
        return self.network.model_validate(self.settings)


class AnyRow(Protocol):
    """What a row is to the tests that every network has."""

    @property
    def network(self) -> type[Network]: ...
    @property
    def secret(self) -> str: ...
    @property
    def name(self) -> str: ...


Requirement = Callable[[Any], bool]
"""Of a row."""


def those(able: Requirement) -> Callable[[Test], Test]:
    """Only for the rows of networks that can do what a test is about."""

    def marked(test: Test) -> Test:
        test.able = able  # type: ignore[attr-defined]  # read where rows are chosen
        return test

    return marked


FAILURES: list[Any] = [
    *(pytest.param(p, id=p.__name__) for p in (refused_connection, connect_timeout)),
    *(pytest.param(p, id=p.__name__) for p in (read_timeout, reset)),
    *(pytest.param(Answer(s, {"error": "x"}), id=str(s)) for s in (400, 401, 404, 429, 500)),
    pytest.param(Answer(302, "", {"Location": f"https://x.example/{SECRET}"}), id="302"),
]
NO_JSON = Answer(200, "<html>")


def _fails_with(wire: Wire, failure: Answer | Problem) -> None:
    if isinstance(failure, Answer):
        wire.answers(failure.status, failure.body, failure.headers, times=3)
    else:
        wire.breaks(failure, times=3)


def said_by(error: BaseException) -> str:
    return repr(error) + "".join(traceback.format_exception(error))


def _takes_pictures(row: Row, wire: Wire) -> None:
    for path, answer in row.uploads.items():
        wire.always("POST", path, 200, answer)


def _fails_pictures(row: Row, wire: Wire, failure: Answer | Problem) -> None:
    for path in row.uploads:
        if isinstance(failure, Answer):
            wire.always("POST", path, failure.status, failure.body, failure.headers)
        else:
            wire.always_breaks("POST", path, failure)


class Promises:
    """What holds however a network is spoken to."""

    rows: ClassVar[Sequence[AnyRow]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "row" in metafunc.fixturenames:
            able = getattr(metafunc.function, "able", lambda _: True)
            rows = [row for row in self.rows if able(row)]
            metafunc.parametrize("row", rows, ids=[row.name for row in rows], indirect=True)

    def test_a_row_marks_every_secret(self, row: AnyRow, network: Network) -> None:
        assert all(row.secret in secret for secret in secrets_of(network))

    def test_a_length_limit_is_known_even_when_the_server_is_not_there(
        self, row: Row, wire: Wire
    ) -> None:
        wire.breaks(refused_connection, times=3)
        assert row.make().limit() >= 200

    def test_length_is_counted_from_nothing_up(self, network: Network) -> None:
        assert network.measure("") == 0
        assert network.measure("a" * 77) == 77
        for title in HOSTILE:
            assert network.measure(title) > 0
            assert network.measure(f"{title} {title}") > network.measure(title)

    @pytest.mark.parametrize("title", HOSTILE)
    def test_f01_no_mention_survives_escaping(self, network: Network, title: str) -> None:
        escaped = network.escape(title)
        assert not LIVE_MENTION.search(escaped)
        assert not LIVE_MENTION.search(html.unescape(escaped))

    def test_plain_words_are_not_changed_by_escaping(self, network: Network) -> None:
        assert network.escape("Zwölf Hobel für Ⅳ Läden 日本語") == "Zwölf Hobel für Ⅳ Läden 日本語"

    def test_the_docstring_is_a_set_up_guide(self, network: Network) -> None:
        guide = type(network).__doc__ or ""
        assert len(guide) > 200
        for name, info in type(network).model_fields.items():
            if info.is_required():
                assert variable_name(network.name.upper(), name) in guide

    def test_every_setting_is_described(self, network: Network) -> None:
        assert all(info.description for info in type(network).model_fields.values())

    def test_a_network_says_how_it_counts(self, network: Network) -> None:
        assert network.title
        assert network.unit
        assert network.usual_limit > 0


class Contract(Promises):
    """For networks that are asked by HTTP. A subclass whose name begins with `Test` has *rows*."""

    rows: ClassVar[Sequence[Row]] = ()

    @pytest.fixture
    def row(self, request: pytest.FixtureRequest, wire: Wire) -> Row:
        row: Row = request.param
        row.prepare(wire)
        return row

    @pytest.fixture
    def network(self, row: Row) -> Network:
        return row.make()

    def test_a_good_answer_becomes_the_receipt(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        wire.answers(200, row.answer)
        assert network.publish(POST) == row.receipt
        assert len(wire.scripted) == 1

    def test_the_words_leave_as_they_are(self, row: Row, network: Network, wire: Wire) -> None:
        wire.answers(200, row.answer)
        network.publish(POST)
        # Of several steps the last one need not be the one that brings them.
        bodies = " ".join(unquote_plus(sent.body.decode()) for sent in wire.sent)
        assert (
            "Kestrel Workshop is live: a dovetail drawer https://live.example.org #owncast"
            in bodies
        )

    @pytest.mark.parametrize(
        ("problem", "error"),
        [
            pytest.param(refused_connection, TryLater, id="connection refused"),
            pytest.param(connect_timeout, TryLater, id="connect time-out"),
            pytest.param(read_timeout, Unsure, id="read time-out"),
            pytest.param(reset, Unsure, id="reset"),
        ],
    )
    def test_e01_e02_only_what_never_left_is_surely_not_posted(
        self, network: Network, wire: Wire, problem: Problem, error: type[DeliveryError]
    ) -> None:
        wire.breaks(problem)
        with pytest.raises(error):
            network.publish(POST)
        assert len(wire.scripted) == 1, "a network never tries again by itself"

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, Refused),
            (404, Refused),
            (408, TryLater),
            (413, Refused),
            (422, Refused),
            (425, TryLater),
            (429, TryLater),
            (500, Unsure),
            (502, Unsure),
            (503, TryLater),
            (504, Unsure),
            (520, Unsure),
        ],
    )
    def test_e15_a_status_means_one_of_the_errors(
        self, network: Network, wire: Wire, status: int, error: type[DeliveryError]
    ) -> None:
        wire.answers(status, {"error": "Reason", "message": "told by the network"})
        with pytest.raises(error) as failure:
            network.publish(POST)
        assert str(status) in str(failure.value)
        assert len(wire.scripted) == 1, "a network never tries again by itself"

    @pytest.mark.parametrize("oddity", [{"a": 1}, ["a"], None, 1.5, True], ids=repr)
    def test_an_odd_error_body_changes_nothing(
        self, network: Network, wire: Wire, oddity: Any
    ) -> None:
        body = dict.fromkeys(("error", "message", "code", "detail", "title", "errors"), oddity)
        wire.answers(400, body)
        with pytest.raises(Refused):
            network.publish(POST)

    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_are_refused_close_the_destination(
        self, network: Network, wire: Wire, status: int
    ) -> None:
        wire.answers(status, {"error": "Reason", "message": "told by the network"}, times=3)
        with pytest.raises(Refused) as failure:
            network.publish(POST)
        assert failure.value.closes
        assert len(wire.scripted) <= 2, "at most once more, with a fresh session"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_e08_a_redirect_is_refused_and_not_followed(
        self, network: Network, wire: Wire, status: int
    ) -> None:
        wire.answers(status, "", {"Location": "https://elsewhere.example/"})
        with pytest.raises(Refused, match="redirect"):
            network.publish(POST)
        assert len(wire.scripted) == 1

    @those(lambda row: not row.bare)
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            pytest.param(200, "<html>Log in to the hotel's network</html>", id="a captive portal"),
            pytest.param(200, "", id="empty"),
            pytest.param(204, "", id="no content"),
            pytest.param(200, '{"id": "7", "ur', id="cut short"),
            pytest.param(200, {}, id="without the id"),
            pytest.param(200, "[]", id="a list"),
            pytest.param(200, "null", id="null"),
            pytest.param(200, "[" * 100_000, id="very deep"),
        ],
    )
    def test_e05_e06_a_good_status_without_the_id_is_no_success(
        self, network: Network, wire: Wire, status: int, body: Body
    ) -> None:
        wire.answers(status, body)
        with pytest.raises(Unsure):
            network.publish(POST)

    def test_e12_a_throttled_post_waits_as_its_network_says(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        wire.answers(row.throttled.status, row.throttled.body, row.throttled.headers)
        with pytest.raises(TryLater) as failure:
            network.publish(POST)
        assert failure.value.wait == timedelta(seconds=42)

    @pytest.mark.parametrize(
        ("value", "wait"),
        [
            ("5", timedelta(seconds=5)),
            ("0.35", timedelta(seconds=0.35)),
            ("Mon, 23 Nov 2026 12:00:07 GMT", timedelta(seconds=7)),
            ("999999999", LONGEST_WAIT),
            ("-5", timedelta()),
            ("abc", timedelta()),
            ("Thu, 01 Jan 1970 00:00:00 GMT", timedelta()),
            pytest.param("9" * 4000, timedelta(), id="4 kB of digits"),
        ],
    )
    @pytest.mark.parametrize("status", [429, 503])
    def test_e12_e13_every_form_of_retry_after_is_understood(
        self, network: Network, wire: Wire, status: int, value: str, wait: timedelta
    ) -> None:
        wire.answers(status, {}, {**DATE, "Retry-After": value})
        with pytest.raises(TryLater) as failure:
            network.publish(POST)
        assert failure.value.wait == wait

    @pytest.mark.parametrize("failure", FAILURES)
    def test_no_secret_is_shown(
        self, row: Row, network: Network, wire: Wire, failure: Answer | Problem
    ) -> None:
        _fails_with(wire, failure)
        with pytest.raises(DeliveryError) as error:
            network.publish(POST)
        assert row.secret not in said_by(error.value) + repr(network) + str(network)

    @those(lambda row: not row.bare)
    def test_no_secret_is_shown_of_an_answer_without_sense(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        _fails_with(wire, NO_JSON)
        with pytest.raises(DeliveryError) as error:
            network.publish(POST)
        assert row.secret not in said_by(error.value)

    @those(lambda row: issubclass(row.network, Removes))
    @pytest.mark.parametrize("failure", [*FAILURES, pytest.param(NO_JSON, id="no JSON")])
    def test_no_secret_is_shown_when_something_is_taken_away(
        self, row: Row, network: Network, wire: Wire, failure: Answer | Problem
    ) -> None:
        assert isinstance(network, Removes)
        said = ""
        _fails_with(wire, failure)
        try:
            network.remove(row.receipt)
        except DeliveryError as error:
            said = said_by(error)
        assert row.secret not in said

    def test_no_request_waits_for_ever(self, row: Row, network: Network, wire: Wire) -> None:
        wire.answers(200, row.answer)
        network.publish(POST)
        for sent in wire.sent:
            connect, read = sent.timeout
            assert 0 < connect <= 10
            assert 0 < read <= 30

    def test_no_proxy_or_password_is_taken_from_the_environment(
        self, row: Row, network: Network, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NETRC", "/nowhere")
        wire.answers(200, row.answer)
        network.publish(POST)
        assert all("Proxy-Authorization" not in sent.request.headers for sent in wire.sent)

    @those(lambda row: row.network.repeat in (Repeat.HARMLESS, Repeat.WINDOW))
    def test_a_network_that_may_be_repeated_gets_the_same_bytes_again(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        wire.breaks(read_timeout)
        wire.answers(200, row.answer)
        with pytest.raises(Unsure):
            network.publish(POST)
        network.publish(POST)
        first, second = (
            (sent.request.url, sent.body, sent.request.headers.get("Idempotency-Key"))
            for sent in wire.scripted
        )
        assert first == second

    @those(lambda row: row.network.repeat in (Repeat.HARMLESS, Repeat.WINDOW))
    def test_two_posts_of_one_broadcast_are_not_taken_for_repeats(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        other = Post(
            key="b1/ended/contract",
            moment=Moment.ENDED,
            mood=Moment.ENDED,
            text=POST.text,
            began_at=POST.began_at,
            worded_at=POST.worded_at,
            wire_key="b1/ended/contract/0",
        )
        wire.answers(200, row.answer, times=2)
        network.publish(POST)
        network.publish(other)
        first, second = (
            (sent.body, sent.request.headers.get("Idempotency-Key")) for sent in wire.scripted
        )
        assert first != second

    @those(lambda row: row.network.shows_pictures)
    def test_a_picture_goes_up_with_its_post(self, row: Row, network: Network, wire: Wire) -> None:
        _takes_pictures(row, wire)
        wire.answers(200, row.answer)
        receipt = network.publish(PICTURED)
        assert (receipt.id, receipt.url, receipt.note) == (row.receipt.id, row.receipt.url, "")
        sent = b"".join(sent.body for sent in wire.sent)
        assert PICTURE.data in sent or base64.b64encode(PICTURE.data) in sent
        assert len(wire.scripted) == 1

    @those(lambda row: not row.network.shows_pictures)
    def test_where_no_picture_can_be_shown_the_words_go_alone(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        wire.answers(200, row.answer)
        assert network.publish(PICTURED) == row.receipt

    @pytest.mark.parametrize(
        "failure",
        [
            *FAILURES,
            pytest.param(NO_JSON, id="no JSON"),
            pytest.param(Answer(403, {"error": "This token lacks a scope"}), id="403"),
            pytest.param(Answer(413, "<html>too large</html>"), id="413"),
            pytest.param(Answer(200, {"data": 1, "blob": 1, "id": {}}), id="nonsense"),
            pytest.param(Answer(200, []), id="a list"),
        ],
    )
    @those(lambda row: bool(row.uploads))
    def test_an_upload_that_fails_never_loses_the_post(
        self, row: Row, network: Network, wire: Wire, failure: Answer | Problem
    ) -> None:
        _fails_pictures(row, wire, failure)
        wire.answers(200, row.answer)
        receipt = network.publish(PICTURED)
        assert replace(receipt, note="") == row.receipt
        assert receipt.note.startswith("without its picture: ")
        assert row.secret not in receipt.note

    @those(lambda row: row.network.shows_pictures)
    def test_a_post_that_is_refused_with_its_picture_goes_without(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        _takes_pictures(row, wire)
        wire.answers(422, {"error": "Reason", "message": "the picture is bad"})
        wire.answers(200, row.answer)
        receipt = network.publish(PICTURED)
        assert replace(receipt, note="") == row.receipt
        assert "422" in receipt.note
        _, alone = wire.scripted
        for trace in (PICTURE.data, b"301", b"bafk2", PICTURE.file_name.encode()):
            assert trace not in alone.body

    @those(lambda row: row.network.shows_pictures)
    def test_a_post_that_is_refused_without_its_picture_too_is_refused(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        _takes_pictures(row, wire)
        wire.answers(422, {"error": "Reason", "message": "told by the network"}, times=2)
        with pytest.raises(Refused):
            network.publish(PICTURED)

    @those(lambda row: row.network.repeat in (Repeat.HARMLESS, Repeat.WINDOW))
    @pytest.mark.parametrize("first", [True, False], ids=["it went up", "it did not go up"])
    def test_how_the_picture_fared_is_the_same_for_a_repeat(
        self, row: Row, network: Network, wire: Wire, *, first: bool
    ) -> None:
        for works in (first, not first):
            if works:
                _takes_pictures(row, wire)
            else:
                _fails_pictures(row, wire, Answer(500))
            wire.breaks(read_timeout)
            with pytest.raises(Unsure):
                network.publish(PICTURED)
        once, again = (
            (sent.body, sent.request.headers.get("Idempotency-Key")) for sent in wire.scripted
        )
        assert once == again
        uploads = [sent for path in row.uploads for sent in wire.asked(path)]
        assert len(uploads) == len(row.uploads)

    @those(lambda row: row.network.repeat in (Repeat.HARMLESS, Repeat.WINDOW))
    def test_another_try_after_a_clear_refusal_uploads_anew(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        _fails_pictures(row, wire, Answer(503))
        wire.answers(503, {})
        with pytest.raises(TryLater):
            network.publish(PICTURED)
        _takes_pictures(row, wire)
        wire.answers(200, row.answer)
        receipt = network.publish(replace(PICTURED, wire_key="b1/live/contract/1"))
        assert not receipt.note

    @those(lambda row: issubclass(row.network, Revises))
    def test_a_change_keeps_the_receipt(self, row: Row, network: Network, wire: Wire) -> None:
        assert isinstance(network, Revises)
        wire.answers(200, row.answer)
        kept = network.revise(row.receipt, POST)
        assert (kept.id, kept.url) == (row.receipt.id, row.receipt.url)

    @those(lambda row: issubclass(row.network, Revises) and row.gone is not None)
    def test_e19_a_post_that_a_person_deleted_is_gone(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        assert isinstance(network, Revises)
        assert row.gone
        wire.answers(row.gone.status, row.gone.body, row.gone.headers)
        with pytest.raises(Gone):
            network.revise(row.receipt, POST)
        assert len(wire.scripted) == 1

    @those(lambda row: issubclass(row.network, Removes) and row.gone is not None)
    def test_removing_what_is_gone_is_a_success(
        self, row: Row, network: Network, wire: Wire
    ) -> None:
        assert isinstance(network, Removes)
        assert row.gone
        wire.answers(row.gone.status, row.gone.body, row.gone.headers)
        network.remove(row.receipt)
        assert len(wire.scripted) == 1
