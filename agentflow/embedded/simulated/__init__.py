"""Simulated worlds for long tasks: a file tree, a shop, a calendar with contacts, a queue of tickets.

Each has tools that really change it, and a generator of tasks of 3 to 40 calls with a goal state and an answer
that can be checked. The benchmark and the evaluation of the embedded model share them; none needs more than agentflow.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from agentflow.embedded.simulated.calendar import Calendar
from agentflow.embedded.simulated.files import FileTree
from agentflow.embedded.simulated.shop import Shop
from agentflow.embedded.simulated.tickets import TicketQueue
from agentflow.embedded.simulated.world import SimulatedTask, SimulatedWorld, make_task

WORLDS: Mapping[str, type[SimulatedWorld]] = {
    "files": FileTree,
    "shop": Shop,
    "calendar": Calendar,
    "tickets": TicketQueue,
}
"""The worlds by name."""


def make_simulated_task(world: str, *, num_calls: int, seed: int) -> SimulatedTask:
    """Make a task in a world; equal arguments give equal tasks.

    Args:
        world: A name of `WORLDS`.
        num_calls: Calls of the reference solution, 1 to 40; a task may have a few more, never fewer.
        seed: Seed of the draw.

    Raises:
        ConfigurationError: There is no such world, or `num_calls` is out of range.
    """
    rng = random.Random(f"{world}/{num_calls}/{seed}")  # noqa: S311 - reproducible tasks, no secret
    return make_task(world, WORLDS, rng, num_calls=num_calls, name=f"{world}-{num_calls}-{seed}")


__all__ = ["WORLDS", "SimulatedTask", "SimulatedWorld", "make_simulated_task"]
