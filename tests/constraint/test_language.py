"""Which texts a schema's automaton takes: tables of what must pass and what must fail."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import jsonschema
import numpy as np
import pytest
from constraint_helpers import random_log_probs, spell

from agentflow.constraint import CompileLimits, Grounding, compile_constraint, condition, json_grammar, turn_grammar
from agentflow.constraint.canonical import canonical_text
from agentflow.errors import (
    ConfigurationError,
    InvalidSchemaError,
    SchemaError,
    UnsatisfiableSchemaError,
    UnsupportedSchemaError,
)
from agentflow.types import ToolSpec

OBJECT = {"type": "object", "additionalProperties": False}
TABLE = [
    ({"type": "null"}, ["null"], ["true", "0", '""']),
    ({"type": "boolean"}, ["true", "false"], ["null"]),
    (True, ["1", '"x"', "[]", "{}", '{"a":[1,{"b":null}]}'], ["", "nul", "01"]),
    ({"type": "integer"}, ["0", "-7", "120"], ["1.5", "01", "-0", "1e2"]),
    ({"type": "number"}, ["0", "-7.25", "1e5", "2E-3"], ["+1", ".5", "1."]),
    ({"type": "integer", "minimum": -3, "exclusiveMaximum": 12}, ["-3", "0", "11"], ["-4", "12", "100"]),
    ({"minimum": 0.05, "maximum": 1.5, "type": "number"}, ["0.05", "1", "1.5", "1.500"], ["0.049", "1.51", "-1", "2"]),
    ({"type": "number", "multipleOf": 0.25}, ["0", "1.25", "3", "-0.5"], ["0.3", "1.1"]),
    ({"type": "integer", "multipleOf": 7, "minimum": 10}, ["14", "70"], ["7", "15"]),
    ({"type": "string"}, ['""', '"a"', '"\\n"', '"é😀"', '"a\\"b"'], ["a", '"', '"\n"']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"é😀a"', '"a\\n"'], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^a+$", "maxLength": 3}, ['"a"', '"aaa"'], ['"aaaa"', '""', '"b"']),
    ({"type": "string", "pattern": "b"}, ['"b"', '"abc"'], ['"ac"']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2023-02-29"', '"2024-13-01"']),
    ({"type": "string", "format": "ipv4"}, ['"10.0.0.255"'], ['"10.0.0.256"', '"1.2.3"']),
    ({"type": "string", "format": "uuid"}, ['"01234567-89ab-cdef-0123-456789abcdef"'], ['"01234567"']),
    ({"enum": ["a", 1, None, [1, "x"], {"k": True}]}, ['"a"', "1", "null", '[1,"x"]', '{"k":true}'],
     ['"b"', "[1]", "{}"]),
    ({"const": {"a": [], "b": {}}}, ['{"a":[],"b":{}}'], ['{"a":[]}', "{}"]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, ["[1]", "[1,2]"],
     ["[]", "[1,2,3]"]),
    ({"type": "array", "prefixItems": [{"const": 1}], "items": False}, ["[]", "[1]"], ["[2]", "[1,1]"]),
    ({"type": "array", "contains": {"const": 1}, "items": {"enum": [1, 2]}, "maxContains": 1},
     ["[1]", "[2,1,2]"], ["[]", "[2]", "[1,1]"]),
    ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}, ["[]", "[2,1]"], ["[1,1]"]),
    ({**OBJECT, "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "required": ["b"]},
     ['{"a":1,"b":null}', '{"b":null}'], ["{}", '{"a":1}', '{"b":null,"a":1}', '{"b":null,"c":1}']),
    ({"type": "object", "properties": {"ab": {"type": "integer"}}}, ['{"ab":1}', '{"abc":"x"}', '{"a":1}', "{}"],
     ['{"ab":"x"}', '{"ab":1,"ab":"x"}', '{"":1}']),
    ({**OBJECT, "patternProperties": {"^x": {"type": "integer"}}}, ['{"x1":1,"xy":2}'], ['{"x":"1"}', '{"y":1}']),
    ({"type": "object", "patternProperties": {"^.+$": {"type": "null"}}},  # ECMA-262 and Python differ on a dot and CR
     ['{"x":null}'], ['{"x":1}', r'{"a\rb":1}']),
    ({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "null"}},
     ['{"abc":null}'], ['{"A":null}', '{"abc":1}']),
    ({**OBJECT, "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 1, "maxProperties": 2},
     ['{"a":1}', '{"a":1,"c":2}'], ["{}", '{"a":1,"b":2,"c":3}']),
    ({**OBJECT, "properties": {"a": {"const": 1}, "b": {"const": 2}}, "dependentRequired": {"a": ["b"]}},
     ["{}", '{"b":2}', '{"a":1,"b":2}'], ['{"a":1}']),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, ["3", "5"], ["2", "6"]),
    ({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, ["12", '"a"'], ['"ab"', "null"]),
    ({"oneOf": [{"type": "integer", "multipleOf": 2}, {"type": "integer", "multipleOf": 3}]}, ["2", "3", "4"],
     ["6", "5"]),
    ({"not": {"type": ["string", "object", "array"]}}, ["1", "null", "true"], ['"a"', "{}", "[]"]),
    ({"type": "string", "not": {"pattern": "^a"}}, ['"b"', '""'], ['"ab"']),
    ({"if": {"const": 1}, "then": {"type": "integer"}, "else": {"type": "null"}}, ["1", "null"], ["2", '"x"']),
    ({"$ref": "#/$defs/t", "$defs": {"t": {**OBJECT, "properties": {"n": {"$ref": "#/$defs/t"}}}}},
     ["{}", '{"n":{"n":{}}}'], ['{"n":1}']),
    ({"type": "object", "allOf": [{"properties": {"a": {"type": "null"}}}], "properties": {"b": {"type": "null"}},
      "unevaluatedProperties": False}, ['{"b":null,"a":null}', "{}"], ['{"c":null}', "1"]),
    ({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "null"}}}, ["null"], ["1"]),
    ({"oneOf": [{**OBJECT, "properties": {"k": {"const": "a"}, "v": {"type": "integer"}}, "required": ["k", "v"]},
                {**OBJECT, "properties": {"k": {"type": "string"}, "w": {}}, "required": ["k"]}]},
     ['{"k":"a","v":1}', '{"k":"a"}', '{"k":"zz","w":2}'], ['{"k":"b","v":1}']),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), TABLE, ids=lambda value: json.dumps(value)[:60])
def test_accepts_and_rejects(schema, good, bad, vocabulary):
    """Every text that must pass passes and is written as the canonical writer writes it; every other fails."""
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    for text in good:
        assert constraint.find_tokens(text.encode()) is not None, text
        written = canonical_text(json.loads(text), schema)
        assert constraint.find_tokens(written.encode()) is not None, written
    for text in bad:
        assert constraint.find_tokens(text.encode()) is None, text


@pytest.mark.parametrize(("schema", "good", "bad"), TABLE, ids=lambda value: json.dumps(value)[:60])
def test_random_draws_are_valid(schema, good, bad, vocabulary):
    """Draws and best strings under random logits satisfy an independent validator."""
    del good, bad
    kind = jsonschema.Draft202012Validator
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    for seed in range(3):
        log_probs = random_log_probs(1, 48, len(vocabulary), seed=seed)
        posterior = condition(log_probs, [constraint], [0], num_tokens_left=[0])
        for ids in (posterior.sample()[0].tolist(), posterior.best()[0].tolist()):
            text = spell(ids, vocabulary).removesuffix("<eos>")
            assert validator.is_valid(json.loads(text)), text


@pytest.mark.parametrize(
    ("schema", "kind", "pointer"),
    [
        (
            {"properties": {"a": {"uniqueItems": True, "items": {"type": "string"}}}},
            UnsupportedSchemaError,
            "/properties/a",
        ),
        ({"not": {"unevaluatedProperties": False}}, UnsupportedSchemaError, "/not"),
        ({"type": "string", "pattern": "(a)\\1"}, UnsupportedSchemaError, ""),
        ({"$ref": "http://example.com/other.json"}, UnsupportedSchemaError, ""),
        ({"$ref": "#/nowhere"}, InvalidSchemaError, ""),
        ({"type": "text"}, InvalidSchemaError, ""),
        ({"properties": {"a": 3}}, InvalidSchemaError, "/properties/a"),
        ({"minLength": -1}, InvalidSchemaError, ""),
        ({"$ref": "#"}, InvalidSchemaError, ""),
        ([], InvalidSchemaError, ""),
        (False, UnsatisfiableSchemaError, ""),
        ({"type": "integer", "minimum": 3, "maximum": 2}, UnsatisfiableSchemaError, ""),
        ({"type": "object", "required": ["a"], "properties": {"a": False}}, UnsatisfiableSchemaError, ""),
    ],
    ids=str,
)
def test_refusals_name_the_place(schema, kind, pointer):
    """What cannot be expressed is refused with its kind and JSON pointer; nothing is ignored."""
    with pytest.raises(SchemaError) as caught:
        json_grammar(schema)
    assert type(caught.value) is kind
    assert caught.value.pointer == pointer


def test_unsupported_keywords_can_be_left_to_a_check():
    """With on_unsupported="check" the grammar lists what has to be checked after decoding."""
    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    assert json_grammar(schema, on_unsupported="check").unchecked == (("uniqueItems", ""),)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "(a*)*b" * 50},
        {"type": "string", "pattern": "(a{1000}){1000}"},
        {"type": "string", "pattern": "a" + "{2}" * 40},
        {"type": "integer", "multipleOf": 999_999_999_937},
        {
            "allOf": [
                {"anyOf": [{"required": [f"a{i}", f"b{j}"], "maxProperties": j} for j in range(6)]} for i in range(9)
            ]
        },
    ],
    ids=lambda schema: json.dumps(schema)[:50],
)
def test_hostile_schemas_end_within_limits(schema, vocabulary):
    """Hostile schemas compile or end in an error that names a keyword, under limits that the caller sets."""
    limits = CompileLimits(max_states=20_000, timeout_s=5.0)
    with suppress(UnsupportedSchemaError):
        compile_constraint(json_grammar(schema, limits=limits), vocabulary)
    with pytest.raises(UnsupportedSchemaError, match="limit is 100"):
        json_grammar({**schema, "description": "x" * 200}, limits=CompileLimits(max_schema_bytes=100))


def test_a_comma_after_a_digit_stays_inside_free_text(vocabulary):
    """A token such as ``1,`` ends a number, but in the call syntax it is ordinary text of a string."""
    token = vocabulary.encode("1,")
    assert len(token) == 1
    turn = compile_constraint(turn_grammar(tools=[TOOL]), vocabulary)
    assert turn.accepts([*token, vocabulary.control_ids["<turn|>"]])
    pair = compile_constraint(json_grammar({"type": "array", "items": {"type": "integer"}}), vocabulary)
    assert pair.accepts([*b"[", *token, *b"2]", vocabulary.control_ids["<eos>"]])


def test_strict_objects_are_closed(vocabulary):
    """is_strict closes objects that declare properties and say nothing about others."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    constraint = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    assert constraint.find_tokens(b'{"a":1}') is not None
    assert constraint.find_tokens(b'{"b":1}') is None


@pytest.mark.parametrize("whitespace", ["compact", "spaced", "pretty"])
def test_layouts_are_what_json_dumps_writes(whitespace, vocabulary):
    """The three layouts equal those of Python's json module, fenced or not."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "b": {"type": "object"}},
    }
    value = {"a": [1, 2], "b": {"x": {"y": None}, "z": []}}
    options = {"compact": {"separators": (",", ":")}, "spaced": {}, "pretty": {"indent": 2}}[whitespace]
    text = json.dumps(value, **options)
    constraint = compile_constraint(json_grammar(schema, whitespace=whitespace), vocabulary)
    assert constraint.find_tokens(text.encode()) is not None
    fenced = compile_constraint(json_grammar(schema, whitespace=whitespace, is_fenced=True), vocabulary)
    assert fenced.find_tokens(f"```json\n{text}\n```".encode()) is not None


# ---------------------------------------------------------------- turns

TOOL = ToolSpec(
    "find",
    "",
    {"type": "object", "properties": {"name": {"type": "string"}, "Limit": {"type": "integer"}}, "required": ["name"]},
)
PING = ToolSpec("ping", "", {"type": "object", "properties": {}})


def ids_of(text: str, vocabulary) -> list[int]:
    """Cut a turn into control tokens and, between them, the canonical tokens of the text."""
    ids: list[int] = []
    rest = text
    while rest:
        hits = [(rest.find(c), c) for c in vocabulary.control_ids if c in rest]
        at, control = min(hits) if hits else (len(rest), "")
        if at:
            ids += vocabulary.encode(rest[:at])
        if control:
            ids.append(vocabulary.control_ids[control])
        rest = rest[at + len(control) :]
    return ids


CALL = '<|tool_call>call:find{Limit:3,name:<|"|>a b<|"|>}<tool_call|>'
TURNS = [
    ({}, ["Hello.<turn|>", CALL + "<|tool_response>", CALL + "<|tool_call>call:ping{}<tool_call|><|tool_response>"],
     ["<turn|>", CALL + "<turn|>", "Hello." + CALL + "<|tool_response>"]),
    ({"tool_choice": "none"}, ["Hello.<turn|>"], [CALL + "<|tool_response>"]),
    ({"tool_choice": "required"}, [CALL + "<|tool_response>"], ["Hello.<turn|>"]),
    ({"tool_choice": "ping"}, ["<|tool_call>call:ping{}<tool_call|><|tool_response>"], [CALL + "<|tool_response>"]),
    ({"is_parallel": False}, [CALL + "<|tool_response>"], [CALL + CALL + "<|tool_response>"]),
    ({"output_schema": {"type": "integer"}}, ["12<turn|>", CALL + "<|tool_response>"], ["Hello.<turn|>"]),
    ({"has_thought": True}, ["Hi<turn|>", "<|channel>thought\nhm\n<channel|>Hi<turn|>"],
     ["<|channel>thought\nhm<turn|>"]),
    ({"has_preamble": True}, ["Hello." + CALL + "<|tool_response>", CALL + "<|tool_response>"], []),
]  # fmt: skip


@pytest.mark.parametrize(("options", "good", "bad"), TURNS, ids=str)
def test_turns(options, good, bad, vocabulary):
    """A turn is text, JSON or calls, as tool_choice and the other options say, with its end token."""
    constraint = compile_constraint(turn_grammar(tools=[TOOL, PING], **options), vocabulary)
    for text in good:
        assert constraint.accepts(ids_of(text, vocabulary)), text
    for text in bad:
        assert not constraint.accepts(ids_of(text, vocabulary)), text


def test_unknown_tool_choice_names_the_tools():
    """The error lists the tools there are."""
    with pytest.raises(ConfigurationError, match="'find', 'ping'"):
        turn_grammar(tools=[TOOL, PING], tool_choice="pong")


def test_after_the_end_any_token_is_taken(vocabulary):
    """The final state absorbs every token."""
    constraint = compile_constraint(turn_grammar(tools=[PING], tool_choice="ping"), vocabulary)
    ids = ids_of("<|tool_call>call:ping{}<tool_call|><|tool_response>", vocabulary)
    state = constraint.advance(constraint.start_state, ids)
    assert constraint.is_accepting(state)
    assert constraint.allowed(state).all()
    assert constraint.advance(state, range(len(vocabulary))) == state


def test_a_wrong_token_is_named(vocabulary):
    """Advance says which token, where."""
    constraint = compile_constraint(json_grammar({"type": "null"}), vocabulary)
    with pytest.raises(ValueError, match="position 0"):
        constraint.advance(0, [ord("x")])


def test_literals_have_one_cut_and_slots_all(vocabulary):
    """A key is written in its canonical tokens alone; free text may be cut anywhere."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    constraint = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    key, end = vocabulary.encode('{"city":"'), [*vocabulary.encode('"}'), vocabulary.control_ids["<eos>"]]
    for value in (vocabulary.encode("Paris"), tuple(b"Paris"), (*vocabulary.encode("Par"), *vocabulary.encode("is"))):
        assert constraint.accepts([*key, *value, *end])
    assert not constraint.accepts([*b'{"city":"', *vocabulary.encode("Paris"), *end])


# ---------------------------------------------------------------- grounding


def values_of(constraint, vocabulary, num_draws: int = 40) -> set[str]:
    """Draw argument strings."""
    seen = set()
    for seed in range(num_draws):
        log_probs = random_log_probs(1, 40, len(vocabulary), seed=seed)
        ids = condition(log_probs, [constraint], [0], num_tokens_left=[0]).sample()[0].tolist()
        seen.add(spell(ids, vocabulary))
    return seen


def test_grounded_strings_are_spans_and_numbers_occur(vocabulary):
    """Every string is a word-aligned span of one line, every number stands in the texts."""
    text = "Book Paris to Rome for 1,200 or -3.5,\nnot later"
    spec = ToolSpec("f", "", {
        "type": "object", "required": ["a", "n"],
        "properties": {"a": {"type": "string"}, "n": {"type": "number"}, "e": {"enum": ["x"]}},
    })  # fmt: skip
    grammar = turn_grammar(tools=[spec], tool_choice="f", is_parallel=False, grounding=Grounding((text,)))
    for turn in values_of(compile_constraint(grammar, vocabulary), vocabulary):
        value = turn.split('a:<|"|>')[1].split('<|"|>')[0]
        assert any(value in line for line in text.splitlines()), turn
        assert value == value.strip()
        assert not value[:1].isspace()
        number = turn.split(",n:")[1].split("}")[0]
        assert number in ("1200", "-3.5"), turn


def test_grounded_json_strings_are_escaped(vocabulary):
    """On the JSON surface a span with quotes is written with escapes."""
    grammar = json_grammar({"type": "string"}, grounding=Grounding(('say "hi" now',)))
    constraint = compile_constraint(grammar, vocabulary)
    assert constraint.find_tokens(json.dumps('say "hi" now').encode()) is not None
    assert constraint.find_tokens(b'"hi"') is not None
    assert constraint.find_tokens(b'"h"') is None


def test_schema_opts_out_of_grounding(vocabulary):
    """``x-grounded: false`` keeps a slot free; so do texts without a span."""
    free = json_grammar({"type": "string", "x-grounded": False}, grounding=Grounding(("Paris",)))
    assert compile_constraint(free, vocabulary).find_tokens(b'"zz"') is not None
    blank = json_grammar({"type": "string"}, grounding=Grounding((" \n",)))
    assert compile_constraint(blank, vocabulary).find_tokens(b'"zz"') is not None


def test_every_word_range_is_a_span(vocabulary):
    """Each range of words of a line is accepted, and no other string of its words."""
    line = "a b a c"
    constraint = compile_constraint(json_grammar({"type": "string"}, grounding=Grounding((line,))), vocabulary)
    words = line.split()
    spans = {" ".join(words[i:j]) for i in range(4) for j in range(i + 1, 5)}
    generator = random.Random(0)  # noqa: S311 - not for secrets
    for _ in range(200):
        text = " ".join(generator.choices("abc", k=generator.randrange(1, 5)))
        assert (constraint.find_tokens(json.dumps(text).encode()) is not None) == (text in spans)


def test_statistics_count_tokens(vocabulary):
    """Fewest and most tokens of a bounded schema; None where there is no bound."""
    bounded = compile_constraint(json_grammar({"enum": ["a", "Paris"]}), vocabulary).statistics()
    assert (bounded.min_tokens, bounded.max_tokens) == (4, 4)
    assert compile_constraint(json_grammar({"type": "string"}), vocabulary).statistics().max_tokens is None


def test_equal_grammars_compile_once(vocabulary):
    """The cache returns the same object."""
    schema = {"type": "array", "items": {"type": "boolean"}}
    first = compile_constraint(json_grammar(schema), vocabulary)
    assert compile_constraint(json_grammar(dict(schema)), vocabulary) is first


def test_allowed_agrees_with_advance(vocabulary):
    """The mask holds exactly the tokens that advance takes."""
    constraint = compile_constraint(
        json_grammar({"type": "array", "items": {"type": "string", "maxLength": 3}}), vocabulary
    )
    generator = np.random.default_rng(0)
    state = 0
    for _ in range(12):
        mask = constraint.allowed(state)
        for token in generator.integers(0, len(vocabulary), 40).tolist():
            assert mask[token] == (constraint._step(state, token) >= 0)
        state = constraint.advance(state, [int(generator.choice(mask.nonzero()[0]))])
