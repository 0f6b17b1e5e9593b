"""How far the reading of a schema reaches: free values, undeclared names, mutual recursion, options that differ."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from constraint_helpers import random_log_probs, spell

from agentflow.constraint import compile_constraint, condition, json_grammar
from agentflow.constraint.canonical import canonical_text
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.free import DEEPEST, Kind, allot_depths, containers
from agentflow.constraint.strings import ALL
from agentflow.errors import UnsupportedSchemaError

NODES = {f"n{i}": {"type": "object", "properties": {f"{k}{i}": {"$ref": f"#/$defs/n{k}"} for k in range(12)}}
         for i in range(12)}  # fmt: skip
OPTIONS = [
    {"properties": {"kind": {"enum": [kind]}, "body": {"type": "object", "properties": {
        f"{kind}{i}": {"type": "string", "maxLength": i} for i in range(30)}}}}
    for kind in ("a", "b", "c")
]  # fmt: skip
ONE_KEY = {
    "type": "object", "additionalProperties": False, "properties": {f"k{i}": {} for i in range(12)},
    "oneOf": [{"properties": {f"k{i}": {"type": "integer"}}, "required": [f"k{i}"]} for i in range(12)],
}  # fmt: skip
SOME_A = {"not": {"patternProperties": {"a": {"not": {"type": "string"}}}}}
SOME_B = {"not": {"patternProperties": {"b": {"not": {"type": "integer"}}}}}
CLOSED = {"type": "object", "additionalProperties": False}
STEP_OR_STAGE = {"oneOf": [
    {**CLOSED, "properties": {name: {"type": "integer"}}} for name in ("step", "stage", "parallel")
]}  # fmt: skip
TABLE = [
    ({"type": "object", "minProperties": 3}, ['{"a":1,"b":2,"c":3}', '{"c":1,"b":2,"a":3,"a":4}'],
     ["{}", '{"a":1,"b":2}', '{"a":1,"a":2,"a":3}', '{"a":1,"b":2,"a":3}']),
    ({"type": "object", "propertyNames": {"pattern": "^x"}, "minProperties": 2}, ['{"xa":1,"xb":2}'],
     ['{"xa":1}', '{"xa":1,"xa":2}']),
    ({"type": "object", "allOf": [SOME_A, SOME_B]}, ['{"a":"x","b":1}', '{"c":null,"a":"x","b":1}'],
     ['{"a":"x"}', '{"b":1}', '{"a":"x","b":1,"a":2}', "{}"]),
    (STEP_OR_STAGE, ['{"step":1}', '{"stage":1}', '{"parallel":1}'], ["{}", '{"step":1,"stage":1}']),
    ({"type": "object", "required": ["kind", "body"], "oneOf": OPTIONS},
     ['{"kind":"a","body":{}}', '{"kind":"b","body":{"b3":"xyz","a0":[]}}'], ['{"kind":"b","body":{"b3":"long"}}']),
    (ONE_KEY, ['{"k3":1}', '{"k3":1,"k4":"x"}'], ["{}", '{"k3":1,"k4":2}', '{"k3":"x"}']),
]  # fmt: skip


def takes(schema, text, vocabulary) -> bool:
    """Say whether the schema's automaton takes a text."""
    return compile_constraint(json_grammar(schema), vocabulary).find_tokens(text.encode()) is not None


@pytest.mark.slow
@pytest.mark.parametrize(("schema", "good", "bad"), TABLE)
def test_what_reaches_further_is_still_exact(schema, good, bad, vocabulary):
    """Valid texts pass, invalid ones do not, and the judge finds nothing wrong with random draws."""
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    assert all(constraint.find_tokens(text.encode()) is not None for text in good)
    assert not any(constraint.find_tokens(text.encode()) is not None for text in bad)
    validator = jsonschema.Draft202012Validator(schema)
    log_probs = random_log_probs(5, 80, len(vocabulary), seed=3)
    posterior = condition(log_probs, [constraint] * 5, [0] * 5, num_tokens_left=[0] * 5)
    for ids in posterior.sample().tolist():
        validator.validate(json.loads(spell(ids, vocabulary).removesuffix("<eos>")))


def test_many_names_can_be_demanded_where_few_classes_are_left(vocabulary):
    """Names that begin alike are told apart by their last character; without any difference nothing is written."""
    schema = {**CLOSED, "patternProperties": {"^key[ab]$": {"type": "null"}}, "minProperties": 2}
    assert takes(schema, '{"keya":null,"keyb":null}', vocabulary)
    assert takes(schema, '{"keyb":null,"keya":null}', vocabulary)
    assert not takes(schema, '{"keya":null,"keya":null}', vocabulary)


def test_too_many_slots_at_one_place_are_refused(vocabulary):
    """More sets than a state's label has bits end in a refusal, not in an overflow."""
    names = [f"^{chr(97 + i % 26)}{i}" for i in range(40)]
    schema = {**CLOSED, "patternProperties": {name: {"const": i} for i, name in enumerate(names)}}
    with pytest.raises(UnsupportedSchemaError):
        compile_constraint(json_grammar(schema), vocabulary)


@pytest.mark.slow
def test_schemas_that_contain_each_other_in_many_ways_are_cut_off(vocabulary):
    """Twelve schemas, each of which has all of them as properties, compile: the deepest values are left out."""
    grammar = json_grammar({"$ref": "#/$defs/n0", "$defs": NODES})
    constraint = compile_constraint(grammar, vocabulary)
    assert grammar.is_cut
    assert constraint.find_tokens(b'{"00":{"30":{}}}') is not None
    assert constraint.find_tokens(b'{"00":1}') is None


@pytest.mark.slow
def test_a_reference_is_the_schema_it_refers_to(vocabulary):
    """A schema that refers to itself in many places recurs as often as one that does so once."""
    once = {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
    twice = {**once, "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#/properties/c"}, "c": {"$ref": "#"}}}
    assert takes(once, '{"a":{"a":{"a":{}}}}', vocabulary)
    assert json_grammar(twice).num_nodes < 2_000
    assert takes(twice, '{"a":{"b":{"c":{}}}}', vocabulary)


@pytest.mark.slow
def test_free_values_are_deep_where_there_are_few(vocabulary):
    """One free value may be seven brackets deep; arrays stand right in arrays in the first three alone."""
    assert takes({}, '{"a":[{"b":{"c":[{"d":[1]}]}}]}', vocabulary)
    assert takes({}, "[[[1]]]", vocabulary)
    assert not takes({}, '[[{"a":[[1]]}]]', vocabulary)
    assert not takes({}, "[[[[1]]]]", vocabulary)
    assert takes({}, '{"a":' * 7 + "1" + "}" * 7, vocabulary)
    assert not takes({}, '{"a":' * 8 + "1" + "}" * 8, vocabulary)
    aside = {"type": "object", "properties": {"known": {"type": "null"}}}
    assert takes(aside, '{"a":[{"b":1}]}', vocabulary)
    assert takes({**CLOSED, "properties": {"any": {}, "more": aside}}, '{"any":{"a":[{"b":{"c":[1]}}]}}', vocabulary)


@pytest.mark.slow
def test_deep_numbers_are_written_without_exponents(vocabulary):
    """Within more than two brackets numbers are plain decimals, of the same values."""
    assert takes({}, '{"a":[-1.5e-7,0.25,0]}', vocabulary)
    assert takes({}, '{"a":[[-1.5,0.25,10]]}', vocabulary)
    assert not takes({}, '{"a":[[1e5]]}', vocabulary)
    assert not takes({}, '{"a":[[01]]}', vocabulary)


def test_the_deeper_the_free_values_the_fewer_there_are():
    """Depth falls with the number of places, first where no keyword speaks of them."""
    declared, aside = Kind(is_aside=False, nesting=1), Kind(is_aside=True, nesting=1)
    assert allot_depths({declared: 1}, 10) == {declared: DEEPEST}
    assert allot_depths({aside: 1}, 10) == {aside: 3}
    shares = [allot_depths({declared: n, aside: n}, 10) for n in (1, 5, 20, 60, 100, 1000)]
    assert [share[declared] for share in shares] == sorted((share[declared] for share in shares), reverse=True)
    assert all(share[aside] <= share[declared] for share in shares)
    assert allot_depths({declared: 1000, aside: 1000}, 10) == {declared: 0, aside: 0}


def test_a_lone_place_is_deeper_than_many_places_far_inside():
    """Where a place adds little to what is there, it gets depth that would be dear for the many."""
    near, far = Kind(is_aside=True, nesting=1), Kind(is_aside=True, nesting=3)
    depths = allot_depths({near: 1, far: 20}, 1_000)
    assert depths[near] > 3 >= depths[far] >= 2


def test_the_automaton_of_a_depth_is_the_beginning_of_a_deeper_one():
    """States within at most so many brackets come first, and lead to each other alike."""
    whole = containers(DEEPEST, ", ", ": ")
    for depth in range(1, DEEPEST):
        part = containers(depth, ", ", ": ")
        assert part.depths.max() == depth
        num = part.num_states
        assert (np.where(whole.table[:num] < num, whole.table[:num], -1) == part.table).all()
        assert part.accepts("[" + '{"a": ' * (depth - 1) + "true" + "}" * (depth - 1) + "]")
        assert not part.accepts("[" + '{"a": ' * depth + "true" + "}" * depth + "]")


def test_free_values_are_json_of_all_kinds():
    """What the automaton takes is an array or object that a parser reads; what it does not take is not."""
    values = containers(DEEPEST, ",", ":")
    good = (
        "[]", "{}", '[{"a":[true,false,null]},-0.5e+10,"\\n\\"x"]', '{"":[[1],[]],"b":[{}],"c":{}}',
        '[[[{"a":[1]}]]]', '{"é":["🦄"]}',
    )  # fmt: skip
    for text in good:
        json.loads(text)
        assert values.accepts(text)
    for text in ("", "1", "[", "[1,]", "[,1]", '{"a"}', '{"a":1,}', "{1:2}", "[01]", "[1.]", "[nul]", "[]]", '["\n"]'):
        assert not values.accepts(text)


def test_a_long_string_may_have_many_tokens():
    """A bound of tens of thousands of characters leaves room for a thousand tokens of up to 32 characters."""
    slot = SlotSpec(ALL.dfa, 0, 32_767, "json")
    assert slot.unit == 32
    assert slot.maximum // slot.unit >= 1_000
    assert SlotSpec(ALL.dfa, 0, 256, "json").unit == 1


def test_an_instance_is_written_as_the_alternative_it_belongs_to(vocabulary):
    """Where alternatives give a property different schemas, its own are put in order by the one that holds."""
    inner = {**CLOSED, "properties": {"x": {}, "a": {}}}
    other = {**CLOSED, "properties": {"a": {}, "y": {}, "x": {}}}
    schema = {"anyOf": [
        {**CLOSED, "properties": {"t": {"const": 1}, "v": inner}},
        {**CLOSED, "properties": {"t": {"const": 2}, "v": other}},
    ]}  # fmt: skip
    first = canonical_text({"v": {"a": 1, "x": 2}, "t": 1}, schema)
    second = canonical_text({"v": {"x": 1, "a": 2}, "t": 2}, schema)
    assert (first, second) == ('{"t":1,"v":{"x":2,"a":1}}', '{"t":2,"v":{"a":2,"x":1}}')
    assert takes(schema, first, vocabulary)
    assert takes(schema, second, vocabulary)
