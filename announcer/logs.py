"""One line for each thing that happened, `key=value` or JSON, and no secret in any of them."""

import base64
import logging
import os
import select
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from math import isfinite
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus, urlsplit

import structlog

TALKATIVE = ("requests_oauthlib", "oauthlib", "tweepy", "mastodon", "alembic")
"""They log headers, tokens or signature strings at DEBUG (libraries' sources)."""
QUIET = ("urllib3", "apscheduler")
"""urllib3 quotes the full address of a request at WARNING; APScheduler warns of a tick that found
another one at work, which is how it is meant to be.
"""
PIECE = 4096
"""Bytes that a pipe takes without waiting once it takes any (PIPE_BUF of Linux)."""
PATIENCE = 0.2
"""Seconds that a line waits for whoever reads the log, once. After that it is lost, and so is
every further one at once, until there is room again.
"""
SHORTEST = 6
"""A secret with fewer characters is not searched for: it would garble ordinary words."""


class Redactor:
    """Takes every secret out of a text, plain, percent-encoded or in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: list[str] = []
        self._heads: set[str] = set()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Take these out, too, from now on."""
        forms = set(self._forms)
        for secret in secrets:
            for part in (secret, *_parts_of_address(secret)):
                forms |= {part, quote(part, safe=""), quote_plus(part), *_in_base64(part)}
        # The longest first, so that no remainder of a longer one is left.
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len)[::-1]
        self._heads = {form[:SHORTEST] for form in self._forms}

    def __call__(self, text: str) -> str:
        # A host of a thousand channels has some ten thousand forms: seldom is one worth a look.
        heads = {text[at : at + SHORTEST] for at in range(len(text) - SHORTEST + 1)} & self._heads
        for form in self._forms if heads else ():
            if form[:SHORTEST] in heads:
                text = _without_beginning(text.replace(form, "***"), form)
        return text

    def process(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> Mapping[str, Any]:
        """As a structlog processor."""
        return {
            key: self(value) if isinstance(value, str) else self._any(value)
            for key, value in event.items()
        }

    def _any(self, value: Any) -> Any:
        if (
            value is None
            or isinstance(value, int)
            or (isinstance(value, float) and isfinite(value))
        ):
            return value
        return self(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _without_beginning(text: str, form: str) -> str:
    """What a network says is shortened before it comes here, maybe in the middle of a secret."""
    cuts = [at for at, sign in enumerate(text) if sign == "…"] + [len(text)]
    for cut in reversed(cuts):
        begin = text.rfind(form[:SHORTEST], 0, cut)
        if begin >= 0 and form.startswith(text[begin:cut]):
            text = f"{text[:begin]}***{text[cut:]}"
    return text


def _in_base64(secret: str) -> Iterator[str]:
    """What stays of *secret* wherever it begins in what is encoded, such as `name:secret`."""
    raw = secret.encode()
    for before in range(3):
        coded = base64.b64encode(bytes(before) + raw)
        sure = coded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6].decode()
        yield sure
        yield sure.replace("+", "-").replace("/", "_")


def _parts_of_address(secret: str) -> list[str]:
    """Of a webhook's address the path is as telling as the whole; urllib3 quotes just that."""
    if not secret.startswith(("https://", "http://")):
        return []
    path = urlsplit(secret).path
    return [path, *(part for part in path.split("/") if len(part) >= 16)]


class Unhurried(logging.StreamHandler[TextIO]):
    """Never waits long for whoever reads the log: a pipe that nobody empties, a terminal that was
    stopped or a full disk costs lines and not announcements. How many is said when there is room.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lost, self._torn = 0, False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._lost:
                self._write(self._remark(record))
                self._lost = 0
            self._write(line)
        except OSError:
            self._lost += 1
        except Exception:  # noqa: BLE001  # as logging has it: a line is no reason to stop
            self.handleError(record)

    def _remark(self, record: logging.LogRecord) -> str:
        """What is said of the lines that were lost before *record*."""
        text = f"{self._lost} lines were lost: nobody read them, or their disk was full"
        remark = logging.makeLogRecord({"name": __name__, "msg": text, "created": record.created})
        remark.levelno, remark.levelname = logging.WARNING, "WARNING"
        return self.format(remark)

    def _write(self, line: str) -> None:
        """Raises OSError if it would have to wait."""
        try:
            file = self.stream.fileno()
        except OSError:  # a made-up stream, which takes everything
            self.stream.write(f"{line}\n")
            return
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        if self._torn:  # the last line that was lost had begun already
            data = b"\n" + data
        poll = select.poll()
        poll.register(file, select.POLLOUT)
        while data:
            if not poll.poll(0 if self._lost else PATIENCE * 1000):
                raise BlockingIOError
            data = data[os.write(file, data[:PIECE]) :]
            self._torn = bool(data)


def configure(level: str, style: Literal["console", "json"], redactor: Redactor) -> None:
    """Send everything to stderr, the libraries' lines too, through *redactor*."""
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderers: list[Any] = [
        _visible,
        structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "logger", "event"], drop_missing=True
        ),
    ]
    if style == "json":
        renderers = [structlog.processors.JSONRenderer(ensure_ascii=True)]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _without_none,
            redactor.process,
            *renderers,
        ],
    )
    handler = Unhurried()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def _without_none(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None}


def _visible(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Without characters that a terminal or a reader of lines obeys. The renderer escapes LF."""
    return {
        key: _escaped(value) if isinstance(value, str) else value for key, value in event.items()
    }


def _escaped(text: str) -> str:
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )
