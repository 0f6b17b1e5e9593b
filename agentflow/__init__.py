"""agentflow: agents whose model drafts in parallel.

    from agentflow import Agent, tool

    @tool
    def get_weather(city: str) -> dict:
        '''Look up the current weather.'''

    agent = Agent("embedded", tools=[get_weather], output_type=Report)
    result = agent.run_sync("What is the weather in Oslo?")

Names are resolved when they are first asked for, so that importing agentflow is quick and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentflow.tool import tool  # at once: the name of the room and of what it is known for are the same

if TYPE_CHECKING:
    from agentflow.agent import Agent, Limits, Prices, RunResult
    from agentflow.backend.base import Backend
    from agentflow.backend.scripted import ScriptedBackend
    from agentflow.constraint import Grounded, Span
    from agentflow.errors import AgentflowError, ConfigurationError, ToolDeniedError
    from agentflow.executor import Approval, Denial
    from agentflow.journal import Journal
    from agentflow.model import Model, load_model
    from agentflow.planner import Planner
    from agentflow.runner import Runner
    from agentflow.tool import File, RunContext, Tool, Toolset
    from agentflow.types import (
        AssistantMessage,
        Draft,
        GenerationSettings,
        Message,
        SystemMessage,
        ToolCall,
        ToolMessage,
        ToolResult,
        Usage,
        UserMessage,
    )

__version__ = "0.1.0"

_MODULES = {
    "Agent": "agent",
    "AgentflowError": "errors",
    "Approval": "executor",
    "AssistantMessage": "types",
    "Backend": "backend.base",
    "ConfigurationError": "errors",
    "Denial": "executor",
    "Draft": "types",
    "File": "tool",
    "GenerationSettings": "types",
    "Grounded": "constraint",
    "Journal": "journal",
    "Limits": "agent",
    "Message": "types",
    "Model": "model",
    "Planner": "planner",
    "Prices": "agent",
    "RunContext": "tool",
    "RunResult": "agent",
    "Runner": "runner",
    "ScriptedBackend": "backend.scripted",
    "Span": "constraint",
    "SystemMessage": "types",
    "Tool": "tool",
    "ToolCall": "types",
    "ToolDeniedError": "errors",
    "ToolMessage": "types",
    "ToolResult": "types",
    "Toolset": "tool",
    "Usage": "types",
    "UserMessage": "types",
    "load_model": "model",
}

__all__ = [
    "Agent",
    "AgentflowError",
    "Approval",
    "AssistantMessage",
    "Backend",
    "ConfigurationError",
    "Denial",
    "Draft",
    "File",
    "GenerationSettings",
    "Grounded",
    "Journal",
    "Limits",
    "Message",
    "Model",
    "Planner",
    "Prices",
    "RunContext",
    "RunResult",
    "Runner",
    "ScriptedBackend",
    "Span",
    "SystemMessage",
    "Tool",
    "ToolCall",
    "ToolDeniedError",
    "ToolMessage",
    "ToolResult",
    "Toolset",
    "Usage",
    "UserMessage",
    "load_model",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Import the module of a public name when the name is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'agentflow' has no attribute {name!r}")
    value = getattr(import_module(f"agentflow.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
