"""The page: what was measured on what, and how it compares with what was wanted."""

from collections.abc import Sequence

from bench.figures import Section, Table

INTRO = """# Benchmarks

Written by `make bench`; change the programs in `bench/` and not this page. Every program stands for
itself: `.venv/bin/python -m bench webhook` measures one part. They run the real service as a user
starts it, on loopback, and throw it away; the networks are scripted ones, in a process of their
own. What is compared was measured in turn in the same run, so that a machine which is slow for a
while is slow for both. Whoever plays Owncast shares this machine with the service: what that took
of one core is told where it matters.
"""
SCALE = """
The aims are absolute, from a machine on which a bare Flask endpoint answered 2,600 requests a
second, and 1,870 with one raw SQLite commit each. The last rows of the webhook's tables tell how
many this one does.
"""
QUICK = """
**A quick look, whether the programs still work: too few rounds for any figure to be quoted.**
"""


def written(
    machine: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    command: str,
    *,
    quick: bool,
) -> str:
    parts = [INTRO, QUICK if quick else "", _machine(machine, command)]
    aims = [aim for section in sections for aim in section.aims]
    if aims:
        rows = [(aim.what, aim.wanted, aim.found, "yes" if aim.met else "**no**") for aim in aims]
        parts.append("\n## What was wanted\n\n" + _table(Table(("", "aim", "found", "met"), rows)))
        parts.append(SCALE)
    for section in sections:
        parts.append(f"\n## {section.title}\n\n{section.about}\n")
        parts += [f"\n{_table(table)}" for table in section.tables]
        parts += [f"\n{note}\n" for note in section.notes]
    return "".join(parts)


def _machine(machine: Sequence[tuple[str, str]], command: str) -> str:
    rows = [*machine, ("Command", f"`{command}`")]
    return "\n" + _table(Table(("", ""), rows))


def _table(table: Table) -> str:
    rows = [table.head, ["---" for _ in table.head], *table.rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
