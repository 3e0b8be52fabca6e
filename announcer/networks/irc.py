"""IRC: a few lines in a channel, and if wanted a word in its topic while the stream runs.

Sources: modern.ircdocs.horse (messages, numerics, 005), ircv3.net (capability negotiation, SASL
3.1), RFC 4616 (PLAIN); ngircd 26.1 for what a server really answers.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Literal, NamedTuple

import regex
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    Card,
    Gone,
    Network,
    Post,
    Receipt,
    Refused,
    Repeat,
    Shines,
    TryLater,
)
from announcer.settings import is_private, setting

LINE = 510
"""Bytes of a line, with all that the server puts before it when it passes it on."""
WHO = len("!~announcer@") + 63
"""Bytes of what it puts behind our nick; 63 is the longest name of a host."""
FEW = 4
"""Lines. A text of more becomes one, which is cut where it must be: nobody likes a flood."""
TOPIC = 390
"""Bytes of a topic, where the server does not say."""
NICKS = 4
"""Ours, and with up to three underscores behind it."""
PATIENCE = 2
"""A server may look for our host's name before it greets: times the usual limit in all."""
MORE = "… "
"""Before what is left of a line: no word of a title begins a message, which bots would obey."""

_NO_REFUSAL = frozenset({"421", "422", "451", "462"})
"""No such command, no message of the day, and what old servers make of CAP."""
_LATER = frozenset({"263", "437", "439", "471"})
"""Overloaded, not available for now, too fast, channel full."""
_LOCKED_OUT = frozenset({"464", "465", "474", "475", "477", "902", "904", "905", "906"})
"""A wrong password or key, banned from server or channel, not registered, and SASL's own."""
_NICK_IN_USE = frozenset({"433", "436"})
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f]")
_BROKEN_LINE = re.compile(r"[\n\r\x85\u2028\u2029]+")


class Irc(Network, Shines):
    """Says it in a channel of IRC.

    1. Choose a nick for the service, and register it, if the network has accounts: connect with any
       IRC program under that nick and write `/msg NickServ REGISTER <password> <address>`.
    2. Set `IRC_SERVER` to the network's server, such as `irc.libera.chat`, `IRC_NICK` to the nick
       and `IRC_CHANNEL` to the channel, such as `#kestrel`.
    3. Set `IRC_PASSWORD` to the password of the account (SASL). For a network without SASL set
       `IRC_LOGIN=nickserv`, for a server that itself wants a password `IRC_LOGIN=server`.
    4. If the channel lets only some people speak, give the nick voice there (`+v`).
    5. If the topic should say that you are live, set `IRC_TOPIC=on`, and let the nick change it:
       by `/msg ChanServ FLAGS <channel> <nick> +t`, or as the channel's operator.

    It joins for each announcement, and leaves again. A line of IRC can not be changed, so the end
    of the stream is told by none, unless you set `IRC_WHEN_ENDED=post`. Nobody's nick is
    highlighted by a title: who is in the channel is looked up before. In the topic your address is
    put before what is there, and only that is taken away again.
    """

    name = "irc"
    title = "IRC"
    repeat = Repeat.DOUBLES
    shows_pictures = False
    unit = "bytes"
    usual_limit = 1200  # ours: four lines or so
    switched_on_by = ("server",)

    server: str = setting("Name of the server.")
    port: int = Field(default=6697, ge=1, le=65535, description="Its port.")
    tls: Literal["on", "off"] = setting(
        "`off` speaks without encryption, in your own network only.", default="on"
    )
    nick: str = setting("The nick of the service.")
    channel: str = setting("The channel.")
    channel_key: SecretStr | None = setting("The channel's key, if it has one.", default=None)
    login: Literal["sasl", "nickserv", "server"] = setting(
        "What the password is for: the account, by SASL or told to NickServ, or the server.",
        default="sasl",
    )
    username: str = setting("Name of the account. None means the nick.", default="")
    password: SecretStr | None = setting("The password.", default=None)
    topic: Literal["on", "off"] = setting(
        "Whether the channel's topic names your stream while it runs.", default="off"
    )

    @field_validator("server")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        if not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
            raise ValueError("must be a name such as irc.libera.chat")
        return host

    @field_validator("tls")
    @classmethod
    def _is_not_overheard(cls, tls: str, others: ValidationInfo) -> str:
        if tls == "off" and not is_private(others.data.get("server", "")):
            raise ValueError("can not be off: it would be overheard outside your own network")
        return tls

    @field_validator("nick", "username")
    @classmethod
    def _is_a_nick(cls, nick: str) -> str:
        if nick and not re.fullmatch(r"[A-Za-z\[\]\\`_^{|}][\w\[\]\\`^{|}-]{0,29}", nick, re.ASCII):
            raise ValueError("must be a nick: letters, digits and _ - [ ] \\ ` ^ { | }")
        return nick

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        channel = channel if channel[:1] in ("#", "&", "+", "!") else f"#{channel}"
        if not re.fullmatch(r"[^\s,:\x00-\x1f\x7f]{2,50}", channel):
            raise ValueError("must be a channel such as #kestrel")
        return channel

    @field_validator("channel_key", "password")
    @classmethod
    def _is_one_word(cls, secret: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        said = secret.get_secret_value() if secret else ""
        if others.field_name == "channel_key" and re.search(r"[\s,]|^:", said):
            raise ValueError("must have no spaces and no commas")
        return secret

    @property
    def wants_badge(self) -> bool:
        return self.topic == "on"

    def publish(self, post: Post) -> Receipt:
        note = ""
        with self._channel() as there:
            lines = self._lines(_without_highlights(post, there.members - {there.nick}), there.nick)
            for number, one in enumerate(lines):
                try:
                    there.says(one)
                except Refused as refusal:
                    if not number:
                        raise
                    note = f"not all of it: {refusal}"
                    break
        return Receipt(post.wire_key, note=note)

    def shine(self, live: Receipt, card: Card | None, at: datetime, *, again: bool) -> None:  # noqa: ARG002  # it stays until it is taken away
        ours = _in_topic(card)
        with self._channel() as there:
            if there.topic.startswith(ours):
                return
            if again:
                raise Gone("a person changed the topic")
            topic = f"{ours} | {there.topic}" if there.topic else ours
            if len(topic.encode()) > there.room_in_topic:
                raise Refused("there is no room in the topic")
            there.sets_topic(topic)

    def dim(self, live: Receipt, card: Card | None) -> None:  # noqa: ARG002  # it is told by its words
        ours = _in_topic(card)
        with self._channel() as there:
            if there.topic.startswith(ours):
                there.sets_topic(there.topic.removeprefix(ours).removeprefix(" | "))

    def check(self) -> Account:
        """Joins no channel, which others would see: if it may speak there, only a post tells."""
        with wire.nothing_posted(), self._server() as there:
            return Account(f"{there.nick} at {self.server}", notes=(f"for {self.channel}",))

    def measure(self, text: str) -> int:
        return len(text.encode("utf-8", "replace"))

    @contextmanager
    def _server(self) -> Iterator["_Talk"]:
        encrypted, total = self.tls == "on", PATIENCE * wire.TOTAL
        with (
            wire.conversation(self.server, self.port, encrypted=encrypted, total=total) as line,
            closing(_Talk(line, self.channel)) as there,
        ):
            there.registers(self)
            yield there
            with suppress(OSError):  # what we said has been answered
                there.sends("QUIT")

    @contextmanager
    def _channel(self) -> Iterator["_Talk"]:
        with self._server() as there:
            key = f" {self.channel_key.get_secret_value()}" if self.channel_key else ""
            there.joins(key)
            yield there

    def _lines(self, text: str, nick: str) -> list[str]:
        """*text* as messages that arrive whole."""
        lines = [_CONTROL.sub("", one).strip() for one in _BROKEN_LINE.split(text)]
        lines = [one for one in lines if one]
        if len(lines) > FEW:
            lines = [" ".join(lines)]
        head = len(f":{nick}") + WHO + len(f" PRIVMSG {self.channel} :".encode())
        return [piece for one in lines for piece in _pieces(one, LINE - head)]


class _Said(NamedTuple):
    """A message of the server. *who* is a nick, or the server's name."""

    who: str
    command: str
    words: list[str]


class _Talk:
    """A conversation with a server, in which we have a nick and may be in our channel."""

    def __init__(self, line: wire.Line, channel: str) -> None:
        self._line, self._channel = line, channel
        self._heard = line.sock.makefile("rb")
        self.nick = ""
        self.members: set[str] = set()
        self.topic = ""
        self.room_in_topic = TOPIC

    def close(self) -> None:
        self._heard.close()

    def sends(self, line: str) -> None:
        """One line, whatever is in it."""
        one = re.sub(r"[\r\n\x00]", " ", line).encode("utf-8", "replace")
        self._line.sock.sendall(one[:LINE] + b"\r\n")

    def registers(self, ours: Irc) -> None:
        """Returns once we may do something here. Raises if we may not."""
        password = ours.password.get_secret_value() if ours.password else ""
        names = [ours.nick + "_" * number for number in range(NICKS)]
        unproven = bool(password) and ours.login == "sasl"
        if unproven:
            self.sends("CAP REQ :sasl")
        if password and ours.login == "server":
            self.sends(f"PASS {password}")
        self.nick = names.pop(0)
        self.sends(f"NICK {self.nick}")
        self.sends("USER announcer 0 * :Announcer")
        for said in self._hears():
            match said:
                case _Said(command="CAP", words=[_, "ACK", *_]):
                    self.sends("AUTHENTICATE PLAIN")
                case _Said(command="CAP", words=[_, "NAK", *_]):
                    break
                case _Said(command="AUTHENTICATE", words=["+"]):
                    self._proves(ours.username or ours.nick, password)
                case _Said(command="903"):
                    unproven = False
                    self.sends("CAP END")
                case _Said(command=command) if command in _NICK_IN_USE:
                    if not names:
                        raise TryLater("the nick is in use, and so are those like it")
                    self.nick = names.pop(0)
                    self.sends(f"NICK {self.nick}")
                case _Said(command="001", words=[nick, *_]):
                    self.nick = nick
                case _Said(command="005", words=words):
                    told = [word[9:] for word in words if re.fullmatch("TOPICLEN=[0-9]{1,5}", word)]
                    self.room_in_topic = min([TOPIC, *map(int, told)])
                case _Said(command="376" | "422"):
                    break
                case _:
                    self._minds(said)
        if unproven:
            raise Refused("the server knows no SASL: see IRC_LOGIN")
        if password and ours.login == "nickserv":
            self.sends(f"PRIVMSG NickServ :IDENTIFY {ours.username or ours.nick} {password}")
            self._is_through()

    def joins(self, key: str) -> None:
        """Raises if we may not. Who is there, and the topic, is known then."""
        self.sends(f"JOIN {self._channel}{key}")
        for said in self._hears():
            match said:
                case _Said(command="332", words=[_, _, topic]):
                    self.topic = topic
                case _Said(command="353", words=[*_, names]):
                    self.members |= {
                        name.lstrip("~&@%+").partition("!")[0] for name in names.split()
                    }
                case _Said(command="366", words=[_, channel, *_]):
                    if channel.casefold() != self._channel.casefold():
                        raise Refused(f"it leads to another channel: {wire.plain(channel, 50)}")
                    return
                case _:
                    self._minds(said)

    def says(self, text: str) -> None:
        """Returns once the server has passed it on."""
        self._line.leaves()
        self.sends(f"PRIVMSG {self._channel} :{text}")
        self._is_through()
        self._line.answered()

    def sets_topic(self, topic: str) -> None:
        self._line.leaves()
        self.sends(f"TOPIC {self._channel} :{_CONTROL.sub('', topic)}")
        self._is_through()
        self._line.answered()

    def _is_through(self) -> None:
        """IRC confirms nothing, but answers one thing after the other. So we can not flood it
        either: it has dealt with a line before the next one comes.
        """
        self.sends("PING :through")
        for said in self._hears():
            if said.command == "PONG" and said.words[-1:] == ["through"]:
                return
            self._minds(said)

    def _proves(self, account: str, password: str) -> None:
        proof = base64.b64encode(f"{account}\0{account}\0{password}".encode()).decode()
        for start in range(0, len(proof) + 1, 400):  # and an empty one, "+", after a full one
            self.sends(f"AUTHENTICATE {proof[start : start + 400] or '+'}")

    def _minds(self, said: _Said) -> None:
        """Raises if *said* is a refusal."""
        command = said.command
        reason = f"{command} {wire.plain(said.words[-1] if said.words else '')}"
        if command == "ERROR":
            if "password" in reason.lower():  # ngircd says it in words only, and not by 464
                raise Refused(reason, closes=True)
            raise self._line.broke(reason)
        if command in _LATER:
            raise TryLater(reason)
        if command in _LOCKED_OUT or (command[:1] in ("4", "5") and command not in _NO_REFUSAL):
            raise Refused(reason, closes=command in _LOCKED_OUT)

    def _hears(self) -> Iterator[_Said]:
        """What it says, one after the other; a PING is answered. Never ends by itself."""
        while True:
            line = self._heard.readline(8192 + LINE)  # tags, and what they belong to
            if not line.endswith(b"\n"):
                raise EOFError
            told = line.decode("utf-8", "replace").strip("\r\n")
            head, colon, last = re.sub("^@[^ ]+ +", "", told).partition(" :")
            words = head.split()
            who = words.pop(0)[1:].partition("!")[0] if words and words[0][0] == ":" else ""
            words += [last] if colon else []
            if not words:
                continue
            command, *rest = words
            if command == "PING":
                self.sends(f"PONG :{rest[-1] if rest else ''}")
            else:
                yield _Said(who, command, rest)


def _pieces(line: str, room: int) -> Iterator[str]:
    """*line* in pieces of at most *room* bytes, cut between words, or else between signs."""
    while len(line.encode()) > room:
        size, end, space = 0, 0, 0
        for sign in regex.finditer(r"\X", line):
            size += len(sign[0].encode())
            if size > room:
                break
            end = sign.end()
            space = sign.start() if sign[0] == " " else space
        cut = max(space if space > len(MORE) else end, len(MORE) + 1)  # whatever a sign is
        yield line[:cut].rstrip()
        line = MORE + line[cut:].strip()
    yield line


def _without_highlights(post: Post, members: Iterable[str]) -> str:
    """No nick of those who are there stands in what Owncast told: it would call them."""
    show = post.show
    told = f"{show.name} {show.title} {show.summary} {' '.join(show.tags)}" if show else post.text
    nicks = [re.escape(nick) for nick in members if nick.casefold() in told.casefold()]
    if not nicks:
        return post.text
    called = re.compile(rf"(?<![\w-])(?:{'|'.join(nicks)})(?![\w-])", re.IGNORECASE)

    def broken(word: str) -> str:
        whole = "://" in word  # an address calls nobody, and leads nowhere if it is changed
        return word if whole else called.sub(lambda nick: _halved(nick[0]), word)

    return "".join(map(broken, re.split(r"(\s+)", post.text)))


def _halved(nick: str) -> str:
    return f"{nick[0]}{ZERO_WIDTH_SPACE}{nick[1:]}"


def _in_topic(card: Card | None) -> str:
    if card is None:
        raise Refused("the topic needs the address of the stream: set OWNCAST_URL")
    return f"🔴 Live: {card.url}"
