"""`python -m announcer` is the command `announcer`."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # who has an older one sees this, and no traceback
    sys.exit("Announcer needs Python 3.11 or newer")

from announcer.cli import main

main()
