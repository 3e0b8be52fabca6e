"""ntfy, as the contract's suite meets it."""

from announcer.contract import SECRET, Receipt, Row
from announcer.networks.ntfy import Ntfy

ROWS = [
    Row(
        Ntfy,
        {"topic": f"kestrel_{SECRET}", "access_token": f"kestrel_{SECRET}"},
        answer={"id": "xE73Iyuabi", "sequence_id": "7", "event": "message"},
        receipt=Receipt("7"),
        gone=None,  # it takes a change of what nobody has any more like any other
        form=lambda word: f"kestrel_{word}",
    )
]
