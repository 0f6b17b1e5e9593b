"""Compiled inner loop over nodes and edges: units grow from seeds along edges with the same labels."""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: C901, PLR0912, PLR0917 - numba compiles flat loops over positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.vectors import WIDTH

_LEAST_ALIKE = 2
"""Two nodes are alike that have at least one in so many of their labels in common."""


@njit(cache=True, nogil=True)
def _find(row: Any, label: Any, node: Any, wanted: Any, rank: Any) -> Any:
    """Give the edge of a node that is the `rank`-th of those with a label, -1: there is none."""
    for e in range(row[node], row[node + 1]):
        if label[e] == wanted:
            if rank == 0:
                return e
            rank -= 1
        elif label[e] > wanted:
            break
    return -1


@njit(cache=True, nogil=True)
def _are_alike(row: Any, label: Any, a: Any, b: Any) -> Any:
    """Say whether two nodes have many labels in common."""
    i, j, num = row[a], row[b], 0
    while i < row[a + 1] and j < row[b + 1]:
        if label[i] == label[j]:
            num += 1
            i += 1
            j += 1
        elif label[i] < label[j]:
            i += 1
        else:
            j += 1
    return _LEAST_ALIKE * num >= max(row[a + 1] - row[a], row[b + 1] - row[b])


@njit(cache=True, nogil=True)
def grow(
    row: Any, label: Any, target: Any, kind: Any, most: Any, seeds: Any, begin: Any, is_full: Any, unit: Any,
    rank: Any, num_units: Any,
) -> Any:  # fmt: skip
    """Make units of seeds, and of the nodes that these lead to by one label, and so on.

    Args:
        row: ``(N + 1,)``, where the edges of each node begin.
        label: ``(E,)``, ascending within a node.
        target: ``(E,)``.
        kind: ``(N,)``; nodes of one kind alone are put together.
        most: ``(N,)``, how many nodes of this kind a unit may have.
        seeds: Nodes, one group after the other; those of a group are of one kind.
        begin: ``(G + 1,)``, where the groups begin.
        is_full: Whether seeds must be as many; at least two if not.
        unit: ``(N,)``, the unit of each node, -1: none yet; filled in place, as is the next.
        rank: ``(N,)``, its place there.
        num_units: Units so far.

    Returns:
        Units now.
    """
    queue = np.empty((len(unit) // 2 + 1, WIDTH), np.int64)
    size = np.empty(len(queue), np.int64)
    node, place = np.empty(WIDTH, np.int64), np.empty(WIDTH, np.int64)
    for g in range(len(begin) - 1):
        at = begin[g]
        least = most[seeds[at]] if is_full else 2
        while at < begin[g + 1]:
            num = 0
            while at < begin[g + 1] and num < most[seeds[at]]:
                if unit[seeds[at]] < 0:
                    node[num], place[num] = seeds[at], num
                    num += 1
                at += 1
            head = tail = 0
            if num >= least:
                for k in range(num):
                    unit[node[k]], rank[node[k]], queue[0, k] = num_units, k, node[k]
                size[0] = num
                tail = 1
                num_units += 1
            while head < tail:
                first, nth = queue[head, 0], 0
                for e in range(row[first], row[first + 1]):
                    nth = nth + 1 if e > row[first] and label[e] == label[e - 1] else 0
                    num = 0
                    for k in range(size[head]):
                        f = _find(row, label, queue[head, k], label[e], nth)
                        t = target[f] if f >= 0 else np.int64(-1)
                        if t < 0 or unit[t] >= 0 or kind[t] != kind[target[e]] or num >= most[t]:
                            continue
                        if num and not _are_alike(row, label, node[0], t):
                            continue
                        is_new = True
                        for j in range(num):
                            is_new &= node[j] != t
                        if is_new:
                            node[num], place[num] = t, rank[queue[head, k]]
                            num += 1
                    if num < 2 or 2 * num < size[head] or (is_full and num < most[node[0]]):  # noqa: PLR2004
                        continue
                    for k in range(num):
                        unit[node[k]], rank[node[k]], queue[tail, k] = num_units, place[k], node[k]
                    size[tail] = num
                    tail += 1
                    num_units += 1
                head += 1
    return num_units
