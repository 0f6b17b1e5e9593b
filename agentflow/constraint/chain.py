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
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import BoolArray, IntArray
from agentflow.constraint.chain_kernels import forced_tokens, refine
from agentflow.constraint.compiled import Constraint

_MIN_EDGES_TO_MERGE = 2_000
_ROUNDS_PER_CHECK = 8

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
        depth = np.minimum(np.arange(num_positions), len(self.num_reached) - 1)
        return self.num_reached[depth]

    def is_forced(self, num_positions: int, state: int, num_tokens_left: int) -> BoolArray:
        """Say at which positions one token alone is possible, whatever the model believes, ``(L,)`` bool."""
        found: BoolArray = forced_tokens(
            self.row, self.edge_label, self.edge_target, self.label_token, self.distance, state, num_positions,
            num_tokens_left,
        )  # fmt: skip
        return found


_CHAINS: WeakKeyDictionary[Constraint, Chain] = WeakKeyDictionary()


def chain_of(constraint: Constraint) -> Chain:
    """Give the chain of a constraint; it is made once and lives as long as the constraint."""
    chain = _CHAINS.get(constraint)
    if chain is None:
        chain = _CHAINS[constraint] = _make_chain(constraint)
    return chain


def _make_chain(c: Constraint) -> Chain:
    block = _merge(c)  # (states,)
    first = np.unique(block, return_index=True)[1]  # (S,) a state of each block
    depth = np.full(len(first), np.iinfo(np.int32).max, np.int64)
    np.minimum.at(depth, block, c.first_positions(0))
    order = np.argsort(depth, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    block = rank[block]
    first = first[order]
    width = np.diff(c.row)[first]
    row = np.concatenate([[0], np.cumsum(width)])
    edges = np.repeat(c.row[:-1][first] - row[:-1], width) + np.arange(row[-1])
    is_before_end = (c.edge_target != c.final) & (c.edge_source != c.final)
    return Chain(
        block=block.astype(np.int32),
        row=row.astype(np.uint32),
        edge_label=_narrow(c.edge_label[edges], len(c.label_begin)),
        edge_target=_narrow(block[c.edge_target[edges]], len(first)),
        distance=c.distance[first],
        num_reached=np.searchsorted(depth[order], np.arange(int(depth.max()) + 1), side="right").astype(np.int32),
        final=int(block[c.final]),
        label_begin=c.label_begin.astype(np.uint32),
        label_atoms=_narrow(c.label_atoms, c.num_atoms),
        label_token=_label_tokens(c),
        is_text=_atoms_of(c, np.unique(c.edge_label[is_before_end])),
    )


def _merge(c: Constraint) -> npt.NDArray[np.int64]:
    """Give the block of each state, ``(states,)``."""
    if len(c.edge_target) < _MIN_EDGES_TO_MERGE:
        return np.arange(c.num_states)
    key = (c.distance.astype(np.uint64) << np.uint64(1)) | (np.arange(c.num_states) == c.final).astype(np.uint64)
    num_blocks = -1
    while True:
        for _ in range(_ROUNDS_PER_CHECK):
            key = refine(key, c.row, c.edge_label, c.edge_target)
        following = len(np.unique(key))
        if following == num_blocks:
            break
        num_blocks = following
    return np.unique(key, return_inverse=True)[1].astype(np.int64)


def _label_tokens(c: Constraint) -> npt.NDArray[np.int64]:
    size = c.atom_size[c.label_atoms]  # (N,)
    num_tokens = np.add.reduceat(np.append(size, 0), c.label_begin[:-1])
    num_tokens[np.diff(c.label_begin) == 0] = 0
    token = np.where(num_tokens == 0, -2, -1)
    single = np.flatnonzero(size == 1)
    label = np.searchsorted(c.label_begin, single, side="right") - 1
    is_alone = num_tokens[label] == 1
    token[label[is_alone]] = c.only_token[c.label_atoms[single[is_alone]]]
    return token.astype(np.int64)


def _atoms_of(c: Constraint, labels: npt.NDArray[Any]) -> BoolArray:
    mask = np.zeros(c.num_atoms, bool)
    for label in labels.tolist():
        mask[c.label_atoms[c.label_begin[label] : c.label_begin[label + 1]]] = True
    return mask


def _narrow(values: npt.NDArray[Any], limit: int) -> UnsignedArray:
    """Use two bytes where they do: the loops are bound by memory."""
    return values.astype(np.uint16 if limit <= np.iinfo(np.uint16).max else np.uint32)
