"""What the variables mean together: channels, accounts, routes, and all that is wrong with them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from announcer import wiring
from announcer.contract import Spoken
from announcer.logs import Redactor
from announcer.networks import available, places
from announcer.settings import SettingsError, is_secret, variable_name
from announcer.wiring import Settings
from tests.rows import EVERY

CANARY = "canary-4711-do-not-show"
TOKEN = "a-token-that-nobody-guesses"
MASTODON = {
    "MASTODON_API_BASE_URL": "https://social.example",
    "MASTODON_ACCESS_TOKEN": "first-token",
}
MUSIC = {
    "MASTODON__MUSIC__API_BASE_URL": "https://music.example",
    "MASTODON__MUSIC__ACCESS_TOKEN": "second-token",
}
OWNCAST = {"OWNCAST_URL": "https://live.example", "OWNCAST_WEBHOOK_SECRET": "a-secret"}
SECOND = {
    "OWNCAST__MUSIC__URL": "https://music.live.example",
    "OWNCAST__MUSIC__WEBHOOK_SECRET": "another-secret",
}
X = {
    "X_CONSUMER_KEY": "1",
    "X_CONSUMER_SECRET": "2",
    "X_ACCESS_TOKEN": "3",
    "X_ACCESS_TOKEN_SECRET": "4",
}
DISCORD = "https://discord.com/api/webhooks/17/an-unguessable-word"


def read(*groups: dict[str, str], **variables: str) -> Settings:
    together: dict[str, str] = {}
    for group in (*groups, variables):
        together |= group
    return wiring.read(together)


def problems(*groups: dict[str, str], **variables: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        read(*groups, **variables)
    return error.value.problems


def test_with_nothing_set_it_serves_one_channel_and_tells_nobody() -> None:
    settings = wiring.read({})
    assert list(settings.channels) == ["default"]
    assert dict(settings.destinations) == {}
    assert settings.warnings == []
    assert settings.rules.hold == timedelta(seconds=30)
    assert settings.rules.resume == timedelta(minutes=30)
    assert settings.rules.give_up == timedelta(minutes=30)
    assert (settings.service.host, settings.service.port) == ("127.0.0.1", 8000)
    assert settings.service.database_url.get_secret_value() == "sqlite:///announcer.db"


def test_a_strangers_environment_does_not_matter() -> None:
    strangers = {
        "PATH": "/usr/bin",
        "HOME": "/root",
        "PORT": "80",
        "DATABASE_URL": "sqlite://",
        "HTTPS_PROXY": "http://proxy.example",
        "XDG_CONFIG_HOME": "/etc",
        "FB_ACCESS_TOKEN": "x",
        "TWITTER_ACCESS_TOKEN": "x",
        "GITLAB_ACCESS_TOKEN": "x",
        "MAX_ACCESS_TOKEN": "x",
    }
    assert wiring.read(strangers) == wiring.read({})


def test_g12_every_problem_is_told_at_once_and_by_name() -> None:
    told = problems(
        ANNOUNCER_PORT="http",
        ANNOUNCER_HOLD="30",
        ANNOUNCER_LOG_LEVEL="loud",
        OWNCAST_URL="live.example",
        MASTODON_API_BASE_URL="http://social.example",
        BLUESKY_IDENTIFIER="kestrel.example",
        X_CONSUMER_KEY="1",
        DISCORD_WEBHOOK_URL="https://evil.example",
        MASTADON_VISIBILITY="public",
    )
    named = sorted({problem.split(" ")[0].rstrip(":") for problem in told})
    assert named == [
        "ANNOUNCER_HOLD",
        "ANNOUNCER_LOG_LEVEL",
        "ANNOUNCER_PORT",
        "BLUESKY_APP_PASSWORD",
        "DISCORD_WEBHOOK_URL",
        "MASTADON_VISIBILITY",
        "MASTODON_ACCESS_TOKEN",
        "MASTODON_API_BASE_URL",
        "OWNCAST_URL",
        "X_ACCESS_TOKEN",
        "X_ACCESS_TOKEN_SECRET",
        "X_CONSUMER_SECRET",
    ]
    assert len(told) == len(named)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MASTADON_ACCESS_TOKEN", "MASTODON_ACCESS_TOKEN"),
        ("MASTADON__MUSIC__ACCESS_TOKEN", "MASTODON__MUSIC__ACCESS_TOKEN"),
        ("MASTODON_ACESS_TOKEN", "MASTODON_ACCESS_TOKEN"),
        ("MASTODON_API_BASE_ULR", "MASTODON_API_BASE_URL"),
        ("MASTODON_MUSIC_ACCESS_TOKEN", "MASTODON_ACCESS_TOKEN"),
        ("MASTODON__MUSIC__ACESS_TOKEN", "MASTODON__MUSIC__ACCESS_TOKEN"),
        ("MASTODON__DEFAULT__ACCESS_TOKEN", "MASTODON_ACCESS_TOKEN"),
        ("BLUESKY_APP_PASWORD_FILE", "BLUESKY_APP_PASSWORD_FILE"),
        ("OWNCSAT_URL", "OWNCAST_URL"),
        ("OWNCAST_URL_", "OWNCAST_URL"),
        ("OWNCAST_WEBHOOK_SECERT", "OWNCAST_WEBHOOK_SECRET"),
        ("OWNCAST__MUSIC__WEBHOK_SECRET", "OWNCAST__MUSIC__WEBHOOK_SECRET"),
        ("DISCROD_WEBHOOK_URL", "DISCORD_WEBHOOK_URL"),
        ("ANNOUNCE_PORT", "ANNOUNCER_PORT"),
        ("ANNOUNCER_REUSME", "ANNOUNCER_RESUME"),
    ],
)
def test_g09_a_misspelt_variable_is_refused(variable: str, meant: str) -> None:
    assert problems({variable: "x"}) == [f"{variable}: no such setting; did you mean {meant}?"]


def test_an_unknown_variable_of_ours_is_only_a_warning() -> None:
    settings = read(MASTODON, MASTODON_FAVOURITE_COLOUR="red", ANNOUNCER_FAVOURITE_FOOD="2")
    assert settings.warnings == [
        "ANNOUNCER_FAVOURITE_FOOD: no such setting, ignored",
        "MASTODON_FAVOURITE_COLOUR: no such setting, ignored",
    ]


HALVES = {
    "mastodon": ({"MASTODON_ACCESS_TOKEN": "x"}, ["MASTODON_API_BASE_URL"]),
    "mastodon, by a file": (
        {"MASTODON_API_BASE_URL": "https://a.example"},
        ["MASTODON_ACCESS_TOKEN"],
    ),
    "mastodon, by an option": (
        {"MASTODON_VISIBILITY": "unlisted"},
        ["MASTODON_API_BASE_URL", "MASTODON_ACCESS_TOKEN"],
    ),
    "bluesky": ({"BLUESKY_APP_PASSWORD": "x"}, ["BLUESKY_IDENTIFIER"]),
    "x": (
        {"X_ACCESS_TOKEN": "x", "X_CONSUMER_SECRET": "x"},
        ["X_CONSUMER_KEY", "X_ACCESS_TOKEN_SECRET"],
    ),
    "discord": ({"DISCORD_MENTION": "here"}, ["DISCORD_WEBHOOK_URL"]),
    "owncast chat": ({"OWNCAST_ACCESS_TOKEN": "x"}, ["OWNCAST_URL"]),
    "a second account": (
        {**MASTODON, "MASTODON__MUSIC__ACCESS_TOKEN": "x"},
        ["MASTODON__MUSIC__API_BASE_URL"],
    ),
    "a second owncast chat": (
        {"OWNCAST__MUSIC__ACCESS_TOKEN": "x"},
        ["OWNCAST__MUSIC__URL"],
    ),
}


@pytest.mark.parametrize("half", HALVES)
def test_g12_half_a_network_names_what_is_missing(half: str) -> None:
    variables, missing = HALVES[half]
    assert problems(variables) == [f"{name} is missing" for name in missing]


def test_an_address_of_owncast_alone_turns_on_no_chat() -> None:
    assert dict(read(OWNCAST).destinations) == {}


def test_what_every_network_takes_turns_none_of_them_on() -> None:
    shared = {
        f"{name.upper()}_{field}": value
        for name in places()
        for field, value in (("WHEN_UNSURE", "repeat"), ("CHANNELS", "default"))
    }
    settings = read(shared)
    assert dict(settings.destinations) == {}
    assert settings.warnings == []


def test_empty_variables_turn_nothing_on() -> None:
    """As a compose file passes them on when the operator has left them out."""
    groups = (MASTODON, MUSIC, OWNCAST, SECOND, X)
    empty = {name: "" for group in groups for name in group}
    assert wiring.read(empty) == wiring.read({})


def test_a_second_account_is_a_destination_of_its_own() -> None:
    settings = read(MASTODON, MUSIC)
    assert list(settings.destinations) == ["mastodon", "mastodon.music"]
    first, second = settings.destinations.values()
    assert first.model_dump()["api_base_url"] == "https://social.example"
    assert second.model_dump()["api_base_url"] == "https://music.example"


def test_a_second_account_needs_no_first() -> None:
    assert list(read(MUSIC).destinations) == ["mastodon.music"]


def test_the_secret_of_a_second_account_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    settings = read(
        MASTODON,
        MASTODON__MUSIC__API_BASE_URL="https://music.example",
        MASTODON__MUSIC__ACCESS_TOKEN_FILE=str(tmp_path / "token"),
    )
    assert "from-a-file" in settings.secrets()


@pytest.mark.parametrize(
    ("groups", "channels"),
    [
        pytest.param((OWNCAST,), ["default"], id="one server"),
        pytest.param((OWNCAST, SECOND), ["default", "music"], id="a second server"),
        pytest.param((SECOND,), ["music"], id="only a named server"),
        pytest.param(
            ({"OWNCAST__MUSIC__WEBHOOK_TOKEN": TOKEN},), ["music"], id="a server without an address"
        ),
    ],
)
def test_every_owncast_server_is_a_channel(
    groups: tuple[dict[str, str], ...], channels: list[str]
) -> None:
    assert list(read(*groups).channels) == channels


def test_a_destination_is_told_of_the_channels_it_asks_for() -> None:
    settings = read(
        OWNCAST,
        SECOND,
        MASTODON,
        MUSIC,
        X,
        MASTODON__MUSIC__CHANNELS="Music",
        X_CHANNELS="default, music",
    )
    assert settings.audience("default") == ["mastodon", "x"]
    assert settings.audience("music") == ["mastodon", "mastodon.music", "x"]


def test_a_chat_is_told_of_its_own_channel_only() -> None:
    settings = read(
        OWNCAST,
        SECOND,
        OWNCAST_ACCESS_TOKEN="chat",
        OWNCAST__MUSIC__ACCESS_TOKEN="chat2",
        OWNCAST_CHANNELS="music",
    )
    assert settings.audience("default") == ["owncast"]
    assert settings.audience("music") == ["owncast.music"]


def test_a_channel_that_does_not_exist_is_refused() -> None:
    assert problems(OWNCAST, SECOND, MASTODON, MUSIC, MASTODON__MUSIC__CHANNELS="musik,music") == [
        "MASTODON__MUSIC__CHANNELS: there is no channel musik"
    ]


def test_a_channel_whose_settings_are_wrong_exists() -> None:
    told = problems(SECOND, MASTODON, OWNCAST__MUSIC__URL="music", MASTODON_CHANNELS="music")
    assert told == ["OWNCAST__MUSIC__URL is not a web address, such as https://live.example.org"]


def test_credentials_travel_unencrypted_only_inside_ones_own_network() -> None:
    unsafe = {
        "MASTODON_API_BASE_URL": "http://social.example",
        "X_API_BASE_URL": "http://x.example",
        "BLUESKY_SERVICE": "http://bsky.example",
    }
    rest = {"BLUESKY_IDENTIFIER": "a.example", "BLUESKY_APP_PASSWORD": "x"}
    assert problems(X, rest, unsafe, MASTODON_ACCESS_TOKEN="x") == [
        f"{name} would send credentials unencrypted: use https://"
        for name in ("BLUESKY_SERVICE", "MASTODON_API_BASE_URL", "X_API_BASE_URL")
    ]
    at_home = dict.fromkeys(unsafe, "http://192.168.1.5:3000")
    assert len(read(X, rest, at_home, MASTODON_ACCESS_TOKEN="x").destinations) == 3


def test_an_owncast_without_encryption_is_its_streamers_own_choice() -> None:
    settings = read(OWNCAST_URL="http://live.example:8080/", OWNCAST_ACCESS_TOKEN="x")
    assert settings.channels["default"].url == "http://live.example:8080"
    assert list(settings.destinations) == ["owncast"]


@pytest.mark.parametrize(("hold", "give_up"), [("30m", "30m"), ("31m", "30m"), ("0s", "0s")])
def test_the_hold_must_leave_time_to_speak(hold: str, give_up: str) -> None:
    assert problems(ANNOUNCER_HOLD=hold, ANNOUNCER_GIVE_UP=give_up) == [
        "ANNOUNCER_HOLD must be shorter than ANNOUNCER_GIVE_UP"
    ]


def test_speaking_at_once_is_fine() -> None:
    assert read(ANNOUNCER_HOLD="0s", ANNOUNCER_RESUME="0s").rules.hold == timedelta()


@pytest.mark.parametrize(
    "token",
    [
        *("short", "x" * 15, "with space in the middle", "slash/in-the-middle"),
        *("dotted.in.the.middle", "umlaut-in-the-mïddle", "percent%20in-the-middle"),
    ],
)
def test_a_webhook_token_must_be_hard_to_guess_and_fit_into_an_address(token: str) -> None:
    told = problems(OWNCAST_WEBHOOK_TOKEN=token)
    assert told == ["OWNCAST_WEBHOOK_TOKEN must be 16 or more letters, digits, - or _"]


@pytest.mark.parametrize("token", ["x" * 16, TOKEN, "ABC_xyz-0123456789" * 10])
def test_a_webhook_token_may_be_any_long_word(token: str) -> None:
    assert read(OWNCAST_WEBHOOK_TOKEN=token).open_doors() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("OWNCAST_WEBHOOK_SECRET", "OWNCAST__MUSIC__WEBHOOK_SECRET"),
        ("OWNCAST_WEBHOOK_TOKEN", "OWNCAST__MUSIC__WEBHOOK_TOKEN"),
        ("OWNCAST_WEBHOOK_SECRET", "OWNCAST_WEBHOOK_TOKEN"),
        ("OWNCAST_WEBHOOK_TOKEN", "OWNCAST__MUSIC__WEBHOOK_SECRET"),
        ("OWNCAST_WEBHOOK_TOKEN", "OWNCAST_WEBHOOK_TOKEN_PREVIOUS"),
    ],
)
def test_two_doors_need_two_keys(one: str, other: str) -> None:
    assert problems({one: TOKEN, other: TOKEN}) == [f"{other} must differ from {one}"]


@pytest.mark.parametrize("of", ["OWNCAST_", "OWNCAST__MUSIC__"])
def test_while_a_secret_is_changed_both_are_good(of: str, tmp_path: Path) -> None:
    file = tmp_path / "previous"
    file.write_text("the-token-that-was-before\n")
    settings = read(
        {
            f"{of}WEBHOOK_SECRET": "the-new-one",
            f"{of}WEBHOOK_SECRET_PREVIOUS": "the-one-before",
            f"{of}WEBHOOK_TOKEN": TOKEN,
            f"{of}WEBHOOK_TOKEN_PREVIOUS_FILE": str(file),
        }
    )
    (server,) = settings.channels.values()
    told = {name: value for name, value in server if name.endswith("previous")}
    assert {name: value.get_secret_value() for name, value in told.items()} == {
        "webhook_secret_previous": "the-one-before",
        "webhook_token_previous": "the-token-that-was-before",
    }
    assert {"the-one-before", "the-token-that-was-before"} <= set(settings.secrets())
    assert settings.open_doors() == []


@pytest.mark.parametrize("of", ["OWNCAST_", "OWNCAST__MUSIC__"])
@pytest.mark.parametrize("what", ["SECRET", "TOKEN"])
def test_a_previous_secret_alone_is_a_mistake(of: str, what: str) -> None:
    current, other = f"{of}WEBHOOK_{what}", {"SECRET": "TOKEN", "TOKEN": "SECRET"}[what]
    told = problems({f"{current}_PREVIOUS": TOKEN, f"{of}WEBHOOK_{other}": "x" * 16})
    assert told == [f"{current}_PREVIOUS is of no use without {current}"]


def test_a_previous_token_must_be_hard_to_guess_too() -> None:
    told = problems(OWNCAST_WEBHOOK_TOKEN=TOKEN, OWNCAST_WEBHOOK_TOKEN_PREVIOUS="short")
    assert told == ["OWNCAST_WEBHOOK_TOKEN_PREVIOUS must be 16 or more letters, digits, - or _"]


@pytest.mark.parametrize(
    ("groups", "doors"),
    [
        pytest.param((OWNCAST,), [], id="signed"),
        pytest.param(({"OWNCAST_WEBHOOK_TOKEN": TOKEN},), [], id="by token"),
        pytest.param(({},), ["OWNCAST_"], id="nothing set"),
        pytest.param((OWNCAST, {"OWNCAST_WEBHOOK_SECRET": ""}), ["OWNCAST_"], id="an empty secret"),
        pytest.param(
            (OWNCAST, SECOND, {"OWNCAST__MUSIC__WEBHOOK_SECRET": ""}),
            ["OWNCAST__MUSIC__"],
            id="the second server is open",
        ),
        pytest.param(
            ({"OWNCAST_URL": "https://a.example", "OWNCAST__MUSIC__URL": "https://b.example"},),
            ["OWNCAST_", "OWNCAST__MUSIC__"],
            id="both are open",
        ),
        pytest.param((SECOND,), [], id="only named servers, and they are closed"),
    ],
)
def test_a_server_that_can_not_prove_itself_is_an_open_door(
    groups: tuple[dict[str, str], ...], doors: list[str]
) -> None:
    assert read(*groups).open_doors() == [
        f"{door}WEBHOOK_SECRET (Owncast 0.3 and later) or {door}WEBHOOK_TOKEN (older) must be set,"
        " or anybody could announce in your name"
        for door in doors
    ]


def _fields() -> Iterator[tuple[str, str, bool]]:
    """Variable, value and whether it is a secret, of an account of every network."""
    for row in EVERY:
        if row.network.name != "owncast":
            given = row.settings(9) if isinstance(row, Spoken) else row.settings
            prefix = f"{row.network.name}__{row.name}".upper()
            for field, value in given.items():
                hidden = row.form(f"{CANARY}-{prefix}-{field}".replace("_", "-").lower())
                name = variable_name(prefix, field)
                yield (
                    name,
                    value.replace(row.secret, hidden),
                    is_secret(row.network.model_fields[field]),
                )


SECRETS = {
    "ANNOUNCER_ADMIN_PASSWORD": f"{CANARY}-1",
    "ANNOUNCER_DATABASE_URL": f"postgresql://me:{CANARY}-2@db.example/announcer",
    "OWNCAST_WEBHOOK_SECRET": f"{CANARY}-3",
    "OWNCAST_WEBHOOK_TOKEN": f"{CANARY}-4",
    "OWNCAST_ACCESS_TOKEN": f"{CANARY}-5",
    "OWNCAST_WEBHOOK_SECRET_PREVIOUS": f"{CANARY}-14",
    "OWNCAST_WEBHOOK_TOKEN_PREVIOUS": f"{CANARY}-15",
    **{name: value for name, value, secret in _fields() if secret},
}
ALL = {
    **SECRETS,
    "OWNCAST_URL": "https://live.example",
    **{name: value for name, value, secret in _fields() if not secret},
}
HIDDEN = [CANARY, *SECRETS.values()]
"""A secret with a form, such as a key in hex, has no canary in it."""


def test_no_secret_is_shown_by_what_was_read() -> None:
    settings = wiring.read(ALL)
    assert {type(one) for one in settings.destinations.values()} == set(available())
    told = [repr(settings), str(settings)]
    for group in (settings.service, *settings.channels.values(), *settings.destinations.values()):
        told += [repr(group), str(group), str(group.model_dump(mode="json"))]
    assert not [secret for secret in HIDDEN if secret in "".join(told)]


def test_no_secret_is_shown_by_a_problem() -> None:
    for name in ALL:
        for broken in ({name: CANARY}, {name: f"{CANARY} \x00 {CANARY}"}, {f"{name}_FILE": CANARY}):
            try:
                told = wiring.read(ALL | broken).warnings
            except SettingsError as error:
                told = [repr(error), *error.problems]
            assert CANARY not in repr(told)


def test_every_secret_is_told_for_redaction() -> None:
    settings = wiring.read(ALL)
    redact = Redactor(settings.secrets())
    for value in SECRETS.values():
        told = redact(f"it said {value}, twice: {value}")
        assert CANARY not in told
        assert value not in told
    assert CANARY not in redact(f'password "{CANARY}-2" is wrong'), "of the database"


def test_a_password_of_the_database_is_known_as_it_is_meant_too() -> None:
    secrets = read(ANNOUNCER_DATABASE_URL="postgresql://me:p%40ssword@db.example/a").secrets()
    assert {"p%40ssword", "p@ssword"} <= set(secrets)


def test_the_address_of_the_database_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://me:password@db.example/a\n")
    settings = read(ANNOUNCER_DATABASE_URL_FILE=str(file))
    url = settings.service.database_url.get_secret_value()
    assert url == "postgresql://me:password@db.example/a"


@pytest.mark.parametrize("variable", ["DISCORD__{}__WEBHOOK_URL", "OWNCAST__{}__URL"])
def test_a_name_too_long_for_a_key_is_refused(variable: str) -> None:
    with pytest.raises(SettingsError, match="60 letters at most"):
        wiring.read({variable.format("A" * 61): "https://example.org/api/webhooks/1/abc"})
