"""Random schemas over all keywords: what is drawn is valid, and what is accepted is valid.

The generator is that of `benchmarks/fuzz.py`, which makes 100,000 draws of the same kind.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from constraint_helpers import brute_force, enumerate_paths, random_log_probs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agentflow.constraint import Vocabulary, compile_constraint, condition, json_grammar
from agentflow.constraint.canonical import canonical_text
from agentflow.errors import SchemaError

_SPEC = importlib.util.spec_from_file_location("fuzz", Path(__file__).parents[2] / "benchmarks" / "fuzz.py")
fuzz = importlib.util.module_from_spec(_SPEC)
sys.modules["fuzz"] = fuzz
_SPEC.loader.exec_module(fuzz)

VOCABULARY = fuzz.make_vocabulary()
TINY = Vocabulary(
    [b'"', b"a", b"b", b'a"', b"1", b"2", b"-", b",", b"[", b"]", b"[]", b'{"a":', b"}", b"{}", b"null", b"true",
     b"a:", b"{", *[None] * 6],
    {18, 23},
    {name: 18 + i for i, name in enumerate(
        ("<eos>", "<|tool_call>", "<tool_call|>", '<|"|>', "<pad>", "<|tool_response>"))},
)  # fmt: skip


def quiet(max_examples: int) -> settings:
    """The same examples every time, however slow the machine is."""
    return settings(max_examples=max_examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


seeds = st.integers(0, 2**32)


def make_schema(seed: int) -> dict:
    """Make a document from a seed."""
    return fuzz.SchemaMaker(Random(seed)).make()  # noqa: S311 - not for secrets


@pytest.mark.slow
@quiet(40)
@given(seed=seeds, surface=st.sampled_from(fuzz.SURFACES))
def test_draws_are_valid(seed, surface):
    """Under random logits, flat and peaked, every draw and every best string satisfies the independent judge."""
    schema = make_schema(seed)
    try:
        constraint = compile_constraint(surface.write(schema), VOCABULARY)
    except SchemaError:
        assume(False)
    assume(constraint.min_tokens + 4 <= fuzz.MAX_TOKENS)
    for ids in fuzz.draw(constraint, 8, torch.Generator().manual_seed(seed)):
        text = surface.read(ids, VOCABULARY)
        assert fuzz.find_problem(text, schema) is None, text


VALUES = st.recursive(
    st.sampled_from(fuzz.VALUES) | st.sampled_from([7, 14, 0.25, -3, "aa", "abc", "12-3", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*fuzz.NAMES, "zz"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.slow
@quiet(60)
@given(seed=seeds, values=st.lists(VALUES, min_size=8, max_size=24))
def test_accepted_values_are_valid(seed, values):
    """No invalid value is accepted, whatever the schema."""
    schema = make_schema(seed)
    try:
        constraint = compile_constraint(json_grammar(schema, limits=fuzz.LIMITS), VOCABULARY)
    except SchemaError:
        assume(False)
    for value in values:
        if constraint.find_tokens(canonical_text(value, schema).encode()) is not None:
            assert fuzz.find_problem(json.dumps(value), schema) is None, value


TINY_SCHEMAS = st.recursive(
    st.sampled_from([
        {"type": "null"}, {"enum": ["a", "ab", 12]}, {"type": "integer", "minimum": -2, "maximum": 21},
        {"type": "string", "maxLength": 2}, {"type": "string", "pattern": "^a+$"}, {"const": True},
    ]),
    lambda inner: st.builds(lambda item, n: {"type": "array", "items": item, "maxItems": n}, inner, st.integers(0, 2))
    | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner)
    | st.builds(lambda v: {"type": "object", "properties": {"a": v}, "additionalProperties": False}, inner),
    max_leaves=3,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("surface", ["json", "gemma"])
@quiet(12)
@given(schema=TINY_SCHEMAS, seed=st.integers(0, 1000), left=st.integers(0, 2))
def test_random_schemas_agree_with_brute_force(surface, schema, seed, left):
    """Partition, marginals, entropies and best string equal enumeration to 1e-9, on both surfaces."""
    grammar = json_grammar(schema, surface=surface)
    constraint = compile_constraint(grammar, TINY)
    length = max(2, constraint.min_tokens + 1 - left)
    assume(length <= 5)
    log_probs = random_log_probs(1, length, len(TINY), seed=seed)
    paths = enumerate_paths(constraint, 0, length, left)
    assume(0 < len(paths) < 60_000)
    log_partition, marginals, best = brute_force(log_probs[0], paths)
    posterior = condition(log_probs, [constraint], [0], num_tokens_left=[left])
    assert posterior.log_partition[0] == pytest.approx(log_partition.item(), abs=1e-9)
    assert torch.allclose(posterior.log_marginals().exp()[0], marginals, atol=1e-9, rtol=0)
    entropies = -(marginals * marginals.clamp_min(1e-300).log()).sum(-1)
    assert torch.allclose(posterior.entropies[0], entropies, atol=1e-9, rtol=0)
    assert posterior.best()[0].tolist() == best.tolist()
