"""Parts of a graph that stand in several places: what follows inside them is the same in each.

    part       nodes 10..40, ends 38, 40         inside: what follows any node but the ends
    instance   the part itself, moved by 0
    instance   its copy at 60..90, moved by 50

Copies differ in what was added behind their ends, and nowhere else. So states that stand inside a part are assembled
once for all its instances; see `agentflow.constraint.assemble`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from agentflow.constraint.graph import Graph
from agentflow.constraint.ways import Nodes, Slots, Ways

_FEWEST_NODES = 8


class StateKey(NamedTuple):
    """A state: literal nodes, and a block with its state."""

    nodes: Nodes
    block: Slots | None
    state: int

    def moved(self, offset: int, ways: Ways) -> StateKey:
        """Give the state that stands `offset` nodes further."""
        if not offset:
            return self
        nodes = frozenset(ways.moved(node, offset) for node in self.nodes)
        block = None if self.block is None else tuple((number, target + offset) for number, target in self.block)
        return StateKey(nodes, block, self.state)


class Component(Protocol):
    """What was assembled of a part: states, from 0 on.

    Attributes:
        states: The numbers of those that it made or led to.
        bases: The first states of its blocks.
        places: The first states of components of parts within it, by component and offset.
    """

    states: dict[StateKey, int]
    bases: dict[Slots, int]
    places: dict[tuple[Component, int], int]


@dataclass(eq=False)
class Part:
    """A range of nodes that was copied.

    Attributes:
        nodes: The nodes.
        ends: Those behind which the copies differ.
        scope: The instances within it.
    """

    nodes: range
    ends: frozenset[int]
    scope: Scope
    _states: dict[StateKey, tuple[Component, int]] = field(default_factory=dict)
    _bases: dict[Slots, tuple[Component, int]] = field(default_factory=dict)
    _places: dict[tuple[Component, int], tuple[Component, int]] = field(default_factory=dict)
    _is_safe: dict[int, bool] = field(default_factory=dict)

    def is_safe(self, node: int, ways: Ways) -> bool:
        """Say whether jumps from a node, which may be a middle, stay inside."""
        if node < 0:
            return ways.end_of(node) in self.nodes
        found = self._is_safe.get(node)
        if found is None:
            found = self._is_safe[node] = self._walk(node, ways.graph)
        return found

    def _walk(self, node: int, graph: Graph) -> bool:
        seen = {node}
        todo = [node]
        while todo:
            at = todo.pop()
            if at not in self.nodes or at in self.ends:
                return False
            ahead = set(graph.jumps_of(at)) - seen
            seen |= ahead
            todo += ahead
        return True

    def add(self, component: Component) -> None:
        """Take a component; what is in an earlier one is found there."""
        for key, number in component.states.items():
            self._states.setdefault(key, (component, number))
        for block, base in component.bases.items():
            self._bases.setdefault(block, (component, base))
        for place, base in component.places.items():
            self._places.setdefault(place, (component, base))

    def find(self, key: StateKey, ways: Ways) -> tuple[Component, int] | None:
        """Give the component in which a state is, and its number there; ``None``: it was not assembled yet."""
        found = self._states.get(key)
        if found is not None:
            return found
        if key.block is not None and not key.nodes and key.block in self._bases:
            component, base = self._bases[key.block]
            return component, base + key.state
        instance = self.scope.around(key.nodes, key.block, ways)
        if instance is None:
            return None
        within = instance.part.find(key.moved(-instance.offset, ways), ways)
        place = self._places.get((within[0], instance.offset)) if within is not None else None
        return (place[0], place[1] + within[1]) if place is not None and within is not None else None

    def clear(self) -> None:
        """Forget the components."""
        for known in (self._states, self._bases, self._places):
            known.clear()

    def holds(self, nodes: Nodes, slots: Slots | None, offset: int, ways: Ways) -> bool:
        """Say whether closed nodes and a block stand inside the instance that is moved by `offset`."""
        for node in nodes:
            if node < 0:
                if ways.end_of(node) - offset not in self.nodes:
                    return False
            elif node - offset not in self.nodes or node - offset in self.ends:
                return False
        behind = [target - offset for _, target in slots or ()]
        return all(node in self.nodes and self.is_safe(node, ways) for node in behind)


class Instance(NamedTuple):
    """A part in its place: the part moved by `offset` nodes."""

    part: Part
    offset: int


class Scope:
    """The largest instances within a range of nodes; they do not overlap."""

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        """Take instances of which none overlaps another; those inside others are left out."""
        self._instances: list[Instance] = []
        stop = -1
        for instance in sorted(instances, key=_from_left):
            nodes = instance.part.nodes
            if nodes.start + instance.offset >= stop:
                self._instances.append(instance)
                stop = nodes.stop + instance.offset
        self._starts = [instance.part.nodes.start + instance.offset for instance in self._instances]

    def clear(self) -> None:
        """Forget the components of all parts, here and within them."""
        for instance in self._instances:
            instance.part.clear()
            instance.part.scope.clear()

    def around(self, nodes: Nodes, slots: Slots | None, ways: Ways) -> Instance | None:
        """Give the instance inside which closed nodes and a block stand.

        Nodes on the way into a part are left outside, for each place has its own literals before it.
        """
        if not self._instances:
            return None
        node = slots[0][1] if slots else max(nodes, default=-1)
        if node < 0:
            return None
        at = bisect_right(self._starts, node) - 1
        if at < 0:
            return None
        instance = self._instances[at]
        return instance if instance.part.holds(nodes, slots, instance.offset, ways) else None


def _from_left(instance: Instance) -> tuple[int, int]:
    return instance.part.nodes.start + instance.offset, -len(instance.part.nodes)


def find_parts(graph: Graph) -> Scope:
    """Find the parts of a graph; give the largest of their instances, within which are the others."""
    parts: dict[tuple[range, frozenset[int]], Part] = {}
    instances: list[Instance] = []
    for copy in graph.copies:
        if len(copy.nodes) < _FEWEST_NODES or not graph.is_alike(copy):
            continue
        part = parts.get((copy.nodes, copy.ends))
        if part is None:
            part = parts[copy.nodes, copy.ends] = Part(copy.nodes, copy.ends, Scope())
            instances.append(Instance(part, 0))
        instances.append(Instance(part, copy.offset))
    instances.sort(key=_from_left)
    starts = [instance.part.nodes.start + instance.offset for instance in instances]
    for part in parts.values():
        first, last = bisect_right(starts, part.nodes.start - 1), bisect_right(starts, part.nodes.stop - 1)
        part.scope = Scope(one for one in instances[first:last] if _is_within(one, part.nodes))
    return Scope(instances)


def _is_within(instance: Instance, nodes: range) -> bool:
    own = instance.part.nodes
    return len(own) < len(nodes) and own.stop + instance.offset <= nodes.stop
