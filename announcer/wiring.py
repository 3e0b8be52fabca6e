"""The one place where settings are put together and parts are chosen."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from announcer import migrations, networks, outbox, tracing, wire
from announcer.answers import Answers
from announcer.attempt import manners_of
from announcer.content import Channel, Composer
from announcer.delivery import Delivery
from announcer.housekeeping import Housekeeping
from announcer.intake import Intake
from announcer.logs import Redactor
from announcer.metrics import Metrics
from announcer.network import Moment, Network, Welcomes
from announcer.networks import NotInstalledError
from announcer.outbox import DestinationMemory, DestinationSubscribers, Outbox, StorageError
from announcer.patrol import Patrol
from announcer.pictures import Pictures
from announcer.policy import Rules, State
from announcer.quiet import NEVER, Quiet
from announcer.rollcall import RollCall
from announcer.rotation import Rotation
from announcer.scheduler import Clock, Listener
from announcer.secretfile import SecretFile
from announcer.settings import (
    BaseUrl,
    Environment,
    NameList,
    PublicUrl,
    SettingsError,
    secrets_of,
    setting,
    variable_name,
)
from announcer.tracing import OFF, Collector, Tracing
from announcer.watch import Watch
from announcer.wording import Templates

log = structlog.get_logger("announcer.wiring")

NEW = "begun empty: if you expected your history, check the volume and ANNOUNCER_DATABASE_URL"
DEFAULT = "default"
"""The channel of the unnamed Owncast server."""
LONGEST_NAME = 60
"""Letters of an account's or a channel's name: it is part of keys, and those have columns."""
BEGUN = (State.SETTLED, State.FAILED, State.UNSURE)
"""What announcements come to: counted from zero on, so that the first is seen."""
FLUSH = 2.0
"""Seconds, beyond the patience of a stop, for the last spans."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,}")
"""A webhook token: shorter ones can be guessed, other characters do not survive in an address."""


class Service(BaseModel):
    """How the service itself runs."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    database_url: SecretStr = setting(
        "Where everything is kept: a SQLite file, `sqlite:///announcer.db` (in the container "
        "under its data volume; `announcer backup` copies it while the service runs), or "
        "`postgresql://user:password@host/name`, for replicas.",
        default=SecretStr("sqlite:///announcer.db"),
    )
    templates: Path | None = setting(
        "The folder of your templates; the shipped ones fill what it lacks.", default=None
    )
    host: str = setting("Address to listen on (in the container `0.0.0.0`).", default="127.0.0.1")
    port: int = Field(default=8000, ge=1, le=65535, description="Port to listen on.")
    admin_password: SecretStr | None = setting(
        "Password for the pages (user name `admin`). Without it they answer a browser on this "
        "machine only.",
        default=None,
    )
    alerts: NameList = setting(
        "Destinations, by name, that are told when something is wrong: an account that is closed, "
        "an announcement that failed. They get nothing else, so name one that your audience does "
        "not see, such as a second Discord webhook `discord.ops`.",
        default=(),
    )
    metrics_token: SecretStr | None = setting(
        "A long random word that lets a program read `/metrics`, as its bearer token. Without it "
        "the admin password does, and without that nobody but a browser on this machine.",
        default=None,
    )
    overlay_token: SecretStr | None = setting(
        "A long random word. It turns on the page for OBS: `/overlay/<token>`, as a browser source "
        "over your stream, shows each post as it goes up.",
        default=None,
    )
    overlay_css: Path | None = setting(
        "A file with styles of your own for that page.", default=None
    )
    replay_url: PublicUrl | None = setting(
        "A link that a text may offer once the stream has ended.", default=None
    )
    proxy: BaseUrl | None = setting(
        "Proxy for everything that is sent out; the usual proxy variables are not read.",
        default=None,
    )
    keep_days: int = Field(
        default=365,
        ge=0,
        description="Days after which a broadcast and its posts are forgotten, if nothing of them "
        "is open any more: 2 or more, or `0` for never.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "`debug`, `info`, `warning` or `error`.", default="info"
    )
    log_format: Literal["console", "json"] = setting("`console` or `json`.", default="console")

    @field_validator("overlay_token", "metrics_token")
    @classmethod
    def _can_not_be_guessed(cls, token: SecretStr | None) -> SecretStr | None:
        if token and not TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("must be 16 or more letters, digits, - or _")
        return token

    @field_validator("keep_days")
    @classmethod
    def _a_day_is_too_short(cls, days: int) -> int:
        if days == 1:
            raise ValueError("must be 2 or more, or 0 for never")
        return days


class OwncastServer(BaseModel):
    """One Owncast server that we serve."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: PublicUrl | None = setting(
        "Public address of the stream: the link in every announcement, and where its status and "
        "tags are asked for.",
        default=None,
    )
    webhook_secret: SecretStr | None = setting(
        "Secret of the webhook, for Owncast 0.3 and later, which signs.", default=None
    )
    webhook_token: SecretStr | None = setting(
        "For older servers, which do not sign: a long random word that ends the webhook's address, "
        "`/webhooks/owncast/<token>`.",
        default=None,
    )
    webhook_secret_previous: SecretStr | None = setting(
        "The secret before, good until Owncast knows the new one.", default=None
    )
    webhook_token_previous: SecretStr | None = setting(
        "The token before, good until Owncast knows the new address.", default=None
    )


@dataclass
class Settings:
    """Everything that was set, checked. Destinations and channels by name.

    It is always the current one: who holds it, or its destinations, sees a secret that was changed
    by `renew`. Ask it anew each time, and keep no copy of a secret.
    """

    service: Service
    rules: Rules
    channels: dict[str, OwncastServer]
    destinations: dict[str, Network]
    warnings: list[str] = field(default_factory=list)
    quiet: Quiet = NEVER
    files: Mapping[str, SecretFile] = field(default_factory=dict, repr=False)
    """Those that secrets came from, by variable."""
    traces: Collector | None = None
    again: "Callable[[Mapping[str, str]], Settings] | None" = field(
        default=None, repr=False, compare=False
    )
    """Reads the same variables with other contents of the files. Raises SettingsError."""
    redactor: Redactor = field(init=False, repr=False, compare=False)
    """Knows every secret, the former ones too."""

    def __post_init__(self) -> None:
        self.redactor = Redactor(self.secrets())

    def renew(self, contents: Mapping[str, str]) -> list[str]:
        """Put other *contents* of the files to use. The destinations whose secrets have changed.

        Raises SettingsError, and then nothing has changed. The database stays as it is.
        """
        if self.again is None:
            return []
        fresh = self.again(contents)
        self.redactor.learn(fresh.secrets())  # before anything can be said of them
        same = {"database_url": self.service.database_url}
        self.service = fresh.service.model_copy(update=same)
        self.channels.update(fresh.channels)
        changed = [
            name for name, one in fresh.destinations.items() if one != self.destinations[name]
        ]
        self.destinations.update({name: fresh.destinations[name] for name in changed})
        return changed

    def secrets(self) -> list[str]:
        groups = (self.service, *self.channels.values(), *self.destinations.values())
        password = urlsplit(self.service.database_url.get_secret_value()).password or ""
        found = [secret for group in groups for secret in secrets_of(group)]
        for header in self.traces.headers.values() if self.traces else ():
            found += [header, header.rpartition(" ")[2]]  # such as `Basic ...`
        return found + ([password, unquote(password)] if password else [])

    def serves(self, destination: str, channel: str) -> bool:
        """Whether *destination* is told of *channel*. A server's chat is told of its own only, and
        where alerts go nothing else does.
        """
        if destination in self.service.alerts:
            return False
        network = self.destinations[destination]
        if network.name == "owncast":
            return channel == (destination.partition(".")[2] or DEFAULT)
        return not network.channels or channel in network.channels

    def audience(self, channel: str) -> list[str]:
        return [name for name in self.destinations if self.serves(name, channel)]

    def open_doors(self) -> list[str]:
        """Why the service must not start, by variable; empty if every server proves itself."""
        return [
            f"{_owncast(name)}WEBHOOK_SECRET (Owncast 0.3 and later) or {_owncast(name)}"
            "WEBHOOK_TOKEN (older) must be set, or anybody could announce in your name"
            for name, server in self.channels.items()
            if not server.webhook_secret and not server.webhook_token
        ]


def read(variables: Mapping[str, str], contents: Mapping[str, str] | None = None) -> Settings:
    """Raises SettingsError with every problem there is. *contents* has what secret files hold, by
    variable; those that it lacks are read.
    """
    env = Environment(variables, contents)
    service = env.group("ANNOUNCER", Service)
    rules = env.group("ANNOUNCER", Rules)
    quiet = env.group("ANNOUNCER", Quiet)
    channels = _servers(env)
    destinations = _destinations(env)
    _cross_check(env, rules, channels, destinations)
    _check_alerts(env, service, destinations)
    traces = None
    try:
        traces = tracing.collector(variables, env.warnings)
    except ValueError as problem:
        env.problems.append(str(problem))
    env.finish()
    if service is None or rules is None or quiet is None:
        raise SettingsError(env.problems)
    served = {name: server for name, server in channels.items() if server}
    return Settings(
        service,
        rules,
        served,
        destinations,
        env.warnings,
        quiet,
        env.files,
        traces,
        lambda contents: read(variables, contents),  # whose repr shows nothing
    )


def _servers(env: Environment) -> dict[str, OwncastServer | None]:
    """Every Owncast server that is mentioned, None where its settings are of no use."""
    servers = {}
    for name, prefix in _prefixes(env, "OWNCAST").items():
        if name == DEFAULT or env.mentions(prefix, (*OwncastServer.model_fields, "access_token")):
            servers[name] = env.group(prefix, OwncastServer)
        else:
            env.learn(prefix, OwncastServer)
    if len(servers) > 1 and servers[DEFAULT] == OwncastServer():
        del servers[DEFAULT]  # only named servers are meant
    return servers


def _destinations(env: Environment) -> dict[str, Network]:
    """Every account that is set. Only the networks that a variable seems to mean are loaded."""
    found: dict[str, Network] = {}
    for name, load in networks.places().items():
        meant = env.addresses(name.upper())
        if not meant and not env.resembles(name.upper()):
            continue
        try:
            kinds = load()
        except NotInstalledError as missing:
            if meant:
                env.problems.append(f"{name.upper()}_...: {missing}")
            continue
        for account, prefix in _prefixes(env, name.upper()).items():
            wanted = _wanted(env, prefix, kinds)
            for kind in kinds:
                if kind not in wanted:
                    env.learn(prefix, kind)
            if len(wanted) > 1:
                titles = " and ".join(kind.title for kind in wanted)
                env.problems.append(f"{prefix}_...: {titles} are both set: keep one")
            for kind in wanted[:1]:
                if destination := env.group(prefix, kind):
                    found[name if account == DEFAULT else f"{name}.{account}"] = destination
    return found


def _wanted(env: Environment, prefix: str, kinds: Sequence[type[Network]]) -> list[type[Network]]:
    """Those that a variable shows to be wanted. An option that several of them have, such as whom a
    start pings, does not tell them apart.
    """
    wanted = [kind for kind in kinds if env.mentions(prefix, _own_fields(kind))]
    held = Counter(field for kind in wanted for field in kind.model_fields)

    def telling(kind: type[Network]) -> tuple[str, ...]:
        fields = kind.model_fields
        own = _own_fields(kind)
        return tuple(field for field in own if fields[field].is_required() or held[field] == 1)

    return [kind for kind in wanted if env.mentions(prefix, telling(kind))] or wanted


def _own_fields(network: type[Network]) -> tuple[str, ...]:
    """Those that show that an account is wanted."""
    own = (field for field in network.model_fields if field not in Network.model_fields)
    return network.switched_on_by or tuple(own)


def _prefixes(env: Environment, prefix: str) -> dict[str, str]:
    accounts = {account.lower(): f"{prefix}__{account}" for account in env.accounts(prefix)}
    for account in accounts:
        if len(account) > LONGEST_NAME:
            env.problems.append(
                f"{prefix}__{account.upper()[:20]}...: a name has {LONGEST_NAME} letters at most"
            )
    return {DEFAULT: prefix} | accounts | {DEFAULT: prefix}  # the one without a name, always


def _owncast(channel: str) -> str:
    return "OWNCAST_" if channel == DEFAULT else f"OWNCAST__{channel.upper()}__"


def _cross_check(
    env: Environment,
    rules: Rules | None,
    channels: Mapping[str, OwncastServer | None],
    destinations: Mapping[str, Network],
) -> None:
    """What depends on several groups."""
    if rules and rules.hold >= rules.give_up:
        env.problems.append("ANNOUNCER_HOLD must be shorter than ANNOUNCER_GIVE_UP")
    seen: dict[str, str] = {}
    for name, server in channels.items():
        door = f"{_owncast(name)}WEBHOOK_"
        for what in ("SECRET", "TOKEN", "SECRET_PREVIOUS", "TOKEN_PREVIOUS"):
            secret = getattr(server, f"webhook_{what.lower()}", None)
            if secret is None:
                continue
            variable, value = f"{door}{what}", secret.get_secret_value()
            current = what.removesuffix("_PREVIOUS")
            if current == "TOKEN" and not TOKEN.fullmatch(value):
                env.problems.append(f"{variable} must be 16 or more letters, digits, - or _")
            if getattr(server, f"webhook_{current.lower()}") is None:
                env.problems.append(f"{variable} is of no use without {door}{current}")
            if value in seen:
                env.problems.append(f"{variable} must differ from {seen[value]}")
            seen[value] = variable
    for name, network in destinations.items():
        for channel in network.channels:
            if channel not in channels:
                prefix = name.upper().replace(".", "__")
                variable = variable_name(prefix, "channels")
                env.problems.append(f"{variable}: there is no channel {channel}")


def _check_alerts(
    env: Environment, service: Service | None, destinations: Mapping[str, Network]
) -> None:
    for name in service.alerts if service else ():
        if name not in destinations:
            env.problems.append(f"ANNOUNCER_ALERTS: there is no destination {name}")
        elif destinations[name].name == "owncast":
            env.problems.append(
                f"ANNOUNCER_ALERTS must not name {name}: your viewers read its chat"
            )
        elif isinstance(destinations[name], Welcomes):
            env.problems.append(f"ANNOUNCER_ALERTS must not name {name}: anybody may subscribe")


@dataclass(frozen=True)
class Parts:
    """The running service, put together but not started."""

    settings: Settings
    outbox: Outbox
    intake: Intake
    delivery: Delivery
    clock: Clock
    channels: Mapping[str, Channel]
    answers: Answers
    rotation: Rotation
    housekeeping: Housekeeping
    listener: Listener
    rollcall: RollCall
    patrols: Sequence[Patrol] = ()
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = OFF

    def start(self) -> None:
        self.outbox.enlist()
        self.rotation.refresh()  # whoever starts us again has read the files long ago
        self.delivery.reopen_changed()
        self.clock.start()
        self.listener.start()

    def stop(self, patience: float) -> bool:
        """Let what is on its way arrive, for *patience* seconds. False if something still is."""
        deadline = time.monotonic() + patience
        self.listener.stop()
        self.clock.stop()
        self.answers.stop()
        self.housekeeping.stop()
        self.rollcall.stop()
        for patrol in self.patrols:
            patrol.stop(max(0.0, deadline - time.monotonic()))
        with suppress(StorageError):  # then the others wait for the end of its time
            self.outbox.give_back(self.delivery.owner)
        arrived = self.delivery.stop(max(0.0, deadline - time.monotonic()))
        self.tracing.stop(FLUSH)
        return arrived


def composer(settings: Settings) -> Composer:
    return Composer(Templates(settings.service.templates), settings.service.replay_url or "")


def open_outbox(settings: Settings) -> Outbox:
    """The database, brought to the schema of this version. Raises StorageError, Unusable,
    SchemaTooNew.
    """
    engine = outbox.connect(settings.service.database_url.get_secret_value())
    if migrations.upgrade(engine):
        log.warning("database", outcome="new", reason=NEW)
    return Outbox(engine)


def give_place(network: Network, box: Outbox, destination: str) -> None:
    """Where it keeps what must outlive a restart."""
    network.remember_in(DestinationMemory(box, destination))
    if isinstance(network, Welcomes):
        network.keep_subscribers_in(DestinationSubscribers(box, destination))


def assemble(settings: Settings) -> Parts:
    """Every part of the service. Raises StorageError, SchemaTooNew."""
    wire.Session.proxy = settings.service.proxy
    box = open_outbox(settings)
    for name, network in settings.destinations.items():
        give_place(network, box, name)
    channels = {
        name: Channel(name, server.url, Watch(server.url), Pictures(server.url))
        if server.url
        else Channel(name)
        for name, server in settings.channels.items()
    }
    metrics = Metrics()
    announced = [(Moment.LIVE.value, state.value) for state in BEGUN]
    metrics.expect(destinations=settings.destinations, rests=announced)
    traces = tracing.start(settings.traces)
    delivery = Delivery(
        box,
        settings.rules,
        settings.destinations,
        channels,
        composer(settings),
        redact=settings.redactor,
        wake=lambda: clock.wake(),
        refresh=lambda: rotation.refresh(),
        quiet_rules=settings.quiet,
        alerted=settings.service.alerts,
        metrics=metrics,
        tracing=traces,
    )
    clock = Clock(delivery.run)

    def take(contents: Mapping[str, str]) -> None:
        for name in settings.renew(contents):
            give_place(settings.destinations[name], box, name)

    def then() -> None:
        delivery.reopen_changed()
        clock.wake()

    rotation = Rotation(settings.files, take, then)
    if settings.files:
        clock.add("secrets", rotation.look)
    manners = {name: manners_of(network) for name, network in settings.destinations.items()}
    intake = Intake(
        box,
        settings.rules,
        settings.audience,
        manners,
        clock.wake,
        settings.quiet,
        metrics,
        traces,
    )
    patrols = _patrols(settings, intake, delivery.owner)
    for patrol in patrols:
        clock.add(f"watch {patrol.channel}", patrol.look)
    days = settings.service.keep_days
    housekeeping = Housekeeping(box, delivery.owner, timedelta(days=days) if days else None)
    clock.add("housekeeping", housekeeping.round)
    rollcall = RollCall(
        settings.destinations, lambda name: DestinationMemory(box, name), settings.redactor
    )
    clock.add("roll call", rollcall.round)
    answers = Answers(box, composer(settings), channels, settings.destinations, settings.audience)
    listener = Listener(box.listen, clock.wake)
    return Parts(
        settings,
        box,
        intake,
        delivery,
        clock,
        channels,
        answers,
        rotation,
        housekeeping,
        listener,
        rollcall,
        patrols,
        metrics,
        traces,
    )


def _patrols(settings: Settings, intake: Intake, owner: str) -> list[Patrol]:
    """One for each server with an address, none if nobody is to be asked."""
    servers = settings.channels.items() if settings.rules.poll else ()
    return [
        Patrol(name, Watch(server.url), intake, owner) for name, server in servers if server.url
    ]
