"""The posterior against brute force, and its behaviour at the edges of arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from constraint_helpers import brute_force, enumerate_paths, random_log_probs, spell

from agentflow.constraint import (
    Grounding,
    Vocabulary,
    chain,
    check_budget,
    compile_constraint,
    condition,
    json_grammar,
    turn_grammar,
)
from agentflow.constraint.messages import ScaledMessages, run_scaled
from agentflow.errors import ConfigurationError, SchemaBudgetError
from agentflow.types import ToolSpec

TINY = Vocabulary(
    [
        b'"',
        b"a",
        b"b",
        b"ab",
        b'","',
        b'["',
        b'"]',
        b"[]",
        b"1",
        b"2",
        b"-",
        b",",
        b"true",
        b"]",
        b"[",
        b'a"',
        None,
        None,
    ],
    {16},
    {"<eos>": 16, '<|"|>': 17},
)
SCHEMAS = (
    {"type": "string"},
    {"type": "string", "maxLength": 2},
    {"enum": ["a", "ab", "b"]},
    {"type": "array", "items": {"type": "string", "pattern": "^a+$"}},
    {"type": "integer", "minimum": -2, "maximum": 21},
    {"anyOf": [{"type": "string"}, {"const": True}, {"enum": ["ab", 1]}]},
    {"type": "array", "items": {"enum": [1, 2, 12]}, "uniqueItems": True},
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize(("length", "left"), [(4, 0), (4, 2), (3, 9)])
def test_agrees_with_brute_force(schema, length, left):
    """Partition, marginals, entropies and best string equal enumeration to 1e-9."""
    constraint = compile_constraint(json_grammar(schema), TINY)
    log_probs = random_log_probs(1, length, len(TINY), seed=length + left)
    paths = enumerate_paths(constraint, 0, length, left)
    log_partition, marginals, best = brute_force(log_probs[0], paths)
    posterior = condition(log_probs, [constraint], [0], num_tokens_left=[left])
    assert posterior.log_partition[0] == pytest.approx(log_partition.item(), abs=1e-9)
    assert torch.allclose(posterior.log_marginals().exp()[0], marginals, atol=1e-9, rtol=0)
    entropies = -(marginals * marginals.clamp_min(1e-300).log()).sum(-1)
    assert torch.allclose(posterior.entropies[0], entropies, atol=1e-9, rtol=0)
    assert posterior.best()[0].tolist() == best.tolist()


def test_samples_have_the_joint_frequencies():
    """20,000 draws fall on strings as often as enumeration says (largest deviation below 5 standard errors)."""
    constraint = compile_constraint(json_grammar({"enum": ["a", "ab", "b"]}), TINY)
    log_probs = random_log_probs(1, 4, len(TINY), seed=3, scale=1.0)
    paths = enumerate_paths(constraint, 0, 4, 0)
    scores = torch.stack([log_probs[0, torch.arange(4), torch.tensor(path)].sum() for path in paths]).softmax(0)
    posterior = condition(log_probs, [constraint], [0], num_tokens_left=[0])
    generator = torch.Generator().manual_seed(0)
    num_draws = 2_000
    counts = dict.fromkeys(paths, 0)
    for _ in range(num_draws):
        counts[tuple(posterior.sample(generator)[0].tolist())] += 1
    for path, probability in zip(paths, scores.tolist(), strict=True):
        error = math.sqrt(probability * (1 - probability) / num_draws)
        assert abs(counts[path] / num_draws - probability) < 5 * error + 1e-9


def test_entropy_of_a_literal_is_zero_where_its_place_is_known():
    """Forced tokens cost nothing; the position of a free slot does."""
    constraint = compile_constraint(json_grammar({"enum": ["ab"]}), TINY)
    posterior = condition(random_log_probs(1, 6, len(TINY), seed=0), [constraint], [0], num_tokens_left=[0])
    assert posterior.is_forced[0].tolist() == [True, True, True, True, False, False]
    assert posterior.entropies[0, :4].tolist() == [0.0] * 4
    assert posterior.tail[0].tolist() == pytest.approx([0, 0, 0, 0, 1, 1])


def test_rows_with_different_constraints_do_not_touch_each_other():
    """A batch gives what its rows give alone."""
    constraints = [compile_constraint(json_grammar(schema), TINY) for schema in SCHEMAS[:4]]
    log_probs = random_log_probs(4, 6, len(TINY), seed=1)
    batch = condition(log_probs, constraints, [0] * 4, num_tokens_left=[0, 1, 2, 3])
    for b, constraint in enumerate(constraints):
        alone = condition(log_probs[b : b + 1], [constraint], [0], num_tokens_left=[b])
        assert torch.equal(alone.entropies[0], batch.entropies[b])
        assert torch.equal(alone.log_partition[0], batch.log_partition[b])


def test_extreme_logits_stay_finite(vocabulary):
    """A model that puts all its mass on forbidden tokens, at 1e-4000 and below, is conditioned without underflow."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"enum": ["x", "y"]}},
        "required": ["a", "b"],
    }
    constraint = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    logits = random_log_probs(1, 200, len(vocabulary), seed=5, scale=20.0)
    logits[:, :, vocabulary.control_ids["<|turn>"]] += 20_000.0
    log_probs = logits.log_softmax(-1).float()
    posterior = condition(log_probs, [constraint], [0], num_tokens_left=[0])
    assert torch.isfinite(posterior.log_partition).all()
    assert posterior.log_partition[0] < -100_000
    assert torch.isfinite(posterior.entropies).all()
    assert constraint.is_accepting(constraint.advance(0, posterior.sample()[0].tolist()))
    assert constraint.is_accepting(constraint.advance(0, posterior.best()[0].tolist()))


def test_long_uncertain_canvas_matches_exact_logarithms(vocabulary):
    """With uniform tokens, Z is the number of strings over V**L: counted by exact integers for an enumeration."""
    constraint = compile_constraint(json_grammar({"enum": ["a", "b"]}), vocabulary)
    num_tokens, length = len(vocabulary), 256
    log_probs = torch.full((1, length, num_tokens), -math.log(num_tokens), dtype=torch.float64)
    posterior = condition(log_probs, [constraint], [0], num_tokens_left=[0])
    # two strings of 4 tokens: quote, letter, quote, end; the tail is free
    assert posterior.log_partition[0] == pytest.approx(math.log(2) - 4 * math.log(num_tokens), abs=1e-9)


def test_strings_stay_filled_when_the_model_knows_the_answer(vocabulary):
    """No collapse to the shortest string: a model that is 90 % sure of each token gets its answer back."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    constraint = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    text = '{"city":"Paris to Rome"}'
    answer = [*(constraint.find_tokens(text.encode()) or ()), vocabulary.control_ids["<eos>"]]
    length = 32
    probs = torch.full((1, length, len(vocabulary)), 0.1 / (len(vocabulary) - 1))
    for i in range(length):
        probs[0, i, answer[i] if i < len(answer) else 0] = 0.9
    posterior = condition(probs.log(), [constraint], [0], num_tokens_left=[0])
    assert spell(posterior.best()[0].tolist(), vocabulary) == text + "<eos>"


def test_state_is_carried_over_canvases_and_closes_in_time(vocabulary):
    """A value drafted on three canvases of 8 is one valid value."""
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 2}
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    state, ids = 0, []
    for left in (16, 8, 0):
        log_probs = random_log_probs(1, 8, len(vocabulary), seed=left)
        drawn = condition(log_probs, [constraint], [state], num_tokens_left=[left]).sample()[0].tolist()
        state = constraint.advance(state, drawn)
        ids += drawn
    assert constraint.is_accepting(state)
    assert constraint.accepts(ids)


def test_budget_is_checked_before_the_first_step(vocabulary):
    """A schema that cannot fit is an error that says how many tokens it needs."""
    constraint = compile_constraint(json_grammar({"enum": ["a long constant"]}), vocabulary)
    with pytest.raises(SchemaBudgetError) as caught:
        check_budget(constraint, constraint.start_state, 5)
    assert caught.value.num_tokens_needed == constraint.min_tokens
    with pytest.raises(SchemaBudgetError):
        condition(random_log_probs(1, 4, len(vocabulary), seed=0), [constraint], [0], num_tokens_left=[0])


def test_wrong_shapes_are_named():
    """The error says what arrived and what is wanted."""
    constraint = compile_constraint(json_grammar({"type": "string"}), TINY)
    with pytest.raises(ConfigurationError, match="vocabulary 18"):
        condition(random_log_probs(1, 4, 7, seed=0), [constraint], [0], num_tokens_left=[0])
    with pytest.raises(ConfigurationError, match="as many constraints"):
        condition(random_log_probs(2, 4, 18, seed=0), [constraint], [0], num_tokens_left=[0])


@pytest.mark.parametrize("scale", [3.0, 40.0, 400.0])
def test_plain_and_scaled_sums_agree(vocabulary, scale):
    """The two ways to the messages give the same posterior to 1e-9, where both can be gone and where one gives way."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    log_probs = random_log_probs(1, 40, len(vocabulary), seed=3, scale=scale)
    row = condition(log_probs, [constraint], [0], num_tokens_left=[0])._rows[0]
    scaled = run_scaled(row.messages.sums, row.chain, row.messages.start, 0)
    assert isinstance(row.messages, ScaledMessages) == (row.log_partition < -575)
    assert row.log_partition == pytest.approx(scaled.log_partition, rel=1e-12)
    here, there = row.marginals, scaled.marginals(constraint.atom_size)
    for log_weight, other in [(here.log_weight, there.log_weight), (there.log_weight, here.log_weight)]:
        share = np.exp(log_weight + row.messages.sums.log_sum)
        assert np.allclose(share, np.exp(other + row.messages.sums.log_sum), atol=1e-9, rtol=0)
    assert np.allclose(here.entropies, there.entropies, atol=1e-9, rtol=0)
    assert np.allclose(here.tail, there.tail, atol=1e-9, rtol=0)


def test_a_text_that_ends_early_is_summed_to_its_end_only(vocabulary):
    """Positions behind a sure end cost nothing, and leave nothing out: the scaled sums over all of them agree."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    text = b'{"city":"Paris"}'
    answer = [*(constraint.find_tokens(text) or ()), vocabulary.control_ids["<eos>"]]
    pad = vocabulary.control_ids["<|turn>"]
    log_probs = torch.full((1, 128, len(vocabulary)), math.log(1e-3 / (len(vocabulary) - 1)), dtype=torch.float64)
    for i in range(128):
        log_probs[0, i, answer[i] if i < len(answer) else pad] = math.log(0.999)
    row = condition(log_probs, [constraint], [0], num_tokens_left=[0])._rows[0]
    scaled = run_scaled(row.messages.sums, row.chain, row.messages.start, 0)
    is_tail = np.arange(row.chain.num_states) == row.chain.final
    assert not row.messages.after[64:, row.chain.layout.place[~is_tail]].any()
    assert row.log_partition == pytest.approx(scaled.log_partition, abs=1e-12)
    assert np.allclose(row.marginals.entropies, scaled.marginals(constraint.atom_size).entropies, atol=1e-9, rtol=0)


def test_probabilities_that_sum_to_more_than_one_are_refused(vocabulary):
    """Logits in place of log-probabilities are a mistake with a cure."""
    constraint = compile_constraint(json_grammar({"type": "string"}), vocabulary)
    with pytest.raises(ConfigurationError, match="sum to"):
        condition(torch.zeros(1, 4, len(vocabulary)), [constraint], [0], num_tokens_left=[0])


def test_equal_states_are_merged_and_nothing_changes(vocabulary, monkeypatch):
    """Merging states that go on alike leaves every figure as it was."""
    schema = {"anyOf": [{"enum": ["abcx", "abdx"]}, {"type": "array", "items": {"enum": ["abcx", "abdx"]}}]}
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    log_probs = random_log_probs(1, 24, len(vocabulary), seed=1)
    plain = condition(log_probs, [constraint], [0], num_tokens_left=[3])
    monkeypatch.setattr(chain, "_MIN_EDGES_TO_MERGE", 0)
    del vars(constraint)["chain"]
    merged = condition(log_probs, [constraint], [0], num_tokens_left=[3])
    assert merged._rows[0].chain.num_states <= plain._rows[0].chain.num_states
    assert merged.log_partition[0] == pytest.approx(plain.log_partition[0].item(), abs=1e-12)
    assert torch.allclose(merged.entropies, plain.entropies, atol=1e-12, rtol=0)
    assert torch.equal(merged.best(), plain.best())
    assert torch.equal(merged.is_forced, plain.is_forced)


def test_grounded_calls_agree_with_brute_force(vocabulary):
    """Grounded slots are part of the same exact posterior."""
    tool = ToolSpec("f", "", {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    grammar = turn_grammar(tools=[tool], tool_choice="f", is_parallel=False, grounding=Grounding(("Paris to Rome",)))
    constraint = compile_constraint(grammar, vocabulary)
    length = constraint.min_tokens + 2
    log_probs = random_log_probs(1, length, len(vocabulary), seed=2)
    tail = torch.zeros(len(vocabulary), dtype=torch.bool)
    del tail
    posterior = condition(log_probs, [constraint], [0], num_tokens_left=[0])
    seen = {spell(posterior.sample(torch.Generator().manual_seed(i))[0].tolist(), vocabulary) for i in range(30)}
    values = {s.split('<|"|>')[1] for s in seen}
    assert values <= {"Paris", "Rome", "to", "Paris to", "to Rome", "Paris to Rome"}
    assert len(values) > 1
