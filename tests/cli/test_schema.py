"""``agentflow schema check``: what is supported, and what two judges say of a value."""

import json

import pytest

from agentflow.cli.app import main
from agentflow.cli.schema import compile_schema, describe_error, describe_size, examine, judge
from agentflow.constraint import Vocabulary
from agentflow.errors import InvalidSchemaError, SchemaError, UnsatisfiableSchemaError, UnsupportedSchemaError

BYTES = Vocabulary.from_bytes([*(bytes([i]) for i in range(256)), None], eos_token_ids=[256])
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name"],
    "additionalProperties": False,
}


def test_size_is_told_in_tokens_of_the_vocabulary():
    """The shortest value of an object with an empty string is counted with its end token."""
    schema = {"type": "object", "properties": {"a": {"const": "x"}}, "required": ["a"], "additionalProperties": False}
    text = describe_size(compile_schema(schema, BYTES))
    shortest = len('{"a":"x"}') + 1
    assert " states, " in text
    assert f"at least {shortest} tokens with its end token, at most {shortest} tokens" in text


@pytest.mark.parametrize(
    ("value", "grammar", "validator"),
    [
        ({"age": 3, "name": "Ada"}, True, True),
        ({"name": ""}, True, True),
        ({"age": 3}, False, False),
        ({"name": "Ada", "age": 121}, False, False),
        ({"name": "Ada", "more": 1}, False, False),
        ([], False, False),
    ],
)
def test_two_judges_agree(value, grammar, validator):
    """Keys may come in any order; what the validator refuses, the grammar does not accept."""
    by_grammar, by_validator = judge(value, PERSON, compile_schema(PERSON, BYTES))
    assert (by_grammar.is_taken, by_validator.is_taken) == (grammar, validator)
    assert by_grammar.text.startswith("grammar: accepts" if grammar else "grammar: rejects")


@pytest.mark.parametrize(
    ("schema", "kind", "parts"),
    [
        (
            {"properties": {"a": {"type": "array", "uniqueItems": True}}},
            UnsupportedSchemaError,
            ["uniqueItems", "/properties/a"],
        ),
        ({"type": "strin"}, InvalidSchemaError, ["not a JSON Schema"]),
        ({"type": "integer", "minimum": 3, "maximum": 2}, UnsatisfiableSchemaError, ["no value"]),
    ],
)
def test_errors_name_the_keyword_and_its_place(schema, kind, parts):
    """Whoever reads the message finds the place in the schema."""
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema, BYTES)
    assert isinstance(caught.value, kind)
    assert all(part in describe_error(caught.value) for part in parts)


def test_everything_that_is_not_supported_is_listed_with_its_place():
    """One run shows all of it, the cure, and what is left; the value is judged all the same."""
    texts = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    schema = {"type": "object", "properties": {"a": texts, "b": {"type": "string", "pattern": r"(x)\1"}}}
    report = examine(schema, BYTES)
    assert not report.is_supported
    assert report.lines[:2] == [
        "not supported: uniqueItems at /properties/a",
        "not supported: pattern at /properties/b",
    ]
    assert "on_unsupported" in report.lines[2]
    assert report.lines[3].startswith("the rest: ")
    assert report.lines[3].endswith(" ms")
    by_grammar, by_validator = judge({"a": ["x", "x"]}, schema, report.constraint)
    assert by_grammar.is_taken
    assert not by_validator.is_taken


def test_values_are_tried_in_the_call_syntax_too():
    """Keys are bare and sorted there, and strings stand between control tokens."""
    control = '<|"|>'
    vocabulary = Vocabulary([*(bytes([i]) for i in range(256)), None, None], {256}, {"<eos>": 256, control: 257})
    report = examine(PERSON, vocabulary, "gemma")
    by_grammar, _ = judge({"name": "Ada", "age": 3}, PERSON, report.constraint, "gemma")
    assert by_grammar.text == f"grammar: accepts {{age:3,name:{control}Ada{control}}}"


@pytest.mark.parametrize(("text", "part"), [(None, "cannot read"), ("{", "is not JSON")])
def test_an_unreadable_file_is_a_usage_error(tmp_path, capsys, text, part):
    """A missing file and a file that is no JSON end with 2, before anything is loaded."""
    path = tmp_path / "schema.json"
    if text is not None:
        path.write_text(text)
    assert main(["schema", "check", str(path)]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.parametrize(("value", "code"), [({"name": "Ada", "age": 3}, 0), ({"age": 3}, 1)])
def test_the_command_with_the_embedded_tokens(tmp_path, capsys, value, code):
    """The exit code says whether both judges take the value."""
    (tmp_path / "schema.json").write_text(json.dumps(PERSON))
    (tmp_path / "value.json").write_text(json.dumps(value))
    paths = [str(tmp_path / "schema.json"), "--instance", str(tmp_path / "value.json")]
    assert main(["schema", "check", *paths]) == code
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == ["supported", "grammar", "jsonschema"]
