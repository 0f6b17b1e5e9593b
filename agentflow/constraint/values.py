"""Schema tree -> grammar graph: how the values of a node are written.

A value becomes a `Piece`: ways in (a literal and the node behind it) and ways out (nodes, by the literal that is still
to be written). Leaving the border literals open lets a closing quote, a comma and the next key meet in one run:

    ways in:  '{"city":"' -> (1)      ways out:  '"}' after (2)      (1) ==[free string]==> (2)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentflow.constraint.copies import Context, Template, Templates
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.free import ENTRIES
from agentflow.constraint.graph import ContainerPlace, Graph, Run, concat
from agentflow.constraint.grounded import KEYWORD as GROUNDED_KEYWORD
from agentflow.constraint.grounded import Span, read_span
from agentflow.constraint.grounding import Grounding, Hole, NumberHole, SpanSpec
from agentflow.constraint.limits import current
from agentflow.constraint.printers import Printer
from agentflow.constraint.schema import Node, SchemaTree
from agentflow.errors import UnsupportedSchemaError

if TYPE_CHECKING:
    from agentflow.constraint.schema import ArrayShape, ObjectShape

_MAX_JOINED = 4
_MAX_HEADS = 24
_STATES_PER_NODE = 40


class TooLargeError(Exception):
    """The graph outgrew its soft limit; it is built again with less depth. Never leaves this room."""


@dataclass
class Piece:
    """A part of the graph that writes a value.

    Attributes:
        heads: Ways in: a literal, and the node behind it.
        exits: Ways out: nodes, by the literal that still has to follow them.
    """

    heads: list[tuple[Run, int]] = field(default_factory=list)
    exits: dict[Run, list[int]] = field(default_factory=dict)

    def add_exit(self, run: Run, nodes: Iterable[int]) -> None:
        """Add ways out."""
        known = self.exits.setdefault(run, [])
        known += [node for node in nodes if node not in known]

    def absorb(self, other: Piece) -> None:
        """Take in an alternative."""
        self.heads += other.heads
        for run, nodes in other.exits.items():
            self.add_exit(run, nodes)

    @property
    def is_dead(self) -> bool:
        """Whether there is no way through."""
        return not self.heads or not self.exits


@dataclass(frozen=True)
class Depth:
    """How deep a value stands.

    Attributes:
        nesting: Brackets around it.
        free: Values without a schema around it.
        seen: Nodes around it.
        is_aside: Whether no keyword speaks of it, in an object that declares other properties.
    """

    nesting: int = 0
    free: int = 0
    seen: tuple[Node, ...] = ()
    is_aside: bool = False


@dataclass
class Reached:
    """How far writing went: limits of no less would have cut nothing off.

    Attributes:
        recursion: Times that a node stood within itself.
        depth: Values without a schema within each other.
    """

    recursion: int = 0
    depth: int = 0


class ValueWriter:
    """Writes the values of one document's nodes into a graph."""

    def __init__(
        self,
        tree: SchemaTree,
        graph: Graph,
        printer: Printer,
        *,
        grounding: Grounding | None = None,
        max_recursion: int = 3,
        max_depth: int = 2,
        max_nodes: int | None = None,
        max_cycles: int | None = None,
        unchecked: list[tuple[str, str]] | None = None,
        has_containers: bool = False,
        reached: Reached | None = None,
    ) -> None:
        """Take what to write, where and how."""
        self.tree = tree
        self.graph = graph
        self.printer = printer
        self.grounding = grounding
        self.unchecked = unchecked
        self._max_recursion = max_recursion
        self._max_depth = max_depth
        self._max_nodes = max_nodes
        self._max_cycles = max_cycles
        self._has_containers = has_containers and printer.has_bounded_layout and grounding is None
        self.is_cut = False
        self.reached = reached or Reached()
        self._templates = Templates(graph)
        self.num_slot_states = 0
        """About how many states the slots that were written will have."""

    def add_node(self) -> int:
        """Add a node to the graph.

        Raises:
            TooLargeError: The soft limit is reached.
        """
        self._check_size(1, 0)
        return self.graph.add_node()

    def _check_size(self, num_nodes: int, num_slot_states: int) -> None:
        """Make sure that the graph stays within its soft limit with so much more."""
        if self._max_nodes is None:
            return
        has_room = self.graph.num_nodes + num_nodes <= self._max_nodes
        if not has_room or self.num_slot_states + num_slot_states > _STATES_PER_NODE * self._max_nodes:
            raise TooLargeError

    def write(self, node: Node, depth: Depth) -> Piece:
        """Write all values of a node, or copy them from where they were written before."""
        node = self.tree.simplify(node)
        if not node and self._has_containers:
            piece = self._write_scalars(node)
            self._write_containers(piece, depth)
            return piece
        context = self._context(node, depth)
        template = self._templates.find(context, depth.seen)
        if template is not None:
            return self._copy(template, depth)
        before = self._templates.begin(context, depth.seen, depth.nesting, self.num_slot_states)
        piece = self._write_scalars(node)
        inner = self._enter(node, depth)
        if inner is not None:
            for array in self.tree.arrays(node):
                piece.absorb(self._write_array(array, inner))
            for shape in self.tree.objects(node):
                piece.absorb(self._write_object(node, shape, inner))
        if len(piece.heads) > _MAX_HEADS:
            self._join_heads(piece)
        self._templates.keep(before, piece.heads, piece.exits, self.num_slot_states)
        return piece

    def _context(self, node: Node, depth: Depth) -> Context:
        has_bound = self._max_cycles is not None
        num_cycles = sum(other in self.tree.recursive for other in depth.seen) if has_bound else 0
        return Context(node, depth.free, depth.nesting if self.printer.shows_nesting else 0, num_cycles)

    def _copy(self, template: Template, depth: Depth) -> Piece:
        """Write a template again."""
        self._check_size(len(template.nodes), template.num_slot_states)
        self.num_slot_states += template.num_slot_states
        for node, count in template.around:
            if count:
                self.tree.recursive.update(depth.seen[depth.seen.index(node) :])
        offset = self._templates.copy(template, depth.nesting)
        return Piece(
            [(run, target + offset) for run, target in template.heads],
            {run: [node + offset for node in nodes] for run, nodes in template.exits.items()},
        )

    def _write_containers(self, piece: Piece, depth: Depth) -> None:
        """Write arrays and objects of any content; those that are not empty become slots."""
        for empty in ("{}", "[]"):
            self._add_literal(piece, (empty,))
        end = self.add_node()
        comma, colon = "".join(map(str, self.printer.comma(0))), "".join(map(str, self.printer.colon))
        for entry in ENTRIES:
            begin = self.add_node()
            piece.heads.append(((entry,), begin))
            place = ContainerPlace(
                begin, entry, end, current().max_depth, comma, colon, depth.nesting, is_aside=depth.is_aside
            )
            self.graph.containers.append(place)
        piece.add_exit((), [end])

    def _enter(self, node: Node, depth: Depth) -> Depth | None:
        """Step into arrays and objects, unless the recursion is too deep."""
        if not node:
            self.reached.depth = max(self.reached.depth, depth.free + 1)
            if depth.free >= self._max_depth:
                return None
            return Depth(depth.nesting, depth.free + 1, depth.seen)
        self._templates.entered.append(node)
        if node in depth.seen:
            self.tree.recursive.update(depth.seen[depth.seen.index(node) :])
        num_around = depth.seen.count(node)
        self.reached.recursion = max(self.reached.recursion, num_around)
        if num_around > self._max_recursion or self._is_too_deep(node, depth):
            self.is_cut = True
            return None
        return Depth(depth.nesting, depth.free, (*depth.seen, node))

    def _is_too_deep(self, node: Node, depth: Depth) -> bool:
        """Say whether too many of the nodes around stand within themselves, one through another."""
        recursive = self.tree.recursive
        if self._max_cycles is None or node not in recursive:
            return False
        return sum(other in recursive for other in depth.seen) >= self._max_cycles

    def _write_array(self, shape: ArrayShape, depth: Depth) -> Piece:
        from agentflow.constraint.arrays import ArrayWriter

        return ArrayWriter(self, shape, depth).write()

    def _write_object(self, node: Node, shape: ObjectShape, depth: Depth) -> Piece:
        from agentflow.constraint.objects import ObjectWriter

        return ObjectWriter(self, node, shape, depth).write()

    # ------------------------------------------------------------ scalars

    def _write_scalars(self, node: Node) -> Piece:
        piece = Piece()
        if self.tree.has_null(node):
            self._add_literal(piece, ("null",))
        for value in self.tree.booleans(node):
            self._add_literal(piece, ("true" if value else "false",))
        self._write_numbers(piece, node)
        self._write_strings(piece, node)
        return piece

    def _add_literal(self, piece: Piece, run: Run, rest: Run = ()) -> None:
        target = self.add_node()
        piece.heads.append((run, target))
        piece.add_exit(rest, [target])

    def _write_numbers(self, piece: Piece, node: Node) -> None:
        found = self.tree.numbers(node)
        if found is None:
            return
        texts = found.finite
        span = self._span_of(node)
        if texts is None and span is not None and self.grounding is not None:
            copied = self.grounding.number_texts(span, found.dfa)
            if isinstance(copied, NumberHole):
                self._add_literal(piece, self.graph.write_hole(copied))
                return
            texts = copied
        for text in texts or ():
            self._add_literal(piece, (text,))
        if not texts and (span is None or span.fallback == "free"):
            self._add_slot(piece, SlotSpec(found.dfa), ())

    def _write_strings(self, piece: Piece, node: Node) -> None:
        members = self.tree.strings(node)
        if members.is_empty:
            return
        quote = self.printer.quote
        if members.finite is not None:
            for text in members.finite:
                self._write_string(piece, text)
            return
        is_plain = members.dfa.is_universal and members.minimum <= 1 and members.maximum is None
        span = self._span_of(node)
        if span is not None and self.grounding is not None and (is_plain or self._is_declared(node)):
            slot = self.grounding.slot(span, members, self.printer.style)
            if slot is not None:
                self._add_slot(piece, slot, quote)
            if slot is not None or span.fallback == "none":
                return
        if members.accepts(""):
            self._write_string(piece, "")
        longest = members.maximum
        if longest is not None and not members.dfa.is_universal:
            most = members.dfa.max_length
            longest = None if most is not None and most <= longest else longest
        if longest is None or longest >= 1:
            spec = SlotSpec(members.dfa, max(1, members.minimum), longest, self.printer.style)
            self._add_slot(piece, spec, quote)

    def _write_string(self, piece: Piece, text: str) -> None:
        """Write a literal string; its closing quote waits for what follows, with the marks before it."""
        run = self.printer.string(text)
        if self.printer.style == "raw" or not text:
            self._add_literal(piece, run)
            return
        whole = run[0]
        body = str(whole)[:-1]
        kept = len(body.rstrip(".!?%)=/;_-")) if len(body.rstrip(".!?%)=/;_-")) > 1 else len(body)
        kept = max(kept, len(body) - 2)
        self._add_literal(piece, (body[:kept],), (body[kept:] + '"',))

    def _add_slot(self, piece: Piece, slot: SlotSpec | SpanSpec | Hole, quote: Run) -> None:
        begin, end = self.add_node(), self.add_node()
        if isinstance(slot, Hole):
            self.graph.add_run(begin, self.graph.write_hole(slot), end)
        else:
            self.graph.add_slot(begin, slot, end)
            self._count_states(slot)
        piece.heads.append((quote, begin))
        piece.add_exit(quote, [end])

    def _declared(self, node: Node) -> list[tuple[Any, str]]:
        """Give what the schemas of a node say about grounding, each with its place."""
        resources = self.tree.resources
        found = [(resources.contents(lit.schema), resources.pointer(lit.schema)) for lit in sorted(node) if lit[1]]
        return [(c[GROUNDED_KEYWORD], at) for c, at in found if isinstance(c, Mapping) and GROUNDED_KEYWORD in c]

    def _is_declared(self, node: Node) -> bool:
        return any(value is not False for value, _ in self._declared(node))

    def _span_of(self, node: Node) -> Span | None:
        """Give how the scalars of a node are copied from the texts; ``None``: they are free."""
        declared = self._declared(node)
        if not declared:
            return Span() if self.grounding is not None and self.grounding.is_default else None
        spans = [read_span(value, pointer=pointer) for value, pointer in declared]
        if None in spans:
            return None
        if self.grounding is None and any(span.fallback == "none" for span in spans if span is not None):
            reason = "it asks for a span of the conversation, and no texts were given"
            raise UnsupportedSchemaError(GROUNDED_KEYWORD, pointer=declared[0][1], reason=reason)
        return spans[0]

    def _count_states(self, slot: SlotSpec | SpanSpec) -> None:
        if isinstance(slot, SlotSpec):
            self.num_slot_states += slot.num_states
            self._check_size(0, 0)

    def write_value(self, text: str) -> Piece:
        """Write one scalar, given as JSON."""
        value = json.loads(text)
        piece = Piece()
        if isinstance(value, str):
            self._write_string(piece, value)
        else:
            self._add_literal(piece, (text,))
        return piece

    # ------------------------------------------------------------ joining

    def connect(self, exits: dict[Run, list[int]], between: Run, heads: Iterable[tuple[Run, int]]) -> None:
        """Lead ways out over a literal into ways in."""
        following = [(concat(between, head), target) for head, target in heads]
        for run, nodes in exits.items():
            ways = [(concat(run, literal), target) for literal, target in following]
            for node in self.join(nodes):
                self.graph.add_runs(node, ways)

    def join(self, nodes: list[int]) -> list[int]:
        """Give few nodes for many."""
        if len(nodes) <= _MAX_JOINED:
            return nodes
        joint = self.add_node()
        for node in nodes:
            self.graph.add_run(node, (), joint)
        nodes[:] = [joint]
        return nodes

    def _join_heads(self, piece: Piece) -> None:
        """Share the ways in that begin with the same text."""
        groups: dict[Any, list[tuple[Run, int]]] = {}
        for run, target in piece.heads:
            first = run[0] if run else ""
            mark = first[:1] if isinstance(first, str) else first
            groups.setdefault(mark if mark in ('"', "{", "[") else "", []).append((run, target))
        piece.heads = []
        for mark, group in groups.items():
            if not mark or len(group) <= _MAX_JOINED:
                piece.heads += group
                continue
            joint = self.add_node()
            piece.heads.append(((str(mark),), joint))
            for run, target in group:
                self.graph.add_run(joint, (str(run[0])[1:], *run[1:]) if len(run[0]) > 1 else run[1:], target)

    def refuse(self, keyword: str, pointer: str, reason: str) -> None:
        """Refuse a keyword, or note it for a check after decoding."""
        if self.unchecked is None:
            raise UnsupportedSchemaError(keyword, pointer=pointer, reason=reason)
        self.unchecked.append((keyword, pointer))
