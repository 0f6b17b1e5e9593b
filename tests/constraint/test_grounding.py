"""Values that must be copied from the conversation: how they are declared, and which spans they take."""

from __future__ import annotations

import json
from typing import Annotated

import pydantic
import pytest
from constraint_helpers import random_log_probs, spell

from agentflow.constraint import Grounding, compile_constraint, condition, json_grammar
from agentflow.constraint.grounded import Grounded, Span
from agentflow.errors import ConfigurationError, InvalidSchemaError, UnsatisfiableSchemaError, UnsupportedSchemaError

MAIL = "Write to ann@example.com or bob.b@example.org today."


class Booking(pydantic.BaseModel):
    """What a caller would write."""

    city: Grounded[str]
    code: Annotated[str, Span(sources=("tool",), max_length=12, fallback="none")]
    note: str


def takes(text: str, schema, *texts: str, vocabulary, roles=(), is_default: bool = False) -> bool:
    """Say whether a JSON text is taken under the grounding of some texts."""
    grounding = Grounding(texts, roles, is_default=is_default)
    constraint = compile_constraint(json_grammar(schema, grounding=grounding), vocabulary)
    return constraint.find_tokens(text.encode()) is not None


def test_the_annotation_becomes_a_keyword():
    """Options that are not the default stand in the JSON Schema; the rest of the model is as ever."""
    properties = Booking.model_json_schema()["properties"]
    assert properties["city"]["x-grounded"] is True
    assert properties["code"]["x-grounded"] == {"sources": ["tool"], "max_length": 12, "fallback": "none"}
    assert "x-grounded" not in properties["note"]
    assert Booking(city="a", code="b", note="c").city == "a"


def test_only_declared_fields_are_grounded(vocabulary):
    """Without a default for all strings, a plain field stays free."""
    schema = Booking.model_json_schema()
    texts, roles = ("Fly to Rome, not Paris", "code AB-12 given"), ("user", "tool")
    for city, code, is_taken in [("Rome", "AB-12", True), ("Oslo", "AB-12", False), ("Rome", "Fly", False)]:
        text = json.dumps({"city": city, "code": code, "note": "free"}, separators=(",", ":"))
        assert takes(text, schema, *texts, vocabulary=vocabulary, roles=roles) is is_taken, text


OPTIONS = [
    ({"words": "any"}, ["unbeliev", "liev"], ["x"]),
    ({}, ["unbelievable", "unbelievable News"], ["believ"]),
    ({"max_length": 4}, ["News"], ["unbelievable"]),
    ({"min_length": 6}, ["unbelievable"], ["News"]),
    ({"case": "upper"}, ["NEWS"], ["News"]),
    ({"case": "lower"}, ["news"], ["News"]),
]


@pytest.mark.parametrize(("options", "good", "bad"), OPTIONS, ids=str)
def test_options_choose_the_spans(options, good, bad, vocabulary):
    """Whole words or any part, length and case."""
    schema = {"type": "string", "x-grounded": options or True}
    for value in good:
        assert takes(json.dumps(value), schema, "unbelievable News", vocabulary=vocabulary), value
    for value in bad:
        assert not takes(json.dumps(value), schema, "unbelievable News", vocabulary=vocabulary), value


def test_a_grounded_string_keeps_its_other_rules(vocabulary):
    """A format narrows the spans: only what is an address and stands in the text."""
    schema = {"type": "string", "format": "email", "x-grounded": True}
    for value, is_taken in [("ann@example.com", True), ("bob.b@example.org", True), ("eve@example.com", False), ("Write", False)]:  # fmt: skip  # noqa: E501
        assert takes(json.dumps(value), schema, MAIL, vocabulary=vocabulary) is is_taken, value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('He said "go home".', '"go home"'),
        ("Is it (really)? Yes.", "(really)"),
        ("See https://example.org/a/.", "https://example.org/a/"),
        ('{"path": "C:\\\\temp\\\\a b"}', "C:\\temp\\a b"),
        ('{"text": "say \\"hi\\" now"}', 'say "hi" now'),
    ],
)
def test_spans_end_where_a_reader_ends_them(text, value, vocabulary):
    """A closing quote or bracket before a full stop ends a span; JSON escapes of the text are undone."""
    assert takes(json.dumps(value), {"type": "string", "x-grounded": True}, text, vocabulary=vocabulary)


def test_without_a_span_the_fallback_decides(vocabulary):
    """Free text by default; with ``none`` there is no value, and without any texts that is the caller's mistake."""
    free = {"type": "string", "format": "email", "x-grounded": True}
    assert takes('"a@b"', free, "no address here", vocabulary=vocabulary)
    strict = {"type": "string", "format": "email", "x-grounded": {"fallback": "none"}}
    with pytest.raises(UnsatisfiableSchemaError):
        takes('"a@b"', strict, "no address here", vocabulary=vocabulary)
    with pytest.raises(UnsupportedSchemaError, match="no texts were given"):
        json_grammar(strict)
    optional = {"type": "object", "properties": {"a": strict}, "additionalProperties": False}
    assert takes("{}", optional, "no address here", vocabulary=vocabulary)


def test_lengths_that_exclude_each_other_leave_no_span(vocabulary):
    """The schema's own length and that of the span have no string in common, so the fallback decides."""
    schema = {"type": "string", "maxLength": 3, "x-grounded": {"min_length": 5}}
    assert takes('"abc"', schema, "Write to someone", vocabulary=vocabulary)


def test_long_texts_have_spans_of_any_length(vocabulary):
    """Spans with a least length alone were written out one by one, which a long line was too long for."""
    line = " ".join(f"w{i}" for i in range(400))
    schema = {"type": "string", "x-grounded": {"min_length": 6}}
    assert takes('"w17 w18 w19"', schema, line, vocabulary=vocabulary)
    assert not takes('"w17"', schema, line, vocabulary=vocabulary)


def test_a_long_run_without_spaces_has_too_many_spans(vocabulary):
    """All parts of such a run were written out before the limit on states was asked, and filled the memory."""
    schema = {"type": "string", "x-grounded": {"words": "any"}}
    with pytest.raises(UnsupportedSchemaError, match="states"):
        takes('"ab"', schema, "ab" * 20_000, vocabulary=vocabulary)


def test_numbers_are_grounded_too(vocabulary):
    """A declared number stands in the text in digits and keeps its bounds."""
    schema = {"type": "integer", "minimum": 10, "x-grounded": True}
    for value, is_taken in [("12", True), ("1200", True), ("7", False), ("13", False)]:
        assert takes(value, schema, "7 of 12 for 1,200", vocabulary=vocabulary) is is_taken, value


@pytest.mark.parametrize("value", ["yes", {"word": "any"}, {"words": "some"}, {"max_length": 0}, {"sources": ["me"]}])
def test_wrong_options_are_named(value):
    """The error stands at the schema's place."""
    with pytest.raises(InvalidSchemaError, match="x-grounded") as caught:
        json_grammar({"properties": {"a": {"type": "string", "x-grounded": value}}}, grounding=Grounding(("a",)))
    assert caught.value.pointer == "/properties/a"


def test_roles_go_with_texts():
    """As many roles as texts."""
    with pytest.raises(ConfigurationError, match="as many roles"):
        Grounding(("a", "b"), ("user",))


def test_draws_of_bounded_spans_are_spans(vocabulary):
    """Random draws of a slot with a length are parts of the text of that length."""
    schema = {"type": "string", "x-grounded": {"max_length": 9, "words": "any"}}
    constraint = compile_constraint(json_grammar(schema, grounding=Grounding((MAIL,), is_default=False)), vocabulary)
    for seed in range(5):
        log_probs = random_log_probs(1, 16, len(vocabulary), seed=seed)
        ids = condition(log_probs, [constraint], [0], num_tokens_left=[0]).sample()[0].tolist()
        value = json.loads(spell(ids, vocabulary).removesuffix("<eos>"))
        assert value in MAIL
        assert 1 <= len(value) <= 9
