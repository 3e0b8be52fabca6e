"""The shape of the code: imports point one way, judgement is pure, SQL stands in one place."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import announcer
from announcer import migrations, outbox
from announcer.networks import places

PACKAGE = Path(announcer.__file__).parent
FLOORS = (
    {"__main__"},
    {"cli"},
    {"demo"},
    {"web", "reference", "rehearsal", "contract"},
    {"wiring"},
    {"patrol", "rollcall"},
    {"delivery"},
    {"attempt"},
    {"outcome", "gate"},
    {"intake", "author", "answers", "housekeeping", "rotation", "scheduler", "migrations", "logs"},
    {"content", "lateness", "shelf"},
    {"alerts"},
    {"arrangement", "connect"},
    {"admin", "trial"},
    {"outbox", "wording", "watch", "pictures", "networks", "chat"},
    {"fitting"},
    {"facts", "quiet", "badges"},
    {"sandbox", "sightings", "tracing"},
    {"policy", "wire", "budget"},
    {"line"},
    {"connection", "meaning"},
    {"events", "network"},
    {"settings", "metrics", "crashpoints", "timelimit"},
    {"secretfile", "envfile"},
)
"""From the top down. A module imports only from floors below its own."""
PURE = ("events", "policy", "sightings", "quiet", "badges", "chat", "network")
HARMLESS = {
    *("abc", "collections", "dataclasses", "datetime", "enum", "functools", "hashlib", "itertools"),
    *("json", "math", "re", "typing", "unicodedata"),
    *("pydantic", "regex"),
}
"""Libraries that touch nothing of the world; datetime's clock is looked for below."""
CLOCKS = {"now", "today", "utcnow", "time", "time_ns", "monotonic", "perf_counter"}
HEAVY = {"mastodon", "tweepy", "twitter_text", "cryptography", "alembic", "gunicorn", "PIL"}
"""What a part of the service needs and no start should wait for; see also `of_extras`."""


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def files(module: str) -> list[Path]:
    """Of a module, or of all modules of a package."""
    folder = PACKAGE / module
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{module}.py"]


def modules() -> list[str]:
    found = {
        file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in PACKAGE.rglob("*.py")
    }
    return sorted(found - {"__init__"})


def imported(file: Path) -> Iterator[str]:
    """Everything that is imported, in functions too, with its full name."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}: a relative import hides where it leads"
            if node.module == "announcer":
                yield from (f"announcer.{name.name}" for name in node.names)
            else:
                yield node.module or ""


def libraries(module: str) -> set[str]:
    found = {name.partition(".")[0] for file in files(module) for name in imported(file)}
    return found - {"announcer"}


def ours(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(file) if name.startswith("announcer.")}


def test_every_module_has_its_floor() -> None:
    assert sorted(module for floor in FLOORS for module in floor) == modules()


def test_the_map_names_every_module() -> None:
    words = set(re.findall(r"\w+", announcer.__doc__ or ""))
    assert set(modules()) - {"__main__"} <= words


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module: str) -> None:
    (height,) = (number for number, floor in enumerate(FLOORS) if module in floor)
    below = {name for floor in FLOORS[height + 1 :] for name in floor}
    for file in files(module):
        assert ours(file) - {module} <= below, file.name


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_imports_nothing_that_touches_the_world(module: str) -> None:
    assert libraries(module) <= HARMLESS


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_never_asks_for_the_time(module: str) -> None:
    asked = {
        node.attr
        for file in files(module)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS
    }
    assert not asked


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_opens_and_prints_nothing(module: str) -> None:
    called = {
        node.func.id
        for file in files(module)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


NETWORKS = PACKAGE / "networks"


@pytest.mark.parametrize(
    "file",
    [file for file in files("networks") if file != NETWORKS / "__init__.py"],
    ids=lambda file: ".".join(file.relative_to(NETWORKS).with_suffix("").parts),
)
def test_a_network_knows_nothing_of_us_but_the_contract_and_the_door(file: Path) -> None:
    known = {"network", "settings", "wire"}
    if file.parent != NETWORKS:  # one that is a folder also knows its own
        others = [name for name in imported(file) if name.startswith("announcer.networks")]
        own = f"announcer.networks.{file.parent.name}."
        assert all(f"{name}.".startswith(own) for name in others)
        known.add("networks")
    assert ours(file) <= known


@pytest.mark.parametrize("name", [file.stem for file in files("connect")])
def test_a_helper_knows_nothing_of_us_but_the_contract_and_the_door(name: str) -> None:
    finding = {"networks"} if name == "__init__" else set()
    known = {"connect", "network", "settings", "wire"} | finding
    assert ours(PACKAGE / "connect" / f"{name}.py") <= known


@pytest.mark.parametrize(
    "module", ["intake", "delivery", "attempt", "author", "content", "outbox", "policy", "network"]
)
def test_no_network_is_named_where_any_network_is_meant(module: str) -> None:
    for file in files(module):
        texts = {node.value for node in ast.walk(tree(file)) if isinstance(node, ast.Constant)}
        assert not texts & set(places()), file.name
        assert "networks" not in ours(file), file.name


def test_sql_stands_in_the_outbox_only() -> None:
    assert {module for module in modules() if "sqlalchemy" in libraries(module)} == {
        "outbox",
        "migrations",
    }
    assert {module for module in modules() if "alembic" in libraries(module)} == {"migrations"}


def test_requests_leave_by_the_one_door() -> None:
    """`requests` is imported elsewhere for its errors and answers, never to send anything."""
    senders = {"get", "post", "put", "patch", "delete", "head", "request", "Session"}
    for module in set(modules()) - {"wire", "connection", "line", "contract"}:
        for file in files(module):
            for node in ast.walk(tree(file)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    sent = node.value.id == "requests" and node.attr in senders
                    # A request to a Flask app is somebody else's `requests`.
                    assert not sent, f"{file.name}: requests.{node.attr}"
        assert not libraries(module) & {"urllib3", "http", "httpx", "aiohttp"}
        # It can be given a socket, and that of a line is what a network gives it.
        assert module == "networks" or "smtplib" not in libraries(module)


def test_the_environment_is_read_where_commands_start() -> None:
    readers = {
        module
        for module in modules()
        for file in files(module)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}
    }
    assert readers == {"cli", "demo"}


def test_no_module_is_called_after_nothing() -> None:
    nothing = {"utils", "util", "helpers", "common", "manager", "managers", "service", "core"}
    assert not nothing & {file.stem for file in PACKAGE.rglob("*.py")}


def of_extras() -> set[str]:
    """The modules of every library that an extra brings."""
    extras = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    brought = {
        canonicalize_name(Requirement(one).name)
        for extra in extras.keys() - {"all", "contract", "dev"}
        for one in extras[extra]
    }
    return {
        module
        for module, libraries in packages_distributions().items()
        if brought & set(map(canonicalize_name, libraries))
    }


SERVED = """
import json, sys
from announcer import wiring
settings = wiring.read(json.loads(sys.argv[1]))
print(json.dumps(sorted(sys.modules)))
wiring.open_outbox(settings).engine.dispose()
from announcer.web import create_app
create_app(wiring.assemble(settings))
print(json.dumps(sorted(sys.modules)))
"""
"""What `serve` does up to its first request, but for gunicorn."""


def test_what_is_not_in_use_is_not_loaded_to_serve(tmp_path: Path) -> None:
    """Of the networks only those that a variable names, no step of the schema, no other database;
    and before the settings are read nothing that only the service needs.
    """
    assert {"paho", "coincurve", "psycopg"} <= of_extras()
    variables = {
        "OWNCAST_URL": "https://live.example",
        "ANNOUNCER_DATABASE_URL": f"sqlite:///{tmp_path}/announcer.db",
        "NTFY_TOPIC": "kestrel",
    }
    ran = subprocess.run(
        [sys.executable, "-c", SERVED, json.dumps(variables)],
        capture_output=True,
        check=True,
        cwd=PACKAGE.parent,
        text=True,
    )
    to_read, *_, to_serve = (
        set(json.loads(line)) for line in ran.stdout.splitlines() if line[0] == "["
    )
    networks = {f"announcer.networks.{name}" for name in places()}
    assert to_serve & networks == {"announcer.networks.ntfy", "announcer.networks.owncast"}
    unused = HEAVY | of_extras()
    assert not unused & {name.partition(".")[0] for name in to_read | to_serve}
    assert "flask" not in to_read
    assert "sqlalchemy.dialects.postgresql" not in to_serve


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = outbox.connect(database_url)
    yield engine
    engine.dispose()


def test_the_code_needs_the_newest_schema_there_is() -> None:
    config = Config()
    config.set_main_option("script_location", str(PACKAGE / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [outbox.HEAD]


def test_the_steps_make_what_the_outbox_describes(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrations.climb(connection)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, outbox.schema) == []


def definitions(engine: sa.Engine) -> set[tuple[object, ...]]:
    """With the conditions of indexes, which Alembic does not compare."""
    kept = {
        "sqlite": ["SELECT name, sql FROM sqlite_master"],
        "postgresql": [
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,"
            " column_default FROM information_schema.columns WHERE table_schema = 'public'",
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        ],
    }
    with engine.connect() as connection:
        return {
            tuple(row)
            for query in kept[engine.dialect.name]
            for row in connection.exec_driver_sql(query)
        }


def test_an_empty_database_gets_what_the_steps_come_to(engine: sa.Engine) -> None:
    """It is made without them, and all later steps rely on that."""
    with engine.connect() as connection:
        migrations.climb(connection)
        connection.commit()
    climbed = definitions(engine)
    with engine.begin() as connection:
        outbox.schema.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    assert migrations.upgrade(engine)
    assert definitions(engine) == climbed
    assert any("'sending'" in str(row) for row in climbed)  # an index of a part
