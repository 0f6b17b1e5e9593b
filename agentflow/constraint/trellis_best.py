"""Compiled inner loops of the most probable path (Viterbi).

Key: ``L`` positions, ``K`` atoms, ``C`` labels, ``S`` states. Scores are logarithms, so no scale is needed. Only the
scores are kept; the choices are made again along the one path that is asked for.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917 - numba compiles flat loops over positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def label_tops(top: Any, begin: Any, atoms: Any) -> Any:
    """Give the best score within each label.

    Args:
        top: ``(K, L)`` log-probability of the best token of each atom, -inf: empty.
        begin: ``(C + 1,)``, where the atoms of each label begin.
        atoms: ``(N,)``.

    Returns:
        ``(C, L)`` float64.
    """
    num_positions = top.shape[1]
    score = np.full((len(begin) - 1, num_positions), -np.inf)
    for c in range(len(begin) - 1):
        row = score[c]
        for j in range(begin[c], begin[c + 1]):
            part = top[atoms[j]]
            for i in range(num_positions):
                row[i] = max(row[i], part[i])
    return score


@njit(cache=True, nogil=True)
def best_scores(label: Any, row: Any, edge_label: Any, edge_target: Any, num_reached: Any, is_open: Any) -> Any:
    """Give the score of the best way on from each position and state.

    Args:
        label: ``(L, C)`` scores of the labels.
        row: ``(S + 1,)``, where the edges of each state begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        num_reached: ``(L,)``, how many of the first states matter at each position.
        is_open: ``(S,)`` bool, whether the canvas may end in the state.

    Returns:
        ``(L + 1, S)`` float64.
    """
    num_positions = len(label)
    score = np.full((num_positions + 1, len(is_open)), -np.inf)
    for s in range(len(is_open)):
        if is_open[s]:
            score[num_positions, s] = 0.0
    for i in range(num_positions - 1, -1, -1):
        following = score[i + 1]
        here = score[i]
        mine = label[i]
        for s in range(num_reached[i]):
            best = -np.inf
            for e in range(row[s], row[s + 1]):
                x = mine[edge_label[e]] + following[edge_target[e]]
                best = max(best, x)
            here[s] = best
    return score


@njit(cache=True, nogil=True)
def trace_best(
    label: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, score: Any, top: Any, begin: Any, atoms: Any
) -> Any:
    """Walk the best path.

    Returns:
        ``(L,)`` int32 atoms.
    """
    num_positions = len(label)
    path = np.zeros(num_positions, np.int32)
    state = np.int64(start)
    for i in range(num_positions):
        best = -np.inf
        chosen = np.int64(row[state])
        for e in range(row[state], row[state + 1]):
            x = label[i, edge_label[e]] + score[i + 1, edge_target[e]]
            if x > best:
                best = x
                chosen = np.int64(e)
        c = edge_label[chosen]
        best = -np.inf
        for j in range(begin[c], begin[c + 1]):
            if top[atoms[j], i] > best:
                best = top[atoms[j], i]
                path[i] = atoms[j]
        state = np.int64(edge_target[chosen])
    return path
