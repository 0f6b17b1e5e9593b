"""One run: generate, execute, record, until an answer passes.

    ┌─> generate a turn ─┬─ it calls tools: execute them, record the results ──┐
    │                    ├─ it answers, and the answer passes: output          │
    │                    └─ it answers otherwise: record what is wrong ────────┤
    └──────────────────────────────────────────────────────────────────────────┘

Everything that changes during a run lives here; the agent itself is never changed by running.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import anyio

from agentflow.agent.compaction import Window
from agentflow.agent.job import Job, derive_seed
from agentflow.agent.observer import Observer
from agentflow.agent.result import OutputT, RunResult
from agentflow.agent.transcript import Transcript
from agentflow.errors import (
    AgentflowError,
    JournalError,
    LimitExceededError,
    MalformedOutputError,
    ModelOutputError,
    OutputValidationError,
    TruncatedOutputError,
)
from agentflow.events import (
    CallFinished,
    Event,
    OutputReady,
    OutputRejected,
    RunEnd,
    RunFinished,
    RunStarted,
    TurnStarted,
    TurnWritten,
    UsageUpdated,
)
from agentflow.tool import RunContext
from agentflow.types import (
    AssistantMessage,
    FinishReason,
    Generation,
    GenerationRequest,
    ToolCall,
    ToolResult,
    Usage,
)


@dataclass(kw_only=True)
class Loop(Generic[OutputT]):
    """One run of a `Job`, from its start or from where a journal says that it was.

    Attributes:
        job: What does not change.
        transcript: The conversation.
        observer: Who is told.
        usage: What it has cost.
        num_rejected: Answers that could not be used.
        finished_calls: Results by id of their call.
        given_up_calls: Calls that were running when an earlier process died; their results say so.
        window: What the model sees of the conversation, if not all of it.
        open_turn: A turn that is recorded but not dealt with.
        open_problem: Why that turn cannot be read, if it cannot.
        rejected: The answer that was turned down last, until the next turn is asked for: a draft of it.
        started_s: When it started here.
    """

    job: Job
    transcript: Transcript
    observer: Observer
    usage: Usage = field(default_factory=Usage)
    num_rejected: int = 0
    finished_calls: dict[str, ToolResult] = field(default_factory=dict)
    given_up_calls: tuple[ToolCall, ...] = ()
    window: Window | None = None
    open_turn: Generation | None = None
    open_problem: str = ""
    rejected: AssistantMessage | None = None
    started_s: float = field(default_factory=time.perf_counter)

    async def run(self) -> RunResult[OutputT]:
        """Work until there is an output.

        Raises:
            LimitExceededError: A limit was reached.
            ModelOutputError: The answer was bad more often than allowed.
            AgentflowError: The backend failed. Each of these carries the conversation in `messages`.
        """
        self.observer.tell(RunStarted, task=self.job.task, model=self.job.backend.name)
        for call in self.given_up_calls:
            self.observer.tell(CallFinished, call=call, result=self.finished_calls[call.id], duration_s=0.0)
        try:
            output = await self._work_in_time()
        except BaseException as error:
            self._end(name_end(error), error)
            raise
        self._end("output")
        self.observer.raise_error()
        return RunResult(
            output=output,
            messages=self.transcript.show(),
            num_history=self.transcript.num_history,
            usage=self.usage,
            num_turns=self.observer.turn,
            duration_s=time.perf_counter() - self.started_s,
            run_id=self.job.run_id,
        )

    async def _work_in_time(self) -> Any:
        timeout_s = self.job.limits.timeout_s
        with anyio.move_on_after(timeout_s):
            return await self._work()
        raise LimitExceededError(f"the run took longer than timeout_s={timeout_s:g}", limit="timeout_s")

    async def _work(self) -> Any:
        while True:
            try:
                generation = self._take_open_turn() or await self._generate()
                if generation.message.tool_calls:
                    await self._execute(generation.message.tool_calls)
                else:
                    return await self._accept(generation)
            except ModelOutputError as error:
                self._reject(error)
            else:
                for call in generation.message.tool_calls:
                    if call.name in self.job.handoffs:
                        return await self._hand_over(call)
            self.observer.raise_error()

    def _take_open_turn(self) -> Generation | None:
        generation, problem = self.open_turn, self.open_problem
        self.open_turn, self.open_problem = None, ""
        if generation is not None and problem:
            raise MalformedOutputError(problem, text=generation.message.text)
        return generation

    async def _hand_over(self, call: ToolCall) -> Any:
        """Let another agent go on with the conversation; its output is the output of this run."""
        hand_over = self.job.handoffs[call.name]
        nested: Loop[Any] = await hand_over(replace(self.context, call=call), self.transcript.show())
        try:
            output = (await nested.run()).output
        finally:
            self.usage += nested.usage
        self.transcript = nested.transcript.going_on_from(self.transcript)
        self.observer.tell(OutputReady, output=output)
        return output

    async def _generate(self) -> Generation:
        """Have the model write a turn and record it."""
        self.job.limits.check_turn(num_turns=self.observer.turn, usage=self.usage)
        self.observer.turn += 1
        self.observer.tell(TurnStarted)
        started_s = time.perf_counter()
        try:
            generation = await self.job.backend.generate(
                self._make_request(), on_draft=self.observer.make_draft_observer(self.job.output_type)
            )
        except ModelOutputError as error:
            reason: FinishReason = "length" if isinstance(error, TruncatedOutputError) else "stop"
            usage = error.usage or Usage(requests=1)
            self._add_turn(Generation(AssistantMessage(error.text), reason, usage), started_s, problem=error.message)
            raise
        return self._add_turn(generation, started_s)

    def _add_turn(self, generation: Generation, started_s: float, *, problem: str = "") -> Generation:
        usage = generation.usage
        if not usage.model_time_s:
            usage = replace(usage, model_time_s=time.perf_counter() - started_s)
        if self.job.prices is not None:
            usage = replace(usage, cost=self.job.prices.cost(usage))
        generation = replace(generation, message=self.transcript.add_turn(generation.message), usage=usage)
        self.observer.tell(
            TurnWritten,
            message=generation.message,
            finish_reason=generation.finish_reason,
            turn_usage=usage,
            problem=problem,
        )
        self.usage += usage
        self.observer.tell(UsageUpdated, usage=self.usage, turn_usage=usage)
        self.observer.raise_error()
        return generation

    async def _execute(self, calls: Sequence[ToolCall]) -> None:
        """Run the calls of a turn and record their results."""
        self.job.limits.check_calls(len(calls), usage=self.usage)
        if self.job.tool_choice == "none":
            self._settle([ToolResult(c.id, c.name, "No tool may be called here.", is_error=True) for c in calls])
        else:
            waiting = [c for c in calls if c.id not in self.finished_calls]
            self._settle(await self.job.executor.execute(waiting, self.context))
            self.usage += Usage(tool_calls=len(calls))
        self.transcript.add_results([self.finished_calls[c.id] for c in calls])
        self.job.limits.check_repeats(calls, num_repeats=self.transcript.num_repeats)

    async def _accept(self, generation: Generation) -> Any:
        """Check an answer and turn it into the output.

        Raises:
            ModelOutputError: It cannot be used; the message says why.
        """
        text = generation.message.text
        if generation.finish_reason == "length":
            raise TruncatedOutputError("the answer was cut off at the token budget; write a shorter one", text=text)
        if not text.strip():
            raise OutputValidationError("the answer is empty", text=text)
        output = self.job.output_type.parse(text)
        for check in self.job.output_checks:
            try:
                output = await check(self.context, output)
            except OutputValidationError as error:
                error.text = error.text or text
                raise
        self.observer.tell(OutputReady, output=output)
        return output

    def _reject(self, error: ModelOutputError) -> None:
        """Tell the model what is wrong with its answer.

        Raises:
            ModelOutputError: `error` itself, if it was bad too often.
        """
        self.num_rejected += 1
        self.observer.tell(OutputRejected, text=error.text, problem=error.message)
        if self.num_rejected > self.job.output_retries:
            raise error
        self.transcript.add_request(ask_again(error.message))
        is_answer = isinstance(error, OutputValidationError) and bool(error.text)
        self.rejected = AssistantMessage(error.text) if is_answer else None

    @property
    def context(self) -> RunContext[Any]:
        """The run as tools and output checks see it."""
        return self.job.make_context(
            turn=self.observer.turn,
            messages=self.transcript.show(),
            usage=self.usage,
            is_watched=self.observer.is_watched,
            emit=self._emit,
            add_usage=self._add_usage,
        )

    def _add_usage(self, usage: Usage) -> None:
        self.usage += usage

    def _emit(self, event: Event) -> None:
        self.observer.pass_on(event)
        if isinstance(event, CallFinished) and event.run_id == self.job.run_id:
            self._settle([event.result])

    def _settle(self, results: Iterable[ToolResult]) -> None:
        self.finished_calls.update((result.call_id, result) for result in results)

    def _make_request(self) -> GenerationRequest:
        job, timeout_s = self.job, self.job.limits.timeout_s
        draft, self.rejected = self.rejected, None
        seed, messages = derive_seed(job.settings.seed, self.observer.turn), self.transcript.show()
        return GenerationRequest(
            messages=messages if self.window is None else self.window.show(messages),
            tools=job.tools,
            tool_choice=job.tool_choice,
            output_schema=job.output_type.schema,
            settings=job.settings if seed is None else replace(job.settings, seed=seed),
            timeout_s=None if timeout_s is None else timeout_s - (time.perf_counter() - self.started_s),
            agent=job.run_id,
            draft=draft,
        )

    def _end(self, reason: RunEnd, error: BaseException | None = None) -> None:
        """Close the transcript, leave it on the error and tell that the run is over."""
        self.transcript.close(self.finished_calls)
        if isinstance(error, AgentflowError):
            error.messages = self.transcript.show()
        duration_s, problem = time.perf_counter() - self.started_s, str(error) if isinstance(error, Exception) else ""
        try:
            self.observer.tell(RunFinished, reason=reason, usage=self.usage, duration_s=duration_s, error=problem)
        except JournalError as unwritten:
            if error is None:
                raise
            error.add_note(f"its end is not in the journal: {unwritten.message}")


def ask_again(problem: str) -> str:
    """Write what the model is told after a turn that cannot be used."""
    return f"Your last turn cannot be used: {problem}. Correct it."


def name_end(error: BaseException) -> RunEnd:
    """Say how a run ended that raised `error`."""
    if isinstance(error, LimitExceededError):
        return "limit"
    return "error" if isinstance(error, Exception) else "cancelled"
