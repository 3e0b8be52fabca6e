"""From a broadcast to a text that fits: which template, which words, how long.

What Owncast tells is data: cleaned, made inert in the network's dialect and, where a text is too
long, cut. A template can never lose a post: whatever is wrong with it, other words are found and
the reason is told. Pure, apart from reading the template files.
"""

import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from announcer.facts import SHORTENED, cleaned, cut, is_blank, length, one_line, variables
from announcer.facts import Facts as Facts
from announcer.facts import clean as clean
from announcer.network import Card, Moment, Network, Show
from announcer.sandbox import BadTemplate, Sandbox

_HERE = Path(__file__).parent
SHIPPED = next(filter(Path.is_dir, [_HERE / "templates"]), _HERE.parent / "templates")
"""Inside the installed package, or beside it in the repository."""
ALT, ALT_LIMIT = "alt", 1000
"""The description of the picture; X's limit, the shortest there is, in UTF-16 units."""
_FILE = 64 * 1024
_GAP = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Wording:
    """*template* is the file that was used, such as `own:mastodon/live.2.txt`; empty if none was.

    *problem* says why these are not the words that the operator wanted; empty if all is well.
    *broken* says that a template could not be used as it is now.
    """

    text: str
    template: str
    problem: str = ""
    broken: bool = False


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How the place that a text is for writes and counts."""

    measure: Callable[[str], int]
    limit: int
    escape: Callable[[str], str]
    link: Callable[[str], str]

    def fits(self, text: str) -> bool:
        return self.measure(text) <= self.limit


_PLAIN = _Dialect(lambda text: len(text.encode("utf-16-le")) // 2, ALT_LIMIT, str, str)


@dataclass(frozen=True, slots=True)
class _File:
    """One template file as one destination sees it. *label* is for people: `own:x/live.txt`.
    *instead* is what it would hold, for a trial.
    """

    path: Path
    label: str
    destination: str
    instead: str | None = None

    def read(self) -> str:
        if self.instead is not None:
            return self.instead
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise BadTemplate("is not a file")
            with self.path.open("rb") as file:
                content = file.read(_FILE + 1)
        except OSError as error:
            raise BadTemplate(f"can not be read ({error.strerror})") from None
        if len(content) > _FILE:
            raise BadTemplate("is larger than 64 KiB")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadTemplate("is not UTF-8", content.count(b"\n", 0, error.start) + 1) from None

    def tell(self, problem: BadTemplate) -> str:
        line = f" line {problem.line}" if problem.line else ""
        return f"{self.label}{line}: {one_line(str(problem))}"


class Templates:
    """The operator's *own* folder of templates, if there is one, and the shipped ones.

    Files are read each time they are used, so that an edit needs no restart. Of a file that has
    stopped working, the last version that did is remembered as long as this object lives.
    """

    def __init__(self, own: Path | None, shipped: Path = SHIPPED) -> None:
        self._folders = [("own", own), ("shipped", shipped)] if own else [("shipped", shipped)]
        self._good: dict[_File, str] = {}
        self._trial: dict[str, str] = {}

    def trying(self, name: str, source: str) -> "Templates":
        """The same, as if the operator's own file *name*, such as `x/live.txt`, held *source*."""
        other = Templates(None)
        other._folders, other._trial = self._folders, {f"own:{name}": source}
        if other._folders[0][0] != "own":
            other._folders = [("own", SHIPPED / "none"), *other._folders]
        return other

    def faults(
        self, network: Network, kind: str, source: str, limit: int
    ) -> list[tuple[int, str, list[str]]]:
        """What is wrong with a template for *network* of this *kind*: the line, 0 if unknown, the
        words, and the samples that show it.
        """
        dialect = _PLAIN if kind == ALT else _dialect(network, limit)
        told: dict[tuple[int, str], list[str]] = {}
        for sample, facts in SAMPLES.items():
            try:
                _fit(source, _ended(facts) if kind == Moment.ENDED else facts, dialect)
            except BadTemplate as problem:
                told.setdefault((problem.line, one_line(str(problem))), []).append(sample)
        return [(line, words, samples) for (line, words), samples in sorted(told.items())]

    def word(
        self,
        network: Network,
        destination: str,
        mood: Moment,
        facts: Facts,
        *,
        last: str = "",
        dice: float = 0.0,
        keep: str = "",
    ) -> Wording:
        """A text that fits. Never raises for a bad template.

        *dice*, from 0 to 1, chooses among variants, but never *last*, which is the `template` of
        the wording before, if there is another. *keep* is the one to stay with, for an edit.
        """
        levels = self._levels(destination, network.name, mood)
        files = chain.from_iterable(_turn(level, last, dice, keep) for level in levels)
        return self._first_good(files, facts, _dialect(network, network.limit()))

    def alt(self, network: Network, destination: str, facts: Facts) -> Wording:
        """The description of the picture: plain text of at most 1000 UTF-16 units."""
        files = chain.from_iterable(self._levels(destination, network.name, ALT))
        return self._first_good(files, facts, _PLAIN)

    def problems(
        self, destination: str, network: Network, *, limit: int | None = None
    ) -> list[str]:
        """What is wrong with any template that this destination could use, with file and line.

        *limit* None asks the network, which may ask its server.
        """
        limit = network.limit() if limit is None else limit
        found = []
        for kind in (Moment.LIVE, Moment.ENDED, ALT):
            dialect = _PLAIN if kind == ALT else _dialect(network, limit)
            for file in chain.from_iterable(self._levels(destination, network.name, kind)):
                told: dict[str, list[str]] = {}
                for sample, facts in SAMPLES.items():
                    try:
                        source = file.read()
                        _fit(source, _ended(facts) if kind == Moment.ENDED else facts, dialect)
                    except BadTemplate as problem:
                        told.setdefault(file.tell(problem), []).append(sample)
                if not told:
                    self._good[file] = source
                for what, when in told.items():
                    always = len(when) == len(SAMPLES)
                    found.append(what if always else f"{what} ({', '.join(when)})")
        return found

    def _levels(self, destination: str, network: str, kind: str) -> Iterator[list[_File]]:
        """The variants in each place, the most special place first."""
        for origin, root in self._folders:
            for folder in dict.fromkeys((f"{destination}/", f"{network}/", "")):
                names = _variants(root / folder, kind, required=not folder and not self._trial)
                head = f"{origin}:{folder}"
                tried = [one.removeprefix(head) for one in self._trial if one.startswith(head)]
                names += [name for name in tried if _is_of(name, kind) and name not in names]
                yield [
                    _File(root / folder / name, label, destination, self._trial.get(label))
                    for name in names
                    for label in [f"{head}{name}"]
                ]

    def _first_good(self, files: Iterable[_File], facts: Facts, dialect: _Dialect) -> Wording:
        why: list[str] = []
        for file in files:
            try:
                text, remark, broken = self._text(file, facts, dialect)
            except BadTemplate as problem:
                why.append(file.tell(problem))
            else:
                told = "; ".join([*why, *remark])
                return Wording(text, file.label, told, broken=broken or bool(why))
        told = "; ".join(why) or "there is no template"
        return Wording(_bare(facts, dialect), "", told, broken=True)

    def _text(self, file: _File, facts: Facts, dialect: _Dialect) -> tuple[str, list[str], bool]:
        """With what there is to say of it, and whether the file could not be used as it is now."""
        try:
            source = file.read()
            text, left_out = _fit(source, facts, dialect)
        except BadTemplate as problem:
            if file not in self._good:
                raise
            text, left_out = _fit(self._good[file], facts, dialect)
            return text, [f"{file.tell(problem)}; its last good version is used"], True
        self._good[file] = source
        remark = [f"{file.label}: no room for {left_out} of the tags"] if left_out else []
        return text, remark, False


def card(facts: Facts) -> Card:
    """What a link preview shows. A stream without a title is shown by its name."""
    told = cleaned(facts)
    return Card(told.url, told.title or told.name, told.summary, told.name)


def show(facts: Facts) -> Show:
    """What programs are told, which leaves out what only chat is."""
    told = cleaned(facts)
    return Show(**{one.name: getattr(told, one.name) for one in fields(Show)})


def _dialect(network: Network, limit: int) -> _Dialect:
    return _Dialect(network.measure, limit, network.escape, network.link)


def _variants(folder: Path, kind: str, *, required: bool) -> list[str]:
    """Names of files. A folder that can not be listed seems to hold one, which can not be read."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return [] if missing and not required else [f"{kind}.txt"]
    found = (_is_of(name, kind) for name in names)
    return [match[0] for match in sorted(filter(None, found), key=lambda m: (int(m[1] or 0), m[0]))]


def _is_of(name: str, kind: str) -> re.Match[str] | None:
    return re.fullmatch(rf"{kind}(?:\.([0-9]+))?\.txt", name)


def _turn(files: list[_File], last: str, dice: float, keep: str) -> list[_File]:
    """The one whose turn it is, then the others, for the case that it can not be used."""
    fresh = [file for file in files if file.label != last] or files
    fresh = [file for file in files if file.label == keep] or fresh
    first = fresh[min(int(dice * len(fresh)), len(fresh) - 1) :][:1]
    return [*first, *(file for file in fresh if file not in first), *(set(files) - set(fresh))]


def _fit(source: str, facts: Facts, dialect: _Dialect) -> tuple[str, int]:
    """A text that fits, and how many tags had to be left out for it. Raises BadTemplate.

    Each part is cut as little as possible, the next one only where that was not enough.
    """
    facts = cleaned(facts)
    addresses = (facts.url, facts.replay_url, *(url for _, url in facts.posts))
    sandbox = Sandbox(dialect.escape, {dialect.link(url) for url in addresses if url})
    template = sandbox.understand(source, variables(facts, dialect.link))

    def say(facts: Facts) -> str:
        return _tidy(sandbox.render(template, variables(facts, dialect.link)))

    text, tags = say(facts), len(facts.tags)
    for part, least in SHORTENED.items():
        if dialect.fits(text):
            break
        whole, low, high = facts, least, length(facts, part)
        facts = cut(whole, part, low)
        text = say(facts)
        while high - low > 1 and dialect.fits(text):
            middle = (low + high) // 2
            longer = cut(whole, part, middle)
            if dialect.fits(said := say(longer)):
                low, facts, text = middle, longer, said
            else:
                high = middle
    if not dialect.fits(text):
        size = dialect.measure(text)
        raise BadTemplate(f"is too long even without a title: {size} of {dialect.limit}")
    if is_blank(text):
        raise BadTemplate("says nothing")
    return text, tags - len(facts.tags)


def _tidy(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return _GAP.sub("\n\n", lines).strip()


def _bare(facts: Facts, dialect: _Dialect) -> str:
    """What is left to say when no template can be used: the address, or else the name."""
    told = cleaned(facts)
    address = dialect.link(told.url) if told.url else ""
    names = (cut(told, "name", n).name for n in range(length(told, "name"), 0, -1))
    ways = chain(filter(None, [address]), map(dialect.escape, names))
    return next(filter(dialect.fits, ways), "")


_AT = datetime(2026, 1, 2, 19, 30, tzinfo=UTC)
_USUAL = Facts(
    channel="default",
    name="Kestrel Workshop",
    title="Fitting a dovetail drawer",
    summary="Woodwork by hand, every Friday.",
    url="https://live.example.org",
    tags=("woodwork", "hand tools"),
    nsfw=False,
    started_at=_AT,
    replay_url="https://live.example.org/replays",
    posts=(("Mastodon", "https://social.example/@kestrel/7"),),
)
_HOSTILE = "@everyone *_~`|#> <b>[x](http://evil.example) {{ 7*7 }} {% raw %} %s \u202e\ud800 &amp;"
SAMPLES = {
    "with a usual title": _USUAL,
    "with a hostile title": replace(_USUAL, name=_HOSTILE, title=_HOSTILE, tags=(_HOSTILE,)),
    "without a title": replace(_USUAL, title="", summary="", tags=(), posts=()),
    "with an endless title": replace(_USUAL, title="a very long title " * 5_556),
    "without an address": replace(_USUAL, url="", replay_url=""),
}
"""Broadcasts that every template must have words for."""


def _ended(facts: Facts) -> Facts:
    return replace(facts, ended_at=_AT + timedelta(hours=2, minutes=5), peak_viewers=12)
