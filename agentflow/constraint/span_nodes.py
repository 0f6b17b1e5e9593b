"""The spans of a text as a nondeterministic automaton over tokens, and that automaton made deterministic and small.

    text "to Rome, to Oslo"     0 --"to"--> 1 --" Rome"--> 2 --","--> 3 --" to"--> 4 --" Oslo"--> 5

A state of the deterministic one is the set of places of the text behind all occurrences of what was read, so there are
about as many states as the text has tokens. What the nodes are is left to `agentflow.constraint.span_words` and
`agentflow.constraint.span_strings`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.limits import num_states_left, spend
from agentflow.constraint.span_kernels import build_subsets, name_blocks
from agentflow.constraint.span_text import Places


class SpanNodes(NamedTuple):
    """A nondeterministic automaton. Node 0 is the start; an edge leads to a node with a larger number.

    Attributes:
        begin: ``(N + 1,)``, where the edges of each node begin.
        symbol: ``(E,)`` token of each edge, or what else can be read.
        target: ``(E,)`` node behind it.
        is_end: ``(N,)`` bool, whether a node accepts.
    """

    begin: Places
    symbol: Places
    target: Places
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
    num_nodes, num_edges = len(nodes.is_end), len(nodes.symbol)
    edges = np.stack([nodes.symbol, nodes.target])
    size = max(num_nodes, num_edges, int(nodes.symbol.max(initial=0)) + 1)
    num, scale = 0, 1
    while num == 0:
        most = 2 * scale * num_nodes + 64
        states = np.zeros((3, most), np.int64)
        members = np.empty(4 * scale * (num_nodes + num_edges) + 64, np.int64)
        made = np.empty((2, 2 * scale * num_edges + 64), np.int64)
        room = np.zeros((3, size), np.int64)
        num = build_subsets(nodes.begin, edges, states, members, made, _hash_table(most), room)
        if num == 0 and most > num_states_left():
            spend(most)
        scale *= 4
    begins = states[0, :num]
    return _Subsets(
        states[1, : num + 1].copy(),
        made[:, : states[1, num]].copy(),
        np.minimum.reduceat(members[: states[0, num]], begins),
        np.logical_or.reduceat(nodes.is_end[members[: states[0, num]]], begins),
    )


def _hash_table(num: int) -> Places:
    """Make an empty hash table for so many values."""
    return np.full(1 << (2 * num).bit_length(), -1, np.int64)
