"""The dashboard and the alerts ask for what there is: every metric, label and value is in a scrape,
and the page that lists them is complete.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]  # it ships none
from prometheus_client.parser import text_string_to_metric_families

from announcer.contract.fake import Wire
from announcer.network import TryLater
from announcer.policy import State
from tests.house import ONE, House, house
from tests.running import payload
from tests.test_metrics import deliver, go_live, with_fake

DOCS = Path(__file__).parents[1] / "docs"
TARGET = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""
TIMELESS = {"up": {"job": {"announcer"}, "instance": {""}}}
"""What it knows by itself of whom it scrapes."""
WORDS = {
    *("by", "without", "on", "or", "and", "unless", "bool", "offset"),
    *("sum", "min", "max", "time", "rate", "increase", "histogram_quantile", "vector"),
    *("max_over_time", "min_over_time", "label_values"),
}


class Query(NamedTuple):
    """One question, where it stands, and the labels that its legend or text names."""

    where: str
    asks: str
    names: set[str]


def of_dashboard() -> Iterator[Query]:
    board = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            yield Query(panel["title"], target["expr"], named)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            inside = variable["definition"].removeprefix("label_values(").rstrip(")")
            metric, _, label = inside.partition(", ")
            yield Query(variable["name"], metric, {label})


def rules() -> list[dict[str, Any]]:
    said = yaml.safe_load((DOCS / "alerts.yaml").read_text("utf-8"))
    return [rule for group in said["groups"] for rule in group["rules"]]


def of_alerts() -> Iterator[Query]:
    for rule in rules():
        told = " ".join(rule["annotations"].values())
        yield Query(rule["alert"], rule["expr"], set(re.findall(r"\$labels\.(\w+)", told)))


QUERIES = [*of_dashboard(), *of_alerts()]
Samples = dict[str, dict[str, set[str]]]
"""The values of each label of each sample."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    """The scrape of a service to which everything has happened."""
    wire = Wire()
    wire.always("GET", "", 404)
    wire.always("GET", "/api/status", 200, {"online": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("announcer.wire.Adapter.send", lambda _, sent, **__: wire.take(sent, None))
        folder = tmp_path_factory.mktemp("busy")
        with house(folder, {**ONE, "ANNOUNCER_HOLD": "0s"}) as there:
            yield samples(busy(there))


def busy(there: House) -> House:
    with_fake(there, TryLater("503"))
    there.hear(payload("0.3-stream-started"))
    deliver(there)
    deliver(there)
    go_live(there)
    with there.parts.outbox.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE posts SET state = 'due', next_at = 1")
    there.parts.patrols[0].look()
    return there


def samples(there: House) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(there.client.get("/metrics").text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found | TIMELESS


def asked(query: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The metrics in *query*, each with its matchers."""
    plain = re.sub(r"\b(by|without|on)\s*\([^)]*\)", " ", query)
    pieces = re.finditer(r"([a-z_][a-z0-9_]*)\s*(\{(?:[^}\"]|\"[^\"]*\")*\})?", blank(plain))
    matcher = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
    return [
        (piece[1], matcher.findall(piece[2] or "")) for piece in pieces if piece[1] not in WORDS
    ]


def blank(query: str) -> str:
    """Without ranges, such as `[15m]`."""
    return re.sub(r"\[[^]]*\]", " ", query)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_every_query_names_metrics_labels_and_values_that_exist(
    query: Query, everything: Samples
) -> None:
    metrics = asked(query.asks)
    assert metrics
    for name, matchers in metrics:
        assert name in everything, f"no such metric: {name}"
        labels = everything[name]
        for label, how, value in matchers:
            if label in TARGET:
                continue
            assert label in labels, f"{name} has no label {label}"
            values = re.split(r"\|", value) if "~" in how else [value]
            assert set(values) <= labels[label], f"{name}{{{label}}} is never {value}"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_every_label_that_is_grouped_by_or_shown_is_there(
    query: Query, everything: Samples
) -> None:
    known = {label for name, _ in asked(query.asks) for label in everything[name]} | TARGET
    groups = re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", query.asks)
    named = {label.strip() for group in groups for label in group.split(",")}
    assert named <= known
    kept = named if groups else known
    if "sum" in query.asks or "max" in query.asks:
        kept = kept - TARGET if not named & TARGET else kept
    assert query.names <= kept, "it would be shown empty"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_counters_are_only_asked_for_their_growth(query: Query, everything: Samples) -> None:
    """They begin anew with every start."""
    for name, _ in asked(query.asks):
        if re.search("_(total|count|sum|bucket)$", name):
            assert re.search(rf"(rate|increase)\({name}\b", query.asks), query.asks


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_every_query_is_whole(query: Query) -> None:
    for opening, closing in ("()", "{}", "[]"):
        assert query.asks.count(opening) == query.asks.count(closing)
    assert query.asks.count('"') % 2 == 0


def test_a_query_is_read_as_it_is_meant() -> None:
    """Or the tests above could not fail."""
    asks = 'sum by (a, le) (rate(x_total{b="c d|e",f=~"g|h"}[5m])) - max(y) or vector(0)'
    assert asked(asks) == [("x_total", [("b", "=", "c d|e"), ("f", "=~", "g|h")]), ("y", [])]


def test_every_metric_is_on_the_page_with_its_labels(everything: Samples) -> None:
    page = (DOCS / "operating.md").read_text("utf-8")
    rows = re.findall(r"^\| `(announcer_\w+)` \| (.*?) ?\| .+ \|$", page, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    there = {
        re.sub("_(bucket|count|sum)$", "", name): labels.keys() - {"le"}
        for name, labels in everything.items()
        if name.startswith("announcer_")
    }
    assert told == there


def test_every_metric_of_ours_is_shown_or_watched(everything: Samples) -> None:
    """One that nobody looks at is a cost without a use."""
    shown = {
        re.sub("_(bucket|count|sum)$", "", name) for one in QUERIES for name, _ in asked(one.asks)
    }
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in everything}
    assert not {name for name in ours if name.startswith("announcer_")} - shown


# What somebody does with them


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert len(rule["annotations"]["summary"]) < 100
    assert rule["annotations"]["description"].endswith(".")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_what_ends_badly_is_watched() -> None:
    asks = " ".join(query.asks for query in of_alerts())
    for state in (State.FAILED, State.UNSURE, "closed", "unreachable"):
        assert f'state="{state}"' in asks


def test_panels_lie_beside_each_other_and_have_a_source_to_choose() -> None:
    board = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
