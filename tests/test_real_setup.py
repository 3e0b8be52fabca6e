"""As a new user would: accounts of real servers connected, and a first post, by commands only."""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from announcer.connect import matrix
from tests.owncast_admin import PASSWORD, OwncastAdmin
from tests.running import Service
from tests.servers import free_port
from tests.servers.pds import BlueskyAccount, Pds
from tests.servers.snac import FediverseAccount, Snac
from tests.servers.synapse import Synapse
from tests.terminal import SECONDS, Terminal, environment, variables_of
from tests.test_connect import Script


def announcer(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "announcer", *arguments], cwd=folder, env=environment(),
        input=typed, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def allow(screen: str, name: str, password: str) -> str:
    """What a person does in the browser: log in at the address that was shown, copy the code."""
    address = re.findall(r"http\S+/oauth/authorize\?\S+", screen)[-1]
    assert "<form" in requests.get(address, timeout=SECONDS).text
    asked = {key: value[0] for key, value in parse_qs(urlsplit(address).query).items()}
    answer = requests.post(
        f"{address.partition('/oauth/')[0]}/oauth/x-snac-login",
        data={
            "login": name,
            "passwd": password,
            "redir": asked["redirect_uri"],
            "cid": asked["client_id"],
        },
        timeout=SECONDS,
    )
    return answer.text.strip()


@pytest.fixture
def owncast() -> Iterator[OwncastAdmin]:
    server = OwncastAdmin("0.3.0")
    yield server
    server.stop()


def test_from_nothing_to_the_first_post(
    tmp_path: Path, snac: Snac, bluesky_account: BlueskyAccount, owncast: OwncastAdmin
) -> None:
    name, password = snac.new_user()
    there = Terminal(tmp_path, "init")
    there.answer("Public address of your stream", owncast.url)
    there.answer("Enter for none now", "mastodon, bluesky")
    there.answer("Log in there now", "")
    there.answer("Address of your server", snac.url)
    there.until("/oauth/authorize?")
    there.until("The code that your server shows")
    there.type(allow(there.words, name, password))
    there.answer("Log in there now", "")
    there.answer("Enter for Bluesky's own", bluesky_account.service)
    there.answer("Handle of the account", bluesky_account.identifier)
    there.answer("App password", bluesky_account.app_password)
    there.answer("Password for Announcer's own pages", "")
    assert there.end() == 0, there.screen
    assert re.search(rf"^mastodon    ok, @{name}@", there.words, re.MULTILINE)
    assert f"bluesky    ok, @{bluesky_account.identifier}" in there.words
    written = variables_of(tmp_path)
    for variable in ("MASTODON_ACCESS_TOKEN", "BLUESKY_APP_PASSWORD"):
        assert written[variable] not in there.screen

    with (tmp_path / ".env").open("a") as file:
        file.write(f"ANNOUNCER_PORT={free_port()}\nANNOUNCER_HOLD=0s\n")
    told = announcer(
        tmp_path, "setup", "--admin-password-file", "-", "--no-chat",
        "--address", f"http://127.0.0.1:{variables_of(tmp_path).get('ANNOUNCER_PORT')}",
        typed=PASSWORD,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert owncast.webhooks[0]["secret"] == written["OWNCAST_WEBHOOK_SECRET"]

    service = Service(
        tmp_path,
        {"OWNCAST_WEBHOOK_SECRET": written["OWNCAST_WEBHOOK_SECRET"], "ANNOUNCER_GIVE_UP": "5m"},
    )
    try:
        played = subprocess.run(
            [sys.executable, "-m", "announcer", "simulate", "start"], cwd=tmp_path,
            env=service.environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert played.returncode == 0, played.stdout + played.stderr
        fediverse = FediverseAccount(snac.url, name, "")
        service.until(lambda: fediverse.posts() and bluesky_account.posts(), "nobody was told")
    finally:
        assert service.stop() == 0
    assert "Fitting a dovetail drawer" in fediverse.posts()[0].html


def test_a_test_post_is_seen_and_gone(tmp_path: Path, bluesky_account: BlueskyAccount) -> None:
    (tmp_path / ".env").write_text(
        f"BLUESKY_SERVICE={bluesky_account.service}\n"
        f"BLUESKY_IDENTIFIER={bluesky_account.identifier}\n"
        f"BLUESKY_APP_PASSWORD={bluesky_account.app_password}\n"
    )
    kept = announcer(tmp_path, "test", "bluesky", "--keep")
    assert kept.returncode == 0, kept.stderr
    assert "This is a test of Announcer" in bluesky_account.posts()[0]["text"]
    gone = announcer(tmp_path, "test", "bluesky", "--json")
    (result,) = json.loads(gone.stdout)
    assert (result["well"], result["up"]) == (True, False)
    assert len(bluesky_account.posts()) == 1


def test_a_server_that_deletes_nothing_is_seen_through(
    tmp_path: Path, fediverse_account: FediverseAccount
) -> None:
    """snac answers a deletion with 404, as if the post were gone."""
    (tmp_path / ".env").write_text(
        f"MASTODON_API_BASE_URL={fediverse_account.server}\n"
        f"MASTODON_ACCESS_TOKEN={fediverse_account.token}\n"
    )
    told = announcer(tmp_path, "test", "mastodon")
    assert told.returncode == 1
    assert "do it by hand: this server does not take away posts" in told.stdout
    assert len(fediverse_account.posts()) == 1


def test_bluesky_knows_the_accounts_own_password_from_an_app_password(
    tmp_path: Path, pds: Pds
) -> None:
    account, password = pds.new_owner()
    told = announcer(
        tmp_path, "connect", "bluesky", "--service", pds.url, "--identifier", account["handle"],
        "--app-password-file", "-", typed=password,
    )  # fmt: skip
    assert told.returncode == 1
    assert "make an app password" in told.stderr
    assert password not in told.stderr
    assert not (tmp_path / ".env").exists()


def test_matrix_logs_in_with_its_device_and_enters_the_room(synapse: Synapse) -> None:
    room = synapse.new_room(member=False)
    user, password = f"kestrel_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    wanted = {"username": user, "password": password, "auth": {"type": "m.login.dummy"}}
    asked = f"{synapse.url}/_matrix/client/v3/register"
    user = requests.post(asked, json=wanted, timeout=SECONDS).json()["user_id"]
    person = Script(
        {"user": user, "homeserver": synapse.url, "password": password, "room_id": room.alias}
    )
    made = matrix.connect(person, {"homeserver": synapse.url})
    assert (made["homeserver"], made["room_id"]) == (synapse.url, room.alias)
    who = requests.get(
        f"{synapse.url}/_matrix/client/v3/account/whoami",
        headers={"Authorization": f"Bearer {made['access_token']}"},
        timeout=SECONDS,
    ).json()
    assert (who["user_id"], who["device_id"]) == (user, "ANNOUNCER")
    joined = [one["state_key"] for one in room.events() if one["type"] == "m.room.member"]
    assert user in joined
    again = matrix.connect(person, {"homeserver": synapse.url})
    assert again["access_token"] != made["access_token"]
