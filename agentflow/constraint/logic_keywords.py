"""Keywords about values of any type: type, enum, const, references, and what joins schemas."""

from __future__ import annotations

from typing import Any

from agentflow.constraint import numbers, strings
from agentflow.constraint.formula import FALSE, TRUE, Atom, Formula, Literal, both, either, has
from agentflow.constraint.reader import TYPES, Reader, item_at, type_of


def read_type(reader: Reader) -> Formula:
    """Read type: one type or a list of them."""
    names = [reader.value] if isinstance(reader.value, str) else reader.value
    known = {*TYPES, "integer", "any"}
    if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        raise reader.invalid("a JSON type or a list of them")
    if reader.kind in names or "any" in names:
        return TRUE if reader.is_positive else FALSE
    if reader.kind == "number" and "integer" in names:
        return reader.number_set(numbers.whole_numbers())
    return FALSE if reader.is_positive else TRUE


def read_enum(reader: Reader) -> Formula:
    """Read enum and const."""
    values = [reader.value] if reader.name == "const" else reader.value
    if not isinstance(values, list):
        raise reader.invalid("a list of values")
    values = [value for value in values if type_of(value) == reader.kind]
    if reader.kind == "string":
        return reader.string_set(strings.of_values(values))
    if reader.kind in ("null", "boolean"):
        options = [Atom("is", value) for value in values] if reader.kind == "boolean" else [TRUE] * bool(values)
        found = either(options)
        return found if reader.is_positive else _flip(found)
    exact = [_equal(reader, value) for value in values]
    return either(exact) if reader.is_positive else both(exact)


def _equal(reader: Reader, value: Any) -> Formula:
    """Say that the value is (or is not) `value`: a number, an array or an object."""
    if reader.kind == "number":
        return reader.number_set(numbers.equal_to(numbers.exact(value)), text=numbers.number_text(value))
    if reader.kind == "array":
        parts = tuple(Literal(reader.resources.constant(item), True) for item in value)
        if reader.is_positive:
            return both([Atom("items", (parts, None)), Atom("length", (len(parts), len(parts)))])
        differs = [item_at(i, part.negate()) for i, part in enumerate(parts)]
        return either([*differs, *_length_outside(len(parts), len(parts))])
    fields = tuple((name, Literal(reader.resources.constant(item), True)) for name, item in value.items())
    if reader.is_positive:
        present = [has(name) for name, _ in fields]
        return both([Atom("fields", (fields, (), None)), *present, Atom("count", (len(fields), len(fields)))])
    lacks = [has(name, is_present=False) for name, _ in fields]
    differs = [both([has(name), Atom("fields", (((name, lit.negate()),), (), None))]) for name, lit in fields]
    return either([*lacks, *differs, Atom("count", (len(fields) + 1, None))])


def _flip(formula: Formula) -> Formula:
    """Negate a formula about a boolean or null."""
    if isinstance(formula, Atom):
        return Atom("is", not formula.payload)
    return FALSE if formula == TRUE else TRUE if formula == FALSE else FALSE


def _length_outside(fewest: int, most: int) -> list[Formula]:
    outside: list[Formula] = [Atom("length", (most + 1, None))]
    if fewest:
        outside.append(Atom("length", (0, fewest - 1)))
    return outside


def read_reference(reader: Reader) -> Formula:
    """Read ``$ref``, ``$dynamicRef`` and ``$recursiveRef``."""
    number = reader.resources.refer(reader.number, reader.value, reader.name)
    return reader.ask(Literal(number, reader.is_positive))


def read_all(reader: Reader) -> Formula:
    """Read allOf."""
    parts = [reader.ask(Literal(lit.schema, reader.is_positive)) for lit in reader.subschemas()]
    return both(parts) if reader.is_positive else either(parts)


def read_any(reader: Reader) -> Formula:
    """Read anyOf."""
    parts = [reader.ask(Literal(lit.schema, reader.is_positive)) for lit in reader.subschemas()]
    return either(parts) if reader.is_positive else both(parts)


def read_one(reader: Reader) -> Formula:
    """Read oneOf; its choices are resolved by the schema tree."""
    return Atom("one", (reader.number, tuple(reader.subschemas()), reader.is_positive))


def read_not(reader: Reader) -> Formula:
    """Read not."""
    return reader.ask(reader.literal(reader.value, "not", is_positive=not reader.is_positive))


def read_if(reader: Reader) -> Formula:
    """Read if, with then and else."""
    condition = reader.literal(reader.value, "if")
    branches = []
    for name, test in (("then", condition), ("else", condition.negate())):
        if name in reader.schema:
            branch = reader.literal(reader.schema[name], name, is_positive=reader.is_positive)
            branches.append(both([reader.ask(test), reader.ask(branch)]))
        elif reader.is_positive:
            branches.append(reader.ask(test))
    return either(branches)
