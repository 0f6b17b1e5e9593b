"""Running the steps of a plan, as many at once as their needs allow.

s1 ──┐                 draft s1, s2 and s3 together -> run them together -> draft s4 with the results
s2 ──┼─> s4
s3 ──┘
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from agentflow.agent.job import derive_seed
from agentflow.agent.limits import Limits
from agentflow.agent.observer import EventObserver, Observer
from agentflow.backend.base import Backend
from agentflow.errors import LimitExceededError, ModelOutputError, ToolExecutionError
from agentflow.events import PlanUpdated, TurnStarted, UsageUpdated
from agentflow.executor import Approver, Executor
from agentflow.executor.results import show
from agentflow.planner.drafting import as_conversation
from agentflow.planner.graph import needs_of, resolve_arguments
from agentflow.tool import RunContext
from agentflow.types import (
    GenerationRequest,
    GenerationSettings,
    JsonValue,
    Message,
    Plan,
    PlanStep,
    SystemMessage,
    ToolCall,
    ToolSpec,
    Usage,
)


@dataclass(kw_only=True)
class PlanRun:
    """One run of a plan; what changes while it runs.

    Attributes:
        plan: The plan as it stands.
        backend: Fills in arguments.
        executor: Runs the calls.
        tools: What the model is told of the tools.
        instructions: What the model is told above every conversation.
        settings: How to generate.
        limits: How far the run may go.
        deps: The caller's dependencies.
        approve: Asked before tools that need approval run.
        is_surprising: Whether the rest should be planned again after a step that succeeded.
        name: Name of the planner.
        run_id: Unique per run.
        on_event: Told of everything that happens.
        max_concurrency: Most steps that run at once; drafting is not bounded, the backend batches it.
        num_turns: Turns that models wrote for the plan.
        usage: What the run has cost.
        problems: What went wrong or surprised since the plan was last changed.
        failed_steps: Ids of steps that failed since then.
    """

    plan: Plan
    backend: Backend
    executor: Executor
    tools: tuple[ToolSpec, ...]
    instructions: str
    settings: GenerationSettings
    limits: Limits
    deps: Any
    approve: Approver | None
    is_surprising: Callable[[PlanStep], bool] | None
    name: str
    run_id: str
    on_event: EventObserver | None
    max_concurrency: int | None
    num_turns: int = 0
    usage: Usage = field(default_factory=Usage)
    problems: list[str] = field(default_factory=list)
    failed_steps: list[str] = field(default_factory=list)
    _surprising_steps: set[str] = field(default_factory=set)

    async def run_pending_steps(self) -> None:
        """Run all pending steps, each as soon as what it needs is done; what needs a failed step is skipped."""
        ended = {step.id: anyio.Event() for step in self.plan.steps}
        slots = nullcontext() if self.max_concurrency is None else anyio.CapacityLimiter(self.max_concurrency)
        errors: list[Exception] = []

        async def run(step: PlanStep) -> None:
            try:
                for needed in needs_of(step):
                    await ended[needed].wait()
                self._record(await self._run_step(step, slots))
            except Exception as error:  # noqa: BLE001 # raised again below, without an exception group around it
                errors.append(error)
                group.cancel_scope.cancel()
            ended[step.id].set()

        async with anyio.create_task_group() as group:
            for step in self.plan.steps:
                if step.state == "pending":
                    group.start_soon(run, step)
                else:
                    ended[step.id].set()
        if errors:
            raise errors[0]

    async def _run_step(self, step: PlanStep, slots: AbstractAsyncContextManager[Any]) -> PlanStep:
        """Fill in the arguments, make the call, and say how it went."""
        needed = self._find(needs_of(step))
        if any(other.state != "done" or other.id in self._surprising_steps for other in needed):
            return replace(step, state="skipped")
        observer = self.observe()
        try:
            if step.arguments is None:
                step = replace(step, arguments=await self._draft_arguments(step, needed, observer))
            arguments = resolve_arguments(step.arguments or {}, {other.id: other.result for other in needed})
        except (ModelOutputError, ToolExecutionError) as error:
            return replace(step, state="failed", result=error.message)
        self.check_limits(num_calls=1)
        self.usage += Usage(tool_calls=1)
        async with slots:
            (result,) = await self.executor.execute(
                [ToolCall(step.id, step.tool, arguments)], self._make_context(observer)
            )
        observer.raise_error()
        return replace(step, arguments=arguments, state="failed" if result.is_error else "done", result=result.content)

    async def _draft_arguments(
        self, step: PlanStep, needed: Sequence[PlanStep], observer: Observer
    ) -> dict[str, JsonValue]:
        """Have the model write the call of one step; calls of other steps are written in the same batch.

        Raises:
            ToolExecutionError: The model wrote something else.
        """
        self.check_limits()
        observer.tell(TurnStarted)
        task = f"{self.plan.task}\n\nThis step: {step.goal}" if step.goal else self.plan.task
        request = GenerationRequest(
            messages=self.with_instructions(as_conversation(task, needed)),
            tools=self.tools,
            tool_choice=step.tool,
            settings=replace(self.settings, seed=derive_seed(self.settings.seed, step.id), is_parallel=False),
        )
        started_s = time.perf_counter()
        generation = await self.backend.generate(request, on_draft=observer.make_draft_observer())
        self.add_usage(generation.usage, started_s, observer)
        for call in generation.message.tool_calls:
            if call.name == step.tool:
                return dict(call.arguments)
        raise ToolExecutionError(f"The model wrote no call of {step.tool}.")

    def _find(self, ids: Sequence[str]) -> list[PlanStep]:
        return [step for step in self.plan.steps if step.id in ids]

    def drop_unrun_steps(self) -> None:
        """Forget the steps that have not run and the problems, before the rest is planned again."""
        self.plan = replace(self.plan, steps=tuple(s for s in self.plan.steps if s.state in ("done", "failed")))
        self.problems, self.failed_steps, self._surprising_steps = [], [], set()

    def _record(self, step: PlanStep) -> None:
        if step.state == "failed":
            self.problems.append(f"Step {step.id} failed: {show(step.result)}")
            self.failed_steps.append(step.id)
        elif step.state == "done" and self.is_surprising is not None and self.is_surprising(step):
            self.problems.append(f"Step {step.id} succeeded with a result that was not expected.")
            self._surprising_steps.add(step.id)
        self.set_plan(tuple(step if other.id == step.id else other for other in self.plan.steps))

    def set_plan(self, steps: tuple[PlanStep, ...]) -> None:
        """Put `steps` in the place of the plan's and tell."""
        self.plan = replace(self.plan, steps=steps)
        observer = self.observe(is_turn=False)
        observer.tell(PlanUpdated, plan=self.plan)
        observer.raise_error()

    def observe(self, *, is_turn: bool = True) -> Observer:
        """Make an observer for one turn of the run; turns of one batch go on at the same time."""
        self.num_turns += is_turn
        observer = Observer(self.on_event, agent=self.name, run_id=self.run_id)
        observer.turn = self.num_turns
        return observer

    def add_usage(self, usage: Usage, started_s: float, observer: Observer) -> None:
        """Count what a turn cost and tell."""
        if not usage.model_time_s:
            usage = replace(usage, model_time_s=time.perf_counter() - started_s)
        self.usage += usage
        observer.tell(UsageUpdated, usage=self.usage, turn_usage=usage)
        observer.raise_error()

    def with_instructions(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Put the instructions above a conversation."""
        return (SystemMessage(self.instructions), *messages) if self.instructions else tuple(messages)

    def check_limits(self, *, num_calls: int = 0) -> None:
        """Check before a turn, or before `num_calls` calls.

        Raises:
            LimitExceededError: A limit is reached.
        """
        limits = self.limits
        if limits.max_calls is not None and self.usage.tool_calls + num_calls > limits.max_calls:
            raise LimitExceededError(f"the plan needs more than max_calls={limits.max_calls} calls", limit="max_calls")
        if limits.max_tokens is not None and self.usage.output_tokens >= limits.max_tokens:
            raise LimitExceededError(
                f"no output after {self.usage.output_tokens} output tokens; max_tokens={limits.max_tokens}",
                limit="max_tokens",
            )
        if limits.max_turns is not None and self.num_turns > limits.max_turns:
            raise LimitExceededError(f"no output after max_turns={limits.max_turns} turns", limit="max_turns")

    def _make_context(self, observer: Observer) -> RunContext[Any]:
        return RunContext(
            deps=self.deps,
            agent=self.name,
            run_id=self.run_id,
            turn=observer.turn,
            task=self.plan.task,
            messages=as_conversation(self.plan.task, self.plan.steps),
            usage=self.usage,
            settings=self.settings,
            approve=self.approve,
            is_watched=observer.is_watched,
            emit=observer.pass_on,
            add_usage=self._add_tool_usage,
        )

    def _add_tool_usage(self, usage: Usage) -> None:
        self.usage += usage
