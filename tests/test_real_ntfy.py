"""A real ntfy server, and what its subscribers are shown."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from announcer import rehearsal
from announcer.contract import PICTURE, POST
from announcer.network import Moment, Refused, TryLater
from announcer.networks.ntfy import Ntfy
from tests.fakes import wait_until
from tests.running import Service
from tests.servers import ntfy as server
from tests.servers.fixtures import started
from tests.servers.ntfy import NtfyTopic

AT_ONCE = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_GRACE": "0s", "ANNOUNCER_POLL": "0s"}
STREAM = "https://live.kestrel.example"
HOSTILE = '@kestrel **b** "}, {"topic": "x"} =?utf-8?q?boo?= \\n {{7*7}} <b> é🔴'


@pytest.fixture
def settings(ntfy_topic: NtfyTopic) -> dict[str, str]:
    return {
        "NTFY_TOPIC": ntfy_topic.topic,
        "NTFY_SERVER": ntfy_topic.server,
        "NTFY_ACCESS_TOKEN": ntfy_topic.write_only_token,
        # The address of the stream is shown, and asked for its status; nobody answers there.
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
        **AT_ONCE,
    }


@pytest.fixture
def service(tmp_path: Path, settings: dict[str, str]) -> Iterator[Service]:
    running = Service(tmp_path, settings, ("-m", "tests.hurried"))
    yield running
    running.stop()


def at(there: NtfyTopic, **settings: str) -> Ntfy:
    return Ntfy.model_validate(
        {
            "topic": there.topic,
            "server": there.server,
            "access_token": there.write_only_token,
            **settings,
        }
    )


def tell(service: Service, what: str, title: str) -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def shown(topic: NtfyTopic) -> list[dict[str, Any]]:
    return topic.messages()


def test_an_evening_is_one_notification_that_stays_true(
    service: Service, ntfy_topic: NtfyTopic
) -> None:
    tell(service, "start", HOSTILE)
    service.until(lambda: shown(ntfy_topic), "nothing was told")
    [live] = shown(ntfy_topic)
    assert (live["title"], live["click"]) == ("Kestrel Workshop", STREAM)
    assert live["message"] == "Live now: " + HOSTILE.replace("@", "@\u200b")
    assert (live["priority"], live["tags"]) == (3, ["red_circle"])
    tell(service, "start", "the same again")
    tell(service, "title", "a bench")
    service.until(lambda: "bench" in shown(ntfy_topic)[0]["message"], "the title stays")
    tell(service, "stop", "a bench")
    service.until(lambda: "Was live" in shown(ntfy_topic)[0]["message"], "it does not end")
    [ended] = shown(ntfy_topic)
    assert ended["sequence_id"] == live["sequence_id"]
    assert (ended["priority"], "tags" in ended) == (2, False)
    assert ntfy_topic.topic not in service.log


@pytest.mark.parametrize("point", ["POST /: sent", "POST /: answered"])
def test_a13_a_crash_while_ntfy_takes_a_message_leaves_one_that_is_seen(
    tmp_path: Path, settings: dict[str, str], ntfy_topic: NtfyTopic, point: str
) -> None:
    trace = tmp_path / "passed"
    crash = {"ANNOUNCER_CRASH_AT": point, "ANNOUNCER_CRASH_TRACE": str(trace)}
    hurried = ("-m", "tests.hurried")
    first = Service(tmp_path, settings | crash, hurried)
    with suppress(requests.ConnectionError):
        first.hear(rehearsal.webhook("start", "Drawers", "Kestrel"))
    wait_until(lambda: trace.exists() and point in trace.read_text().splitlines())
    first.kill()
    wait_until(lambda: len(ntfy_topic.events()) == 1)
    second = Service(tmp_path, settings, hurried)
    second.until(lambda: len(ntfy_topic.events()) == 2, "it was not sent again")
    second.until(
        lambda: {post["state"] for post in second.posts().values()} == {"settled"}, "never settled"
    )
    second.stop()
    once, again = ntfy_topic.events()
    assert once["message"] == again["message"]
    assert len(shown(ntfy_topic)) == 1


def test_a_picture_stays_through_a_new_title_and_goes_with_the_end(ntfy_topic: NtfyTopic) -> None:
    network = at(ntfy_topic, button="Watch")
    data = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00 as if it were one"
    words = "Höbel\n\n🔴 & ? = \\n"
    receipt = network.publish(replace(POST, text=words, picture=replace(PICTURE, data=data)))
    assert receipt.note == ""
    [live] = shown(ntfy_topic)
    assert ntfy_topic.attachment(live) == data
    assert live["message"] == words.replace("\\n", "\\\u200bn")
    assert live["actions"][0]["label"] == "Watch"
    now = replace(POST, text="a bench")
    network.revise(receipt, now)
    [retitled] = shown(ntfy_topic)
    assert retitled["message"] == "a bench"
    assert ntfy_topic.attachment(retitled) == data
    network.revise(receipt, replace(now, mood=Moment.ENDED, text="It is over."))
    [ended] = shown(ntfy_topic)
    assert (ended["message"], "attachment" in ended) == ("It is over.", False)


def test_what_is_taken_away_is_not_shown_any_more(ntfy_topic: NtfyTopic) -> None:
    network = at(ntfy_topic)
    receipt = network.publish(POST)
    network.remove(receipt)
    network.remove(receipt)
    assert shown(ntfy_topic) == []


def test_check_proves_a_right_to_write_and_is_seen_by_nobody(ntfy_topic: NtfyTopic) -> None:
    assert at(ntfy_topic).check().notes == ()
    for token in (ntfy_topic.reader_token, "tk_nobody"):
        with pytest.raises(Refused) as problem:
            at(ntfy_topic, access_token=token).check()
        assert problem.value.closes
    assert ntfy_topic.events() == []


def test_the_longest_message_is_one_and_not_a_file(ntfy_topic: NtfyTopic) -> None:
    network = at(ntfy_topic)
    for sign in ("a", "日", '"'):
        text = sign * (network.limit() // network.measure(sign))
        network.publish(replace(POST, key=sign, text=text))
        assert shown(ntfy_topic)[-1]["message"] == text
        assert "attachment" not in shown(ntfy_topic)[-1]


def test_a_title_is_not_decoded_like_a_header_of_mail(ntfy_topic: NtfyTopic) -> None:
    assert POST.show
    name = "=?utf-8?b?4oCuZXZpbA==?="
    at(ntfy_topic).publish(replace(POST, show=replace(POST.show, name=name)))
    assert shown(ntfy_topic)[0]["title"].replace("\u200b", "") == name


def test_who_posts_too_much_is_told_later(tmp_path: Path) -> None:
    strict = started(lambda folder: server.Ntfy(folder, requests_at_once=2), tmp_path)
    network = at(strict.new_topic())
    for _ in range(2):
        with suppress(TryLater):
            network.publish(POST)
    with pytest.raises(TryLater, match="429"):
        network.publish(POST)
    strict.stop()
