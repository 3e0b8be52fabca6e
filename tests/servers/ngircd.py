"""A real IRC server (ngircd), and what another client in a channel hears."""

import secrets
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from tests.rogue import Authority
from tests.servers import Program, answers, free_port, program

SECONDS = 10.0
_SETTINGS = """
[Global]
Name = irc.kestrel.test
Info = a server of the tests
Listen = 127.0.0.1
Ports = {plain}
MotdPhrase = Hello
{password}
[Limits]
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 31
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
[SSL]
CertFile = {certificate}
KeyFile = {certificate}
DHFile = {folder}/dh.pem
Ports = {tls}
"""
_PRIMES = """\
-----BEGIN DH PARAMETERS-----
MEYCQQCZ0tp8Tiy3xyE66KjsVrvyC8nqqsD3UMlnLWTCz0MKX8zucjACnGmctWJT
DNgDK1k19y6cK+gQGNGMKUstqnGXAgEC
-----END DH PARAMETERS-----
"""
"""Without them it looks for larger ones for 2 s. Nobody uses them: TLS is by curves today."""


@dataclass(frozen=True)
class Line:
    """Something that was heard in the channel: `PRIVMSG`, `NOTICE`, `JOIN`, `TOPIC`, `QUIT`..."""

    nick: str
    command: str
    text: str


class IrcClient:
    """A connection that has told who it is. A plain client, which tests may also post with."""

    def __init__(
        self, port: int, nick: str, password: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.nick = nick
        plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._socket = tls.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
        self._lines = self._socket.makefile("rb")
        try:
            self.say(*([f"PASS {password}"] if password else []), f"NICK {nick}")
            self.say(f"USER {nick} 0 * :{nick}")
            self.until("001")
        except OSError:
            self.close()
            raise

    def say(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def until(self, *commands: str) -> list[str]:
        """All that comes, up to a line with one of these commands or numbers.

        Raises ConnectionError when the server closes before.
        """
        heard: list[str] = []
        while True:
            line = self._lines.readline().decode("utf-8", "replace").rstrip("\r\n")
            if not line:
                raise ConnectionError(f"the server closed the connection after {heard[-1:]}")
            heard.append(line)
            if line.startswith("PING "):
                self.say(f"PONG {line[5:]}")
            if not {line.split(" ")[0], line.split(" ")[1]}.isdisjoint(commands):
                return heard

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@dataclass(frozen=True)
class IrcChannel:
    """A channel of its own for one test, with a client in it that listens."""

    host: str
    port: int
    tls_port: int
    authority: Path
    """The certificate to trust for TLS."""
    channel: str
    password: str = field(repr=False)
    """Of the server. Empty: it has none."""
    reader: IrcClient = field(repr=False)
    _heard: list[Line] = field(default_factory=list, repr=False)

    def lines(self) -> list[Line]:
        """What other clients did in the channel until now, oldest first."""
        self.reader.say("PING :now")  # its answer comes after all that came before
        for told in self.reader.until("PONG"):
            line = _line(told)
            if line and line.nick != self.reader.nick:
                self._heard.append(line)
        return list(self._heard)

    def messages(self) -> list[str]:
        """What other clients said there."""
        return [line.text for line in self.lines() if line.command == "PRIVMSG"]

    def demand(self, mode: str) -> None:
        """The listener, who owns the channel, sets a mode, such as `+m` or `+k key`."""
        self.reader.say(f"MODE {self.channel} {mode}")
        self.reader.until("MODE")


class Ngircd:
    """The server, running from construction until `stop`. Raises NotInstalledError.

    With *password* it takes only clients that know it.
    """

    def __init__(self, folder: Path, password: str = "") -> None:
        command = program("ngircd")
        self._plain, self._tls, self._password = free_port(), free_port(), password
        self.url = f"irc://127.0.0.1:{self._plain}"
        authority = Authority(folder)
        self._authority = authority.file
        (folder / "dh.pem").write_text(_PRIMES)
        settings = folder / "ngircd.conf"
        settings.write_text(
            _SETTINGS.format(
                plain=self._plain,
                tls=self._tls,
                password=f"Password = {password}" if password else "",
                folder=folder,
                certificate=authority.certificate("127.0.0.1", "localhost"),
            )
        )
        self._program = Program([command, "--nodaemon", "--config", settings], folder)
        self._program.wait_until(lambda: answers(self._plain) and answers(self._tls))

    def new_channel(self) -> IrcChannel:
        """A fresh channel. Who gets it closes the *reader*."""
        number = secrets.token_hex(4)
        reader = IrcClient(self._plain, f"reader_{number}", self._password)
        channel = f"#kestrel_{number}"
        reader.say(f"JOIN {channel}")
        reader.until("366")
        return IrcChannel(
            host="127.0.0.1",
            port=self._plain,
            tls_port=self._tls,
            authority=self._authority,
            channel=channel,
            password=self._password,
            reader=reader,
        )

    def stop(self) -> None:
        self._program.stop()


def _line(told: str) -> Line | None:
    """`:nick!user@host COMMAND target :text`; None for what the server itself says."""
    head, _, text = told.removeprefix(":").partition(" :")
    who, command, *more = head.split(" ")
    nick, client, _ = who.partition("!")
    return Line(nick, command, text or " ".join(more[1:])) if client else None
