"""`Executor`: the tool calls of one turn become results."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

from agentflow.errors import ConfigurationError, ExternalError, JournalError, ToolExecutionError
from agentflow.events import CallFinished, CallProgressed, CallReady, CallRunning
from agentflow.executor.approval import Approver, ask
from agentflow.executor.invoke import invoke
from agentflow.executor.results import MAX_RESULT_CHARS, Returned, read_returned, repair, show, truncate
from agentflow.executor.store import READER_NAME, ResultStore
from agentflow.tool import Progress, RunContext, Tool, collect_tools
from agentflow.types import JsonValue, ToolCall, ToolResult, Usage

RETRY_DELAY_S = 0.05
"""Seconds before the second try of a failed call; doubled for each further one."""

_MAX_ERROR_CHARS = 2_000

_NO_USAGE = Usage()
_NOT_RUN = ToolResult("", "", "not run", is_error=True)  # replaced by every call

_Slots: TypeAlias = AbstractAsyncContextManager[Any]

_tool_limiters: RunVar[WeakKeyDictionary[Tool[..., Any], anyio.CapacityLimiter]] = RunVar("agentflow_tool_limiters")


class Executor:
    """Runs tool calls, several at once.

    Nothing that a tool does ends a run: an unknown name, wrong arguments, an exception, a timeout, a refusal
    and a result that cannot be sent all become a `ToolResult` with ``is_error``. Cancellation passes through.

    Attributes:
        tools: The tools, the reader of long results included.
    """

    def __init__(
        self,
        tools: Sequence[Tool[..., Any]],
        *,
        max_concurrency: int | None = 16,
        approve: Approver | None = None,
        max_result_chars: int = MAX_RESULT_CHARS,
        has_result_reader: bool = False,
    ) -> None:
        """Make an executor for `tools`.

        Args:
            tools: Tools with unique names.
            max_concurrency: Most calls that run at once; the others wait. ``None`` sets no bound.
            approve: Asked before a tool that needs approval runs; without it such calls are refused.
            max_result_chars: Characters of one result that the model is shown; the middle of longer ones is left out.
            has_result_reader: Add a tool with which the model reads what was left out, page by page.

        Raises:
            ConfigurationError: A bound is below 1.
        """
        for name, value in (("max_concurrency", max_concurrency), ("max_result_chars", max_result_chars)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {value!r}")
        self._store = ResultStore(page_chars=max_result_chars) if has_result_reader else None
        self.tools = tuple(tools) if self._store is None else collect_tools((*tools, self._store.reader))
        self._tools = {tool.name: tool for tool in self.tools}
        self._max_concurrency = max_concurrency
        self._approve = approve
        self._max_result_chars = max_result_chars

    def is_idempotent(self, name: str) -> bool:
        """Whether a call of the tool `name` may be made twice; so may one of a tool that does not exist."""
        return name not in self._tools or self._tools[name].is_idempotent

    async def execute(self, calls: Sequence[ToolCall], context: RunContext[Any]) -> tuple[ToolResult, ...]:
        """Run `calls` concurrently and tell `context.emit` what happens.

        Returns:
            One result per call, in the order of the calls.

        Raises:
            Exception: Only what the approver or `context.emit` raises; then no further call starts, and the
                running ones are cancelled.
        """
        for call in calls:
            context.emit(CallReady(**_origin(context), call=call))
        if len(calls) == 1:
            return (await self._run_call(calls[0], context, nullcontext()),)
        results: list[ToolResult] = [_NOT_RUN] * len(calls)
        errors: list[Exception] = []
        slots = nullcontext() if self._max_concurrency is None else anyio.CapacityLimiter(self._max_concurrency)

        async def run(i: int) -> None:
            try:
                results[i] = await self._run_call(calls[i], context, slots)
            except Exception as error:  # noqa: BLE001 # raised again below, without an exception group around it
                errors.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for i in range(len(calls)):
                group.start_soon(run, i)
        if errors:
            raise errors[0]
        return tuple(results)

    async def _run_call(self, call: ToolCall, context: RunContext[Any], slots: _Slots) -> ToolResult:
        """Take one call through its stages; whatever fails becomes its result."""
        started_s = time.perf_counter()
        spent: list[Usage] = []
        told: dict[str, Any] = {}

        def add_usage(usage: Usage) -> None:
            spent.append(usage)
            context.add_usage(usage)

        try:
            tool = self._find(call.name)
            arguments = tool.validate_arguments(call.arguments)
            approved = await ask(self._approve, call, tool)
            if approved is not call:
                call, arguments = approved, tool.validate_arguments(approved.arguments)
            async with slots, _slots_of(tool):
                context.emit(CallRunning(**_origin(context), call=call))
                value = await _run_tool(tool, arguments, replace(context, call=call, add_usage=add_usage))
            result = ToolResult(call.id, call.name, self._shorten(call, value.content), file=value.file)
            told["full_content"] = value.content if self._is_paged(call, value.content) else None
        except ExternalError as error:
            result = ToolResult(call.id, call.name, repair(error.message), is_error=True)
        duration_s = time.perf_counter() - started_s
        usage = sum(spent, Usage()) if spent else _NO_USAGE
        told.update(_origin(context), call=call, result=result, duration_s=duration_s, usage=usage)
        context.emit(CallFinished(**told))
        return result

    def _shorten(self, call: ToolCall, content: JsonValue) -> JsonValue:
        if self._store is None:
            return truncate(content, max_chars=self._max_result_chars)
        return self._store.keep(call, content) if self._is_paged(call, content) else content

    def _is_paged(self, call: ToolCall, content: JsonValue) -> bool:
        return self._store is not None and call.name != READER_NAME and len(show(content)) > self._max_result_chars

    def keep(self, call: ToolCall, content: JsonValue) -> None:
        """Keep a long result of an earlier process, so that the model can read on in it."""
        if self._store is not None:
            self._store.keep(call, content)

    def _find(self, name: str) -> Tool[..., Any]:
        if tool := self._tools.get(name):
            return tool
        close = difflib.get_close_matches(name, self._tools, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        names = ", ".join(self._tools) or "none"
        raise ToolExecutionError(f"There is no tool called {name[:80]!r}.{meant} Tools that exist: {names}.")


async def _run_tool(tool: Tool[..., Any], arguments: dict[str, Any], context: RunContext[Any]) -> Returned:
    """Try until it succeeds or no tries are left.

    Raises:
        ExternalError: The last try failed, or the tool refused.
    """
    for attempt in range(1, tool.retries + 1):
        try:
            return await _try_once(tool, arguments, replace(context, attempt=attempt))
        except ToolExecutionError:
            await anyio.sleep(RETRY_DELAY_S * 2 ** (attempt - 1))
    return await _try_once(tool, arguments, replace(context, attempt=tool.retries + 1))


async def _try_once(tool: Tool[..., Any], arguments: dict[str, Any], context: RunContext[Any]) -> Returned:
    def report(progress: Progress) -> None:
        assert context.call is not None  # noqa: S101 # set in _run_call
        context.emit(
            CallProgressed(**_origin(context), call=context.call, message=progress.message, fraction=progress.fraction)
        )

    args = (context,) if tool.signature.takes_context else ()
    try:
        with anyio.move_on_after(tool.timeout_s):
            value = await invoke(partial(tool.function, *args, **arguments), report)
            return await read_returned(value, tool_name=tool.name)
    except (
        ExternalError,
        JournalError,
    ):  # a record that is not safe must have no effect, of a run inside this call either
        raise
    except SystemExit as error:
        raise ToolExecutionError(f"{tool.name} tried to end the program (exit code {error.code}).") from error
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS]
        raise ToolExecutionError(f"{tool.name} failed: {problem}") from error
    raise ToolExecutionError(f"{tool.name} did not finish within {tool.timeout_s:g} s and was stopped.")


def _slots_of(tool: Tool[..., Any]) -> _Slots:
    """Get the limiter of `tool`, which all runs in this event loop share."""
    if tool.max_concurrency is None:
        return nullcontext()
    limiters = _tool_limiters.get(None)
    if limiters is None:
        limiters = WeakKeyDictionary()
        _tool_limiters.set(limiters)
    return limiters.setdefault(tool, anyio.CapacityLimiter(tool.max_concurrency))


def _origin(context: RunContext[Any]) -> dict[str, Any]:
    return {"agent": context.agent, "turn": context.turn, "run_id": context.run_id}
