"""Compiled inner loops of the algebra of `agentflow.constraint.automaton`: products and minimisation.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`. Tables are ``(S, R)`` int32
with -1 for the dead state; state 0 is the start.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917, C901, PLR0912, PLR0915 - numba compiles functions of positional arrays, loops and all
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.kernels import mix

AND, OR, WITHOUT = 0, 1, 2
"""What a product keeps: strings of both sets, of one at least, of the first alone."""


@njit(cache=True, nogil=True)
def multiply(
    starts_a: Any, table_a: Any, accepting_a: Any, starts_b: Any, table_b: Any, accepting_b: Any, keep: Any, limit: Any
) -> Any:
    """Run two automata side by side.

    Args:
        starts_a: ``(Ra,)`` int32, first code point of each range of the first automaton.
        table_a: ``(Sa, Ra)`` int32.
        accepting_a: ``(Sa,)`` bool.
        starts_b: ``(Rb,)`` int32.
        table_b: ``(Sb, Rb)`` int32.
        accepting_b: ``(Sb,)`` bool.
        keep: `AND`, `OR` or `WITHOUT`.
        limit: Most states.

    Returns:
        ``starts`` (R,), ``table`` (S, R) and ``accepting`` (S,), states in the order of their discovery; where there
        are more than `limit` states, the last of them have no rows and the table is larger than the limit.
    """
    starts = np.empty(len(starts_a) + len(starts_b), np.int32)
    column_a = np.empty(len(starts), np.int32)
    column_b = np.empty(len(starts), np.int32)
    num_columns, i, j = 0, 0, 0
    while i < len(starts_a) or j < len(starts_b):
        low = np.int32(0x7FFFFFFF)
        if i < len(starts_a):
            low = starts_a[i]
        if j < len(starts_b) and starts_b[j] < low:
            low = starts_b[j]
        if i < len(starts_a) and starts_a[i] == low:
            i += 1
        if j < len(starts_b) and starts_b[j] == low:
            j += 1
        starts[num_columns] = low
        column_a[num_columns] = i - 1
        column_b[num_columns] = j - 1
        num_columns += 1
    num_b = np.int64(len(table_b) + 1)
    capacity = 64
    codes = np.empty(capacity, np.int64)
    table = np.empty((capacity, num_columns), np.int32)
    size = 256
    keys = np.full(size, -1, np.int64)
    values = np.empty(size, np.int32)
    codes[0] = 0
    slot = np.int64(mix(0, 1) & np.uint64(size - 1))
    keys[slot] = 0
    values[slot] = 0
    num, at = 1, 0
    while at < num <= limit:
        state_a = codes[at] // num_b
        state_b = codes[at] % num_b
        for column in range(num_columns):
            next_a = np.int64(-1)
            next_b = np.int64(-1)
            if state_a < len(table_a):
                next_a = table_a[state_a, column_a[column]]
            if state_b < len(table_b):
                next_b = table_b[state_b, column_b[column]]
            is_dead = next_a < 0
            if keep == 0:
                is_dead = next_a < 0 or next_b < 0
            elif keep == 1:
                is_dead = next_a < 0 and next_b < 0
            if is_dead:
                table[at, column] = -1
                continue
            if next_a < 0:
                next_a = np.int64(len(table_a))
            if next_b < 0:
                next_b = np.int64(len(table_b))
            code = next_a * num_b + next_b
            slot = np.int64(mix(code, 1) & np.uint64(size - 1))
            while keys[slot] >= 0 and keys[slot] != code:
                slot = (slot + 1) & (size - 1)
            if keys[slot] < 0:
                if num == capacity:
                    capacity *= 2
                    longer = np.empty(capacity, np.int64)
                    longer[:num] = codes
                    codes = longer
                    taller = np.empty((capacity, num_columns), np.int32)
                    taller[:num] = table
                    table = taller
                keys[slot] = code
                values[slot] = num
                codes[num] = code
                num += 1
                table[at, column] = num - 1
                if num * 2 > size:
                    size *= 4
                    keys = np.full(size, -1, np.int64)
                    values = np.empty(size, np.int32)
                    for k in range(num):
                        slot = np.int64(mix(codes[k], 1) & np.uint64(size - 1))
                        while keys[slot] >= 0:
                            slot = (slot + 1) & (size - 1)
                        keys[slot] = codes[k]
                        values[slot] = k
            else:
                table[at, column] = values[slot]
        at += 1
    accepting = np.zeros(num, np.bool_)
    for k in range(num):
        in_a = codes[k] // num_b < len(table_a) and accepting_a[codes[k] // num_b]
        in_b = codes[k] % num_b < len(table_b) and accepting_b[codes[k] % num_b]
        if keep == 0:
            accepting[k] = in_a and in_b
        elif keep == 1:
            accepting[k] = in_a or in_b
        else:
            accepting[k] = in_a and not in_b
    return starts[:num_columns].copy(), table[:num].copy(), accepting


@njit(cache=True, nogil=True)
def reduce_table(starts: Any, table: Any, accepting: Any) -> Any:
    """Give the smallest automaton of the same set, its states in breadth-first order.

    Moore's refinement: states are told apart by hashes of their rows until their number stays the same.

    Args:
        starts: ``(R,)`` int32.
        table: ``(S, R)`` int32.
        accepting: ``(S,)`` bool.

    Returns:
        ``starts``, ``table`` and ``accepting``; no states for the empty set.
    """
    num, width = table.shape
    order = np.empty(num, np.int32)  # breadth-first from the start
    seen = np.zeros(num, np.bool_)
    order[0] = 0
    seen[0] = True
    reached, at = 1, 0
    while at < reached:
        for column in range(width):
            target = table[order[at], column]
            if target >= 0 and not seen[target]:
                seen[target] = True
                order[reached] = target
                reached += 1
        at += 1
    alive = accepting.copy()
    is_changing = True
    while is_changing:
        is_changing = False
        for k in range(reached - 1, -1, -1):
            state = order[k]
            if not alive[state]:
                for column in range(width):
                    target = table[state, column]
                    if target >= 0 and alive[target]:
                        alive[state] = True
                        is_changing = True
                        break
    if not alive[0]:
        return starts[:1].copy(), np.empty((0, 1), np.int32), np.zeros(0, np.bool_)
    kept = np.empty(width, np.int32)
    num_kept = 0
    for column in range(width):
        differs = column == 0
        if not differs:
            for k in range(reached):
                state = order[k]
                if alive[state]:
                    before, here = table[state, column - 1], table[state, column]
                    if before >= 0 and not alive[before]:
                        before = np.int32(-1)
                    if here >= 0 and not alive[here]:
                        here = np.int32(-1)
                    if before != here:
                        differs = True
                        break
        if differs:
            kept[num_kept] = column
            num_kept += 1
    block = np.zeros(num, np.int32)
    fresh = np.zeros(num, np.int32)
    for k in range(reached):
        block[order[k]] = 1 if accepting[order[k]] else 0
    size = 64
    while size < 2 * reached + 2:
        size *= 2
    keys = np.zeros(size, np.uint64)
    values = np.empty(size, np.int32)
    used = np.zeros(size, np.int32)
    num_blocks, stamp = -1, 0
    while True:
        stamp += 1
        found = 0
        for k in range(reached):
            state = order[k]
            if not alive[state]:
                continue
            hashed = mix(block[state], 7)
            for c in range(num_kept):
                target = table[state, kept[c]]
                if target >= 0 and alive[target]:
                    hashed += mix(block[target] + 1, c + 11)
            hashed = mix(hashed, 3)
            slot = np.int64(hashed & np.uint64(size - 1))
            while used[slot] == stamp and keys[slot] != hashed:
                slot = (slot + 1) & (size - 1)
            if used[slot] != stamp:
                used[slot] = stamp
                keys[slot] = hashed
                values[slot] = found
                found += 1
            fresh[state] = values[slot]
        block, fresh = fresh, block
        if found == num_blocks:
            break
        num_blocks = found
    rank = np.full(num_blocks, -1, np.int32)
    member = np.empty(num_blocks, np.int32)
    rank[block[0]] = 0
    member[0] = 0
    placed, at = 1, 0
    small = np.full((num_blocks, num_kept), -1, np.int32)
    small_starts = np.empty(num_kept, np.int32)
    for c in range(num_kept):
        small_starts[c] = starts[kept[c]]
    small_accepting = np.zeros(num_blocks, np.bool_)
    while at < placed:
        state = member[at]
        small_accepting[at] = accepting[state]
        for c in range(num_kept):
            target = table[state, kept[c]]
            if target >= 0 and alive[target]:
                if rank[block[target]] < 0:
                    rank[block[target]] = placed
                    member[placed] = target
                    placed += 1
                small[at, c] = rank[block[target]]
        at += 1
    return small_starts, small[:placed].copy(), small_accepting[:placed].copy()


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile the kernels of this module, or load them from the cache, so that no time limit counts it."""
    starts, table, accepting = np.zeros(1, np.int32), np.zeros((1, 1), np.int32), np.ones(1, np.bool_)
    reduce_table(*multiply(starts, table, accepting, starts, table, accepting, AND, 8))
