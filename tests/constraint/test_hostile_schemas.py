"""Schemas that would eat the machine: each ends soon, in a constraint or in a clear error, within the limits set."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from agentflow.constraint import CompileLimits, compile_constraint, json_grammar
from agentflow.errors import InvalidSchemaError, SchemaError, UnsatisfiableSchemaError, UnsupportedSchemaError

LIMITS = CompileLimits(max_states=30_000, timeout_s=0.4)
MAX_SECONDS = 2.5  # of CPU: the limit, steps that are not interrupted, and a slow machine
MAX_BYTES = 100_000_000


def nested(times: int, wrap) -> object:
    """Put a schema into itself many times."""
    schema = {"type": "null"}
    for _ in range(times):
        schema = wrap(schema)
    return schema


def text(pattern: str) -> dict:
    """A string with a pattern."""
    return {"type": "string", "pattern": pattern}


def chain(num: int, link) -> dict:
    """Definitions that each refer to the next one."""
    definitions = {f"a{i}": link({"$ref": f"#/$defs/a{i + 1}"}) for i in range(num)}
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{num}": {"type": "null"}}}


FINE = {
    "nested stars": text("(a*)*b"),
    "many nested stars": text("(a*)*b" * 50),
    "overlapping repetitions": text("(x+x+)+y"),
    "a megabyte of description": {"type": "integer", "description": "x" * 1_000_000},
    "doubling references": chain(60, lambda ref: {"allOf": [ref, ref]}),
    "a very long string": {"type": "string", "maxLength": 10**9},
    "a very large bound": {"type": "number", "minimum": 1e300},
}
LIMITED = {
    "nested repetitions": text("(x{1,10000}){1,10000}"),
    "10,000-fold repetition": text("^a{0,10000}$"),
    "10,000-fold repetition anywhere": text("a{10000}"),
    "a billion": text("a{999999999}"),
    "repetitions of repetitions": text("a" + "{2}" * 40),
    "exponential states": text("(a|b)*a" + "(a|b)" * 25),
    "many alternatives": text("|".join("a" * i + "b" for i in range(1500))),
    "a pattern of a megabyte": text("ab" * 500_000),
    "many character ranges": text("[" + "".join(chr(i) for i in range(0x4E00, 0x9000, 2)) + "]{1,500}"),
    "nested groups": text("(" * 5000 + ")" * 5000),
    "10,000 objects deep": nested(10_000, lambda s: {"type": "object", "properties": {"a": s}}),
    "10,000 choices deep": nested(10_000, lambda s: {"anyOf": [s]}),
    "a megabyte of values": {"enum": [f"{i:07}" * 2 for i in range(60_000)]},
    "a megabyte of properties": {
        "type": "object",
        "properties": {f"name{i}": {"type": "string", "maxLength": 9} for i in range(24_000)},
    },
    "thousands of alternatives": {
        "anyOf": [{"type": "object", "properties": {"k": {"const": i}}, "required": ["k"]} for i in range(9_000)]
    },
    "thousands of exclusive alternatives": {
        "oneOf": [{"type": "object", "properties": {"k": {"const": i}}, "required": ["k"]} for i in range(9_000)]
    },
    "arrays of arrays": chain(30, lambda ref: {"type": "array", "items": ref, "minItems": 9, "maxItems": 9}),
    "a million items": {"type": "array", "minItems": 1_000_000},
    "a string of a billion": {"type": "string", "minLength": 10**9},
    "a large divisor": {"type": "integer", "multipleOf": 999_999_999_937},
}
BROKEN = {
    "itself": ({"$ref": "#"}, "refers to itself"),
    "itself in a circle": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "refers to itself",
    ),
    "itself in allOf": ({"allOf": [{"$ref": "#"}]}, "refers to itself"),
    "itself negated": ({"not": {"$ref": "#"}}, "refers to itself"),
    "unevaluated itself": ({"type": "object", "anyOf": [{"$ref": "#"}], "unevaluatedProperties": False}, "itself"),
    "not a number": ({"enum": [float("nan")]}, "not JSON"),
    "infinity": ({"minimum": float("inf")}, "not JSON"),
    "thousands of digits": ({"minimum": 10**5000}, "not JSON"),
    "a set": ({"enum": {1}}, "not JSON"),
    "half a character": ({"const": "\ud800"}, "not JSON"),
    "a type that is a list of lists": ({"type": [[]]}, "type must be"),
    "a number for a schema": ({"items": 3}, "a schema is an object"),
    "a pointer to nowhere": ({"$ref": "#/~"}, "points nowhere"),
    "a pointer to a number": ({"$ref": "#/$defs/x", "$defs": {"x": 7}}, "cannot be followed"),
    "a negative divisor": ({"multipleOf": -1}, "above 0"),
}


def compile_in_time(schema, vocabulary):
    """Compile within the limits, or raise; either way soon."""
    started = time.thread_time()
    try:
        return compile_constraint(json_grammar(schema, limits=LIMITS), vocabulary)
    finally:
        assert time.thread_time() - started < MAX_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("schema", FINE.values(), ids=FINE)
def test_what_only_looks_hostile_compiles(schema, vocabulary):
    """Automata do not backtrack, references are shared, and what is not read costs nothing."""
    assert compile_in_time(schema, vocabulary).num_states > 1


@pytest.mark.slow
@pytest.mark.parametrize("schema", LIMITED.values(), ids=LIMITED)
def test_what_is_too_large_ends_at_a_limit(schema, vocabulary):
    """The error says which limit, or that the schema nests too deeply, and what to do."""
    with pytest.raises(UnsupportedSchemaError, match=r"more than \d+|longer than|too deeply|branches into") as caught:
        compile_in_time(schema, vocabulary)
    assert caught.value.keyword


@pytest.mark.parametrize(("schema", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_schemas_are_named_as_such(schema, message):
    """Never a `RecursionError`, a `ValueError` or an endless loop."""
    with pytest.raises(InvalidSchemaError, match=message):
        json_grammar(schema, limits=LIMITS)


def test_endless_values_are_no_values():
    """A value that must hold itself does not end, so there is none."""
    with pytest.raises(UnsatisfiableSchemaError):
        json_grammar({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, limits=LIMITS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nested repetitions", "a million items", "many character ranges"])
def test_memory_is_bounded_by_the_states(name, vocabulary):
    """States are what memory is spent on, so their limit bounds it."""
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedSchemaError):
            compile_constraint(json_grammar(LIMITED[name], limits=LIMITS), vocabulary)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("limits", [{"max_states": 50}, {"timeout_s": 1e-9}, {"max_schema_bytes": 10}], ids=str)
def test_the_caller_sets_the_limits(limits, vocabulary):
    """The same harmless schema is refused under limits that are too small for it, by their value."""
    length = 100 + sum(map(ord, str(limits)))  # a pattern that no other test has made an automaton of
    schema = {"type": "array", "items": {"type": "string", "pattern": f"^[a-z]{{3,{length}}}$"}}
    with pytest.raises(SchemaError, match=str(next(iter(limits.values())))):
        compile_constraint(json_grammar(schema, limits=CompileLimits(**limits)), vocabulary)
    compile_constraint(json_grammar(schema), vocabulary)
