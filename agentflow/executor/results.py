"""Results of tools as JSON values that are safe to show to a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import anyio.to_thread
from pydantic_core import PydanticSerializationError, to_jsonable_python

from agentflow.errors import ToolExecutionError
from agentflow.tool import File
from agentflow.types import JsonValue

MAX_RESULT_CHARS = 20_000
"""Characters of a result, written as JSON, that a model is shown unless the agent says otherwise."""

MAX_DEPTH = 48
"""Deepest nesting of a result; below what the protocols read and write."""


class Returned(NamedTuple):
    """What a tool returned: a JSON value for the model, and the path of the file that it describes, if it does."""

    content: JsonValue
    file: str | None = None


async def read_returned(value: Any, *, tool_name: str) -> Returned:
    """Turn what a tool returned into what the model is told.

    Raises:
        ToolExecutionError: It cannot be said in JSON, or the file that it names cannot be read.
    """
    if not isinstance(value, File):
        return Returned(to_json_value(value, tool_name=tool_name))
    try:
        told = await anyio.to_thread.run_sync(value.describe, abandon_on_cancel=True)
    except OSError as error:
        raise ToolExecutionError(f"{tool_name} ran, but the file that it returned cannot be read: {error}") from error
    return Returned(to_json_value(told, tool_name=tool_name), str(value.path))


def to_json_value(value: Any, *, tool_name: str) -> JsonValue:
    """Turn what a tool returned into a JSON value.

    Dataclasses, pydantic models, dates, enums, paths, sets and other things that pydantic knows are converted;
    NaN and infinities become strings; text that is not valid Unicode is repaired.

    Raises:
        ToolExecutionError: It cannot be said in JSON.
    """
    try:
        try:
            plain = to_jsonable_python(value, inf_nan_mode="strings")
        except UnicodeEncodeError:  # pydantic takes lone surrogates in values, but not in keys
            plain = to_jsonable_python(_repair_keys(value), inf_nan_mode="strings")
        return _clean(plain, depth=0)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise ToolExecutionError(
            f"{tool_name} ran, but returned a {type(value).__name__} that cannot be sent as JSON: {error}"
        ) from error


def _clean(value: Any, *, depth: int) -> JsonValue:
    if depth > MAX_DEPTH:
        raise ValueError(f"it nests deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        return repair(value)
    if isinstance(value, Mapping):
        return {repair(str(key)): _clean(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth=depth + 1) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return json.dumps(value)
    return value  # type: ignore[no-any-return] # pydantic leaves only None, bool, int and float


def _repair_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {repair(key) if isinstance(key, str) else key: _repair_keys(item) for key, item in value.items()}
    return [_repair_keys(item) for item in value] if isinstance(value, list | tuple) else value


def repair(text: str) -> str:
    """Replace lone surrogates, which no encoder accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def show(value: JsonValue) -> str:
    """Write a result as text: strings as they are, everything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def truncate(value: JsonValue, *, max_chars: int) -> JsonValue:
    """Shorten a result that is too long to a text of its head and tail with a note between them."""
    text = show(value)
    if len(text) <= max_chars:
        return value
    num_tail = max_chars // 5
    num_head = max_chars - num_tail
    note = f"\n[... {len(text) - max_chars} of {len(text)} characters left out; ask for less ...]\n"
    return text[:num_head] + note + text[len(text) - num_tail :]
