"""Compiled inner loops over positions x tokens: sums over atoms, the best token of each, a token of one.

Key: ``L`` positions, ``V`` tokens, ``K`` atoms (blocks of the finest partition of the tokens).
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: C901, PLR0912, PLR0917 - numba compiles flat loops over positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_TINY = 1e-280


@njit(cache=True, nogil=True)
def sum_atoms(values: Any, scaled: Any, peak: Any, atom: Any, num_atoms: Any, big: Any) -> Any:
    """Sum probabilities, and probability times log-probability, over atoms.

    Args:
        values: ``(L, V)`` log-probabilities, float32 or float64.
        scaled: ``(L, V)`` ``exp(values - peak)``.
        peak: ``(L,)`` float64, the largest finite value of each row.
        atom: ``(V,)`` int32.
        num_atoms: ``K``.
        big: The atom with the most tokens; its sums stay in registers.

    Returns:
        ``(L, K)`` float64 sums, ``(L, K)`` their logarithms (-inf: empty), and ``(L, K)`` the mean log-probability
        within the atom.
    """
    num_positions, num_tokens = values.shape
    mass = np.zeros((num_positions, num_atoms))
    log_sum = np.full((num_positions, num_atoms), -np.inf)
    mean_log = np.zeros((num_positions, num_atoms))
    for i in range(num_positions):
        total = np.zeros(num_atoms)
        moment = np.zeros(num_atoms)
        top = np.full(num_atoms, -np.inf)
        big_total = 0.0
        big_moment = 0.0
        for v in range(num_tokens):
            a = atom[v]
            weight = scaled[i, v]
            if weight > 0:
                if a == big:
                    big_total += weight
                    big_moment += weight * values[i, v]
                else:
                    total[a] += weight
                    moment[a] += weight * values[i, v]
        total[big] = big_total
        moment[big] = big_moment
        is_exact = True
        scale = np.exp(peak[i])
        for a in range(num_atoms):
            if total[a] > _TINY:
                mass[i, a] = total[a] * scale
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
                mass[i, a] = np.exp(log_sum[i, a])
                mean_log[i, a] = small_moment[a] / small[a]
    return mass, log_sum, mean_log


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
