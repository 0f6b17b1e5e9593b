"""`Runner`: runs assignments, many at once."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from agentflow.agent import Agent, Loop, derive_seed
from agentflow.agent.job import RetryUnknown
from agentflow.agent.models import find_backend
from agentflow.agent.observer import EventObserver
from agentflow.agent.result import RunResult
from agentflow.agent.sync import run_blocking
from agentflow.backend.base import Backend
from agentflow.backend.wrappers import GatedBackend
from agentflow.errors import ConfigurationError, LimitExceededError
from agentflow.journal import Journal
from agentflow.planner import Planner, PlanResult
from agentflow.planner.loop import PlanLoop
from agentflow.runner.assignment import Assignment, Outcome
from agentflow.runner.statistics import RunnerStatistics
from agentflow.types import Usage


class Runner:
    """Runs assignments under one roof.

    A failing run ends with its error in its `Outcome` and never disturbs the others. Runs take turns at the model:
    a request waits behind those that came before it, so a long run cannot starve short ones.
    """

    def __init__(
        self,
        *,
        max_running: int = 64,
        max_requests: int | None = None,
        timeout_s: float | None = None,
        seed: int | None = None,
        journal: Journal | None = None,
        on_event: EventObserver | None = None,
        retry_unknown: RetryUnknown = False,
    ) -> None:
        """Make a runner.

        Args:
            max_running: Most runs at once; the others have not begun and cost nothing.
            max_requests: Most requests at once to one backend; ``None`` leaves it to the backend.
            timeout_s: Seconds after which everything that still runs is cancelled.
            seed: Gives each assignment that has no seed one of its own, by its place in the list.
            journal: Where runs are recorded.
            on_event: Told of everything that happens in all runs.
            retry_unknown: Which calls of unknown effect may be made again after a stop; see `RunOptions`.

        Raises:
            ConfigurationError: A bound is below 1.
        """
        if max_running < 1 or (max_requests is not None and max_requests < 1):
            raise ConfigurationError(
                f"max_running={max_running!r} and max_requests={max_requests!r} must be at least 1"
            )
        self._max_running, self._max_requests, self._timeout_s = max_running, max_requests, timeout_s
        self._seed, self._journal, self._on_event = seed, journal, on_event
        self._retry_unknown = retry_unknown
        self._num_succeeded = self._num_failed = 0
        self._finished_usage = Usage()
        self._loops: list[Loop[Any] | PlanLoop[Any]] = []
        self._started_s: float | None = None

    async def run_all(self, assignments: Iterable[Assignment[Any]]) -> tuple[Outcome[Any], ...]:
        """Run all assignments; they are taken from the iterable as places become free.

        Returns:
            Their outcomes, in the order of the assignments.
        """
        outcomes: dict[int, Outcome[Any]] = {}
        await self._run(assignments, outcomes.__setitem__)
        return tuple(outcomes[i] for i in sorted(outcomes))

    def run_all_sync(self, assignments: Iterable[Assignment[Any]]) -> tuple[Outcome[Any], ...]:
        """Do what `run_all` does, from code that is not async."""
        return run_blocking(partial(self.run_all, assignments), name="runner", task="...")

    @asynccontextmanager
    async def stream(self, assignments: Iterable[Assignment[Any]]) -> AsyncIterator[AsyncIterator[Outcome[Any]]]:
        """Run all assignments and give each outcome when it is there, the quickest first.

            async with runner.stream(assignments) as outcomes:
                async for outcome in outcomes:
                    print(outcome.output)

        Leaving the block early cancels what still runs.
        """
        send, receive = anyio.create_memory_object_stream[Outcome[Any]](math.inf)
        body_error: Exception | None = None

        async def work() -> None:
            with send:
                await self._run(assignments, lambda _, outcome: send.send_nowait(outcome))

        with receive:
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                try:
                    yield receive
                except Exception as error:  # noqa: BLE001 # raised below, without an exception group around it
                    body_error = error
                group.cancel_scope.cancel()
        if body_error is not None:
            raise body_error

    async def resume_all(self, agents: Iterable[Agent[Any, Any] | Planner[Any, Any]]) -> tuple[Outcome[Any], ...]:
        """Go on with every run of the journal that belongs to one of `agents` and has not reached its output.

        Raises:
            ConfigurationError: The runner has no journal.
        """
        if self._journal is None:
            raise ConfigurationError("resume_all needs a journal", hint="Runner(journal=Journal(path))")
        by_name = {agent.name: agent for agent in agents}
        records = [record for record in self._journal.runs() if record.is_resumable and record.agent in by_name]
        return await self.run_all(
            Assignment(agent=by_name[r.agent], task=r.task, run_id=r.run_id, settings=r.settings)
            for r in records
            if r.parent_id is None
        )

    async def _run(self, assignments: Iterable[Assignment[Any]], deliver: Callable[[int, Outcome[Any]], None]) -> None:
        """Work with `max_running` workers that share one iterator, and deliver each outcome with its number."""
        numbered = enumerate(assignments)
        started_s = time.perf_counter()
        self._started_s = self._started_s or started_s
        deadline = math.inf if self._timeout_s is None else anyio.current_time() + self._timeout_s
        gates: dict[int, Backend] = {}

        async def work() -> None:
            for i, assignment in numbered:
                wait_s = time.perf_counter() - started_s
                outcome = await self._run_one(self._with_seed(assignment, i), gates, deadline)
                deliver(i, replace(outcome, wait_s=wait_s))

        async with anyio.create_task_group() as group:
            for _ in range(self._max_running):
                group.start_soon(work)

    async def _run_one(self, assignment: Assignment[Any], gates: dict[int, Backend], deadline: float) -> Outcome[Any]:
        """Run one assignment; whatever it raises becomes its outcome."""
        result: RunResult[Any] | PlanResult[Any] | None = None
        error: Exception | None = None
        begun_s = time.perf_counter()
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                result = await self._run_loop(assignment, gates)
            if scope.cancelled_caught:
                error = LimitExceededError(
                    f"the runner's timeout_s={self._timeout_s:g} ended before the run did", limit="timeout_s"
                )
        except Exception as raised:  # noqa: BLE001 # handed to the caller in the outcome
            error = raised
        self._num_succeeded += error is None
        self._num_failed += error is not None
        duration_s = time.perf_counter() - begun_s
        return Outcome(assignment=assignment, result=result, error=error, duration_s=duration_s)

    async def _run_loop(
        self, assignment: Assignment[Any], gates: dict[int, Backend]
    ) -> RunResult[Any] | PlanResult[Any]:
        options: dict[str, Any] = {
            "deps": assignment.deps,
            "settings": assignment.settings,
            "limits": assignment.limits,
            "model": self._gate(await find_backend(assignment.agent.model), gates),
            "journal": self._journal,
            "on_event": self._on_event,
            "retry_unknown": self._retry_unknown,
        }
        if assignment.run_id is not None:
            options["run_id"] = assignment.run_id
        if assignment.history:
            options["history"] = assignment.history
        loop: Loop[Any] | PlanLoop[Any] = await assignment.agent.prepare(assignment.task, **options)
        self._loops.append(loop)
        try:
            return await loop.run()
        finally:
            self._loops.remove(loop)
            self._finished_usage += loop.usage

    def _gate(self, backend: Backend, gates: dict[int, Backend]) -> Backend:
        """Put a gate before `backend`, one for all runs that use it."""
        if self._max_requests is None:
            return backend
        return gates.setdefault(id(backend), GatedBackend(backend, max_requests=self._max_requests))

    def _with_seed(self, assignment: Assignment[Any], number: int) -> Assignment[Any]:
        settings = assignment.settings or assignment.agent.settings
        if self._seed is None or settings.seed is not None:
            return assignment
        return replace(assignment, settings=replace(settings, seed=derive_seed(self._seed, number)))

    def statistics(self) -> RunnerStatistics:
        """Count what was done so far."""
        return RunnerStatistics(
            num_running=len(self._loops),
            num_succeeded=self._num_succeeded,
            num_failed=self._num_failed,
            usage=sum((loop.usage for loop in self._loops), self._finished_usage),
            wall_time_s=0.0 if self._started_s is None else time.perf_counter() - self._started_s,
        )
