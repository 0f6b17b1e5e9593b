"""How calls, results and values read on one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from agentflow.types import JsonValue, ToolCall, ToolResult

MAX_VALUE_CHARS: Final = 200


def call_text(call: ToolCall) -> str:
    """Write a call as Python would: ``weekday(date="2026-03-14")``."""
    arguments = ", ".join(f"{name}={compact(value)}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"


def result_text(result: ToolResult) -> str:
    """Write a result: ``weekday: "Saturday"`` for an object, the message for an error, else JSON."""
    content = result.content
    if isinstance(content, Mapping):
        return ", ".join(f"{name}: {compact(value)}" for name, value in content.items())
    return content if isinstance(content, str) and result.is_error else compact(content)


def compact(value: JsonValue) -> str:
    """Write a JSON value on one line, cut after `MAX_VALUE_CHARS` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"


def to_json(output: Any) -> Any:
    """Turn any output of a run into plain JSON: a pydantic object, a dataclass, a container or a scalar."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(output)
