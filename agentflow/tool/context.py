"""What a tool, an instruction function or an output validator is told about the run around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from agentflow.events import Event
from agentflow.types import GenerationSettings, Message, ToolCall, Usage

DepsT = TypeVar("DepsT", default=None)
"""Type of the dependencies that the caller of a run hands in."""


def _ignore(_: Any) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class RunContext(Generic[DepsT]):
    """A run as a tool sees it. Declare it as the first parameter; the model never learns of it.

    Attributes:
        deps: What the caller of the run passed as ``deps=``: connections, settings, the user's identity.
        agent: Name of the agent.
        run_id: Unique per run.
        turn: Turn of the run, from 1; 0 before the first.
        task: What the user asked for.
        messages: The conversation so far.
        usage: What the run has cost so far.
        settings: How the run generates.
        call: The call that is running; ``None`` outside of a tool.
        attempt: Which try of this call it is, from 1.
        depth: How many runs this one is nested in, when agents run as tools.
        approve: Asked before a tool that needs approval runs; handed on to nested runs.
        journal: Where the run is recorded; handed on to nested runs.
        retry_unknown: Which calls may be made again although their effect is unknown; handed on to nested runs.
        is_watched: Whether anybody observes the run.
        emit: Tells the run's observers of an event.
        add_usage: Adds what a tool spent on models to what the run has cost.
    """

    deps: DepsT
    agent: str = "agent"
    run_id: str = ""
    turn: int = 0
    task: str = ""
    messages: tuple[Message, ...] = ()
    usage: Usage = field(default_factory=Usage)
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    call: ToolCall | None = None
    attempt: int = 1
    depth: int = 0
    approve: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    journal: Any = field(default=None, repr=False, compare=False)
    retry_unknown: Any = field(default=False, repr=False, compare=False)
    is_watched: bool = False
    emit: Callable[[Event], None] = field(default=_ignore, repr=False, compare=False)
    add_usage: Callable[[Usage], None] = field(default=_ignore, repr=False, compare=False)

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every try of one call, and for no other call."""
        return f"{self.run_id}/{self.call.id if self.call else self.turn}"


AnyContext = RunContext[Any]
"""A context with any dependencies."""


@dataclass(frozen=True)
class Progress:
    """What a generator tool yields to report how far it is; its last other value is the result.

    Attributes:
        message: What is going on.
        fraction: How much is done, from 0 to 1, if known.
    """

    message: str
    fraction: float | None = None
