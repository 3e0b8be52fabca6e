"""A mail server that behaves as it is told: STARTTLS or TLS at once, a login, and any answer."""

import base64
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import requests.adapters

from announcer.contract import SECRET, Behaviour
from tests.rogue import Authority

ANSWERS = {
    Behaviour.BUSY: ("RCPT", "451 4.7.1 Greylisted, come back later"),
    Behaviour.REFUSES: ("RCPT", "550 5.1.1 No such user"),
    Behaviour.LOCKED_OUT: ("AUTH", "535 5.7.8 Not with this password"),
}
USER = "kestrel"


class Postbox:
    """*answers* says what a command, or its whole line, is answered with, such as
    `{"RCPT TO:<a@example.org>": "451 later"}`; what comes after the last dot is called `.`.

    *offers* is what it says of itself to an EHLO before and after it is encrypted.
    """

    def __init__(self, lock: ssl.SSLContext, password: str, *, tls_at_once: bool = False) -> None:
        self.behaviour = Behaviour.GOOD
        self.answers: dict[str, str] = {}
        self.offers = {False: ["STARTTLS"], True: ["AUTH PLAIN LOGIN", "SIZE 10000000"]}
        self.said: list[str] = []
        """Every command, in order, without what a login says."""
        self.secrets_in_clear: list[str] = []
        self.conversations = 0
        self.mails: list[tuple[str, EmailMessage]] = []
        """By recipient, oldest first."""
        self.raw: list[bytes] = []
        self.shown: list[str] = []
        self.identities: list[str] = []
        self.room = 10_000_000
        """Bytes of the largest mail that it takes; it does not say so before."""
        self._lock, self._password, self._tls_at_once = lock, password, tls_at_once
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def recipients(self) -> list[str]:
        return [to for to, _ in self.mails]

    def stop(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                peer, _ = self._listening.accept()
                self.conversations += 1
                threading.Thread(target=self._meet, args=(peer,), daemon=True).start()

    def _meet(self, peer: socket.socket) -> None:
        with suppress(OSError, EOFError), peer:
            if self.behaviour is Behaviour.HANGS_UP:
                return
            if self.behaviour is Behaviour.DEAF:
                self._over.wait(5)
                return
            _Talk(self, peer).goes_on()


class _Talk:
    def __init__(self, box: Postbox, peer: socket.socket) -> None:
        self._box, self._peer = box, peer
        self._encrypted = box._tls_at_once
        if self._encrypted:
            self._peer = box._lock.wrap_socket(peer, server_side=True)
        self._lines = self._peer.makefile("rb")
        self._known = False
        self._to = ""

    def goes_on(self) -> None:
        with suppress(OSError), ExitStack() as ends:
            ends.callback(lambda: self._peer.close())
            ends.callback(lambda: self._lines.close())
            if self._box.behaviour is Behaviour.NONSENSE:
                self._says("HTTP/1.1 400 Bad Request\r\nServer: none")
            else:
                self._says(self._answer("220", "220 postbox.test ESMTP"))
            while line := self._lines.readline():
                if not self._hears(line.decode().rstrip("\r\n")):
                    return

    def _hears(self, line: str) -> bool:
        """False ends it."""
        box, word = self._box, line.partition(" ")[0].upper()
        line = f"{word}{line[len(word) :]}"  # smtplib speaks in small letters
        box.said.append("AUTH" if word == "AUTH" else line)
        match word:
            case "EHLO":
                offers = ["postbox.test", *box.offers[self._encrypted]]
                lines = [f"250-{one}" for one in offers[:-1]] + [f"250 {offers[-1]}"]
                self._says(self._answer("EHLO", "\r\n".join(lines)))
            case "STARTTLS":
                self._says(answer := self._answer("STARTTLS", "220 go ahead"))
                if answer.startswith("2"):
                    self._peer = box._lock.wrap_socket(self._peer, server_side=True)
                    self._lines.close()
                    self._lines, self._encrypted = self._peer.makefile("rb"), True
            case "AUTH":
                self._says(self._auth(line))
            case "MAIL":
                needs = "" if self._known else "530 5.7.0 Authentication required"
                self._says(self._answer("MAIL", needs or "250 ok", line))
            case "RCPT":
                (self._to,) = re.findall("<(.*)>", line)
                self._says(self._answer("RCPT", "250 ok", line))
            case "DATA":
                self._says(answer := self._answer("DATA", "354 go on"))
                if answer.startswith("354"):
                    return self._takes()
            case "QUIT":
                self._says("221 bye")
                return False
            case _:
                self._says(self._answer(word, "250 ok"))
        return True

    def _auth(self, line: str) -> str:
        box = self._box
        if not self._encrypted:
            box.secrets_in_clear.append(line)
        _, way, *first = line.split(" ")
        if way == "PLAIN":
            said = base64.b64decode(first[0]).decode().split("\0")[1:]
        else:
            said = [base64.b64decode(first[0]).decode()]
            self._says("334 UGFzc3dvcmQ6")
            said.append(base64.b64decode(self._lines.readline()).decode())
        right = said == [USER, box._password]
        answer = self._answer("AUTH", "235 ok" if right else "535 5.7.8 wrong")
        self._known = answer.startswith("235")
        return answer

    def _takes(self) -> bool:
        box, raw = self._box, b""
        while (line := self._lines.readline()) != b".\r\n":
            if not line:
                return False  # broken off before its end: a server forgets it
            raw += line[line.startswith(b"..") :]
        usual = "250 2.0.0 queued" if len(raw) <= box.room else "552 5.3.4 too big"
        answer = self._answer(".", usual, f". <{self._to}>")
        if answer[0] not in "45":
            mail: Any = message_from_bytes(raw, policy=policy.default)
            box.mails.append((self._to, mail))
            box.raw.append(raw)
            box.shown.append(mail.get_body(("plain",)).get_content())
            box.identities.append(str(mail["Message-ID"]))
        if box.behaviour is Behaviour.CUTS or answer.startswith("000 cut"):
            with suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)
            return False
        if box.behaviour is Behaviour.SILENT:
            box._over.wait(5)
            return False
        self._says(answer)
        return True

    def _answer(self, command: str, usual: str, line: str = "") -> str:
        box = self._box
        where, refusal = ANSWERS.get(box.behaviour, ("", ""))
        told = box.answers.get(line) or box.answers.get(command)
        return told or (refusal if where == command else usual)

    def _says(self, answer: str) -> None:
        self._peer.sendall(f"{answer}\r\n".encode())


@contextmanager
def postbox(password: str = SECRET, *, tls_at_once: bool = False) -> Iterator[Postbox]:
    """One whose certificate everybody trusts in here."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        before = requests.adapters.DEFAULT_CA_BUNDLE_PATH
        requests.adapters.DEFAULT_CA_BUNDLE_PATH = str(authority.file)
        one = Postbox(authority.server(), password, tls_at_once=tls_at_once)
        try:
            yield one
        finally:
            one.stop()
            requests.adapters.DEFAULT_CA_BUNDLE_PATH = before
