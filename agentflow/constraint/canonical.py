"""Writing an instance the way a grammar writes it: declared properties in schema order, numbers plainly.

An instance is valid whatever the order of its properties; a grammar writes one order. Tests and
`agentflow schema check` bring instances into that order before they ask whether the grammar accepts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentflow.constraint.automaton import CharDfa
from agentflow.constraint.formula import TRUE, assume, names_of
from agentflow.constraint.graph import Run, concat
from agentflow.constraint.numbers import number_text
from agentflow.constraint.printers import Printer, Surface, Whitespace
from agentflow.constraint.schema import ArrayShape, Node, ObjectShape, SchemaTree
from agentflow.types import JsonSchema


def canonical_text(
    instance: Any, schema: JsonSchema | bool, *, whitespace: Whitespace = "compact", is_strict: bool = False
) -> str:
    """Write a JSON instance as the grammar of `schema` does.

    Args:
        instance: A JSON value, valid or not.
        schema: The schema.
        whitespace: How it is laid out.
        is_strict: As for `json_grammar`.
    """
    run = canonical_run(instance, SchemaTree(schema, unchecked=[], is_strict=is_strict), whitespace=whitespace)
    return "".join(str(piece) for piece in run)


def canonical_run(
    instance: Any, tree: SchemaTree, *, surface: Surface = "json", whitespace: Whitespace = "compact"
) -> Run:
    """Write an instance as text and control tokens."""
    return _Writer(tree, Printer(surface, whitespace)).write(instance, tree.root, 0)


class _Writer:
    def __init__(self, tree: SchemaTree, printer: Printer) -> None:
        self._tree = tree
        self._fits = _Fits(tree)
        self._printer = printer

    def write(self, value: Any, node: Node, depth: int) -> Run:
        node = self._tree.simplify(node)
        if value is None or isinstance(value, bool):
            return ({None: "null", True: "true", False: "false"}[value],)
        if isinstance(value, str):
            return self._printer.string(value)
        if isinstance(value, int | float):
            return (number_text(value),)
        if isinstance(value, Mapping):
            return self._write_object(value, node, depth)
        nodes = self._items(value, node)
        entries = [self.write(item, child, depth + 1) for item, child in zip(value, nodes, strict=True)]
        return self._bracket("[", entries, "]", depth)

    def _write_object(self, value: Mapping[str, Any], node: Node, depth: int) -> Run:
        printer = self._printer
        order = printer.order(self._tree.field_order(node))
        names = [name for name in order if name in value]
        names += [name for name in value if name not in set(order)]
        entries = []
        shapes = self._fits.objects(value, node)
        for name in names:
            child = frozenset(lit for shape in shapes for lit in shape.node_of(name))
            entries.append(concat(printer.key(name), self.write(value[name], child, depth + 1)))
        return self._bracket("{", entries, "}", depth)

    def _bracket(self, opening: str, entries: list[Run], closing: str, depth: int) -> Run:
        if not entries:
            return (opening + closing,)
        printer = self._printer
        runs = [printer.open(opening, depth), entries[0]]
        for entry in entries[1:]:
            runs += [printer.comma(depth), entry]
        return concat(*runs, printer.close(closing, depth))

    def _items(self, value: Sequence[Any], node: Node) -> list[Node]:
        shapes = self._fits.arrays(value, node)
        return [frozenset(lit for shape in shapes for lit in _item_node(shape, i)) for i in range(len(value))]


class _Fits:
    """Finds the alternative that an instance belongs to: of several, the one that says something of most parts."""

    def __init__(self, tree: SchemaTree) -> None:
        self._tree = tree
        self._known: dict[tuple[int, Node], bool] = {}

    def objects(self, value: Mapping[str, Any], node: Node) -> list[ObjectShape]:
        """Give the alternative that a value fits best; for one that fits none, all of them."""
        shapes = self._tree.objects(node)
        if len(shapes) == 1:
            return shapes
        fitting = [shape for shape in shapes if self._fits_object(value, shape)]
        return [max(fitting, key=lambda shape: self._num_told(map(shape.node_of, value)))] if fitting else shapes

    def arrays(self, value: Sequence[Any], node: Node) -> list[ArrayShape]:
        """Give the alternative that a value fits best; for one that fits none, all of them."""
        shapes = self._tree.arrays(node)
        if len(shapes) == 1:
            return shapes
        fitting = [shape for shape in shapes if self._fits_array(value, shape)]
        if not fitting:
            return shapes
        return [max(fitting, key=lambda shape: self._num_told(_item_node(shape, i) for i in range(len(value))))]

    def _num_told(self, nodes: Iterable[Node]) -> int:
        """Count the parts of a value that an alternative says something of."""
        return sum(not self._tree.is_trivial(node) for node in nodes)

    def _fits(self, value: Any, node: Node) -> bool:
        """Say whether a value satisfies a node, as far as this decides its alternatives."""
        key = (id(value), node)
        if key not in self._known:
            self._known[key] = self._find_out(value, self._tree.simplify(node))
        return self._known[key]

    def _find_out(self, value: Any, node: Node) -> bool:
        tree = self._tree
        if value is None:
            return tree.has_null(node)
        if isinstance(value, bool):
            return value in tree.booleans(node)
        if isinstance(value, str):
            return tree.strings(node).accepts(value)
        if isinstance(value, int | float):
            numbers = tree.numbers(node)
            return numbers is not None and numbers.dfa.accepts(number_text(value))
        if isinstance(value, Mapping):
            return not node or any(self._fits_object(value, shape) for shape in tree.objects(node))
        return not node or any(self._fits_array(value, shape) for shape in tree.arrays(node))

    def _fits_object(self, value: Mapping[str, Any], shape: ObjectShape) -> bool:
        presence = shape.presence
        for name in {*names_of(presence), *value}:
            presence = assume(presence, name, is_present=name in value)
        is_few = shape.most is None or len(value) <= shape.most
        if presence != TRUE or len(value) < shape.fewest or not is_few:
            return False
        if any(not self._has_some(value, some.names, some.node) for some in shape.some):
            return False
        return all(self._fits(item, shape.node_of(name)) for name, item in value.items())

    def _has_some(self, value: Mapping[str, Any], names: CharDfa, node: Node) -> bool:
        return any(names.accepts(name) and self._fits(item, node) for name, item in value.items())

    def _fits_array(self, value: Sequence[Any], shape: ArrayShape) -> bool:
        if len(value) < shape.fewest or (shape.most is not None and len(value) > shape.most):
            return False
        return all(self._fits(item, _item_node(shape, i)) for i, item in enumerate(value))


def _item_node(shape: ArrayShape, index: int) -> Node:
    return shape.first[index] if index < len(shape.first) else shape.rest
