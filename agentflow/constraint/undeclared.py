"""Undeclared properties: the kinds that there are, by their names and what their values must satisfy.

A name that is not known beforehand can be written twice, and two properties of one name are one. Where several of them
must be told apart, because they are counted or because different ones are demanded, each takes its name from a class
of its own: by the first character of the name, or the last. That leaves out some valid objects and admits
no invalid one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import comb

from agentflow.constraint.automaton import CharDfa, intersect, subtract
from agentflow.constraint.regex import pattern_dfa
from agentflow.constraint.schema import Node, ObjectShape
from agentflow.constraint.strings import Strings
from agentflow.constraint.values import ValueWriter

_MAX_KINDS = 48
_MAX_CLASSES = 8
_MAX_COUNTED = 16
_MAX_SETS = 64
_MAX_JOINT = 3
_MAX_SPLIT = 2


@dataclass(frozen=True, eq=False)
class Demand:
    """Some property must have a name in `names` and a value that satisfies `node`.

    Attributes:
        names: The names.
        node: What the value must satisfy.
        is_trivial: Whether every value does, so that a repeated name does no harm.
    """

    names: CharDfa
    node: Node
    is_trivial: bool


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of property that is not declared.

    Attributes:
        names: Its names.
        node: What its value must satisfy.
        met: The demands that it meets, as bits.
        is_last: Whether it meets one by its value, which a repeated name would replace: no ordinary one may follow.
    """

    names: CharDfa
    node: Node
    met: int
    is_last: bool = False


class NameClasses:
    """Disjoint sets of names, and kinds restricted to them."""

    def __init__(self, sets: list[CharDfa], *, is_ordered: bool = False) -> None:
        self._sets = sets
        self._is_ordered = is_ordered
        self._parts: dict[tuple[Kind, int], Kind] = {}

    def part(self, kind: Kind, number: int) -> Kind:
        """Give the part of a kind with names of one class."""
        key = (kind, number)
        if key not in self._parts:
            self._parts[key] = Kind(intersect(kind.names, self._sets[number]), kind.node, kind.met, kind.is_last)
        return self._parts[key]

    def fresh(self, kind: Kind, used: int) -> Iterator[tuple[Kind, int]]:
        """Give the parts of a kind with names of classes that are not used, each with its bit."""
        for number in range(len(self._sets)):
            is_next = not self._is_ordered or used == (1 << number) - 1
            if is_next and not used >> number & 1 and not self.part(kind, number).names.is_empty:
                yield self.part(kind, number), 1 << number


class Kinds:
    """The kinds of undeclared properties of one shape.

    Args:
        writer: Refuses what cannot be written.
        shape: What the object must satisfy.
        allowed: What ``propertyNames`` allows.
        demands: What some property must be.
        pointer: Place to name in errors.
    """

    def __init__(
        self, writer: ValueWriter, shape: ObjectShape, allowed: Strings, demands: list[Demand], pointer: str
    ) -> None:
        self._writer = writer
        self._shape = shape
        self._demands = demands
        self._pointer = pointer
        self._hard = sum(1 << i for i, demand in enumerate(demands) if not demand.is_trivial)
        names = allowed.expand()
        safe = writer.printer.free_keys
        self._names = names if safe is None else intersect(names, safe)
        self._classes: NameClasses | None = None
        self.members = list(self._list())

    @property
    def has_last(self) -> bool:
        """Whether a demand can be met by a value."""
        return any(kind.is_last for kind in self.members)

    def classes_for(self, num: int, most: int = _MAX_CLASSES) -> NameClasses | None:
        """Give classes of names for `num` properties that all differ; ``None``: there are too few of them.

        With few properties there are more classes than needed, up to `most`, and any of them may come first.
        """
        if num > _MAX_COUNTED:
            return None
        fitting = (k for k in range(max(most, num), num - 1, -1) if sum(comb(k, j) for j in range(num)) <= _MAX_SETS)
        num_classes = next(fitting, None)
        is_ordered = num_classes is None
        num_classes = num_classes or num
        for sets in (_by_character(num_classes, "^(?:{})"), _by_character(num_classes, "(?:{})$")):
            members = [kind.names for kind in self.members]
            alive = [part for part in sets if any(not intersect(names, part).is_empty for names in members)]
            if len(alive) >= num:
                return NameClasses(alive, is_ordered=is_ordered)
        return None

    def demanded(self, kind: Kind, met: int, used: int, *, is_closed: bool) -> Iterator[tuple[Kind, int]]:
        """Give the ways to write a property that meets demands by its value, and the classes that are used then.

        Properties that meet different demands take their names from different classes, unless one meets all.
        """
        own = kind.met & self._hard
        left = self._hard & ~met
        if own & ~left:
            return
        if own == left and not is_closed:
            yield kind, 0
            return
        if self._classes is None:
            self._classes = self.classes_for(self._hard.bit_count(), 0)
        if self._classes is None:
            reason = "it demands several undeclared properties with certain values, and names may repeat"
            self._writer.refuse("not", self._pointer, reason)
            return
        yield from ((part, used | bit) for part, bit in self._classes.fresh(kind, used))

    def _list(self) -> Iterator[Kind]:
        """Give one kind, or several, for each set of patterns that a name may match."""
        patterns = list(dict(self._shape.matched)) + [p for _, ps, _ in self._shape.others for p in ps]
        cells: list[tuple[CharDfa, set[str]]] = [(self._names, set())]
        for pattern in dict.fromkeys(patterns):  # a name that matches under one reading of it only is not used
            split = [(intersect(names, pattern_dfa(pattern)), subset | {pattern}) for names, subset in cells]
            split += [(subtract(names, pattern_dfa(pattern, is_wide=True)), subset) for names, subset in cells]
            cells = [cell for cell in split if not cell[0].is_empty]
            if len(cells) > _MAX_KINDS:
                reason = f"its patterns overlap in more than {_MAX_KINDS} ways"
                self._writer.refuse("patternProperties", self._pointer, reason)
                yield Kind(self._names, frozenset(), 0)
                return
        for names, subset in cells:
            node = self._node_of(subset)
            if not names.is_empty and not self._writer.tree.is_empty(node):
                yield from self._by_demand(names, node)

    def _by_demand(self, names: CharDfa, node: Node) -> Iterator[Kind]:
        """Split a kind by the demands that its members meet: by their names alone, or by their values."""
        hard = [i for i, demand in enumerate(self._demands) if not demand.is_trivial]
        for cell, met in self._by_names(names):
            yield Kind(cell, node, met)
            for size in range(1, min(len(hard), _MAX_JOINT) + 1):
                for chosen in combinations(hard, size):
                    yield from self._meeting(Kind(cell, node, met), chosen)

    def _by_names(self, names: CharDfa) -> list[tuple[CharDfa, int]]:
        """Split names by the demands that they meet whatever their value is; where these are many, not in all ways."""
        trivial = [i for i, demand in enumerate(self._demands) if demand.is_trivial]
        cells = [(names, 0)]
        if len(trivial) <= _MAX_SPLIT:
            for i in trivial:
                split = [(intersect(cell, self._demands[i].names), met | 1 << i) for cell, met in cells]
                cells = split + [(subtract(cell, self._demands[i].names), met) for cell, met in cells]
        else:
            for chosen in (*((i,) for i in trivial), trivial):
                common = reduce(intersect, (self._demands[i].names for i in chosen), names)
                cells.append((common, sum(1 << i for i in chosen)))
        return [(cell, met) for cell, met in cells if not cell.is_empty]

    def _meeting(self, kind: Kind, chosen: tuple[int, ...]) -> Iterator[Kind]:
        """Give the part of a kind that meets some demands by its values."""
        names, node, met = kind.names, kind.node, kind.met
        for i in chosen:
            names = intersect(names, self._demands[i].names)
            node |= self._demands[i].node
            met |= 1 << i
        if not names.is_empty and not self._writer.tree.is_empty(node):
            yield Kind(names, node, met, is_last=True)

    def _node_of(self, subset: set[str]) -> Node:
        found = {literal for pattern, literal in self._shape.matched if pattern in subset}
        for _, patterns, literal in self._shape.others:
            if not subset.intersection(patterns):
                found.add(literal)
        return frozenset(found)


def _by_character(num: int, place: str) -> list[CharDfa]:
    """Give disjoint sets of names, by the code of the character that a pattern has in one place."""
    letters = [[chr(code) for code in range(33, 127) if code % num == i] for i in range(num)]
    return [pattern_dfa(place.format("|".join(f"\\u{ord(c):04x}" for c in chars))) for chars in letters]
