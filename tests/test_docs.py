"""What is written for people: fresh, complete, and true of the code."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from announcer import wiring
from announcer.cli import COMMANDS, main
from announcer.network import Network
from announcer.networks import available, places
from announcer.policy import Rules
from announcer.quiet import Quiet
from announcer.reference import pages
from announcer.settings import is_secret, variable_name
from announcer.wiring import OwncastServer, Service
from tests.test_packaging import files_of_the_project

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in files_of_the_project() if path.suffix == ".md")
COMPOSE = ["compose.yaml", "compose.replicas.yaml"]
FOR_PEOPLE = [*PAGES, *(ROOT / name for name in ("Dockerfile", "Makefile", *COMPOSE))]
CONTRACT = {
    "OWNCAST_URL": "none",
    "OWNCAST_WEBHOOK_SECRET": "none",
    "OWNCAST_WEBHOOK_TOKEN": "none",
    "OWNCAST_WEBHOOK_SECRET_PREVIOUS": "none",
    "OWNCAST_WEBHOOK_TOKEN_PREVIOUS": "none",
    "OWNCAST_ACCESS_TOKEN": "required",
    "ANNOUNCER_DATABASE_URL": "`sqlite:///announcer.db`",
    "ANNOUNCER_TEMPLATES": "none",
    "ANNOUNCER_HOST": "`127.0.0.1`",
    "ANNOUNCER_PORT": "`8000`",
    "ANNOUNCER_ADMIN_PASSWORD": "none",
    "ANNOUNCER_HOLD": "`30s`",
    "ANNOUNCER_RESUME": "`30m`",
    "ANNOUNCER_GIVE_UP": "`30m`",
    "ANNOUNCER_REPLAY_URL": "none",
    "ANNOUNCER_LOG_LEVEL": "`info`",
    "ANNOUNCER_LOG_FORMAT": "`console`",
    "MASTODON_API_BASE_URL": "required",
    "MASTODON_ACCESS_TOKEN": "required",
    "MASTODON_VISIBILITY": "`public`",
    "MASTODON_LANGUAGE": "none",
    "MASTODON_SPOILER_TEXT": "none",
    "X_CONSUMER_KEY": "required",
    "X_CONSUMER_SECRET": "required",
    "X_ACCESS_TOKEN": "required",
    "X_ACCESS_TOKEN_SECRET": "required",
    "X_API_BASE_URL": "`https://api.x.com`",
    "X_POSTS_PER_DAY": "`5`",
    "BLUESKY_IDENTIFIER": "required",
    "BLUESKY_APP_PASSWORD": "required",
    "BLUESKY_SERVICE": "`https://bsky.social`",
    "DISCORD_WEBHOOK_URL": "required",
    "DISCORD_MENTION": "none",
}
"""Names and defaults that people have in their files by now. They stay as they are."""


def groups() -> Iterator[tuple[str, type[BaseModel]]]:
    yield from (("ANNOUNCER", Service), ("ANNOUNCER", Rules), ("ANNOUNCER", Quiet))
    yield "OWNCAST", OwncastServer
    for network in available():
        yield network.name.upper(), network


def known() -> set[str]:
    """Every variable there is."""
    names = set()
    for prefix, group in groups():
        for field, info in group.model_fields.items():
            name = variable_name(prefix, field)
            names |= {name, f"{name}_FILE"} if is_secret(info) else {name}
    return names


def mentioned(text: str) -> set[str]:
    """The variables that *text* names; those of a second account by their plain name."""
    prefixes = "|".join(sorted({prefix for prefix, _ in groups()}))
    found = re.finditer(
        rf"(?<![A-Za-z0-9_<])({prefixes})(?:__(?:[A-Z0-9]+|<NAME>)_)?(_[A-Z][A-Z_]*[A-Z])(?![\w<])",
        text,
    )
    return {f"{match[1]}{match[2]}" for match in found}


def documented() -> Mapping[str, str]:
    """Default of each variable, as docs/settings.md tells it."""
    rows = re.findall(
        r"^\| `(\w+)`(?: \(secret\))? \| (.*?) \| .+ \|$",
        (ROOT / "docs/settings.md").read_text("utf-8"),
        re.MULTILINE,
    )
    return dict(reversed(rows))  # the chat has an OWNCAST_URL as well, further down


def test_the_generated_pages_are_fresh() -> None:
    said = CliRunner().invoke(main, ["docs", str(ROOT / "docs"), "--check"])
    assert said.exit_code == 0, said.output


def test_every_setting_is_documented() -> None:
    plain = {name.removesuffix("_FILE") for name in known()}
    shared = {
        variable_name(name.upper(), field) for name in places() for field in Network.model_fields
    }
    assert set(documented()) >= plain - shared
    for field in Network.model_fields:
        assert f"`<NETWORK>_{field.upper()}`" in pages()["settings.md"]


@pytest.mark.parametrize(("name", "default"), CONTRACT.items())
def test_what_people_have_in_their_files_stays_true(name: str, default: str) -> None:
    assert documented()[name] == default


def test_every_secret_is_marked_as_one() -> None:
    text = pages()["settings.md"]
    for prefix, group in groups():
        for field, info in group.model_fields.items():
            name = variable_name(prefix, field)
            assert (f"`{name}` (secret)" in text) is is_secret(info), name
            assert is_secret(info) or not re.search("TOKEN|SECRET|PASSWORD|KEY$", name), name


@pytest.mark.parametrize("name", pages())
def test_the_generated_tables_are_whole(name: str) -> None:
    """A bar in a description would begin another column."""
    width = 0
    for line in pages()[name].splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.count("|") - line.count("\\|")
        width = width or cells
        assert cells == width, line
        assert "PydanticUndefined" not in line
        assert not line.endswith("|  |"), f"no description: {line}"


@pytest.mark.parametrize("network", available(), ids=lambda network: network.title)
def test_every_network_has_a_guide_in_numbered_steps(network: type[Network]) -> None:
    guide = pages()["networks.md"].partition(f"## {network.title}\n")[2]
    steps = re.findall(r"^(\d)[.] ", guide.partition("\n## ")[0], re.MULTILINE)
    assert steps == [str(number + 1) for number in range(len(steps))]
    assert len(steps) >= 2


def test_there_is_a_readme() -> None:
    assert (ROOT / "README.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(\s*<?([^)\s>]+)", text):
        link = urlsplit(target)
        if link.scheme or link.netloc:
            continue
        there = (page.parent / unquote(link.path)).resolve() if link.path else page
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if link.fragment and there.suffix == ".md":
            assert link.fragment in anchors(there), target


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("file", FOR_PEOPLE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_variable_that_is_named_exists(file: Path) -> None:
    assert not mentioned(file.read_text("utf-8")) - known()


@pytest.mark.parametrize("file", FOR_PEOPLE, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_that_is_named_exists(file: Path) -> None:
    text = file.read_text("utf-8")
    named = set(re.findall(r"(?:`|\$ |exec announcer |--rm announcer )announcer ([a-z]+)", text))
    assert not named - set(COMMANDS)


def test_variables_are_recognised_in_any_form() -> None:
    """Or the test above could not fail."""
    text = (
        "`ANNOUNCER_HOLD`, X_FOO=1 MASTODON__MUSIC__ACCESS_TOKEN OWNCAST__<NAME>__URL _WHEN_UNSURE"
    )
    assert mentioned(text) == {
        "ANNOUNCER_HOLD", "X_FOO", "MASTODON_ACCESS_TOKEN", "OWNCAST_URL",
    }  # fmt: skip
    assert "X_FOO" not in known()


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml", "compose.replicas.yaml"])
def test_what_a_container_is_given_can_be_used(file: str, tmp_path: Path) -> None:
    text = (ROOT / file).read_text("utf-8")
    set_there = dict(re.findall(r"(ANNOUNCER_[A-Z_]+)(?:=|: )\"?([^\s\"\\]+)", text))
    assert {"ANNOUNCER_HOST", "ANNOUNCER_PORT", "ANNOUNCER_TEMPLATES"} <= set(set_there)
    settings = wiring.read(set_there)
    assert settings.service.host == "0.0.0.0"  # noqa: S104  # a container's own
    assert not settings.warnings


def test_the_folder_of_templates_can_be_given_to_whom_the_container_runs_as() -> None:
    """Or the page could not save into it; both files name the user."""
    (user,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    compose = (ROOT / "compose.yaml").read_text("utf-8")
    assert "\n      - ./templates:/templates\n" in compose
    assert f"`sudo chown -R {user} templates`" in compose
