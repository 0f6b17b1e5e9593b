"""Let a model play conversations and simulated tasks; its calls really run and its turns are compared."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from agentflow.embedded.data.tasks import Conversation
from agentflow.embedded.data.tools import DECLARED, MADE_UP, OPERATION
from agentflow.embedded.simulated import SimulatedTask, SimulatedWorld
from agentflow.embedded.tally import Tally
from agentflow.errors import AgentflowError
from agentflow.model import Model
from agentflow.types import (
    AssistantMessage,
    GenerationRequest,
    GenerationSettings,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
)

_MAX_TURNS = 16


async def ask(
    model: Model,
    given: Conversation | SimulatedTask,
    messages: Sequence[Message],
    settings: GenerationSettings,
    tally: Tally,
) -> AssistantMessage | None:
    """Ask for the next turn; what it cost and how it failed joins the tally."""
    request = GenerationRequest(
        messages=tuple(messages),
        tools=given.tools if isinstance(given, Conversation) else given.specs,
        output_schema=given.output_schema,
        settings=settings,
    )
    try:
        generation = await model.generate(request)
    except AgentflowError as error:
        tally.failures.append(f"{type(error).__name__}: {error.message}")
        return None
    tally.usage += generation.usage
    return generation.message


async def compare_turns(model: Model, conversation: Conversation, settings: GenerationSettings, tally: Tally) -> None:
    """Ask for each turn after the right turns before it."""
    for index, right in enumerate(conversation.messages):
        if not isinstance(right, AssistantMessage):
            continue
        given = await ask(model, conversation, conversation.messages[:index], settings, tally)
        is_right = given is not None and is_same_turn(given, right)
        tally.add("call" if right.tool_calls else "answer", conversation.kind, is_right=is_right)
        if right.tool_calls:
            tally.add_one(f"call of {_family_of(conversation, right)}", is_right=is_right)
        if not is_right and given is not None:
            tally.failures.append(f"{_request_of(conversation)}\n    right {_show(right)}\n    given {_show(given)}")


def _family_of(conversation: Conversation, turn: AssistantMessage) -> str:
    """Say whose tools a turn calls: a trained family's, a world's, of declarations, of published APIs, or made up."""
    if isinstance(conversation.before, SimulatedWorld):
        return "worlds"
    names = [conversation.offered[call.name].behaviour.name for call in turn.tool_calls]
    if any(name.startswith(DECLARED) for name in names):
        return "declared"
    if any(name.startswith(OPERATION) for name in names):
        return "operations"
    return "made-up" if any(name.startswith(MADE_UP) for name in names) else "families"


async def play(model: Model, conversation: Conversation, settings: GenerationSettings, tally: Tally) -> None:
    """Play a conversation from the first request to the last answer, round by round."""
    if conversation.before is None:
        return
    world = copy.deepcopy(conversation.before)
    messages: list[Message] = []
    is_solved = True
    for opening, right in _rounds(conversation):
        messages += opening
        given = await play_round(model, conversation, messages, world, settings=settings, tally=tally)
        if given is None or not is_same_turn(given, right):
            is_solved = False
            break
        messages.append(given)
    is_solved = is_solved and is_same_world(world, conversation.after)
    tally.add("task", conversation.kind, is_right=is_solved)


def _rounds(conversation: Conversation) -> Iterator[tuple[list[Message], AssistantMessage]]:
    """Give what opens each round, up to the user's message, and the right answer at its end."""
    opening: list[Message] = []
    for message in conversation.messages:
        if isinstance(message, AssistantMessage) and not message.tool_calls:
            yield opening, message
            opening = []
        elif not isinstance(message, AssistantMessage | ToolMessage):
            opening.append(message)


async def play_round(
    model: Model,
    conversation: Conversation,
    messages: list[Message],
    world: Any,
    *,
    settings: GenerationSettings,
    tally: Tally,
) -> AssistantMessage | None:
    """Let the model call until it answers; calls and results join the messages."""
    for _ in range(_MAX_TURNS):
        message = await ask(model, conversation, messages, settings, tally)
        if message is None or not message.tool_calls:
            return message
        calls = tuple(_with_id(call, f"{len(messages)}_{i}") for i, call in enumerate(message.tool_calls))
        try:
            results = tuple(conversation.run(call, world) for call in calls)
        except (KeyError, TypeError):  # only without the constraint: no such tool or argument
            return None
        messages += [AssistantMessage(tool_calls=calls), ToolMessage(results)]
    return None


def _with_id(call: Any, call_id: str) -> Any:
    return type(call)(call_id, call.name, call.arguments)


def is_same_world(given: Any, right: Any) -> bool:
    """Compare what tools can change in two worlds."""
    if isinstance(right, SimulatedWorld):
        return bool(given.state() == right.state())
    return (given.files, given.notes, given.todos) == (right.files, right.notes, right.todos)


def is_same_turn(given: AssistantMessage, right: Any) -> bool:
    """Compare two turns: calls in order with all arguments, or the answer as JSON, or as text."""
    if right.tool_calls or given.tool_calls:
        return [(c.name, dict(c.arguments)) for c in given.tool_calls] == [
            (c.name, dict(c.arguments)) for c in right.tool_calls
        ]
    try:
        return bool(json.loads(given.text) == json.loads(right.text))
    except ValueError:
        return bool(given.text.strip() == right.text.strip())


def _show(message: AssistantMessage) -> str:
    calls = [f"{c.name}({json.dumps(dict(c.arguments), ensure_ascii=False)})" for c in message.tool_calls]
    return " ".join(calls) or message.text


def _request_of(conversation: Conversation) -> str:
    return next(m.text for m in conversation.messages if type(m).__name__ == "UserMessage")  # type: ignore[union-attr]


async def play_simulated(
    model: Model, task: SimulatedTask, world: SimulatedWorld, settings: GenerationSettings, tally: Tally
) -> Any:
    """Play a task from the request to its answer, which is given, or None if there is none."""
    messages: list[Message] = [SystemMessage(world.instructions), UserMessage(task.prompt)]
    for turn in range(2 * len(task.reference) + 2):
        message = await ask(model, task, messages, settings, tally)
        if message is None:
            return None
        if not message.tool_calls:
            try:
                return json.loads(message.text)
            except ValueError:
                return None
        calls = tuple(_with_id(call, f"{turn}_{i}") for i, call in enumerate(message.tool_calls))
        messages += [AssistantMessage(tool_calls=calls), ToolMessage(tuple(map(world.run, calls)))]
    return None
