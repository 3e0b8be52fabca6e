"""`announcer` in a hurry: leases of seconds, and titles told at once.

A test need not wait for either to be over.
"""

from datetime import timedelta

from announcer import patrol
from announcer.cli import main
from announcer.outbox import claims
from announcer.policy import broadcasts

LEASE = timedelta(seconds=4)

if __name__ == "__main__":
    claims.LEASE, claims.MARGIN = LEASE, timedelta(seconds=1)
    patrol.LASTS = timedelta(seconds=2)
    broadcasts.MERGE = timedelta()
    main()
