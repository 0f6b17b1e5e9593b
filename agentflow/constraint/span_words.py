"""Any span of a text, written in the tokenizer's own tokens, word by word.

A span is a part of one chunk, or the end of a chunk, whole chunks, and the beginning of a chunk. Each of these pieces
is spelt in its canonical tokens; behind each chunk that a span may run through lies a joint:

    start --"Pa" "ris"--> joint --" to"--> joint --" Ro" "me"--> joint
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np

from agentflow.constraint.limits import spend
from agentflow.constraint.span_nodes import SpanNodes
from agentflow.constraint.span_text import Places, SpanText, expand_ranges
from agentflow.constraint.surface_bytes import Style
from agentflow.constraint.vocabulary import Vocabulary

_BEFORE = -1
"""The start, among the joints."""


class _Paths(NamedTuple):
    """Pieces of a text that lead from one joint to another.

    Attributes:
        source: ``(P,)`` joint, or `_BEFORE`.
        low: ``(P,)`` place at which the piece begins.
        high: ``(P,)`` place at which it ends.
        target: ``(P,)`` joint, or the number of joints where the span ends within a chunk.
    """

    source: Places
    low: Places
    high: Places
    target: Places


class _Words(NamedTuple):
    """The pieces in tokens.

    Attributes:
        of_path: ``(P,)`` the word of each path.
        begin: ``(W,)``, where the tokens of each word begin in `flat`.
        size: ``(W,)`` number of its tokens.
        flat: ``(T,)`` the tokens.
    """

    of_path: Places
    begin: Places
    size: Places
    flat: Places


def word_nodes(text: SpanText, style: Style, vocabulary: Vocabulary) -> SpanNodes:
    """Give the automaton of all spans.

    Equal pieces to the same joint share their nodes; the nodes before a joint come in a row, then the joint.
    """
    paths = _paths(text)
    words = _spell(text, paths, style, vocabulary)
    num_joints, num_words = len(text.chunks.begin), len(words.size)
    tails, tail_of = np.unique(paths.target * num_words + words.of_path, return_inverse=True)
    target, word = tails // num_words, tails % num_words
    inner = words.size[word] - 1  # nodes within each tail
    before = np.cumsum(inner) - inner
    joint_node = 1 + np.arange(num_joints + 1) + np.bincount(target, inner, num_joints + 1).astype(np.int64).cumsum()
    first_node = 1 + target + before
    spend(int(joint_node[-1]))
    heads = np.unique((paths.source + 1) * len(tails) + tail_of)
    source, head = heads // len(tails), heads % len(tails)
    tail, place = expand_ranges(np.zeros(len(tails), np.int64), inner)
    node = first_node[tail] + place
    is_last = place == inner[tail] - 1
    sources = np.concatenate([np.append(0, joint_node)[source], node])
    symbols = np.concatenate([words.flat[words.begin[word[head]]], words.flat[words.begin[word[tail]] + 1 + place]])
    targets = np.concatenate(
        [np.where(inner[head] > 0, first_node[head], joint_node[target[head]]),
         np.where(is_last, joint_node[target[tail]], node + 1)]
    )  # fmt: skip
    order = np.argsort(sources, kind="stable")
    is_end = np.zeros(joint_node[-1] + 1, np.bool_)
    is_end[joint_node] = np.append(text.is_end[text.chunks.end], True)
    begin = np.zeros(len(is_end) + 1, np.int64)
    np.cumsum(np.bincount(sources, minlength=len(is_end)), out=begin[1:])
    return SpanNodes(begin, symbols[order], targets[order], is_end)


def _paths(text: SpanText) -> _Paths:
    """Cut spans at white space."""
    begin, end, is_first = text.chunks
    starts, ends = text.starts, text.ends
    chunk_at = np.zeros(len(text.codes) + 1, np.int64)
    chunk_at[begin] = 1
    chunk_at = np.cumsum(chunk_at) - 1
    inner = ends[~text.is_space[ends]]  # those within a chunk
    num_inner = np.zeros(len(text.codes) + 2, np.int64)
    num_inner[inner + 1] = 1
    num_inner = np.cumsum(num_inner)  # before each place
    of_start, of_inner = chunk_at[starts], chunk_at[inner]
    part, which = expand_ranges(num_inner[starts + 1], num_inner[end[of_start]])
    later = np.flatnonzero(~is_first)
    cut = np.flatnonzero(~is_first[of_inner])
    within = len(begin)
    source = [np.full(len(starts) + len(part), _BEFORE), later - 1, of_inner[cut] - 1]
    low = [starts, starts[part], end[later - 1], end[of_inner[cut] - 1]]
    high = [end[of_start], inner[which], end[later], inner[cut]]
    target = [of_start, np.full(len(part), within), later, np.full(len(cut), within)]
    return _Paths(*(np.concatenate(parts) for parts in (source, low, high, target)))


def _spell(text: SpanText, paths: _Paths, style: Style, vocabulary: Vocabulary) -> _Words:
    """Cut each distinct piece into tokens."""
    spelt = text.spell(style)
    numbers: dict[str, int] = {}
    number, line = numbers.setdefault, spelt.text
    low, high = spelt.places[paths.low].tolist(), spelt.places[paths.high].tolist()
    of_path = [number(line[a:b], len(numbers)) for a, b in zip(low, high, strict=True)]
    tokens = vocabulary.encode_all(numbers)
    size = np.fromiter(map(len, tokens), np.int64, len(tokens))
    begin = np.cumsum(size) - size
    flat = np.fromiter(chain.from_iterable(tokens), np.int64, int(size.sum()))
    return _Words(np.array(of_path, np.int64), begin, size, flat)
