"""Graph x vocabulary -> deterministic token automaton.

The subset construction of the grammar graph, in which literals move token by token (their canonical tokens)
and a slot is entered as one block of states, its fragment:

    {literal nodes} --'{"' 'city' '":"'--> [ block: fragment of the free string ] --'","'--> {literal nodes} ...

A subset holds literal nodes and at most one block with its state: slots that begin at the same place are read side by
side as one fragment. While a literal runs beside a slot (a declared key beside the additional keys), the
token of the literal is an exception to the slot's row. Most blocks have no company and are copied as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.fragment import Fragment, SlotSpec
from agentflow.constraint.graph import END, END_NODE, START_NODE, Graph, Run, Slot
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.limits import spend
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.errors import ConfigurationError

Nodes: TypeAlias = frozenset[int]
_BlockKey: TypeAlias = tuple[tuple[int, int], ...]
"""The slots read in a block, each as (number of the slot, node behind it)."""
_Closure: TypeAlias = tuple[Nodes, _BlockKey]
"""The nodes with literals, and the slots, that jumps lead to."""


_NO_NODES: Nodes = frozenset()


class ConflictError(Exception):
    """A slot of arrays and objects without a schema stands beside another value; the graph has to be expanded."""


class _Key(NamedTuple):
    """A state: literal nodes, and a block with its state."""

    nodes: Nodes
    block: _BlockKey | None
    state: int


class Label(NamedTuple):
    """A set of tokens: one of a fragment's sets without some tokens, or (``fragment`` -1) one token."""

    fragment: int
    name: int
    without: frozenset[int]


class TokenAutomaton(NamedTuple):
    """A deterministic token automaton, not yet pruned.

    Attributes:
        num_states: Number of states; 0 is the start.
        final: The absorbing state.
        source: ``(E,)`` int32.
        label: ``(E,)`` int32, index into `labels`.
        target: ``(E,)`` int32.
        labels: The token sets.
        fragments: The fragments that labels refer to.
        copy: ``(S,)`` int32, the copy of a fragment that each state stands in, -1: none.
        origin: ``(S,)`` int32, what the state is a copy of: states of one fragment that have one number in it
            have one origin, -1: none.
    """

    num_states: int
    final: int
    source: IntArray
    label: IntArray
    target: IntArray
    labels: list[Label]
    fragments: list[Fragment]
    copy: IntArray
    origin: IntArray


@dataclass
class _Block:
    """A fragment in its place: state ``q`` of the fragment is state ``base + q``."""

    fragment: Fragment
    base: int
    exits: list[Nodes]  # for each of the fragment's sets, the nodes behind it
    behind: dict[int, Nodes] = field(default_factory=dict)  # by label, the nodes behind the sets that accept
    after: dict[int, int] = field(default_factory=dict)  # by code of an exit, the state


@dataclass
class _Edges:
    source: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)


def assemble(graph: Graph, vocabulary: Vocabulary) -> TokenAutomaton:
    """Build the token automaton of a grammar.

    Raises:
        UnsupportedSchemaError: It is larger than the limits in force.
        ConfigurationError: The vocabulary lacks a control token.
        ConflictError: `Grammar.expanded` must be taken instead.
    """
    return _Assembler(graph, vocabulary).run()


class _Assembler:
    def __init__(self, graph: Graph, vocabulary: Vocabulary) -> None:
        self._graph = graph
        self._vocabulary = vocabulary
        self._middles: dict[tuple[int, int], int] = {}
        self._middle_edges: list[tuple[int, int]] = []  # token, next node
        self._closures: dict[int, _Closure] = {}
        self._joint_closures: dict[Nodes, _Closure] = {}
        self._is_closing: set[int] = set()
        self._slot_numbers: dict[object, int] = {}
        self._slots: list[Slot] = []
        self._beginnings: dict[_BlockKey, tuple[_BlockKey, int]] = {}
        self._node_edges: dict[int, dict[int, list[int]]] = {}
        self._states: dict[_Key, int] = {}
        self._todo: list[tuple[_Key, int]] = []
        self._blocks: dict[_BlockKey, _Block] = {}
        self._new_blocks: list[_BlockKey] = []
        self._num_states = 0
        self._labels: dict[Label, int] = {}
        self._token_labels: dict[int, int] = {}
        self._fragments: list[Fragment] = []
        self._fragment_names: dict[int, int] = {}
        self._edges = _Edges()
        self._bulk: list[tuple[IntArray, IntArray, IntArray]] = []
        self._edge_label_cache: dict[int, IntArray] = {}
        self._rests: dict[tuple[Nodes, bytes], Nodes] = {}
        self._node_rests: dict[bytes, dict[int, tuple[int, ...]]] = {}
        self._literal_rows: dict[Nodes, dict[int, Nodes]] = {}
        self._cuts: dict[Run, list[tuple[int, ...]]] = {}

    def run(self) -> TokenAutomaton:
        self._state(_Key(frozenset({START_NODE}), None, 0), is_closed=False)
        final = self._final = self._add_state()
        while self._todo or self._new_blocks:
            if self._todo:
                self._write_row(*self._todo.pop())
            else:
                self._write_block(self._new_blocks.pop())
        arrays = [
            (
                np.array(self._edges.source, np.int32),
                np.array(self._edges.label, np.int32),
                np.array(self._edges.target, np.int32),
            )
        ]
        source, label, target = (np.concatenate(parts) for parts in zip(*arrays, *self._bulk, strict=True))
        return TokenAutomaton(
            self._num_states, final, source, label, target, list(self._labels), self._fragments, *self._copies()
        )

    def _copies(self) -> tuple[IntArray, IntArray]:
        """Say for each state which block it stands in, and which state of a fragment it is a copy of."""
        copy, origin = np.full((2, self._num_states), -1, np.int32)
        first: dict[int, int] = {}
        num_origins = 0
        for number, block in enumerate(self._blocks.values()):
            num = block.fragment.num_states
            if id(block.fragment) not in first:
                first[id(block.fragment)] = num_origins
                num_origins += num
            copy[block.base : block.base + num] = number
            origin[block.base : block.base + num] = first[id(block.fragment)] + np.arange(num)
        return copy, origin

    # ------------------------------------------------------------ states

    def _add_state(self) -> int:
        spend()
        self._num_states += 1
        return self._num_states - 1

    def _state(self, key: _Key, *, is_closed: bool = True) -> int:
        """Give the number of a state; entering a node's slots opens their block."""
        nodes, block = key.nodes, key.block
        state = key.state
        if not is_closed:
            literal, slots = self._close(nodes)
            if END_NODE in literal:
                return self._final
            nodes = literal
            if slots and block is not None and self._begin(slots) != (block, state):
                raise self._conflict("a slot begins while another one is read")
            if slots:
                block, state = self._begin(slots)
        if block is not None and not nodes:
            return self._block(block).base + state
        key = _Key(nodes, block, state)
        number = self._states.get(key)
        if number is None:
            number = self._states[key] = self._add_state()
            self._todo.append((key, number))
        return number

    def _close(self, nodes: Nodes) -> _Closure:
        """Follow jumps: give the nodes that have literals, and the slots."""
        if len(nodes) == 1:
            (node,) = nodes
            return self._closures.get(node) or self._close_node(node)
        found = self._joint_closures.get(nodes)
        if found is None:
            closures = [self._closures.get(node) or self._close_node(node) for node in nodes]
            literal = _NO_NODES.union(*(some for some, _ in closures))
            slots = {slot for _, some in closures for slot in some}
            found = self._joint_closures[nodes] = literal, tuple(sorted(slots))
        return found

    def _close_node(self, node: int) -> _Closure:
        """Close a node, and before it those it jumps to: most closures are those of others and a little more."""
        todo = [node]
        while todo:
            at = todo.pop()
            if at in self._closures:
                continue
            if at < 0:
                self._closures[at] = frozenset((at,)), ()
                continue
            ahead = [other for other in self._graph.jumps[at] if other not in self._closures]
            if ahead and at not in self._is_closing:
                self._is_closing.add(at)
                todo += [at, *ahead]
            else:
                self._closures[at] = self._collect(at)
        return self._closures[node]

    def _collect(self, node: int) -> _Closure:
        """Walk the jumps, no further than to nodes that are closed."""
        graph = self._graph
        literal: set[int] = set()
        slots: set[tuple[int, int]] = set()
        seen = {node}
        todo = [node]
        while todo:
            at = todo.pop()
            if graph.runs[at] or at == END_NODE:
                literal.add(at)
            slots.update((self._slot_number(slot), target) for slot, target in graph.slots[at])
            for other in graph.jumps[at]:
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

    def _slot_number(self, slot: Slot) -> int:
        number = self._slot_numbers.setdefault(slot.key, len(self._slots))
        if number == len(self._slots):
            self._slots.append(slot)
        return number

    def _begin(self, slots: _BlockKey) -> tuple[_BlockKey, int]:
        """Give the block and the state in which slots begin; a slot that is entered in several ways is one block.

        Values without a schema that begin together are read as the shallowest of them.
        """
        found = self._beginnings.get(slots)
        if found is None:
            found = slots, 0
            members = [self._slots[number] for number in dict.fromkeys(number for number, _ in slots)]
            places = [slot for slot in members if isinstance(slot, SlotSpec) and slot.entry]
            if len(places) == len(members) and len({slot.entry for slot in places}) == 1:
                shallowest = min(places, key=lambda slot: slot.dfa.num_states)  # a part of all the others
                number = self._slot_number(replace(shallowest, entry=""))
                found = tuple((number, target) for _, target in slots), shallowest.start
            self._beginnings[slots] = found
        return found

    def _conflict(self, reason: str) -> Exception:
        if self._graph.containers:
            return ConflictError(reason)
        return ConfigurationError(reason, hint="report this schema")

    # ------------------------------------------------------------ literals

    def _tokens(self, run: Run) -> tuple[int, ...]:
        tokens: list[int] = []
        for piece in run:
            if isinstance(piece, str):
                tokens += self._vocabulary.encode(piece)
            elif piece.text in self._vocabulary.control_ids:
                tokens.append(self._vocabulary.control_ids[piece.text])
            else:
                raise ConfigurationError(
                    f"the vocabulary has no control token {piece.text!r}",
                    hint="use the tokenizer of a DiffusionGemma or Gemma 4 checkpoint, or the surface 'json'",
                )
        return tuple(tokens)

    def _middle(self, tokens: tuple[int, ...], target: int) -> int:
        """Give the node from which `tokens` lead to `target`; such nodes have negative numbers."""
        node = target
        for token in reversed(tokens):
            key = (token, node)
            before = self._middles.get(key)
            if before is None:
                self._middle_edges.append(key)
                before = self._middles[key] = -len(self._middle_edges)
            node = before
        return node

    def _edges_of(self, node: int) -> dict[int, list[int]]:
        """Give the next nodes of a literal node by token."""
        if node < 0:
            token, following = self._middle_edges[-1 - node]
            return {token: [following]}
        edges = self._node_edges.get(node)
        if edges is None:
            edges = self._node_edges[node] = {}
            for run, target in self._graph.runs[node]:
                for tokens in self._spellings(run):
                    edges.setdefault(tokens[0], []).append(self._middle(tokens[1:], target))
        return edges

    def _spellings(self, run: Run) -> list[tuple[int, ...]]:
        """Cut a run into tokens; the end of a value has as many as there are end ids."""
        cuts = self._cuts.get(run)
        if cuts is None:
            if run[-1] == END:
                before = self._tokens(run[:-1])
                cuts = [(*before, end) for end in sorted(self._vocabulary.end_ids)]
            else:
                cuts = [self._tokens(run)]
            self._cuts[run] = cuts
        return cuts

    def _follow_rest(self, nodes: Nodes, rest: bytes) -> Nodes:
        """Give the nodes behind `rest`, the bytes that a token spells beyond the end of a slot."""
        found = self._rests.get((nodes, rest))
        if found is None:
            known = self._node_rests.setdefault(rest, {})
            behind = []
            for node in self._close(nodes)[0]:
                some = known.get(node)
                if some is None:
                    some = known[node] = self._follow_from(node, rest.decode())
                behind.append(some)
            found = self._rests[nodes, rest] = _NO_NODES.union(*behind)
        return found

    def _follow_from(self, node: int, text: str) -> tuple[int, ...]:
        """Give the nodes behind the beginning `text` of the literals of a node."""
        found: list[int] = []
        for run, target in self._graph.runs[node] if node >= 0 else ():
            first = run[0]
            if isinstance(first, str) and first.startswith(text):
                remainder = (first[len(text) :], *run[1:]) if len(first) > len(text) else run[1:]
                cuts = self._spellings(remainder) if remainder else [()]
                found += [self._middle(tokens, target) for tokens in cuts]
        return tuple(found)

    # ------------------------------------------------------------ slots

    def _block(self, key: _BlockKey) -> _Block:
        block = self._blocks.get(key)
        if block is None:
            behind: dict[int, set[int]] = {}
            for number, target in key:
                behind.setdefault(number, set()).add(target)
            slots = tuple(self._slots[number] for number in behind)
            is_container = [isinstance(slot, SlotSpec) and slot.style == "value" for slot in slots]
            if any(is_container) and not all(is_container):
                raise self._conflict("a slot of any value begins beside another one")
            fragment = slot_fragment(slots, self._vocabulary)
            base = self._num_states
            spend(fragment.num_states)
            self._num_states += fragment.num_states
            block = self._blocks[key] = _Block(fragment, base, [frozenset(nodes) for nodes in behind.values()])
            self._new_blocks.append(key)
        return block

    def _behind(self, block: _Block, label: int) -> Nodes:
        """Give the nodes behind the sets that accept."""
        found = block.behind.get(label)
        if found is None:
            found = _NO_NODES.union(*(nodes for k, nodes in enumerate(block.exits) if label >> k & 1))
            block.behind[label] = found
        return found

    def _fragment_name(self, fragment: Fragment) -> int:
        name = self._fragment_names.get(id(fragment))
        if name is None:
            name = self._fragment_names[id(fragment)] = len(self._fragments)
            self._fragments.append(fragment)
        return name

    def _label(self, fragment: int, cell: int, without: frozenset[int] = frozenset()) -> int:
        return self._labels.setdefault(Label(fragment, cell, without), len(self._labels))

    def _token_label(self, token: int) -> int:
        found = self._token_labels.get(token)
        if found is None:
            found = self._token_labels[token] = self._label(-1, token)
        return found

    def _edge_labels(self, fragment: Fragment) -> IntArray:
        """Give the label of each of a fragment's edges, those of cells first."""
        if id(fragment) in self._edge_label_cache:
            return self._edge_label_cache[id(fragment)]
        name = self._fragment_name(fragment)
        used, inverse = fragment.set_edges
        labels = np.array([self._label(name, cell) for cell in used.tolist()], np.int32)[inverse]
        if fragment.without:
            states = {state for state, _ in fragment.without}
            for edge in np.flatnonzero(np.isin(fragment.source, list(states))).tolist():
                key = (int(fragment.source[edge]), int(fragment.cells[edge]))
                if key in fragment.without:
                    labels[edge] = self._label(name, key[1], fragment.without[key])
        tokens, inverse = fragment.token_edges
        singles = np.array([self._token_label(token) for token in tokens.tolist()], np.int32)[inverse]
        self._edge_label_cache[id(fragment)] = np.append(labels, singles).astype(np.int32)
        return self._edge_label_cache[id(fragment)]

    # ------------------------------------------------------------ rows

    def _literal_row(self, nodes: Nodes) -> dict[int, Nodes]:
        if len(nodes) == 1:
            (node,) = nodes
            return {token: frozenset(targets) for token, targets in self._edges_of(node).items()}
        found = self._literal_rows.get(nodes)
        if found is None:
            row: dict[int, set[int]] = {}
            for node in nodes:
                for token, targets in self._edges_of(node).items():
                    if token in row:
                        row[token].update(targets)
                    else:
                        row[token] = set(targets)
            found = self._literal_rows[nodes] = {token: frozenset(targets) for token, targets in row.items()}
        return found

    def _add_edge(self, source: int, label: int, target: int) -> None:
        self._edges.source.append(source)
        self._edges.label.append(label)
        self._edges.target.append(target)

    def _write_row(self, key: _Key, number: int) -> None:
        if key.block is None:
            for token, targets in self._literal_row(key.nodes).items():
                self._add_edge(number, self._token_label(token), self._state(_Key(targets, None, 0), is_closed=False))
            return
        block = self._block(key.block)
        fragment = block.fragment
        row = fragment.row(key.state)
        behind = self._close(self._behind(block, int(fragment.labels[key.state])))[0]
        literals = self._literal_row(key.nodes | behind)
        taken: dict[int, set[int]] = {}
        for token, targets in literals.items():
            cell = fragment.cell_of(token)
            target = self._enter(key.block, block, row.step(token, cell), targets)
            if cell in row.by_cell:
                taken.setdefault(row.by_cell[cell], set()).add(token)
            self._add_edge(number, self._token_label(token), target)
        name = self._fragment_name(fragment)
        for cells, code in row.sets.items():
            target = self._leave(key.block, block, code)
            if target >= 0:
                without = row.without.get(cells, frozenset()).union(taken.get(cells, ()))
                self._add_edge(number, self._label(name, cells, without), target)
        for token, code in row.tokens.items():
            target = self._leave(key.block, block, code) if token not in literals else -1
            if target >= 0:
                self._add_edge(number, self._token_label(token), target)

    def _leave(self, key: _BlockKey, block: _Block, code: int) -> int:
        """Give the state after a token that moves the block by `code` and no literal; -1 is dead."""
        if code >= 0:
            return block.base + code
        found = block.after.get(code)
        if found is None:
            found = block.after[code] = self._enter(key, block, code, _NO_NODES)
        return found

    def _enter(self, key: _BlockKey, block: _Block, code: int, targets: Nodes) -> int:
        """Give the state after a token that moves the block by `code` and literals to `targets`; -1 is dead."""
        if code >= 0:
            literal, slots = self._close(targets)
            if slots and self._begin(slots) != (key, code):
                raise self._conflict("a slot begins while another one is read")
            return self._state(_Key(literal, key, code))
        if code <= -2:  # noqa: PLR2004 - codes of exits
            label, rest = block.fragment.exits[-2 - code]
            targets = targets | self._follow_rest(self._behind(block, label), rest)
        return self._state(_Key(targets, None, 0), is_closed=False) if targets else -1

    def _write_block(self, key: _BlockKey) -> None:
        """Write the rows of all states of a block that stand alone."""
        block = self._blocks[key]
        fragment, base = block.fragment, block.base
        targets = [self._leave(key, block, -2 - i) for i in range(len(fragment.exits))]
        by_code = np.array([*targets, -1], np.int32)
        after = np.append(fragment.target, fragment.token_target)
        destination = np.where(after >= 0, after + base, by_code[np.where(after <= -2, -2 - after, -1)])  # noqa: PLR2004
        alive = destination >= 0
        source = np.append(fragment.source, fragment.token_source) + base
        labels = self._edge_labels(fragment)
        self._bulk.append((source[alive].astype(np.int32), labels[alive], destination[alive].astype(np.int32)))
        for label in np.unique(fragment.labels).tolist():
            if label:
                self._write_exits(block, label)

    def _write_exits(self, block: _Block, label: int) -> None:
        """Write the literals behind a slot, from every state in which the same of its sets accept."""
        literal, slots = self._close(self._behind(block, label))
        if slots:
            raise self._conflict("two slots with nothing between them")
        if END_NODE in literal:
            raise ConfigurationError("a slot at the end without an end token", hint="report this schema")
        row = self._literal_row(literal)
        sources = np.flatnonzero(block.fragment.labels == label) + block.base
        labels = [self._token_label(token) for token in row]
        targets = [self._state(_Key(nodes, None, 0), is_closed=False) for nodes in row.values()]
        self._bulk.append(
            (
                np.tile(sources.astype(np.int32), len(row)),
                np.repeat(np.array(labels, np.int32), len(sources)),
                np.repeat(np.array(targets, np.int32), len(sources)),
            )
        )
