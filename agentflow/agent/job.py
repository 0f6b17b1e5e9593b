"""What a run needs and does not change."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from agentflow.agent.limits import Limits, Prices
from agentflow.backend.base import Backend
from agentflow.executor import Approver, Executor
from agentflow.journal import Journal
from agentflow.output import OutputType
from agentflow.tool import RunContext
from agentflow.types import GenerationSettings, Message, ToolCall, ToolChoice, ToolSpec

OutputCheck = Callable[[RunContext[Any], Any], Awaitable[Any]]
"""Takes a parsed output and gives back the output to use; raises `OutputValidationError` to ask for another try."""


RetryUnknown: TypeAlias = bool | Callable[[ToolCall], bool]
"""Whether a call whose effect is unknown may be made again; for all calls, or decided call by call."""


HandOff = Callable[[RunContext[Any], Sequence[Message]], Awaitable[Any]]
"""Sets up the `Loop` of another agent that goes on with a conversation."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a run needs and does not change.

    Attributes:
        backend: Writes the turns.
        executor: Runs the calls.
        tools: What the model is told of the tools.
        tool_choice: Whether it may or must call them; see `ToolChoice`.
        output_type: What the answer must be.
        output_checks: Run on the parsed answer, in order.
        output_retries: Answers that may be bad before the run fails.
        limits: How far the run may go.
        settings: How to generate.
        task: What the user asked for.
        deps: The caller's dependencies.
        agent: Name of the agent.
        run_id: Unique per run.
        depth: How many runs this one is nested in.
        approve: Asked before tools that need approval run.
        journal: Where the run is recorded; handed on to nested runs.
        retry_unknown: Which calls may be made again although their effect is unknown; see `RunOptions`.
        prices: What the model costs.
        handoffs: What to do after a call that lets another agent go on, by the name of its tool.
    """

    backend: Backend
    executor: Executor
    tools: tuple[ToolSpec, ...]
    tool_choice: ToolChoice
    output_type: OutputType[Any]
    output_checks: tuple[OutputCheck, ...]
    output_retries: int
    limits: Limits
    settings: GenerationSettings
    task: str
    deps: Any
    agent: str
    run_id: str
    depth: int = 0
    approve: Approver | None = None
    journal: Journal | None = None
    retry_unknown: RetryUnknown = False
    prices: Prices | None = None
    handoffs: Mapping[str, HandOff] = field(default_factory=dict)

    def make_context(self, **state: Any) -> RunContext[Any]:
        """Make what tools, instructions and output checks are told; `state` is what changes during the run."""
        return RunContext(
            deps=self.deps,
            agent=self.agent,
            run_id=self.run_id,
            task=self.task,
            settings=self.settings,
            depth=self.depth,
            approve=self.approve,
            journal=self.journal,
            retry_unknown=self.retry_unknown,
            **state,
        )


def derive_seed(seed: int | None, part: int | str) -> int | None:
    """Derive the seed of one turn or one nested run, so that they differ and all can be repeated from one seed."""
    if seed is None:
        return None
    return int.from_bytes(hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=4).digest())


def make_output_check(function: Callable[..., Any]) -> OutputCheck:
    """Give a caller's validator, sync or async, with or without context, the one shape that the loop calls."""
    takes_context = len(inspect.signature(function).parameters) > 1

    async def check(context: RunContext[Any], output: Any) -> Any:
        checked = function(context, output) if takes_context else function(output)
        return await checked if inspect.isawaitable(checked) else checked

    return check
