"""Output types: their schemas, what fits and what does not."""

import dataclasses
import enum
from typing import Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agentflow.errors import ConfigurationError, InvalidSchemaError, OutputValidationError
from agentflow.output import OutputType


class Invoice(BaseModel):
    """An invoice."""

    title: str
    total: float = Field(ge=0)


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Place(TypedDict):
    name: str


class Size(enum.Enum):
    S = "s"
    L = "l"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("output_type", "text", "value"),
    [
        (str, "any {text", "any {text"),
        (Invoice, '{"title": "pens", "total": 3}', Invoice(title="pens", total=3.0)),
        (Point, '{"x": 1}', Point(1)),
        (Place, '{"name": "Oslo"}', {"name": "Oslo"}),
        (Size, '"l"', Size.L),
        (Literal["yes", "no"], '"no"', "no"),
        (Invoice | Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (list[Point], '[{"x": 1}]', [Point(1)]),
        (int | None, "null", None),
        (SCHEMA, '{"a": 1, "b": 2}', {"a": 1, "b": 2}),
        (Point, '```json\n{"x": 1}\n```', Point(1)),
        (Point, '  {"x": 1}\n', Point(1)),
    ],
    ids=str,
)
def test_answers_become_values(output_type, text, value):
    """Every kind of type reads its answer; a code fence around JSON does no harm."""
    assert OutputType(output_type).parse(text) == value


@pytest.mark.parametrize(
    ("output_type", "text", "problem"),
    [
        (Invoice, "three pens", "the answer is not JSON"),
        (Invoice, '{"title": "pens"}', "total is required and missing"),
        (Invoice, '{"title": "pens", "total": -1}', "total: Input should be greater than or equal to 0, got -1"),
        (Point, '{"x": "one"}', "x: Input should be a valid integer"),
        (Literal["yes"], '"no"', "answer: Input should be 'yes', got 'no'"),
        (SCHEMA, '{"a": "1"}', "'1' is not of type 'integer' (at $.a)"),
        (SCHEMA, "[" * 100_000, "not JSON"),
    ],
    ids=str,
)
def test_wrong_answers_are_described(output_type, text, problem):
    """The message says what is wrong where; the error keeps the answer."""
    with pytest.raises(OutputValidationError) as caught:
        OutputType(output_type).parse(text)
    assert problem in caught.value.message
    assert caught.value.text == text


def test_schema_of_a_type():
    """Titles made from names are left out; bounds and descriptions stay; a member called title stays too."""
    assert OutputType(Invoice).schema == {
        "type": "object",
        "description": "An invoice.",
        "properties": {"title": {"type": "string"}, "total": {"type": "number", "minimum": 0}},
        "required": ["title", "total"],
    }
    assert OutputType(str).schema is None
    assert OutputType(str).is_text
    assert OutputType(SCHEMA).schema == SCHEMA


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"properties": []}, {"required": "a"}])
def test_mappings_that_are_no_schemas_are_refused(schema):
    """At definition, not at the first answer."""
    with pytest.raises(InvalidSchemaError, match="not a JSON Schema"):
        OutputType(schema)


class Opaque:
    pass


@pytest.mark.parametrize("output_type", [Opaque, list[Opaque], type(pytest)])
def test_types_without_json_form_are_refused(output_type):
    """The message names the type and shows what can be used."""
    with pytest.raises(ConfigurationError, match="has no JSON form") as caught:
        OutputType(output_type)
    assert "dataclass" in caught.value.hint


def test_values_that_are_not_text_do_not_pass_for_text():
    """A backend that answers with a value where text was asked for is told so."""
    with pytest.raises(OutputValidationError, match="must be text"):
        OutputType(str).validate({"a": 1})
