"""Figures, as they go onto the page."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Aim:
    """*what* was to be *wanted*, and is *found*."""

    what: str
    wanted: str
    found: str
    met: bool


@dataclass
class Section:
    """What one part found. *about* says how, *tables* what, *notes* what to bear in mind."""

    title: str
    about: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)

    def below(self, what: str, limit: float, found: float, unit: str = "ms") -> None:
        """An aim that is met by less than *limit*."""
        self.aims.append(Aim(what, f"< {limit:g} {unit}", f"{found:.3g} {unit}", found < limit))

    def above(self, what: str, least: float, found: float) -> None:
        """An aim that is met by *least* or more."""
        self.aims.append(Aim(what, f">= {least:,.0f}", f"{found:,.0f}", found >= least))


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of pairs that were measured right after each other."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def ms(seconds: float) -> str:
    """With as many digits as it deserves."""
    return number(seconds * 1000)


def number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
