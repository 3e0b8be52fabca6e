"""Apprise, as the contract's suite meets it: by the one of its services that we can play."""

from announcer.contract import SECRET, Behaviour, Spoken
from announcer.networks.apprise import Apprise
from tests.letterbox import letterbox

AT_ONCE = "the post leaves with the first byte, and Apprise does not say how far it came"

SPOKEN = [
    Spoken(
        Apprise,
        lambda port: {"urls": f"json://127.0.0.1:{port}/{SECRET}"},
        letterbox,
        cannot=dict.fromkeys((Behaviour.DEAF, Behaviour.NONSENSE, Behaviour.HANGS_UP), AT_ONCE),
    )
]
