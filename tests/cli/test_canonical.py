"""The canonical form of a value."""

import pytest

from agentflow.cli.canonical import canonical_json

PERSON = {"properties": {"name": {}, "age": {}}}


@pytest.mark.parametrize(
    ("value", "schema", "text"),
    [
        ({"age": 3, "name": "Ö"}, PERSON, '{"name":"Ö","age":3}'),
        ({"extra": 1, "age": 3}, PERSON, '{"age":3,"extra":1}'),
        ([{"age": 3, "name": "a"}], {"items": PERSON}, '[{"name":"a","age":3}]'),
        ([1, {"age": 3, "name": "a"}], {"prefixItems": [{}, PERSON]}, '[1,{"name":"a","age":3}]'),
        ({"age": 3, "name": "a"}, {"$ref": "#/$defs/p", "$defs": {"p": PERSON}}, '{"name":"a","age":3}'),
        ({"age": 3, "name": "a"}, {"anyOf": [{"type": "null"}, PERSON]}, '{"name":"a","age":3}'),
        ({"k": {"age": 3, "name": "a"}}, {"additionalProperties": PERSON}, '{"k":{"name":"a","age":3}}'),
        ({"b": 1, "a": 2}, True, '{"b":1,"a":2}'),
        ({"b": 1, "a": 2}, {"$ref": "#/nowhere"}, '{"b":1,"a":2}'),
    ],
)
def test_keys_stand_in_the_order_of_the_schema(value, schema, text):
    """Keys follow the schema wherever it speaks, and keep their own order elsewhere."""
    assert canonical_json(value, schema) == text


def test_a_schema_that_refers_to_itself_ends():
    """A circle of references is left, not followed for ever."""
    schema = {"properties": {"b": {}, "child": {"$ref": "#"}}, "allOf": [{"$ref": "#/allOf/0"}]}
    assert canonical_json({"child": {"child": None, "b": 1}, "b": 2}, schema) == '{"b":2,"child":{"b":1,"child":null}}'
