"""Compiled inner loops over positions x states in plain doubles: sums, messages, weights, a draw.

Key: ``L`` positions, ``K`` atoms, ``C`` labels, ``S`` states, ``E`` edges sorted by source.

No scale is carried, and none is needed while the language as a whole is likely enough. The tokens of a position have
probabilities that sum to 1, so whatever leads to a state has probability at most 1, and so has what follows it.
What is flushed to zero here is below `FLUSH`, and all of it together takes at most ``L * S * FLUSH`` from the
probability of the language. Where that probability is above `TRUSTED`, the error is below 1e-30 of it; where it
is not, `agentflow.constraint.trellis_scaled` does the same sums with an exponent per state.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917 - numba compiles flat loops over positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FLUSH = 1e-290
TRUSTED = 1e-250
UNSEEN = 1e-30
"""Posterior probability of a state below which what follows it is left out of the marginals."""


@njit(cache=True, nogil=True)
def gather(mass: Any, begin: Any, atoms: Any) -> Any:
    """Sum atoms over labels.

    Args:
        mass: ``(K, L)`` float64 probabilities.
        begin: ``(C + 1,)``, where the atoms of each label begin.
        atoms: ``(N,)``.

    Returns:
        ``(C, L)`` float64.
    """
    num_positions = mass.shape[1]
    total = np.zeros((len(begin) - 1, num_positions))
    for c in range(len(begin) - 1):
        row = total[c]
        for j in range(begin[c], begin[c + 1]):
            part = mass[atoms[j]]
            for i in range(num_positions):
                row[i] += part[i]
    return total


@njit(cache=True, nogil=True)
def scatter(weight: Any, begin: Any, atoms: Any, num_atoms: Any) -> Any:
    """Add each label's weight to its atoms: the transpose of `gather`, ``(C, L)`` to ``(K, L)``."""
    num_positions = weight.shape[1]
    total = np.zeros((num_atoms, num_positions))
    for c in range(len(begin) - 1):
        row = weight[c]
        is_used = False
        for i in range(num_positions):
            is_used |= row[i] > 0.0
        if not is_used:
            continue
        for j in range(begin[c], begin[c + 1]):
            part = total[atoms[j]]
            for i in range(num_positions):
                part[i] += row[i]
    return total


@njit(cache=True, nogil=True)
def backward(
    label: Any, row: Any, edge_label: Any, edge_target: Any, num_reached: Any, after: Any, horizon: Any, final: Any
) -> None:
    """Sum, for each position and state, over all ways to go on to the end of the canvas.

    Args:
        label: ``(L, C)`` float64 probabilities of the labels.
        row: ``(S + 1,)``, where the edges of each state begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        num_reached: ``(L,)``, how many of the first states matter at each position.
        after: ``(L + 1, S)`` zeros but for position `horizon`, which is set; filled in place.
        horizon: Positions from here on are done.
        final: The absorbing state; it has one edge.
    """
    for i in range(horizon - 1, -1, -1):
        following = after[i + 1]
        here = after[i]
        mass = label[i]
        for s in range(num_reached[i]):
            total = 0.0
            for e in range(row[s], row[s + 1]):
                total += mass[edge_label[e]] * following[edge_target[e]]
            if total > FLUSH:
                here[s] = total
        here[final] = mass[edge_label[row[final]]] * following[final]


@njit(cache=True, nogil=True)
def forward(label: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, after: Any, final: Any) -> Any:
    """Run forward as a Markov chain over the states that matter.

    With the backward messages at hand each state's posterior probability is known, so nothing needs a scale and
    states below `UNSEEN` can be left behind.

    Returns:
        ``(L, C)`` float64, what multiplies each label's probability in its marginal, and ``(L,)`` posterior
        probability of `final` before each position.
    """
    num_positions, num_labels = label.shape
    num_states = len(row) - 1
    weight = np.zeros((num_positions, num_labels))
    tail = np.zeros(num_positions)
    share = np.zeros((2, num_states))
    active = np.zeros((2, num_states), np.int32)
    num_active = 1
    active[0, 0] = start
    share[0, start] = 1.0
    for i in range(num_positions):
        now, then = i & 1, 1 - (i & 1)
        tail[i] = share[now, final]
        num_next = 0
        following = after[i + 1]
        for j in range(num_active):
            s = active[now, j]
            mine = share[now, s]
            share[now, s] = 0.0
            if mine < UNSEEN or after[i, s] == 0.0:
                continue
            scale = mine / after[i, s]
            for e in range(row[s], row[s + 1]):
                t = edge_target[e]
                y = scale * following[t]
                c = edge_label[e]
                x = y * label[i, c]
                if x == 0.0:
                    continue
                weight[i, c] += y
                if share[then, t] == 0.0:
                    active[then, num_next] = t
                    num_next += 1
                share[then, t] += x
        num_active = num_next
    return weight, tail


@njit(cache=True, nogil=True)
def draw_path(
    label: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, after: Any, begin: Any, atoms: Any,
    mass: Any, uniform: Any,
) -> Any:  # fmt: skip
    """Draw one path from the posterior, edge by edge: forward, with the backward messages.

    Args:
        label: ``(L, C)``; see `backward`.
        row: ``(S + 1,)``.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        start: State before the first position.
        after: ``(L + 1, S)``.
        begin: ``(C + 1,)``; see `gather`.
        atoms: ``(N,)``.
        mass: ``(K, L)``.
        uniform: ``(L, 3)`` float64 in [0, 1).

    Returns:
        ``(L,)`` int32 atoms.
    """
    num_positions = len(label)
    drawn = np.zeros(num_positions, np.int32)
    state = np.int64(start)
    for i in range(num_positions):
        following = after[i + 1]
        total = 0.0
        for e in range(row[state], row[state + 1]):
            total += label[i, edge_label[e]] * following[edge_target[e]]
        goal = uniform[i, 0] * total
        chosen = np.int64(-1)
        for e in range(row[state], row[state + 1]):
            x = label[i, edge_label[e]] * following[edge_target[e]]
            if x > 0.0:
                chosen = np.int64(e)
                goal -= x
                if goal < 0.0:
                    break
        c = edge_label[chosen]
        state = np.int64(edge_target[chosen])
        goal = uniform[i, 1] * label[i, c]
        for j in range(begin[c], begin[c + 1]):
            x = mass[atoms[j], i]
            if x > 0.0:
                drawn[i] = atoms[j]
                goal -= x
                if goal < 0.0:
                    break
    return drawn
