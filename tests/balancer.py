"""One address before several replicas: each request goes to the next one that takes it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import requests

SECONDS = 5.0


class Balancer:
    """A round robin over *places*. A replica that refuses, or does not answer in time, is passed
    over, as a proxy would.
    """

    def __init__(self, *places: str) -> None:
        self.places = list(places)
        turn, balancer = count(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status = balancer._pass_on(next(turn), self.path, body, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, turn: int, path: str, body: bytes, headers: dict[str, str]) -> int:
        for number in range(len(self.places)):
            place = self.places[(turn + number) % len(self.places)]
            try:
                answer = requests.post(place + path, data=body, headers=headers, timeout=SECONDS)
            except requests.RequestException:
                continue
            return answer.status_code
        return 502
