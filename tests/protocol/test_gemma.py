"""What the model reads and writes, against the published form."""

import pytest

from agentflow.errors import ConfigurationError
from agentflow.protocol import render_prompt, render_turn
from agentflow.protocol.reader import show
from agentflow.types import (
    AssistantMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)

WEATHER = ToolSpec(
    "get_weather",
    "Get the weather.",
    {
        "type": "object",
        "properties": {
            "unit": {"type": "string", "enum": ["c", "f"], "description": "Unit"},
            "City": {"type": "string", "description": "The city"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["City"],
    },
)
CALL = ToolCall("1", "get_weather", {"unit": "c", "City": "Rome", "n": 3, "f": 1.5, "l": [1, "a", None, True]})


def test_declaration_is_the_published_one():
    """A declaration equals, to the character, what the published chat template writes for the same tool."""
    text = show(render_prompt([SystemMessage(" Be good. "), UserMessage("hi ")], [WEATHER]))
    assert text == (
        "<bos><|turn>system\nBe good.<|tool>declaration:get_weather{"
        'description:<|"|>Get the weather.<|"|>,parameters:{properties:{'
        'City:{description:<|"|>The city<|"|>,type:<|"|>STRING<|"|>},'
        'tags:{items:{type:<|"|>STRING<|"|>},type:<|"|>ARRAY<|"|>},'
        'unit:{description:<|"|>Unit<|"|>,enum:[<|"|>c<|"|>,<|"|>f<|"|>],type:<|"|>STRING<|"|>}'
        '},required:[<|"|>City<|"|>],type:<|"|>OBJECT<|"|>}}<tool|><turn|>\n'
        "<|turn>user\nhi<turn|>\n<|turn>model\n"
    )


def test_turn_goes_on_after_results():
    """After tool results the model writes in the same turn; no new turn is opened."""
    messages = [
        UserMessage("hi"),
        AssistantMessage(tool_calls=(CALL,)),
        ToolMessage((ToolResult("1", "get_weather", {"temp": 15, "sky": "clear"}),)),
    ]
    assert show(render_prompt(messages)) == (
        "<bos><|turn>user\nhi<turn|>\n<|turn>model\n"
        '<|tool_call>call:get_weather{City:<|"|>Rome<|"|>,f:1.5,l:[1,<|"|>a<|"|>,null,true],n:3,unit:<|"|>c<|"|>}'
        '<tool_call|><|tool_response>response:get_weather{sky:<|"|>clear<|"|>,temp:15}<tool_response|>'
    )


def test_history_extends_the_prompt():
    """Each prompt of a conversation is a prefix of the next one, so that its encoding can be reused."""
    messages = [
        SystemMessage("Be good."),
        UserMessage("hi"),
        AssistantMessage(tool_calls=(CALL,)),
        ToolMessage((ToolResult("1", "get_weather", 15),)),
        AssistantMessage("It is 15."),
        UserMessage("thanks"),
    ]
    prompts = [show(render_prompt(messages[:n], [WEATHER])) for n in (2, 4, 6)]
    assert prompts[1].startswith(prompts[0])
    assert prompts[2].startswith(prompts[1])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (AssistantMessage("Done."), "Done.<turn|>"),
        (AssistantMessage("", thought="Hm."), "<|channel>thought\nHm.\n<channel|><turn|>"),
        (
            AssistantMessage(tool_calls=(ToolCall("1", "now", {}),)),
            "<|tool_call>call:now{}<tool_call|><|tool_response>",
        ),
    ],
)
def test_turn_has_its_end_token(message, expected):
    """A rendered turn holds the token with which the model ends it."""
    assert show(render_turn(message)) == expected


def test_output_schema_stands_in_the_system_turn():
    """The schema of the answer is told to the model, without what only documentation needs."""
    schema = {
        "title": "Report",
        "type": "object",
        "properties": {"title": {"type": "string", "title": "Title"}},
        "additionalProperties": False,
    }
    text = show(render_prompt([UserMessage("hi")], output_schema=schema))
    assert text.startswith(
        '<bos><|turn>system\nAnswer in JSON: {"type":"object","properties":{"title":{"type":"string"}}}<turn|>\n'
    )


def test_optional_and_referenced_types_are_readable():
    """``T | None`` becomes nullable, a ``$ref`` is resolved, a union names its types."""
    parameters = {
        "type": "object",
        "$defs": {"Unit": {"type": "string", "enum": ["c", "f"]}},
        "properties": {
            "a": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "Count"},
            "b": {"$ref": "#/$defs/Unit"},
            "c": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        },
    }
    text = show(render_prompt([UserMessage("hi")], [ToolSpec("f", "F.", parameters)]))
    assert 'a:{description:<|"|>Count<|"|>,nullable:true,type:<|"|>INTEGER<|"|>}' in text
    assert 'b:{enum:[<|"|>c<|"|>,<|"|>f<|"|>],type:<|"|>STRING<|"|>}' in text
    assert 'c:{type:<|"|>INTEGER|STRING<|"|>}' in text


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([UserMessage("a"), SystemMessage("b")], "message 1 is a system message"),
        ([UserMessage("a"), AssistantMessage(tool_calls=(CALL,))], "have results"),
        ([UserMessage("a"), AssistantMessage(tool_calls=(CALL,)), UserMessage("b")], "no results before message 2"),
        ([UserMessage("a"), ToolMessage((ToolResult("9", "f", 1),))], "message 1 answers the calls"),
    ],
)
def test_broken_conversations_are_refused(messages, fault):
    """A conversation whose calls and results do not pair up is named, not repaired."""
    with pytest.raises(ConfigurationError, match=fault):
        render_prompt(messages)
