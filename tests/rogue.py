"""A server that misbehaves, on loopback and with real sockets, and certificates for it."""

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECRET = "hush-canary-4711"
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"Content-Length: 2\r\n\r\n{}"
Ending = Literal["close", "hang", "reset", "more", "reset after the next request"]


@dataclass
class Server:
    """Answers every request with *parts*, *pause* seconds apart. And *then* it closes, hangs or
    resets; takes one more request on the same connection; or resets once that has come.

    *heard* is what arrived, head and body of each request. With *speaks* false it takes the
    connection and neither reads nor says a thing. *aside* may answer a request, by its method and
    path, in place of all this; it is not in *heard* then.
    """

    parts: Iterable[bytes]
    pause: float = 0.0
    then: Ending = "close"
    tls: ssl.SSLContext | None = None
    speaks: bool = True
    address: str = "127.0.0.1"
    aside: Callable[[str, str], bytes | None] = lambda *_: None
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    _ended: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listening = socket.create_server((self.address, 0), family=family)
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/{SECRET}?token={SECRET}"

    def settle(self, connections: int = 1) -> None:
        """Wait until *connections* have come and are over, and *heard* is complete."""
        deadline = time.monotonic() + 5
        while self._ended < max(connections, self.connections):
            assert time.monotonic() < deadline, "a connection is still open"
            time.sleep(0.005)

    def stop(self) -> None:
        self._over.set()
        with suppress(OSError):  # it was stopped before
            self._listening.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._talk, args=(peer,), daemon=True))
            self._threads[-1].start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):  # the other side had enough: what these tests are about
            peer.settimeout(5)
            self._meet(peer)
        self._ended += 1

    def _meet(self, peer: socket.socket) -> None:
        if not self.speaks:
            self._over.wait(40)
            return
        with self.tls.wrap_socket(peer, server_side=True) if self.tls else peer as speaking:
            self._answer(speaking)
            while self.then == "more":
                self._answer(speaking)
            if self.then == "reset after the next request":
                self.heard.append(_request(speaking))
                _reset_on_close(speaking)

    def _answer(self, peer: socket.socket) -> None:
        heard = _request(peer)
        method, path, *_ = f"{heard.decode('latin-1')}  ".split(" ", 2)
        if (aside := self.aside(method, urlsplit(path).path)) is not None:
            peer.sendall(aside)
            return self._answer(peer)
        self.heard.append(heard)
        for part in self.parts:
            peer.sendall(part)
            if self._over.wait(self.pause):
                return None
        if self.then == "hang":
            self._wait_for_goodbye(peer)
        if self.then == "reset":
            _reset_on_close(peer)
        return None

    def _wait_for_goodbye(self, peer: socket.socket) -> None:
        peer.settimeout(0.05)
        while not self._over.is_set():
            with suppress(TimeoutError):
                if not peer.recv(1):
                    return


def _reset_on_close(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _request(peer: socket.socket) -> bytes:
    """One request; what came of it if it was cut short. Raises OSError if there is none."""
    heard = b""
    while not _is_whole(heard):
        piece = peer.recv(65536)
        if not piece:
            if not heard:
                raise ConnectionError("closed without a request")
            return heard
        heard += piece
    return heard


def _is_whole(heard: bytes) -> bool:
    head, ended, body = heard.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(ended) and len(body) >= int(length.group(1) if length else 0)


class Serve(Protocol):
    def __call__(
        self,
        *parts: bytes,
        pause: float = 0.0,
        then: Ending = "close",
        tls: ssl.SSLContext | None = None,
        speaks: bool = True,
        address: str = "127.0.0.1",
        aside: Callable[[str, str], bytes | None] = ...,
    ) -> Server: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(*parts: bytes, **how: Any) -> Server:
        servers.append(Server(parts, **how))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class Authority:
    """Signs certificates for loopback; *file* is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("The authority of the tests")
        certificate = self._sign(
            self._name, self._key, x509.BasicConstraints(ca=True, path_length=None), 1
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *hosts: str, days: int = 1) -> ssl.SSLContext:
        """For a server that says it is *hosts*, and may for *days* more; negative: no longer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(*hosts, days=days))
        return context

    def certificate(self, *hosts: str, days: int = 1) -> Path:
        """The same as a file, with the key before the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        places = [_place(host) for host in hosts or ("127.0.0.1",)]
        names = x509.SubjectAlternativeName(places)
        certificate = self._sign(_name("A server of the tests"), key, names, days)
        both = self._folder / f"{certificate.serial_number}.pem"
        both.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return both

    def town(self) -> ssl.SSLContext:
        """For a server that is whoever it is asked for."""

        def by_name(peer: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            peer.context = self.server(name or "127.0.0.1")

        context = self.server()
        context.sni_callback = by_name
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extension: x509.ExtensionType,
        days: int,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )


def _place(host: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def everywhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name leads to *server*."""
    there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [there])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One that nobody trusts."""
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The same, and we trust it."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(authority.file))
    return authority
