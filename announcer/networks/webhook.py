"""A webhook of the operator's own, signed as Standard Webhooks says, so that programs can join in.

Source: standard-webhooks/standard-webhooks spec/standard-webhooks.md, version 1.0.0.
"""

import hashlib
import hmac
import json
import time
from base64 import b64decode, b64encode
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr, field_validator

from announcer import wire
from announcer.network import (
    Account,
    DeliveryError,
    Moment,
    Network,
    Post,
    Receipt,
    Refused,
    Repeat,
    Revises,
)
from announcer.settings import SecretUrl, setting

LIVE, RETITLED, RESUMED, ENDED = (
    f"stream.{what}" for what in ("live", "retitled", "resumed", "ended")
)
TEST, CHECK, ALERT = (f"announcer.{what}" for what in ("test", "check", "alert"))
PREFIX, SHORTEST, LONGEST = "whsec_", 24, 64
"""Of a secret: how it begins, and how many random bytes it has."""
_CHANGES = 8
"""Changes of which the body is remembered: far more than are ever in doubt."""


class Webhook(Network, Revises):
    """Tells a program of yours, such as n8n, Home Assistant or a game server, by an HTTP request.

    1. Make a webhook there that takes a POST with JSON, and set `WEBHOOK_URL` to its address.
       Plain http is for your own network only.
    2. Make a secret with `echo whsec_$(openssl rand -base64 32)`, set `WEBHOOK_SECRET` to it, and
       give it to the program, so that it can tell our requests from others. The signature is that
       of [Standard Webhooks](https://www.standardwebhooks.com), for which there are libraries.
    3. To change the secret later, set `WEBHOOK_SECRET_PREVIOUS` to the old one until the program
       knows the new one: until then every request is signed with both.
    4. Run `announcer check`: the program gets an event of the type `announcer.check`.

    An event is JSON:

        {
          "type": "stream.live",
          "timestamp": "2026-11-23T19:15:00+00:00",
          "data": {
            "broadcast": "20261123-1915-5f0c2b1a",
            "text": "Kestrel Workshop is live: a dovetail drawer https://live.example.org",
            "channel": "default",
            "name": "Kestrel Workshop",
            "title": "a dovetail drawer",
            "summary": "Woodwork by hand",
            "url": "https://live.example.org",
            "tags": ["woodwork"],
            "nsfw": false,
            "started_at": "2026-11-23T19:15:00+00:00",
            "ended_at": null,
            "peak_viewers": null,
            "replay_url": ""
          }
        }

    Its type is `stream.live`, `stream.retitled`, `stream.ended` or `stream.resumed` (it ended, and
    is back); `announcer.test` is a post that is only a test, `announcer.alert` tells the operator
    of trouble and has only the `text`. Ignore types that you do not know. Where no answer came the
    same event comes again, with the same `webhook-id` and the same body: do nothing the second
    time. Any status from 200 to 299 says that you have it, 410 that you want no more.
    """

    name = "webhook"
    title = "Webhook"
    repeat = Repeat.HARMLESS
    ends_by = "edit"
    shows_pictures = False
    unit = "characters"
    usual_limit = 2000  # ours: the specification wants less than 20 kB in all

    url: SecretUrl = setting("Address of the webhook; it is a secret, too.")
    secret: SecretStr = setting("Secret that requests are signed with: `whsec_` and base64.")
    secret_previous: SecretStr | None = setting(
        "The former secret, as long as the program may know only that.", default=None
    )

    @field_validator("secret", "secret_previous")
    @classmethod
    def _is_a_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            _key(secret)
        return secret

    def publish(self, post: Post) -> Receipt:
        told = _type(post)
        event = _id(post.key, str(post.edition))
        self._send(event, _body(told, post))
        return Receipt(event, extra={"event": event, "told": told})

    def revise(self, receipt: Receipt, post: Post) -> Receipt:
        before = receipt.extra.get("event", receipt.id)
        told = RETITLED
        if post.mood is Moment.ENDED:
            told = ENDED
        elif receipt.extra.get("told") == ENDED:
            told = RESUMED
        # From the event before: a title may be given up and come back.
        event = _id(before, told, post.text, post.show.title if post.show else "")
        self._send(event, self._frozen(event, _body(told, post)))
        return replace(receipt, extra={"event": event, "told": told})

    def check(self) -> Account:
        """Tells the program so: nothing else shows that the address and the secret are right."""
        with wire.nothing_posted():
            body = json.dumps({"type": CHECK, "timestamp": _now().isoformat(), "data": {}})
            answer = self._send(_id(CHECK, str(time.time_ns())), body)
        if answer.content.lstrip().startswith(b"<"):
            raise Refused("it answers with a page for people, and not like a webhook")
        return Account(f"a webhook at {urlsplit(self.url.get_secret_value()).hostname}")

    def measure(self, text: str) -> int:
        return len(text)

    def _send(self, event: str, body: str) -> requests.Response:
        address, at = self.url.get_secret_value(), str(int(_now().timestamp()))
        secrets = [self.secret, self.secret_previous]
        signed = f"{event}.{at}.{body}".encode()
        seals = [hmac.digest(_key(one), signed, "sha256") for one in secrets if one]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event,
            "webhook-timestamp": at,
            "webhook-signature": " ".join(f"v1,{b64encode(seal).decode()}" for seal in seals),
        }
        with wire.answered(), wire.Session(address) as session:
            answer = session.post(address, data=body.encode(), headers=headers)
        if answer.status_code >= 300:
            raise _meaning(answer)
        return answer

    def _frozen(self, event: str, body: str) -> str:
        """The body that *event* left with first. A change is worded anew for every try, and the
        receiver may know it already.
        """
        bodies: dict[str, str] = json.loads(self._memory.get("changes") or "{}")
        if event not in bodies:
            bodies[event] = body
            self._memory.put("changes", json.dumps(dict(list(bodies.items())[-_CHANGES:])))
        return bodies[event]


def _type(post: Post) -> str:
    if post.test:
        return TEST
    if post.moment is Moment.ALERT:
        return ALERT
    return LIVE if post.mood is Moment.LIVE else ENDED


def _body(told: str, post: Post) -> str:
    """With the time at which it happened, where that is known, else at which it was worded."""
    show, at = post.show, post.worded_at
    if told == LIVE:
        at = post.began_at
    elif told == ENDED and show and show.ended_at:
        at = show.ended_at
    data: dict[str, Any] = {"text": post.text}
    if show:
        data = {"broadcast": post.key.partition("/")[0], **data, **asdict(show)}
    event = {"type": told, "timestamp": at, "data": data}
    return json.dumps(event, default=datetime.isoformat, separators=(",", ":"))


def _id(*parts: str) -> str:
    """Without a full stop, which would end it in what is signed."""
    return "msg_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _key(secret: SecretStr) -> bytes:
    """The bytes that *secret* stands for. Raises ValueError, without a word of it."""
    value = secret.get_secret_value()
    coded = value.removeprefix(PREFIX)
    try:
        key = b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except ValueError:
        key = b""
    if not value.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(
            f"must be {PREFIX} and {SHORTEST} to {LONGEST} random bytes in base64"
        ) from None
    return key


def _now() -> datetime:
    return datetime.now().astimezone()


def _meaning(answer: requests.Response) -> DeliveryError:
    said = wire.error_json(answer)
    words = str(said.get("message") or said.get("error") or "")
    if answer.status_code == 410:
        return Refused(f"410 {wire.plain(words)}: it wants no more".strip(), closes=True)
    return wire.from_status(answer.status_code, words, answer.headers)
