"""The real servers as fixtures: one start for the whole run, one fresh account for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Page

from tests.rogue import Authority
from tests.servers import NotInstalledError, must_be_there
from tests.servers.chromium import Chromium, axe
from tests.servers.mosquitto import Mosquitto, MqttTopic
from tests.servers.ngircd import IrcChannel, Ngircd
from tests.servers.nostr import NostrRelay
from tests.servers.ntfy import Ntfy, NtfyTopic
from tests.servers.pds import BlueskyAccount, Pds
from tests.servers.postgres import Postgres
from tests.servers.prosody import Prosody, XmppRoom
from tests.servers.smtp import MailServer
from tests.servers.snac import FediverseAccount, Snac
from tests.servers.synapse import MatrixRoom, Synapse

Server = TypeVar("Server")


def started(start: Callable[[Path], Server], folder: Path) -> Server:
    """The server; or, where it is not installed, a skip that says so, or a failure in CI."""
    try:
        return start(folder)
    except NotInstalledError as missing:
        reason = f"{missing}: run tests/servers/install"
    if must_be_there():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def pds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pds]:
    server = started(Pds, tmp_path_factory.mktemp("pds"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def snac(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snac]:
    server = started(Snac, tmp_path_factory.mktemp("snac"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    server = started(Synapse, tmp_path_factory.mktemp("synapse"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ntfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ntfy]:
    server = started(Ntfy, tmp_path_factory.mktemp("ntfy"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    server = started(Mosquitto, tmp_path_factory.mktemp("mosquitto"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ngircd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ngircd]:
    server = started(Ngircd, tmp_path_factory.mktemp("ngircd"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    server = started(Prosody, tmp_path_factory.mktemp("prosody"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nostr_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NostrRelay]:
    server = started(NostrRelay, tmp_path_factory.mktemp("nostr"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    server = started(Chromium, tmp_path_factory.mktemp("chromium"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def axe_script() -> str:
    return started(lambda _: axe(), Path())


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    with chromium.connected() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Page:
    """A fresh page that knows of nothing that happened before."""
    return browser.new_context().new_page()


@pytest.fixture
def bluesky_account(pds: Pds) -> BlueskyAccount:
    return pds.new_account()


@pytest.fixture
def fediverse_account(snac: Snac) -> FediverseAccount:
    return snac.new_account()


@pytest.fixture
def matrix_room(synapse: Synapse) -> MatrixRoom:
    return synapse.new_room()


@pytest.fixture
def ntfy_topic(ntfy: Ntfy) -> NtfyTopic:
    return ntfy.new_topic()


@pytest.fixture
def mqtt_topic(mosquitto: Mosquitto) -> MqttTopic:
    return mosquitto.new_topic()


@pytest.fixture
def irc_channel(ngircd: Ngircd) -> Iterator[IrcChannel]:
    channel = ngircd.new_channel()
    yield channel
    channel.reader.close()


@pytest.fixture
def xmpp_room(prosody: Prosody) -> Iterator[XmppRoom]:
    room = prosody.new_room()
    yield room
    room.reader.leave()


@pytest.fixture
def mail_server(authority: Authority) -> Iterator[MailServer]:
    """One for each test: it takes no time, and a test may change what it answers."""
    server = MailServer(authority)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = started(lambda _: Postgres(), Path())
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database, on each kind that we promise to run on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/announcer.db"
    else:
        yield request.getfixturevalue("postgresql_url")


@pytest.fixture
def postgresql_url(postgres: Postgres) -> Iterator[str]:
    url = postgres.new_database()
    yield url
    postgres.drop(url)
