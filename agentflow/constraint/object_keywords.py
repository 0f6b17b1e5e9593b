"""Keywords about objects."""

from __future__ import annotations

from agentflow.constraint.array_keywords import read_item_count
from agentflow.constraint.formula import FALSE, TRUE, Atom, Formula, both, either, has
from agentflow.constraint.reader import Reader


def read_fields(reader: Reader) -> Formula:
    """Read properties, patternProperties and additionalProperties together, at the first that is there."""
    named = tuple((name, reader.literal(sub, "properties", name)) for name, sub in reader.mapping("properties").items())
    matched = tuple(
        (pattern, reader.literal(sub, "patternProperties", pattern))
        for pattern, sub in reader.mapping("patternProperties").items()
    )
    for pattern, _ in matched:
        reader.pattern(pattern)
    others = None
    if "additionalProperties" in reader.schema:
        others = reader.literal(reader.schema["additionalProperties"], "additionalProperties")
    if reader.is_positive:
        return Atom("fields", (named, matched, others))
    names, patterns = tuple(name for name, _ in named), tuple(pattern for pattern, _ in matched)
    bad: list[Formula] = [
        both([has(name), Atom("fields", (((name, literal.negate()),), (), None))]) for name, literal in named
    ]
    bad += [Atom("some_field", (names, (), pattern, literal.negate())) for pattern, literal in matched]
    if others is not None:
        bad.append(Atom("some_field", (names, patterns, None, others.negate())))
    return either(bad)


def read_required(reader: Reader) -> Formula:
    """Read required."""
    if isinstance(reader.value, bool):  # draft 3: a flag of the property
        return TRUE if reader.is_positive else FALSE
    if not isinstance(reader.value, list) or not all(isinstance(name, str) for name in reader.value):
        raise reader.invalid("a list of names")
    parts = [has(name, is_present=reader.is_positive) for name in reader.value]
    return both(parts) if reader.is_positive else either(parts)


def read_field_count(reader: Reader) -> Formula:
    """Read minProperties and maxProperties."""
    formula = read_item_count(reader)
    return Atom("count", formula.payload) if isinstance(formula, Atom) else formula


def read_names(reader: Reader) -> Formula:
    """Read propertyNames."""
    literal = reader.literal(reader.value, "propertyNames", is_positive=reader.is_positive)
    return Atom("names" if reader.is_positive else "some_name", literal)


def read_dependent(reader: Reader) -> Formula:
    """Read dependencies, dependentRequired and dependentSchemas: if a property is there, then something holds."""
    rules = []
    for name, demand in reader.mapping(reader.name).items():
        if isinstance(demand, list):
            met = [has(other, is_present=reader.is_positive) for other in demand]
            then = both(met) if reader.is_positive else either(met)
        else:
            then = reader.ask(reader.literal(demand, reader.name, name, is_positive=reader.is_positive))
            then = both([has(name), then]) if reader.is_positive else then
        rules.append(either([has(name, is_present=False), then]) if reader.is_positive else both([has(name), then]))
    return both(rules) if reader.is_positive else either(rules)
