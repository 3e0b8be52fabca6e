"""The real servers beyond HTTP take a post from a plain client, and show it to a stranger."""

import asyncio
import hashlib
import json
import smtplib
import ssl
import time
from contextlib import closing
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import paho.mqtt.publish as mqtt
import pytest
from coincurve import PrivateKey
from paho.mqtt import MQTTException
from slixmpp import JID, ClientXMPP
from websockets.sync.client import connect

from tests.rogue import Authority
from tests.servers.fixtures import started
from tests.servers.mosquitto import MqttTopic
from tests.servers.ngircd import IrcChannel, IrcClient, Ngircd
from tests.servers.nostr import NostrRelay
from tests.servers.prosody import XmppRoom
from tests.servers.smtp import MailServer

SECONDS = 10.0


def publish(to: MqttTopic, topic: str, state: bytes, *, retain: bool, tls: bool = False) -> None:
    mqtt.single(
        topic,
        state,
        qos=1,
        retain=retain,
        hostname=to.host,
        port=to.tls_port if tls else to.port,
        auth={"username": to.user, "password": to.password},
        tls={"ca_certs": str(to.authority)} if tls else None,
    )


def test_mqtt_gives_a_late_subscriber_the_retained_state(mqtt_topic: MqttTopic) -> None:
    assert mqtt_topic.retained() == {}
    state = f"{mqtt_topic.topic}/live"
    publish(mqtt_topic, state, b"on", retain=True)
    publish(mqtt_topic, f"{mqtt_topic.topic}/event", b"started", retain=False)
    publish(mqtt_topic, "secret/live", b"on", retain=True)
    publish(mqtt_topic, state, b"off", retain=True, tls=True)

    assert mqtt_topic.retained() == {state: b"off"}
    assert mqtt_topic.retained("secret") == {}


def test_mqtt_refuses_a_wrong_password(mqtt_topic: MqttTopic) -> None:
    stranger = replace(mqtt_topic, password="wrong")
    with pytest.raises(MQTTException, match="Not authorized"):
        publish(stranger, mqtt_topic.topic, b"on", retain=True)


def test_an_irc_channel_tells_another_client_what_was_said(irc_channel: IrcChannel) -> None:
    trusting = ssl.create_default_context(cafile=irc_channel.authority)
    for port, tls in ((irc_channel.port, None), (irc_channel.tls_port, trusting)):
        with closing(IrcClient(port, "kestrel", tls=tls)) as client:
            client.say(f"JOIN {irc_channel.channel}", f"PRIVMSG {irc_channel.channel} :Live: now")
            client.say("PING :done")
            client.until("PONG")
            client.say("QUIT")
            client.until("ERROR")

    told = [(line.nick, line.command) for line in irc_channel.lines()]
    assert told == [("kestrel", what) for what in ("JOIN", "PRIVMSG", "QUIT")] * 2
    assert irc_channel.messages() == ["Live: now"] * 2


def test_an_irc_channel_may_be_closed(irc_channel: IrcChannel) -> None:
    irc_channel.demand("+k secret")
    with closing(IrcClient(irc_channel.port, "kestrel")) as client:
        client.say(f"JOIN {irc_channel.channel}")
        assert "(+k)" in client.until("475")[-1]
    assert irc_channel.lines() == []


def test_an_irc_server_may_ask_for_a_password(tmp_path: Path) -> None:
    server = started(lambda folder: Ngircd(folder, password="secret"), tmp_path)
    channel = server.new_channel()
    with pytest.raises(ConnectionError):
        IrcClient(channel.port, "kestrel", "wrong")
    IrcClient(channel.port, "kestrel", channel.password).close()
    channel.reader.close()
    server.stop()


async def tell(room: XmppRoom, *messages: dict[str, str]) -> None:
    """Each is said once the room has taken the one before."""
    trusting = ssl.create_default_context(cafile=room.authority)
    client = ClientXMPP(room.user, room.password, ssl_context=trusting)
    for plugin in ("xep_0045", "xep_0066", "xep_0308"):
        client.register_plugin(plugin)
    client.connect(room.host, room.port)
    await client.wait_until("session_start", SECONDS)
    client.send_presence()
    await client.plugin["xep_0045"].join_muc_wait(JID(room.room), "kestrel")
    for said in messages:
        message = client.make_message(JID(room.room), mbody=said["body"], mtype="groupchat")
        message["id"] = said["id"]
        if "link" in said:
            message["oob"]["url"] = said["link"]
        if "replaces" in said:
            message["replace"]["id"] = said["replaces"]
        message.send()
        await client.wait_until("groupchat_message", SECONDS)
    await client.disconnect()


def test_an_xmpp_room_shows_its_messages_corrected_now_and_later(xmpp_room: XmppRoom) -> None:
    live = {"id": "first", "body": "Live", "link": "https://live.example.test/"}
    asyncio.run(tell(xmpp_room, live))
    [message] = xmpp_room.messages()
    assert (message.nick, message.body) == ("kestrel", "Live")
    assert message.links == ("https://live.example.test/",)

    asyncio.run(tell(xmpp_room, {"id": "second", "body": "Ended", "replaces": "first"}))
    [message] = xmpp_room.messages()
    assert (message.id, message.body, message.corrected) == ("first", "Ended", True)
    assert xmpp_room.archive() == [message]


def public(key: PrivateKey) -> str:
    return key.public_key.format(compressed=True)[1:].hex()


def signed(key: PrivateKey, kind: int, text: str, *tags: list[str], at: int) -> dict[str, Any]:
    what = [0, public(key), at, kind, tags, text]
    seal = hashlib.sha256(json.dumps(what, separators=(",", ":"), ensure_ascii=False).encode())
    return {
        "id": seal.hexdigest(),
        "pubkey": public(key),
        "created_at": at,
        "kind": kind,
        "tags": list(tags),
        "content": text,
        "sig": key.sign_schnorr(seal.digest()).hex(),
    }


def to_relay(relay: NostrRelay, *events: dict[str, Any]) -> list[tuple[bool, str]]:
    """What the relay says to each: whether it takes it, and why not."""
    said = []
    with connect(relay.url) as client:
        for event in events:
            client.send(json.dumps(["EVENT", event]))
            _, _, taken, why = json.loads(client.recv(SECONDS))
            said.append((taken, why))
    return said


def test_a_nostr_relay_gives_a_reader_what_it_holds(nostr_relay: NostrRelay) -> None:
    key, now = PrivateKey(), int(time.time())
    note = signed(key, 1, "Live: now", ["t", "owncast"], at=now)
    stream = [
        signed(key, 30311, "", ["d", "it"], ["status", is_], at=at)
        for is_, at in (("live", now), ("ended", now + 1))
    ]
    slip = signed(key, 1, "a slip", at=now)
    gone = signed(key, 5, "", ["e", slip["id"]], at=now + 1)

    assert to_relay(nostr_relay, note, *stream, slip, gone) == [(True, "")] * 5
    assert nostr_relay.events(author=public(key), kinds=[1]) == [note]
    assert nostr_relay.events(author=public(key), kinds=[30311]) == [stream[1]]
    assert nostr_relay.events(author=public(PrivateKey())) == []


def test_a_nostr_relay_knows_what_it_has(nostr_relay: NostrRelay) -> None:
    note = signed(PrivateKey(), 1, "Live", at=int(time.time()))
    _, (taken, why) = to_relay(nostr_relay, note, note)
    assert (taken, why.partition(":")[0]) == (False, "duplicate")


def test_a_nostr_relay_may_limit_its_writers(tmp_path: Path) -> None:
    limits = {"rate_limits": {"ip": {"EVENT": "1/hour"}}}
    server = started(lambda folder: NostrRelay(folder, limits), tmp_path)
    now = int(time.time())
    first, second = to_relay(server, *(signed(PrivateKey(), 1, "Live", at=now) for _ in "12"))
    server.stop()
    assert first == (True, "")
    assert second[1].startswith("rate-limited:")


def send(server: MailServer, *recipients: str, password: str = "", tls: bool = True) -> object:
    """What smtplib tells of recipients who were refused. Raises what it raises."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = (
        "kestrel@example.test",
        ", ".join(recipients),
        "● Live",
    )
    mail.set_content("Live: now")
    mail.add_alternative("<p>Live: <b>now</b></p>", subtype="html")
    trusting = ssl.create_default_context(cafile=server.authority.file)
    with (
        smtplib.SMTP_SSL(server.host, server.port, context=trusting, timeout=SECONDS)
        if server.tls_from_the_start
        else smtplib.SMTP(server.host, server.port, timeout=SECONDS)
    ) as client:
        if tls and not server.tls_from_the_start:
            client.starttls(context=trusting)
        client.login(server.user, password or server.password)
        return client.send_message(mail)


def test_a_mail_server_keeps_mails_for_whom_it_took_them(mail_server: MailServer) -> None:
    refused = send(mail_server, "you@example.test", "nobody@example.test", "grey@example.test")
    assert refused == {
        "nobody@example.test": (550, b"5.1.1 no such user"),
        "grey@example.test": (451, b"4.7.1 greylisted, try again later"),
    }
    [mail] = mail_server.mails_to("you@example.test")
    assert mail_server.mails == [mail]
    assert (mail.message["Subject"], mail.recipients) == ("● Live", ("you@example.test",))
    assert (mail.text().strip(), mail.text("html").strip()) == (
        "Live: now",
        "<p>Live: <b>now</b></p>",
    )


def test_a_mail_server_answers_as_a_test_wants(mail_server: MailServer) -> None:
    mail_server.answers["nobody@example.test"] = "250 OK"
    mail_server.at_the_end = "552 5.3.4 too big"
    with pytest.raises(smtplib.SMTPDataError, match="too big"):
        send(mail_server, "nobody@example.test")
    assert mail_server.mails == []


def test_a_mail_server_demands_tls_and_the_right_password(mail_server: MailServer) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
        send(mail_server, "you@example.test", password="wrong")
    with pytest.raises(smtplib.SMTPException):
        send(mail_server, "you@example.test", tls=False)
    assert mail_server.mails == []


def test_a_mail_server_may_speak_tls_from_the_start(authority: Authority) -> None:
    server = MailServer(authority, tls_from_the_start=True)
    send(server, "you@example.test")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        send(server, "you@example.test", password="wrong")
    server.stop()
    assert len(server.mails) == 1
