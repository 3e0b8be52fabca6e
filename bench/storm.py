"""10,000 chat events in 10 s, each on a connection of its own, with a start inside. Prints figures.

.venv/bin/python bench/storm.py
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from announcer import rehearsal
from tests.running import Service
from tests.storm import memory_of, storm, worker_of
from tests.town import Town

NUMBER, RATE = 10_000, 1_000.0


def measure_storm() -> None:
    town = Town()
    with tempfile.TemporaryDirectory() as folder:
        rules = {"ANNOUNCER_HOLD": "0s", "ANNOUNCER_RESUME": "0s", "ANNOUNCER_LOG_LEVEL": "error"}
        running = Service(Path(folder), {**town.settings("mastodon", "bluesky"), **rules})
        try:
            # What the first of everything leaves behind is no leak.
            running.hear(rehearsal.webhook("start", "Before the storm", "Kestrel Workshop"))
            running.until(lambda: len(town.visible) == 2, "the start was not announced")
            running.hear(rehearsal.webhook("stop", "Before the storm", "Kestrel Workshop"))
            storm(running, 500, 250)
            before = memory_of(worker_of(running))
            start = rehearsal.webhook("start", "Fitting a dovetail drawer", "Kestrel Workshop")
            sent = time.time() + NUMBER / 2 / RATE
            begun = time.perf_counter()
            weather = storm(running, NUMBER, RATE, {NUMBER // 2: start})
            took = time.perf_counter() - begun
            running.until(lambda: len(town.visible) == 4, "the start inside was not announced")
            after = memory_of(worker_of(running))
            told = max(post.at for post in town.visible) - sent
        finally:
            running.kill()
            town.close()
    statuses = ", ".join(f"{n} times {status}" for status, n in sorted(weather.statuses.items()))
    print(
        f"storm of {NUMBER} chat events at {RATE:.0f}/s: {took:.1f} s, {statuses}, "
        f"p50 {weather.within(0.5):.1f} ms, p99 {weather.within(0.99):.1f} ms, "
        f"max {max(weather.took):.1f} ms; PSS of the worker {before:.1f} -> {after:.1f} MB; "
        f"the start inside announced on 2 networks after {told:.2f} s"
    )


if __name__ == "__main__":
    measure_storm()
