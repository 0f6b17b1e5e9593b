"""Agents that work for other agents: called as a tool, or handed the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentflow.agent.job import HandOff, derive_seed
from agentflow.agent.loop import Loop
from agentflow.errors import LimitExceededError, ToolExecutionError
from agentflow.tool import RunContext, Tool, tool
from agentflow.types import Message

if TYPE_CHECKING:
    from agentflow.agent.agent import Agent

MAX_DEPTH = 8
"""Deepest nesting of runs; agents that call each other in a circle end here."""


def delegate(agent: Agent[Any, Any], *, name: str, description: str | None, **options: Any) -> Tool[..., Any]:
    """Make a tool that runs `agent`; see `Agent.as_tool`.

    The tool counts as idempotent: a nested run whose process died goes on from the journal, as its caller does.
    """

    async def ask(context: RunContext[Any], task: str) -> Any:
        if context.depth >= MAX_DEPTH:
            raise ToolExecutionError(f"{name} is nested {MAX_DEPTH} runs deep; do the task yourself.")
        loop = await _prepare_nested(agent, task, context)
        try:
            return (await loop.run()).output
        finally:
            context.add_usage(loop.usage)

    text = description or f"Hand a task to the agent {agent.name!r} and get its answer."
    return tool(name=name, description=text, **{"timeout_s": None, "is_idempotent": True, **options})(ask)


def make_handoff(agent: Agent[Any, Any]) -> tuple[Tool[..., Any], HandOff]:
    """Make the tool that says that `agent` shall go on, and what then sets up its run on the same conversation."""
    name = f"transfer_to_{agent.name}"

    async def transfer() -> str:
        return f"{agent.name} goes on from here."

    async def hand_over(context: RunContext[Any], history: Sequence[Message]) -> Loop[Any]:
        if context.depth >= MAX_DEPTH:
            raise LimitExceededError(
                f"{name} was called {MAX_DEPTH} hand-offs deep", limit="depth", hint="agents hand over in a circle"
            )
        return await _prepare_nested(agent, "", context, history)

    description = f"Let the agent {agent.name!r} go on with the conversation in your place and answer."
    return tool(name=name, description=description, is_idempotent=True)(transfer), hand_over


async def _prepare_nested(
    agent: Agent[Any, Any], task: str, context: RunContext[Any], history: Sequence[Message] = ()
) -> Loop[Any]:
    """Set up a run inside the call of `context`: its dependencies, observers, journal and seed are handed down."""
    assert context.call is not None  # noqa: S101 # nested runs are started by calls
    settings = agent.settings
    if settings.seed is None:
        settings = replace(settings, seed=derive_seed(context.settings.seed, f"{context.turn}/{context.call.id}"))
    return await agent.prepare(
        task,
        depth=context.depth + 1,
        history=history,
        deps=context.deps,
        settings=settings,
        approve=agent.approver or context.approve,
        journal=context.journal,
        retry_unknown=context.retry_unknown,
        run_id=f"{context.run_id}.{context.call.id}",
        on_event=context.emit if context.is_watched else None,
    )
