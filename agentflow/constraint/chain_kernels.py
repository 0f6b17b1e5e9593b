"""Compiled inner loops over states and edges alone: merging equal states, and what a schema forces."""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917 - numba compiles functions of positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.kernels import mix


@njit(cache=True, nogil=True)
def refine(key: Any, row: Any, edge_label: Any, edge_target: Any) -> Any:
    """Hash each state's key with the labels and keys that follow it.

    Args:
        key: ``(S,)`` uint64; equal keys are one block.
        row: ``(S + 1,)``, where the edges of each state begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.

    Returns:
        ``(S,)`` uint64, keys of blocks that are as fine or finer.
    """
    finer = np.empty_like(key)
    for s in range(len(key)):
        total = np.uint64(0)
        for e in range(row[s], row[s + 1]):
            total += mix(key[edge_target[e]], np.uint64(edge_label[e]))
        finer[s] = mix(key[s], total)
    return finer


@njit(cache=True, nogil=True)
def forced_tokens(
    row: Any, edge_label: Any, edge_target: Any, label_token: Any, distance: Any, start: Any, num_positions: Any,
    num_tokens_left: Any,
) -> Any:  # fmt: skip
    """Walk all paths that can end in time, and say at which positions they agree on one token.

    Returns:
        ``(L,)`` bool.
    """
    num_states = len(distance)
    is_here = np.zeros(num_states, np.bool_)
    is_here[start] = True
    forced = np.zeros(num_positions, np.bool_)
    for i in range(num_positions):
        is_next = np.zeros(num_states, np.bool_)
        limit = num_positions - i - 1 + num_tokens_left
        token = -2
        for s in range(num_states):
            if not is_here[s]:
                continue
            for e in range(row[s], row[s + 1]):
                t = edge_target[e]
                mine = label_token[edge_label[e]]
                if mine == -2 or distance[t] > limit:  # noqa: PLR2004 - no token
                    continue
                is_next[t] = True
                if token == -2:  # noqa: PLR2004
                    token = mine
                elif token != mine:
                    token = -1
        forced[i] = token >= 0
        is_here = is_next
    return forced
