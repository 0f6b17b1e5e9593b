"""What a runner is given and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from agentflow.agent import Agent, Limits, RunResult
from agentflow.agent.result import OutputT
from agentflow.types import GenerationSettings, Message


@dataclass(frozen=True, kw_only=True)
class Assignment(Generic[OutputT]):
    """A task for an agent.

    Attributes:
        agent: Who works.
        task: On what.
        run_id: Name of the run; with a journal, an assignment of the same name goes on or gives its result again.
        deps: Dependencies for tools.
        history: Conversation to continue.
        settings: In place of the agent's.
        limits: In place of the agent's; `Limits.timeout_s` is the deadline of this run.
    """

    agent: Agent[Any, OutputT]
    task: str
    run_id: str | None = None
    deps: Any = None
    history: Sequence[Message] = ()
    settings: GenerationSettings | None = None
    limits: Limits | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[OutputT]):
    """How an assignment ended: with a result or with an error, never with both.

    Attributes:
        assignment: The assignment.
        result: What the run gave back.
        error: What it raised.
        duration_s: Seconds that the run took.
        wait_s: Seconds from the start of the runner to the start of the run.
    """

    assignment: Assignment[OutputT]
    result: RunResult[OutputT] | None
    error: Exception | None
    duration_s: float
    wait_s: float = 0.0

    @property
    def is_successful(self) -> bool:
        """Whether there is an output."""
        return self.error is None

    @property
    def output(self) -> OutputT:
        """The output.

        Raises:
            Exception: What the run raised.
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None  # noqa: S101 # one of the two is there
        return self.result.output
