"""What may follow the nodes of a grammar graph: literals token by token, slots, and what a token spells beyond a slot.

A literal is cut into its canonical tokens, so the graph gets nodes between them: a *middle* has a negative number and
one way on, and equal middles are one. A middle is what is left to read and the node behind that, so its number is made
of the number of a *tail* of tokens and that of the node, which has the lower bits:

    tail 0: ()    tail 1: ('":"',)    tail 2: ('city', '":"')        tail t before node n: ~(t << bits | n)

Tails are numbered once for all the places in which a literal stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from agentflow.constraint.graph import END, END_NODE, Graph, Run, Slot
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.errors import ConfigurationError

Nodes: TypeAlias = frozenset[int]
Slots: TypeAlias = tuple[tuple[int, int], ...]
"""Slots that are read side by side, each as (number of the slot, node behind it)."""
Closure: TypeAlias = tuple[Nodes, Slots]
"""The nodes with literals, and the slots, that jumps lead to."""

NO_NODES: Nodes = frozenset()
_MARKS = re.compile(r'[",:{}\[\]]{1,4}')


class _Beyond(NamedTuple):
    """What is behind the literals of nodes that begin with some of `rests`, by node and rest.

    Each of `cuts` is one of the rests with the base of what is left of the run behind it; see `Ways`.
    """

    rests: Mapping[str, int]
    longest: int
    by_node: dict[int, dict[str, list[int]]]
    cuts: dict[Run, list[tuple[str, int]]]


class Ways:
    """The ways through one graph, for one vocabulary; everything is found once.

    The *base* of a tail is what the node behind it is taken from to give the middle: ``base - node``. That of the empty
    tail is 0, which stands for the node itself.
    """

    def __init__(self, graph: Graph, vocabulary: Vocabulary) -> None:
        """Take what to read, and the tokens to read it with."""
        self.graph = graph
        self.vocabulary = vocabulary
        self.slots: list[Slot] = []
        """The slots by their numbers; equal slots have one."""
        self._slot_numbers: dict[object, int] = {}
        self._shift = graph.num_nodes.bit_length()
        self._mask = (1 << self._shift) - 1
        self._tails: dict[tuple[int, int], int] = {}  # base by the first token and the base of the others
        self._tail_edges: list[tuple[int, int]] = [(-1, 0)]  # by number: the first token, and the base of the others
        self._closures: dict[int, Closure] = {}
        self._joint_closures: dict[Nodes, Closure] = {}
        self._is_closing: set[int] = set()
        self._node_edges: dict[int, dict[int, list[int]]] = {}
        self._beyond: dict[int, _Beyond] = {}
        self._rows: dict[Nodes, dict[int, Nodes]] = {}
        self._bases: dict[Run, list[int]] = {}
        self._firsts: dict[Run, list[tuple[int, int]]] = {}
        vocabulary.encode_ahead(_list_texts(graph))

    # ------------------------------------------------------------ jumps

    def close(self, nodes: Nodes) -> Closure:
        """Follow jumps: give the nodes that have literals, and the slots."""
        if len(nodes) == 1:
            (node,) = nodes
            return (nodes, ()) if node < 0 else self._closures.get(node) or self._close_node(node)
        if max(nodes, default=-1) < 0:  # middles alone
            return nodes, ()
        found = self._joint_closures.get(nodes)
        if found is None:
            closures = [self._closures.get(node) or self._close_node(node) for node in nodes if node >= 0]
            literal = frozenset([node for node in nodes if node < 0]).union(*[some for some, _ in closures])
            slots = {slot for _, some in closures for slot in some}
            found = self._joint_closures[nodes] = literal, tuple(sorted(slots))
        return found

    def _close_node(self, node: int) -> Closure:
        """Close a node, and before it those it jumps to: most closures are those of others and a little more."""
        if node not in self.graph.jumps:
            literal = frozenset((node,)) if self.graph.runs[node] or node == END_NODE else NO_NODES
            slots = {(self.slot_number(slot), target) for slot, target in self.graph.slots_of(node)}
            found = self._closures[node] = literal, tuple(sorted(slots))
            return found
        todo = [node]
        while todo:
            at = todo.pop()
            if at in self._closures:
                continue
            ahead = [other for other in self.graph.jumps_of(at) if other not in self._closures]
            if ahead and at not in self._is_closing:
                self._is_closing.add(at)
                todo += [at, *ahead]
            else:
                self._closures[at] = self._collect(at)
        return self._closures[node]

    def _collect(self, node: int) -> Closure:
        """Walk the jumps, no further than to nodes that are closed."""
        graph = self.graph
        literal: set[int] = set()
        slots: set[tuple[int, int]] = set()
        seen = {node}
        todo = [node]
        while todo:
            at = todo.pop()
            if graph.runs[at] or at == END_NODE:
                literal.add(at)
            if at in graph.slots:
                slots.update([(self.slot_number(slot), target) for slot, target in graph.slots[at]])
            for other in graph.jumps_of(at):
                if other in seen:
                    continue
                seen.add(other)
                closed = self._closures.get(other)
                if closed is None:
                    todo.append(other)
                else:
                    literal |= closed[0]
                    slots.update(closed[1])
        return frozenset(literal), tuple(sorted(slots))

    def slot_number(self, slot: Slot) -> int:
        """Give the number of a slot."""
        number = self._slot_numbers.setdefault(slot.key, len(self.slots))
        if number == len(self.slots):
            self.slots.append(slot)
        return number

    # ------------------------------------------------------------ middles

    def _base(self, tokens: tuple[int, ...]) -> int:
        """Give the base of a tail; see the class."""
        tails = self._tails
        base = 0
        for token in reversed(tokens):
            key = (token, base)
            before = tails.get(key)
            if before is None:
                before = tails[key] = ~(len(self._tail_edges) << self._shift)
                self._tail_edges.append(key)
            base = before
        return base

    def end_of(self, node: int) -> int:
        """Give the node of the graph that a middle leads to; nodes of the graph are their own."""
        return node if node >= 0 else ~node & self._mask

    @staticmethod
    def moved(node: int, offset: int) -> int:
        """Give the node that stands `offset` further; of a middle, the one that leads there by the same tokens."""
        return node + offset if node >= 0 else node - offset

    # ------------------------------------------------------------ literals

    def row(self, nodes: Nodes) -> dict[int, Nodes]:
        """Give the next nodes of closed nodes by token."""
        found = self._rows.get(nodes)
        if found is None:
            tail_edges, shift, mask = self._tail_edges, self._shift, self._mask
            row: dict[int, list[int]] = {}
            for node in nodes:
                if node >= 0:
                    for token, targets in self._edges_of(node).items():
                        if token in row:
                            row[token] += targets
                        else:
                            row[token] = targets[:]
                    continue
                token, base = tail_edges[~node >> shift]
                end = ~node & mask
                if token in row:
                    row[token].append(base - end if base else end)
                else:
                    row[token] = [base - end if base else end]
            found = self._rows[nodes] = {token: frozenset(targets) for token, targets in row.items()}
        return found

    def _edges_of(self, node: int) -> dict[int, list[int]]:
        """Give the next nodes of a node of the graph by token."""
        edges = self._node_edges.get(node)
        if edges is None:
            edges = self._node_edges[node] = {}
            firsts = self._firsts
            for run, target in self.graph.runs[node]:
                for token, base in firsts.get(run) or self._find_firsts(run):
                    if token in edges:
                        edges[token].append(base - target if base else target)
                    else:
                        edges[token] = [base - target if base else target]
        return edges

    def _find_firsts(self, run: Run) -> list[tuple[int, int]]:
        """Give the first token of a run and the base of the others, for each way to cut it."""
        found = self._firsts[run] = [self._tail_edges[~base >> self._shift] for base in self._bases_of(run)]
        return found

    def _bases_of(self, run: Run) -> list[int]:
        """Give the base of a run for each way to cut it; the end of a value has as many as there are end ids."""
        bases = self._bases.get(run)
        if bases is None:
            if not run:
                bases = [0]
            elif run[-1] == END:
                before = self._tokens(run[:-1])
                bases = [self._base((*before, end)) for end in sorted(self.vocabulary.end_ids)]
            else:
                bases = [self._base(self._tokens(run))]
            self._bases[run] = bases
        return bases

    def _tokens(self, run: Run) -> tuple[int, ...]:
        tokens: list[int] = []
        for piece in run:
            if isinstance(piece, str):
                tokens += self.vocabulary.encode(piece)
            elif piece.text in self.vocabulary.control_ids:
                tokens.append(self.vocabulary.control_ids[piece.text])
            else:
                raise ConfigurationError(
                    f"the vocabulary has no control token {piece.text!r}",
                    hint="use the tokenizer of a DiffusionGemma or Gemma 4 checkpoint, or the surface 'json'",
                )
        return tuple(tokens)

    # ------------------------------------------------------------ beyond a slot

    def beyond(self, nodes: Nodes, rests: Mapping[str, int]) -> dict[str, Nodes]:
        """Give, for those of `rests` that literals of nodes begin with, the nodes behind that beginning.

        Args:
            nodes: Nodes behind a slot.
            rests: What tokens spell beyond the end of the slot.
        """
        known = self._beyond.get(id(rests))
        if known is None:
            known = self._beyond[id(rests)] = _Beyond(rests, max(map(len, rests), default=0), {}, {})
        joint: dict[str, list[int]] = {}
        for node in self.close(nodes)[0]:
            if node < 0:
                continue
            found = known.by_node.get(node)
            if found is None:
                found = known.by_node[node] = self._beyond_node(node, known)
            for rest, some in found.items():
                if rest in joint:
                    joint[rest] += some
                else:
                    joint[rest] = some[:]
        return {rest: frozenset(some) for rest, some in joint.items()}

    def _beyond_node(self, node: int, known: _Beyond) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for run, target in self.graph.runs[node]:
            cuts = known.cuts.get(run)
            if cuts is None:
                cuts = known.cuts[run] = self._cut(run, known)
            for rest, base in cuts:
                if rest in found:
                    found[rest].append(base - target if base else target)
                else:
                    found[rest] = [base - target if base else target]
        return found

    def _cut(self, run: Run, known: _Beyond) -> list[tuple[str, int]]:
        """List those of the rests that a run begins with, each with the base of what is left of the run."""
        first = run[0]
        if not isinstance(first, str):
            return []
        cuts = []
        for size in range(min(len(first), known.longest) + 1):
            if first[:size] in known.rests:
                remainder = (first[size:], *run[1:]) if size < len(first) else run[1:]
                cuts += [(first[:size], base) for base in self._bases_of(remainder)]
        return cuts


def _list_texts(graph: Graph) -> list[str]:
    """List the literals of a graph, and what is left of them where a token that ends a slot spells their marks."""
    runs = {run for ways in graph.runs for run, _ in ways}
    texts = {piece for run in runs for piece in run if isinstance(piece, str)}
    marked = [(text, match.end()) for text in texts if (match := _MARKS.match(text))]
    texts.update([text[at:] for text, end in marked for at in range(1, end + 1)])
    return list(texts)
