"""The durable middle: events, broadcasts, posts and what became of them. All SQL of the project.

SQLite or PostgreSQL, through SQLAlchemy Core. `schema` has the tables, `database` the connections,
`postgres` what only PostgreSQL has, `files` a SQLite file as a file, `records` what a row means;
`arrivals` is intake's side and `together` what makes its commits few, `queue` and `claims` are
delivery's, `accounts` is what is kept of a destination, `subscribers` who asked there to be told,
`duties` what one replica does for all, `desk` the operator's hand, `archive` what is shown,
`gauges` what is open, `upkeep` what is forgotten, `trouble` why it could not be done.
"""

from announcer.outbox.accounts import Accounts, DestinationMemory
from announcer.outbox.archive import Archive
from announcer.outbox.arrivals import Arrivals, Transaction
from announcer.outbox.claims import LEASE, Claims
from announcer.outbox.database import BadAddress, StorageError, Unusable, alone, connect
from announcer.outbox.desk import Desk
from announcer.outbox.duties import Duties
from announcer.outbox.files import Files, backup, examine, file_of, inspect
from announcer.outbox.gauges import Gauges, UnderWay
from announcer.outbox.postgres import Heard
from announcer.outbox.records import Claim, Consequences, Shown, Sought, Try
from announcer.outbox.schema import HEAD, schema
from announcer.outbox.subscribers import DestinationSubscribers
from announcer.outbox.trouble import cause_of
from announcer.outbox.upkeep import CLOCK_SET, Mark, Upkeep

__all__ = [
    "CLOCK_SET",
    "HEAD",
    "LEASE",
    "BadAddress",
    "Claim",
    "Consequences",
    "DestinationMemory",
    "DestinationSubscribers",
    "Heard",
    "Mark",
    "Outbox",
    "Shown",
    "Sought",
    "StorageError",
    "Transaction",
    "Try",
    "UnderWay",
    "Unusable",
    "alone",
    "backup",
    "cause_of",
    "connect",
    "examine",
    "file_of",
    "inspect",
    "schema",
]


class Outbox(Arrivals, Claims, Accounts, Duties, Desk, Archive, Files, Gauges, Upkeep):
    """The one door to the database. Every method is one transaction, but for `transaction`."""
