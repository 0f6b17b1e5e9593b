"""Calling one function, whatever its kind, without blocking the event loop.

    async def, async generator     in the event loop
    def, generator                 in a thread of its own, which is left behind when cancelled

The threads are daemons: a tool that hangs for good can neither hold up the run nor the end of the program.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from agentflow.tool import Progress

Report = Callable[[Progress], None]
"""Told of progress, in the event loop."""


async def invoke(call: partial[Any], report: Report) -> Any:
    """Call a function with its arguments and wait for its result.

    Args:
        call: A sync or async function or generator, with all arguments. Of a generator the last value that
            is no `Progress` counts, or what a sync generator returns.
        report: Told of every `Progress` that a generator yields.
    """
    kind = _routine(call.func)
    if inspect.isasyncgenfunction(kind):
        return await _drain(call(), report)
    if inspect.iscoroutinefunction(kind):
        return await call()
    token = current_token()
    if inspect.isgeneratorfunction(kind):
        return await _call_in_thread(lambda: _drain_sync(call(), report, token), token)
    value = await _call_in_thread(call, token)
    return await value if inspect.isawaitable(value) else value


def _routine(function: Any) -> Any:
    """Find the function behind a partial or a callable object, whose kind can be told."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


async def _drain(values: AsyncIterator[Any], report: Report) -> Any:
    result = None
    async for value in values:
        if isinstance(value, Progress):
            report(value)
        else:
            result = value
    return result


def _drain_sync(values: Iterator[Any], report: Report, token: EventLoopToken) -> Any:
    result = None
    while True:
        try:
            value = next(values)
        except StopIteration as end:
            return result if end.value is None else end.value
        if isinstance(value, Progress):
            post(token, partial(report, value))
        else:
            result = value


async def _call_in_thread(call: Callable[[], Any], token: EventLoopToken) -> Any:
    """Run `call` in a daemon thread; on cancellation leave the thread to itself."""
    is_done = anyio.Event()
    outcome: list[Any] = [None, None]  # result, exception

    def work() -> None:
        try:
            outcome[0] = call()
        except BaseException as error:  # noqa: BLE001 # it is raised again where the result is awaited
            outcome[1] = error
        post(token, is_done.set)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="agentflow tool").start()
    await is_done.wait()
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def post(token: EventLoopToken, call: Callable[[], Any]) -> None:
    """Have `call` called soon in the event loop of `token`, from any thread, in the order posted."""
    loop = token.native_token
    try:
        if hasattr(loop, "call_soon_threadsafe"):
            loop.call_soon_threadsafe(call)  # asyncio
        else:
            loop.run_sync_soon(call)  # type: ignore[attr-defined] # trio
    except RuntimeError:
        return  # the event loop has ended; nobody waits
