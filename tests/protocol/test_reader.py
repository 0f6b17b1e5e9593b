"""Reading turns: what is certain, and the slips that are forgiven."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentflow.errors import MalformedOutputError
from agentflow.protocol import Control, parse_turn, render_turn
from agentflow.types import AssistantMessage, ToolCall

OPEN, CLOSE, Q, END = Control("<|tool_call>"), Control("<tool_call|>"), Control('<|"|>'), Control("<|tool_response>")
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_written_calls_are_read_back(arguments):
    """Any arguments written in the call syntax are read back unchanged, hostile strings included."""
    written = render_turn(AssistantMessage(tool_calls=(ToolCall("call_0", "f", arguments),)))
    assert dict(parse_turn(written).tool_calls[0].arguments) == arguments


@pytest.mark.parametrize(
    ("segments", "arguments"),
    [
        (["call:f(a:1)"], {"a": 1}),
        (["f{a:1}"], {"a": 1}),
        (['call:f{a:"x y"}'], {"a": "x y"}),
        (["call:f{a:x y, b:true}"], {"a": "x y", "b": True}),
        (['call:f{"a":1,"b":[1,2]}'], {"a": 1, "b": [1, 2]}),
        (["call:f{", "a:", Q, "}", Q, "}"], {"a": "}"}),
        (["call:f(a=1)"], {"a": 1}),
    ],
)
@pytest.mark.parametrize("end", [[CLOSE, END], [Control("<turn|>")], []])
def test_slips_are_forgiven(segments, arguments, end):
    """Forms that unconstrained models were seen to write are understood."""
    call = parse_turn([OPEN, *segments, *end]).tool_calls[0]
    assert (call.name, dict(call.arguments)) == ("f", arguments)


def test_several_calls_and_a_thought():
    """A turn may hold a thought and several calls; their ids count on."""
    thought = [Control("<|channel>"), "thought\nHm.\n", Control("<channel|>")]
    turn = parse_turn([*thought, OPEN, "call:f{}", CLOSE, OPEN, "call:g{}", CLOSE, END], num_earlier_calls=3)
    assert turn.thought == "Hm."
    assert [(c.id, c.name) for c in turn.tool_calls] == [("call_3", "f"), ("call_4", "g")]


def test_text_after_the_end_is_dropped():
    """Nothing after the first end token is read."""
    assert parse_turn(["Done.", Control("<turn|>"), "noise", OPEN]).text == "Done."


@pytest.mark.parametrize(
    "text", ["", "call:", "call:f", "call:f{a}", "call:f{a:1", "call:f{a:}", "call:f{}x", "call:f{a:'x}"]
)
def test_malformed_calls_are_refused_with_their_text(text):
    """A call that cannot be read is an error that carries the whole turn."""
    with pytest.raises(MalformedOutputError) as caught:
        parse_turn(["before", OPEN, text, CLOSE])
    assert caught.value.text == f"before<|tool_call>{text}<tool_call|>"


def test_deep_nesting_is_refused():
    """Arguments that nest without end are an error, not a crash."""
    with pytest.raises(MalformedOutputError, match="nest deeper"):
        parse_turn([OPEN, "call:f{a:" + "[" * 5000, CLOSE])
