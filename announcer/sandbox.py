"""A template's source becomes a text: sandboxed, within bounds, and every value escaped once.

Templates are the operator's and as trusted as settings, but some are copied from strangers and
all are edited in a hurry: none may hang us, fill the memory or change what it was given.
"""

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import CodeType
from typing import Any

import regex
from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from announcer.budget import BadTemplate as BadTemplate
from announcer.budget import (
    Budget,
    CountedCode,
    ShortNamespace,
    bounded_range,
    joined,
    replaced,
)

LENGTH = 65_536
"""Code points a text or a repeated string may have, far beyond any network's limit."""
BIG = 8192
"""Letters of a template of which few are kept as programs."""
_GROWS = frozenset(
    {"batch", "center", "expandtabs", "format", "format_map", "indent", "ljust", "lipsum"}
    | {"rjust", "slice", "to_bytes", "zfill", "wordwrap", "urlize", "translate", "sum"}
    | {"encode", "decode"}
)
"""Filters, functions and methods that make gigabytes out of one number or two texts, or take hours
for a long one.
"""


class Ready(str):
    """Text that is in the network's dialect already: printed as it is."""

    __slots__ = ()


class Sandbox(Budget, ImmutableSandboxedEnvironment):
    """Templates for one dialect. *links* are never escaped, wherever they stand in a value.

    One text at a time: it counts steps, so threads must not share one.
    """

    code_generator_class = CountedCode
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, escape: Callable[[str], str], links: Collection[str]) -> None:
        super().__init__(undefined=StrictUndefined, finalize=self._printed, optimized=False)
        self._escape = escape
        longest_first = sorted(map(regex.escape, links), key=len, reverse=True)
        self._links = regex.compile(f"({'|'.join(longest_first)})") if links else None
        self.begin()
        self.filters |= {"join": joined, "replace": replaced}
        self.globals |= {"range": bounded_range, "namespace": ShortNamespace}
        for name in _GROWS:
            self.filters.pop(name, None)
            self.globals.pop(name, None)

    def understand(self, source: str, known: Collection[str]) -> Template:
        """Raises BadTemplate for a syntax error, and for a variable that is not *known*."""
        compiled = _compiled if len(source) < BIG else _compiled_big
        code, uses = compiled(source, _Dialect(self._escape))
        unknown = uses.keys() - set(known)
        if unknown:
            raise BadTemplate(_unknown(unknown, known), min(uses[name] for name in unknown))
        return Template.from_code(self, code, self.make_globals(None))

    def render(self, template: Template, values: Mapping[str, object]) -> str:
        """Raises BadTemplate, whatever goes wrong."""
        self.begin()
        length, pieces = 0, []
        try:
            for piece in template.generate(values):
                pieces.append(piece)
                length += len(piece)
                if length > LENGTH:
                    raise BadTemplate("makes an endless text")
        except Exception as error:  # noqa: BLE001  # a template is a program: anything
            reason = str(error) or type(error).__name__
            stack = traceback.extract_tb(error.__traceback__)
            lines = [at.lineno for at in stack if at.filename == "<template>"]
            raise BadTemplate(reason, (lines[-1] if lines else 0) or 0) from None
        return "".join(pieces)

    def side_by_side(self, values: Iterable[object]) -> str:
        """What `~` makes."""
        return str(joined(self, values))

    def concat(self, pieces: Iterable[str]) -> str:
        """What a macro or a `{% set %}` block made was escaped when it was made."""
        return Ready(joined(self, pieces))

    def call(self, context: Context, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        of, name = getattr(what, "__self__", None), getattr(what, "__name__", "")
        if isinstance(of, str) and name == "join":
            (pieces,) = args
            return self.made(joined(self, pieces, of))
        if isinstance(of, str) and name == "replace":
            return self.made(replaced(self, of, *args, **kwargs))
        return self.made(super().call(context, what, *args, **kwargs))

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        """By `map` and its like."""
        return self.made(super().call_filter(*args, **kwargs))

    def wrap_str_format(self, value: Any) -> None:
        """Never: one number makes gigabytes in its way, too."""

    def _printed(self, value: object) -> str:
        text = self._shown(value)
        self.spend(len(text))
        return text

    def _shown(self, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, Ready | int | float):
            return str(value)
        if self._links is None:
            return self._escape(str(value))
        pieces = self._links.split(str(value))  # every second piece is a link
        pieces[::2] = map(self._escape, pieces[::2])
        return "".join(pieces)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _GROWS and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if numbers:
            too_big = max(abs(left), abs(right)) > (16 if operator == "**" else 2**64)
        elif operator == "+":
            too_big = False  # twice what there is at most
        elif operator == "*":
            times, of = (left, right) if isinstance(left, int) else (right, left)
            too_big = times * len(of) > LENGTH
        else:
            too_big = True
        if too_big:
            raise SecurityError(f"this use of {operator} is not allowed in a template")
        return self.made(super().call_binop(context, operator, left, right))


class _Dialect:
    """How constants are escaped. All accounts of a network have one: with a thousand of them, their
    templates would be compiled for each post.
    """

    def __init__(self, escape: Callable[[str], str]) -> None:
        self.escape = escape
        self._way = getattr(escape, "__func__", escape)  # a method of whichever account

    def __hash__(self) -> int:
        return hash(self._way)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Dialect) and self._way is other._way


def _compile(source: str, dialect: _Dialect) -> tuple[CodeType, dict[str, int]]:
    """The program that *source* is, and the first line of each variable that it takes from outside.
    For each *dialect*, because Jinja escapes constants already when it compiles. Raises
    BadTemplate.
    """
    grammar = Sandbox(dialect.escape, ())
    try:
        tree = grammar.parse(source)
        outside = find_undeclared_variables(tree)
        uses: dict[str, int] = {}
        for name in tree.find_all(nodes.Name):
            if name.name in outside:
                uses[name.name] = min(name.lineno, uses.get(name.name, name.lineno))
        return grammar.compile(source), uses
    except TemplateSyntaxError as error:
        raise BadTemplate(error.message or "syntax error", error.lineno) from None
    except Exception as error:  # noqa: BLE001  # deep nesting breaks Python's own compiler
        raise BadTemplate(f"can not be compiled ({type(error).__name__})") from None


# Kept, because compiling costs ten times what running does; but each of the editor's attempts at a
# big one would take megabytes.
_compiled, _compiled_big = lru_cache(256)(_compile), lru_cache(4)(_compile)


def _unknown(names: Collection[str], known: Collection[str]) -> str:
    told = []
    for name in sorted(names):
        near = get_close_matches(name, known, 1)
        told.append(f"'{name}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
    kind = "unknown variable" if len(told) == 1 else "unknown variables"
    return f"{kind} {', '.join(told)}; known are {', '.join(sorted(known))}"
