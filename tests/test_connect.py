"""`announcer connect`: who logs in gets what the settings need, and nobody else learns a secret."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from announcer import connect as helpers
from announcer.connect import Question, bluesky, mastodon, matrix, telegram, x
from announcer.contract.fake import Wire, refused
from announcer.network import DeliveryError, Refused, TryLater
from announcer.networks import places
from announcer.settings import is_secret
from tests.terminal import Run, variables_of
from tests.terminal import run as run

SERVER = "https://social.example"
MODULES = {"bluesky": bluesky, "mastodon": mastodon, "matrix": matrix, "telegram": telegram, "x": x}


@dataclass
class Script:
    """A person who has an answer to everything. *told* is what was said to them."""

    answers: Mapping[str, str]
    told: list[str] = field(default_factory=list)

    def ask(self, question: Question, default: str = "") -> str:
        return self.answers.get(question.name) or default or question.default

    def tell(self, words: str) -> None:
        self.told.append(words)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        self.told.append(what)
        yield


# Every helper


def test_helpers_are_found_by_name_where_their_network_is() -> None:
    assert set(helpers.names()) == set(MODULES) & set(places())


@pytest.mark.parametrize("name", MODULES)
def test_a_helper_fills_fields_that_its_network_has(name: str) -> None:
    helper = helpers.helper(name)
    assert helper.QUESTIONS
    if name not in places():
        pytest.skip("this network is not here yet")
    (kind,) = places()[name]()
    assert set(helper.MAKES) <= set(kind.model_fields)
    asked = {question.name: question for question in helper.QUESTIONS}
    required = {field for field, info in kind.model_fields.items() if info.is_required()}
    assert required <= {*asked, *helper.MAKES}, "then nothing lacks"
    for field_name in set(asked) & set(kind.model_fields):
        assert asked[field_name].secret is is_secret(kind.model_fields[field_name])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("status", [0, 302, 401, 403, 404, 429, 500])
def test_whatever_a_server_answers_is_one_of_our_errors_without_a_secret(
    name: str, status: int, wire: Wire
) -> None:
    if status:
        wire.answers(status, "<html>canary</html>", {"Location": "https://x.example"}, times=9)
    else:
        wire.breaks(refused, times=9)
    given = {question.name: f"hush-canary-{question.name}" for question in MODULES[name].QUESTIONS}
    given |= {"api_base_url": SERVER, "homeserver": SERVER, "service": SERVER}
    with pytest.raises(DeliveryError) as problem:
        helpers.helper(name).connect(Script(given), {})
    assert "canary" not in str(problem.value)


@pytest.mark.parametrize("name", MODULES)
def test_a_good_status_without_what_was_asked_for_is_no_success(name: str, wire: Wire) -> None:
    wire.answers(200, {"ok": True, "result": {}}, times=99)
    given = dict.fromkeys((question.name for question in MODULES[name].QUESTIONS), "x")
    given |= {"api_base_url": SERVER, "homeserver": SERVER, "service": SERVER}
    if name == "telegram":
        telegram_patience = telegram.PATIENCE
        telegram.PATIENCE = 0.01
    try:
        if name == "bluesky":  # what it has is what was given
            helpers.helper(name).connect(Script(given), {})
        else:
            with pytest.raises(DeliveryError):
                helpers.helper(name).connect(Script(given), {})
    finally:
        if name == "telegram":
            telegram.PATIENCE = telegram_patience


# Mastodon

APP = {"client_id": "the-app", "client_secret": "canary-app-secret"}
ACCOUNT = {"id": "1", "username": "kestrel", "acct": "kestrel", "url": f"{SERVER}/@kestrel"}


def knows_mastodon(wire: Wire) -> None:
    wire.always("POST", "/api/v1/apps", 200, APP)
    wire.always("POST", "/oauth/token", 200, {"access_token": "canary-token"})
    wire.always("GET", "/accounts/verify_credentials", 200, ACCOUNT)
    wire.always("GET", "/accounts/1/statuses", 200, [])
    wire.always("GET", "/api/v2/instance", 200, {})


def test_mastodon_shows_where_to_allow_it_and_changes_the_code_into_a_token(
    run: Run, wire: Wire
) -> None:
    knows_mastodon(wire)
    said = run(
        "connect", "mastodon", "--api-base-url", SERVER, "--code-file", "-", typed="canary-code\n"
    )
    assert said.exit_code == 0, said.output
    line = next(line for line in said.stderr.splitlines() if "/oauth/authorize?" in line)
    asked = parse_qs(urlsplit(line.strip()).query)
    assert asked["client_id"] == ["the-app"]
    assert asked["redirect_uri"] == ["urn:ietf:wg:oauth:2.0:oob"]
    assert asked["scope"] == ["write:statuses write:media read:statuses profile"]
    (sent,) = wire.asked("/oauth/token")
    assert parse_qs(sent.body.decode())["code"] == ["canary-code"]
    assert variables_of(Path()) == {
        "MASTODON_API_BASE_URL": SERVER,
        "MASTODON_ACCESS_TOKEN": "canary-token",
    }
    assert "mastodon    ok, @kestrel@social.example" in said.stdout
    assert "canary" not in said.output


def test_mastodon_of_an_older_version_is_asked_for_what_it_knows(wire: Wire) -> None:
    wire.answers(422, {"error": "Validation failed: Scopes doesn't match"})
    wire.answers(200, APP)
    wire.answers(200, {"access_token": "t"})
    made = mastodon.connect(Script({"api_base_url": SERVER, "code": "c"}), {"pin": "on"})
    assert made == {"api_base_url": SERVER, "access_token": "t"}
    scopes = [parse_qs(sent.body.decode())["scopes"][0] for sent in wire.asked("/api/v1/apps")]
    assert scopes == [
        "write:statuses write:media read:statuses profile write:accounts",
        "write:statuses write:media read:statuses read:accounts write:accounts",
    ]


def test_a_wrong_code_is_told_in_words_and_nothing_is_written(run: Run, wire: Wire) -> None:
    knows_mastodon(wire)
    wire.always("POST", "/oauth/token", 400, {"error": "invalid_grant"})
    said = run(
        "connect", "mastodon", "--api-base-url", SERVER, "--code-file", "-", typed="canary-code\n"
    )
    assert said.exit_code == 1
    assert "the code was wrong, or too old" in said.stderr
    assert "canary" not in said.output
    assert not Path(".env").exists()


# Telegram


def hears(*updates: dict[str, object]) -> dict[str, object]:
    return {"ok": True, "result": [{"update_id": 7 + n, **one} for n, one in enumerate(updates)]}


CHANNEL = {"id": -1001234567890, "type": "channel", "title": "Kestrel Workshop"}
GROUP = {"id": -77, "type": "group", "title": "Friends\x1b[2J"}
PRIVATE = {"id": 5, "type": "private", "first_name": "Kim"}
ME = {"ok": True, "result": {"id": 1, "username": "kestrel_bot"}}


def telegram_answers(wire: Wire, *answers: dict[str, object]) -> None:
    wire.always("POST", "/getMe", 200, ME)
    for answer in answers:
        wire.answers(200, answer)


def test_telegram_finds_the_chat_where_somebody_posted(wire: Wire) -> None:
    telegram_answers(
        wire,
        hears(),
        hears({"message": {"chat": PRIVATE}}),
        hears({"channel_post": {"chat": CHANNEL}}),
    )
    person = Script({"bot_token": "12345:canary-token"})
    made = telegram.connect(person, {})
    assert made == {"bot_token": "12345:canary-token", "chat_id": "-1001234567890"}
    assert "This is @kestrel_bot." in person.told[0]
    assert "Kestrel Workshop (-1001234567890)" in person.told[-1]
    offsets = [sent.json.get("offset") for sent in wire.asked("/getUpdates")]
    assert offsets == [None, None, 8], "what was heard is not heard again"


def test_telegram_hears_of_a_group_that_it_may_not_read(wire: Wire) -> None:
    telegram_answers(wire, hears({"my_chat_member": {"chat": GROUP}}))
    assert telegram.connect(Script({"bot_token": "1:x"}), {})["chat_id"] == "-77"


def test_telegram_asks_which_where_there_are_several(wire: Wire) -> None:
    telegram_answers(
        wire, hears({"my_chat_member": {"chat": GROUP}}, {"channel_post": {"chat": CHANNEL}})
    )
    person = Script({"bot_token": "1:x", "chat_id": "-77"})
    assert telegram.connect(person, {})["chat_id"] == "-77"
    assert "  -77  Friends [2J" in person.told


@pytest.mark.parametrize(
    ("status", "words"),
    [(409, "another program reads"), (401, "does not know this token"), (404, "does not know")],
)
def test_telegram_says_what_is_wrong_with_the_bot(wire: Wire, status: int, words: str) -> None:
    wire.answers(status, {"ok": False, "error_code": status, "description": "canary"})
    with pytest.raises(Refused, match=words):
        telegram.connect(Script({"bot_token": "1:canary"}), {})


def test_telegram_does_not_wait_for_ever(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram, "PATIENCE", 0.0)
    telegram_answers(wire)
    with pytest.raises(TryLater, match="the bot heard nothing"):
        telegram.connect(Script({"bot_token": "1:x"}), {})


# X


def test_x_gets_the_accounts_yes_by_a_number(wire: Wire) -> None:
    wire.answers(200, "oauth_token=canary-first&oauth_token_secret=s&oauth_callback_confirmed=true")
    wire.answers(200, "oauth_token=17-last&oauth_token_secret=canary-2&screen_name=kestrel")
    person = Script({"consumer_key": "key", "consumer_secret": "canary-secret", "pin": "1234567"})
    assert x.connect(person, {"api_base_url": SERVER}) == {
        "consumer_key": "key",
        "consumer_secret": "canary-secret",
        "access_token": "17-last",
        "access_token_secret": "canary-2",
    }
    first, last = (str(sent.request.headers["Authorization"]) for sent in wire.sent)
    assert 'oauth_callback="oob"' in first
    assert 'oauth_verifier="1234567"' in last
    assert 'oauth_token="canary-first"' in last
    assert any(f"{SERVER}/oauth/authorize?oauth_token=canary-first" in one for one in person.told)
    assert "It is @kestrel." in person.told


def test_x_that_offers_no_number_says_what_the_app_lacks(wire: Wire) -> None:
    wire.answers(200, "oauth_token=a&oauth_token_secret=s")
    with pytest.raises(Refused, match="Read and write"):
        x.connect(Script({"consumer_key": "k", "consumer_secret": "s"}), {"api_base_url": SERVER})


def test_x_says_which_of_them_is_wrong(wire: Wire) -> None:
    wire.answers(401, "canary")
    with pytest.raises(Refused, match="does not know this key and secret"):
        x.connect(Script({"consumer_key": "k", "consumer_secret": "s"}), {"api_base_url": SERVER})
    wire.answers(200, "oauth_token=a&oauth_token_secret=s&oauth_callback_confirmed=true")
    wire.answers(401, "canary")
    with pytest.raises(Refused, match="the number was wrong or too old"):
        x.connect(
            Script({"consumer_key": "k", "consumer_secret": "s", "pin": "1"}),
            {"api_base_url": SERVER},
        )


# Bluesky


def token(**claims: str) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{middle}.x"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        pytest.param(200, {"accessJwt": token(scope="com.atproto.access")}, id="logged in"),
        pytest.param(401, {"error": "AuthFactorTokenRequired"}, id="asked for a second factor"),
    ],
)
def test_bluesky_refuses_the_accounts_own_password(
    wire: Wire, status: int, answer: dict[str, str]
) -> None:
    wire.answers(status, answer)
    with pytest.raises(Refused, match="make an app password"):
        bluesky.connect(Script({"identifier": "kestrel.test", "app_password": "canary"}), {})


def test_bluesky_names_the_server_only_where_it_is_another(wire: Wire) -> None:
    wire.answers(200, {"accessJwt": token(scope="com.atproto.appPass")}, times=2)
    person = {"identifier": "@kestrel.test", "app_password": "p"}
    fields = {"identifier": "kestrel.test", "app_password": "p"}
    assert bluesky.connect(Script(person), {}) == fields
    other = bluesky.connect(Script({**person, "service": f"{SERVER}/"}), {})
    assert other == {"service": SERVER, **fields}


# Matrix


def test_matrix_finds_the_homeserver_by_the_accounts_name(wire: Wire) -> None:
    base = {"m.homeserver": {"base_url": "https://client.matrix.example/"}}
    wire.always("GET", "/.well-known/matrix/client", 200, base)
    wire.always("POST", "/v3/login", 200, {"access_token": "canary-token"})
    wire.always("POST", "/join/#room:matrix.example", 200, {"room_id": "!r"})
    wire.always("POST", "/join/%23room%3Amatrix.example", 200, {"room_id": "!r"})
    person = Script(
        {"user": "@k:matrix.example", "password": "canary", "room_id": "#room:matrix.example"}
    )
    made = matrix.connect(person, {})
    assert made == {
        "homeserver": "https://client.matrix.example",
        "access_token": "canary-token",
        "room_id": "#room:matrix.example",
    }
    (login,) = wire.asked("/v3/login")
    assert login.json["device_id"] == "ANNOUNCER"
    assert login.json["identifier"] == {"type": "m.id.user", "user": "@k:matrix.example"}


# The command

ARGUMENTS = ("connect", "bluesky", "--identifier", "kestrel.test", "--app-password-file", "-")
SESSION = {"accessJwt": token(scope="com.atproto.appPass"), "handle": "kestrel.test", "did": "d"}


@pytest.fixture
def at_bluesky(wire: Wire) -> Wire:
    wire.always("POST", "createSession", 200, {**SESSION, "refreshJwt": "r"})
    wire.always("GET", "getSession", 200, {"handle": "kestrel.test", "did": "d", "active": True})
    return wire


def test_a_second_account_has_a_name(run: Run, at_bluesky: Wire) -> None:
    said = run(*ARGUMENTS, "--account", "music", typed="canary-pass\n")
    assert said.exit_code == 0, said.output
    assert set(variables_of(Path())) == {
        "BLUESKY__MUSIC__IDENTIFIER",
        "BLUESKY__MUSIC__APP_PASSWORD",
    }
    assert "bluesky.music    ok, @kestrel.test" in said.stdout


def test_json_names_what_was_written(run: Run, at_bluesky: Wire) -> None:
    told = json.loads((said := run(*ARGUMENTS, "--json", typed="canary-pass\n")).stdout)
    assert told["wrote"] == ["BLUESKY_IDENTIFIER", "BLUESKY_APP_PASSWORD"]
    assert told["well"] is True
    assert "canary" not in said.output


def test_what_is_there_is_replaced_only_by_the_persons_word(run: Run, at_bluesky: Wire) -> None:
    Path(".env").write_text("# mine\nBLUESKY_APP_PASSWORD=old\nMINE=1\n")
    said = run(*ARGUMENTS, typed="canary-pass\n")
    assert said.exit_code == 1
    assert "--yes" in said.stderr
    assert not at_bluesky.sent
    assert run(*ARGUMENTS, "--yes", typed="canary-pass\n").exit_code == 0
    assert Path(".env").read_text() == (
        "# mine\nBLUESKY_APP_PASSWORD=canary-pass\nMINE=1\nBLUESKY_IDENTIFIER=kestrel.test\n"
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"BLUESKY_APP_PASSWORD": "old"}, "BLUESKY_APP_PASSWORD is set in the environment"),
        ({"BLUESKY_APP_PASSWORD_FILE": "f"}, "BLUESKY_APP_PASSWORD_FILE is set"),
    ],
)
def test_nothing_is_asked_whose_answer_would_not_count(
    run: Run, at_bluesky: Wire, variables: dict[str, str], words: str
) -> None:
    said = run(*ARGUMENTS, "--yes", typed="canary-pass\n", **variables)
    assert said.exit_code == 2
    assert words in said.stderr
    assert not at_bluesky.sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["connect", "bluesky"], "--identifier is missing"),
        (["connect", "bluesky", "--identifier", "k"], "--app-password-file FILE"),
        ([*ARGUMENTS, "--account", "-"], "--account must be a name"),
        (["connect", "smoke"], "smoke"),
    ],
    ids=["no name", "no password", "no account", "no network"],
)
def test_what_lacks_is_named_by_its_option(run: Run, arguments: list[str], words: str) -> None:
    said = run(*arguments)
    assert said.exit_code == 2
    assert words in said.stderr


def test_what_the_network_would_not_take_is_not_written(run: Run, at_bluesky: Wire) -> None:
    said = run(*ARGUMENTS, "--service", "http://pds.example", typed="canary-pass\n")
    assert said.exit_code == 2
    assert "--service would send credentials unencrypted" in said.stderr
    assert not Path(".env").exists()
