"""Measures, and writes the page.

python -m bench [PART ...] [--quick] [--page FILE]
"""

import argparse
import signal
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench import machine, page
from bench.figures import Section
from bench.running import PLACE

PARTS = ("webhook", "spread", "sustained", "footprint", "history", "storm")
PAGE = Path("docs/benchmarks.md")
ELSEWHERE = Path("build/benchmarks.md")
"""For what is not the whole: the page in docs is of one run, and a thorough one."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    found.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; else all")
    found.add_argument(
        "--quick", action="store_true", help="see whether it works, in a minute or so"
    )
    found.add_argument("--page", type=Path, help=f"written there, not to {PAGE} or {ELSEWHERE}")
    return found


def main() -> None:
    given = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and what was started with it
    if unknown := set(given.parts) - set(PARTS):
        raise SystemExit(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    whole = not given.parts and not given.quick
    target: Path = given.page or (PAGE if whole else ELSEWHERE)
    PLACE.mkdir(parents=True, exist_ok=True)
    facts = machine.facts(PLACE)
    begun = time.monotonic()
    sections: list[Section] = []
    for part in given.parts or PARTS:
        since = time.monotonic()
        sections.append(import_module(f"bench.{part}").measure(quick=given.quick))
        print(f"{part}: {time.monotonic() - since:.0f} s", flush=True)
    took = time.monotonic() - begun
    facts.append(("Measured", f"{datetime.now(UTC):%Y-%m-%d}, in {took:.0f} s"))
    words = [*given.parts, *(["--quick"] if given.quick else [])]
    command = "make bench" + (f' ARGS="{" ".join(words)}"' if words else "")
    target.parent.mkdir(parents=True, exist_ok=True)
    text = page.written(facts, sections, command, quick=given.quick)
    target.write_text(text, "utf-8")
    print(f"\n{text}\nwritten to {target}")


if __name__ == "__main__":
    main()
