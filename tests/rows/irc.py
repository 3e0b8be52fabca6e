"""IRC, as the contract's suite meets it."""

from announcer.contract import SECRET, Spoken
from announcer.networks.irc import Irc
from tests.chatroom import chatroom

SPOKEN = [
    Spoken(
        Irc,
        lambda port: {
            "server": "127.0.0.1",
            "port": str(port),
            "tls": "off",
            "nick": "kestrel",
            "channel": "#kestrel",
            "channel_key": SECRET,
            "password": SECRET,
        },
        chatroom,
    )
]
