"""The pages of docs/ that the code knows best."""

import inspect
from collections.abc import Callable

from announcer.network import Finds, Network, Removes, Repeat, Revises, Shines
from announcer.networks import available
from announcer.policy import Rules
from announcer.quiet import Quiet
from announcer.settings import reference
from announcer.wiring import OwncastServer, Service

MADE = "<!-- Written by `announcer docs` from the code. Do not edit. -->"

REPEATS = {
    Repeat.HARMLESS: "sent again: the network folds it into the first",
    Repeat.WINDOW: "looked for, then sent again with the same key",
    Repeat.FINDABLE: "looked for, sent again only if it is not there",
    Repeat.DOUBLES: "left to you: nobody can look (`_WHEN_UNSURE=repeat` risks a second post)",
}


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {"settings.md": _settings(), "networks.md": _networks()}


def _settings() -> str:
    parts = [
        "# Settings",
        MADE,
        "Environment variables, or lines of a file `.env` in the folder where Announcer runs; the "
        "environment wins. Durations are written `30s`, `5m`, `1h30m`. Every secret `NAME` may "
        "come from a file that `NAME_FILE` names; when that changes, the new secret is in use "
        "within seconds (not the address of the database). A misspelt variable is an error.",
        "## The service",
        reference("ANNOUNCER", Service),
        "## When to speak",
        reference("ANNOUNCER", Rules),
        "## When to be quiet",
        "By the operator's word, too: `announcer pause`, `announcer resume`, and `announcer "
        "announce` for a stream that a rule holds back. What is up is kept true all the same.",
        reference("ANNOUNCER", Quiet),
        "## Owncast",
        "One of secret and token is required. A second server is `OWNCAST__<NAME>__URL` and so on.",
        reference("OWNCAST", OwncastServer),
        "## Networks",
        "A network is on when its required variables are there. A second account of a network is "
        "`<NETWORK>__<NAME>__<FIELD>`: `MASTODON__MUSIC__ACCESS_TOKEN` makes the destination "
        "`mastodon.music`. Each network also takes:",
        _shared(),
    ]
    for network in available():
        parts += [f"### {network.title}", reference(network.name.upper(), network, but=_SHARED)]
    return "\n\n".join(parts) + "\n"


_SHARED = frozenset(Network.model_fields)


def _shared() -> str:
    return reference("<NETWORK>", Network)


_CAN: dict[str, Callable[[type[Network]], bool]] = {
    "Edited": lambda network: issubclass(network, Revises),
    "Answered": lambda network: network.replies,
    "Taken away": lambda network: issubclass(network, Removes),
    "Picture": lambda network: network.shows_pictures,
    "Alt text": lambda network: network.shows_pictures and network.describes_pictures,
    "Mark while live": lambda network: issubclass(network, Shines),
    "Looked for": lambda network: issubclass(network, Finds),
}


def _networks() -> str:
    networks = available()
    rows = [
        f"| Network | Longest text | {' | '.join(_CAN)} | If it may be up |",
        f"|---|---|{'---|' * len(_CAN)}---|",
    ]
    for network in networks:
        can = ["yes" if does(network) else "no" for does in _CAN.values()]
        limit = f"{network.usual_limit} {network.unit}"
        rows.append(
            f"| {network.title} | {limit} | {' | '.join(can)} | it is {REPEATS[network.repeat]} |"
        )
    parts = [
        "# Networks",
        MADE,
        "\n".join(rows),
        "The longest text is asked from the server where it tells its own.",
    ]
    for network in networks:
        guide = inspect.cleandoc(network.__doc__ or "")
        table = reference(network.name.upper(), network, but=_SHARED)
        parts += [f"## {network.title}", guide, table]
    return "\n\n".join(parts) + "\n"
