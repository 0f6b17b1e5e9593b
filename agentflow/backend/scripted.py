"""A backend that says what it is told to: for tests of agents and tools, without a model.

    backend = ScriptedBackend([call("get_weather", city="Oslo"), "It rains in Oslo."])
    agent = Agent(backend, tools=[get_weather])

It is a test double that users share: replies in order, or from a function of the request; every request is kept.
What it says is not checked against the schemas of the request, so that tests can let a model go wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, Union

import anyio.lowlevel
from pydantic_core import to_jsonable_python

from agentflow.backend.base import DraftObserver
from agentflow.errors import BackendError, ConfigurationError
from agentflow.types import (
    AssistantMessage,
    Draft,
    Generation,
    GenerationRequest,
    JsonValue,
    Message,
    PositionState,
    ToolCall,
    ToolMessage,
    Usage,
)

Reply: TypeAlias = Union[
    str, ToolCall, "list[ToolCall]", "tuple[ToolCall, ...]", AssistantMessage, Generation, Exception, Any
]
"""Text; one call or several of one turn; a whole message or generation; an exception to raise; or any other
value (a dict, a dataclass, a pydantic model), which is written as JSON."""

ReplyFunction: TypeAlias = Callable[[GenerationRequest], Reply]
"""Decides on a reply when it is asked."""


def call(name: str, /, **arguments: JsonValue) -> ToolCall:
    """Write a tool call for a script; its id is given when it is said."""
    return ToolCall("", name, arguments)


class ScriptedBackend:
    """Says its replies, one per request.

    Attributes:
        requests: Every request so far, oldest first.
    """

    def __init__(
        self, replies: Iterable[Reply] | ReplyFunction, *, name: str = "scripted", num_draft_steps: int = 0
    ) -> None:
        """Make the backend.

        Args:
            replies: Replies in order, or a function that is given each request.
            name: Name of the model.
            num_draft_steps: Denoising steps to pretend: observers see the reply settle from noise in as many drafts.

        Raises:
            ConfigurationError: `replies` is one string, which would be said letter by letter.
        """
        if isinstance(replies, (str, bytes, Mapping)):
            raise ConfigurationError(
                f"replies is one {type(replies).__name__}: {replies!r}", hint="pass a list: [reply]"
            )
        self.requests: list[GenerationRequest] = []
        self._num_words: dict[int, int] = {}
        self._name = name
        self._num_draft_steps = num_draft_steps
        self._function = replies if callable(replies) else None
        self._replies: Iterator[Reply] = iter(()) if callable(replies) else iter(list(replies))

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Say the next reply.

        Raises:
            BackendError: The script has ended.
            Exception: The reply is this exception.
        """
        await anyio.lowlevel.checkpoint()
        self.requests.append(request)
        reply = self._next(request)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Generation):
            return reply
        message = _number_calls(_as_message(reply), request.messages)
        if on_draft is not None:
            for draft in _drafts(_show(message), self._num_draft_steps):
                on_draft(draft)
        return Generation(message, "tool_calls" if message.tool_calls else "stop", self._count(request, message))

    async def aclose(self) -> None:
        """Do nothing; there is nothing to release."""

    def _next(self, request: GenerationRequest) -> Reply:
        if self._function is not None:
            return self._function(request)
        try:
            return next(self._replies)
        except StopIteration:
            num_said = len(self.requests) - 1
            raise BackendError(
                f"the script of {self.name!r} has only {num_said} replies, and the loop asked for another one",
                hint="add a reply, or check why the agent did not end",
            ) from None

    def _count(self, request: GenerationRequest, message: AssistantMessage) -> Usage:
        """Count words as tokens. Messages are counted once: the requests keep them alive, so their ids stay theirs."""
        for item in request.messages:
            if id(item) not in self._num_words:
                self._num_words[id(item)] = _num_words(item)
        return Usage(
            requests=1,
            input_tokens=sum(self._num_words[id(item)] for item in request.messages),
            output_tokens=max(1, _num_words(message)),
            num_canvases=1,
            denoising_steps=self._num_draft_steps,
            num_forwards=self._num_draft_steps,
        )


def _as_message(reply: Reply) -> AssistantMessage:
    if isinstance(reply, AssistantMessage):
        return reply
    if isinstance(reply, str):
        return AssistantMessage(reply)
    if isinstance(reply, ToolCall):
        return AssistantMessage(tool_calls=(reply,))
    if isinstance(reply, (list, tuple)) and reply and all(isinstance(item, ToolCall) for item in reply):
        return AssistantMessage(tool_calls=tuple(reply))
    return AssistantMessage(json.dumps(to_jsonable_python(reply), ensure_ascii=False))


def _number_calls(message: AssistantMessage, history: tuple[Message, ...]) -> AssistantMessage:
    """Give ids to the calls that have none, counting on from the calls of the conversation."""
    num_earlier = sum(len(m.tool_calls) for m in history if isinstance(m, AssistantMessage))
    calls = tuple(replace(item, id=item.id or f"call_{num_earlier + i}") for i, item in enumerate(message.tool_calls))
    return replace(message, tool_calls=calls)


def _show(message: AssistantMessage) -> str:
    calls = (f"call:{item.name}{json.dumps(dict(item.arguments), ensure_ascii=False)}" for item in message.tool_calls)
    return " ".join([message.text, *calls]).strip()


def _drafts(text: str, num_steps: int) -> Iterator[Draft]:
    """Let `text` settle from the left, word by word; what is still open is shown as dots."""
    words = text.split(" ")
    for step in range(1, num_steps + 1):
        num_settled = len(words) * step // num_steps
        states: list[PositionState] = ["accepted" if i < num_settled else "open" for i in range(len(words))]
        pieces = [word if i < num_settled else "·" * len(word) for i, word in enumerate(words)]
        yield Draft(
            canvas_index=0,
            step=step,
            max_steps=num_steps,
            pieces=(*(piece + " " for piece in pieces[:-1]), pieces[-1]),
            states=tuple(states),
            is_committed=step == num_steps,
        )


def _num_words(message: Message) -> int:
    if isinstance(message, AssistantMessage):
        return len(_show(message).split())
    if isinstance(message, ToolMessage):
        return sum(len(str(result.content).split()) for result in message.results)
    return len(message.text.split())
