"""Web Push, as the contract's suite meets it: with one subscriber, whose push service it is."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from announcer.contract import SECRET, Behaviour, Spoken
from announcer.network import Network
from announcer.networks.webpush import WebPush
from tests.pushing import FakeSubscribers
from tests.pushservice import CONTACT, Browser, PushService, push_service

BROWSER = Browser()


def key(word: str) -> str:
    return urlsafe_b64encode(sha256(word.encode()).digest()).rstrip(b"=").decode()


class Subscribed(Spoken):
    def make(self, port: int = 9) -> Network:
        network = super().make(port)
        assert isinstance(network, WebPush)
        network.keep_subscribers_in(FakeSubscribers())
        assert network.welcome(BROWSER.subscription(f"https://127.0.0.1:{port}"))
        return network


@contextmanager
def peer() -> Iterator[PushService]:
    with push_service() as service:
        service.browsers[BROWSER.path] = BROWSER
        yield service


SPOKEN = [
    Subscribed(
        WebPush,
        lambda port: {
            "private_key": key(SECRET),
            "contact": CONTACT,
            "services": f"https://127.0.0.1:{port}",
        },
        peer,
        cannot={
            Behaviour.LOCKED_OUT: "a visitor chose the service: one that does not take our key "
            "says nothing of those of the others"
        },
        form=key,
    )
]
