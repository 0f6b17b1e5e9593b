"""The stand-alone door: one object per schema, for any model that gives log-probabilities."""

from __future__ import annotations

import doctest

import pytest
import torch
from constraint_helpers import WORDS, brute_force, enumerate_paths, make_vocabulary, random_log_probs

from agentflow.constraint import Vocabulary, compile_schema, schema_automaton
from agentflow.errors import ConfigurationError, UnsupportedSchemaError

TINY = Vocabulary.from_bytes([b"[", b"]", b",", b"7", b"8", b"-", None], eos_token_ids=[6])
SCHEMA = {"type": "array", "items": {"enum": [7, 8]}, "maxItems": 2}


def test_the_example_of_the_module_runs():
    """What the docstring shows is what happens."""
    outcome = doctest.testmod(schema_automaton)
    assert outcome.attempted >= 9
    assert outcome.failed == 0


@pytest.mark.parametrize("ids", [[0, 1], [0, 3, 1], [0, 3, 2, 4, 1], [0, 1, 6]])
def test_accepts_valid_outputs(ids):
    """With or without the end token."""
    assert compile_schema(SCHEMA, TINY).accepts(ids)


@pytest.mark.parametrize("ids", [[], [0], [0, 3, 2, 1], [0, 5, 1], [0, 3, 2, 3, 2, 3, 1], [0, 1, 6, 6, 0], [99]])
def test_rejects_others(ids):
    """Incomplete, invalid, too long, and tokens that do not exist; what follows the end does not count."""
    assert compile_schema(SCHEMA, TINY).accepts(ids) == (ids == [0, 1, 6, 6, 0])


def test_allowed_follows_a_prefix_and_a_budget():
    """Without room for another item only the closing bracket is left."""
    automaton = compile_schema(SCHEMA, TINY)
    assert automaton.allowed().nonzero()[:, 0].tolist() == [0]
    assert automaton.allowed([0]).nonzero()[:, 0].tolist() == [1, 3, 4]
    assert automaton.allowed([0, 3], num_tokens_left=2).nonzero()[:, 0].tolist() == [1]
    with pytest.raises(ConfigurationError, match=r"token 5 .* at position 1"):
        automaton.allowed([0, 5])


def test_one_canvas_and_a_batch_give_the_same_figures():
    """``[L, V]`` is ``[B, L, V]`` without the first dimension, and both equal enumeration to 1e-9."""
    automaton = compile_schema(SCHEMA, TINY)
    log_probs = random_log_probs(2, 7, len(TINY), seed=4)
    batch, single = automaton.posterior(log_probs), automaton.posterior(log_probs[1])
    assert batch.log_partition.shape == (2,)
    assert single.log_partition.shape == ()
    for name in ("log_partition", "entropy", "entropies", "is_forced", "tail"):
        assert torch.equal(getattr(batch, name)[1], getattr(single, name))
    assert torch.equal(batch.marginals()[1], single.marginals())
    assert torch.equal(batch.log_marginals()[1], single.log_marginals())
    assert torch.equal(batch.best()[1], single.best())
    drawn = single.sample(generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (7,)
    assert automaton.accepts(automaton.trim(drawn.tolist()))
    log_partition, marginals, best = brute_force(log_probs[1], enumerate_paths(automaton.constraint, 0, 7, 0))
    assert single.log_partition.item() == pytest.approx(log_partition.item(), abs=1e-9)
    assert torch.allclose(single.marginals(), marginals, atol=1e-9, rtol=0)
    assert single.best().tolist() == best.tolist()


def test_a_later_canvas_continues_a_prefix():
    """The state is carried: what two canvases hold together is valid."""
    automaton = compile_schema(SCHEMA, TINY)
    first = automaton.posterior(random_log_probs(1, 2, len(TINY), seed=0)[0], num_tokens_left=6).sample()
    second = automaton.posterior(random_log_probs(1, 6, len(TINY), seed=1)[0], prefix_ids=first.tolist()).best()
    assert automaton.accepts(automaton.trim([*first.tolist(), *second.tolist()]))


def test_marginals_keep_the_precision_they_are_given():
    """Single precision in, single precision out; the sums in between are double."""
    log_probs = random_log_probs(1, 7, len(TINY), seed=4)[0].float()
    marginals = compile_schema(SCHEMA, TINY).posterior(log_probs).marginals()
    assert marginals.dtype == torch.float32
    assert torch.allclose(marginals.sum(-1), torch.ones(7), atol=1e-5)


def test_sizes_and_what_is_left_unchecked():
    """The object says how long outputs are, and what decoding does not hold to."""
    automaton = compile_schema(SCHEMA, TINY)
    assert (automaton.min_tokens, automaton.max_tokens) == (3, 6)
    assert automaton.statistics().num_states > 0
    assert automaton.unchecked == ()
    assert automaton.text_of([0, 3, 2, 4, 1, 6, 0]) == "[7,8]"
    with pytest.raises(UnsupportedSchemaError):
        compile_schema({"type": "array", "uniqueItems": True, "items": {"type": "number"}}, TINY)


def test_a_short_slot_that_many_tokens_leave_compiles() -> None:
    """A slot may have more ways to be left in the middle of a token than states."""
    words = tuple(f"b{rest}" for rest in ('"', '",', '":', '"}', '"]', '","', '":"'))
    schema = {"type": "array", "items": {"type": "string", "pattern": "^[ab]$"}}
    automaton = compile_schema(schema, make_vocabulary((*WORDS, *words)))
    assert automaton.constraint.find_tokens(b'["a","b"]') is not None
    assert automaton.constraint.find_tokens(b'["c"]') is None
