"""`Toolset`: tools that belong together and travel as one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

from agentflow.errors import ToolDefinitionError
from agentflow.tool.definition import Tool, tool


@dataclass(frozen=True)
class Toolset:
    """Some tools under one name. Every method gives a new toolset.

    Attributes:
        tools: The tools, their names unique.
        name: For people.
    """

    tools: tuple[Tool[..., Any], ...]
    name: str = "tools"

    def __post_init__(self) -> None:
        """Check that the names are unique.

        Raises:
            ToolDefinitionError: Two tools have one name.
        """
        _check_names(self.tools)

    @classmethod
    def of(cls, *sources: ToolSource, name: str = "tools") -> Toolset:
        """Gather tools, functions and other toolsets."""
        return cls(collect_tools(sources), name)

    @classmethod
    def from_object(cls, instance: object, *, name: str | None = None) -> Toolset:
        """Gather the methods of `instance` that are decorated with ``@tool``, bound to it.

        Raises:
            ToolDefinitionError: It has none.
        """
        names = [key for key, value in inspect.getmembers_static(instance) if isinstance(value, Tool)]
        if not names:
            raise ToolDefinitionError(
                f"{type(instance).__name__} has no method decorated with @tool", hint="decorate the methods to offer"
            )
        return cls(tuple(getattr(instance, key) for key in names), name or type(instance).__name__)

    def prefixed(self, prefix: str) -> Toolset:
        """Put ``prefix_`` before every name, so that two toolsets can stand side by side."""
        return self._map(lambda t: t.with_options(name=f"{prefix}_{t.name}"))

    def filtered(self, keep: Callable[[Tool[..., Any]], bool]) -> Toolset:
        """Keep the tools for which `keep` says yes."""
        return Toolset(tuple(t for t in self.tools if keep(t)), self.name)

    def with_options(self, **changes: Any) -> Toolset:
        """Change options of all tools, for example ``with_options(requires_approval=True)``."""
        return self._map(lambda t: t.with_options(**changes))

    def _map(self, change: Callable[[Tool[..., Any]], Tool[..., Any]]) -> Toolset:
        return Toolset(tuple(change(t) for t in self.tools), self.name)


ToolSource: TypeAlias = Union[Tool[..., Any], Callable[..., Any], Toolset]
"""What can be handed in where tools are expected; a plain function becomes a tool with default options."""


def collect_tools(sources: Iterable[ToolSource]) -> tuple[Tool[..., Any], ...]:
    """Make a flat tuple of tools with unique names, in the order given.

    Raises:
        ToolDefinitionError: Something is no tool, or two tools have one name.
    """
    tools: list[Tool[..., Any]] = []
    for source in sources:
        if isinstance(source, Toolset):
            tools += source.tools
        else:
            tools.append(source if isinstance(source, Tool) else tool(source))
    _check_names(tools)
    return tuple(tools)


def _check_names(tools: Iterable[Tool[..., Any]]) -> None:
    seen: set[str] = set()
    for item in tools:
        if item.name in seen:
            raise ToolDefinitionError(
                f"two tools are called {item.name!r}", hint="rename one: tool(name=...) or Toolset.prefixed(...)"
            )
        if item.is_method:
            raise ToolDefinitionError(
                f"tool {item.name!r} is a method without its object",
                hint="pass it from an instance, as in tools=[db.query]",
            )
        seen.add(item.name)
