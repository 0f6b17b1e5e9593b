"""The chat template that travels with the checkpoint writes what agentflow's own protocol writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import agentflow.embedded
from agentflow.embedded.tokenizer import plain_text
from agentflow.protocol import render_prompt
from agentflow.types import (
    AssistantMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)

TOOL = ToolSpec(
    "get_weather",
    "Look up the weather.",
    {
        "type": "object",
        "properties": {
            "unit": {"type": "string", "enum": ["c", "f"]},
            "city": {"type": "string", "description": "A city."},
            "days": {"type": "integer"},
        },
        "required": ["city"],
    },
)
CALL = ToolCall("1", "get_weather", {"city": "Oslo", "days": 3})
RESULT = ToolResult("1", "get_weather", {"sky": "clear", "highs": [1, 2.5], "is_old": False})


def _as_dicts(messages):
    for message in messages:
        if isinstance(message, SystemMessage):
            yield {"role": "system", "content": message.text}
        elif isinstance(message, UserMessage):
            yield {"role": "user", "content": message.text}
        elif isinstance(message, ToolMessage):
            for result in message.results:
                yield {"role": "tool", "name": result.name, "content": result.content}
        else:
            calls = [{"function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls]
            yield {"role": "assistant", "content": message.text, "tool_calls": calls}


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ([UserMessage("Hi")], ()),
        ([SystemMessage("Be brief."), UserMessage("Hi"), AssistantMessage("Hello!"), UserMessage("Bye")], ()),
        ([UserMessage("Weather?")], (TOOL,)),
        (
            [
                SystemMessage("Go."),
                UserMessage("Weather?"),
                AssistantMessage(tool_calls=(CALL,)),
                ToolMessage((RESULT,)),
            ],
            (TOOL,),
        ),
        (
            [
                UserMessage("W?"),
                AssistantMessage(tool_calls=(CALL,)),
                ToolMessage((RESULT,)),
                AssistantMessage("Clear."),
                UserMessage("Ok"),
            ],
            (TOOL,),
        ),
    ],
)
def test_the_template_writes_the_protocol(tokenizer, messages, tools):
    """Conversations with and without tools come out as `render_prompt` writes them."""
    template = Path(agentflow.embedded.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    functions = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]
    written = tokenizer.apply_chat_template(
        list(_as_dicts(messages)),
        tools=functions or None,
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    assert written == plain_text(render_prompt(messages, tools))
