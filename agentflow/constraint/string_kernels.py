"""Compiled inner loops of `agentflow.constraint.span_strings`: spans that are in a set, and the tokens along them.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def find_matches(starts: Any, borders: Any, columns: Any, table: Any, accepting: Any) -> Any:
    """Find the places from which a span can be read that is in a set.

    Args:
        starts: ``(K,)`` int64 places.
        borders: ``(2, N + 1)`` bool, whether a line ends at a place, and whether spans may end there.
        columns: ``(N,)`` int32 column of each character in `table`.
        table: ``(A, R)`` int32, next state of the set's automaton, or -1.
        accepting: ``(A,)`` bool.

    Returns:
        ``(K,)`` bool.
    """
    found = np.zeros(len(starts), np.bool_)
    for k in range(len(starts)):
        at, state = starts[k], np.int64(0)
        while not found[k] and state >= 0 and not borders[0, at]:
            state = np.int64(table[state, columns[at]])
            at += 1
            found[k] = state >= 0 and accepting[state] and borders[1, at]
    return found


@njit(cache=True, nogil=True)
def spread_endings(edges: Any, num_tokens: Any, begin: Any, endings: Any) -> Any:
    """Write out the tokens that end a span and go on.

    Args:
        edges: ``(3, E)`` int32 source, symbol and target; symbols beyond the tokens are the numbers of endings.
        num_tokens: How many tokens there are.
        begin: ``(K + 1,)`` int64, where the tokens of each ending begin.
        endings: ``(2, T)`` int64, the tokens, and the exit that each takes.

    Returns:
        ``(3, E')`` int32 source, token, and target, or -2 - the exit.
    """
    num = 0
    for edge in range(edges.shape[1]):
        body = edges[1, edge] - num_tokens
        num += 1 if body < 0 else begin[body + 1] - begin[body]
    found = np.empty((3, num), np.int32)
    num = 0
    for edge in range(edges.shape[1]):
        body = edges[1, edge] - num_tokens
        if body < 0:
            found[0, num], found[1, num], found[2, num] = edges[0, edge], edges[1, edge], edges[2, edge]
            num += 1
        else:
            for k in range(begin[body], begin[body + 1]):
                found[0, num], found[1, num], found[2, num] = edges[0, edge], endings[0, k], -2 - endings[1, k]
                num += 1
    return found


@njit(cache=True, nogil=True)
def tokens_along(trie: Any, first: Any, second: Any, data: Any, found: Any) -> Any:
    """Find the tokens that stand anywhere in a text.

    Args:
        trie: Byte, depth, skip and token of each node; see `agentflow.constraint.kernels.build_trie`.
        first: ``(256,)`` int64 node of each byte, -1: none.
        second: ``(65536,)`` int64 node of each two bytes, -1: none.
        data: ``(N,)`` int64 bytes of the text, -1 where no token goes on.
        found: ``(3, F)`` int64, to be filled: where each token begins, the token, and where it ends.

    Returns:
        How many there are, in the order of their beginnings; -1 where there was not room enough.
    """
    byte, _, skip, token = trie
    num = 0
    for place in range(len(data)):
        end = place
        node = np.int64(-1)
        while end < len(data) and data[end] >= 0:
            if end == place:
                node = first[data[end]]
            elif end == place + 1:
                node = second[256 * data[place] + data[end]]
            else:
                child, limit = node + 1, np.int64(skip[node])
                while child < limit and byte[child] < data[end]:
                    child = np.int64(skip[child])
                node = child if child < limit and byte[child] == data[end] else np.int64(-1)
            if node < 0:
                break
            end += 1
            if token[node] >= 0:
                if num == found.shape[1]:
                    return -1
                found[0, num], found[1, num], found[2, num] = place, token[node], end
                num += 1
    return num


@njit(cache=True, nogil=True)
def follow_pieces(  # noqa: C901, PLR0912, PLR0917 - numba compiles functions of positional arrays, loops and all
    pieces: Any,
    endings: Any,
    places: Any,
    columns: Any,
    table: Any,
    accepting: Any,
    numbers: Any,
    nodes: Any,
    edges: Any,
) -> Any:
    """Read the pieces of a text and the automaton of a set side by side.

    A node is a place together with a state of the set's automaton; nodes are numbered by their places.

    Args:
        pieces: ``(3, F)`` int64, where each piece begins, its symbol, and where it ends; ascending.
        endings: ``(3, G)`` int64, the same of those that a span has to end with; they lead to a node of their own.
        places: ``(2, N)`` int64 of each place: characters that end up to there, and 1 where spans may end there.
        columns: ``(C,)`` int32 column of each character in `table`.
        table: ``(A, R)`` int32, next state or -1.
        accepting: ``(A,)`` bool.
        numbers: ``(N, A)`` int32 of zeros, 1 for the first nodes; to be overwritten with the number of each node.
        nodes: ``(2, S)`` int64, to be filled: where the edges of each node begin in `edges`, and 1 where it accepts.
        edges: ``(2, E)`` int64, to be filled: symbol of each edge, and the node behind it.

    Returns:
        The number of nodes, the last of them behind the endings, and of edges. -1 where there is not room for so many.
    """
    num_places, num_states = numbers.shape
    is_reached = np.zeros(num_places, np.bool_)
    for place in range(num_places):
        is_reached[place] = numbers[place, 0] != 0
    num, num_edges, piece, ending = 0, 0, 0, 0
    for place in range(num_places):
        first_piece, first_ending = piece, ending
        while piece < pieces.shape[1] and pieces[0, piece] == place:
            piece += 1
        while ending < endings.shape[1] and endings[0, ending] == place:
            ending += 1
        if not is_reached[place]:
            continue
        for begin in range(num_states):
            if numbers[place, begin] == 0:
                continue
            if num + 3 > nodes.shape[1]:
                return -1, num_edges
            if num_edges + piece - first_piece + ending - first_ending > edges.shape[1]:
                return num, -1
            nodes[0, num], nodes[1, num] = num_edges, places[1, place] & accepting[begin]
            numbers[place, begin] = num
            num += 1
            for turn in range(2):
                found, low, high = (pieces, first_piece, piece) if turn == 0 else (endings, first_ending, ending)
                state, at = np.int64(begin), places[0, place]
                for k in range(low, high):
                    target = found[2, k]
                    while state >= 0 and at < places[0, target]:
                        state = np.int64(table[state, columns[at]])
                        at += 1
                    if state < 0:
                        break
                    if turn == 0:
                        is_reached[target] = True
                        numbers[target, state] = max(numbers[target, state], 1)
                        edges[0, num_edges], edges[1, num_edges] = found[1, k], target * num_states + state
                        num_edges += 1
                    elif places[1, target] & accepting[state]:
                        edges[0, num_edges], edges[1, num_edges] = found[1, k], -1
                        num_edges += 1
    for edge in range(num_edges):
        target = edges[1, edge]
        edges[1, edge] = num if target < 0 else numbers[target // num_states, target % num_states]
    nodes[0, num], nodes[1, num] = num_edges, 1
    nodes[0, num + 1] = num_edges
    return num + 1, num_edges
