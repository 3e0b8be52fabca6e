"""Who we are on every network is asked seldom, kept, and never in anybody's way."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from pydantic import PrivateAttr, SecretStr

from announcer import rollcall
from announcer.attempt import fingerprint
from announcer.network import Account, Memory, Network, Refused, TryLater, Unsure
from announcer.outbox import DestinationMemory, Outbox, StorageError
from announcer.rollcall import AFTER_START, EVERY, KEPT, Found, RollCall
from tests.fakes import Fake, open_box, wait_until


class Asked(Fake):
    """Answers what the test says, the last for ever."""

    _answers: list[Account | Exception] = PrivateAttr(default_factory=list)
    _times: list[int] = PrivateAttr(default_factory=list)
    _gate: threading.Event = PrivateAttr(default_factory=threading.Event)

    def says(self, *answers: Account | Exception) -> "Asked":
        self._answers[:] = answers
        self._gate.set()
        return self

    @property
    def gate(self) -> threading.Event:
        return self._gate

    @property
    def times(self) -> int:
        return len(self._times)

    def check(self) -> Account:
        self._times.append(1)
        assert self._gate.wait(10)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


ENDS = datetime(2031, 5, 1, tzinfo=UTC)
ME = Account("@kestrel", "https://social.example/@kestrel", ("no scope for pictures",), ENDS)


@pytest.fixture
def box(database_url: str) -> Iterator[Outbox]:
    box = open_box(database_url)
    yield box
    box.engine.dispose()


def keep(box: Outbox, name: str, found: Found) -> None:
    DestinationMemory(box, name).put(KEPT, found.kept())


def call(box: Outbox, **networks: Network) -> RollCall:
    return RollCall(networks, lambda name: DestinationMemory(box, name), _redact)


def _redact(text: str) -> str:
    return text.replace("first password", "***")


def found(box: Outbox, calls: RollCall, name: str = "fake") -> Found | None:
    return calls.found(name, box.remembered(KEPT).get(name))


def test_an_answer_is_kept_through_a_restart(box: Outbox) -> None:
    network = Asked().says(ME)
    call(box, fake=network).ask("fake")
    told = found(box, call(box, fake=Asked()))
    assert told
    assert Account(told.handle, told.url, told.notes, told.ends) == ME
    assert told.problem == ""
    assert datetime.now(UTC) - told.at < timedelta(minutes=1)


def test_the_first_round_leaves_a_start_in_peace_and_the_next_asks_everybody(box: Outbox) -> None:
    network = Asked().says(ME)
    calls = call(box, fake=network, other=network)
    begun = datetime.now(UTC)
    assert AFTER_START <= calls.round() - begun < AFTER_START + timedelta(seconds=5)
    assert network.times == 0
    assert calls.round() - begun >= EVERY
    assert network.times == 2


@pytest.mark.parametrize(
    ("problem", "again"),
    [
        (TryLater("503"), True),
        (Unsure("no answer"), True),
        (Refused("401"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_only_who_could_not_be_reached_is_asked_again(
    box: Outbox, problem: Exception, again: bool
) -> None:
    network = Asked().says(problem, ME)
    calls = call(box, fake=network)
    calls.round()
    with structlog.testing.capture_logs():
        calls.round()
    told = found(box, calls)
    assert told
    assert told.problem
    calls.round()
    assert network.times == (2 if again else 1)


def test_other_credentials_are_another_account(box: Outbox) -> None:
    call(box, fake=Asked().says(ME)).ask("fake")
    other = Asked(token=SecretStr("another one")).says(ME)
    calls = call(box, fake=other)
    assert found(box, calls) is None
    calls.round()
    calls.round()
    assert other.times == 1


def test_a_secret_changed_while_we_run_is_noticed(box: Outbox) -> None:
    networks: dict[str, Network] = {"fake": Asked().says(ME)}
    calls = RollCall(networks, lambda name: DestinationMemory(box, name), _redact)
    calls.ask("fake")
    assert found(box, calls)
    networks["fake"] = Asked(token=SecretStr("another one")).says(ME)
    assert found(box, calls) is None


def test_no_secret_is_kept_whatever_a_network_says(box: Outbox) -> None:
    leak = Account("first password", "https://x.example/first password", ("first password",))
    for answer in (leak, Refused("first password"), RuntimeError("first password")):
        with structlog.testing.capture_logs() as lines:
            call(box, fake=Asked().says(answer)).ask("fake")
        kept = box.remembered(KEPT)["fake"]
        assert "first password" not in kept
        assert "first password" not in repr([{**line, "exc_info": ""} for line in lines])


def test_one_account_is_asked_once_at_a_time_however_often_one_clicks(box: Outbox) -> None:
    network = Asked()
    calls = call(box, fake=network)
    for _ in range(9):
        calls.ask_soon("fake")
        assert calls.asking("fake"), "the page that comes next shows it"
    calls.ask("fake")
    network.says(ME)
    wait_until(lambda: not calls.asking("fake"))
    assert network.times == 1
    assert found(box, calls)


def test_a_stop_in_the_middle_of_a_round_ends_it(box: Outbox) -> None:
    first, second = Asked(), Asked().says(ME)
    calls = call(box, first=first, second=second)
    calls.round()
    going = threading.Thread(target=calls.round)
    going.start()
    wait_until(lambda: first.times)
    calls.stop()
    first.says(ME)
    going.join(10)
    assert second.times == 0


class Broken(dict[str, str]):
    def get(self, *_: object) -> str | None:  # type: ignore[override]
        return None

    def put(self, name: str, value: str) -> None:  # noqa: ARG002
        raise StorageError


def test_an_answer_that_can_not_be_kept_is_asked_for_again(box: Outbox) -> None:
    memory: Memory = Broken()
    calls = RollCall({"fake": Asked().says(ME)}, lambda _: memory, _redact)
    with structlog.testing.capture_logs() as lines:
        calls.ask("fake")
    assert [line["event"] for line in lines] == ["storage"]
    assert not calls.asking("fake")


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        '{"at": "yesterday", "notes": []}',
        '{"at": "2026-01-01T00:00:00+00:00", "notes": 7, "credentials": ""}',
        '{"at": "2026-01-01T00:00:00+00:00", "notes": [], "credentials": "", "more": 1}',
    ],
)
def test_what_another_version_kept_is_as_good_as_nothing(box: Outbox, kept: str) -> None:
    network = Asked().says(ME)
    DestinationMemory(box, "fake").put(KEPT, kept)
    calls = call(box, fake=network)
    assert found(box, calls) is None
    calls.round()
    calls.round()
    assert network.times == 1


def test_who_is_no_longer_configured_is_nobody(box: Outbox) -> None:
    keep(box, "gone", Found(datetime.now(UTC), "x"))
    assert found(box, call(box, fake=Asked()), "gone") is None


def test_the_slow_fingerprint_is_worked_out_once(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[Network] = []

    def work(network: Network) -> str:
        worked.append(network)
        return fingerprint(network)

    monkeypatch.setattr(rollcall, "fingerprint", work)
    calls = call(box, fake=Asked().says(ME))
    calls.ask("fake")
    for _ in range(20):
        assert found(box, calls)
    assert len(worked) == 1
