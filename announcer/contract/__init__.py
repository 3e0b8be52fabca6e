"""The contract of a network as a suite of tests, for ours and for those of other packages.

A package with one more network declares the entry point

    [project.entry-points."announcer.networks"]
    kestrel = "announcer_kestrel"

and proves itself with pytest: `pytest_plugins = ["announcer.contract.fake"]` in its `conftest.py`,
and in a test module a class whose row says what the network answers to a good post:

    from announcer.contract import SECRET, Contract, Receipt, Row

    class TestKestrel(Contract):
        rows = [Row(Kestrel, {"token": SECRET}, answer={"id": "7"}, receipt=Receipt("7"))]

One that does not speak HTTP has a `Spoken` row and a `SpokenContract`: see `spoken`.

Needs pytest, which the service does not.
"""

from announcer.contract.fake import Answer as Answer
from announcer.contract.fake import Wire as Wire
from announcer.contract.spoken import Behaviour as Behaviour
from announcer.contract.spoken import Peer as Peer
from announcer.contract.spoken import Spoken as Spoken
from announcer.contract.spoken import SpokenContract as SpokenContract
from announcer.contract.suite import DATE as DATE
from announcer.contract.suite import NOON as NOON
from announcer.contract.suite import PICTURE as PICTURE
from announcer.contract.suite import PICTURED as PICTURED
from announcer.contract.suite import POST as POST
from announcer.contract.suite import SECRET as SECRET
from announcer.contract.suite import Contract as Contract
from announcer.contract.suite import Row as Row
from announcer.network import Receipt as Receipt
