"""Greedy decoding takes what masking and argmax take, position by position."""

import numpy as np
import pytest
import torch

from agentflow.backend.diffusion.untrained import build_tokenizer
from agentflow.constraint import Vocabulary, compile_constraint, json_grammar
from agentflow.constraint.greedy import decode_greedily

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n"]}


@pytest.fixture(scope="module")
def constraint():
    """The automaton of a small object."""
    tokenizer = build_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer, end_ids=frozenset({1}), size=len(tokenizer))
    return compile_constraint(json_grammar(SCHEMA), vocabulary)


def by_masks(logits, constraint, state, num_left):
    """The reference: one mask and one argmax a position."""
    tokens = []
    for row in logits[:num_left]:
        is_allowed = torch.from_numpy(constraint.allowed(state, num_tokens_left=num_left - len(tokens)))
        tokens.append(int(row.masked_fill(~is_allowed, -torch.inf).argmax()))
        state = constraint.advance(state, tokens[-1:])
        if constraint.is_accepting(state):
            break
    return tokens, state


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("num_left", [8, 40])
def test_it_equals_masks_and_argmax(constraint, seed, num_left):
    """Random scores, with ties, give the same string and state, within the budget."""
    logits = torch.randn(30, len(constraint.vocabulary), generator=torch.Generator().manual_seed(seed)).round()

    found = decode_greedily(logits, constraint, constraint.start_state, num_tokens_left=num_left)

    assert found == by_masks(logits, constraint, constraint.start_state, num_left)


def test_it_stops_behind_the_first_difference(constraint):
    """With a reference, the first token that differs is the last one given."""
    logits = torch.randn(30, len(constraint.vocabulary), generator=torch.Generator().manual_seed(1))
    start = constraint.start_state
    tokens, _ = decode_greedily(logits, constraint, start, num_tokens_left=30)
    reference = [*tokens[:3], tokens[3] + 1, *tokens[4:]]

    found, state = decode_greedily(logits, constraint, start, num_tokens_left=30, reference=reference)

    assert found == tokens[:4]
    assert state == constraint.advance(start, found)
    assert decode_greedily(logits, constraint, start, num_tokens_left=30, reference=tokens)[0] == tokens


@pytest.mark.parametrize("seed", range(4))
def test_favourites_are_taken_where_they_are_allowed(constraint, seed):
    """Whatever its score, an allowed favourite comes; one that is not allowed changes nothing."""
    logits = torch.randn(30, len(constraint.vocabulary), generator=torch.Generator().manual_seed(seed))
    favourites = np.random.default_rng(seed).integers(-1, len(constraint.vocabulary), 30)

    tokens, _ = decode_greedily(logits, constraint, constraint.start_state, num_tokens_left=40, favourites=favourites)

    lifted = logits.clone()
    for i, favourite in enumerate(favourites):
        if favourite >= 0:
            lifted[i, favourite] = 1e9
    assert tokens == by_masks(lifted, constraint, constraint.start_state, 40)[0]


def test_impossible_scores_still_give_an_allowed_token(constraint):
    """Where every allowed token has probability 0, one of them comes nevertheless."""
    logits = torch.full((4, len(constraint.vocabulary)), -np.inf)
    tokens, _ = decode_greedily(logits, constraint, constraint.start_state, num_tokens_left=30)
    assert len(tokens) == 4
    constraint.advance(constraint.start_state, tokens)
