"""Spans for OpenTelemetry, if somebody collects them: webhook, intake, delivery, try.

All that is done for one broadcast is one trace, whichever process did it and whenever: its id is
made from the broadcast's, as the idempotency keys are, so nothing has to be handed on or stored. A
span is told when it is over, to a queue that never waits. Off, which is the default, nothing is
imported and a span costs a call. What a span says is ours, never an address, a title or a secret.
Source: opentelemetry.io, OTLP Exporter Configuration; OTLP Specification, OTLP/HTTP.
"""

import logging
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import structlog
from pydantic import TypeAdapter, ValidationError

from announcer import wire
from announcer.settings import BaseUrl

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = structlog.get_logger("announcer.tracing")

TOTAL = 10.0
"""Seconds for one request to the collector."""
QUEUE = 2048
"""Spans that wait for it. One more, and the oldest is lost."""
EVERY = 5_000.0
"""Milliseconds between two requests."""
HEADER = re.compile(r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*([^,]*)")
MISSING = "traces are off: they need `pip install announcer[tracing]`"
NO_HTTP = "traces are off: we speak OTLP over HTTP (port 4318), not gRPC"


@dataclass(frozen=True)
class Collector:
    """Where spans are sent to, with which *headers*, and as whose."""

    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service: str = "announcer"


class Tracing:
    """Off."""

    def span(
        self,
        name: str,
        show: str,
        begun: int,
        ended: int | None = None,
        *,
        me: str = "",
        parent: str = "",
        failed: bool = False,
        **said: str | int,
    ) -> None:
        """Something is over that was done for the broadcast *show*; empty for none. Times are
        nanoseconds since the epoch; without an end it is now. *me* is what others call their
        *parent*; without one it is the broadcast itself.
        """

    def stop(self, patience: float) -> None:
        """Send what there is, for *patience* seconds at most."""


OFF = Tracing()


def collector(variables: Mapping[str, str], warnings: list[str]) -> Collector | None:
    """As the variables of OpenTelemetry say; None if there is none, or none of use. Raises
    ValueError, which tells no value.
    """
    given = {name: value.strip() for name, value in variables.items() if name.startswith("OTEL_")}
    base = given.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    address = given.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base and f"{base}/v1/traces")
    off = given.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not address or off or given.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if "grpc" in (_special(given, "PROTOCOL") or ""):
        warnings.append(NO_HTTP)
        return None
    try:
        TypeAdapter(BaseUrl).validate_python(address)
    except ValidationError as problem:
        said = problem.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT {said}") from None
    if not _installed():
        warnings.append(MISSING)
        return None
    headers = _headers(_special(given, "HEADERS"))
    return Collector(address, headers, given.get("OTEL_SERVICE_NAME") or "announcer")


def start(place: Collector | None) -> Tracing:
    return Exported(place) if place else OFF


class Exported(Tracing):
    """Sends spans to *place*, from a thread of its own."""

    def __init__(self, place: Collector) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = {"service.name": place.service, "service.version": version("announcer")}
        self._resource = Resource.create(about)
        self._processor = BatchSpanProcessor(cast("SpanExporter", _Sender(place)), QUEUE, EVERY)

    def span(
        self,
        name: str,
        show: str,
        begun: int,
        ended: int | None = None,
        *,
        me: str = "",
        parent: str = "",
        failed: bool = False,
        **said: str | int,
    ) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import ReadableSpan

        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        number = _number(show or secrets.token_hex(16), 16)

        def place(who: str) -> trace.SpanContext:
            one = _number(who or secrets.token_hex(8), 8)
            return trace.SpanContext(number, one, is_remote=False, trace_flags=sampled)

        above = parent or show
        self._processor.on_end(
            ReadableSpan(
                name,
                place(me),
                parent=place(above) if above and above != me else None,
                resource=self._resource,
                attributes={f"announcer.{what}": value for what, value in said.items() if value},
                kind=trace.SpanKind.SERVER if name == "webhook" else trace.SpanKind.INTERNAL,
                status=trace.Status(trace.StatusCode.ERROR) if failed else trace.Status(),
                start_time=begun,
                end_time=max(begun, ended or time.time_ns()),
            )
        )

    def stop(self, patience: float) -> None:
        # By itself it would take up to 30 s.
        ending = threading.Thread(target=self._processor.shutdown, name="tracing", daemon=True)
        ending.start()
        ending.join(patience)


class _Sender:
    """OpenTelemetry's exporter, by our one door. Says once when nobody takes them, and once when
    somebody does again; what the library says each time quotes addresses.
    """

    def __init__(self, place: Collector) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        session = wire.Session(place.address, total=TOTAL)
        self._exporter = OTLPSpanExporter(
            place.address, headers=dict(place.headers), timeout=TOTAL, session=session
        )
        self._taken = True

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        result = self._exporter.export(spans)
        taken = result.name == "SUCCESS"
        if taken != self._taken:
            self._taken = taken
            (log.info if taken else log.warning)(
                "traces", outcome="taken again" if taken else "nobody takes them"
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library's

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _number(name: str, size: int) -> int:
    """An id of *size* bytes for whoever is called so. Never 0, which is none."""
    return int.from_bytes(sha256(f"announcer {size} {name}".encode()).digest()[:size]) or 1


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _special(given: Mapping[str, str], what: str) -> str:
    """What is said for traces, or else for all that is exported."""
    return given.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}") or given.get(
        f"OTEL_EXPORTER_OTLP_{what}", ""
    )


def _headers(text: str) -> Mapping[str, str]:
    found = {}
    for pair in filter(str.strip, text.split(",")):
        match = HEADER.fullmatch(pair)
        value = unquote(match[2].strip()) if match else ""
        if match is None or not value.isprintable():
            raise ValueError(
                "OTEL_EXPORTER_OTLP_HEADERS must be written like name=value,name=value"
            )
        found[match[1]] = value
    return found
