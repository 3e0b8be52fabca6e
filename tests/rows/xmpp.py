"""XMPP, as the contract's suite meets it."""

from announcer.contract import SECRET, Spoken
from announcer.networks.xmpp import Xmpp
from tests.parlour import ROOM, parlour

SPOKEN = [
    Spoken(
        Xmpp,
        lambda port: {
            "jid": "announcer@localhost",
            "password": SECRET,
            "room": ROOM,
            "host": "127.0.0.1",
            "port": str(port),
            "tls": "off",
        },
        parlour,
    )
]
