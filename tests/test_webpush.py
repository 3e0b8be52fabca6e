"""Web Push: whom a try reached, what they see, and where a visitor can not send us."""

import base64
import os
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from announcer import connection, wire, wiring
from announcer.attempt import manners_of
from announcer.contract import POST, SECRET
from announcer.network import (
    DeliveryError,
    Message,
    Moment,
    Receipt,
    Refused,
    TryLater,
    Unsure,
)
from announcer.networks import webpush
from announcer.networks.webpush import WebPush
from announcer.settings import SettingsError
from announcer.wording import Facts, Templates
from tests.pushing import FakeSubscribers
from tests.pushservice import CONTACT, Browser, PushService, coded, push_service
from tests.rogue import Authority, Serve, everywhere
from tests.rows.webpush import key

SHOW = POST.show or pytest.fail("the contract's post has one")
CARD = POST.card or pytest.fail("the contract's post has one")
OVER = replace(SHOW, ended_at=SHOW.started_at + timedelta(hours=2))
ENDED = replace(POST, mood=Moment.ENDED, text="It was live\nDrawers", show=OVER)
DOUBTFUL = replace(POST, doubtful_since=POST.worded_at)
NEXT = replace(POST, key="b2/live/contract", wire_key="b2/live/contract/0")


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as one:
        yield one


def account(*services: PushService, **settings: Any) -> WebPush:
    places = ",".join(one.origin for one in services)
    given = {"private_key": key(SECRET), "contact": CONTACT, "services": places}
    network = WebPush.model_validate(given | settings)
    network.keep_subscribers_in(FakeSubscribers())
    return network


@pytest.fixture
def network(service: PushService) -> WebPush:
    return account(service)


def them(network: WebPush) -> FakeSubscribers:
    assert isinstance(network._them, FakeSubscribers)
    return network._them


def join(network: WebPush, service: PushService, *names: str) -> list[Browser]:
    browsers = [service.browser(name) for name in names]
    for browser in browsers:
        assert network.welcome(browser.subscription(service.origin))
    return browsers


def steady(network: WebPush, service: PushService, *names: str) -> list[Browser]:
    """They were told of the stream before this one."""
    browsers = join(network, service, *names)
    network.publish(replace(POST, key="b0/live/contract"))
    service.pushes.clear()
    service.asked.clear()
    return browsers


def fails(service: PushService, browser: Browser, status: int, **headers: str) -> None:
    service.answers[browser.path] = status, headers


# What an answer means, where there is one subscriber


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, Unsure),
        (204, Unsure),
        (302, Refused),
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (408, TryLater),
        (413, Refused),
        (425, TryLater),
        (429, TryLater),
        (500, Unsure),
        (502, Unsure),
        (503, TryLater),
        (504, Unsure),
    ],
)
def test_e15_an_answer_means_one_of_the_errors(
    network: WebPush, service: PushService, status: int, error: type[DeliveryError]
) -> None:
    [browser] = join(network, service, "a")
    fails(service, browser, status, Location="https://elsewhere.example/")
    with pytest.raises(error) as problem:
        network.publish(POST)
    assert "127.0.0.1" in str(problem.value)
    assert browser.path not in str(problem.value)
    assert not getattr(problem.value, "closes", False), "a visitor chose who answers"
    assert len(service.asked) == 1


@pytest.mark.parametrize("status", [201, 202])
def test_what_a_service_has_taken_is_told(
    network: WebPush, service: PushService, status: int
) -> None:
    [browser] = join(network, service, "a")
    if status == 202:
        fails(service, browser, 202)
    assert network.publish(POST) == Receipt(webpush._topic(POST))


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_gone_is_deleted(
    network: WebPush, service: PushService, status: int
) -> None:
    gone, _ = join(network, service, "gone", "b")
    fails(service, gone, status)
    assert network.publish(POST).note == "1 told, 1 gone"
    assert them(network).count() == 1


def test_where_nobody_subscribed_there_is_nothing_to_do(network: WebPush) -> None:
    assert network.publish(POST).note == "0 told"
    assert network.find(POST) is None


# Several: each by itself


def test_e28_another_try_goes_to_those_only_who_were_not_reached(
    network: WebPush, service: PushService
) -> None:
    a, b, c = steady(network, service, "a", "b", "c")
    fails(service, b, 503)
    with pytest.raises(Unsure, match=r"2 told, 1 not: 127.0.0.1: 503 \(1\)"):
        network.publish(POST)
    with pytest.raises(TryLater) as problem:
        network.publish(DOUBTFUL)
    assert problem.value.wait == webpush.AGAIN
    assert service.asked.count(b.path) == 2
    assert (service.asked.count(a.path), service.asked.count(c.path)) == (1, 1)
    service.answers.clear()
    assert network.publish(DOUBTFUL).note == ""
    assert [len(service.to(one)) for one in (a, b, c)] == [1, 1, 1]
    assert len(set(service.identities)) == 1 + 1, "one topic for this stream, one for the last"


def test_e28_what_some_have_is_found_though_the_stream_stopped_meanwhile(
    network: WebPush, service: PushService
) -> None:
    a, b = steady(network, service, "a", "b")
    fails(service, b, 500)
    with pytest.raises(Unsure):
        network.publish(POST)
    receipt = network.find(DOUBTFUL)
    assert receipt
    service.answers.clear()
    service.pushes.clear()
    network.revise(receipt, ENDED)
    assert len(service.to(a)) == 1
    assert service.to(b) == [], "who was not told of the start hears nothing of the end"


def test_who_never_answered_yet_holds_up_nobody(network: WebPush, service: PushService) -> None:
    steady(network, service, "a")
    dead, *_ = join(network, service, "dead")
    fails(service, dead, 0)
    assert network.publish(POST).note.startswith("1 told, 1 not: 127.0.0.1: the connection broke")


def test_who_misses_five_in_a_row_is_dropped(network: WebPush, service: PushService) -> None:
    steady(network, service, "a")
    [dead] = join(network, service, "dead")
    fails(service, dead, 403)
    for number in range(webpush.MISSED):
        assert them(network).count() == 2
        network.publish(replace(POST, key=f"s{number}/live/contract"))
    assert them(network).count() == 1
    assert service.asked.count(dead.path) == webpush.MISSED


def test_while_nobody_is_reached_nobody_is_dropped(network: WebPush, service: PushService) -> None:
    """It is our own connection, or our key: they are not to blame."""
    for browser in steady(network, service, "a", "b"):
        fails(service, browser, 403)
    for number in range(2 * webpush.MISSED):
        with pytest.raises(Refused):
            network.publish(replace(POST, key=f"s{number}/live/contract"))
    assert them(network).count() == 2


def test_after_some_tries_it_is_told_without_the_last_ones(
    network: WebPush, service: PushService
) -> None:
    _, b = steady(network, service, "a", "b")
    fails(service, b, 502)
    with pytest.raises(Unsure):
        network.publish(POST)
    for _ in range(webpush.TRIES - 2):
        with pytest.raises(TryLater):
            network.publish(DOUBTFUL)
    assert network.publish(DOUBTFUL).note == "1 told, 1 not: 127.0.0.1: 502 (1)"
    assert service.asked.count(b.path) == webpush.TRIES


def test_e12_a_wait_is_kept_for_whom_it_is_meant_and_no_longer_than_sensible(
    network: WebPush, service: PushService
) -> None:
    a, b = steady(network, service, "a", "b")
    fails(service, b, 429, **{"Retry-After": "86400"})
    with pytest.raises(Unsure):
        network.publish(POST)
    with pytest.raises(TryLater) as problem:
        network.publish(DOUBTFUL)
    assert service.asked.count(b.path) == 1, "it asked for more time than that"
    assert problem.value.wait == webpush.AGAIN, "the destination is not held up for it"
    [waits] = them(network).without(Message(webpush._topic(POST), webpush._said(POST)))
    assert waits.not_before
    assert waits.not_before - datetime.now(UTC) <= webpush.LONGEST_WAIT
    assert len(service.to(a)) == 1


def test_where_everybody_has_to_wait_the_post_does(network: WebPush, service: PushService) -> None:
    [browser] = join(network, service, "a")
    fails(service, browser, 429, **{"Retry-After": "42"})
    for _ in range(2):
        with pytest.raises(TryLater) as problem:
            network.publish(POST)
        assert timedelta(seconds=40) < problem.value.wait <= timedelta(seconds=42)
    assert len(service.asked) == 1


def test_many_are_told_at_once_and_not_too_many(network: WebPush, service: PushService) -> None:
    join(network, service, *(f"b{number}" for number in range(60)))
    service.pause = 0.05
    assert network.publish(POST).note == ""
    assert len(service.pushes) == 60
    assert 4 < service.most_at_once <= webpush.AT_ONCE


def test_a_service_that_does_not_answer_costs_the_others_little() -> None:
    with push_service() as good:
        tls = good.authority
        dead = PushService(tls)
        network = account(good, dead)
        join(network, dead, *(f"d{number}" for number in range(60)))
        join(network, good, "g")
        dead.answers = {path: (0, {}) for path in dead.browsers}
        note = network.publish(POST).note
        assert note.startswith("1 told, 60 not: 127.0.0.1: does not answer")
        assert len(dead.asked) < webpush.SILENT + webpush.AT_ONCE + 2
        dead.stop()


def test_g07_our_turn_ends_among_them_and_the_next_one_goes_on(
    network: WebPush, service: PushService
) -> None:
    join(network, service, *(f"b{number}" for number in range(80)))
    service.pause = 0.2
    with (
        pytest.raises(Unsure, match="not asked yet"),
        wire.not_after(connection.now() + timedelta(seconds=0.5)),
    ):
        network.publish(POST)
    first = len(service.asked)
    assert 0 < first < 80
    service.pause = 0.0
    assert network.publish(DOUBTFUL).note == ""
    assert len(service.asked) == 80, "nobody twice, and nobody given up before he was asked"


def test_what_can_not_be_stored_is_not_sent_on(
    network: WebPush, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(network, service, *(f"b{number}" for number in range(100)))
    service.pause = 0.1
    monkeypatch.setattr(webpush, "BATCH", 5)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(FakeSubscribers, "reached", full)
    with pytest.raises(OSError, match="full"):
        network.publish(POST)
    assert len(service.asked) < 60


# What they are told


def test_a_push_is_exactly_this(network: WebPush, service: PushService) -> None:
    join(network, service, "a")
    worded_at = POST.worded_at + timedelta(milliseconds=250)  # two may follow within a second
    text = "Kestrel is live\nDrawers\nsecond line"
    receipt = network.publish(replace(POST, text=text, worded_at=worded_at))
    [push] = service.pushes
    assert push.message == {
        "title": "Kestrel is live",
        "body": "Drawers\nsecond line",
        "tag": receipt.id,
        "at": 1795461331.25,
        "quiet": False,
        "url": "https://live.example.org",
        "icon": "https://live.example.org/logo/external",
        "image": "https://live.example.org/thumbnail.jpg?at=1795461331",
    }
    assert push.headers["topic"] == receipt.id
    assert len(receipt.id) == 32
    assert set(receipt.id) <= set(string.ascii_letters + string.digits + "-_")
    assert (push.headers["ttl"], push.headers["urgency"]) == ("7200", "high")
    assert push.headers["content-encoding"] == "aes128gcm"
    assert push.claims["sub"] == CONTACT
    assert push.key == network.public_key


def test_a_repeat_has_the_same_topic_tag_and_words(network: WebPush, service: PushService) -> None:
    [browser] = join(network, service, "a")
    network.publish(POST)
    again = account(service)  # another database
    assert again.welcome(browser.subscription(service.origin))
    again.publish(replace(POST, wire_key="b1/live/contract/7"))
    assert len(set(service.identities)) == 1
    assert service.pushes[0].message == service.pushes[1].message


def test_another_post_has_another_topic(network: WebPush, service: PushService) -> None:
    join(network, service, "a")
    network.publish(POST)
    network.publish(NEXT)
    network.publish(replace(POST, edition=1))
    assert len(set(service.identities)) == 3


def test_the_end_takes_its_place_without_a_sound(network: WebPush, service: PushService) -> None:
    join(network, service, "a")
    receipt = network.publish(POST)
    join(network, service, "later")
    replay = replace(OVER, replay_url="https://live.example.org/replays")
    assert network.revise(receipt, replace(ENDED, show=replay)) == receipt
    live, over = service.pushes
    assert over.path == live.path
    assert over.headers["topic"] == live.headers["topic"]
    assert over.message["tag"] == live.message["tag"]
    assert over.message["quiet"]
    assert over.message["url"] == "https://live.example.org/replays"
    assert "image" not in over.message, "it shows a stream that is over"
    assert (over.headers["ttl"], over.headers["urgency"]) == ("3600", "normal")


def test_a_change_is_repeated_for_those_only_who_do_not_know_it(
    network: WebPush, service: PushService
) -> None:
    a, b = join(network, service, "a", "b")
    receipt = network.publish(POST)
    service.pushes.clear()
    fails(service, b, 500)
    with pytest.raises(TryLater, match="changed for 1, 1 not"):
        network.revise(receipt, ENDED)
    service.answers.clear()
    network.revise(receipt, replace(ENDED, text="other words for the same"))
    assert (len(service.to(a)), len(service.to(b))) == (1, 1)


def test_a_change_that_reaches_nobody_is_no_success(network: WebPush, service: PushService) -> None:
    [a] = join(network, service, "a")
    receipt = network.publish(POST)
    fails(service, a, 400)
    with pytest.raises(Refused):
        network.revise(receipt, ENDED)
    fails(service, a, 410)
    network.revise(receipt, replace(ENDED, show=replace(OVER, title="b")))
    assert them(network).count() == 0


def test_a_new_title_is_told_only_where_that_is_wished(service: PushService) -> None:
    assert not manners_of(account(service)).retitles
    assert manners_of(account(service, when_retitled="edit")).retitles
    assert manners_of(account(service)).ending == "edit"


def test_what_is_not_for_all_eyes_has_no_picture(network: WebPush, service: PushService) -> None:
    join(network, service, "a")
    network.publish(replace(POST, show=replace(SHOW, nsfw=True)))
    assert "image" not in service.pushes[0].message


def test_without_an_address_the_words_go_alone(network: WebPush, service: PushService) -> None:
    join(network, service, "a")
    network.publish(replace(POST, card=None, show=None))
    assert not {"url", "icon", "image"} & set(service.pushes[0].message)


def test_where_all_is_as_long_as_can_be_the_pictures_are_left_out(
    network: WebPush, service: PushService
) -> None:
    join(network, service, "a")
    card = replace(CARD, url=f"https://live.example.org/{'a' * 600}")
    network.publish(replace(POST, text='"' * network.limit(), card=card))
    [push] = service.pushes
    assert push.size <= 4096
    assert push.message["body"] == ""
    assert "image" not in push.message
    with pytest.raises(Refused, match="too long"):
        network.publish(replace(NEXT, text="a" * 5000))


STATELESS = account()
WORDS = Templates(None)


@given(st.text(max_size=3000), st.text(max_size=300), st.sampled_from([Moment.LIVE, Moment.ENDED]))
def test_every_title_fits_into_a_push(title: str, name: str, mood: Moment) -> None:
    facts = Facts(
        channel="default",
        name=name or "Kestrel",
        title=title,
        summary="",
        url="https://live.example.org",
        tags=(),
        nsfw=False,
        started_at=POST.began_at,
        ended_at=POST.began_at + timedelta(hours=1) if mood is Moment.ENDED else None,
    )
    text = WORDS.word(STATELESS, "webpush", mood, facts).text
    assert STATELESS.measure(text) <= STATELESS.limit()
    post = replace(POST, text=text, mood=mood)
    body = webpush._body(post, Message("t" * 32, "s"), quiet=False)
    assert len(body) <= webpush.BODY


# Who may subscribe, and where that leads

HERE = "https://push.example/a-long-word-that-nobody-guesses"


def subscription(endpoint: str = HERE, **keys: str) -> dict[str, Any]:
    made = Browser().subscription("https://push.example")
    return made | {"endpoint": endpoint, "keys": made["keys"] | keys}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example/a",
        "https://push.example:8443/a",
        "https://push.example:0/a",
        "https://push.example:99999/a",
        "https://user@push.example/a",
        "https://user:word@push.example/a",
        "https://@push.example/a",
        "https://127.0.0.1/a",
        "https://10.1.2.3/a",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a",
        "https://[2001:4860::1]/a",
        "https://localhost/a",
        "https://printer.local/a",
        "https://router/a",
        "https://push.example/a#b",
        "https://push.example\\@evil.example/",
        "https://push.example/\r\nX-Evil: 1",
        "https://push.example/a b",
        "https://püsh.example/a",
        "https://push.example/" + "a" * 2000,
        "https:///a",
        "https://",
        "//push.example/a",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "",
        "\ud800",
    ],
)
def test_a_visitor_can_not_send_us_there(endpoint: str) -> None:
    network = account()
    with pytest.raises(ValueError, match=r"\w"):
        network.welcome(subscription(endpoint))
    assert them(network).count() == 0


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"endpoint": HERE},
        {"endpoint": HERE, "keys": None},
        {"endpoint": HERE, "keys": {"p256dh": "AA"}},
        {"endpoint": ["https://push.example"], "keys": {"p256dh": "a", "auth": "b"}},
        subscription(auth=""),
        subscription(auth=coded(bytes(15))),
        subscription(auth="ä" * 22),
        subscription(p256dh=""),
        subscription(p256dh=coded(b"\x04" + bytes(64))),
        subscription(p256dh=coded(bytes(65))),
        subscription(p256dh="A" * 101),
    ],
    ids=[
        *("nothing", "no keys", "keys are none", "one key", "an endpoint that is a list"),
        *("no auth", "a short auth", "an auth of no base64", "no p256dh", "not on the curve"),
        *("not a point", "a long p256dh"),
    ],
)
def test_what_can_not_be_encrypted_for_is_not_taken(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        account().welcome(bad)


@pytest.mark.parametrize("endpoint", [HERE, "https://push.example:443/a", "https://9.9.9.9/a"])
def test_any_service_of_the_world_may_be_named(endpoint: str) -> None:
    assert account().welcome(subscription(endpoint))


def test_a_name_that_leads_near_when_it_is_used_gets_nothing(
    serve: Serve, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", tls=trusted.town())
    everywhere(server, monkeypatch)
    network = account()
    network.welcome(subscription())
    with pytest.raises(TryLater, match=r"push\.example: its address is not a public one"):
        network.publish(POST)
    assert server.connections == 0


def test_the_operators_own_services_may_be_near(service: PushService) -> None:
    near = Browser().subscription(service.origin)
    assert account(service).welcome(near)
    with pytest.raises(ValueError, match="push service"):
        account().welcome(near)


def test_nothing_that_is_kept_tells_where_somebody_is(
    network: WebPush, service: PushService
) -> None:
    [browser] = join(network, service, "a")
    made = browser.subscription(service.origin)
    [(name, kept)] = them(network).them.items()
    for secret in (made["endpoint"], browser.path, made["keys"]["auth"], made["keys"]["p256dh"]):
        assert secret not in name + kept.sealed
    assert made["endpoint"].encode() not in base64.urlsafe_b64decode(kept.sealed)
    network.part_with(made["endpoint"])
    network.part_with(made["endpoint"])
    network.part_with("\ud800")
    assert them(network).count() == 0


def test_who_subscribed_with_another_key_is_not_asked(
    network: WebPush, service: PushService
) -> None:
    join(network, service, "a")
    other = account(service, private_key=key("another"))
    other.keep_subscribers_in(them(network))
    with pytest.raises(Refused, match="subscribed with another key"):
        other.publish(POST)
    assert service.asked == []
    network.publish(NEXT)
    assert len(service.pushes) == 1


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webpush, "MOST", 1)
    network = account()
    assert network.welcome(subscription())
    assert network.welcome(subscription())
    assert not network.welcome(subscription(f"{HERE}/b"))


# Settings


@pytest.mark.parametrize("made", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_is_what_openssl_makes(made: Callable[[bytes], bytes]) -> None:
    """`openssl rand -base64 32`: any 32 bytes are a key of this curve, but for one in 4 billion."""
    text = made(b"\xfb\xff" + os.urandom(30)).decode()
    assert account(private_key=text).public_key == account(private_key=text.rstrip("=")).public_key


@pytest.mark.parametrize(
    "text", ["", "hush", "a" * 42, "a" * 44, "a" * 42 + "!", coded(bytes(32)), coded(b"\xff" * 32)]
)
def test_what_is_no_key_is_said_without_showing_it(text: str) -> None:
    with pytest.raises(ValidationError, match=r"must be 32 bytes|is no key") as problem:
        account(private_key=text)
    assert not text or text not in str(problem.value)


@pytest.mark.parametrize("contact", ["", "me", "me@example.org", "http://example.org", "mailto:"])
def test_a_contact_is_one_that_push_services_take(contact: str) -> None:
    with pytest.raises(ValidationError, match="must be mailto"):
        account(contact=contact)


@pytest.mark.parametrize(
    "services", ["push.lan", "http://push.example", "https://push.example/path", "ftp://push.lan"]
)
def test_a_service_of_ones_own_is_an_address(services: str) -> None:
    with pytest.raises(ValidationError):
        account(services=services)


def test_it_is_on_when_there_is_a_key() -> None:
    with pytest.raises(SettingsError, match="WEBPUSH_CONTACT is missing"):
        wiring.read({"WEBPUSH_PRIVATE_KEY": key("a")})
    assert not wiring.read({"WEBPUSH_CONTACT": CONTACT}).destinations


def test_alerts_do_not_go_where_anybody_may_listen() -> None:
    given = {"WEBPUSH_PRIVATE_KEY": key("a"), "WEBPUSH_CONTACT": CONTACT}
    with pytest.raises(SettingsError, match="anybody may subscribe"):
        wiring.read({**given, "ANNOUNCER_ALERTS": "webpush"})


def test_a_check_counts_them(network: WebPush, service: PushService) -> None:
    assert network.check().notes == ("nobody has subscribed yet: link to the page /push",)
    join(network, service, "a", "b")
    assert network.check().handle == "2 subscribed"
    assert service.asked == []
