"""Grounded slots as token automata.

A span that may be any is written in the tokenizer's own tokens, word by word, so a model chooses it instead of spelling
it; where only some spans are allowed (a length, a format), in any tokens, like other strings.
"""

from __future__ import annotations

import numpy as np

from agentflow.constraint.fragment import NO_EDGES, Fragment
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.span_nodes import determinise
from agentflow.constraint.span_words import word_nodes
from agentflow.constraint.vocabulary import Vocabulary


def span_fragment(spec: SpanSpec, vocabulary: Vocabulary) -> Fragment:
    """Make the token automaton of a grounded slot."""
    states = determinise(word_nodes(spec.text, spec.style, vocabulary))
    source, token, target = (part.astype(np.int32) for part in (states.source, states.symbol, states.target))
    labels = states.is_end.astype(np.int32)
    return Fragment(labels, None, (), NO_EDGES, NO_EDGES, NO_EDGES, source, token, target, (), {})
