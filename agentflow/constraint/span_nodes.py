"""The spans of a text as a nondeterministic automaton over tokens, and that automaton made deterministic and small.

    text "to Rome, to Oslo"     0 --"to"--> 1 --" Rome"--> 2 --","--> 3 --" to"--> 4 --" Oslo"--> 5

A state of the deterministic one is the set of places of the text behind all occurrences of what was read, so there are
about as many states as the text has tokens. What the nodes are is left to `agentflow.constraint.span_words` and
`agentflow.constraint.span_strings`.
"""

from __future__ import annotations

from threading import local
from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.limits import num_states_left, spend
from agentflow.constraint.span_kernels import build_subsets, name_blocks
from agentflow.constraint.span_text import Places

_LOCAL = local()
_MOST_KEPT = 1_000_000


class SpanNodes(NamedTuple):
    """A nondeterministic automaton. Node 0 is the start; an edge leads to a node with a larger number.

    Attributes:
        begin: ``(N + 1,)``, where the edges of each node begin.
        edges: ``(2, E)`` token of each edge, or what else can be read, and the node behind it.
        is_end: ``(N,)`` bool, whether a node accepts.
    """

    begin: Places
    edges: Places
    is_end: BoolArray


class SpanStates(NamedTuple):
    """The smallest deterministic automaton; state 0 is the start.

    Attributes:
        source: ``(E,)`` state of each edge, ascending.
        symbol: ``(E,)`` what is read.
        target: ``(E,)`` next state.
        is_end: ``(S,)`` bool, whether a state accepts.
    """

    source: Places
    symbol: Places
    target: Places
    is_end: BoolArray


class _Subsets(NamedTuple):
    """A deterministic automaton.

    Attributes:
        begin: ``(S + 1,)``, where the edges of each state begin.
        made: ``(2, E)`` symbol and target of each edge.
        lowest: ``(S,)`` the lowest node of each state; targets have higher ones.
        is_end: ``(S,)`` bool, whether a state accepts.
    """

    begin: Places
    made: Places
    lowest: Places
    is_end: BoolArray


def determinise(nodes: SpanNodes) -> SpanStates:
    """Make an automaton deterministic, and as small as it can be.

    Raises:
        UnsupportedSchemaError: It is larger than the limits in force.
    """
    subsets = _build_subsets(nodes)
    num = len(subsets.is_end)
    spend(num)
    blocks = subsets.is_end.astype(np.int64)
    order = np.argsort(-subsets.lowest, kind="stable")
    name_blocks(order, subsets.begin, subsets.made, blocks, np.zeros(num, np.int64), _hash_table(num))
    states = np.arange(num)
    alive = np.flatnonzero(blocks >= 0)[::-1]
    first = np.zeros(num, np.int64)
    first[blocks[alive]] = alive  # the last value counts: the first state of the block
    is_kept = (blocks >= 0) & (first[blocks] == states)
    is_kept[0] = True
    rank = (np.cumsum(is_kept) - 1)[first[blocks]]
    source = np.repeat(states, np.diff(subsets.begin))
    symbol, target = subsets.made
    chosen = is_kept[source] & (blocks[target] >= 0)
    return SpanStates(rank[source[chosen]], symbol[chosen], rank[target[chosen]], subsets.is_end[is_kept])


def _build_subsets(nodes: SpanNodes) -> _Subsets:
    num_nodes, num_edges = len(nodes.is_end), nodes.edges.shape[1]
    symbols, names = np.unique(nodes.edges[0], return_inverse=True)  # few of the vocabulary: little memory is touched
    edges = np.stack([names, nodes.edges[1]])
    size = max(num_nodes, num_edges)
    num, scale = 0, 1
    while num == 0:
        most = 2 * scale * num_nodes + 64
        sizes = (3 * most, 4 * scale * (num_nodes + num_edges) + 64, 4 * scale * num_edges + 128, 3 * size)
        states, members, made, room = _scratch(sizes)
        states, made, room = states.reshape(3, -1), made.reshape(2, -1), room.reshape(3, -1)
        states[:, 0] = 0
        room[:] = 0
        num = build_subsets(nodes.begin, edges, states, members, made, _hash_table(most), room)
        if num == 0 and most > num_states_left():
            spend(most)
        scale *= 4
    begins = states[0, :num]
    made = made[:, : states[1, num]]
    return _Subsets(
        states[1, : num + 1].copy(),
        np.stack([symbols[made[0]], made[1]]),
        np.minimum.reduceat(members[: states[0, num]], begins),
        np.logical_or.reduceat(nodes.is_end[members[: states[0, num]]], begins),
    )


def _scratch(sizes: tuple[int, ...]) -> list[Places]:
    """Give room for so many integers each, of any content: the thread's own, because touching new memory is dear."""
    total = sum(sizes)
    buffer = getattr(_LOCAL, "buffer", None)
    if buffer is None or len(buffer) < total:
        buffer = np.empty(total, np.int64)
        if total <= _MOST_KEPT:
            _LOCAL.buffer = buffer
    return np.split(buffer[:total], np.cumsum(sizes)[:-1])


def _hash_table(num: int) -> Places:
    """Make an empty hash table for so many values."""
    return np.full(1 << (2 * num).bit_length(), -1, np.int64)
