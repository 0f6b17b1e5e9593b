"""Work off a suite: every task in a fresh world, with a real agent and real tools.

One agent at a time, one task after the other. A run that fails is a task that is not solved, never an exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentflow.agent import Agent, Limits
from agentflow.backend.base import Backend, DraftObserver
from agentflow.bench.metrics import TaskRecord
from agentflow.bench.task import BenchTask, find_failure, is_same
from agentflow.bench.world import World
from agentflow.errors import AgentflowError, ModelOutputError
from agentflow.events import CallFinished, CallReady, CallRunning, Event, OutputReady, OutputRejected, RunFinished
from agentflow.types import Generation, GenerationRequest, GenerationSettings, ToolCall, Usage

INSTRUCTIONS = "Use the tools. Then answer."
"""What every agent is told; the tasks say the rest."""

LIMITS = Limits(max_turns=10, max_calls=20, timeout_s=60.0)
"""Enough for every task several times over; a lost model ends here."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way of decoding.

    Attributes:
        name: What the report calls it.
        backend: The model, loaded for this mode.
        settings: How to generate.
    """

    name: str
    backend: Backend
    settings: GenerationSettings = field(default_factory=GenerationSettings)


class _Undrafted:
    """A backend that nobody watches: making drafts for people costs time that is not the loop's.

    Attributes:
        lost_time_s: Seconds spent on turns that could not be read; their usage, tokens included, is lost.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.lost_time_s = 0.0

    @property
    def name(self) -> str:
        return self._backend.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        del on_draft
        started_s = time.perf_counter()
        try:
            return await self._backend.generate(request)
        except ModelOutputError:
            self.lost_time_s += time.perf_counter() - started_s
            raise

    async def aclose(self) -> None:
        await self._backend.aclose()


@dataclass
class _Observation:
    """What the events of one run said."""

    calls: list[ToolCall] = field(default_factory=list)
    num_valid_calls: int = 0
    num_unreadable_turns: int = 0
    tool_time_s: float = 0.0
    output: Any = None
    num_turns: int = 0
    usage: Usage = field(default_factory=Usage)
    error: str = ""

    def note(self, event: Event) -> None:
        """Take in one event."""
        self.num_turns = max(self.num_turns, event.turn)
        if isinstance(event, CallReady):
            self.calls.append(event.call)
        elif isinstance(event, CallRunning):
            self.num_valid_calls += 1
        elif isinstance(event, CallFinished):
            self.tool_time_s += event.duration_s
        elif isinstance(event, OutputRejected):
            self.num_unreadable_turns += 1
        elif isinstance(event, OutputReady):
            self.output = event.output
        elif isinstance(event, RunFinished):
            self.usage, self.error = event.usage, event.error


async def run_suite(
    tasks: Sequence[BenchTask],
    mode: Mode,
    *,
    seeds: Iterable[int] = (0,),
    on_record: Callable[[TaskRecord], None] = lambda _: None,
) -> list[TaskRecord]:
    """Run every task with every seed.

    Args:
        tasks: The suite.
        mode: How to decode.
        seeds: Seeds of the draws.
        on_record: Told about every finished task.

    Returns:
        One record per task and seed.
    """
    records = []
    for seed in seeds:
        for task in tasks:
            records.append(await run_task(task, mode, seed=seed))
            on_record(records[-1])
    return records


async def run_task(task: BenchTask, mode: Mode, *, seed: int) -> TaskRecord:
    """Run one task in a fresh world and check the answer and the world."""
    backend = _Undrafted(mode.backend)
    with World.opened(task.before) as world:
        agent = Agent(
            backend,
            name="bench",
            instructions=INSTRUCTIONS,
            tools=world.tools(task.tools),
            output_type=task.output_schema,
            settings=replace(mode.settings, seed=seed),
            limits=LIMITS,
        )
        seen = _Observation()
        started_s = time.perf_counter()
        try:
            await agent.run(task.prompt, on_event=seen.note)
        except AgentflowError as error:
            seen.error = seen.error or error.message
        duration_s = time.perf_counter() - started_s
        seen.usage += Usage(model_time_s=backend.lost_time_s)
        failure = seen.error or find_failure(task, seen.output, world.read())
    return _record(task, seen, failure=failure, duration_s=duration_s, seed=seed)


def _record(task: BenchTask, seen: _Observation, *, failure: str, duration_s: float, seed: int) -> TaskRecord:
    return TaskRecord(
        task=task.name,
        kind=task.kind,
        seed=seed,
        is_solved=not failure,
        failure=failure,
        duration_s=duration_s,
        tool_time_s=seen.tool_time_s,
        num_steps=seen.num_turns,
        num_calls=len(seen.calls),
        num_valid_calls=seen.num_valid_calls,
        num_unreadable_turns=seen.num_unreadable_turns,
        num_reference_calls=len(task.reference),
        num_exact_calls=count_exact_calls(task, seen.calls),
        usage=seen.usage,
    )


def count_exact_calls(task: BenchTask, calls: Sequence[ToolCall]) -> int:
    """Count the reference calls that were made with equal arguments, each call counted once."""
    left = list(calls)
    num_exact = 0
    for wanted in task.reference:
        match = next((c for c in left if c.name == wanted.name and _are_same(c.arguments, wanted.arguments)), None)
        if match is not None:
            left.remove(match)
            num_exact += 1
    return num_exact


def _are_same(given: Any, wanted: Any) -> bool:
    return set(given) == set(wanted) and all(is_same(given[name], value) for name, value in wanted.items())
