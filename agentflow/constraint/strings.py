"""Sets of strings as schemas make them: finite, or regular with bounds on the length.

Bounds on the length stay numbers as long as they can: `agentflow.constraint.index` counts characters more
cheaply than an automaton does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentflow.constraint.automaton import (
    CharDfa,
    complement,
    empty,
    from_strings,
    intersect,
    length_between,
    unite,
    universal,
)

_MAX_EXPANDED_LENGTH = 4096


@dataclass(frozen=True, eq=False)
class Strings:
    """A set of strings.

    Attributes:
        finite: The members, where the set was given by them; then the rest does not count.
        dfa: A regular set.
        minimum: Fewest characters of a member.
        maximum: Most characters, or ``None``.
    """

    finite: tuple[str, ...] | None = None
    dfa: CharDfa = universal()  # noqa: RUF009 - immutable
    minimum: int = 0
    maximum: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is certainly no member."""
        if self.finite is not None:
            return not self.finite
        if self.dfa.is_empty or (self.maximum is not None and self.maximum < self.minimum):
            return True
        if self.dfa.is_universal or (self.minimum == 0 and self.maximum is None):
            return False
        longest = self.dfa.max_length
        return longest is not None and longest < self.minimum

    @property
    def is_free(self) -> bool:
        """Whether every string is a member."""
        return self.finite is None and self.dfa.is_universal and self.minimum == 0 and self.maximum is None

    def accepts(self, text: str) -> bool:
        """Say whether `text` is a member."""
        if self.finite is not None:
            return text in self.finite
        is_short = self.maximum is None or len(text) <= self.maximum
        return is_short and len(text) >= self.minimum and self.dfa.accepts(text)

    def expand(self) -> CharDfa:
        """Write the length bounds into the automaton; a bound beyond some thousands is lowered to that."""
        if self.finite is not None:
            return from_strings(self.finite)
        if self.minimum == 0 and self.maximum is None:
            return self.dfa
        maximum = self.maximum
        if maximum is not None:
            maximum = max(self.minimum, min(maximum, _MAX_EXPANDED_LENGTH)) if maximum >= self.minimum else maximum
            longest = self.dfa.max_length
            if longest is not None and longest <= maximum:
                maximum = None
        if maximum is not None and maximum < self.minimum:
            return empty()
        return intersect(self.dfa, length_between(self.minimum, maximum))


ALL = Strings()
NONE = Strings(finite=())


def of_length(minimum: int, maximum: int | None) -> Strings:
    """Give the strings of some length."""
    return Strings(minimum=minimum, maximum=maximum) if maximum is None or maximum >= minimum else NONE


def of_values(values: Iterable[str]) -> Strings:
    """Give a finite set."""
    return Strings(finite=tuple(dict.fromkeys(values)))


def meet(a: Strings, b: Strings) -> Strings:
    """Intersect."""
    if a.finite is not None:
        return of_values(text for text in a.finite if b.accepts(text))
    if b.finite is not None:
        return meet(b, a)
    bounds = [m for m in (a.maximum, b.maximum) if m is not None]
    return Strings(None, intersect(a.dfa, b.dfa), max(a.minimum, b.minimum), min(bounds) if bounds else None)


def join(a: Strings, b: Strings) -> Strings:  # noqa: PLR0911 - from the simple cases to the costly one
    """Unite."""
    if a.is_empty:
        return b
    if b.is_empty:
        return a
    if a.finite is not None and b.finite is not None:
        return of_values((*a.finite, *b.finite))
    if a.is_free or b.is_free:
        return ALL
    if a.finite is None and b.finite is None and (a.minimum, a.maximum) == (b.minimum, b.maximum):
        return Strings(None, unite(a.dfa, b.dfa), a.minimum, a.maximum)
    if a.finite is None and b.finite is None and a.dfa.key == b.dfa.key:
        low, high = sorted((a, b), key=lambda s: s.minimum)
        if low.maximum is None or low.maximum + 1 >= high.minimum:
            bounds = (low.maximum, high.maximum)
            top = None if None in bounds else max(m for m in bounds if m is not None)
            return Strings(None, a.dfa, low.minimum, top)
    return Strings(None, unite(a.expand(), b.expand()))


def negate(a: Strings) -> Strings:
    """Give all other strings."""
    if a.finite is not None:
        return Strings(None, complement(from_strings(a.finite)))
    result = Strings(None, complement(a.dfa))
    if a.minimum:
        result = join(result, of_length(0, a.minimum - 1))
    if a.maximum is not None:
        result = join(result, of_length(a.maximum + 1, None))
    return result
