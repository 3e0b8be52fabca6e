"""The commands: what an operator reads, exit statuses for scripts, and never a traceback."""

import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from announcer import policy, wiring
from announcer import wire as door
from announcer.cli import main
from announcer.contract.fake import Wire, refused
from announcer.events import Event, Kind
from announcer.networks import places
from announcer.networks.discord import Discord
from announcer.policy import Entry, State
from announcer.web.server import Server
from tests.house import DISCORD, ONE, TOKEN, House, house, own_logging
from tests.running import SECRET, Service
from tests.test_pages import become, begin

Run = Callable[..., Result]

OURS = ("ANNOUNCER_", "OWNCAST_", *(f"{name.upper()}_" for name in places()))
MASTODON: Mapping[str, str] = {
    "MASTODON_API_BASE_URL": "https://social.example",
    "MASTODON_ACCESS_TOKEN": "canary-mastodon-token",
}
GUILD = {"guild_id": "3", "name": "Kestrel's hook", "channel_id": "2", "id": "17", "type": 1}
INSTANCE = {"version": "4.5.0", "configuration": {"statuses": {"max_characters": 500}}}
STOPPED = (2, 1)
"""Statuses that a script takes for trouble; the first is for settings."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`announcer ...` in an empty folder, where only the variables given are set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Server, "run", lambda _: pytest.fail("the service was started"))
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)

    def announcer(*arguments: str, **variables: str) -> Result:
        result = CliRunner().invoke(main, arguments, env=variables)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        return result

    with own_logging():
        yield announcer


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        yield made


# Settings


@pytest.mark.parametrize(
    "command",
    [["serve"], ["check"], ["preview"], ["simulate", "start"], ["history"], ["retry", "k"]],
)
def test_g12_settings_that_can_not_be_used_are_all_told_at_once(
    run: Run, command: list[str]
) -> None:
    said = run(
        *command,
        ANNOUNCER_HOLD="30",
        ANNOUNCER_PORT="eighty",
        ANNOUNCER_LOG_LEVEL="loud-canary",
        MASTODON_ACCESS_TOKEN="canary",
        DISCORD_WEBHOOK_URL="canary",
        OWNCAST_URL="live.example canary",
        OWNCAST_WEBHOOK_TOKEN="canary",
        OWNCAST_WEBHOOK_SECRT="canary",
    )
    assert said.exit_code == 2
    for variable in (
        "ANNOUNCER_HOLD", "ANNOUNCER_PORT", "ANNOUNCER_LOG_LEVEL", "MASTODON_API_BASE_URL",
        "DISCORD_WEBHOOK_URL", "OWNCAST_URL", "OWNCAST_WEBHOOK_SECRT", "OWNCAST_WEBHOOK_SECRET",
    ):  # fmt: skip
        assert variable in said.stderr
    assert "canary" not in said.output
    assert not said.stdout


@pytest.mark.parametrize("command", [["serve"], ["simulate", "start"]])
def test_without_secret_and_token_nobody_is_served(run: Run, command: list[str]) -> None:
    said = run(*command, OWNCAST_URL="https://live.example")
    assert said.exit_code == 2
    assert "OWNCAST_WEBHOOK_SECRET" in said.stderr
    assert "OWNCAST_WEBHOOK_TOKEN" in said.stderr
    assert not Path("announcer.db").exists()


@pytest.mark.parametrize("command", [["serve"], ["check", "--offline"]])
def test_whoever_has_just_arrived_is_told_where_to_begin(run: Run, command: list[str]) -> None:
    assert "`announcer init` writes one" in run(*command).stderr
    Path(".env").write_text("# begun\n")
    assert "announcer init" not in run(*command).stderr


@pytest.mark.parametrize(
    ("mode", "said"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)]
)
def test_a_file_of_secrets_that_others_can_read_is_told(run: Run, mode: int, said: bool) -> None:
    """As one that was written by hand mostly is."""
    file = Path(".env")
    file.write_text("OWNCAST_URL=https://live.example\n")
    file.chmod(mode)
    assert ("chmod 600 .env" in run("check", "--offline").stderr) is said


def test_every_server_needs_a_proof_of_its_own(run: Run) -> None:
    said = run("serve", OWNCAST_WEBHOOK_SECRET=SECRET, OWNCAST__MUSIC__URL="https://music.example")
    assert said.exit_code == 2
    assert "OWNCAST__MUSIC__WEBHOOK_SECRET" in said.stderr


def test_a_dotenv_file_is_read_and_the_environment_wins(run: Run) -> None:
    Path(".env").write_text(
        f"OWNCAST_WEBHOOK_SECRET={SECRET}\n"
        "# a remark\n"
        'export OWNCAST_URL="https://of-the-file.example"\n'
        f"DISCORD_WEBHOOK_URL={DISCORD}\n"
        "HOME_PAGE=${HOME}\n"
    )
    assert "https://of-the-file.example not checked" in run("check", "--offline").stdout
    said = run("check", "--offline", OWNCAST_URL="https://of-the-environment.example")
    assert "https://of-the-environment.example not checked" in said.stdout
    assert said.exit_code == 0


def test_a_value_in_dotenv_is_taken_as_it_stands(run: Run) -> None:
    """A secret may well contain a dollar."""
    Path(".env").write_text("OWNCAST_URL=https://live.example/${HOME}\n")
    assert "live.example/${HOME}" in run("check", "--offline").stdout


def test_a_dotenv_file_from_windows_is_read(run: Run) -> None:
    Path(".env").write_bytes(
        b"\xef\xbb\xbfOWNCAST_URL=https://live.example\r\nANNOUNCER_HOLD=5s\r\n"
    )
    assert "https://live.example not checked" in run("check", "--offline").stdout


def test_a_dotenv_file_that_is_no_text_is_refused(run: Run) -> None:
    Path(".env").write_text("OWNCAST_URL=https://live.example/canary\n", "utf-16")
    said = run("check")
    assert said.exit_code == 2
    assert ".env can not be read" in said.stderr
    assert "canary" not in said.output


def test_g09_a_variable_that_is_set_twice_is_told_by_name_only(run: Run) -> None:
    Path(".env").write_text("OWNCAST_WEBHOOK_SECRET=canary-1\nOWNCAST_WEBHOOK_SECRET=canary-2\n")
    said = run("check", "--offline")
    assert "warning: OWNCAST_WEBHOOK_SECRET is set 2 times" in said.stderr
    assert "canary" not in said.output


def test_g09_a_secret_in_two_places_is_refused(run: Run) -> None:
    Path("secret").write_text("canary-of-a-file\n")
    Path(".env").write_text("OWNCAST_WEBHOOK_SECRET=canary-of-dotenv\n")
    said = run("serve", OWNCAST_WEBHOOK_SECRET_FILE="secret")
    assert said.exit_code == 2
    assert "OWNCAST_WEBHOOK_SECRET and OWNCAST_WEBHOOK_SECRET_FILE are both set" in said.stderr
    assert "canary" not in said.output


def test_g09_a_strangers_variable_with_our_prefix_is_a_warning(run: Run) -> None:
    said = run("check", "--offline", **ONE, ANNOUNCER_BADGE_COLOUR="canary")
    assert said.exit_code == 0
    assert "warning: ANNOUNCER_BADGE_COLOUR: no such setting, ignored" in said.stderr
    assert "canary" not in said.output


# The database


def newer(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()


def corrupt(file: Path) -> None:
    file.write_bytes(b"this is a letter and no database" * 200)


def flipped(file: Path) -> None:
    """One that was good once."""
    with house(file.parent):
        pass
    pages = bytearray(file.read_bytes())
    pages[100:4096] = b"\xff" * 3996
    file.write_bytes(pages)


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        pytest.param(newer, "schema 9999", id="newer"),
        pytest.param(corrupt, "file is not a database", id="no database"),
        pytest.param(flipped, "malformed", id="flipped bytes"),
        pytest.param(lambda file: file.mkdir(), "Is a directory", id="a folder"),
    ],
)
@pytest.mark.parametrize("command", [["serve"], ["history"], ["retry", "b/live/x"]])
def test_a_database_that_can_not_be_used_is_named_and_left_alone(
    run: Run, tmp_path: Path, break_it: Callable[[Path], None], why: str, command: list[str]
) -> None:
    file = tmp_path / "announcer.db"
    break_it(file)
    before = file.is_file() and file.read_bytes()
    said = run(*command, **ONE, ANNOUNCER_DATABASE_URL=f"sqlite:///{file}")
    assert said.exit_code in STOPPED
    assert "ANNOUNCER_DATABASE_URL" in said.stderr
    assert why in said.stderr
    assert (file.is_file() and file.read_bytes()) == before


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////proc/no/such/place/announcer.db",
        "sqlite:///a-file/announcer.db",
        "sqlite:///:memory:",
        "sqlite://",
        "announcer.db",
        "postgresql://announcer:canary@127.0.0.1:1/announcer",
        "mysql://announcer:canary@127.0.0.1:1/announcer",
        "nonsense://announcer:canary@somewhere/announcer",
        "canary",
    ],
)
def test_an_address_of_no_database_is_refused_by_name(run: Run, url: str) -> None:
    Path("a-file").write_text("")
    said = run("serve", **ONE, ANNOUNCER_DATABASE_URL=url)
    assert said.exit_code in STOPPED
    assert "ANNOUNCER_DATABASE_URL" in said.stderr
    assert "canary" not in said.output
    assert len(said.stderr.splitlines()) == 1


def test_the_database_is_for_its_owner_only(run: Run) -> None:
    """It holds login sessions and what was said to whom."""
    assert run("history", **ONE, ANNOUNCER_DATABASE_URL="sqlite:///new/one.db").exit_code == 0
    assert Path("new/one.db").stat().st_mode & 0o777 == 0o600


# check


def test_g11_check_offline_asks_nobody_and_says_so(run: Run, wire: Wire) -> None:
    said = run("check", "--offline", **ONE, **MASTODON)
    assert said.exit_code == 0
    for line in ("discord    account not checked", "mastodon    account not checked"):
        assert line in said.stdout
    assert "https://live.kestrel.example not checked" in said.stdout
    assert not wire.sent


def answer_well(wire: Wire) -> None:
    me = {"id": "1", "acct": "kestrel", "url": "https://social.example/@kestrel"}
    wire.always("GET", "-of-discords", 200, GUILD)
    wire.always("GET", "/accounts/verify_credentials", 200, me)
    wire.always("GET", "/accounts/1/statuses", 200, [])
    wire.always("GET", "/api/v2/instance", 200, INSTANCE)
    wire.always("GET", "/api/status", 200, {"online": False})


def test_check_says_who_we_are_everywhere(run: Run, wire: Wire) -> None:
    answer_well(wire)
    said = run("check", **ONE, **MASTODON)
    assert "discord    ok, " in said.stdout
    assert "mastodon    ok, " in said.stdout
    assert "kestrel" in said.stdout
    assert "https://live.kestrel.example says: offline" in said.stdout
    assert said.exit_code == 0
    assert all(sent.request.method == "GET" for sent in wire.sent), "nothing was posted"


def test_check_tells_of_every_bad_account_and_fails(run: Run, wire: Wire) -> None:
    answer_well(wire)
    wire.always("GET", "-of-discords", 404, {"code": 10015, "message": f"Unknown {DISCORD}"})
    wire.always("GET", "verify_credentials", 401, {"error": "canary-mastodon-token is invalid"})
    said = run("check", **ONE, **MASTODON)
    assert said.exit_code == 1
    assert re.search(r"^discord    (?!ok)", said.stdout, re.MULTILINE)
    assert re.search(r"^mastodon    401", said.stdout, re.MULTILINE)
    assert DISCORD.rpartition("/")[2] not in said.output
    assert "canary" not in said.output


def test_check_speaks_on_when_nobody_answers(run: Run, wire: Wire) -> None:
    wire.breaks(refused, times=20)
    said = run("check", **ONE, **MASTODON)
    assert said.exit_code == 1
    assert "discord    no connection" in said.stdout
    assert "mastodon    no connection" in said.stdout
    assert "no Owncast at https://live.kestrel.example (no connection)" in said.stdout


def test_check_goes_through_the_proxy_as_the_service_does(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.Session, "proxy", None)
    answer_well(wire)
    run("check", **ONE, ANNOUNCER_PROXY="http://proxy.internal:3128")
    assert door.Session.proxy == "http://proxy.internal:3128"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param({}, "no destination is configured", id="nobody to tell"),
        pytest.param({"DISCORD_WEBHOOK_URL": DISCORD}, "OWNCAST_WEBHOOK_SECRET", id="no proof"),
    ],
)
def test_check_fails_when_nothing_would_be_announced(
    run: Run, variables: Mapping[str, str], words: str
) -> None:
    said = run("check", "--offline", **variables)
    assert said.exit_code == 1
    assert words in said.stdout


@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param("sqlite:///noise.db", "the file is damaged", id="damaged"),
        pytest.param("sqlite:///folder", "Is a directory", id="a folder"),
        pytest.param("sqlite:///noise.db/deeper/one.db", "Not a directory", id="below a file"),
        pytest.param("sqlite://", "write it like sqlite:///announcer.db", id="of no duration"),
        pytest.param("postgresql://a:pass-word@127.0.0.1:1/x", "Connection refused", id="away"),
    ],
)
def test_check_finds_a_database_that_can_not_be_used_and_touches_nothing(
    run: Run, wire: Wire, place: str, words: str
) -> None:
    answer_well(wire)
    Path("folder").mkdir()
    Path("noise.db").write_bytes(b"no database" * 1000)
    before = {path: path.stat().st_size for path in Path().rglob("*")}
    said = run("check", **ONE, ANNOUNCER_DATABASE_URL=place)
    assert said.exit_code == 1
    assert "database    ANNOUNCER_DATABASE_URL can not be used: " in said.stdout
    assert words in said.stdout
    assert "pass-word" not in said.stdout
    assert {path: path.stat().st_size for path in Path().rglob("*")} == before


def test_check_makes_no_database_and_offline_asks_none(run: Run, wire: Wire) -> None:
    answer_well(wire)
    assert run("check", **ONE, ANNOUNCER_DATABASE_URL="sqlite:///new/one.db").exit_code == 0
    assert not Path("new").exists()
    away = "postgresql://a:b@127.0.0.1:1/x"
    assert run("check", "--offline", **ONE, ANNOUNCER_DATABASE_URL=away).exit_code == 0


def test_f10_check_finds_a_broken_template_with_file_and_line(run: Run) -> None:
    folder = Path("mine/discord")
    folder.mkdir(parents=True)
    (folder / "live.txt").write_text("{{ name }}\n{{ titel }}\n")
    said = run("check", "--offline", **ONE, ANNOUNCER_TEMPLATES="mine")
    assert said.exit_code == 1
    assert "discord/live.txt" in said.stdout
    assert "did you mean 'title'" in said.stdout


def test_what_a_strangers_server_says_can_not_steer_the_terminal(run: Run, wire: Wire) -> None:
    answer_well(wire)
    evil = "evil\x1b]0;title\x07\x1b[2J\r\nmastodon    ok"
    wire.always("GET", "-of-discords", 200, {**GUILD, "name": evil, "guild_id": evil})
    wire.always("GET", "verify_credentials", 422, {"error": evil})
    said = run("check", **ONE, **MASTODON)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said.stdout)
    assert "\nmastodon    ok" not in said.stdout


def test_a_librarys_warning_of_an_address_is_redacted(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib3 quotes the full address of a request, and a Discord address is the password."""
    answer_well(wire)

    def warn(_: object) -> None:
        logging.getLogger("somebody").warning("Failed to parse headers (url=%s)", DISCORD)
        logging.getLogger("urllib3.connectionpool").warning("Failed (url=%s)", DISCORD)

    monkeypatch.setattr(Discord, "check", warn)
    said = CliRunner().invoke(main, ["check"], env={**ONE})
    assert "Failed to parse" in said.stderr
    assert DISCORD.rpartition("/")[2] not in said.output


# preview


def test_preview_shows_each_text_as_its_network_would_with_its_length(run: Run, wire: Wire) -> None:
    answer_well(wire)
    said = run(
        "preview", "--title", "Oak & <b>ash</b> @everyone", "--tag", "wood", **ONE, **MASTODON
    )
    assert said.exit_code == 0
    for name, limit in (("discord", 2000), ("mastodon", 500)):
        for moment in ("live", "ended"):
            head = re.search(rf"^{name} {moment}  (\d+)/{limit} ", said.stdout, re.MULTILINE)
            assert head, said.stdout
            assert 30 < int(head[1]) < limit
    assert said.stdout.count("live.kestrel.example") == 4
    assert "@everyone" not in said.stdout
    assert not [sent for sent in wire.sent if sent.request.method != "GET"]


def test_preview_says_which_template_was_used_and_what_is_wrong_with_yours(run: Run) -> None:
    Path("mine").mkdir()
    Path("mine/live.txt").write_text("{{ nothing }}")
    said = run("preview", **ONE, ANNOUNCER_TEMPLATES="mine")
    assert "! " in said.stdout
    assert "nothing" in said.stdout
    assert "live.kestrel.example" in said.stdout, "the shipped one is shown instead"


# history and retry


def test_history_says_why_nobody_was_told(run: Run) -> None:
    alone = {name: value for name, value in ONE.items() if not name.startswith("DISCORD")}
    box = wiring.open_outbox(wiring.read(alone))
    at = datetime(2026, 9, 12, 19, tzinfo=UTC)
    show = policy.Broadcast("b1", "default", began=at, since=at, seen=at)
    with box.transaction("default") as stored:
        stored.put_broadcast(show)
    assert "  nobody was told: it began too long ago" in run("history", **alone).stdout


def test_history_tells_what_was_posted_where_or_why_not(run: Run, home: House) -> None:
    claim = begin(home)
    become(home, claim, policy.settled(claim.entry), "We are live", "https://discord.com/c/1")
    said = run("history", **ONE)
    assert said.exit_code == 0
    assert "Fitting a dovetail drawer" in said.stdout
    assert f"settled    {claim.entry.key}  1 try  https://discord.com/c/1" in said.stdout
    (row,) = json.loads(run("history", "--json", **ONE).stdout)
    assert row["key"] == claim.entry.key
    assert (row["state"], row["text"]) == ("settled", "We are live")
    assert row["url"] == "https://discord.com/c/1"
    assert [tried["outcome"] for tried in row["tries"]] == ["delivered"]
    assert datetime.fromisoformat(row["tries"][0]["at"]).tzinfo


def test_history_of_nothing_is_nothing(run: Run) -> None:
    assert run("history", **ONE).stdout == ""
    assert json.loads(run("history", "--json", **ONE).stdout) == []


def test_history_shows_as_many_broadcasts_as_asked(run: Run, home: House) -> None:
    for day in range(3):
        at = datetime(2026, 11, 20 + day, 19, tzinfo=UTC)
        home.parts.intake.take(
            Event(f"s{day}", "default", Kind.STARTED, at, title=f"day {day}"), at
        )
        home.parts.intake.take(Event(f"e{day}", "default", Kind.STOPPED, at), at)
    shown = run("history", "--broadcasts", "2", **ONE).stdout
    assert ["day 2" in shown, "day 1" in shown, "day 0" in shown] == [True, True, False]


def test_a_hostile_title_can_not_steer_the_operators_terminal(run: Run, home: House) -> None:
    begin(home, "a\x1b]0;pwned\x07\x1b[2Jb\r\n  settled    forged/live/discord  1 try")
    said = run("history", **ONE)
    assert len(said.stdout.splitlines()) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said.stdout)


def failed_once(entry: Entry) -> Entry:
    return policy.failed(entry, "403 no such right")


def doubtful(entry: Entry) -> Entry:
    now = datetime.now(UTC)
    at_risk = Entry(
        **{name: getattr(entry, name) for name in Entry.__slots__} | {"doubtful_since": now}
    )
    return policy.failed(at_risk, "no answer in time")


@pytest.mark.parametrize(
    ("what", "state"),
    [
        pytest.param(failed_once, State.FAILED, id="failed"),
        pytest.param(doubtful, State.UNSURE, id="may be posted"),
    ],
)
def test_g19_retry_sends_a_stuck_post_again_once(
    run: Run, home: House, what: Callable[[Entry], Entry], state: State
) -> None:
    claim = begin(home)
    become(home, claim, what(claim.entry), "We are live")
    home.parts.outbox.close("discord", "fingerprint", "401", datetime.now(UTC))
    assert json.loads(run("history", "--json", **ONE).stdout)[0]["state"] == state
    said = run("retry", claim.entry.key, **ONE)
    assert said.exit_code == 0
    assert "will be sent" in said.stdout
    (row,) = json.loads(run("history", "--json", **ONE).stdout)
    assert row["state"] == "due"
    assert not home.parts.outbox.closed(), "the operator knows better"
    assert run("retry", claim.entry.key, **ONE).exit_code == 1, "pressed twice, sent once"


@pytest.mark.parametrize("key", ["nothing/live/discord", "", "'; DROP TABLE posts; --", "x" * 5000])
def test_retry_of_an_unknown_key_says_where_keys_are(run: Run, home: House, key: str) -> None:
    begin(home)
    said = run("retry", key, **ONE)
    assert said.exit_code == 1
    assert "announcer history" in said.stderr
    assert len(home.stored()["posts"]) == 1


def test_retry_does_not_touch_what_is_up(run: Run, home: House) -> None:
    claim = begin(home)
    become(home, claim, policy.settled(claim.entry), "We are live", "https://discord.com/c/1")
    before = home.stored()
    assert run("retry", claim.entry.key, **ONE).exit_code == 1
    assert home.stored() == before


# simulate


@pytest.fixture(scope="module", params=["signature", "token"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One that tells the chat of an Owncast that is not there."""
    settings = {"OWNCAST_URL": "http://127.0.0.1:9", "OWNCAST_ACCESS_TOKEN": "canary-chat"}
    if request.param == "token":
        settings |= {"OWNCAST_WEBHOOK_SECRET": "", "OWNCAST_WEBHOOK_TOKEN": TOKEN}
    running = Service(tmp_path_factory.mktemp("simulated"), settings)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log
    assert not re.search(f"{SECRET}|{TOKEN}|canary", running.log)


def simulate(
    service: Service, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "announcer", "simulate", *arguments],
        cwd=service.folder,
        env={**service.environment, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def broadcasts(service: Service) -> list[tuple[str, bool]]:
    """Title of each broadcast and whether it is live, as the page shows it to this machine."""
    with sqlite3.connect(service.folder / "announcer.db") as reader:
        rows = reader.execute("SELECT title, stopped IS NULL FROM broadcasts").fetchall()
    reader.close()
    return [(title, bool(live)) for title, live in rows]


def test_simulate_plays_a_whole_stream(service: Service) -> None:
    for arguments, then in (
        (["start", "--title", "One"], ("One", True)),
        (["title", "--title", "Zwei & drei 🔴"], ("Zwei & drei 🔴", True)),
        (["stop"], ("Zwei & drei 🔴", False)),
    ):
        told = simulate(service, *arguments)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout == "the service answered 204\n"
        assert broadcasts(service) == [then]
        time.sleep(0.01)


def test_simulate_with_another_secret_is_turned_away(service: Service) -> None:
    wrong = {"OWNCAST_WEBHOOK_SECRET": "another-secret"}
    if service.environment.get("OWNCAST_WEBHOOK_TOKEN"):
        wrong = {"OWNCAST_WEBHOOK_TOKEN": "another-token-than-that"}
    told = simulate(service, "start", **wrong)
    assert told.returncode == 1
    assert re.search("answered 40[14]", told.stdout)
    assert "another-token" not in told.stdout


def test_simulate_says_why_nothing_will_be_announced(run: Run, wire: Wire) -> None:
    wire.always("POST", "/webhooks/owncast", 204)
    wire.always("GET", "/api/status", 200, {"online": False})
    said = run("simulate", "start", **ONE)
    assert said.exit_code == 0
    assert "https://live.kestrel.example is offline" in said.stderr
    assert "announcer test" in said.stderr
    assert run("simulate", "stop", **ONE).stderr == ""


def test_simulate_without_a_service_asks_whether_it_runs(run: Run) -> None:
    said = run("simulate", "start", **ONE, ANNOUNCER_PORT="9")
    assert said.exit_code == 1
    assert "http://127.0.0.1:9 does not answer" in said.stderr
    assert "is it running?" in said.stderr


def test_simulate_of_an_unknown_channel_is_refused(run: Run) -> None:
    said = run("simulate", "start", "--channel", "music", **ONE)
    assert said.exit_code == 1
    assert "there is no channel music" in said.stderr


# serve


def test_a_service_that_can_not_listen_says_why_and_ends(tmp_path: Path) -> None:
    first = Service(tmp_path, {})
    try:
        second = subprocess.run(
            [sys.executable, "-m", "announcer", "serve"],
            cwd=tmp_path,
            env=first.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        assert first.stop() == 0
    assert second.returncode == 1
    assert second.stderr.startswith(f"Error: ANNOUNCER_PORT: {first.port} is taken")
    assert len(second.stderr.splitlines()) == 1
    assert "Traceback" not in second.stderr


# help


def commands() -> list[str]:
    return sorted(main.list_commands(click.Context(main)))


def test_the_commands_of_the_contract_are_there() -> None:
    assert {"serve", "check", "preview", "simulate", "history", "retry", "demo", "docs"} <= set(
        commands()
    )


@pytest.mark.parametrize("name", ["", *commands()])
def test_help_is_one_sentence_and_each_option_says_what_it_does(run: Run, name: str) -> None:
    command = main.get_command(click.Context(main), name) if name else main
    assert command
    words = " ".join((command.help or "").split())
    assert re.fullmatch(r"[A-Z][^.!?]*(?:[.]\w[^.!?]*)*[.]", words), words
    for option in command.params:
        if isinstance(option, click.Option) and "--version" not in option.opts:
            assert option.help, option.opts
    said = run(*filter(None, [name]), "-h")
    assert said.exit_code == 0
    assert words.split()[0] in said.stdout


def test_an_unknown_command_is_told_without_a_traceback(run: Run) -> None:
    assert run("shout").exit_code == 2


# docs


def test_docs_are_written_and_then_up_to_date(run: Run) -> None:
    assert run("docs", "--check").exit_code == 1
    assert run("docs").exit_code == 0
    assert run("docs", "--check").exit_code == 0
    Path("docs/settings.md").write_text("old")
    said = run("docs", "--check")
    assert said.exit_code == 1
    assert said.stderr == "docs/settings.md is out of date: run `announcer docs`\n"


def test_docs_need_no_settings(run: Run) -> None:
    assert run("docs", ANNOUNCER_PORT="nonsense").exit_code == 0
