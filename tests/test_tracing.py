"""Spans, as a collector gets them: one trace for each broadcast, nothing secret, nobody waits."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from announcer import tracing, wiring
from announcer.contract.fake import Wire
from announcer.events import Event, Kind, Status
from announcer.network import TryLater, Unsure
from announcer.settings import SettingsError
from tests.fakes import Fake, Findable, wait_until
from tests.house import ONE, House, house
from tests.running import payload
from tests.test_metrics import ALONE, deliver, with_fake
from tests.test_pages import EVERY_SECRET, HOSTILE

KEY = "a-secret-of-the-collectors"


@dataclass
class Receiver:
    """Speaks OTLP over HTTP, and understands what it gets."""

    spans: list[Span] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    raw: bytes = b""
    answers: int = 200
    gate: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}/",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={KEY},authorization=Basic%20{KEY}%3D",
        }

    def take(self, body: bytes) -> None:
        said = ExportTraceServiceRequest.FromString(body)
        self.raw += body
        for of_one in said.resource_spans:
            self.about |= {one.key: one.value.string_value for one in of_one.resource.attributes}
            for scope in of_one.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def said(span: Span) -> dict[str, str | int]:
    return {
        one.key.removeprefix("announcer."): one.value.string_value or one.value.int_value
        for one in span.attributes
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.gate.wait(20)
            made.paths.append(self.path)
            made.headers.append(dict(self.headers))
            if made.answers == 200:
                made.take(body)
            self.send_response(made.answers)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.gate.set()
    server.shutdown()
    server.server_close()


def broadcast(there: House, *problems: Exception, network: Fake | None = None) -> str:
    """A stream that is announced in the end. The key of its post."""
    with_fake(there, *problems, network=network)
    assert there.hear(payload("0.3-stream-started")).status_code == 204
    for _ in range(len(problems) + 1):
        deliver(there)
    ((key, *_),) = there.stored()["posts"]
    return str(key)


def test_a_broadcast_is_one_trace_from_webhook_to_try(tmp_path: Path, receiver: Receiver) -> None:
    with house(tmp_path, {**ALONE, **receiver.settings}) as there:
        key = broadcast(there, TryLater("503"))
    assert len({span.trace_id for span in receiver.spans}) == 1
    (root,) = (span for span in receiver.spans if not span.parent_span_id)
    assert (root.name, said(root)["broadcast"]) == ("broadcast", key.partition("/")[0])
    (webhook,) = receiver.named("webhook")
    (intake,) = receiver.named("intake")
    assert webhook.parent_span_id == root.span_id
    assert webhook.kind == Span.SPAN_KIND_SERVER
    assert intake.parent_span_id == webhook.span_id
    assert said(intake) == {"kind": "STREAM_STARTED", "because": "a new broadcast"}
    assert webhook.start_time_unix_nano <= intake.start_time_unix_nano
    deliveries = sorted(receiver.named("delivery"), key=lambda span: span.start_time_unix_nano)
    tries = sorted(receiver.named("try"), key=lambda span: span.start_time_unix_nano)
    assert [said(one) for one in deliveries] == [
        {"post": key, "destination": "discord", "tries": 1},
        {"post": key, "destination": "discord", "tries": 2},
    ]
    assert [one.parent_span_id for one in deliveries] == [root.span_id] * 2
    assert [one.parent_span_id for one in tries] == [one.span_id for one in deliveries]
    assert [(said(one)["post"], said(one)["outcome"]) for one in tries] == [
        (key, "TryLater"),
        (key, "delivered"),
    ]
    assert [one.status.code for one in tries] == [2, 0], "only what went wrong is an error"
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
    for span in receiver.spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 60


def test_a_restart_in_between_changes_nothing_of_that(tmp_path: Path, receiver: Receiver) -> None:
    settings = {**ALONE, **receiver.settings}
    with house(tmp_path, settings) as there:
        there.hear(payload("0.3-stream-started"))
    with house(tmp_path, settings) as again:
        with_fake(again)
        deliver(again)
    (root,) = (span for span in receiver.spans if not span.parent_span_id)
    (delivery,) = receiver.named("delivery")
    assert (delivery.trace_id, delivery.parent_span_id) == (root.trace_id, root.span_id)


def test_two_broadcasts_are_two_traces(tmp_path: Path, receiver: Receiver) -> None:
    settings = {**ALONE, **receiver.settings, "ANNOUNCER_RESUME": "0s"}
    with house(tmp_path, settings) as there:
        for number, kind in enumerate((Kind.STARTED, Kind.STOPPED, Kind.STARTED)):
            now = datetime.now(UTC)
            there.parts.intake.take(Event(f"e{number}", "default", kind, now), now)
    assert len(receiver.named("broadcast")) == 2
    assert len({span.trace_id for span in receiver.spans}) == 2


def test_what_watching_found_is_told_as_such(tmp_path: Path, receiver: Receiver) -> None:
    with house(tmp_path, {**ONE, **receiver.settings}) as there:
        (patrol,) = there.parts.patrols
        now = datetime.now(UTC)
        live = Status(online=True, connected=now, server=now, title="A title")
        patrol._compare(live, now, time.time_ns())
        patrol._compare(live, now, time.time_ns())
    (watch,) = receiver.named("watch")
    (intake,) = receiver.named("intake")
    assert intake.parent_span_id == watch.span_id
    assert not receiver.named("webhook")


def test_a_look_for_a_post_that_may_be_up_is_part_of_it(tmp_path: Path, receiver: Receiver) -> None:
    with house(tmp_path, {**ALONE, **receiver.settings}) as there:
        broadcast(there, Unsure("no answer"), network=Findable())
    assert len(receiver.named("delivery")) == 2
    assert len({span.trace_id for span in receiver.spans}) == 1


def test_what_is_of_no_interest_makes_no_span(tmp_path: Path, receiver: Receiver) -> None:
    with house(tmp_path, {**ALONE, **receiver.settings}) as there:
        there.hear(payload("0.1-chat"))
        there.hear(b"[]")
        there.hear_by_token(payload("0.3-stream-started"), "a-guess")
        there.client.get("/metrics")
        there.hear(payload("0.3-stream-started"))
        there.hear(payload("0.3-stream-started"))
    assert sorted(span.name for span in receiver.spans) == ["broadcast", "intake", "webhook"]


def test_an_event_that_could_not_be_stored_is_an_error(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.outbox.together.TURN", 0.1)
    with house(tmp_path, {**ALONE, **receiver.settings}) as there, there.parts.outbox.writing():
        assert there.hear(payload("0.3-stream-started")).status_code == 503
    (webhook,) = receiver.spans
    assert (webhook.name, webhook.status.code) == ("webhook", 2)


def test_it_is_sent_as_the_collector_wants_it(tmp_path: Path, receiver: Receiver) -> None:
    settings = {**receiver.settings, "OTEL_SERVICE_NAME": "kestrel-announcer"}
    with house(tmp_path, {**ALONE, **settings}) as there:
        there.hear(payload("0.3-stream-started"))
    assert set(receiver.paths) == {"/v1/traces"}
    headers = {name.lower(): value for name, value in receiver.headers[0].items()}
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["x-key"] == KEY
    assert headers["authorization"] == f"Basic {KEY}="
    assert receiver.about["service.name"] == "kestrel-announcer"
    assert receiver.about["service.version"]


def test_they_leave_by_the_one_door(tmp_path: Path, receiver: Receiver, wire: Wire) -> None:
    wire.always("POST", "/v1/traces", 200)
    with house(tmp_path, {**ALONE, **receiver.settings}) as there:
        there.hear(payload("0.3-stream-started"))
    (sent,) = wire.asked("/v1/traces")
    assert ExportTraceServiceRequest.FromString(sent.body).resource_spans
    assert not receiver.paths


def test_no_span_holds_an_address_a_title_or_a_secret(tmp_path: Path, receiver: Receiver) -> None:
    problem = TryLater("503 at https://discord.com/api/webhooks/17/canary-discord-webhook")
    with house(tmp_path, {**EVERY_SECRET, **receiver.settings, "ANNOUNCER_HOLD": "0s"}) as there:
        for name in list(there.parts.settings.destinations):
            with_fake(there, problem)
            there.parts.settings.destinations[name] = there.parts.settings.destinations["discord"]
        now = datetime.now(UTC)
        event = Event("e1", "default", Kind.STARTED, now, title=HOSTILE, name=HOSTILE)
        there.parts.intake.take(event, now)
        there.parts.delivery.run()
        wait_until(lambda: not there.parts.delivery._in_flight.total())
    assert receiver.named("try")
    for never in (b"http", b"canary", b"script", KEY.encode(), b"503", b"live.kestrel"):
        assert never not in receiver.raw


@pytest.mark.parametrize("trouble", ["refused", "silent", "broken"])
def test_a_collector_in_trouble_holds_up_nothing(
    tmp_path: Path, receiver: Receiver, trouble: str
) -> None:
    settings = dict(receiver.settings)
    if trouble == "refused":
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    elif trouble == "silent":
        receiver.gate.clear()
    else:
        receiver.answers = 503
    with structlog.testing.capture_logs() as lines, house(tmp_path, {**ALONE, **settings}) as there:
        begun = time.monotonic()
        broadcast(there)
        assert time.monotonic() - begun < 2
        begun = time.monotonic()
        assert there.parts.stop(5)
        assert time.monotonic() - begun < wiring.FLUSH + 1, "the last spans are not waited for"
    assert KEY not in repr(lines)
    assert "127.0.0.1" not in repr(lines)


def test_more_than_it_keeps_is_lost_and_nobody_waits(receiver: Receiver) -> None:
    receiver.gate.clear()
    there = tracing.start(tracing.collector(receiver.settings, []))
    begun = time.monotonic()
    for number in range(3 * tracing.QUEUE):
        there.span("delivery", "b", time.time_ns(), post=f"b/live/{number}")
    assert time.monotonic() - begun < 5
    there.stop(0.1)


def test_that_nobody_takes_them_is_said_once(receiver: Receiver) -> None:
    receiver.answers = 404
    sender = tracing._Sender(tracing.Collector(f"http://127.0.0.1:{receiver.port}/v1/traces"))
    with structlog.testing.capture_logs() as lines:
        for answer in (404, 404, 200, 200):
            receiver.answers = answer
            sender.export([])
    assert [line["outcome"] for line in lines] == ["nobody takes them", "taken again"]


# On and off


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        pytest.param({}, None, id="nothing set"),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
            "http://collector:4318/v1/traces",
            id="for all signals",
        ),
        pytest.param(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://tempo:4318/take",
            },
            "http://tempo:4318/take",
            id="for traces",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
            None,
            id="switched off",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
            None,
            id="no traces",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            None,
            id="another protocol",
        ),
    ],
)
def test_where_they_go(variables: Mapping[str, str], address: str | None) -> None:
    found = tracing.collector(variables, [])
    assert (found and found.address) == address


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "is not a web address"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{KEY}@c:4318"}, "user name or password"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://far.example"}, "use https"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_HEADERS": KEY},
            "name=value",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_HEADERS": "a=%0Ab"},
            "name=value",
        ),
    ],
)
def test_a_mistake_is_told_with_all_others(variables: Mapping[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as told:
        wiring.read({**ONE, **variables, "ANNOUNCER_PORT": "x"})
    assert len(told.value.problems) == 2
    assert problem in str(told.value)
    assert KEY not in str(told.value)


def test_the_collectors_secret_is_taken_out_of_everything(receiver: Receiver) -> None:
    settings = wiring.read({**ONE, **receiver.settings})
    assert KEY not in settings.redactor(f"it said {KEY} and Basic {KEY}=")
    assert KEY not in repr(settings)


def test_without_the_library_it_is_off_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_installed", lambda: False)
    settings = wiring.read({**ONE, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    assert settings.traces is None
    assert any("announcer[tracing]" in warning for warning in settings.warnings)


def test_a_variable_of_opentelemetrys_that_we_do_not_read_is_no_mistake() -> None:
    others = ("METRICS_ENDPOINT", "LOGS_HEADERS", "TIMEOUT", "CERTIFICATE", "COMPRESSION")
    settings = wiring.read({**ONE, **{f"OTEL_EXPORTER_OTLP_{one}": "x" for one in others}})
    assert settings.warnings == []


def test_off_nothing_is_loaded_and_a_span_costs_a_call(tmp_path: Path) -> None:
    program = (
        "import sys, timeit\n"
        "from announcer import wiring\n"
        "settings = wiring.read({'OWNCAST_URL': 'https://live.example',\n"
        f"  'ANNOUNCER_DATABASE_URL': 'sqlite:///{tmp_path}/a.db'}})\n"
        "parts = wiring.assemble(settings)\n"
        "span = lambda: parts.tracing.span('try', 'b', 1, me='a', post='b/live/c')\n"
        "cost = min(timeit.repeat(span, number=1000, repeat=5))\n"
        "assert cost < 0.02, cost\n"
        "print([name for name in sys.modules if 'opentelemetry' in name or 'google' in name])\n"
        "parts.stop(1)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert ran.stdout.strip().splitlines()[-1] == "[]"
