"""Breaks one of our own safeties, to prove that torture would notice. Done in the nursery only."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from secrets import randbelow, token_hex
from threading import Timer
from typing import Any

from announcer import policy
from announcer.author import Author
from announcer.intake import Intake
from announcer.networks import bluesky
from announcer.networks.bluesky import Bluesky
from announcer.networks.mastodon import Mastodon
from announcer.networks.x import X
from announcer.outbox import Outbox


def _instead(owner: object, name: str, made: Callable[[Callable[..., Any]], object]) -> None:
    """Put what is *made* of the part of that name in its place."""
    setattr(owner, name, made(getattr(owner, name)))


def _sees_nothing(_: object) -> Callable[..., None]:
    return lambda *_: None


def _no_key() -> None:
    """Every try has another idempotency key."""
    _instead(Mastodon, "_idempotency_key", lambda key: lambda *told: f"{key(*told)}{token_hex(4)}")


def _blind() -> None:
    """Nobody looks whether it is up."""
    _instead(X, "find", _sees_nothing)


def _forgetful() -> None:
    """What leaves is not stored before it leaves."""

    def made(freeze: Callable[..., object]) -> object:
        def unstored(self: Outbox, claim: Any, content: Any, left: Any, *more: Any) -> object:
            turn = freeze(self, claim, content, left, *more)
            self._update_ours(claim, {"left_at": None}, left)
            return turn

        return unstored

    _instead(Outbox, "freeze", made)


def _hasty() -> None:
    """Acknowledged first, and stored soon after."""

    def made(take: Callable[..., object]) -> object:
        def soon(*told: Any) -> policy.Decision:
            Timer(0.05, take, told).start()
            return policy.Decision("stored soon")

        return soon

    _instead(Intake, "take", made)


def _fickle() -> None:
    """What may be up is worded anew."""

    def made(words: Callable[..., Any]) -> object:
        def anew(self: Author, claim: Any, *more: Any) -> Any:
            sure = replace(claim, entry=replace(claim.entry, doubtful_since=None))
            return words(self, sure, *more)

        return anew

    _instead(Author, "words_and_picture", made)


def _bold() -> None:
    """Where nobody can look, it is sent again."""
    _instead(
        policy, "after", lambda after: lambda *told, **more: after(*told, **more | {"insist": True})
    )


def _careless() -> None:
    """The same post has another record key each time."""
    _instead(Bluesky, "find", _sees_nothing)
    _instead(
        bluesky, "record_key", lambda key: lambda post: key(replace(post, edition=randbelow(1000)))
    )


def _complacent() -> None:
    """A change of which no clear answer came counts as made."""
    _instead(policy, "after_change", lambda _: lambda entry, *_: policy.changed(entry))


SABOTAGES: Mapping[str, Callable[[], None]] = {
    "no key": _no_key,
    "blind": _blind,
    "forgetful": _forgetful,
    "hasty": _hasty,
    "fickle": _fickle,
    "bold": _bold,
    "careless": _careless,
    "complacent": _complacent,
}
