"""The pages of docs/ that the code knows best."""

import inspect

from announcer.network import Finds, Network, Removes, Repeat, Revises
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
    for name, network in available().items():
        parts += [f"### {network.title}", reference(name.upper(), network, but=_SHARED)]
    return "\n\n".join(parts) + "\n"


_SHARED = frozenset(Network.model_fields)


def _shared() -> str:
    return reference("<NETWORK>", Network)


def _networks() -> str:
    networks = available()
    rows = [
        "| Network | Longest text | Looked for | Edited | Taken away | If it may be up |",
        "|---|---|---|---|---|---|",
    ]
    for network in networks.values():
        can = ["yes" if issubclass(network, able) else "no" for able in (Finds, Revises, Removes)]
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
    for name, network in networks.items():
        guide = inspect.cleandoc(network.__doc__ or "")
        parts += [f"## {network.title}", guide, reference(name.upper(), network, but=_SHARED)]
    return "\n\n".join(parts) + "\n"
