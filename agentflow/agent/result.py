"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from typing_extensions import TypeVar

from agentflow.types import AssistantMessage, Message, ToolCall, ToolMessage, ToolResult, Usage

OutputT = TypeVar("OutputT", default=str)
"""Type of an agent's output."""


@dataclass(frozen=True, kw_only=True)
class RunResult(Generic[OutputT]):
    """A run that reached its output.

    Attributes:
        output: The output, of the agent's output type.
        messages: The whole conversation; pass it as ``history=`` to go on.
        num_history: How many of them were there before the run.
        usage: What the run cost.
        num_turns: Turns that the model wrote.
        duration_s: Seconds it took.
        run_id: Unique per run.
    """

    output: OutputT
    messages: tuple[Message, ...]
    num_history: int
    usage: Usage
    num_turns: int
    duration_s: float
    run_id: str

    @property
    def new_messages(self) -> tuple[Message, ...]:
        """What this run added to the conversation."""
        return self.messages[self.num_history :]

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of this run, in the order the model wrote them."""
        return tuple(call for m in self.new_messages if isinstance(m, AssistantMessage) for call in m.tool_calls)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The results of `calls`, in the same order."""
        return tuple(result for m in self.new_messages if isinstance(m, ToolMessage) for result in m.results)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that tools of this run made and returned, in the order of their calls."""
        return tuple(Path(result.file) for result in self.results if result.file is not None)
