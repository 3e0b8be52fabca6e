"""`announcer init`: from an empty folder to settings that `check` likes, asked for or given."""

import json
import re
import stat
from pathlib import Path

import pytest

from announcer.contract.fake import Wire
from announcer.networks import places
from announcer.wiring import read
from announcer.wording import SHIPPED
from tests.house import DISCORD
from tests.terminal import Run, Terminal, variables_of
from tests.terminal import run as run

URL = "https://live.kestrel.example"
BASE = ("init", "--owncast-url", URL, "--offline")
HOOK = ("--network", "discord", "--set-file", "DISCORD_WEBHOOK_URL=-")
MADE = {"OWNCAST_WEBHOOK_SECRET", "OWNCAST_WEBHOOK_TOKEN", "ANNOUNCER_ADMIN_PASSWORD"}


def shipped() -> set[str]:
    return {str(file.relative_to(SHIPPED)) for file in SHIPPED.rglob("*.txt")}


def test_options_alone_make_everything(run: Run) -> None:
    said = run(*BASE, *HOOK, typed=f"{DISCORD}\n")
    assert said.exit_code == 0, said.output
    written = variables_of(Path())
    assert set(written) == MADE | {"OWNCAST_URL", "DISCORD_WEBHOOK_URL", "ANNOUNCER_TEMPLATES"}
    assert written["OWNCAST_URL"] == URL
    assert written["DISCORD_WEBHOOK_URL"] == DISCORD
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600
    assert {str(f.relative_to("templates")) for f in Path("templates").rglob("*.txt")} == shipped()
    assert "discord    account not checked (offline)" in said.stdout
    assert not read(written).open_doors()


def test_what_is_made_can_not_be_guessed_and_is_not_shown(run: Run) -> None:
    secrets = []
    for _ in range(2):
        said = run(*BASE, *HOOK, typed=f"{DISCORD}\n")
        written = variables_of(Path())
        secrets += [written[name] for name in MADE]
        assert not any(written[name] in said.output for name in {*MADE, "DISCORD_WEBHOOK_URL"})
        Path(".env").unlink()
    assert len(set(secrets)) == 6
    assert all(len(secret) >= 16 for secret in secrets)


def test_it_ends_with_a_check_and_its_status(run: Run, wire: Wire) -> None:
    wire.always("GET", "-of-discords", 404, {"code": 10015, "message": "Unknown Webhook"})
    wire.always("GET", "/api/status", 200, {"online": False})
    said = run("init", "--owncast-url", URL, *HOOK, typed=f"{DISCORD}\n")
    assert said.exit_code == 1
    assert re.search("^discord    404", said.stdout, re.MULTILINE)
    assert f"{URL} says: offline" in said.stdout
    assert Path(".env").exists(), "what was answered is kept"


def test_a_file_that_is_there_is_left_alone(run: Run) -> None:
    Path(".env").write_text("MINE=1\n")
    said = run(*BASE, *HOOK, typed=f"{DISCORD}\n")
    assert said.exit_code == 1
    assert "--force" in said.stderr
    assert Path(".env").read_text() == "MINE=1\n"
    assert not Path("templates").exists()


def test_with_force_it_is_added_to_and_all_of_it_stays(run: Run) -> None:
    before = (
        "# my remark\n\nexport ANNOUNCER_ADMIN_PASSWORD='of my own'\nOWNCAST_WEBHOOK_TOKEN_FILE=t\n"
        "ANNOUNCER_TEMPLATES=words\nMINE=1\n"
    )
    Path("t").write_text("a-token-that-nobody-guesses\n")
    Path(".env").write_text(before)
    Path("words").mkdir()
    Path("words/live.txt").write_text("{{ url }} is mine")
    said = run(*BASE, *HOOK, "--force", typed=f"{DISCORD}\n")
    assert said.exit_code == 0, said.output
    assert Path(".env").read_text().startswith(before)
    added = set(variables_of(Path())) - {"ANNOUNCER_ADMIN_PASSWORD", "MINE", "ANNOUNCER_TEMPLATES"}
    assert added == {"OWNCAST_URL", "OWNCAST_WEBHOOK_SECRET", "OWNCAST_WEBHOOK_TOKEN_FILE"} | {
        "DISCORD_WEBHOOK_URL"
    }
    assert Path("words/live.txt").read_text() == "{{ url }} is mine"
    assert {str(f.relative_to("words")) for f in Path("words").rglob("*.txt")} == shipped()


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        pytest.param(["init"], ["--owncast-url"], id="the stream"),
        pytest.param(
            [*BASE, "--network", "mastodon"],
            ["--set MASTODON_API_BASE_URL=", "--set-file MASTODON_ACCESS_TOKEN="],
            id="all that a network needs",
        ),
        pytest.param([*BASE, "--network", "smoke"], ["--network", "discord"], id="no such network"),
        pytest.param(
            [*BASE, "--set", f"DISCORD_WEBHOOK_URL={DISCORD}"],
            ["DISCORD_WEBHOOK_URL is a secret", "--set-file DISCORD_WEBHOOK_URL=FILE"],
            id="a secret on the command line",
        ),
        pytest.param(
            [*BASE, "--set", "ANNOUNCER_PRT=1"], ["ANNOUNCER_PRT", "ANNOUNCER_PORT"], id="misspelt"
        ),
        pytest.param([*BASE, "--set", "nonsense"], ["--set must be like"], id="no pair"),
        pytest.param(
            [*BASE, "--set-file", "X_ACCESS_TOKEN=nowhere"],
            ["--set-file X_ACCESS_TOKEN can not be read"],
            id="no such file",
        ),
        pytest.param(
            ["init", "--owncast-url", "ftp://x"], ["OWNCAST_URL is not a web"], id="no address"
        ),
    ],
)
def test_without_a_terminal_what_lacks_or_is_wrong_is_named(
    run: Run, arguments: list[str], flags: list[str]
) -> None:
    said = run(*arguments)
    assert said.exit_code == 2
    for flag in flags:
        assert flag in said.stderr
    assert not list(Path().iterdir()), "nothing was written"


def test_what_the_environment_has_is_neither_asked_nor_written(run: Run) -> None:
    said = run(*BASE, "--network", "discord", DISCORD_WEBHOOK_URL=DISCORD)
    assert said.exit_code == 0, said.output
    assert "DISCORD_WEBHOOK_URL" not in variables_of(Path())


def test_json_names_what_was_written_and_shows_no_value(run: Run) -> None:
    said = run(*BASE, *HOOK, "--json", typed=f"{DISCORD}\n")
    told = json.loads(said.stdout)
    assert told["wrote"] == list(variables_of(Path()))
    assert (told["file"], told["templates"], told["well"]) == (".env", "templates", True)
    assert told["copied"] == len(shipped())
    assert not any(
        value in said.output for value in variables_of(Path()).values() if len(value) > 30
    )


def test_a_folder_that_can_not_be_written_is_named_by_its_option(run: Run) -> None:
    Path("templates").write_text("a file")
    said = run(*BASE, *HOOK, typed=f"{DISCORD}\n")
    assert said.exit_code == 1
    assert "--templates" in said.stderr
    assert not Path(".env").exists()


def test_secrets_of_several_lines_come_one_after_another(run: Run) -> None:
    names = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
    files = [part for name in names for part in ("--set-file", f"X_{name.upper()}=-")]
    said = run(*BASE, "--network", "x", *files, typed="one\ntwo\nthree\nfour\n")
    assert said.exit_code == 0, said.output
    assert variables_of(Path())["X_ACCESS_TOKEN_SECRET"] == "four"


def test_the_folder_of_templates_is_not_the_one_of_a_container(run: Run) -> None:
    """Its image sets the place where the folder that we make here will be seen."""
    Path("seen").mkdir()
    said = run(*BASE, *HOOK, typed=f"{DISCORD}\n", ANNOUNCER_TEMPLATES="seen")
    assert said.exit_code == 0, said.output
    assert Path("templates/live.txt").exists()
    assert variables_of(Path())["ANNOUNCER_TEMPLATES"] == "templates"


# A person


def test_a_person_is_asked_and_sees_no_secret(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "init", "--offline")
    there.answer("Public address of your stream", "live.kestrel.example/")
    for name in ("bluesky", "discord", "mastodon"):
        there.until(f"{name:12}")
    there.answer("Enter for none now", "discrod")
    there.until("there is no discrod")
    there.answer("Enter for none now", "Discord, ")
    there.until("make a new webhook")  # of the guide
    there.answer("DISCORD_WEBHOOK_URL", "http://discord.com/canary")
    there.until("would send credentials unencrypted")
    there.answer("DISCORD_WEBHOOK_URL", DISCORD)
    there.answer("Password for Announcer's own pages", "a word of mine")
    assert there.end() == 0, there.screen
    written = variables_of(tmp_path)
    assert written["OWNCAST_URL"] == URL
    assert written["DISCORD_WEBHOOK_URL"] == DISCORD
    assert written["ANNOUNCER_ADMIN_PASSWORD"] == "a word of mine"
    for secret in (DISCORD, "canary", "a word of mine"):
        assert secret not in there.screen
    assert "announcer setup" in there.words


def test_enter_makes_a_password_and_no_network(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "init", "--offline")
    there.answer("Public address of your stream", URL)
    there.answer("Enter for none now", "")
    there.answer("Password for Announcer's own pages", "")
    assert there.end() == 1
    assert "no destination is configured" in there.words
    made = variables_of(tmp_path)["ANNOUNCER_ADMIN_PASSWORD"]
    assert len(made) >= 16
    assert made not in there.screen


def test_every_network_is_offered_with_the_first_words_of_its_guide(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "init", "--offline")
    there.answer("Public address of your stream", URL)
    there.until("Enter for none now")
    for name in places():
        assert re.search(rf"^  {name}\w* +\w", there.words, re.MULTILINE), name
    there.press(b"\x03")
    assert there.end() == 130
    assert not list(tmp_path.iterdir())
