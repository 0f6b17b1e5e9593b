"""Keywords about numbers and strings."""

from __future__ import annotations

from agentflow.constraint import numbers, strings
from agentflow.constraint.formats import format_dfa
from agentflow.constraint.formula import FALSE, TRUE, Atom, Formula
from agentflow.constraint.reader import Reader


def read_bound(reader: Reader) -> Formula:
    """Read minimum, maximum and their exclusive forms."""
    if isinstance(reader.value, bool):  # draft 4: a flag beside the bound
        return TRUE if reader.is_positive else FALSE
    is_lower = reader.name.lower().endswith("minimum")
    is_exclusive = (
        reader.name.startswith("exclusive")
        or reader.schema.get("exclusive" + reader.name[0].upper() + reader.name[1:]) is True
    )
    compare = numbers.at_least if is_lower else numbers.at_most
    return reader.number_set(compare(reader.bound(), is_exclusive=is_exclusive))


def read_multiple(reader: Reader) -> Formula:
    """Read multipleOf."""
    divisor = reader.bound()
    if divisor <= 0:
        raise reader.invalid("a number above 0")
    return reader.number_set(numbers.multiple_of(divisor))


def read_length(reader: Reader) -> Formula:
    """Read minLength and maxLength, in characters."""
    count = reader.count()
    return reader.string_set(strings.of_length(*((count, None) if reader.name == "minLength" else (0, count))))


def read_pattern(reader: Reader) -> Formula:
    """Read pattern."""
    return reader.string_set(strings.Strings(None, reader.pattern(reader.value)))


def read_format(reader: Reader) -> Formula:
    """Read format; one that is not known is an annotation."""
    if not isinstance(reader.value, str):
        raise reader.invalid("a name")
    dfa = format_dfa(reader.value)
    if dfa is None:
        return TRUE if reader.is_positive else FALSE
    return Atom("format", (reader.value, reader.is_positive))
