"""E-mail, as the contract's suite meets it."""

from announcer.contract import SECRET, Spoken
from announcer.networks.email import Email
from tests.postbox import USER, postbox

SPOKEN = [
    Spoken(
        Email,
        lambda port: {
            "to": "anna@audience.example",
            "from_": "Kestrel Workshop <live@kestrel.example>",
            "smtp_host": "127.0.0.1",
            "smtp_port": str(port),
            "username": USER,
            "password": SECRET,
        },
        postbox,
    )
]
