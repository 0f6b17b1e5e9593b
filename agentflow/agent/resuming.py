"""Going on with a run from its journal.

Events are applied in order, as if the run had just made them:

    TurnWritten   -> a turn of the conversation; open until its calls have results, or its answer was judged
    CallRunning   -> the call may have had its effect
    CallFinished  -> the call has a result and is not made again
    OutputRejected-> the model was asked again
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow.agent.job import Job, RetryUnknown
from agentflow.agent.loop import Loop, ask_again
from agentflow.agent.observer import EventObserver, Observer
from agentflow.agent.transcript import Transcript
from agentflow.errors import ConfigurationError
from agentflow.events import CallFinished, CallRunning, Event, OutputRejected, TurnWritten
from agentflow.journal import RunRecord
from agentflow.types import Generation, ToolCall, ToolResult, Usage


def restore(job: Job, record: RunRecord, on_event: EventObserver | None) -> Loop[Any]:
    """Set up a run in the state that its journal tells.

    Raises:
        ConfigurationError: The journal's run is of another agent or task.
    """
    check_owner(record, agent=job.agent, task=job.task)
    assert job.journal is not None  # noqa: S101 # the record came from it
    recorder = job.journal if record.is_resumable else None  # a finished run is only told again
    loop: Loop[Any] = Loop(
        job=job,
        transcript=Transcript.from_journal(record.messages, num_history=record.num_history),
        observer=Observer(on_event, agent=job.agent, run_id=job.run_id, recorder=recorder),
    )
    running: set[str] = set()
    for event in job.journal.events(record.run_id):
        _apply(event, loop, running)
    if loop.open_turn is not None:
        _give_up_unknown(loop, running)
    return loop


def check_owner(record: RunRecord, *, agent: str, task: str) -> None:
    """Check that a recorded run is of `agent` and `task`.

    Raises:
        ConfigurationError: It is not.
    """
    if (record.agent, record.task) != (agent, task):
        raise ConfigurationError(
            f"run {record.run_id!r} is agent {record.agent!r} on {record.task[:60]!r}, "
            f"not agent {agent!r} on {task[:60]!r}",
            hint="resume it with the agent that began it, or choose another run_id",
        )


def _apply(event: Event, loop: Loop[Any], running: set[str]) -> None:
    if isinstance(event, TurnWritten):
        _close_turn(loop)
        message = loop.transcript.add_turn(event.message)
        loop.open_turn = Generation(message, event.finish_reason, event.turn_usage)
        loop.open_problem = event.problem
        loop.usage += event.turn_usage
        loop.observer.turn = event.turn
    elif isinstance(event, CallRunning):
        running.add(event.call.id)
    elif isinstance(event, CallFinished):
        loop.finished_calls[event.call.id] = event.result
        loop.usage += event.usage
        if event.full_content is not None:
            loop.job.executor.keep(event.call, event.full_content)
    elif isinstance(event, OutputRejected):
        loop.num_rejected += 1
        loop.transcript.add_request(ask_again(event.problem))
        loop.open_turn, loop.open_problem = None, ""


def _close_turn(loop: Loop[Any]) -> None:
    """Record the results of the turn before: a further turn was written, so they were all there."""
    if loop.open_turn is not None and (calls := loop.open_turn.message.tool_calls):
        loop.transcript.add_results([loop.finished_calls[call.id] for call in calls])
        loop.usage += Usage(tool_calls=len(calls))


def _give_up_unknown(loop: Loop[Any], running: set[str]) -> None:
    """Answer calls that were running and may not be made again with the news that their effect is unknown."""
    assert loop.open_turn is not None  # noqa: S101 # checked by the caller
    is_idempotent, retry = loop.job.executor.is_idempotent, loop.job.retry_unknown
    unknown = tuple(
        call
        for call in loop.open_turn.message.tool_calls
        if call.id in running and call.id not in loop.finished_calls and not may_repeat(call, is_idempotent, retry)
    )
    loop.finished_calls.update((call.id, report_unknown(call)) for call in unknown)
    loop.given_up_calls = unknown


def may_repeat(call: ToolCall, is_idempotent: Callable[[str], bool], retry: RetryUnknown) -> bool:
    """Say whether a call that was running when the process died may be made again."""
    return is_idempotent(call.name) or bool(retry(call) if callable(retry) else retry)


def report_unknown(call: ToolCall) -> ToolResult:
    """Write the result of a call of which nobody knows whether it took effect."""
    return ToolResult(
        call.id,
        call.name,
        f"It is unknown whether this call of {call.name} took effect: the program stopped while it ran. "
        "It was not made again. Check the state of things before you call it again.",
        is_error=True,
    )
