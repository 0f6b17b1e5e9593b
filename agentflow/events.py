"""What happens during a run, told while it happens.

An agent makes these values; a terminal, a log, a journal or a server reads them. They are frozen
and hold nothing that waits. How they travel (a callback, an async iterator) is the agent's matter.

A run speaks in this order; indented lines repeat, lines of one turn's calls interleave:

    RunStarted
      TurnStarted
        DraftUpdated            after every denoising step, from backends that draft
        OutputDrafted           the answer as far as the draft shows it, from agents with a typed output
      TurnWritten
      UsageUpdated
        CallReady               a call as the model wrote it, in the order written
        CallRunning             arguments are valid and approved, the tool starts
          CallProgressed        the tool says how far it is
        CallFinished            the result, good or bad; every CallReady gets one
      OutputRejected            the answer fails its type or a validator; the model is asked again
      OutputReady               the answer, validated
    RunFinished                 always the last one, whatever happened
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from agentflow.types import AssistantMessage, Draft, FinishReason, JsonValue, Plan, ToolCall, ToolResult, Usage

RunEnd: TypeAlias = Literal["output", "limit", "error", "cancelled"]
"""How a run ended: with its output, at a limit, with an error, or cancelled from outside."""


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """What every event says: whose it is.

    Attributes:
        agent: Name of the agent.
        turn: Turn of the run that it belongs to, from 1; 0 before the first turn.
        run_id: Unique per run; agents that run as tools have runs of their own.
    """

    agent: str
    turn: int
    run_id: str


@dataclass(frozen=True, kw_only=True)
class RunStarted(RunEvent):
    """A run begins.

    Attributes:
        task: What the user asked for.
        model: Name of the model.
    """

    task: str
    model: str


@dataclass(frozen=True, kw_only=True)
class TurnStarted(RunEvent):
    """The model is asked for a turn."""


@dataclass(frozen=True, kw_only=True)
class DraftUpdated(RunEvent):
    """The canvas after one denoising step.

    Attributes:
        draft: The canvas.
    """

    draft: Draft


@dataclass(frozen=True, kw_only=True)
class OutputDrafted(RunEvent):
    """The answer as far as the draft shows it, changed since the last one; the final one is `OutputReady`.

    Attributes:
        output: A value of the agent's output type in which everything that stands there is valid; what is still
            open is missing.
        is_settled: Whether the canvas is committed; before, the model may still change its mind.
    """

    output: Any
    is_settled: bool


@dataclass(frozen=True, kw_only=True)
class TurnWritten(RunEvent):
    """The model wrote a turn; nothing of it has been used yet.

    Attributes:
        message: The turn.
        finish_reason: Why it ended.
        turn_usage: What it cost.
        problem: Why it cannot be read, if it cannot; it is then neither calls nor an answer.
    """

    message: AssistantMessage
    finish_reason: FinishReason
    turn_usage: Usage
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class UsageUpdated(RunEvent):
    """The cost of a turn is counted.

    Attributes:
        usage: What the run has cost so far.
        turn_usage: What this turn cost.
    """

    usage: Usage
    turn_usage: Usage


@dataclass(frozen=True, kw_only=True)
class CallReady(RunEvent):
    """The model wrote a tool call; nothing has run yet.

    Attributes:
        call: The call as written.
    """

    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class CallRunning(RunEvent):
    """A tool starts. A call that is refused, unknown or wrongly filled never gets here.

    Attributes:
        call: The call as approved; an approver may have changed its arguments.
    """

    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class CallProgressed(RunEvent):
    """A running tool reports how far it is.

    Attributes:
        call: The call.
        message: What the tool says.
        fraction: How much is done, from 0 to 1, if the tool knows.
    """

    call: ToolCall
    message: str
    fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class CallFinished(RunEvent):
    """A tool call has its result.

    Attributes:
        call: The call.
        result: What goes back to the model.
        duration_s: Seconds from `CallReady` to here, waiting included.
        usage: What the tool spent on models, as agents that run as tools do.
        full_content: What the tool returned, if `result` shows only its first page.
    """

    call: ToolCall
    result: ToolResult
    duration_s: float
    usage: Usage = field(default_factory=Usage)
    full_content: JsonValue = None


@dataclass(frozen=True, kw_only=True)
class OutputRejected(RunEvent):
    """The answer cannot be used; the model is told why and asked again.

    Attributes:
        text: The answer as written.
        problem: What the model is told.
    """

    text: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class OutputReady(RunEvent):
    """The run has its output.

    Attributes:
        output: A value of the agent's output type.
    """

    output: Any


@dataclass(frozen=True, kw_only=True)
class PlanUpdated(RunEvent):
    """A plan was made, changed, or one of its steps ended; only runs of a planner tell it.

    Attributes:
        plan: The plan as it stands.
        is_revised: Whether its steps are new ones, not only further than before.
        is_approved: Whether it may run.
        num_replans: How often the rest was planned again.
        unsettled: Ids of the steps that failed or surprised since the plan was last revised.
        usage: What the planning cost that led to it.
    """

    plan: Plan
    is_revised: bool = False
    is_approved: bool = True
    num_replans: int = 0
    unsettled: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, kw_only=True)
class RunFinished(RunEvent):
    """The last event of a run.

    Attributes:
        reason: How it ended.
        usage: What it cost.
        duration_s: Seconds it took.
        error: Message of the error, if there was one.
    """

    reason: RunEnd
    usage: Usage
    duration_s: float
    error: str = ""


Event: TypeAlias = (
    RunStarted
    | TurnStarted
    | DraftUpdated
    | OutputDrafted
    | TurnWritten
    | UsageUpdated
    | CallReady
    | CallRunning
    | CallProgressed
    | CallFinished
    | OutputRejected
    | OutputReady
    | PlanUpdated
    | RunFinished
)
"""Any event of a run; match on the class."""
