"""Settings are read whole: every problem at once, by the name of its variable, without a value."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from announcer.settings import (
    BaseUrl,
    Duration,
    Environment,
    NameList,
    PublicUrl,
    SecretUrl,
    SettingsError,
    parse_duration,
    reference,
    secrets_of,
    setting,
    show_duration,
    variable_name,
)

CANARY = "canary-4711-do-not-show"


class Bench(BaseModel):
    """A group with one field of each kind."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    server: BaseUrl = setting("Where it is.")
    token: SecretStr = setting("A secret.")
    second: SecretStr | None = setting("Another secret.", default=None)
    hook: SecretUrl | None = setting("A secret address.", default=None)
    page: PublicUrl | None = setting("A page.", default=None)
    wait: Duration = setting("How long.", default=timedelta(seconds=90))
    names: NameList = setting("Names.", default=())


GOOD = {"BENCH_SERVER": "https://bench.example", "BENCH_TOKEN": CANARY}


def read(variables: dict[str, str]) -> tuple[Bench | None, Environment]:
    env = Environment(variables)
    return env.group("BENCH", Bench), env


def bench(**variables: str) -> Bench:
    found, env = read(GOOD | variables)
    assert env.problems == []
    assert found is not None
    return found


def problems(variables: dict[str, str]) -> list[str]:
    found, env = read(variables)
    assert found is None or not env.problems
    with pytest.raises(SettingsError) as error:
        env.finish()
    assert str(error.value) == "\n".join(error.value.problems)
    return error.value.problems


def test_a_group_is_filled_from_its_variables() -> None:
    found = bench(
        BENCH_WAIT="1h30m",
        BENCH_NAMES=" Music, talk ,,MUSIC2 ",
        BENCH_PAGE="http://page.example/a/",
        BENCH_HOOK="https://bench.example/hook?wait=true",
    )
    assert found.server == "https://bench.example"
    assert found.token.get_secret_value() == CANARY
    assert found.wait == timedelta(minutes=90)
    assert found.names == ("music", "talk", "music2")
    assert found.page == "http://page.example/a"
    assert found.hook
    assert found.hook.get_secret_value() == "https://bench.example/hook?wait=true"


def test_an_empty_variable_is_as_good_as_none() -> None:
    found = bench(BENCH_WAIT="", BENCH_SECOND="  ", BENCH_PAGE="\t", BENCH_TOKEN_FILE=" ")
    assert found == bench()


def test_every_problem_is_told_at_once() -> None:
    assert problems(
        {
            "BENCH_SERVER": "bench.example",
            "BENCH_TOKEN": CANARY,
            "BENCH_TOKEN_FILE": "somewhere",
            "BENCH_SECOND_FILE": "nowhere/at/all",
            "BENCH_WAIT": "30",
            "BENCH_NMAES": "music",
        }
    ) == [
        "BENCH_TOKEN and BENCH_TOKEN_FILE are both set: keep one",
        "BENCH_SECOND_FILE can not be read (FileNotFoundError)",
        "BENCH_SERVER is not a web address, such as https://live.example.org",
        "BENCH_WAIT is not a duration: write it like 30s, 5m or 1h30m",
        "BENCH_NMAES: no such setting; did you mean BENCH_NAMES?",
    ]


def test_what_is_missing_is_named() -> None:
    assert problems({"BENCH_WAIT": "30s"}) == [
        "BENCH_SERVER is missing",
        "BENCH_TOKEN is missing",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1h1m1s", 3661),
        ("0s", 0),
        ("90m", 5400),
        (" 5m ", 300),
        ("000000000030s", 30),
        ("720h", 720 * 3600),
    ],
)
def test_a_duration_has_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "30", "s", "5 m", "30S", "1m1h", "-5m", "1.5h", "5m5m", "1d", "infinity"),
        *("721h", "9" * 20 + "h", "9" * 5_000 + "s"),
    ],
    ids=lambda text: f"{text:.20}" or "empty",
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is longer than 720h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "30s", "5m", "1h30m", "24h", "1h1s", "720h"])
def test_a_duration_is_shown_as_it_is_written(text: str) -> None:
    duration = parse_duration(text)
    assert isinstance(duration, timedelta)
    assert show_duration(duration) == text


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("bench.example", "is not a web address"),
        ("ftp://bench.example", "is not a web address"),
        ("https://", "is not a web address"),
        ("https://[::1", "is not a web address"),
        ("https://bench.example:0", "is not a web address"),
        ("https://bench.example:99999", "is not a web address"),
        ("https://bench.example:port", "is not a web address"),
        (f"https://me:{CANARY}@bench.example", "must not contain a user name or password"),
        (f"https://{CANARY}@bench.example", "must not contain a user name or password"),
        (f"https://bench.example/?key={CANARY}", "must not have a query or a fragment"),
        ("https://bench.example/#top", "must not have a query or a fragment"),
        ("http://bench.example", "would send credentials unencrypted: use https://"),
        ("http://8.8.8.8", "would send credentials unencrypted: use https://"),
        ("http://[2001:4860:4860::8888]", "would send credentials unencrypted: use https://"),
        ("http://localhost.evil.example", "would send credentials unencrypted: use https://"),
    ],
)
def test_an_address_that_credentials_must_not_go_to_is_refused(url: str, problem: str) -> None:
    (told,) = problems(GOOD | {"BENCH_SERVER": url})
    assert told.startswith(f"BENCH_SERVER {problem}")
    assert CANARY not in told


@pytest.mark.parametrize(
    "url",
    [
        "https://bench.example",
        "https://bench.example:8443/under/a/path",
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]:8080",
        "http://192.168.1.5",
        "http://10.0.0.7:80",
        "http://[fd00::1]",
        "http://bench",
        "http://bench.local",
        "http://bench.home.arpa",
        "http://bench.test",
    ],
)
def test_http_is_for_ones_own_network(url: str) -> None:
    assert bench(BENCH_SERVER=url).server == url


@pytest.mark.parametrize(
    "url", ["hook", "http://bench.example/hook", "https://me:you@bench.example/hook"]
)
def test_a_secret_address_is_no_less_an_address(url: str) -> None:
    (told,) = problems(GOOD | {"BENCH_HOOK": url})
    assert told.startswith("BENCH_HOOK ")
    assert url not in told


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def from_file(file: Path) -> dict[str, str]:
    return {"BENCH_SERVER": "https://bench.example", "BENCH_TOKEN_FILE": str(file)}


@pytest.mark.parametrize(
    "content",
    [
        CANARY.encode(),
        f"{CANARY}\n".encode(),
        f"{CANARY}\r\n".encode(),
        b"\xef\xbb\xbf" + CANARY.encode() + b"\r\n",
    ],
    ids=["as is", "a line end", "a line end of Windows", "a byte order mark"],
)
def test_a_secret_comes_from_a_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    found, env = read(from_file(file))
    env.finish()
    assert found
    assert found.token.get_secret_value() == CANARY


def test_a_space_at_the_end_may_be_part_of_a_secret(file: Path) -> None:
    file.write_text(f"{CANARY} \n")
    found, _ = read(from_file(file))
    assert found
    assert found.token.get_secret_value() == f"{CANARY} "


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "BENCH_TOKEN_FILE names an empty file", id="empty"),
        pytest.param(b" \r\n", "BENCH_TOKEN_FILE names an empty file", id="blank"),
        pytest.param(
            b"\xff\xfec\0", "BENCH_TOKEN_FILE can not be read (UnicodeDecodeError)", id="UTF-16"
        ),
        pytest.param(
            f"{CANARY}\n{CANARY}\n".encode(),
            "BENCH_TOKEN must be one line without control characters",
            id="two lines",
        ),
        pytest.param(
            f"{CANARY}\0".encode(),
            "BENCH_TOKEN must be one line without control characters",
            id="NUL",
        ),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    assert problems(from_file(file)) == [problem]


def test_a_file_that_can_not_be_read_is_refused_without_its_place(tmp_path: Path) -> None:
    assert problems(from_file(tmp_path / "nowhere")) == [
        "BENCH_TOKEN_FILE can not be read (FileNotFoundError)"
    ]
    assert problems(from_file(tmp_path)) == ["BENCH_TOKEN_FILE can not be read (IsADirectoryError)"]


def test_only_a_secret_may_come_from_a_file(file: Path) -> None:
    file.write_text("https://bench.example")
    told = problems({"BENCH_SERVER_FILE": str(file), "BENCH_TOKEN": CANARY})
    assert "BENCH_SERVER is missing" in told


def test_no_value_is_ever_shown(file: Path) -> None:
    file.write_text(CANARY)
    for variables in (
        GOOD | {"BENCH_TOKEN_FILE": str(file)},
        GOOD | {"BENCH_HOOK": CANARY},
        GOOD | {"BENCH_HOOK": f"ftp://{CANARY}"},
        GOOD | {"BENCH_SERVER": CANARY, "BENCH_PAGE": CANARY, "BENCH_WAIT": CANARY},
    ):
        assert CANARY not in repr(problems(variables))
    assert CANARY not in repr(bench(BENCH_HOOK=f"https://bench.example/{CANARY}"))


def test_secrets_are_told_for_redaction() -> None:
    found = bench(BENCH_SECOND="two", BENCH_HOOK="https://bench.example/three")
    assert list(secrets_of(found)) == [CANARY, "two", "https://bench.example/three"]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("BENCH_TOKNE", "BENCH_TOKEN"),
        ("BENCH_TOKEN_FIEL", "BENCH_TOKEN_FILE"),
        ("BENCH_SERVR", "BENCH_SERVER"),
        ("BNECH_SERVER", "BENCH_SERVER"),
        ("BENCH__MUSIC__TOKNE", "BENCH__MUSIC__TOKEN"),
        ("BENHC__MUSIC__SERVER", "BENCH__MUSIC__SERVER"),
        ("BENCH__music__TOKEN", "BENCH__MUSIC__TOKEN"),
        ("BENCH__MY-MUSIC__TOKEN", "BENCH__MY_MUSIC__TOKEN"),
    ],
)
def test_a_misspelt_variable_is_an_error_that_names_the_nearest(variable: str, meant: str) -> None:
    assert problems(GOOD | {variable: "x"}) == [
        f"{variable}: no such setting; did you mean {meant}?"
    ]


@pytest.mark.parametrize("variable", ["BENCH_LEGS", "BENCH_X", "BENCH__MUSIC__COLOUR"])
def test_an_unknown_variable_with_our_prefix_is_a_warning(variable: str) -> None:
    _, env = read(GOOD | {variable: CANARY})
    env.finish()
    assert env.warnings == [f"{variable}: no such setting, ignored"]


@pytest.mark.parametrize(
    "variable",
    ["PATH", "TOKEN", "SERVER", "WORKBENCH", "TRENCH_COAT", "TRUNK_SERVER", "A__B__C", "____", ""],
)
def test_a_variable_of_a_stranger_is_none_of_our_business(variable: str) -> None:
    _, env = read(GOOD | {variable: "x"})
    env.finish()
    assert env.warnings == []


def test_accounts_are_found_by_their_names() -> None:
    env = Environment(
        dict.fromkeys(
            [
                "BENCH__MUSIC__TOKEN",
                "BENCH__MUSIC__SERVER",
                "BENCH__MY_TALK2__TOKEN",
                "BENCH__lower__TOKEN",
                "BENCH____TOKEN",
                "BENCH__A__B__C",
                "BENCHES__OTHER__TOKEN",
                "BENCH_TOKEN",
            ],
            "x",
        )
    )
    assert env.accounts("BENCH") == ["MUSIC", "MY_TALK2"]


def test_variables_are_named_by_group_and_account() -> None:
    assert variable_name("BENCH", "access_token") == "BENCH_ACCESS_TOKEN"
    assert variable_name("BENCH__MUSIC", "access_token") == "BENCH__MUSIC__ACCESS_TOKEN"


def test_the_reference_tells_every_variable_and_no_secret() -> None:
    table = reference("BENCH", Bench, but=frozenset({"page"})).splitlines()
    assert table[2:] == [
        "| `BENCH_SERVER` | required | Where it is. |",
        "| `BENCH_TOKEN` (secret) | required | A secret. |",
        "| `BENCH_SECOND` (secret) | none | Another secret. |",
        "| `BENCH_HOOK` (secret) | none | A secret address. |",
        "| `BENCH_WAIT` | `1m30s` | How long. |",
        "| `BENCH_NAMES` | none | Names. |",
    ]
