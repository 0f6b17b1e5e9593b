"""What a planner is asked and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypedDict

from agentflow.agent.job import RetryUnknown
from agentflow.agent.limits import Limits
from agentflow.agent.models import ModelSource
from agentflow.agent.observer import EventObserver
from agentflow.agent.result import OutputT
from agentflow.executor import Approver
from agentflow.journal import Journal
from agentflow.tool.context import DepsT
from agentflow.types import (
    AssistantMessage,
    GenerationSettings,
    Message,
    Plan,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
)


@dataclass(frozen=True, kw_only=True)
class PlanResult(Generic[OutputT]):
    """A plan that was run and answered.

    Attributes:
        output: The output, of the planner's output type.
        plan: The plan with the state and result of every step.
        messages: Task, calls and results as a conversation, and the answer; can be an agent's history.
        usage: What it cost, planning included.
        num_replans: How often the rest was planned again.
        duration_s: Seconds it took.
        run_id: Unique per run.
    """

    output: OutputT
    plan: Plan
    messages: tuple[Message, ...]
    usage: Usage
    num_replans: int
    duration_s: float
    run_id: str

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of the steps that ran, in the order of the plan."""
        return tuple(call for m in self.messages if isinstance(m, AssistantMessage) for call in m.tool_calls)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The results of `calls`, in the same order."""
        return tuple(result for m in self.messages if isinstance(m, ToolMessage) for result in m.results)


class PlanOptions(TypedDict, Generic[DepsT], total=False):
    """Options of one run of a planner.

    Attributes:
        plan: Run this plan in place of a new one; steps that are done stay done.
        deps: Dependencies for tools; see `RunContext`.
        settings: How to generate, in place of the planner's.
        limits: How far the run may go, in place of the planner's.
        model: In place of the planner's.
        approve: Asked before a tool that needs approval runs, in place of the planner's.
        on_event: Told of everything that happens, in the event loop.
        journal: Where the run is recorded, so that it can be resumed.
        run_id: Name of the run; made up if not given. A run of that name in the journal is gone on with.
        retry_unknown: Which calls may be made again that were running when the process died; see `RunOptions`.
    """

    plan: Plan | None
    deps: DepsT
    settings: GenerationSettings | None
    limits: Limits | None
    model: ModelSource | None
    approve: Approver | None
    on_event: EventObserver | None
    journal: Journal | None
    run_id: str
    retry_unknown: RetryUnknown
