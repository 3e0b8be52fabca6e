"""The fake world behind the one door: it answers from a script and remembers what was asked."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from announcer import wire as door
from announcer.connection import progress

Body = bytes | str | Mapping[str, Any] | list[Any]
Problem = Callable[[requests.PreparedRequest], Exception]


class Sent(NamedTuple):
    """One request as it would have left, and the time limits it left with."""

    request: requests.PreparedRequest
    timeout: Any

    @property
    def path(self) -> str:
        return urlsplit(self.request.url or "").path

    @property
    def body(self) -> bytes:
        body = self.request.body or b""
        return body.encode() if isinstance(body, str) else bytes(body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What comes back to one request: a status, a body and headers."""

    status: int
    body: Body = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def to(self, request: requests.PreparedRequest) -> requests.Response:
        headers, body = self._encoded()
        answer = HTTPResponse(
            BytesIO(body), headers, self.status, preload_content=False, request_url=request.url
        )
        return door.Adapter().build_response(request, answer)

    def raw(self) -> bytes:
        """As a server sends it."""
        headers, body = self._encoded()
        headers["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Said\r\n{head}\r\n".encode() + body

    def _encoded(self) -> tuple[dict[str, str], bytes]:
        body, headers = self.body, dict(self.headers)
        if isinstance(body, Mapping | list):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        return headers, body.encode() if isinstance(body, str) else body


@dataclass
class Wire:
    """A script for the network. What nobody scripted fails the test at the spot."""

    sent: list[Sent] = field(default_factory=list)
    """Every request, in order."""
    scripted: list[Sent] = field(default_factory=list)
    """Those of them that `answers` and `breaks` served: the ones that a test is about."""
    _script: deque[Answer | Problem] = field(default_factory=deque)
    _standing: list[tuple[str, str, Answer | Problem]] = field(default_factory=list)

    def answers(
        self,
        status: int,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
        *,
        times: int = 1,
    ) -> None:
        """The next *times* requests without a standing answer get this one."""
        self._script.extend([Answer(status, body, headers or {})] * times)

    def breaks(self, problem: Problem, *, times: int = 1) -> None:
        """The next *times* requests without a standing answer meet this failure."""
        self._script.extend([problem] * times)

    def always(
        self,
        method: str,
        path: str,
        status: int,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A standing answer to a side request (a login, a look) whose path ends in *path*.

        A later one for the same path takes the place of an earlier one.
        """
        self._standing.insert(0, (method, path, Answer(status, body, headers or {})))

    def always_breaks(self, method: str, path: str, problem: Problem) -> None:
        """Like `always`, for a side request that meets this failure."""
        self._standing.insert(0, (method, path, problem))

    @property
    def has_more(self) -> bool:
        """Whether some of the script was not asked for."""
        return bool(self._script)

    def asked(self, path: str) -> list[Sent]:
        """The requests so far whose path ends in *path*."""
        return [sent for sent in self.sent if sent.path.endswith(path)]

    def take(self, request: requests.PreparedRequest, timeout: Any) -> requests.Response:
        sent = Sent(request, timeout)
        self.sent.append(sent)
        if standing := self.standing(str(request.method), sent.path):
            return self._do(standing, request)
        self.scripted.append(sent)
        if not self._script:
            # pytest's own exception is no Exception, so nothing on the way can swallow it
            pytest.fail(f"nobody scripted {request.method} {sent.path}")
        return self._do(self._script.popleft(), request)

    def standing(self, method: str, path: str) -> Answer | Problem | None:
        """What `always` or `always_breaks` said of this request."""
        for its_method, ending, standing in self._standing:
            if its_method == method and path.endswith(ending):
                return standing
        return None

    def _do(self, step: Answer | Problem, request: requests.PreparedRequest) -> requests.Response:
        if isinstance(step, Answer):
            return step.to(request)
        raise step(request)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Takes the place of the socket, below everything of ours and of the libraries."""
    fake = Wire()

    def send(
        _: door.Adapter, request: requests.PreparedRequest, *, timeout: Any = None, **__: Any
    ) -> requests.Response:
        progress.begun = True
        return fake.take(request, timeout)

    monkeypatch.setattr(door.Adapter, "send", send)
    return fake


# Failures as the door words them, and requests 2.34: its text quotes the address with its path and
# query.


def refused(request: requests.PreparedRequest) -> Exception:
    return door.NotSent("no connection", request=request)


def connect_timeout(request: requests.PreparedRequest) -> Exception:
    return door.NotSent("no connection in time", request=request)


def read_timeout(request: requests.PreparedRequest) -> Exception:
    return requests.ReadTimeout(f"{request.url} {request.headers}", request=request)


def reset(request: requests.PreparedRequest) -> Exception:
    broken = ProtocolError(f"aborted {request.url} {request.headers}", ConnectionResetError(104))
    return requests.ConnectionError(broken, request=request)
