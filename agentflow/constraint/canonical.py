"""Writing an instance the way a grammar writes it: declared properties in schema order, numbers plainly.

An instance is valid whatever the order of its properties; a grammar writes one order. Tests and
`agentflow schema check` bring instances into that order before they ask whether the grammar accepts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentflow.constraint.graph import Run, concat
from agentflow.constraint.numbers import number_text
from agentflow.constraint.printers import Printer, Surface, Whitespace
from agentflow.constraint.schema import Node, SchemaTree
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
        self._printer = printer

    def write(self, value: Any, node: Node, depth: int) -> Run:
        if value is None or isinstance(value, bool):
            return ({None: "null", True: "true", False: "false"}[value],)
        if isinstance(value, str):
            return self._printer.string(value)
        if isinstance(value, int | float):
            return (number_text(value),)
        if isinstance(value, Mapping):
            return self._write_object(value, node, depth)
        nodes = self._items(node, len(value))
        entries = [self.write(item, child, depth + 1) for item, child in zip(value, nodes, strict=True)]
        return self._bracket("[", entries, "]", depth)

    def _write_object(self, value: Mapping[str, Any], node: Node, depth: int) -> Run:
        printer = self._printer
        order = printer.order(self._tree.field_order(node))
        names = [name for name in order if name in value]
        names += [name for name in value if name not in set(order)]
        entries = []
        for name in names:
            child = frozenset(lit for shape in self._tree.objects(node) for lit in shape.node_of(name))
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

    def _items(self, node: Node, count: int) -> list[Node]:
        shapes = self._tree.arrays(node)
        return [
            frozenset(lit for s in shapes for lit in (s.first[i] if i < len(s.first) else s.rest)) for i in range(count)
        ]
