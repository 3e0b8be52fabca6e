"""What happened since the start, counted and timed, for Prometheus.

Labels have few values, all of them ours: never an address, a title or what a stranger wrote. What
is a state and no happening is read where it stands, when somebody asks: see `web.scrape`.
Source: prometheus.io, Metric and label naming; Instrumentation.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's
"""One more series for each, which nothing needs. It is a switch for the whole process."""

TAKEN = "taken"
"""What becomes of a webhook that is an event of ours."""
NO_KIND = "none"
"""The kind of a webhook that is no event of ours."""
ANSWERED = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TRIED = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
TOLD = (5.0, 15.0, 30.0, 35.0, 40.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0)
"""Seconds from a start: around the 30 s of the hold it matters most."""


class Metrics(Collector):
    """Of one service. From any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=True)
        self.answered = Histogram(
            "announcer_webhook_duration_seconds",
            "Time until Owncast got its answer, refusals included.",
            buckets=ANSWERED,
            registry=registry,
        )
        self._webhooks = Counter(
            "announcer_webhooks",
            "Webhooks by what became of them, and the kind of event.",
            ["outcome", "kind"],
            registry=registry,
        )
        self._outdated = Counter(
            "announcer_webhooks_by_previous_secret",
            "Webhooks proved by the secret or token before: Owncast does not know the new one yet.",
            registry=registry,
        )
        self._events = Counter(
            "announcer_events",
            "Events stored. Those that were found by asking Owncast had lost their webhook.",
            ["kind", "source"],
            registry=registry,
        )
        self._tries = Histogram(
            "announcer_try_duration_seconds",
            "Time that a network took for one try.",
            ["destination", "step", "outcome"],
            buckets=TRIED,
            registry=registry,
        )
        self._retries = Counter(
            "announcer_retries",
            "Tries of a post that had been tried before.",
            ["destination"],
            registry=registry,
        )
        self._posts = Counter(
            "announcer_posts",
            "Posts that came to rest, again after each change, by what became of them.",
            ["destination", "moment", "state"],
            registry=registry,
        )
        self._told = Histogram(
            "announcer_start_to_post_seconds",
            "Time from the start of a broadcast until its announcement was up.",
            ["destination"],
            buckets=TOLD,
            registry=registry,
        )

    def expect(
        self,
        outcomes: Iterable[str] = (),
        kinds: Iterable[str] = (),
        destinations: Iterable[str] = (),
        rests: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Begin with zeros: of what appears as one, Prometheus sees no increase. *rests* are
        moments and states.
        """
        for outcome in outcomes:
            self._webhooks.labels(outcome, NO_KIND)
        for kind in kinds:
            self._webhooks.labels(TAKEN, kind)
            for source in ("webhook", "watch"):
                self._events.labels(kind, source)
        rests = list(rests)
        for destination in destinations:
            self._retries.labels(destination)
            self._told.labels(destination)
            for moment, state in rests:
                self._posts.labels(destination, moment, state)

    def webhook(self, outcome: str, kind: str = NO_KIND) -> None:
        self._webhooks.labels(outcome, kind).inc()

    def outdated(self) -> None:
        self._outdated.inc()

    def event(self, kind: str, *, found: bool) -> None:
        self._events.labels(kind, "watch" if found else "webhook").inc()

    def tried(self, destination: str, step: str, outcome: str, took: float, *, again: bool) -> None:
        self._tries.labels(destination, step, outcome).observe(took)
        if again:
            self._retries.labels(destination).inc()

    def rested(self, destination: str, moment: str, state: str) -> None:
        self._posts.labels(destination, moment, state).inc()

    def told(self, destination: str, seconds: float) -> None:
        self._told.labels(destination).observe(max(0.0, seconds))

    def collect(self) -> Iterable[Metric]:
        return self._registry.collect()
