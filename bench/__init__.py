"""What it costs: measured on the real service, never judged by a test.

`make bench` measures everything and writes docs/benchmarks.md; `--quick` looks whether it still
works. In reading order:

    __main__    which parts there are; `page` writes what they found
    figures     a part's figures, as they go onto the page; medians and the like
    machine     what it was measured on; processor time and memory of a process and its children
    load        plays Owncast: one loop, so that it takes little of the processor itself
    networks    plays the networks: one loop in a process of its own, with a ledger
    running     the service, another program of a user, PostgreSQL; each thrown away afterwards
    rivals      what we are compared with: Apprise in a Flask receiver, a bare endpoint

    webhook     how long Owncast waits, by load; and how many events are stored at most
    spread      from the event to the last network; in turn with Apprise
    sustained   announcements a second, by one process and by three
    footprint   memory, start, size
    history     what a million old posts cost
    storm       ten thousand chat messages in ten seconds

Beside them, `pictures` makes those of the docs.
"""
