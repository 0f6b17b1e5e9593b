"""A conversation as Gemma 4 reads it.

    <bos><|turn>system
    INSTRUCTIONS<|tool>declaration:...<tool|><turn|>
    <|turn>user
    TASK<turn|>
    <|turn>model
    <|tool_call>call:f{a:1}<tool_call|><|tool_response>response:f{value:2}<tool_response|>ANSWER<turn|>

Source: the chat template that is published with the Gemma 4 and DiffusionGemma checkpoints. A model turn
goes on after tool responses without a new ``<|turn>``. A calling turn ends with ``<|tool_response>``, which
is at the same time the first token of the responses; any other turn ends with ``<turn|>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agentflow.errors import ConfigurationError
from agentflow.protocol.control import Control, Segment, join_text
from agentflow.protocol.values import compact_schema, format_declaration, format_value, sort_keys
from agentflow.types import (
    AssistantMessage,
    JsonSchema,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)

TURN_START, TURN_END = Control("<|turn>"), Control("<turn|>")
RESPONSE_START, RESPONSE_END = Control("<|tool_response>"), Control("<tool_response|>")
CALL_START, CALL_END = Control("<|tool_call>"), Control("<tool_call|>")
CHANNEL_START, CHANNEL_END = Control("<|channel>"), Control("<channel|>")
EMPTY_THOUGHT: tuple[Segment, ...] = (CHANNEL_START, "thought\n", CHANNEL_END)


def render_prompt(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = (),
    output_schema: JsonSchema | None = None,
    *,
    is_thinking: bool = False,
    has_empty_thought: bool = False,
) -> list[Segment]:
    """Write everything up to the place where the model writes next.

    Args:
        messages: The conversation, oldest first; a system message can only be the first.
        tools: Tools that may be called.
        output_schema: Schema of the final answer, told to the model in the system turn.
        is_thinking: Ask for a thought before the answer.
        has_empty_thought: Close the thought before it begins, as released checkpoints expect when they shall not think.

    Raises:
        ConfigurationError: The conversation cannot be continued; the message says where it breaks.
    """
    head = render_head(system_of(messages), tools, output_schema, is_thinking=is_thinking)
    return join_text([*head, *render_talk(messages, has_empty_thought=has_empty_thought and not is_thinking)])


def system_of(messages: Sequence[Message]) -> str:
    """The instructions that a conversation begins with; empty without any."""
    return messages[0].text if messages and isinstance(messages[0], SystemMessage) else ""


def render_head(
    system: str, tools: Sequence[ToolSpec], output_schema: JsonSchema | None, *, is_thinking: bool = False
) -> list[Segment]:
    """Write what stands before the first message of the user; see `render_prompt`."""
    return join_text([Control("<bos>"), *_render_system(system, tools, output_schema, is_thinking=is_thinking)])


def render_talk(messages: Sequence[Message], *, has_empty_thought: bool = False) -> list[Segment]:
    """Write what stands behind the head, up to the place where the model writes next; see `render_prompt`.

    Raises:
        ConfigurationError: The conversation cannot be continued; the message says where it breaks.
    """
    _check_order(messages)
    body = messages[1:] if messages and isinstance(messages[0], SystemMessage) else messages
    segments: list[Segment] = []
    is_model_turn = False
    for message in body:
        segments += _render_message(message, is_model_turn=is_model_turn)
        is_model_turn = isinstance(message, ToolMessage) or (
            isinstance(message, AssistantMessage) and bool(message.tool_calls)
        )
    if not is_model_turn:
        segments += [TURN_START, "model\n", *(EMPTY_THOUGHT if has_empty_thought else ())]
    return join_text(segments)


def render_turn(message: AssistantMessage) -> list[Segment]:
    """Write what the model writes in one turn, with the token that ends it."""
    segments: list[Segment] = []
    if message.thought:
        segments += [CHANNEL_START, f"thought\n{message.thought}\n", CHANNEL_END]
    segments.append(message.text)
    for call in message.tool_calls:
        segments += _render_call(call)
    segments.append(RESPONSE_START if message.tool_calls else TURN_END)
    return join_text(segments)


def _render_system(
    text: str, tools: Sequence[ToolSpec], output_schema: JsonSchema | None, *, is_thinking: bool
) -> Iterator[Segment]:
    if not (text or tools or output_schema is not None or is_thinking):
        return
    yield from (TURN_START, "system\n")
    if is_thinking:
        yield from (Control("<|think|>"), "\n")
    yield text.strip()
    if output_schema is not None:
        yield f"{chr(10) if text.strip() else ''}Answer in JSON: {compact_schema(output_schema)}"
    for tool in tools:
        yield Control("<|tool>")
        yield from format_declaration(tool)
        yield Control("<tool|>")
    yield from (TURN_END, "\n")


def _render_message(message: Message, *, is_model_turn: bool) -> Iterator[Segment]:
    """Write one message; `is_model_turn` says that the model's turn is still open."""
    if isinstance(message, ToolMessage):
        for result in message.results:
            yield from _render_result(result)
    elif isinstance(message, AssistantMessage):
        if not is_model_turn:
            yield from (TURN_START, "model\n")
        turn = render_turn(AssistantMessage(text=message.text.strip(), tool_calls=message.tool_calls))
        yield from turn[:-1] if message.tool_calls else [*turn, "\n"]
    elif isinstance(message, UserMessage):
        if is_model_turn:
            yield from (TURN_END, "\n")
        yield from (TURN_START, f"user\n{message.text.strip()}", TURN_END, "\n")


def _render_call(call: ToolCall) -> Iterator[Segment]:
    yield from (CALL_START, f"call:{call.name}")
    yield from format_value(call.arguments)
    yield CALL_END


def _render_result(result: ToolResult) -> Iterator[Segment]:
    content = result.content
    if result.is_error:
        content = {"error": content}
    elif not isinstance(content, Mapping):
        content = {"value": content}
    yield from (RESPONSE_START, f"response:{result.name}{{")
    for i, key in enumerate(sort_keys(list(content))):
        yield f",{key}:" if i else f"{key}:"
        yield from format_value(content[key])
    yield from ("}", RESPONSE_END)


def _check_order(messages: Sequence[Message]) -> None:
    """Refuse a conversation in which calls and results do not pair up.

    Raises:
        ConfigurationError: A system message that is not first, calls without results, or results without calls.
    """
    open_ids: set[str] = set()
    for i, message in enumerate(messages):
        if isinstance(message, SystemMessage) and i:
            raise ConfigurationError(f"message {i} is a system message; only the first may be one")
        if isinstance(message, ToolMessage):
            answered = {result.call_id for result in message.results}
            if answered != open_ids:
                raise ConfigurationError(
                    f"message {i} answers the calls {sorted(answered)}, open are {sorted(open_ids)}",
                    hint="give one result for every call of the turn before",
                )
            open_ids = set()
        elif open_ids:
            raise ConfigurationError(f"the calls {sorted(open_ids)} have no results before message {i}")
        if isinstance(message, AssistantMessage):
            open_ids = {call.id for call in message.tool_calls}
    if open_ids:
        raise ConfigurationError(f"the conversation ends before the calls {sorted(open_ids)} have results")
