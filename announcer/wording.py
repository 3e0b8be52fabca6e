"""From a broadcast to a text that fits: which template, which words, how long.

A template can never lose a post: whatever is wrong with it, other words are found and the reason is
told. `fitting` makes the text, in which what Owncast tells is data: cleaned, inert in the network's
dialect and, where it is too long, cut. Pure, apart from reading the template files.
"""

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

from announcer.facts import SAMPLES, cleaned, one_line, over
from announcer.facts import Facts as Facts
from announcer.facts import clean as clean
from announcer.fitting import PLAIN, Dialect, bare, dialect_of, fit
from announcer.network import Card, Moment, Network, Show
from announcer.sandbox import BadTemplate

_HERE = Path(__file__).parent
SHIPPED = next(filter(Path.is_dir, [_HERE / "templates"]), _HERE.parent / "templates")
"""Inside the installed package, or beside it in the repository."""
ALT = "alt"
"""The kind of template that describes the picture."""
LARGEST = 64 * 1024
"""Bytes of one template file."""


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
class Fault:
    """What is wrong with a template: at which *line*, 0 if unknown, and with which *samples*; with
    all, if none are named.
    """

    line: int
    words: str
    samples: tuple[str, ...] = ()


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
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise BadTemplate(f"can not be read ({error.strerror})") from None
        if len(content) > LARGEST:
            raise BadTemplate("is larger than 64 KiB")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadTemplate("is not UTF-8", content.count(b"\n", 0, error.start) + 1) from None

    @property
    def is_there(self) -> bool:
        if self.instead is None:
            try:
                self.path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError:
                return True  # and can not be read
        return True

    def tell(self, fault: Fault) -> str:
        line = f" line {fault.line}" if fault.line else ""
        when = f" ({', '.join(fault.samples)})" if fault.samples else ""
        return f"{self.label}{line}: {fault.words}{when}"


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
        own = [] if self._folders[0][0] == "own" else [("own", SHIPPED / "none")]
        other._folders, other._trial = [*own, *self._folders], {f"own:{name}": source}
        return other

    def used(self, destination: str, network: Network, kind: str) -> list[str]:
        """The files that word it: of the most special place that has any, one or its variants."""
        levels = self._levels(destination, network.name, kind)
        found = ([file.label for file in level if file.is_there] for level in levels)
        return next(filter(None, found), [])

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
        limit: int | None = None,
    ) -> Wording:
        """A text that fits. Never raises for a bad template.

        *dice*, from 0 to 1, chooses among variants, but never *last*, which is the `template` of
        the wording before, if there is another. *keep* is the one to stay with, for an edit.
        *limit* None asks the network, which may ask its server.
        """
        limit = network.limit() if limit is None else limit
        levels = self._levels(destination, network.name, mood)
        files = chain.from_iterable(_turn(level, last, dice, keep) for level in levels)
        return self._first_good(files, facts, dialect_of(network, limit))

    def alt(self, network: Network, destination: str, facts: Facts) -> Wording:
        """The description of the picture: plain text of at most 1000 UTF-16 units."""
        files = chain.from_iterable(self._levels(destination, network.name, ALT))
        return self._first_good(files, facts, PLAIN)

    def problems(
        self, destination: str, network: Network, *, limit: int | None = None
    ) -> list[str]:
        """What is wrong with any template that this destination could use, with file and line.

        *limit* None asks the network, which may ask its server.
        """
        limit = network.limit() if limit is None else limit
        found = []
        for kind in (Moment.LIVE, Moment.ENDED, ALT):
            for file in chain.from_iterable(self._levels(destination, network.name, kind)):
                try:
                    source = file.read()
                except BadTemplate as problem:
                    found.append(file.tell(_fault(problem)))
                    continue
                wrong = faults(source, kind, network, limit)
                if not wrong:
                    self._good[file] = source
                found += map(file.tell, wrong)
        return found

    def _levels(self, destination: str, network: str, kind: str) -> Iterator[list[_File]]:
        """The variants in each place, the most special place first."""
        for origin, root in self._folders:
            for folder in dict.fromkeys((f"{destination}/", f"{network}/", "")):
                head = f"{origin}:{folder}"
                tried = [one.removeprefix(head) for one in self._trial if one.startswith(head)]
                names = _names(root / folder, kind, required=not folder and not self._trial)
                yield [
                    _File(root / folder / name, label, destination, self._trial.get(label))
                    for name in _variants({*names, *tried}, kind)
                    for label in [f"{head}{name}"]
                ]

    def _first_good(self, files: Iterable[_File], facts: Facts, dialect: Dialect) -> Wording:
        why: list[str] = []
        for file in files:
            try:
                text, remark, broken = self._text(file, facts, dialect)
            except BadTemplate as problem:
                why.append(file.tell(_fault(problem)))
            else:
                told = "; ".join([*why, *remark])
                return Wording(text, file.label, told, broken=broken or bool(why))
        told = "; ".join(why) or "there is no template"
        return Wording(bare(facts, dialect), "", told, broken=True)

    def _text(self, file: _File, facts: Facts, dialect: Dialect) -> tuple[str, list[str], bool]:
        """With what there is to say of it, and whether the file could not be used as it is now."""
        try:
            source = file.read()
            text, left_out = fit(source, facts, dialect)
        except BadTemplate as problem:
            if file not in self._good:
                raise
            text, left_out = fit(self._good[file], facts, dialect)
            return text, [f"{file.tell(_fault(problem))}; its last good version is used"], True
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


def faults(source: str, kind: str, network: Network, limit: int) -> list[Fault]:
    """What is wrong with the words *source* of a template of this *kind*, by line."""
    place = PLAIN if kind == ALT else dialect_of(network, limit)
    told: dict[Fault, list[str]] = {}
    for sample, facts in SAMPLES.items():
        try:
            fit(source, over(facts) if kind == Moment.ENDED else facts, place)
        except BadTemplate as problem:
            told.setdefault(_fault(problem), []).append(sample)
    return [
        fault if len(samples) == len(SAMPLES) else replace(fault, samples=tuple(samples))
        for fault, samples in sorted(told.items(), key=lambda pair: pair[0].line)
    ]


def _fault(problem: BadTemplate) -> Fault:
    return Fault(problem.line, one_line(str(problem)))


def _names(folder: Path, kind: str, *, required: bool) -> list[str]:
    """Of its files. A folder that can not be listed seems to hold one, which can not be read."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return [] if missing and not required else [f"{kind}.txt"]


def _variants(names: Iterable[str], kind: str) -> list[str]:
    """Those of *names* that are of this kind, in order."""
    found = filter(None, (_is_of(name, kind) for name in names))
    return [match[0] for match in sorted(found, key=lambda m: (int(m[1] or 0), m[0]))]


def _is_of(name: str, kind: str) -> re.Match[str] | None:
    return re.fullmatch(rf"{kind}(?:\.([0-9]+))?\.txt", name)


def _turn(files: list[_File], last: str, dice: float, keep: str) -> list[_File]:
    """The one whose turn it is, then the others, for the case that it can not be used."""
    fresh = [file for file in files if file.label != last] or files
    fresh = [file for file in files if file.label == keep] or fresh
    first = fresh[min(int(dice * len(fresh)), len(fresh) - 1) :][:1]
    return [
        *first,
        *(file for file in fresh if file not in first),
        *(file for file in files if file not in fresh),
    ]
