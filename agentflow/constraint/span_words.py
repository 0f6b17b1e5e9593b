"""Any span of a text, written in the tokenizer's own tokens, word by word.

A span is a part of one chunk, or the end of a chunk, whole chunks, and the beginning of a chunk. Each of these pieces
is spelt in its canonical tokens; behind each chunk that a span may run through lies a joint:

    start --"Pa" "ris"--> joint --" to"--> joint --" Ro" "me"--> joint
"""

from __future__ import annotations

import numpy as np

from agentflow.constraint.limits import num_states_left, spend
from agentflow.constraint.span_nodes import SpanNodes
from agentflow.constraint.span_text import Places, SpanText
from agentflow.constraint.surface_bytes import Style
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.constraint.word_kernels import ENDS, STARTS, cut_pieces, link_pieces, number_nodes

_START = np.zeros(1, np.int64)


def word_nodes(text: SpanText, style: Style, vocabulary: Vocabulary) -> SpanNodes:
    """Give the automaton of all spans.

    Equal pieces to the same joint share their nodes; the nodes before a joint come in a row, then the joint.
    """
    source, low, high, target = _cut(text)
    spelt = text.spell(style)
    parts = vocabulary.encode_parts(spelt.text, spelt.places[low], spelt.places[high])
    pieces = np.stack([source, parts.begin, parts.size, target])
    joint_node, nodes = np.empty(len(text.chunks.end) + 1, np.int64), np.empty((2, len(low)), np.int64)
    num = number_nodes(pieces, parts.tokens, joint_node, nodes)
    spend(num)
    is_end = np.zeros(num, bool)
    is_end[joint_node] = np.append(text.is_end[text.chunks.end], True)
    begin, edges = link_pieces(pieces, parts.tokens, joint_node, nodes, num)
    return SpanNodes(_START, begin, edges, is_end)


def _cut(text: SpanText) -> Places:
    """Cut spans at white space; see `agentflow.constraint.word_kernels.cut_pieces`."""
    marks = np.zeros(len(text.codes) + 1, np.uint8)
    marks[text.starts] = STARTS
    marks[text.ends[~text.is_space[text.ends]]] |= ENDS
    num, pieces = cut_pieces(np.stack(text.chunks), marks, num_states_left())
    if num > pieces.shape[1]:
        spend(num)
    found: Places = pieces
    return found
