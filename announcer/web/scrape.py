"""For Prometheus: what happened, from `metrics`, and how things are, read when it asks.

Who may read the page may read this, too: it names accounts. A program proves itself by the token.
"""

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version

import structlog
from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from announcer.outbox import StorageError, cause_of
from announcer.policy import Sight
from announcer.web.door import Door
from announcer.wiring import Parts

log = structlog.get_logger("announcer.pages")

DESTINATION = ("open", "left alone", "closed")


def blueprint(parts: Parts, door: Door) -> Blueprint:
    scrape = Blueprint("scrape", __name__)
    registry = CollectorRegistry()
    registry.register(parts.metrics)
    registry.register(State(parts))
    ProcessCollector(registry=registry)

    @scrape.before_request
    def may() -> ResponseReturnValue | None:
        return door.lets_read(parts.settings.service.metrics_token)  # each time: it may change

    @scrape.get("/metrics")
    def metrics() -> ResponseReturnValue:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return scrape


class State(Collector):
    """How *parts* are right now. What can not be read is left out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def describe(self) -> Iterable[Metric]:
        """Nothing: to tell the names by collecting would ask the database at the start."""
        return ()

    def collect(self) -> Iterable[Metric]:
        built = {"version": version("announcer"), "python": platform.python_version()}
        yield _gauge("build_info", "What is running.", [(built, 1)])
        ticking = self._parts.clock.ticking()
        yield _gauge("clock_ticking", "Whether delivery is looked after.", [({}, ticking)])
        yield from self._watch()
        try:
            yield from list(self._stored())
            readable = True
        except StorageError as problem:
            log.error("page", outcome=503, reason=cause_of(problem))
            readable = False
        yield _gauge("database_up", "Whether the database can be read.", [({}, readable)])

    def _watch(self) -> Iterable[Metric]:
        patrols = self._parts.patrols
        yield _gauge(
            "watch_looking",
            "Whether the rounds that ask Owncast are made.",
            [({"channel": one.channel}, one.looking()) for one in patrols],
        )
        yield _gauge(
            "watch_state",
            "What Owncast showed last, 1 for one of these. None where another replica asks.",
            [
                ({"channel": one.channel, "state": sight.value}, one.seen is sight)
                for one in patrols
                if one.seen
                for sight in Sight
            ],
        )
        yield _gauge(
            "watch_last_answer_timestamp_seconds",
            "When Owncast answered last.",
            [
                ({"channel": one.channel}, one.answered.timestamp())
                for one in patrols
                if one.answered
            ],
        )

    def _stored(self) -> Iterable[Metric]:
        box, now = self._parts.outbox, datetime.now(UTC)
        open_ = box.under_way(now)
        counts = {
            "due": open_.due,
            "waiting": open_.waiting,
            "sending": open_.sending,
            "unsure": open_.unsure,
        }
        yield _gauge(
            "outbox_posts",
            "Posts that are due now, wait for their time, are on their way, or may be up.",
            [({"state": state}, number) for state, number in counts.items()],
        )
        yield _gauge(
            "outbox_oldest_due_timestamp_seconds",
            "Since when the first post has been due that nothing keeps waiting. None if none is.",
            [({}, open_.oldest.timestamp())] if open_.oldest else [],
        )
        closed, alone = box.closed(), box.breakers(now)
        yield _gauge(
            "destination_state",
            "1 for one of these: open, left alone for a while, or closed until it is changed.",
            [
                ({"destination": name, "state": state}, state == is_)
                for name in self._parts.settings.destinations
                for is_ in [_state(name in closed, name in alone)]
                for state in DESTINATION
            ],
        )
        paused = box.paused() is not None
        yield _gauge("paused", "Whether the operator has paused announcements.", [({}, paused)])
        yield _gauge("database_size_bytes", "What the database takes.", [({}, box.size())])


def _state(closed: bool, alone: bool) -> str:
    return "closed" if closed else "left alone" if alone else "open"


def _gauge(name: str, about: str, samples: list[tuple[dict[str, str], float]]) -> Metric:
    metric = GaugeMetricFamily(f"announcer_{name}", about)
    for labels, value in samples:
        metric.add_sample(f"announcer_{name}", labels, float(value))
    return metric
