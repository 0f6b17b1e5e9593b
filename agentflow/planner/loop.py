"""One run of a planner: plan, run what can run, plan again what went wrong, answer.

    plan ──> approve ──> run the steps ──┬─ all as planned: answer ──> output
                ^                        └─ a step failed or surprised: plan the rest again ─┐
                └────────────────────────────────────────────────────────────────────────────┘

Each question to the model is a run of its own, nested in this one: ``RUN.plan0``, ``RUN.plan1``, ..., ``RUN.answer``.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeAlias

import anyio

from agentflow.agent import Agent
from agentflow.agent.job import derive_seed
from agentflow.agent.loop import name_end
from agentflow.agent.result import OutputT, RunResult
from agentflow.errors import AgentflowError, JournalError, LimitExceededError, ToolDeniedError
from agentflow.events import Event, OutputReady, RunEnd, RunFinished, RunStarted, UsageUpdated
from agentflow.output import OutputType
from agentflow.planner.drafting import as_conversation, describe_progress, plan_schema, read_steps
from agentflow.planner.execution import PlanRun
from agentflow.planner.graph import check_plan
from agentflow.planner.result import PlanResult
from agentflow.planner.resuming import Calls, settle_calls
from agentflow.types import Message, Plan, PlanStep, Usage

PlanApprover: TypeAlias = Callable[[Plan], "Plan | bool | Awaitable[Plan | bool]"]
"""Asked before a plan or its continuation runs: yes, no, or the plan to run instead; sync or async."""


@dataclass(kw_only=True)
class PlanLoop(Generic[OutputT]):
    """One run of a planner, from its start or from where a journal says that it was.

    Attributes:
        state: What changes.
        answerer: Answers when the plan is done.
        make_drafter: Makes the agent that plans, for an output type.
        max_steps: Most steps of one plan.
        max_replans: How often the rest may be planned again.
        approve_plan: Asked before a plan runs.
        given_plan: Run this plan in place of one that the model makes.
        calls: What the journal knows of the calls of steps, if the run goes on.
        started_s: When it started here.
    """

    state: PlanRun
    answerer: Agent[Any, OutputT]
    make_drafter: Callable[..., Agent[Any, Any]]
    max_steps: int
    max_replans: int
    approve_plan: PlanApprover | None
    given_plan: Plan | None = None
    calls: Calls | None = None
    started_s: float = field(default_factory=time.perf_counter)

    @property
    def usage(self) -> Usage:
        """What the run has cost so far."""
        return self.state.usage

    async def run(self) -> PlanResult[OutputT]:
        """Work until there is an answer; see `Planner.run`."""
        self.state.observe(is_turn=False).tell(RunStarted, task=self.state.plan.task, model=self.state.backend.name)
        try:
            output, messages = await self._work_in_time()
        except BaseException as error:
            if isinstance(error, AgentflowError):
                error.messages = self.state.with_instructions(self._conversation)
            self._end(name_end(error), error)
            raise
        self._tell_output(output)
        return PlanResult(
            output=output,
            plan=self.state.plan,
            messages=messages,
            usage=self.state.usage,
            num_replans=self.state.num_replans,
            duration_s=time.perf_counter() - self.started_s,
            run_id=self.state.run_id,
        )

    async def _work_in_time(self) -> tuple[OutputT, tuple[Message, ...]]:
        timeout_s = self.state.limits.timeout_s
        with anyio.move_on_after(timeout_s):
            return await self._work()
        raise LimitExceededError(f"the run took longer than timeout_s={timeout_s:g}", limit="timeout_s")

    async def _work(self) -> tuple[OutputT, tuple[Message, ...]]:
        if self.calls is not None:
            settle_calls(self.state, self.calls)
        if not self.state.is_planned:
            await self._make_plan()
        while True:
            await self._ask_for_approval()
            await self.state.run_pending_steps()
            if not self._must_replan():
                break
            await self._replan()
        result = await self._ask("answer", self.answerer, "")
        return result.output, result.messages

    async def _make_plan(self) -> None:
        if self.given_plan is None:
            await self.draft_steps(min_steps=1)
        else:
            self._revise(self.given_plan.steps)

    def _must_replan(self) -> bool:
        """Whether steps failed or surprised and the rest shall be planned again.

        Raises:
            LimitExceededError: Steps failed, and it was planned again as often as allowed.
        """
        state = self.state
        if not state.problems or state.num_replans < self.max_replans:
            return bool(state.problems)
        if state.has_failed_steps:
            raise LimitExceededError(
                f"steps failed and max_replans={self.max_replans} is used up: {'; '.join(state.problems.values())}",
                limit="max_replans",
            )
        return False

    async def draft_steps(self, *, request: str = "", min_steps: int) -> None:
        """Have the model plan what is left, and append its steps.

        Raises:
            ModelOutputError: The model wrote no usable plan.
        """
        kept, names = self.state.plan.steps, [spec.name for spec in self.state.tools]
        schema = plan_schema(names, min_steps=min_steps, max_steps=self.max_steps, earlier=kept)
        agent = self.make_drafter(output_type=OutputType(schema, is_trusted=True))
        agent.output_validator(lambda answer: read_steps(answer, kept))
        answer = await self._ask(f"plan{self.state.num_replans}", agent, request)
        steps: tuple[PlanStep, ...] = answer.output
        self._revise((*kept, *steps))

    def _revise(self, steps: tuple[PlanStep, ...]) -> None:
        self.state.is_approved = self.approve_plan is None
        self.state.set_plan(steps, is_revised=True)

    async def _replan(self) -> None:
        """Drop what has not run, keep what has, and plan the rest again."""
        problem = " ".join(self.state.problems.values())
        self.state.drop_unrun_steps()
        self.state.num_replans += 1
        await self.draft_steps(request=describe_progress(self.state.plan, problem), min_steps=0)

    async def _ask_for_approval(self) -> None:
        """Ask about the plan, unless it was approved before; the answer may be another plan.

        Raises:
            ToolDeniedError: The answer is no.
            ConfigurationError: The other plan cannot be run.
        """
        if self.state.is_approved or self.approve_plan is None:
            return
        answer = self.approve_plan(self.state.plan)
        decision = await answer if inspect.isawaitable(answer) else answer
        if not decision:
            raise ToolDeniedError("the plan was not approved; nothing of it ran")
        is_revised = isinstance(decision, Plan)
        steps = decision.steps if isinstance(decision, Plan) else self.state.plan.steps
        check_plan(Plan(task=self.state.plan.task, steps=steps), tools=[spec.name for spec in self.state.tools])
        self.state.is_approved = True
        self.state.set_plan(steps, is_revised=is_revised)

    async def _ask(self, part: str, agent: Agent[Any, Any], request: str) -> RunResult[Any]:
        """Have `agent` go on from what the plan has done so far; its events and cost are the run's."""
        state = self.state
        state.limits.check_turn(num_turns=state.num_asked, usage=state.usage)
        first_turn, earlier = state.num_turns, state.usage
        loop = await agent.prepare(
            request,
            depth=1,
            history=self._conversation,
            settings=replace(state.settings, seed=derive_seed(state.settings.seed, part)),
            model=state.backend,
            journal=state.journal,
            run_id=f"{state.run_id}.{part}",
            on_event=None if state.on_event is None else partial(_hand_on, state, first_turn, earlier),
        )
        try:
            return await loop.run()
        finally:
            state.usage += loop.usage
            state.planning_usage += loop.usage
            state.num_turns += loop.observer.turn
            state.num_asked += loop.observer.turn

    @property
    def _conversation(self) -> tuple[Message, ...]:
        return as_conversation(self.state.plan.task, self.state.plan.steps)

    def _tell_output(self, output: OutputT) -> None:
        observer = self.state.observe(is_turn=False)
        observer.tell(OutputReady, output=output)
        self._end("output")
        observer.raise_error()

    def _end(self, reason: RunEnd, error: BaseException | None = None) -> None:
        duration_s, problem = time.perf_counter() - self.started_s, "" if error is None else str(error)
        observer = self.state.observe(is_turn=False)
        try:
            observer.tell(RunFinished, reason=reason, usage=self.state.usage, duration_s=duration_s, error=problem)
        except JournalError as unwritten:
            if error is None:
                raise
            error.add_note(f"its end is not in the journal: {unwritten.message}")


def _hand_on(state: PlanRun, first_turn: int, earlier: Usage, event: Event) -> None:
    """Tell an event of a nested question as an event of the run."""
    if state.on_event is None or isinstance(event, (RunStarted, RunFinished, OutputReady)):
        return
    event = replace(event, agent=state.name, run_id=state.run_id, turn=first_turn + event.turn)
    if isinstance(event, UsageUpdated):
        event = replace(event, usage=earlier + event.usage)
    state.on_event(event)
