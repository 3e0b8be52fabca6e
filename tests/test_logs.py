"""What the log says: one line for each thing, readable by machines, and no secret in any form."""

import json
import logging
import os
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fcntl import F_SETPIPE_SZ, fcntl
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import pytest
import requests
import structlog
from pydantic import SecretStr

from announcer.logs import QUIET, TALKATIVE, Redactor, configure
from announcer.network import Moment, Post
from announcer.networks.x import X
from tests.house import DISCORD, own_logging

SECRET = "s3cret with/odd+signs=&ä?>"
PLAIN = "an-ordinary-secret"
WORD = DISCORD.rpartition("/")[2]
"""The part of a Discord webhook that makes it one."""

Read = Callable[[], list[str]]
STYLES = pytest.mark.parametrize("style", ["console", "json"])


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with own_logging():
        yield


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Read:
    """Everything written to stderr so far, by line as a reader of a log file splits it."""

    def read() -> list[str]:
        written = capsys.readouterr()
        assert written.out == ""
        return written.err.split("\n")[:-1]

    return read


def set_up(style: Any = "console", level: str = "info") -> None:
    configure(level, style, Redactor([SECRET, PLAIN, DISCORD]))


def fresh() -> Any:
    """A logger that remembers no other test's configuration."""
    return structlog.get_logger(f"announcer.test{len(logging.root.manager.loggerDict)}")


# No secret


def packed(before: int, encode: Callable[[bytes], bytes] = b64encode) -> tuple[str, str]:
    """In base64, *before* bytes in front and one behind; and what of that is the secret's only."""
    text = encode(b"n" * before + SECRET.encode() + b"!").decode()
    return text, text[(before + 2) * 4 // 3 : -4]


FORMS = {
    "plain": (SECRET, SECRET),
    "percent-encoded": (quote(SECRET, safe=""), quote(SECRET, safe="")),
    "as a form": (quote_plus(SECRET), quote_plus(SECRET)),
    "base64 for addresses": packed(0, urlsafe_b64encode),
    **{f"base64 after {before} bytes": packed(before) for before in range(4)},
    "another one": (PLAIN, PLAIN),
    "a webhook": (DISCORD, WORD),
    "a webhook's path": (f"POST /api/webhooks/17/{WORD}?wait=true HTTP/1.1", WORD),
    "a webhook at another version": (f"https://discord.com/api/v10/webhooks/17/{WORD}/x", WORD),
}
"""How a secret may stand in a text, and what of that nobody may read."""


@STYLES
@pytest.mark.parametrize(("form", "telling"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    "say",
    [
        pytest.param(lambda log, form: log.info("post", reason=form), id="value"),
        pytest.param(lambda log, form: log.info(form), id="event"),
        pytest.param(lambda log, form: log.info("post %s", form), id="argument"),
        pytest.param(lambda log, form: log.info("post", many=[{"deep": (form,)}]), id="nested"),
        pytest.param(lambda log, form: log.info("post", raw=form.encode()), id="bytes"),
        pytest.param(lambda log, form: log.info("post", problem=ValueError(form)), id="problem"),
    ],
)
def test_a_secret_is_never_said(
    lines: Read, style: str, form: str, telling: str, say: Callable[[Any, str], None]
) -> None:
    set_up(style)
    say(fresh(), f"<{form}>")
    (line,) = lines()
    assert "***" in line
    assert telling not in line
    assert json.dumps(telling)[1:-1] not in line


@STYLES
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "a library's"])
def test_a_traceback_holds_no_secret_either(lines: Read, style: str, ours: bool) -> None:
    set_up(style)
    try:
        try:
            raise requests.ConnectionError(f"POST {DISCORD}?wait=true refused {SECRET}")
        except requests.RequestException as problem:
            problem.add_note(f"a note with {PLAIN}")
            raise RuntimeError(f"second: {quote(SECRET, safe='')}") from problem
    except RuntimeError:
        if ours:
            fresh().exception("bug", post="b/live/discord")
        else:
            logging.getLogger("somebody").exception("it broke at %s", DISCORD)
    (line,) = lines()
    assert "RuntimeError" in line
    assert "ConnectionError" in line
    for secret in (SECRET, quote(SECRET, safe=""), PLAIN, WORD):
        assert secret not in line


@pytest.mark.parametrize("name", [*TALKATIVE, *QUIET])
def test_what_libraries_say_while_debugging_is_not_ours_to_log(lines: Read, name: str) -> None:
    """They log what they sign, and headers with tokens that no redactor has heard of."""
    set_up(level="debug")
    logging.getLogger(name).debug("token of a session")
    logging.getLogger(f"{name}.inner").info("token of a session")
    logging.getLogger("somebody").debug("harmless")
    (line,) = lines()
    assert "harmless" in line


def test_urllib3_may_not_warn_of_an_address(lines: Read) -> None:
    set_up(level="debug")
    logging.getLogger("urllib3.connection").warning("Failed to parse headers (url=%s)", DISCORD)
    assert lines() == []
    logging.getLogger("urllib3.connection").error("It broke at %s", DISCORD)
    (line,) = lines()
    assert WORD not in line


class Answering(BaseHTTPRequestHandler):
    """X on loopback: takes every post."""

    def do_POST(self) -> None:  # the name is http.server's
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"data": {"id": "7", "text": "We are live"}}'
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def test_a_real_post_to_x_leaves_nothing_in_a_debug_log(lines: Read) -> None:
    """Through tweepy, requests_oauthlib, oauthlib and urllib3 as they are, down to the socket."""
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    tokens = [f"canary-{name}-of-x" for name in ("key", "secret", "token", "token-secret")]
    try:
        configure("debug", "console", Redactor([]))  # that nothing is said must not depend on it
        account = X(
            consumer_key=SecretStr(tokens[0]),
            consumer_secret=SecretStr(tokens[1]),
            access_token=SecretStr(tokens[2]),
            access_token_secret=SecretStr(tokens[3]),
            api_base_url=f"http://127.0.0.1:{server.server_port}",
        )
        now = datetime.now(UTC)
        post = Post("b/live/x", Moment.LIVE, Moment.LIVE, "We are live", now, now, "k")
        assert account.publish(post).id == "7"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    said = "\n".join(lines())
    assert not [token for token in tokens if token in said]
    assert "oauth_signature" not in said


def test_a_short_secret_does_not_garble_ordinary_words(lines: Read) -> None:
    configure("info", "console", Redactor(["post", "", "a"]))
    fresh().info("post", reason="a post was posted")
    (line,) = lines()
    assert "a post was posted" in line


def test_a_secret_within_another_leaves_no_rest() -> None:
    redact = Redactor(["long-secret", "long-secret-and-longer"])
    assert redact("<long-secret-and-longer> <long-secret>") == "<***> <***>"


def test_the_host_of_a_webhook_may_be_said() -> None:
    """Else nobody could tell which network is meant."""
    assert Redactor([DISCORD])("discord.com answers 404") == "discord.com answers 404"


# One line


@STYLES
@pytest.mark.parametrize(
    "evil",
    [
        "\n", "\r", "\r\n", "\0", "\x0b", "\x0c", "\x1b[2J\x1b]0;title\x07", "\x7f", "\x85",
        "\x9b2J", "\u2028", "\u2029", "\u202e", "\ud83d", "\x1c\x1d\x1e",
    ],
    ids=ascii,
)  # fmt: skip
def test_f04_no_value_can_begin_a_line_or_steer_a_terminal(
    lines: Read, style: str, evil: str
) -> None:
    set_up(style)
    forged = f"title{evil}timestamp=now level=critical event=forged"
    fresh().info("event", title=forged, other=[forged])
    logging.getLogger("somebody").warning("a %s", forged)
    written = lines()
    assert len(written) == 2
    for line in written:
        assert line.isprintable()
        assert len(line.splitlines()) == 1


@STYLES
def test_a_traceback_is_one_line(lines: Read, style: str) -> None:
    set_up(style)
    try:
        raise ValueError("two\r\nlines")
    except ValueError:
        fresh().exception("bug")
    (line,) = lines()
    assert "ValueError" in line


# For machines


def test_json_lines_are_json_whatever_is_in_them(lines: Read) -> None:
    set_up("json")
    fresh().warning(
        "post",
        tries=3,
        ok=True,
        none=None,
        wait=timedelta(seconds=3),
        at=datetime(2026, 11, 23, tzinfo=UTC),
        odd='"\\ \ud83d ä 🔴',
        big=float("inf"),
        no_number=float("nan"),
    )
    logging.getLogger("somebody").error("plain %s", "words")
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines())
    assert (first["event"], first["level"], first["tries"]) == ("post", "warning", 3)
    assert first["ok"] is True
    assert "none" not in first
    assert first["at"].startswith("2026-11-23")
    assert (second["event"], second["logger"]) == ("plain words", "somebody")
    for line in (first, second):
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta()


def test_c05_console_lines_begin_with_time_level_and_place(lines: Read) -> None:
    set_up()
    fresh().info("post", post="b/live/x", reason="two words")
    (line,) = lines()
    time, level, logger, event, *rest = line.split(" ")
    assert datetime.fromisoformat(time.removeprefix("timestamp=")).utcoffset() == timedelta()
    assert (level, event) == ("level=info", "event=post")
    assert logger.startswith("logger=announcer.")
    assert " ".join(rest) == 'post=b/live/x reason="two words"'


@pytest.mark.parametrize(
    ("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_the_level_is_obeyed_for_ours_and_for_others(lines: Read, level: str, heard: int) -> None:
    set_up(level=level)
    for log in (fresh(), logging.getLogger("somebody")):
        for method in ("debug", "info", "warning", "error"):
            getattr(log, method)("x")
    assert len(lines()) == 2 * heard


def test_to_configure_twice_is_not_to_say_twice(lines: Read) -> None:
    set_up()
    set_up()
    fresh().info("once")
    assert len(lines()) == 1


# Nobody reads it


@dataclass
class Pipe:
    """It holds 16 KiB, and nobody reads it but the test."""

    reader: int
    stream: TextIO

    def set_up(self) -> Any:
        """A logger that writes into it. pytest sets stderr anew for every phase of a test."""
        with redirect_stderr(self.stream):
            set_up()
        return fresh()

    def drained(self) -> str:
        found = b""
        with suppress(BlockingIOError):
            while piece := os.read(self.reader, 65536):
                found += piece
        return found.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    fcntl(writer, F_SETPIPE_SZ, 16384)
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream:
        yield Pipe(reader, stream)
    os.close(reader)


def test_g16_lines_that_nobody_reads_are_lost_at_once_and_counted(pipe: Pipe) -> None:
    log = pipe.set_up()
    began = time.monotonic()
    for number in range(1000):
        log.info("post", number=number)
    assert time.monotonic() - began < 2
    kept = pipe.drained().splitlines()
    assert 100 < len(kept) < 200
    log.info("post", number="last")
    remark, last = pipe.drained().splitlines()
    assert f"{1000 - len(kept)} lines were lost" in remark
    assert "level=warning logger=announcer.logs" in remark
    assert "number=last" in last
    log.info("post", number="after")
    assert len(pipe.drained().splitlines()) == 1, "it is said once"


def test_g16_a_line_that_is_torn_does_not_spoil_the_next(pipe: Pipe) -> None:
    log = pipe.set_up()
    log.info("post", text="x" * 50_000)
    torn = pipe.drained()
    assert len(torn) == 16384
    log.info("post", number=1)
    end, remark, line = pipe.drained().splitlines()
    assert end == "", "the torn one is ended first"
    assert "1 lines were lost" in remark
    assert "number=1" in line


def test_g16_a_long_line_is_whole_where_somebody_reads(pipe: Pipe) -> None:
    log = pipe.set_up()
    os.set_blocking(pipe.reader, True)
    found: list[str] = []

    def read() -> None:
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(pipe.reader, 1000)
        found.append(text.decode())

    reading = threading.Thread(target=read)
    reading.start()
    log.info("post", text="ä" * 50_000)
    reading.join(10)
    assert found[0].count("ä") == 50_000
    assert "lost" not in found[0]


def test_g16_a_reader_that_went_away_is_no_reason_to_stop(pipe: Pipe) -> None:
    log = pipe.set_up()
    nobody = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nobody, pipe.reader)
    os.close(nobody)
    log.info("post")
    log.info("post")


@pytest.mark.parametrize("ending", ["…", "", "… (again)"])
@pytest.mark.parametrize("left", [8, 15, 22])
def test_g21_a_secret_that_was_cut_short_is_taken_out_as_well(left: int, ending: str) -> None:
    """A network's words are shortened before anybody looks for secrets in them."""
    secret = "an-unguessable-word-of-a-bot"
    told = Redactor([secret])(f"500 it heard {secret[:left]}{ending}")
    assert told == f"500 it heard ***{ending}"
    assert Redactor([secret])("an-unguided tour of a bot…") == "an-unguided tour of a bot…"
