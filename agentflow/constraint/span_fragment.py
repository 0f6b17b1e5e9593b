"""Grounded slots as token automata.

A span that may be any is written in the tokenizer's own tokens, word by word, so a model chooses it instead of spelling
it; where only some spans are allowed (a length, a format), in any tokens, like other strings.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from agentflow.constraint.automaton import NUM_CODES, from_strings
from agentflow.constraint.fragment import NO_EDGES, Exit, Fragment
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.limits import untimed
from agentflow.constraint.pairs import AddedTokens, PairTable, encode_parts
from agentflow.constraint.span_nodes import SpanStates, determinise
from agentflow.constraint.span_strings import Endings, string_nodes
from agentflow.constraint.span_words import word_nodes
from agentflow.constraint.string_kernels import spread_endings
from agentflow.constraint.vocabulary import Vocabulary


def span_fragment(spec: SpanSpec, vocabulary: Vocabulary) -> Fragment:
    """Make the token automaton of a grounded slot.

    Raises:
        UnsupportedSchemaError: It is larger than the limits in force.
    """
    _warm_up()
    return _make(spec, vocabulary)


@lru_cache(maxsize=1)
def _warm_up() -> None:
    """Compile the inner loops, or load them from the cache, so that no time limit counts it."""
    one, none = np.zeros(1, np.int64), np.zeros(0, np.int32)
    table = PairTable(np.zeros(2, np.int32), none, none.astype(np.int64), np.zeros(NUM_CODES, np.int32))
    with untimed():
        encode_parts("a", one, one + 1, table, AddedTokens(()))
        vocabulary = Vocabulary.from_bytes([b"a", None], eos_token_ids=[1])
        for allowed in (None, from_strings(["a"])):
            _make(SpanSpec(("a",), "json", allowed=allowed), vocabulary)


def _make(spec: SpanSpec, vocabulary: Vocabulary) -> Fragment:
    if spec.allowed is None:
        return _pack(determinise(word_nodes(spec.text, spec.style, vocabulary)), ())
    nodes, endings = string_nodes(spec.text, spec.starts, spec.allowed, spec.style, vocabulary)
    states = determinise(nodes)
    return _pack(states, ()) if endings is None else _leave(states, endings, len(vocabulary))


def _pack(states: SpanStates, exits: tuple[Exit, ...]) -> Fragment:
    source, token, target = states.edges
    return Fragment(states.labels, None, (), NO_EDGES, NO_EDGES, NO_EDGES, source, token, target, exits, {})


def _leave(states: SpanStates, endings: Endings, num_tokens: int) -> Fragment:
    """Make edges of the tokens that end the string and go on."""
    edges = spread_endings(states.edges, num_tokens, endings.begin, endings.tokens)
    return _pack(SpanStates(edges, states.labels), endings.exits)
