"""The official JSON Schema tests and real schemas with instances, where the data is there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from agentflow.constraint import CompileLimits, compile_constraint, json_grammar
from agentflow.constraint.canonical import canonical_text
from agentflow.constraint.trellis import condition_atoms
from agentflow.errors import SchemaError

DATA = Path(__file__).parents[3] / "shared" / "data"
SUITE = DATA / "json-schema-test-suite"
MASKBENCH = DATA / "maskbench-dev.jsonl"
LIMITS = CompileLimits(max_states=60_000, timeout_s=10.0)
needs_suite = pytest.mark.skipif(not SUITE.exists(), reason="the JSON Schema Test Suite is not beside the checkout")
needs_maskbench = pytest.mark.skipif(not MASKBENCH.exists(), reason="MaskBench is not beside the checkout")


def groups(draft: str) -> list[tuple[str, dict]]:
    """Give the required groups of a draft."""
    dialect = {"draft2020-12": "https://json-schema.org/draft/2020-12/schema", "draft7": "http://json-schema.org/draft-07/schema#"}[draft]  # fmt: skip  # noqa: E501
    found = []
    for path in sorted((SUITE / draft).glob("*.json")):
        for group in json.loads(path.read_text()):
            if isinstance(group["schema"], dict):
                group["schema"].setdefault("$schema", dialect)
            found.append((path.stem, group))
    return found


@needs_suite
@pytest.mark.slow
@pytest.mark.parametrize("draft", ["draft2020-12", "draft7"])
def test_official_suite(draft, vocabulary):
    """At least three quarters of the groups compile, and no invalid instance of these is accepted."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for name, group in groups(draft):
        try:
            constraint = compile_constraint(json_grammar(group["schema"], limits=LIMITS), vocabulary)
        except SchemaError as error:
            is_empty = type(error).__name__ == "UnsatisfiableSchemaError" and not any(
                t["valid"] for t in group["tests"]
            )
            outcomes["compiled" if is_empty else "refused"] += 1
            continue
        outcomes["compiled"] += 1
        for test in group["tests"]:
            text = canonical_text(test["data"], group["schema"])
            is_accepted = constraint.find_tokens(text.encode()) is not None
            outcomes[f"{'valid' if test['valid'] else 'invalid'} {'accepted' if is_accepted else 'rejected'}"] += 1
            if is_accepted and not test["valid"]:
                wrong.append((name, group["description"], test["description"]))
    print(draft, dict(outcomes))  # noqa: T201 - shown with -s
    assert wrong == []
    assert outcomes["compiled"] >= 0.75 * (outcomes["compiled"] + outcomes["refused"])
    assert outcomes["valid accepted"] >= 0.9 * (outcomes["valid accepted"] + outcomes["valid rejected"])


@needs_maskbench
@pytest.mark.slow
def test_real_schemas(vocabulary):
    """A sample of real schemas: no invalid instance accepted, no invalid draw, few valid ones left out."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for line in MASKBENCH.read_text().splitlines()[::60]:
        entry = json.loads(line)
        try:
            constraint = compile_constraint(json_grammar(entry["schema"], limits=LIMITS), vocabulary)
        except SchemaError:
            outcomes["refused"] += 1
            continue
        outcomes["compiled"] += 1
        for test in entry["tests"]:
            is_accepted = constraint.find_tokens(canonical_text(test["data"], entry["schema"]).encode()) is not None
            outcomes[f"{'valid' if test['valid'] else 'invalid'} {'accepted' if is_accepted else 'rejected'}"] += 1
            if is_accepted and not test["valid"]:
                wrong.append(entry["id"])
        if not is_draw_valid(constraint, entry["schema"]):
            wrong.append(entry["id"])
    assert wrong == []
    assert outcomes["compiled"] >= 0.9 * (outcomes["compiled"] + outcomes["refused"])
    assert outcomes["valid accepted"] >= 0.95 * (outcomes["valid accepted"] + outcomes["valid rejected"])


def is_draw_valid(constraint, schema) -> bool:
    """Draw one output under random sums and ask the independent validator."""
    generator = np.random.default_rng(0)
    log_sum = generator.normal(0.0, 4.0, (max(64, constraint.min_tokens + 8), constraint.num_atoms))
    ids = condition_atoms(log_sum, constraint).draw_ids(generator)
    spelt = b""
    for token in ids:
        if token in constraint.vocabulary.end_ids:
            break
        spelt += constraint.vocabulary.token_bytes[token] or b""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER).is_valid(json.loads(spelt))
