"""A real IRC server, and what another client in the channel hears."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from announcer import rehearsal
from announcer.contract import POST
from announcer.network import Card, Receipt, Refused, TryLater
from announcer.networks.irc import Irc
from tests.running import Service
from tests.servers.fixtures import started
from tests.servers.ngircd import IrcChannel, IrcClient, Ngircd

STREAM = "https://live.kestrel.example"
CARD = Card(STREAM, "Drawers", "", "Kestrel Workshop")
AT = datetime(2026, 11, 23, 19, 16, tzinfo=UTC)


@pytest.fixture
def service(tmp_path: Path, irc_channel: IrcChannel) -> Iterator[Service]:
    settings = {
        "IRC_SERVER": irc_channel.host,
        "IRC_PORT": str(irc_channel.port),
        "IRC_TLS": "off",
        "IRC_NICK": "kestrelbot",
        "IRC_CHANNEL": irc_channel.channel,
        "IRC_TOPIC": "on",
        "IRC_WHEN_ENDED": "post",
        "OWNCAST_URL": STREAM,
        "ANNOUNCER_PROXY": "http://127.0.0.1:9",
        "ANNOUNCER_HOLD": "0s",
        "ANNOUNCER_GRACE": "0s",
        "ANNOUNCER_POLL": "0s",
    }
    running = Service(tmp_path, settings)
    yield running
    running.stop()


def tell(service: Service, what: str, title: str = "Fitting a dovetail drawer") -> None:
    assert service.hear(rehearsal.webhook(what, title, "Kestrel Workshop")) == 204


def topics(channel: IrcChannel) -> list[str]:
    return [line.text for line in channel.lines() if line.command == "TOPIC"]


def at(there: IrcChannel, **settings: str) -> Irc:
    return Irc.model_validate(
        {
            "server": there.host,
            "port": there.port,
            "tls": "off",
            "nick": "kestrelbot",
            "channel": there.channel,
            **settings,
        }
    )


def test_an_evening_is_a_line_a_topic_and_a_line(service: Service, irc_channel: IrcChannel) -> None:
    irc_channel.reader.say(f"TOPIC {irc_channel.channel} :Woodwork")
    reader = irc_channel.reader.nick
    title = f"Drawers\r\nQUIT :bye\x0304 {reader}: @kestrel {{{{7*7}}}}"
    tell(service, "start", title)
    service.until(lambda: topics(irc_channel), "no topic")
    [said] = irc_channel.messages()
    assert said.startswith("🔴 Kestrel Workshop is live: Drawers QUIT :bye04")
    assert reader not in said
    assert reader in said.replace("\u200b", "")
    assert said.endswith(f"{{{{7*7}}}} {STREAM}")
    assert topics(irc_channel) == [f"🔴 Live: {STREAM} | Woodwork"]
    tell(service, "start", "the same again")
    tell(service, "title", "a bench")
    tell(service, "stop")
    service.until(lambda: len(irc_channel.messages()) == 2, "no word of the end")
    service.until(lambda: topics(irc_channel)[1:] == ["Woodwork"], "the topic stays")
    assert "was live" in irc_channel.messages()[1]


def test_lines_arrive_whole(irc_channel: IrcChannel) -> None:
    words = [f"wörd{number}" for number in range(130)]
    at(irc_channel).publish(replace(POST, text=" ".join(words)))
    heard = irc_channel.messages()
    assert len(heard) > 2
    assert " ".join(one.removeprefix("… ") for one in heard).split() == words


def test_a_nick_in_use_is_no_hindrance(irc_channel: IrcChannel) -> None:
    with closing(IrcClient(irc_channel.port, "kestrelbot")):
        at(irc_channel).publish(POST)
    assert [line.nick for line in irc_channel.lines() if line.command == "PRIVMSG"] == [
        "kestrelbot_"
    ]


@pytest.mark.parametrize(
    ("mode", "error", "closes"),
    [
        pytest.param("+m", "404", False, id="moderated"),
        pytest.param("+k secret", "475", True, id="with a key"),
        pytest.param("+i", "473", False, id="by invitation"),
        pytest.param("+b *!*@*", "474", True, id="banned"),
    ],
)
def test_a_channel_that_does_not_want_us_says_so(
    irc_channel: IrcChannel, mode: str, error: str, *, closes: bool
) -> None:
    irc_channel.demand(mode)
    with pytest.raises(Refused, match=error) as refusal:
        at(irc_channel).publish(POST)
    assert refusal.value.closes is closes
    assert irc_channel.messages() == []


def test_a_channel_that_is_full_is_tried_again(irc_channel: IrcChannel) -> None:
    irc_channel.demand("+l 1")
    with pytest.raises(TryLater, match="471"):
        at(irc_channel).publish(POST)


def test_the_key_of_a_channel_opens_it(irc_channel: IrcChannel) -> None:
    irc_channel.demand("+k secret")
    at(irc_channel, channel_key="secret").publish(POST)
    assert irc_channel.messages() == [POST.text]


def test_a_topic_that_only_operators_change_is_refused(irc_channel: IrcChannel) -> None:
    irc_channel.demand("+t")
    with pytest.raises(Refused, match="482"):
        at(irc_channel).shine(Receipt("7"), CARD, AT, again=False)


def test_e09_tls_holds_or_nothing_is_said(
    irc_channel: IrcChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure = at(irc_channel, tls="on", port=str(irc_channel.tls_port))
    with pytest.raises(TryLater, match="certificate"):
        secure.publish(POST)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(irc_channel.authority))
    secure.publish(POST)
    assert irc_channel.messages() == [POST.text]


def test_a_server_without_sasl_is_told(irc_channel: IrcChannel) -> None:
    with pytest.raises(Refused, match="IRC_LOGIN"):
        at(irc_channel, password="secret").check()


def test_a_server_with_a_password(tmp_path: Path) -> None:
    server = started(lambda folder: Ngircd(folder, password="secret"), tmp_path)
    channel = server.new_channel()
    try:
        at(channel, password="secret", login="server").publish(POST)
        assert channel.messages() == [POST.text]
        with pytest.raises(Refused) as refusal:
            at(channel, password="wrong", login="server").publish(POST)
        assert refusal.value.closes
    finally:
        channel.reader.close()
        server.stop()
