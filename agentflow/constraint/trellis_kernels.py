"""Compiled inner loops over positions x states: sums, messages, entropies, a draw, the best path.

Key: ``L`` positions, ``V`` tokens, ``K`` atoms (blocks of the finest partition of the tokens), ``C`` labels (sets of
atoms on edges), ``S`` states, ``E`` edges sorted by source. Probabilities of long strings leave the range of a double
by hundreds of orders of magnitude, and differ as much between states, so every number is a pair:
``mantissa * 2**(256 * exponent)`` with the mantissa within 2**-128 ... 2**128. Two such mantissas multiply, and
millions of products add up, without leaving the range of a double.
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
_TINY = 1e-280
_NEGLIGIBLE = -4
_UNSEEN = 1e-30


@njit(cache=True, nogil=True)
def sum_atoms(values: Any, scaled: Any, peak: Any, atom: Any, num_atoms: Any) -> Any:
    """Sum probabilities, and probability times log-probability, over atoms.

    Args:
        values: ``(L, V)`` log-probabilities, float32 or float64.
        scaled: ``(L, V)`` ``exp(values - peak)``.
        peak: ``(L,)`` float64, the largest finite value of each row.
        atom: ``(V,)`` int32.
        num_atoms: ``K``.

    Returns:
        ``(L, K)`` float64 log of each sum (-inf: empty), and ``(L, K)`` mean log-probability within the atom.
    """
    num_positions, num_tokens = values.shape
    log_sum = np.full((num_positions, num_atoms), -np.inf)
    mean_log = np.zeros((num_positions, num_atoms))
    for i in range(num_positions):
        total = np.zeros(num_atoms)
        moment = np.zeros(num_atoms)
        top = np.full(num_atoms, -np.inf)
        for v in range(num_tokens):
            a = atom[v]
            weight = scaled[i, v]
            if weight > 0:
                total[a] += weight
                moment[a] += weight * values[i, v]
        is_exact = True
        for a in range(num_atoms):
            if total[a] > _TINY:
                log_sum[i, a] = np.log(total[a]) + peak[i]
                mean_log[i, a] = moment[a] / total[a]
            else:
                is_exact = False
        if is_exact:
            continue
        for v in range(num_tokens):
            a = atom[v]
            if total[a] <= _TINY and values[i, v] > top[a]:
                top[a] = values[i, v]
        small = np.zeros(num_atoms)
        small_moment = np.zeros(num_atoms)
        for v in range(num_tokens):
            a = atom[v]
            if total[a] <= _TINY and values[i, v] > -np.inf:
                weight = np.exp(values[i, v] - top[a])
                small[a] += weight
                small_moment[a] += weight * values[i, v]
        for a in range(num_atoms):
            if small[a] > 0:
                log_sum[i, a] = np.log(small[a]) + top[a]
                mean_log[i, a] = small_moment[a] / small[a]
    return log_sum, mean_log


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
def label_sums(log_sum: Any, begin: Any, atoms: Any, base: Any, without_begin: Any, without: Any) -> Any:
    """Sum atoms over labels.

    A label that is another one without a few atoms is their difference where that loses no digits.

    Args:
        log_sum: ``(L, K)`` float64.
        begin: ``(C + 1,)`` int64, where the atoms of each label begin.
        atoms: ``(N,)`` int32.
        base: ``(C,)`` int32, an earlier label that contains this one, or -1.
        without_begin: ``(C + 1,)`` int64, where the atoms of the base begin that the label lacks.
        without: ``(M,)`` int32.

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
            b = base[c]
            if b >= 0:
                m, k = mantissa[i, b], exponent[i, b]
                for j in range(without_begin[c], without_begin[c + 1]):
                    a = without[j]
                    if atom_m[a] > 0.0 and atom_k[a] >= k - 1:
                        m -= atom_m[a] * (_STEP ** np.int64(atom_k[a] - k))
                if m < 0.5 * mantissa[i, b]:
                    b = -1
                    m = 0.0
                    k = 0
            if b < 0:
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
    label_m: Any, label_k: Any, row: Any, edge_label: Any, edge_target: Any, first_position: Any, is_open: Any
) -> Any:
    """Sum, for each position and state, over all ways to go on to the end of the canvas.

    Args:
        label_m: ``(L, C)`` mantissas of the labels' probabilities.
        label_k: ``(L, C)`` exponents.
        row: ``(S + 1,)`` int64, where the edges of each state begin.
        edge_label: ``(E,)`` int32.
        edge_target: ``(E,)`` int32.
        first_position: ``(S,)`` int32, first position at which a state can be reached, -1 never.
        is_open: ``(S,)`` bool, whether the canvas may end in the state.

    Returns:
        ``(L + 1, S)`` mantissas and exponents.
    """
    num_positions = len(label_m)
    num_states = len(row) - 1
    mantissa = np.zeros((num_positions + 1, num_states))
    exponent = np.zeros((num_positions + 1, num_states), np.int32)
    for s in range(num_states):
        if is_open[s] and 0 <= first_position[s] <= num_positions:
            mantissa[num_positions, s] = 1.0
    for i in range(num_positions - 1, -1, -1):
        after_m = mantissa[i + 1]
        after_k = exponent[i + 1]
        lm = label_m[i]
        lk = label_k[i]
        for s in range(num_states):
            if first_position[s] < 0 or first_position[s] > i:
                continue
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
def atom_weights(
    log_weight: Any, share: Any, begin: Any, atoms: Any, log_sum: Any, mean_log: Any, atom_size: Any
) -> Any:
    """Turn weights of labels into weights of atoms, and these into entropies.

    The entropy of position i is ``-sum_a Q_a (mean log p within a + log w_a)`` with ``Q_a = w_a P_a``; no term is a
    small difference of large numbers, and a position with one possible token has entropy exactly 0. Labels with a
    probability below 1e-30 are left out; they only tell that the position is not forced.

    Returns:
        ``(L, K)`` log weights (-inf: none), ``(L,)`` entropies in nats, ``(L,)`` whether one token alone is possible.
    """
    num_positions, num_atoms = log_sum.shape
    log_atom = np.full((num_positions, num_atoms), -np.inf)
    entropy = np.zeros(num_positions)
    is_forced = np.zeros(num_positions, np.bool_)
    for i in range(num_positions):
        has_more = False
        for c in range(len(begin) - 1):
            w = log_weight[i, c]
            if w == -np.inf:
                continue
            if share[i, c] < _UNSEEN:
                has_more = True
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
        num_possible = 0
        total = 0.0
        for a in range(num_atoms):
            if log_atom[i, a] == -np.inf or atom_size[a] == 0:
                continue
            num_possible += atom_size[a]
            if log_sum[i, a] > -np.inf:
                q = np.exp(log_atom[i, a] + log_sum[i, a])
                total -= q * (mean_log[i, a] + log_atom[i, a])
        is_forced[i] = num_possible == 1 and not has_more
        entropy[i] = 0.0 if is_forced[i] else max(total, 0.0)
    return log_atom, entropy, is_forced


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
    state = start
    for i in range(num_positions):
        base = after_k[i, state]
        total = 0.0
        for e in range(row[state], row[state + 1]):
            t, c = edge_target[e], edge_label[e]
            shift = label_k[i, c] + after_k[i + 1, t] - base
            if shift > _NEGLIGIBLE:
                total += label_m[i, c] * after_m[i + 1, t] * _STEP**shift
        goal = uniform[i, 0] * total
        chosen = -1
        for e in range(row[state], row[state + 1]):
            t, c = edge_target[e], edge_label[e]
            shift = label_k[i, c] + after_k[i + 1, t] - base
            if shift > _NEGLIGIBLE:
                x = label_m[i, c] * after_m[i + 1, t] * _STEP**shift
                if x > 0.0:
                    chosen = e
                    goal -= x
                    if goal < 0.0:
                        break
        c = edge_label[chosen]
        state = edge_target[chosen]
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


@njit(cache=True, nogil=True)
def draw_tokens(values: Any, atom: Any, drawn: Any, log_sum: Any, only_token: Any, uniform: Any) -> Any:
    """Draw a token of each drawn atom in proportion to its probability.

    Args:
        values: ``(L, V)`` log-probabilities.
        atom: ``(V,)`` int32.
        drawn: ``(L,)`` int32.
        log_sum: ``(L, K)``.
        only_token: ``(K,)`` int32, the token of an atom that has one, else -1.
        uniform: ``(L,)`` float64.

    Returns:
        ``(L,)`` int64 token ids.
    """
    tokens = np.zeros(len(drawn), np.int64)
    for i in range(len(drawn)):
        a = drawn[i]
        if only_token[a] >= 0:
            tokens[i] = only_token[a]
            continue
        goal = uniform[i]
        for v in range(len(atom)):
            if atom[v] == a and values[i, v] > -np.inf:
                x = np.exp(values[i, v] - log_sum[i, a])
                if x > 0.0:
                    tokens[i] = v
                    goal -= x
                    if goal < 0.0:
                        break
    return tokens


@njit(cache=True, nogil=True)
def best_tokens(values: Any, atom: Any, num_atoms: Any) -> Any:
    """Give the most probable token of each atom.

    Returns:
        ``(L, K)`` float64 its log-probability (-inf: the atom is empty) and ``(L, K)`` int32 its id.
    """
    top = np.full((len(values), num_atoms), -np.inf)
    token = np.full((len(values), num_atoms), -1, np.int32)
    for i in range(len(values)):
        for v in range(len(atom)):
            a = atom[v]
            if values[i, v] > top[i, a]:
                top[i, a] = values[i, v]
                token[i, a] = v
    return top, token


@njit(cache=True, nogil=True)
def best_path(
    top: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, is_open: Any, begin: Any, atoms: Any
) -> Any:
    """Find the most probable path (Viterbi).

    Args:
        top: ``(L, K)`` log-probability of the best token of each atom.
        row: ``(S + 1,)``.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        start: State before the first position.
        is_open: ``(S,)`` bool, whether the canvas may end in the state.
        begin: ``(C + 1,)``.
        atoms: ``(N,)``.

    Returns:
        ``(L,)`` int32 atoms, and the path's log-probability.
    """
    num_positions = len(top)
    num_states = len(row) - 1
    num_labels = len(begin) - 1
    choice = np.full((num_positions, num_states), -1, np.int32)
    best_atom = np.zeros((num_positions, num_labels), np.int32)
    score = np.where(is_open, 0.0, -np.inf)
    label_score = np.zeros(num_labels)
    for i in range(num_positions - 1, -1, -1):
        for c in range(num_labels):
            label_score[c] = -np.inf
            for j in range(begin[c], begin[c + 1]):
                if top[i, atoms[j]] > label_score[c]:
                    label_score[c] = top[i, atoms[j]]
                    best_atom[i, c] = atoms[j]
        before = np.full(num_states, -np.inf)
        for s in range(num_states):
            for e in range(row[s], row[s + 1]):
                x = label_score[edge_label[e]] + score[edge_target[e]]
                if x > before[s]:
                    before[s] = x
                    choice[i, s] = e
        score = before
    drawn = np.zeros(num_positions, np.int32)
    state = start
    for i in range(num_positions):
        e = choice[i, state]
        if e < 0:
            return drawn, -np.inf
        drawn[i] = best_atom[i, edge_label[e]]
        state = edge_target[e]
    return drawn, score[start]
