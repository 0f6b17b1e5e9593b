"""Shapes: what one alternative of a schema says about arrays, and about objects, merged from its atoms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from agentflow.constraint.automaton import CharDfa, complement, from_strings, subtract, universal
from agentflow.constraint.formula import Atom, Formula, Literal, both
from agentflow.constraint.regex import pattern_dfa

Node: TypeAlias = frozenset[Literal]
"""A conjunction of schemas that must hold and schemas that must not."""


@dataclass(frozen=True)
class SomeItems:
    """A bound on how many items satisfy a node."""

    first: int
    node: Node
    fewest: int
    most: int | None


@dataclass(frozen=True)
class ArrayShape:
    """Arrays of one alternative.

    Attributes:
        first: Nodes of the first items.
        rest: Node of the items after them.
        fewest: Fewest items.
        most: Most items, or ``None``.
        some: Bounds on how many items satisfy something.
        unique_at: Where ``uniqueItems`` stands, or ``None``.
    """

    first: tuple[Node, ...]
    rest: Node
    fewest: int
    most: int | None
    some: tuple[SomeItems, ...]
    unique_at: str | None


@dataclass(frozen=True)
class SomeField:
    """At least one property satisfies a node: one whose name lies in `names`."""

    names: CharDfa = field(compare=False)
    node: Node = frozenset()


@dataclass(frozen=True)
class ObjectShape:
    """Objects of one alternative.

    Attributes:
        fields: Literals by name, in the order in which the schemas name them.
        matched: Literals by pattern.
        others: For each ``additionalProperties``: the names and patterns that it leaves out, and its literal.
        presence: Which properties must be there.
        names: What the names must satisfy.
        fewest: Fewest properties.
        most: Most properties, or ``None``.
        some: Properties that must exist.
    """

    fields: tuple[tuple[str, Node], ...]
    matched: tuple[tuple[str, Literal], ...]
    others: tuple[tuple[frozenset[str], tuple[str, ...], Literal], ...]
    presence: Formula
    names: Node
    some_names: Node
    fewest: int
    most: int | None
    some: tuple[SomeField, ...]

    def node_of(self, name: str) -> Node:
        """Give what the value of a property must satisfy."""
        found = set(dict(self.fields).get(name, ()))
        found.update(literal for pattern, literal in self.matched if pattern_dfa(pattern, is_wide=True).accepts(name))
        for names, patterns, literal in self.others:
            if name not in names and not any(pattern_dfa(pattern).accepts(name) for pattern in patterns):
                found.add(literal)
        return frozenset(found)


def array_shape(atoms: Iterable[Atom]) -> ArrayShape:
    """Merge atoms about arrays."""
    lists: list[tuple[tuple[Literal, ...], Literal | None]] = []
    single: list[tuple[int, Literal]] = []
    fewest, most = 0, None
    some: dict[tuple[int, Literal], tuple[int, int | None]] = {}
    unique_at = None
    for atom in atoms:
        if atom.kind == "items":
            lists.append(atom.payload)
        elif atom.kind == "item":
            single.append(atom.payload)
        elif atom.kind == "length":
            fewest = max(fewest, atom.payload[0])
            most = _least(most, atom.payload[1])
        elif atom.kind == "some":
            first, literal, low, high = atom.payload
            known = some.get((first, literal), (0, None))
            some[first, literal] = (max(known[0], low), _least(known[1], high))
        elif atom.kind == "unique":
            unique_at = atom.payload
    num_first = max([len(first) for first, _ in lists] + [i + 1 for i, _ in single], default=0)
    nodes = []
    for i in range(num_first):
        literals = {first[i] if i < len(first) else rest for first, rest in lists} | {
            lit for at, lit in single if at == i
        }
        nodes.append(frozenset(lit for lit in literals if lit is not None))
    rest_node = frozenset(rest for _, rest in lists if rest is not None)
    bounds = tuple(SomeItems(first, frozenset({lit}), low, high) for (first, lit), (low, high) in some.items())
    return ArrayShape(tuple(nodes), rest_node, fewest, most, bounds, unique_at)


def object_shape(atoms: Iterable[Atom]) -> ObjectShape:
    """Merge atoms about objects."""
    fields: dict[str, set[Literal]] = {}
    matched: list[tuple[str, Literal]] = []
    others = []
    presence: list[Formula] = []
    names: set[Literal] = set()
    some_names: set[Literal] = set()
    fewest, most = 0, None
    some = []
    for atom in atoms:
        if atom.kind == "fields":
            named, patterns, rest = atom.payload
            for name, literal in named:
                fields.setdefault(name, set()).add(literal)
            matched += patterns
            if rest is not None:
                others.append((frozenset(name for name, _ in named), tuple(p for p, _ in patterns), rest))
        elif atom.kind == "presence":
            presence.append(atom.payload)
        elif atom.kind == "names":
            names.add(atom.payload)
        elif atom.kind == "some_name":
            some_names.add(atom.payload)
        elif atom.kind == "count":
            fewest = max(fewest, atom.payload[0])
            most = _least(most, atom.payload[1])
        elif atom.kind == "some_field":
            some.append(_some_field(*atom.payload))
    return ObjectShape(
        tuple((name, frozenset(literals)) for name, literals in fields.items()),
        tuple(dict.fromkeys(matched)), tuple(others), both(presence), frozenset(names), frozenset(some_names),
        fewest, most, tuple(some),
    )  # fmt: skip


def _some_field(names: tuple[str, ...], patterns: tuple[str, ...], pattern: str | None, literal: Literal) -> SomeField:
    if pattern is not None:
        return SomeField(pattern_dfa(pattern), frozenset({literal}))
    outside = complement(from_strings(names)) if names else universal()
    for other in patterns:
        outside = subtract(outside, pattern_dfa(other, is_wide=True))
    return SomeField(outside, frozenset({literal}))


def _least(a: int | None, b: int | None) -> int | None:
    return min((x for x in (a, b) if x is not None), default=None)
