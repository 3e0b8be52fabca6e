"""The durable middle: events, broadcasts, posts and what became of them. All SQL of the project.

SQLite or PostgreSQL, through SQLAlchemy Core. `schema` has the tables, `database` the connections,
`postgres` what only PostgreSQL has, `records` what a row means; `arrivals` is intake's side,
`claims` delivery's, `accounts` what is kept of a destination, `duties` what one replica does for
all, `desk` the operator's side.
"""

from announcer.outbox.accounts import Accounts, DestinationMemory
from announcer.outbox.arrivals import Arrivals, Transaction
from announcer.outbox.claims import LEASE, Claims
from announcer.outbox.database import BadAddress, StorageError, alone, connect
from announcer.outbox.desk import Desk
from announcer.outbox.duties import Duties
from announcer.outbox.records import Claim, Consequences, Shown, Try
from announcer.outbox.schema import HEAD, schema

__all__ = [
    "HEAD",
    "LEASE",
    "BadAddress",
    "Claim",
    "Consequences",
    "DestinationMemory",
    "Outbox",
    "Shown",
    "StorageError",
    "Transaction",
    "Try",
    "alone",
    "connect",
    "schema",
]


class Outbox(Arrivals, Claims, Accounts, Duties, Desk):
    """The one door to the database. Every method is one transaction, but for `transaction`."""
