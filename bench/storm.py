"""10,000 chat events in 10 s, with a start inside."""

import time

from bench import load
from bench.figures import Section, Table, number
from bench.machine import proportional_size
from bench.networks import networks
from bench.running import service
from tests.storm import chatter

NUMBER, RATE = 10_000, 1_000.0
KINDS = ("mastodon", "bluesky", "discord")


def measure(*, quick: bool) -> Section:
    number_of = 1000 if quick else NUMBER
    section = Section(
        "A storm of chat",
        f"{number_of:,} signed events of chat messages, {RATE:,.0f} a second, each on a connection "
        "of its own; none is of interest, but in their midst a stream starts. Three networks.",
    )
    with networks() as them, service(them.accounts(3, KINDS)) as (running, _):
        stream = load.Stream()
        # What the first of everything leaves behind is no leak.
        load.tell(running.port, load.request(stream.start()))
        them.until(len(KINDS))
        load.tell(running.port, load.request(stream.stop()))
        load.at_rate(running.port, [load.request(chatter(-n)) for n in range(200)], 200).well()
        before = proportional_size(running.process.pid)
        bodies = [chatter(n) for n in range(number_of)]
        bodies[number_of // 2] = stream.start()
        them.forget()
        messages = [load.request(body) for body in bodies]
        begun = time.perf_counter()
        told = load.at_rate(running.port, messages, RATE)
        last = max(asked.at for asked in them.until(3))
        after = proportional_size(running.process.pid)
    answers = ", ".join(f"{n:,} times {status}" for status, n in sorted(told.statuses.items()))
    rows = [
        ("answers", answers),
        ("took", f"{told.lasted:.1f} s"),
        *(
            (name, f"{number(told.within(share) * 1000)} ms")
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        ),
        ("the start inside: the last network is asked", f"{_since(last, begun, number_of)} ms"),
        ("memory before and after (PSS)", f"{number(before)} and {number(after)} MB"),
        ("whoever plays Owncast took of a core", f"{told.share:.0%}"),
    ]
    section.tables.append(Table(("storm", ""), rows))
    return section


def _since(last: float, begun: float, number_of: int) -> str:
    """Milliseconds from when the start was due."""
    return number((last - begun - number_of / 2 / RATE) * 1000)
