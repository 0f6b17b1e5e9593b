"""Formulas about scalars, evaluated as sets: booleans, numbers and strings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from agentflow.constraint import numbers, strings
from agentflow.constraint.automaton import CharDfa, intersect, subtract, unite, universal
from agentflow.constraint.formats import format_dfa
from agentflow.constraint.formula import TRUE, And, Atom, Formula


@dataclass(frozen=True, eq=False)
class Numbers:
    """A set of numbers: the texts of its members, or an automaton over them."""

    finite: tuple[str, ...] | None
    dfa: CharDfa


def holds(formula: Formula, value: bool) -> bool:
    """Say whether a formula holds for a boolean."""
    if isinstance(formula, Atom):
        return bool(formula.payload is value)
    parts = (holds(part, value) for part in formula.parts)
    return all(parts) if isinstance(formula, And) else any(parts)


def number_set(formula: Formula) -> CharDfa:
    """Evaluate a formula about numbers, over their spellings without exponent."""
    if isinstance(formula, Atom):
        dfa, is_inside, _ = formula.payload
        return intersect(numbers.decimals(), dfa) if is_inside else subtract(numbers.decimals(), dfa)
    if not formula.parts:
        return numbers.decimals() if formula == TRUE else subtract(universal(), universal())
    return reduce(intersect if isinstance(formula, And) else unite, map(number_set, formula.parts))


def make_numbers(formula: Formula) -> Numbers | None:
    """Give the numbers that a formula allows, each in the spelling in which it is written; ``None``: none."""
    if formula == TRUE:
        return Numbers(None, numbers.all_numbers())
    dfa = number_set(formula)
    if subtract(dfa, numbers.whole_numbers()).is_empty:
        dfa = intersect(dfa, numbers.integers())
    else:
        dfa = intersect(dfa, numbers.short_decimals())
    if dfa.is_empty:
        return None
    listed = _listed_numbers(formula)
    if listed is not None:
        texts = tuple(dict.fromkeys(text for text in listed if dfa.accepts(text)))
        if texts:
            return Numbers(texts, dfa)
    return Numbers(None, dfa)


def _listed_numbers(formula: Formula) -> list[str] | None:
    """Give the numbers that an enumeration lists, if one bounds the formula."""
    if isinstance(formula, Atom):
        _, is_inside, text = formula.payload
        return [text] if is_inside and text is not None else None
    lists = [_listed_numbers(part) for part in formula.parts]
    if isinstance(formula, And):
        known = [texts for texts in lists if texts is not None]
        return min(known, key=len) if known else None
    if any(texts is None for texts in lists):
        return None
    return [text for texts in lists if texts is not None for text in texts]


def string_set(formula: Formula, *, is_wide: bool) -> strings.Strings:
    """Evaluate a formula about strings; `is_wide` takes a format for every string, since its pattern is narrow."""
    if isinstance(formula, Atom):
        if formula.kind == "string":
            members: strings.Strings = formula.payload
            return members
        name, is_inside = formula.payload
        if is_wide:
            return strings.ALL
        return strings.Strings(None, format_dfa(name) or universal()) if is_inside else strings.NONE
    if isinstance(formula, And):
        parts = sorted((string_set(part, is_wide=is_wide) for part in formula.parts), key=lambda s: s.finite is None)
        return reduce(strings.meet, parts, strings.ALL)
    return reduce(strings.join, (string_set(part, is_wide=is_wide) for part in formula.parts), strings.NONE)
