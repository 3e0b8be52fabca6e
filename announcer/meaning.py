"""What an answer means, or that there is none: one of the four errors, and how long to wait."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from announcer.network import DeliveryError, Refused, TryLater, Unsure

LATER = frozenset({407, 408, 425, 429, 503, 511})
"""Certainly not posted, and may work later."""
PROXYS = {
    407: "a proxy on the way wants a password: see ANNOUNCER_PROXY",
    511: "the network that we are in wants a login first",
}
"""What is said by something on the way, and not by who was asked."""
LONGEST_WAIT = timedelta(days=1)
RESETS = ("X-RateLimit-Reset", "RateLimit-Reset", "x-rate-limit-reset", "x-user-limit-24hour-reset")


class NotSent(requests.ConnectionError):
    """No request left us, so certainly nothing was posted. str() says why, to the operator."""


def from_exception(problem: BaseException | None) -> DeliveryError:
    """The error that a failure without an answer means. Its text repeats nothing of *problem*,
    which quotes the address with its path and query.
    """
    if isinstance(problem, NotSent):
        return TryLater(str(problem))
    if isinstance(problem, requests.TooManyRedirects):
        return Refused("it answers with a redirect: set the final address")
    if isinstance(problem, requests.exceptions.InvalidURL):
        return Refused("this host is not configured")
    if isinstance(problem, requests.Timeout):
        return Unsure("no answer in time")
    if isinstance(problem, requests.exceptions.ContentDecodingError):
        return Unsure("an answer that is too big or can not be read")
    return Unsure("the connection broke before the answer")


def from_status(
    status: int, said: str, headers: Mapping[str, str], *, closes: bool | None = None
) -> DeliveryError:
    """The error that an HTTP status of 300 or more means. *said* is the network's own reason.

    401 and 403 close the destination, unless *closes* says otherwise: a 403 page of HTML is some
    firewall's mood and not the network's word.
    """
    reason = f"{status} {plain(said)}".strip()
    if status in PROXYS:
        reason = f"{reason}: {PROXYS[status]}"
    if status in LATER:
        return TryLater(reason, wait_hint(headers))
    if status >= 500:
        return Unsure(reason)
    if 300 <= status < 400:
        return Refused(f"{status}: it answers with a redirect: set the final address")
    if closes is None:
        page = "html" in headers.get("Content-Type", "")
        closes = status == 401 or (status == 403 and not page)
    return Refused(reason, closes=closes)


def json_of(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of a good answer. Raises Unsure for anything else, whatever the status said:
    a captive portal answers 200, too.
    """
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise Unsure(f"{answer.status_code}, but no JSON in it") from None
    if not isinstance(body, dict):
        raise Unsure(f"{answer.status_code}, but no JSON object in it")
    return body


def error_json(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of a bad answer, empty if there is none."""
    try:
        return json_of(answer)
    except Unsure:
        return {}


@contextmanager
def nothing_posted() -> Iterator[None]:
    """Around requests that post nothing (a login, a look): an Unsure there is a TryLater."""
    try:
        yield
    except Unsure as problem:
        raise TryLater(str(problem)) from None


def wait_hint(headers: Mapping[str, str]) -> timedelta:
    """How long an answer asks us to stay away, zero if it does not say or can not be read.

    Reads Retry-After (seconds, fractions, HTTP date), X-RateLimit-Reset-After (seconds), and the
    reset times X-RateLimit-Reset (Mastodon: ISO 8601; Discord: epoch), RateLimit-Reset (Bluesky:
    epoch), x-rate-limit-reset and x-user-limit-24hour-reset (X); of several, the latest. A time is
    compared with the server's own Date, so that our clock does not matter. Never more than a day.
    """
    reader = requests.structures.CaseInsensitiveDict(headers)
    server = http_date(reader.get("Date", "")) or datetime.now(UTC)
    waits = [timedelta()]
    for name in ("Retry-After", "X-RateLimit-Reset-After"):
        value = reader.get(name, "")
        seconds = _seconds(value)
        if seconds is not None:
            waits.append(timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds())))
        elif (at := http_date(value)) is not None:
            waits.append(at - server)
    for name in RESETS:
        value = reader.get(name, "")
        if (
            name == "x-user-limit-24hour-reset"
            and reader.get("x-user-limit-24hour-remaining") != "0"
        ):
            continue  # the daily limit is not what stopped us
        seconds = _seconds(value)
        at = iso_time(value) if seconds is None else _epoch(seconds)
        if at is not None:
            waits.append(at - server)
    return min(max(waits), LONGEST_WAIT)


def _seconds(value: str) -> float | None:
    """Of a header that came several times, and so has commas, the most."""
    if not re.fullmatch(r"(?a:\s*\d{1,12}(\.\d{1,12})?\s*(,|$)){1,9}", value):
        return None
    return max(float(one) for one in value.split(",") if one.strip())


def _epoch(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def iso_time(value: str) -> datetime | None:
    """The time that *value* writes in ISO 8601, None if it can not be read or has no zone."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else None


def http_date(value: str) -> datetime | None:
    """The time that *value* writes as HTTP does, None if it can not be read."""
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def plain(text: object, longest: int = 200) -> str:
    """A network's own words made fit for a log line or a page: one line, printable, not long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)[:2000]).split())
    return words if len(words) <= longest else words[: longest - 1] + "…"
