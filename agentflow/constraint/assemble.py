"""Graph x vocabulary -> deterministic token automaton.

The subset construction of the grammar graph, in which literals move token by token (their canonical tokens)
and a slot is entered as one block of states, its fragment:

    {literal nodes} --'{"' 'city' '":"'--> [ block: fragment of the free string ] --'","'--> {literal nodes} ...

A subset holds literal nodes and at most one block with its state: slots that begin at the same place are read side by
side as one fragment. While a literal runs beside a slot (a declared key beside the additional keys), the
token of the literal is an exception to the slot's row. Most blocks have no company and are copied as arrays.

The loops are compiled (`agentflow.constraint.assembly_kernels`); this module finds the fragments that they ask for.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from agentflow.constraint import assembly_kernels as kernels
from agentflow.constraint import pool_kernels as names
from agentflow.constraint.automaton import IntArray
from agentflow.constraint.fragment import NO_EDGES, Fragment, SlotSpec
from agentflow.constraint.graph import START_NODE, Graph
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.limits import check_time, num_states_left, spend
from agentflow.constraint.spelling import Spelling
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.errors import ConfigurationError

_BlockKey: TypeAlias = tuple[tuple[int, int], ...]
"""The slots read in a block, each as (number of the slot, node behind it)."""
_FINAL = 0


class ConflictError(Exception):
    """A slot of arrays and objects without a schema stands beside another value; the graph has to be expanded."""


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
    """

    num_states: int
    final: int
    source: IntArray
    label: IntArray
    target: IntArray
    labels: list[Label]
    fragments: list[Fragment]


class _Kind(NamedTuple):
    """A fragment that is in use; see `assembly_kernels.label_fragment`, and `leave_block` for `exit_rest`."""

    fragment: Fragment
    label_base: int
    edge_label: IntArray
    token_label: IntArray
    exit_rest: IntArray


class _Block(NamedTuple):
    """A fragment in its place, its state ``q`` being ``base + q``; see `assembly_kernels.leave_block`."""

    kind: _Kind
    base: int
    place_behind: IntArray
    after: IntArray


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
        self._spelling = Spelling(graph, vocabulary)
        self._net = self._spelling.net
        self._store = kernels.new_store()
        self._num = self._store[4]
        self._num[names.STATES] = _FINAL + 1
        self._num_spent = 0
        self._kinds: dict[int, _Kind] = {}
        self._blocks: list[_Block] = []
        self._block_numbers: dict[_BlockKey, int] = {}
        self._num_starts = 0
        self._starts = np.zeros((64, 2), np.int64)
        self._bases = np.zeros(64, np.int64)

    def run(self) -> TokenAutomaton:
        self._store, start = kernels.first_place(self._net, self._store, START_NODE)
        num = self._num
        while True:
            max_states = int(num[names.STATES]) + num_states_left()
            self._store = kernels.expand(self._net, self._store, self._starts, self._bases, _FINAL, max_states)
            self._look()
            self._begin_waiting()
            if num[names.TODO]:
                self._write_beside()
            elif not num[names.WAITING]:
                break
        first = int(self._pool.value[start])
        source, label, target = kernels.finish(self._store, first)
        labels, fragments = self._labels(), [kind.fragment for kind in self._kinds.values()]
        return TokenAutomaton(
            int(num[names.STATES]), first if first != _FINAL else 0, source, label, target, labels, fragments
        )

    @property
    def _pool(self) -> names.Pool:
        return names.Pool(*self._store[:5])

    def _look(self) -> None:
        """Count the new states, look at the clock, and see what went wrong."""
        spend(int(self._num[names.STATES]) - self._num_spent)
        self._num_spent = int(self._num[names.STATES])
        check_time()
        status = self._num[names.STATUS]
        if status == kernels.CONFLICT:
            raise self._conflict("a slot begins while another one is read")
        if status == kernels.ADJOINING:
            raise self._conflict("two slots with nothing between them")
        if status == kernels.ENDING:
            raise ConfigurationError("a slot at the end without an end token", hint="report this schema")

    def _conflict(self, reason: str) -> Exception:
        if self._graph.containers:
            return ConflictError(reason)
        return ConfigurationError(reason, hint="report this schema")

    # ------------------------------------------------------------ slots

    def _begin_waiting(self) -> None:
        """Find the blocks that places wait for."""
        pool, waiting = self._pool, self._store[-1][: self._num[names.WAITING]]
        for name in set(pool.items[pool.begin[waiting] + 2].tolist()):
            pool = self._pool
            if name == names.NO_PAIRS or pool.value[name] >= 0:
                continue
            pairs = pool.items[pool.begin[name] + 1 : pool.begin[name + 1]].tolist()
            key, state = self._begin(tuple(sorted(self._spelling.pairs[pair] for pair in pairs)))
            number = self._block(key)
            if self._num_starts == len(self._starts):
                self._starts = np.concatenate([self._starts, np.zeros_like(self._starts)])
            self._starts[self._num_starts] = number, state
            self._pool.value[name] = self._num_starts
            self._num_starts += 1

    def _begin(self, slots: _BlockKey) -> tuple[_BlockKey, int]:
        """Give the block and the state in which slots begin; a slot that is entered in several ways is one block.

        Values without a schema that begin together are read as the shallowest of them.
        """
        members = [self._spelling.slots[number] for number in dict.fromkeys(number for number, _ in slots)]
        places = [slot for slot in members if isinstance(slot, SlotSpec) and slot.entry]
        if len(places) != len(members) or len({slot.entry for slot in places}) != 1:
            return slots, 0
        shallowest = min(places, key=lambda slot: slot.dfa.num_states)  # a part of all the others
        number = self._spelling.number_of(replace(shallowest, entry=""))
        return tuple((number, target) for _, target in slots), shallowest.start

    def _block(self, key: _BlockKey) -> int:
        number = self._block_numbers.get(key)
        if number is not None:
            return number
        behind: dict[int, list[int]] = {}
        for slot, target in key:
            behind.setdefault(slot, []).append(target)
        slots = tuple(self._spelling.slots[slot] for slot in behind)
        is_container = [isinstance(slot, SlotSpec) and slot.style == "value" for slot in slots]
        if any(is_container) and not all(is_container):
            raise self._conflict("a slot of any value begins beside another one")
        kind = self._kind(slot_fragment(slots, self._vocabulary))
        masks = kind.fragment.masks
        base = int(self._num[names.STATES])
        self._num[names.STATES] += kind.fragment.num_states
        nodes = [list(dict.fromkeys(part)) for part in behind.values()]
        begin = np.array([0, *accumulate(map(len, nodes))], np.int64)
        self._store, place_behind, after = kernels.leave_block(
            self._net, self._store, masks.distinct, masks.is_end, begin,
            np.array(list(chain.from_iterable(nodes)), np.int32), masks.of_exit, kind.exit_rest,
        )  # fmt: skip
        self._look()
        edges = kernels.copy_block(
            self._store, kind.fragment.packed, kind.edge_label, kind.token_label, masks.of_state, base, place_behind,
            after,
        )  # fmt: skip
        self._store = (*self._store[:7], edges, *self._store[8:])
        return self._add_block(key, _Block(kind, base, place_behind, after))

    def _add_block(self, key: _BlockKey, block: _Block) -> int:
        number = self._block_numbers[key] = len(self._blocks)
        self._blocks.append(block)
        if number == len(self._bases):
            self._bases = np.concatenate([self._bases, np.zeros_like(self._bases)])
        self._bases[number] = block.base
        return number

    def _kind(self, fragment: Fragment) -> _Kind:
        kind = self._kinds.get(id(fragment))
        if kind is None:
            self._store, label_base, edge_label, token_label = kernels.label_fragment(
                self._net, self._store, fragment.packed, len(self._kinds), len(fragment.sets)
            )
            rests = [self._spelling.rests.get(rest.decode(), -1) for _, rest in fragment.exits]
            exit_rest = np.array(rests, np.int32)
            kind = self._kinds[id(fragment)] = _Kind(fragment, label_base, edge_label, token_label, exit_rest)
        return kind

    def _write_beside(self) -> None:
        """Write the rows of states that have literals beside a slot, block by block."""
        pool, todo = self._pool, self._store[-2][: self._num[names.TODO]]
        for number in set(pool.items[pool.begin[todo] + 2].tolist()):
            kind, base, place_behind, after = self._blocks[number]
            fragment = kind.fragment
            cells: npt.NDArray[Any] = NO_EDGES if fragment.partition is None else fragment.partition.cells
            self._store = kernels.write_beside(
                self._net, self._store, fragment.packed, number, base, kind.label_base, fragment.masks.of_state,
                place_behind, after, cells, fragment.membership, self._starts,
            )  # fmt: skip
            self._look()

    def _labels(self) -> list[Label]:
        pool, labels = self._pool, self._store[8][: self._num[names.LABELS]]
        sets: dict[int, frozenset[int]] = {names.NO_TOKENS: frozenset()}
        found = []
        for fragment, name, without in labels.tolist():
            if without not in sets:
                sets[without] = frozenset(pool.items[pool.begin[without] + 1 : pool.begin[without + 1]].tolist())
            found.append(Label(fragment, name, sets[without]))
        return found
