"""Functions that a model may call: `@tool`, `Tool`, `Toolset`, and what a running tool is told.

A tool is a function and what the model must know of it. Nothing here runs a tool: time limits,
threads, approval and errors turned into results belong to the executor.
"""

from agentflow.tool.context import Progress, RunContext
from agentflow.tool.definition import DEFAULT_TIMEOUT_S, Tool, tool
from agentflow.tool.file import File
from agentflow.tool.toolset import Toolset, ToolSource, collect_tools

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "File",
    "Progress",
    "RunContext",
    "Tool",
    "ToolSource",
    "Toolset",
    "collect_tools",
    "tool",
]
