"""What the operator is told when something is wrong, and how often. Pure.

An alert is a post of its own, for a destination that gets nothing else: its key says what it is
about, so that it is told once, however often that is met again and by whichever replica.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from announcer.facts import clean, shorten
from announcer.network import Moment, Network, graphemes
from announcer.policy import Broadcast, Entry, State

WORTH = timedelta(hours=24)
"""How long an alert is tried."""
LEAST = 40
"""Graphemes of a reason that are left where a text is too long, before the rest is cut."""


@dataclass(frozen=True, slots=True)
class Alert:
    """*about* is what it is told once for. Of its words, the *reason* gets shorter first."""

    about: str
    said: str
    reason: str
    remedy: str


def of_closing(post: Entry, show: Broadcast, closing: tuple[str, str]) -> Alert:
    """The account that *post* is for is of no use. *closing* is the fingerprint of its credentials,
    and why: once for each broadcast with the same ones.
    """
    credentials, reason = closing
    return Alert(
        f"closed.{_name(post.destination)}.{credentials[:8]}",
        f"Announcer: {post.destination} is closed{_during(show)}",
        reason,
        "Nothing is sent there until its settings change or you run: announcer retry " + post.key,
    )


def of_end(post: Entry, show: Broadcast) -> Alert | None:
    """What became of *post*, if somebody should look: once for each broadcast and destination."""
    if post.moment not in (Moment.LIVE, Moment.ENDED):
        return None
    about = f"post.{_name(post.destination)}"
    if post.state is State.FAILED:
        said = f"Announcer: {post.destination} was not told{_during(show)}"
        if post.shown is not None:
            said = f"Announcer: a post on {post.destination} is not up to date{_during(show)}"
        return Alert(about, said, post.reason, f"To try again: announcer retry {post.key}")
    if post.state is State.UNSURE:
        said = f"Announcer: look at {post.destination}, please{_during(show)}"
        remedy = f"If nothing is there: announcer retry {post.key}"
        return Alert(about, said, post.reason, remedy)
    return None


def of_words(post: Entry, show: Broadcast, problem: str) -> Alert:
    """A template could not be used: once for each broadcast and *problem*."""
    return Alert(
        f"template.{_digest(problem)}",
        f"Announcer: other words than yours were used on {post.destination}{_during(show)}",
        problem,
        "To see what is wrong: announcer check",
    )


def entry_for(alert: Alert, post: Entry, destination: str, now: datetime) -> Entry:
    """The post that tells *destination* of it."""
    return Entry(
        key=f"{post.broadcast}/{Moment.ALERT}.{alert.about}/{destination}",
        broadcast=post.broadcast,
        channel=post.channel,
        moment=Moment.ALERT,
        destination=destination,
        state=State.DUE,
        wanted=Moment.ALERT,
        shown=None,
        next_at=now,
        until=now + WORTH,
    )


def text(alert: Alert, network: Network) -> str:
    """Its words as *network* writes them, short enough for it."""
    reason = alert.reason
    for most in range(graphemes(reason), LEAST - 1, -1):
        said = network.escape(f"{alert.said}: {shorten(reason, most)}. {alert.remedy}")
        if network.measure(said) <= network.usual_limit:
            return said
    whole = f"{alert.said}: {shorten(reason, LEAST)}. {alert.remedy}"
    for most in range(graphemes(whole), 0, -1):
        said = network.escape(shorten(whole, most))
        if network.measure(said) <= network.usual_limit:
            return said
    return ""


def _during(show: Broadcast) -> str:
    name = clean(show.title) or clean(show.name)
    return f' ("{shorten(name, 60)}")' if name else ""


def _name(destination: str) -> str:
    """Short enough for a key, of which two destinations are part."""
    return destination if len(destination) <= 40 else _digest(destination)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
