"""Values that come again: where the same value is written a second time, its part of the graph is copied.

    "before": {address}   written                 nodes 10..40
    "after":  {address}   the same, moved by 50   nodes 60..90

What a value comes to depends on the schemas around it only as far as recursion is bounded: a `Template` says how often
each schema that was met within it stood around it, and serves where that is the same. Most of the work for a large
schema is a few dozen values in hundreds of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agentflow.constraint.graph import Copy, Graph, Run
from agentflow.constraint.limits import spend
from agentflow.constraint.schema import Node

_FEWEST_NODES = 6
_MOST_TRIED = 4


class Context(NamedTuple):
    """Where a value stands, as far as it decides what is written.

    Attributes:
        node: What the value satisfies.
        free: Values without a schema around it.
        nesting: Brackets around it, 0 where the layout does not show them.
        num_cycles: Nodes around it that stand within themselves, 0 where their number has no bound.
    """

    node: Node
    free: int
    nesting: int
    num_cycles: int


class Mark(NamedTuple):
    """How far the graph was before a value was written.

    Attributes:
        context: Where the value stands.
        seen: Schemas around it.
        nesting: Brackets around it.
        num_nodes: Nodes of the graph.
        num_places: Its places of values without a schema.
        num_entered: Schemas that were met.
        num_slot_states: About how many states its slots had.
    """

    context: Context
    seen: tuple[Node, ...]
    nesting: int
    num_nodes: int
    num_places: int
    num_entered: int
    num_slot_states: int


@dataclass(frozen=True)
class Template:
    """A part of the graph that writes a value.

    Attributes:
        nodes: Its nodes in the graph.
        places: Its places of values without a schema, in `Graph.containers`.
        nesting: Brackets around it.
        around: For each schema that was met within it, how often it stood around it.
        heads: Ways in; see `Piece`.
        exits: Ways out.
        num_runs: For each node of `exits`, how many literals and jumps it had when the value was done.
        num_slot_states: About how many states its slots have.
    """

    nodes: range
    places: range
    nesting: int
    around: tuple[tuple[Node, int], ...]
    heads: tuple[tuple[Run, int], ...]
    exits: dict[Run, tuple[int, ...]]
    num_runs: dict[int, tuple[int, int]]
    num_slot_states: int

    def fits(self, seen: tuple[Node, ...]) -> bool:
        """Say whether the value would come to the same with these schemas around it."""
        return all(seen.count(node) == count for node, count in self.around)


class Templates:
    """The values of one document that were written."""

    def __init__(self, graph: Graph) -> None:
        """Take the graph that they are in."""
        self._graph = graph
        self._known: dict[Context, list[Template]] = {}
        self.entered: list[Node] = []
        """Schemas that were met, in order; whoever writes one adds it."""

    def find(self, context: Context, seen: tuple[Node, ...]) -> Template | None:
        """Give a template for a value, if there is one."""
        latest = self._known.get(context, ())[-_MOST_TRIED:]
        return next((known for known in latest if known.fits(seen)), None)

    def begin(self, context: Context, seen: tuple[Node, ...], nesting: int, num_slot_states: int) -> Mark:
        """Say how far the graph is before a value is written."""
        graph = self._graph
        return Mark(context, seen, nesting, graph.num_nodes, len(graph.containers), len(self.entered), num_slot_states)

    def keep(
        self, before: Mark, heads: list[tuple[Run, int]], exits: dict[Run, list[int]], num_slot_states: int
    ) -> None:
        """Keep the value that was written since `before` as a template, if it is worth it."""
        graph = self._graph
        if graph.num_nodes - before.num_nodes < _FEWEST_NODES:
            return
        ends = {node for nodes in exits.values() for node in nodes}
        template = Template(
            range(before.num_nodes, graph.num_nodes),
            range(before.num_places, len(graph.containers)),
            before.nesting,
            tuple((node, before.seen.count(node)) for node in dict.fromkeys(self.entered[before.num_entered :])),
            tuple(heads),
            {run: tuple(nodes) for run, nodes in exits.items()},
            {node: (len(graph.runs[node]), len(graph.jumps_of(node))) for node in ends},
            num_slot_states - before.num_slot_states,
        )
        self._known.setdefault(before.context, []).append(template)

    def copy(self, template: Template, nesting: int) -> int:
        """Write a template again; give how far its nodes were moved."""
        graph, nodes = self._graph, template.nodes
        spend(len(nodes))
        offset = graph.num_nodes - nodes.start
        runs, slots, jumps = graph.runs, graph.slots, graph.jumps
        for node in nodes:
            num_runs, num_jumps = template.num_runs.get(node, (None, None))
            runs.append([(run, target + offset) for run, target in runs[node][:num_runs]])
            if node in slots:
                slots[node + offset] = [(slot, target + offset) for slot, target in slots[node]]
            if node in jumps and num_jumps != 0:
                jumps[node + offset] = [target + offset for target in jumps[node][:num_jumps]]
        ends = frozenset(template.num_runs)
        graph.copies.append(Copy(nodes, offset, ends, template.places, len(graph.containers)))
        for i in template.places:
            place = graph.containers[i]
            graph.containers.append(
                place._replace(
                    source=place.source + offset,
                    target=place.target + offset,
                    nesting=place.nesting + nesting - template.nesting,
                )
            )
        self.entered += [node for node, _ in template.around]
        return offset
