"""`announcer` as a user whom the machine does not know. It may read everything, as in a container,
and write what is its own. Only root can become one; anybody else is one already.
"""

import ctypes
import os

from announcer.cli import main

NOBODY = 65534
KEEP_CAPABILITIES = 8
"""PR_SET_KEEPCAPS of linux/prctl.h."""
VERSION = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of linux/capability.h: two times 32 bits."""
MAY_READ = 1 << 2
"""CAP_DAC_READ_SEARCH."""


def become_nobody() -> None:
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(KEEP_CAPABILITIES, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    wanted = (ctypes.c_uint32 * 6)(MAY_READ, MAY_READ, 0, 0, 0, 0)
    if system.capset(header, wanted):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    if os.geteuid() == 0:
        become_nobody()
    main()
