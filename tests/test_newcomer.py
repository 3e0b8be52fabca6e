"""What somebody does wrong on the first day, and the line that says what to do about it."""

import ast
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import announcer
from announcer import networks
from announcer.cli import choosing, running
from announcer.cli.joining import with_scheme
from announcer.contract.fake import Wire, refused
from announcer.networks import NotInstalledError
from tests.house import DISCORD, ONE
from tests.owncast_admin import PASSWORD, OwncastAdmin
from tests.running import SECRET
from tests.servers import free_port
from tests.terminal import SECONDS, Run, Terminal, environment, variables_of
from tests.terminal import run as run

MASTODON = {"MASTODON_API_BASE_URL": "https://social.example", "MASTODON_ACCESS_TOKEN": "wrong"}
MUSIC = {name.replace("_", "__MUSIC__", 1): value for name, value in MASTODON.items()}
URL = "https://live.kestrel.example"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


# Before there is anything


@pytest.mark.parametrize("command", ["check", "preview", "test", "setup", "serve"])
def test_in_an_empty_folder_every_command_says_where_to_begin(run: Run, command: str) -> None:
    said = run(command)
    assert said.exit_code in (1, 2)
    assert "`announcer init` writes one" in said.stderr


def test_an_empty_history_says_that_it_is_empty(run: Run) -> None:
    said = run("history", **ONE)
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr.endswith("no stream has begun since this database is in use\n")


def test_settings_without_a_network_say_where_one_comes_from(run: Run) -> None:
    Path(".env").write_text(f"OWNCAST_URL={URL}\nOWNCAST_WEBHOOK_SECRET={SECRET}\n")
    for command in ("preview", "test"):
        said = run(command)
        assert said.exit_code == 1
        assert "no destination is configured (`announcer connect`" in said.stderr
        assert "announcer init" not in said.stderr


def test_a_python_that_is_too_old_is_told_so_in_one_line() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import runpy, sys; sys.version_info = (3, 10, 13); "
         "runpy.run_module('announcer', run_name='__main__')"],
        env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, "Announcer needs Python 3.11 or newer\n")


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_an_old_python_reads_first_is_written_so_that_it_can(name: str) -> None:
    source = Path(str(announcer.__file__)).with_name(name).read_text("utf-8")
    ast.parse(source, feature_version=(3, 8))


# Addresses


@pytest.mark.parametrize(
    ("url", "line"),
    [
        pytest.param(
            "live.kestrel.example",
            "OWNCAST_URL is not a web address, such as https://live.example.org",
            id="no https",
        ),
        pytest.param(
            f"{URL}/admin/",
            "OWNCAST_URL is the address of the admin pages: leave out /admin",
            id="admin pages",
        ),
    ],
)
def test_an_address_that_can_not_be_right_is_told_once(run: Run, url: str, line: str) -> None:
    """By both who use it: the link, and the chat."""
    said = run("check", OWNCAST_URL=url, OWNCAST_ACCESS_TOKEN="t", OWNCAST_WEBHOOK_SECRET=SECRET)
    assert (said.exit_code, said.stderr) == (2, f"{line}\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param((404, "<html>"), "404", id="another site"),
        pytest.param((200, {"name": "a shop"}), "like Owncast", id="something else"),
        pytest.param(None, "no connection", id="nobody"),
    ],
)
def test_an_address_where_no_owncast_answers_is_not_well(
    run: Run, wire: Wire, answer: tuple[int, str | dict[str, str]] | None, words: str
) -> None:
    wire.always("GET", "-of-discords", 200, {"guild_id": "3", "channel_id": "2", "id": "17"})
    if answer:
        wire.always("GET", "/api/status", *answer)
    else:
        wire.always_breaks("GET", "/api/status", refused)
    said = run("check", **ONE)
    assert said.exit_code == 1
    (line,) = [one for one in said.stdout.splitlines() if one.startswith("default ")]
    assert line.startswith(f"default    OWNCAST_URL: no Owncast at {URL} (")
    assert words in line
    assert line.endswith("is it the address of the stream?")


def test_a_slash_and_the_admin_pages_are_dropped_from_what_is_typed(run: Run) -> None:
    said = run("init", "--owncast-url", "live.kestrel.example/admin/", "--offline")
    assert said.exit_code == 1, "nobody to tell"
    assert variables_of(Path())["OWNCAST_URL"] == URL


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("social.example/", "https://social.example"),
        ("192.168.1.5:8080", "http://192.168.1.5:8080"),
        ("localhost:8080/", "http://localhost:8080"),
        ("[fd00::5]:8080", "http://[fd00::5]:8080"),
        ("8.8.8.8", "https://8.8.8.8"),
        ("http://social.example", "http://social.example"),
        ("[::", "https://[::"),
        ("", ""),
    ],
)
def test_a_scheme_that_is_left_out_is_the_likely_one(typed: str, address: str) -> None:
    assert with_scheme(typed) == address


def test_setup_finds_owncast_from_the_address_of_its_admin_pages(run: Run) -> None:
    owncast = OwncastAdmin("0.3.0")
    try:
        said = run(
            "setup", "--owncast", f"{owncast.url}/admin", "--address", "http://127.0.0.1:9",
            "--admin-password-file", "-", "--no-chat", typed=f"{PASSWORD}\n",
        )  # fmt: skip
    finally:
        owncast.stop()
    assert said.exit_code == 0, said.stderr
    assert variables_of(Path())["OWNCAST_URL"] == owncast.url
    assert "`announcer serve` is to run there" in said.stdout


def test_setup_without_owncast_names_what_led_there(run: Run) -> None:
    given = ("--address", "http://127.0.0.1:9", "--admin-password-file", "-")
    said = run("setup", *given, typed="x\n", OWNCAST_URL="http://127.0.0.1:9")
    assert said.exit_code == 1
    assert "Is that Owncast? See OWNCAST_URL; with --owncast" in said.stderr


# Accounts


@pytest.mark.parametrize(
    ("status", "variables", "ending"),
    [
        pytest.param(
            401,
            MASTODON,
            ": look at MASTODON_API_BASE_URL, MASTODON_ACCESS_TOKEN, "
            "or run `announcer connect mastodon`",
            id="a wrong token",
        ),
        pytest.param(
            401,
            MUSIC,
            ": look at MASTODON__MUSIC__API_BASE_URL, MASTODON__MUSIC__ACCESS_TOKEN, "
            "or run `announcer connect mastodon --account music`",
            id="a wrong token of a second account",
        ),
        pytest.param(503, MASTODON, "503", id="a server that has no time now"),
    ],
)
def test_an_account_that_is_refused_names_the_variables_and_the_way_to_new_ones(
    run: Run, wire: Wire, status: int, variables: dict[str, str], ending: str
) -> None:
    wire.always("GET", "/api/v1/accounts/verify_credentials", status, {})
    wire.always("GET", "/api/v2/instance", 200, {})
    said = run("check", OWNCAST_WEBHOOK_SECRET=SECRET, **variables)
    assert said.exit_code == 1
    (line,) = [one for one in said.stdout.splitlines() if re.match(r"mastodon\S*    \d", one)]
    assert line.endswith(ending)


def test_a_server_of_an_account_that_nobody_finds_names_its_variable(run: Run, wire: Wire) -> None:
    wire.breaks(refused, times=20)
    said = run(
        "check", OWNCAST_WEBHOOK_SECRET=SECRET, BLUESKY_SERVICE="https://pds.example",
        BLUESKY_IDENTIFIER="k.example", BLUESKY_APP_PASSWORD="x",
    )  # fmt: skip
    assert re.search(
        r"^bluesky    no connection: look at .*BLUESKY_SERVICE", said.stdout, re.MULTILINE
    )


def test_a_folder_of_templates_that_is_not_there_is_one_line(run: Run) -> None:
    said = run("check", "--offline", **ONE, **MASTODON, ANNOUNCER_TEMPLATES="nowhere")
    assert said.exit_code == 1
    told = [line for line in said.stdout.splitlines() if "not checked" not in line]
    assert told == [
        "ANNOUNCER_TEMPLATES: there is no folder nowhere, so the shipped texts are used"
    ]


# At the questions of init


def test_names_are_understood_as_people_string_them_together() -> None:
    for said in ("mastodon, bluesky", "Mastodon bluesky", "mastodon and Bluesky,"):
        assert choosing.split(said) == ["mastodon", "bluesky"]


def test_a_network_that_needs_a_library_is_offered_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> tuple[()]:
        raise NotInstalledError("install announcer[smoke]: puff is missing")

    monkeypatch.setattr(networks, "places", lambda: {"smoke": load})
    assert choosing.why_unknown("smoke", {}) == "smoke: install announcer[smoke]: puff is missing"
    assert choosing.asleep() == ["smoke"]


def test_a_login_that_fails_costs_none_of_the_answers(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "init", "--offline")
    there.answer("Public address of your stream", URL)
    there.answer("Enter for none now", "mastdon")
    there.until("there is no mastdon; did you mean mastodon?")
    there.answer("Enter for none now", "discord mastodon")
    there.answer("DISCORD_WEBHOOK_URL: ", DISCORD)
    there.answer("Log in there now", "")
    there.answer("Address of your server", "http://social.example")
    there.until("--api-base-url would send credentials unencrypted")
    there.answer("Address of your server", "http://127.0.0.1:9/")
    there.until("Mastodon: no connection")
    there.answer("Try again?", "")
    there.answer("[http://127.0.0.1:9/]", "")  # only what was wrong need be typed again
    there.until("Mastodon: no connection")
    there.answer("Try again?", "n")
    there.until("Left out; later: `announcer connect mastodon`")
    there.answer("[not shown]", "")
    assert there.end() == 0, there.screen
    written = variables_of(tmp_path)
    assert written["DISCORD_WEBHOOK_URL"] == DISCORD
    assert not [name for name in written if name.startswith("MASTODON")]


# At the start


@pytest.mark.parametrize(
    ("command", "name"),
    [(["serve"], "ANNOUNCER_PORT"), (["demo"], "--port")],
    ids=["serve", "demo"],
)
def test_a_port_that_is_taken_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, taken: int, command: list[str], name: str
) -> None:
    """The demo would take the answers of whoever is there for its own."""
    monkeypatch.setattr(running, "PATIENCE", 0.0)
    more = {"ANNOUNCER_PORT": str(taken)} if command == ["serve"] else {}
    said = run(*command, *(["--port", str(taken)] if not more else []), **ONE, **more)
    assert said.exit_code == 1
    last = said.stderr.splitlines()[-1]
    assert last == f"Error: {name}: {taken} is taken; stop what runs there, or choose another port"
    assert "gunicorn" not in said.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "ANNOUNCER_PORT: 8000 is for root only; choose one above 1023"),
        (errno.EADDRNOTAVAIL, "ANNOUNCER_HOST: 127.0.0.1 is no address of this machine"),
    ],
    ids=["a port of root", "an address of another machine"],
)
def test_what_can_not_be_listened_at_names_the_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    problem = OSError(number, os.strerror(number))
    monkeypatch.setattr(running, "_why_not", lambda *_: problem)
    said = run("serve", **ONE)
    assert said.exit_code == 1
    assert words in said.stderr.splitlines()[-1]


def test_a_host_that_is_none_of_ours_is_found_out(run: Run) -> None:
    said = run("serve", **ONE, ANNOUNCER_HOST="192.0.2.1")
    assert said.exit_code == 1
    assert "ANNOUNCER_HOST: 192.0.2.1 is no address of this machine" in said.stderr


def test_who_starts_it_by_hand_is_told_where_the_page_is(tmp_path: Path) -> None:
    place = {"ANNOUNCER_PORT": str(free_port()), "ANNOUNCER_ADMIN_PASSWORD": "canary"}
    there = Terminal(tmp_path, "serve", OWNCAST_WEBHOOK_SECRET=SECRET, **place)
    there.until(f"The page: http://127.0.0.1:{place['ANNOUNCER_PORT']}/")
    there.until("ANNOUNCER_ADMIN_PASSWORD")
    there.until("Nobody will be told: no destination is configured")
    there.until("event=ready")
    there.press(b"\x03")
    there.end()
    assert "canary" not in there.screen


def test_a_service_with_another_secret_says_which_two_do_not_fit(run: Run, wire: Wire) -> None:
    wire.always("POST", "/webhooks/owncast", 401, "bad signature")
    said = run("simulate", "start", **ONE)
    assert said.exit_code == 1
    assert "another OWNCAST_WEBHOOK_SECRET or OWNCAST_WEBHOOK_TOKEN" in said.stderr


def test_pages_of_every_network_can_not_be_written_without_their_libraries(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> dict[str, str]:
        raise NotInstalledError("install announcer[smoke]: puff is missing")

    monkeypatch.setattr("announcer.reference.pages", lacking)
    said = run("docs", "there")
    assert said.exit_code == 1
    assert said.stderr.endswith("install announcer[smoke]: puff is missing\n")
    assert not Path("there").exists()


def test_a_number_that_is_none_is_told_in_plain_words(run: Run) -> None:
    said = run("serve", **ONE, ANNOUNCER_PORT="80x")
    assert (said.exit_code, said.stderr) == (2, "ANNOUNCER_PORT must be a whole number\n")
