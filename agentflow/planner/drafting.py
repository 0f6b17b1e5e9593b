"""What a model is asked for a plan, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentflow.types import (
    AssistantMessage,
    JsonSchema,
    Message,
    Plan,
    PlanStep,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)

PLAN_INSTRUCTIONS = (
    "Plan the task before anything is done. Each step is one call of one tool: say its goal, its tool, and the numbers "
    "of the earlier steps whose results it needs. Steps are numbered from 1. Steps that do not need each other run at "
    "the same time, so name only needs that are real. Arguments are filled in later."
)


def plan_schema(
    tools: Sequence[str], *, min_steps: int, max_steps: int, earlier: Sequence[PlanStep] = ()
) -> JsonSchema:
    """Make the JSON Schema of a plan: each step may need only steps before it that have a result.

    Goal stands before tool before needs, the order in which they are thought of. Lengths of strings and of needs are
    not bounded, because each bound unrolls the automaton of what it bounds.
    """
    usable = _usable_numbers(earlier)
    steps = []
    for number in range(len(earlier) + 1, len(earlier) + max_steps + 1):
        steps.append(_step_schema(tools, [*usable]))
        usable[number] = ""
    items = {"type": "array", "prefixItems": steps, "items": False, "minItems": min_steps}
    return {
        "type": "object",
        "properties": {"steps": items},
        "required": ["steps"],
        "additionalProperties": False,
    }


def _step_schema(tools: Sequence[str], usable: Sequence[int]) -> JsonSchema:
    needs: JsonSchema = {"type": "array", "items": {"type": "integer", "enum": list(usable)}}
    return {
        "type": "object",
        "properties": {
            "goal": {"type": "string"},
            "tool": {"type": "string", "enum": list(tools)},
            "needs": needs if usable else {"type": "array", "maxItems": 0},
        },
        "required": ["goal", "tool", "needs"],
        "additionalProperties": False,
    }


def _usable_numbers(steps: Sequence[PlanStep]) -> dict[int, str]:
    """Get the ids of the steps that have a result, by their number from 1."""
    return {i: step.id for i, step in enumerate(steps, 1) if step.state == "done"}


def read_steps(answer: Mapping[str, Any], earlier: Sequence[PlanStep]) -> tuple[PlanStep, ...]:
    """Turn a model's answer, which fits `plan_schema`, into steps that go on from `earlier`."""
    usable = _usable_numbers(earlier)
    steps: list[PlanStep] = []
    for number, entry in enumerate(answer["steps"], len(earlier) + 1):
        needs = tuple(dict.fromkeys(entry["needs"]))
        step_id = _new_id(number, {step.id for step in (*earlier, *steps)})
        steps.append(
            PlanStep(id=step_id, tool=entry["tool"], goal=entry["goal"], needs=tuple(usable[n] for n in needs))
        )
        usable[number] = step_id
    return tuple(steps)


def _new_id(number: int, taken: set[str]) -> str:
    while f"s{number}" in taken:
        number += 1
    return f"s{number}"


def as_conversation(task: str, steps: Sequence[PlanStep]) -> tuple[Message, ...]:
    """Write the task and the steps that have run as the conversation that a turn-by-turn loop would have had."""
    run = [step for step in steps if step.state in ("done", "failed")]
    if not run:
        return (UserMessage(task),)
    calls = tuple(ToolCall(step.id, step.tool, step.arguments or {}) for step in run)
    results = tuple(ToolResult(s.id, s.tool, s.result, is_error=s.state == "failed") for s in run)
    return (UserMessage(task), AssistantMessage(tool_calls=calls), ToolMessage(results))


def describe_progress(plan: Plan, problem: str) -> str:
    """Ask for the rest of a plan after `problem`."""
    lines = [f"{i}. {s.tool} ({s.goal}): {s.state}" for i, s in enumerate(plan.steps, 1)]
    return (
        f"The plan so far:\n{chr(10).join(lines)}\n{problem} Plan only what still has to be done, as steps from number "
        f"{len(plan.steps) + 1}. What is done is kept and its results can be needed. Give no steps if nothing is left."
    )
