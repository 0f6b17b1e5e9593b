"""The official JSON Schema tests, where the data is there: what compiles, and what is accepted.

`official_exceptions.json` lists every exception by name with its reason; the tests fail when the list is not exact.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jsonschema
import numpy as np
import pytest

from agentflow.constraint import CompileLimits, compile_constraint, json_grammar
from agentflow.constraint.canonical import canonical_run, canonical_text
from agentflow.constraint.graph import concat
from agentflow.constraint.membership import takes
from agentflow.constraint.schema import SchemaTree
from agentflow.constraint.trellis import condition_atoms
from agentflow.errors import SchemaError, UnsatisfiableSchemaError

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"
SUITE = DATA / "json-schema-test-suite"
MASKBENCH = DATA / "maskbench-dev.jsonl"
EXCEPTIONS = json.loads((HERE / "official_exceptions.json").read_text())
LIMITS = CompileLimits(max_states=60_000, timeout_s=10.0)
DIALECTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
SURFACES = {
    "pretty and fenced": {"whitespace": "pretty", "is_fenced": True},
    "spaced": {"whitespace": "spaced"},
    "gemma": {"surface": "gemma"},
}
needs_suite = pytest.mark.skipif(not SUITE.exists(), reason="the JSON Schema Test Suite is not beside the checkout")
needs_maskbench = pytest.mark.skipif(not MASKBENCH.exists(), reason="MaskBench is not beside the checkout")


class Outcome(NamedTuple):
    """What became of the groups of a draft; groups and tests by name."""

    num_groups: int
    not_compiled: dict[str, str]
    valid_rejected: set[str]
    invalid_accepted: set[str]
    num_valid_accepted: int


def groups(draft: str) -> list[tuple[str, dict]]:
    """Give the required groups of a draft."""
    found = []
    for path in sorted((SUITE / draft).glob("*.json")):
        for group in json.loads(path.read_text()):
            if isinstance(group["schema"], dict):
                group["schema"].setdefault("$schema", DIALECTS[draft])
            found.append((path.stem, group))
    return found


def judge(draft: str, vocabulary, *, step: int = 1, surface: str = "json", is_fenced=False, **options) -> Outcome:
    """Compile every `step`-th group and try its instances, written as the surface writes them."""
    not_compiled, rejected, accepted, num_accepted = {}, set(), set(), 0
    chosen = groups(draft)[::step]
    for name, group in chosen:
        group_name, schema = f"{name}: {group['description']}", group["schema"]
        try:
            grammar = json_grammar(schema, limits=LIMITS, surface=surface, is_fenced=is_fenced, **options)
            constraint = compile_constraint(grammar, vocabulary)
        except SchemaError as error:
            if not isinstance(error, UnsatisfiableSchemaError) or any(test["valid"] for test in group["tests"]):
                not_compiled[group_name] = error.message
            continue
        for test in group["tests"]:
            run = canonical_run(test["data"], SchemaTree(schema, unchecked=[]), surface=surface, **options)
            is_accepted = takes(constraint, concat(("```json\n",), run, ("\n```",)) if is_fenced else run)
            num_accepted += is_accepted and test["valid"]
            if is_accepted != test["valid"]:
                (accepted if is_accepted else rejected).add(f"{group_name}: {test['description']}")
    return Outcome(len(chosen), not_compiled, rejected, accepted, num_accepted)


@needs_suite
@pytest.mark.slow
@pytest.mark.parametrize("draft", DIALECTS)
def test_official_suite(draft, vocabulary):
    """No invalid instance is accepted, and every exception is listed by name with its reason."""
    outcome = judge(draft, vocabulary)
    listed = EXCEPTIONS[draft]
    assert outcome.invalid_accepted == set()
    assert outcome.valid_rejected == set(listed["valid rejected"])
    assert set(outcome.not_compiled) == set(listed["not compiled"])
    assert len(outcome.not_compiled) <= 0.1 * outcome.num_groups
    assert outcome.num_valid_accepted >= 30 * len(outcome.valid_rejected)


DEEP = {  # values without a schema are written out on these surfaces, three levels deep
    f"uniqueItems: uniqueItems=false validation: {kind} array of nested objects is valid"
    for kind in ("unique", "non-unique")
}


@needs_suite
@pytest.mark.slow
@pytest.mark.parametrize("options", SURFACES.values(), ids=SURFACES)
def test_official_suite_on_other_surfaces(options, vocabulary):
    """The same grammar tree, printed otherwise, takes the same instances (a sample of the groups)."""
    outcome = judge("draft2020-12", vocabulary, step=6, **options)
    listed = EXCEPTIONS["draft2020-12"]
    assert outcome.invalid_accepted == set()
    assert outcome.valid_rejected <= {*listed["valid rejected"], *DEEP}
    assert set(outcome.not_compiled) <= set(listed["not compiled"])


def test_every_exception_has_a_reason():
    """A name without a reason would be no explanation."""
    for lists in EXCEPTIONS.values():
        for listed in lists.values():
            assert all(len(reason) > 20 for reason in listed.values())


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
