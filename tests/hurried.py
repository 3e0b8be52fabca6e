"""`announcer`, with leases of seconds: a test need not wait for minutes until one is over."""

from datetime import timedelta

from announcer import patrol
from announcer.cli import main
from announcer.outbox import claims

LEASE = timedelta(seconds=4)

if __name__ == "__main__":
    claims.LEASE, claims.MARGIN = LEASE, timedelta(seconds=1)
    patrol.LASTS = timedelta(seconds=2)
    main()
