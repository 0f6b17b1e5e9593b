"""The conversation of a run while it grows, always in a state that can be continued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentflow.types import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)


class Transcript:
    """Messages in order, the ids of calls unique, every call answered.

    Attributes:
        num_history: Messages that were there before the run.
    """

    def __init__(self, history: Sequence[Message], *, instructions: str, task: str) -> None:
        """Begin with `history`; `instructions` replace the ones it began with; an empty `task` adds nothing."""
        earlier = list(history)
        if instructions and earlier and isinstance(earlier[0], SystemMessage):
            earlier.pop(0)
        self._messages: list[Message] = [SystemMessage(instructions)] if instructions else []
        self._messages += earlier
        self.num_history = len(self._messages)
        if task or not history:
            self._messages.append(UserMessage(task))
        self._call_ids = {call.id for m in earlier if isinstance(m, AssistantMessage) for call in m.tool_calls}
        self._last_exchange: Any = None
        self.num_repeats = 0
        """Turns in a row, up to the last one, with the same calls and results."""

    @classmethod
    def from_journal(cls, messages: Sequence[Message], *, num_history: int) -> Transcript:
        """Begin where a recorded run began."""
        transcript = cls(messages, instructions="", task="")
        transcript.num_history = num_history
        return transcript

    def going_on_from(self, earlier: Transcript) -> Transcript:
        """Copy it so that it counts as one conversation with `earlier`, which is its history."""
        num_added = self.num_history - len(earlier.show())  # 1 if only this one begins with instructions
        return Transcript.from_journal(self._messages, num_history=earlier.num_history + num_added)

    def show(self) -> tuple[Message, ...]:
        """Get all messages."""
        return tuple(self._messages)

    def add_turn(self, message: AssistantMessage) -> AssistantMessage:
        """Record a turn of the model; returns it with the ids of its calls made unique."""
        message = replace(message, tool_calls=tuple(self._claim_id(call) for call in message.tool_calls))
        self._messages.append(message)
        return message

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """Record the results of the calls of the turn before."""
        turn = self._messages[-1]
        assert isinstance(turn, AssistantMessage)  # noqa: S101 # results follow their calls
        self._messages.append(ToolMessage(tuple(results)))
        exchange = [(c.name, c.arguments, r.content, r.is_error) for c, r in zip(turn.tool_calls, results, strict=True)]
        self.num_repeats = self.num_repeats + 1 if exchange == self._last_exchange else 1
        self._last_exchange = exchange

    def add_request(self, text: str) -> None:
        """Record what the model is asked to do next."""
        self._messages.append(UserMessage(text))

    def close(self, finished: dict[str, ToolResult]) -> None:
        """Answer calls that are still open when the run ends: with the results that came, or that none did."""
        last = self._messages[-1]
        if isinstance(last, AssistantMessage) and last.tool_calls:
            results = [finished.get(call.id, _unfinished(call)) for call in last.tool_calls]
            self._messages.append(ToolMessage(tuple(results)))

    def _claim_id(self, call: ToolCall) -> ToolCall:
        call_id = call.id
        number = len(self._call_ids)
        while not call_id or call_id in self._call_ids:
            call_id, number = f"call_{number}", number + 1
        self._call_ids.add(call_id)
        return call if call_id == call.id else replace(call, id=call_id)


def _unfinished(call: ToolCall) -> ToolResult:
    return ToolResult(call.id, call.name, "The run ended before this call had a result.", is_error=True)
