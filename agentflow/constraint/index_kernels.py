"""Compiled inner loops of `agentflow.constraint.index`: tables unrolled along counts and grouped by target.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.kernels import mix


@njit(cache=True, nogil=True)
def unroll(table: Any, counts: Any, after: Any, is_enough: Any, coarse: Any, num_whole: Any) -> Any:  # noqa: PLR0917 - numba
    """Run a table along a count of characters; state ``s`` at level ``n`` is number ``n * S + s``.

    Args:
        table: ``(S, C)`` int32 next state, -1 dead, below that the code of an exit.
        counts: ``(S, C)`` int32 characters begun.
        after: ``(N, longest + 1)`` int32 level after so many more characters, -1: too many.
        is_enough: ``(N + 1,)`` bool, whether the text may end at a level.
        coarse: ``(N + 1,)`` int32 level for states within a character, by level; the last entry is for -1.
        num_whole: States that lie between characters, the first ones.

    Returns:
        ``(N * S, C)`` int32.
    """
    num_states, num_cells = table.shape
    unrolled = np.full((len(after) * num_states, num_cells), -1, np.int32)
    for level in range(len(after)):
        for s in range(num_states):
            row = unrolled[level * num_states + s]
            for c in range(num_cells):
                target = table[s, c]
                following = after[level, counts[s, c]]
                if target >= num_whole:
                    following = coarse[following]
                if following < 0:
                    continue
                if target >= 0:
                    row[c] = target + following * num_states
                elif is_enough[following]:
                    row[c] = target
    return unrolled


@njit(cache=True, nogil=True)
def reach(table: Any) -> Any:
    """Give the states that can be reached from state 0, ``(S,)`` bool; `table` holds targets, negative: none."""
    reached = np.zeros(len(table), np.bool_)
    todo = np.zeros(len(table), np.int32)
    reached[0] = True
    num = 1
    while num > 0:
        num -= 1
        for target in table[todo[num]]:
            if target >= 0 and not reached[target]:
                reached[target] = True
                todo[num] = target
                num += 1
    return reached


@njit(cache=True, nogil=True)
def group_cells(table: Any, rank: Any, num_exits: Any) -> Any:
    """Make one edge of all cells that lead from one state to the same target.

    Args:
        table: ``(S, C)`` int32 next state, -1 dead, -2 - i exit i.
        rank: ``(S,)`` int32 new number of each state, -1: it is left out, and none that is kept leads there.
        num_exits: Number of exits.

    Returns:
        For each edge its state, ascending, its target, and the number of its set of cells, int32; and for each set,
        told from others by a hash, the first edge that has it.
    """
    num_states, num_cells = table.shape
    source = np.empty(table.size, np.int32)
    target = np.empty(table.size, np.int32)
    hashed = np.empty(table.size, np.uint64)
    seen_in = np.full(num_states + num_exits, -1, np.int32)  # by target, the last state from which it was met
    edge_of = np.empty(num_states + num_exits, np.int32)
    num = 0
    for s in range(num_states):
        if rank[s] < 0:
            continue
        for c in range(num_cells):
            to = table[s, c]
            if to == -1:
                continue
            k = to if to >= 0 else num_states - 2 - to
            if seen_in[k] != s:
                seen_in[k] = s
                edge_of[k] = num
                source[num], target[num], hashed[num] = rank[s], rank[to] if to >= 0 else to, 0
                num += 1
            hashed[edge_of[k]] += mix(c, 1)
    name = np.empty(num, np.int32)
    first = np.empty(num, np.int32)
    numbers = {np.uint64(0): np.int32(0)}
    numbers.clear()  # it was there to say what they are
    num_sets = 0
    for e in range(num):
        if hashed[e] not in numbers:
            numbers[hashed[e]] = np.int32(num_sets)
            first[num_sets] = e
            num_sets += 1
        name[e] = numbers[hashed[e]]
    return source[:num].copy(), target[:num].copy(), name, first[:num_sets].copy()


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile the kernels of this module, or load them from the cache, so that no time limit counts it."""
    table, level = np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int32)
    unroll(table, table, level, np.ones(2, np.bool_), np.zeros(2, np.int32), 1)
    reach(table)
    group_cells(table, np.zeros(1, np.int32), 0)
