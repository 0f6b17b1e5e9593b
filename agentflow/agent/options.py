"""Options of agents and of runs, as type checkers see them and as they are checked."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypedDict

from agentflow.agent.compaction import Compaction
from agentflow.agent.job import RetryUnknown
from agentflow.agent.limits import Limits, Prices
from agentflow.agent.models import ModelSource
from agentflow.agent.observer import EventObserver
from agentflow.errors import ConfigurationError
from agentflow.executor import Approver
from agentflow.journal import Journal
from agentflow.tool import RunContext, ToolSource
from agentflow.tool.context import DepsT
from agentflow.types import GenerationSettings, Message, ToolChoice

Instructions: TypeAlias = str | Callable[[RunContext[Any]], str | Awaitable[str]]
"""A text, or a function of the run's context that gives one; sync or async."""


class AgentOptions(TypedDict, total=False):
    """Options of `Agent` that do not change its type."""

    instructions: Instructions
    tools: Iterable[ToolSource]
    tool_choice: ToolChoice
    name: str
    settings: GenerationSettings | None
    limits: Limits | None
    prices: Prices | None
    output_retries: int
    approve: Approver | None
    max_concurrency: int | None
    max_result_chars: int
    has_result_reader: bool
    compaction: Compaction | None
    handoffs: Iterable[Any]


class RunOptions(TypedDict, Generic[DepsT], total=False):
    """Options of one run.

    Attributes:
        deps: Dependencies for tools, instructions and validators; see `RunContext`.
        history: Conversation to continue, such as ``result.messages`` of an earlier run.
        settings: How to generate, in place of the agent's.
        limits: How far the run may go, in place of the agent's.
        model: In place of the agent's.
        approve: Asked before a tool that needs approval runs, in place of the agent's.
        on_event: Told of everything that happens, in the event loop.
        journal: Where the run is recorded, so that it can be resumed.
        run_id: Name of the run; made up if not given. A run of that name in the journal is gone on with.
        retry_unknown: Whether a call that was running when the process died may be made again although its tool is
            not idempotent; a bool or a function of the call, also for nested runs. Otherwise the model is told that
            its effect is unknown.
    """

    deps: DepsT
    history: Sequence[Message]
    settings: GenerationSettings | None
    limits: Limits | None
    model: ModelSource | None
    approve: Approver | None
    on_event: EventObserver | None
    journal: Journal | None
    run_id: str
    retry_unknown: RetryUnknown


def check_options(options: Mapping[str, Any], known: type[Any]) -> None:
    """Refuse options that the TypedDict `known` does not have; a misspelt one would have no effect.

    Raises:
        ConfigurationError: An option is unknown.
    """
    for name in options:
        if name not in known.__annotations__:
            close = difflib.get_close_matches(name, known.__annotations__, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"options are {', '.join(known.__annotations__)}"
            raise ConfigurationError(f"there is no option {name!r}", hint=hint)


async def resolve_instructions(instructions: Instructions, context: RunContext[Any]) -> str:
    """Get the text of instructions for one run."""
    if isinstance(instructions, str):
        return instructions
    text = instructions(context)
    return await text if inspect.isawaitable(text) else text
