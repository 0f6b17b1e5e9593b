"""What a runner is given and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from agentflow.agent import Agent, Limits, RunResult
from agentflow.agent.result import OutputT
from agentflow.errors import ConfigurationError
from agentflow.planner import Planner, PlanResult
from agentflow.types import GenerationSettings, Message


@dataclass(frozen=True, kw_only=True)
class Assignment(Generic[OutputT]):
    """A task for an agent.

    Attributes:
        agent: Who works: an agent or a planner.
        task: On what.
        run_id: Name of the run; with a journal, an assignment of the same name goes on or gives its result again.
        deps: Dependencies for tools.
        history: Conversation to continue; planners take none.
        settings: In place of the agent's.
        limits: In place of the agent's; `Limits.timeout_s` is the deadline of this run.
    """

    agent: Agent[Any, OutputT] | Planner[Any, OutputT]
    task: str
    run_id: str | None = None
    deps: Any = None
    history: Sequence[Message] = ()
    settings: GenerationSettings | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        """Check that the members go together.

        Raises:
            ConfigurationError: A planner is given a history.
        """
        if self.history and isinstance(self.agent, Planner):
            raise ConfigurationError("a planner takes no history", hint="say in the task what it must know")


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
    result: RunResult[OutputT] | PlanResult[OutputT] | None
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
