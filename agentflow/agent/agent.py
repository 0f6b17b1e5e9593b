"""`Agent`: what is defined once and run many times."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Generic, TypeVar, Unpack, overload

from agentflow.agent.compaction import Compaction
from agentflow.agent.delegation import delegate, make_handoff
from agentflow.agent.job import Job, OutputCheck, make_output_check
from agentflow.agent.limits import Limits, Prices, check_prices
from agentflow.agent.loop import Loop
from agentflow.agent.models import ModelSource, find_backend
from agentflow.agent.observer import EventObserver, tell_both
from agentflow.agent.opening import open_loop
from agentflow.agent.options import AgentOptions, Instructions, RunOptions, check_options
from agentflow.agent.result import OutputT, RunResult
from agentflow.agent.stream import RunStream, open_stream
from agentflow.agent.sync import run_blocking
from agentflow.errors import ConfigurationError
from agentflow.executor import MAX_RESULT_CHARS, Approver, Executor
from agentflow.journal import Journal
from agentflow.output import OutputType
from agentflow.tool import Tool, ToolSource, collect_tools, tool
from agentflow.tool.context import DepsT
from agentflow.types import GenerationSettings, JsonSchema, ToolChoice

F = TypeVar("F", bound=Callable[..., Any])


class Agent(Generic[DepsT, OutputT]):
    """A model with instructions and tools. Running it changes nothing in it, so one agent may run many times at once.

    Attributes:
        name: For events, messages and reports.
        deps_type: Type of the dependencies, for type checkers and readers.
        limits: How far a run may go.
    """

    @overload
    def __init__(
        self: Agent[DepsT, str], model: ModelSource, *, deps_type: type[DepsT] = ..., **options: Unpack[AgentOptions]
    ) -> None: ...
    @overload
    def __init__(
        self,
        model: ModelSource,
        *,
        output_type: type[OutputT],
        deps_type: type[DepsT] = ...,
        **options: Unpack[AgentOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Agent[DepsT, Any],
        model: ModelSource,
        *,
        output_type: JsonSchema | Any,
        deps_type: type[DepsT] = ...,
        **options: Unpack[AgentOptions],
    ) -> None: ...
    def __init__(
        self,
        model: ModelSource,
        *,
        instructions: Instructions = "",
        tools: Iterable[ToolSource] = (),
        output_type: type[OutputT] | JsonSchema | Any = str,
        deps_type: type[DepsT] | None = None,
        tool_choice: ToolChoice = "auto",
        name: str = "agent",
        settings: GenerationSettings | None = None,
        limits: Limits | None = None,
        prices: Prices | None = None,
        output_retries: int = 2,
        approve: Approver | None = None,
        max_concurrency: int | None = 16,
        max_result_chars: int = MAX_RESULT_CHARS,
        has_result_reader: bool = False,
        compaction: Compaction | None = None,
        handoffs: Iterable[Agent[DepsT, Any]] = (),
    ) -> None:
        """Define an agent. Nothing is loaded before the first run.

        Args:
            model: A model, a backend, or a name such as ``"embedded"`` that is loaded when first needed.
            instructions: What the model is told above every conversation.
            tools: Tools, functions, toolsets.
            tool_choice: ``"none"`` shows the tools but lets the model call none; see `ToolChoice`.
            output_type: What the answer must be: `str`, a pydantic model, dataclass, TypedDict, union or JSON Schema.
            deps_type: Type of the dependencies, for type checkers only.
            name: For people.
            settings: How to generate; a seed makes runs repeatable.
            limits: How far a run may go.
            prices: What the model costs, for `Usage.cost` and `Limits.max_cost`.
            output_retries: Bad answers after which the model is told what is wrong and asked again.
            approve: Asked before a tool that needs approval runs; without it such calls are refused.
            max_concurrency: Most calls of one turn that run at once.
            max_result_chars: Characters of one result that the model is shown; of longer ones the middle is left out.
            has_result_reader: Add a tool, ``read_result``, with which the model reads what was left out.
            handoffs: Agents to which this one may hand the conversation, each by a tool ``transfer_to_NAME``; the
                answer of the agent that ends it is the output of the run, of that agent's output type.
            compaction: How long conversations are shortened for the model; without it they are shown whole.

        Raises:
            ConfigurationError: An option has a wrong value.
            ToolDefinitionError: Something in `tools` cannot become a tool.
            InvalidSchemaError: `output_type` is a mapping but no JSON Schema.
        """
        if output_retries < 0:
            raise ConfigurationError(f"output_retries must be at least 0, got {output_retries!r}")
        self.name = name
        self.deps_type = deps_type
        self.limits = limits or Limits()
        self._prices = prices
        check_prices(self.limits, prices)
        self._model = model
        self._instructions = instructions
        transfers = [make_handoff(agent) for agent in handoffs]
        self._handoffs = {transfer.name: hand_over for transfer, hand_over in transfers}
        self._tools = collect_tools([*tools, *(transfer for transfer, _ in transfers)])
        self._output_type: OutputType[OutputT] = OutputType.of(output_type)
        self._output_checks: tuple[OutputCheck, ...] = ()
        self._tool_choice = tool_choice
        self._settings = settings or GenerationSettings()
        self._output_retries = output_retries
        self._make_executor = partial(
            Executor,
            max_concurrency=max_concurrency,
            max_result_chars=max_result_chars,
            has_result_reader=has_result_reader,
        )
        self._approve = approve
        self._compaction = compaction
        self._make_executor(self._tools)  # checks the options

    @property
    def tools(self) -> tuple[Tool[..., Any], ...]:
        """The tools, in the order the model sees them."""
        return self._tools

    @property
    def model(self) -> ModelSource:
        """The model, or its name."""
        return self._model

    @property
    def approver(self) -> Approver | None:
        """Who is asked before a tool that needs approval runs."""
        return self._approve

    @property
    def settings(self) -> GenerationSettings:
        """How it generates, unless a run says otherwise."""
        return self._settings

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(self, function: None = None, /, **options: Any) -> Callable[[F], F]: ...
    def tool(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Add a function to the tools: ``@agent.tool`` or ``@agent.tool(timeout_s=5)``; the function stays a function.

        Raises:
            ToolDefinitionError: The function cannot become a tool, or its name is taken.
        """
        if function is None:
            return partial(self._add_tool, **options)
        return self._add_tool(function)

    def _add_tool(self, function: F, **options: Any) -> F:
        self._tools = collect_tools([*self._tools, tool(**options)(function)])
        return function

    def output_validator(self, function: F) -> F:
        """Add a check of the output: ``function(output)`` or ``function(context, output)``, sync or async.

        It returns the output to use. It raises `OutputValidationError` to tell the model what is wrong and ask again.
        """
        self._output_checks = (*self._output_checks, make_output_check(function))
        return function

    async def run(self, task: str, **options: Unpack[RunOptions[DepsT]]) -> RunResult[OutputT]:
        """Work on `task` until there is an output.

        Args:
            task: What the user asks for; empty to go on from where the history ends.
            **options: For this run only; see `RunOptions`.

        Raises:
            LimitExceededError: A limit was reached.
            ModelOutputError: The answer was bad more often than `output_retries` allows.
            AgentflowError: The model cannot be loaded, or it failed. An error raised during the
                run carries the conversation in `messages`.
        """
        return await (await self.prepare(task, **options)).run()

    async def prepare(self, task: str, *, depth: int = 0, **options: Unpack[RunOptions[DepsT]]) -> Loop[OutputT]:
        """Load the model, resolve the instructions and set up a run, for callers that drive it themselves.

        Args:
            task: What the user asks for.
            depth: How many runs this one is nested in.
            **options: See `RunOptions`.
        """
        check_options(options, RunOptions)
        limits = options.get("limits") or self.limits
        check_prices(limits, self._prices)
        model, approve = options.get("model"), options.get("approve") or self._approve
        executor = self._make_executor(self._tools, approve=approve)
        job = Job(
            backend=await find_backend(self._model if model is None else model),
            executor=executor,
            tools=tuple(t.spec for t in executor.tools),
            tool_choice=self._tool_choice,
            output_type=self._output_type,
            output_checks=self._output_checks,
            output_retries=self._output_retries,
            limits=limits,
            settings=options.get("settings") or self._settings,
            task=task,
            deps=options.get("deps"),
            agent=self.name,
            run_id=options.get("run_id") or uuid.uuid4().hex,
            depth=depth,
            approve=approve,
            journal=options.get("journal"),
            retry_unknown=options.get("retry_unknown", False),
            prices=self._prices,
            handoffs=self._handoffs,
        )
        return await open_loop(job, options, instructions=self._instructions, compaction=self._compaction)

    async def resume(
        self, run_id: str, journal: Journal, /, **options: Unpack[RunOptions[DepsT]]
    ) -> RunResult[OutputT]:
        """Go on with a run whose process died, or that was cancelled or reached a limit.

        Turns and results that the journal holds are used as they are: no finished call is made again. A call that
        was running is made again only if its tool is idempotent or `retry_unknown` allows it; otherwise its result
        says that its effect is unknown. A run that had its output gives it again.

        Args:
            run_id: The run; `Journal.runs` lists them.
            journal: Where it is recorded.
            **options: See `RunOptions`; conversation and task come from the journal.

        Raises:
            JournalError: There is no such run.
            ConfigurationError: It is a run of another agent.
            AgentflowError: See `run`.
        """
        record = journal.get(run_id)
        options["settings"] = options.get("settings") or record.settings
        options["run_id"], options["journal"] = run_id, journal
        return await self.run(record.task, **options)

    def run_sync(self, task: str, **options: Unpack[RunOptions[DepsT]]) -> RunResult[OutputT]:
        """Run from code that is not async; takes what `run` takes.

        Raises:
            ConfigurationError: An event loop is already running in this thread.
        """
        return run_blocking(partial(self.run, task, **options), name=self.name, task=task)

    def stream(
        self, task: str, **options: Unpack[RunOptions[DepsT]]
    ) -> AbstractAsyncContextManager[RunStream[RunResult[OutputT]]]:
        """Run and iterate over the events as they happen; takes what `run` takes.

            async with agent.stream("...") as events:
                async for event in events:
                    print(event)
            print(events.result.output)

        Leaving the block early cancels the run and everything that it started.
        """

        def run(tell: EventObserver) -> Awaitable[RunResult[OutputT]]:
            options["on_event"] = tell_both(tell, options.get("on_event"))
            return self.run(task, **options)

        return open_stream(run)

    def as_tool(self, *, name: str | None = None, description: str | None = None, **options: Any) -> Tool[..., Any]:
        """Make a tool that hands a task to this agent and returns its output; for other agents to call.

        The nested run has limits of its own and the dependencies of the calling run; an agent without an
        approver asks the calling run's. The same observers see its events, and what it costs counts for both.

        Args:
            name: What the calling model calls it; the agent's name if not given.
            description: What the calling model is told.
            **options: Other options of `tool`; there is no time limit unless given.
        """
        return delegate(self, name=name or self.name, description=description, **options)
