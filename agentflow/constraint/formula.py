"""The logic of a schema for values of one type.

A schema, asked about one JSON type at a time, is a formula in negation normal form: its leaves are atoms such as "at
least 5" or "has the property a". Keywords that say nothing about the type are true and drop out, so formulas
are small. Numbers and strings are evaluated as sets; for arrays and objects the formula is expanded into alternatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeAlias, Union

from agentflow.constraint.limits import current, spend
from agentflow.errors import UnsupportedSchemaError


class Literal(NamedTuple):
    """A schema (by its number) that must hold, or must not."""

    schema: int
    is_positive: bool

    def negate(self) -> Literal:
        """Give the opposite."""
        return Literal(self.schema, not self.is_positive)


@dataclass(frozen=True)
class Atom:
    """A leaf. `kind` says what `payload` is; see `agentflow.constraint.keywords`."""

    kind: str
    payload: Any


@dataclass(frozen=True)
class And:
    """All of the parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """One of the parts at least."""

    parts: tuple[Formula, ...]


Formula: TypeAlias = Union[Atom, And, Or]
_MANY = 16
TRUE: Formula = And(())
FALSE: Formula = Or(())


def both(parts: Iterable[Formula]) -> Formula:
    """Conjoin, simplified."""
    flat: list[Formula] = []
    for part in parts:
        if part == FALSE:
            return FALSE
        flat += part.parts if isinstance(part, And) else (part,)
    flat = _distinct(flat)
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(parts: Iterable[Formula]) -> Formula:
    """Disjoin, simplified."""
    flat: list[Formula] = []
    for part in parts:
        if part == TRUE:
            return TRUE
        flat += part.parts if isinstance(part, Or) else (part,)
    flat = _join_absent(_distinct(flat))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def _join_absent(parts: list[Formula]) -> list[Formula]:
    """Write "it is absent, or there and like this" as one atom: "if it is there, it is like this"."""
    absent = {part.payload[0]: part for part in parts if isinstance(part, Atom) and part.kind == "has"
              and not part.payload[1]}  # fmt: skip
    for name, lacking in absent.items():
        for part in parts:
            atoms = part.parts if isinstance(part, And) and len(part.parts) == 2 else ()  # noqa: PLR2004 - a pair
            field = next((atom for atom in atoms if isinstance(atom, Atom) and atom.kind == "fields"), None)
            if field is None or has(name) not in atoms or [key for key, _ in field.payload[0]] != [name]:
                continue
            if field.payload[1:] == ((), None):
                return [field if p is part else p for p in parts if p != lacking]
    return parts


def _distinct(parts: list[Formula]) -> list[Formula]:
    """Drop repetitions; comparing is cheaper than hashing for few parts."""
    if len(parts) > _MANY:
        return list(dict.fromkeys(parts))
    return [part for i, part in enumerate(parts) if part not in parts[:i]]


def has(name: str, *, is_present: bool = True) -> Formula:
    """Say that an object has, or lacks, a property."""
    return Atom("has", (name, is_present))


def is_presence(formula: Formula) -> bool:
    """Say whether a formula is about which properties are present alone."""
    if isinstance(formula, Atom):
        return formula.kind == "has"
    return all(map(is_presence, formula.parts))


def assume(formula: Formula, name: str, *, is_present: bool) -> Formula:
    """Simplify a presence formula, knowing whether a property is there."""
    if isinstance(formula, Atom):
        if formula.payload[0] != name:
            return formula
        return TRUE if formula.payload[1] == is_present else FALSE
    parts = [assume(part, name, is_present=is_present) for part in formula.parts]
    return both(parts) if isinstance(formula, And) else either(parts)


def names_of(formula: Formula) -> set[str]:
    """Give the properties that a presence formula speaks of."""
    if isinstance(formula, Atom):
        return {formula.payload[0]}
    return {name for part in formula.parts for name in names_of(part)}


def units(formula: Formula) -> dict[str, bool] | None:
    """Give what a presence formula decides at once; ``None``: it contradicts itself."""
    known: dict[str, bool] = {}
    while True:
        parts = formula.parts if isinstance(formula, And) else (formula,)
        fresh = [part.payload for part in parts if isinstance(part, Atom)]
        if formula == FALSE:
            return None
        if not fresh:
            return known
        for name, is_present in fresh:
            if known.get(name, is_present) != is_present:
                return None
            known[name] = is_present
            formula = assume(formula, name, is_present=is_present)


def alternatives(
    formula: Formula, is_possible: Callable[[tuple[Atom, ...]], bool], keyword: str, pointer: str
) -> list[tuple[Atom, ...]]:
    """Expand a formula into alternatives, each a conjunction of atoms.

    Presence formulas are not expanded: they stay one atom of kind ``presence``.

    Args:
        formula: The formula.
        is_possible: Whether a conjunction may have a member; those that cannot are dropped on the way.
        keyword: Keyword to name in errors.
        pointer: Place to name in errors.

    Raises:
        UnsupportedSchemaError: More alternatives than `CompileLimits.max_alternatives`.
    """
    expansion = _Expansion(is_possible, current().max_alternatives, keyword, pointer)
    unique: dict[frozenset[Atom], tuple[Atom, ...]] = {}
    for conjunction in expansion.expand(formula):
        unique.setdefault(frozenset(conjunction), conjunction)
    return [c for c in unique.values() if expansion.is_possible(c)]


class _Expansion:
    """The expansion of one formula; see `alternatives`."""

    def __init__(self, is_possible: Callable[[tuple[Atom, ...]], bool], limit: int, keyword: str, pointer: str) -> None:
        self._ask = is_possible
        self._known: dict[tuple[Atom, ...], bool] = {}
        self._limit = limit
        self._keyword = keyword
        self._pointer = pointer

    def is_possible(self, conjunction: tuple[Atom, ...]) -> bool:
        """Say whether a conjunction may have a member; each is asked about once."""
        found = self._known.get(conjunction)
        if found is None:
            found = self._known[conjunction] = self._ask(conjunction)
        return found

    def expand(self, part: Formula) -> list[tuple[Atom, ...]]:
        """Give the conjunctions of a part of the formula."""
        if is_presence(part):
            return [] if part == FALSE else [(Atom("presence", part),)] if part != TRUE else [()]
        if isinstance(part, Atom):
            return [(part,)]
        groups = _group(part)
        found = list(chain.from_iterable(map(self.expand, groups))) if isinstance(part, Or) else self._join(groups)
        if len(found) > self._limit:
            raise UnsupportedSchemaError(
                self._keyword, pointer=self._pointer,
                reason=f"its logic branches into more than {self._limit} alternatives",
                hint="simplify the schema, or raise CompileLimits.max_alternatives",
            )  # fmt: skip
        return found

    def _join(self, parts: list[Formula]) -> list[tuple[Atom, ...]]:
        """Join alternatives of all parts, those that branch least first; a single one is looked at in the end."""
        found: list[tuple[Atom, ...]] = [()]
        for part in sorted(parts, key=_width):
            options = self.expand(part)
            found = [_conjoin(a, b) for a in found for b in options]
            if len(found) > 1:
                found = [c for c in found if self.is_possible(c)]
            spend(len(found))
            if len(found) > self._limit:
                break
        return found


def _group(formula: And | Or) -> list[Formula]:
    """Put all presence parts of a node into one."""
    presence = [part for part in formula.parts if is_presence(part)]
    others = [part for part in formula.parts if not is_presence(part)]
    if presence:
        others.insert(0, both(presence) if isinstance(formula, And) else either(presence))
    return others


def _width(formula: Formula) -> int:
    return len(formula.parts) if isinstance(formula, Or) and not is_presence(formula) else 1


def _conjoin(a: tuple[Atom, ...], b: tuple[Atom, ...]) -> tuple[Atom, ...]:
    presence = [atom.payload for atom in (*a, *b) if atom.kind == "presence"]
    others = tuple(dict.fromkeys(atom for atom in (*a, *b) if atom.kind != "presence"))
    return (Atom("presence", both(presence)), *others) if presence else others
