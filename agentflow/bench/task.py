"""A task of a suite: what is asked, the world before, and what must be true after.

The answer and the world after are written down by the suite, worked out in plain Python; neither the tools nor a model
take part. The reference calls are one way to solve the task, for `exact_call_rate` and for testing the suite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from agentflow.types import JsonSchema, JsonValue

Row: TypeAlias = tuple[str | int | float, ...]

_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the database.

    Attributes:
        columns: Names of the columns.
        rows: Its rows.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class WorldState:
    """Everything that tools can read or change.

    Attributes:
        files: Text by path.
        notes: Text by title.
        todos: Open to-do items, oldest first.
        tables: Tables of the database, which tools only read.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    todos: tuple[str, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)

    def with_changes(
        self,
        *,
        files: Mapping[str, str] | None = None,
        notes: Mapping[str, str] | None = None,
        todos: Sequence[str] | None = None,
    ) -> WorldState:
        """Return the world with files and notes added or replaced, and another to-do list."""
        return replace(
            self,
            files={**self.files, **(files or {})},
            notes={**self.notes, **(notes or {})},
            todos=self.todos if todos is None else tuple(todos),
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceCall:
    """A call of the reference solution.

    Attributes:
        name: The tool.
        arguments: Its arguments.
    """

    name: str
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True, kw_only=True)
class BenchTask:
    """One task.

    Attributes:
        name: Unique in its suite.
        kind: What it exercises.
        prompt: What the user says.
        tools: Names of the tools that are offered.
        answer: The right final answer; the types of its values make the output schema.
        before: The world when the task begins.
        after: The world when it is solved; everything not named stays as it was.
        reference: One way to solve it.
    """

    name: str
    kind: str
    prompt: str
    tools: tuple[str, ...]
    answer: Mapping[str, bool | float | str]
    before: WorldState = field(default_factory=WorldState)
    after: WorldState | None = None
    reference: tuple[ReferenceCall, ...]

    @property
    def output_schema(self) -> JsonSchema:
        """Schema of the final answer: one required property for every value of the right answer."""
        properties = {name: {"type": _TYPES[type(value)]} for name, value in self.answer.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
        }


def find_failure(task: BenchTask, output: Any, world: WorldState) -> str:
    """Say what is wrong with an answer and a world, in one sentence; ``""`` if nothing is.

    Strings must be equal up to surrounding space; numbers, and texts that are numbers, up to a relative 1e-9.

    Args:
        task: The task.
        output: The final answer as plain JSON.
        world: The world after the run.
    """
    if not isinstance(output, Mapping) or set(output) != set(task.answer):
        return f"the answer {output!r} does not have the fields {sorted(task.answer)}"
    for name, right in task.answer.items():
        if not is_same(output[name], right):
            return f"the answer says {name}={output[name]!r}, right is {right!r}"
    wanted = task.after or task.before
    return (
        _difference("file", world.files, wanted.files)
        or _difference("note", world.notes, wanted.notes)
        or ("" if world.todos == wanted.todos else f"the to-do list is {world.todos!r}, right is {wanted.todos!r}")
    )


def is_same(given: Any, right: Any) -> bool:
    """Compare two plain JSON values; numbers, and texts that are numbers, up to a relative 1e-9."""
    left_number, right_number = _number(given), _number(right)
    if left_number is not None and right_number is not None:
        return math.isclose(left_number, right_number, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(given, str) and isinstance(right, str):
        return given.strip() == right.strip()
    return type(given) is type(right) and bool(given == right)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _difference(what: str, given: Mapping[str, str], right: Mapping[str, str]) -> str:
    for name in sorted(set(given) | set(right)):
        if name not in given:
            return f"there is no {what} {name!r}; there are {sorted(given)}"
        if name not in right:
            return f"there is a {what} {name!r} that nobody asked for"
        if not is_same(given[name], right[name]):
            return f"the {what} {name!r} says {given[name]!r}, right is {right[name]!r}"
    return ""
