"""Mastodon's relatives: who answers, and in what it differs.

Told by `version` and `source_url` of the instance document, which is read for the limits anyway:
nodeinfo says no more, and would be two requests more. What is not told is taken for a stranger, of
whom nothing is believed. What a server can not do at all (edit, delete) is found by asking it.
Sources: each one's own code, as of autumn 2026; snac 2.75 was tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Kin:
    """*mark* is in what its documents say of themselves. *remarks* are for the operator."""

    title: str
    mark: str
    keeps_keys: bool = False
    """Whether it is sure to fold what comes with the same Idempotency-Key. GoToSocial and snac
    ignore it, Pixelfed refuses the second, Pleroma keeps errors with it.
    """
    counts_like_mastodon: bool = False
    """Graphemes, a link by what is reserved for it, a mention without its host."""
    needs_a_picture: bool = False
    signs: Mapping[int, str] = field(default_factory=dict)
    """What it would read as markup in a text that is plain, and what is written for it."""
    remarks: tuple[str, ...] = ()


def _look_alikes(signs: str) -> Mapping[int, str]:
    """Their full-width forms, where a sign can not be escaped."""
    return {ord(sign): chr(ord(sign) + 0xFEE0) for sign in signs}


_MFM = _look_alikes("*_`~<[]$")
_MARKDOWN = {ord(sign): f"\\{sign}" for sign in "\\`*_[]<>#~&!|"}

STRANGER = Kin("a server that does not say what it is", "")
KIN = (
    Kin(
        "Pixelfed",
        "pixelfed",
        needs_a_picture=True,
        signs=_look_alikes("<"),  # it strips tags, and with "I <3 wood" all that follows
        remarks=(
            "Pixelfed takes no post without a picture, so it needs OWNCAST_URL, and an end can not "
            "be told by a post of its own",
            "Pixelfed edits a post ten times at most, and only where its admin allows it: where an "
            "edit is refused, set WHEN_ENDED to `reply` and WHEN_RETITLED to `leave`",
        ),
    ),
    Kin("GoToSocial", "gotosocial"),
    Kin("Akkoma", "akkoma"),
    Kin("Pleroma", "pleroma"),
    Kin("Hollo", "hollo", signs=_MARKDOWN),
    Kin(
        "snac",
        "snac",
        signs=_look_alikes("*`~<[]"),
        remarks=(
            "snac may not take posts away, and shows `unlisted` ones to everybody: it says so when "
            "asked",
        ),
    ),
    Kin("Iceshrimp", "iceshrimp", signs=_MFM),
    Kin("Sharkey", "sharkey", signs=_MFM),
    Kin("Firefish", "firefish", signs=_MFM),
    Kin("glitch-soc", "github.com/glitch-soc/mastodon", True, True),
    Kin("Mastodon", "github.com/mastodon/mastodon", True, True),
)


def kin_of(about: Mapping[str, Any]) -> Kin:
    """Whose instance document *about* is."""
    said = f"{about.get('version')} {about.get('source_url')}".lower()
    return next((kin for kin in KIN if kin.mark in said), STRANGER)
