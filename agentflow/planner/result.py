"""What a planner is asked and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypedDict

from agentflow.agent.observer import EventObserver
from agentflow.agent.result import OutputT
from agentflow.tool.context import DepsT
from agentflow.types import Message, Plan, Usage


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


class PlanOptions(TypedDict, Generic[DepsT], total=False):
    """Options of one run of a planner.

    Attributes:
        plan: Run this plan in place of a new one; steps that are done stay done.
        deps: Dependencies for tools; see `RunContext`.
        on_event: Told of everything that happens, in the event loop.
        run_id: Name of the run; made up if not given.
    """

    plan: Plan | None
    deps: DepsT
    on_event: EventObserver | None
    run_id: str
