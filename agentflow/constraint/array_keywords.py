"""Keywords about arrays."""

from __future__ import annotations

from agentflow.constraint.formula import FALSE, TRUE, Atom, Formula, Literal, either
from agentflow.constraint.reader import Reader, item_at


def read_items(reader: Reader) -> Formula:
    """Read items, prefixItems and additionalItems together, at the first that is there."""
    schema = reader.schema
    first: list[Literal] = []
    rest: Literal | None = None
    items = schema.get("items")
    if isinstance(schema.get("prefixItems"), list) and not reader.resources.is_old:
        first = [reader.literal(sub, "prefixItems", i) for i, sub in enumerate(schema["prefixItems"])]
    if isinstance(items, list):
        first = [reader.literal(sub, "items", i) for i, sub in enumerate(items)]
        if "additionalItems" in schema:
            rest = reader.literal(schema["additionalItems"], "additionalItems")
    elif items is not None:
        rest = reader.literal(items, "items")
    if reader.is_positive:
        return Atom("items", (tuple(first), rest))
    bad = [item_at(i, literal.negate()) for i, literal in enumerate(first)]
    if rest is not None:
        bad.append(Atom("some", (len(first), rest.negate(), 1, None)))
    return either(bad)


def read_item_count(reader: Reader) -> Formula:
    """Read minItems and maxItems."""
    count = reader.count()
    inside, outside = (count, None), (0, count - 1)
    if reader.name.startswith("max"):
        inside, outside = (0, count), (count + 1, None)  # type: ignore[assignment]  # a pair of bounds either way
    if reader.is_positive:
        return Atom("length", inside)
    return Atom("length", outside) if outside[1] is None or outside[1] >= 0 else FALSE


def read_contains(reader: Reader) -> Formula:
    """Read contains, with minContains and maxContains."""
    literal = reader.literal(reader.value, "contains")
    fewest = reader.count("minContains", 1) if not reader.resources.is_old else 1
    most = reader.count("maxContains") if "maxContains" in reader.schema and not reader.resources.is_old else None
    if reader.is_positive:
        return Atom("some", (0, literal, fewest, most))
    outside: list[Formula] = [Atom("some", (0, literal, 0, fewest - 1))] if fewest else []
    if most is not None:
        outside.append(Atom("some", (0, literal, most + 1, None)))
    return either(outside)


def read_unique(reader: Reader) -> Formula:
    """Read uniqueItems."""
    if not isinstance(reader.value, bool):
        raise reader.invalid("true or false")
    if not reader.value:
        return TRUE if reader.is_positive else FALSE
    if not reader.is_positive:
        raise reader.refuse("the negation of uniqueItems is not regular")
    return Atom("unique", reader.pointer)
