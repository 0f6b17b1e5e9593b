"""What a draft probably copies: the spans of the conversation that its beliefs agree with as a whole.

The beliefs of a denoising step hold for each position by itself. Where a value can stand a token earlier or later, the
best token of every position does not make a value; a span of the conversation that fits nearly as well often does:

    conversation   Work out 371.5 * 22, save the result ...
    best tokens    371.5     22}}}}}
    with copies    371.5 *   22

So positions either are free, at no cost, or go through the conversation token by token. A copy gains `_GAIN` at each of
its positions, loses what its token is believed in less than the best, and pays `_PRICE` where it begins; the best of
all ways to divide the positions is found with one pass over positions and sources (Viterbi). What comes of it is a
draft, which the encoder checks: it changes the number of passes and never what is written.

Sources: the conversation as the draft, arXiv 2304.04487 (LLMA); here the beliefs choose where each span goes, as pair
hidden Markov models align two strings (Durbin et al., Biological Sequence Analysis, 1998, chapter 4).

Shapes: ``L`` positions, ``V`` vocabulary, ``T`` tokens of the conversation.
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from torch import Tensor

from agentflow.constraint.greedy import Favourites

NUM_SOURCES = 1024
"""Tokens at the end of the conversation that are looked at: the time grows with them."""

_GAIN, _PRICE, _WORST = np.float32(2.0), np.float32(5.0), np.float32(-8.0)
"""In nats; `_WORST` is the most that one position loses. With these the embedded model took 2.35 passes a turn, not
2.75, for the suite ``assistant``, and 4.98, not 5.14, or as many as before for conversations with held-out values
or tools. Gains of 1.5 to 3 and prices of 4 to 6 do nearly as well."""

_NUM_KNOWN = 6
"""Tokens before the first position that tell which copy is under way."""


def find_copies(scores: Tensor, source: Sequence[int], known: Sequence[int]) -> Favourites:
    """Give the token that each position copies from the conversation, ``(L,)``; -1 where it copies none.

    Args:
        scores: Beliefs of the positions, up to a constant of each, ``(L, V)`` float32 on the CPU.
        source: Tokens of the conversation; the last `NUM_SOURCES` count.
        known: Tokens before the first position.
    """
    if not source:
        return np.full(len(scores), -1, np.int64)
    ids = np.asarray(source[-NUM_SOURCES:], np.uint32)
    before = np.asarray(known[-_NUM_KNOWN:], np.uint32)
    copies: Favourites = _align(scores.numpy(), scores.numpy().max(axis=-1), ids, before)
    return copies


@njit(cache=True, nogil=True)
def _align(scores: Any, best: Any, source: Any, known: Any) -> Any:
    num_positions, num_sources = len(scores), len(source)
    copied = _continue_known(source, known)  # best way that ends with a copy of each token of the source
    free = np.float32(0.0)  # best way that ends with a free position, or not begun
    is_going_on = np.zeros((num_positions, num_sources), np.bool_)  # a copy, with that of the token before; else begun
    begun_from = np.empty(num_positions, np.int64)  # -1: free, else the source copied before
    gains, following = np.empty_like(copied), np.empty_like(copied)
    for p in range(num_positions):
        top = np.argmax(copied)
        begun_from[p] = top if copied[top] > free else -1
        free = max(copied[top], free)
        for i in range(num_sources):
            gains[i] = max(scores[p, source[i]] - best[p], _WORST) + _GAIN
        _go_on(copied, gains, free - _PRICE, following, is_going_on[p])
        copied, following = following, copied
    copies = np.full(num_positions, -1, np.int64)
    top = np.argmax(copied)
    at = top if copied[top] > free else -1
    for p in range(num_positions - 1, -1, -1):
        if at >= 0:
            copies[p] = source[at]
        at = at - 1 if at >= 0 and is_going_on[p, at] else begun_from[p]
    return copies


@njit(cache=True, nogil=True)
def _go_on(copied: Any, gains: Any, begin: Any, following: Any, is_going_on: Any) -> None:
    """Find the best way to each token's copy at the next position; in a loop of its own that becomes vectors."""
    following[0] = begin + gains[0]
    for i in range(1, len(copied)):
        before = copied[i - 1]
        is_going_on[i] = before > begin
        following[i] = max(begin, before) + gains[i]


@njit(cache=True, nogil=True)
def _continue_known(source: Any, known: Any) -> Any:
    """What copies are worth that end where the positions begin, by their last token, ``(T,)``."""
    worth = np.full(len(source), np.float32(-np.inf))
    for i in range(len(source)):
        num_same = 0
        while num_same < min(len(known), i + 1) and source[i - num_same] == known[len(known) - 1 - num_same]:
            num_same += 1
        if num_same > 0:
            worth[i] = num_same * _GAIN - _PRICE
    return worth
