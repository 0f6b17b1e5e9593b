"""Going on with a run of a plan from its journal.

    PlanUpdated   -> the plan, and how far it is
    TurnWritten   -> the arguments of a step
    CallRunning   -> the call of a step may have had its effect
    CallFinished  -> a step has its result and is not run again

Questions to the model (for a plan, for the answer) are runs of their own, nested in this one, and go on by themselves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from agentflow.agent.resuming import check_owner, may_repeat, report_unknown
from agentflow.events import CallFinished, CallRunning, Event, PlanUpdated, TurnWritten
from agentflow.journal import RunRecord
from agentflow.planner.execution import PlanRun, describe_problem, end_step
from agentflow.planner.graph import escape_arguments
from agentflow.types import PlanStep, ToolCall, ToolResult, Usage, UserMessage


@dataclass
class Calls:
    """What a journal knows of the calls of the steps of one plan, by id of the step."""

    written: dict[str, ToolCall] = field(default_factory=dict)
    running: dict[str, ToolCall] = field(default_factory=dict)
    finished: dict[str, tuple[ToolCall, ToolResult]] = field(default_factory=dict)


def describe(run: PlanRun) -> RunRecord:
    """Say what a journal must know of a run before it starts."""
    return RunRecord(
        run_id=run.run_id,
        agent=run.name,
        task=run.plan.task,
        model=run.backend.name,
        messages=run.with_instructions([UserMessage(run.plan.task)]),
        num_history=0,
        settings=run.settings,
        started_at=time.time(),
    )


def restore_inplace(run: PlanRun, record: RunRecord) -> Calls:
    """Put `run` into the state that its journal tells.

    Returns:
        The calls of steps that had ended or were running when the journal ended; `settle_calls` deals with them.

    Raises:
        ConfigurationError: The journal's run is of another planner or task.
    """
    check_owner(record, agent=run.name, task=run.plan.task)
    assert run.journal is not None  # noqa: S101 # the record came from it
    run.recorder = run.journal if record.is_resumable else None
    calls = Calls()
    for event in run.journal.events(record.run_id):
        run.num_turns = max(run.num_turns, event.turn)
        _apply(event, run, calls)
    return calls


def _apply(event: Event, run: PlanRun, calls: Calls) -> None:
    if isinstance(event, PlanUpdated):
        run.plan, run.is_planned = event.plan, True
        run.is_approved, run.num_replans = event.is_approved, event.num_replans
        steps = {step.id: step for step in event.plan.steps}
        run.problems = {name: describe_problem(steps[name]) for name in event.unsettled}
        run.usage += event.usage
        run.num_asked += event.usage.requests
        if event.is_revised:  # its steps are others, whatever their ids
            calls.written, calls.running, calls.finished = {}, {}, {}
    elif isinstance(event, TurnWritten):
        run.usage += event.turn_usage
        run.num_asked += 1
        calls.written.update((call.id, call) for call in event.message.tool_calls)
    elif isinstance(event, CallRunning):
        calls.running[event.call.id] = event.call
    elif isinstance(event, CallFinished):
        calls.finished[event.call.id] = (event.call, event.result)
        run.usage += event.usage + Usage(tool_calls=1)


def settle_calls(run: PlanRun, calls: Calls) -> None:
    """Fill in what was written, and record the steps that had ended or of which nobody knows whether they did."""
    run.plan = replace(run.plan, steps=tuple(_fill_in(step, calls.written.get(step.id)) for step in run.plan.steps))
    is_idempotent, retry = run.executor.is_idempotent, run.retry_unknown
    for step in run.plan.steps:
        if step.state != "pending":
            continue
        if ended := calls.finished.get(step.id):
            run.record(end_step(step, *ended))
        elif (call := calls.running.get(step.id)) and not may_repeat(call, is_idempotent, retry):
            run.record(_give_up(run, step, call))


def _fill_in(step: PlanStep, call: ToolCall | None) -> PlanStep:
    if call is None or step.arguments is not None:
        return step
    return replace(step, arguments=escape_arguments(call.arguments))


def _give_up(run: PlanRun, step: PlanStep, call: ToolCall) -> PlanStep:
    result = report_unknown(call)
    run.usage += Usage(tool_calls=1)
    run.observe(is_turn=False).tell(CallFinished, call=call, result=result, duration_s=0.0)
    return end_step(step, call, result)
