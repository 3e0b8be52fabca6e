"""What an Owncast server is to have for us, made once: a webhook, and an access token."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from announcer.admin import AccessToken, Admin, Version, Webhook
from announcer.network import DeliveryError, Refused

NAME = "Announcer"
"""Of the access token."""
SCOPE = "CAN_SEND_SYSTEM_MESSAGES"
SCOPES = {"user": "CAN_SEND_MESSAGES"}
"""Of the access token, by the way in which the chat is told where it is not the usual one."""
STARTED, STOPPED, SAID = "STREAM_STARTED", "STREAM_STOPPED", "CHAT"
RETITLED = "STREAM_TITLE_UPDATED"
TITLES_SINCE, SECRETS_SINCE = (0, 1, 0), (0, 3, 0)
"""Versions: an older one refuses a webhook for titles, and ignores a secret."""
DOOR = "/webhooks/owncast"


@dataclass(frozen=True, slots=True)
class Wish:
    """What there should be. *address* is Announcer's, as Owncast reaches it. *chat* says that we
    are to hear the chat. *token* is our access token for it, empty if we have none yet, None if
    none is wanted.
    """

    address: str
    secret: str = field(repr=False)
    webhook_token: str = field(repr=False)
    chat: bool = False
    token: str | None = field(default=None, repr=False)
    scope: str = SCOPE

    def url(self, *, signed: bool) -> str:
        return f"{self.address}{DOOR}" + ("" if signed else f"/{self.webhook_token}")


class Arrangement:
    """A wish and what the server has: first `look`, then `make`, then `finish`, or `undo`. All but
    the last raise DeliveryError; *found*, *made* and *notes* tell people what was done.
    """

    def __init__(self, admin: Admin, wish: Wish) -> None:
        self._admin, self._wish = admin, wish
        self.found: list[str] = []
        self.made: list[str] = []
        self.notes: list[str] = []
        self.token = ""
        """The access token for the chat, if it is one that we did not have."""
        self._version: Version | None = None
        self._webhooks: list[Webhook] = []
        self._tokens: list[AccessToken] = []
        self._asked: set[str] = set()

    def look(self) -> None:
        """Changes nothing. Raises Refused if the wish can not come true."""
        self._version = self._admin.version()
        self._webhooks = self._admin.webhooks()
        if self._wish.token is None:
            return
        self._tokens = self._admin.tokens()
        if self._wish.token and self._wish.token not in {one.value for one in self._fit()}:
            raise Refused(
                "it has no access token with the right for the chat that is the one in "
                "OWNCAST_ACCESS_TOKEN: take that variable away and run this again for a new one"
            )

    def make(self) -> None:
        """What lacks."""
        needed = set(self._events())
        if self._version is None:
            needed.discard(RETITLED)  # it may be one that refused that, last time
        if any(one.events >= needed for one in self._ours()):
            self.found.append(f"the webhook for {self._wish.address}")
        else:
            self._make_webhook()
        others = {urlsplit(one.url).netloc for one in self._webhooks if DOOR in one.url}
        for host in sorted(others - {urlsplit(self._wish.address).netloc}):
            self.notes.append(f"another webhook is for an Announcer at {host}")
        if self._wish.token is not None:
            self._make_token()

    def finish(self) -> None:
        """Take away what was replaced, once all else is done: there is one at every moment."""
        for old in self._ours() if self.makes_webhook else ():
            try:
                self._admin.delete_webhook(old)
            except DeliveryError as problem:
                self.notes.append(f"an older webhook of ours is still there: {problem}")

    def undo(self) -> list[str]:
        """Take away what was made, even where no answer told so. What is left, for people."""
        left = []
        for what, take_away in (("webhook", self._undo_webhook), ("token", self._undo_token)):
            try:
                if what in self._asked:
                    take_away()
            except DeliveryError as problem:
                left.append(f"look for a {what} that was just made, and delete it: {problem}")
        return left

    @property
    def makes_webhook(self) -> bool:
        return "webhook" in self._asked

    @property
    def signs(self) -> bool:
        """Whether the server does, once `look` has asked it."""
        return bool(self._wish.secret and self._version and self._version >= SECRETS_SINCE)

    @property
    def _knows_titles(self) -> bool:
        return self._version is None or self._version >= TITLES_SINCE

    def _events(self) -> list[str]:
        return [STARTED, STOPPED, *[RETITLED] * self._knows_titles, *[SAID] * self._wish.chat]

    def _ours(self) -> list[Webhook]:
        """By their address: with the token, or, where the server signs, without."""
        urls = {self._wish.url(signed=signed) for signed in {False, self.signs}}
        return [one for one in self._webhooks if one.url in urls]

    def _make_webhook(self) -> None:
        secret, wanted = self._wish.secret if self.signs else "", self._events()
        url = self._wish.url(signed=self.signs)
        self._asked.add("webhook")
        try:
            self._admin.create_webhook(url, wanted, secret)
        except Refused as refusal:
            # Nobody can ask which events a server knows; only that for titles came later.
            if self._version is not None or refusal.closes:
                raise
            wanted.remove(RETITLED)
            self._admin.create_webhook(url, wanted, secret)
        how = "signed with OWNCAST_WEBHOOK_SECRET" if secret else "with OWNCAST_WEBHOOK_TOKEN"
        self.made.append(f"a webhook for {self._wish.address} ({', '.join(wanted)}), {how}")
        if RETITLED not in wanted:
            self.notes.append("this Owncast tells no new titles: the first one stays in the posts")

    def _fit(self) -> list[AccessToken]:
        return [one for one in self._tokens if self._wish.scope in one.scopes]

    def _make_token(self) -> None:
        known = next((one for one in self._fit() if one.name == NAME and one.value), None)
        if self._wish.token:
            self.found.append("the access token for the chat")
        elif known:
            self.found.append("an access token for the chat, from an earlier time")
            self.token = known.value
        else:
            self._asked.add("token")
            self.token = self._admin.create_token(NAME, self._wish.scope).value
            self.made.append(f"an access token for the chat ({self._wish.scope})")

    def _undo_webhook(self) -> None:
        before = {one.id for one in self._webhooks}
        url = self._wish.url(signed=self.signs)
        for one in self._admin.webhooks():
            if one.url == url and one.id not in before:
                self._admin.delete_webhook(one)

    def _undo_token(self) -> None:
        before = {one.value for one in self._tokens}
        for one in self._admin.tokens():
            if one.name == NAME and one.value not in before:
                self._admin.delete_token(one)
