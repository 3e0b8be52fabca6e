"""The command line as scripts and people use it: statuses, pipes, colours, completion, manual."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from announcer.cli import COMMANDS, STATUSES, main
from announcer.cli.papers import MANUAL, SHELLS, manual
from announcer.contract.fake import Wire
from tests.house import ONE, House, house
from tests.terminal import SECONDS, Run, Terminal, environment
from tests.terminal import run as run
from tests.test_quiet_cli import hear

ROOT = Path(__file__).parents[1]
ANNOUNCER = [sys.executable, "-m", "announcer"]


def shell(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`announcer` in *script* is ours."""
    line = f'announcer() {{ "{sys.executable}" -m announcer "$@"; }}; {script}'
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(**variables),
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


# Statuses


def test_a_reader_who_stopped_reading_is_told_by_the_status(tmp_path: Path) -> None:
    ran = shell(
        tmp_path, "(sleep 2; announcer preview --json) | exec 0<&-; echo ${PIPESTATUS[0]}", **ONE
    )
    assert ran.stdout == "141\n"
    assert ran.stderr == ""


@pytest.mark.parametrize("command", ["history", "preview", "docs --help", "--version"])
def test_a_full_disk_behind_the_output_is_told(tmp_path: Path, command: str) -> None:
    ran = shell(tmp_path, f"announcer {command} > /dev/full; echo $?", **ONE)
    if command == "history":
        assert ran.stdout == "0\n", "nothing to write"
    else:
        assert ran.stdout == "1\n"
        assert ran.stderr == "the output can not be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["history", "init", "setup", "test", "check --offline"])
def test_closed_streams_are_no_traceback(tmp_path: Path, closed: str, command: str) -> None:
    ran = shell(
        tmp_path, f"exec 3>&1; announcer {command} {closed} 3>&-; echo status $? >&3", **ONE
    )
    status = re.search(r"status (\d+)", ran.stdout)
    assert status
    assert int(status[1]) in (0, 1, 2)
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "a fault of" not in ran.stdout + ran.stderr


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "init")
    there.until("Public address of your stream")
    there.press(b"\x03")
    assert there.end() == 130
    assert there.words.endswith("stopped\n")
    assert "Traceback" not in there.screen
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_an_end_of_input_at_a_question_ends_quietly(tmp_path: Path) -> None:
    there = Terminal(tmp_path, "init")
    there.until("Public address of your stream")
    there.press(b"\x04")
    assert there.end() == 130
    assert "Traceback" not in there.screen


def test_an_interrupt_while_a_network_is_asked_ends_quietly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {
            "MASTODON_API_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "MASTODON_ACCESS_TOKEN": "x",
        }
        asking = subprocess.Popen(
            [*ANNOUNCER, "check"], cwd=tmp_path, env=environment(**settings),
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        silent.settimeout(SECONDS)
        with silent.accept()[0]:
            asking.send_signal(signal.SIGINT)
            _, said = asking.communicate(timeout=SECONDS)
    assert asking.returncode == 130
    assert said == "\nstopped\n"


def test_a_fault_of_ours_tells_where_and_no_value(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("canary-secret")

    monkeypatch.setattr("announcer.outbox.backup", broken)
    said = CliRunner().invoke(main, ["backup", "x"], env=dict(ONE))
    assert said.exit_code == 70
    assert re.search(r"a fault of Announcer \(KeyError in .*records\.backup:\d+", said.stderr)
    assert "canary" not in said.output
    assert "Traceback" not in said.output


def test_a_place_that_can_not_be_written_is_named(run: Run) -> None:
    Path("file").touch()
    said = run("docs", "file/docs")
    assert said.exit_code == 1
    assert said.stderr == "file/docs: Not a directory\n"


@pytest.mark.parametrize(
    "arguments", [["shout"], ["check", "--loud"], ["retry"], ["simulate", "x"]]
)
def test_what_can_not_be_understood_is_2_and_names_it(run: Run, arguments: list[str]) -> None:
    said = run(*arguments)
    assert said.exit_code == 2
    assert said.stderr
    assert not said.stdout


def test_every_status_is_in_the_manual() -> None:
    for status, words in STATUSES.items():
        assert f"| {status} | {words} |" in manual()


# For programs


def with_json() -> list[str]:
    context = click.Context(main)
    found = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        if command and any("--json" in one.opts for one in command.params):
            found.append(name)
    return found


def test_all_that_tells_something_tells_it_to_programs_too() -> None:
    silent = {"serve", "demo", "docs", "completion", "connect"}  # connect: each of its commands
    assert set(COMMANDS) - set(with_json()) == silent
    context = click.Context(main)
    group = main.get_command(context, "connect")
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        helper = group.get_command(context, name)
        assert helper
        assert any("--json" in one.opts for one in helper.params)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["check", "--offline"], {"well", "found"}),
        (["pause"], {"paused_since", "withdrawn"}),
        (["resume"], {"was_paused"}),
        (["backup", "copy.db"], {"file", "bytes"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_json_is_one_document_and_nothing_beside_it(
    run: Run, home: House, arguments: list[str], keys: set[str]
) -> None:
    said = run(*arguments, "--json", **ONE)
    assert said.exit_code == 0
    assert set(json.loads(said.stdout)) == keys


def test_json_of_pause_retry_and_announce_names_the_posts(run: Run, home: House) -> None:
    hear(home)
    ((_, (post,)),) = home.parts.outbox.history(1)
    key = post.entry.key
    assert json.loads(run("pause", "--json", **ONE).stdout)["withdrawn"] == [key]
    assert json.loads(run("announce", "--json", **ONE).stdout) == {"due": [key]}
    run("pause", **ONE)
    assert json.loads(run("retry", key, "--json", **ONE).stdout) == {"due": [key]}


def test_json_of_preview_has_every_text_with_its_length(run: Run, wire: Wire) -> None:
    texts = json.loads(run("preview", "--json", **ONE).stdout)
    assert [(one["destination"], one["moment"]) for one in texts] == [
        ("discord", "live"),
        ("discord", "ended"),
    ]
    assert all(0 < one["length"] <= one["limit"] == 2000 for one in texts)
    assert "live.kestrel.example" in texts[0]["text"]


def test_json_of_check_says_what_is_not_well(run: Run, wire: Wire) -> None:
    wire.always("GET", "-of-discords", 404, {"code": 10015, "message": "Unknown Webhook"})
    wire.always("GET", "/api/status", 200, {"online": False})
    said = run("check", "--json", **ONE)
    told = json.loads(said.stdout)
    assert (said.exit_code, told["well"]) == (1, False)
    bad = [one for one in told["found"] if one["well"] is False]
    assert [(one["about"], one["what"]) for one in bad] == [("discord", "account")]


# For people


def colours(folder: Path, **variables: str) -> bool:
    there = Terminal(folder, "preview", **ONE, **variables)
    assert there.end() == 0
    return "\x1b[1m" in there.screen


def test_colours_are_for_terminals_and_for_those_who_want_them(tmp_path: Path) -> None:
    assert colours(tmp_path)
    assert not colours(tmp_path, NO_COLOR="1")
    assert colours(tmp_path, NO_COLOR="")
    assert "\x1b" not in shell(tmp_path, "announcer preview", **ONE).stdout


def test_progress_is_for_terminals_and_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = {"MASTODON_API_BASE_URL": "http://127.0.0.1:9", "MASTODON_ACCESS_TOKEN": "x"}
    there = Terminal(tmp_path, "check", **settings)
    assert there.end() == 1
    assert "\rasking mastodon ..." in there.screen
    assert "\r" + " " * len("asking mastodon ...") + "\r" in there.screen
    ran = shell(tmp_path, "announcer check", **settings)
    assert "asking" not in ran.stdout + ran.stderr


# Completion


@pytest.mark.parametrize("name", SHELLS)
def test_each_shell_gets_its_script(run: Run, name: str) -> None:
    said = run("completion", name)
    assert said.exit_code == 0
    assert "_ANNOUNCER_COMPLETE" in said.stdout
    assert "announcer" in said.stdout


def completed(folder: Path, *words: str, **variables: str) -> list[str]:
    """What bash offers for the last of *words*."""
    asked = {
        "_ANNOUNCER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("announcer", *words)),
        "COMP_CWORD": str(len(words)),
    }
    program = "from announcer.cli import main; main(prog_name='announcer')"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment(**asked, **variables),
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert not ran.stderr
    return [line.partition(",")[2] for line in ran.stdout.split()]


def test_commands_options_networks_and_destinations_are_completed(tmp_path: Path) -> None:
    assert completed(tmp_path, "se") == ["setup", "serve"]
    assert completed(tmp_path, "connect", "m")[:1] == ["mastodon"]
    assert completed(tmp_path, "backup", "--f") == ["--force"]
    assert completed(tmp_path, "test", "d", **ONE) == ["discord"]
    assert completed(tmp_path, "test", "d", ANNOUNCER_PORT="nonsense") == []


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    (tmp_path / "announcer").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c '
        '\'from announcer.cli import main; main(prog_name="announcer")\' "$@"\n'
    )
    (tmp_path / "announcer").chmod(0o755)
    script = (
        'eval "$(announcer completion bash)"; COMP_WORDS=(announcer pau); COMP_CWORD=1; '
        '_announcer_completion announcer; echo "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.stdout == "pause\n", ran.stderr


# The manual


def test_the_manual_is_fresh() -> None:
    assert (ROOT / "docs" / MANUAL).read_text("utf-8") == manual(), "run `announcer docs`"


def test_the_manual_has_every_command_with_every_option() -> None:
    text = manual()
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command
        section = text.partition(f"### `announcer {name}")[2].partition("\n### ")[0]
        assert section, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in section, (name, option.opts)


def test_help_shows_each_command_with_its_whole_sentence(run: Run) -> None:
    said = " ".join(run("--help").stdout.split())
    assert "..." not in said.replace("[ARGS]...", "")
    for name in COMMANDS:
        assert f" {name} " in said
