"""Apprise: each address by itself, who has it is not told again, and no more is guessed than the
library's word can carry.
"""

import base64
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from announcer import wire
from announcer.contract import PICTURE, PICTURED, POST, SECRET, Behaviour
from announcer.network import DeliveryError, ForgetfulMemory, Refused, TryLater, Unsure
from announcer.networks.apprise import LONGEST, SHORTEST, TRIES, Apprise
from tests.letterbox import Letterbox, letterbox

GOOD, BUSY, REFUSES, LOCKED_OUT, CUTS = (
    Behaviour.GOOD,
    Behaviour.BUSY,
    Behaviour.REFUSES,
    Behaviour.LOCKED_OUT,
    Behaviour.CUTS,
)


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.name)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ", 0.4)
    monkeypatch.setattr(wire, "TOTAL", 2.0)


@pytest.fixture
def boxes() -> Iterator[list[Letterbox]]:
    with ExitStack() as stack:
        yield [stack.enter_context(letterbox()) for _ in range(3)]


def at(*boxes: Letterbox, **settings: str) -> Apprise:
    return Apprise.model_validate({"urls": " ".join(box.url() for box in boxes), **settings})


def behave(boxes: list[Letterbox], *behaviours: Behaviour) -> None:
    for box, behaviour in zip(boxes, behaviours, strict=False):
        box.behaviour = behaviour


def shown(*boxes: Letterbox) -> list[int]:
    return [len(box.shown) for box in boxes]


# Several addresses


def test_every_address_is_told(boxes: list[Letterbox]) -> None:
    assert at(*boxes).publish(POST).note == ""
    assert shown(*boxes) == [1, 1, 1]


def test_e28_who_has_it_is_not_told_again(boxes: list[Letterbox]) -> None:
    network = at(*boxes)
    behave(boxes, GOOD, BUSY, GOOD)
    with pytest.raises(TryLater, match=r"^JSON \(503\)$"):
        network.publish(POST)
    behave(boxes, GOOD, GOOD, GOOD)
    network.publish(POST)
    assert shown(*boxes) == [1, 1, 1]


def test_e28_who_has_it_is_remembered_through_a_restart(boxes: list[Letterbox]) -> None:
    memory = ForgetfulMemory()
    for behaviour in (BUSY, GOOD):
        behave(boxes, GOOD, behaviour)
        network = at(*boxes[:2])
        network.remember_in(memory)
        try:
            network.publish(POST)
        except TryLater:
            assert behaviour is BUSY
    assert shown(*boxes[:2]) == [1, 1]
    assert "127.0.0.1" not in str(memory.get("posts"))


def test_two_posts_are_not_taken_for_one(boxes: list[Letterbox]) -> None:
    network = at(boxes[0])
    network.publish(POST)
    network.publish(replace(POST, key="b1/ended/contract"))
    network.publish(replace(POST, edition=1))
    assert len(boxes[0].shown) == 3


def test_who_refuses_is_named_beside_those_who_have_it(boxes: list[Letterbox]) -> None:
    behave(boxes, GOOD, REFUSES)
    assert at(*boxes[:2]).publish(POST).note == "not told: JSON (400)"


def test_who_gave_no_clear_answer_is_not_told_again_with_those_who_were_busy(
    boxes: list[Letterbox],
) -> None:
    network = at(*boxes)
    behave(boxes, CUTS, BUSY, GOOD)
    with pytest.raises(TryLater):
        network.publish(POST)
    behave(boxes, GOOD, GOOD, GOOD)
    with pytest.raises(Unsure, match="no clear answer before"):
        network.publish(POST)
    assert shown(*boxes) == [1, 1, 1]


def test_a_person_who_tries_again_reaches_those_who_gave_no_clear_answer(
    boxes: list[Letterbox],
) -> None:
    network = at(*boxes[:2])
    behave(boxes, CUTS, GOOD)
    with pytest.raises(Unsure):
        network.publish(POST)
    behave(boxes, GOOD, GOOD)
    network.publish(POST)
    assert shown(*boxes[:2]) == [2, 1]


# What a failure means


@pytest.mark.parametrize(
    ("behaviours", "error", "closes"),
    [
        pytest.param((REFUSES, BUSY), TryLater, False, id="one is busy"),
        pytest.param((REFUSES, CUTS), Unsure, False, id="one does not say"),
        pytest.param((REFUSES, LOCKED_OUT), Refused, False, id="both refuse"),
        pytest.param((LOCKED_OUT, LOCKED_OUT), Refused, True, id="both know us not"),
    ],
)
def test_where_nobody_has_it_the_most_careful_meaning_counts(
    boxes: list[Letterbox],
    behaviours: tuple[Behaviour, Behaviour],
    error: type[DeliveryError],
    closes: bool,  # of a table
) -> None:
    behave(boxes, *behaviours)
    with pytest.raises(error) as problem:
        at(*boxes[:2]).publish(POST)
    assert getattr(problem.value, "closes", False) is closes


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, Refused),
        (400, Refused),
        (404, Refused),
        (413, Refused),
        (429, TryLater),
        (500, Unsure),
        (502, Unsure),
        (503, TryLater),
    ],
)
def test_a_status_is_read_from_what_the_library_logs(
    boxes: list[Letterbox], status: int, error: type[DeliveryError]
) -> None:
    boxes[0].status = status
    with pytest.raises(error, match=str(status)):
        at(boxes[0]).publish(POST)


@pytest.mark.parametrize("lines", [["INFO Sent it", "WARNING no, error=400."], ["INFO Sent it"]])
def test_what_was_sent_in_part_may_be_up(
    boxes: list[Letterbox], monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    def send(service: Any, **_: Any) -> bool:
        for line in lines:
            level, words = line.split(" ", 1)
            service.logger.log(logging.getLevelNamesMapping()[level], words)
        return False

    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.send", send)
    with pytest.raises(Unsure):
        at(boxes[0]).publish(POST)


def test_an_address_of_several_people_is_never_surely_refused(
    boxes: list[Letterbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.__len__", lambda _: 2)
    behave(boxes, REFUSES)
    with pytest.raises(Unsure):
        at(boxes[0]).publish(POST)


def test_a_plugin_that_stumbles_may_have_posted(
    boxes: list[Letterbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any, **__: Any) -> bool:
        raise KeyError(SECRET)

    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.send", send)
    with pytest.raises(Unsure) as problem:
        at(boxes[0]).publish(POST)
    assert SECRET not in str(problem.value)


@pytest.mark.parametrize("behaviour", [Behaviour.DEAF, Behaviour.HANGS_UP, Behaviour.NONSENSE])
def test_no_secret_is_shown_where_a_connection_breaks(
    boxes: list[Letterbox], behaviour: Behaviour
) -> None:
    log = Log()
    logging.getLogger().addHandler(log)  # pytest's own hears more than ours does
    behave(boxes, behaviour)
    with pytest.raises(Unsure) as problem:
        Apprise(urls=boxes[0].url(SECRET)).publish(POST)
    logging.getLogger().removeHandler(log)
    assert SECRET not in str(problem.value)
    assert "127.0.0.1" not in str(problem.value)
    assert "apprise" not in log.heard, "its lines quote the host"


# Few tries


def test_what_surely_failed_is_tried_three_times(boxes: list[Letterbox]) -> None:
    network = at(boxes[0])
    behave(boxes, BUSY)
    for _ in range(TRIES - 1):
        with pytest.raises(TryLater):
            network.publish(POST)
    with pytest.raises(Refused, match=r"^given up after 3 tries: JSON \(503\)$") as problem:
        network.publish(POST)
    assert not problem.value.closes
    assert len(boxes[0].asked) == TRIES
    behave(boxes, GOOD)
    network.publish(POST)  # a person's wish
    assert len(boxes[0].shown) == 1


def test_who_wants_repeats_gets_few(boxes: list[Letterbox]) -> None:
    network = at(*boxes[:2], when_unsure="repeat")
    behave(boxes, CUTS, GOOD)
    for _ in range(TRIES - 1):
        with pytest.raises(Unsure):
            network.publish(POST)
    with pytest.raises(Refused, match="given up after 3 tries"):
        network.publish(replace(POST, doubtful_since=POST.worded_at))
    assert shown(*boxes[:2]) == [TRIES, 1]


@pytest.mark.parametrize("query", ["?retry=5&wait=0", "?optional=yes", "?tag=1:a"])
def test_the_library_neither_tries_again_nor_hides_a_failure(
    boxes: list[Letterbox], query: str
) -> None:
    behave(boxes, BUSY, BUSY)
    urls = f"{boxes[0].url(query=query)} {boxes[1].url(query='?tag=2:b')}"
    with pytest.raises(TryLater):
        Apprise(urls=urls).publish(POST)
    assert [len(box.asked) for box in boxes[:2]] == [1, 1]


@pytest.mark.parametrize("query", ["", "?redirect=yes"])
def test_e08_a_redirect_is_not_followed(boxes: list[Letterbox], query: str) -> None:
    boxes[0].status, boxes[0].location = 307, f"http://127.0.0.1:{boxes[1].port}/"
    with pytest.raises(Refused, match="redirect"):
        Apprise(urls=boxes[0].url(query=query)).publish(POST)
    assert boxes[1].asked == []


def test_all_of_a_try_ends_in_time(boxes: list[Letterbox], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ", 60)
    monkeypatch.setattr(wire, "TOTAL", 0.5)
    behave(boxes, Behaviour.DEAF, GOOD)
    with pytest.raises(Unsure, match=r"^JSON \(no answer in time\)$"):
        Apprise(urls=f"{boxes[0].url(query='?rto=60')} {boxes[1].url()}").publish(POST)
    assert shown(*boxes[:2]) == [0, 1]


# What is said


def test_the_first_line_is_the_title_if_there_are_more(boxes: list[Letterbox]) -> None:
    at(boxes[0]).publish(replace(POST, text="Kestrel is live: a drawer\n\nhttps://live.test\n\n#a"))
    assert boxes[0].asked[0]["title"] == "Kestrel is live: a drawer"
    assert boxes[0].asked[0]["message"] == "https://live.test\n\n#a"


@pytest.mark.parametrize("text", ["one line", "x" * 251 + "\nmore"])
def test_what_is_no_title_is_said_in_the_message(boxes: list[Letterbox], text: str) -> None:
    at(boxes[0]).publish(replace(POST, text=text))
    assert (boxes[0].asked[0]["title"], boxes[0].asked[0]["message"]) == ("", text)


def test_what_looks_like_markup_emoji_or_escapes_stays_as_it_is(boxes: list[Letterbox]) -> None:
    text = r"<b>1 &lt; 2</b> *a* :smile: \n ${TITLE}"
    Apprise(urls=boxes[0].url(query="?emojis=yes")).publish(replace(POST, text=text))
    assert boxes[0].asked[0]["message"] == text


@pytest.mark.parametrize("mention", ["<!channel>", "<@1>", "<#c1>", "<users/all>", "@here"])
def test_f01_what_pings_in_a_plain_text_does_not(boxes: list[Letterbox], mention: str) -> None:
    escaped = at(boxes[0]).escape(f"with {mention} of us")
    assert mention not in escaped
    assert escaped.replace("\u200b", "") == f"with {mention} of us"


def test_a_picture_goes_along(boxes: list[Letterbox]) -> None:
    assert at(boxes[0]).publish(PICTURED).note == ""
    [picture] = boxes[0].asked[0]["attachments"]
    assert base64.b64decode(picture["base64"]) == PICTURE.data
    assert (picture["filename"], picture["mimetype"]) == (PICTURE.file_name, PICTURE.mime)


def test_a_post_that_is_refused_with_its_picture_goes_without(boxes: list[Letterbox]) -> None:
    boxes[0].dislikes_pictures = True
    receipt = at(*boxes[:2]).publish(PICTURED)
    assert receipt.note == "without its picture: JSON (413)"
    assert shown(*boxes[:2]) == [1, 1]


def test_a_picture_is_no_reason_for_a_second_try_of_anything_else(boxes: list[Letterbox]) -> None:
    behave(boxes, LOCKED_OUT, BUSY, CUTS)
    with pytest.raises(TryLater):
        at(*boxes).publish(PICTURED)
    assert [len(box.asked) for box in boxes] == [1, 1, 1]


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "config:///etc/apprise.yml",
        "include://elsewhere",
        "nosuchservice://x",
        "just words",
        "tgram://123456789:abcdefg_hijklmnop/12315544?template=/etc/passwd",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?template=https://x.example/t",
        "fcm://project@key/device?keyfile=/etc/passwd",
        "mailto://a:b@example.com?pgp=yes&pgpkey=/etc/passwd",
    ],
)
def test_an_address_that_can_not_be_used_or_reads_files_is_told_at_the_start(address: str) -> None:
    with pytest.raises(ValidationError, match="can not use: number 2") as problem:
        Apprise(urls=f"json://127.0.0.1/{SECRET} {address}")
    assert SECRET not in str(problem.value)


def test_the_same_address_twice_is_told_at_the_start() -> None:
    with pytest.raises(ValidationError, match="twice"):
        Apprise(urls="json://127.0.0.1 json://127.0.0.1")


@pytest.mark.parametrize("between", [" ", ", ", ",", "  "])
def test_addresses_may_be_parted_by_spaces_and_commas(between: str) -> None:
    network = Apprise(urls=between.join(["json://a.test/x,y", "gotifys://b.test/abcdefghijklmno"]))
    account = network.check()
    assert account.handle == "JSON, Gotify"
    assert account.notes


def test_nothing_is_kept_on_disk() -> None:
    [service] = Apprise(urls="json://127.0.0.1")._services().values()
    assert service.store.mode.value == "memory"


@pytest.mark.parametrize(
    ("urls", "limit"),
    [
        ("json://a.test", LONGEST),
        ("json://a.test bluesky://a:b@c", 280),
        ("json://a.test clicksend://user:pass@+15551235553", SHORTEST),
    ],
)
def test_a_text_fits_the_shortest_of_them_unless_that_is_very_short(urls: str, limit: int) -> None:
    assert Apprise(urls=urls).limit() == limit
