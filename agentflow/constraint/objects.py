"""Objects as graph pieces.

Properties are written in the order in which the schemas declare them, then others. A state of an object is what has to
be remembered between two properties: the place in that order, what is still demanded of presence (a formula that
shrinks as properties come or stay away), the count, and which demands for some property are met.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agentflow.constraint import strings
from agentflow.constraint.formula import FALSE, TRUE, Formula, assume, units
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.graph import Run, concat
from agentflow.constraint.schema import Node, ObjectShape
from agentflow.constraint.undeclared import Demand, Kind, Kinds, NameClasses
from agentflow.constraint.values import Depth, Piece, ValueWriter

_MAX_VARIANTS = 16


class _State(NamedTuple):
    place: int
    presence: Formula
    num_fields: int
    met: int
    is_first: bool
    is_closed: bool = False  # nothing may follow that could repeat the name of a property that is demanded
    used: int = 0  # classes that names of undeclared properties were taken from, as bits


class ObjectWriter:
    """Writes the objects of one shape."""

    def __init__(self, writer: ValueWriter, node: Node, shape: ObjectShape, depth: Depth) -> None:
        self._writer = writer
        self._tree = writer.tree
        self._shape = shape
        self._pointer = self._tree.resources.pointer(min(node).schema) if node else ""
        self._depth = depth
        self._inner = Depth(depth.nesting + 1, depth.free, depth.seen)
        self._aside = Depth(depth.nesting + 1, depth.free, depth.seen, is_aside=True)
        self._names = writer.printer.order(self._tree.field_order(node))
        self._allowed_names = strings.ALL
        if shape.names:
            self._allowed_names = self._tree.strings(shape.names)
        self._demands = self._list_demands()
        self._fewest, self._most = self._count_bounds()
        self._pieces: dict[tuple[_State, object], Piece] = {}
        self._out: dict[_State, dict[Run, list[int]]] = {}
        self._heads: list[tuple[Run, int]] = []
        self._links: list[tuple[_State, Run, list[tuple[Run, int]]]] = []

    def _list_demands(self) -> list[Demand]:
        """Give what some property must be."""
        tree, shape = self._tree, self._shape
        demands = [Demand(some.names, some.node, tree.is_trivial(some.node)) for some in shape.some]
        sets = (tree.strings(frozenset({literal})).expand() for literal in sorted(shape.some_names))
        return [*demands, *(Demand(names, frozenset(), is_trivial=True) for names in sets)]

    def _count_bounds(self) -> tuple[int, int | None]:
        """Give the bounds that have to be counted; what is required anyway need not be."""
        shape = self._shape
        required = sum((units(shape.presence) or {}).values())
        fewest = 0 if shape.fewest <= required else shape.fewest
        return fewest, shape.most

    def write(self) -> Piece:
        """Write them."""
        start = _State(0, self._shape.presence, 0, 0, is_first=True)
        layer: dict[_State, dict[Run, list[int]]] = {start: {}}
        for place, name in enumerate(self._names):
            layer = self._write_field(place, name, layer)
        whole = Piece()
        closing = self._write_others(layer)
        printer, nesting = self._writer.printer, self._depth.nesting
        for state, exits in closing.items():
            if not self._may_end(state):
                continue
            if state.is_first:
                target = self._writer.add_node()
                whole.heads.append((("{}",), target))
                whole.add_exit((), [target])
            for run, nodes in exits.items():
                whole.add_exit(concat(run, printer.close("}", nesting)), self._writer.join(nodes))
        for state, between, heads in self._links:
            self._writer.connect(self._out[state], between, heads)
        whole.heads += self._heads
        return whole

    # ------------------------------------------------------------ declared properties

    def _write_field(
        self, place: int, name: str, layer: dict[_State, dict[Run, list[int]]]
    ) -> dict[_State, dict[Run, list[int]]]:
        following: dict[_State, dict[Run, list[int]]] = {}
        pieces: dict[tuple[_State, Node], Piece] = {}
        for state, exits in layer.items():
            away = assume(state.presence, name, is_present=False)
            if away != FALSE:
                _merge(following.setdefault(state._replace(place=place + 1, presence=away), {}), exits)
            there = assume(state.presence, name, is_present=True)
            if there == FALSE or not self._allowed_names.accepts(name) or not self._has_room(state):
                continue
            for node, met in self._variants(name, state.met):
                after = _State(place + 1, there, self._count(state.num_fields), met, is_first=False)
                key = (after, node)
                if key not in pieces:
                    pieces[key] = self._writer.write(node, self._inner)
                    if not pieces[key].is_dead:
                        _merge(following.setdefault(after, {}), pieces[key].exits)
                if not pieces[key].is_dead:
                    self._enter(state, exits, name, pieces[key])
        return following

    def _enter(self, state: _State, exits: dict[Run, list[int]], name: str, piece: Piece) -> None:
        """Lead the ways out of the properties before into this one."""
        printer, nesting = self._writer.printer, self._depth.nesting
        key = printer.key(name)
        if state.is_first:
            opening = concat(printer.open("{", nesting), key)
            self._heads += [(concat(opening, head), target) for head, target in piece.heads]
        self._writer.connect(exits, concat(printer.comma(nesting), key), piece.heads)

    def _variants(self, name: str, met: int) -> Iterator[tuple[Node, int]]:
        """Give what the value may satisfy, and the demands that are met then."""
        node = self._shape.node_of(name)
        chosen = [(node, met)]
        for i, demand in enumerate(self._demands):
            if demand.names.accepts(name) and not met >> i & 1 and (demand.is_trivial or len(chosen) < _MAX_VARIANTS):
                met_too = [(option | demand.node, mark | 1 << i) for option, mark in chosen]
                chosen = met_too if demand.is_trivial else chosen + met_too
        for option, mark in chosen:
            if not self._tree.is_empty(option):
                yield option, mark

    def _count(self, count: int) -> int:
        if self._most is not None:
            return count + 1
        return min(count + 1, self._fewest)

    def _has_room(self, state: _State) -> bool:
        return self._most is None or state.num_fields < self._most

    def _may_end(self, state: _State) -> bool:
        all_met = (1 << len(self._demands)) - 1
        return state.presence == TRUE and state.num_fields >= self._fewest and state.met == all_met

    # ------------------------------------------------------------ other properties

    def _write_others(self, layer: dict[_State, dict[Run, list[int]]]) -> dict[_State, dict[Run, list[int]]]:
        """Write properties that are not declared, in a loop.

        Their names may repeat, which makes one property of two. So only one of them counts towards a lower bound, or
        else those that count are taken from different classes of names.
        """
        kinds = Kinds(self._writer, self._shape, self._allowed_names, self._demands, self._pointer)
        closing: dict[_State, dict[Run, list[int]]] = {}
        for state, exits in layer.items():
            _merge(closing.setdefault(state, {}), exits)
        if not kinds.members:
            return closing
        classes = self._count_by_class(kinds)
        todo = [state for state in closing if state.presence == TRUE and (classes or self._needs_one(state))]
        self._out = closing
        pieces: dict[tuple[_State, Kind], Piece] = {}
        for state in todo:
            for kind, used in self._ways(state, kinds, classes) if self._has_room(state) else ():
                count = self._count(state.num_fields)
                met = state.met | kind.met
                after = _State(
                    state.place, TRUE, count, met, is_first=False, is_closed=kind.is_last,
                    used=used if kind.is_last or count < self._fewest else 0,
                )  # fmt: skip
                if (after, kind) not in pieces:
                    pieces[after, kind] = self._write_other(kind)
                    if not pieces[after, kind].is_dead:
                        if after not in closing:
                            closing[after] = {}
                            todo.append(after)
                        _merge(closing[after], pieces[after, kind].exits)
                self._link(state, pieces[after, kind])
        return closing

    def _link(self, state: _State, piece: Piece) -> None:
        """Lead from a state into an undeclared property."""
        printer, nesting = self._writer.printer, self._depth.nesting
        if piece.is_dead:
            return
        if state.is_first:
            self._heads += [(concat(printer.open("{", nesting), head), target) for head, target in piece.heads]
        self._links.append((state, printer.comma(nesting), piece.heads))

    def _needs_one(self, state: _State) -> bool:
        return state.num_fields >= self._fewest - 1

    def _count_by_class(self, kinds: Kinds) -> NameClasses | None:
        """Give classes of names where several undeclared properties have to be counted."""
        if self._fewest - 1 <= len(self._names):
            return None
        classes = kinds.classes_for(self._fewest) if not kinds.has_last else None
        if classes is None:
            reason = "two properties that the schema does not name could have one name, and would be one"
            self._writer.refuse("minProperties", self._pointer, reason)
            self._fewest = len(self._names) + 1
        return classes

    def _ways(self, state: _State, kinds: Kinds, classes: NameClasses | None) -> Iterator[tuple[Kind, int]]:
        """Give the kinds of property that may come next, and the classes that are used then."""
        for kind in kinds.members:
            if kind.is_last:
                yield from kinds.demanded(kind, state.met, state.used, is_closed=state.is_closed)
            elif state.is_closed:
                continue
            elif classes is None or state.num_fields >= self._fewest or (self._needs_one(state) and not state.used):
                yield kind, 0
            else:
                yield from ((part, state.used | bit) for part, bit in classes.fresh(kind, state.used))

    def _write_other(self, kind: Kind) -> Piece:
        """Write a key that is not known beforehand, and its value."""
        is_aside = bool(self._names) and not kind.node
        value = self._writer.write(kind.node, self._aside if is_aside else self._inner)
        if value.is_dead:
            return Piece()
        graph, printer = self._writer.graph, self._writer.printer
        begin, end = self._writer.add_node(), self._writer.add_node()
        declared = frozenset(name for name in self._names if kind.names.accepts(name))
        graph.add_slot(begin, SlotSpec(kind.names, 1, None, printer.style, declared), end)
        self._writer.connect({printer.key_quote: [end]}, printer.colon, value.heads)
        return Piece([(printer.key_quote, begin)], value.exits)


def _merge(into: dict[Run, list[int]], exits: dict[Run, list[int]]) -> None:
    for run, nodes in exits.items():
        known = into.setdefault(run, [])
        known += [node for node in nodes if node not in known]
