"""Compiled inner loops: the vocabulary's trie, partitions of the tokens, distances in a graph.

Compiled by numba on first use and cached on disk beside this file (or where ``NUMBA_CACHE_DIR`` says).
A trie lies in depth-first order: ``skip[i]`` is the first node that is not below node ``i``, so a walk that meets
the dead state steps over a whole subtree.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

_MIX_A = np.uint64(0x9E3779B97F4A7C15)
_MIX_B = np.uint64(0xBF58476D1CE4E5B9)
_MIX_C = np.uint64(0x94D049BB133111EB)


@njit(cache=True, nogil=True)
def build_trie(flat: Any, offsets: Any, tokens: Any) -> Any:
    """Build the trie of sorted, distinct, non-empty byte strings.

    Args:
        flat: ``(N,)`` uint8, the strings one after the other.
        offsets: ``(K + 1,)`` int64, where each begins.
        tokens: ``(K,)`` int32, token id of each.

    Returns:
        ``byte`` uint8, ``depth`` int32 (from 1), ``skip`` int32 and ``token`` int32 (-1: none), each ``(nodes,)``.
    """
    num = len(flat) + 1
    byte = np.zeros(num, np.uint8)
    depth = np.zeros(num, np.int32)
    skip = np.zeros(num, np.int32)
    token = np.full(num, -1, np.int32)
    stack = np.zeros(4096, np.int32)
    height = 0
    size = 0
    for k in range(len(tokens)):
        start, end = offsets[k], offsets[k + 1]
        shared = 0
        if k > 0:
            before = offsets[k - 1]
            while shared < height and start + shared < end and flat[start + shared] == flat[before + shared]:
                shared += 1
        while height > shared:
            height -= 1
            skip[stack[height]] = size
        for i in range(start + shared, end):
            byte[size] = flat[i]
            stack[height] = size
            height += 1
            depth[size] = height
            size += 1
        token[size - 1] = tokens[k]
    while height > 0:
        height -= 1
        skip[stack[height]] = size
    return byte[:size], depth[:size], skip[:size], token[:size]


@njit(cache=True, nogil=True)
def mix(a: Any, b: Any) -> Any:
    """Hash two non-negative integers to 64 bits."""
    x = np.uint64(a) * _MIX_A + np.uint64(b) * _MIX_C + _MIX_B
    x = (x ^ (x >> np.uint64(30))) * _MIX_B
    x = (x ^ (x >> np.uint64(27))) * _MIX_C
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def number_used(numbers: Any, num: Any, num_kept: Any) -> Any:
    """Renumber in place so that no number is left out, in the same order; give where each occurs first.

    Args:
        numbers: ``(N,)`` int32, below `num`.
        num: How many numbers there are, unused ones among them.
        num_kept: The first so many keep theirs, used or not.

    Returns:
        ``(K,)`` int32, the first place of each number that is left; -1 for one that is kept and not used.
    """
    first = np.full(num, -1, np.int32)
    for v in range(len(numbers) - 1, -1, -1):
        first[numbers[v]] = v
    rank = np.arange(num).astype(np.int32)
    num_used = num_kept
    for k in range(num_kept, num):
        if first[k] >= 0:
            rank[k] = num_used
            first[num_used] = first[k]
            num_used += 1
    if num_used < num:
        for v in range(len(numbers)):
            numbers[v] = rank[numbers[v]]
    return first[:num_used].copy()


@njit(cache=True, nogil=True)
def split_blocks(blocks: Any, num_blocks: Any, cells: Any, num_cells: Any) -> Any:
    """Refine a partition of the tokens by another one.

    Args:
        blocks: ``(V,)`` int32, block of each token.
        num_blocks: Their number.
        cells: ``(V,)`` int32, cell of each token.
        num_cells: Their number.

    Returns:
        ``(V,)`` int32 new blocks, numbered in the order of the tokens, and ``(K,)`` int32 the first token of each.
    """
    numbers = np.full(num_blocks * num_cells, -1, np.int32)  # by block and cell
    refined = np.empty_like(blocks)
    first = np.empty(min(len(blocks), len(numbers)), np.int32)
    stride = np.uint64(num_cells)
    num = 0
    for v in range(len(blocks)):
        key = np.uint64(blocks[v]) * stride + np.uint64(cells[v])
        number = numbers[key]
        if number < 0:
            number = num
            numbers[key] = number
            first[num] = v
            num += 1
        refined[v] = number
    return refined, first[:num].copy()


@njit(cache=True, nogil=True)
def split_many(blocks: Any, cells: Any, num_cells: Any) -> Any:
    """Do what `split_blocks` does where most pairs of a block and a cell do not occur, by a table of those that do."""
    size = 1
    while size < 2 * len(blocks):
        size *= 2
    last = np.uint64(size - 1)
    numbers = np.full(size, -1, np.int32)
    keys = np.empty(size, np.int64)
    refined = np.empty_like(blocks)
    first = np.empty(len(blocks), np.int32)
    num = 0
    for v in range(len(blocks)):
        key = np.int64(blocks[v]) * num_cells + cells[v]
        slot = mix(key, 0) & last
        while numbers[slot] >= 0 and keys[slot] != key:
            slot = (slot + np.uint64(1)) & last
        if numbers[slot] < 0:
            numbers[slot], keys[slot], first[num] = num, key, v
            num += 1
        refined[v] = numbers[slot]
    return refined, first[:num].copy()


@njit(cache=True, nogil=True)
def expand_sets(set_begin: Any, set_cells: Any, chosen: Any, by_cell: Any, cell_begin: Any) -> Any:
    """Write sets of cells as atoms.

    Args:
        set_begin: ``(N + 1,)`` int64, where the cells of each set begin.
        set_cells: Cells of all sets, one after the other.
        chosen: ``(C,)`` int64, sets to write.
        by_cell: ``(K,)`` int32, atoms sorted by their cell.
        cell_begin: Where the atoms of each cell begin.

    Returns:
        ``(C + 1,)`` int64 where the atoms of each chosen set begin, and the atoms.
    """
    begin = np.zeros(len(chosen) + 1, np.int64)
    for c in range(len(chosen)):
        total = begin[c]
        for i in range(set_begin[chosen[c]], set_begin[chosen[c] + 1]):
            total += cell_begin[set_cells[i] + 1] - cell_begin[set_cells[i]]
        begin[c + 1] = total
    atoms = np.empty(begin[-1], np.int32)
    at = 0
    for c in range(len(chosen)):
        for i in range(set_begin[chosen[c]], set_begin[chosen[c] + 1]):
            for j in range(cell_begin[set_cells[i]], cell_begin[set_cells[i] + 1]):
                atoms[at] = by_cell[j]
                at += 1
    return begin, atoms


@njit(cache=True, nogil=True)
def distances(num_states: Any, source: Any, target: Any, goal: Any) -> Any:
    """Give the fewest edges from each state to `goal`, -1 where there is no way.

    Args:
        num_states: Number of states.
        source: ``(E,)`` int32.
        target: ``(E,)`` int32.
        goal: ``(G,)`` int32, states of distance 0.
    """
    count = np.zeros(num_states + 1, np.int64)
    for e in range(len(target)):
        count[target[e] + 1] += 1
    for s in range(num_states):
        count[s + 1] += count[s]
    fill = count[:-1].copy()
    incoming = np.zeros(len(target), np.int32)
    for e in range(len(target)):
        incoming[fill[target[e]]] = source[e]
        fill[target[e]] += 1
    distance = np.full(num_states, -1, np.int32)
    queue = np.zeros(num_states, np.int32)
    size = 0
    for g in goal:
        distance[g] = 0
        queue[size] = g
        size += 1
    at = 0
    while at < size:
        state = queue[at]
        at += 1
        for i in range(count[state], count[state + 1]):
            other = incoming[i]
            if distance[other] < 0:
                distance[other] = distance[state] + 1
                queue[size] = other
                size += 1
    return distance


@njit(cache=True, nogil=True)
def sort_edges(source: Any, label: Any, target: Any, rank: Any, num_labels: Any) -> Any:
    """Keep the edges between states that are kept, by state and in their order, and number their labels anew.

    Args:
        source: ``(E,)`` int32.
        label: ``(E,)`` int32.
        target: ``(E,)`` int32.
        rank: ``(S,)`` int32, new number of each state, -1: not kept.
        num_labels: Number of labels.

    Returns:
        ``(K + 1,)`` int64 where the edges of each state begin, their labels and targets, and ``(C,)`` int32
        the labels that are used, ascending.
    """
    num_states = rank.max() + 1
    row = np.zeros(num_states + 1, np.int64)
    name = np.full(num_labels, -1, np.int32)
    for e in range(len(source)):
        if rank[source[e]] >= 0 and rank[target[e]] >= 0:
            row[rank[source[e]] + 1] += 1
            name[label[e]] = 0
    used = np.flatnonzero(name >= 0).astype(np.int32)
    for k in range(len(used)):
        name[used[k]] = k
    for s in range(num_states):
        row[s + 1] += row[s]
    fill = row[:-1].copy()
    labels = np.empty(row[-1], np.int32)
    targets = np.empty(row[-1], np.int32)
    for e in range(len(source)):
        if rank[source[e]] >= 0 and rank[target[e]] >= 0:
            at = fill[rank[source[e]]]
            fill[rank[source[e]]] += 1
            labels[at] = name[label[e]]
            targets[at] = rank[target[e]]
    return row, labels, targets, used


@njit(cache=True, nogil=True)
def number_singles(tokens: Any, num_tokens: Any) -> Any:
    """Make an atom of each token that occurs, in the order of their ids; all others are the first atom.

    Args:
        tokens: ``(N,)`` int64 tokens, in any order and number.
        num_tokens: Tokens of the vocabulary.

    Returns:
        As a `Constraint` has them: ``token_atom``, and the two arrays of ``tokens_by_atom``.
    """
    token_atom = np.zeros(num_tokens, np.int32)
    for k in range(len(tokens)):
        token_atom[tokens[k]] = 1
    num_others = 0
    for t in range(num_tokens):
        num_others += token_atom[t] == 0
    order, begin = np.empty(num_tokens, np.int32), np.empty(num_tokens - num_others + 2, np.int64)
    begin[0] = 0
    other, atom = 0, 0
    for t in range(num_tokens):
        if token_atom[t] == 0:
            order[other] = t
            other += 1
        else:
            begin[atom + 1] = num_others + atom
            order[num_others + atom] = t
            atom += 1
            token_atom[t] = atom
    begin[atom + 1] = num_tokens
    return token_atom, order, begin


@njit(cache=True, nogil=True)
def count_up(values: Any, num: Any) -> Any:
    """Give where each number below `num` begins among ascending values, ``(num + 1,)`` int64."""
    begin = np.zeros(num + 1, np.int64)
    for k in range(len(values)):
        begin[values[k] + 1] += 1
    for i in range(num):
        begin[i + 1] += begin[i]
    return begin


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile the kernels of this module, or load them from the cache, so that no time limit counts it."""
    one = np.zeros(1, np.int32)
    flat = np.zeros(1, np.uint8)
    build_trie(flat, np.array([0, 1], np.int64), one)
    split_blocks(one, 1, one, 1)
    split_many(one, one, 1)
    expand_sets(np.array([0, 1], np.int64), one, np.zeros(1, np.int64), one, np.array([0, 1], np.int64))
    distances(1, one, one, one)
    sort_edges(one, one, one, one, 1)
