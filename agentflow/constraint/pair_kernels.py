"""Compiled inner loop of `agentflow.constraint.pairs`: byte-pair encoding of many short texts.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

NEVER = 1 << 62
"""The value of two tokens that do not become one."""
UNUSABLE = 0xFFFFFFFF
"""The token of two that become one that no text may hold; the low 32 bits of a value."""


@njit(cache=True, nogil=True)
def pair_value(begin: Any, rights: Any, values: Any, memo: Any, left: Any, right: Any) -> Any:  # noqa: PLR0917 - as below
    """Give the value of two tokens: the rank of their merge, and in the low 32 bits the token that they become."""
    key = (left << 32) | right
    slot = ((left * 0x9E3779B1 + right * 0x85EBCA6B) >> 12) & (memo.shape[1] - 1)
    if memo[0, slot] == key:
        return memo[1, slot]
    low, high = np.int64(begin[left]), np.int64(begin[left + 1])
    end = high
    while low < high:
        middle = (low + high) >> 1
        if rights[middle] < right:
            low = middle + 1
        else:
            high = middle
    memo[0, slot] = key
    memo[1, slot] = values[low] if low < end and rights[low] == right else NEVER
    return memo[1, slot]


@njit(cache=True, nogil=True)
def merge_part(  # noqa: PLR0917 - as below
    ids: Any, low: Any, high: Any, tokens: Any, room: Any, begin: Any, rights: Any, values: Any, memo: Any
) -> Any:
    """Cut one part of a text into tokens; see `merge_parts`.

    Args:
        ids: ``(N,)`` int64 token of each character.
        low: Where the part begins.
        high: Where it ends.
        tokens: ``(T,)`` int64, to be filled: its tokens.
        room: ``(3, N + 1)`` int64, the value of each two neighbours, and room; the last row to be filled: where each
            of the tokens begins.
        begin: As there.
        rights: As there.
        values: As there.
        memo: As there.

    Returns:
        The number of tokens; -1 where one is not usable.
    """
    first, work, starts = room[0], room[1], room[2]
    num = high - low
    for i in range(num):
        tokens[i], work[i], starts[i] = ids[low + i], first[low + i], low + i
    while num > 1:
        best = 0
        for i in range(1, num - 1):
            if work[i] < work[best]:
                best = i
        if work[best] == NEVER:
            break
        merged = work[best] & UNUSABLE
        if merged == UNUSABLE:
            return -1
        tokens[best] = merged
        num -= 1
        for i in range(best + 1, num):
            tokens[i], starts[i], work[i - 1] = tokens[i + 1], starts[i + 1], work[i]
        if best > 0:
            work[best - 1] = pair_value(begin, rights, values, memo, tokens[best - 1], merged)
        if best < num - 1:
            work[best] = pair_value(begin, rights, values, memo, merged, tokens[best + 1])
    return num


@njit(cache=True, nogil=True)
def merge_parts(parts: Any, ids: Any, longest: Any, begin: Any, rights: Any, values: Any, memo: Any) -> Any:  # noqa: C901, PLR0917 - numba compiles functions of positional arrays, loops and all
    """Cut parts of a text into tokens: of neighbours that can become one, those of the lowest rank do, the first first.

    Sennrich et al., Neural machine translation of rare words with subword units (2016). Where a part is cut at two
    places, nothing was merged across them, and the tokens between are those of the part between. So of the parts that
    begin together the longest one is merged, and of the others those that end within one of its tokens.

    Args:
        parts: ``(4, W)`` int64, where each part begins and ends, none of them empty; of those that begin together, and
            stand together, the longest one is the last. The other rows are to be filled: where its tokens begin, and
            how many there are, -1: the part is too long, or something in it has no usable token.
        ids: ``(N,)`` int64 token of each character, -1: none.
        longest: Characters of a part at most.
        begin: ``(V + 1,)`` int32, where the pairs of each left token begin.
        rights: ``(M,)`` int32 right token of each pair, ascending for each left token.
        values: ``(M,)`` int64 value of each pair; see `pair_value`.
        memo: ``(2, K)`` int64, the pairs that were looked up before, -1: none, and their values; `K` a power of two.

    Returns:
        ``(T,)`` int64 the tokens.
    """
    room = np.empty((3, len(ids) + 1), np.int64)
    num_strange = np.zeros(len(ids) + 1, np.int64)
    for i in range(len(ids)):
        num_strange[i + 1] = num_strange[i] + (ids[i] < 0)
        is_pair = i + 1 < len(ids) and ids[i] >= 0 and ids[i + 1] >= 0
        room[0, i] = pair_value(begin, rights, values, memo, ids[i], ids[i + 1]) if is_pair else NEVER
    index = np.full(len(ids) + 1, -1, np.int64)  # of the token that begins at each place, in the part merged last
    merged_low, merged_high = np.int64(0), np.int64(-1)
    tokens = np.empty(2 * len(ids) + longest, np.int64)
    filled, part, last = np.int64(0), np.int64(0), np.int64(0)
    while part < parts.shape[1]:
        low = parts[0, part]
        while last + 1 < parts.shape[1] and parts[0, last + 1] == low:
            last += 1
        for i in range(part - 1, last):
            at = last if i < part else i  # the longest first
            high = parts[1, at]
            if index[low] >= 0 and index[high] >= 0:
                parts[2, at], parts[3, at] = index[low], index[high] - index[low]
                continue
            parts[2, at], parts[3, at] = filled, -1
            if high - low > longest or num_strange[low] < num_strange[high]:
                continue
            if filled + longest > len(tokens):
                more = np.empty(2 * len(tokens), np.int64)
                for k in range(filled):
                    more[k] = tokens[k]
                tokens = more
            num = merge_part(ids, low, high, tokens[filled:], room, begin, rights, values, memo)
            parts[3, at] = num
            if num > 0 and at == last:
                for k in range(merged_low, merged_high + 1):
                    index[k] = -1
                merged_low, merged_high = low, high
                for k in range(num):
                    index[room[2, k]] = filled + k
                index[high] = filled + num
            filled += max(num, 0)
        last += 1
        part = last
    return tokens[:filled]
