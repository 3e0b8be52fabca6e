"""Every line that the log can have is described in docs/operating.md, with all that it can say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

import announcer
from announcer.web.crowd import Seldom
from announcer.web.gathering import Verdict
from announcer.web.worker import Worker, log
from tests.house import ONE, House, house

ROOT = Path(announcer.__file__).parent
PAGE = ROOT.parent / "docs/operating.md"
LEVELS = {
    **{level: level for level in ("debug", "info", "warning", "error", "critical")},
    "exception": "error",
}


class Line(NamedTuple):
    """One that the code can log."""

    event: str
    level: str
    says: frozenset[str]


def logged() -> Iterator[Line]:
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        seldom = [call for call in calls if ast.unparse(call.func) == "Seldom"]
        for call in calls:
            says = frozenset(str(one.arg) for one in call.keywords)
            if ast.unparse(call.func).endswith("seldom.warn"):
                (made,) = seldom
                event = ast.literal_eval(made.args[1])
                yield Line(event, "warning", says | {"unsaid"})
                continue
            for level in levels_of(call.func):
                event = ast.literal_eval(call.args[0])
                yield Line(event, level, says)


def levels_of(func: ast.expr) -> list[str]:
    """Of the logger's methods that are called there; none if it is something else."""
    if isinstance(func, ast.IfExp):
        return [*levels_of(func.body), *levels_of(func.orelse)]
    if isinstance(func, ast.Attribute) and func.attr in LEVELS:
        of = ast.unparse(func.value)
        return [LEVELS[func.attr]] if of == "log" or "get_logger" in of else []
    return []


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """The levels and the keys of each event, as the page has them."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([a-z, ]+) \| (.*?) \| .+ \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return {
        event: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", says)))
        for event, levels, says in rows
    }


def test_every_event_is_described_with_its_levels_and_all_that_it_says() -> None:
    found: dict[str, tuple[set[str], set[str]]] = {}
    for line in logged():
        levels, says = found.setdefault(line.event, (set(), set()))
        levels.add(line.level)
        says |= line.says
    assert len(found) > 15
    assert documented() == found


def test_no_call_of_a_logger_is_overlooked() -> None:
    """Or the test above could not fail. A logger under another name would be one."""
    for file in ROOT.rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and "get_logger" in ast.unparse(node.value):
                assert ast.unparse(node.targets[0]) == "log", file
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "log":
                assert node.attr in LEVELS, f"{file}: log.{node.attr}"
            hidden = isinstance(node, ast.Assign | ast.NamedExpr) and levels_of(
                node.value.func if isinstance(node.value, ast.Call) else node.value
            )
            assert not hidden, f"{file}: a method of the logger under another name"


def test_what_is_about_a_post_says_its_key() -> None:
    for line in logged():
        if line.event in ("post", "template", "bug") and "destination" not in line.says:
            assert "post" in line.says, line


# What had no line


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path, {**ONE, "ANNOUNCER_ADMIN_PASSWORD": "the right one"}) as made:
        yield made


def test_a_login_is_logged_with_its_address(guarded: House) -> None:
    with structlog.testing.capture_logs() as lines:
        guarded.client.post("/login", data={"password": "the right one"})
        guarded.client.post("/login", data={"password": "a wrong one"})
    assert [(line["event"], line.get("action"), line.get("outcome")) for line in lines] == [
        ("page", "login", None),
        ("page", None, 401),
    ]
    assert {line["address"] for line in lines} == {"127.0.0.1"}
    assert "right one" not in repr(lines)


def test_g18_a_form_of_another_site_is_logged_once(guarded: House) -> None:
    guarded.client.post("/login", data={"password": "the right one"})
    with structlog.testing.capture_logs() as lines:
        for site in ("cross-site", "same-origin", "cross-site"):
            guarded.client.post("/do/pause", headers={"Sec-Fetch-Site": site})
    (line,) = lines
    assert (line["event"], line["outcome"]) == ("page", 403)
    assert guarded.parts.outbox.paused() is None


@pytest.mark.parametrize(
    ("headers", "size", "outcome", "reason"),
    [
        ({"Content-Type": "text/plain"}, 10, 415, "not JSON: Owncast sends application/json"),
        ({"Content-Encoding": "gzip"}, 10, 415, "not JSON: Owncast sends application/json"),
        ({}, 300_000, 413, "too large: Owncast never sends more than 262144 bytes"),
    ],
)
def test_a_body_that_is_refused_unread_is_logged_with_the_reason(
    guarded: House, headers: dict[str, str], size: int, outcome: int, reason: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        assert guarded.hear(b"x" * size, **headers).status_code == outcome
    (line,) = lines
    assert (line["event"], line["outcome"]) == ("webhook", outcome)
    assert line["reason"].startswith(reason)


def test_one_that_is_refused_before_it_is_whole_is_logged_too() -> None:
    worker, conn = Worker.__new__(Worker), object()
    with structlog.testing.capture_logs() as lines:
        worker._seldom = Seldom(log.warning, "crowd")
        for verdict in (Verdict.LARGE, Verdict.LARGE, Verdict.BAD):
            with pytest.raises(AttributeError):
                worker._refuse(conn, verdict)
    (line,) = lines
    assert line["outcome"] == 413
