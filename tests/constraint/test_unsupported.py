"""What a grammar cannot hold to: refused with keyword and place, or left to a check after decoding."""

from __future__ import annotations

import json

import jsonschema
import pytest
from constraint_helpers import random_log_probs, spell

from agentflow.constraint import compile_constraint, condition, json_grammar
from agentflow.constraint.judge import find_problem
from agentflow.errors import InvalidSchemaError, UnsatisfiableSchemaError, UnsupportedSchemaError

TEXTS = {"type": "array", "items": {"type": "string", "maxLength": 3}}
UNIQUE = {**TEXTS, "uniqueItems": True}
OVERLAPPING = {"type": "object", "patternProperties": {f"a{{{i}}}": {"enum": [i]} for i in range(1, 60)}}
BRANCHING = {
    "type": "object",
    "allOf": [{"anyOf": [{"properties": {f"a{j}": {"const": i}}} for i in range(6)]} for j in range(6)],
}
REFUSED = {
    "unique": (UNIQUE, "uniqueItems", ""),
    "inner": ({"properties": {"a": {"anyOf": [{"type": "null"}, UNIQUE]}}}, "uniqueItems", "/properties/a/anyOf/1"),
    "pattern": ({"type": "array", "items": {"type": "string", "pattern": r"^(a)\1$"}}, "pattern", "/items"),
    "divisor": ({"type": "integer", "multipleOf": 999_983}, "multipleOf", ""),
    "count": ({"type": "object", "minProperties": 30}, "minProperties", ""),
    "patterns": (OVERLAPPING, "patternProperties", ""),
    "branches": (BRANCHING, "allOf", ""),
    "negation": ({"not": {"required": ["a"], "unevaluatedProperties": False}}, "unevaluatedProperties", "/not"),
}


@pytest.mark.parametrize(("schema", "keyword", "pointer"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_expressed_is_refused_or_left_to_a_check(schema, keyword, pointer):
    """By default the error names keyword and place; with ``"check"`` the same place is listed."""
    with pytest.raises(UnsupportedSchemaError) as caught:
        json_grammar(schema)
    assert caught.value.keyword == keyword
    grammar = json_grammar(schema, on_unsupported="check")
    assert keyword in dict(grammar.unchecked)
    assert any(place.startswith(pointer) for _, place in grammar.unchecked)


def test_a_grammar_that_leaves_a_keyword_out_takes_every_valid_value(vocabulary):
    """What is left to the check is wider than the schema, never narrower."""
    cases = {
        "unique": ['["a","b"]', '["a","a"]'],
        "count": ['{"a":1,"b":2,"c":3}'],
        "divisor": ["999983", "1"],
        "pattern": ['["aa","b"]'],
        "patterns": ['{"aa":2,"x":null}'],
    }
    for name, texts in cases.items():
        constraint = compile_constraint(json_grammar(REFUSED[name][0], on_unsupported="check"), vocabulary)
        for text in texts:
            assert constraint.find_tokens(text.encode()) is not None, (name, text)


def test_everything_else_is_still_held_to(vocabulary):
    """Leaving uniqueItems to the check does not loosen the items."""
    schema = {**TEXTS, "uniqueItems": True, "minItems": 1}
    constraint = compile_constraint(json_grammar(schema, on_unsupported="check"), vocabulary)
    for seed in range(5):
        log_probs = random_log_probs(1, 24, len(vocabulary), seed=seed)
        ids = condition(log_probs, [constraint], [0], num_tokens_left=[0]).sample()[0].tolist()
        value = json.loads(spell(ids, vocabulary).removesuffix("<eos>"))
        assert jsonschema.Draft202012Validator({**TEXTS, "minItems": 1}).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"$ref": "http://example.com/other.json"}, UnsupportedSchemaError),
        ({"type": "text"}, InvalidSchemaError),
        (False, UnsatisfiableSchemaError),
    ],
    ids=str,
)
def test_what_no_check_could_mend_is_refused_all_the_same(schema, kind):
    """A reference out of the document could not be checked either, and a broken schema stays one."""
    with pytest.raises(kind):
        json_grammar(schema, on_unsupported="check")


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        (["a", "a"], {"uniqueItems": True}, "has non-unique elements (at $)"),
        ({"a": "x"}, {"properties": {"a": {"format": "date"}}}, "'x' is not a 'date' (at $.a)"),
        ({"a": 3}, {"properties": {"a": {"multipleOf": 3}}}, None),
        (1, False, "False schema does not allow 1 (at $)"),
        ("a" * 5000, {"maxLength": 3}, " ... "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_judge_says_what_is_wrong_where(value, schema, problem):
    """Formats are checked; long values are cut in the message."""
    found = find_problem(value, schema)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert problem in found
        assert len(found) < 600


@pytest.mark.parametrize("schema", [{"pattern": "("}, {"$ref": "http://example.com/other.json"}], ids=str)
def test_the_judge_refuses_what_it_cannot_read(schema):
    """A schema that the validator cannot work with is the caller's mistake, not the value's."""
    with pytest.raises(InvalidSchemaError, match="cannot be checked"):
        find_problem("x", schema)
