"""Asking somebody before a tool runs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentflow.errors import ToolDeniedError
from agentflow.tool import Tool
from agentflow.types import JsonValue, ToolCall


@dataclass(frozen=True)
class Approval:
    """Yes.

    Attributes:
        arguments: Arguments to use in place of the model's; they are validated again.
    """

    arguments: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True)
class Denial:
    """No.

    Attributes:
        reason: What the model is told.
    """

    reason: str = ""


Approver: TypeAlias = Callable[[ToolCall, Tool[..., Any]], "Decision | Awaitable[Decision]"]
"""Asked before each call of a tool that needs approval; sync (must return quickly) or async (may take its time).

One that wants to be asked about the calls of all tools says so with an attribute ``wants_all_calls = True``."""

Decision: TypeAlias = "bool | Approval | Denial"


async def ask(approve: Approver | None, call: ToolCall, tool: Tool[..., Any]) -> ToolCall:
    """Ask `approve` about `call`; calls of tools that need no approval pass, unless it wants to see them all.

    Returns:
        The call to run, with the approver's arguments if it changed them.

    Raises:
        ToolDeniedError: The answer is no, or there is nobody to ask.
    """
    if not (tool.needs_approval or getattr(approve, "wants_all_calls", False)):
        return call
    if approve is None:
        raise ToolDeniedError(
            f"{call.name} did not run: it needs approval and nobody is there to give it. Go on without it."
        )
    answer = approve(call, tool)
    decision = await answer if inspect.isawaitable(answer) else answer
    if decision is True:
        return call
    if isinstance(decision, Approval):
        return call if decision.arguments is None else ToolCall(call.id, call.name, decision.arguments)
    reason = decision.reason if isinstance(decision, Denial) else ""
    raise ToolDeniedError(f"{call.name} was not approved and did not run{': ' + reason if reason else '.'}")
