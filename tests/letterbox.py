"""A small HTTP server that takes messages as Apprise's `json://` posts them, and behaves as it is
told.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from announcer.contract import Behaviour

STATUSES = {Behaviour.LOCKED_OUT: 401, Behaviour.BUSY: 503, Behaviour.REFUSES: 400}


class Letterbox:
    """*status* is what it answers, if any; *dislikes_pictures* answers 413 to those that come with
    one.
    """

    def __init__(self) -> None:
        self.behaviour = Behaviour.GOOD
        self.status = 0
        self.location = ""
        self.dislikes_pictures = False
        self.asked: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.identities: list[str] = []
        self.over = threading.Event()
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                box.take(self, json.loads(body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "hush", query: str = "") -> str:
        return f"json://127.0.0.1:{self.port}/{path}{query}"

    def take(self, line: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        self.asked.append(message)
        line.close_connection = True
        status = self.status or STATUSES.get(self.behaviour, 200)
        if self.dislikes_pictures and message["attachments"]:
            status = 413
        if self.behaviour is Behaviour.DEAF:
            self.over.wait(5)
        elif self.behaviour is Behaviour.NONSENSE:
            line.wfile.write(b"* OK IMAP4rev1 ready\r\n")
        elif self.behaviour is not Behaviour.HANGS_UP:
            if 200 <= status < 300:
                self.shown.append("\n\n".join(filter(None, (message["title"], message["message"]))))
                self.identities.append("")
            if self.behaviour is Behaviour.SILENT:
                self.over.wait(5)
            elif self.behaviour is not Behaviour.CUTS:
                line.send_response(status)
                if self.location:
                    line.send_header("Location", self.location)
                line.send_header("Content-Length", "0")
                line.end_headers()


@contextmanager
def letterbox() -> Iterator[Letterbox]:
    one = Letterbox()
    yield one
    one.stop()
