"""A real XMPP server with rooms (Prosody), and what a second occupant of a room sees there."""

import asyncio
import secrets
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from threading import Thread
from typing import Any, TypeVar

from slixmpp import JID, ClientXMPP
from slixmpp.stanza import Message as Stanza

from tests.rogue import Authority
from tests.servers import Program, answers, free_port, program

SECONDS = 10.0
_HOST = "localhost"
_ROOMS = f"rooms.{_HOST}"
_SETTINGS = Template("""
pidfile = "$folder/prosody.pid"
data_path = "$folder/data"
certificates = "$folder"
ssl = { certificate = "$certificate", key = "$certificate" }
run_as_root = true -- if root we are: else it refuses
interfaces = { "127.0.0.1" }
c2s_ports = { $plain }
c2s_direct_tls_ports = { $tls }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping" }
modules_disabled = { "s2s" }
c2s_require_encryption = true
authentication = "internal_plain"
storage = "internal"
log = { info = "*console" }
VirtualHost "$host"
Component "$rooms" "muc"
modules_enabled = { "muc_mam" }
muc_room_locking = false
muc_log_by_default = true
""")

Result = TypeVar("Result")


@dataclass(frozen=True)
class RoomMessage:
    """A message as it stands in a room now: with its last correction, if there was one."""

    id: str
    nick: str
    body: str
    links: tuple[str, ...]
    """Of out-of-band data, which apps show as pictures or cards."""
    corrected: bool = False


class Occupant:
    """Somebody in a room, in a thread of its own, who keeps every message that comes."""

    def __init__(self, port: int, authority: Path, user: str, password: str, room: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._room = room
        self._heard: list[Stanza] = []
        try:
            self._do(self._enter(port, authority, user, password))
        except BaseException:  # whatever it is: the thread must not stay behind
            self._end()
            raise

    def heard(self) -> list[Stanza]:
        """What was said in the room until now, oldest first."""
        self._do(self._ping())  # its answer comes after all that came before
        return list(self._heard)

    def archive(self) -> list[Stanza]:
        """What the room keeps for those who come later, oldest first."""
        return self._do(self._read_archive())

    def leave(self) -> None:
        self._do(self._disconnect())
        self._end()

    def _do(self, what: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(SECONDS)

    def _end(self) -> None:
        self._do(self._cancel_all())  # the library leaves a task behind
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    async def _enter(self, port: int, authority: Path, user: str, password: str) -> None:
        trusting = ssl.create_default_context(cafile=authority)
        self._client = ClientXMPP(user, password, ssl_context=trusting)
        self._client.enable_direct_tls = False
        for plugin in ("xep_0045", "xep_0066", "xep_0199", "xep_0313"):
            self._client.register_plugin(plugin)
        self._client.add_event_handler("groupchat_message", self._heard.append)
        self._client.connect("127.0.0.1", port)
        await self._client.wait_until("session_start", SECONDS)
        self._client.send_presence()
        await self._client.plugin["xep_0045"].join_muc_wait(JID(self._room), "reader")

    async def _ping(self) -> None:
        await self._client.plugin["xep_0199"].ping(JID(_HOST))

    async def _read_archive(self) -> list[Stanza]:
        found = self._client.plugin["xep_0313"].iterate(JID(self._room))
        return [one["mam_result"]["forwarded"]["stanza"] async for one in found]

    async def _cancel_all(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _disconnect(self) -> None:
        await self._client.disconnect()


@dataclass(frozen=True)
class XmppRoom:
    """A room of its own for one test, with a reader in it. *user* may enter."""

    host: str
    port: int
    """Where STARTTLS is offered, and demanded."""
    tls_port: int
    authority: Path
    """The certificate to trust."""
    room: str
    user: str
    password: str = field(repr=False)
    reader: Occupant = field(repr=False)

    def messages(self) -> list[RoomMessage]:
        """What the reader's app shows, oldest first, with corrections applied."""
        return _shown(self.reader.heard())

    def archive(self) -> list[RoomMessage]:
        """The same for somebody who comes later."""
        return _shown(self.reader.archive())


class Prosody:
    """The server, running from construction until `stop`. Raises NotInstalledError."""

    def __init__(self, folder: Path) -> None:
        command = program("prosody")
        self._plain, self._tls = free_port(), free_port()
        self.url = f"xmpp://127.0.0.1:{self._plain}"
        authority = Authority(folder)
        self._authority = authority.file
        self._accounts = folder / "data" / _HOST / "accounts"
        self._accounts.mkdir(parents=True)
        settings = folder / "prosody.cfg.lua"
        settings.write_text(
            _SETTINGS.substitute(
                host=_HOST,
                rooms=_ROOMS,
                folder=folder,
                plain=self._plain,
                tls=self._tls,
                certificate=authority.certificate(_HOST, "127.0.0.1"),
            )
        )
        self._program = Program([command, "--config", settings, "-F"], folder)
        self._program.wait_until(lambda: answers(self._plain) and answers(self._tls))

    def new_room(self) -> XmppRoom:
        """A fresh room. Who gets it lets the *reader* leave."""
        user, password = self._new_account()
        reader, its_password = self._new_account()
        room = f"kestrel-{secrets.token_hex(4)}@{_ROOMS}"
        return XmppRoom(
            host="127.0.0.1",
            port=self._plain,
            tls_port=self._tls,
            authority=self._authority,
            room=room,
            user=user,
            password=password,
            reader=Occupant(self._plain, self._authority, reader, its_password, room),
        )

    def stop(self) -> None:
        self._program.stop()

    def _new_account(self) -> tuple[str, str]:
        """As `prosodyctl register` writes it, which takes 0.2 s for each."""
        name, password = f"kestrel{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        account = f'return {{ ["password"] = "{password}"; }};\n'
        (self._accounts / f"{name}.dat").write_text(account)
        return f"{name}@{_HOST}", password


def _shown(stanzas: list[Stanza]) -> list[RoomMessage]:
    shown: dict[str, RoomMessage] = {}
    for stanza in stanzas:
        if not stanza["body"]:
            continue
        correction = stanza.xml.find("{urn:xmpp:message-correct:0}replace")
        replaced = "" if correction is None else correction.attrib["id"]
        nick = stanza["from"].resource
        if replaced and (replaced not in shown or shown[replaced].nick != nick):
            continue
        which = replaced or stanza["id"]
        shown[which] = RoomMessage(
            id=which,
            nick=nick,
            body=stanza["body"],
            links=tuple(url.text or "" for url in stanza.xml.iter("{jabber:x:oob}url")),
            corrected=bool(replaced),
        )
    return list(shown.values())
