"""Compiled inner loops of `agentflow.constraint.span_words`: the pieces of all spans, and the automaton they make.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.kernels import mix
from agentflow.constraint.span_kernels import find_place

BEFORE = -1
"""The start, among the joints."""
STARTS, ENDS = 1, 2
"""Spans may begin at a place; end there, within a chunk."""


@njit(cache=True, nogil=True)
def cut_pieces(chunks: Any, marks: Any, most: Any) -> Any:  # noqa: C901 - numba compiles functions of positional arrays, loops and all
    """Cut all spans of a text into pieces: at the end of each chunk.

    Args:
        chunks: ``(3, C)`` int64, where each chunk begins and ends, and whether it is the first of its line.
        marks: ``(N + 1,)`` uint8 of each place, `STARTS` and `ENDS`.
        most: How many pieces there may be.

    Returns:
        The number of pieces, and, if it is not too large, ``(4, P)`` int64: the joint before each piece, or `BEFORE`;
        where it begins, and ends; and the joint behind it, or the number of joints where the span ends within a chunk.
        Those with one beginning stand together, and the longest of them is the last.
    """
    num_chunks = chunks.shape[1]
    num, place = 0, 0
    for chunk in range(num_chunks):
        num_before = 0 if chunks[2, chunk] else 1
        for place in range(chunks[0, chunk], chunks[1, chunk]):
            num += num_before if marks[place] & ENDS else 0
            num_before += marks[place] & STARTS
        num += num_before
    pieces = np.empty((4, num if num <= most else 0), np.int64)
    if num > most:
        return num, pieces
    num = 0
    for chunk in range(num_chunks):
        begin, end = chunks[0, chunk], chunks[1, chunk]
        for low in range(begin - 1, end):
            source, start = BEFORE, low
            if low < begin:
                if chunks[2, chunk]:
                    continue
                source, start = chunk - 1, chunks[1, chunk - 1]
            elif not marks[low] & STARTS:
                continue
            for place in range(low + 1, end + 1):
                if place == end or marks[place] & ENDS:
                    pieces[0, num], pieces[1, num], pieces[2, num] = source, start, place
                    pieces[3, num] = chunk if place == end else num_chunks
                    num += 1
    return num, pieces


@njit(cache=True, nogil=True)
def number_nodes(pieces: Any, tokens: Any, joint_node: Any, nodes: Any) -> Any:  # noqa: C901 - as above
    """Number the nodes: those within the pieces before a joint, and then the joint.

    Args:
        pieces: ``(4, P)`` int64 joint before each piece, or `BEFORE`; where its tokens begin, and how many there are;
            and the joint behind it. The joints ascend but for the last one.
        tokens: ``(T,)`` int64.
        joint_node: ``(J,)`` int64, to be filled: the node of each joint.
        nodes: ``(2, P)`` int64, to be filled: the first piece with the same tokens to the same joint, and the node
            behind the first token of each piece.

    Returns:
        The number of nodes.
    """
    num_pieces, last = pieces.shape[1], len(joint_node) - 1
    low, size, target = pieces[1], pieces[2], pieces[3]
    hashes = np.empty(num_pieces, np.int64)
    size_of_table = 2
    while size_of_table < 2 * num_pieces:
        size_of_table *= 2
    values = np.full(size_of_table, -1, np.int64)
    num, joint = 1, 0
    for p in range(num_pieces):
        nodes[0, p] = p
        if target[p] == last:
            total = np.uint64(size[p])
            for i in range(low[p], low[p] + size[p]):
                total = mix(total, tokens[i])
            hashes[p] = np.int64(total >> np.uint64(1))
            place = find_place(values, hashes, hashes[p])
            if values[place] < 0:
                values[place] = p
            nodes[0, p] = values[place]
            continue
        while joint < target[p]:
            joint_node[joint] = num
            num, joint = num + 1, joint + 1
        nodes[1, p] = num
        num += size[p] - 1
    while joint < last:
        joint_node[joint] = num
        num, joint = num + 1, joint + 1
    for p in range(num_pieces):
        if target[p] == last:
            if nodes[0, p] == p:
                nodes[1, p] = num
                num += size[p] - 1
            nodes[1, p] = nodes[1, nodes[0, p]]
    joint_node[last] = num
    for p in range(num_pieces):
        if size[p] == 1:
            nodes[1, p] = joint_node[target[p]]
    return num + 1


@njit(cache=True, nogil=True)
def link_pieces(pieces: Any, tokens: Any, joint_node: Any, nodes: Any, num: Any) -> Any:
    """Make the automaton of pieces; see `agentflow.constraint.span_words.word_nodes`.

    Args:
        pieces: As for `number_nodes`.
        tokens: As there.
        joint_node: As it leaves them.
        nodes: As well.
        num: The number of nodes.

    Returns:
        ``(N + 1,)`` int64, where the edges of each node begin, and ``(2, E)`` int64, their tokens and targets; node 0
        is the start.
    """
    num_pieces = pieces.shape[1]
    begin, filled = np.zeros(num + 1, np.int64), np.zeros(num, np.int64)
    for p in range(num_pieces):
        source = 0 if pieces[0, p] == BEFORE else joint_node[pieces[0, p]]
        begin[source + 1] += 1
        if nodes[0, p] == p:
            for node in range(nodes[1, p], nodes[1, p] + pieces[2, p] - 1):
                begin[node + 1] = 1
    for node in range(num):
        begin[node + 1] += begin[node]
    edges = np.empty((2, begin[num]), np.int64)
    for p in range(num_pieces):
        source = 0 if pieces[0, p] == BEFORE else joint_node[pieces[0, p]]
        low, size, target = pieces[1, p], pieces[2, p], joint_node[pieces[3, p]]
        edge = begin[source] + filled[source]
        filled[source] += 1
        edges[0, edge], edges[1, edge] = tokens[low], nodes[1, p]
        if nodes[0, p] == p:
            for i in range(1, size):
                edge = begin[nodes[1, p] + i - 1]
                edges[0, edge], edges[1, edge] = tokens[low + i], target if i == size - 1 else nodes[1, p] + i
    return begin, edges
