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

from agentflow.agent.job import RetryUnknown, derive_seed
from agentflow.agent.limits import Limits, Prices
from agentflow.agent.observer import EventObserver, Observer
from agentflow.backend.base import Backend
from agentflow.errors import ModelOutputError, ToolExecutionError
from agentflow.events import PlanUpdated, TurnStarted, TurnWritten, UsageUpdated
from agentflow.executor import Approver, Executor
from agentflow.executor.results import show
from agentflow.journal import Journal
from agentflow.planner.drafting import as_conversation
from agentflow.planner.graph import escape_arguments, needs_of, resolve_arguments
from agentflow.tool import RunContext
from agentflow.types import (
    AssistantMessage,
    Generation,
    GenerationRequest,
    GenerationSettings,
    JsonValue,
    Message,
    Plan,
    PlanStep,
    SystemMessage,
    ToolCall,
    ToolResult,
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
        prices: What the model costs.
        deps: The caller's dependencies.
        approve: Asked before tools that need approval run.
        is_surprising: Whether the rest should be planned again after a step that succeeded.
        name: Name of the planner.
        run_id: Unique per run.
        on_event: Told of everything that happens.
        journal: Where the run and what is nested in it are recorded.
        recorder: Where events of this run are still to be recorded; a finished run is only told again.
        retry_unknown: Which calls may be made again although their effect is unknown; see `RunOptions`.
        max_concurrency: Most steps that run at once; drafting is not bounded, the backend batches it.
        is_planned: Whether there is a plan, however short.
        is_approved: Whether the plan may run.
        num_replans: How often the rest was planned again.
        num_turns: Number of the latest turn, for events.
        num_asked: Turns that the model was asked for.
        usage: What the run has cost.
        planning_usage: What the planning has cost that the next plan comes from.
        problems: By id of their step, what went wrong or surprised since the plan was last revised.
    """

    plan: Plan
    backend: Backend
    executor: Executor
    tools: tuple[ToolSpec, ...]
    instructions: str
    settings: GenerationSettings
    limits: Limits
    prices: Prices | None
    deps: Any
    approve: Approver | None
    is_surprising: Callable[[PlanStep], bool] | None
    name: str
    run_id: str
    on_event: EventObserver | None
    journal: Journal | None
    recorder: Journal | None
    retry_unknown: RetryUnknown
    max_concurrency: int | None
    is_planned: bool = False
    is_approved: bool = True
    num_replans: int = 0
    num_turns: int = 0
    num_asked: int = 0
    usage: Usage = field(default_factory=Usage)
    planning_usage: Usage = field(default_factory=Usage)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def has_failed_steps(self) -> bool:
        """Whether a step failed since the plan was last revised."""
        return any(step.state == "failed" for step in self.plan.steps if step.id in self.problems)

    async def run_pending_steps(self) -> None:
        """Run all pending steps, each as soon as what it needs is done; what needs a failed step is skipped."""
        ended = {step.id: anyio.Event() for step in self.plan.steps}
        slots = nullcontext() if self.max_concurrency is None else anyio.CapacityLimiter(self.max_concurrency)
        errors: list[Exception] = []

        async def run(step: PlanStep) -> None:
            try:
                for needed in needs_of(step):
                    await ended[needed].wait()
                self.record(await self._run_step(step, slots))
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
        if any(other.state != "done" or other.id in self.problems for other in needed):
            return replace(step, state="skipped")
        observer = self.observe()
        try:
            if step.arguments is None:
                step = replace(step, arguments=await self._draft_arguments(step, needed, observer))
            arguments = resolve_arguments(step.arguments or {}, {other.id: other.result for other in needed})
        except (ModelOutputError, ToolExecutionError) as error:
            return replace(step, state="failed", result=error.message)
        self.limits.check_calls(1, usage=self.usage)
        self.usage += Usage(tool_calls=1)
        call = ToolCall(step.id, step.tool, arguments)
        async with slots:
            (result,) = await self.executor.execute([call], self._make_context(observer))
        observer.raise_error()
        return end_step(step, call, result)

    async def _draft_arguments(
        self, step: PlanStep, needed: Sequence[PlanStep], observer: Observer
    ) -> dict[str, JsonValue]:
        """Have the model write the call of one step; calls of other steps are written in the same batch.

        Raises:
            ToolExecutionError: The model wrote something else.
        """
        self.limits.check_turn(num_turns=self.num_asked, usage=self.usage)
        self.num_asked += 1
        observer.tell(TurnStarted)
        task = f"{self.plan.task}\n\nThis step: {step.goal}" if step.goal else self.plan.task
        request = GenerationRequest(
            messages=self.with_instructions(as_conversation(task, needed)),
            tools=self.tools,
            tool_choice=step.tool,
            settings=replace(self.settings, seed=derive_seed(self.settings.seed, step.id), is_parallel=False),
            agent=self.run_id,
        )
        started_s = time.perf_counter()
        try:
            generation = await self.backend.generate(request, on_draft=observer.make_draft_observer())
        except ModelOutputError as error:
            self._add_turn(
                Generation(AssistantMessage(error.text), "stop", error.usage or Usage()), started_s, observer
            )
            raise
        calls = tuple(replace(c, id=step.id) for c in generation.message.tool_calls if c.name == step.tool)[:1]
        self._add_turn(replace(generation, message=replace(generation.message, tool_calls=calls)), started_s, observer)
        if not calls:
            raise ToolExecutionError(f"The model wrote no call of {step.tool}.")
        return escape_arguments(calls[0].arguments)

    def _add_turn(self, generation: Generation, started_s: float, observer: Observer) -> None:
        """Count what a turn cost and tell it."""
        usage = generation.usage
        if not usage.model_time_s:
            usage = replace(usage, model_time_s=time.perf_counter() - started_s)
        if self.prices is not None:
            usage = replace(usage, cost=self.prices.cost(usage))
        observer.tell(TurnWritten, message=generation.message, finish_reason=generation.finish_reason, turn_usage=usage)
        self.usage += usage
        observer.tell(UsageUpdated, usage=self.usage, turn_usage=usage)
        observer.raise_error()

    def _find(self, ids: Sequence[str]) -> list[PlanStep]:
        return [step for step in self.plan.steps if step.id in ids]

    def drop_unrun_steps(self) -> None:
        """Forget the steps that have not run and the problems, before the rest is planned again."""
        self.plan = replace(self.plan, steps=tuple(s for s in self.plan.steps if s.state in ("done", "failed")))
        self.problems = {}

    def record(self, step: PlanStep) -> None:
        """Put a step that has ended in its place, look whether it is what was planned for, and tell."""
        if step.state == "failed" or (
            step.state == "done" and self.is_surprising is not None and self.is_surprising(step)
        ):
            self.problems[step.id] = describe_problem(step)
        self.set_plan(tuple(step if other.id == step.id else other for other in self.plan.steps))

    def set_plan(self, steps: tuple[PlanStep, ...], *, is_revised: bool = False) -> None:
        """Put `steps` in the place of the plan's and tell; `is_revised` if they are other steps."""
        self.plan, self.is_planned = replace(self.plan, steps=steps), True
        observer = self.observe(is_turn=False)
        observer.tell(
            PlanUpdated,
            plan=self.plan,
            is_revised=is_revised,
            is_approved=self.is_approved,
            num_replans=self.num_replans,
            unsettled=tuple(self.problems),
            usage=self.planning_usage,
        )
        self.planning_usage = Usage()
        observer.raise_error()

    def observe(self, *, is_turn: bool = True) -> Observer:
        """Make an observer for one turn of the run; turns of one batch go on at the same time."""
        self.num_turns += is_turn
        observer = Observer(self.on_event, agent=self.name, run_id=self.run_id, recorder=self.recorder)
        observer.turn = self.num_turns
        return observer

    def with_instructions(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Put the instructions above a conversation."""
        return (SystemMessage(self.instructions), *messages) if self.instructions else tuple(messages)

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
            journal=self.journal,
            retry_unknown=self.retry_unknown,
            is_watched=observer.is_watched,
            emit=observer.pass_on,
            add_usage=self._add_tool_usage,
        )

    def _add_tool_usage(self, usage: Usage) -> None:
        self.usage += usage


def end_step(step: PlanStep, call: ToolCall, result: ToolResult) -> PlanStep:
    """Say how a step went that made `call`; its arguments are kept so that the plan can be run again."""
    arguments = escape_arguments(call.arguments)
    return replace(step, arguments=arguments, state="failed" if result.is_error else "done", result=result.content)


def describe_problem(step: PlanStep) -> str:
    """Say why the plan must be revised after `step`."""
    if step.state == "failed":
        return f"Step {step.id} failed: {show(step.result)}"
    return f"Step {step.id} succeeded with a result that was not expected."
