"""How settings are declared, read and documented.

A group of settings is a pydantic model; a field declared with `setting` is a variable. Reading
tells every problem at once, by the name of its variable, and never shows a value.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta, tzinfo
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    InstanceOf,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from announcer import secretfile
from announcer.secretfile import SecretFile, Unreadable

Group = TypeVar("Group", bound=BaseModel)

LONGEST = timedelta(hours=720)
"""Of a duration: more is a mistake, and far more than a clock can add to the time of day."""
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_LOCAL_SUFFIXES = (".local", ".lan", ".internal", ".localhost", ".home.arpa", ".test")
NO_ADDRESS = "is not a web address, such as https://live.example.org"
ACCOUNT = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)*")


class SettingsError(Exception):
    """Settings that can not be used. *problems* has one line for each, without any value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def setting(description: str, *, default: Any = PydanticUndefined) -> Any:
    """A field that is a variable. Without a default it is required."""
    return Field(default=default, description=description)


def parse_duration(text: object) -> object:
    """`30s`, `5m`, `1h30m`; a bare number is an error, so that nobody waits 30 s unawares."""
    if not isinstance(text, str):
        return text
    match = _DURATION.fullmatch(text.strip())
    if not text.strip() or match is None:
        raise ValueError("is not a duration: write it like 30s, 5m or 1h30m")
    hours, minutes, seconds = (int((part or "").lstrip("0")[:9] or 0) for part in match.groups())
    duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if duration > LONGEST:
        raise ValueError(f"is longer than {show_duration(LONGEST)}")
    return duration


def show_duration(duration: timedelta) -> str:
    """The inverse of `parse_duration`, in whole seconds."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def _address(url: str) -> str:
    """A web address without credentials, query or fragment, and without a slash at its end."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(NO_ADDRESS) from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not port_is_fine:
        raise ValueError(NO_ADDRESS)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return url.rstrip("/")


def _stream_address(url: str) -> str:
    """Of a stream: Owncast answers at the root of it, and the admin pages are what many copy."""
    if urlsplit(url := _address(url)).path.rstrip("/").endswith("/admin"):
        raise ValueError("is the address of the admin pages: leave out /admin")
    return url


def is_private(host: str) -> bool:
    """Whether *host* is a name or address that only this machine or its own network knows."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)


def _safe_address(url: str) -> str:
    url = _address(url)
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_private(parts.hostname or ""):
        raise ValueError("would send credentials unencrypted: use https://")
    return url


def _secret_address(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    _safe_address(url.partition("?")[0])
    return secret


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())
    return value


def _zone(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.upper() == "UTC":
        return UTC  # known even to a machine without a table of zones
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown, no name at all, a folder like `Europe`
        raise ValueError("is not a time zone: write it like Europe/Berlin") from None


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
PublicUrl = Annotated[str, AfterValidator(_stream_address)]
"""An address of our own streams: shown to the world, and http is the streamer's own choice."""
BaseUrl = Annotated[str, AfterValidator(_safe_address)]
"""Where credentials are sent: https, or http inside one's own network."""
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_address)]
"""An address that is itself the secret, such as a webhook's."""
NameList = Annotated[tuple[str, ...], BeforeValidator(_names)]
Zone = Annotated[InstanceOf[tzinfo], BeforeValidator(_zone)]
"""A time zone by its IANA name."""


class Environment:
    """The variables, read group by group; `finish` tells every problem at once.

    A secret may come from the file that `NAME_FILE` names; one line end at its end is dropped.
    *contents* has what was read of such a file before, by variable: it is not read again.
    """

    def __init__(
        self, variables: Mapping[str, str], contents: Mapping[str, str] | None = None
    ) -> None:
        self._variables, self._contents = variables, contents or {}
        self.files: dict[str, SecretFile] = {}
        self._known: set[str] = set()
        self._prefixes: set[str] = set()
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def group(self, prefix: str, model: type[Group]) -> Group | None:
        """*model* filled from `PREFIX_FIELD`; None if that was not possible, told by `finish`."""
        values: dict[str, Any] = {}
        unread: set[str] = set()
        self._prefixes.add(f"{prefix.partition('__')[0]}_")
        for field, info in model.model_fields.items():
            variable = variable_name(prefix, field)
            self._known.add(variable)
            value = self._variables.get(variable, "").strip() or None
            if is_secret(info):
                self._known.add(f"{variable}_FILE")
                before = len(self.problems)
                value = self._from_file(variable, value)
                if value is not None and not value.isprintable():
                    # It would break the header or address that carries it, long after the start.
                    self.problems.append(f"{variable} must be one line without control characters")
                if len(self.problems) > before:
                    unread.add(field)
                    continue
            if value is not None:
                values[field] = value
        try:
            group = model.model_validate(values)
        except ValidationError as error:
            for problem in error.errors(include_input=False, include_url=False):
                field = str(problem["loc"][0]) if problem["loc"] else ""
                if field not in unread:  # told already, and better
                    variable = variable_name(prefix, field)
                    self.problems.append(f"{variable} {_plainly(problem['type'], problem['msg'])}")
            return None
        return None if unread else group

    def accounts(self, prefix: str) -> list[str]:
        """Names of further accounts: `MUSIC` where `PREFIX__MUSIC__FIELD` is set."""
        self._prefixes.add(f"{prefix}_")
        names = set()
        for variable in self._variables:
            parts = variable.split("__")
            if len(parts) == 3 and parts[0] == prefix and ACCOUNT.fullmatch(parts[1]):
                names.add(parts[1])
        return sorted(names)

    def mentions(self, prefix: str, fields: tuple[str, ...]) -> bool:
        """Whether any of the variables of these *fields* is set to something."""
        names = (variable_name(prefix, field) for field in fields)
        return any(
            self._variables.get(f"{name}{end}", "").strip()
            for name in names
            for end in ("", "_FILE")
        )

    def addresses(self, prefix: str) -> bool:
        """Whether any variable begins with *prefix*, as those of one network do."""
        return any(variable.startswith(f"{prefix}_") for variable in self._variables)

    def resembles(self, prefix: str) -> bool:
        """Whether a variable that nobody knows yet begins almost like *prefix*."""
        unknown = set(self._variables) - self._known
        heads = {variable.partition("_")[0] for variable in unknown if "_" in variable}
        return any(_alike(prefix, head) for head in heads)

    def learn(self, prefix: str, model: type[BaseModel]) -> None:
        """Know the names of a group that is not in use, so that a misspelt one is recognised."""
        self._prefixes.add(f"{prefix.partition('__')[0]}_")
        for field, info in model.model_fields.items():
            self._known.add(variable_name(prefix, field))
            if is_secret(info):
                self._known.add(f"{variable_name(prefix, field)}_FILE")

    def finish(self) -> None:
        """Raises SettingsError if anything was wrong; fills *warnings*."""
        for variable in sorted(set(self._variables) - self._known):
            near = self._nearest(variable)
            if near:
                self.problems.append(f"{variable}: no such setting; did you mean {near}?")
            elif self._ours(variable):
                self.warnings.append(f"{variable}: no such setting, ignored")
        if self.problems:  # what two groups share is told once
            raise SettingsError([*dict.fromkeys(self.problems)])

    def _ours(self, variable: str) -> bool:
        return variable.startswith(tuple(self._prefixes))

    def _nearest(self, variable: str) -> str | None:
        """The setting that *variable* looks like a misspelling of, with its account's name."""
        parts = variable.split("__")
        plain, account = variable, ""
        if len(parts) == 3:
            plain, account = f"{parts[0]}_{parts[2]}", parts[1]
        ours = self._ours(variable)
        near = difflib.get_close_matches(plain, self._known, 1, 0.85 if ours else 0.9)
        if not near:
            return None
        head, found = plain.partition("_")[0], near[0].partition("_")[0]
        # A stranger's variable must look almost like ours before we refuse to start over it.
        if not ours and not _alike(head, found):
            return None
        account = re.sub(r"[^A-Z0-9]+", "_", account.upper()).strip("_")
        named = near[0].replace("_", f"__{account}__", 1) if account else near[0]
        return near[0] if named == variable else named

    def _from_file(self, variable: str, value: str | None) -> str | None:
        path = self._variables.get(f"{variable}_FILE", "").strip()
        if not path:
            return value
        if value is not None:
            self.problems.append(f"{variable} and {variable}_FILE are both set: keep one")
            return None
        try:
            content = self._contents.get(variable) or secretfile.read(Path(path))
        except Unreadable as problem:
            self.problems.append(f"{variable}_FILE {problem}")
            return None
        self.files[variable] = SecretFile(Path(path), content)
        return content


def _alike(one: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, one, other).ratio() >= 0.75


def variable_name(prefix: str, field: str) -> str:
    """`MASTODON` and `access_token` make `MASTODON_ACCESS_TOKEN`; `MASTODON__MUSIC` doubles it."""
    return f"{prefix}{'__' if '__' in prefix else '_'}{field.rstrip('_').upper()}"


def is_secret(info: FieldInfo) -> bool:
    return _mentions_secret(info.annotation)


def is_address(info: FieldInfo) -> bool:
    """Whether it is the address of something on the web, and no secret."""
    return any(
        getattr(one, "func", None) in (_safe_address, _stream_address) for one in info.metadata
    )


def _mentions_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_mentions_secret, get_args(annotation)))


def secrets_of(group: BaseModel) -> Iterator[str]:
    """Every secret value in *group*, for redaction only."""
    for field in type(group).model_fields:
        value = getattr(group, field)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()


def reference(prefix: str, model: type[BaseModel], *, but: frozenset[str] = frozenset()) -> str:
    """A table of the variables of *model*, as Markdown."""
    lines = ["| Variable | Default | |", "|---|---|---|"]
    for field, info in model.model_fields.items():
        if field not in but:
            name = f"`{variable_name(prefix, field)}`"
            if is_secret(info):
                name += " (secret)"
            lines.append(f"| {name} | {_default(info)} | {info.description} |")
    return "\n".join(lines)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default = info.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default in (None, "", ()):
        return "none"
    return f"`{show_duration(default) if isinstance(default, timedelta) else default}`"


def _plainly(kind: str, message: str) -> str:
    """pydantic's message in our words, which never quote the value."""
    if kind == "missing":
        return "is missing"
    if kind == "int_parsing":
        return "must be a whole number"
    if kind == "literal_error":
        return message.replace("Input should be", "must be")
    return message.removeprefix("Value error, ").replace("Input should be", "must be")
