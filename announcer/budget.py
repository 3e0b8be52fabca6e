"""What one text may cost while a template makes it: steps, room and time.

Jinja's own sandbox guards what may be reached, and not how much is made of it: a filter and fifty
signs are enough for all the memory there is.
Sources: Jinja 3.1 compiler.py, filters.py, sandbox.py.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from jinja2 import Environment, nodes, pass_environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.utils import Namespace

STEPS = 20_000
"""Blocks that may be entered for one text: every turn of a loop, every call of a macro."""
MADE = 1024 * 1024
"""Code points and items that all values together may have which are made for one text."""
SECONDS = 1.0
"""Of computing for one text."""
LONGEST_RANGE = 10_000
T = TypeVar("T")


class BadTemplate(Exception):
    """str() says what is wrong with a template, for the operator; *line* is 0 if unknown."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


class Budget(Environment):
    """For one text at a time. A compiled template calls this, and gets BadTemplate if it wants too
    much.
    """

    def begin(self) -> None:
        self._steps, self._left, self._until = STEPS, MADE, time.thread_time() + SECONDS

    def step(self) -> None:
        """Called by the compiled template, once for each block that it enters."""
        self._steps -= 1
        if self._steps < 0 or time.thread_time() > self._until:
            raise BadTemplate("does not come to an end")

    def spend(self, much: int) -> None:
        """Raises BadTemplate if there is not so much left, before it is made."""
        self._left -= 1 + much
        if self._left < 0:
            raise BadTemplate("makes too much on its way")
        if time.thread_time() > self._until:
            raise BadTemplate("does not come to an end")

    def made(self, value: T) -> T:
        """Counted with all that is in it: the same list may stand in another many times."""
        waiting: list[object] = [value]
        much = -1
        while waiting and much < self._left:
            one = waiting.pop()
            much += 1 + (len(one) if isinstance(one, str | bytes | range) else 0)
            if isinstance(one, dict):
                waiting += [*one.keys(), *one.values()]
            elif isinstance(one, list | tuple | set | frozenset):
                waiting += one
        self.spend(much)
        return value


class CountedCode(CodeGenerator):
    """All that a template makes on its way goes through the sandbox, which counts it."""

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        self.writeline("environment.step()")
        super().blockvisit(nodes, frame)

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        """Nothing is worked out while compiling, where nobody counts."""
        if not isinstance(node, nodes.TemplateData | nodes.Const):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:  # noqa: N802  # Jinja's
        self._made(super().visit_Filter, node, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802  # Jinja's
        self._made(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802  # Jinja's
        self._made(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802  # Jinja's
        if node.ctx == "load":
            self._made(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802  # Jinja's
        self._made(super().visit_Getitem, node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  # Jinja's
        self.write("environment.side_by_side((")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")

    def _made(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.made(")
        visit(node, frame)
        self.write(")")


class ShortNamespace(Namespace):
    """Never shown with all that is in it, for which there may be no room."""

    __repr__ = object.__repr__


def bounded_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > LONGEST_RANGE:
        raise OverflowError(f"Range too big: {LONGEST_RANGE} numbers at most")
    return numbers


@pass_environment
def joined(
    budget: Budget, value: Iterable[Any], d: object = "", attribute: str | int | None = None
) -> str:
    """Jinja's filter `join`."""
    between, pieces = str(d), []
    for one in map(make_attrgetter(budget, attribute), value) if attribute is not None else value:
        pieces.append(str(one))
        budget.spend(len(pieces[-1]) + len(between))
    return between.join(pieces)


@pass_environment
def replaced(budget: Budget, s: object, old: object, new: object, count: int = -1) -> str:
    """Jinja's filter `replace`."""
    text, before, after = str(s), str(old), str(new)
    times = text.count(before)
    budget.spend((min(times, count) if count >= 0 else times) * len(after))
    return text.replace(before, after, count)
