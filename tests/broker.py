"""An MQTT 5 broker that behaves as it is told: it keeps what is retained, and nothing else."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from announcer.contract import Behaviour

CONNECT, PUBLISH, DISCONNECT = 1, 3, 14
NOT_AUTHORIZED, QUOTA, BAD_NAME = 135, 151, 144
ANSWERS = {Behaviour.BUSY: QUOTA, Behaviour.REFUSES: BAD_NAME}


class Broker:
    """*codes* are what a CONNECT and a PUBLISH are answered with, unless it misbehaves."""

    def __init__(self) -> None:
        self.behaviour = Behaviour.GOOD
        self.codes = {CONNECT: 0, PUBLISH: 0}
        self.retained: dict[str, str] = {}
        self.shown: list[str] = []
        self.identities: list[str] = []
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
        with suppress(OSError, EOFError), peer:
            peer.settimeout(5)
            if self.behaviour is Behaviour.HANGS_UP:
                return
            if self.behaviour is Behaviour.DEAF:
                self._over.wait(3)
                return
            while True:
                kind, flags, body = _packet(peer)
                if kind == CONNECT:
                    self._greets(peer)
                elif kind == PUBLISH:
                    self._takes(peer, flags, body)
                elif kind == DISCONNECT:
                    return

    def _greets(self, peer: socket.socket) -> None:
        if self.behaviour is Behaviour.NONSENSE:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        locked = self.behaviour is Behaviour.LOCKED_OUT
        code = NOT_AUTHORIZED if locked else self.codes[CONNECT]
        peer.sendall(bytes([0x20, 3, 0, code, 0]))

    def _takes(self, peer: socket.socket, flags: int, body: bytes) -> None:
        assert flags & 0b0111 == 0b0011, "at least once, and retained"
        (length,) = struct.unpack_from(">H", body)
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        number, payload = rest[:2], rest[3:].decode()  # between them: no properties
        code = ANSWERS.get(self.behaviour, self.codes[PUBLISH])
        if code < 128:
            self.retained[topic] = payload
            self.identities.append(payload)
            self.shown = [payload]
        if self.behaviour is Behaviour.SILENT:
            self._over.wait(3)
        if self.behaviour is not Behaviour.CUTS:
            peer.sendall(b"\x40\x03" + number + bytes([code]))
        else:
            peer.shutdown(socket.SHUT_RDWR)


def _packet(peer: socket.socket) -> tuple[int, int, bytes]:
    """Type, flags and body of the next one. Raises EOFError."""
    first = _exactly(peer, 1)[0]
    size = shift = 0
    while True:
        digit = _exactly(peer, 1)[0]
        size |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            return first >> 4, first & 15, _exactly(peer, size)


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (piece := peer.recv(size - len(data))):
            raise EOFError
        data += piece
    return data


@contextmanager
def broker() -> Iterator[Broker]:
    one = Broker()
    yield one
    one.stop()
