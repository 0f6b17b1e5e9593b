"""`Planner`: makes a plan, has it run, makes another one for what went wrong, and answers."""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeAlias, Unpack

import anyio

from agentflow.agent import Agent, Limits
from agentflow.agent.job import derive_seed
from agentflow.agent.loop import name_end
from agentflow.agent.models import ModelSource, find_backend
from agentflow.agent.options import check_options
from agentflow.agent.result import OutputT, RunResult
from agentflow.agent.sync import run_blocking
from agentflow.errors import AgentflowError, ConfigurationError, LimitExceededError, ToolDeniedError
from agentflow.events import Event, OutputReady, RunEnd, RunFinished, RunStarted
from agentflow.executor import Approver, Executor
from agentflow.planner.drafting import PLAN_INSTRUCTIONS, as_conversation, describe_progress, plan_schema, read_steps
from agentflow.planner.execution import PlanRun
from agentflow.planner.graph import check_plan
from agentflow.planner.result import PlanOptions, PlanResult
from agentflow.tool import ToolSource, collect_tools
from agentflow.tool.context import DepsT
from agentflow.types import GenerationSettings, JsonSchema, Message, Plan, PlanStep

PlanApprover: TypeAlias = Callable[[Plan], "Plan | bool | Awaitable[Plan | bool]"]
"""Asked before a plan or its continuation runs: yes, no, or the plan to run instead; sync or async."""

StepCheck: TypeAlias = Callable[[PlanStep], bool]
"""Whether a step that succeeded has such a surprising result that the rest should be planned again."""


class Planner(Generic[DepsT, OutputT]):
    """A model that plans a task over tools and agents. Running it changes nothing in it.

    Attributes:
        name: For events, messages and reports.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        tools: Iterable[ToolSource | Agent[Any, Any]],
        instructions: str = "",
        output_type: type[OutputT] | JsonSchema | Any = str,
        name: str = "planner",
        settings: GenerationSettings | None = None,
        limits: Limits | None = None,
        max_steps: int = 16,
        max_replans: int = 2,
        max_concurrency: int | None = 16,
        approve: Approver | None = None,
        approve_plan: PlanApprover | None = None,
        is_surprising: StepCheck | None = None,
    ) -> None:
        """Define a planner.

        Args:
            model: Plans, fills in arguments and answers.
            tools: What steps can use: tools, functions, toolsets, and agents, which do sub-tasks.
            instructions: What the model is told above every conversation.
            output_type: What the answer must be; see `Agent`.
            name: For people.
            settings: How to generate; a seed makes runs repeatable.
            limits: How far a run may go; `max_turns` counts plans, steps and answers.
            max_steps: Most steps of one plan.
            max_replans: How often the rest may be planned again after a failed or surprising step.
            max_concurrency: Most steps that run at once.
            approve: Asked before a tool that needs approval runs.
            approve_plan: Asked before a plan runs.
            is_surprising: Looks at every step that succeeded.

        Raises:
            ConfigurationError: An option has a wrong value, or there is no tool.
            ToolDefinitionError: Something in `tools` cannot become a tool.
        """
        self.name = name
        self._tools = collect_tools(t.as_tool() if isinstance(t, Agent) else t for t in tools)
        if not self._tools:
            raise ConfigurationError("a planner without tools has nothing to plan", hint="use an Agent")
        if max_steps < 1 or max_replans < 0:
            raise ConfigurationError(
                f"max_steps={max_steps!r} must be at least 1, max_replans={max_replans!r} at least 0"
            )
        self._model = model
        self._instructions = instructions
        self._settings = settings or GenerationSettings()
        self._limits = limits or Limits()
        self._max_steps, self._max_replans, self._max_concurrency = max_steps, max_replans, max_concurrency
        self._approve, self._approve_plan, self._is_surprising = approve, approve_plan, is_surprising
        self._answerer: Agent[Any, OutputT] = Agent(
            model,
            instructions=instructions,
            tools=self._tools,
            tool_choice="none",
            output_type=output_type,
            name=name,
        )

    async def plan(self, task: str) -> Plan:
        """Plan a task without running anything.

        Raises:
            ModelOutputError: The model wrote no usable plan.
        """
        run = await self._begin(task, {})
        await self._draft_steps(run, min_steps=1)
        return run.plan

    async def run(self, task: str, **options: Unpack[PlanOptions[DepsT]]) -> PlanResult[OutputT]:
        """Plan `task`, run the plan, and answer.

        Args:
            task: What the user asks for.
            **options: For this run only; see `PlanOptions`.

        Raises:
            LimitExceededError: A limit was reached, or steps failed and `max_replans` is used up.
            ToolDeniedError: The plan was not approved.
            ModelOutputError: The model wrote no usable plan or answer.
            AgentflowError: The model failed. An error raised during the run carries the conversation in `messages`.
        """
        check_options(options, PlanOptions)
        run = await self._begin(task, options)
        started_s = time.perf_counter()
        run.observe(is_turn=False).tell(RunStarted, task=task, model=run.backend.name)
        try:
            return await self._work_in_time(run, started_s)
        except BaseException as error:
            if isinstance(error, AgentflowError):
                error.messages = run.with_instructions(as_conversation(task, run.plan.steps))
            _tell_end(run, started_s, name_end(error), error=str(error))
            raise

    def run_sync(self, task: str, **options: Unpack[PlanOptions[DepsT]]) -> PlanResult[OutputT]:
        """Run from code that is not async; takes what `run` takes.

        Raises:
            ConfigurationError: An event loop is already running in this thread.
        """
        return run_blocking(partial(self.run, task, **options), name=self.name, task=task)

    async def _work_in_time(self, run: PlanRun, started_s: float) -> PlanResult[OutputT]:
        timeout_s = self._limits.timeout_s
        with anyio.move_on_after(timeout_s):
            return await self._work(run, started_s)
        raise LimitExceededError(f"the run took longer than timeout_s={timeout_s:g}", limit="timeout_s")

    async def _work(self, run: PlanRun, started_s: float) -> PlanResult[OutputT]:
        if not run.plan.steps:
            await self._draft_steps(run, min_steps=1)
        num_replans = 0
        while True:
            await self._ask_for_approval(run)
            await run.run_pending_steps()
            if not run.problems or (num_replans >= self._max_replans and not run.failed_steps):
                break
            if num_replans >= self._max_replans:
                raise LimitExceededError(
                    f"steps failed and max_replans={self._max_replans} is used up: {'; '.join(run.problems)}",
                    limit="max_replans",
                )
            num_replans += 1
            await self._replan(run)
        output, messages = await self._answer(run)
        _tell_end(run, started_s, "output", output=output)
        return PlanResult(
            output=output,
            plan=run.plan,
            messages=messages,
            usage=run.usage,
            num_replans=num_replans,
            duration_s=time.perf_counter() - started_s,
            run_id=run.run_id,
        )

    async def _begin(self, task: str, options: PlanOptions[DepsT]) -> PlanRun:
        plan = options.get("plan") or Plan(task=task, steps=())
        check_plan(plan, tools=[t.name for t in self._tools])
        return PlanRun(
            plan=replace(plan, task=task),
            backend=await find_backend(self._model),
            executor=Executor(self._tools, approve=self._approve),
            tools=tuple(t.spec for t in self._tools),
            instructions=self._instructions,
            settings=self._settings,
            limits=self._limits,
            deps=options.get("deps"),
            approve=self._approve,
            is_surprising=self._is_surprising,
            name=self.name,
            run_id=options.get("run_id") or uuid.uuid4().hex,
            on_event=options.get("on_event"),
            max_concurrency=self._max_concurrency,
        )

    async def _draft_steps(self, run: PlanRun, *, request: str = "", min_steps: int) -> None:
        """Have the model plan what is left, and append its steps."""
        names, kept = [t.name for t in self._tools], run.plan.steps
        agent = Agent(
            run.backend,
            instructions=f"{self._instructions}\n\n{PLAN_INSTRUCTIONS}".strip(),
            tools=self._tools,
            tool_choice="none",
            output_type=plan_schema(names, min_steps=min_steps, max_steps=self._max_steps, earlier=kept),
        )
        agent.output_validator(lambda answer: read_steps(answer, kept))
        steps: tuple[PlanStep, ...] = (await self._ask(run, agent, request)).output
        run.set_plan((*kept, *steps))

    async def _replan(self, run: PlanRun) -> None:
        """Drop what has not run, keep what has, and plan the rest again."""
        problem = " ".join(run.problems)
        run.drop_unrun_steps()
        request = describe_progress(run.plan, problem)
        await self._draft_steps(run, request=request, min_steps=0)

    async def _ask_for_approval(self, run: PlanRun) -> None:
        """Ask about the plan; the answer may be another plan.

        Raises:
            ToolDeniedError: The answer is no.
            ConfigurationError: The other plan cannot be run.
        """
        if self._approve_plan is None:
            return
        answer = self._approve_plan(run.plan)
        decision = await answer if inspect.isawaitable(answer) else answer
        if isinstance(decision, Plan):
            check_plan(decision, tools=[t.name for t in self._tools])
            run.set_plan(decision.steps)
        elif not decision:
            raise ToolDeniedError("the plan was not approved; nothing of it ran")

    async def _answer(self, run: PlanRun) -> tuple[OutputT, tuple[Message, ...]]:
        result = await self._ask(run, self._answerer, "")
        return result.output, result.messages

    async def _ask(self, run: PlanRun, agent: Agent[Any, Any], request: str) -> RunResult[Any]:
        """Have `agent` go on from what the plan has done so far; its events and cost are the run's."""
        run.check_limits()
        first_turn = run.num_turns
        loop = await agent.prepare(
            request,
            history=as_conversation(run.plan.task, run.plan.steps),
            settings=replace(self._settings, seed=derive_seed(self._settings.seed, f"turn {first_turn}")),
            model=run.backend,
            on_event=None if run.on_event is None else partial(_hand_on, run, first_turn),
        )
        try:
            return await loop.run()
        finally:
            run.usage += loop.usage
            run.num_turns += loop.observer.turn


def _hand_on(run: PlanRun, first_turn: int, event: Event) -> None:
    """Tell an event of a nested question as an event of the run."""
    if run.on_event is not None and not isinstance(event, (RunStarted, RunFinished, OutputReady)):
        run.on_event(replace(event, agent=run.name, run_id=run.run_id, turn=first_turn + event.turn))


def _tell_end(run: PlanRun, started_s: float, reason: RunEnd, *, output: Any = None, error: str = "") -> None:
    observer = run.observe(is_turn=False)
    if reason == "output":
        observer.tell(OutputReady, output=output)
    duration_s = time.perf_counter() - started_s
    observer.tell(RunFinished, reason=reason, usage=run.usage, duration_s=duration_s, error=error)
    if reason == "output":
        observer.raise_error()
