"""Streams that a template is tried with, made up or real, and what it may say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from announcer import chat, wiring
from announcer.content import Channel, thaw
from announcer.facts import SAMPLES, Facts, cleaned, over, variables
from announcer.network import Moment, Network
from announcer.outbox import StorageError
from announcer.watch import About
from announcer.web.say import say
from announcer.wiring import Parts

CHOICES = {
    "usual": SAMPLES["with a usual title"],
    "long": SAMPLES["with an endless title"],
    "hostile": SAMPLES["with a hostile title"],
    "empty": SAMPLES["without a title"],
}
"""By the name that the page has for them."""
LAST = "last"


@dataclass(frozen=True)
class Sample:
    """One choice: made up, or the *last* stream, with the *posts* that told of it."""

    facts: Facts
    posts: tuple[tuple[str, str], ...]
    last: bool = False


def sample(parts: Parts, choice: str) -> Sample:
    """What is not known gives the usual one."""
    found = last(parts) if choice == LAST else None
    made = CHOICES.get(choice, CHOICES["usual"])
    return found or Sample(made, made.posts)


def last(parts: Parts) -> Sample | None:
    """The last stream that there was; None if there was none, or nobody can say now."""
    settings = parts.settings
    try:
        newest = parts.outbox.history(1)
        if not newest:
            return None
        show, told = newest[0]
        posts = chat.links(parts.outbox.announced(show.id), settings.destinations)
    except StorageError:
        return None
    # Its tags stand in what was posted: Owncast is not asked.
    shown = next((said for one in told if one.content and (said := thaw(one.content).show)), None)
    about = About(shown.tags, shown.nsfw) if shown else About()
    channel = parts.channels.get(show.channel) or Channel(show.channel)
    return Sample(wiring.composer(settings).facts(show, channel, about), posts, last=True)


def facts(parts: Parts, of: Sample, kind: str, name: str, network: Network) -> Facts:
    """What a template of this *kind* is told for the destination *name*, with what is set here."""
    posts = of.posts if network.told_last or not name else ()
    if of.last:
        ended = of.facts.ended_at or datetime.now(UTC)
        told = replace(of.facts, posts=posts)
        return replace(told, ended_at=ended) if kind == Moment.ENDED else told
    settings = parts.settings
    served = [one for one in settings.channels if name and settings.serves(name, one)]
    channel = parts.channels[(served or list(settings.channels))[0]]
    made = replace(
        of.facts,
        channel=channel.name,
        url=channel.url,
        replay_url=settings.service.replay_url or "",
        posts=posts,
    )
    return over(made) if kind == Moment.ENDED else made


def known(facts: Facts) -> list[tuple[str, str, str]]:
    """Every variable that a template may use, what it is, and what it is of *facts*."""
    values: Mapping[str, object] = variables(cleaned(facts), str)
    return [(name, say(f"variable.{name}"), _plain(value)) for name, value in values.items()]


def _plain(value: object) -> str:
    match value:
        case bool():
            return say("template.yes" if value else "template.no")
        case datetime():
            return f"{value:%Y-%m-%d %H:%M} UTC"
        case tuple():
            return ", ".join(" ".join(one) if isinstance(one, tuple) else str(one) for one in value)
        case _:
            return "" if value is None else str(value)
