"""Solve a task by its reference calls, with the real tools and no model."""

from __future__ import annotations

from typing import Any, NamedTuple

from agentflow.bench.task import BenchTask, WorldState
from agentflow.bench.world import World


class Solution(NamedTuple):
    """What the reference calls lead to."""

    results: tuple[Any, ...]  # what each call returned
    world: WorldState


def solve_by_reference(task: BenchTask) -> Solution:
    """Run the reference calls of a task in a world of their own.

    Returns:
        The results of the calls, and the world after them.
    """
    with World.opened(task.before) as world:
        tools = {tool.name: tool for tool in world.tools(task.tools)}
        results = tuple(tools[call.name](**call.arguments) for call in task.reference)
        return Solution(results, world.read())
