"""Nostr, as the contract's suite meets it."""

from hashlib import sha256

from announcer.contract import SECRET, Spoken
from announcer.networks.nostr import Nostr
from tests.relay import relay


def key(word: str) -> str:
    return sha256(word.encode()).hexdigest()


SPOKEN = [
    Spoken(
        Nostr,
        lambda port: {"private_key": key(SECRET), "relays": f"ws://127.0.0.1:{port}"},
        relay,
        form=key,
    )
]
