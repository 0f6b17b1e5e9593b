"""Compiled inner loop of `agentflow.constraint.pairs`: byte-pair encoding of many short texts.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from typing import Any

from numba import njit

NEVER = 1 << 62
"""The value of two tokens that do not become one."""
UNUSABLE = 0xFFFFFFFF
"""The token of two that become one that no text may hold; the low 32 bits of a value."""


@njit(cache=True, nogil=True)
def pair_value(begin: Any, rights: Any, values: Any, left: Any, right: Any) -> Any:
    """Give the value of two tokens: the rank of their merge, and in the low 32 bits the token that they become."""
    low, high = begin[left], begin[left + 1]
    while low < high:
        middle = (low + high) >> 1
        if rights[middle] < right:
            low = middle + 1
        else:
            high = middle
    if low < begin[left + 1] and rights[low] == right:
        return values[low]
    return NEVER


@njit(cache=True, nogil=True)
def merge_pairs(ends: Any, ids: Any, sizes: Any, begin: Any, rights: Any, values: Any, work: Any) -> None:  # noqa: C901, PLR0917 - numba compiles functions of positional arrays, loops and all
    """Cut texts into tokens: of all neighbours that can become one token, those of the lowest rank do, the first first.

    Sennrich et al., Neural machine translation of rare words with subword units (2016).

    Args:
        ends: ``(W,)`` int64, where each text ends in `ids`.
        ids: ``(N,)`` int32 token of each character; to be overwritten with the tokens of each text, at its beginning.
        sizes: ``(W,)`` int64, to be filled: number of tokens, -1 where one is not usable.
        begin: ``(V + 1,)`` int32, where the pairs of each left token begin.
        rights: ``(M,)`` int32 right token of each pair, ascending for each left token.
        values: ``(M,)`` int64 value of each pair; see `pair_value`.
        work: ``(N,)`` int64 room.
    """
    low = 0
    for word in range(len(ends)):
        num = ends[word] - low
        for i in range(low, low + num - 1):
            work[i] = pair_value(begin, rights, values, ids[i], ids[i + 1])
        while num > 1:
            best = low
            for i in range(low + 1, low + num - 1):
                if work[i] < work[best]:
                    best = i
            if work[best] == NEVER:
                break
            merged = work[best] & UNUSABLE
            if merged == UNUSABLE:
                num = -1
                break
            ids[best] = merged
            num -= 1
            for i in range(best + 1, low + num):
                ids[i] = ids[i + 1]
                work[i - 1] = work[i]
            if best > low:
                work[best - 1] = pair_value(begin, rights, values, ids[best - 1], ids[best])
            if best < low + num - 1:
                work[best] = pair_value(begin, rights, values, ids[best], ids[best + 1])
        sizes[word] = num
        low = ends[word]
