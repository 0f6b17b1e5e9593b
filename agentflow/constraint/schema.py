"""JSON Schema -> typed tree, expanded on demand.

A node is a conjunction of literals: schemas that must hold and schemas that must not. What it allows is written
type by type: booleans, one set of numbers, one set of strings, and alternatives of arrays and objects whose parts are
nodes again. Intersections (``allOf``, siblings of ``$ref``) merge literals into one node, ``not`` negates them,
``oneOf`` is one option without the others that overlap it. Nodes are shared, so a recursive schema is a finite
graph; unrolling it is left to `agentflow.constraint.grammar`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentflow.constraint import strings
from agentflow.constraint.formula import (
    FALSE,
    TRUE,
    And,
    Atom,
    Formula,
    Literal,
    alternatives,
    both,
    either,
    units,
)
from agentflow.constraint.grounded import KEYWORD as GROUNDED_KEYWORD
from agentflow.constraint.keywords import Keywords
from agentflow.constraint.limits import check_time, num_states_left, restore_states
from agentflow.constraint.reader import TYPES, Ask
from agentflow.constraint.resources import Resources
from agentflow.constraint.scalar_sets import Numbers, holds, make_numbers, number_set, string_set
from agentflow.constraint.shapes import ArrayShape, Node, ObjectShape, array_shape, object_shape
from agentflow.errors import InvalidSchemaError, UnsupportedSchemaError

__all__ = ["ArrayShape", "Node", "ObjectShape", "SchemaTree"]
_EMPTINESS_DEPTH = 3
_MAX_COMPARISONS = 2


class SchemaTree:
    """One document, expanded node by node."""

    def __init__(self, schema: Any, *, unchecked: list[tuple[str, str]] | None = None, is_strict: bool = False) -> None:
        """Take a schema.

        Args:
            schema: A JSON Schema.
            unchecked: Where to note keywords that a check after decoding must cover; ``None``: refuse them.
            is_strict: Objects that declare properties and say nothing about others have no others.

        Raises:
            InvalidSchemaError: It is no schema.
        """
        self.resources = Resources(schema)
        self._keywords = Keywords(self.resources, self.formula, self._exclude, unchecked)
        self._unchecked = unchecked
        self._is_strict = is_strict
        self._formulas: dict[tuple[Literal, str], Formula | None] = {}
        self._nodes: dict[tuple[Node, str], Formula] = {}
        self._empties: dict[tuple[Node, int], bool] = {}
        self._shapes: dict[tuple[Node, str], Any] = {}
        self._simple: dict[Node, Node] = {}
        self._num_comparisons = 0
        self._orders: dict[Node, list[str]] = {}
        self.recursive: set[Node] = set()  # nodes that were found within themselves
        self.root: Node = frozenset({Literal(self.resources.root, True)})

    def dissolve(self) -> None:
        """Forget everything, so that no cycle is left to the collector; the tree is of no use afterwards."""
        vars(self).clear()

    # ------------------------------------------------------------ formulas

    def formula(self, literal: Literal, kind: str) -> Formula:
        """Give what a literal says about values of type `kind`."""
        check_time()
        key = (literal, kind)
        if key in self._formulas:
            known = self._formulas[key]
            if known is None:
                raise InvalidSchemaError(
                    "the schema refers to itself without a value in between",
                    pointer=self.resources.pointer(literal.schema),
                )
            return known
        self._formulas[key] = None
        try:
            found = self._keywords.formula(literal.schema, kind, is_positive=literal.is_positive)
        except BaseException:
            del self._formulas[key]
            raise
        if self._is_strict and kind == "object" and literal.is_positive:
            found = self._close(literal, found)
        self._formulas[key] = found
        return found

    def _close(self, literal: Literal, found: Formula) -> Formula:
        """Let an object that declares properties, alone and openly, have no others."""
        schema = self.resources.contents(literal.schema)
        is_open = isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping) and not (
            {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if"} & schema.keys()
        )  # fmt: skip
        if not is_open:
            return found
        never = Literal(self.resources.child(literal.schema, False), True)
        fields = tuple(
            (name, Literal(self.resources.child(literal.schema, sub, "properties", name), True))
            for name, sub in schema["properties"].items()
        )
        return both([found, Atom("fields", (fields, (), never))])

    def node_formula(self, node: Node, kind: str) -> Formula:
        """Give what all literals of a node say about values of type `kind`; choices of ``oneOf`` are resolved."""
        key = (node, kind)
        if key not in self._nodes:
            parts = [self.formula(literal, kind) for literal in sorted(node)]
            self._nodes[key] = self._resolve(both(parts), kind, frozenset())
        return self._nodes[key]

    def _resolve(self, formula: Formula, kind: str, required: frozenset[str]) -> Formula:
        """Write ``oneOf`` as alternatives that exclude each other where they overlap; `required` are sure to be."""
        if isinstance(formula, Atom):
            if formula.kind != "one":
                return formula
            _, options, is_positive = formula.payload
            resolved = self._one(options, kind, required) if is_positive else self._not_one(options, kind)
            return self._resolve(resolved, kind, required)
        if isinstance(formula, And):
            atoms = (part.payload for part in formula.parts if isinstance(part, Atom) and part.kind == "has")
            required |= {name for name, is_present in atoms if is_present}
        parts = [self._resolve(part, kind, required) for part in formula.parts]
        return both(parts) if isinstance(formula, And) else either(parts)

    def _one(self, options: tuple[Literal, ...], kind: str, required: frozenset[str]) -> Formula:
        chosen = []
        for option in options:
            formula = self.formula(option, kind)
            if formula != FALSE:
                chosen.append(both([formula, self._exclude(option, options, kind, required)]))
        return either(chosen)

    def _exclude(
        self, option: Literal, options: tuple[Literal, ...], kind: str, required: frozenset[str] = frozenset()
    ) -> Formula:
        """Say that no other option holds where one does; one that is listed twice is never the only one."""
        if options.count(option) > 1:
            return FALSE
        others = (o for o in options if o != option and not self._differ_in_field(option, o, kind, required))
        return both(self.formula(o.negate(), kind) for o in others if not self._are_disjoint(option, o, kind))

    def _differ_in_field(self, a: Literal, b: Literal, kind: str, required: frozenset[str]) -> bool:
        """Say whether no value of a property that is there in any case suits both."""
        if kind != "object" or not required:
            return False
        fields, others = _fields_of(self.formula(a, kind)), _fields_of(self.formula(b, kind))
        shared = sorted(required & fields.keys() & others.keys())
        return any(self.is_empty(fields[name] | others[name], 1) for name in shared)

    def _not_one(self, options: tuple[Literal, ...], kind: str) -> Formula:
        none = both(self.formula(option.negate(), kind) for option in options)
        two = [
            both([self.formula(a, kind), self.formula(b, kind)])
            for i, a in enumerate(options)
            for b in options[i + 1 :]
            if not self._are_disjoint(a, b, kind)
        ]
        return either([none, *two])

    def _are_disjoint(self, a: Literal, b: Literal, kind: str) -> bool:
        """Say whether certainly no value of the type satisfies both."""
        if self._num_comparisons >= _MAX_COMPARISONS:
            return False  # a choice within a choice within a choice: excluded rather than compared
        self._num_comparisons += 1
        try:
            return self._is_kind_empty(frozenset({a, b}), kind, _EMPTINESS_DEPTH)
        finally:
            self._num_comparisons -= 1

    # ------------------------------------------------------------ emptiness

    def is_empty(self, node: Node, depth: int = _EMPTINESS_DEPTH) -> bool:
        """Say whether certainly no value satisfies a node; looks `depth` levels deep."""
        key = (node, depth)
        if key not in self._empties:
            self._empties[key] = False  # while it is being found out
            self._empties[key] = all(self._is_kind_empty(node, kind, depth) for kind in TYPES)
        return self._empties[key]

    def _is_kind_empty(self, node: Node, kind: str, depth: int) -> bool:  # noqa: PLR0911 - one type a line
        formula = self.node_formula(node, kind)
        if formula in (TRUE, FALSE):
            return formula == FALSE
        if kind == "boolean":
            return not any(holds(formula, value) for value in (True, False))
        if kind == "number":
            return number_set(formula).is_empty
        if kind == "string":
            return string_set(formula, is_wide=True).is_empty
        if depth <= 0:
            return False
        try:
            found = self._conjunctions(node, kind, formula, depth)
        except UnsupportedSchemaError:
            return False
        return not found

    def _conjunctions(self, node: Node, kind: str, formula: Formula, depth: int) -> list[tuple[Atom, ...]]:
        pointer = self.resources.pointer(min(node).schema) if node else ""
        keyword = self._branching_keyword(node)

        def is_possible(atoms: tuple[Atom, ...]) -> bool:
            if kind == "array":
                return self._is_array_possible(atoms, depth)
            return self._is_object_possible(atoms, depth)

        return alternatives(formula, is_possible, keyword, pointer)

    def _expand(self, node: Node, kind: str) -> list[tuple[Atom, ...]]:
        """Give the alternatives of a node; where they are too many, wider ones that a check after decoding narrows."""
        states = num_states_left()
        try:
            return self._conjunctions(node, kind, self.node_formula(node, kind), _EMPTINESS_DEPTH)
        except UnsupportedSchemaError as error:
            if self._unchecked is None:
                raise
            self._unchecked.append((error.keyword, error.pointer))
        restore_states(states)
        wide = _widen(both(self.formula(literal, kind) for literal in sorted(node)), self.formula, kind)
        try:
            return self._conjunctions(node, kind, wide, _EMPTINESS_DEPTH)
        except UnsupportedSchemaError:
            restore_states(states)
            return [()]

    def _branching_keyword(self, node: Node) -> str:
        names = ("oneOf", "anyOf", "if", "not", "allOf", "dependencies", "dependentSchemas", "enum")
        for literal in sorted(node):
            schema = self.resources.contents(literal.schema)
            for name in names:
                if isinstance(schema, Mapping) and name in schema:
                    return name
        return "anyOf"

    def _is_array_possible(self, atoms: tuple[Atom, ...], depth: int) -> bool:
        shape = array_shape(atoms)
        if shape.most is not None and shape.most < shape.fewest:
            return False
        needed = min(shape.fewest, len(shape.first) + 1)
        nodes = [shape.first[i] if i < len(shape.first) else shape.rest for i in range(needed)]
        return not any(node and self.is_empty(node, depth - 1) for node in nodes)

    def _is_object_possible(self, atoms: tuple[Atom, ...], depth: int) -> bool:
        shape = object_shape(atoms)
        known = units(shape.presence)
        if known is None or (shape.most is not None and shape.most < max(shape.fewest, sum(known.values()))):
            return False
        return not any(
            is_present and (node := shape.node_of(name)) and self.is_empty(node, depth - 1)
            for name, is_present in known.items()
        )

    def is_trivial(self, node: Node) -> bool:
        """Say whether every value satisfies a node."""
        return all(self.node_formula(node, kind) == TRUE for kind in TYPES)

    def simplify(self, node: Node) -> Node:
        """Drop literals that say nothing, and take those that only refer to others for these."""
        if node not in self._simple:
            kept = (lit for lit in node if any(self.formula(lit, kind) != TRUE for kind in TYPES))
            self._simple[node] = frozenset(self._target(lit) for lit in kept)
        return self._simple[node]

    def _target(self, literal: Literal) -> Literal:
        """Follow references, so that a schema is one and the same wherever it is referred to."""
        schema = self.resources.contents(literal.schema)
        is_reference = isinstance(schema, Mapping) and self._keywords.names(schema) == ["$ref"]
        if not is_reference or GROUNDED_KEYWORD in schema:
            return literal
        return self._target(Literal(self.resources.refer(literal.schema, schema["$ref"]), literal.is_positive))

    def field_order(self, node: Node) -> list[str]:
        """Give the names that a node speaks of, in the order in which its schemas name them."""
        if node not in self._orders:
            names: dict[str, None] = {}
            later: dict[str, None] = {}
            for literal in sorted(node):
                _collect_names(self.node_formula(frozenset({literal}), "object"), names, later)
            self._orders[node] = list(names | later)
        return self._orders[node]

    def list_values(self, node: Node, limit: int) -> list[str] | None:
        """Give all values of a node as JSON texts, if they are scalars and at most `limit`."""
        if self.node_formula(node, "array") != FALSE or self.node_formula(node, "object") != FALSE:
            return None
        found = self.numbers(node)
        texts = self.strings(node)
        if (found is not None and found.finite is None) or (texts.finite is None and not texts.is_empty):
            return None
        values = ["null"] if self.has_null(node) else []
        values += [json.dumps(value) for value in self.booleans(node)]
        values += list(found.finite or ()) if found is not None else []
        values += [json.dumps(text, ensure_ascii=False) for text in texts.finite or ()]
        return values if len(values) <= limit else None

    # ------------------------------------------------------------ what a node allows

    def has_null(self, node: Node) -> bool:
        """Say whether ``null`` satisfies the node."""
        return self.node_formula(node, "null") != FALSE

    def booleans(self, node: Node) -> list[bool]:
        """Give the booleans that satisfy the node."""
        formula = self.node_formula(node, "boolean")
        return [value for value in (True, False) if holds(formula, value)]

    def numbers(self, node: Node) -> Numbers | None:
        """Give the numbers that satisfy the node; ``None``: none does."""
        key = (node, "number")
        if key not in self._shapes:
            self._shapes[key] = make_numbers(self.node_formula(node, "number"))
        found: Numbers | None = self._shapes[key]
        return found

    def strings(self, node: Node) -> strings.Strings:
        """Give the strings that satisfy the node."""
        key = (node, "string")
        if key not in self._shapes:
            self._shapes[key] = string_set(self.node_formula(node, "string"), is_wide=False)
        found: strings.Strings = self._shapes[key]
        return found

    def arrays(self, node: Node) -> list[ArrayShape]:
        """Give the alternatives of arrays that satisfy the node."""
        key = (node, "array")
        if key not in self._shapes:
            found = self._expand(node, "array")
            self._shapes[key] = list(dict.fromkeys(map(array_shape, found)))
        shapes: list[ArrayShape] = self._shapes[key]
        return shapes

    def objects(self, node: Node) -> list[ObjectShape]:
        """Give the alternatives of objects that satisfy the node."""
        key = (node, "object")
        if key not in self._shapes:
            found = self._expand(node, "object")
            self._shapes[key] = [object_shape(atoms) for atoms in found]
        shapes: list[ObjectShape] = self._shapes[key]
        return shapes


def _fields_of(formula: Formula) -> dict[str, Node]:
    """Give what a formula demands of declared properties in any case."""
    found: dict[str, Node] = {}
    for part in formula.parts if isinstance(formula, And) else (formula,):
        if isinstance(part, Atom) and part.kind == "fields":
            for name, literal in part.payload[0]:
                found[name] = found.get(name, frozenset()) | {literal}
    return found


def _widen(formula: Formula, ask: Ask, kind: str) -> Formula:
    """Let more than one option of a ``oneOf`` hold."""
    if not isinstance(formula, Atom):
        parts = [_widen(part, ask, kind) for part in formula.parts]
        return both(parts) if isinstance(formula, And) else either(parts)
    if formula.kind != "one":
        return formula
    _, options, is_positive = formula.payload
    return either(_widen(ask(option, kind), ask, kind) for option in options) if is_positive else TRUE


def _collect_names(formula: Formula, names: dict[str, None], later: dict[str, None]) -> None:
    """Collect names: first those of ``properties``, later those that are only demanded."""
    if not isinstance(formula, Atom):
        for part in formula.parts:
            _collect_names(part, names, later)
    elif formula.kind == "fields":
        names.update(dict.fromkeys(name for name, _ in formula.payload[0]))
    elif formula.kind == "has":
        later[formula.payload[0]] = None
