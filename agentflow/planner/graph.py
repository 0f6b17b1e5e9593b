"""Plans as graphs: checking, references, saving.

A reference is ``${id}`` or ``${id.key.0}`` inside a string argument. A string that is one reference and
nothing else becomes the value itself, whatever its type; inside a longer string the value is written as text.
``$${id}`` is no reference: it stands for the text ``${id}``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from agentflow.errors import ConfigurationError, ToolExecutionError
from agentflow.executor.results import show
from agentflow.types import JsonValue, Plan, PlanStep, StepState

_REFERENCE = re.compile(r"(\$?)\$\{([^}.]+)((?:\.[^}.]+)*)\}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_plan(plan: Plan, *, tools: Collection[str]) -> None:
    """Check that a plan can be run with `tools`.

    Raises:
        ConfigurationError: A step has a bad or repeated id, an unknown tool, or needs (or refers to) something
            that is no step before it.
    """
    earlier: set[str] = set()
    for step in plan.steps:
        if not _ID.fullmatch(step.id) or step.id in earlier:
            raise ConfigurationError(f"step id {step.id!r} is repeated, or is not made of letters, digits, '_' and '-'")
        if step.tool not in tools:
            raise ConfigurationError(
                f"step {step.id!r} uses {step.tool!r}; tools that exist: {', '.join(tools) or 'none'}"
            )
        for needed in dict.fromkeys([*step.needs, *_references(step.arguments)]):
            if needed not in earlier:
                raise ConfigurationError(
                    f"step {step.id!r} needs {needed!r}, which is no step before it",
                    hint=f"steps before it: {', '.join(sorted(earlier)) or 'none'}",
                )
        earlier.add(step.id)


def needs_of(step: PlanStep) -> tuple[str, ...]:
    """Get the ids of all steps whose results `step` uses, said or implied by a reference."""
    return tuple(dict.fromkeys([*step.needs, *_references(step.arguments)]))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (match[2] for match in _REFERENCE.finditer(value) if not match[1])
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _references(item)


def resolve_arguments(arguments: Mapping[str, JsonValue], results: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Put results in the place of references.

    Args:
        arguments: Arguments of a step.
        results: Results by id of their step.

    Raises:
        ToolExecutionError: A reference points to something that the result does not hold.
    """
    return {name: _resolve(value, results) for name, value in arguments.items()}


def _resolve(value: JsonValue, results: Mapping[str, JsonValue]) -> JsonValue:
    if isinstance(value, str):
        if whole := _REFERENCE.fullmatch(value):
            return _look_up(whole, results)
        return _REFERENCE.sub(lambda match: show(_look_up(match, results)), value)
    if isinstance(value, Mapping):
        return {key: _resolve(item, results) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_resolve(item, results) for item in value]
    return value


def escape_arguments(arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Write arguments that hold no references so that none is found in them."""
    return {name: _escape(value) for name, value in arguments.items()}


def _escape(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_escape(item) for item in value]
    return value


def _look_up(reference: re.Match[str], results: Mapping[str, JsonValue]) -> JsonValue:
    if reference[1]:
        return reference[0][1:]
    value = results.get(reference[2])
    for key in reference[3].split(".")[1:]:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, Sequence) and not isinstance(value, str) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise ToolExecutionError(f"{reference[0]} points to nothing: the result of {reference[2]} has no {key!r}.")
    return value


class _StepForm(BaseModel, extra="forbid"):
    """A step in a file, with the members of `PlanStep`."""

    id: str
    tool: str
    goal: str = ""
    needs: tuple[str, ...] = ()
    arguments: dict[str, pydantic.JsonValue] | None = None
    state: StepState = "pending"
    result: pydantic.JsonValue = None


class _PlanForm(BaseModel, extra="forbid"):
    """A plan in a file, with the members of `Plan`."""

    task: str
    steps: tuple[_StepForm, ...]


def dump_plan(plan: Plan, path: str | Path) -> None:
    """Save a plan as JSON."""
    Path(path).write_bytes(to_json(plan, indent=2))


def load_plan(path: str | Path, *, is_fresh: bool = True) -> Plan:
    """Read a plan that `dump_plan` saved or a person wrote.

    Args:
        path: The file.
        is_fresh: Forget how far it was, so that it runs from the start.

    Raises:
        ConfigurationError: The file holds no plan.
    """
    try:
        form = _PlanForm.model_validate_json(Path(path).read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{path} holds no plan: {error}") from error
    plan = Plan(task=form.task, steps=tuple(PlanStep(**dict(step)) for step in form.steps))
    return restart(plan) if is_fresh else plan


def restart(plan: Plan) -> Plan:
    """Forget how far a plan was; arguments stay."""
    steps = (PlanStep(id=s.id, tool=s.tool, goal=s.goal, needs=s.needs, arguments=s.arguments) for s in plan.steps)
    return Plan(task=plan.task, steps=tuple(steps))
