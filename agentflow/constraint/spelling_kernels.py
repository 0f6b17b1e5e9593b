"""Compiled inner loops of `agentflow.constraint.spelling`: what can be reached, and literals token by token."""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917, C901, PLR0912, PLR0915 - numba compiles functions of positional arrays, loops and all
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.pool_kernels import rows_room

_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def reach(starts: Any, begin_a: Any, to_a: Any, begin_b: Any, to_b: Any, begin_c: Any, to_c: Any) -> Any:
    """Say which nodes some start leads to along edges of three kinds, ``(G,)`` bool."""
    found = np.zeros(len(begin_a) - 1, np.bool_)
    todo = np.empty(len(found), np.int32)
    num = 0
    for node in starts:
        if not found[node]:
            found[node] = True
            todo[num] = node
            num += 1
    while num:
        num -= 1
        node = todo[num]
        for begin, to in ((begin_a, to_a), (begin_b, to_b), (begin_c, to_c)):
            for i in range(begin[node], begin[node + 1]):
                if not found[to[i]]:
                    found[to[i]] = True
                    todo[num] = to[i]
                    num += 1
    return found


@njit(cache=True, nogil=True)
def spell(
    run_begin: Any, run: Any, run_target: Any, is_used: Any, cut_begin: Any, rest_begin: Any, rest_name: Any,
    spelt_begin: Any, spelt: Any,
) -> Any:  # fmt: skip
    """Lay literals out token by token; literals that end alike share their nodes.

    Args:
        run_begin: ``(G + 1,)`` int64, where the literals of each node begin.
        run: ``(R,)`` int32, kind of each literal.
        run_target: ``(R,)`` int32.
        is_used: ``(G,)`` bool, nodes to lay out.
        cut_begin: ``(kinds + 1,)`` int64, where the ways to spell each kind begin; the ways of what is left of it
            behind a beginning come behind those of the whole kind.
        rest_begin: ``(kinds,)`` int64, where these begin.
        rest_name: ``(ways,)`` int32, name of the beginning.
        spelt_begin: ``(ways + 1,)`` int64, where the tokens of each way begin.
        spelt: int32, tokens.

    Returns:
        ``token_begin``, ``tokens``, ``middle``, ``rest_begin`` and ``rests`` of a `Net`.
    """
    num_nodes = len(run_begin) - 1
    token_begin = np.zeros(num_nodes + 1, np.int64)
    out_begin = np.zeros(num_nodes + 1, np.int64)
    tokens = np.empty((len(run) + 16, 2), np.int32)
    rests = np.empty((len(run) + 16, 2), np.int32)
    middle = np.empty((256, 2), np.int32)
    size = 1024
    table = np.zeros(size, np.int32)
    num_tokens, num_rests, num_middle = 0, 0, 0
    for node in range(num_nodes):
        for r in range(run_begin[node], run_begin[node + 1]):
            if not is_used[node]:
                break
            kind = run[r]
            for way in range(cut_begin[kind], cut_begin[kind + 1]):
                is_whole = way < rest_begin[kind]
                at = run_target[r]
                low = spelt_begin[way] + (1 if is_whole else 0)
                for i in range(spelt_begin[way + 1] - 1, low - 1, -1):
                    token = spelt[i]
                    hashed = (np.uint64(at) * _FACTOR ^ np.uint64(token)) * _FACTOR
                    slot = np.int64((hashed >> np.uint64(20)) & np.uint64(size - 1))
                    while table[slot] != 0:
                        m = table[slot] - 1
                        if middle[m, 0] == token and middle[m, 1] == at:
                            break
                        slot = (slot + 1) & (size - 1)
                    if table[slot] == 0:
                        middle = rows_room(middle, num_middle + 1)
                        middle[num_middle, 0] = token
                        middle[num_middle, 1] = at
                        num_middle += 1
                        table[slot] = num_middle
                        at = num_nodes + num_middle - 1
                        if 2 * num_middle > size:
                            size *= 4
                            table = np.zeros(size, np.int32)
                            for m in range(num_middle):
                                hashed = (np.uint64(middle[m, 1]) * _FACTOR ^ np.uint64(middle[m, 0])) * _FACTOR
                                slot = np.int64((hashed >> np.uint64(20)) & np.uint64(size - 1))
                                while table[slot] != 0:
                                    slot = (slot + 1) & (size - 1)
                                table[slot] = m + 1
                    else:
                        at = num_nodes + table[slot] - 1
                if is_whole:
                    tokens = rows_room(tokens, num_tokens + 1)
                    tokens[num_tokens, 0] = spelt[spelt_begin[way]]
                    tokens[num_tokens, 1] = at
                    num_tokens += 1
                else:
                    rests = rows_room(rests, num_rests + 1)
                    rests[num_rests, 0] = rest_name[way]
                    rests[num_rests, 1] = at
                    num_rests += 1
        token_begin[node + 1] = num_tokens
        out_begin[node + 1] = num_rests
    return token_begin, tokens[:num_tokens].copy(), middle[:num_middle].copy(), out_begin, rests[:num_rests].copy()
