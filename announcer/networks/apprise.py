"""Everything else that Apprise speaks, one way only: it tells, and never looks back.

Sources: caronc/apprise 2.2 (apprise.py notify, dispatch.py, result.py, plugins/base.py).
"""

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from apprise import Apprise as Library
from apprise import AppriseAsset, NotifyBase, NotifyFormat
from apprise.attachment.memory import AttachMemory
from apprise.manager_attachment import AttachmentManager
from apprise.manager_plugins import NotificationManager
from apprise.result import AppriseResultStatus, NotifyResult
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    DeliveryError,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Repeat,
    TryLater,
    Unsure,
    break_mentions,
)
from announcer.settings import setting

TRIES = 3
"""Of a post. What Apprise calls a failure is a guess, and each guess may be a second post."""
LONGEST, SHORTEST = 1000, 200
"""Units of a text: ours, since a push message is no article; and what a short message may split."""
_KEPT = 20
"""Posts of which we remember who has taken them."""

_BETWEEN = re.compile(r",?\s+|,(?=[A-Za-z][A-Za-z0-9]*://)")
_TAG = re.compile(r"<(?=\S)")
_STATUS = re.compile(r"\berror=([1-5]\d\d)\b")
"""How 160 of its 173 plugins end the line that says what the other side answered."""
_NEVER_LEFT = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "SSLCertVerificationError",
)
"""Classes of urllib3 and ssl that its plugins quote where no connection came about."""

_lines = logging.getLogger("apprise")
_lines.setLevel(logging.DEBUG)  # they say what its result does not
_lines.propagate = False  # and quote hosts, and with them the operator's secrets
_lines.addHandler(logging.NullHandler())

# An address that names a file or a further address to read can not be used: only pictures are read,
# and from memory. Of the whole process, which has no other use for Apprise.
AttachmentManager().remove(  # type: ignore[no-untyped-call]  # as they ship it
    "file", "http", "https", unload=False
)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports what Python 3.13 has no more
    NotificationManager().load_modules()  # type: ignore[no-untyped-call]  # as they ship it


class Apprise(Network):
    """Tells any of the services that Apprise knows, for those that have no section of their own.

    1. Look the service up at https://appriseit.com/services/ and make its address, such as
       `gotify://gotify.example/token` or `signal://localhost:8080/+15550100/+15550101`. Where there
       is a form that ends in `s`, such as `gotifys://`, take it: it is the one that encrypts.
    2. Set `APPRISE_URLS` to the address, or to several with spaces between them. They are
       passwords, too.
    3. Install `announcer[apprise]` if you do not use the container.

    Be warned: this is the lesser way, and a network that has a section of its own here is better
    used by that. Apprise tells us neither an id nor an address of a post, so nothing is edited,
    answered or taken away, and the end of a stream is told by a second post or not at all. It says
    no more than that something failed, and we guess from its log whether anything is up: what
    surely is not is tried again, three times in all, and only at the services that have not taken
    it; what may be is left to you. `APPRISE_WHEN_UNSURE=repeat` chooses the other risk.

    `announcer check` sees that the addresses can be read, but not that they work: send a test.
    Apprise opens its own connections, so `ANNOUNCER_PROXY` does not count for it. Of what an
    address can ask for, `retry=`, `optional=`, `tag=`, `redirect=`, `cto=`, `rto=` and `emojis=`
    have no effect, and one that names a file or a further address to read (`template=`,
    `keyfile=`) is refused or fails.
    """

    name = "apprise"
    title = "Apprise"
    repeat = Repeat.DOUBLES
    describes_pictures = False
    unit = "UTF-16 units"
    usual_limit = LONGEST

    urls: SecretStr = setting("Addresses of services as Apprise writes them, with spaces between.")

    @field_validator("urls")
    @classmethod
    def _can_be_used(cls, urls: SecretStr) -> SecretStr:
        addresses = _split(urls)
        for number, address in enumerate(addresses, start=1):
            if _service(address) is None:
                raise ValueError(f"has an address that Apprise can not use: number {number}")
        if len(set(addresses)) < len(addresses):
            raise ValueError("has the same address twice")
        return urls

    def publish(self, post: Post) -> Receipt:
        if wire.turn_is_over():
            raise TryLater("our turn is over")
        told, services = self._recalled(post), self._services()
        held = told.unsure if self.when_unsure == "stop" else []
        left = {mark: services[mark] for mark in services if mark not in told.taken + held}
        problems = _tell(left, post.text, post.picture)
        bare = _refused(problems) if post.picture else {}
        if bare:
            problems = {mark: problems[mark] for mark in problems if mark not in bare}
            problems |= _tell({mark: services[mark] for mark in bare}, post.text, None)
        told.taken += [mark for mark in left if mark not in problems]
        problems |= {mark: Unsure("no clear answer before") for mark in held if mark in services}
        self._judge(post, told, problems, _list(services, problems))
        notes = {
            "not told": problems,
            "without its picture": {mark: bare[mark] for mark in bare if mark not in problems},
        }
        said = (f"{what}: {_list(services, which)}" for what, which in notes.items() if which)
        return Receipt(post.key, note="; ".join(said))

    def _judge(
        self, post: Post, told: "_Told", problems: Mapping[str, DeliveryError], reasons: str
    ) -> None:
        """Returns once this is over and somebody has it. What a further try has to know is kept;
        after the last one that is only who has it, since whoever then tries again is a person.
        """
        tries, over = told.tries + 1, told.tries + 1 >= TRIES
        later = [one.wait for one in problems.values() if isinstance(one, TryLater)]
        unsure = [mark for mark, one in problems.items() if isinstance(one, Unsure)]
        insists = self.when_unsure == "repeat"
        if not over and (later or (unsure and insists)):
            self._keep(post, _Told(tries, told.taken, unsure))
            raise Unsure(reasons) if unsure and insists else TryLater(reasons, max(later))
        self._keep(post, _Told(taken=told.taken))
        if unsure and not (insists and post.doubtful_since):
            raise Unsure(reasons)
        if unsure or not told.taken:
            spent = f"given up after {tries} tries: " if later or unsure else ""
            closes = [isinstance(one, Refused) and one.closes for one in problems.values()]
            raise Refused(f"{spent}{reasons}", closes=all(closes))

    def check(self) -> Account:
        names = ", ".join(str(one.service_name) for one in self._services().values())
        return Account(names, notes=("nothing is proven: Apprise can only post",))

    def limit(self) -> int:
        longest = [service.body_maxlen for service in self._services().values()]
        return max(SHORTEST, min(LONGEST, *longest))

    def measure(self, text: str) -> int:
        return len(text.encode("utf-16-le", errors="surrogatepass")) // 2

    def escape(self, text: str) -> str:
        """Slack's `<!channel>` and Discord's `<@1>` are mentions in a plain text, too."""
        return _TAG.sub(f"<{ZERO_WIDTH_SPACE}", break_mentions(text))

    def _services(self) -> dict[str, NotifyBase]:
        """New ones for each use: they hold logins and times, and two posts may leave at once."""
        made = ((address, _service(address)) for address in _split(self.urls))
        return {_mark(address): service for address, service in made if service is not None}

    def _recalled(self, post: Post) -> "_Told":
        known = json.loads(self._memory.get("posts") or "{}").get(_name(post))
        return _Told(**known) if known else _Told()

    def _keep(self, post: Post, told: "_Told") -> None:
        posts = json.loads(self._memory.get("posts") or "{}")
        posts.pop(_name(post), None)
        posts[_name(post)] = asdict(told)
        self._memory.put("posts", json.dumps(dict(list(posts.items())[-_KEPT:])))


@dataclass
class _Told:
    """What is known of a post: how often it was tried, and the marks of those who have it, and of
    those who may have it.
    """

    tries: int = 0
    taken: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


def _name(post: Post) -> str:
    return f"{post.key}#{post.edition}"


def _split(urls: SecretStr) -> list[str]:
    """Each address; a comma inside one belongs to it."""
    return [one for one in _BETWEEN.split(urls.get_secret_value()) if one]


def _mark(address: str) -> str:
    """Names an address and tells nothing of it: addresses are secrets, and this is stored."""
    return hashlib.scrypt(address.encode(), salt=b"apprise", n=2**10, r=8, p=1, dklen=9).hex()


def _service(address: str) -> NotifyBase | None:
    """Ready to tell, by our rules and not by those of its address; None if it is of no use."""
    service = Library.instantiate(address, asset=_asset())
    if service is None:
        return None
    service.retry, service.optional, service.redirects = 0, False, False
    service.socket_connect_timeout, service.socket_read_timeout = wire.CONNECT, wire.READ
    return service


def _asset() -> AppriseAsset:
    return AppriseAsset(
        app_id="Announcer",
        app_desc="Go-live announcements for Owncast",
        app_url="https://owncast.online",
        image_url_mask="",
        image_url_logo="",
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
        interpret_emojis=False,
        allow_templates=False,
    )


def _tell(
    services: Mapping[str, NotifyBase], text: str, picture: Picture | None
) -> dict[str, DeliveryError]:
    """Tells all of them at once. Those that have not surely taken it, with what that means."""
    if not services:
        return {}
    everybody = Library(list(services.values()), asset=_asset())
    title, body = _parts(text, services.values())
    attached = (
        AttachMemory(  # type: ignore[no-untyped-call]  # as they ship it
            content=picture.data, name=picture.file_name, mimetype=picture.mime
        )
        if picture
        else None
    )
    with everybody.notify(
        body,
        title,
        body_format=NotifyFormat.TEXT,
        attach=attached,
        timeout=wire.TOTAL,
        log_level=logging.DEBUG,
    ) as said:
        if len(said) != len(services):
            return dict.fromkeys(services, Unsure("Apprise does not say what became of it"))
        meant = {mark: _meaning(one) for mark, one in zip(services, said, strict=True)}
    return {mark: problem for mark, problem in meant.items() if problem is not None}


def _parts(text: str, services: Iterable[NotifyBase]) -> tuple[str, str]:
    """The first line as the title, if there are more and all have room for it. Where there are no
    titles, Apprise puts it back.
    """
    first, _, rest = text.partition("\n")
    room = [service.title_maxlen for service in services if service.title_maxlen > 0]
    if not rest.strip() or any(len(first) > most for most in room):
        return "", text
    return first, rest.lstrip("\n")


def _meaning(result: NotifyResult) -> DeliveryError | None:
    """What became of it at one service. Nothing that it says is repeated: it quotes addresses.

    Anything but a clear sign that nothing is up is Unsure: an address may stand for several people,
    and a post for several requests.
    """
    if result.status is AppriseResultStatus.SUCCESS:
        return None
    if result.status is AppriseResultStatus.TIMEOUT:
        return Unsure("no answer in time")
    lines = list(result.logs())
    statuses = {int(code) for line in lines for code in _STATUS.findall(line.message)}
    if result.weight != 1 or any(line.level == "INFO" for line in lines):  # "Sent ... notification"
        return Unsure("it failed, and some of it may be up")
    if len(statuses) == 1:
        return wire.from_status(statuses.pop(), "", {})
    if not statuses and any(sign in line.message for line in lines for sign in _NEVER_LEFT):
        return TryLater("no connection")
    return Unsure("it failed, and Apprise does not say how")


def _refused(problems: Mapping[str, DeliveryError]) -> dict[str, DeliveryError]:
    """Those that may take it in another form."""
    return {
        mark: problem
        for mark, problem in problems.items()
        if isinstance(problem, Refused) and not problem.closes
    }


def _list(services: Mapping[str, NotifyBase], problems: Mapping[str, DeliveryError]) -> str:
    return "; ".join(f"{services[mark].service_name} ({problems[mark]})" for mark in problems)
