"""XMPP, also called Jabber: a room where people chat.

Sources: RFC 6120 (4.9.3 stream errors, 6.5 SASL errors, 8.3 stanza errors), XEP-0045 (rooms),
XEP-0308 (correction), XEP-0313 (archive), XEP-0359 (ids), XEP-0393 (styling), XEP-0424
(retraction), and slixmpp 1.17 xmlstream.py, clientxmpp.py and plugins/xep_0045.
"""

import asyncio
import hashlib
import logging
import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from slixmpp import JID, ClientXMPP, InvalidJID, Message, Presence
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    DeliveryError,
    Finds,
    Network,
    Post,
    Receipt,
    Refused,
    Removes,
    Repeat,
    Revises,
    TryLater,
    break_mentions,
)
from announcer.settings import is_private, setting

Result = TypeVar("Result")

CLOCKS = timedelta(minutes=10)
"""How far the server's clock may be behind ours."""
PAGE = 100
"""Messages of the archive that are asked for at once."""
SAFE = frozenset({"PLAIN", *(f"SCRAM-SHA-{n}{p}" for n in (1, 256, 512) for p in ("", "-PLUS"))})
"""PLAIN over TLS only; the older ones, and to be let in without a name, are not wanted at all."""

_CREATED = 201
_OURSELVES = 110
_ORIGIN, _STANZA = "{urn:xmpp:sid:0}origin-id", "{urn:xmpp:sid:0}stanza-id"
_REPLACE = "{urn:xmpp:message-correct:0}replace"
_RETRACT = "{urn:xmpp:message-retract:1}retract"
_FALLBACK, _STORE = "{urn:xmpp:fallback:0}fallback", "{urn:xmpp:hints}store"
_ARCHIVE, _FIN = "urn:xmpp:mam:2", "{urn:xmpp:mam:2}fin"
_CONDITION = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to say; the server would end the connection."""
_STYLE = re.compile(r"(?<![^\W_])[*_~`>]")
"""Where a span or a quotation of XEP-0393 could begin: never behind a letter or digit."""

# It logs what it sends at DEBUG, the password too, and at ERROR what it could not read. Whatever it
# is, it ends the connection, and we say so.
logging.getLogger("slixmpp").setLevel(logging.CRITICAL)


class Xmpp(Network, Finds, Revises, Removes):
    """Posts to a room of XMPP, which is also called Jabber.

    1. Make an account for the announcements, at any XMPP server. Set `XMPP_JID` to its address,
       such as `announcer@example.org`, and `XMPP_PASSWORD` to its password.
    2. Set `XMPP_ROOM` to the address of the room, such as `kestrel@rooms.example.org`. The room has
       to be there already. Where only members may enter, make the account a member; where only
       some may speak, give it voice.
    3. Set `XMPP_NICKNAME` to what the announcements are signed with in the room.
    4. If your server is reached under another name than the one in the address, which its
       documentation tells (an SRV record), set `XMPP_HOST` to it, and `XMPP_PORT`, too.

    The account enters the room, speaks and leaves again. Readers' apps show the end of the stream
    in place of the start; some old ones show it below. Let the room keep an archive (MAM), as most
    do: then it can be looked up whether a message got there before a connection broke.
    """

    name = "xmpp"
    title = "XMPP"
    repeat = Repeat.FINDABLE
    ends_by = "edit"
    shows_pictures = False
    unit = "characters"
    usual_limit = 3000  # ours: servers take 10 kB at least, with all that is around it
    switched_on_by = ("jid",)

    jid: str = setting("Address of the account, such as `announcer@example.org`.")
    password: SecretStr = setting("Its password.")
    room: str = setting("Address of the room, such as `kestrel@rooms.example.org`.")
    nickname: str = setting("Its name in the room.", default="Announcer")
    host: str = setting(
        "Name of the server, if it is not the one in the account's address.", default=""
    )
    port: int = Field(default=5222, ge=1, le=65535, description="Its port.")
    tls: Literal["starttls", "direct", "off"] = setting(
        "`starttls` as on port 5222, `direct` as on port 5223. `off` speaks without encryption, in "
        "your own network only.",
        default="starttls",
    )

    @field_validator("jid", "room")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        try:
            parsed = JID(address.removeprefix("xmpp:"))
        except InvalidJID:
            parsed = JID()
        if not parsed.user or not parsed.domain:
            raise ValueError("must be an address such as name@example.org")
        return parsed.bare

    @field_validator("nickname")
    @classmethod
    def _is_a_nickname(cls, nickname: str) -> str:
        try:
            return JID(f"a@b/{nickname}").resource or "Announcer"
        except InvalidJID:
            raise ValueError("must be a plain name") from None

    @field_validator("tls")
    @classmethod
    def _is_not_overheard(cls, tls: str, others: ValidationInfo) -> str:
        host = others.data.get("host") or JID(others.data.get("jid")).domain
        if tls == "off" and not is_private(host):
            raise ValueError("can not be off: it would be overheard outside your own network")
        return tls

    def publish(self, post: Post) -> Receipt:
        async def tell(guest: _Guest) -> Receipt:
            ours = self._id(post.wire_key)
            archived = await guest.says(ours, post.text)
            note = "" if guest.nick == self.nickname else f"as {guest.nick}: its name is taken"
            return self._receipt(ours, archived, guest.nick, note)

        return self._visit(tell, self.nickname, f"{self.nickname} (live)")

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        async def correct(guest: _Guest) -> Receipt:
            # Another one for every change: an app may drop what has an id that it has seen.
            ours = self._id(f"{receipt.id} {post.worded_at.isoformat()} {post.text}")
            await guest.says(ours, post.text, ET.Element(_REPLACE, {"id": receipt.id}))
            return receipt

        return self._visit(correct, self._nick_of(receipt))

    def remove(self, receipt: Receipt) -> None:
        async def retract(guest: _Guest) -> None:
            await guest.says(
                self._id(f"{receipt.id} retracted"),
                "This message was taken back.",  # for apps that do not know how to
                ET.Element(_RETRACT, {"id": receipt.extra.get("archived") or receipt.id}),
                ET.Element(_FALLBACK, {"for": "urn:xmpp:message-retract:1"}),
                ET.Element(_STORE),
            )

        self._visit(retract, self._nick_of(receipt))

    def find(self, post: Post) -> Receipt | None:
        async def look(guest: _Guest) -> Receipt | None:
            if not await guest.is_archived():
                raise Refused("may be posted, and the room keeps no archive to look it up")
            ours = self._id(post.wire_key)
            found = await guest.recalls(ours, (post.doubtful_since or post.worded_at) - CLOCKS)
            return self._receipt(ours, *found) if found else None

        with wire.nothing_posted():
            return self._visit(look, self.nickname, f"{self.nickname} (live)")

    def check(self) -> Account:
        async def look(guest: _Guest) -> Account:
            notes = []
            if guest.nick != self.nickname:
                notes.append(f"the nickname {self.nickname} is taken in the room")
            if not await guest.is_archived():
                notes.append(
                    "the room keeps no archive: after a broken connection nobody can look whether "
                    "a message is up"
                )
            return Account(f"{guest.nick} in {self.room}", self._address, tuple(notes))

        with wire.nothing_posted():
            return self._visit(look, self.nickname, f"{self.nickname} (live)")

    def measure(self, text: str) -> int:
        return len(text)

    def escape(self, text: str) -> str:
        """A nickname in it lights up for whoever bears it, with or without an @: that is beyond us,
        as apps look for their own.
        """
        text = break_mentions(_FORBIDDEN.sub("", text))
        return _STYLE.sub(lambda sign: ZERO_WIDTH_SPACE + sign[0], text)

    @property
    def _address(self) -> str:
        return f"xmpp:{self.room}?join"

    def _receipt(self, ours: str, archived: str, nick: str, note: str = "") -> Receipt:
        return Receipt(ours, self._address, {"nick": nick, "archived": archived}, note)

    def _nick_of(self, receipt: Receipt) -> str:
        """An app believes a correction only from the one who said what it corrects."""
        return receipt.extra.get("nick", self.nickname)

    def _id(self, what: str) -> str:
        """The same after a restart, and after a change of the password. Nobody guesses it: a key
        has the id of its broadcast in it.
        """
        return hashlib.sha256(f"{self.jid} {self.room} {what}".encode()).hexdigest()[:32]

    def _visit(self, what: Callable[["_Guest"], Awaitable[Result]], *nicks: str) -> Result:
        """What *what* gives, in the room under the first of *nicks* that is free."""

        async def visit() -> Result:
            guest = _Guest(line, loop, self)
            try:
                await guest.logs_in()
                await guest.enters(nicks)
                return await what(guest)
            finally:
                await guest.goes()

        host = self.host or JID(self.jid).domain
        with wire.conversation(host, self.port) as line:
            loop = _Loop(line.sock)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                return runner.run(visit())


class _Loop(asyncio.SelectorEventLoop):
    """Of our own thread, with one connection: the socket that it was given. What the library would
    like to open besides, it does not get.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._given: socket.socket | None = sock
        self.problem: OSError | None = None
        """Why there is no secure connection; the library is told of its end before that."""
        self.set_exception_handler(lambda *_: None)  # whatever it is, it ends the connection

    async def create_connection(self, factory: Any, *_: Any, **how: Any) -> Any:  # type: ignore[override]  # all that the library asks for
        sock, self._given = self._given, None
        if sock is None:
            raise ConnectionError("the one connection is over")
        return await super().create_connection(factory, sock=sock, **how)

    async def start_tls(self, *what: Any, **how: Any) -> Any:
        try:
            return await super().start_tls(*what, **how)
        except OSError as problem:
            self.problem = problem
            raise

    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        raise ConnectionError("names are looked up at the door")


class _Guest:
    """The account, from the first byte to the last, at most in one room."""

    nick = ""

    def __init__(self, line: wire.Line, loop: "_Loop", account: Xmpp) -> None:
        self._line, self._tls = line, account.tls
        self._room = JID(account.room)
        self._ended: asyncio.Future[Exception] = loop.create_future()
        self._refusals: list[str] = []
        self._client = client = ClientXMPP(
            account.jid,
            account.password.get_secret_value(),
            ssl_context=wire.tls(),  # it checks the certificate for the domain of the address
            plugin_config={
                "feature_mechanisms": {
                    "use_mechs": set(SAFE),
                    "unencrypted_plain": self._tls == "off",
                    "unencrypted_scram": self._tls == "off",
                }
            },
        )
        client.enable_starttls = self._tls == "starttls"
        client.enable_direct_tls = self._tls == "direct"
        client.enable_plaintext = self._tls == "off"
        client.whitespace_keepalive = False
        for plugin in ("xep_0030", "xep_0045", "xep_0313"):
            client.register_plugin(plugin)
        client.add_event_handler("connection_failed", self._is_lost)
        client.add_event_handler("disconnected", lambda _: self._is_lost(loop.problem))
        client.add_event_handler("stream_error", self._is_sent_away)
        client.add_event_handler(
            "failed_auth", lambda failure: self._refusals.append(failure["condition"])
        )
        client.add_event_handler("failed_all_auth", lambda _: self._is_locked_out())

    async def logs_in(self) -> None:
        started = asyncio.get_running_loop().create_future()
        self._client.add_event_handler("session_start", started.set_result)
        self._client.connect("given", 1)  # the socket is there
        await self._hears(started)

    async def enters(self, nicks: tuple[str, ...]) -> None:
        """As the first of *nicks* that nobody else has."""
        for nick in nicks:
            entry = self._client.plugin["xep_0045"].make_join_stanza(self._room, nick, maxstanzas=0)
            with self._listening("presence", _is_about_us) as answered:
                entry.send()
                presence = await self._hears(answered)
            if presence["type"] != "error":
                break
            if _condition(presence) != "conflict" or nick == nicks[-1]:
                raise _turned_away(presence)
        self.nick = presence["from"].resource
        if _CREATED in presence["muc"]["status_codes"]:  # and is gone when we leave it
            raise Refused("there is no such room: is XMPP_ROOM right?", closes=True)
        if presence["muc"]["role"] == "visitor":
            raise Refused("we have no voice in the room", closes=True)

    async def says(self, ours: str, text: str, *more: ET.Element) -> str:
        """The room's own id of it, empty if it has none. Returns once the room has sent it to all,
        and so to us, too.
        """
        message = self._client.make_message(
            self._room, mbody=_FORBIDDEN.sub("", text), mtype="groupchat"
        )
        message["id"] = ours
        message.xml.append(ET.Element(_ORIGIN, {"id": ours}))
        message.xml.extend(more)
        with self._listening("message", lambda heard: ours in _ids(heard)) as answered:
            self._line.leaves()
            message.send()
            echo = await self._hears(answered)
        self._line.answered()
        if echo["type"] == "error":
            raise _refusal(echo)
        return next(
            (
                one.attrib.get("id", "")
                for one in echo.xml.findall(_STANZA)
                if one.attrib.get("by") == self._room.bare
            ),
            "",
        )

    async def is_archived(self) -> bool:
        try:
            info = await self._hears(self._client.plugin["xep_0030"].get_info(jid=self._room))
        except IqError as problem:
            raise _refusal(problem.iq) from None
        return _ARCHIVE in info["disco_info"]["features"]

    async def recalls(self, ours: str, since: Any) -> tuple[str, str] | None:
        """The room's own id of the message with our id *ours*, and under which name we said it."""

        page: dict[str, Any] = {"max": PAGE}
        while True:
            # The library's own way through the pages takes a refusal for the end of them.
            asked = self._client.plugin["xep_0313"].retrieve(self._room, start=since, rsm=page)
            try:
                answer = await self._hears(asked)
            except IqError as problem:
                raise _refusal(problem.iq) from None
            for one in answer["mam"]["results"]:
                message = one["mam_result"]["forwarded"]["stanza"]
                if ours in _ids(message):
                    return one["mam_result"]["id"], message["from"].resource
            end = answer.xml.find(_FIN)
            last = answer["mam_fin"]["rsm"]["last"]
            if end is None or not (last or end.attrib.get("complete") == "true"):
                raise TryLater("the room's archive does not say whether that was all")
            if end.attrib.get("complete") == "true":
                return None
            page["after"] = last

    async def goes(self) -> None:
        """Nothing of it is left behind: the loop ends with this try."""
        over = self._client.disconnected
        if self._client.is_connected():
            if not self._ended.done():
                self._client.send_raw(self._client.stream_footer)
            self._client.abort()
            await asyncio.wait([over], timeout=1)

    async def _hears(self, wanted: Awaitable[Result]) -> Result:
        """What *wanted* gives, unless the connection ends first."""
        task = asyncio.ensure_future(wanted)
        either: list[asyncio.Future[Any]] = [task, self._ended]
        await asyncio.wait(either, timeout=wire.READ, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        raise self._ended.result() if self._ended.done() else TimeoutError

    @contextmanager
    def _listening(
        self, kind: str, wanted: Callable[[Any], bool]
    ) -> Iterator["asyncio.Future[Any]"]:
        """For the first stanza of that *kind* that comes from the room and is *wanted*."""
        answered = asyncio.get_running_loop().create_future()

        def hear(stanza: Any) -> None:
            ours = stanza["from"].bare == self._room.bare
            if ours and not answered.done() and wanted(stanza):
                answered.set_result(stanza)

        path = MatchXPath(f"{{{self._client.default_ns}}}{kind}")
        self._client.register_handler(Callback("listening", path, hear))
        try:
            yield answered
        finally:
            self._client.remove_handler("listening")

    def _is_lost(self, why: object) -> None:
        self._ends(why if isinstance(why, OSError) else EOFError())

    def _ends(self, why: Exception) -> None:
        if not self._ended.done():
            self._ended.set_result(why)

    def _is_sent_away(self, error: Any) -> None:
        condition = error["condition"]
        reason = f"the server says: {_told(condition, error['text'])}"
        if condition in ("host-unknown", "host-gone"):
            self._ends(Refused(f"{reason}: is XMPP_HOST right?", closes=True))
        elif condition == "see-other-host":
            self._ends(Refused(f"{reason}: set XMPP_HOST to where it is"))
        else:
            self._ends(self._line.broke(reason))

    def _is_locked_out(self) -> None:
        if self._tls == "starttls" and "starttls" not in self._client.features:
            self._ends(self._line.broke("no secure connection: it offers no TLS"))
        elif "temporary-auth-failure" in self._refusals:
            self._ends(TryLater("the server says: temporary-auth-failure"))
        else:
            why = self._refusals[-1] if self._refusals else "no way to log in that is safe"
            self._ends(Refused(f"the server refuses our login: {wire.plain(why)}", closes=True))


def _is_about_us(presence: Presence) -> bool:
    return presence["type"] == "error" or _OURSELVES in presence["muc"]["status_codes"]


def _ids(message: Message) -> set[str]:
    """Old rooms give a message an id of their own and leave what is inside as it is."""
    origin = message.xml.find(_ORIGIN)
    return {message["id"], "" if origin is None else origin.attrib.get("id", "")}


_AT_THE_DOOR = {
    "not-authorized": "the room wants a password",
    "forbidden": "we are banned from the room",
    "registration-required": "only members may enter the room",
    "item-not-found": "there is no such room: is XMPP_ROOM right?",
    "not-allowed": "there is no such room, or nobody may make it",
    "gone": "the room has moved or is gone",
    "not-acceptable": "the room wants another nickname",
    "jid-malformed": "the room wants another nickname",
}
"""XEP-0045, 7.2: why one is not let in, until something is set right."""
_PASSES = frozenset({"conflict", "service-unavailable", "remote-server-not-found"})
"""The nickname is taken, the room is full, and servers do not find each other for a while: of a
type that would be for ever.
"""


def _turned_away(presence: Presence) -> DeliveryError:
    """The error that it means not to be let into the room."""
    condition = _condition(presence)
    if condition == "conflict":
        return TryLater("our nickname is taken in the room")
    if why := _AT_THE_DOOR.get(condition):
        return Refused(f"{why} ({_told(condition, presence['error']['text'])})", closes=True)
    return _refusal(presence)


def _refusal(stanza: Any) -> DeliveryError:
    """The error that a stanza error means (RFC 6120, 8.3.2)."""
    condition, kind = _condition(stanza), stanza["error"]["type"]
    reason = f"the room says: {_told(condition, stanza['error']['text'])}"
    if kind == "wait" or condition in _PASSES:
        return TryLater(reason)
    return Refused(reason, closes=kind == "auth")


def _condition(stanza: Any) -> str:
    """The library knows those of RFC 3920 only, and not `policy-violation`."""
    names = (
        one.tag.removeprefix(_CONDITION)
        for one in stanza["error"].xml
        if one.tag.startswith(_CONDITION)
    )
    return next((name for name in names if name != "text"), "an error without a name")


def _told(condition: str, text: str) -> str:
    return wire.plain(f"{condition}: {text}" if text else condition)
