"""The grammar graph: what may follow what, before any vocabulary is known.

    (0) --'{"city":"'--> (1) ==[free string]==> (2) --'","days":'--> (3) ==[integer]==> (4) --'}'--> (5) --end--> (6)

Edges are literals (a `Run` of text and control tokens), slots (`SlotSpec` or grounded spans), and jumps. Between two
slots, literals are kept in one run as long as possible, so that they can be cut into the tokenizer's own tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.free import Kind, allot_depths, containers
from agentflow.constraint.grounding import Hole, NumberHole, SpanSpec
from agentflow.constraint.limits import spend


class Control(NamedTuple):
    """One control token in a run; ``END`` stands for the vocabulary's end ids."""

    text: str


END = Control("")
HOLE = Control("<|turn>")
"""Stands before and behind the number of a hole; no turn writes it."""

Run: TypeAlias = tuple[str | Control, ...]
Slot: TypeAlias = SlotSpec | SpanSpec


def concat(*runs: Run) -> Run:
    """Join runs; neighbouring texts become one."""
    if len(runs) == 2:  # noqa: PLR2004 - the most frequent case
        first, second = runs
        if not first or not second:
            return first or second
        if len(first) == 1 == len(second) and type(first[0]) is str is type(second[0]):
            return (first[0] + second[0],) if first[0] or second[0] else ()
        if "" not in first and "" not in second:
            last, begin = first[-1], second[0]
            if isinstance(last, str) and isinstance(begin, str):
                return (*first[:-1], last + begin, *second[1:])
            return first + second
    joined: list[str | Control] = []
    for run in runs:
        for piece in run:
            if isinstance(piece, str) and joined and isinstance(joined[-1], str):
                joined[-1] += piece
            elif piece != "":
                joined.append(piece)
    return tuple(joined)


class ContainerPlace(NamedTuple):
    """A place of arrays and objects without a schema: how deep they may be, and how they are written.

    `nesting`: brackets around them; `is_aside`: no keyword speaks of them, and they stand in an object that declares
    other properties.
    """

    source: int
    entry: str
    target: int
    depth: int
    comma: str
    colon: str
    nesting: int = 0
    is_aside: bool = False


class Copy(NamedTuple):
    """Nodes that were copied.

    Attributes:
        nodes: What was copied.
        offset: How far each node was moved.
        ends: Nodes of the copied behind which the copy may go on otherwise.
        places: Places of values without a schema among them, in `Graph.containers`.
        first_place: Where those of the copy begin.
    """

    nodes: range
    offset: int
    ends: frozenset[int]
    places: range
    first_place: int


@dataclass
class Graph:
    """A nondeterministic automaton over literals and slots. Node 0 is the start, node 1 the end.

    Attributes:
        runs: For each node its literal edges.
        slots: The slots of those nodes that have some; see `slots_of`.
        jumps: For nodes that have some, the nodes that stand for them too; see `jumps_of`.
        containers: Places of arrays and objects without a schema, until `place_containers` makes slots of them.
        copies: Nodes that are copies of others.
        holes: What may be copied into the holes, each kind once.
    """

    runs: list[list[tuple[Run, int]]] = field(default_factory=lambda: [[], []])
    slots: dict[int, list[tuple[Slot, int]]] = field(default_factory=dict)
    jumps: dict[int, list[int]] = field(default_factory=dict)
    containers: list[ContainerPlace] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    holes: list[Hole | NumberHole] = field(default_factory=list)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.runs)

    def add_node(self) -> int:
        """Add a node."""
        spend()
        self.runs.append([])
        return len(self.runs) - 1

    def add_run(self, source: int, run: Run, target: int) -> None:
        """Add a literal; an empty one is a jump."""
        if run:
            self.runs[source].append((run, target))
        else:
            self.jumps.setdefault(source, []).append(target)

    def add_runs(self, source: int, ways: list[tuple[Run, int]]) -> None:
        """Add several literals, each with the node behind it."""
        if all(run for run, _ in ways):
            self.runs[source] += ways
            return
        for run, target in ways:
            self.add_run(source, run, target)

    def add_slot(self, source: int, slot: Slot, target: int) -> None:
        """Add a slot."""
        self.slots.setdefault(source, []).append((slot, target))

    def write_hole(self, hole: Hole | NumberHole) -> Run:
        """Give what stands in a place that is left open."""
        keys = [known.key for known in self.holes]
        if hole.key not in keys:
            self.holes.append(hole)
            keys.append(hole.key)
        return (HOLE, str(keys.index(hole.key)), HOLE)

    def slots_of(self, node: int) -> Sequence[tuple[Slot, int]]:
        """Give the slots of a node, each with the node behind it."""
        return self.slots.get(node, ())

    def jumps_of(self, node: int) -> Sequence[int]:
        """Give the nodes that stand for a node too."""
        return self.jumps.get(node, ())

    def place_containers(self) -> bool:
        """Make slots of arrays and objects without a schema, as deep as their number allows.

        Returns:
            Whether there are any.
        """
        kind_of = {place.target: Kind(place.is_aside, place.nesting) for place in self.containers}
        depths = allot_depths(Counter(kind_of.values()), self.num_nodes)
        for place in self.containers:
            depth = min(place.depth, depths[kind_of[place.target]])
            if depth == 0:
                continue
            dfa = containers(depth, place.comma, place.colon)
            slot = SlotSpec(dfa, style="value", entry=place.entry)
            if slot.start >= 0:
                self.add_slot(place.source, slot, place.target)
        return bool(self.containers)

    def is_alike(self, copy: Copy) -> bool:
        """Say whether values without a schema are as deep in a copy as in what it was copied from."""
        pairs = zip(copy.places, range(copy.first_place, copy.first_place + len(copy.places)), strict=True)
        return all(self._slots_at(place) == self._slots_at(other) for place, other in pairs)

    def _slots_at(self, place: int) -> list[object]:
        return [slot.key for slot, _ in self.slots_of(self.containers[place].source)]


START_NODE, END_NODE = 0, 1
