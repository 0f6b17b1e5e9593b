"""For tests of agents and tools: models without a model, and assertions on what a run did.

    from agentflow.testing import ScriptedBackend, assert_calls, call

    result = agent.run_sync("What is the weather?", model=ScriptedBackend([call("get_weather", city="Oslo"), "Rain."]))
    assert_calls(result, call("get_weather", city="Oslo"))

`ScriptedBackend` says what it is told to; `RecordedBackend` says what a real model once said.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from agentflow.backend.recorded import RecordedBackend
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.types import ToolCall, ToolResult

__all__ = ["RecordedBackend", "ScriptedBackend", "assert_called", "assert_calls", "assert_not_called", "call"]


class HasCalls(Protocol):
    """What a run gives back."""

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the run."""
        ...

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """Their results."""
        ...


def assert_calls(result: HasCalls, *expected: ToolCall | str, is_ordered: bool = True) -> None:
    """Check that a run made exactly these calls.

    Args:
        result: What the run gave back.
        *expected: Calls, made with `call`, or names of tools where the arguments do not matter.
        is_ordered: Whether they must stand in this order.

    Raises:
        AssertionError: It did not; the message shows both.
    """
    made = list(result.calls)
    if is_ordered:
        fits = len(made) == len(expected) and all(map(_fits, made, expected))
    else:
        fits = len(made) == len(expected) and _can_match(made, list(expected))
    if not fits:
        wanted = "\n".join(f"  {_show(item)}" for item in expected) or "  none"
        raise AssertionError(f"the run made other calls\nexpected:\n{wanted}\nmade:\n{_show_calls(result)}")


def assert_called(result: HasCalls, name: str, /, **arguments: Any) -> ToolCall:
    """Check that a run called the tool `name` with at least these arguments, and get the first such call.

    Raises:
        AssertionError: It did not; the message shows what it did.
    """
    for made in result.calls:
        if made.name == name and all(
            key in made.arguments and made.arguments[key] == arguments[key] for key in arguments
        ):
            return made
    raise AssertionError(f"the run did not call {_show(call(name, **arguments))}\nmade:\n{_show_calls(result)}")


def assert_not_called(result: HasCalls, name: str) -> None:
    """Check that a run did not call the tool `name`.

    Raises:
        AssertionError: It did; the message shows how.
    """
    if any(made.name == name for made in result.calls):
        raise AssertionError(f"the run called {name}\nmade:\n{_show_calls(result)}")


def _fits(made: ToolCall, expected: ToolCall | str) -> bool:
    if isinstance(expected, str):
        return made.name == expected
    return (made.name, dict(made.arguments)) == (expected.name, dict(expected.arguments))


def _can_match(made: list[ToolCall], expected: list[ToolCall | str]) -> bool:
    """Whether each call can be given another expectation; names take what the calls leave."""
    left = list(made)
    for item in sorted(expected, key=lambda item: isinstance(item, str)):
        found = next((other for other in left if _fits(other, item)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _show(item: ToolCall | str) -> str:
    if isinstance(item, str):
        return f"{item}(...)"
    inside = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in item.arguments.items())
    return f"{item.name}({inside})"


def _show_calls(result: HasCalls) -> str:
    errors = {answer.call_id for answer in result.results if answer.is_error}
    lines = [f"  {_show(made)}{'  (failed)' if made.id in errors else ''}" for made in result.calls]
    return "\n".join(lines) or "  none"
