"""A constraint as the posterior walks it: equal states merged, states in the order in which they can be reached.

    constraint   0 -a-> 1 -b-> 3 ...      chain   0 -a-> 1 -b-> 2 ...
                 0 -c-> 2 -b-> 3 ...              0 -c-> 1

Two states with the same edges to the same states go on alike whatever the model says, so one sum serves both. The
merge refines blocks by hashes of what follows until no block splits (Moore); it runs once per constraint, when its
posterior is first asked for, and only where the automaton is large enough to pay for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from agentflow.constraint.alignment import Edges, LongArray, Nodes
from agentflow.constraint.automaton import BoolArray, IntArray
from agentflow.constraint.chain_kernels import forced_tokens, refine
from agentflow.constraint.compiled import Constraint, attach
from agentflow.constraint.labels import Labels, make_labels
from agentflow.constraint.layout import Layout, lay_out, narrow

_MIN_EDGES_TO_MERGE = 2_000
_ROUNDS_PER_CHECK = 8
_NAME = "chain"

UnsignedArray = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, eq=False)
class Chain:
    """States and edges for the sums. Made by `chain_of`; shared.

    Key: ``S`` chain states, ``E`` edges, ``C`` labels, ``K`` atoms, ``N`` members of labels.

    Attributes:
        block: ``(states of the constraint,)`` int32, the chain state of each.
        row: ``(S + 1,)`` uint32, where the edges of each state begin.
        edge_label: ``(E,)`` unsigned.
        edge_target: ``(E,)`` unsigned.
        distance: ``(S,)`` int32, fewest tokens from each state to the end.
        num_reached: ``(D,)`` int32, states that can be reached from the start within 0, 1, ... tokens; they come
            first. The last entry counts all.
        final: The absorbing state.
        label_begin: ``(C + 1,)`` uint32, where the atoms of each label begin.
        label_atoms: ``(N,)`` unsigned.
        label_token: ``(C,)`` int64, the token of a label that has one alone, -1: several, -2: none.
        is_text: ``(K,)`` bool, atoms that can stand before the end token.
        sum_begin: ``(P + C + 1,)`` uint32; see `Labels`, as for the next two.
        sum_members: Atoms and parts.
        num_parts: ``P``.
        layout: How the sums over states are laid out.
        node_row: ``(nodes of states + 1,)`` uint32, where the edges of the state at each node begin.
        node_target: ``(E,)`` unsigned, the node of each target.
    """

    block: IntArray
    row: npt.NDArray[np.uint32]
    edge_label: UnsignedArray
    edge_target: UnsignedArray
    distance: IntArray
    num_reached: IntArray
    final: int
    label_begin: npt.NDArray[np.uint32]
    label_atoms: UnsignedArray
    label_token: npt.NDArray[np.int64]
    is_text: BoolArray
    sum_begin: npt.NDArray[np.uint32]
    sum_members: UnsignedArray
    num_parts: int
    layout: Layout
    node_row: npt.NDArray[np.uint32]
    node_target: UnsignedArray

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.distance)

    @cached_property
    def widest(self) -> int:
        """Most edges of a state."""
        return int(np.diff(self.row.astype(np.int64)).max())

    def reached_within(self, num_positions: int, state: int) -> IntArray:
        """Give how many states matter at each position of a canvas that begins in `state`, ``(L,)`` int32."""
        if state != self.block[0]:
            return np.full(num_positions, self.num_states, np.int32)
        return self.num_reached[self._depths(num_positions)]

    def groups_reached_within(self, num_positions: int, state: int) -> npt.NDArray[np.int64]:
        """Give what matters at each position, ``(L, 4)`` int64; see `Layout.reached`."""
        if state != self.block[0]:
            return np.tile(self.layout.reached[-1], (num_positions, 1))
        return self.layout.reached[self._depths(num_positions)]

    def _depths(self, num_positions: int) -> npt.NDArray[np.int64]:
        return np.minimum(np.arange(num_positions), len(self.num_reached) - 1)

    def is_forced(self, num_positions: int, state: int, num_tokens_left: int) -> BoolArray:
        """Say at which positions one token alone is possible, whatever the model believes, ``(L,)`` bool."""
        found: BoolArray = forced_tokens(
            self.row, self.edge_label, self.edge_target, self.label_token, self.distance, state, num_positions,
            num_tokens_left,
        )  # fmt: skip
        return found


def chain_of(constraint: Constraint) -> Chain:
    """Give the chain of a constraint; it is made once and lives as long as the constraint, which holds it."""
    chain: Chain | None = vars(constraint).get(_NAME)
    if chain is None:
        chain = _make_chain(constraint)
        attach(constraint, _NAME, chain)
    return chain


def _make_chain(c: Constraint) -> Chain:
    labels = make_labels(c.label_begin, c.label_atoms, c.num_atoms)
    edge_label = labels.number[c.edge_label]
    block = _merge(c, edge_label)  # (states,)
    first = np.unique(block, return_index=True)[1]  # (S,) a state of each block
    depth = np.full(len(first), np.iinfo(np.int32).max, np.int64)
    np.minimum.at(depth, block, c.first_positions(0))
    num_labels = len(labels.begin) - 1
    layout, rank = lay_out(_edges_of(c, edge_label, block, first), _nodes_of(c, depth, first), num_labels)
    block = rank[block]
    order = np.argsort(rank)
    first, depth = first[order], depth[order]
    edges = _edges_of(c, edge_label, block, first)
    row = np.append(0, np.cumsum(np.diff(c.row)[first])).astype(np.uint32)
    is_before_end = (c.edge_target != c.final) & (c.edge_source != c.final)
    return Chain(
        block=block.astype(np.int32),
        row=row,
        edge_label=narrow(edges.label, num_labels),
        edge_target=narrow(edges.target, len(first)),
        distance=c.distance[first],
        num_reached=_num_reached(depth),
        final=int(block[c.final]),
        label_begin=labels.begin.astype(np.uint32),
        label_atoms=narrow(labels.atoms, c.num_atoms),
        label_token=_label_tokens(c, labels),
        is_text=_atoms_of(c.num_atoms, labels, np.unique(edge_label[is_before_end])),
        sum_begin=labels.sum_begin.astype(np.uint32),
        sum_members=narrow(labels.sum_members, c.num_atoms + labels.num_parts),
        num_parts=labels.num_parts,
        layout=layout,
        node_row=row[np.searchsorted(layout.place, np.arange(layout.num_state_nodes + 1))],
        node_target=narrow(layout.place[edges.target], layout.num_nodes),
    )


def _num_reached(depth: LongArray) -> IntArray:
    """Give how many of the first states hold all that are at most 0, 1, ... tokens deep."""
    last = np.zeros(int(depth.max()) + 1, np.int64)
    np.maximum.at(last, depth, np.arange(1, len(depth) + 1))
    return np.maximum.accumulate(last).astype(np.int32)


def _edges_of(c: Constraint, edge_label: LongArray, block: LongArray, first: LongArray) -> Edges:
    """Give the edges of a state of each block, between blocks; `first` is in order of blocks, and so are they."""
    width = np.diff(c.row)[first]
    begin = np.cumsum(width) - width
    edges = np.repeat(c.row[:-1][first] - begin, width) + np.arange(int(width.sum()))
    return Edges(np.repeat(np.arange(len(first)), width), edge_label[edges], block[c.edge_target[edges]])


def _nodes_of(c: Constraint, depth: LongArray, first: LongArray) -> Nodes:
    return Nodes(depth, *(values[first].astype(np.int64) for values in (c.copy, c.origin, c.part)))


def _merge(c: Constraint, edge_label: LongArray) -> LongArray:
    """Give the block of each state, ``(states,)``."""
    if len(c.edge_target) < _MIN_EDGES_TO_MERGE:
        return np.arange(c.num_states)
    edge_label = edge_label.astype(np.int32)
    key = (c.distance.astype(np.uint64) << np.uint64(1)) | (np.arange(c.num_states) == c.final).astype(np.uint64)
    num_blocks = -1
    while True:
        for _ in range(_ROUNDS_PER_CHECK):
            key = refine(key, c.row, edge_label, c.edge_target)
        following = len(np.unique(key))
        if following == num_blocks:
            break
        num_blocks = following
    return np.unique(key, return_inverse=True)[1].astype(np.int64)


def _label_tokens(c: Constraint, labels: Labels) -> LongArray:
    size = c.atom_size[labels.atoms]  # (N,)
    num_tokens = np.add.reduceat(np.append(size, 0), labels.begin[:-1])
    num_tokens[np.diff(labels.begin) == 0] = 0
    token = np.where(num_tokens == 0, -2, -1)
    single = np.flatnonzero(size == 1)
    label = np.searchsorted(labels.begin, single, side="right") - 1
    is_alone = num_tokens[label] == 1
    token[label[is_alone]] = c.only_token[labels.atoms[single[is_alone]]]
    return token.astype(np.int64)


def _atoms_of(num_atoms: int, labels: Labels, chosen: LongArray) -> BoolArray:
    mask = np.zeros(num_atoms, bool)
    for label in chosen.tolist():
        mask[labels.atoms[labels.begin[label] : labels.begin[label + 1]]] = True
    return mask
