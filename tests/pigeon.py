"""The smallest network that is not asked by HTTP, and a server for it.

Its words: `HELLO <ring>`, `SAY <id> <text>`; the answers are `OK`, `LATER`, `NO` and `WHO`.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import SecretStr

from announcer import wire
from announcer.contract import SECRET, Behaviour, Spoken
from announcer.network import Account, Network, Post, Receipt, Refused, Repeat, TryLater
from announcer.settings import setting


class Pigeon(Network):
    """Sends a pigeon. For tests only: it has a guide because every network has one, and it is as
    short as a guide may be, which is longer than one thinks before one has to write it.

    1. Set `PIGEON_PORT` to where the loft is on this machine.
    2. Set `PIGEON_RING` to the ring that your bird wears, so that it is let in.
    """

    name, title, unit, usual_limit = "pigeon", "Pigeon", "letters", 300
    repeat = Repeat.HARMLESS
    shows_pictures = False

    port: int = setting("Where the loft is.")
    ring: SecretStr = setting("The bird's ring.")
    encrypted: bool = setting("Whether the loft has a lock.", default=False)

    def publish(self, post: Post) -> Receipt:
        with self._loft() as line:
            line.leaves()
            _ask(line, f"SAY {post.wire_key} {post.text}")
            line.answered()
        return Receipt(post.wire_key)

    def check(self) -> Account:
        with self._loft():
            return Account("bird")

    @contextmanager
    def _loft(self) -> Iterator[wire.Line]:
        with wire.conversation("127.0.0.1", self.port, encrypted=self.encrypted) as line:
            _ask(line, f"HELLO {self.ring.get_secret_value()}")
            yield line


def _ask(line: wire.Line, words: str) -> None:
    line.sock.sendall(words.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        if not (piece := line.sock.recv(100)):
            raise EOFError
        answer += piece
    match answer.strip():
        case b"OK":
            return
        case b"LATER":
            raise TryLater("it says: later")
        case b"NO" | b"WHO":
            raise Refused("it says no", closes=b"WHO" in answer)
        case _:
            raise line.broke("an answer that makes no sense")


class Loft:
    """The server. *lock* makes it speak TLS."""

    def __init__(self, lock: ssl.SSLContext | None = None) -> None:
        self.behaviour = Behaviour.GOOD
        self.shown: list[str] = []
        self.identities: list[str] = []
        self.drips = False
        self._lock = lock
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
        with suppress(OSError), peer:
            if self.behaviour is Behaviour.DEAF:
                self._over.wait(5)
            elif self.behaviour is not Behaviour.HANGS_UP:
                with self._lock.wrap_socket(peer, server_side=True) if self._lock else peer as bird:
                    self._talk(bird)

    def _talk(self, bird: socket.socket) -> None:
        words = bird.makefile("rw", encoding="utf-8", newline="\n")
        for said in words:
            answer = self._answer(said.strip())
            while self.drips and not self._over.wait(0.05):
                bird.sendall(b"...")
            if answer is None:
                return
            if not answer:
                self._over.wait(5)
            words.write(f"{answer}\n")
            words.flush()

    def _answer(self, said: str) -> str | None:
        """None ends the conversation, an empty one is silence."""
        word, _, rest = said.partition(" ")
        if self.behaviour is Behaviour.NONSENSE:
            return "coo"
        if word == "HELLO":
            return "WHO" if self.behaviour is Behaviour.LOCKED_OUT else "OK"
        refusal = {Behaviour.BUSY: "LATER", Behaviour.REFUSES: "NO"}.get(self.behaviour)
        if refusal:
            return refusal
        identity, _, text = rest.partition(" ")
        self.identities.append(identity)
        self.shown.append(text)
        return {Behaviour.SILENT: "", Behaviour.CUTS: None}.get(self.behaviour, "OK")


@contextmanager
def loft(lock: ssl.SSLContext | None = None) -> Iterator[Loft]:
    one = Loft(lock)
    yield one
    one.stop()


ROW = Spoken(Pigeon, lambda port: {"port": str(port), "ring": SECRET}, loft)
