"""Grounded slots as token automata.

A span that may be any is written in the tokenizer's own tokens, word by word, so a model chooses it instead of spelling
it; where only some spans are allowed (a length, a format), in any tokens, like other strings.
"""

from __future__ import annotations

import numpy as np

from agentflow.constraint.fragment import NO_EDGES, Exit, Fragment
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.span_nodes import SpanStates, determinise
from agentflow.constraint.span_strings import Endings, string_nodes
from agentflow.constraint.span_text import expand_ranges
from agentflow.constraint.span_words import word_nodes
from agentflow.constraint.vocabulary import Vocabulary


def span_fragment(spec: SpanSpec, vocabulary: Vocabulary) -> Fragment:
    """Make the token automaton of a grounded slot.

    Raises:
        UnsupportedSchemaError: It is larger than the limits in force.
    """
    if spec.allowed is None:
        return _pack(determinise(word_nodes(spec.text, spec.style, vocabulary)), ())
    nodes, endings = string_nodes(spec.text, spec.starts, spec.allowed, spec.style, vocabulary)
    states = determinise(nodes)
    return _pack(states, ()) if endings is None else _leave(states, endings, len(vocabulary))


def _pack(states: SpanStates, exits: tuple[Exit, ...]) -> Fragment:
    return Fragment(states.labels, None, (), NO_EDGES, NO_EDGES, NO_EDGES, *states.edges, exits, {})


def _leave(states: SpanStates, endings: Endings, num_tokens: int) -> Fragment:
    """Make edges of the tokens that end the string and go on."""
    source, symbol, target = states.edges
    is_exit = symbol >= num_tokens
    body = symbol[is_exit] - num_tokens
    part, which = expand_ranges(endings.begin[body], endings.begin[body + 1])
    source = np.append(source[~is_exit], source[is_exit][part])
    order = np.argsort(source, kind="stable")
    token = np.append(symbol[~is_exit], endings.token[which])
    target = np.append(target[~is_exit], -2 - endings.code[which])
    edges = np.stack([source, token, target])[:, order].astype(np.int32)
    return _pack(SpanStates(edges, states.labels), endings.exits)
