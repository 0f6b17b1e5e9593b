"""Greedy decoding under a constraint: at every position the best token that may come, as from left to right.

Without a reference, `decode_greedily` writes the greedy string of independent predictions. With one, it stops at the
first position where it would have written something else, which is how a draft is checked. With favourites it takes
these where they may come, whatever their scores, which is how a draft is helped.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917 - numba compiles functions of positional arrays
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.compiled import Constraint

Favourites: TypeAlias = npt.NDArray[np.int64]
"""A token of each position that is taken where it is allowed, ``(T,)``; -1: none."""

_NO_TOKENS = np.zeros(0, np.int64)
_NO_STOPS = np.zeros(0, np.bool_)


def decode_greedily(
    logits: torch.Tensor,
    constraint: Constraint,
    state: int,
    *,
    num_tokens_left: int,
    reference: Sequence[int] | None = None,
    stops: BoolArray | None = None,
    favourites: Favourites | None = None,
) -> tuple[list[int], int]:
    """Take the best allowed token position by position, until the output ends.

    A token is allowed if the output can still end within the budget after it; among equals the lowest id counts.

    Args:
        logits: Any scores, ``(T, V)`` float32 on the CPU.
        constraint: The automaton.
        state: Its state before the first position.
        num_tokens_left: Tokens that may still be written.
        reference: Stop after the first token that differs from this; at most ``T`` tokens.
        stops: ``(S,)`` bool, stop after the first token that leads to such a state.
        favourites: Tokens that are taken where they are allowed, whatever their scores.

    Returns:
        The tokens, at most ``min(T, num_tokens_left)``, and the state after them.
    """
    order, begin = constraint.tokens_by_atom
    wanted = _NO_TOKENS if reference is None else np.asarray(reference, np.int64)
    num_positions = min(len(logits) if reference is None else len(wanted), num_tokens_left)
    tokens, state = _walk(
        logits.numpy(), constraint.row, constraint.edge_label, constraint.edge_target, constraint.label_begin,
        constraint.label_atoms, order, begin, constraint.distance, constraint.final, state, num_tokens_left,
        num_positions, wanted, _NO_STOPS if stops is None else stops, _NO_TOKENS if favourites is None else favourites,
    )  # fmt: skip
    ids: list[int] = tokens.tolist()
    return ids, int(state)


@njit(cache=True, nogil=True)
def _walk(
    logits: Any, row: Any, edge_label: Any, edge_target: Any, label_begin: Any, label_atoms: Any, order: Any,
    token_begin: Any, distance: Any, final: Any, state: Any, num_left: Any, num_positions: Any, wanted: Any,
    stops: Any, favourites: Any,
) -> Any:  # fmt: skip
    tokens = np.zeros(num_positions, np.int64)
    for i in range(num_positions):
        favourite = favourites[i] if len(favourites) > 0 else -1
        best, best_token, target = -np.inf, -1, -1
        for edge in range(row[state], row[state + 1]):
            if distance[edge_target[edge]] >= num_left - i:
                continue
            label = edge_label[edge]
            for a in range(label_begin[label], label_begin[label + 1]):
                atom = label_atoms[a]
                for t in range(token_begin[atom], token_begin[atom + 1]):
                    token = order[t]
                    value = np.inf if token == favourite else logits[i, token]
                    if best_token < 0 or value > best or (value == best and token < best_token):
                        best, best_token, target = value, token, edge_target[edge]
        if best_token < 0:
            return tokens[:i], state
        tokens[i], state = best_token, target
        if state == final or (len(wanted) > 0 and best_token != wanted[i]) or (len(stops) > 0 and stops[state]):
            return tokens[: i + 1], state
    return tokens, state
