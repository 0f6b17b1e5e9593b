"""Agents as tools of other agents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentflow.agent.job import derive_seed
from agentflow.errors import ToolExecutionError
from agentflow.tool import RunContext, Tool, tool

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
        assert context.call is not None  # noqa: S101 # tools are called by calls
        settings = agent.settings
        if settings.seed is None:
            settings = replace(settings, seed=derive_seed(context.settings.seed, f"{context.turn}/{context.call.id}"))
        loop = await agent.prepare(
            task,
            depth=context.depth + 1,
            deps=context.deps,
            settings=settings,
            approve=agent.approver or context.approve,
            journal=context.journal,
            run_id=f"{context.run_id}.{context.call.id}",
            on_event=context.emit if context.is_watched else None,
        )
        try:
            return (await loop.run()).output
        finally:
            context.add_usage(loop.usage)

    text = description or f"Hand a task to the agent {agent.name!r} and get its answer."
    return tool(name=name, description=text, **{"timeout_s": None, "is_idempotent": True, **options})(ask)
