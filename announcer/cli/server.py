"""`setup`: what an Owncast server needs to tell us, and we to speak in its chat."""

import secrets
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
from pydantic import BaseModel

from announcer import envfile, rehearsal, wire, wiring
from announcer.admin import Admin
from announcer.arrangement import DOOR, SCOPE, SCOPES, Arrangement, Wish
from announcer.cli import accounts, ground
from announcer.cli.asking import Person
from announcer.cli.joining import writable
from announcer.connect import Question
from announcer.network import DeliveryError, Network, Refused
from announcer.networks.owncast import Owncast
from announcer.settings import BaseUrl, Environment, variable_name
from announcer.wiring import OwncastServer, Settings

ADDRESS = Question(
    "address",
    "Address of this Announcer, as Owncast reaches it: https://live-bot.example, or "
    "http://127.0.0.1:8000 on the same machine",
)
PASSWORD = Question("admin_password", "Owncast's admin password (it is not kept)", secret=True)
ATTEMPTS = 3
"""With a wrong password, of somebody who types it."""


class Addresses(BaseModel):
    """Both get secrets, and so must not be overheard."""

    owncast: BaseUrl | None = None
    address: BaseUrl | None = None


@click.command()
@click.option("--address", metavar="URL", help="Address of this Announcer, as Owncast reaches it.")
@click.option("--owncast", metavar="URL", help="Where its admin API is, if not at `OWNCAST_URL`.")
@click.option("--channel", default=wiring.DEFAULT, help="Which Owncast server, by its name.")
@click.option("--admin-password-file", metavar="FILE", help="Its password; `-`: standard input.")
@click.option("--no-chat", is_flag=True, help="Make no access token for the chat.")
@click.option("--yes", is_flag=True, help="Do it without asking first.")
@ground.with_json
def setup(
    address: str | None,
    owncast: str | None,
    channel: str,
    admin_password_file: str | None,
    no_chat: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make the webhook and the access token on your Owncast server, and write them into `.env`."""
    settings = ground.settings()
    if channel not in settings.channels:
        ground.stop([f"--channel: there is no Owncast server {channel}"])
    visit = Visit(settings, channel)
    person = Person({"address": address, "admin_password": admin_password_file})
    url = visit.where(owncast)
    visit.wish(_address(person, url, settings), no_chat=no_chat)
    if ground.has_person() and not yes:
        what = "a webhook" if no_chat else "a webhook and an access token for the chat"
        click.echo(f"This will make {what} at {url}, unless they are there.", err=True)
        click.confirm("Go on?", default=True, abort=True, err=True)
    arrangement = visit.look(url, person)
    wrote = visit.arrange(arrangement)
    if not as_json:
        for words in arrangement.found:
            click.echo(f"found   {words}")
        for words in arrangement.made:
            click.echo(f"made    {words}")
        if wrote:
            click.echo(f"wrote   {', '.join(wrote)} to .env")
    notes = [*arrangement.notes, *visit.whether_reached()]
    well = True
    found: list[dict[str, Any]] = []
    if not no_chat:
        well, found = accounts.look(ground.settings(), silent=as_json, only=[visit.chat])
    if as_json:
        ground.say(
            {
                "found": arrangement.found,
                "made": arrangement.made,
                "wrote": wrote,
                "notes": notes,
                "well": well,
                "check": found,
            }
        )
    else:
        for words in notes:
            click.echo(f"note: {wire.plain(words)}")
    ground.leave(well=well)


def _address(person: Person, url: str, settings: Settings) -> str:
    """Where Owncast finds us: on the same machine nobody has to know."""
    here = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    default = rehearsal.place(settings.service) if here else ""
    answer = person.ask(ADDRESS, default, lambda given: _wrong("address", given, ADDRESS.flag))
    return answer.rstrip("/").removesuffix(DOOR)


def _wrong(field: str, value: str, flag: str) -> str:
    env = Environment({f"X_{field.upper()}": value})
    if env.group("X", Addresses) is not None:
        return ""
    return f"{flag} {env.problems[0].partition(' ')[2]}"


class Visit:
    """One run for one Owncast server."""

    def __init__(self, settings: Settings, channel: str) -> None:
        self._settings, self._server = settings, settings.channels[channel]
        plain = channel == wiring.DEFAULT
        self._prefix = "OWNCAST" if plain else f"OWNCAST__{channel.upper()}"
        self.chat = "owncast" if plain else f"owncast.{channel}"
        self._new: dict[str, str] = {}

    def where(self, given: str | None) -> str:
        """Of the admin API."""
        url, flag = (given, "--owncast") if given else (self._server.url, self._name("url"))
        if not url:
            words = f"{self._name('url')} or --owncast is missing: the address of Owncast"
            ground.stop([words, *ground.where_to_begin()])
        if problem := _wrong("owncast", url, flag):
            ground.stop([problem])
        url = url.rstrip("/").removesuffix("/admin")  # as it is copied from there
        if not self._server.url:
            self._new[self._name("url")] = url
        self._flag = flag
        return url

    def wish(self, address: str, *, no_chat: bool) -> None:
        network: Network | None = self._settings.destinations.get(self.chat)
        chat = network if isinstance(network, Owncast) else None
        token = chat.access_token.get_secret_value() if chat else ""
        self._wish = Wish(
            address,
            secret=self._secret("webhook_secret"),
            webhook_token=self._secret("webhook_token"),
            chat=bool(chat and chat.answers_to),
            token=None if no_chat else token,
            scope=SCOPES.get(chat.chat_as, SCOPE) if chat else SCOPE,
        )
        writable([*self._new] if no_chat or token else [*self._new, self._name("access_token")], {})

    def look(self, url: str, person: Person) -> Arrangement:
        """What is there. Stops with what to do by hand if nobody can look."""
        self._url = url
        for attempt in range(1, ATTEMPTS + 1):
            arrangement = Arrangement(Admin(url, person.ask(PASSWORD)), self._wish)
            try:
                with ground.waiting(f"asking {url}"):
                    arrangement.look()
            except Refused as refusal:
                if not refusal.closes:
                    self._by_hand(str(refusal))
                if attempt == ATTEMPTS or not ground.has_person():
                    ground.fail(f"{url}: {refusal} (the user is admin)")
                click.secho(f"{refusal}", fg="red", err=True)
            except DeliveryError as problem:
                self._by_hand(str(problem))
            else:
                return arrangement
        raise AssertionError  # the last attempt returned or stopped

    def arrange(self, arrangement: Arrangement) -> list[str]:
        """Make what lacks and write it down, or leave everything as it was. The variables."""
        try:
            with ground.waiting(f"setting up {self._url}"):
                arrangement.make()
            values = dict(self._new)
            for field, needed in (
                ("webhook_secret", arrangement.makes_webhook and arrangement.signs),
                ("webhook_token", arrangement.makes_webhook and not arrangement.signs),
            ):
                if not needed:  # a door that nobody needs stays shut
                    values.pop(self._name(field), None)
            if arrangement.token:
                values[self._name("access_token")] = arrangement.token
            if values:
                envfile.write(values)
        except BaseException as problem:
            left = arrangement.undo()
            for words in left:
                click.echo(f"{self._url}: {words}", err=True)
            undone = "" if left else "; nothing was left behind"
            if isinstance(problem, envfile.Unusable):
                ground.fail(f".env {problem}{undone}")
            if isinstance(problem, DeliveryError):
                ground.fail(f"{self._url}: {wire.plain(problem)}{undone}")
            raise
        arrangement.finish()
        return list(values)

    def whether_reached(self) -> list[str]:
        """A wrong address is the mistake that nobody notices before the first stream."""
        address = self._wish.address
        try:
            with wire.Session(address, total=5) as session, wire.answered():
                answer = session.get(f"{address}/healthz")
        except DeliveryError as problem:
            words = f"nobody answers at {address} from here yet ({problem})"
            return [f"{words}: `announcer serve` is to run there"]
        if answer.status_code == 200:
            return []
        return [f"{address} answers {answer.status_code} from here: is that Announcer?"]

    def _secret(self, field: str) -> str:
        """What is set, or a new one."""
        there = getattr(self._server, field)
        if there is not None:
            return str(there.get_secret_value())
        return self._new.setdefault(self._name(field), secrets.token_urlsafe(24))

    def _name(self, field: str) -> str:
        assert field in (*OwncastServer.model_fields, "access_token")  # noqa: S101  # ours
        return variable_name(self._prefix, field)

    def _by_hand(self, problem: str) -> NoReturn:
        """How to go on without the admin API; the secrets for it are in `.env` then."""
        try:
            envfile.write(self._new)
        except envfile.Unusable as trouble:
            ground.fail(f".env {trouble}")
        secret, token = self._name("webhook_secret"), self._name("webhook_token")
        click.echo(
            f"The admin API of {self._url} can not be used: {wire.plain(problem)}\n"
            f"Is that Owncast? See {self._flag}; with --owncast it is looked for elsewhere.\n\n"
            f"By hand: open {self._url}/admin > Integrations > Webhooks > Create Webhook, and "
            "choose\n"
            '"When a stream starts", "When a stream stops" and "When a stream\'s title is updated".'
            "\n\n"
            f"  Owncast 0.3 or later:  {self._wish.url(signed=True)}\n"
            f"                         with the secret that {secret} in .env has\n"
            f"  older:                 {self._wish.url(signed=True)}/TOKEN\n"
            f"                         where TOKEN is what {token} in .env has\n",
            err=True,
        )
        if self._wish.token == "":
            click.echo(
                "For the chat: Integrations > Access Tokens > Create Access Token, with the right\n"
                f"to send system messages, and put it into {self._name('access_token')} in .env.\n",
                err=True,
            )
        ground.fail("nothing was changed at Owncast")
