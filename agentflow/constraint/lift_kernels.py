"""Compiled inner loops of `agentflow.constraint.lift`: walks of a byte automaton along the vocabulary's trie.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`. What a string does to all
states at once is a function from states to states. Of the hundreds of thousands of strings of a vocabulary most do the
same as another one, and what a longer string does follows from the function of its beginning and its last byte.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917, C901, PLR0912, PLR0915 - numba compiles functions of positional arrays
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.kernels import build_trie, mix, number_used


@njit(cache=True, nogil=True)
def token_functions(
    byte: Any, depth: Any, skip: Any, token: Any, kind: Any, table: Any, num_chars: Any, num_tokens: Any
) -> Any:
    """Find what each token does to all states at once.

    Args:
        byte: The trie; see `agentflow.constraint.kernels.build_trie`.
        depth: The trie.
        skip: The trie.
        token: The trie.
        kind: ``(256,)`` uint32, class of each byte.
        table: ``(S, classes)`` int32, -1 is dead; in the last class, every state is.
        num_chars: ``(S,)`` int32, characters that begin when a byte is read in a state (0 or 1).
        num_tokens: ``V``.

    Returns:
        ``(V,)`` int32 function of each token, -1: it leads nowhere; ``(F,)`` uint64 signature of each function, equal
        for equal ones; and the steps that were taken.
    """
    num_states, num_kinds = table.shape
    function = np.full(len(byte), -1, np.int32)  # of each node
    source = np.arange(num_states).astype(np.int32)  # of all functions, one after the other
    state = source.copy()
    count = np.zeros(num_states, np.int32)
    begin = np.zeros(257, np.int64)
    begin[1] = num_states
    signature = np.zeros(256, np.uint64)
    following = np.full((256, num_kinds), -2, np.int32)  # function and kind -> function, -1: dead, -2: not known
    size = 1024
    names = np.full(size, -1, np.int32)
    num, num_steps = 1, 0
    stack = np.zeros(4096, np.uint32)
    i = 0
    while True:
        i = _walk_known(i, byte, depth, skip, kind, following, stack, function)
        if i == len(byte):
            break
        before, mine = np.int64(stack[depth[i] - 1]), kind[byte[i]]
        low, high, end = begin[before], begin[before + 1], begin[num]
        num_steps += high - low
        while end + high - low > len(source):
            source = np.append(source, np.zeros_like(source))
            state = np.append(state, np.zeros_like(state))
            count = np.append(count, np.zeros_like(count))
        hashed = np.uint64(0)
        for j in range(low, high):
            target = table[state[j], mine]
            if target >= 0:
                source[end] = source[j]
                state[end] = target
                count[end] = count[j] + num_chars[state[j]]
                hashed += mix(np.int64(source[j]) * 4096 + count[end], target)
                end += 1
        if end == begin[num]:
            following[before, mine] = -1
            continue
        slot = np.int64(hashed & np.uint64(size - 1))
        while names[slot] >= 0 and signature[names[slot]] != hashed:
            slot = (slot + 1) & (size - 1)
        if names[slot] < 0:
            names[slot] = num
            signature[num] = hashed
            num += 1
            begin[num] = end
            if num == len(signature):
                signature = np.append(signature, np.zeros_like(signature))
                following = np.concatenate((following, np.full_like(following, -2)))
                begin = np.append(begin, np.zeros_like(begin))
            if num * 2 > size:
                size *= 4
                names = np.full(size, -1, np.int32)
                for k in range(1, num):
                    slot = np.int64(signature[k] & np.uint64(size - 1))
                    while names[slot] >= 0:
                        slot = (slot + 1) & (size - 1)
                    names[slot] = k
                slot = np.int64(hashed & np.uint64(size - 1))
                while signature[names[slot]] != hashed:
                    slot = (slot + 1) & (size - 1)
        following[before, mine] = names[slot]
    function_of = np.full(num_tokens, -1, np.int32)
    i = 0
    while i < len(byte):
        if function[i] < 0:
            i = skip[i]
            continue
        if token[i] >= 0:
            function_of[token[i]] = function[i]
        i += 1
    return function_of, signature[:num].copy(), num_steps


@njit(cache=True, nogil=True)
def _walk_known(at: Any, byte: Any, depth: Any, skip: Any, kind: Any, following: Any, stack: Any, function: Any) -> Any:
    """Go on from node `at` to the first one whose function is not known, or to the end; the hot loop, on its own."""
    one = np.uint64(1)
    i, end, num_kinds = np.uint64(at), np.uint64(len(byte)), np.uint64(following.shape[1])
    flat = following.ravel()
    while i < end:
        deep = np.uint64(depth[i])
        after = flat[np.uint64(stack[deep - one]) * num_kinds + np.uint64(kind[byte[i]])]
        if after < -1:
            break
        function[i] = after
        if after < 0:
            i = np.uint64(skip[i])
            continue
        stack[deep] = np.uint32(after)
        i += one
    return np.int64(i)


@njit(cache=True, nogil=True)
def number_cells(function_of: Any, cell_of: Any, tokens: Any, token_cells: Any, num_cells: Any) -> Any:
    """Put tokens that do the same into one cell, and leave out empty cells.

    Args:
        function_of: ``(V,)`` int32; see `token_functions`.
        cell_of: ``(F + 1,)`` cell of each function, last that of none, which is cell 0.
        tokens: ``(T,)`` int32, tokens that stand apart.
        token_cells: ``(T,)`` their cells.
        num_cells: Number of cells, empty ones among them.

    Returns:
        ``(V,)`` int32 cell of each token, and ``(C,)`` int32 the first token of each cell, -1 for cell 0.
    """
    cells = np.empty(len(function_of), np.int32)
    for v in range(len(cells)):
        cells[v] = cell_of[function_of[v]]
    for k in range(len(tokens)):
        cells[tokens[k]] = token_cells[k]
    first = number_used(cells, num_cells, 1)
    first[0] = -1
    return cells, first


@njit(cache=True, nogil=True)
def walk_tokens(table: Any, num_chars: Any, flat: Any, starts: Any, ends: Any) -> Any:
    """Walk byte strings from every state.

    Args:
        table: ``(S, 256)`` int32, or one over classes of bytes.
        num_chars: ``(S,)`` int32; see `token_functions`.
        flat: ``(N,)`` uint8.
        starts: ``(K,)`` int64, where each string begins in `flat`.
        ends: ``(K,)`` int64, where it ends.

    Returns:
        ``(S, K)`` int32 state after the string (-1: dead) and ``(S, K)`` int32 characters begun.
    """
    num_states = len(table)
    after = np.full((num_states, len(starts)), -1, np.int32)
    counts = np.zeros((num_states, len(starts)), np.int32)
    for q in range(num_states):
        for k in range(len(starts)):
            state = q
            count = 0
            for i in range(starts[k], ends[k]):
                count += num_chars[state]
                state = table[state, flat[i]]
                if state < 0:
                    break
            after[q, k] = state
            counts[q, k] = count
    return after, counts


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile the kernels of this module, or load them from the cache, so that no time limit counts it."""
    one, flat = np.zeros(1, np.int32), np.zeros(1, np.uint8)
    trie = build_trie(flat, np.array([0, 1], np.int64), one)
    table = np.full((1, 1), -1, np.int32)
    token_functions(*trie, np.zeros(256, np.uint32), table, one, 1)
    number_cells(one, np.zeros(2, np.int64), one, np.zeros(1, np.int64), 1)
    walk_tokens(table, one, flat, np.zeros(1, np.int64), np.ones(1, np.int64))
