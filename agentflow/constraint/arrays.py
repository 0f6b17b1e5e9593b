"""Arrays as graph pieces.

A state of an array is what has to be remembered between two items: how many there were (as far as it matters),
how often each ``contains`` was satisfied, and, for ``uniqueItems``, which values were used.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from math import comb
from typing import NamedTuple

from agentflow.constraint.graph import Run, concat
from agentflow.constraint.schema import ArrayShape, Node
from agentflow.constraint.values import Depth, Piece, ValueWriter

_MAX_LISTED = 64
_MAX_SUBSETS = 256
_MAX_COUNTED_NODES = 1500
_LONG = 12


class _State(NamedTuple):
    num_items: int
    matches: tuple[int, ...]
    used: int


class ArrayWriter:
    """Writes the arrays of one shape."""

    def __init__(self, writer: ValueWriter, shape: ArrayShape, depth: Depth) -> None:
        self._writer = writer
        self._shape = shape
        self._depth = depth
        self._inner = Depth(depth.nesting + 1, depth.free, depth.seen)
        self._pieces: dict[tuple[_State, Node | str], Piece] = {}
        self._out: dict[_State, dict[Run, list[int]]] = {}
        self._links: list[tuple[_State, Piece]] = []
        self._most = shape.most
        self._bits: dict[str, int] = {}
        self._values = self._list_values()

    def write(self) -> Piece:
        """Write them."""
        start = _State(0, (0,) * len(self._shape.some), 0)
        self._out[start] = {}
        todo = [start]
        for state in todo:
            for key, following, node in self._options(state):
                piece = self._piece(following, key, node)
                if piece.is_dead:
                    continue
                if following not in self._out:
                    self._out[following] = {}
                    todo.append(following)
                for run, nodes in piece.exits.items():
                    known = self._out[following].setdefault(run, [])
                    known += [n for n in nodes if n not in known]
                self._links.append((state, piece))
        return self._join(start)

    def _join(self, start: _State) -> Piece:
        """Lead each state's ways out into the next items and the closing bracket."""
        printer, nesting = self._writer.printer, self._depth.nesting
        whole = Piece()
        for state, piece in self._links:
            if state == start:
                whole.heads += [(concat(printer.open("[", nesting), head), target) for head, target in piece.heads]
            else:
                self._writer.connect(self._out[state], printer.comma(nesting), piece.heads)
        for state, exits in self._out.items():
            if not self._may_end(state):
                continue
            if state == start:
                target = self._writer.add_node()
                whole.heads.append((("[]",), target))
                whole.add_exit((), [target])
            for run, nodes in exits.items():
                whole.add_exit(concat(run, printer.close("]", nesting)), self._writer.join(nodes))
        return whole

    def _may_end(self, state: _State) -> bool:
        is_enough = all(n >= bound.fewest for n, bound in zip(state.matches, self._shape.some, strict=True))
        return state.num_items >= self._shape.fewest and is_enough

    def _piece(self, following: _State, key: Node | str, node: Node | None) -> Piece:
        """Give the piece of an item that leads to `following`; sources share it."""
        if (following, key) not in self._pieces:
            before = self._size()
            piece = self._writer.write_value(str(key)) if node is None else self._writer.write(node, self._inner)
            self._pieces[following, key] = piece
            self._limit(self._size() - before)
        return self._pieces[following, key]

    def _size(self) -> int:
        """Give the nodes written so far, long strings counted for more."""
        return self._writer.graph.num_nodes + self._writer.num_slot_states // 40

    def _limit(self, size: int) -> None:
        """Bound the number of copies of a large item: fewer items than ``maxItems`` are written then."""
        shape = self._shape
        if shape.most is not None and shape.most > _LONG and self._values is None:
            least = max(shape.fewest, len(shape.first) + 1, _LONG)
            affordable = max(least, _MAX_COUNTED_NODES // max(1, size))
            self._most = min(shape.most, affordable, self._most if self._most is not None else affordable)

    def _options(self, state: _State) -> Iterator[tuple[Node | str, _State, Node | None]]:
        """Give the ways to go on with one more item: its key, the next state, its node."""
        index = state.num_items
        if self._most is not None and index >= self._most:
            return
        if self._values is not None:
            for text in self._values[min(index, len(self._values) - 1)]:
                bit = 1 << self._bits[text]
                if not state.used & bit:
                    yield text, _State(self._count(index + 1), state.matches, state.used | bit), None
            return
        base = self._shape.first[index] if index < len(self._shape.first) else self._shape.rest
        num_items = self._count(index + 1)
        for choices in product(*(self._match(i, bound_at, index) for i, bound_at in enumerate(state.matches))):
            matches = tuple(count for _, count in choices)
            node = base.union(*(extra for extra, _ in choices)) if choices else base
            if self._writer.tree.is_empty(node):
                continue
            yield node, _State(num_items, matches, 0), node

    def _match(self, i: int, count: int, index: int) -> list[tuple[Node, int]]:
        """Give the choices of one ``contains`` for an item: it matches, or it does not."""
        bound = self._shape.some[i]
        if index < bound.first:
            return [(frozenset(), count)]
        top = bound.fewest if bound.most is None else bound.most + 1
        not_matching = frozenset(literal.negate() for literal in bound.node)
        choices = []
        if bound.most is None and count >= bound.fewest:
            return [(frozenset(), count)]
        if bound.most is None or count + 1 <= bound.most:
            choices.append((bound.node, min(count + 1, top)))
        choices.append((not_matching, count))
        return choices

    def _count(self, num_items: int) -> int:
        """Forget how many items there were where it does not matter any more."""
        if self._most is not None:
            return num_items
        return min(
            num_items, max(len(self._shape.first) + 1, self._shape.fewest, 1, *(b.first for b in self._shape.some), 1)
        )

    def _list_values(self) -> list[list[str]] | None:
        """Give the possible items as texts, place by place (the last list: all further places), for ``uniqueItems``.

        ``None``: items need no memory.
        """
        shape = self._shape
        if shape.unique_at is None or (shape.most is not None and shape.most <= 1):
            return None
        tree = self._writer.tree
        nodes = [tree.simplify(node) for node in (*shape.first, shape.rest)]
        lists = [[] if tree.is_empty(node) else tree.list_values(node, limit=_MAX_LISTED) for node in nodes]
        known = [values for values in lists if values is not None]
        self._bits = {text: i for i, text in enumerate(dict.fromkeys(chain.from_iterable(known)))}
        if len(known) == len(lists) and not shape.some and _num_subsets(len(self._bits), shape.most) <= _MAX_SUBSETS:
            return known
        reason = f"only arrays of few listed values can be kept distinct (at most {_MAX_SUBSETS} sets of them)"
        self._writer.refuse("uniqueItems", shape.unique_at, reason)
        return None


def _num_subsets(num_values: int, most: int | None) -> int:
    """Give how many sets of values an array may have used."""
    return sum(comb(num_values, size) for size in range(min(num_values, num_values if most is None else most) + 1))
