"""Objects as graph pieces.

Properties are written in the order in which the schemas declare them, then others. A state of an object is what has to
be remembered between two properties: the place in that order, what is still demanded of presence (a formula that
shrinks as properties come or stay away), the count, and which demands for some property are met.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agentflow.constraint import strings
from agentflow.constraint.automaton import CharDfa, intersect, subtract
from agentflow.constraint.formula import FALSE, TRUE, Formula, assume, units
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.graph import Run, concat
from agentflow.constraint.regex import pattern_dfa
from agentflow.constraint.schema import Node, ObjectShape
from agentflow.constraint.values import Depth, Piece, ValueWriter

_MAX_KINDS = 48


class _State(NamedTuple):
    place: int
    presence: Formula
    num_fields: int
    met: int
    is_first: bool
    is_closed: bool = False  # nothing may follow that could repeat the name of a property that is demanded


class _Kind(NamedTuple):
    """A kind of property that is not declared: the set of its names, and its value's node."""

    names: CharDfa
    node: Node
    met: int
    is_last: bool = False


class ObjectWriter:
    """Writes the objects of one shape."""

    def __init__(self, writer: ValueWriter, node: Node, shape: ObjectShape, depth: Depth) -> None:
        self._writer = writer
        self._tree = writer.tree
        self._shape = shape
        self._pointer = self._tree.resources.pointer(min(node).schema) if node else ""
        self._depth = depth
        self._inner = Depth(depth.nesting + 1, depth.free, depth.seen)
        self._names = writer.printer.order(self._tree.field_order(node))
        self._allowed_names = strings.ALL
        if shape.names:
            self._allowed_names = self._tree.strings(shape.names)
        self._demands = [*shape.some, *(frozenset({literal}) for literal in shape.some_names)]
        self._fewest, self._most = self._count_bounds()
        self._pieces: dict[tuple[_State, object], Piece] = {}
        self._out: dict[_State, dict[Run, list[int]]] = {}
        self._heads: list[tuple[Run, int]] = []
        self._links: list[tuple[_State, Run, list[tuple[Run, int]]]] = []

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
        for state, exits_of in self._out.items():
            for source, between, heads in self._links:
                if source == state:
                    self._writer.connect(exits_of, between, heads)
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
        met |= self._met_by_name(name)
        options = [node]
        marks = [met]
        for i, demand in enumerate(self._shape.some):
            if demand.names.accepts(name) and not met >> i & 1:
                options.append(node | demand.node)
                marks.append(met | 1 << i)
        for option, mark in zip(options, marks, strict=True):
            if not self._tree.is_empty(option):
                yield option, mark

    def _met_by_name(self, name: str) -> int:
        """Give the demands on names that a name meets, as bits."""
        offset = len(self._shape.some)
        bits = 0
        for i, literal in enumerate(sorted(self._shape.some_names)):
            if self._tree.strings(frozenset({literal})).accepts(name):
                bits |= 1 << (offset + i)
        return bits

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

    def _write_others(  # noqa: C901 - one loop over states and kinds
        self, layer: dict[_State, dict[Run, list[int]]]
    ) -> dict[_State, dict[Run, list[int]]]:
        """Write properties that are not declared, in a loop.

        Their names may repeat, which makes one property of two; so only one of them counts towards a lower bound.
        """
        kinds = list(self._kinds())
        closing: dict[_State, dict[Run, list[int]]] = {}
        for state, exits in layer.items():
            _merge(closing.setdefault(state, {}), exits)
        if not kinds:
            return closing
        if self._fewest - 1 > len(self._names):
            reason = "two properties that the schema does not name could have one name, and would be one"
            self._writer.refuse("minProperties", self._pointer, reason)
            self._fewest = len(self._names) + 1
        todo = [state for state in closing if state.presence == TRUE and state.num_fields >= self._fewest - 1]
        self._out = closing
        pieces: dict[tuple[_State, int], Piece] = {}
        for state in todo:
            if not self._has_room(state) or state.is_closed:
                continue
            for i, kind in enumerate(kinds):
                count = self._count(state.num_fields)
                after = _State(state.place, TRUE, count, state.met | kind.met, is_first=False, is_closed=kind.is_last)
                if (after, i) not in pieces:
                    pieces[after, i] = self._write_other(kind)
                    if not pieces[after, i].is_dead:
                        if after not in closing:
                            closing[after] = {}
                            todo.append(after)
                        _merge(closing[after], pieces[after, i].exits)
                piece = pieces[after, i]
                if piece.is_dead:
                    continue
                printer, nesting = self._writer.printer, self._depth.nesting
                if state.is_first:
                    self._heads += [(concat(printer.open("{", nesting), head), target) for head, target in piece.heads]
                self._links.append((state, printer.comma(nesting), piece.heads))
        return closing

    def _write_other(self, kind: _Kind) -> Piece:
        """Write a key that is not known beforehand, and its value."""
        value = self._writer.write(kind.node, self._inner)
        if value.is_dead:
            return Piece()
        graph, printer = self._writer.graph, self._writer.printer
        begin, end = self._writer.add_node(), self._writer.add_node()
        declared = frozenset(name for name in self._names if kind.names.accepts(name))
        graph.add_slot(begin, SlotSpec(kind.names, 1, None, printer.style, declared), end)
        self._writer.connect({printer.key_quote: [end]}, printer.colon, value.heads)
        return Piece([(printer.key_quote, begin)], value.exits)

    def _kinds(self) -> Iterator[_Kind]:
        """Give the kinds of undeclared properties: one for each set of patterns that a name may match."""
        patterns = list(dict(self._shape.matched)) + [p for _, ps, _ in self._shape.others for p in ps]
        cells: list[tuple[CharDfa, set[str]]] = [(self._free_names(), set())]
        for pattern in dict.fromkeys(patterns):  # a name that matches under one reading of it only is not used
            split = [(intersect(names, pattern_dfa(pattern)), subset | {pattern}) for names, subset in cells]
            split += [(subtract(names, pattern_dfa(pattern, is_wide=True)), subset) for names, subset in cells]
            cells = [cell for cell in split if not cell[0].is_empty]
            if len(cells) > _MAX_KINDS:
                reason = f"its patterns overlap in more than {_MAX_KINDS} ways"
                self._writer.refuse("patternProperties", self._pointer, reason)
                yield _Kind(self._free_names(), frozenset(), 0)
                return
        for names, subset in cells:
            node = self._node_of_kind(subset)
            if not names.is_empty and not self._tree.is_empty(node):
                yield from self._kinds_by_demand(names, node)

    def _kinds_by_demand(self, names: CharDfa, node: Node) -> Iterator[_Kind]:
        """Split a kind where it can meet a demand for some property."""
        yield _Kind(names, node, 0)
        for i, demand in enumerate(self._shape.some):
            inside = intersect(names, demand.names)
            both = node | demand.node
            if not inside.is_empty and not self._tree.is_empty(both):
                is_last = not self._tree.is_trivial(demand.node)  # a repeated name would replace the value
                if is_last and len(self._demands) > 1:
                    reason = "it demands several undeclared properties with certain values, and names may repeat"
                    self._writer.refuse("not", self._pointer, reason)
                yield _Kind(inside, both, 1 << i, is_last)
        offset = len(self._shape.some)
        for i, literal in enumerate(sorted(self._shape.some_names)):
            inside = intersect(names, self._tree.strings(frozenset({literal})).expand())
            if not inside.is_empty:
                yield _Kind(inside, node, 1 << (offset + i))

    def _free_names(self) -> CharDfa:
        names = self._allowed_names.expand()
        safe = self._writer.printer.free_keys
        return names if safe is None else intersect(names, safe)

    def _node_of_kind(self, subset: set[str]) -> Node:
        found = {literal for pattern, literal in self._shape.matched if pattern in subset}
        for _, patterns, literal in self._shape.others:
            if not subset.intersection(patterns):
                found.add(literal)
        return frozenset(found)


def _merge(into: dict[Run, list[int]], exits: dict[Run, list[int]]) -> None:
    for run, nodes in exits.items():
        known = into.setdefault(run, [])
        known += [node for node in nodes if node not in known]
