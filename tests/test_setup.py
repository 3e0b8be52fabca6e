"""`announcer setup`: an Owncast server told about us, whatever its version, once, or not at all."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result

from announcer import envfile, rehearsal
from announcer.admin import version_of
from announcer.events import parse
from tests.owncast_admin import PASSWORD, OwncastAdmin
from tests.terminal import Run, Terminal, variables_of
from tests.terminal import run as run

HERE = "https://bot.kestrel.example"
START, STOP, TITLE = "STREAM_STARTED", "STREAM_STOPPED", "STREAM_TITLE_UPDATED"
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture
def owncast(request: pytest.FixtureRequest) -> Iterator[OwncastAdmin]:
    server = OwncastAdmin(getattr(request, "param", "0.3.0"))
    yield server
    server.stop()


def setup(
    run: Run, owncast: OwncastAdmin, *more: str, password: str = PASSWORD, **variables: str
) -> Result:
    given = ("--address", HERE, "--admin-password-file", "-", *more)
    return run("setup", *given, typed=f"{password}\n", **{"OWNCAST_URL": owncast.url, **variables})


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("announcer.cli.server.Visit.whether_reached", lambda _: [])


# What is made


@pytest.mark.parametrize(
    ("owncast", "events", "signed"),
    [
        pytest.param("0.3.0", [START, STOP, TITLE], True, id="0.3.0 signs"),
        pytest.param("0.4.12", [START, STOP, TITLE], True, id="a later one signs"),
        pytest.param("0.2.5", [START, STOP, TITLE], False, id="0.2 does not sign"),
        pytest.param("0.1.3", [START, STOP, TITLE], False, id="0.1 does not sign"),
        pytest.param("0.0.13", [START, STOP], False, id="0.0 knows no titles"),
        pytest.param(
            "", [START, STOP], False, id="one that tells no version is asked, then obeyed"
        ),
    ],
    indirect=["owncast"],
)
def test_every_version_gets_the_webhook_that_it_knows(
    run: Run, owncast: OwncastAdmin, events: list[str], signed: bool
) -> None:
    said = setup(run, owncast)
    assert said.exit_code == 0, said.output
    written = variables_of(Path())
    (webhook,) = owncast.webhooks
    assert webhook["events"] == events
    if signed:
        assert webhook["url"] == f"{HERE}/webhooks/owncast"
        assert webhook["secret"] == written["OWNCAST_WEBHOOK_SECRET"]
        assert "OWNCAST_WEBHOOK_TOKEN" not in written, "a door that nobody needs stays shut"
    else:
        assert webhook["url"] == f"{HERE}/webhooks/owncast/{written['OWNCAST_WEBHOOK_TOKEN']}"
        assert "secret" not in webhook
        assert "OWNCAST_WEBHOOK_SECRET" not in written
    (token,) = owncast.tokens
    assert token["scopes"] == ["CAN_SEND_SYSTEM_MESSAGES"]
    assert written["OWNCAST_ACCESS_TOKEN"] == token["accessToken"]
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600


def test_what_is_set_already_is_used_and_not_written_again(run: Run, owncast: OwncastAdmin) -> None:
    before = f"# mine\nOWNCAST_URL={owncast.url}\nOWNCAST_WEBHOOK_SECRET='a secret of mine'\n"
    Path(".env").write_text(before)
    assert setup(run, owncast).exit_code == 0
    assert owncast.webhooks[0]["secret"] == "a secret of mine"
    after = Path(".env").read_text()
    assert after.startswith(before)
    assert after.removeprefix(before).startswith("OWNCAST_ACCESS_TOKEN=")


@pytest.mark.parametrize("owncast", ["0.3.0", "0.1.3", "0.0.13", ""], indirect=True)
def test_a_second_run_changes_nothing(run: Run, owncast: OwncastAdmin) -> None:
    setup(run, owncast)
    before, env = list(owncast.changed), Path(".env").read_bytes()
    said = setup(run, owncast)
    assert said.exit_code == 0, said.output
    assert owncast.changed == before
    assert Path(".env").read_bytes() == env
    assert "made" not in said.stdout
    assert said.stdout.count("found ") == 2


def test_an_access_token_of_an_earlier_time_is_taken_when_the_file_is_lost(
    run: Run, owncast: OwncastAdmin
) -> None:
    setup(run, owncast, OWNCAST_WEBHOOK_SECRET="a secret of mine")
    Path(".env").unlink()
    setup(run, owncast, OWNCAST_WEBHOOK_SECRET="a secret of mine")
    assert len(owncast.tokens) == 1
    assert variables_of(Path())["OWNCAST_ACCESS_TOKEN"] == owncast.tokens[0]["accessToken"]


def test_after_an_upgrade_the_webhook_with_the_token_is_good_enough(
    run: Run, owncast: OwncastAdmin
) -> None:
    owncast.version = "0.2.5"
    setup(run, owncast)
    owncast.version = "0.3.0"
    setup(run, owncast)
    assert len(owncast.webhooks) == 1


def test_a_webhook_of_ours_that_lacks_an_event_is_replaced_and_a_strangers_stays(
    run: Run, owncast: OwncastAdmin
) -> None:
    strangers = {"id": 70, "url": "https://discord.example/hook", "events": [START]}
    others = {"id": 71, "url": "https://other.example/webhooks/owncast/x", "events": [START]}
    ours = {"id": 72, "url": f"{HERE}/webhooks/owncast/{TOKEN}", "events": [START, STOP]}
    owncast.webhooks = [strangers, others, ours]
    said = setup(run, owncast, OWNCAST_WEBHOOK_TOKEN=TOKEN)
    assert said.exit_code == 0
    assert owncast.webhooks[:2] == [strangers, others]
    (new,) = owncast.webhooks[2:]
    assert new["events"] == [START, STOP, TITLE]
    assert "for an Announcer at other.example" in said.stdout


def test_no_chat_makes_no_access_token(run: Run, owncast: OwncastAdmin) -> None:
    assert setup(run, owncast, "--no-chat").exit_code == 0
    assert not owncast.tokens
    assert "OWNCAST_ACCESS_TOKEN" not in variables_of(Path())


def test_viewers_who_ask_are_heard_and_a_user_may_send_messages(
    run: Run, owncast: OwncastAdmin
) -> None:
    owncast.tokens = [{"accessToken": "mine", "displayName": "x", "scopes": ["CAN_SEND_MESSAGES"]}]
    owncast.trouble["/api/integrations/chat/send"] = 400
    setup(
        run, owncast, OWNCAST_ACCESS_TOKEN="mine", OWNCAST_CHAT_AS="user",
        OWNCAST_CHAT_COMMAND="!posts",
    )  # fmt: skip
    assert owncast.webhooks[0]["events"] == [START, STOP, TITLE, "CHAT"]
    assert len(owncast.tokens) == 1


def test_a_second_server_has_variables_of_its_own(run: Run, owncast: OwncastAdmin) -> None:
    said = setup(
        run, owncast, "--channel", "music", OWNCAST_URL="", OWNCAST__MUSIC__URL=owncast.url
    )
    assert said.exit_code == 0, said.output
    assert set(variables_of(Path())) == {
        "OWNCAST__MUSIC__WEBHOOK_SECRET",
        "OWNCAST__MUSIC__ACCESS_TOKEN",
    }


def test_json_tells_all_of_it_and_no_secret(run: Run, owncast: OwncastAdmin) -> None:
    told = json.loads((said := setup(run, owncast, "--json")).stdout)
    assert len(told["made"]) == 2
    assert told["wrote"] == ["OWNCAST_WEBHOOK_SECRET", "OWNCAST_ACCESS_TOKEN"]
    assert told["well"] is True
    written = variables_of(Path())
    for secret in (PASSWORD, written["OWNCAST_WEBHOOK_SECRET"], owncast.tokens[0]["accessToken"]):
        assert secret not in said.output
    assert PASSWORD not in Path(".env").read_text()


# What goes wrong on the way


@pytest.mark.parametrize("owncast", ["0.3.0", "0.1.3"], indirect=True)
@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("accesstokens/create", 500, id="refused half way"),
        pytest.param("accesstokens/create", None, id="made, but no answer came"),
        pytest.param("webhooks/create", None, id="the webhook made, but no answer came"),
    ],
)
def test_half_way_it_leaves_nothing_behind(
    run: Run, owncast: OwncastAdmin, path: str, status: int | None
) -> None:
    mine = {"id": 7, "url": f"{HERE}/webhooks/owncast/{TOKEN}", "events": [START]}
    owncast.webhooks = [mine]
    owncast.trouble[f"/api/admin/{path}"] = status
    said = setup(run, owncast, OWNCAST_WEBHOOK_TOKEN=TOKEN)
    assert said.exit_code == 1
    assert "nothing was left behind" in said.stderr
    assert owncast.webhooks == [mine], "what was there before stays"
    assert owncast.tokens == []
    assert not Path(".env").exists()


def test_a_file_that_can_not_be_written_undoes_all(
    run: Run, owncast: OwncastAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise envfile.Unusable("can not be written (No space left on device)")

    monkeypatch.setattr(envfile, "write", full)
    said = setup(run, owncast)
    assert said.exit_code == 1
    assert ".env can not be written (No space left on device); nothing was left" in said.stderr
    assert (owncast.webhooks, owncast.tokens) == ([], [])


def test_ctrl_c_half_way_undoes_all(
    run: Run, owncast: OwncastAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(envfile, "write", interrupted)
    said = setup(run, owncast)
    assert said.exit_code == 130
    assert (owncast.webhooks, owncast.tokens) == ([], [])


def test_what_can_not_be_undone_is_told(run: Run, owncast: OwncastAdmin) -> None:
    owncast.trouble |= {"/api/admin/accesstokens/create": 500, "/api/admin/webhooks/delete": 500}
    said = setup(run, owncast)
    assert said.exit_code == 1
    assert "look for a webhook that was just made, and delete it" in said.stderr
    assert "nothing was left behind" not in said.stderr


def test_a_wrong_password_changes_nothing_and_is_not_repeated(
    run: Run, owncast: OwncastAdmin
) -> None:
    said = setup(run, owncast, password="canary-wrong")
    assert said.exit_code == 1
    assert "the admin password is wrong (the user is admin)" in said.stderr
    assert "canary" not in said.output
    assert not owncast.changed
    assert not Path(".env").exists()


def test_an_access_token_that_the_server_does_not_know_is_told_before_anything_is_made(
    run: Run, owncast: OwncastAdmin
) -> None:
    said = setup(run, owncast, OWNCAST_ACCESS_TOKEN="of-another-server")
    assert said.exit_code == 1
    assert "OWNCAST_ACCESS_TOKEN" in said.stderr
    assert not owncast.changed


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "page"], ids=["nobody answers", "no admin API there"]
)
def test_without_the_admin_api_it_says_what_to_enter_by_hand(
    run: Run, owncast: OwncastAdmin, url: str
) -> None:
    if url == "page":
        owncast.trouble["/api/admin/webhooks"] = 404
        url = owncast.url
    said = setup(run, owncast, OWNCAST_URL=url)
    assert said.exit_code == 1
    assert f"{HERE}/webhooks/owncast\n" in said.stderr
    assert "OWNCAST_WEBHOOK_SECRET in .env" in said.stderr
    assert "OWNCAST_WEBHOOK_TOKEN in .env" in said.stderr
    assert "Access Tokens" in said.stderr
    written = variables_of(Path())
    assert {"OWNCAST_WEBHOOK_SECRET", "OWNCAST_WEBHOOK_TOKEN"} <= set(written)
    assert not any(secret in said.output for secret in written.values())
    assert not owncast.changed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--address", "http://bot.example"], "--address would send credentials unencrypted"),
        (["--owncast", "http://live.example"], "--owncast would send credentials unencrypted"),
        (["--address", "nonsense"], "--address is not a web address"),
        (["--channel", "music"], "there is no Owncast server music"),
        (["--admin-password-file", "nowhere"], "--admin-password-file can not be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_can_not_be_used_is_named_by_its_option(
    run: Run, owncast: OwncastAdmin, arguments: list[str], words: str
) -> None:
    said = setup(run, owncast, *arguments)
    assert said.exit_code == 2
    assert words in said.stderr
    assert not owncast.changed


@pytest.mark.parametrize(
    ("given", "flag"),
    [([], "--address"), (["--address", HERE], "--admin-password-file")],
    ids=["address", "password"],
)
def test_without_a_terminal_the_missing_option_is_named(
    run: Run, given: list[str], flag: str
) -> None:
    said = run("setup", *given, OWNCAST_URL="https://live.example")
    assert said.exit_code == 2
    assert f"{flag}" in said.stderr
    assert "is missing" in said.stderr


def test_a_variable_of_the_environment_is_not_written_in_vain(
    run: Run, owncast: OwncastAdmin
) -> None:
    said = setup(run, owncast, OWNCAST_ACCESS_TOKEN=" ", OWNCAST_WEBHOOK_SECRET=" ")
    assert said.exit_code == 0, "what is empty is not set"


def test_an_address_with_our_path_is_understood(run: Run, owncast: OwncastAdmin) -> None:
    setup(run, owncast, "--address", f"{HERE}/bot/webhooks/owncast")
    assert owncast.webhooks[0]["url"] == f"{HERE}/bot/webhooks/owncast"


def test_a_person_is_asked_and_may_mistype_the_password(
    tmp_path: Path, owncast: OwncastAdmin
) -> None:
    (tmp_path / ".env").write_text(f"OWNCAST_URL={owncast.url}\n")
    there = Terminal(tmp_path, "setup")
    there.answer("[http://127.0.0.1:8000]", "")
    there.answer("Go on?", "y")
    there.answer("(it is not kept)", "wrong")
    there.answer("(it is not kept)", PASSWORD)
    assert there.end() == 0, there.screen
    assert PASSWORD not in there.screen
    assert "the admin password is wrong" in there.screen
    assert owncast.webhooks[0]["url"] == "http://127.0.0.1:8000/webhooks/owncast"


def test_a_person_who_says_no_changes_nothing(tmp_path: Path, owncast: OwncastAdmin) -> None:
    (tmp_path / ".env").write_text(f"OWNCAST_URL={owncast.url}\n")
    there = Terminal(tmp_path, "setup", "--address", HERE)
    there.answer("Go on?", "n")
    assert there.end() == 130
    assert not owncast.changed
    assert (tmp_path / ".env").read_text() == f"OWNCAST_URL={owncast.url}\n"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.1.3", (0, 1, 3)),
        ("Owncast v0.0.13-linux-64bit (a1b2c3)", (0, 0, 13)),
        ("v0.3.0-dev", (0, 3, 0)),
        ("nightly", None),
        ("", None),
        ("9" * 5000 + ".1.2", None),
    ],
)
def test_versions_are_read_as_owncast_writes_them(
    text: str, version: tuple[int, ...] | None
) -> None:
    assert version_of(text) == version


def test_what_setup_makes_is_what_the_service_takes(run: Run, owncast: OwncastAdmin) -> None:
    """The events that we ask for are those that we understand."""
    setup(run, owncast)
    for event in owncast.webhooks[0]["events"]:
        kind = next(what for what, name in rehearsal.KINDS.items() if name == event)
        now = datetime.now(UTC)
        assert parse(rehearsal.webhook(kind, "t", "n"), "default", now) is not None
