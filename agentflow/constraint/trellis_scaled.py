"""Compiled inner loops over positions x states with an exponent per number: sums, messages, weights, a draw.

Key: ``L`` positions, ``K`` atoms (blocks of the finest partition of the tokens), ``C`` labels (sets of atoms on
edges), ``S`` states, ``E`` edges sorted by source. Where a model contradicts a schema, probabilities of long strings
leave the range of a double by hundreds of orders of magnitude, and differ as much between states, so every number is
a pair: ``mantissa * 2**(256 * exponent)`` with the mantissa within 2**-128 ... 2**128. Two such mantissas multiply,
and millions of products add up, without leaving the range of a double. Three times as slow as
`agentflow.constraint.trellis_plain`, and right at any magnitude.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - numba compiles flat loops over positional arrays

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_UP = 2.0**128
_DOWN = 2.0**-128
_STEP = 2.0**256
_STEP_DOWN = 2.0**-256
_LN2 = 0.6931471805599453
_NEGLIGIBLE = -4
_UNSEEN = 1e-30


@njit(cache=True, nogil=True)
def add_scaled(m: Any, k: Any, x: Any, y: Any) -> Any:  # noqa: PLR0911 - one case a line
    """Add two scaled numbers; what is 2**-512 of the other and less is lost."""
    if x == 0.0:
        return m, k
    if m == 0.0 or y > k + 2:
        return x, y
    if y == k:
        return m + x, k
    if y == k + 1:
        return x + m * _STEP_DOWN, y
    if y == k + 2:
        return x + m * _STEP_DOWN * _STEP_DOWN, y
    if y == k - 1:
        return m + x * _STEP_DOWN, k
    if y == k - 2:
        return m + x * _STEP_DOWN * _STEP_DOWN, k
    return m, k


@njit(cache=True, nogil=True)
def label_sums(log_sum: Any, begin: Any, atoms: Any) -> Any:
    """Sum atoms over labels.

    Args:
        log_sum: ``(L, K)`` float64.
        begin: ``(C + 1,)``, where the atoms of each label begin.
        atoms: ``(N,)``.

    Returns:
        ``(L, C)`` mantissas and ``(L, C)`` int32 exponents.
    """
    num_positions, num_atoms = log_sum.shape
    num_labels = len(begin) - 1
    mantissa = np.zeros((num_positions, num_labels))
    exponent = np.zeros((num_positions, num_labels), np.int32)
    atom_m = np.zeros(num_atoms)
    atom_k = np.zeros(num_atoms, np.int32)
    for i in range(num_positions):
        for a in range(num_atoms):
            atom_m[a] = 0.0
            if log_sum[i, a] > -np.inf:
                bits = log_sum[i, a] / _LN2
                atom_k[a] = np.int32(np.rint(bits / 256))
                atom_m[a] = 2.0 ** (bits - 256.0 * atom_k[a])
        for c in range(num_labels):
            m = 0.0
            k = 0
            for j in range(begin[c], begin[c + 1]):
                a = atoms[j]
                if atom_m[a] > 0.0:
                    m, k = add_scaled(m, k, atom_m[a], atom_k[a])
            while m >= _UP:
                m *= _STEP_DOWN
                k += 1
            mantissa[i, c] = m
            exponent[i, c] = k
    return mantissa, exponent


@njit(cache=True, nogil=True)
def backward(
    label_m: Any, label_k: Any, row: Any, edge_label: Any, edge_target: Any, num_reached: Any, is_open: Any
) -> Any:
    """Sum, for each position and state, over all ways to go on to the end of the canvas.

    Args:
        label_m: ``(L, C)`` mantissas of the labels' probabilities.
        label_k: ``(L, C)`` exponents.
        row: ``(S + 1,)``, where the edges of each state begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        num_reached: ``(L,)``, how many of the first states matter at each position.
        is_open: ``(S,)`` bool, whether the canvas may end in the state.

    Returns:
        ``(L + 1, S)`` mantissas and exponents.
    """
    num_positions = len(label_m)
    num_states = len(row) - 1
    mantissa = np.zeros((num_positions + 1, num_states))
    exponent = np.zeros((num_positions + 1, num_states), np.int32)
    for s in range(num_states):
        if is_open[s]:
            mantissa[num_positions, s] = 1.0
    for i in range(num_positions - 1, -1, -1):
        after_m = mantissa[i + 1]
        after_k = exponent[i + 1]
        lm = label_m[i]
        lk = label_k[i]
        for s in range(num_reached[i]):
            m = 0.0
            k = 0
            for e in range(row[s], row[s + 1]):
                t = edge_target[e]
                c = edge_label[e]
                x = lm[c] * after_m[t]
                if x == 0.0:
                    continue
                y = lk[c] + after_k[t]
                if m == 0.0:
                    m, k = x, y
                elif y == k:
                    m += x
                elif y > k:
                    m = x + (m * _STEP_DOWN if y == k + 1 else (m * _STEP_DOWN * _STEP_DOWN if y == k + 2 else 0.0))
                    k = y
                elif y == k - 1:
                    m += x * _STEP_DOWN
                elif y == k - 2:
                    m += x * _STEP_DOWN * _STEP_DOWN
            if m != 0.0:
                while m >= _UP:
                    m *= _STEP_DOWN
                    k += 1
                while m < _DOWN:
                    m *= _STEP
                    k -= 1
            mantissa[i, s] = m
            exponent[i, s] = k
    return mantissa, exponent


@njit(cache=True, nogil=True)
def forward_weights(
    label_m: Any,
    label_k: Any,
    row: Any,
    edge_label: Any,
    edge_target: Any,
    start: Any,
    after_m: Any,
    after_k: Any,
    final: Any,
) -> Any:
    """Run forward and give, for each position, what multiplies each label's probability in its marginal.

    Args:
        label_m: ``(L, C)``; see `backward`.
        label_k: ``(L, C)``.
        row: ``(S + 1,)``.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        start: State before the first position.
        after_m: ``(L + 1, S)`` messages of `backward`.
        after_k: Their exponents.
        final: The absorbing state.

    Returns:
        ``(L, C)`` natural logarithms of the weights (-inf: none), ``(L, C)`` the posterior probability of each label,
        and ``(L,)`` that of `final`.
    """
    num_positions, num_labels = label_m.shape
    num_states = len(row) - 1
    log_weight = np.full((num_positions, num_labels), -np.inf)
    share = np.zeros((num_positions, num_labels))
    tail = np.zeros(num_positions)
    m_now = np.zeros(num_states)
    k_now = np.zeros(num_states, np.int64)
    m_next = np.zeros(num_states)
    k_next = np.zeros(num_states, np.int64)
    weight_m = np.zeros(num_labels)
    weight_k = np.zeros(num_labels, np.int64)
    m_now[start] = 1.0
    total_m = after_m[0, start]
    total_k = np.int64(after_k[0, start])
    for i in range(num_positions):
        weight_m[:] = 0.0
        m_next[:] = 0.0
        if m_now[final] > 0.0 and after_m[i, final] > 0.0:
            shift = k_now[final] + after_k[i, final] - total_k
            tail[i] = m_now[final] * after_m[i, final] / total_m * 2.0 ** (256.0 * shift)
        for s in range(num_states):
            if m_now[s] == 0.0 or after_m[i, s] == 0.0:
                continue
            for e in range(row[s], row[s + 1]):
                t = edge_target[e]
                c = edge_label[e]
                x = m_now[s] * after_m[i + 1, t]
                if x == 0.0:
                    continue
                y = k_now[s] + after_k[i + 1, t]
                m, k = weight_m[c], weight_k[c]
                if m == 0.0 or y > k + 2:
                    weight_m[c], weight_k[c] = x, y
                elif y == k:
                    weight_m[c] = m + x
                elif y > k:
                    weight_m[c] = x + (m * _STEP_DOWN if y == k + 1 else m * _STEP_DOWN * _STEP_DOWN)
                    weight_k[c] = y
                elif y >= k - 2:
                    weight_m[c] = m + (x * _STEP_DOWN if y == k - 1 else x * _STEP_DOWN * _STEP_DOWN)
                x = m_now[s] * label_m[i, c]
                if x == 0.0:
                    continue
                y = k_now[s] + label_k[i, c]
                m, k = m_next[t], k_next[t]
                if m == 0.0 or y > k + 2:
                    m_next[t], k_next[t] = x, y
                elif y == k:
                    m_next[t] = m + x
                elif y > k:
                    m_next[t] = x + (m * _STEP_DOWN if y == k + 1 else m * _STEP_DOWN * _STEP_DOWN)
                    k_next[t] = y
                elif y >= k - 2:
                    m_next[t] = m + (x * _STEP_DOWN if y == k - 1 else x * _STEP_DOWN * _STEP_DOWN)
        for s in range(num_states):
            m = m_next[s]
            if m != 0.0:
                k = k_next[s]
                while m >= _UP:
                    m *= _STEP_DOWN
                    k += 1
                while m < _DOWN:
                    m *= _STEP
                    k -= 1
                k_now[s] = k
            m_now[s] = m
        for c in range(num_labels):
            if weight_m[c] > 0.0:
                log_weight[i, c] = np.log(weight_m[c]) - np.log(total_m) + 256.0 * _LN2 * (weight_k[c] - total_k)
                if label_m[i, c] > 0.0:
                    log_label = np.log(label_m[i, c]) + 256.0 * _LN2 * label_k[i, c]
                    share[i, c] = np.exp(log_weight[i, c] + log_label)
    return log_weight, share, tail


@njit(cache=True, nogil=True)
def atom_weights(log_weight: Any, share: Any, begin: Any, atoms: Any, num_atoms: Any) -> Any:
    """Turn weights of labels into weights of atoms; labels with a probability below 1e-30 are left out.

    Returns:
        ``(L, K)`` log weights (-inf: none).
    """
    num_positions = len(log_weight)
    log_atom = np.full((num_positions, num_atoms), -np.inf)
    for i in range(num_positions):
        for c in range(len(begin) - 1):
            w = log_weight[i, c]
            if w == -np.inf or share[i, c] < _UNSEEN:
                continue
            for j in range(begin[c], begin[c + 1]):
                a = atoms[j]
                v = log_atom[i, a]
                if v == -np.inf:
                    log_atom[i, a] = w
                elif w > v:
                    log_atom[i, a] = w + np.log1p(np.exp(v - w))
                else:
                    log_atom[i, a] = v + np.log1p(np.exp(w - v))
    return log_atom


@njit(cache=True, nogil=True)
def draw_path(
    label_m: Any, label_k: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, after_m: Any, after_k: Any,
    begin: Any, atoms: Any, log_sum: Any, uniform: Any,
) -> Any:  # fmt: skip
    """Draw one path from the posterior, edge by edge: forward, with the backward messages.

    Args:
        label_m: ``(L, C)``; see `backward`.
        label_k: ``(L, C)``.
        row: ``(S + 1,)``.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        start: State before the first position.
        after_m: ``(L + 1, S)``.
        after_k: ``(L + 1, S)``.
        begin: ``(C + 1,)``; see `label_sums`.
        atoms: ``(N,)``.
        log_sum: ``(L, K)``.
        uniform: ``(L, 3)`` float64 in [0, 1).

    Returns:
        ``(L,)`` int32 atoms.
    """
    num_positions = len(label_m)
    drawn = np.zeros(num_positions, np.int32)
    state = np.int64(start)
    for i in range(num_positions):
        base = after_k[i, state]
        total = 0.0
        for e in range(row[state], row[state + 1]):
            t, c = edge_target[e], edge_label[e]
            shift = label_k[i, c] + after_k[i + 1, t] - base
            if shift > _NEGLIGIBLE:
                total += label_m[i, c] * after_m[i + 1, t] * _STEP**shift
        goal = uniform[i, 0] * total
        chosen = np.int64(-1)
        for e in range(row[state], row[state + 1]):
            t, c = edge_target[e], edge_label[e]
            shift = label_k[i, c] + after_k[i + 1, t] - base
            if shift > _NEGLIGIBLE:
                x = label_m[i, c] * after_m[i + 1, t] * _STEP**shift
                if x > 0.0:
                    chosen = np.int64(e)
                    goal -= x
                    if goal < 0.0:
                        break
        c = edge_label[chosen]
        state = np.int64(edge_target[chosen])
        top = -np.inf
        for j in range(begin[c], begin[c + 1]):
            top = max(top, log_sum[i, atoms[j]])
        total = 0.0
        for j in range(begin[c], begin[c + 1]):
            total += np.exp(log_sum[i, atoms[j]] - top)
        goal = uniform[i, 1] * total
        for j in range(begin[c], begin[c + 1]):
            x = np.exp(log_sum[i, atoms[j]] - top)
            if x > 0.0:
                drawn[i] = atoms[j]
                goal -= x
                if goal < 0.0:
                    break
    return drawn
