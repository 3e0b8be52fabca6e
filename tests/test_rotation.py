"""Secrets that are replaced while the service runs: a new one takes effect by itself (E16, G10)."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from announcer import policy, rehearsal, secretfile, wiring
from announcer.attempt import fingerprint
from announcer.events import Kind
from announcer.network import Moment, Network, Post, Receipt, Refused, Repeat, Revises, Unsure
from announcer.policy import CHANGE, CLOSED, Entry, State
from announcer.rotation import Rotation, to_read
from announcer.secretfile import SecretFile, Stamp, Unreadable
from announcer.settings import SettingsError
from tests.fakes import NOW, Fake, Findable, Harmless, Stage, Turn
from tests.house import TOKEN, house, own_logging
from tests.running import Service
from tests.test_process import settled, states
from tests.town import Town

OLD, NEW = "the-old-token-of-mastodon", "the-new-token-of-mastodon"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "secret"
    place.write_text(f"{OLD}\n")
    return place


def swap(file: Path, content: str) -> None:
    """As a careful operator, and Kubernetes, replace a file: at once."""
    other = file.with_name("other")
    other.write_text(content)
    other.replace(file)


# What is read


@pytest.mark.parametrize(
    ("last", "read", "patient", "expected"),
    [
        pytest.param({}, {}, False, ["A"], id="never read"),
        pytest.param({"A": (1,)}, {"A": (1,)}, False, [], id="read, and the same"),
        pytest.param({"A": None}, {"A": None}, False, ["A"], id="it is there again"),
        pytest.param({"A": (0,)}, {"A": (0,)}, False, ["A"], id="changed"),
        pytest.param({"A": (0,)}, {"A": (0,)}, True, [], id="changed just now: half written?"),
        pytest.param({"A": (1,)}, {"A": (0,)}, True, ["A"], id="changed, and at rest since"),
        pytest.param({}, {}, True, [], id="never looked at"),
    ],
)
def test_g10_a_file_is_read_when_it_has_changed_and_is_at_rest(
    last: dict[str, Stamp], read: dict[str, Stamp], patient: bool, expected: list[str]
) -> None:
    assert to_read({"A": (1,)}, last, read, patient=patient) == expected


class Desk:
    """A Rotation of one file or two, and what it was told to take."""

    def __init__(self, *files: Path) -> None:
        self.taken: list[dict[str, str]] = []
        self.told = 0
        self.refuse: Callable[[dict[str, str]], bool] = lambda _: False
        known = {f"TOKEN_{n}": SecretFile(file, OLD) for n, file in enumerate(files)}
        self.rotation = Rotation(known, self._take, self._then)
        self.rotation.refresh()

    def _take(self, contents: Any) -> None:
        if self.refuse(contents):
            raise SettingsError(["TOKEN_1 must be better"])
        self.taken.append(dict(contents))

    def _then(self) -> None:
        self.told += 1


def test_g10_what_has_not_changed_is_not_taken(file: Path) -> None:
    desk = Desk(file)
    os.utime(file)
    desk.rotation.refresh()
    assert (desk.taken, desk.told) == ([], 0)


@pytest.mark.parametrize("way", ["in place", "by another file", "by another link"])
def test_g10_a_replaced_file_is_taken_however_it_was_replaced(file: Path, way: str) -> None:
    """Kubernetes links the file to a folder, and puts another folder in its place."""
    link = file.with_name("link")
    link.symlink_to(file)
    desk = Desk(link)
    if way == "in place":
        file.write_text(f"{NEW}\r\n")
    elif way == "by another file":
        swap(file, NEW)
    else:
        (file.with_name("second")).write_text(NEW)
        file.with_name("new link").symlink_to(file.with_name("second"))
        file.with_name("new link").replace(link)
    desk.rotation.refresh()
    assert (desk.taken, desk.told) == ([{"TOKEN_0": NEW}], 1)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 70_000, None])
def test_g10_a_file_that_became_useless_keeps_the_old_secret_and_says_so_once(
    file: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    for _ in range(3):
        desk.rotation.refresh()
    assert desk.taken == []
    said = capsys.readouterr().out
    assert said.count("TOKEN_0_FILE") == 1
    assert "the old one is kept" in said
    swap(file, NEW)
    desk.rotation.refresh()
    assert desk.taken == [{"TOKEN_0": NEW}]


def test_g10_one_that_does_not_fit_holds_up_no_other(file: Path) -> None:
    other = file.with_name("another")
    other.write_text(OLD)
    desk = Desk(file, other)
    desk.refuse = lambda contents: contents["TOKEN_1"] == "bad"
    swap(file, NEW)
    swap(other, "bad")
    desk.rotation.refresh()
    assert desk.taken == [{"TOKEN_0": NEW, "TOKEN_1": OLD}]


# What a file may be


def test_g10_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    begun = time.monotonic()
    with pytest.raises(Unreadable, match="pipe or a device: it must be a plain file"):
        secretfile.read(tmp_path / "pipe")
    assert time.monotonic() - begun < 10


def test_g10_a_file_that_is_too_big_is_refused(file: Path) -> None:
    file.write_bytes(b"x" * (secretfile.LARGEST + 1))
    with pytest.raises(Unreadable, match="more than 64 KiB"):
        secretfile.read(file)


def test_g10_a_file_that_is_not_ours_to_read_is_refused(file: Path) -> None:
    file.chmod(0)
    root = os.geteuid() == 0
    file.parent.chmod(0o755)
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(Unreadable, match="can not be read"):
            secretfile.read(file)
    finally:
        if root:
            os.seteuid(0)


# What the whole service holds


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with own_logging():
        yield


def test_g10_every_secret_of_the_house_is_the_current_one(tmp_path: Path) -> None:
    names = ("DISCORD_WEBHOOK_URL", "OWNCAST_WEBHOOK_TOKEN", "ANNOUNCER_ADMIN_PASSWORD")
    files = {name: tmp_path / name for name in names}
    before = ["https://discord.com/api/webhooks/17/the-first-word-of-it", TOKEN, "first password"]
    after = ["https://discord.com/api/webhooks/17/the-second-word", f"{TOKEN}-2", "second password"]
    for file, content in zip(files.values(), before, strict=True):
        file.write_text(content)
    settings = {f"{name}_FILE": str(file) for name, file in files.items()}
    with house(tmp_path, settings) as there:
        parts = there.parts
        old = parts.settings.destinations["discord"]
        parts.outbox.close("discord", fingerprint(old), "401", NOW)
        for file, content in zip(files.values(), after, strict=True):
            swap(file, content)
        parts.rotation.refresh()
        new = parts.settings.destinations["discord"]
        assert new != old
        assert parts.outbox.closed() == {}
        assert {*before, *after} & {parts.settings.redactor(one) for one in before + after} == set()
        assert set(after) <= set(parts.settings.secrets())
        for word, status in (("first password", 401), ("second password", 200)):
            assert there.client.get("/", auth=("admin", word)).status_code == status
        for token, status in ((TOKEN, 404), (f"{TOKEN}-2", 204)):
            assert there.hear_by_token(start(), token).status_code == status


def test_g10_the_database_stays_where_it_is_until_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"sqlite:///{tmp_path}/one.db")
    settings = wiring.read({"ANNOUNCER_DATABASE_URL_FILE": str(file)})
    settings.renew({"ANNOUNCER_DATABASE_URL": f"sqlite:///{tmp_path}/two.db"})
    assert settings.service.database_url.get_secret_value().endswith("one.db")


# What becomes of the posts


ENTRY = Entry(
    key="b/live/fake",
    broadcast="b",
    channel="default",
    moment=Moment.LIVE,
    destination="fake",
    state=State.FAILED,
    wanted=Moment.LIVE,
    shown=None,
    next_at=NOW,
    until=NOW + timedelta(minutes=20),
    tries=1,
    reason="401",
)
AGAIN = replace(ENTRY, state=State.DUE, generation=1, reason="credentials changed")
DOUBT = replace(ENTRY, state=State.UNSURE, doubtful_since=NOW)
EDIT = replace(
    ENTRY,
    state=State.DUE,
    wanted=Moment.ENDED,
    shown=Moment.LIVE,
    next_at=NOW + timedelta(minutes=5),
    change_until=NOW + CHANGE,
    reason=f"{CLOSED}: 401",
)
GRACE = NOW + timedelta(minutes=4)


@pytest.mark.parametrize(
    ("entry", "live", "expected"),
    [
        pytest.param(ENTRY, True, AGAIN, id="refused: told again while the stream is live"),
        pytest.param(ENTRY, False, ENTRY, id="not of a stream that is over"),
        pytest.param(replace(ENTRY, until=NOW - CHANGE), True, None, id="not too late"),
        pytest.param(replace(ENTRY, wanted=None), True, None, id="not what nobody wants now"),
        pytest.param(DOUBT, True, None, id="not where it may be up and nobody can look"),
        pytest.param(EDIT, False, replace(EDIT, next_at=NOW), id="a kept edit goes out at once"),
        pytest.param(
            replace(EDIT, change_until=GRACE + CHANGE),
            False,
            replace(EDIT, change_until=GRACE + CHANGE, next_at=GRACE),
            id="but a grace is not cut short",
        ),
        pytest.param(replace(EDIT, reason="429"), False, None, id="nor the network's own wait"),
        pytest.param(
            replace(ENTRY, moment=Moment.ENDED, wanted=Moment.ENDED),
            False,
            replace(AGAIN, moment=Moment.ENDED, wanted=Moment.ENDED),
            id="the word of the end is told when it has ended",
        ),
    ],
)
def test_e16_what_new_credentials_bring_back(
    entry: Entry, live: bool, expected: Entry | None
) -> None:
    assert policy.reopened(entry, Repeat.DOUBLES, NOW, live=live) == (expected or entry)


def test_e16_what_may_be_up_keeps_its_key_where_a_repeat_is_harmless() -> None:
    again = policy.reopened(DOUBT, Repeat.HARMLESS, NOW, live=True)
    assert (again.state, again.generation, again.doubtful_since) == (State.DUE, 0, NOW)


Act = Callable[..., Stage]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    stages: list[Stage] = []

    def act(network: Network, **settings: Any) -> Stage:
        stage = Stage(tmp_path / "announcer.db", {"fake": network}, **settings)
        stages.append(stage)
        monkeypatch.setattr("announcer.attempt.now", lambda: stage.now)
        monkeypatch.setattr("announcer.attempt.dice", lambda: 0.5)
        return stage

    yield act
    for stage in stages:
        stage.close()


def bring(stage: Stage, network: Network) -> None:
    """New credentials, as the rotation brings them."""
    stage.networks["fake"] = network
    stage.delivery.reopen_changed()
    stage.run()


def fresh(kind: type[Fake]) -> Any:
    return kind(token=SecretStr("second password"))


@pytest.mark.parametrize("kind", [Fake, Harmless, Findable])
def test_e16_a_post_that_was_refused_is_told_once_by_itself(act: Act, kind: type[Fake]) -> None:
    network, better = kind(), fresh(kind)
    network.then(Refused("401 invalid token", closes=True))
    stage = act(network)
    stage.hear()
    stage.run()
    assert stage.told() == ("failed", "401 invalid token")
    stage.passes(minutes=5)
    bring(stage, better)
    assert stage.told() == ("settled", "")
    assert (len(network.sent), len(better.visible)) == (1, 1)


def test_e16_but_not_when_it_is_too_late(act: Act) -> None:
    network, better = Fake(), fresh(Fake)
    network.then(Refused("401 invalid token", closes=True))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(minutes=31)
    bring(stage, better)
    assert stage.told() == ("failed", "401 invalid token")
    assert better.sent == []


def test_e16_nor_when_the_stream_is_over(act: Act) -> None:
    network, better = Fake(), fresh(Fake)
    network.then(Refused("401 invalid token", closes=True))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(minutes=1)
    stage.hear(Kind.STOPPED)
    bring(stage, better)
    assert better.sent == []


def test_e16_what_may_be_up_is_looked_for_with_the_new_credentials(act: Act) -> None:
    network, better = Findable(), fresh(Findable)
    network.then(Turn(Unsure("no answer"), shows=True))
    network.blind(Refused("401 invalid token", closes=True))
    stage = act(network)
    stage.hear()
    stage.run()
    stage.passes(seconds=2)
    stage.run()
    assert stage.told()[0] == "unsure"
    better.visible.extend(network.visible)
    bring(stage, better)
    assert stage.told() == ("settled", "")
    assert (len(better.looks), better.sent) == (1, [])


class Editable(Fake, Revises):
    """*refuses* is what every edit meets."""

    refuses: str = ""

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        self.sent.append(post)
        if self.refuses:
            raise Refused(self.refuses, closes=True)
        return receipt


def test_e16_an_edit_that_is_refused_is_kept_and_goes_out_with_new_credentials(act: Act) -> None:
    network, better = Editable(refuses="401 invalid token"), fresh(Editable)
    stage = act(network)
    stage.hear(title="Drawers")
    stage.run()
    stage.hear(Kind.RETITLED, title="Dovetails")
    stage.passes(seconds=15)
    stage.run()
    assert stage.told() == ("due", f"{CLOSED}: 401 invalid token")
    for _ in range(4):
        stage.passes(minutes=6)
        stage.run()
    assert len(network.sent) == 2, "and nobody is asked meanwhile"
    bring(stage, better)
    assert stage.told() == ("settled", "")
    (edit,) = better.sent
    assert "Dovetails" in edit.text


def test_e16_an_edit_is_not_kept_for_ever(act: Act) -> None:
    stage = act(Editable(refuses="401 invalid token"))
    stage.hear(title="Drawers")
    stage.run()
    stage.hear(Kind.RETITLED, title="Dovetails")
    stage.passes(seconds=15)
    stage.run()
    stage.passes(hours=25)
    stage.run()
    assert stage.told() == ("failed", f"too late: {CLOSED}: 401 invalid token")


def test_e16_that_former_credentials_are_refused_closes_nothing(act: Act) -> None:
    """They were replaced while the request was on its way."""
    gate = threading.Event()
    network, better = Fake(), fresh(Fake)
    network.then(Turn(Refused("401 invalid token", closes=True), gate=gate))
    stage = act(network)
    stage.hear()
    stage.delivery.run()
    while not network.sent:
        time.sleep(0.005)
    stage.networks["fake"] = better
    gate.set()
    stage.run()
    assert stage.box.closed() == {}
    stage.passes(seconds=2)
    stage.run()
    assert stage.told() == ("settled", "")
    assert len(better.visible) == 1


# The real process


@pytest.fixture
def town() -> Iterator[Town]:
    made = Town()
    yield made
    made.close()


def serve(folder: Path, town: Town, file: Path) -> Service:
    settings = town.settings("mastodon")
    del settings["MASTODON_ACCESS_TOKEN"]
    return Service(
        folder,
        settings | {"MASTODON_ACCESS_TOKEN_FILE": str(file), "ANNOUNCER_HOLD": "0s"},
    )


def start() -> bytes:
    return rehearsal.webhook("start", "Fitting a dovetail drawer", "Kestrel Workshop")


def test_e16_g10_a_rotated_token_revives_its_destination_without_a_restart(
    tmp_path: Path, town: Town, file: Path
) -> None:
    town.token = NEW
    service = serve(tmp_path, town, file)
    try:
        assert service.hear(start()) == 204
        service.until(lambda: states(tmp_path) == {"mastodon": "failed"}, "it was not refused")
        page = requests.get(service.url, timeout=5).text
        assert "The access token is invalid" in page
        swap(file, NEW)
        service.until(lambda: states(tmp_path) == {"mastodon": "settled"}, "it was not revived")
        assert town.counts() == {"mastodon": 1}
        assert town.refused == 1, "a closed destination is not asked again"
        assert service.stop() == 0
        log = service.log
        assert "outcome=reopened" in log
        assert "MASTODON_ACCESS_TOKEN" in log
        assert OLD not in log
        assert NEW not in log
    finally:
        if service.process.poll() is None:
            service.kill()


def test_e16_g10_a_token_that_was_rotated_just_before_the_post_closes_nothing(
    tmp_path: Path, town: Town, file: Path
) -> None:
    """Nobody has looked since: a look comes before the destination counts as closed."""
    service = serve(tmp_path, town, file)
    try:
        town.token = NEW
        swap(file, NEW)
        assert service.hear(start()) == 204
        service.until(lambda: settled(tmp_path), "it never settled")
        assert (states(tmp_path), town.counts()) == ({"mastodon": "settled"}, {"mastodon": 1})
        assert service.stop() == 0
        assert "outcome=closed" not in service.log
    finally:
        if service.process.poll() is None:
            service.kill()
