"""An IRC server with one channel, which behaves as it is told."""

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from announcer.contract import Behaviour

NAME = "irc.chatroom.test"
REFUSALS = {
    Behaviour.BUSY: "439 {} #kestrel :Target change too fast",
    Behaviour.REFUSES: "404 {} #kestrel :Cannot send to channel",
}


class Chatroom:
    """*answers* says what a command, or its whole line, is answered with, in place of the usual;
    `{}` in it becomes the nick.
    """

    def __init__(self) -> None:
        self.behaviour = Behaviour.GOOD
        self.answers: dict[str, str] = {}
        self.said: list[str] = []
        """Every line, as it came."""
        self.shown: list[str] = []
        self.identities: list[str] = []
        self.taken: set[str] = set()
        """Nicks that are in use."""
        self.members = ["@anna", "+bert", "cleo"]
        self.topic = ""
        self.topic_length = 300
        self.knows_sasl = True
        self.pings = False
        self.logins: list[list[str]] = []
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                peer, _ = self._listening.accept()
                threading.Thread(target=self._meet, args=(peer,), daemon=True).start()

    def _meet(self, peer: socket.socket) -> None:
        with suppress(OSError), peer, peer.makefile("rb") as lines:
            if self.behaviour is Behaviour.HANGS_UP:
                return
            if self.behaviour is Behaviour.DEAF:
                self._over.wait(5)
                return
            if self.behaviour is Behaviour.NONSENSE:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: none\r\n\r\n")
                self._over.wait(5)
                return
            guest = _Guest(self, peer)
            for line in lines:
                assert len(line) <= 512, "a server would cut it"
                if not guest.hears(line.decode().removesuffix("\r\n")):
                    return


class _Guest:
    def __init__(self, room: Chatroom, peer: socket.socket) -> None:
        self._room, self._peer = room, peer
        self._nick, self._waits, self._welcome = "*", False, False
        self._proof = ""

    def hears(self, line: str) -> bool:
        """False ends it."""
        room = self._room
        room.said.append(line)
        command, _, rest = line.partition(" ")
        told = room.answers.get(line) or room.answers.get(command)
        if told:
            self._says(told.format(self._nick))
            return not told.startswith("ERROR")
        match command:
            case "CAP" if rest == "END":
                self._waits = False
                self._greets()
            case "CAP":
                self._waits = room.knows_sasl
                self._says(f"CAP * {'ACK' if room.knows_sasl else 'NAK'} :sasl")
            case "AUTHENTICATE":
                self._proves(rest)
            case "NICK" if rest in room.taken:
                self._says(f"433 {self._nick} {rest} :Nickname is already in use")
            case "NICK":
                self._nick = rest
                self._greets()
            case "USER":
                self._welcome = True
                self._greets()
            case "JOIN":
                if room.topic:
                    self._says(f"332 {self._nick} #kestrel :{room.topic}")
                self._says(f"353 {self._nick} = #kestrel :{self._nick} {' '.join(room.members)}")
                self._says(f"366 {self._nick} #kestrel :End of /NAMES list.")
            case "PRIVMSG" if rest.startswith("NickServ "):
                room.logins.append(rest.split()[-2:])
            case "PRIVMSG":
                return self._passes_on(rest.partition(" :")[2])
            case "TOPIC":
                room.topic = rest.partition(" :")[2]
            case "PING":
                self._peer.sendall(f":{NAME} PONG {NAME} {rest}\r\n".encode())
            case "QUIT":
                return False
        return True

    def _greets(self) -> None:
        if self._waits or not self._welcome or self._nick == "*":
            return
        if self._room.pings:
            self._peer.sendall(b"PING :are you there\r\n")
        self._says(f"001 {self._nick} :Welcome")
        self._says(f"005 {self._nick} TOPICLEN={self._room.topic_length} :are supported")
        self._says(f"422 {self._nick} :MOTD File is missing")
        self._welcome = False

    def _proves(self, said: str) -> None:
        room = self._room
        if said == "PLAIN":
            self._peer.sendall(b"AUTHENTICATE +\r\n")
            return
        self._proof += said if said != "+" else ""
        if len(said) == 400:
            return
        room.logins.append(base64.b64decode(self._proof).decode().split("\0"))
        if room.behaviour is Behaviour.LOCKED_OUT:
            self._says(f"904 {self._nick} :SASL authentication failed")
        else:
            self._says(f"903 {self._nick} :SASL authentication successful")

    def _passes_on(self, text: str) -> bool:
        room = self._room
        if refusal := REFUSALS.get(room.behaviour):
            self._says(refusal.format(self._nick))
            return True
        room.shown.append(text)
        room.identities.append(text)
        if room.behaviour is Behaviour.SILENT:
            room._over.wait(5)
        return room.behaviour not in (Behaviour.SILENT, Behaviour.CUTS)

    def _says(self, line: str) -> None:
        self._peer.sendall(
            f":{NAME} {line}\r\n".encode() if line[:5] != "ERROR" else f"{line}\r\n".encode()
        )


@contextmanager
def chatroom() -> Iterator[Chatroom]:
    one = Chatroom()
    yield one
    one.stop()
