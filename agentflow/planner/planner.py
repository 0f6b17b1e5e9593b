"""`Planner`: makes a plan, has it run, makes another one for what went wrong, and answers."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Generic, TypeAlias, Unpack

from agentflow.agent import Agent, Limits, Prices
from agentflow.agent.limits import check_prices
from agentflow.agent.models import ModelSource, find_backend
from agentflow.agent.observer import EventObserver, tell_both
from agentflow.agent.options import check_options
from agentflow.agent.result import OutputT
from agentflow.agent.stream import RunStream, open_stream
from agentflow.agent.sync import run_blocking
from agentflow.errors import ConfigurationError
from agentflow.executor import Approver, Executor
from agentflow.journal import Journal
from agentflow.planner.drafting import PLAN_INSTRUCTIONS
from agentflow.planner.execution import PlanRun
from agentflow.planner.graph import check_plan
from agentflow.planner.loop import PlanApprover, PlanLoop
from agentflow.planner.result import PlanOptions, PlanResult
from agentflow.planner.resuming import describe, restore_inplace
from agentflow.tool import ToolSource, collect_tools
from agentflow.tool.context import DepsT
from agentflow.types import GenerationSettings, JsonSchema, Plan, PlanStep

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
        prices: Prices | None = None,
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
            prices: What the model costs; see `Agent`.
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
        self._limits, self._prices = limits or Limits(), prices
        check_prices(self._limits, prices)
        self._max_steps, self._max_replans, self._max_concurrency = max_steps, max_replans, max_concurrency
        self._approve, self._approve_plan, self._is_surprising = approve, approve_plan, is_surprising
        ask = partial(Agent[Any, Any], model, tools=self._tools, tool_choice="none", name=name, prices=prices)
        self._answerer: Agent[Any, Any] = ask(instructions=instructions, output_type=output_type)
        self._make_drafter = partial(ask, instructions=f"{instructions}\n\n{PLAN_INSTRUCTIONS}".strip())

    @property
    def model(self) -> ModelSource:
        """The model, or its name."""
        return self._model

    @property
    def settings(self) -> GenerationSettings:
        """How it generates, unless a run says otherwise."""
        return self._settings

    async def plan(self, task: str) -> Plan:
        """Plan a task without running anything.

        Raises:
            ModelOutputError: The model wrote no usable plan.
        """
        loop = await self.prepare(task)
        await loop.draft_steps(min_steps=1)
        return loop.state.plan

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
        return await (await self.prepare(task, **options)).run()

    def run_sync(self, task: str, **options: Unpack[PlanOptions[DepsT]]) -> PlanResult[OutputT]:
        """Run from code that is not async; takes what `run` takes.

        Raises:
            ConfigurationError: An event loop is already running in this thread.
        """
        return run_blocking(partial(self.run, task, **options), name=self.name, task=task)

    def stream(
        self, task: str, **options: Unpack[PlanOptions[DepsT]]
    ) -> AbstractAsyncContextManager[RunStream[PlanResult[OutputT]]]:
        """Run and iterate over the events as they happen; see `Agent.stream`. Takes what `run` takes."""

        def run(tell: EventObserver) -> Awaitable[PlanResult[OutputT]]:
            options["on_event"] = tell_both(tell, options.get("on_event"))
            return self.run(task, **options)

        return open_stream(run)

    async def resume(
        self, run_id: str, journal: Journal, /, **options: Unpack[PlanOptions[DepsT]]
    ) -> PlanResult[OutputT]:
        """Go on with a run whose process died, or that was cancelled or reached a limit.

        Plan, filled-in arguments and results that the journal holds are used as they are: no finished call is made
        again. A step whose call was running is made again only if its tool is idempotent or `retry_unknown` allows
        it; otherwise it failed, its result says that its effect is unknown, and the rest is planned again.

        Args:
            run_id: The run; `Journal.runs` lists them.
            journal: Where it is recorded.
            **options: See `PlanOptions`; task and plan come from the journal.

        Raises:
            JournalError: There is no such run.
            ConfigurationError: It is a run of another planner.
            AgentflowError: See `run`.
        """
        record = journal.get(run_id)
        options["settings"] = options.get("settings") or record.settings
        options["run_id"], options["journal"] = run_id, journal
        return await self.run(record.task, **options)

    async def prepare(self, task: str, **options: Unpack[PlanOptions[DepsT]]) -> PlanLoop[OutputT]:
        """Load the model and set up a run, for callers that drive it themselves; takes what `run` takes."""
        check_options(options, PlanOptions)
        run = await self._make_run(task, options)
        record = None if run.journal is None else run.journal.find(run.run_id)
        calls = None if record is None else restore_inplace(run, record)
        if run.journal is not None and record is None:
            run.journal.begin(describe(run))
        return PlanLoop(
            state=run,
            answerer=self._answerer,
            make_drafter=self._make_drafter,
            max_steps=self._max_steps,
            max_replans=self._max_replans,
            approve_plan=self._approve_plan,
            given_plan=options.get("plan") if record is None else None,
            calls=calls,
        )

    async def _make_run(self, task: str, options: PlanOptions[DepsT]) -> PlanRun:
        """Set up what changes during a run, at its beginning.

        Raises:
            ConfigurationError: The plan that is given cannot be run, or an option has a wrong value.
        """
        if given := options.get("plan"):
            check_plan(given, tools=[t.name for t in self._tools])
        model, journal = options.get("model"), options.get("journal")
        limits = options.get("limits") or self._limits
        check_prices(limits, self._prices)
        approve = options.get("approve") or self._approve
        return PlanRun(
            plan=Plan(task=task, steps=()),
            backend=await find_backend(self._model if model is None else model),
            executor=Executor(self._tools, approve=approve),
            tools=tuple(t.spec for t in self._tools),
            instructions=self._instructions,
            settings=options.get("settings") or self._settings,
            limits=limits,
            prices=self._prices,
            deps=options.get("deps"),
            approve=approve,
            is_surprising=self._is_surprising,
            name=self.name,
            run_id=options.get("run_id") or uuid.uuid4().hex,
            on_event=options.get("on_event"),
            journal=journal,
            recorder=journal,
            retry_unknown=options.get("retry_unknown", False),
            max_concurrency=self._max_concurrency,
        )
