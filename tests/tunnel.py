"""A proxy that lets everybody through, to a server that answers too slowly."""

import socket
import ssl
import threading
import time
from contextlib import suppress


class Tunnel:
    """To one connection. *heard* is what the server behind it was asked."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.heard = b""
        self._listening, self._tls = socket.create_server(("127.0.0.1", 0)), tls
        self.origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listening.accept()
        with self._listening, peer:
            peer.settimeout(5)
            assert peer.recv(4096).startswith(b"CONNECT a.example:443 ")
            peer.sendall(b"HTTP/1.1 200 Through\r\n\r\n")
            with self._tls.wrap_socket(peer, server_side=True) as inside:
                while b'"text"' not in self.heard:
                    self.heard += inside.recv(4096)
                with suppress(OSError):  # nobody waits for the end of it
                    for _ in range(30):
                        inside.sendall(b"H")
                        time.sleep(0.1)

    def end(self) -> None:
        self._thread.join(5)
