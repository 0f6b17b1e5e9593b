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

from agentflow.constraint.automaton import BoolArray, IntArray
from agentflow.constraint.limits import num_states_left, spend
from agentflow.constraint.names import number_symbols
from agentflow.constraint.span_kernels import build_subsets, name_blocks, number_blocks
from agentflow.constraint.span_text import Places

_LOCAL = local()
_MOST_KEPT = 1_000_000


class SpanNodes(NamedTuple):
    """A nondeterministic automaton. An edge leads to a node with a larger number.

    Attributes:
        first: ``(K,)`` the nodes to start from; nothing ends there.
        begin: ``(N + 1,)``, where the edges of each node begin.
        edges: ``(2, E)`` token of each edge, or what else can be read, and the node behind it.
        is_end: ``(N,)`` bool, whether a node accepts.
    """

    first: Places
    begin: Places
    edges: Places
    is_end: BoolArray


class SpanStates(NamedTuple):
    """The smallest deterministic automaton; state 0 is the start.

    Attributes:
        edges: ``(3, E)`` state of each edge, ascending; what is read; and the next state.
        labels: ``(S,)`` 1 where a state accepts, else 0.
    """

    edges: IntArray
    labels: IntArray


class _Subsets(NamedTuple):
    """A deterministic automaton; see `agentflow.constraint.span_kernels.build_subsets`."""

    states: Places
    members: Places
    made: Places
    num: int


def determinise(nodes: SpanNodes) -> SpanStates:
    """Make an automaton deterministic, and as small as it can be.

    Raises:
        UnsupportedSchemaError: It is larger than the limits in force.
    """
    symbols, names = number_symbols(nodes.edges[0])
    states, members, made, num = _build_subsets(nodes._replace(edges=np.stack([names, nodes.edges[1]])))
    spend(num)
    blocks = np.empty((2, num), np.int64)
    name_blocks(states, members, made, nodes.is_end, blocks, _hash_table(num))
    return SpanStates(*number_blocks(states, made, blocks, symbols))


def _build_subsets(nodes: SpanNodes) -> _Subsets:
    num_nodes, num_edges = len(nodes.is_end), nodes.edges.shape[1]
    size, num_first = max(num_nodes, num_edges) + 1, len(nodes.first)
    num, most, scale = 0, num_nodes + 64, 1
    while num == 0:
        sizes = (3 * most, 4 * scale * (num_nodes + num_edges) + 64, 4 * scale * num_edges + 128, 3 * size)
        states, members, made, room = _scratch(sizes)
        found = states.reshape(3, -1), members, made.reshape(2, -1)
        found[0][:2, :2] = [[0, num_first], [0, 0]]
        members[:num_first] = nodes.first
        num = build_subsets(nodes.begin, nodes.edges, *found, _hash_table(most), room.reshape(3, -1))
        if num == 0 and most > num_states_left():
            spend(most)
        most, scale = 4 * most, 4 * scale
    return _Subsets(*found, num)


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
    return np.full(1 << num.bit_length(), -1, np.int64)
