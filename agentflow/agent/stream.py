"""A run as an async iterator of its events."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Self, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from agentflow.agent.observer import EventObserver
from agentflow.errors import UsageError
from agentflow.events import Event, OutputDrafted, OutputReady

ResultT = TypeVar("ResultT")
"""Type of what a run gives back."""


class RunStream(AsyncIterator[Event], Generic[ResultT]):
    """The events of a run that goes on in the background. Iterate over it once; then `result` is there.

    The iterator raises what the run raised, after its last event.
    """

    def __init__(self, events: MemoryObjectReceiveStream[Event]) -> None:
        """Made by `Agent.stream`."""
        self._events = events
        self._result: ResultT | None = None
        self._error: Exception | None = None

    @property
    def result(self) -> ResultT:
        """What the run gave back.

        Raises:
            UsageError: The run has not ended.
            Exception: What the run raised.
        """
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise UsageError("the run has not ended", hint="iterate over all events before asking for the result")
        return self._result

    def __aiter__(self) -> Self:
        """Give the events as they happen."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event."""
        try:
            return await self._events.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            raise StopAsyncIteration from None

    async def outputs(self) -> AsyncIterator[Any]:
        """Give the output as it grows, each time as a valid value of the output type; the last one is whole.

        In values before the last one members that are not there yet are `None` or left out, and the model may still
        change what is. Backends that make no drafts give the last value only.
        """
        run_id = None
        async for event in self:
            run_id = run_id or event.run_id  # the first event is the run's own; nested runs have outputs, too
            if isinstance(event, (OutputDrafted, OutputReady)) and event.run_id == run_id:
                yield event.output


@asynccontextmanager
async def open_stream(
    run: Callable[[EventObserver], Awaitable[ResultT]],
) -> AsyncIterator[RunStream[ResultT]]:
    """Start `run` in a task that lives no longer than the ``async with`` block; leaving early cancels it."""
    send, receive = anyio.create_memory_object_stream[Event](math.inf)
    stream = RunStream[ResultT](receive)
    body_error: Exception | None = None

    async def work() -> None:
        with send:
            try:
                stream._result = await run(send.send_nowait)  # noqa: SLF001 # two halves of one object
            except Exception as error:  # noqa: BLE001 # raised by the iterator
                stream._error = error  # noqa: SLF001

    with receive:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            try:
                yield stream
            except Exception as error:  # noqa: BLE001 # raised below, without an exception group around it
                body_error = error
            group.cancel_scope.cancel()
    if body_error is not None:
        raise body_error
