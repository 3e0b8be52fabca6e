"""What every destination would show with words that are on trial, and what is wrong with them.

Nothing is written and nobody is asked: the limits are those that are known already.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from markupsafe import Markup

from announcer import wiring
from announcer.attempt import manners_of
from announcer.facts import Facts
from announcer.fitting import ALT_LIMIT, PLAIN
from announcer.network import Account, Dialect, Moment, Network, Post, Receipt, Refused, Repeat
from announcer.policy import Ending
from announcer.shelf import Sheet
from announcer.web import samples
from announcer.web.dialects import read
from announcer.web.limits import Limits
from announcer.web.say import say
from announcer.wiring import Parts
from announcer.wording import ALT, LARGEST, Fault, Templates, card, faults

BUDGET = 3.0
"""Seconds for one trial: a template is a program, and many destinations try it."""


class Anybody(Network):
    """Stands in where no destination uses a file: its words can be wrong all the same."""

    name = "anybody"
    title = say("template.anywhere")
    repeat = Repeat.DOUBLES
    unit = say("template.characters")
    usual_limit = 500

    def publish(self, post: Post) -> Receipt:
        raise Refused(f"there is no such place for {post.key}")

    def check(self) -> Account:
        return Account("nobody")


@dataclass(frozen=True)
class Trial:
    """What one destination would show. *text* is markup of ours around escaped words. *size* of
    *limit* counts in *unit*; not *sure* of it says that its server has not told yet. *instead* is
    the file whose words these are if those on trial are *broken*. *turns* are the variants that it
    takes turns with, *before* is the file of another place that it takes over from. *ends* is how
    the end is told.
    """

    destination: str
    network: str
    title: str
    account: str
    text: Markup
    size: int
    limit: int
    unit: str
    sure: bool
    problem: str
    broken: bool
    instead: str
    turns: list[str]
    before: str
    ends: str
    alt: bool
    card_title: str = ""
    card_text: str = ""
    host: str = ""

    @property
    def share(self) -> int:
        return min(100, round(100 * self.size / self.limit)) if self.limit else 100

    @property
    def tone(self) -> str:
        if self.broken:
            return "bad"
        return "wait" if self.problem else "good"


@dataclass(frozen=True)
class Other:
    """A destination that does not use the file: the one that it does use, or why it needs none."""

    destination: str
    file: str = ""
    why: str = ""


@dataclass(frozen=True)
class Wrong:
    """A fault as the page tells it; *when* is empty if it is one everywhere and always."""

    line: int
    words: str
    when: str
    always: bool


@dataclass(frozen=True)
class Outcome:
    trials: list[Trial]
    others: list[Other]
    wrong: list[Wrong]
    late: list[str]
    """Destinations that there was no time for."""
    known: list[tuple[str, str, str]]
    """The variables that exist, what each is, and what it is in this sample."""

    @property
    def broken(self) -> bool:
        return any(one.always for one in self.wrong)

    @property
    def marks(self) -> list[tuple[int, str]]:
        """What is to stand beside which line."""
        return [(one.line, one.words) for one in self.wrong if one.line]

    @property
    def sure(self) -> bool:
        return all(one.sure for one in self.trials)


class Bench:
    """Where words are tried. One for the app: it remembers what was found wrong with them."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        self._parts, self._limits = parts, limits
        self._found: dict[tuple[object, ...], list[Fault]] = {}

    def templates(self) -> Templates:
        """As they are now."""
        return wiring.composer(self._parts.settings).templates

    def destinations(self) -> dict[str, Network]:
        """All that are told of streams."""
        settings = self._parts.settings
        return {
            name: network
            for name, network in settings.destinations.items()
            if name not in settings.service.alerts
        }

    def try_out(self, sheet: Sheet, source: str, choice: str) -> Outcome:
        """*source* as if it were saved as the operator's own *sheet*."""
        end, today = time.monotonic() + BUDGET, self.templates()
        tried, label = today.trying(sheet.name, source), f"own:{sheet.name}"
        of = samples.sample(self._parts, choice)
        trials: list[Trial] = []
        others: list[Other] = []
        late: list[str] = []
        found: dict[Fault, list[str]] = {}
        too_large = len(source.encode("utf-8", "replace")) > LARGEST
        for name, network in self._places(tried, sheet, others).items():
            if too_large or (trials and time.monotonic() > end):
                late.append(name)
                continue
            facts = samples.facts(self._parts, of, sheet.kind, name, network)
            trials.append(self._trial(tried, today, sheet, label, name, network, facts))
        for one in trials:
            network = self._network(one.destination)
            if time.monotonic() > end and one is not trials[0]:
                break  # what is wrong for one is mostly wrong for all
            for fault in self._faults(source, sheet.kind, network, one.limit):
                found.setdefault(fault, []).append(one.destination)
        wrong = _wrong(found, [one.destination for one in trials])
        if too_large:
            wrong = [Wrong(0, say("template.too_large"), "", always=True)]
        first = trials[0].destination if trials else ""
        facts = samples.facts(self._parts, of, sheet.kind, first, self._network(first))
        return Outcome(trials, others, wrong, [] if too_large else late, samples.known(facts))

    def _network(self, name: str) -> Network:
        return self._parts.settings.destinations.get(name) or Anybody()

    def _places(self, tried: Templates, sheet: Sheet, others: list[Other]) -> dict[str, Network]:
        """Those that would use it; the rest becomes *others*, if it is any concern of theirs."""
        places: dict[str, Network] = {}
        for name, network in self.destinations().items():
            if sheet.folder not in ("", network.name, name):
                continue
            used = tried.used(name, network, sheet.kind)
            if why := _no_use(sheet.kind, network):
                others.append(Other(name, why=why))
            elif f"own:{sheet.name}" not in (used[:1] if sheet.kind == ALT else used):
                others.append(Other(name, file=used[0] if used else ""))
            else:
                places[name] = network
        return places or {"": Anybody()}

    def _trial(
        self,
        tried: Templates,
        today: Templates,
        sheet: Sheet,
        label: str,
        name: str,
        network: Network,
        facts: Facts,
    ) -> Trial:
        alt = sheet.kind == ALT
        limit, sure = (ALT_LIMIT, True) if alt else self._limits.of(name, network)
        if alt:
            wording = tried.alt(network, name, facts)
        else:
            mood = Moment(sheet.kind)
            wording = tried.word(network, name, mood, facts, keep=label, limit=limit)
        used, before = (one.used(name, network, sheet.kind) for one in (tried, today))
        behind = card(facts) if facts.url and not alt else None
        return Trial(
            destination=name,
            network=network.name,
            title=network.title,
            account=name.partition(".")[2],
            text=read(wording.text, Dialect.PLAIN if alt else network.dialect),
            size=(PLAIN.measure if alt else network.measure)(wording.text),
            limit=limit,
            unit=say("template.alt_unit") if alt else network.unit,
            sure=sure,
            problem=wording.problem,
            broken=wording.broken,
            instead=wording.template if wording.template != label else "",
            turns=[file for file in used if name and not alt and file != label],
            before=_other(before, [*used, f"shipped:{sheet.name}"]) if name else "",
            ends=say(f"template.ends_{_ending(network)}") if sheet.kind == Moment.ENDED else "",
            alt=alt,
            card_title=behind.title if behind else "",
            card_text=behind.description if behind else "",
            host=urlsplit(behind.url).hostname or "" if behind else "",
        )

    def _faults(self, source: str, kind: str, network: Network, limit: int) -> list[Fault]:
        """Found once for all accounts of a network with the same limit."""
        key = (source, kind, type(network), limit)
        if key not in self._found:
            if len(self._found) > 32:
                self._found.clear()
            self._found[key] = faults(source, kind, network, limit)
        return self._found[key]


def _other(before: list[str], used: list[str]) -> str:
    return before[0] if before and before[0] not in used else ""


def _ending(network: Network) -> Ending:
    return manners_of(network).ending


def _no_use(kind: str, network: Network) -> str:
    """Why a destination needs no words of this kind; empty if it does."""
    if kind == Moment.ENDED and _ending(network) in (Ending.LEAVE, Ending.REMOVE):
        return say(f"template.ends_{_ending(network)}")
    if kind == ALT and not (network.shows_pictures and network.describes_pictures):
        return say("template.no_picture")
    return ""


def _wrong(found: Mapping[Fault, Iterable[str]], tried: list[str]) -> list[Wrong]:
    wrong = []
    for fault, where in sorted(found.items(), key=lambda pair: pair[0].line):
        places = [name for name in where if name]
        at = say("template.at", places=", ".join(places)) if places and places != tried else ""
        when = ", ".join(fault.samples)
        words = fault.words.partition("; known are")[0]  # they stand beside it
        wrong.append(Wrong(fault.line, words, "; ".join(filter(None, (at, when))), not when))
    return wrong
