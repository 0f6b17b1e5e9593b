"""Compiled inner loops of `agentflow.constraint.assembly_kernels`: rows of numbers that are recognised again.

Everything that has to be
recognised again - sets of nodes, places, states - is a short row of numbers in one `Pool`, named by its index:

    (0, nodes...)               nodes with literals               value: number of its row of tokens
    (1, pairs...)               slots that begin together         value: number of their beginning
    (2, nodes, pairs)           a place: where jumps lead to      value: its state; -2: it waits for one
    (3, nodes, block, code)     literals beside a slot            value: its state
    (4, label, tokens)          a fragment's set without tokens   value: its label
    (5, tokens...)              tokens

Members of sets ascend. A pair is a slot with the node behind it. Node numbers up to ``G`` are those of the graph, the
others stand within a literal and have one token and one next node each.
"""

# mypy: disable-error-code=untyped-decorator

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

NODES, PAIRS, PLACE, BESIDE, LESS, TOKENS = 0, 1, 2, 3, 4, 5
NO_NODES, NO_PAIRS, NO_TOKENS = 0, 1, 2
"""Entries of a new pool: empty sets."""
NUM, STATES, EDGES, LABELS, ROWS, ROW_ITEMS, TODO, WAITING, STAMP, STATUS, WORK = range(11)
"""What `Pool.num` counts."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Pool(NamedTuple):
    """Rows of numbers, each kept once.

    Kernels take and give what grows as one plain tuple, the *store* (numba is slow at giving named ones): the pool's
    arrays and

        row_begin   int64, where each row of tokens begins
        rows        (N, 2) int32, label of a token, and place behind it
        edges       (E, 3) int32, source, label and target; -1 - p is the state of place p
        labels      (C, 3) int32, fragment and its set, or -1 and a token; name of the tokens left out
        todo        int32, states beside a slot that have no row yet
        waiting     int32, places that have no state yet

    Attributes:
        items: int32, all rows, one after the other.
        begin: int64, where each begins.
        table: int32, hash table of names + 1.
        value: int32, by name, -1: none yet.
        num: ``(16,)`` int64, counters of the whole store.
    """

    items: Any
    begin: Any
    table: Any
    value: Any
    num: Any


@njit(cache=True, nogil=True)
def room(array: Any, size: Any) -> Any:
    """Give an array of at least `size` entries that begins as this one does."""
    if size <= len(array):
        return array
    longer = np.empty(max(size, 2 * len(array)), array.dtype)
    for i in range(len(array)):
        longer[i] = array[i]
    return longer


@njit(cache=True, nogil=True)
def rows_room(array: Any, size: Any) -> Any:
    """Give a table of at least `size` rows that begins as this one does."""
    if size <= len(array):
        return array
    longer = np.empty((max(size, 2 * len(array)), array.shape[1]), array.dtype)
    for i in range(len(array)):
        for k in range(array.shape[1]):
            longer[i, k] = array[i, k]
    return longer


@njit(cache=True, nogil=True)
def sort(array: Any, low: Any, high: Any) -> None:
    """Sort a part of an array in place (Shell, gaps of Tokuda)."""
    gap = 1
    while gap < high - low:
        gap = (9 * gap) // 4 + 1
    while gap > 0:
        for i in range(low + gap, high):
            here = array[i]
            k = i
            while k >= low + gap and array[k - gap] > here:
                array[k] = array[k - gap]
                k -= gap
            array[k] = here
        gap = max(1, gap * 4 // 9) if gap > 1 else 0


@njit(cache=True, nogil=True)
def _hash(items: Any, low: Any, high: Any) -> Any:
    total = np.uint64(high - low)
    for i in range(low, high):
        total = (total ^ np.uint64(items[i])) * _FACTOR
        total ^= total >> np.uint64(29)
    return total


@njit(cache=True, nogil=True)
def intern(pool: Any, row: Any, length: Any) -> Any:
    """Name the first `length` numbers of `row`; give the pool and the name."""
    items, begin, table, value, num = pool
    mask = np.uint64(len(table) - 1)
    slot = _hash(row, 0, length) & mask
    while table[slot] != 0:
        name = np.int64(table[slot] - 1)
        low = begin[name]
        if begin[name + 1] - low == length:
            is_same = True
            for i in range(length):
                if items[low + i] != row[i]:
                    is_same = False
                    break
            if is_same:
                return pool, name
        slot = (slot + np.uint64(1)) & mask
    name = num[NUM]
    low = begin[name]
    items = room(items, low + length)
    begin = room(begin, name + 2)
    value = room(value, name + 1)
    for i in range(length):
        items[low + i] = row[i]
    begin[name + 1] = low + length
    value[name] = -1
    table[slot] = name + 1
    num[NUM] = name + 1
    if 2 * (name + 1) > len(table):
        table = np.zeros(4 * len(table), np.int32)
        mask = np.uint64(len(table) - 1)
        for other in range(name + 1):
            slot = _hash(items, begin[other], begin[other + 1]) & mask
            while table[slot] != 0:
                slot = (slot + np.uint64(1)) & mask
            table[slot] = other + 1
    return Pool(items, begin, table, value, num), name
