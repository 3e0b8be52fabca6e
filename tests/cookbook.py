"""docs/cookbook.md: each example is run through the real wording, and what it says stands there.

A block that begins with ```jinja and a name is a template of the operator's folder, one that begins
with ```text, a destination and a moment is what that destination says then;
`python -m tests.cookbook` writes these. A further word names another evening.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from announcer.network import Moment, Network
from announcer.wording import ALT, Facts, Templates, Wording
from tests.rows import EVERY

PAGE = Path(__file__).parents[1] / "docs" / "cookbook.md"
BLOCK = re.compile(r"^```(jinja|text) (\S.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
USUAL = Facts(
    channel="default",
    name="Kestrel Workshop",
    title="Fitting a dovetail drawer",
    summary="Woodwork by hand, live from a small shed.",
    url="https://live.example.org",
    tags=("woodwork", "hand tools", "repair"),
    nsfw=False,
    started_at=datetime(2026, 11, 27, 19, 15, tzinfo=UTC),
    posts=(
        ("Mastodon", "https://social.example/@kestrel/7"),
        ("Bluesky", "https://bsky.app/profile/kestrel.example/post/3k2a"),
    ),
)
EVENINGS: Mapping[str, Facts] = {
    "": USUAL,
    "untitled": replace(USUAL, title=""),
    "mature": replace(USUAL, nsfw=True),
    "monday": replace(USUAL, started_at=USUAL.started_at + timedelta(days=3)),
    "series": replace(USUAL, title="Repair café: a wobbly chair"),
    "second": USUAL,
    "replay": replace(USUAL, replay_url="https://live.example.org/replays"),
}
LASTED, PEAK = timedelta(hours=2, minutes=5), 17


@dataclass(frozen=True, slots=True)
class Example:
    """What one heading of the page shows."""

    title: str
    templates: Mapping[str, str]
    shown: tuple[str, ...]


def examples(page: str) -> Iterator[Example]:
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        blocks = BLOCK.findall(part)
        templates = {about: source for kind, about, source in blocks if kind == "jinja"}
        if templates:
            shown = tuple(about for kind, about, _ in blocks if kind == "text")
            yield Example(part.partition("\n")[0], templates, shown)


def network_of(destination: str) -> Network:
    name = destination.partition(".")[0]
    return next(row.make() for row in EVERY if row.network.name == name)


def written(example: Example, folder: Path) -> Templates:
    """The example as files in the operator's *folder*."""
    for name, source in example.templates.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source, "utf-8")
    return Templates(folder)


def said(example: Example, about: str, folder: Path) -> Wording:
    """What is posted; *about* is such as `mastodon live monday`."""
    destination, kind, evening = (*about.split(), "")[:3]
    network, facts = network_of(destination), EVENINGS[evening]
    templates = written(example, folder)
    if kind == ALT:
        return templates.alt(network, destination, facts)
    if kind == Moment.ENDED:
        facts = replace(facts, ended_at=facts.started_at + LASTED, peak_viewers=PEAK)
    dice = 0.99 if evening == "second" else 0.0
    return templates.word(
        network, destination, Moment(kind), facts, dice=dice, limit=network.usual_limit
    )


def fresh(page: str) -> str:
    """The page with what the code says now."""
    told = {}
    for example in examples(page):
        with tempfile.TemporaryDirectory() as folder:
            for about in example.shown:
                told[example.title, about] = said(example, about, Path(folder)).text
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    for number, part in enumerate(parts):
        title = part.removeprefix("## ").partition("\n")[0]

        def shown(block: re.Match[str], title: str = title) -> str:
            kind, about, _ = block.groups()
            if kind == "jinja":
                return block[0]
            return f"```text {about}\n{told[title, about]}\n```"

        parts[number] = BLOCK.sub(shown, part)
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(fresh(PAGE.read_text("utf-8")), "utf-8")
