"""A marker in every secret, every kind of trouble, and a search for the markers wherever a person
or a program can look (G21). They may stand in the environment, and in requests to their networks.
"""

import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from pydantic import BaseModel

from announcer import rehearsal, settings, wire, wiring
from announcer.attempt import without_secrets
from announcer.contract import SECRET, Row, Spoken
from announcer.network import DeliveryError
from announcer.networks import available
from announcer.policy import Rules
from announcer.quiet import Quiet
from announcer.settings import is_secret, variable_name
from tests.house import seal
from tests.rows import EVERY, ROWS, SPOKEN
from tests.running import SECONDS, Service
from tests.test_process import posts, worker_of

TROUBLES = (
    *("t401", "t403", "t404", "t500", "t503"),
    *("redirect", "reset", "silence", "headers", "page", "tls", "bug"),
)
"""Each is an account of every network. `bug` is one of ours, in the adapter."""

WORDS = ("ANNOUNCER_METRICS_TOKEN", "ANNOUNCER_OVERLAY_TOKEN")
"""Secrets that may hold letters and digits only."""

CLUMSY = """
import faulthandler, signal
from announcer import wire
from announcer.cli import main
from announcer.networks import available
from announcer.settings import secrets_of

def clumsy(publish):
    def worse(self, post):
        local = list(secrets_of(self))
        if "bug" in str(local):
            raise RuntimeError(f"it broke at {local}", self)
        return publish(self, post)
    return worse

wire.READ = 0.5
for network in available():
    network.publish = clumsy(network.publish)
faulthandler.register(signal.SIGPROF, all_threads=True)
main()
"""
"""The service with a bug in every adapter, less patience, and a crash report when asked."""


class Street:
    """One server for each trouble, whatever is asked. What goes wrong is told with the caller's own
    words: address and headers.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._servers = {trouble: self._open(trouble) for trouble in TROUBLES}

    def at(self, trouble: str) -> str:
        scheme = "https" if trouble == "tls" else "http"
        return f"{scheme}://127.0.0.1:{self.port(trouble)}"

    def port(self, trouble: str) -> int:
        return self._servers[trouble].server_port

    def close(self) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def _open(self, trouble: str) -> ThreadingHTTPServer:
        street = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                heard = f"{self.path} {self.headers} {body.decode('utf-8', 'replace')}"
                street.heard.append(heard)
                street.answer(trouble, self, heard)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # http.server's names

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # no TLS spoken here
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def answer(self, trouble: str, request: BaseHTTPRequestHandler, heard: str) -> None:
        said = " ".join(heard.split())
        if trouble == "silence":
            threading.Event().wait(1)
        elif trouble == "reset":
            now = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            request.connection.close()
        elif trouble == "headers":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n")
        else:
            status = {"redirect": 302, "page": 200}.get(trouble) or int(
                trouble.lstrip("tbug") or 200
            )
            page = trouble == "page"
            told = f"<h1>{said}</h1>" if page else json.dumps({"error": said, "message": said})
            request.send_response(status)
            request.send_header("Content-Type", "text/html" if page else "application/json")
            request.send_header("Location", f"https://elsewhere.example{request.path}")
            request.send_header("Content-Length", str(len(told.encode())))
            request.end_headers()
            request.wfile.write(told.encode())


class Canaries:
    """The variables that fill every model of settings, and the marker in each secret one."""

    def __init__(self, street: Street, folder: Path) -> None:
        self.markers: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        for model in (wiring.Service, Rules, Quiet):
            self._fill("ANNOUNCER", model, street.at("t404"))
        self._fill("OWNCAST", wiring.OwncastServer, street.at("t404"))
        for row in ROWS:
            if row.network.name == "owncast":  # speaks to its server only
                self._fill("OWNCAST", row.network, street.at("t404"))
                continue
            for trouble in TROUBLES:
                prefix = f"{row.network.name}__{row.name}{trouble}".upper()
                self._fill(prefix, row.network, street.at(trouble), trouble, row)
        for spoken in SPOKEN:
            for trouble in TROUBLES:
                prefix = f"{spoken.network.name}__{spoken.name}{trouble}".upper()
                self._tell(prefix, spoken, street.port(trouble), trouble)
        del self.markers["ANNOUNCER_DATABASE_URL"]  # its password is looked for by itself
        self.variables |= {
            "ANNOUNCER_DATABASE_URL": f"sqlite:///{folder}/announcer.db",
            "OWNCAST_URL": street.at("t404"),
            "ANNOUNCER_HOLD": "0s",
            "ANNOUNCER_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": street.at("t503"),
        }
        self.markers["OTEL_EXPORTER_OTLP_HEADERS"] = marker = self._word("t503")
        self.variables["OTEL_EXPORTER_OTLP_HEADERS"] = f"x-key={marker},x={marker}%2F%2B%3D"

    def _fill(
        self,
        prefix: str,
        model: type[BaseModel],
        base: str,
        trouble: str = "",
        row: Row | None = None,
    ) -> None:
        given = row.settings if row else {}
        for field, info in model.model_fields.items():
            name = variable_name(prefix, field)
            checks = {getattr(check, "func", None) for check in info.metadata}
            if is_secret(info):
                word = self._word(trouble)
                self.markers[name] = marker = row.form(word) if row else word
                value = given.get(field, SECRET)
                if row and value not in (row.secret, SECRET):
                    value = value.replace(row.secret, marker)
                elif marker != word or name in WORDS or field.startswith("webhook_"):
                    value = marker
                else:  # signs that every way of encoding writes in its own way
                    value = f"{marker}/+=&%?x"
                if settings._secret_address in checks:
                    value = base + urlsplit(value).path
                self.variables[name] = value
            elif settings._safe_address in checks:
                self.variables[name] = base
            elif field in given:
                self.variables[name] = given[field]
            elif info.is_required():
                self.variables[name] = "kestrel.test"

    def _tell(self, prefix: str, row: Spoken, port: int, trouble: str) -> None:
        """A server that speaks HTTP is a trouble of its own to one that does not."""
        for field, value in row.settings(port).items():
            name = variable_name(prefix, field)
            if is_secret(row.network.model_fields[field]):
                marker = row.form(self._word(trouble))
                value = value.replace(row.secret, marker)
                assert marker in value, f"{name} is no secret of the row"
                self.markers[name] = marker
            self.variables[name] = value

    def _word(self, trouble: str) -> str:
        return f"cnry{trouble}{len(self.markers):03}{secrets.token_hex(6)}"

    def found(self, text: str | bytes) -> list[str]:
        """The variables whose markers stand in *text*, plain or in another form of the same."""
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
        plain = raw.lower()
        return [
            name
            for name, marker in self.markers.items()
            if marker.encode() in plain
            or marker[::-1].encode() in plain
            or marker.encode().hex().encode() in plain
            or any(form in raw for form in in_base64(marker))
        ]


def in_base64(marker: str) -> Iterator[bytes]:
    """A marker is of letters and digits, so both alphabets write it alike."""
    for before in range(3):
        coded = b64encode(bytes(before) + marker.encode())
        yield coded[4 if before else 0 : len(coded) // 4 * 4 - 4]


@pytest.fixture
def street() -> Iterator[Street]:
    made = Street()
    yield made
    made.close()


@pytest.mark.parametrize("form", ["plain", "encoded", "reversed", "hex"])
def test_g21_the_search_finds_what_it_looks_for(street: Street, tmp_path: Path, form: str) -> None:
    canaries = Canaries(street, tmp_path)
    name, marker = next(iter(canaries.markers.items()))
    for before in range(3):
        word = "n" * before + marker + "/+"
        told = {
            "plain": word.upper(),
            "encoded": b64encode(word.encode()).decode(),
            "reversed": word[::-1],
            "hex": word.encode().hex(),
        }
        assert canaries.found(f"<{told[form]}>") == [name]


def run(canaries: Canaries, folder: Path, *words: str, **more: str) -> str:
    """Everything that a command says."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    paths = os.pathsep.join(path for path in sys.path if path)
    few = {
        name: value
        for name, value in canaries.variables.items()
        if name.count("__") != 2 or name.split("__")[1] in ("T401", "HEADERS")
    }
    done = subprocess.run(
        [sys.executable, "-c", CLUMSY, *words],
        cwd=folder,
        env={**inherited, "PYTHONPATH": paths, **few, **more},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return (done.stdout + done.stderr).decode()


def tried(folder: Path) -> int:
    """How many posts were."""
    with closing(sqlite3.connect(folder / "announcer.db")) as reader:
        return int(reader.execute("SELECT count(DISTINCT post) FROM tries").fetchone()[0])


def faces(service: Service, canaries: Canaries) -> Iterator[str]:
    """Everything that HTTP shows, to friends and to strangers."""
    token, password, overlay = (
        canaries.variables[name]
        for name in (
            "OWNCAST_WEBHOOK_TOKEN",
            "ANNOUNCER_ADMIN_PASSWORD",
            "ANNOUNCER_OVERLAY_TOKEN",
        )
    )
    yield from after_a_login(service, password, next(iter(posts(service.folder))))
    one = next(iter(posts(service.folder).values())).entry.broadcast
    pages: tuple[str, ...] = (
        "/",
        "/history",
        f"/history/{one}",
        "/history?words=a",
        "/history.json",
    )
    pages += ("/history.csv", "/destinations", "/now/events", "/destinations/events")
    for auth in (("admin", password), ("admin", "wrong"), None):
        for path in pages:
            answer = requests.get(service.url + path, auth=auth, timeout=SECONDS, stream=True)
            assert (answer.status_code == 200) is (auth == ("admin", password)), path
            said = b""
            with suppress(requests.exceptions.ChunkedEncodingError):  # with so many accounts late
                for piece in answer.iter_content(1024):
                    said += piece
            assert auth != ("admin", password) or len(said) > 1000, path
            yield f"{answer.headers} {said.decode(errors='replace')}"
        for path in ("/healthz", "/readyz", "/metrics", "/nowhere", "/static/live.js", "/login"):
            answer = requests.get(service.url + path, auth=auth, timeout=SECONDS)
            yield f"{answer.headers} {answer.text}"
    for word in (canaries.variables["ANNOUNCER_METRICS_TOKEN"], "wrong"):
        bearer = {"Authorization": f"Bearer {word}"}
        answer = requests.get(f"{service.url}/metrics", headers=bearer, timeout=SECONDS)
        assert answer.status_code == (401 if word == "wrong" else 200)
        yield f"{answer.headers} {answer.text}"
    for path in (f"/overlay/{overlay}/events", f"/overlay/{overlay}x", "/overlay/wrong"):
        answer = requests.get(service.url + path, timeout=SECONDS)
        yield f"{answer.headers} {answer.text}"
    for body in (b"", b"{", b"[]", b"x" * 300_000, rehearsal.webhook("start", "A", "B")):
        for path in (f"/{token}", f"/{token}x", "", f"/{token}/more"):
            for kind in ("application/json", "text/plain"):
                answer = requests.post(
                    f"{service.url}/webhooks/owncast{path}",
                    body,
                    headers={"Content-Type": kind},
                    timeout=SECONDS,
                )
                yield f"{answer.headers} {answer.text}"
    yield requests.get(f"{service.url}/webhooks/owncast/{token}", timeout=SECONDS).text


def after_a_login(service: Service, password: str, destination: str) -> Iterator[str]:
    """What a browser gets: the cookie, the token in the forms, and what an action says."""
    with requests.Session() as browser:
        for word in ("wrong", password):
            answer = browser.post(f"{service.url}/login", {"password": word}, timeout=SECONDS)
            yield f"{answer.headers} {answer.text} {answer.history}"
        found = re.search(r'name="csrf" value="(\w+)"', answer.text)
        assert found
        yield repr(browser.cookies)
        form = {"csrf": found[1], "key": destination}
        for path in ("do/now", "do/sent", f"destinations/{destination}/check", "do/nothing"):
            answer = browser.post(f"{service.url}/{path}", form, timeout=SECONDS)
            yield f"{answer.headers} {answer.text} {answer.history}"


def in_proc(service: Service) -> Iterator[bytes]:
    """What every user of the machine sees of a process."""
    tasks = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    for pid in (service.process.pid, *map(int, tasks.read_text().split())):
        for name in ("cmdline", "comm", "limits"):
            told = Path(f"/proc/{pid}/{name}").read_bytes()
            if name == "limits":
                (core,) = (line for line in told.splitlines() if line.startswith(b"Max core"))
                assert core.split()[4] == b"0", "a core dump would hold all of them"
            yield told


@pytest.mark.parametrize("style", ["console", "json"])
def test_g21_no_secret_leaves_but_to_its_own_network(
    tmp_path: Path, street: Street, style: str
) -> None:
    canaries = Canaries(street, tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    more = {"ANNOUNCER_LOG_FORMAT": style, "TMPDIR": str(temporary)}
    service = Service(tmp_path, canaries.variables | more, ("-c", CLUMSY))
    seen: dict[str, str | bytes] = {}
    try:
        body = rehearsal.webhook("start", "Fitting a dovetail drawer", "Kestrel Workshop")
        signed = seal(body, canaries.variables["OWNCAST_WEBHOOK_SECRET"])
        assert service.hear(body, **{"owncast-signature": signed}) == 204
        wanted = len(EVERY) - 1
        service.until(
            lambda: (
                sum(bool(post.tries) for post in posts(tmp_path).values()) >= wanted * len(TROUBLES)
            ),
            "not everything was tried",
        )
        port = {"ANNOUNCER_PORT": str(service.port)}
        key = next(key for name, post in posts(tmp_path).items() if (key := post.entry.key))
        os.kill(worker_of(service), signal.SIGPROF)
        service.until(lambda: "most recent call first" in service.log, "no crash report")
        commands: tuple[tuple[str, ...], ...] = (
            *(("check",), ("preview",), ("history",), ("history", "--json"), ("retry", key)),
            *(("simulate", "title"), ("pause",), ("resume",), ("announce",), ("docs", "docs")),
        )
        if style == "json":
            commands = (("history", "--json"),)
        for words in commands:
            seen[f"announcer {' '.join(words)}"] = run(canaries, tmp_path, *words, **port, **more)
        seen |= {f"face {n}": told for n, told in enumerate(faces(service, canaries))}
        for ending in ("", "-wal", "-shm", ".lock"):
            mode = (tmp_path / f"announcer.db{ending}").stat().st_mode
            assert mode & 0o777 == 0o600, f"others may read announcer.db{ending}"
        seen |= {f"process {n}": told for n, told in enumerate(in_proc(service))}
        seen |= {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    finally:
        service.stop()
    seen |= {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert any(name.endswith("-wal") for name in seen)
    leaks = {name: found for name, told in seen.items() if (found := canaries.found(told))}
    assert leaks == {}
    log = service.log
    assert "RuntimeError" in log, "the bug was seen"
    assert "***" in log, "with what it quoted taken out"
    reached = canaries.found("\n".join(street.heard))
    assert {"DISCORD__DISCORDT401__WEBHOOK_URL", "MASTODON__MASTODONT401__ACCESS_TOKEN"} <= set(
        reached
    )


def test_g21_no_secret_is_told_where_it_was_put_by_mistake(street: Street, tmp_path: Path) -> None:
    canaries = Canaries(street, tmp_path)
    marker = next(iter(canaries.markers.values()))
    wrong = {
        "ANNOUNCER_PORT": marker,
        "ANNOUNCER_HOLD": marker,
        "ANNOUNCER_PROXY": f"http://me:{marker}@127.0.0.1:1",
        "MASTODON__T401__API_BASE_URL": f"https://{marker}@social.example",
        "MASTODON__T401__VISIBILITY": marker,
        "DISCORD__T401__WEBHOOK_URL": f"ftp://{marker}",
        "X__T401__ACCESS_TOKEN_FILE": f"/{marker}",
        "OWNCAST_WEBHOOK_TOKEN": f"{marker} {marker}",
    }
    told = run(canaries, tmp_path, "check", "--offline", **wrong)
    assert told.count("\n") >= len(wrong)
    assert canaries.found(told) == []
    database = f"postgresql://me:{marker}@127.0.0.1:1/a?password={marker}"
    for address in (database, f"{marker}://me", f"sqlite:////proc/{marker}/a.db", marker):
        told = run(canaries, tmp_path, "history", ANNOUNCER_DATABASE_URL=address)
        assert "ANNOUNCER_DATABASE_URL" in told
        assert canaries.found(told) == []


def groups(there: wiring.Settings) -> Iterator[Any]:
    yield there
    for group in (there.service, *there.channels.values(), *there.destinations.values()):
        yield group
        yield group.model_dump()
        yield group.model_dump_json()
        yield {name: getattr(group, name) for name in type(group).model_fields}
        yield vars(group)


def test_g21_nothing_of_ours_shows_a_secret_when_it_is_printed(
    street: Street, tmp_path: Path
) -> None:
    canaries = Canaries(street, tmp_path)
    there = wiring.read(canaries.variables)
    parts = wiring.assemble(there)
    try:
        for thing in (*groups(there), parts, there.again, there.redactor, vars(parts)):
            assert canaries.found(repr(thing) + str(thing)) == [], type(thing)
    finally:
        parts.stop(1)
        parts.outbox.engine.dispose()


@pytest.mark.parametrize("trouble", [trouble for trouble in TROUBLES if trouble != "bug"])
def test_g21_what_a_network_raises_drags_no_secret_along(
    street: Street, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it comes from quotes addresses and headers: the next who logs it would tell them."""
    monkeypatch.setattr(wire, "READ", 0.3)
    canaries = Canaries(street, tmp_path)
    there = wiring.read(canaries.variables)
    for name, network in there.destinations.items():
        if not name.endswith(f".{trouble}"):
            continue
        with pytest.raises(DeliveryError) as raised:
            network.check()
        problem = without_secrets(raised.value, there.redactor)
        for link in chain(problem):
            told = "".join(traceback.format_exception(link)) + repr(link) + repr(vars(link))
            assert canaries.found(told) == [], f"{name}: {type(link).__name__}"


def chain(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__


def test_g21_a_new_network_is_covered_by_itself(street: Street, tmp_path: Path) -> None:
    markers = Canaries(street, tmp_path).markers
    for network in available():
        name = network.name
        fields = [field for field, info in network.model_fields.items() if is_secret(info)]
        assert fields, f"{name} has no secret: how does it prove itself?"
        for field in fields:
            assert any(
                one.startswith(name.upper()) and one.endswith(field.upper()) for one in markers
            )
