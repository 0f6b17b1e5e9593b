"""Ctrl-C in good order: the run is cancelled, its journal is closed, and only then the command ends.

The first signal cancels; a second one ends the process at once, which a journal survives as it survives any death.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskStatus

from agentflow.cli.problems import Stopped

T = TypeVar("T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR: Final = "\x1b[?25h"


async def run_until_stopped(work: Callable[[], Awaitable[T]]) -> T:
    """Do some work; cancel it when a signal asks for that.

    Outside the main thread no signal can be watched; then this is just the work.

    Raises:
        Stopped: A signal came before the work was done.
        Exception: What the work raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return await work()
    results: list[T] = []
    errors: list[Exception] = []
    received: list[int] = []
    scope = anyio.CancelScope()

    async def watch(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                received.append(number)
                signal.signal(number, _leave)
                scope.cancel()

    async with anyio.create_task_group() as group:
        await group.start(watch)
        with scope:
            try:
                results.append(await work())
            except Exception as error:  # noqa: BLE001 # raised below, without an exception group around it
                errors.append(error)
        group.cancel_scope.cancel()
    if errors:
        raise errors[0]
    if results:
        return results[0]
    raise Stopped(received[0])


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    """End at once: somebody asked twice."""
    if sys.stdout.isatty():
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
    os._exit(128 + signal_number)
