"""Compiled inner loops of grounded slots: sets of places in a text, and states that do the same.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`. Compiling takes time for every
array that a kernel handles, so there are few of them, and they do not grow: where the room is too small, the caller
comes again with more. Sets and states are told apart by 64-bit hashes.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.kernels import mix


@njit(cache=True, nogil=True)
def find_place(values: Any, hashes: Any, hashed: Any) -> Any:
    """Give the place in a hash table of the value with a hash, or the free place for it."""
    place = hashed & (len(values) - 1)
    while values[place] >= 0 and hashes[values[place]] != hashed:
        place = (place + 1) & (len(values) - 1)
    return place


@njit(cache=True, nogil=True)
def build_subsets(nodes: Any, edges: Any, states: Any, members: Any, made: Any, values: Any, room: Any) -> Any:  # noqa: C901, PLR0917 - numba compiles functions of positional arrays, loops and all
    """Make a nondeterministic automaton deterministic, by the subset construction.

    Args:
        nodes: ``(N + 1,)`` int64, where the edges of each node begin.
        edges: ``(2, E)`` int64, symbol and target of each edge; few symbols, numbered from 0.
        states: ``(3, S)`` int64, to be filled: where the nodes of each state begin in `members`, where its edges begin
            in `made`, and its hash. The first state is there already.
        members: ``(M,)`` int64, to be filled: the nodes of each state.
        made: ``(2, T)`` int64, to be filled: symbol and target of each edge.
        values: ``(H,)`` int64 of -1, a power of two and larger than `S`.
        room: ``(3, R)`` int64 of any content, as many as there are nodes, edges and symbols at most.

    Returns:
        The number of states; 0 where there was not room enough.
    """
    link, seen, last = room[0], room[1], room[2]
    seen[:] = 0
    last[:] = 0
    num, num_edges, at = 1, 0, 0
    while at < num:
        for i in range(states[0, at], states[0, at + 1]):
            for edge in range(nodes[members[i]], nodes[members[i] + 1]):
                name = edges[0, edge]
                if last[name] == 0:
                    if num_edges == made.shape[1]:
                        return 0
                    made[0, num_edges] = name
                    num_edges += 1
                link[edge] = last[name]
                last[name] = edge + 1
        for k in range(states[1, at], num_edges):
            edge = last[made[0, k]] - 1
            last[made[0, k]] = 0
            size = states[0, num]
            total = np.uint64(0)
            while edge >= 0:
                node = edges[1, edge]
                if seen[node] != k + 1:
                    if size == len(members):
                        return 0
                    seen[node] = k + 1
                    members[size] = node
                    size += 1
                    total += mix(node, 1)
                edge = link[edge] - 1
            hashed = np.int64(mix(total, 3) >> np.uint64(1))
            place = find_place(values, states[2], hashed)
            if values[place] < 0:
                if num + 2 > states.shape[1]:
                    return 0
                values[place] = num
                states[2, num] = hashed
                num += 1
                states[0, num] = size
            made[1, k] = values[place]
        at += 1
        states[1, at] = num_edges
    return num


@njit(cache=True, nogil=True)
def name_blocks(states: Any, members: Any, made: Any, node_ends: Any, blocks: Any, values: Any) -> None:  # noqa: PLR0917 - as above
    """Find the states of an automaton without cycles from which the same can be read.

    Revuz, Minimisation of acyclic deterministic automata in linear time (1992): a state is looked at after all that
    follow it; states with equal rows are one block.

    Args:
        states: ``(3, S + 1)`` int64, as `build_subsets` leaves them; the hashes are overwritten.
        members: ``(M,)`` int64 nodes of each state; targets have higher ones.
        made: ``(2, E)`` int64, symbol and target of each edge.
        node_ends: ``(N,)`` bool, whether a node accepts.
        blocks: ``(2, S)`` int64, to be filled: the block of each state, -1 where nothing can be read to the end; and
            whether it accepts.
        values: ``(H,)`` int64 of -1, a power of two and larger than `S`.
    """
    head, link = np.full(len(node_ends), -1, np.int64), np.empty(blocks.shape[1], np.int64)
    for state in range(blocks.shape[1]):
        lowest = members[states[0, state]]
        blocks[1, state] = 0
        for i in range(states[0, state], states[0, state + 1]):
            lowest = min(lowest, members[i])
            blocks[1, state] |= node_ends[members[i]]
        link[state] = head[lowest]
        head[lowest] = state
    num, hashes = 0, states[2]
    for node in range(len(head) - 1, -1, -1):
        state = head[node]
        while state >= 0:
            total = mix(blocks[1, state], 7)
            is_alive = blocks[1, state] == 1
            for edge in range(states[1, state], states[1, state + 1]):
                block = blocks[0, made[1, edge]]
                if block >= 0:
                    total += mix(made[0, edge] + 11, block)
                    is_alive = True
            blocks[0, state] = -1
            if is_alive:
                hashed = np.int64(mix(total, 3) >> np.uint64(1))
                place = find_place(values, hashes, hashed)
                if values[place] < 0:
                    values[place] = num
                    hashes[num] = hashed
                    num += 1
                blocks[0, state] = values[place]
            state = link[state]


@njit(cache=True, nogil=True)
def number_blocks(states: Any, made: Any, blocks: Any, symbols: Any) -> Any:
    """Number the blocks by their first states, and give their edges.

    Args:
        states: ``(3, S + 1)`` int64, as `build_subsets` leaves them.
        made: ``(2, E)`` int64, symbol and target of each edge.
        blocks: ``(2, S)`` int64, as `name_blocks` leaves them.
        symbols: ``(K,)`` int64, what each number of a symbol means.

    Returns:
        ``(3, T)`` int32 source, symbol and target of each edge, by their sources, and ``(K,)`` int32 whether a block
        accepts.
    """
    num_states = blocks.shape[1]
    rank, first = np.full(num_states, -1, np.int32), np.empty(num_states, np.int64)
    num, num_edges = 0, 0
    for state in range(num_states):
        block = blocks[0, state]
        if state == 0 or (block >= 0 and rank[block] < 0):
            first[num] = state
            num_edges += states[1, state + 1] - states[1, state]
            if block >= 0:
                rank[block] = num
            num += 1
    edges, labels = np.empty((3, num_edges), np.int32), np.empty(num, np.int32)
    num_edges = 0
    for k in range(num):
        labels[k] = blocks[1, first[k]]
        for edge in range(states[1, first[k]], states[1, first[k] + 1]):
            block = blocks[0, made[1, edge]]
            if block >= 0:
                edges[0, num_edges], edges[1, num_edges], edges[2, num_edges] = k, symbols[made[0, edge]], rank[block]
                num_edges += 1
    return edges[:, :num_edges], labels
